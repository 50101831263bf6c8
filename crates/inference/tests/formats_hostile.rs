//! Hostile GGUF files: each row is a way in which such a file once broke a loader. Every one must be refused with an
//! error that says why, within the bounds of memory and time, and never with a panic.

#[path = "support/gguf_writer.rs"]
mod gguf_writer;
#[path = "support/meter.rs"]
mod meter;

use std::sync::Arc;

use gguf_writer::{Gguf, Random, TinyModel, Value, array, put_text};
use spindle_inference::formats::{LoadError, ModelFile, gguf};
use spindle_kernels::Format;

fn tiny() -> TinyModel {
    TinyModel {
        format: Format::Q8_0,
        layers: 1,
        width: 32,
        ffn_width: 64,
        heads: 2,
        kv_heads: 1,
        head_dim: 32,
        ..TinyModel::default()
    }
}

fn read(what: &str, bytes: Vec<u8>) -> Result<ModelFile, LoadError> {
    let len = bytes.len();
    let file = Arc::new(bytes);
    let (result, cost) = meter::measure(|| gguf::read(file));
    cost.check(what, len);
    result
}

/// The file is refused with exactly this message.
#[track_caller]
fn refused(bytes: Vec<u8>, message: &str) {
    match read(message, bytes) {
        Ok(_) => panic!("loaded instead of: {message}"),
        Err(error) => assert_eq!(error.to_string(), message),
    }
}

/// The tiny model, changed, is refused with this message.
#[track_caller]
fn changed(change: impl FnOnce(&mut Gguf), message: &str) {
    let mut gguf = tiny().gguf();
    change(&mut gguf);
    refused(gguf.bytes(), message);
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[test]
fn the_unchanged_model_loads() {
    assert!(read("unchanged", tiny().bytes()).is_ok());
}

#[test]
fn a_file_of_another_kind_is_refused() {
    refused(
        Vec::new(),
        r#"not a GGUF file: it begins with "" instead of "GGUF""#,
    );
    refused(
        b"PK\x03\x04 and more".into(),
        r#"not a GGUF file: it begins with "PK\x03\x04" instead of "GGUF""#,
    );
    changed(
        |gguf| gguf.version = 1,
        "GGUF version 1 is not supported: 2 and 3 are",
    );
    changed(
        |gguf| gguf.version = 4,
        "GGUF version 4 is not supported: 2 and 3 are",
    );
    changed(
        |gguf| gguf.version = 3_u32.swap_bytes(),
        "this GGUF file is big-endian: convert the model again for little-endian machines",
    );
}

/// CVE-2024-23605 and CVE-2024-21836, and CVE-2026-27940 after them: counts multiplied by the size of an entry wrapped,
/// the buffer came out small, and reading the entries wrote behind it. Counts are compared with the bytes left.
#[test]
fn counts_beyond_the_file_are_refused() {
    for count in [u64::MAX, 1 << 63, 1 << 60, 1 << 32] {
        changed(
            |gguf| gguf.stated_entries = Some(count),
            &format!("metadata entries: {count} is more than the limit of 65536"),
        );
        changed(
            |gguf| gguf.stated_tensors = Some(count),
            &format!("tensors: {count} is more than the limit of 100000"),
        );
    }
    let mut gguf = Gguf {
        stated_tensors: Some(99_999),
        ..Gguf::default()
    };
    refused(
        gguf.bytes(),
        "the tensor infos at byte 24 needs 3199968 bytes, but the file has 0 left",
    );
    gguf.stated_entries = Some(65_536);
    refused(
        gguf.bytes(),
        "metadata at byte 24 needs 851968 bytes, but the file has 0 left",
    );
}

/// CVE-2024-23496: the length of a string plus one wrapped to zero, and the string was read into nothing.
#[test]
fn strings_beyond_the_file_are_refused() {
    for len in [u64::MAX, u64::MAX - 1, 1 << 63, 1 << 31] {
        let mut gguf = Gguf::default();
        gguf.set("general.name", Value::Raw(8, len.to_le_bytes().into()));
        refused(
            gguf.bytes(),
            &format!("general.name at byte 56 needs {len} bytes, but the file has 0 left"),
        );
    }
    let mut bytes = Gguf {
        stated_entries: Some(1),
        ..Gguf::default()
    }
    .bytes();
    bytes.extend(u64::MAX.to_le_bytes());
    bytes.extend([0; 16]);
    refused(
        bytes,
        "a metadata key at byte 32 needs 18446744073709551615 bytes, but the file has 16 left",
    );
    let long = "k".repeat(70_000);
    changed(
        |gguf| {
            gguf.set(&long, Value::U8(1));
        },
        "bytes of a metadata key: 70000 is more than the limit of 65535",
    );
}

/// CVE-2024-21825: the length of an array times the size of its items wrapped.
#[test]
fn arrays_beyond_the_file_are_refused() {
    for (item, len) in [
        (10_u32, (1_u64 << 61) + 1),
        (6, 1 << 62),
        (0, u64::MAX),
        (8, 1 << 61),
    ] {
        let mut bytes = array(item, 0, &[]);
        bytes[4..].copy_from_slice(&len.to_le_bytes());
        let error = {
            let mut gguf = Gguf::default();
            gguf.set("a", Value::Raw(9, bytes));
            read("array", gguf.bytes())
                .err()
                .expect("refused")
                .to_string()
        };
        assert!(error.starts_with("a at byte 49 needs "), "{error}");
        assert!(
            error.ends_with(" bytes, but the file has 0 left"),
            "{error}"
        );
    }
    let nested = array(9, 1, &array(0, 1, &[0]));
    changed(
        |gguf| {
            gguf.set("a", Value::Raw(9, nested));
        },
        "a: an array of arrays is not supported: arrays of scalars and strings are",
    );
    changed(
        |gguf| {
            gguf.set("a", Value::Raw(13, vec![0; 8]));
        },
        "a: unknown value type 13",
    );
    changed(
        |gguf| {
            gguf.set("a", Value::Raw(9, array(u32::MAX, 0, &[])));
        },
        "a: unknown value type 4294967295",
    );
}

#[test]
fn what_must_be_unique_is() {
    changed(
        |gguf| {
            gguf.entries
                .push(("llama.block_count".into(), Value::U32(1)))
        },
        "metadata key appears twice: llama.block_count",
    );
    changed(
        |gguf| {
            let twin = gguf.tensor_mut("output_norm.weight").clone();
            gguf.tensors.push(twin);
        },
        "tensor appears twice: output_norm.weight",
    );
}

/// CVE-2024-21802: the number of dimensions was not checked against the four there is room for.
#[test]
fn dimensions_are_one_to_four_and_not_zero() {
    for count in [0, 5, 64] {
        changed(
            |gguf| gguf.tensor_mut("blk.0.attn_q.weight").dims = vec![1; count],
            &format!("tensor blk.0.attn_q.weight: {count} dimensions: 1 to 4 are allowed"),
        );
    }
    // A division by a dimension of zero ended the process (SIGFPE).
    changed(
        |gguf| gguf.tensor_mut("blk.0.attn_q.weight").dims = vec![32, 0],
        "tensor blk.0.attn_q.weight: dimension 0 is 0",
    );
}

/// CVE-2026-33298 (the product of a tensor's size wraps, so a small buffer holds it), llama.cpp#27203 (the product of
/// dimensions becomes negative).
#[test]
fn products_of_dimensions_do_not_wrap() {
    let overflows = "tensor blk.0.attn_q.weight: its size exceeds 64 bits";
    for dims in [
        vec![1 << 32, 1 << 32],
        vec![1 << 62, 4],
        vec![1 << 21, 1 << 21, 1 << 21, 2],
        vec![!31, 1],
        vec![1 << 63, 2],
    ] {
        changed(
            |gguf| gguf.tensor_mut("blk.0.attn_q.weight").dims = dims,
            overflows,
        );
    }
    changed(
        |gguf| gguf.tensor_mut("blk.0.attn_q.weight").dims = vec![33, 64],
        "tensor blk.0.attn_q.weight: rows of 33 values are no multiple of the block of 32",
    );
}

/// CVE-2025-53630 and its bypasses (the sum of padded sizes wraps), llama.cpp PR#24759 (padding an offset near 2^64
/// wraps to 0), CVE-2026-7482 (a tensor larger than its file leaks memory behind it).
#[test]
fn data_beyond_the_file_is_refused() {
    let file = tiny().gguf();
    let section = file.bytes().len() - file.header().len().next_multiple_of(32);
    let own = file
        .tensors
        .iter()
        .find(|tensor| tensor.name == "blk.0.attn_q.weight")
        .unwrap()
        .bytes
        .len();
    for offset in [u64::MAX - 31, 1 << 63, section as u64 / 32 * 32] {
        changed(
            |gguf| gguf.tensor_mut("blk.0.attn_q.weight").offset = Some(offset),
            &format!(
                "tensor blk.0.attn_q.weight: {own} bytes at {offset} of the data section end behind its {section} bytes"
            ),
        );
    }
    changed(
        |gguf| {
            // 2^59 rows of 34 bytes: nothing wraps, but no file is so long.
            gguf.tensor_mut("output_norm.weight").dims = vec![1 << 40];
            gguf.tensor_mut("output_norm.weight").offset = Some(0);
        },
        &format!(
            "tensor output_norm.weight: 4398046511104 bytes at 0 of the data section end behind its {section} bytes"
        ),
    );
    changed(
        |gguf| gguf.tensor_mut("blk.0.attn_q.weight").offset = Some(16),
        "tensor blk.0.attn_q.weight: offset 16 is no multiple of the alignment 32",
    );
    changed(
        |gguf| gguf.tensor_mut("output_norm.weight").offset = Some(32),
        "tensor output_norm.weight: it overlaps tensor token_embd.weight",
    );
}

/// An alignment of 2^31 ended the process (SIGABRT); one that is no power of two makes padding meaningless.
#[test]
fn the_alignment_is_a_small_power_of_two() {
    for alignment in [0, 3, 1 << 17, 1 << 31, u32::MAX] {
        changed(
            |gguf| {
                gguf.set("general.alignment", Value::U32(alignment));
            },
            &format!("general.alignment: expected a power of two up to 65536, found {alignment}"),
        );
    }
    changed(
        |gguf| {
            gguf.set("general.alignment", text("32"));
        },
        "general.alignment: expected an unsigned integer, found string",
    );
}

#[test]
fn hyperparameters_are_typed_and_bounded() {
    let rows = [
        ("block_count", "1 to 1024"),
        ("context_length", "1 to 16777216"),
        ("embedding_length", "1 to 65536"),
        ("feed_forward_length", "1 to 1048576"),
        ("attention.head_count", "1 to 1024"),
        ("attention.head_count_kv", "1 to 1024"),
        ("attention.key_length", "1 to 1024"),
        ("rope.dimension_count", "1 to 1024"),
    ];
    for (name, expected) in rows {
        let key = format!("llama.{name}");
        for found in [0, 1 << 31, u32::MAX] {
            changed(
                |gguf| {
                    gguf.set(&key, Value::U32(found));
                },
                &format!("{key}: expected {expected}, found {found}"),
            );
        }
        changed(
            |gguf| {
                gguf.set(&key, Value::U64(u64::MAX));
            },
            &format!("{key}: expected {expected}, found {}", u64::MAX),
        );
        changed(
            |gguf| {
                gguf.set(&key, Value::I32(-1));
            },
            &format!("{key}: expected an unsigned integer, found a negative number"),
        );
        changed(
            |gguf| {
                gguf.set(&key, Value::F32(2.0));
            },
            &format!("{key}: expected an unsigned integer, found f32"),
        );
        changed(
            |gguf| {
                gguf.set(&key, Value::I32s(vec![1]));
            },
            &format!("{key}: expected an unsigned integer, found an array of i32"),
        );
    }
    for name in [
        "block_count",
        "context_length",
        "embedding_length",
        "feed_forward_length",
        "attention.head_count",
    ] {
        let key = format!("llama.{name}");
        changed(
            |gguf| {
                gguf.remove(&key);
            },
            &format!("{key} is missing"),
        );
    }
}

#[test]
fn hyperparameters_agree_with_each_other() {
    let set = |name: &str, value: Value, message: &str| {
        changed(
            |gguf| {
                gguf.set(&format!("llama.{name}"), value);
            },
            message,
        );
    };
    set(
        "attention.head_count_kv",
        Value::U32(3),
        "key/value heads: expected a divisor of 2, found 3",
    );
    set(
        "attention.value_length",
        Value::U32(16),
        "llama.attention.value_length: 16 is not supported: values as long as keys (32) are",
    );
    set(
        "rope.dimension_count",
        Value::U32(64),
        "rope dimensions: expected an even number from 2 to 32, found 64",
    );
    set(
        "rope.freq_base",
        Value::F32(f32::NAN),
        "llama.rope.freq_base: expected 1 to 1000000000000, found NaN",
    );
    set(
        "rope.freq_base",
        Value::F32(0.0),
        "llama.rope.freq_base: expected 1 to 1000000000000, found 0",
    );
    set(
        "attention.layer_norm_rms_epsilon",
        Value::F32(-1.0),
        "llama.attention.layer_norm_rms_epsilon: expected 0 to 0.1, found -1",
    );
    set(
        "attention.layer_norm_rms_epsilon",
        Value::U32(0),
        "llama.attention.layer_norm_rms_epsilon: expected a float, found u32",
    );
    set(
        "rope.scaling.factor",
        Value::F32(f32::INFINITY),
        "llama.rope.scaling.factor: expected 1 to 65536, found inf",
    );
    set(
        "rope.scaling.type",
        text("longrope"),
        "llama.rope.scaling.type: longrope is not supported: none, linear and yarn are",
    );
    set(
        "expert_count",
        Value::U32(8),
        "llama.expert_count: 8 is not supported: models without experts are",
    );
    changed(
        |gguf| {
            gguf.set("llama.attention.head_count", Value::U32(5))
                .set("llama.attention.head_count_kv", Value::U32(5));
            gguf.remove("llama.attention.key_length");
        },
        "llama.embedding_length: expected a multiple of 5 heads, found 32",
    );
}

#[test]
fn what_we_do_not_run_is_named_with_what_we_do() {
    changed(
        |gguf| {
            gguf.set("general.architecture", text("mamba"));
        },
        "general.architecture: mamba is not supported: llama, qwen2 and qwen3 are",
    );
    changed(
        |gguf| gguf.tensor_mut("blk.0.attn_q.weight").format = 10,
        "tensor blk.0.attn_q.weight: type Q2_K is not supported: F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and Q6_K are",
    );
    changed(
        |gguf| gguf.tensor_mut("blk.0.attn_q.weight").format = u32::MAX,
        "tensor blk.0.attn_q.weight: type 4294967295 is not supported: F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and Q6_K are",
    );
    // The table of PLaMo-2's tokenizer wrapped a 32-bit sum in llama.cpp; we have no such table.
    for model in ["plamo2", "t5", "bert"] {
        changed(
            |gguf| {
                gguf.set("tokenizer.ggml.model", text(model));
            },
            &format!(
                "tokenizer.ggml.model: {model} is not supported: gpt2 (byte-level BPE) and llama (SentencePiece) are"
            ),
        );
    }
    changed(
        |gguf| {
            gguf.set("tokenizer.ggml.pre", text("bloom\u{1b}[31m"));
        },
        "tokenizer.ggml.pre: bloom\u{fffd}[31m is not supported: gpt-2, smollm, llama-bpe, qwen2, deepseek-llm and those that share their patterns (refact, mpt, ...) are",
    );
    changed(
        |gguf| {
            gguf.set("split.count", Value::U32(3));
        },
        "split.count: a model in 3 files is not supported: a single file is (merge the parts with llama-gguf-split --merge)",
    );
}

#[test]
fn tensors_are_those_of_the_architecture() {
    changed(
        |gguf| {
            gguf.tensors
                .retain(|tensor| tensor.name != "blk.0.ffn_up.weight")
        },
        "tensor blk.0.ffn_up.weight is missing: a llama model needs it",
    );
    changed(
        |gguf| {
            gguf.set("llama.block_count", Value::U32(1_024));
        },
        "tensor blk.1.attn_norm.weight is missing: a llama model needs it",
    );
    changed(
        |gguf| {
            gguf.tensor("blk.0.attn_output.bias", &[32], Format::F32, vec![0; 128]);
        },
        "tensor blk.0.attn_output.bias has no place in a llama model",
    );
    changed(
        |gguf| gguf.tensor_mut("blk.0.attn_k.weight").dims = vec![32, 1, 32],
        "tensor blk.0.attn_k.weight: expected [32, 32], found [32, 1, 32]",
    );
    changed(
        |gguf| {
            gguf.set("llama.attention.head_count_kv", Value::U32(2));
        },
        "tensor blk.0.attn_k.weight: expected [64, 32], found [32, 32]",
    );
    changed(
        |gguf| gguf.tensor_mut("output_norm.weight").format = 8,
        "tensor output_norm.weight: type Q8_0 is not supported: a vector is F32, F16 or BF16",
    );
    changed(
        |gguf| {
            // The embedding has one row fewer than the vocabulary has tokens.
            let Some((_, Value::Texts(tokens))) = gguf
                .entries
                .iter_mut()
                .find(|(key, _)| key == "tokenizer.ggml.tokens")
            else {
                panic!("no tokens")
            };
            tokens.push("extra".into());
            gguf.remove("tokenizer.ggml.token_type");
        },
        "tensor token_embd.weight: expected [273, 32], found [272, 32]",
    );
}

fn tokens(gguf: &mut Gguf) -> &mut Vec<String> {
    texts(gguf, "tokenizer.ggml.tokens")
}

fn texts<'a>(gguf: &'a mut Gguf, key: &str) -> &'a mut Vec<String> {
    match gguf.entries.iter_mut().find(|(known, _)| known == key) {
        Some((_, Value::Texts(texts))) => texts,
        _ => panic!("no {key}"),
    }
}

/// CVE-2025-49847 (a token's length was cast to a signed 32-bit number) and CVE-2025-52566 (signed compared with
/// unsigned while tokens were copied).
#[test]
fn tokens_have_bounded_texts_and_known_ids() {
    changed(
        |gguf| tokens(gguf)[40] = "x".repeat(5_000),
        "tokenizer: token 40 has 5000 bytes: at most 4096 are allowed",
    );
    let mut items = Vec::new();
    put_text(&mut items, b"a");
    items.extend((1_u64 << 31).to_le_bytes());
    let truncated = Value::Raw(9, array(8, 2, &items));
    let mut gguf = tiny().gguf();
    gguf.set("tokenizer.ggml.tokens", truncated);
    let error = read("token of 2^31 bytes", gguf.bytes())
        .err()
        .expect("refused")
        .to_string();
    assert!(
        error.starts_with("tokenizer.ggml.tokens at byte ")
            && error.contains("needs 2147483648 bytes"),
        "{error}"
    );
    for id in [272, 1 << 31, u32::MAX] {
        changed(
            |gguf| {
                gguf.set("tokenizer.ggml.eos_token_id", Value::U32(id));
            },
            &format!(
                "tokenizer: tokenizer.ggml.eos_token_id is {id}, but the vocabulary has 272 tokens"
            ),
        );
    }
    changed(
        |gguf| {
            gguf.set("tokenizer.ggml.bos_token_id", Value::I32(-1));
        },
        "tokenizer.ggml.bos_token_id: expected an unsigned integer, found a negative number",
    );
    changed(
        |gguf| tokens(gguf)[9] = "G".into(),
        "tokenizer: tokens 9 and 74 have the same text: G",
    );
    changed(
        |gguf| tokens(gguf)[74] = "GG".into(),
        "tokenizer: byte 0x47 has no token",
    );
    changed(
        |gguf| {
            gguf.set("tokenizer.ggml.tokens", Value::Texts(vec![]));
        },
        "tokenizer.ggml.token_type has 272 entries for 0 tokens"
            .replace("tokenizer.ggml", "tokenizer: tokenizer.ggml")
            .as_str(),
    );
}

/// A table of scores declared as bytes was read as floats, far behind its end.
#[test]
fn token_tables_have_their_type_and_length() {
    let sentence_piece = |gguf: &mut Gguf, scores: Value| {
        gguf.set("tokenizer.ggml.model", text("llama"))
            .set("tokenizer.ggml.unknown_token_id", Value::U32(0));
        gguf.set("tokenizer.ggml.scores", scores);
    };
    changed(
        |gguf| sentence_piece(gguf, Value::I8s(vec![0; 272])),
        "tokenizer.ggml.scores: expected an array of f32, found an array of i8",
    );
    changed(
        |gguf| sentence_piece(gguf, Value::F32s(vec![0.0; 271])),
        "tokenizer: tokenizer.ggml.scores has 271 entries for 272 tokens",
    );
    changed(
        |gguf| {
            sentence_piece(
                gguf,
                Value::F32s([vec![0.0; 7], vec![f32::NAN; 265]].concat()),
            )
        },
        "tokenizer: the score of token 7 is not finite",
    );
    changed(
        |gguf| {
            gguf.set("tokenizer.ggml.token_type", Value::I32s(vec![1; 273]));
        },
        "tokenizer: tokenizer.ggml.token_type has 273 entries for 272 tokens",
    );
    changed(
        |gguf| {
            gguf.set("tokenizer.ggml.token_type", Value::I8s(vec![1; 272]));
        },
        "tokenizer.ggml.token_type: expected an array of i32, found an array of i8",
    );
    changed(
        |gguf| {
            gguf.set("tokenizer.ggml.tokens", Value::I32s(vec![1; 272]));
        },
        "tokenizer.ggml.tokens: expected an array of strings, found an array of i32",
    );
    changed(
        |gguf| texts(gguf, "tokenizer.ggml.merges")[3] = "in".into(),
        "tokenizer: merge 3 is no pair of tokens: in",
    );
    changed(
        |gguf| texts(gguf, "tokenizer.ggml.merges")[3] = "i zz".into(),
        "tokenizer: merge 3 needs a token that does not exist: zz",
    );
    changed(
        |gguf| texts(gguf, "tokenizer.ggml.merges")[3] = "q q".into(),
        "tokenizer: merge 3 needs a token that does not exist: qq",
    );
    changed(
        |gguf| {
            gguf.remove("tokenizer.ggml.merges");
        },
        "tokenizer.ggml.merges is missing",
    );
    changed(
        |gguf| {
            gguf.remove("tokenizer.ggml.pre");
        },
        "tokenizer.ggml.pre is missing",
    );
}

#[test]
fn texts_are_utf8_and_short_enough() {
    changed(
        |gguf| {
            gguf.set("tokenizer.chat_template", text(&"x".repeat((1 << 20) + 1)));
        },
        "bytes of the chat template: 1048577 is more than the limit of 1048576",
    );
    let mut invalid = 2_u64.to_le_bytes().to_vec();
    invalid.extend([0xff, 0xfe]);
    changed(
        |gguf| {
            gguf.set("tokenizer.chat_template", Value::Raw(8, invalid));
        },
        "tokenizer.chat_template is not UTF-8",
    );
    changed(
        |gguf| {
            gguf.set("tokenizer.ggml.add_bos_token", Value::Raw(7, vec![2]));
        },
        "tokenizer.ggml.add_bos_token: expected 0 or 1, found 2",
    );
    let mut long = tiny().gguf();
    long.set(
        "general.name",
        text(&format!("a\u{1b}[0m{}", "é".repeat(100_000))),
    );
    let name = read("long name", long.bytes())
        .unwrap_or_else(|error| panic!("{error}"))
        .name
        .unwrap();
    assert!(name.starts_with("a[0mé") && name.len() <= 256, "{name}");
}

/// The largest of everything that is allowed, and one more: all within the bounds of memory and time.
#[test]
fn the_largest_files_allowed_load_within_the_bounds() {
    let mut gguf = tiny().gguf();
    let mut vocabulary = std::mem::take(tokens(&mut gguf));
    vocabulary.extend((vocabulary.len()..1 << 19).map(|id| format!("{id:06}")));
    gguf.set(
        "tokenizer.ggml.token_type",
        Value::I32s(vec![1; vocabulary.len()]),
    );
    *tokens(&mut gguf) = vocabulary.clone();
    // Every merge of two digits and four: not in the order of the tokens, so every result is searched.
    let merges = (0..1 << 19).map(|_| "Ġ t".to_owned()).collect();
    *texts(&mut gguf, "tokenizer.ggml.merges") = merges;
    let error = read("largest vocabulary", gguf.bytes())
        .err()
        .expect("the embedding is too small")
        .to_string();
    assert_eq!(
        error,
        "tensor token_embd.weight: expected [524288, 32], found [272, 32]"
    );

    texts(&mut gguf, "tokenizer.ggml.merges").push("Ġ t".into());
    refused(
        gguf.bytes(),
        "merges: 524289 is more than the limit of 524288",
    );
    tokens(&mut gguf).push("one more".into());
    refused(
        gguf.bytes(),
        "tokenizer.ggml.tokens: 524289 is more than the limit of 524288",
    );

    let mut gguf = tiny().gguf();
    (0..65_000).for_each(|i| gguf.entries.push((format!("{i}"), Value::U8(0))));
    assert!(read("many entries", gguf.bytes()).is_ok());

    let mut gguf = tiny().gguf();
    for i in 0..99_000 {
        gguf.tensor(&format!("{i}"), &[1], Format::F32, vec![0; 4]);
    }
    refused(gguf.bytes(), "tensor 0 has no place in a llama model");
}

#[test]
fn a_file_that_is_one_long_list_of_nothing_loads_in_no_time() {
    let empty_strings = array(8, 4 << 20, &vec![0; 32 << 20]);
    let mut gguf = tiny().gguf();
    gguf.set(
        "tokenizer.ggml.tokens",
        Value::Raw(9, empty_strings.clone()),
    );
    refused(
        gguf.bytes(),
        "tokenizer.ggml.tokens: 4194304 is more than the limit of 524288",
    );
    let mut gguf = tiny().gguf();
    gguf.set("ignored", Value::Raw(9, empty_strings));
    assert!(read("ignored list", gguf.bytes()).is_ok());
}

/// Half a million control tokens would cost their matcher gigabytes.
#[test]
fn special_tokens_are_few() {
    changed(
        |gguf| {
            let len = {
                let tokens = tokens(gguf);
                tokens.extend((0..20_000).map(|id| format!("<|{id}|>")));
                tokens.len()
            };
            gguf.set(
                "tokenizer.ggml.token_type",
                Value::I32s((0..len).map(|id| if id < 272 { 1 } else { 3 }).collect()),
            );
        },
        "bytes of special tokens: 65537 is more than the limit of 65536",
    );
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = tiny().bytes();
    let header = tiny().gguf().header().len();
    for len in (0..header + 64).chain((header..whole.len()).step_by(997)) {
        assert!(
            read("cut", whole[..len].to_vec()).is_err(),
            "{len} of {} bytes",
            whole.len()
        );
    }
}

/// Every place in the header, overwritten with the numbers that overflow arithmetic, in both widths.
#[test]
fn overwritten_fields_never_panic() {
    let whole = tiny().bytes();
    let header = tiny().gguf().header().len();
    let mut file = Arc::new(whole.clone());
    for at in 0..header {
        for number in [0, 1, 1 << 31, 1 << 32, 1 << 63, u64::MAX] {
            for width in [4, 8] {
                let bytes = Arc::get_mut(&mut file).expect("no model is alive");
                let end = (at + width).min(bytes.len());
                bytes[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
                load_and_use(&file);
                Arc::get_mut(&mut file).expect("no model is alive")[at..end]
                    .copy_from_slice(&whole[at..end]);
            }
        }
    }
}

/// A reader's seed and step are in the message, so a failure can be repeated.
#[test]
fn ten_thousand_mutated_headers_never_panic() {
    let whole = tiny().bytes();
    let header = tiny().gguf().header().len() as u64;
    let mut random = Random(0x5eed);
    let mut loaded = 0;
    for step in 0..10_000 {
        let mut bytes = whole.clone();
        for _ in 0..=random.below(4) {
            let at = random.below(header) as usize;
            match random.below(4) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => bytes[at] = random.next() as u8,
                2 => {
                    let from = random.below(header) as usize;
                    let len = (random.below(64) as usize).min(header as usize - at.max(from));
                    bytes.copy_within(from..from + len, at);
                }
                _ => bytes.truncate(at.max(24)),
            }
            if bytes.len() < whole.len() {
                break;
            }
        }
        let result = std::panic::catch_unwind(|| load_and_use(&Arc::new(bytes)));
        loaded += usize::from(result.unwrap_or_else(|_| panic!("step {step} of seed 0x5eed")));
    }
    // Most flips hit a token's text and harm nobody.
    println!("{loaded} of 10000 mutated files loaded");
}

/// Loads a file within the bounds; if it loads, everything it promises must hold.
fn load_and_use(file: &Arc<Vec<u8>>) -> bool {
    let (result, cost) = meter::measure(|| gguf::read(file.clone()));
    cost.check("mutated", file.len());
    let Ok(model) = result else { return false };
    for (_, tensor) in model.tensors.iter() {
        assert_eq!(
            model.bytes(tensor).len(),
            tensor.rows * tensor.format.row_bytes(tensor.cols).unwrap()
        );
    }
    let text = "Hello, <|im_start|>wörld\n";
    for parse_special in [false, true] {
        let tokens = model.tokenizer.encode(text, parse_special).unwrap();
        assert!(
            tokens
                .iter()
                .all(|token| (token.0 as usize) < model.config.vocab_len)
        );
        std::hint::black_box(model.tokenizer.decode(&tokens));
    }
    true
}
