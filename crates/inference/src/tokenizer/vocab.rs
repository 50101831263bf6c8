//! The vocabulary: token texts where the file has them, and an index from text to id.
//!
//! - Texts stay in the bytes they came in; a token costs 5 bytes here and 8 in the index.
//! - Ids are below 2^20, texts at most [`TOKEN_BYTES_MAX`] bytes; no two indexed tokens have the same text.
//! - Control tokens are not in the index, so text never becomes one by merging. [`super::special`] finds them.
//!
//! Absent: what a token decodes to ([`super::codec`]).

use super::error::VocabError;
use super::hash;
use crate::formats::limits::{TOKEN_BYTES_MAX, VOCAB_MAX};
use crate::formats::{Bytes, LoadError};

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// Made from text by merging.
    Normal,
    /// Stands for text that has no token.
    Unknown,
    /// A word between model and runtime; decodes to nothing.
    Control,
    /// Matched in text before anything else; decodes to its text.
    UserDefined,
    /// Never made, never matched.
    Unused,
    /// One byte, spelled `<0xNN>`.
    Byte,
}

pub(super) struct Vocab {
    texts: Bytes,
    /// Where token 0's text begins in `texts`.
    base: usize,
    /// Each token's text, as an offset from `base`; one more at the end.
    starts: Vec<u32>,
    /// Bytes between the end of one text and the start of the next (GGUF puts a length there).
    gap: u32,
    kinds: Vec<TokenKind>,
    /// Open addressing by the text's hash: 12 bits of the hash over 20 bits of id + 1; 0 is free.
    index: Vec<u32>,
    longest: usize,
}

/// Token texts as they lie in a buffer, before anything is known about them.
pub(super) struct Texts {
    pub texts: Bytes,
    pub base: usize,
    pub starts: Vec<u32>,
    pub gap: u32,
}

const ID_BITS: u32 = 20;
const _: () = assert!(VOCAB_MAX < 1 << ID_BITS);

impl Vocab {
    /// Indexes the texts. `kinds` has one entry a token.
    pub(super) fn new(texts: Texts, kinds: Vec<TokenKind>) -> Result<Self, LoadError> {
        let Texts {
            texts,
            base,
            starts,
            gap,
        } = texts;
        if kinds.is_empty() {
            return Err(VocabError::Empty.into());
        }
        assert_eq!(
            starts.len(),
            kinds.len() + 1,
            "one start a token and one at the end"
        );
        let slots = 2 * kinds.len();
        let mut vocab = Vocab {
            texts,
            base,
            starts,
            gap,
            kinds,
            index: vec![0; slots],
            longest: 1,
        };
        for id in 0..vocab.len() as u32 {
            let bytes = vocab.text(id).len();
            if bytes > TOKEN_BYTES_MAX {
                let [id, bytes, max] = [id.into(), bytes as u64, TOKEN_BYTES_MAX as u64];
                return Err(VocabError::TokenLength { id, bytes, max }.into());
            }
            vocab.longest = vocab.longest.max(bytes);
        }
        for id in 0..vocab.len() as u32 {
            // Holes in a vocabulary have no text, and several may be there.
            if vocab.is_text(id) && !vocab.text(id).is_empty() {
                vocab.insert(id)?;
            }
        }
        Ok(vocab)
    }

    pub(super) fn len(&self) -> usize {
        self.kinds.len()
    }

    /// The text of a token, or nothing if there is no such token.
    pub(super) fn text(&self, id: u32) -> &[u8] {
        let Some([start, next]) = self.starts.get(id as usize..id as usize + 2) else {
            return &[];
        };
        let [start, end] = [
            self.base + *start as usize,
            self.base + next.saturating_sub(self.gap) as usize,
        ];
        // Padding tokens have no place in the bytes: their range is empty or none.
        (*self.texts).as_ref().get(start..end).unwrap_or_default()
    }

    pub(super) fn kind(&self, id: u32) -> TokenKind {
        self.kinds
            .get(id as usize)
            .copied()
            .unwrap_or(TokenKind::Unused)
    }

    pub(super) fn set_kind(&mut self, id: u32, kind: TokenKind) {
        self.kinds[id as usize] = kind;
    }

    /// Bytes of the longest text.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// The token with this text, control tokens excepted.
    pub(super) fn find(&self, text: &[u8]) -> Option<u32> {
        let hash = hash::bytes(text);
        let mut slot = hash::slot(hash, self.index.len());
        loop {
            let entry = self.index[slot];
            if entry == 0 {
                return None;
            }
            let id = id_of(entry);
            if tag_of(entry) == tag(hash) && self.text(id) == text && self.is_text(id) {
                return Some(id);
            }
            slot = next(slot, self.index.len());
        }
    }

    /// Any token with this text, control tokens included; slow.
    pub(super) fn find_any(&self, text: &[u8]) -> Option<u32> {
        self.find(text)
            .or_else(|| (0..self.len() as u32).find(|id| self.text(*id) == text))
    }

    /// Whether text may become this token by merging. Asked at every search: a kind may have changed since indexing.
    pub(super) fn is_text(&self, id: u32) -> bool {
        matches!(self.kind(id), TokenKind::Normal | TokenKind::UserDefined)
    }

    /// Adds unused tokens without text up to `len`.
    pub(super) fn pad(&mut self, len: usize) {
        let missing = len.saturating_sub(self.len());
        let end = self.starts.last().copied().unwrap_or_default();
        self.starts.extend(std::iter::repeat_n(end, missing));
        self.kinds
            .extend(std::iter::repeat_n(TokenKind::Unused, missing));
    }

    fn insert(&mut self, id: u32) -> Result<(), LoadError> {
        let hash = hash::bytes(self.text(id));
        let slots = self.index.len();
        let mut slot = hash::slot(hash, slots);
        for _ in 0..hash::PROBES_MAX {
            let entry = self.index[slot];
            if entry == 0 {
                self.index[slot] = tag(hash) << ID_BITS | (id + 1);
                return Ok(());
            }
            let first = id_of(entry);
            if tag_of(entry) == tag(hash) && self.text(first) == self.text(id) {
                let text = crate::formats::clip(&String::from_utf8_lossy(self.text(id)));
                return Err(VocabError::SameText {
                    first,
                    second: id,
                    text,
                }
                .into());
            }
            slot = next(slot, slots);
        }
        Err(VocabError::Collisions.into())
    }
}

fn id_of(entry: u32) -> u32 {
    (entry & ((1 << ID_BITS) - 1)) - 1
}

fn tag_of(entry: u32) -> u32 {
    entry >> ID_BITS
}

/// Low bits of the hash: the slot uses the high ones.
fn tag(hash: u64) -> u32 {
    hash as u32 >> ID_BITS
}

fn next(slot: usize, slots: usize) -> usize {
    if slot + 1 == slots { 0 } else { slot + 1 }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn vocab(texts: &[&[u8]]) -> Result<Vocab, LoadError> {
        let mut starts = vec![0];
        for text in texts {
            starts.push(starts.last().unwrap() + text.len() as u32);
        }
        let kinds = vec![TokenKind::Normal; texts.len()];
        Vocab::new(
            Texts {
                texts: Arc::new(texts.concat()),
                base: 0,
                starts,
                gap: 0,
            },
            kinds,
        )
    }

    #[test]
    fn texts_are_found_and_only_they() {
        let vocab = vocab(&[b"a", b"", b"ab", b"", b"\xff"]).unwrap();
        assert_eq!(
            [&b"a"[..], b"ab", b"\xff"].map(|text| vocab.find(text)),
            [Some(0), Some(2), Some(4)]
        );
        assert_eq!(
            [&b"b"[..], b"abc", b"\xfe"].map(|text| vocab.find(text)),
            [None; 3]
        );
        assert_eq!(
            (vocab.text(2), vocab.text(5), vocab.longest()),
            (&b"ab"[..], &b""[..], 2)
        );
    }

    #[test]
    fn control_tokens_are_never_found_as_text() {
        let mut vocab = vocab(&[b"<s>", b"s"]).unwrap();
        vocab.set_kind(0, TokenKind::Control);
        assert_eq!(
            (vocab.find(b"<s>"), vocab.find_any(b"<s>"), vocab.find(b"s")),
            (None, Some(0), Some(1))
        );
    }

    #[test]
    fn padding_has_no_text() {
        let mut vocab = vocab(&[b"a"]).unwrap();
        vocab.pad(3);
        assert_eq!(
            (vocab.len(), vocab.text(2), vocab.kind(2)),
            (3, &b""[..], TokenKind::Unused)
        );
    }

    /// A table of tokens chosen to share a few slots takes quadratic time to fill: half a million of them, minutes.
    #[test]
    fn texts_made_to_collide_are_refused() {
        let slots = 2 * 1_000;
        let chosen: Vec<String> = (0..1_000_000_u32)
            .map(|i| i.to_string())
            .filter(|text| hash::slot(hash::bytes(text.as_bytes()), slots) < 8)
            .take(1_000)
            .collect();
        assert_eq!(chosen.len(), 1_000);
        let texts: Vec<&[u8]> = chosen.iter().map(String::as_bytes).collect();
        let refused = vocab(&texts).map(|_| ());
        assert!(matches!(
            refused,
            Err(LoadError::Tokenizer(VocabError::Collisions))
        ));
    }
}
