//! The fields that chat and completions share: how long an answer may be and how its tokens are chosen.
//!
//! - Every number is checked here, once, against the range that `docs/api.md` states; what is refused names its field.
//! - A field that is absent gets the operator's default, else the API's.

mod sampling;

use serde_json::Value;

use crate::context::Context;
use crate::error::{ApiError, quoted};
use crate::fields::{Fields, boolean, integer, string, wrong_type};
use crate::inference::{GenerationRequest, Inference, ModelInfo, Prompt, PromptDetail, Sampling};

/// Choices of one request. OpenAI's limit.
pub(crate) const CHOICES_MAX: u32 = 128;

/// Stop sequences, and bytes of one: the engine compares each with the end of the answer at every token.
const STOPS_MAX: usize = 4;
const STOP_BYTES_MAX: usize = 1024;

/// OpenAI's limits on `metadata`.
const METADATA_MAX: usize = 16;
const METADATA_KEY_CHARS_MAX: usize = 64;
const METADATA_VALUE_CHARS_MAX: usize = 512;

/// Refused wherever it comes from: a template runs with the server's patience, and one bad one holds up everybody.
pub(crate) const REFUSED: &[&str] = &["chat_template", "chat_template_kwargs"];

/// What chat and completions differ in.
pub(crate) struct Limits {
    /// Least `max_tokens`.
    pub(crate) max_tokens_min: i128,
    /// `max_tokens` of a request that says nothing; none is as many as fit.
    pub(crate) max_tokens_default: Option<u32>,
}

/// The shared fields, checked.
#[derive(Debug)]
pub(crate) struct Params {
    pub(crate) n: u32,
    pub(crate) max_tokens: Option<u32>,
    /// `max_tokens` is a default, of which nobody said that it fits.
    pub(crate) clip_to_context: bool,
    pub(crate) min_tokens: u32,
    pub(crate) ignore_eos: bool,
    pub(crate) stop: Vec<String>,
    pub(crate) sampling: Sampling,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) return_token_ids: bool,
}

/// The model that a request names, or the only one if it names none.
pub(crate) fn take_model(
    fields: &mut Fields<'_>,
    inference: &impl Inference,
) -> Result<ModelInfo, ApiError> {
    let name = fields
        .take("model")?
        .map(|value| string("model", value))
        .transpose()?;
    match name.filter(|name| !name.is_empty()) {
        Some(name) => inference
            .model(&name)
            .ok_or(ApiError::ModelNotFound { model: name }),
        None => {
            let mut models = inference.models();
            let only = models.pop().filter(|_| models.is_empty());
            only.ok_or_else(|| ApiError::MissingParameter {
                param: "model".to_owned(),
            })
        }
    }
}

/// Takes every shared field.
pub(crate) fn take(
    fields: &mut Fields<'_>,
    model: &ModelInfo,
    context: &Context,
    limits: &Limits,
) -> Result<Params, ApiError> {
    let n = take_integer(fields, "n", 1, CHOICES_MAX.into())?.unwrap_or(1) as u32;
    let asked = take_max_tokens(fields, model, limits)?;
    let max_tokens = asked
        .or(model.defaults.max_tokens)
        .or(limits.max_tokens_default);
    let min_tokens =
        take_integer(fields, "min_tokens", 0, model.context_len.into())?.unwrap_or(0) as u32;
    if let Some(max) = max_tokens.filter(|max| min_tokens > *max) {
        let message =
            format!("Invalid 'min_tokens': {min_tokens} is more than the {max} of 'max_tokens'.");
        return Err(ApiError::InvalidValue {
            param: "min_tokens".to_owned(),
            message,
        });
    }
    let sampling = sampling::take(fields, model, context)?;
    let stop = take_stop(fields)?;
    let ignore_eos = take_boolean(fields, "ignore_eos")?;
    let stream = take_boolean(fields, "stream")?;
    let include_usage = take_stream_options(fields, stream)?;
    let return_token_ids = take_boolean(fields, "return_token_ids")?;
    if let Some(user) = fields.take("user")? {
        string("user", user)?;
    }
    check_metadata(fields)?;
    Ok(Params {
        n,
        max_tokens,
        clip_to_context: asked.is_none(),
        min_tokens,
        ignore_eos,
        stop,
        sampling,
        stream,
        include_usage,
        return_token_ids,
    })
}

/// A boolean field; absent is false.
pub(crate) fn take_boolean(fields: &mut Fields<'_>, name: &str) -> Result<bool, ApiError> {
    fields
        .take(name)?
        .map_or(Ok(false), |value| boolean(name, &value))
}

/// A whole number.
pub(crate) fn take_integer(
    fields: &mut Fields<'_>,
    name: &str,
    min: i128,
    max: i128,
) -> Result<Option<i128>, ApiError> {
    fields
        .take(name)?
        .map(|value| integer(name, &value, min, max))
        .transpose()
}

/// `max_completion_tokens`, or `max_tokens` as it was once called; none where the request says neither.
fn take_max_tokens(
    fields: &mut Fields<'_>,
    model: &ModelInfo,
    limits: &Limits,
) -> Result<Option<u32>, ApiError> {
    let mut named = None;
    for name in ["max_tokens", "max_completion_tokens"] {
        let Some(value) = take_integer(fields, name, limits.max_tokens_min, u32::MAX.into())?
        else {
            continue;
        };
        let value = value as u32;
        if value > model.context_len {
            let (context_len, requested_tokens) = (model.context_len, value);
            return Err(ApiError::MaxTokensAboveContext {
                param: name,
                context_len,
                requested_tokens,
            });
        }
        if named.is_some_and(|other| other != value) {
            let message = "Setting 'max_tokens' and 'max_completion_tokens' to different values is not supported.";
            return Err(ApiError::InvalidValue {
                param: name.to_owned(),
                message: message.to_owned(),
            });
        }
        named = Some(value);
    }
    Ok(named)
}

fn take_stop(fields: &mut Fields<'_>) -> Result<Vec<String>, ApiError> {
    const NAME: &str = "stop";
    let check = |param: &str, value: Value| {
        let text = string(param, value)?;
        match text.len() {
            0 => Err(ApiError::EmptyString {
                param: param.to_owned(),
            }),
            got if got > STOP_BYTES_MAX => Err(ApiError::StringAboveMaxLength {
                param: param.to_owned(),
                max: STOP_BYTES_MAX,
                got,
            }),
            _ => Ok(text),
        }
    };
    match fields.take(NAME)? {
        None => Ok(Vec::new()),
        Some(value @ Value::String(_)) => Ok(vec![check(NAME, value)?]),
        Some(Value::Array(values)) if values.len() > STOPS_MAX => {
            Err(ApiError::ArrayAboveMaxLength {
                param: NAME.to_owned(),
                max: STOPS_MAX,
                got: values.len(),
            })
        }
        Some(Value::Array(values)) => values
            .into_iter()
            .enumerate()
            .map(|(index, value)| check(&format!("{NAME}.{index}"), value))
            .collect(),
        Some(other) => Err(wrong_type(NAME, "a string or an array of strings", &other)),
    }
}

/// Whether a stream ends with a chunk of usage.
fn take_stream_options(fields: &mut Fields<'_>, stream: bool) -> Result<bool, ApiError> {
    const NAME: &str = "stream_options";
    let options = match fields.take(NAME)? {
        None => return Ok(false),
        Some(Value::Object(options)) => options,
        Some(other) => return Err(wrong_type(NAME, "an object", &other)),
    };
    if !stream {
        let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(ApiError::InvalidValue {
            param: NAME.to_owned(),
            message: message.to_owned(),
        });
    }
    let mut include_usage = false;
    for (key, value) in options.into_iter().filter(|(_, value)| !value.is_null()) {
        let param = format!("{NAME}.{key}");
        match key.as_str() {
            "include_usage" => include_usage = boolean(&param, &value)?,
            // Padding against an eavesdropper who counts bytes: a client that asks for it must not believe it has it.
            "include_obfuscation" if boolean(&param, &value)? => {
                return Err(ApiError::UnsupportedParameter { param });
            }
            "include_obfuscation" => {}
            _ => fields.ignore(param),
        }
    }
    Ok(include_usage)
}

/// `metadata` goes with stored answers, of which there are none: it is held to OpenAI's limits, so that a client
/// learns of a mistake here as it would there.
fn check_metadata(fields: &mut Fields<'_>) -> Result<(), ApiError> {
    const NAME: &str = "metadata";
    let entries = match fields.take(NAME)? {
        None => return Ok(()),
        Some(Value::Object(entries)) => entries,
        Some(other) => return Err(wrong_type(NAME, "an object", &other)),
    };
    if entries.len() > METADATA_MAX {
        let (param, max, got) = (NAME.to_owned(), METADATA_MAX, entries.len());
        return Err(ApiError::ObjectAboveMaxProperties { param, max, got });
    }
    for (key, value) in entries {
        let param = format!("{NAME}.{}", quoted(&key));
        let too_long = |text: &str, max: usize| Some(text.chars().count()).filter(|got| *got > max);
        if let Some(got) = too_long(&key, METADATA_KEY_CHARS_MAX) {
            return Err(ApiError::StringAboveMaxLength {
                param,
                max: METADATA_KEY_CHARS_MAX,
                got,
            });
        }
        let value = string(&param, value)?;
        if let Some(got) = too_long(&value, METADATA_VALUE_CHARS_MAX) {
            return Err(ApiError::StringAboveMaxLength {
                param,
                max: METADATA_VALUE_CHARS_MAX,
                got,
            });
        }
    }
    Ok(())
}

/// The request for one choice.
pub(crate) fn generation(
    params: &Params,
    prompt: Prompt,
    choice_index: u32,
    logprobs: Option<u32>,
    prompt_detail: PromptDetail,
    model: &ModelInfo,
    context: &Context,
) -> GenerationRequest {
    GenerationRequest {
        model: model.id.clone(),
        prompt,
        max_tokens: params.max_tokens,
        clip_to_context: params.clip_to_context,
        min_tokens: params.min_tokens,
        ignore_eos: params.ignore_eos,
        stop: params.stop.clone(),
        sampling: Sampling {
            choice_index,
            ..params.sampling.clone()
        },
        logprobs,
        prompt_detail,
        lane: context.lane,
        tenant: context.tenant.clone(),
    }
}
