//! A tokenizer from `tokenizer.json`.
//!
//! - The file is read in two passes: its parts stay text until what they need is there (merges need the vocabulary).
//! - What we do not do exactly is an error that names it: another model than BPE, a normalizer, a split rule.
//!
//! Absent: `decoder` (what a token decodes to follows from the model) and truncation or padding, which a prompt has
//! no use for.

mod added;
mod build;
mod pipeline;
mod vocabulary;

pub(crate) use build::{JsonParts, from_json};
