//! Text to tokens and back, over the tables a model file brings.
//!
//! - Same tokens as the reference implementations for every supported pre-tokenizer, and `decode(encode(text))` is
//!   `text` (but for NFC, where `tokenizer.json` asks for it).
//! - Time is linear in the text (times a logarithm inside one word) on any text: no backtracking, no recursion.
//! - A control token is never made from text unless the caller says so.
//!
//! The merging code is our own over the same tables that the `tokenizers` crate would use, because the crate breaks
//! stated figures: for Llama 3's 128,000 tokens and 280,000 merges it takes some 500 ms to be ready on the machine
//! where this code takes 25 to 60, and start-up has 100 in all; GGUF's SentencePiece tables have scores and no merges,
//! which it has no model for; and its patterns run in a backtracking engine, which hostile text can hold for minutes.
//!
//! Absent: chat templates (crates/openai), files.

mod alphabet;
mod bytes;
mod codec;
mod encode;
mod ends;
mod error;
mod from_gguf;
mod hash;
mod json;
mod merge;
mod merges;
mod normalizer;
mod pattern;
mod pre;
mod scores;
mod special;
mod split;
mod vocab;

pub use codec::Tokenizer;
pub use error::{EncodeError, VocabError};
pub(crate) use from_gguf::from_gguf;
pub(crate) use json::{JsonParts, from_json};
