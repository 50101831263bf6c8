//! Everything a client may be told to have gone wrong: one variant a row, one `match` with the wording.
//!
//! - A body has all four keys of OpenAI's error object, always: `message`, `type`, `param`, `code`.
//! - Status, type, code and wording are OpenAI's where OpenAI has the case. Clients match on them: they are
//!   data, not style.
//! - No message holds a key, and none holds more than [`QUOTE_CHARS_MAX`] characters of what a client sent.
//!
//! Absent: errors a client never sees (see [`InferenceError`]), and what an operator reads in a log.

use serde::Serialize;

use crate::inference::InferenceError;
use crate::response::{Body, Response};

/// Characters of a client's text that a message repeats: enough to recognise it, too few to fill a log.
const QUOTE_CHARS_MAX: usize = 200;

const INVALID_REQUEST: &str = "invalid_request_error";
const RATE_LIMIT: &str = "requests";
const SERVER: &str = "server_error";

/// An error as a client sees it.
#[derive(Clone, Debug, PartialEq)]
pub enum ApiError {
    /// 401: a key is wanted and none came.
    MissingApiKey,
    /// 401: a key came that is none of ours. It is not repeated: it may be a typing error away from a good one.
    InvalidApiKey,
    /// 404: no loaded model has this name.
    ModelNotFound {
        /// What the request asked for.
        model: String,
    },
    /// 404: no route has this path.
    UnknownUrl {
        /// The request's method.
        method: String,
        /// The request's path.
        path: String,
    },
    /// 405: the path is known, with other methods.
    MethodNotAllowed {
        /// The request's method.
        method: String,
        /// The request's path.
        path: String,
        /// The methods it has, as the `allow` header names them.
        allow: String,
    },
    /// 408: the body did not arrive in time.
    RequestTimeout,
    /// 413: the body is larger than the server takes.
    RequestTooLarge {
        /// Most bytes it takes.
        bytes_max: u64,
    },
    /// 415: the body says that it is not JSON.
    UnsupportedMediaType {
        /// The `content-type` header.
        content_type: String,
    },
    /// 400: the body is not one JSON object within the limits of depth and size.
    InvalidJson {
        /// What is wrong, and where.
        detail: String,
    },
    /// 400: a field that must be there is not.
    MissingParameter {
        /// Path of the field.
        param: String,
    },
    /// 400: a field has a value of another JSON type.
    InvalidType {
        /// Path of the field.
        param: String,
        /// With its article: `a string`.
        expected: &'static str,
        /// With its article: `a number`.
        got: &'static str,
    },
    /// 400: a whole number is below its range.
    IntegerBelowMin {
        /// Path of the field.
        param: String,
        /// Least value.
        min: i128,
        /// The value, as it was written.
        got: String,
    },
    /// 400: a whole number is above its range.
    IntegerAboveMax {
        /// Path of the field.
        param: String,
        /// Greatest value.
        max: i128,
        /// The value, as it was written.
        got: String,
    },
    /// 400: a number is below its range.
    DecimalBelowMin {
        /// Path of the field.
        param: String,
        /// Least value.
        min: f64,
        /// The value, as it was written.
        got: String,
    },
    /// 400: a number is above its range.
    DecimalAboveMax {
        /// Path of the field.
        param: String,
        /// Greatest value.
        max: f64,
        /// The value, as it was written.
        got: String,
    },
    /// 400: an array is empty where it may not be.
    EmptyArray {
        /// Path of the field.
        param: String,
    },
    /// 400: an array is too long.
    ArrayAboveMaxLength {
        /// Path of the field.
        param: String,
        /// Most elements.
        max: usize,
        /// Elements it has.
        got: usize,
    },
    /// 400: an object has too many keys.
    ObjectAboveMaxProperties {
        /// Path of the field.
        param: String,
        /// Most keys.
        max: usize,
        /// Keys it has.
        got: usize,
    },
    /// 400: a string is empty where it may not be.
    EmptyString {
        /// Path of the field.
        param: String,
    },
    /// 400: a string is too long.
    StringAboveMaxLength {
        /// Path of the field.
        param: String,
        /// Most bytes or characters, as the field counts.
        max: usize,
        /// How many it has.
        got: usize,
    },
    /// 400: a value is of the right type and still wrong.
    InvalidValue {
        /// Path of the field.
        param: String,
        /// A sentence with its full stop.
        message: String,
    },
    /// 400: a field of OpenAI's that is not honoured, with a value that would change the answer.
    UnsupportedParameter {
        /// Path of the field.
        param: String,
    },
    /// 400: a field that a request may not have, wherever else it exists.
    UnknownParameter {
        /// Path of the field.
        param: String,
    },
    /// 400: prompt and answer do not fit the model's context.
    ContextLengthExceeded {
        /// `messages` or `prompt`.
        param: &'static str,
        /// Tokens of the context.
        context_len: u32,
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Tokens asked for.
        requested_tokens: u32,
    },
    /// 400: the answer alone may be longer than the model's context.
    MaxTokensAboveContext {
        /// The field that says so.
        param: &'static str,
        /// Tokens of the context.
        context_len: u32,
        /// Tokens asked for.
        requested_tokens: u32,
    },
    /// 400: so much text that it is not worth counting its tokens.
    PromptAboveMaxBytes {
        /// `messages` or `prompt`.
        param: &'static str,
        /// Most bytes.
        max: usize,
        /// Bytes it has.
        got: usize,
    },
    /// 400: the model's chat template refuses these messages, in its own words.
    ChatTemplateRefused {
        /// What the template said.
        message: String,
    },
    /// 500: the model's chat template is broken or does not end.
    ChatTemplateFailed {
        /// What broke or ran out.
        detail: String,
    },
    /// 408: the client did not read for so long that its generation was ended.
    ReaderStalled,
    /// 429: the queue is full.
    Overloaded {
        /// Seconds.
        retry_after: u32,
    },
    /// 500: something broke on our side.
    Internal {
        /// Safe to show.
        detail: String,
    },
    /// 503: the server is draining.
    ShuttingDown,
}

/// The body of an error.
#[derive(Serialize)]
pub(crate) struct ErrorObject<'a> {
    error: ErrorFields<'a>,
}

#[derive(Serialize)]
struct ErrorFields<'a> {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'a str>,
    code: &'static str,
}

/// A row of the table.
struct Row {
    status: u16,
    kind: &'static str,
    code: &'static str,
    message: String,
}

impl ApiError {
    /// The answer that carries this error.
    pub fn response(&self) -> Response {
        let mut response = Response::json(self.status(), &self.object());
        match self {
            Self::MissingApiKey | Self::InvalidApiKey => {
                response
                    .headers
                    .push(("www-authenticate", "Bearer".to_owned()));
            }
            Self::MethodNotAllowed { allow, .. } => response.headers.push(("allow", allow.clone())),
            Self::Overloaded { retry_after } => response
                .headers
                .push(("retry-after", retry_after.to_string())),
            Self::ShuttingDown => response.headers.push(("retry-after", "1".to_owned())),
            // The same messages would fail again, and clients repeat a 500 unless they are told.
            Self::ChatTemplateFailed { .. } => response
                .headers
                .push(("x-should-retry", "false".to_owned())),
            _ => {}
        }
        response
    }

    /// The body, on its own.
    pub fn body(&self) -> Vec<u8> {
        match self.response().body {
            Body::Json(body) => body,
            Body::Stream(_) => unreachable!("an error's body is one document"),
        }
    }

    /// HTTP status.
    pub fn status(&self) -> u16 {
        self.row().status
    }

    /// `type`: the broad class.
    pub fn kind(&self) -> &'static str {
        self.row().kind
    }

    /// `code`: the name that programs match.
    pub fn code(&self) -> &'static str {
        self.row().code
    }

    /// `message`: the sentence for people.
    pub fn message(&self) -> String {
        self.row().message
    }

    /// `param`: path of the field that is wrong, if one is.
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::MissingParameter { param }
            | Self::InvalidType { param, .. }
            | Self::IntegerBelowMin { param, .. }
            | Self::IntegerAboveMax { param, .. }
            | Self::DecimalBelowMin { param, .. }
            | Self::DecimalAboveMax { param, .. }
            | Self::EmptyArray { param }
            | Self::ArrayAboveMaxLength { param, .. }
            | Self::ObjectAboveMaxProperties { param, .. }
            | Self::EmptyString { param }
            | Self::StringAboveMaxLength { param, .. }
            | Self::InvalidValue { param, .. }
            | Self::UnsupportedParameter { param }
            | Self::UnknownParameter { param } => Some(param),
            Self::ContextLengthExceeded { param, .. }
            | Self::MaxTokensAboveContext { param, .. }
            | Self::PromptAboveMaxBytes { param, .. } => Some(param),
            Self::ChatTemplateRefused { .. } => Some("messages"),
            _ => None,
        }
    }

    /// `{"error": {...}}`, as in a body and in a stream's error frame.
    pub(crate) fn object(&self) -> ErrorObject<'_> {
        let Row {
            kind,
            code,
            message,
            ..
        } = self.row();
        ErrorObject {
            error: ErrorFields {
                message,
                kind,
                param: self.param(),
                code,
            },
        }
    }

    /// An error of inference, to the client whose prompt came in the field `prompt_param`.
    pub(crate) fn from_inference(error: InferenceError, prompt_param: &'static str) -> Self {
        match error {
            InferenceError::ModelNotFound(model) => Self::ModelNotFound { model },
            InferenceError::ContextExceeded {
                prompt_tokens,
                requested_tokens,
                context_len,
            } => Self::ContextLengthExceeded {
                param: prompt_param,
                context_len,
                prompt_tokens,
                requested_tokens,
            },
            InferenceError::InvalidArgument { param, message } => {
                let param = if param == "prompt" {
                    prompt_param.to_owned()
                } else {
                    param
                };
                Self::InvalidValue {
                    message: format!("Invalid '{param}': {message}."),
                    param,
                }
            }
            InferenceError::Overloaded(retry_after) => Self::Overloaded { retry_after },
            InferenceError::ShuttingDown => Self::ShuttingDown,
            InferenceError::ReaderStalled => Self::ReaderStalled,
            InferenceError::Internal(detail) => Self::Internal { detail },
        }
    }

    /// The table.
    fn row(&self) -> Row {
        let (status, kind, code, message) = match self {
            Self::MissingApiKey => (
                401,
                INVALID_REQUEST,
                "invalid_api_key",
                "You didn't provide an API key. You need to provide your API key in an Authorization header using \
                 Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
                    .to_owned(),
            ),
            Self::InvalidApiKey => {
                (401, INVALID_REQUEST, "invalid_api_key", "Incorrect API key provided.".to_owned())
            }
            Self::ModelNotFound { model } => (
                404,
                INVALID_REQUEST,
                "model_not_found",
                format!("The model `{}` does not exist or you do not have access to it.", quoted(model)),
            ),
            Self::UnknownUrl { method, path } => (
                404,
                INVALID_REQUEST,
                "unknown_url",
                format!("Unknown request URL: {} {}. Please check the URL for typos.", quoted(method), quoted(path)),
            ),
            Self::MethodNotAllowed { method, path, .. } => (
                405,
                INVALID_REQUEST,
                "method_not_supported",
                format!(
                    "Not allowed to {} on {}. (HINT: Perhaps you meant to use a different HTTP method?)",
                    quoted(method),
                    quoted(path)
                ),
            ),
            Self::RequestTimeout => (
                408,
                INVALID_REQUEST,
                "request_timeout",
                "The body of your request did not arrive in time.".to_owned(),
            ),
            Self::RequestTooLarge { bytes_max } => (
                413,
                INVALID_REQUEST,
                "request_too_large",
                format!("The body of your request is larger than the {bytes_max} bytes this server takes."),
            ),
            Self::UnsupportedMediaType { content_type } => (
                415,
                INVALID_REQUEST,
                "unsupported_content_type",
                format!(
                    "Unsupported 'Content-Type' header: '{}'. This API method only accepts 'application/json' requests.",
                    quoted(content_type)
                ),
            ),
            Self::InvalidJson { detail } => (
                400,
                INVALID_REQUEST,
                "invalid_json",
                format!("We could not parse the JSON body of your request: {detail}."),
            ),
            Self::MissingParameter { param } => (
                400,
                INVALID_REQUEST,
                "missing_required_parameter",
                format!("Missing required parameter: '{param}'."),
            ),
            Self::InvalidType { param, expected, got } => (
                400,
                INVALID_REQUEST,
                "invalid_type",
                format!("Invalid type for '{param}': expected {expected}, but got {got} instead."),
            ),
            Self::IntegerBelowMin { param, min, got } => (
                400,
                INVALID_REQUEST,
                "integer_below_min_value",
                format!(
                    "Invalid '{param}': integer below minimum value. Expected a value >= {min}, but got {} instead.",
                    quoted(got)
                ),
            ),
            Self::IntegerAboveMax { param, max, got } => (
                400,
                INVALID_REQUEST,
                "integer_above_max_value",
                format!(
                    "Invalid '{param}': integer above maximum value. Expected a value <= {max}, but got {} instead.",
                    quoted(got)
                ),
            ),
            Self::DecimalBelowMin { param, min, got } => (
                400,
                INVALID_REQUEST,
                "decimal_below_min_value",
                format!(
                    "Invalid '{param}': decimal below minimum value. Expected a value >= {min}, but got {} instead.",
                    quoted(got)
                ),
            ),
            Self::DecimalAboveMax { param, max, got } => (
                400,
                INVALID_REQUEST,
                "decimal_above_max_value",
                format!(
                    "Invalid '{param}': decimal above maximum value. Expected a value <= {max}, but got {} instead.",
                    quoted(got)
                ),
            ),
            Self::EmptyArray { param } => (
                400,
                INVALID_REQUEST,
                "empty_array",
                format!(
                    "Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array \
                     instead."
                ),
            ),
            Self::ArrayAboveMaxLength { param, max, got } => (
                400,
                INVALID_REQUEST,
                "array_above_max_length",
                format!(
                    "Invalid '{param}': array too long. Expected an array with maximum length {max}, but got an array \
                     with length {got} instead."
                ),
            ),
            Self::ObjectAboveMaxProperties { param, max, got } => (
                400,
                INVALID_REQUEST,
                "object_above_max_properties",
                format!(
                    "Invalid '{param}': too many properties. Expected an object with at most {max} properties, but \
                     got an object with {got} properties instead."
                ),
            ),
            Self::EmptyString { param } => (
                400,
                INVALID_REQUEST,
                "empty_string",
                format!(
                    "Invalid '{param}': empty string. Expected a string with minimum length 1, but got an empty \
                     string instead."
                ),
            ),
            Self::StringAboveMaxLength { param, max, got } => (
                400,
                INVALID_REQUEST,
                "string_above_max_length",
                format!(
                    "Invalid '{param}': string too long. Expected a string with maximum length {max}, but got a \
                     string with length {got} instead."
                ),
            ),
            Self::InvalidValue { message, .. } => (400, INVALID_REQUEST, "invalid_value", message.clone()),
            Self::UnsupportedParameter { param } => (
                400,
                INVALID_REQUEST,
                "unsupported_parameter",
                format!("Unsupported parameter: '{param}' is not supported with this model."),
            ),
            Self::UnknownParameter { param } => {
                (400, INVALID_REQUEST, "unknown_parameter", format!("Unknown parameter: '{param}'."))
            }
            Self::ContextLengthExceeded { param, context_len, prompt_tokens, requested_tokens } => {
                // Whoever counts stops where it is clear that the prompt alone does not fit.
                let at_least = if prompt_tokens > context_len { "at least " } else { "" };
                (
                    400,
                    INVALID_REQUEST,
                    "context_length_exceeded",
                    format!(
                        "This model's maximum context length is {context_len} tokens. However, you requested \
                         {at_least}{} tokens ({at_least}{prompt_tokens} in the {param}, {requested_tokens} in the \
                         completion). Please reduce the length of the {param} or completion.",
                        u64::from(*prompt_tokens) + u64::from(*requested_tokens)
                    ),
                )
            }
            Self::MaxTokensAboveContext { param, context_len, requested_tokens } => (
                400,
                INVALID_REQUEST,
                "context_length_exceeded",
                format!(
                    "{param} is too large: {requested_tokens}. This model's maximum context length is {context_len} \
                     tokens, the prompt's included."
                ),
            ),
            Self::PromptAboveMaxBytes { param, max, got } => (
                400,
                INVALID_REQUEST,
                "context_length_exceeded",
                format!(
                    "Your request has {got} bytes of text in its {param}, more than the {max} this model takes. \
                     Please reduce the length of the {param}."
                ),
            ),
            Self::ChatTemplateRefused { message } => (
                400,
                INVALID_REQUEST,
                "chat_template_refused",
                format!("The model's chat template refuses these messages: {}", quoted(message)),
            ),
            Self::ChatTemplateFailed { detail } => (
                500,
                SERVER,
                "chat_template_error",
                format!("The model's chat template could not be rendered: {}.", quoted(detail)),
            ),
            Self::ReaderStalled => (
                408,
                INVALID_REQUEST,
                "reader_stalled",
                "The answer was not read for so long that its generation was ended.".to_owned(),
            ),
            Self::Overloaded { retry_after } => (
                429,
                RATE_LIMIT,
                "rate_limit_exceeded",
                format!("The server is busy: its queue is full. Please try again in {retry_after}s."),
            ),
            Self::Internal { detail } => (
                500,
                SERVER,
                "internal_error",
                format!("The server had an error while processing your request: {}.", quoted(detail)),
            ),
            Self::ShuttingDown => (
                503,
                SERVER,
                "shutting_down",
                "The server is shutting down and takes no new requests. Please try again.".to_owned(),
            ),
        };
        Row {
            status,
            kind,
            code,
            message,
        }
    }
}

/// A client's text, short enough to repeat.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTE_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
