//! `POST /v1/chat/completions`.

use serde_json::Value;

use crate::answer::Head;
use crate::answer::chat::{ChatChunks, Options, whole};
use crate::context::Context;
use crate::error::ApiError;
use crate::fields::{Fields, Unsupported};
use crate::generation::Choices;
use crate::inference::{GenerationRequest, Inference, ModelInfo, Prompt, PromptDetail};
use crate::messages;
use crate::params::{self, Limits, Params};
use crate::response::Response;
use crate::sse::SseFrames;
use crate::template;

/// The field that an error about the prompt names.
const PROMPT_PARAM: &str = "messages";

const LIMITS: Limits = Limits {
    max_tokens_min: 1,
    max_tokens_default: None,
};

const TOP_LOGPROBS_MAX: i128 = 20;

/// OpenAI's fields that are not honoured, and the values with which an answer is the same without them.
const UNSUPPORTED: &[Unsupported] = &[
    Unsupported {
        name: "tools",
        harmless: is_empty,
    },
    Unsupported {
        name: "tool_choice",
        harmless: is_auto_or_none,
    },
    // Says how to call tools, of which there are none.
    Unsupported {
        name: "parallel_tool_calls",
        harmless: Value::is_boolean,
    },
    Unsupported {
        name: "functions",
        harmless: is_empty,
    },
    Unsupported {
        name: "function_call",
        harmless: is_auto_or_none,
    },
    Unsupported {
        name: "response_format",
        harmless: |value| value["type"] == "text",
    },
    Unsupported {
        name: "reasoning_effort",
        harmless: |value| value == "none",
    },
    Unsupported {
        name: "verbosity",
        harmless: |value| value == "medium",
    },
    Unsupported {
        name: "modalities",
        harmless: |value| *value == Value::from(vec!["text"]),
    },
    Unsupported {
        name: "audio",
        harmless: |_| false,
    },
    Unsupported {
        name: "prediction",
        harmless: |_| false,
    },
    Unsupported {
        name: "web_search_options",
        harmless: |_| false,
    },
    Unsupported {
        name: "store",
        harmless: |value| *value == false,
    },
    Unsupported {
        name: "service_tier",
        harmless: |value| value == "auto" || value == "default",
    },
];

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

fn is_auto_or_none(value: &Value) -> bool {
    value == "auto" || value == "none"
}

/// A request, checked.
struct Request {
    params: Params,
    logprobs: Option<u32>,
    prompt: String,
}

/// Continues a conversation.
pub(super) async fn run(
    body: &[u8],
    context: &Context,
    inference: &impl Inference,
) -> Result<Response, ApiError> {
    let mut fields = Fields::parse(body)?;
    let model = params::take_model(&mut fields, inference)?;
    let (request, ignored) = read(fields, &model, context)?;
    let head = Head::new("chatcmpl-", context, &model);
    let options = Options {
        choices: request.params.n as usize,
        logprobs: request.logprobs.is_some(),
        token_ids: request.params.return_token_ids,
        include_usage: request.params.include_usage,
    };
    let stream = request.params.stream;
    let requests =
        (0..request.params.n).map(|choice| generation(&request, choice, &model, context));
    let choices = Choices::start(inference, requests, PROMPT_PARAM).await?;
    let response = if stream {
        Response::stream(SseFrames::new(choices, ChatChunks::new(head, options)))
    } else {
        Response::json(200, &whole(choices, &head, &options).await?)
    };
    Ok(response.with_ignored(ignored))
}

fn read(
    mut fields: Fields<'_>,
    model: &ModelInfo,
    context: &Context,
) -> Result<(Request, Option<String>), ApiError> {
    let messages = messages::take(&mut fields)?;
    let params = params::take(&mut fields, model, context, &LIMITS)?;
    let logprobs = take_logprobs(&mut fields)?;
    let ignored = fields.finish(UNSUPPORTED, params::REFUSED)?;
    let (got, max) = (
        messages.iter().map(messages::Message::text_bytes).sum(),
        template::prompt_bytes_max(model.context_len),
    );
    if got > max {
        return Err(ApiError::PromptAboveMaxBytes {
            param: PROMPT_PARAM,
            max,
            got,
        });
    }
    let prompt = template::render(model, &messages, context.now)?;
    Ok((
        Request {
            params,
            logprobs,
            prompt,
        },
        ignored,
    ))
}

fn take_logprobs(fields: &mut Fields<'_>) -> Result<Option<u32>, ApiError> {
    let wanted = params::take_boolean(fields, "logprobs")?;
    let top =
        params::take_integer(fields, "top_logprobs", 0, TOP_LOGPROBS_MAX)?.unwrap_or(0) as u32;
    if top > 0 && !wanted {
        let message =
            "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.".to_owned();
        return Err(ApiError::InvalidValue {
            param: "top_logprobs".to_owned(),
            message,
        });
    }
    Ok(wanted.then_some(top))
}

fn generation(
    request: &Request,
    choice_index: u32,
    model: &ModelInfo,
    context: &Context,
) -> GenerationRequest {
    let detail = if request.params.return_token_ids {
        PromptDetail::Tokens
    } else {
        PromptDetail::Count
    };
    let prompt = Prompt::Text(request.prompt.clone());
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
