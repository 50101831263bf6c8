//! Finding control and user-defined tokens in text, before it is cut into words.
//!
//! - Leftmost first, the longest among those that begin there; one pass, whatever the tokens and the text.
//! - Control tokens only when the caller parses them; user-defined ones always, as in the reference.
//! - A token may swallow the blanks before or behind it, if the file says so.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::error::{EncodeError, VocabError};
use super::vocab::{TokenKind, Vocab};
use crate::formats::LoadError;
use crate::formats::limits::SPECIAL_TEXT_BYTES_MAX;

/// Blanks a special token takes with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Strip {
    pub left: bool,
    pub right: bool,
}

/// A token to be found in text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Special {
    pub id: u32,
    pub strip: Strip,
}

/// The matchers of a model.
pub(super) struct SpecialTokens {
    /// Control and user-defined tokens.
    all: Matcher,
    /// User-defined tokens alone.
    user_defined: Matcher,
}

struct Matcher {
    /// None if there is nothing to find.
    automaton: Option<AhoCorasick>,
    /// By the automaton's pattern number.
    tokens: Vec<Special>,
}

/// A piece of a text.
pub(super) enum Fragment<'t> {
    Text(&'t str),
    Token(u32),
}

impl SpecialTokens {
    /// Every control and user-defined token of the vocabulary; `strip` says which of them take blanks with them.
    pub(super) fn new(vocab: &Vocab, strip: impl Fn(u32) -> Strip) -> Result<Self, LoadError> {
        let mut all = Vec::new();
        let mut bytes = 0;
        for id in 0..vocab.len() as u32 {
            let special = matches!(
                vocab.kind(id),
                TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown
            );
            if special && !vocab.text(id).is_empty() {
                bytes += vocab.text(id).len();
                if bytes > SPECIAL_TEXT_BYTES_MAX {
                    return Err(LoadError::too_many(
                        "bytes of special tokens",
                        bytes,
                        SPECIAL_TEXT_BYTES_MAX,
                    ));
                }
                all.push(Special {
                    id,
                    strip: strip(id),
                });
            }
        }
        let user_defined = all
            .iter()
            .filter(|s| vocab.kind(s.id) == TokenKind::UserDefined)
            .copied()
            .collect();
        Ok(SpecialTokens {
            all: Matcher::new(vocab, all)?,
            user_defined: Matcher::new(vocab, user_defined)?,
        })
    }

    /// Whether any token takes blanks of the text with it.
    pub(super) fn any_strips(&self) -> bool {
        self.all
            .tokens
            .iter()
            .any(|token| token.strip.left || token.strip.right)
    }

    /// Hands `text` to `fragment` piece by piece.
    pub(super) fn split<'t>(
        &self,
        text: &'t str,
        parse_special: bool,
        fragment: &mut dyn FnMut(Fragment<'t>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let matcher = if parse_special {
            &self.all
        } else {
            &self.user_defined
        };
        matcher.split(text, fragment)
    }
}

impl Matcher {
    fn new(vocab: &Vocab, tokens: Vec<Special>) -> Result<Self, LoadError> {
        if tokens.is_empty() {
            return Ok(Matcher {
                automaton: None,
                tokens,
            });
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(tokens.iter().map(|token| vocab.text(token.id)))
            .map_err(|error| VocabError::Special {
                message: error.to_string(),
            })?;
        Ok(Matcher {
            automaton: Some(automaton),
            tokens,
        })
    }

    fn split<'t>(
        &self,
        text: &'t str,
        fragment: &mut dyn FnMut(Fragment<'t>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let mut from = 0;
        if let Some(automaton) = &self.automaton {
            for found in automaton.find_iter(text) {
                let token = self.tokens[found.pattern().as_usize()];
                // A token inside the blanks its predecessor took is gone, and one that is no whole characters (its
                // text is not UTF-8) is none.
                let Some(mut before) = text.get(from..found.start()) else {
                    continue;
                };
                let Some(behind) = text.get(found.end()..) else {
                    continue;
                };
                if token.strip.left {
                    before = before.trim_end();
                }
                if !before.is_empty() {
                    fragment(Fragment::Text(before))?;
                }
                fragment(Fragment::Token(token.id))?;
                let skipped = if token.strip.right {
                    behind.len() - behind.trim_start().len()
                } else {
                    0
                };
                from = found.end() + skipped;
            }
        }
        if from < text.len() {
            fragment(Fragment::Text(&text[from..]))
        } else {
            Ok(())
        }
    }
}
