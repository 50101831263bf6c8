//! Model directories: what a reader gets out of them, and which are refused.

#[path = "support/gguf_writer.rs"]
mod gguf_writer;
#[path = "support/meter.rs"]
mod meter;
#[path = "support/model_directory.rs"]
mod model_directory;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use gguf_writer::Random;
use model_directory::{Directory, chain, data, shard, tiny_shapes};
use serde_json::{Value, json};
use spindle_inference::TokenId;
use spindle_inference::formats::{RopeScaling, RopeStyle, safetensors};
use spindle_kernels::Format;

#[test]
fn a_directory_is_read_under_gguf_names() {
    let model = Directory::tiny().model();
    let config = &model.config;
    assert_eq!(
        [
            config.layers,
            config.width,
            config.ffn_width,
            config.vocab_len
        ],
        [2, 32, 64, 320]
    );
    assert_eq!(
        [
            config.heads,
            config.kv_heads,
            config.head_dim,
            config.context_len
        ],
        [2, 1, 16, 512]
    );
    assert_eq!(
        (config.rope.style, config.rope.dims),
        (RopeStyle::HalfSplit, 16)
    );
    assert!(config.tied_head && !config.qkv_bias && !config.qk_norm);
    let tensor = model.tensors.get("blk.1.attn_k.weight").unwrap();
    assert_eq!(
        (tensor.format, tensor.rows, tensor.cols),
        (Format::BF16, 16, 32)
    );
    assert_eq!(
        model.bytes(tensor),
        data("model.layers.1.self_attn.k_proj.weight", &[16, 32])
    );
    assert_eq!(model.tensors.len(), tiny_shapes().len());
    // The embedding has more rows than the tokenizer has tokens; the rest are unused.
    assert_eq!(model.tokenizer.vocab_len(), 320);
    assert_eq!(model.tokenizer.token_bytes(TokenId(319)), b"");
    assert_eq!(model.tokenizer.eos_ids(), [TokenId(2)]);
}

/// The tiny model in two shards with their index.
fn sharded() -> Directory {
    let shapes = tiny_shapes();
    let (first, second) = shapes.split_at(7);
    let mut directory = Directory::tiny();
    directory.shards = vec![
        ("a.safetensors".into(), shard(first)),
        ("b.safetensors".into(), shard(second)),
    ];
    let map = shapes.iter().enumerate().map(|(i, (name, _))| {
        (
            name.clone(),
            json!(if i < 7 {
                "a.safetensors"
            } else {
                "b.safetensors"
            }),
        )
    });
    directory.index = Some(
        json!({ "metadata": { "total_size": 0 }, "weight_map": map.collect::<serde_json::Map<_, _>>() }),
    );
    directory
}

#[test]
fn shards_are_one_model() {
    let whole = Directory::tiny().model();
    let model = sharded().model();
    assert_eq!(model.shards.len(), 2);
    for (name, tensor) in whole.tensors.iter() {
        assert_eq!(
            model.bytes(model.tensors.get(name).unwrap()),
            whole.bytes(tensor),
            "{name}"
        );
    }
}

#[test]
fn the_other_files_are_heard() {
    let mut directory = Directory::tiny();
    directory
        .config
        .as_object_mut()
        .unwrap()
        .remove("eos_token_id");
    directory.generation_config = Some(json!({ "eos_token_id": [2, 0], "temperature": 0.6 }));
    directory.tokenizer_config = Some(json!({
        "bos_token": { "__type": "AddedToken", "content": "<|im_start|>" },
        "eos_token": "<|im_end|>",
        "add_bos_token": true,
        "chat_template": [{ "name": "tool_use", "template": "x" }, { "name": "default", "template": "{{ messages }}" }],
    }));
    let model = directory.model();
    let tokenizer = &model.tokenizer;
    assert_eq!(tokenizer.eos_ids(), [TokenId(0), TokenId(2)]);
    assert_eq!(
        (tokenizer.add_bos(), tokenizer.eos()),
        (Some(TokenId(1)), Some(TokenId(2)))
    );
    assert_eq!(
        (
            tokenizer.bos_text().as_deref(),
            tokenizer.eos_text().as_deref()
        ),
        (Some("<|im_start|>"), Some("<|im_end|>"))
    );
    assert_eq!(model.chat_template.as_deref(), Some("{{ messages }}"));

    let mut directory = Directory::tiny();
    directory.tokenizer_config = Some(json!({ "chat_template": "from the field" }));
    directory.chat_template = Some("from the file".into());
    assert_eq!(
        directory.model().chat_template.as_deref(),
        Some("from the file")
    );
}

#[test]
fn end_tokens_are_known_by_their_texts_where_no_file_lists_them() {
    let mut directory = Directory::tiny();
    directory
        .config
        .as_object_mut()
        .unwrap()
        .remove("eos_token_id");
    assert_eq!(
        directory.model().tokenizer.eos_ids(),
        [TokenId(0), TokenId(2)]
    );
}

#[test]
fn rope_scalings_are_typed() {
    let scaling = |key: &str, value: Value| {
        let mut directory = Directory::tiny();
        directory.config[key] = value;
        directory.model().config.rope
    };
    let linear = RopeScaling::Linear { factor: 2.0 };
    assert_eq!(
        scaling("rope_scaling", json!({ "type": "linear", "factor": 2.0 })).scaling,
        linear
    );
    let llama3 = json!({ "rope_type": "llama3", "type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192 });
    let expected = RopeScaling::Llama3 {
        factor: 32.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context_len: 8192,
    };
    assert_eq!(scaling("rope_scaling", llama3).scaling, expected);
    let RopeScaling::Yarn {
        factor,
        original_context_len,
        attention_factor,
        ..
    } = scaling("rope_scaling", json!({ "type": "yarn", "factor": 4.0 })).scaling
    else {
        panic!("not yarn")
    };
    assert_eq!((factor, original_context_len), (4.0, 512));
    assert!((attention_factor - 1.138_629_4).abs() < 1e-6);
    let newer = scaling(
        "rope_parameters",
        json!({ "rope_type": "default", "rope_theta": 5e5 }),
    );
    assert_eq!((newer.scaling, newer.base), (RopeScaling::None, 5e5));
}

#[test]
fn a_part_of_each_head_turns_wherever_the_file_says_so() {
    let half = json!(0.5);
    for (key, value) in [
        ("partial_rotary_factor", half.clone()),
        (
            "rope_parameters",
            json!({ "rope_type": "default", "partial_rotary_factor": half }),
        ),
    ] {
        let mut directory = Directory::tiny();
        directory.config[key] = value;
        assert_eq!(directory.model().config.rope.dims, 8, "{key}");
    }
}

#[test]
fn a_sliding_window_bounds_the_context() {
    let len = |window: Value, used: Value| {
        let mut directory = Directory::tiny();
        directory.config["sliding_window"] = window;
        directory.config["use_sliding_window"] = used;
        directory.model().config.context_len
    };
    assert_eq!(len(json!(128), Value::Null), 128);
    assert_eq!(len(json!(128), json!(false)), 512);
    assert_eq!(len(json!(1 << 20), json!(true)), 512);
    assert_eq!(len(Value::Null, Value::Null), 512);
}

#[test]
fn qwen_layers_have_their_own_tensors() {
    for (class, parts) in [
        (
            "Qwen2ForCausalLM",
            ["q_proj.bias", "k_proj.bias", "v_proj.bias"].as_slice(),
        ),
        ("Qwen3ForCausalLM", &["q_norm.weight", "k_norm.weight"]),
    ] {
        let mut directory = Directory::tiny();
        directory.config["architectures"] = json!([class]);
        directory.config["head_dim"] = 16.into();
        let mut shapes = tiny_shapes();
        for layer in 0..2 {
            for part in parts {
                let len = if *part == "q_proj.bias" { 32 } else { 16 };
                shapes.push((format!("model.layers.{layer}.self_attn.{part}"), vec![len]));
            }
        }
        directory.shards[0].1 = shard(&shapes);
        let config = directory.model().config;
        assert_eq!(
            (config.qkv_bias, config.qk_norm),
            (class.starts_with("Qwen2"), class.starts_with("Qwen3"))
        );
    }
}

#[test]
fn an_untied_head_is_its_own_tensor() {
    let mut directory = Directory::tiny();
    directory.config["tie_word_embeddings"] = false.into();
    let mut shapes = tiny_shapes();
    shapes.push(("lm_head.weight".into(), vec![320, 32]));
    shapes.push((
        "model.layers.0.self_attn.rotary_emb.inv_freq".into(),
        vec![8],
    ));
    directory.shards[0].1 = shard(&shapes);
    let model = directory.model();
    assert!(!model.config.tied_head);
    assert!(model.tensors.get("output.weight").is_some());
}

/// The directory, changed, is refused with this chain of messages.
#[track_caller]
fn refused(change: impl FnOnce(&mut Directory), message: &str) {
    let found = refusal(change, message);
    assert_eq!(found, message);
}

/// The directory, changed, is refused with a chain that begins so; how it ends is the JSON parser's word.
#[track_caller]
fn refused_as(change: impl FnOnce(&mut Directory), start: &str) {
    let found = refusal(change, start);
    assert!(found.starts_with(start), "{found}");
}

#[track_caller]
fn refusal(change: impl FnOnce(&mut Directory), what: &str) -> String {
    let mut directory = Directory::tiny();
    change(&mut directory);
    let parts = directory.parts();
    let shards: usize = parts
        .shards
        .iter()
        .map(|(_, shard)| (**shard).as_ref().len())
        .sum();
    let file_bytes = parts.tokenizer_json.len() + shards;
    let (result, cost) = meter::measure(|| safetensors::read(parts));
    cost.check(what, file_bytes);
    match result {
        Ok(_) => panic!("loaded instead of: {what}"),
        Err(error) => chain(&error),
    }
}

#[test]
fn configurations_are_typed_and_bounded() {
    let set = |key: &'static str, value: Value, message: &str| {
        refused(|directory| directory.config[key] = value, message)
    };
    set(
        "architectures",
        json!(["GPT2LMHeadModel"]),
        "config.json: architectures: GPT2LMHeadModel is not supported: LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM are",
    );
    set(
        "architectures",
        Value::Null,
        "config.json: architectures is missing",
    );
    set(
        "hidden_size",
        json!(0),
        "hidden_size: expected 1 to 65536, found 0",
    );
    set(
        "hidden_size",
        json!(33),
        "hidden_size: expected a multiple of 2 heads, found 33",
    );
    set(
        "num_hidden_layers",
        json!(u64::MAX),
        "num_hidden_layers: expected 1 to 1024, found 18446744073709551615",
    );
    set(
        "num_key_value_heads",
        json!(3),
        "key/value heads: expected a divisor of 2, found 3",
    );
    set(
        "vocab_size",
        json!(100),
        "tokenizer: the last token of tokenizer.json is 261, but the vocabulary has 100 tokens",
    );
    set(
        "hidden_act",
        json!("gelu"),
        "hidden_act: gelu is not supported: silu is",
    );
    set(
        "quantization_config",
        json!({ "bits": 4 }),
        "quantization_config: a quantized export is not supported: F32, F16 and BF16 weights are (or a GGUF file of the model)",
    );
    set(
        "rope_scaling",
        json!({ "type": "dynamic", "factor": 2.0 }),
        "rope_scaling: dynamic is not supported: default, linear, llama3 and yarn are",
    );
    set(
        "rope_scaling",
        json!({ "type": "linear" }),
        "config.json: rope_scaling: factor is missing",
    );
    set(
        "rope_scaling",
        json!({ "type": "linear", "factor": 0.5 }),
        "rope_scaling: factor: expected 1 to 65536, found 0.5",
    );
    set(
        "partial_rotary_factor",
        json!(1e300),
        "rope dimensions: expected an even number from 2 to 16, found 18446744073709551615",
    );
    // None at all would be a model without positions.
    for factor in [0.0, -0.5, 0.01] {
        set(
            "partial_rotary_factor",
            json!(factor),
            "rope dimensions: expected an even number from 2 to 16, found 0",
        );
    }
    set(
        "eos_token_id",
        json!(262),
        "tokenizer: eos_token_id is 262, but the vocabulary has 262 tokens",
    );
    set(
        "tie_word_embeddings",
        json!(false),
        "tensor lm_head.weight is missing: a llama model needs it",
    );
    refused_as(
        |directory| directory.config["num_attention_heads"] = json!("two"),
        r#"config.json: invalid type: string "two", expected u64"#,
    );
}

/// A shard whose header is this JSON, before so many bytes of data.
fn raw_shard(header: &str, data_bytes: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data_bytes, 0);
    bytes
}

#[test]
fn headers_are_bounded_and_cover_the_shard() {
    let check = |header: &str, data_bytes: usize, message: &str| {
        refused(
            |directory| directory.shards[0].1 = raw_shard(header, data_bytes),
            message,
        );
    };
    let tensor = |name: &str, shape: &str, from: u64, to: u64| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let one = |shape: &str, from: u64, to: u64| format!("{{{}}}", tensor("a", shape, from, to));
    check(
        &one("[1]", 0, 4),
        8,
        "model.safetensors: bytes of data: expected 4, as its tensors have, found 8",
    );
    check(
        &one("[1]", 0, 4),
        0,
        "tensor a: 4 bytes at 0 of the data section end behind its 0 bytes",
    );
    check(
        &one("[1]", 4, 8),
        8,
        "tensor a: its data begins at 4 instead of 0, where the tensor before it ends",
    );
    check(
        &one("[2]", 0, 4),
        4,
        "tensor a: its shape needs 8 bytes, its range has 4",
    );
    check(
        &one("[1]", 4, 0),
        4,
        "tensor a: its shape needs 4 bytes, its range has 0",
    );
    check(&one("[0]", 0, 0), 0, "tensor a: dimension 0 is 0");
    check(
        &one("[]", 0, 4),
        4,
        "tensor a: 0 dimensions: 1 to 4 are allowed",
    );
    check(
        &one("[4294967296,4294967296]", 0, 0),
        0,
        "tensor a: its size exceeds 64 bits",
    );
    check(
        &format!(
            "{{{},{}}}",
            tensor("a", "[2]", 0, 8),
            tensor("b", "[1]", 4, 8)
        ),
        8,
        "tensor b: its data begins at 4 instead of 8, where the tensor before it ends",
    );
    check(
        &format!(
            "{{{},{}}}",
            tensor("a", "[1]", 0, 4),
            tensor("a", "[1]", 4, 8)
        ),
        8,
        "tensor appears twice: a",
    );
    check(
        &one("[1]", 0, 4).replace("F32", "I8"),
        4,
        "tensor a: type I8 is not supported: F32, F16 and BF16 are",
    );
    refused(
        |directory| directory.shards[0].1 = vec![1, 2, 3],
        "model.safetensors: the header at byte 0 needs 8 bytes, but the file has 3 left",
    );
    for len in [u64::MAX, (32 << 20) + 1] {
        refused(
            |directory| directory.shards[0].1 = len.to_le_bytes().to_vec(),
            &format!(
                "model.safetensors: bytes of the header: {len} is more than the limit of 33554432"
            ),
        );
    }
    refused(
        |directory| directory.shards[0].1 = 100_u64.to_le_bytes().to_vec(),
        "model.safetensors: the header at byte 0 needs 108 bytes, but the file has 8 left",
    );
}

/// Bloated headers: the official reader takes some 600 bytes for each of these tensors.
#[test]
fn a_hundred_thousand_tensors_load_within_the_bounds() {
    let many = |count: u64| {
        let tensors = (0..count).map(|i| {
            format!(
                r#""{i}":{{"dtype":"F32","shape":[1],"data_offsets":[{},{}]}}"#,
                4 * i,
                4 * i + 4
            )
        });
        raw_shard(
            &format!("{{{}}}", tensors.collect::<Vec<_>>().join(",")),
            4 * count as usize,
        )
    };
    refused(
        |directory| directory.shards[0].1 = many(100_000),
        "tensor token_embd.weight is missing: a llama model needs it",
    );
    let error = {
        let mut directory = Directory::tiny();
        directory.shards[0].1 = many(100_001);
        chain(&directory.read().err().expect("refused"))
    };
    assert_eq!(error, "tensors: 100001 is more than the limit of 100000");
    let dims = format!(
        r#"{{"a":{{"dtype":"F32","shape":[{}1],"data_offsets":[0,4]}}}}"#,
        "1,".repeat(4 << 20)
    );
    refused_as(
        |directory| directory.shards[0].1 = raw_shard(&dims, 4),
        "model.safetensors: more than 4 items",
    );
}

#[test]
fn indexes_agree_with_their_shards() {
    let check = |change: &dyn Fn(&mut Directory), message: &str| {
        refused(
            |directory| {
                *directory = sharded();
                change(directory);
            },
            message,
        );
    };
    let name = "model.norm.weight";
    let map = |directory: &mut Directory, name: &str, file: &str| {
        directory.index.as_mut().unwrap()["weight_map"][name] = file.into()
    };
    check(
        &|directory| map(directory, name, "b.safetensors"),
        "tensor model.norm.weight: the index places it in b.safetensors, but it is in a.safetensors",
    );
    check(
        &|directory| map(directory, "ghost", "c.safetensors"),
        "tensor ghost of c.safetensors is missing",
    );
    check(
        &|directory| drop(directory.shards.pop()),
        "tensor model.layers.0.mlp.down_proj.weight of b.safetensors is missing",
    );
    check(
        &|directory| directory.shards[1] = directory.shards[0].clone(),
        "tensor model.layers.0.mlp.down_proj.weight of b.safetensors is missing",
    );
}

#[test]
fn hostile_json_is_refused_within_the_bounds() {
    let deep = format!(r#"{{"x":{}"#, "[".repeat(1 << 20));
    refused_as(
        |directory| directory.tokenizer = deep.clone().into_bytes(),
        "tokenizer.json: EOF while parsing a list",
    );
    refused_as(
        |directory| directory.tokenizer = b"{}".into(),
        "tokenizer.json: missing field `model`",
    );
    let error = {
        let mut directory = Directory::tiny();
        directory.tokenizer = vec![b' '; (64 << 20) + 1];
        let parts = directory.parts();
        let (result, cost) = meter::measure(|| safetensors::read(parts));
        cost.check("long tokenizer.json", 64 << 20);
        chain(&result.err().expect("refused"))
    };
    assert_eq!(
        error,
        "bytes of tokenizer.json: 67108865 is more than the limit of 67108864"
    );
    let vocab: String = (0..600_000).map(|id| format!(r#""{id}":{id},"#)).collect();
    let many = format!(r#"{{"model":{{"vocab":{{{}"x":0}},"merges":[]}}}}"#, vocab);
    refused(
        |directory| directory.tokenizer = many.clone().into_bytes(),
        "tokens: 524289 is more than the limit of 524288",
    );
}

#[test]
fn the_largest_tokenizer_allowed_loads_within_the_bounds() {
    let mut json = model_directory::tiny_tokenizer();
    let vocab = json["model"]["vocab"].as_object_mut().unwrap();
    let known = vocab.len() + 3;
    vocab.extend((known..1 << 19).map(|id| (format!("{id:07}"), json!(id))));
    json["model"]["merges"] = (0..1 << 19).map(|_| "Ġ t").collect();
    let largest = serde_json::to_vec(&json).unwrap();
    let message = "tensor token_embd.weight: expected [524288, 32], found [320, 32]";
    refused(
        |directory| {
            directory.tokenizer = largest;
            directory.config["vocab_size"] = (1 << 19).into();
        },
        message,
    );
}

#[test]
fn what_the_official_reader_refuses_is_refused() {
    // Every byte of a small shard's header, overwritten: what the official crate does not take, we do not take.
    let shapes = [
        ("model.norm.weight".to_owned(), vec![4]),
        ("b".to_owned(), vec![2, 2]),
    ];
    let whole = shard(&shapes);
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for at in 0..header {
        for byte in [b'0', b'9', b'"', b',', b'{', 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            let official = ::safetensors::SafeTensors::deserialize(&bytes).is_ok();
            let mut directory = Directory::tiny();
            directory.shards = vec![("model.safetensors".into(), bytes)];
            let error = chain(
                &directory
                    .read()
                    .err()
                    .expect("a shard without most tensors"),
            );
            let header_is_fine = error.contains("is missing: a llama model needs it");
            assert!(official || !header_is_fine, "byte {at} as {byte}: {error}");
        }
    }
}

/// Seed and step are in the message, so a failure can be repeated.
#[test]
fn ten_thousand_mutated_directories_never_panic() {
    let tiny = Directory::tiny();
    let files = [
        serde_json::to_vec(&tiny.config).unwrap(),
        tiny.tokenizer,
        tiny.shards[0].1.clone(),
    ];
    let header = 8 + u64::from_le_bytes(files[2][..8].try_into().unwrap());
    let mut random = Random(0x5eed);
    for step in 0..10_000 {
        let mut mutated = files.clone();
        let file = random.below(3) as usize;
        let bytes = &mut mutated[file];
        let places = if file == 2 {
            header
        } else {
            bytes.len() as u64
        };
        for _ in 0..=random.below(3) {
            let at = random.below(places) as usize;
            // Other JSON is likelier from JSON's own characters than from any byte.
            bytes[at] = match random.below(3) {
                0 => random.next() as u8,
                1 => br#"0123456789.-e"#[random.below(13) as usize],
                _ => br#"{}[]",:\ntu"#[random.below(11) as usize],
            };
        }
        let [config_json, tokenizer_json, shard] = mutated;
        let parts = safetensors::DirectoryParts {
            config_json,
            tokenizer_json,
            shards: vec![("model.safetensors".into(), Arc::new(shard))],
            ..Directory::tiny().parts()
        };
        let file_bytes = parts.tokenizer_json.len();
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let (result, cost) = meter::measure(|| safetensors::read(parts));
            cost.check("mutated", file_bytes);
            let Ok(model) = result else { return };
            let tokens = model
                .tokenizer
                .encode("Hello, <|im_start|>wörld\n", true)
                .unwrap();
            assert!(
                tokens
                    .iter()
                    .all(|token| (token.0 as usize) < model.config.vocab_len)
            );
        }));
        assert!(result.is_ok(), "step {step} of seed 0x5eed");
    }
}
