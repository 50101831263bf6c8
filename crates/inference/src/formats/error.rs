//! Why a model was not loaded. Every field is a fact a reader can act on; texts from the file are cut and escaped.
//!
//! Absent: errors of encoding text with a loaded tokenizer ([`crate::tokenizer::EncodeError`]).

use std::fmt;

use crate::tokenizer::VocabError;

/// Why a model file was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The bytes do not begin like any GGUF file.
    #[error("not a GGUF file: it begins with {found} instead of \"GGUF\"")]
    NotGguf {
        /// The first bytes, escaped.
        found: String,
    },
    /// A GGUF version we do not read.
    #[error("GGUF version {found} is not supported: 2 and 3 are")]
    GgufVersion {
        /// The version the file states.
        found: u32,
    },
    /// A GGUF file for big-endian machines.
    #[error("this GGUF file is big-endian: convert the model again for little-endian machines")]
    BigEndian,
    /// The file ends inside something it announced.
    #[error("{what} at byte {offset} needs {needed} bytes, but the file has {left} left")]
    Truncated {
        /// What was being read.
        what: String,
        /// Where it begins.
        offset: u64,
        /// Bytes it announced, at the least.
        needed: u64,
        /// Bytes there are from `offset` on.
        left: u64,
    },
    /// More of something than any model has.
    #[error("{what}: {found} is more than the limit of {max}")]
    TooMany {
        /// What there is too much of.
        what: String,
        /// How much.
        found: u64,
        /// The bound, from [`super::limits`].
        max: u64,
    },
    /// A key, tensor or token that must be unique is there twice.
    #[error("{what} appears twice: {name}")]
    Duplicate {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Text that is not UTF-8.
    #[error("{what} is not UTF-8")]
    NotUtf8 {
        /// Which text.
        what: String,
    },
    /// A number where a known code is needed.
    #[error("{key}: unknown value type {found}")]
    UnknownValueType {
        /// The metadata key.
        key: String,
        /// The type the file states.
        found: u32,
    },
    /// A value without which the model cannot be run.
    #[error("{key} is missing")]
    Missing {
        /// The metadata key, JSON field or file.
        key: String,
    },
    /// A value of another type than its key calls for.
    #[error("{key}: expected {expected}, found {found}")]
    WrongType {
        /// The metadata key.
        key: String,
        /// The type it must have.
        expected: &'static str,
        /// The type it has.
        found: String,
    },
    /// A value of the right type outside what any model means by it.
    #[error("{key}: expected {expected}, found {found}")]
    OutOfRange {
        /// The metadata key or JSON field.
        key: String,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// Something valid we do not do.
    #[error("{key}: {found} is not supported: {supported}")]
    Unsupported {
        /// What states it.
        key: String,
        /// What it states.
        found: String,
        /// What can be used instead.
        supported: String,
    },
    /// One tensor's own description is impossible.
    #[error("tensor {name}: {fault}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        fault: TensorFault,
    },
    /// The architecture needs a tensor that is not there.
    #[error("tensor {name} is missing: a {architecture} model needs it")]
    TensorMissing {
        /// The tensor, by its GGUF name.
        name: String,
        /// The architecture that needs it.
        architecture: &'static str,
    },
    /// A tensor the architecture has no place for: running without it would give wrong answers.
    #[error("tensor {name} has no place in a {architecture} model")]
    TensorUnknown {
        /// The tensor.
        name: String,
        /// The architecture stated.
        architecture: &'static str,
    },
    /// The tokenizer's tables contradict each other.
    #[error("tokenizer: {0}")]
    Tokenizer(VocabError),
    /// A JSON file of a model directory does not parse or lacks a field.
    #[error("{file}")]
    Json {
        /// The file's name in the directory.
        file: String,
        /// What the parser says.
        source: serde_json::Error,
    },
}

/// What is wrong with one tensor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorFault {
    /// Not 1 to 4 dimensions.
    #[error("{0} dimensions: 1 to 4 are allowed")]
    Dimensions(u64),
    /// A dimension of zero.
    #[error("dimension {0} is 0")]
    ZeroDimension(usize),
    /// The product of its dimensions, or its bytes, exceeds 64 bits.
    #[error("its size exceeds 64 bits")]
    Overflow,
    /// A row is no whole number of blocks.
    #[error("rows of {cols} values are no multiple of the block of {block}")]
    Ragged {
        /// Values of a row.
        cols: u64,
        /// Values of a block.
        block: u64,
    },
    /// Data that begins off the alignment.
    #[error("offset {offset} is no multiple of the alignment {alignment}")]
    Misaligned {
        /// Offset in the data section.
        offset: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// Data that ends behind the file.
    #[error("{bytes} bytes at {offset} of the data section end behind its {section_bytes} bytes")]
    OutsideFile {
        /// Offset in the data section.
        offset: u64,
        /// Bytes of the tensor.
        bytes: u64,
        /// Bytes of the data section.
        section_bytes: u64,
    },
    /// Two tensors share bytes.
    #[error("it overlaps tensor {0}")]
    Overlap(String),
    /// A type of weights we have no kernels for.
    #[error("type {found} is not supported: {supported}")]
    Format {
        /// The type's name or number.
        found: String,
        /// What is.
        supported: &'static str,
    },
    /// Another shape than the architecture gives it.
    #[error("expected {expected}, found {found}")]
    Shape {
        /// `[rows, cols]`, or `[values]` of a vector.
        expected: Shape,
        /// The shape it has.
        found: Shape,
    },
    /// Data that does not follow the tensor before it (safetensors allows no hole and no overlap).
    #[error("its data begins at {offset} instead of {expected}, where the tensor before it ends")]
    NotAdjacent {
        /// Where it begins.
        offset: u64,
        /// Where it must begin.
        expected: u64,
    },
    /// The announced range and the shape differ in bytes (safetensors states both).
    #[error("its shape needs {expected} bytes, its range has {found}")]
    Bytes {
        /// By shape and type.
        expected: u64,
        /// By its range.
        found: u64,
    },
    /// The index of a sharded model and its shards disagree.
    #[error("the index places it in {index}, but it is in {shard}")]
    Shard {
        /// The shard the index names.
        index: String,
        /// The shard that holds it.
        shard: String,
    },
}

/// A tensor's dimensions, outermost first, as people write them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape(pub Vec<u64>);

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, dimension) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{dimension}")?;
        }
        f.write_str("]")
    }
}

impl From<VocabError> for LoadError {
    fn from(error: VocabError) -> Self {
        LoadError::Tokenizer(error)
    }
}

impl LoadError {
    pub(crate) fn out_of_range(
        key: &str,
        found: impl fmt::Display,
        expected: impl Into<String>,
    ) -> Self {
        LoadError::OutOfRange {
            key: clip(key),
            found: clip(&found.to_string()),
            expected: expected.into(),
        }
    }

    pub(crate) fn too_many(what: &str, found: impl TryInto<u64>, max: impl TryInto<u64>) -> Self {
        let [found, max] = [
            found.try_into().unwrap_or(u64::MAX),
            max.try_into().unwrap_or(u64::MAX),
        ];
        LoadError::TooMany {
            what: what.to_owned(),
            found,
            max,
        }
    }

    pub(crate) fn missing(key: &str) -> Self {
        LoadError::Missing { key: clip(key) }
    }

    pub(crate) fn unsupported(
        key: &str,
        found: impl fmt::Display,
        supported: impl Into<String>,
    ) -> Self {
        LoadError::Unsupported {
            key: clip(key),
            found: clip(&found.to_string()),
            supported: supported.into(),
        }
    }

    pub(crate) fn tensor(name: &str, fault: TensorFault) -> Self {
        LoadError::Tensor {
            name: clip(name),
            fault,
        }
    }
}

/// Characters of a name from the file that an error shows: enough for any real one, too few to fill a log.
const CLIP_CHARS: usize = 96;

/// `text` on one line and not too long: a name of 64 KiB, or one with terminal escapes, stays harmless in a log.
pub(crate) fn clip(text: &str) -> String {
    let mut clipped: String = text
        .chars()
        .take(CLIP_CHARS)
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect();
    if text.chars().nth(CLIP_CHARS).is_some() {
        clipped.push('…');
    }
    clipped
}
