//! OpenAI's API as a pure function: a body in, tokens asked for, a body or a stream of events out.
//!
//! - [`endpoint::run`] is the only path from a body to tokens, whether the body came over HTTP or as a line of a batch.
//! - Everything a client may be told to have done wrong is one row of [`ApiError`].
//! - A field of a request is honoured, refused, or named in the `x-spindle-ignored` header: never silently dropped.
//! - Text that leaves is whole UTF-8, however tokens cut it.
//!
//! Absent: I/O, clocks and randomness (they arrive in a [`Context`]), the words of any wasm interface
//! (a caller implements [`Inference`] over its own), and anything that knows what a model computes.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod answer;
mod context;
pub mod endpoint;
mod error;
mod fields;
mod generation;
pub mod inference;
mod messages;
mod params;
mod response;
mod sse;
mod template;
mod utf8;

pub use context::Context;
pub use endpoint::Endpoint;
pub use error::ApiError;
pub use inference::{EventStream, Inference};
pub use response::{Body, Response};
pub use sse::SseFrames;
