//! Where each weight lies, by name.
//!
//! - A [`TensorRef`]'s range is inside its shard and holds exactly `rows * cols` values of its format; whole blocks
//!   in every row.
//!
//! Absent: the bytes themselves ([`super::ModelFile::bytes`]).

use std::ops::Range;

use spindle_kernels::Format;

/// One tensor's place and shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorRef {
    /// How its values are stored.
    pub format: Format,
    /// Rows; 1 for a vector.
    pub rows: usize,
    /// Values of a row.
    pub cols: usize,
    /// Index into [`super::ModelFile::shards`].
    pub shard: usize,
    /// Bytes in that shard.
    pub range: Range<usize>,
}

/// The tensors of a model under their GGUF names.
#[derive(Debug, Default)]
pub struct Tensors {
    /// Sorted by name.
    entries: Vec<(Box<str>, TensorRef)>,
}

impl Tensors {
    pub(super) fn new(mut entries: Vec<(Box<str>, TensorRef)>) -> Self {
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Tensors { entries }
    }

    /// The tensor of this GGUF name, `blk.0.attn_q.weight` say.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&TensorRef> {
        let index = self
            .entries
            .binary_search_by(|(entry, _)| (**entry).cmp(name))
            .ok()?;
        Some(&self.entries[index].1)
    }

    /// Every tensor, by rising name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TensorRef)> {
        self.entries.iter().map(|(name, tensor)| (&**name, tensor))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
