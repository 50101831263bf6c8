//! `POST /v1/completions`.
//!
//! Several prompts of `n` choices each are one answer: the choices of the first prompt come first.

use serde_json::Value;

use crate::answer::Head;
use crate::answer::completions::{Answer, CompletionChunks, Options, whole};
use crate::context::Context;
use crate::error::ApiError;
use crate::fields::{Fields, Unsupported, integer, wrong_type};
use crate::generation::Choices;
use crate::inference::{GenerationRequest, Inference, ModelInfo, Prompt, PromptDetail, TokenId};
use crate::params::{self, CHOICES_MAX, Limits, Params};
use crate::response::Response;
use crate::sse::SseFrames;
use crate::template::prompt_bytes_max;

/// The field that an error about the prompt names.
const PROMPT_PARAM: &str = "prompt";

/// No tokens at all is a way to have a prompt echoed with its log-probabilities. 16 is OpenAI's default.
const LIMITS: Limits = Limits {
    max_tokens_min: 0,
    max_tokens_default: Some(16),
};

const LOGPROBS_MAX: i128 = 5;

const BEST_OF_MAX: i128 = 20;

/// OpenAI's fields that are not honoured, and the values with which an answer is the same without them.
const UNSUPPORTED: &[Unsupported] = &[Unsupported {
    name: "suffix",
    harmless: |value| value == "",
}];

/// A request, checked.
struct Request {
    params: Params,
    prompts: Vec<Prompt>,
    logprobs: Option<u32>,
    echo: bool,
}

/// Continues a text.
pub(super) async fn run(
    body: &[u8],
    context: &Context,
    inference: &impl Inference,
) -> Result<Response, ApiError> {
    let mut fields = Fields::parse(body)?;
    let model = params::take_model(&mut fields, inference)?;
    let (request, ignored) = read(fields, &model, context)?;
    let requests = request.prompts.iter().flat_map(|prompt| {
        (0..request.params.n)
            .map(|choice| generation(&request, prompt.clone(), choice, &model, context))
    });
    let running = Choices::start(inference, requests, PROMPT_PARAM).await?;
    let Request {
        params,
        prompts,
        logprobs,
        echo,
    } = request;
    let text = |prompt| match prompt {
        Prompt::Text(text) => Some(text),
        Prompt::Tokens(_) => None,
    };
    let options = Options {
        prompts: prompts.into_iter().map(text).collect(),
        choices_per_prompt: params.n as usize,
        echo,
        logprobs: logprobs.is_some(),
        token_ids: params.return_token_ids,
    };
    let answer = Answer::new(Head::new("cmpl-", context, &model), options);
    let response = if params.stream {
        Response::stream(SseFrames::new(
            running,
            CompletionChunks::new(answer, params.include_usage),
        ))
    } else {
        whole(running, answer).await?
    };
    Ok(response.with_ignored(ignored))
}

fn read(
    mut fields: Fields<'_>,
    model: &ModelInfo,
    context: &Context,
) -> Result<(Request, Option<String>), ApiError> {
    let prompts = read_prompts(fields.require(PROMPT_PARAM)?, model)?;
    let params = params::take(&mut fields, model, context, &LIMITS)?;
    let choices = prompts.len() * params.n as usize;
    if choices > CHOICES_MAX as usize {
        let (count, n) = (prompts.len(), params.n);
        let message = format!(
            "Invalid 'prompt': {count} prompts of {n} choices are more than {CHOICES_MAX} choices."
        );
        return Err(ApiError::InvalidValue {
            param: PROMPT_PARAM.to_owned(),
            message,
        });
    }
    let logprobs =
        params::take_integer(&mut fields, "logprobs", 0, LOGPROBS_MAX)?.map(|top| top as u32);
    let echo = params::take_boolean(&mut fields, "echo")?;
    // As many tries as choices: no choice is left out, so there is nothing to be the best of.
    let best_of = params::take_integer(&mut fields, "best_of", 1, BEST_OF_MAX)?;
    if best_of.is_some_and(|tries| tries != params.n.into()) {
        return Err(ApiError::UnsupportedParameter {
            param: "best_of".to_owned(),
        });
    }
    let ignored = fields.finish(UNSUPPORTED, params::REFUSED)?;
    Ok((
        Request {
            params,
            prompts,
            logprobs,
            echo,
        },
        ignored,
    ))
}

/// A text, tokens, or an array of either.
fn read_prompts(value: Value, model: &ModelInfo) -> Result<Vec<Prompt>, ApiError> {
    match value {
        Value::String(text) => Ok(vec![read_text(text, model)?]),
        Value::Array(values) if values.is_empty() => Err(ApiError::EmptyArray {
            param: PROMPT_PARAM.to_owned(),
        }),
        Value::Array(values) if values[0].is_number() => {
            Ok(vec![read_tokens(PROMPT_PARAM, values, model)?])
        }
        Value::Array(values) => {
            let one =
                |(index, value): (usize, Value)| match (format!("{PROMPT_PARAM}.{index}"), value) {
                    (_, Value::String(text)) => read_text(text, model),
                    (param, Value::Array(values)) => read_tokens(&param, values, model),
                    (param, other) => Err(wrong_type(
                        &param,
                        "a string or an array of integers",
                        &other,
                    )),
                };
            values.into_iter().enumerate().map(one).collect()
        }
        other => Err(wrong_type(PROMPT_PARAM, "a string or an array", &other)),
    }
}

fn read_text(text: String, model: &ModelInfo) -> Result<Prompt, ApiError> {
    let (got, max) = (text.len(), prompt_bytes_max(model.context_len));
    if got > max {
        return Err(ApiError::PromptAboveMaxBytes {
            param: PROMPT_PARAM,
            max,
            got,
        });
    }
    Ok(Prompt::Text(text))
}

fn read_tokens(param: &str, values: Vec<Value>, model: &ModelInfo) -> Result<Prompt, ApiError> {
    if values.is_empty() {
        return Err(ApiError::EmptyArray {
            param: param.to_owned(),
        });
    }
    let id_max = i128::from(model.vocab_len) - 1;
    let id =
        |(index, value)| Ok(integer(&format!("{param}.{index}"), value, 0, id_max)? as TokenId);
    values
        .iter()
        .enumerate()
        .map(id)
        .collect::<Result<_, _>>()
        .map(Prompt::Tokens)
}

fn generation(
    request: &Request,
    prompt: Prompt,
    choice_index: u32,
    model: &ModelInfo,
    context: &Context,
) -> GenerationRequest {
    let detail = match (request.echo, request.logprobs, &prompt) {
        (true, Some(_), _) => PromptDetail::Logprobs,
        (true, None, Prompt::Tokens(_)) => PromptDetail::Tokens,
        _ if request.params.return_token_ids => PromptDetail::Tokens,
        _ => PromptDetail::Count,
    };
    params::generation(
        &request.params,
        prompt,
        choice_index,
        request.logprobs,
        detail,
        model,
        context,
    )
}
