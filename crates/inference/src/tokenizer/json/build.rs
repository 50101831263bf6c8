//! From the parts of `tokenizer.json` and what other files say about it to a [`Tokenizer`].

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::added::AddedTokens;
use super::pipeline::{self, Pipeline};
use super::vocabulary;
use crate::formats::limits::TOKENIZER_JSON_BYTES_MAX;
use crate::formats::{LoadError, json};
use crate::token::TokenId;
use crate::tokenizer::bytes::{alphabet_tokens, fallback_tokens};
use crate::tokenizer::codec::{
    Algorithm, BlankPrefix, ByteLevel, Ranking, SentencePiece, Tokenizer,
};
use crate::tokenizer::ends;
use crate::tokenizer::error::VocabError;
use crate::tokenizer::normalizer::Normalizer;
use crate::tokenizer::pre::PreTokenizer;
use crate::tokenizer::scores::splits_at_blanks;
use crate::tokenizer::special::{SpecialTokens, Strip};
use crate::tokenizer::vocab::Vocab;

/// How errors name the file.
pub(super) const FILE: &str = "tokenizer.json";

/// The file, and what the files beside it say.
pub(crate) struct JsonParts<'a> {
    pub tokenizer_json: &'a [u8],
    /// `bos_token` and `eos_token` of `tokenizer_config.json`.
    pub bos_text: Option<Cow<'a, str>>,
    pub eos_text: Option<Cow<'a, str>>,
    /// `add_bos_token` of `tokenizer_config.json`; counts where the post-processor is silent.
    pub add_bos: bool,
    /// `bos_token_id` of `config.json`.
    pub bos_id: Option<u64>,
    /// `eos_token_id` of `config.json` and `generation_config.json`.
    pub end_ids: Vec<u64>,
}

#[derive(Deserialize)]
struct TokenizerJson<'a> {
    #[serde(default)]
    added_tokens: AddedTokens,
    #[serde(borrow)]
    normalizer: Option<&'a RawValue>,
    #[serde(borrow)]
    pre_tokenizer: Option<&'a RawValue>,
    #[serde(borrow)]
    post_processor: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Model<'a>,
}

#[derive(Deserialize)]
struct Model<'a> {
    r#type: Option<String>,
    #[serde(borrow)]
    vocab: &'a RawValue,
    #[serde(borrow)]
    merges: Option<&'a RawValue>,
    unk_token: Option<String>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
    dropout: Option<f64>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
}

impl Model<'_> {
    fn check(&self) -> Result<&RawValue, LoadError> {
        let key = format!("{FILE}: model");
        let unsupported =
            |found: &str, supported: &str| Err(LoadError::unsupported(&key, found, supported));
        match (self.r#type.as_deref(), self.merges) {
            (Some("BPE") | None, _) if self.dropout.is_some_and(|dropout| dropout > 0.0) => {
                unsupported("dropout", "the same tokens every time are")
            }
            (Some("BPE") | None, _)
                if [&self.continuing_subword_prefix, &self.end_of_word_suffix]
                    .iter()
                    .any(|affix| affix.as_deref().is_some_and(|affix| !affix.is_empty())) =>
            {
                unsupported(
                    "an affix of subwords",
                    "byte-level BPE and SentencePiece's are",
                )
            }
            (Some("BPE") | None, Some(merges)) => Ok(merges),
            (None, None) => Err(LoadError::missing(&format!("{key}: merges"))),
            (Some("BPE"), None) => Err(LoadError::missing(&format!("{key}: merges"))),
            (Some(other), _) => unsupported(other, "BPE is"),
        }
    }
}

/// Reads the tokenizer.
pub(crate) fn from_json(parts: JsonParts) -> Result<Tokenizer, LoadError> {
    let file: TokenizerJson = json::parse(FILE, parts.tokenizer_json, TOKENIZER_JSON_BYTES_MAX)?;
    let TokenizerJson {
        added_tokens,
        normalizer,
        pre_tokenizer,
        post_processor,
        model,
    } = file;
    let merges = model.check()?;
    let mut pipeline = Pipeline::default();
    normalizer.map_or(Ok(()), |part| pipeline.normalizer(part, 0))?;
    pre_tokenizer.map_or(Ok(()), |part| pipeline.pre_tokenizer(part, 0))?;
    let prefix = post_processor.map_or(Ok(None), |part| pipeline::prefix_token(part, 0))?;

    let mut added = added_tokens.0;
    added.iter().try_for_each(|token| token.check())?;
    added.sort_unstable_by_key(|token| token.id);
    let mut vocab = vocabulary::read(model.vocab, &added, model.byte_fallback.unwrap_or(false))?;

    let find = |text: Option<&str>| text.and_then(|text| vocab.find_any(text.as_bytes()));
    let add_bos = prefix.is_some() || (parts.add_bos && parts.bos_text.is_some());
    let stated_bos = parts
        .bos_id
        .filter(|id| *id < vocab.len() as u64)
        .map(|id| id as u32);
    let bos = find(prefix.as_deref().or(parts.bos_text.as_deref())).or(stated_bos);
    let eos = find(parts.eos_text.as_deref());
    let unknown = find(model.unk_token.as_deref());
    let normalizer = pipeline.normalizer.unwrap_or(Normalizer::None);
    let merges = vocabulary::merges(merges, &vocab)?;
    let algorithm = if pipeline.byte_level {
        Algorithm::ByteLevel(ByteLevel {
            merges,
            pre: PreTokenizer::new(pipeline.steps),
            bytes: alphabet_tokens(&vocab)?,
            ignore_merges: model.ignore_merges.unwrap_or(false),
            add_prefix_space: pipeline.add_prefix_space,
        })
    } else if pipeline.blanks && pipeline.steps.is_empty() {
        Algorithm::SentencePiece(SentencePiece {
            ranking: Ranking::Merges(merges),
            bytes: fallback_tokens(&vocab, unknown)?,
            blank_prefix: pipeline.blank_prefix.unwrap_or(BlankPrefix::Never),
            prefix_if_missing: pipeline.prefix_if_missing,
            splits_at_blanks: splits_at_blanks(&vocab),
        })
    } else {
        let supported = "byte-level BPE and SentencePiece's blanks are";
        return Err(LoadError::unsupported(
            FILE,
            "BPE over plain characters",
            supported,
        ));
    };
    let ends = end_ids(&mut vocab, &algorithm, eos, &parts.end_ids)?;
    let strip = |id: u32| match added.binary_search_by_key(&u64::from(id), |token| token.id) {
        Ok(index) => added[index].strip(),
        Err(_) => Strip::default(),
    };
    let special = SpecialTokens::new(&vocab, strip)?;
    Ok(Tokenizer {
        algorithm,
        special,
        normalizer,
        bos: bos.map(TokenId),
        eos: eos.or(ends.first().copied()).map(TokenId),
        add_bos,
        ends: ends.into_iter().map(TokenId).collect(),
        vocab,
    })
}

/// The tokens that end an answer, rising: those the files list, or those whose texts say so.
fn end_ids(
    vocab: &mut Vocab,
    algorithm: &Algorithm,
    eos: Option<u32>,
    listed: &[u64],
) -> Result<Vec<u32>, LoadError> {
    let mut ends: Vec<u32> = eos.into_iter().collect();
    for id in listed {
        if *id >= vocab.len() as u64 {
            let [id, vocab_len] = [*id, vocab.len() as u64];
            return Err(VocabError::IdOutOfRange {
                what: "eos_token_id".into(),
                id,
                vocab_len,
            }
            .into());
        }
        ends.push(*id as u32);
    }
    if ends.is_empty() {
        ends = ends::take_by_text(vocab, |id| algorithm.makes(id));
    }
    ends.sort_unstable();
    ends.dedup();
    Ok(ends)
}
