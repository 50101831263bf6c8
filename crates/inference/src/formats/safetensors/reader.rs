//! From the files of a directory to a [`ModelFile`].

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::config_json::ConfigJson;
use super::{header, names};
use crate::formats::check::{self, RawTensor};
use crate::formats::json::{self, Bounded, OneOrMany};
use crate::formats::limits::{
    CHAT_TEMPLATE_BYTES_MAX, CONFIG_JSON_BYTES_MAX, INDEX_JSON_BYTES_MAX, SHARDS_MAX,
};
use crate::formats::{Bytes, LoadError, ModelFile, TensorFault, clip};
use crate::tokenizer::{JsonParts, VocabError, from_json};

/// The files of a model directory.
pub struct DirectoryParts {
    /// `config.json`.
    pub config_json: Vec<u8>,
    /// `tokenizer.json`.
    pub tokenizer_json: Vec<u8>,
    /// `tokenizer_config.json`.
    pub tokenizer_config_json: Option<Vec<u8>>,
    /// `generation_config.json`.
    pub generation_config_json: Option<Vec<u8>>,
    /// `chat_template.jinja`, which goes before the template in `tokenizer_config.json`.
    pub chat_template_jinja: Option<Vec<u8>>,
    /// `model.safetensors.index.json`.
    pub index_json: Option<Vec<u8>>,
    /// `model.safetensors`, or every shard with its file name.
    pub shards: Vec<(String, Bytes)>,
}

/// Reads a model.
pub fn read(parts: DirectoryParts) -> Result<ModelFile, LoadError> {
    let mut config_json = ConfigJson::parse(&parts.config_json)?;
    let (spec, mut config) = config_json.model_config()?;
    let (bos_id, mut end_ids) = config_json.take_special_ids();
    let tokenizer_config = optional(
        "tokenizer_config.json",
        parts.tokenizer_config_json.as_deref(),
    )?;
    let TokenizerConfig {
        bos_token,
        eos_token,
        add_bos_token,
        chat_template,
    } = tokenizer_config.unwrap_or_default();
    let generation = optional(
        "generation_config.json",
        parts.generation_config_json.as_deref(),
    )?;
    let GenerationConfig { eos_token_id } = generation.unwrap_or_default();
    end_ids.extend(eos_token_id.map(OneOrMany::into_vec).unwrap_or_default());
    let mut tokenizer = from_json(JsonParts {
        tokenizer_json: &parts.tokenizer_json,
        bos_text: bos_token.map(SpecialText::into_text),
        eos_text: eos_token.map(SpecialText::into_text),
        add_bos: add_bos_token.unwrap_or(false),
        bos_id,
        end_ids,
    })?;
    if tokenizer.vocab_len() > config.vocab_len {
        let [id, vocab_len] = [tokenizer.vocab_len() as u64 - 1, config.vocab_len as u64];
        return Err(VocabError::IdOutOfRange {
            what: "the last token of tokenizer.json".into(),
            id,
            vocab_len,
        }
        .into());
    }
    tokenizer.pad(config.vocab_len);
    let tensors = {
        let raws = raw_tensors(&parts, config_json.tied())?;
        check::check(spec, &mut config, raws)?
    };
    if config.tied_head && !config_json.tied() {
        return Err(LoadError::TensorMissing {
            name: names::HEAD.into(),
            architecture: spec.gguf_name,
        });
    }
    let chat_template = template(parts.chat_template_jinja, chat_template)?;
    let shards = parts.shards.into_iter().map(|(_, shard)| shard).collect();
    Ok(ModelFile {
        config,
        tokenizer,
        chat_template,
        name: None,
        tensors,
        shards,
    })
}

fn optional<'a, T: Deserialize<'a>>(
    file: &str,
    bytes: Option<&'a [u8]>,
) -> Result<Option<T>, LoadError> {
    bytes
        .map(|bytes| json::parse(file, bytes, CONFIG_JSON_BYTES_MAX))
        .transpose()
}

#[derive(Default, Deserialize)]
struct TokenizerConfig<'a> {
    #[serde(borrow)]
    bos_token: Option<SpecialText<'a>>,
    #[serde(borrow)]
    eos_token: Option<SpecialText<'a>>,
    add_bos_token: Option<bool>,
    #[serde(borrow)]
    chat_template: Option<TemplateJson<'a>>,
}

#[derive(Default, Deserialize)]
struct GenerationConfig {
    eos_token_id: Option<OneOrMany>,
}

/// A token as its text, or as an object around it.
#[derive(Deserialize)]
#[serde(untagged)]
enum SpecialText<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Token {
        #[serde(borrow)]
        content: Cow<'a, str>,
    },
}

impl<'a> SpecialText<'a> {
    fn into_text(self) -> Cow<'a, str> {
        match self {
            SpecialText::Text(text) | SpecialText::Token { content: text } => text,
        }
    }
}

/// One template, or several by name, of which `default` is the one for chats.
#[derive(Deserialize)]
#[serde(untagged)]
enum TemplateJson<'a> {
    One(#[serde(borrow)] Cow<'a, str>),
    Named(#[serde(borrow)] Bounded<NamedTemplate<'a>, 64>),
}

#[derive(Deserialize)]
struct NamedTemplate<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    template: Cow<'a, str>,
}

fn template(
    file: Option<Vec<u8>>,
    field: Option<TemplateJson>,
) -> Result<Option<String>, LoadError> {
    let found = match (file, field) {
        (Some(file), _) => match String::from_utf8(file) {
            Ok(text) => Some(text),
            Err(_) => {
                return Err(LoadError::NotUtf8 {
                    what: "chat_template.jinja".into(),
                });
            }
        },
        (None, Some(TemplateJson::One(text))) => Some(text.into_owned()),
        (None, Some(TemplateJson::Named(named))) => named
            .0
            .into_iter()
            .find(|named| named.name == "default")
            .map(|named| named.template.into_owned()),
        (None, None) => None,
    };
    match found {
        Some(text) if text.len() > CHAT_TEMPLATE_BYTES_MAX => Err(LoadError::too_many(
            "bytes of the chat template",
            text.len(),
            CHAT_TEMPLATE_BYTES_MAX,
        )),
        found => Ok(found),
    }
}

/// The tensors of all shards under their GGUF names.
fn raw_tensors(parts: &DirectoryParts, tied: bool) -> Result<Vec<RawTensor<'_>>, LoadError> {
    if parts.shards.len() > SHARDS_MAX {
        return Err(LoadError::too_many(
            "shards",
            parts.shards.len(),
            SHARDS_MAX,
        ));
    }
    let mut tensors = Vec::new();
    for (shard, (file, bytes)) in parts.shards.iter().enumerate() {
        header::read(file, shard as u32, (**bytes).as_ref(), &mut tensors)?;
    }
    if let Some(index) = &parts.index_json {
        check_index(index, parts, &mut tensors)?;
    }
    // A tied model's head is the embedding whatever else the file carries.
    let is_redundant = |name: &str| names::is_derived(name) || (tied && name == names::HEAD);
    tensors.retain(|tensor| !is_redundant(&tensor.name));
    for tensor in &mut tensors {
        tensor.name = names::gguf_name(std::mem::take(&mut tensor.name));
    }
    Ok(tensors)
}

/// Checks that each tensor is in the shard the index names; sorts the tensors by name.
fn check_index(
    index: &[u8],
    parts: &DirectoryParts,
    tensors: &mut [RawTensor],
) -> Result<(), LoadError> {
    const FILE: &str = "model.safetensors.index.json";
    tensors.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let index: IndexJson = json::parse(FILE, index, INDEX_JSON_BYTES_MAX)?;
    let mut fault = None;
    let mut json = serde_json::Deserializer::from_str(index.weight_map.get());
    let parsed = WeightMap {
        parts,
        tensors,
        fault: &mut fault,
    }
    .deserialize(&mut json);
    parsed.map_err(|source| LoadError::Json {
        file: FILE.into(),
        source,
    })?;
    fault.map_or(Ok(()), Err)
}

#[derive(Deserialize)]
struct IndexJson<'a> {
    #[serde(borrow)]
    weight_map: &'a RawValue,
}

/// The index, compared entry by entry as it is read: it is never in memory whole.
struct WeightMap<'i, 'a> {
    parts: &'i DirectoryParts,
    /// Sorted by name.
    tensors: &'i [RawTensor<'a>],
    /// The first disagreement.
    fault: &'i mut Option<LoadError>,
}

impl WeightMap<'_, '_> {
    fn compare(&self, name: &str, file: &str) -> Result<(), LoadError> {
        let Ok(found) = self
            .tensors
            .binary_search_by(|tensor| (*tensor.name).cmp(name))
        else {
            return Err(LoadError::missing(&format!("tensor {name} of {file}")));
        };
        let shard = &self.parts.shards[self.tensors[found].shard as usize].0;
        if shard == file {
            return Ok(());
        }
        Err(LoadError::tensor(
            name,
            TensorFault::Shard {
                index: clip(file),
                shard: clip(shard),
            },
        ))
    }
}

impl<'de> DeserializeSeed<'de> for WeightMap<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WeightMap<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of file names by tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, file)) = map.next_entry::<Cow<str>, Cow<str>>()? {
            if self.fault.is_none() {
                *self.fault = self.compare(&name, &file).err();
            }
        }
        Ok(())
    }
}
