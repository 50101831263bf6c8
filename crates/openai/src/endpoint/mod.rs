//! The table of endpoints, and the one way through them.
//!
//! A new endpoint is a file beside this one, a variant, a row of [`ROUTES`] and an arm of [`run`].

mod chat;
mod completions;
mod models;

use crate::context::Context;
use crate::error::ApiError;
use crate::inference::Inference;
use crate::response::Response;

/// What a request asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Endpoint {
    /// Continue a conversation.
    ChatCompletions,
    /// Continue a text.
    Completions,
    /// The loaded models.
    Models,
    /// The loaded model of this id.
    Model(String),
}

/// Where an endpoint is found.
#[derive(Debug)]
pub struct Route {
    /// HTTP method.
    pub method: &'static str,
    /// Path; `{model}` at its end stands for one or more segments, for names of models have slashes.
    pub pattern: &'static str,
    endpoint: fn(String) -> Endpoint,
}

/// Every endpoint, once.
pub const ROUTES: &[Route] = &[
    Route {
        method: "POST",
        pattern: "/v1/chat/completions",
        endpoint: |_| Endpoint::ChatCompletions,
    },
    Route {
        method: "POST",
        pattern: "/v1/completions",
        endpoint: |_| Endpoint::Completions,
    },
    Route {
        method: "GET",
        pattern: "/v1/models",
        endpoint: |_| Endpoint::Models,
    },
    Route {
        method: "GET",
        pattern: "/v1/models/{model}",
        endpoint: Endpoint::Model,
    },
];

/// Answers a request. What is wrong with it is an answer too.
///
/// Dropping the returned future, or a [stream](crate::Body::Stream) it gave, ends the generations behind it.
pub async fn run(
    endpoint: Endpoint,
    body: &[u8],
    context: &Context,
    inference: &impl Inference,
) -> Response {
    let answer = match endpoint {
        Endpoint::ChatCompletions => chat::run(body, context, inference).await,
        Endpoint::Completions => completions::run(body, context, inference).await,
        Endpoint::Models => Ok(models::list(inference)),
        Endpoint::Model(id) => models::get(&id, inference),
    };
    answer.unwrap_or_else(|error| error.response())
}

impl Endpoint {
    /// The endpoint of a method and a path (without its query), and the row it was found by,
    /// whose pattern names it in metrics.
    pub fn find(method: &str, path: &str) -> Result<(Self, &'static Route), ApiError> {
        let mut allow = Vec::new();
        for route in ROUTES {
            let Some(rest) = route.matches(path) else {
                continue;
            };
            if route.method == method {
                return Ok(((route.endpoint)(decode_percent(rest)), route));
            }
            allow.push(route.method);
        }
        let (method, path) = (method.to_owned(), path.to_owned());
        if allow.is_empty() {
            return Err(ApiError::UnknownUrl { method, path });
        }
        Err(ApiError::MethodNotAllowed {
            method,
            path,
            allow: allow.join(", "),
        })
    }
}

impl Route {
    /// What stands in the place of `{model}`, if the path is this route's.
    fn matches<'p>(&self, path: &'p str) -> Option<&'p str> {
        match self.pattern.strip_suffix("{model}") {
            Some(prefix) => path.strip_prefix(prefix).filter(|rest| !rest.is_empty()),
            None => (path == self.pattern).then_some(""),
        }
    }
}

/// Decodes `%2F` and its like, once: what is encoded twice stays encoded and is no model's name.
fn decode_percent(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        if let (b'%', [high, low, tail @ ..]) = (first, tail)
            && let (Some(high), Some(low)) = (digit(high), digit(low))
        {
            bytes.push((high * 16 + low) as u8);
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
