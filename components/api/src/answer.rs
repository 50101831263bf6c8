//! Sending an answer: its head at once, its body by a task that lives until the client has it or is gone.
//!
//! - A frame is written whole, and the next one is made only when the host took it.
//! - A client that is gone is noticed by what the host did not take; then the frames are dropped, and with them the
//!   generation.
//! - A stream on which nothing happens is kept alive by comments, so that no proxy cuts it during a long prefill.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use spin_sdk::wasip3::clocks::monotonic_clock;
use spin_sdk::wasip3::http::types::{self, ErrorCode, Fields};
use spin_sdk::wasip3::http_compat::BodyWriter;
use spin_sdk::wasip3::wit_bindgen;
use spindle_openai::{Body, Response, SseFrames};

/// Nanoseconds between two looks at a stream. One that was silent all the while gets a comment, so pauses last less than
/// twice this: below the 60 s after which common proxies give up.
const PING_EVERY_NS: u64 = 15_000_000_000;
/// A comment of the event-stream format, which clients skip.
const PING: &[u8] = b": ping\n\n";

/// An answer on its way out.
pub struct Answer {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Option<Body>,
}

impl Answer {
    /// Of an answer, whose body is left out for a request that wants only its head.
    pub fn new(response: Response, without_body: bool) -> Self {
        let headers = response
            .headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into_bytes()));
        let mut headers: Vec<_> = headers.collect();
        let body = match response.body {
            Body::Json(bytes) if bytes.is_empty() => None,
            Body::Json(bytes) => {
                headers.push((
                    "content-length".to_owned(),
                    bytes.len().to_string().into_bytes(),
                ));
                Some(Body::Json(bytes))
            }
            stream => Some(stream),
        };
        Self {
            status: response.status,
            headers,
            body: body.filter(|_| !without_body),
        }
    }

    /// Adds a header.
    pub fn header(&mut self, name: &str, value: String) {
        self.headers.push((name.to_owned(), value.into_bytes()));
    }

    /// Hands the head to the host and leaves the body to a task.
    pub fn send(self) -> Result<types::Response, ErrorCode> {
        let internal =
            |error: &dyn std::fmt::Debug| ErrorCode::InternalError(Some(format!("{error:?}")));
        let headers = Fields::from_list(&self.headers).map_err(|error| internal(&error))?;
        let (mut writer, stream, result) = BodyWriter::new();
        let (response, _sent) =
            types::Response::new(headers, self.body.is_some().then_some(stream), result);
        response
            .set_status_code(self.status)
            .map_err(|()| internal(&self.status))?;
        wit_bindgen::spawn(async move {
            let taken = match self.body {
                None => true,
                Some(Body::Json(bytes)) => write(&mut writer, bytes).await,
                Some(Body::Stream(frames)) => write_frames(&mut writer, frames).await,
            };
            if taken {
                // In this order: the end of the body, then that it was meant to end here.
                let BodyWriter {
                    stream_writer,
                    result_writer,
                    ..
                } = writer;
                drop(stream_writer);
                // An error means that nobody waits for it any more.
                let _ = result_writer.write(Ok(None)).await;
            }
        });
        Ok(response)
    }
}

/// Whether the host took all of it.
async fn write(writer: &mut BodyWriter, bytes: Vec<u8>) -> bool {
    writer.stream_writer.write_all(bytes).await.is_empty()
}

async fn write_frames(writer: &mut BodyWriter, mut frames: SseFrames) -> bool {
    let mut timer = Box::pin(monotonic_clock::wait_for(PING_EVERY_NS));
    let mut silent = true;
    loop {
        let bytes = {
            let mut next = pin!(frames.next());
            // The clock is asked last: frames that are ready are not kept waiting for a comment.
            std::future::poll_fn(|task| match next.as_mut().poll(task) {
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Ready(Some(bytes)) => Poll::Ready(Some(Next::Frames(bytes))),
                Poll::Pending => timer.as_mut().poll(task).map(|()| Some(Next::Tick)),
            })
            .await
        };
        let bytes = match bytes {
            None => return true,
            Some(Next::Frames(bytes)) => {
                silent = false;
                bytes
            }
            Some(Next::Tick) => {
                timer.set(monotonic_clock::wait_for(PING_EVERY_NS));
                if !std::mem::replace(&mut silent, true) {
                    continue;
                }
                PING.to_vec()
            }
        };
        if !write(writer, bytes).await {
            return false;
        }
    }
}

enum Next {
    Frames(Vec<u8>),
    Tick,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(body: &[u8], without_body: bool) -> (bool, Vec<(String, Vec<u8>)>) {
        let response = Response {
            status: 200,
            headers: Vec::new(),
            body: Body::Json(body.to_vec()),
        };
        let answer = Answer::new(response, without_body);
        (answer.body.is_some(), answer.headers)
    }

    #[test]
    fn a_document_has_its_length_and_a_head_alone_has_it_too() {
        let length = vec![("content-length".to_owned(), b"2".to_vec())];
        assert_eq!(json(b"{}", false), (true, length.clone()));
        assert_eq!(json(b"{}", true), (false, length));
    }

    #[test]
    fn an_answer_without_content_says_no_length() {
        // A 204 must not have the header at all.
        assert_eq!(json(b"", false), (false, Vec::new()));
    }
}
