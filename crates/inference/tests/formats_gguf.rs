//! GGUF files that are as they should be: what a reader gets out of them.

#[path = "support/gguf_writer.rs"]
mod gguf_writer;

use std::sync::Arc;

use gguf_writer::{Random, TINY_VOCAB_LEN, TinyModel, Value};
use spindle_inference::TokenId;
use spindle_inference::formats::{Architecture, ModelFile, RopeScaling, RopeStyle, gguf};
use spindle_kernels::Format;

fn read(bytes: Vec<u8>) -> ModelFile {
    gguf::read(Arc::new(bytes)).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_architecture_and_format_is_read_with_its_shapes() {
    let architectures = [
        ("llama", Architecture::Llama),
        ("qwen2", Architecture::Qwen2),
        ("qwen3", Architecture::Qwen3),
    ];
    for (name, architecture) in architectures {
        for format in Format::ALL {
            let tiny = TinyModel {
                architecture: name,
                format,
                tied_head: false,
                ..TinyModel::default()
            };
            let model = read(tiny.bytes());
            let config = &model.config;
            assert_eq!(config.architecture, architecture);
            assert_eq!(
                [config.layers, config.width, config.ffn_width],
                [2, 256, 512]
            );
            assert_eq!([config.heads, config.kv_heads, config.head_dim], [8, 2, 32]);
            assert_eq!(
                [config.vocab_len, config.context_len],
                [TINY_VOCAB_LEN, 512]
            );
            assert_eq!(
                [config.tied_head, config.qkv_bias, config.qk_norm],
                [false, name == "qwen2", name == "qwen3"]
            );
            let interleaved = config.rope.style == RopeStyle::Interleaved;
            assert_eq!(interleaved, name == "llama");
            let q = model.tensors.get("blk.1.attn_k.weight").unwrap();
            assert_eq!((q.format, q.rows, q.cols), (format, 64, 256));
            assert_eq!(model.bytes(q).len(), 64 * format.row_bytes(256).unwrap());
            assert_eq!(model.tensors.get("blk.2.attn_k.weight"), None);
            assert_eq!(
                model.tensors.get("blk.0.attn_q.bias").is_some(),
                name == "qwen2"
            );
            assert_eq!(model.name.as_deref(), Some("Tiny"));
        }
    }
}

#[test]
fn weights_are_the_bytes_that_were_written() {
    let tiny = TinyModel {
        format: Format::Q4_0,
        ..TinyModel::default()
    };
    let gguf = tiny.gguf();
    let model = read(gguf.bytes());
    assert_eq!(model.tensors.len(), gguf.tensors.len());
    for tensor in &gguf.tensors {
        assert_eq!(
            model.bytes(model.tensors.get(&tensor.name).unwrap()),
            tensor.bytes,
            "{}",
            tensor.name
        );
    }
    let written: u64 = gguf
        .tensors
        .iter()
        .map(|tensor| tensor.bytes.len() as u64)
        .sum();
    assert_eq!(model.weight_bytes(), written);
}

#[test]
fn optional_keys_have_their_defaults() {
    let mut gguf = TinyModel {
        kv_heads: 8,
        ..TinyModel::default()
    }
    .gguf();
    for key in [
        "attention.head_count_kv",
        "attention.key_length",
        "attention.value_length",
        "rope.dimension_count",
    ] {
        gguf.remove(&format!("llama.{key}"));
    }
    gguf.remove("llama.rope.freq_base").remove("general.name");
    let model = read(gguf.bytes());
    assert_eq!(
        [
            model.config.kv_heads,
            model.config.head_dim,
            model.config.rope.dims
        ],
        [8, 32, 32]
    );
    assert_eq!(model.config.rope.base, 10_000.0);
    assert_eq!(model.config.rope.scaling, RopeScaling::None);
    assert!(!model.config.rope.freq_factors);
    assert_eq!((model.name, model.chat_template), (None, None));
}

#[test]
fn a_sliding_window_bounds_the_context() {
    let len = |window: u32| {
        let mut gguf = TinyModel::default().gguf();
        gguf.set("llama.attention.sliding_window", Value::U32(window));
        read(gguf.bytes()).config.context_len
    };
    assert_eq!([len(0), len(128), len(4096)], [512, 128, 512]);
}

#[test]
fn a_model_may_be_shared_between_threads() {
    fn check<T: Send + Sync>() {}
    check::<ModelFile>();
}

#[test]
fn rope_scalings_are_typed() {
    let scaling = |entries: &[(&str, Value)]| {
        let mut gguf = TinyModel::default().gguf();
        for (key, value) in entries {
            gguf.set(&format!("llama.rope.{key}"), value.clone());
        }
        read(gguf.bytes()).config.rope.scaling
    };
    let text = |text: &str| Value::Text(text.to_owned());
    assert_eq!(
        scaling(&[("scaling.type", text("none"))]),
        RopeScaling::None
    );
    let linear = RopeScaling::Linear { factor: 4.0 };
    assert_eq!(
        scaling(&[
            ("scaling.type", text("linear")),
            ("scaling.factor", Value::F32(4.0))
        ]),
        linear
    );
    assert_eq!(scaling(&[("scale_linear", Value::F32(4.0))]), linear);
    let yarn = scaling(&[
        ("scaling.type", text("yarn")),
        ("scaling.factor", Value::F32(4.0)),
        ("scaling.original_context_length", Value::U32(128)),
    ]);
    let RopeScaling::Yarn {
        factor,
        original_context_len,
        attention_factor,
        beta_fast,
        beta_slow,
    } = yarn
    else {
        panic!("not yarn: {yarn:?}")
    };
    assert_eq!(
        (factor, original_context_len, beta_fast, beta_slow),
        (4.0, 128, 32.0, 1.0)
    );
    assert!((attention_factor - 1.138_629_4).abs() < 1e-6);
}

#[test]
fn rope_factors_and_optional_biases_are_found() {
    let mut gguf = TinyModel::default().gguf();
    let mut random = Random(7);
    gguf.tensor("rope_freqs.weight", &[16], Format::F32, vec![0; 64]);
    for layer in 0..2 {
        for (part, len) in [("q", 256), ("k", 64), ("v", 64)] {
            let bytes = gguf_writer::random_weights(Format::F32, len, 0.1, &mut random);
            gguf.tensor(
                &format!("blk.{layer}.attn_{part}.bias"),
                &[len as u64],
                Format::F32,
                bytes,
            );
        }
    }
    let model = read(gguf.bytes());
    assert!(model.config.rope.freq_factors && model.config.qkv_bias);
    assert_eq!(model.tensors.get("rope_freqs.weight").unwrap().cols, 16);
}

#[test]
fn the_tokenizer_comes_with_the_model() {
    let mut gguf = TinyModel::default().gguf();
    gguf.set(
        "tokenizer.chat_template",
        Value::Text("{{ messages }}".to_owned()),
    );
    let model = read(gguf.bytes());
    assert_eq!(model.chat_template.as_deref(), Some("{{ messages }}"));
    let tokens = model
        .tokenizer
        .encode("<|im_start|>hello<|im_end|>", true)
        .unwrap();
    assert_eq!(tokens[0], TokenId(1));
    assert_eq!(tokens[2], TokenId(2));
    assert_eq!(model.tokenizer.decode(&tokens), b"hello");
    assert!(model.tokenizer.is_end(TokenId(2)) && model.tokenizer.is_end(TokenId(0)));
    assert!(!model.tokenizer.is_end(TokenId(1)));
}

#[test]
fn version_2_and_another_alignment_are_read() {
    let mut gguf = TinyModel::default().gguf();
    gguf.version = 2;
    gguf.alignment = 4096;
    gguf.set("general.alignment", Value::U32(4096));
    let model = read(gguf.bytes());
    assert!(
        model
            .tensors
            .iter()
            .all(|(_, tensor)| tensor.range.start.is_multiple_of(4096))
    );
}
