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

/// The body of a request, if it has at most `bytes_max` bytes.
///
/// Of a longer one as much again is read and not kept: clients write their whole request before they read why it was
/// refused, and would find the connection closed instead. One that is longer still, or that waits for leave to send its
/// body, is refused at once.
pub async fn read(request: Request, bytes_max: u64) -> Result<Vec<u8>, Unreadable> {
    let too_large = || Unreadable::Refused(ApiError::RequestTooLarge { bytes_max });
    let read_max = bytes_max.saturating_mul(2);
    let headers = request.headers();
    let length = headers
        .get("content-length")
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let readable_max = if headers.contains_key("expect") {
        bytes_max
    } else {
        read_max
    };
    if length.is_some_and(|length| length > readable_max) {
        return Err(too_large());
    }
    let Some(request) = request.into_body().take_unstarted() else {
        return Ok(Vec::new());
    };
    let (_done, processed) = wit_future::new(|| Ok(()));
    let (mut stream, trailers) = types::Request::consume_body(request, processed);

    // One byte of room more than is announced: the end of the stream needs a read of its own.
    let announced = length.filter(|length| *length <= bytes_max);
    let mut body = Vec::with_capacity(announced.map_or(READ_BYTES, |length| length as usize + 1));
    let mut total = 0;
    loop {
        if body.len() == body.capacity() {
            body.reserve(READ_BYTES);
        }
        let kept = body.len();
        let (result, read) = stream.read(body).await;
        body = read;
        total += (body.len() - kept) as u64;
        if total > bytes_max {
            body.clear();
        }
        match result {
            StreamResult::Complete(_) if total > read_max => return Err(too_large()),
            StreamResult::Complete(_) => {}
            StreamResult::Dropped => break,
            StreamResult::Cancelled => unreachable!("a read that is awaited is not cancelled"),
        }
    }
    // The stream also ends where the connection broke in the middle.
    match trailers.await {
        Ok(_) if total > bytes_max => Err(too_large()),
        Ok(_) => Ok(body),
        Err(code) => Err(Unreadable::Broken(code)),
    }
}
