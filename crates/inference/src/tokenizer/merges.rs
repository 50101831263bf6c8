//! Which two tokens merge into which, and how early.
//!
//! - Keyed by the pair of ids: encoding never touches text. 12 bytes a merge for a table two thirds full, 4 for the result.
//! - A merge's parts and its result are tokens; a file with any other is refused.

use super::error::VocabError;
use super::hash;
use super::vocab::Vocab;
use crate::formats::LoadError;
use crate::formats::limits::MERGES_MAX;

pub(super) struct MergeTable {
    /// Open addressing by the pair's hash: left id (20 bits), right id (20), rank + 1 (24); 0 is free.
    slots: Vec<u64>,
    /// Result of each merge, by rank.
    results: Vec<u32>,
    /// What the table was made for.
    merges_max: usize,
}

const ID_BITS: u32 = 20;
const RANK_BITS: u32 = 24;
const _: () = assert!(MERGES_MAX < 1 << RANK_BITS);

impl MergeTable {
    /// An empty table for at most so many merges.
    pub(super) fn with_len(merges: usize) -> Result<Self, LoadError> {
        if merges > MERGES_MAX {
            return Err(LoadError::too_many("merges", merges, MERGES_MAX));
        }
        Ok(MergeTable {
            slots: vec![0; merges + merges.div_ceil(2)],
            results: Vec::with_capacity(merges),
            merges_max: merges,
        })
    }

    /// Adds the next merge. `joined` is scratch space.
    pub(super) fn push(
        &mut self,
        vocab: &Vocab,
        left: &[u8],
        right: &[u8],
        joined: &mut Vec<u8>,
    ) -> Result<(), LoadError> {
        let rank = self.results.len();
        if rank >= self.merges_max {
            return Err(LoadError::too_many("merges", rank + 1, self.merges_max));
        }
        let missing = |text: &[u8]| {
            let text = crate::formats::clip(&String::from_utf8_lossy(text));
            VocabError::MergeToken {
                rank: rank as u64,
                text,
            }
        };
        let left_id = vocab.find(left).ok_or_else(|| missing(left))?;
        let right_id = vocab.find(right).ok_or_else(|| missing(right))?;
        joined.clear();
        joined.extend_from_slice(left);
        joined.extend_from_slice(right);
        let result = self.result(vocab, joined).ok_or_else(|| missing(joined))?;
        self.results.push(result);
        self.insert(left_id, right_id, rank as u64 + 1)
    }

    /// The rank and result of a pair.
    pub(super) fn find(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        if self.slots.is_empty() {
            return None;
        }
        let key = key(left, right);
        let mut slot = hash::slot(hash::pair(left, right), self.slots.len());
        loop {
            let entry = self.slots[slot];
            if entry == 0 {
                return None;
            }
            if entry >> RANK_BITS == key {
                let rank = (entry & ((1 << RANK_BITS) - 1)) as u32 - 1;
                return Some((rank, self.results[rank as usize]));
            }
            slot = next(slot, self.slots.len());
        }
    }

    /// Whether some merge makes this token.
    pub(super) fn makes(&self, id: u32) -> bool {
        self.results.contains(&id)
    }

    /// The token of a joined text. Converters write tokens in the order of their merges, so the one after the last
    /// result, or the last again, is nearly always right and costs no search.
    fn result(&self, vocab: &Vocab, joined: &[u8]) -> Option<u32> {
        if let Some(last) = self.results.last().copied() {
            for id in [last + 1, last] {
                if vocab.text(id) == joined && vocab.is_text(id) {
                    return Some(id);
                }
            }
        }
        vocab.find(joined)
    }

    fn insert(&mut self, left: u32, right: u32, rank: u64) -> Result<(), LoadError> {
        let key = key(left, right);
        let slots = self.slots.len();
        let mut slot = hash::slot(hash::pair(left, right), slots);
        for _ in 0..hash::PROBES_MAX {
            let entry = self.slots[slot];
            if entry == 0 {
                self.slots[slot] = key << RANK_BITS | rank;
                return Ok(());
            }
            if entry >> RANK_BITS == key {
                // The first of two equal merges counts, as in the reference.
                return Ok(());
            }
            slot = next(slot, slots);
        }
        Err(VocabError::Collisions.into())
    }
}

fn key(left: u32, right: u32) -> u64 {
    u64::from(left) << ID_BITS | u64::from(right)
}

fn next(slot: usize, slots: usize) -> usize {
    if slot + 1 == slots { 0 } else { slot + 1 }
}
