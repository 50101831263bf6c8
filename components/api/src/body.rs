//! Reading a request's body, whole and up to a limit.

use spin_sdk::http::Request;
use spin_sdk::wasip3::http::types::{self, ErrorCode};
use spin_sdk::wasip3::{wit_bindgen::StreamResult, wit_future};
use spindle_openai::ApiError;

/// Room made for each read; what the host hands over at once.
const READ_BYTES: usize = 64 * 1024;

/// Why there is no body.
#[derive(Debug)]
pub enum Unreadable {
    /// The client can be told.
    Refused(ApiError),
    /// The connection broke.
    Broken(ErrorCode),
}

impl From<ApiError> for Unreadable {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

/// The body of a request, if it has at most `bytes_max` bytes. A longer one is not read to its end.
pub async fn read(request: Request, bytes_max: u64) -> Result<Vec<u8>, Unreadable> {
    let too_large = || Unreadable::Refused(ApiError::RequestTooLarge { bytes_max });
    let length = request
        .headers()
        .get("content-length")
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > bytes_max) {
        return Err(too_large());
    }
    let Some(request) = request.into_body().take_unstarted() else {
        return Ok(Vec::new());
    };
    let (_done, processed) = wit_future::new(|| Ok(()));
    let (mut stream, trailers) = types::Request::consume_body(request, processed);

    let mut body = Vec::with_capacity(length.map_or(READ_BYTES, |length| length as usize + 1));
    loop {
        if body.len() == body.capacity() {
            body.reserve(READ_BYTES);
        }
        let (result, read) = stream.read(body).await;
        body = read;
        if body.len() as u64 > bytes_max {
            return Err(too_large());
        }
        match result {
            StreamResult::Complete(_) => {}
            StreamResult::Dropped => break,
            StreamResult::Cancelled => unreachable!("a read that is awaited is not cancelled"),
        }
    }
    // The stream also ends where the connection broke in the middle.
    match trailers.await {
        Ok(_) => Ok(body),
        Err(code) => Err(Unreadable::Broken(code)),
    }
}
