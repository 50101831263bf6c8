//! The `vocab` and `merges` of a BPE model, read into our tables without a tree in between.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::added::AddedToken;
use super::build::FILE;
use crate::formats::json::custom;
use crate::formats::limits::{MERGES_MAX, VOCAB_MAX, VOCAB_TEXT_BYTES_MAX};
use crate::formats::{LoadError, clip};
use crate::tokenizer::bytes::byte_of;
use crate::tokenizer::error::VocabError;
use crate::tokenizer::merges::MergeTable;
use crate::tokenizer::vocab::{Texts, TokenKind, Vocab};

/// Token texts in the order of the file.
struct Collected {
    text: Vec<u8>,
    /// Id, start and length.
    tokens: Vec<(u32, u32, u32)>,
}

impl Collected {
    fn push(&mut self, id: u64, text: &str) -> Result<(), LoadError> {
        if id >= VOCAB_MAX as u64 {
            return Err(VocabError::IdOutOfRange {
                what: "a token's id".into(),
                id,
                vocab_len: VOCAB_MAX as u64,
            }
            .into());
        }
        if self.text.len() + text.len() > VOCAB_TEXT_BYTES_MAX {
            let found = self.text.len() + text.len();
            return Err(LoadError::too_many(
                "bytes of token texts",
                found,
                VOCAB_TEXT_BYTES_MAX,
            ));
        }
        // Both are below VOCAB_TEXT_BYTES_MAX.
        self.tokens
            .push((id as u32, self.text.len() as u32, text.len() as u32));
        self.text.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// The vocabulary: the model's tokens and the added ones. Ids without a token become unused tokens.
pub(super) fn read(
    vocab: &RawValue,
    added: &[AddedToken],
    byte_fallback: bool,
) -> Result<Vocab, LoadError> {
    // Sized once: lists that grow are in memory twice while they move. A token has two quotes.
    let tokens_max = vocab.get().bytes().filter(|byte| *byte == b'"').count() / 2 + added.len();
    let mut collected = Collected {
        text: Vec::with_capacity(vocab.get().len().min(VOCAB_TEXT_BYTES_MAX)),
        tokens: Vec::with_capacity(tokens_max.min(VOCAB_MAX)),
    };
    let mut fault = None;
    let mut json = serde_json::Deserializer::from_str(vocab.get());
    let parsed = VocabMap {
        collected: &mut collected,
        fault: &mut fault,
    }
    .deserialize(&mut json);
    if let Some(fault) = fault {
        return Err(fault);
    }
    parsed.map_err(|source| LoadError::Json {
        file: FILE.into(),
        source,
    })?;
    collected.tokens.sort_unstable();
    let known = collected.tokens.len();
    for token in added {
        let found =
            collected.tokens[..known].binary_search_by_key(&token.id, |(id, ..)| u64::from(*id));
        match found {
            Err(_) => collected.push(token.id, &token.content)?,
            Ok(index) => {
                let (_, start, len) = collected.tokens[index];
                let text = &collected.text[start as usize..(start + len) as usize];
                if text != token.content.as_bytes() {
                    return Err(VocabError::SameId { id: token.id }.into());
                }
            }
        }
    }
    collected.tokens.sort_unstable();
    if let Some(twice) = collected
        .tokens
        .windows(2)
        .find(|pair| pair[0].0 == pair[1].0)
    {
        return Err(VocabError::SameId {
            id: twice[0].0.into(),
        }
        .into());
    }
    let (texts, kinds) = arrange(collected, added, byte_fallback);
    Vocab::new(texts, kinds)
}

/// Texts by rising id in a buffer of their own, and what each token is for. Takes what was collected, so that it is gone
/// when the index is made.
fn arrange(
    collected: Collected,
    added: &[AddedToken],
    byte_fallback: bool,
) -> (Texts, Vec<TokenKind>) {
    let len = collected
        .tokens
        .last()
        .map_or(0, |(id, ..)| *id as usize + 1);
    let mut texts = Vec::with_capacity(collected.text.len());
    let mut starts = Vec::with_capacity(len + 1);
    let mut kinds = vec![TokenKind::Unused; len];
    for (id, start, text_len) in &collected.tokens {
        starts.resize(*id as usize, texts.len() as u32);
        starts.push(texts.len() as u32);
        let text = &collected.text[*start as usize..(start + text_len) as usize];
        texts.extend_from_slice(text);
        let is_byte = byte_fallback && byte_of(text).is_some();
        kinds[*id as usize] = if is_byte {
            TokenKind::Byte
        } else {
            TokenKind::Normal
        };
    }
    starts.push(texts.len() as u32);
    for token in added {
        kinds[token.id as usize] = if token.special {
            TokenKind::Control
        } else {
            TokenKind::UserDefined
        };
    }
    let texts = Texts {
        texts: Arc::new(texts),
        base: 0,
        starts,
        gap: 0,
    };
    (texts, kinds)
}

/// `{"text": id, ...}`.
struct VocabMap<'c> {
    collected: &'c mut Collected,
    fault: &'c mut Option<LoadError>,
}

impl<'de> DeserializeSeed<'de> for VocabMap<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for VocabMap<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of ids by text")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(text)) = map.next_key()? {
            let id = map.next_value()?;
            if self.collected.tokens.len() == VOCAB_MAX {
                *self.fault = Some(LoadError::too_many("tokens", VOCAB_MAX + 1, VOCAB_MAX));
            } else {
                *self.fault = self.collected.push(id, &text).err();
            }
            if self.fault.is_some() {
                return Err(custom("refused"));
            }
        }
        Ok(())
    }
}

/// A string, borrowed from the file if it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The merges as a table of ids.
pub(super) fn merges(merges: &RawValue, vocab: &Vocab) -> Result<MergeTable, LoadError> {
    let mut table = MergeTable::with_len(merges_max(merges.get()).min(MERGES_MAX))?;
    let mut fault = None;
    let mut joined = Vec::new();
    let mut push = |left: &str, right: &str| {
        let pushed = table.push(vocab, left.as_bytes(), right.as_bytes(), &mut joined);
        pushed.map_err(|error| fault = Some(error))
    };
    let mut json = serde_json::Deserializer::from_str(merges.get());
    let parsed = MergeList(&mut push).deserialize(&mut json);
    match (fault, parsed) {
        (Some(fault), _) => Err(fault),
        (None, Err(source)) => Err(LoadError::Json {
            file: FILE.into(),
            source,
        }),
        (None, Ok(())) => Ok(table),
    }
}

/// At least as many as there are merges, without parsing them: each has two quotes, or four if it is a pair.
fn merges_max(json: &str) -> usize {
    let first = json
        .trim_start()
        .strip_prefix('[')
        .unwrap_or_default()
        .trim_start();
    let quotes_each = if first.starts_with('[') { 4 } else { 2 };
    json.bytes().filter(|byte| *byte == b'"').count() / quotes_each
}

/// `["a b", ...]` or `[["a", "b"], ...]`; each pair goes to the function, whose refusal ends the reading.
struct MergeList<'f>(&'f mut dyn FnMut(&str, &str) -> Result<(), ()>);

impl<'de> DeserializeSeed<'de> for MergeList<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for MergeList<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array of merges")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(merge) = seq.next_element::<Merge>()? {
            let pair = match &merge {
                Merge::Joined(Text(joined)) => joined.split_once(' '),
                Merge::Pair(Text(left), Text(right)) => Some((&**left, &**right)),
            };
            let Some((left, right)) = pair else {
                return Err(custom("a merge that is no pair of tokens"));
            };
            (self.0)(left, right).map_err(|()| custom("refused"))?;
        }
        Ok(())
    }
}

enum Merge<'a> {
    Joined(Text<'a>),
    Pair(Text<'a>, Text<'a>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Merge<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Merge<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a pair of tokens")
            }

            fn visit_borrowed_str<E: serde::de::Error>(
                self,
                text: &'de str,
            ) -> Result<Merge<'de>, E> {
                Ok(Merge::Joined(Text(Cow::Borrowed(text))))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Merge<'de>, E> {
                Ok(Merge::Joined(Text(Cow::Owned(text.to_owned()))))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merge<'de>, A::Error> {
                let (Some(left), Some(right), None) = (
                    seq.next_element()?,
                    seq.next_element()?,
                    seq.next_element::<Text>()?,
                ) else {
                    return Err(custom("a merge that is no pair of tokens"));
                };
                Ok(Merge::Pair(left, right))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// What an error shows of a text.
pub(super) fn shown(text: &str) -> String {
    clip(text)
}
