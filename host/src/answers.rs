//! The few answers the host gives itself: where no component can, may, or must.
//!
//! Errors have the four keys of OpenAI's error object. Everything else a client reads is worded
//! by the components.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use crate::health::{Load, Phase};

/// A body that is there at once.
pub type FixedBody = Full<Bytes>;

/// An error the host answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request's framing may be read in two ways.
    AmbiguousFraming,
    /// An HTTP/1.1 request has exactly one `host`.
    BadHost,
    /// The body stopped arriving.
    RequestTimeout,
    /// All instances are taken.
    TooManyStreams,
    /// The component failed.
    GuestFailed,
    /// The model is being loaded.
    Loading,
    /// The server is draining.
    ShuttingDown,
}

struct Row {
    status: StatusCode,
    kind: &'static str,
    code: &'static str,
    message: &'static str,
    retry_after: bool,
    close: bool,
}

impl Refusal {
    fn row(self) -> Row {
        let row = |status, kind, code, message| Row {
            status,
            kind,
            code,
            message,
            retry_after: false,
            close: false,
        };
        match self {
            Self::AmbiguousFraming => Row {
                close: true,
                ..row(
                    StatusCode::BAD_REQUEST,
                    "invalid_request_error",
                    "invalid_framing",
                    "A request has a content-length or a transfer-encoding, never both.",
                )
            },
            Self::BadHost => Row {
                close: true,
                ..row(
                    StatusCode::BAD_REQUEST,
                    "invalid_request_error",
                    "invalid_host",
                    "A request names exactly one host.",
                )
            },
            Self::RequestTimeout => Row {
                close: true,
                ..row(
                    StatusCode::REQUEST_TIMEOUT,
                    "invalid_request_error",
                    "request_timeout",
                    "The body of your request did not arrive in time.",
                )
            },
            Self::TooManyStreams => Row {
                retry_after: true,
                ..row(
                    StatusCode::TOO_MANY_REQUESTS,
                    "requests",
                    "rate_limit_exceeded",
                    "The server is busy: it serves as many requests as it may. Please try again in 1s.",
                )
            },
            Self::GuestFailed => row(
                StatusCode::INTERNAL_SERVER_ERROR,
                "server_error",
                "internal_error",
                "The server had an error while processing your request.",
            ),
            Self::Loading => Row {
                retry_after: true,
                ..row(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "server_error",
                    "model_loading",
                    "The model is being loaded. Please try again.",
                )
            },
            Self::ShuttingDown => Row {
                retry_after: true,
                close: true,
                ..row(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "server_error",
                    "shutting_down",
                    "The server is shutting down and takes no new requests. Please try again.",
                )
            },
        }
    }

    /// The whole answer.
    pub fn response(self) -> Response<FixedBody> {
        let row = self.row();
        let body = format!(
            r#"{{"error":{{"message":"{}","type":"{}","param":null,"code":"{}"}}}}"#,
            row.message, row.kind, row.code
        );
        let mut response = json(row.status, body);
        if row.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if row.close {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// `/livez`: this process answers.
pub fn live() -> Response<FixedBody> {
    json(StatusCode::OK, r#"{"status":"ok"}"#.into())
}

/// `/readyz` and `/health`: whether a request would be served, and what is served now.
pub fn health(phase: Phase, load: Load) -> Response<FixedBody> {
    let (status, word) = match phase {
        Phase::Loading => (StatusCode::SERVICE_UNAVAILABLE, "loading"),
        Phase::Ready => (StatusCode::OK, "ok"),
        Phase::Stuck => (StatusCode::SERVICE_UNAVAILABLE, "stuck"),
        Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
    };
    json(
        status,
        format!(
            r#"{{"status":"{word}","running":{},"waiting":{}}}"#,
            load.running, load.waiting
        ),
    )
}

/// A path of the host's, with a method it does not have.
pub fn method_not_allowed() -> Response<FixedBody> {
    let mut response = json(
        StatusCode::METHOD_NOT_ALLOWED,
        r#"{"error":{"message":"This path only answers GET.","type":"invalid_request_error","param":null,"code":"method_not_supported"}}"#.into(),
    );
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

fn json(status: StatusCode, body: String) -> Response<FixedBody> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// A fixed body cannot fail; this makes its error the component's.
pub fn never(error: Infallible) -> spindle_runtime::BodyError {
    match error {}
}
