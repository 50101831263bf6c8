//! A tokenizer from the metadata of a GGUF file (`tokenizer.ggml.*`).
//!
//! - Token texts are not copied; merges become a table of ids.
//! - Every table has one entry a token, of the type its key calls for; every id is in the vocabulary.

use super::bytes::{alphabet_tokens, fallback_tokens};
use super::codec::{Algorithm, BlankPrefix, ByteLevel, Ranking, SentencePiece, Tokenizer};
use super::ends;
use super::error::VocabError;
use super::merges::MergeTable;
use super::normalizer::Normalizer;
use super::pre;
use super::scores::{score_order, splits_at_blanks};
use super::special::{SpecialTokens, Strip};
use super::vocab::{Texts, TokenKind, Vocab};
use crate::formats::gguf::{Metadata, ValueType};
use crate::formats::limits::VOCAB_MAX;
use crate::formats::{Bytes, LoadError, clip};
use crate::token::TokenId;

const MODEL: &str = "tokenizer.ggml.model";
const TOKENS: &str = "tokenizer.ggml.tokens";
const MERGES: &str = "tokenizer.ggml.merges";
const SCORES: &str = "tokenizer.ggml.scores";
const KINDS: &str = "tokenizer.ggml.token_type";
const PRE: &str = "tokenizer.ggml.pre";

/// Reads the tokenizer of `file`, whose metadata this is.
pub(crate) fn from_gguf(metadata: &Metadata, file: &Bytes) -> Result<Tokenizer, LoadError> {
    let model = metadata
        .string(MODEL)?
        .ok_or_else(|| LoadError::missing(MODEL))?;
    let mut vocab = vocab(metadata, file)?;
    let special = |name: &str| special_id(metadata, name, &vocab);
    let [bos, eos, unknown] = [special("bos")?, special("eos")?, special("unknown")?];
    let [eot, eom] = [special("eot")?, special("eom")?];
    let (algorithm, add_bos_default) = match model {
        "gpt2" => byte_level(metadata, &vocab)?,
        "llama" => (sentence_piece(metadata, &vocab, unknown)?, true),
        other => {
            return Err(LoadError::unsupported(
                MODEL,
                other,
                "gpt2 (byte-level BPE) and llama (SentencePiece) are",
            ));
        }
    };
    let mut ends = ends::take_by_text(&mut vocab, |id| algorithm.makes(id));
    // SentencePiece's own ids stand in where the file names none.
    let or_default = |id: Option<u32>, default| match model {
        "llama" if (default as usize) < vocab.len() => id.or(Some(default)),
        _ => id,
    };
    let [bos, eos] = [or_default(bos, 1), or_default(eos, 2)];
    ends.extend([eos, eot, eom].into_iter().flatten());
    ends.sort_unstable();
    ends.dedup();
    let special = SpecialTokens::new(&vocab, strips(metadata, &vocab)?)?;
    Ok(Tokenizer {
        algorithm,
        special,
        normalizer: Normalizer::None,
        bos: bos.map(TokenId),
        eos: eos.map(TokenId),
        add_bos: metadata
            .bool("tokenizer.ggml.add_bos_token")?
            .unwrap_or(add_bos_default),
        ends: ends.into_iter().map(TokenId).collect(),
        vocab,
    })
}

fn vocab(metadata: &Metadata, file: &Bytes) -> Result<Vocab, LoadError> {
    let tokens = metadata
        .array(TOKENS, ValueType::String)?
        .ok_or_else(|| LoadError::missing(TOKENS))?;
    if tokens.len > VOCAB_MAX {
        return Err(LoadError::too_many(TOKENS, tokens.len, VOCAB_MAX));
    }
    let base = tokens.range.start;
    // Offsets of 32 bits halve the table; texts of half a million tokens do not come near 4 GiB.
    let offset = |at: usize| {
        u32::try_from(at - base)
            .map_err(|_| LoadError::too_many("bytes of tokens", at - base, u32::MAX))
    };
    let mut starts = Vec::with_capacity(tokens.len + 1);
    for text in metadata.strings(tokens) {
        starts.push(offset(text.start)?);
    }
    starts.push(offset(tokens.range.end + STRING_LEN_BYTES)?);
    let kinds = kinds(metadata, tokens.len)?;
    Vocab::new(
        Texts {
            texts: file.clone(),
            base,
            starts,
            gap: STRING_LEN_BYTES as u32,
        },
        kinds,
    )
}

/// Bytes of the length before each string.
const STRING_LEN_BYTES: usize = 8;

fn kinds(metadata: &Metadata, vocab_len: usize) -> Result<Vec<TokenKind>, LoadError> {
    let Some(kinds) = metadata.array(KINDS, ValueType::I32)? else {
        return Ok(vec![TokenKind::Normal; vocab_len]);
    };
    check_len(KINDS, kinds.len, vocab_len)?;
    let numbers = metadata.bytes(kinds.range.clone()).chunks_exact(4);
    Ok(numbers
        .map(
            |number| match i32::from_le_bytes(number.try_into().expect("chunks of four")) {
                2 => TokenKind::Unknown,
                3 => TokenKind::Control,
                4 => TokenKind::UserDefined,
                5 => TokenKind::Unused,
                6 => TokenKind::Byte,
                _ => TokenKind::Normal,
            },
        )
        .collect())
}

fn check_len(table: &'static str, found: usize, expected: usize) -> Result<(), LoadError> {
    if found == expected {
        return Ok(());
    }
    let [found, expected] = [found as u64, expected as u64];
    Err(VocabError::TableLength {
        table,
        found,
        expected,
    }
    .into())
}

/// The id under `tokenizer.ggml.{name}_token_id`.
fn special_id(metadata: &Metadata, name: &str, vocab: &Vocab) -> Result<Option<u32>, LoadError> {
    let key = format!("tokenizer.ggml.{name}_token_id");
    match metadata.uint(&key)? {
        Some(id) if id >= vocab.len() as u64 => Err(VocabError::IdOutOfRange {
            what: key,
            id,
            vocab_len: vocab.len() as u64,
        }
        .into()),
        id => Ok(id.map(|id| id as u32)),
    }
}

fn byte_level(metadata: &Metadata, vocab: &Vocab) -> Result<(Algorithm, bool), LoadError> {
    let row = pre::by_gguf_name(
        metadata
            .string(PRE)?
            .ok_or_else(|| LoadError::missing(PRE))?,
    )?;
    let model = ByteLevel {
        merges: merges(metadata, vocab)?,
        pre: row.pre_tokenizer()?,
        bytes: alphabet_tokens(vocab)?,
        ignore_merges: row.ignore_merges,
        add_prefix_space: metadata
            .bool("tokenizer.ggml.add_space_prefix")?
            .unwrap_or(false),
    };
    Ok((Algorithm::ByteLevel(model), row.add_bos))
}

fn merges(metadata: &Metadata, vocab: &Vocab) -> Result<MergeTable, LoadError> {
    let merges = metadata
        .array(MERGES, ValueType::String)?
        .ok_or_else(|| LoadError::missing(MERGES))?;
    let mut table = MergeTable::with_len(merges.len)?;
    let mut joined = Vec::new();
    for (rank, range) in metadata.strings(merges).enumerate() {
        let merge = metadata.bytes(range);
        // The first blank may be the left token itself.
        let blank = merge.iter().skip(1).position(|byte| *byte == b' ');
        let Some((left, right)) = blank.map(|at| (&merge[..=at], &merge[at + 2..])) else {
            let text = clip(&String::from_utf8_lossy(merge));
            return Err(VocabError::MergeShape {
                rank: rank as u64,
                text,
            }
            .into());
        };
        table.push(vocab, left, right, &mut joined)?;
    }
    Ok(table)
}

fn sentence_piece(
    metadata: &Metadata,
    vocab: &Vocab,
    unknown: Option<u32>,
) -> Result<Algorithm, LoadError> {
    let scores = metadata
        .array(SCORES, ValueType::F32)?
        .ok_or_else(|| LoadError::missing(SCORES))?;
    check_len(SCORES, scores.len, vocab.len())?;
    let mut orders = Vec::with_capacity(scores.len);
    for (id, bits) in metadata
        .bytes(scores.range.clone())
        .chunks_exact(4)
        .enumerate()
    {
        let score = f32::from_le_bytes(bits.try_into().expect("chunks of four"));
        if !score.is_finite() {
            return Err(VocabError::Score { id: id as u32 }.into());
        }
        orders.push(score_order(score));
    }
    let prefix = metadata
        .bool("tokenizer.ggml.add_space_prefix")?
        .unwrap_or(true);
    Ok(Algorithm::SentencePiece(SentencePiece {
        ranking: Ranking::Score(orders),
        bytes: fallback_tokens(vocab, unknown)?,
        blank_prefix: if prefix {
            BlankPrefix::Always
        } else {
            BlankPrefix::Never
        },
        prefix_if_missing: false,
        splits_at_blanks: splits_at_blanks(vocab),
    }))
}

/// Which special tokens take the blanks behind them. GGUF has no field for it; Phi-3's do, all but the three below,
/// and are known by the model's name, as in llama.cpp.
fn strips(metadata: &Metadata, vocab: &Vocab) -> Result<impl Fn(u32) -> Strip, LoadError> {
    let name = metadata
        .string("general.name")?
        .unwrap_or_default()
        .to_lowercase();
    let phi3 = name.contains("phi-3") || name.contains("phi3");
    let kept: Vec<u32> = (0..vocab.len() as u32)
        .filter(|_| phi3)
        .filter(|id| [&b"<unk>"[..], b"<s>", b"<|endoftext|>"].contains(&vocab.text(*id)))
        .collect();
    Ok(move |id| Strip {
        left: false,
        right: phi3 && !kept.contains(&id),
    })
}
