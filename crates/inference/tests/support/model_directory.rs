//! Model directories for tests: a tiny model as safetensors beside a tiny `tokenizer.json`.
//!
//! - Shards are written by the `safetensors` crate, the format's reference.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};
use spindle_inference::formats::safetensors::{DirectoryParts, read};
use spindle_inference::formats::{Bytes, LoadError, ModelFile};
use spindle_inference::tokenizer::Tokenizer;

pub const LLAMA3_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
pub const QWEN2_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Rows of the tiny model's embedding: more than its tokenizer has tokens, as in real models.
pub const TINY_VOCAB_LEN: usize = 320;
const WIDTH: usize = 32;
const FFN_WIDTH: usize = 64;
const HEADS: usize = 2;
const KV_HEADS: usize = 1;
const HEAD_DIM: usize = 16;
const LAYERS: usize = 2;

/// A byte-level tokenizer: three special tokens, the bytes from id 3, three merges.
pub fn tiny_tokenizer() -> Value {
    let special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
    let mut vocab = serde_json::Map::new();
    for byte in 0..=255_u8 {
        vocab.insert(alphabet(byte).to_string(), json!(3 + usize::from(byte)));
    }
    for (i, text) in ["Ġt", "he", "Ġthe"].into_iter().enumerate() {
        vocab.insert(text.to_owned(), json!(259 + i));
    }
    let added: Vec<Value> = special
        .iter()
        .enumerate()
        .map(|(id, text)| json!({ "id": id, "content": text, "special": true }))
        .collect();
    json!({
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false },
        "post_processor": null,
        "model": { "type": "BPE", "vocab": vocab, "merges": ["Ġ t", "h e", "Ġt he"] },
    })
}

/// A byte in GPT-2's alphabet.
fn alphabet(byte: u8) -> char {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let shifted = (0..byte).filter(|byte| !printable(byte)).count() as u32;
    if printable(&byte) {
        char::from(byte)
    } else {
        char::from_u32(0x100 + shifted).unwrap()
    }
}

/// The tiny model's `config.json`.
pub fn tiny_config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "hidden_act": "silu",
        "hidden_size": WIDTH,
        "intermediate_size": FFN_WIDTH,
        "max_position_embeddings": 512,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KV_HEADS,
        "rms_norm_eps": 1e-5,
        "rope_scaling": null,
        "rope_theta": 10000.0,
        "tie_word_embeddings": true,
        "vocab_size": TINY_VOCAB_LEN,
        "eos_token_id": 2,
    })
}

/// Name and shape of each of the tiny model's tensors.
pub fn tiny_shapes() -> Vec<(String, Vec<usize>)> {
    let [q, kv] = [HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM];
    let mut shapes = vec![
        (
            "model.embed_tokens.weight".to_owned(),
            vec![TINY_VOCAB_LEN, WIDTH],
        ),
        ("model.norm.weight".to_owned(), vec![WIDTH]),
    ];
    for layer in 0..LAYERS {
        let parts: [(&str, &[usize]); 9] = [
            ("input_layernorm", &[WIDTH]),
            ("self_attn.q_proj", &[q, WIDTH]),
            ("self_attn.k_proj", &[kv, WIDTH]),
            ("self_attn.v_proj", &[kv, WIDTH]),
            ("self_attn.o_proj", &[WIDTH, q]),
            ("post_attention_layernorm", &[WIDTH]),
            ("mlp.gate_proj", &[FFN_WIDTH, WIDTH]),
            ("mlp.up_proj", &[FFN_WIDTH, WIDTH]),
            ("mlp.down_proj", &[WIDTH, FFN_WIDTH]),
        ];
        shapes.extend(parts.map(|(part, shape)| {
            (
                format!("model.layers.{layer}.{part}.weight"),
                shape.to_vec(),
            )
        }));
    }
    shapes
}

/// One shard of BF16 tensors; a tensor's bytes follow from its name.
pub fn shard(shapes: &[(String, Vec<usize>)]) -> Vec<u8> {
    let data: BTreeMap<&str, Vec<u8>> = shapes
        .iter()
        .map(|(name, shape)| (&**name, data(name, shape)))
        .collect();
    let views = shapes.iter().map(|(name, shape)| {
        (
            name.clone(),
            TensorView::new(Dtype::BF16, shape.clone(), &data[&**name])
                .expect("shape and data agree"),
        )
    });
    serialize(views, None).expect("tensors are valid")
}

/// The bytes of a tensor of [`shard`].
pub fn data(name: &str, shape: &[usize]) -> Vec<u8> {
    let seed = name
        .bytes()
        .fold(7_u8, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte));
    (0..2 * shape.iter().product::<usize>())
        .map(|i| seed.wrapping_add(i as u8))
        .collect()
}

/// The files of a directory, to be changed before they are read.
pub struct Directory {
    pub config: Value,
    pub tokenizer: Vec<u8>,
    pub tokenizer_config: Option<Value>,
    pub generation_config: Option<Value>,
    pub chat_template: Option<String>,
    pub index: Option<Value>,
    pub shards: Vec<(String, Vec<u8>)>,
}

impl Directory {
    pub fn tiny() -> Self {
        Directory {
            config: tiny_config(),
            tokenizer: serde_json::to_vec(&tiny_tokenizer()).unwrap(),
            tokenizer_config: None,
            generation_config: None,
            chat_template: None,
            index: None,
            shards: vec![("model.safetensors".to_owned(), shard(&tiny_shapes()))],
        }
    }

    /// The tiny model with another `tokenizer.json`, and an embedding with a row for each of its tokens.
    pub fn with_tokenizer(tokenizer: Vec<u8>) -> Self {
        let parsed: Value = serde_json::from_slice(&tokenizer).unwrap();
        let ids = parsed["model"]["vocab"]
            .as_object()
            .unwrap()
            .values()
            .chain(
                parsed["added_tokens"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|token| &token["id"]),
            );
        let len = ids.filter_map(Value::as_u64).max().unwrap() as usize + 1;
        let len = len.clamp(TINY_VOCAB_LEN, 1 << 18);
        let mut directory = Directory {
            tokenizer,
            ..Directory::tiny()
        };
        let mut shapes = tiny_shapes();
        shapes[0].1[0] = len;
        directory.config["vocab_size"] = len.into();
        directory.shards[0].1 = shard(&shapes);
        directory
    }

    pub fn parts(self) -> DirectoryParts {
        let json = |value: Value| serde_json::to_vec(&value).unwrap();
        DirectoryParts {
            config_json: json(self.config),
            tokenizer_json: self.tokenizer,
            tokenizer_config_json: self.tokenizer_config.map(json),
            generation_config_json: self.generation_config.map(json),
            chat_template_jinja: self.chat_template.map(String::into_bytes),
            index_json: self.index.map(json),
            shards: self
                .shards
                .into_iter()
                .map(|(name, bytes)| (name, Arc::new(bytes) as Bytes))
                .collect(),
        }
    }

    pub fn read(self) -> Result<ModelFile, LoadError> {
        read(self.parts())
    }

    pub fn model(self) -> ModelFile {
        self.read()
            .unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    pub fn tokenizer(self) -> Tokenizer {
        self.model().tokenizer
    }
}

/// An error and its sources, as `main` prints them.
pub fn chain(error: &dyn Error) -> String {
    let mut chain = error.to_string();
    let mut error = error;
    while let Some(source) = error.source() {
        chain.push_str(&format!(": {source}"));
        error = source;
    }
    chain
}
