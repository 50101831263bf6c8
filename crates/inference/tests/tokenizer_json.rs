//! `tokenizer.json`: the same tokens as from GGUF tables, and a clear error for what we do not do.

#[path = "support/means.rs"]
mod means;
#[path = "support/meter.rs"]
mod meter;
#[path = "support/model_directory.rs"]
mod model_directory;

use std::collections::HashMap;
use std::sync::Arc;

use model_directory::{Directory, LLAMA3_PATTERN, QWEN2_PATTERN};
use serde_json::{Value, json};
use spindle_inference::TokenId;
use spindle_inference::formats::{gguf, safetensors};
use spindle_inference::tokenizer::Tokenizer;

/// What `tokenizer.json` needs of a GGUF vocabulary.
struct Tables {
    tokens: Vec<String>,
    kinds: Vec<i32>,
    merges: Vec<String>,
    scores: Vec<f32>,
}

/// Reads the tables of a real vocabulary; real files need no checks.
fn tables(bytes: &[u8]) -> Tables {
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let text = |at: usize| String::from_utf8(bytes[at + 8..at + 8 + number(at)].to_vec()).unwrap();
    let mut tables = Tables {
        tokens: vec![],
        kinds: vec![],
        merges: vec![],
        scores: vec![],
    };
    let mut at = 24;
    for _ in 0..number(16) {
        let key = text(at);
        at += 8 + key.len() + 4;
        let kind = word(at - 4);
        let [mut count, mut item] = [1, kind as usize];
        if kind == 9 {
            [item, count] = [word(at) as usize, number(at + 4)];
            at += 12;
        }
        for _ in 0..count {
            match (&*key, item) {
                ("tokenizer.ggml.tokens", _) => tables.tokens.push(text(at)),
                ("tokenizer.ggml.merges", _) => tables.merges.push(text(at)),
                ("tokenizer.ggml.token_type", _) => tables.kinds.push(word(at) as i32),
                ("tokenizer.ggml.scores", _) => tables.scores.push(f32::from_bits(word(at))),
                _ => {}
            }
            at += match item {
                0 | 1 | 7 => 1,
                2 | 3 => 2,
                4..=6 => 4,
                8 => 8 + number(at),
                _ => 8,
            };
        }
    }
    tables
}

/// Merges as a converter derives them from SentencePiece's scores: every way to cut a piece into two pieces.
fn merges_by_score(tables: &Tables) -> Vec<(String, String)> {
    let ids: HashMap<&str, usize> = tables
        .tokens
        .iter()
        .enumerate()
        .map(|(id, text)| (&**text, id))
        .collect();
    let mut merges = Vec::new();
    for (id, text) in tables
        .tokens
        .iter()
        .enumerate()
        .filter(|(id, _)| tables.kinds[*id] == 1)
    {
        for (cut, _) in text.char_indices().skip(1) {
            let (left, right) = text.split_at(cut);
            if let (Some(l), Some(r)) = (ids.get(left), ids.get(right)) {
                merges.push((
                    -tables.scores[id],
                    *l,
                    *r,
                    left.to_owned(),
                    right.to_owned(),
                ));
            }
        }
    }
    merges.sort_by(|a, b| a.partial_cmp(b).unwrap());
    merges
        .into_iter()
        .map(|(.., left, right)| (left, right))
        .collect()
}

fn vocab_json(tables: &Tables) -> (Value, Value) {
    let in_model = |id: &usize| !matches!(tables.kinds[*id], 3 | 4);
    let ids = 0..tables.tokens.len();
    let vocab: Value = ids
        .clone()
        .filter(in_model)
        .map(|id| (tables.tokens[id].clone(), json!(id)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let added: Vec<Value> = ids
        .filter(|id| !in_model(id))
        .map(|id| json!({ "id": id, "content": tables.tokens[id], "special": tables.kinds[id] == 3, "lstrip": false, "rstrip": false, "single_word": false, "normalized": false }))
        .collect();
    (vocab, added.into())
}

fn split(pattern: &str) -> Value {
    json!({ "type": "Sequence", "pretokenizers": [
        { "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false },
        { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
    ] })
}

/// The `tokenizer.json` that a GGUF vocabulary was, or could have been, converted from.
fn converted(name: &str, tables: &Tables) -> Value {
    let (vocab, added_tokens) = vocab_json(tables);
    let byte_level =
        json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true });
    let mut model = json!({ "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
        "vocab": vocab, "merges": tables.merges });
    let mut normalizer = Value::Null;
    let pre_tokenizer = match name {
        "gpt-2" => byte_level,
        "llama-bpe" => {
            model["ignore_merges"] = true.into();
            // The newer spelling of merges.
            let pairs = tables
                .merges
                .iter()
                .map(|merge| merge.split_once(' ').unwrap());
            model["merges"] = pairs.map(|(left, right)| json!([left, right])).collect();
            split(LLAMA3_PATTERN)
        }
        "qwen2" => {
            normalizer = json!({ "type": "NFC" });
            split(QWEN2_PATTERN)
        }
        "refact" => json!({ "type": "Sequence", "pretokenizers": [
            { "type": "Digits", "individual_digits": true }, byte_level,
        ] }),
        _ => {
            model["byte_fallback"] = true.into();
            model["unk_token"] = "<unk>".into();
            model["merges"] = merges_by_score(tables)
                .into_iter()
                .map(|(l, r)| json!(format!("{l} {r}")))
                .collect();
            normalizer = json!({ "type": "Sequence", "normalizers": [
                { "type": "Prepend", "prepend": "▁" },
                { "type": "Replace", "pattern": { "String": " " }, "content": "▁" },
            ] });
            Value::Null
        }
    };
    json!({ "version": "1.0", "truncation": null, "padding": null, "added_tokens": added_tokens,
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": null, "model": model })
}

#[test]
fn a_vocabulary_gives_the_same_tokens_from_either_file() {
    let texts = [
        "Hello, y'all! How are you 😁 ?我想在apple工作1314151天～",
        "  Hello\n\n\tWorld  3333 33.3  \r\n x",
        "нещо на Български កាន់តែ 🚀 (normal) 😶‍🌫️ I'LL 'Ve",
        "def f(x):\n        return x**2  # ----=====!!!!!!",
        "",
        " ",
    ];
    for name in ["gpt-2", "llama-bpe", "qwen2", "refact", "llama-spm"] {
        let Some(bytes) = means::cached(&format!("vocab/ggml-vocab-{name}.gguf")) else {
            return;
        };
        let json = serde_json::to_vec(&converted(name, &tables(&bytes))).unwrap();
        let from_gguf = gguf::read_tokenizer(Arc::new(bytes)).unwrap();
        let parts = Directory::with_tokenizer(json).parts();
        let (model, cost) = meter::measure(|| safetensors::read(parts));
        let from_json = model
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .tokenizer;
        let seconds = cost.time.as_secs_f64();
        println!("{name}: tokenizer.json loaded in {:.1} ms", seconds * 1e3);
        assert!(seconds < 1.0, "{name}: {seconds} s");
        for text in texts {
            let tokens = from_json.encode(text, false).unwrap();
            assert_eq!(
                tokens,
                from_gguf.encode(text, false).unwrap(),
                "{name}: {text:?}"
            );
            assert_eq!(
                String::from_utf8(from_json.decode(&tokens)).unwrap(),
                text,
                "{name}"
            );
        }
    }
}

/// A small byte-level tokenizer, with what each test changes.
fn small(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut json = model_directory::tiny_tokenizer();
    change(&mut json);
    serde_json::to_vec(&json).unwrap()
}

fn small_tokenizer(change: impl FnOnce(&mut Value)) -> Tokenizer {
    Directory::with_tokenizer(small(change)).tokenizer()
}

#[test]
fn the_post_processor_says_whether_the_begin_token_is_added() {
    let template = |single: Value| json!({ "type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": {} });
    let begin = json!({ "SpecialToken": { "id": "<|im_start|>", "type_id": 0 } });
    let text = json!({ "Sequence": { "id": "A", "type_id": 0 } });
    let end = json!({ "SpecialToken": { "id": "<|im_end|>", "type_id": 0 } });
    let check = |post_processor: Value, expected: Option<u32>| {
        let tokenizer = small_tokenizer(|json| json["post_processor"] = post_processor);
        assert_eq!(tokenizer.add_bos(), expected.map(TokenId));
    };
    check(Value::Null, None);
    check(json!({ "type": "ByteLevel" }), None);
    check(template(json!([begin, text])), Some(1));
    check(template(json!([text, end])), None);
    check(
        json!({ "type": "Sequence", "processors": [{ "type": "ByteLevel" }, template(json!([begin, text, end]))] }),
        Some(1),
    );
}

#[test]
fn composed_characters_are_composed_where_the_file_asks_for_it() {
    let nfc = small_tokenizer(|json| json["normalizer"] = json!({ "type": "NFC" }));
    let plain = small_tokenizer(|_| {});
    assert_eq!(nfc.encode("e\u{301}", false), plain.encode("é", false));
    assert_ne!(plain.encode("e\u{301}", false), plain.encode("é", false));
}

#[test]
fn added_tokens_are_found_by_their_rules() {
    let tokenizer = small_tokenizer(|json| {
        let added = json["added_tokens"].as_array_mut().unwrap();
        added.push(json!({ "id": 300, "content": "<x>", "special": false, "lstrip": true, "rstrip": true }));
        added.push(json!({ "id": 301, "content": "<x>y", "special": false }));
    });
    let ids = |text: &str| {
        tokenizer
            .encode(text, false)
            .unwrap()
            .iter()
            .map(|id| id.0)
            .collect::<Vec<_>>()
    };
    let a = ids("a");
    assert_eq!(ids("a  <x> \n a"), [&a[..], &[300], &a[..]].concat());
    assert_eq!(ids("<x>ya"), [&[301], &a[..]].concat());
    assert_eq!(tokenizer.decode(&[TokenId(300)]), b"<x>");
    assert_eq!(tokenizer.vocab_len(), model_directory::TINY_VOCAB_LEN);
}

#[test]
fn a_blank_before_the_text_comes_and_goes_again() {
    let metaspace = |scheme: &str| json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false });
    let tokenizer = |scheme: &str| {
        small_tokenizer(|json| {
            json["pre_tokenizer"] = metaspace(scheme);
            json["model"] = json!({ "type": "BPE", "byte_fallback": true, "unk_token": "<unk>",
                "vocab": { "<unk>": 3, "▁": 4, "a": 5, "▁a": 6 }, "merges": ["▁ a"] });
        })
    };
    let ids = |tokenizer: &Tokenizer, text: &str| {
        tokenizer
            .encode(text, true)
            .unwrap()
            .iter()
            .map(|id| id.0)
            .collect::<Vec<_>>()
    };
    let always = tokenizer("always");
    assert_eq!(ids(&always, "a a"), [6, 6]);
    assert_eq!(ids(&always, "a<|im_end|>a"), [6, 2, 6]);
    assert_eq!(ids(&always, " a"), [6]);
    assert_eq!(always.decode(&[TokenId(6), TokenId(6)]), b"a a");
    assert_eq!(ids(&tokenizer("first"), "a<|im_end|>a"), [6, 2, 5]);
    assert_eq!(ids(&tokenizer("never"), "a a"), [5, 6]);
    // Without byte tokens what has no token is unknown, byte by byte.
    assert_eq!(ids(&always, "aß"), [6, 3, 3]);
}

#[test]
fn what_is_not_done_is_refused_by_name() {
    let check = |change: &dyn Fn(&mut Value), message: &str| {
        let error = Directory::with_tokenizer(small(change))
            .read()
            .err()
            .expect(message);
        assert_eq!(model_directory::chain(&error), message);
    };
    let pre = |value: Value| move |json: &mut Value| json["pre_tokenizer"] = value.clone();
    check(
        &|json| json["model"]["type"] = "Unigram".into(),
        "tokenizer.json: model: Unigram is not supported: BPE is",
    );
    check(
        &|json| json["model"]["dropout"] = 0.1.into(),
        "tokenizer.json: model: dropout is not supported: the same tokens every time are",
    );
    check(
        &|json| json["model"]["continuing_subword_prefix"] = "##".into(),
        "tokenizer.json: model: an affix of subwords is not supported: byte-level BPE and SentencePiece's are",
    );
    check(
        &|json| json["normalizer"] = json!({ "type": "Lowercase" }),
        "tokenizer.json: normalizer: Lowercase is not supported: NFC and SentencePiece's blanks are",
    );
    check(
        &|json| json["pre_tokenizer"] = Value::Null,
        "tokenizer.json: BPE over plain characters is not supported: byte-level BPE and SentencePiece's blanks are",
    );
    check(
        &pre(json!({ "type": "Whitespace" })),
        "tokenizer.json: pre_tokenizer: Whitespace is not supported: ByteLevel, Split, Digits, Metaspace and sequences of them are",
    );
    check(
        &pre(json!({ "type": "Split", "pattern": { "Regex": "x" }, "behavior": "MergedWithNext" })),
        "tokenizer.json: pre_tokenizer: Split with MergedWithNext is not supported: Split with Isolated is",
    );
    check(
        &pre(json!({ "type": "Split", "pattern": { "Regex": "(?=x)y" }, "behavior": "Isolated" })),
        "tokenizer: pattern does not compile: error: look-around, including look-ahead and look-behind, is not supported",
    );
    check(
        &|json| json["post_processor"] = json!({ "type": "BertProcessing" }),
        "tokenizer.json: post_processor: BertProcessing is not supported: TemplateProcessing and ByteLevel are",
    );
    check(
        &|json| json["added_tokens"][0]["single_word"] = true.into(),
        "tokenizer.json: added_tokens: single_word of <|endoftext|> is not supported: tokens without it are",
    );
    check(
        &|json| json["added_tokens"][0]["id"] = 50.into(),
        "tokenizer: id 50 is given to two tokens",
    );
    check(
        &|json| json["added_tokens"][0]["id"] = (1_u64 << 63).into(),
        "tokenizer: a token's id is 9223372036854775808, but the vocabulary has 524288 tokens",
    );
    check(
        &|json| json["model"]["vocab"]["!"] = 99.into(),
        "tokenizer: id 99 is given to two tokens",
    );
    check(
        &|json| json["model"]["merges"][0] = "q qq".into(),
        "tokenizer: merge 0 needs a token that does not exist: qq",
    );
}

/// Unknown patterns run in an automaton that counts steps: these once held tokenizers for minutes.
#[test]
fn hostile_patterns_cost_an_error_and_no_time() {
    let classes = format!("(?i){}", r"\pL".repeat(1_300));
    let patterns = [
        "(a+)+$",
        "(a|a)*b|.",
        "(.*)*x|.",
        "a*a*a*a*b|a",
        "[ab]*a[ab]{300}",
        &classes,
        "(((a{99}){99}){99}){99}",
    ];
    for pattern in patterns {
        let parts =
            Directory::with_tokenizer(small(|json| json["pre_tokenizer"] = split(pattern))).parts();
        let text = "ab".repeat(1 << 19);
        let (_, cost) = meter::measure(|| {
            let model = safetensors::read(parts);
            model.is_ok_and(|model| model.tokenizer.encode(&text, false).is_ok())
        });
        let seconds = cost.time.as_secs_f64();
        let pattern = &pattern[..pattern.len().min(24)];
        println!("{pattern}: {seconds:.3} s");
        assert!(seconds < 1.0, "{pattern}: {seconds} s");
    }
}

/// A word of megabytes is merged in parts, so its memory is that of its tokens and a little more.
#[test]
fn texts_of_any_shape_take_little_memory() {
    let tokenizer = small_tokenizer(|_| {});
    for text in [
        "a".repeat(8 << 20),
        " ".repeat(8 << 20),
        "the ".repeat(2 << 20),
        "ß".repeat(4 << 20),
    ] {
        let (tokens, cost) = meter::measure(|| tokenizer.encode(&text, true).unwrap());
        // Four bytes a token, twice while the list grows, and 16 MiB.
        let allowed = 12 * tokens.len() + (16 << 20);
        assert!(
            cost.bytes <= allowed,
            "{:?}: {} bytes for {} tokens",
            &text[..2],
            cost.bytes,
            tokens.len()
        );
        assert_eq!(tokenizer.decode(&tokens), text.as_bytes());
    }
}
