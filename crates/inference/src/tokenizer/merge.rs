//! Byte-pair merging of one word: the best pair first, the leftmost among equals, until none is left.
//!
//! - A heap of candidates over a linked list of symbols: n log n, whatever the word.
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

/// One symbol of the word. Dead ones have `len` 0.
#[derive(Clone, Copy)]
struct Symbol {
    id: u32,
    start: u32,
    len: u32,
    prev: u32,
    next: u32,
}

/// A candidate: `(order, left symbol)` first, because the heap sorts by them; then what it was made from, to tell
/// whether it is still true when its turn comes.
type Candidate = Reverse<(u32, u32, u32, u32)>;

const END: u32 = u32::MAX;

/// Memory for one word at a time.
#[derive(Default)]
pub(super) struct Scratch {
    symbols: Vec<Symbol>,
    heap: BinaryHeap<Candidate>,
}

impl Scratch {
    /// Starts a word.
    pub(super) fn clear(&mut self) {
        self.symbols.clear();
        self.heap.clear();
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
            self.consider(pairs, left, left + 1);
        }
        while let Some(Reverse((_, left, len, result))) = self.heap.pop() {
            let symbol = self.symbols[left as usize];
            if symbol.len == 0 || symbol.next == END {
                continue;
            }
            let right = self.symbols[symbol.next as usize];
            // Symbols only grow, so the same joined length means the same two neighbours.
            if symbol.len + right.len != len {
                continue;
            }
            self.symbols[symbol.next as usize].len = 0;
            self.symbols[left as usize] = Symbol {
                id: result,
                len,
                next: right.next,
                ..symbol
            };
            if right.next != END {
                self.symbols[right.next as usize].prev = left;
                self.consider(pairs, left, right.next);
            }
            if symbol.prev != END {
                self.consider(pairs, symbol.prev, left);
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

    fn consider(&mut self, pairs: &impl Pairs, left: u32, right: u32) {
        let [a, b] = [self.symbols[left as usize], self.symbols[right as usize]];
        let text = a.start as usize..(b.start + b.len) as usize;
        if let Some((order, result)) = pairs.find(a.id, b.id, text) {
            self.heap
                .push(Reverse((order, left, a.len + b.len, result)));
        }
    }
}
