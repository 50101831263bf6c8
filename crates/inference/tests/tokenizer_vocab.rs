//! Real vocabularies against what their own tokenizers made of the same texts.

#[path = "support/means.rs"]
mod means;
#[path = "support/meter.rs"]
mod meter;

use std::sync::Arc;

use spindle_inference::TokenId;
use spindle_inference::formats::gguf;
use spindle_inference::tokenizer::Tokenizer;

/// The vocabularies of llama.cpp's tests whose models we know how to read.
const VOCABULARIES: [&str; 8] = [
    "gpt-2",
    "llama-bpe",
    "qwen2",
    "llama-spm",
    "phi-3",
    "deepseek-llm",
    "refact",
    "mpt",
];

fn vocabulary(name: &str) -> Option<Tokenizer> {
    let bytes = means::cached(&format!("vocab/ggml-vocab-{name}.gguf"))?;
    Some(gguf::read_tokenizer(Arc::new(bytes)).unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// The texts of the reference and the tokens each became.
fn reference(name: &str) -> Option<Vec<(String, Vec<TokenId>)>> {
    let read = |kind| means::cached(&format!("vocab/ggml-vocab-{name}.gguf.{kind}"));
    let texts = String::from_utf8(read("inp")?).expect("texts are UTF-8");
    let tokens = String::from_utf8(read("out")?).expect("numbers are UTF-8");
    // The last text has a separator behind it, which is no further text.
    let separator = "\n__ggml_vocab_test__\n";
    let texts = texts
        .strip_suffix(separator)
        .unwrap_or(&texts)
        .split(separator);
    let tokens = tokens.lines().map(|line| {
        line.split_whitespace()
            .map(|id| TokenId(id.parse().unwrap()))
            .collect()
    });
    Some(texts.map(str::to_owned).zip(tokens).collect())
}

#[test]
fn every_text_becomes_the_tokens_of_the_reference() {
    let mut wrong = Vec::new();
    for name in VOCABULARIES {
        let (Some(tokenizer), Some(reference)) = (vocabulary(name), reference(name)) else {
            return;
        };
        assert!(reference.len() > 40, "{name}: {} texts", reference.len());
        for (text, expected) in reference {
            let tokens = tokenizer.encode(&text, false).unwrap();
            if tokens != expected {
                wrong.push(format!(
                    "{name}: {text:?}\n  expected {expected:?}\n  found    {tokens:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn decoding_gives_the_text_back() {
    let texts = [
        "",
        " ",
        "  two  blanks  ",
        "line\r\n\r\n\tbreaks\n",
        "Grüße aus Köln, 12345.67 € — naïve façade",
        "日本語 한국어 العربية हिन्दी ไทย",
        "🦙🏳️‍🌈 e\u{301} \u{200d}\u{fe0f}\u{0}\u{7f}",
        "def f(x):\n    return x ** 2  # <|im_start|> </s>\n",
        "'s 'T 'll I'VE don't",
        "\u{10ffff}\u{e000}\u{a0}\u{3000}x",
    ];
    for name in VOCABULARIES {
        let Some(tokenizer) = vocabulary(name) else {
            return;
        };
        for text in texts {
            let tokens = tokenizer.encode(text, false).unwrap();
            assert_eq!(
                String::from_utf8_lossy(&tokenizer.decode(&tokens)),
                text,
                "{name}"
            );
            assert!(
                tokens.iter().all(|token| !tokenizer.is_control(*token)),
                "{name}: {text:?}"
            );
        }
    }
}

#[test]
fn special_tokens_are_known_by_their_roles() {
    let check = |name: &str, bos: Option<&str>, add: bool, ends: &[&str]| {
        let Some(tokenizer) = vocabulary(name) else {
            return;
        };
        let text = |id: &TokenId| tokenizer.token_text(*id).into_owned();
        assert_eq!(tokenizer.bos_text().as_deref(), bos, "{name}");
        assert_eq!(tokenizer.add_bos().is_some(), add, "{name}");
        assert_eq!(
            tokenizer.eos_ids().iter().map(text).collect::<Vec<_>>(),
            ends,
            "{name}"
        );
        for end in tokenizer.eos_ids() {
            assert!(
                tokenizer.is_end(*end) && tokenizer.token_bytes(*end).is_empty(),
                "{name}"
            );
        }
    };
    check("gpt-2", Some("<|endoftext|>"), false, &["<|endoftext|>"]);
    check(
        "llama-bpe",
        Some("<|begin_of_text|>"),
        true,
        &["<|end_of_text|>", "<|eot_id|>"],
    );
    check(
        "qwen2",
        Some("<|endoftext|>"),
        false,
        &["<|endoftext|>", "<|im_end|>"],
    );
    check("llama-spm", Some("<s>"), true, &["</s>"]);
    check(
        "phi-3",
        Some("<s>"),
        true,
        &["</s>", "<|endoftext|>", "<|end|>"],
    );
    check(
        "deepseek-llm",
        Some("<｜begin▁of▁sentence｜>"),
        true,
        &["<｜end▁of▁sentence｜>"],
    );
}

#[test]
fn control_tokens_are_parsed_only_on_request() {
    let Some(tokenizer) = vocabulary("llama-bpe") else {
        return;
    };
    let text = "<|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>";
    let parsed = tokenizer.encode(text, true).unwrap();
    assert_eq!(
        parsed
            .iter()
            .filter(|token| tokenizer.is_control(**token))
            .count(),
        3
    );
    assert_eq!(tokenizer.decode(&parsed), b"user\n\nhi");
    let literal = tokenizer.encode(text, false).unwrap();
    assert!(literal.iter().all(|token| !tokenizer.is_control(*token)));
    assert_eq!(tokenizer.decode(&literal), text.as_bytes());
}

#[test]
fn phi3_control_tokens_take_the_blanks_behind_them() {
    let Some(tokenizer) = vocabulary("phi-3") else {
        return;
    };
    let [loose, tight] = ["<|user|> \n hi<|end|>\n", "<|user|>hi<|end|>"]
        .map(|text| tokenizer.encode(text, true).unwrap());
    assert_eq!(loose, tight);
}

/// Hostile texts of a megabyte: one endless word, one that the merges love, blanks, and words by the hundred thousand.
/// The bound is the one of the threat table; the real figures are a tenth of it.
#[test]
fn hostile_texts_take_less_than_a_second_a_megabyte() {
    let texts = [
        "a".repeat(1 << 20),
        "^".repeat(1 << 20),
        "a ".repeat(1 << 19),
        " ".repeat(1 << 20),
        "ab1\n".repeat(1 << 18),
        "é".repeat(1 << 19),
    ];
    for name in VOCABULARIES {
        let Some(tokenizer) = vocabulary(name) else {
            return;
        };
        for text in &texts {
            let (tokens, seconds) = meter::fastest(3, || tokenizer.encode(text, true).unwrap());
            println!(
                "{name}: 1 MiB of {:?}: {} tokens, {seconds:.3} s",
                &text[..2],
                tokens.len()
            );
            assert!(seconds < 1.0, "{name}: {seconds} s");
            assert_eq!(tokenizer.decode(&tokens), text.as_bytes());
        }
    }
}

#[test]
fn a_limit_ends_the_work_early() {
    let Some(tokenizer) = vocabulary("qwen2") else {
        return;
    };
    let text = "hello ".repeat(1_000_000);
    let (refused, cost) = meter::measure(|| tokenizer.encode_within(&text, true, 1_000));
    assert!(refused.is_err() && cost.time.as_secs_f64() < 0.1);
    assert_eq!(tokenizer.encode_within("hello", true, 1).unwrap().len(), 1);
}

/// Start-up has 100 ms in all, of which this may take 60. The bound leaves room for a busy machine; the figure is printed.
#[test]
fn vocabularies_load_in_a_fraction_of_start_up() {
    for name in VOCABULARIES {
        let Some(bytes) = means::cached(&format!("vocab/ggml-vocab-{name}.gguf")) else {
            return;
        };
        let file: spindle_inference::formats::Bytes = Arc::new(bytes);
        let (tokenizer, seconds) =
            meter::fastest(5, || gguf::read_tokenizer(file.clone()).unwrap());
        assert!(tokenizer.vocab_len() > 30_000);
        println!("{name}: loaded in {:.1} ms", seconds * 1e3);
        assert!(seconds < 0.25, "{name}: {seconds} s");
    }
}

#[test]
fn smollm2_prompts_become_the_reference_tokens() {
    let Some(bytes) = means::cached("smollm2-135m-instruct.Q4_1.gguf") else {
        return;
    };
    let model = gguf::read(Arc::new(bytes)).unwrap();
    let reference = include_str!("../../../tests/reference/smollm2-135m-q4_1-greedy.jsonl");
    let mut lines = 0;
    for line in reference.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let ids = |key: &str| -> Vec<TokenId> {
            line[key]
                .as_array()
                .unwrap()
                .iter()
                .map(|id| TokenId(id.as_u64().unwrap() as u32))
                .collect()
        };
        let prompt = line["prompt"].as_str().unwrap();
        assert_eq!(
            model.tokenizer.encode(prompt, true).unwrap(),
            ids("prompt_tokens"),
            "{prompt:?}"
        );
        let text = String::from_utf8_lossy(&model.tokenizer.decode(&ids("tokens"))).into_owned();
        assert_eq!(text, line["text"].as_str().unwrap());
        lines += 1;
    }
    assert_eq!(lines, 25);
    assert_eq!(model.config.vocab_len, 49_152);
    assert_eq!(
        (
            model.config.heads,
            model.config.kv_heads,
            model.config.layers
        ),
        (9, 3, 30)
    );
    assert!(model.config.tied_head);
}
