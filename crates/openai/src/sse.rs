//! Server-sent events: `data: {...}` and an empty line, frame by frame.
//!
//! - A frame is never cut, and frames that are ready leave together: one write instead of many.
//! - After an error frame there is only `[DONE]`.
//! - No frame is made before the transport asks: a client that does not read holds back its generation.

use std::fmt;
use std::task::{Context as TaskContext, Poll};

use serde::Serialize;

use crate::error::ApiError;
use crate::generation::Choices;
use crate::inference::Event;

/// Frames stop being added to a write at this size; about what a TCP segment train takes at once.
const WRITE_BYTES: usize = 16 * 1024;

/// The frames of one answer.
pub struct SseFrames {
    choices: Choices,
    chunks: Box<dyn Chunks>,
    phase: Phase,
}

/// How an endpoint words its stream.
pub(crate) trait Chunks {
    /// What is said before anything is generated.
    fn open(&mut self, frames: &mut Frames);
    /// What an event (never `Failed`) adds.
    fn event(&mut self, choice: usize, event: Event, frames: &mut Frames);
    /// What is said when every choice is whole.
    fn close(&mut self, frames: &mut Frames);
}

enum Phase {
    Opening,
    Running,
    Done,
}

/// Frames ready to be written.
#[derive(Default)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
}

impl SseFrames {
    pub(crate) fn new(choices: Choices, chunks: impl Chunks + 'static) -> Self {
        Self {
            choices,
            chunks: Box::new(chunks),
            phase: Phase::Opening,
        }
    }

    /// One or more whole frames, as soon as there is one; none after the last.
    ///
    /// The future may be dropped and made anew, to write a comment (`: ping`) in between: nothing is lost.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        std::future::poll_fn(|task| self.poll_next(task)).await
    }

    fn poll_next(&mut self, task: &mut TaskContext<'_>) -> Poll<Option<Vec<u8>>> {
        let mut frames = Frames::default();
        while frames.bytes.len() < WRITE_BYTES {
            match self.phase {
                Phase::Opening => {
                    self.chunks.open(&mut frames);
                    self.phase = Phase::Running;
                }
                Phase::Running => {
                    let Poll::Ready(batch) = self.choices.poll_next(task) else {
                        break;
                    };
                    match batch {
                        Some(batch) => self.take(batch.choice, batch.events, &mut frames),
                        None => {
                            self.chunks.close(&mut frames);
                            self.end(&mut frames);
                        }
                    }
                }
                Phase::Done => break,
            }
        }
        match (frames.bytes.is_empty(), &self.phase) {
            (false, _) => Poll::Ready(Some(frames.bytes)),
            (true, Phase::Done) => Poll::Ready(None),
            // Some of the choices were asked and will wake this task.
            (true, _) => Poll::Pending,
        }
    }

    fn take(&mut self, choice: usize, events: Vec<Event>, frames: &mut Frames) {
        for event in events {
            match event {
                Event::Failed(error) => {
                    frames.error(&self.choices.error(error));
                    self.end(frames);
                    return;
                }
                event => self.chunks.event(choice, event, frames),
            }
        }
    }

    fn end(&mut self, frames: &mut Frames) {
        frames.bytes.extend_from_slice(b"data: [DONE]\n\n");
        self.phase = Phase::Done;
    }
}

impl Frames {
    /// Adds a frame. JSON has no line breaks of its own, so one `data:` line holds it.
    pub(crate) fn push(&mut self, chunk: &impl Serialize) {
        self.bytes.extend_from_slice(b"data: ");
        serde_json::to_writer(&mut self.bytes, chunk)
            .expect("chunks are maps with string keys, and memory does not fail");
        self.bytes.extend_from_slice(b"\n\n");
    }

    fn error(&mut self, error: &ApiError) {
        self.push(&error.object());
    }
}

impl fmt::Debug for SseFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SseFrames").finish_non_exhaustive()
    }
}
