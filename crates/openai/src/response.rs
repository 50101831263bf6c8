//! An answer as a transport needs it: status, headers, and a body that is there or comes in frames.

use crate::sse::SseFrames;

/// An answer, an error included.
#[derive(Debug)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case; values are visible ASCII.
    pub headers: Vec<(&'static str, String)>,
    /// What follows.
    pub body: Body,
}

/// The bytes of an answer.
#[derive(Debug)]
pub enum Body {
    /// One JSON document.
    Json(Vec<u8>),
    /// Server-sent events, as they come.
    Stream(SseFrames),
}

impl Response {
    pub(crate) fn json(status: u16, value: &impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("bodies of answers are maps with string keys");
        Self {
            status,
            headers: vec![("content-type", "application/json".to_owned())],
            body: Body::Json(body),
        }
    }

    /// Names the fields of the request that nobody read.
    pub(crate) fn with_ignored(mut self, names: Option<String>) -> Self {
        self.headers
            .extend(names.map(|names| ("x-spindle-ignored", names)));
        self
    }

    pub(crate) fn stream(frames: SseFrames) -> Self {
        let headers = [
            ("content-type", "text/event-stream; charset=utf-8"),
            ("cache-control", "no-cache"),
            // nginx holds a stream back until it ends, unless it is told not to.
            ("x-accel-buffering", "no"),
        ];
        let headers = headers
            .map(|(name, value)| (name, value.to_owned()))
            .to_vec();
        Self {
            status: 200,
            headers,
            body: Body::Stream(frames),
        }
    }
}
