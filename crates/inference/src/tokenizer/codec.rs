//! The tokenizer of one model.
//!
//! - Ids are below [`Tokenizer::vocab_len`]; every id a caller passes is checked, none panics.
//! - Pure and shared: encoding needs no lock, and all its memory is its own.
//! - What a control token means is said by its id alone: it decodes to no text.

use std::borrow::Cow;

use super::bytes::{byte_of, push_alphabet, push_blanks};
use super::encode::Encoder;
use super::error::EncodeError;
use super::merges::MergeTable;
use super::normalizer::Normalizer;
use super::pre::PreTokenizer;
use super::special::{Fragment, SpecialTokens};
use super::vocab::{TokenKind, Vocab};
use crate::token::TokenId;

/// Text to tokens and back.
pub struct Tokenizer {
    pub(super) vocab: Vocab,
    pub(super) algorithm: Algorithm,
    pub(super) special: SpecialTokens,
    pub(super) normalizer: Normalizer,
    pub(super) bos: Option<TokenId>,
    pub(super) eos: Option<TokenId>,
    pub(super) add_bos: bool,
    /// Rising.
    pub(super) ends: Vec<TokenId>,
}

/// How words become tokens.
pub(super) enum Algorithm {
    /// GPT-2's: bytes merged by rank, words cut by a pattern.
    ByteLevel(ByteLevel),
    /// SentencePiece's: characters merged by score or rank, blanks written `▁`, unknown characters as bytes.
    SentencePiece(SentencePiece),
}

impl Algorithm {
    /// Whether text becomes this token by a merge of a table.
    pub(super) fn makes(&self, id: u32) -> bool {
        match self {
            Algorithm::ByteLevel(ByteLevel { merges, .. })
            | Algorithm::SentencePiece(SentencePiece {
                ranking: Ranking::Merges(merges),
                ..
            }) => merges.makes(id),
            Algorithm::SentencePiece(_) => false,
        }
    }
}

pub(super) struct ByteLevel {
    pub merges: MergeTable,
    pub pre: PreTokenizer,
    /// The token of each byte; see [`super::bytes::alphabet_tokens`].
    pub bytes: Box<[u32; 256]>,
    /// A word that is a token is that token, without merging.
    pub ignore_merges: bool,
    /// Put a blank before a text that does not begin with one.
    pub add_prefix_space: bool,
}

pub(super) struct SentencePiece {
    pub ranking: Ranking,
    /// The token of each byte; see [`super::bytes::fallback_tokens`].
    pub bytes: Box<[u32; 256]>,
    pub blank_prefix: BlankPrefix,
    /// The prefix is left out where the text begins with a blank.
    pub prefix_if_missing: bool,
    /// No token has a `▁` behind another character, so words may be merged one by one.
    pub splits_at_blanks: bool,
}

/// Which of two possible merges comes first.
pub(super) enum Ranking {
    /// By the joined text's score, highest first; each token's place in that order.
    Score(Vec<u32>),
    /// By the merge's place in a table.
    Merges(MergeTable),
}

/// Where SentencePiece puts a blank that the text has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlankPrefix {
    Never,
    /// Before the text only.
    First,
    /// Before the text and behind every special token.
    Always,
}

/// SentencePiece's blank.
pub(super) const BLANK: &str = "▁";

impl Tokenizer {
    /// The tokens of `text`. Control tokens written out in it are found only if `parse_special`; otherwise they are
    /// text like any other. The begin token is not added ([`Tokenizer::add_bos`]).
    pub fn encode(&self, text: &str, parse_special: bool) -> Result<Vec<TokenId>, EncodeError> {
        self.encode_within(text, parse_special, usize::MAX)
    }

    /// [`Tokenizer::encode`], refused as soon as it is known to have more than `tokens_max` tokens: before any work
    /// if the text is too long for any tokens.
    pub fn encode_within(
        &self,
        text: &str,
        parse_special: bool,
        tokens_max: usize,
    ) -> Result<Vec<TokenId>, EncodeError> {
        let at_least = self.tokens_min(text.len());
        if at_least > tokens_max {
            return Err(EncodeError::TooLong {
                at_least,
                max: tokens_max,
            });
        }
        let text = self.normalizer.apply(text);
        let mut encoder = Encoder::new(tokens_max);
        let mut behind_special = true;
        self.special.split(&text, parse_special, &mut |fragment| {
            match fragment {
                Fragment::Token(id) => {
                    encoder.tokens.push(TokenId(id));
                    behind_special = true;
                }
                Fragment::Text(text) => {
                    let first = encoder.tokens.is_empty();
                    match &self.algorithm {
                        Algorithm::ByteLevel(model) => {
                            encoder.byte_level(&self.vocab, model, text)?
                        }
                        Algorithm::SentencePiece(model) => {
                            let prefix = match model.blank_prefix {
                                BlankPrefix::Never => false,
                                BlankPrefix::First => first,
                                BlankPrefix::Always => behind_special,
                            };
                            encoder.sentence_piece(&self.vocab, model, text, prefix)?;
                        }
                    }
                    behind_special = false;
                }
            }
            encoder.check()
        })?;
        Ok(encoder.tokens)
    }

    /// A number of tokens that no text of so many bytes gets by with.
    fn tokens_min(&self, text_bytes: usize) -> usize {
        // A token stands for no more bytes than its own text has, unless it takes blanks with it. Composing a text
        // leaves a third of its bytes at the least.
        match self.normalizer {
            _ if self.special.any_strips() => 0,
            Normalizer::None => text_bytes / self.vocab.longest(),
            Normalizer::Nfc => text_bytes / (3 * self.vocab.longest()),
        }
    }

    /// The bytes of a text these tokens stand for. Not necessarily UTF-8: a token may end inside a character.
    #[must_use]
    pub fn decode(&self, tokens: &[TokenId]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 * tokens.len());
        for token in tokens {
            self.push_bytes(*token, &mut bytes);
        }
        // The blank that encoding put before the text is no part of it.
        let prefixed = match &self.algorithm {
            Algorithm::ByteLevel(model) => model.add_prefix_space,
            Algorithm::SentencePiece(model) => model.blank_prefix != BlankPrefix::Never,
        };
        if prefixed && bytes.first() == Some(&b' ') {
            bytes.remove(0);
        }
        bytes
    }

    /// The bytes one token adds to an answer; none for control tokens and for ids outside the vocabulary.
    #[must_use]
    pub fn token_bytes(&self, token: TokenId) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.push_bytes(token, &mut bytes);
        bytes
    }

    /// Appends [`Tokenizer::token_bytes`].
    pub fn push_bytes(&self, token: TokenId, bytes: &mut Vec<u8>) {
        let text = self.vocab.text(token.0);
        match self.vocab.kind(token.0) {
            TokenKind::Control | TokenKind::Unknown | TokenKind::Unused => {}
            TokenKind::Byte => bytes.extend(byte_of(text)),
            TokenKind::UserDefined => bytes.extend_from_slice(text),
            TokenKind::Normal => match &self.algorithm {
                Algorithm::ByteLevel(_) => push_alphabet(text, bytes),
                Algorithm::SentencePiece(_) => push_blanks(text, bytes),
            },
        }
    }

    /// A token as the vocabulary spells it (`<|im_end|>`, `Ġhello`); control tokens included.
    #[must_use]
    pub fn token_text(&self, token: TokenId) -> Cow<'_, str> {
        String::from_utf8_lossy(self.vocab.text(token.0))
    }

    /// The token spelled so in the vocabulary.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<TokenId> {
        self.vocab.find_any(text.as_bytes()).map(TokenId)
    }

    /// Tokens in the vocabulary, unused ones included.
    #[must_use]
    pub fn vocab_len(&self) -> usize {
        self.vocab.len()
    }

    /// The token to put before a prompt, if the model wants one.
    #[must_use]
    pub fn add_bos(&self) -> Option<TokenId> {
        self.bos.filter(|_| self.add_bos)
    }

    /// The token that begins a sequence, whether or not it is to be added.
    #[must_use]
    pub fn bos(&self) -> Option<TokenId> {
        self.bos
    }

    /// The token that ends a sequence.
    #[must_use]
    pub fn eos(&self) -> Option<TokenId> {
        self.eos
    }

    /// Text of [`Tokenizer::bos`], for chat templates.
    #[must_use]
    pub fn bos_text(&self) -> Option<Cow<'_, str>> {
        self.bos.map(|id| self.token_text(id))
    }

    /// Text of [`Tokenizer::eos`], for chat templates.
    #[must_use]
    pub fn eos_text(&self) -> Option<Cow<'_, str>> {
        self.eos.map(|id| self.token_text(id))
    }

    /// Every token that ends an answer, rising: the end of a sequence, of a turn, of a message.
    #[must_use]
    pub fn eos_ids(&self) -> &[TokenId] {
        &self.ends
    }

    /// Whether this token ends an answer.
    #[must_use]
    pub fn is_end(&self, token: TokenId) -> bool {
        self.ends.binary_search(&token).is_ok()
    }

    /// Whether this token is a control token: it has a text, but decodes to nothing.
    #[must_use]
    pub fn is_control(&self, token: TokenId) -> bool {
        self.vocab.kind(token.0) == TokenKind::Control
    }

    /// Gives the vocabulary unused tokens up to `len`: models pad their embeddings.
    pub(crate) fn pad(&mut self, len: usize) {
        self.vocab.pad(len);
    }
}
