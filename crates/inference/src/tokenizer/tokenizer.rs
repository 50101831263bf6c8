//! The tokenizer of one model.
//!
//! - Ids are below [`Tokenizer::vocab_len`]; every id a caller passes is checked, none panics.
//! - Pure and shared: encoding needs no lock, and all its memory is its own.
//! - What a control token means is said by its id alone: it decodes to no text.

use std::borrow::Cow;
use std::ops::Range;

use super::alphabet;
use super::error::{EncodeError, VocabError};
use super::merge::{NO_TOKEN, Pairs, Scratch};
use super::merges::MergeTable;
use super::normalizer::Normalizer;
use super::pre::{Caches, PreTokenizer};
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
            | Algorithm::SentencePiece(SentencePiece { ranking: Ranking::Merges(merges), .. }) => merges.makes(id),
            Algorithm::SentencePiece(_) => false,
        }
    }
}

pub(super) struct ByteLevel {
    pub merges: MergeTable,
    pub pre: PreTokenizer,
    /// The token of each byte; see [`alphabet_tokens`].
    pub bytes: Box<[u32; 256]>,
    /// A word that is a token is that token, without merging.
    pub ignore_merges: bool,
    /// Put a blank before a text that does not begin with one.
    pub add_prefix_space: bool,
}

pub(super) struct SentencePiece {
    pub ranking: Ranking,
    /// The token of each byte; see [`fallback_tokens`].
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

/// One text being encoded.
struct Encoder {
    tokens: Vec<TokenId>,
    tokens_max: usize,
    scratch: Scratch,
    caches: Caches,
    /// The current word in the vocabulary's own spelling.
    spelled: Vec<u8>,
}

impl Encoder {
    fn new(tokens_max: usize) -> Self {
        Encoder {
            tokens: Vec::new(),
            tokens_max,
            scratch: Scratch::default(),
caches: Caches::default(),
            spelled: Vec::new(),
        }
    }

    fn check(&self) -> Result<(), EncodeError> {
        if self.tokens.len() > self.tokens_max {
            return Err(EncodeError::TooLong {
                at_least: self.tokens.len(),
                max: self.tokens_max,
            });
        }
        Ok(())
    }

    fn byte_level(&mut self, vocab: &Vocab, model: &ByteLevel, text: &str) -> Result<(), EncodeError> {
        let prefixed = (model.add_prefix_space && !text.starts_with(' ')).then(|| format!(" {text}"));
        // Out of `self` while the words come in, which need the rest of it.
        let mut caches = std::mem::take(&mut self.caches);
        let split = model.pre.split(&mut caches, prefixed.as_deref().unwrap_or(text), &mut |word| {
            self.byte_level_word(vocab, model, word.as_bytes());
            self.check()
        });
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

    fn sentence_piece(
        &mut self,
        vocab: &Vocab,
        model: &SentencePiece,
        text: &str,
        prefix: bool,
    ) -> Result<(), EncodeError> {
        let begins_blank = text.starts_with([' ', '▁']);
        let prefix = if prefix && !(model.prefix_if_missing && begins_blank) { BLANK } else { "" };
        let spelled = [prefix, &text.replace(' ', BLANK)].concat();
        let mut rest = &*spelled;
        while !rest.is_empty() {
            let len = if model.splits_at_blanks {
                word_len(rest)
            } else {
                rest.len()
            };
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

/// A score's place in the order of merging: a higher score is a lower number.
pub(super) fn score_order(score: f32) -> u32 {
    // Adding zero makes -0.0 equal to 0.0; then the bits of floats, sign folded, rise as the floats do.
    let bits = (score + 0.0).to_bits();
    let rising = if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    };
    !rising
}

/// Whether no token has a blank behind another character.
pub(super) fn splits_at_blanks(vocab: &Vocab) -> bool {
    (0..vocab.len() as u32)
        .filter(|id| vocab.is_text(*id))
        .all(|id| {
            let text = vocab.text(id);
            let mut body = text;
            while let Some(rest) = body.strip_prefix(BLANK.as_bytes()) {
                body = rest;
            }
            !body
                .windows(BLANK.len())
                .any(|window| window == BLANK.as_bytes())
        })
}

/// The byte a token spelled `<0xNN>` stands for.
pub(super) fn byte_of(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    let digits = str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.len() == 2)?;
    u8::from_str_radix(digits, 16).ok()
}

/// The token of each byte: what `find` says, or [`NO_TOKEN`]. Those that `needed` names must have one.
pub(super) fn byte_tokens(
    find: impl Fn(u8) -> Option<u32>,
    needed: impl Fn(u8) -> bool,
) -> Result<Box<[u32; 256]>, VocabError> {
    let mut tokens = Box::new([NO_TOKEN; 256]);
    for byte in 0..=u8::MAX {
        match find(byte) {
            Some(token) => tokens[usize::from(byte)] = token,
            None if needed(byte) => return Err(VocabError::ByteMissing { byte }),
            None => {}
        }
    }
    Ok(tokens)
}

/// Tokens of bytes in a byte-level vocabulary. Some have none for bytes that begin rare planes of Unicode; those bytes
/// are left out of a text, as in the reference. One without ASCII is no vocabulary.
pub(super) fn alphabet_tokens(vocab: &Vocab) -> Result<Box<[u32; 256]>, VocabError> {
    let find = |byte| {
        let mut utf8 = [0; 4];
        vocab.find(alphabet::char_of(byte).encode_utf8(&mut utf8).as_bytes())
    };
    byte_tokens(find, |byte| matches!(byte, b' '..=b'~'))
}

/// Tokens of bytes in SentencePiece's vocabulary, `<0xNN>`, or the unknown token. Bytes that UTF-8 never contains need
/// none.
pub(super) fn fallback_tokens(vocab: &Vocab, unknown: Option<u32>) -> Result<Box<[u32; 256]>, VocabError> {
    let mut ids = [None; 256];
    for id in 0..vocab.len() as u32 {
        if let Some(byte) = byte_of(vocab.text(id)) {
            ids[usize::from(byte)].get_or_insert(id);
        }
    }
    byte_tokens(|byte| ids[usize::from(byte)].or(unknown), |byte| !matches!(byte, 0xc0 | 0xc1 | 0xf5..))
}

/// Text in GPT-2's alphabet as bytes. A token with any other character is taken as it is.
fn push_alphabet(text: &[u8], bytes: &mut Vec<u8>) {
    let len = bytes.len();
    let decoded = str::from_utf8(text).is_ok_and(|text| {
        text.chars().all(|c| {
            alphabet::byte_of(c)
                .inspect(|byte| bytes.push(*byte))
                .is_some()
        })
    });
    if !decoded {
        bytes.truncate(len);
        bytes.extend_from_slice(text);
    }
}

/// Text with SentencePiece's blanks as bytes.
fn push_blanks(text: &[u8], bytes: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((byte, behind)) = rest.split_first() {
        if let Some(behind) = rest.strip_prefix(BLANK.as_bytes()) {
            bytes.push(b' ');
            rest = behind;
        } else {
            bytes.push(*byte);
            rest = behind;
        }
    }
}
