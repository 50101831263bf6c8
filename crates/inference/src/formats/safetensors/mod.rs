//! Model directories as Hugging Face lays them out: `config.json`, `tokenizer.json`, safetensors shards.
//!
//! - The header is read by our own visitor: the `safetensors` crate takes 75 MB for the 100,000 tensors of a 6 MB header,
//!   keeps the last of two tensors with one name, and lets a tensor of zero bytes alias another. Its rules are ours as
//!   well: ranges in order, no overlap, no hole, the whole file covered. Tests compare the two.
//!
//! Absent: files; the caller reads them ([`DirectoryParts`]).

mod config_json;
mod header;
mod names;
mod reader;

pub use reader::{DirectoryParts, read};
