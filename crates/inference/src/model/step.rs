//! What one forward pass computes: tokens of many sequences, and the rows whose logits are wanted.
//!
//! - Rows of one sequence lie together and are consecutive positions; a sequence is in a step once.
//! - A step owns what it names (tokens, page numbers), so that it can be kept and filled again without new memory.

use std::ops::Range;

use crate::kv::PageId;
use crate::token::TokenId;

/// One forward pass's work.
#[derive(Debug, Default)]
pub struct Step {
    pub(super) tokens: Vec<TokenId>, // [rows]
    pub(super) positions: Vec<u32>,  // [rows]
    pub(super) chunks: Vec<Chunk>,
    pub(super) outputs: Vec<usize>, // rows, rising
    pages: Vec<PageId>,
}

/// Consecutive positions of one sequence.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    /// Its rows in the step.
    pub rows: Range<usize>,
    /// Position of its first row.
    pub position: usize,
    pages: Range<usize>,
}

impl Step {
    /// Empties it.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.chunks.clear();
        self.outputs.clear();
        self.pages.clear();
    }

    /// Adds `tokens` of a sequence from `position` on, whose pages hold at least all positions up to the last of them.
    /// Returns the first one's row.
    pub fn push(&mut self, tokens: &[TokenId], position: usize, pages: &[PageId]) -> usize {
        let (row, page) = (self.tokens.len(), self.pages.len());
        self.tokens.extend_from_slice(tokens);
        self.positions
            .extend((position..position + tokens.len()).map(|position| position as u32));
        self.pages.extend_from_slice(pages);
        self.chunks.push(Chunk {
            rows: row..self.tokens.len(),
            position,
            pages: page..self.pages.len(),
        });
        row
    }

    /// Asks for the logits of a row; rows are asked for in rising order. The n-th call is output n.
    pub fn push_output(&mut self, row: usize) {
        debug_assert!(
            row < self.rows() && self.outputs.last().is_none_or(|&last| last < row),
            "outputs rise"
        );
        self.outputs.push(row);
    }

    /// Rows in all.
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }

    /// Rows whose logits are asked for.
    pub fn outputs(&self) -> usize {
        self.outputs.len()
    }

    /// Pairs of a row and a position it attends to.
    pub fn pairs(&self) -> usize {
        self.positions
            .iter()
            .map(|&position| position as usize + 1)
            .sum()
    }

    pub(super) fn pages(&self, chunk: &Chunk) -> &[PageId] {
        &self.pages[chunk.pages.clone()]
    }
}
