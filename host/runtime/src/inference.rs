//! What the runtime asks of whoever owns the model.
//!
//! The words are those of `wit/deps/spindle-inference.wit`, as plain data: an implementation
//! never sees wasmtime, and the runtime never sees a model.

use std::pin::Pin;

use futures_util::Stream;

use crate::generation::{Event, Request};
use crate::models::ModelInfo;
use crate::types::ErrorCode;

/// An answer that may take a while.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ErrorCode>> + Send + 'a>>;

/// The events of one generation. Dropping it cancels the generation within one token;
/// not polling it pauses the generation once a bounded number of events wait.
pub type EventStream = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// The model's side. Every argument may come from a hostile guest.
pub trait Inference: Send + Sync + 'static {
    /// The models that are loaded.
    fn models(&self) -> Vec<ModelInfo>;
    /// Text to tokens.
    fn encode(&self, model: String, text: String, parse_special: bool) -> Answer<'_, Vec<u32>>;
    /// Tokens to bytes.
    fn decode(&self, model: String, tokens: Vec<u32>) -> Answer<'_, Vec<u8>>;
    /// Starts a generation; `request.lane` and `request.tenant` can be trusted.
    fn generate(&self, request: Request) -> Answer<'_, EventStream>;
}
