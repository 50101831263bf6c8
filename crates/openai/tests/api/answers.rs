//! Properties of answers that no single golden shows.

use serde_json::{Value, json};
use spindle_openai::Endpoint;
use spindle_openai::inference::{Candidate, Event, FinishReason, TokenEvent, TokenLogprobs};

use crate::fake::{Fake, Script, at_once, finished, one_by_one, prompt, prompt_of, scored, token};

const STOP: FinishReason = FinishReason::Stop;
const LENGTH: FinishReason = FinishReason::Length;

fn chat(fake: &Fake, fields: &str) -> Value {
    let body = format!(r#"{{"messages":[{{"role":"user","content":"Hi"}}]{fields}}}"#);
    fake.run(Endpoint::ChatCompletions, &body).json()
}

fn script(text: &'static [u8], prompt_tokens: u32) -> Script {
    one_by_one([
        prompt(prompt_tokens),
        token(5, text),
        finished(STOP, prompt_tokens, 2),
    ])
}

#[test]
fn choices_are_in_order_whoever_ends_first() {
    let slow = Ok([
        vec![crate::fake::Step::Wait; 9],
        script(b"slow", 4).unwrap(),
    ]
    .concat());
    let fake = Fake::new([slow, script(b"fast", 4)]);
    let answer = chat(&fake, r#","n":2"#);
    let texts: Vec<_> = answer["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (&c["index"], &c["message"]["content"]))
        .collect();
    assert_eq!(
        texts,
        [(&json!(0), &json!("slow")), (&json!(1), &json!("fast"))]
    );
}

#[test]
fn a_prompt_is_counted_once_and_answers_each() {
    let fake = Fake::new([
        script(b"a", 4),
        script(b"b", 4),
        script(b"c", 6),
        script(b"d", 6),
    ]);
    let usage = &fake
        .run(Endpoint::Completions, r#"{"prompt":["x","y"],"n":2}"#)
        .json()["usage"];
    assert_eq!(
        (
            &usage["prompt_tokens"],
            &usage["completion_tokens"],
            &usage["total_tokens"]
        ),
        (&json!(10), &json!(8), &json!(18))
    );
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 5);
}

#[test]
fn a_token_that_ends_an_answer_is_counted_and_not_scored() {
    let end = |reason| {
        at_once([
            prompt(1),
            scored(5, b"a"),
            scored(6, b""),
            scored(2, b""),
            finished(reason, 1, 3),
        ])
    };
    let fake = Fake::new([end(STOP), end(LENGTH)]);
    let fields = r#","logprobs":true,"return_token_ids":true"#;
    let stopped = &chat(&fake, fields)["choices"][0];
    assert_eq!(stopped["logprobs"]["content"].as_array().unwrap().len(), 1);
    assert_eq!(stopped["token_ids"], json!([5, 6, 2]));
    // Without an end, a token without text is part of the answer.
    let cut = &chat(&fake, fields)["choices"][0];
    assert_eq!(cut["logprobs"]["content"].as_array().unwrap().len(), 3);
    assert_eq!(cut["token_ids"], json!([5, 6, 2]));
}

#[test]
fn logprobs_are_numbers_whatever_inference_says() {
    for (logprob, expected) in [
        (f32::NEG_INFINITY, -9999.0),
        (f32::NAN, -9999.0),
        (-20000.0, -9999.0),
        (-0.5, -0.5),
    ] {
        let chosen = Candidate {
            id: 5,
            logprob,
            bytes: b"a".to_vec(),
        };
        let logprobs = Some(TokenLogprobs {
            chosen: chosen.clone(),
            top: vec![chosen],
        });
        let event = Event::Token(TokenEvent {
            id: 5,
            bytes: b"a".to_vec(),
            logprobs,
        });
        let fake = Fake::new([at_once([prompt(1), event, finished(LENGTH, 1, 1)])]);
        let answer = chat(&fake, r#","logprobs":true,"top_logprobs":1"#);
        let content = &answer["choices"][0]["logprobs"]["content"][0];
        assert_eq!(
            (&content["logprob"], &content["top_logprobs"][0]["logprob"]),
            (&json!(expected), &json!(expected))
        );
    }
}

#[test]
fn offsets_count_the_characters_of_the_choices_text() {
    let tokens: [(u32, &[u8]); 3] = [(1, b"<s>"), (3, b" \xe2"), (4, b"\x82\xac!")];
    let events = [
        prompt_of(&tokens, true),
        scored(5, b"\xf0\x9f"),
        scored(6, b"\x98\x80"),
        scored(7, b"z"),
        finished(LENGTH, 3, 3),
    ];
    let fake = Fake::new([at_once(events)]);
    let answer = fake
        .run(
            Endpoint::Completions,
            r#"{"prompt":"€!","echo":true,"logprobs":0}"#,
        )
        .json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["text"], "\u{20ac}!\u{1f600}z");
    // The begin token and the space before the prompt are not in the text.
    assert_eq!(choice["logprobs"]["text_offset"], json!([0, 0, 0, 2, 2, 3]));
    assert_eq!(choice["logprobs"]["token_logprobs"][0], Value::Null);
}

#[test]
fn the_likelier_of_two_candidates_that_look_alike_is_shown() {
    let candidate = |id: u32, logprob: f32, bytes: &[u8]| Candidate {
        id,
        logprob,
        bytes: bytes.to_vec(),
    };
    let top = vec![
        candidate(8, -0.25, b"\xff"),
        candidate(9, -0.5, b"\xfe"),
        candidate(5, -1.5, b"a"),
    ];
    let logprobs = Some(TokenLogprobs {
        chosen: candidate(5, -1.5, b"a"),
        top,
    });
    let event = Event::Token(TokenEvent {
        id: 5,
        bytes: b"a".to_vec(),
        logprobs,
    });
    let fake = Fake::new([at_once([prompt(1), event, finished(LENGTH, 1, 1)])]);
    let answer = fake.run(Endpoint::Completions, r#"{"prompt":"x","logprobs":3}"#);
    assert!(
        answer
            .text()
            .contains(r#""top_logprobs":[{"�":-0.25,"a":-1.5}]"#),
        "{}",
        answer.text()
    );
}

#[test]
fn streamed_and_whole_answers_say_the_same() {
    let events = || {
        let tokens: [(u32, &[u8]); 2] = [(1, b"H"), (3, b"i")];
        one_by_one([
            prompt_of(&tokens, true),
            scored(5, b"a\xc3"),
            scored(6, b"\xa9"),
            scored(7, b"\xff"),
            scored(2, b""),
            finished(STOP, 2, 4),
        ])
    };
    let fields = r#""prompt":"Hi","echo":true,"logprobs":1,"return_token_ids":true,"stream":"#;
    let fake = Fake::new([events(), events()]);
    let whole = fake
        .run(Endpoint::Completions, &format!("{{{fields}false}}"))
        .json();
    let chunks = fake
        .run(Endpoint::Completions, &format!("{{{fields}true}}"))
        .chunks();
    let mut joined = json!({"text": "", "token_ids": [], "logprobs": {"text_offset": [], "token_logprobs": [], "tokens": [], "top_logprobs": []}});
    for choice in chunks.iter().map(|chunk| &chunk["choices"][0]) {
        joined["text"] = json!(format!(
            "{}{}",
            joined["text"].as_str().unwrap(),
            choice["text"].as_str().unwrap()
        ));
        for list in [
            "/token_ids",
            "/logprobs/text_offset",
            "/logprobs/token_logprobs",
            "/logprobs/tokens",
            "/logprobs/top_logprobs",
        ] {
            let more = choice
                .pointer(list)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            joined
                .pointer_mut(list)
                .unwrap()
                .as_array_mut()
                .unwrap()
                .extend(more);
        }
    }
    for key in ["text", "token_ids", "logprobs"] {
        assert_eq!(joined[key], whole["choices"][0][key], "{key}");
    }
}
