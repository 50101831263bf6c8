//! One text on its way to tokens: words of the pre-tokenizer, merged one by one.
//!
//! - Memory and time follow the text: a word of any length is merged in parts of bounded size.

use std::ops::Range;

use super::alphabet;
use super::codec::{BLANK, ByteLevel, Ranking, SentencePiece};
use super::error::EncodeError;
use super::merge::{NO_TOKEN, Pairs, Scratch};
use super::merges::MergeTable;
use super::pre::Caches;
use super::vocab::Vocab;
use crate::token::TokenId;

/// One text being encoded.
pub(super) struct Encoder {
    pub tokens: Vec<TokenId>,
    tokens_max: usize,
    scratch: Scratch,
    caches: Caches,
    /// The current word in the vocabulary's own spelling.
    spelled: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(tokens_max: usize) -> Self {
        Encoder {
            tokens: Vec::new(),
            tokens_max,
            scratch: Scratch::default(),
            caches: Caches::default(),
            spelled: Vec::new(),
        }
    }

    pub(super) fn check(&self) -> Result<(), EncodeError> {
        if self.tokens.len() > self.tokens_max {
            return Err(EncodeError::TooLong {
                at_least: self.tokens.len(),
                max: self.tokens_max,
            });
        }
        Ok(())
    }

    pub(super) fn byte_level(
        &mut self,
        vocab: &Vocab,
        model: &ByteLevel,
        text: &str,
    ) -> Result<(), EncodeError> {
        let prefixed =
            (model.add_prefix_space && !text.starts_with(' ')).then(|| format!(" {text}"));
        // Out of `self` while the words come in, which need the rest of it.
        let mut caches = std::mem::take(&mut self.caches);
        let split = model.pre.split(
            &mut caches,
            prefixed.as_deref().unwrap_or(text),
            &mut |word| {
                let mut rest = word;
                while !rest.is_empty() {
                    let (part, behind) = rest.split_at(part_len(rest));
                    self.byte_level_word(vocab, model, part.as_bytes());
                    self.check()?;
                    rest = behind;
                }
                Ok(())
            },
        );
        self.caches = caches;
        split
    }

    fn byte_level_word(&mut self, vocab: &Vocab, model: &ByteLevel, word: &[u8]) {
        // Letters of the alphabet take one or two bytes, so a longer word cannot be a token.
        if model.ignore_merges && word.len() <= vocab.longest() {
            self.spelled.clear();
            for byte in word {
                let mut utf8 = [0; 4];
                self.spelled
                    .extend_from_slice(alphabet::char_of(*byte).encode_utf8(&mut utf8).as_bytes());
            }
            if let Some(id) = vocab.find(&self.spelled) {
                self.tokens.push(TokenId(id));
                return;
            }
        }
        self.scratch.clear();
        for byte in word {
            self.scratch.push(model.bytes[usize::from(*byte)], 1);
        }
        self.scratch.merge(&ByRank(&model.merges), |id, _| {
            if id != NO_TOKEN {
                self.tokens.push(TokenId(id));
            }
        });
    }

    pub(super) fn sentence_piece(
        &mut self,
        vocab: &Vocab,
        model: &SentencePiece,
        text: &str,
        prefix: bool,
    ) -> Result<(), EncodeError> {
        let begins_blank = text.starts_with([' ', '▁']);
        let prefix = if prefix && !(model.prefix_if_missing && begins_blank) {
            BLANK
        } else {
            ""
        };
        let spelled = [prefix, &text.replace(' ', BLANK)].concat();
        let mut rest = &*spelled;
        while !rest.is_empty() {
            let word = if model.splits_at_blanks {
                &rest[..word_len(rest)]
            } else {
                rest
            };
            let len = part_len(word);
            let (word, behind) = rest.split_at(len);
            self.sentence_piece_word(vocab, model, word);
            self.check()?;
            rest = behind;
        }
        Ok(())
    }

    fn sentence_piece_word(&mut self, vocab: &Vocab, model: &SentencePiece, word: &str) {
        self.scratch.clear();
        for (at, c) in word.char_indices() {
            let len = c.len_utf8();
            let id = vocab.find(&word.as_bytes()[at..at + len]);
            self.scratch.push(id.unwrap_or(NO_TOKEN), len);
        }
        let tokens = &mut self.tokens;
        let emit = |id, range: Range<usize>| match id {
            NO_TOKEN => {
                let bytes = word.as_bytes()[range].iter();
                tokens.extend(bytes.map(|byte| TokenId(model.bytes[usize::from(*byte)])));
            }
            id => tokens.push(TokenId(id)),
        };
        match &model.ranking {
            Ranking::Score(orders) => self.scratch.merge(
                &ByScore {
                    vocab,
                    orders,
                    word: word.as_bytes(),
                },
                emit,
            ),
            Ranking::Merges(merges) => self.scratch.merge(&ByRank(merges), emit),
        }
    }
}

/// Bytes of a word that are merged at once. Merging takes some 40 bytes of memory for each; no language has such words,
/// so only texts made to exhaust us are merged in parts.
const PART_BYTES_MAX: usize = 256 << 10;

/// Bytes of the next part of a word: all of it, or what ends before a blank or at least between characters.
fn part_len(word: &str) -> usize {
    if word.len() <= PART_BYTES_MAX {
        return word.len();
    }
    let end = word.floor_char_boundary(PART_BYTES_MAX);
    match word[..end].rfind(BLANK) {
        None | Some(0) => end,
        Some(blank) => blank,
    }
}

/// Bytes of the blanks at the start and of what follows them up to the next blank.
fn word_len(text: &str) -> usize {
    let blanks = text.len() - text.trim_start_matches(BLANK).len();
    text[blanks..]
        .find(BLANK)
        .map_or(text.len(), |at| blanks + at)
}

/// Merges stated as pairs of tokens.
struct ByRank<'a>(&'a MergeTable);

impl Pairs for ByRank<'_> {
    fn find(&self, left: u32, right: u32, _: Range<usize>) -> Option<(u32, u32)> {
        self.0.find(left, right)
    }
}

/// Merges implied by the scores of what they make.
struct ByScore<'a> {
    vocab: &'a Vocab,
    orders: &'a [u32],
    word: &'a [u8],
}

impl Pairs for ByScore<'_> {
    fn find(&self, _: u32, _: u32, text: Range<usize>) -> Option<(u32, u32)> {
        if text.len() > self.vocab.longest() {
            return None;
        }
        let id = self.vocab.find(&self.word[text])?;
        Some((self.orders[id as usize], id))
    }
}
