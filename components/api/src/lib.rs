//! The HTTP side of Spindle: a request in, the OpenAI crate's answer out, as JSON or as server-sent events.
//!
//! - One request an instance; nothing here outlives it, and nothing here is shared.
//! - Who asks is known before anything is read: without a tenant there is only a 401.
//! - Every answer carries `x-request-id`, and what CORS wants where the operator wants CORS.
//! - A client that stops reading stops the generation: frames are made only when the last one was taken.
//!
//! Absent: the table of endpoints and all wording (`spindle_openai`), keys (the host compares them), sockets, files.
#![deny(unsafe_code)]

mod answer;
mod bindings;
mod body;
mod cors;
mod head;

use spin_sdk::http::Request;
use spin_sdk::wasip3::clocks::system_clock;
use spin_sdk::wasip3::http::types::{self, ErrorCode};
use spin_sdk::wasip3::random::random::get_random_u64;
use spindle_openai::inference::Lane;
use spindle_openai::{ApiError, Context, Endpoint, Response};

use crate::answer::Answer;
use crate::bindings::{Host, Refused, authenticate, settings};
use crate::body::Unreadable;
use crate::cors::Cors;

#[spin_sdk::http_service]
async fn handle(request: Request) -> Result<types::Response, ErrorCode> {
    let settings = settings::api();
    let cors = Cors::new(settings.cors_origin);
    let id = head::request_id(request.headers()).unwrap_or_else(|| format!("req_{}", random_id()));
    let without_body = request.method() == "HEAD";

    let response = if request.method() == "OPTIONS" {
        // A browser asks without a key, before it sends one.
        let asked = request.headers().get("access-control-request-headers");
        cors.preflight(
            request.uri().path(),
            asked.and_then(|value| value.to_str().ok()),
        )
    } else {
        match respond(request, settings.body_bytes_max).await {
            Ok(response) => response,
            Err(Unreadable::Refused(error)) => error.response(),
            // Nobody is left to answer.
            Err(Unreadable::Broken(code)) => return Err(code),
        }
    };
    let mut answer = Answer::new(response, without_body);
    answer.header("x-request-id", id);
    cors.expose(&mut answer);
    answer.send()
}

async fn respond(request: Request, body_bytes_max: u64) -> Result<Response, Unreadable> {
    let tenant = tenant(&request)?;
    // A client may ask for the head of whatever it may get.
    let method = if request.method() == "HEAD" {
        "GET"
    } else {
        request.method().as_str()
    };
    let (endpoint, _) =
        Endpoint::find(method, request.uri().path()).map_err(head::with_all_methods)?;
    let body = if method == "GET" {
        Vec::new()
    } else {
        head::check_content_type(request.headers())?;
        body::read(request, body_bytes_max).await?
    };
    let context = Context {
        id: random_id(),
        now: u64::try_from(system_clock::now().seconds).unwrap_or_default(),
        seed: get_random_u64(),
        tenant,
        lane: Lane::Interactive,
    };
    Ok(spindle_openai::endpoint::run(endpoint, &body, &context, &Host).await)
}

fn tenant(request: &Request) -> Result<String, ApiError> {
    let authorization = request
        .headers()
        .get("authorization")
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    authenticate(authorization.as_deref()).map_err(|refused| match refused {
        Refused::Missing => ApiError::MissingApiKey,
        Refused::Unknown => ApiError::InvalidApiKey,
    })
}

/// 32 hexadecimal digits.
fn random_id() -> String {
    format!("{:016x}{:016x}", get_random_u64(), get_random_u64())
}
