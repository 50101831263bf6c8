//! GGUF, versions 2 and 3, little-endian: [`read`] for models, [`read_tokenizer`] for files of a vocabulary alone.
//!
//! - The header is parsed where it lies: strings and arrays stay ranges of the file.
//! - Every length is compared with the bytes left before anything is allocated or skipped; no sum or product wraps.
//!
//! Absent: split files (they must be merged), big-endian files, writing.

mod cursor;
mod header;
mod hyperparameters;
mod infos;
mod metadata;
mod reader;

pub(crate) use metadata::{Metadata, ValueType};
pub use reader::{read, read_tokenizer};
