//! The fields that chat and completions share: how long an answer may be and how its tokens are chosen.
//!
//! - Every number is checked here, once, against the range that `docs/api.md` states; what is refused names its field.
//! - A field that is absent gets the operator's default, else the API's.

use serde_json::Value;

use crate::context::Context;
use crate::error::{ApiError, quoted};
use crate::fields::{Fields, boolean, decimal, integer, string, wrong_type};
use crate::inference::{
    GenerationRequest, Inference, ModelInfo, Prompt, PromptDetail, Sampling, TokenId,
};

/// Choices of one request. OpenAI's limit.
pub(crate) const CHOICES_MAX: u32 = 128;

/// Stop sequences, and bytes of one: the engine compares each with the end of the answer at every token.
const STOPS_MAX: usize = 4;
const STOP_BYTES_MAX: usize = 1024;

/// Entries of `logit_bias`: each is looked at for every token of the answer.
const LOGIT_BIAS_MAX: usize = 1024;

/// OpenAI's limits on `metadata`.
const METADATA_MAX: usize = 16;
const METADATA_KEY_CHARS_MAX: usize = 64;
const METADATA_VALUE_CHARS_MAX: usize = 512;

/// A number that may have a fraction.
struct Decimal {
    name: &'static str,
    min: f64,
    max: f64,
}

const TEMPERATURE: Decimal = Decimal {
    name: "temperature",
    min: 0.0,
    max: 2.0,
};
const TOP_P: Decimal = Decimal {
    name: "top_p",
    min: 0.0,
    max: 1.0,
};
const MIN_P: Decimal = Decimal {
    name: "min_p",
    min: 0.0,
    max: 1.0,
};
const TYPICAL_P: Decimal = Decimal {
    name: "typical_p",
    min: 0.0,
    max: 1.0,
};
const FREQUENCY_PENALTY: Decimal = Decimal {
    name: "frequency_penalty",
    min: -2.0,
    max: 2.0,
};
const PRESENCE_PENALTY: Decimal = Decimal {
    name: "presence_penalty",
    min: -2.0,
    max: 2.0,
};
/// Logits are divided by it: near zero they would leave the range of a float.
const REPEAT_PENALTY: Decimal = Decimal {
    name: "repeat_penalty",
    min: 0.1,
    max: 10.0,
};
/// The same under vLLM's and Hugging Face's name.
const REPETITION_PENALTY: Decimal = Decimal {
    name: "repetition_penalty",
    ..REPEAT_PENALTY
};

/// More than any vocabulary.
const TOP_K_MAX: i128 = 1_000_000;

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
    let max_tokens = take_max_tokens(fields, model, limits)?;
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
    let sampling = take_sampling(fields, model, context)?;
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

fn take_decimal(fields: &mut Fields<'_>, field: &Decimal) -> Result<Option<f32>, ApiError> {
    fields
        .take(field.name)?
        .map(|value| decimal(field.name, &value, field.min, field.max))
        .transpose()
}

/// `max_completion_tokens`, or `max_tokens` as it was once called.
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
    Ok(named
        .or(model.defaults.max_tokens)
        .or(limits.max_tokens_default))
}

fn take_sampling(
    fields: &mut Fields<'_>,
    model: &ModelInfo,
    context: &Context,
) -> Result<Sampling, ApiError> {
    let defaults = &model.defaults;
    let mut number = |field: &Decimal, default: Option<f32>, otherwise: f32| {
        take_decimal(fields, field).map(|value| value.or(default).unwrap_or(otherwise))
    };
    let temperature = number(&TEMPERATURE, defaults.temperature, 1.0)?;
    let top_p = number(&TOP_P, defaults.top_p, 1.0)?;
    let min_p = number(&MIN_P, defaults.min_p, 0.0)?;
    let typical_p = number(&TYPICAL_P, defaults.typical_p, 1.0)?;
    let frequency_penalty = number(&FREQUENCY_PENALTY, defaults.frequency_penalty, 0.0)?;
    let presence_penalty = number(&PRESENCE_PENALTY, defaults.presence_penalty, 0.0)?;
    let repeat_penalty = take_decimal(fields, &REPEAT_PENALTY)?;
    let alias = take_decimal(fields, &REPETITION_PENALTY)?;
    if alias.is_some() && repeat_penalty.is_some() && alias != repeat_penalty {
        let message = "Setting 'repeat_penalty' and 'repetition_penalty' to different values is not supported.";
        return Err(ApiError::InvalidValue {
            param: "repetition_penalty".to_owned(),
            message: message.to_owned(),
        });
    }
    let repeat_penalty = repeat_penalty
        .or(alias)
        .or(defaults.repeat_penalty)
        .unwrap_or(1.0);
    let top_k = take_integer(fields, "top_k", 0, TOP_K_MAX)?
        .map(|k| k as u32)
        .or(defaults.top_k)
        .unwrap_or(0);
    // A negative seed is a key like any other: its bits are taken as they are.
    let seed = take_integer(fields, "seed", i64::MIN.into(), i64::MAX.into())?
        .map(|seed| seed as i64 as u64);
    let seed = seed.or(defaults.seed).unwrap_or(context.seed);
    let logit_bias = take_logit_bias(fields, model.vocab_len)?;
    Ok(Sampling {
        temperature,
        top_k,
        top_p,
        min_p,
        typical_p,
        repeat_penalty,
        frequency_penalty,
        presence_penalty,
        logit_bias,
        seed,
        choice_index: 0,
    })
}

/// Ids come as keys, so as text: only the one spelling of a number is taken, or `1` and `01` would be one token.
fn take_logit_bias(
    fields: &mut Fields<'_>,
    vocab_len: u32,
) -> Result<Vec<(TokenId, f32)>, ApiError> {
    const NAME: &str = "logit_bias";
    let entries = match fields.take(NAME)? {
        None => return Ok(Vec::new()),
        Some(Value::Object(entries)) => entries,
        Some(other) => return Err(wrong_type(NAME, "an object", &other)),
    };
    if entries.len() > LOGIT_BIAS_MAX {
        let (param, max, got) = (NAME.to_owned(), LOGIT_BIAS_MAX, entries.len());
        return Err(ApiError::ObjectAboveMaxProperties { param, max, got });
    }
    let mut biases = Vec::with_capacity(entries.len());
    for (key, value) in &entries {
        let id = key
            .parse::<TokenId>()
            .ok()
            .filter(|id| *id < vocab_len && id.to_string() == *key);
        let Some(id) = id else {
            let message = format!(
                "Invalid key in 'logit_bias': {}. Keys are token ids of this model, which are integers from 0 to {}.",
                quoted(key),
                vocab_len.saturating_sub(1)
            );
            return Err(ApiError::InvalidValue {
                param: NAME.to_owned(),
                message,
            });
        };
        biases.push((id, decimal(&format!("{NAME}.{key}"), value, -100.0, 100.0)?));
    }
    biases.sort_unstable_by_key(|(id, _)| *id);
    Ok(biases)
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
