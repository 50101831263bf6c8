//! Byte-pair merging of one word: the best pair first, the leftmost among equals, until none is left.
//!
//! - Candidates by order over a linked list of symbols: n log n, whatever the word. Those of the untouched word are
//!   sorted once; only those that come up later go through a heap.
//! - [`Scratch`] is reused from word to word, so a text costs no allocation a word.
//!
//! Absent: what makes a pair good ([`Pairs`]: merge ranks, or scores of the joined text).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

/// A symbol with no token of its own.
pub(super) const NO_TOKEN: u32 = u32::MAX;

/// The rule that says which neighbours merge.
pub(super) trait Pairs {
    /// Order (lower first) and result of merging two neighbours. `text` is the range of both in the word.
    fn find(&self, left: u32, right: u32, text: Range<usize>) -> Option<(u32, u32)>;
}

/// One symbol of the word. One that was merged into its left neighbour has nothing behind it.
#[derive(Clone, Copy)]
struct Symbol {
    id: u32,
    start: u32,
    len: u32,
    prev: u32,
    next: u32,
}

/// A possible merge: its order, then its left symbol. Whether the two symbols are still what they were is looked up
/// when its turn comes, so a candidate is one number, and a long word's heap half the size.
type Candidate = u64;

const END: u32 = u32::MAX;

/// Memory for one word at a time.
#[derive(Default)]
pub(super) struct Scratch {
    symbols: Vec<Symbol>,
    /// The candidates of the word as it came, best last.
    first: Vec<Candidate>,
    /// The candidates that merging brought up.
    later: BinaryHeap<Reverse<Candidate>>,
}

impl Scratch {
    /// Starts a word.
    pub(super) fn clear(&mut self) {
        self.symbols.clear();
        self.first.clear();
        self.later.clear();
    }

    /// Appends the word's next symbol: `len` bytes that are token `id`, or [`NO_TOKEN`].
    pub(super) fn push(&mut self, id: u32, len: usize) {
        let index = self.symbols.len() as u32;
        let start = self.symbols.last().map_or(0, |last| last.start + last.len);
        let prev = if index == 0 { END } else { index - 1 };
        self.symbols.push(Symbol {
            id,
            start,
            len: len as u32,
            prev,
            next: index + 1,
        });
    }

    /// Merges the word and hands every symbol left, in order, to `emit` with its range in the word.
    pub(super) fn merge(&mut self, pairs: &impl Pairs, mut emit: impl FnMut(u32, Range<usize>)) {
        let Some(last) = self.symbols.last_mut() else {
            return;
        };
        last.next = END;
        for left in 0..self.symbols.len() as u32 - 1 {
            if let Some((order, _)) = self.find(pairs, left) {
                self.first.push(candidate(order, left));
            }
        }
        self.first.sort_unstable_by(|a, b| b.cmp(a));
        while let Some(candidate) = self.pop() {
            let [order, left] = [(candidate >> 32) as u32, candidate as u32];
            match self.find(pairs, left) {
                Some((found, result)) if found == order => self.join(pairs, left, result),
                _ => {}
            }
        }
        let mut index = 0;
        while index != END {
            let Symbol {
                id,
                start,
                len,
                next,
                ..
            } = self.symbols[index as usize];
            emit(id, start as usize..(start + len) as usize);
            index = next;
        }
    }

    fn pop(&mut self) -> Option<Candidate> {
        match (self.first.last(), self.later.peek()) {
            (Some(first), Some(Reverse(later))) if later < first => {
                self.later.pop().map(|Reverse(later)| later)
            }
            (Some(_), _) => self.first.pop(),
            (None, _) => self.later.pop().map(|Reverse(later)| later),
        }
    }

    /// What a symbol and the one behind it merge into. A dead symbol has nothing behind it.
    fn find(&self, pairs: &impl Pairs, left: u32) -> Option<(u32, u32)> {
        let a = self.symbols[left as usize];
        let b = self.symbols.get(a.next as usize)?;
        pairs.find(a.id, b.id, a.start as usize..(b.start + b.len) as usize)
    }

    fn join(&mut self, pairs: &impl Pairs, left: u32, result: u32) {
        let symbol = self.symbols[left as usize];
        let right = self.symbols[symbol.next as usize];
        self.symbols[symbol.next as usize].next = END;
        let len = symbol.len + right.len;
        self.symbols[left as usize] = Symbol {
            id: result,
            len,
            next: right.next,
            ..symbol
        };
        if right.next != END {
            self.symbols[right.next as usize].prev = left;
            self.consider(pairs, left);
        }
        if symbol.prev != END {
            self.consider(pairs, symbol.prev);
        }
    }

    fn consider(&mut self, pairs: &impl Pairs, left: u32) {
        if let Some((order, _)) = self.find(pairs, left) {
            self.later.push(Reverse(candidate(order, left)));
        }
    }
}

fn candidate(order: u32, left: u32) -> Candidate {
    u64::from(order) << 32 | u64::from(left)
}
