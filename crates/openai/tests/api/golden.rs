//! Answers as they were, to the byte: each case is a body, a script and a file in `tests/golden`.
//!
//! `SPINDLE_UPDATE_GOLDENS=1` writes the files anew; the difference is then read by a person.

use std::fmt::Write as _;
use std::path::Path;

use spindle_openai::Endpoint;
use spindle_openai::inference::{FinishReason, InferenceError};

use crate::fake::{Fake, Script, at_once, finished, one_by_one, prompt, prompt_of, scored, token};

const STOP: FinishReason = FinishReason::Stop;
const LENGTH: FinishReason = FinishReason::Length;

fn check(name: &str, endpoint: Endpoint, body: &str, scripts: impl IntoIterator<Item = Script>) {
    let answer = Fake::new(scripts).run(endpoint, body);
    let mut actual = format!("{}\n", answer.status);
    for (name, value) in &answer.headers {
        writeln!(actual, "{name}: {value}").unwrap();
    }
    actual += &format!("\n{}\n", answer.text().trim_end());
    compare(name, &actual);
}

/// Compares with the stored text, or stores it.
fn compare(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("SPINDLE_UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(actual, expected, "{name}");
}

fn chat(name: &str, fields: &str, scripts: impl IntoIterator<Item = Script>) {
    let body =
        format!(r#"{{"model":"tiny","messages":[{{"role":"user","content":"Hi"}}]{fields}}}"#);
    check(name, Endpoint::ChatCompletions, &body, scripts);
}

fn completion(name: &str, fields: &str, scripts: impl IntoIterator<Item = Script>) {
    check(
        name,
        Endpoint::Completions,
        &format!(r#"{{"model":"tiny"{fields}}}"#),
        scripts,
    );
}

/// `Hello!` in two tokens and an end token.
fn hello() -> Script {
    at_once([
        prompt(9),
        token(5, b"Hel"),
        token(6, b"lo!"),
        token(2, b""),
        finished(STOP, 9, 3),
    ])
}

fn hello_slowly() -> Script {
    one_by_one([
        prompt(9),
        token(5, b"Hel"),
        token(6, b"lo!"),
        token(2, b""),
        finished(STOP, 9, 3),
    ])
}

fn hello_scored() -> Script {
    at_once([
        prompt(9),
        scored(5, b"Hel"),
        scored(6, b"lo!"),
        scored(2, b""),
        finished(STOP, 9, 3),
    ])
}

fn hello_with_prompt() -> Script {
    let tokens: [(u32, &[u8]); 2] = [(1, b"<s>"), (3, b"Hi")];
    at_once([
        prompt_of(&tokens, false),
        token(5, b"Hel"),
        token(6, b"lo!"),
        token(2, b""),
        finished(STOP, 2, 3),
    ])
}

#[test]
fn chat_answers_are_openais() {
    chat("chat.txt", "", [hello()]);
    chat(
        "chat_length.txt",
        r#","max_tokens":2"#,
        [at_once([
            prompt(9),
            token(5, b"Hel"),
            finished(LENGTH, 9, 1),
        ])],
    );
    chat("chat_n.txt", r#","n":2,"mirostat":2"#, [hello(), hello()]);
    chat(
        "chat_logprobs.txt",
        r#","logprobs":true,"top_logprobs":1"#,
        [hello_scored()],
    );
    chat(
        "chat_token_ids.txt",
        r#","return_token_ids":true"#,
        [hello_with_prompt()],
    );
    let failed = at_once([
        prompt(9),
        token(5, b"Hel"),
        spindle_openai::inference::Event::Failed(InferenceError::ReaderStalled),
    ]);
    chat("chat_failed.txt", "", [failed]);
}

#[test]
fn chat_streams_are_openais() {
    chat("chat_stream.txt", r#","stream":true"#, [hello_slowly()]);
    let usage = r#","stream":true,"mirostat":2,"stream_options":{"include_usage":true}"#;
    chat("chat_stream_usage.txt", usage, [hello_slowly()]);
    chat(
        "chat_stream_n.txt",
        r#","stream":true,"n":2"#,
        [hello_slowly(), hello_slowly()],
    );
    chat(
        "chat_stream_logprobs.txt",
        r#","stream":true,"logprobs":true,"top_logprobs":1"#,
        [hello_scored()],
    );
    chat(
        "chat_stream_token_ids.txt",
        r#","stream":true,"return_token_ids":true"#,
        [hello_with_prompt()],
    );
    let failing = one_by_one([
        prompt(9),
        token(5, b"Hel"),
        spindle_openai::inference::Event::Failed(InferenceError::Internal(
            "a page was lost".to_owned(),
        )),
    ]);
    chat("chat_stream_failed.txt", r#","stream":true"#, [failing]);
}

#[test]
fn completions_are_openais() {
    completion("completion.txt", r#","prompt":"Hi""#, [hello()]);
    completion(
        "completion_prompts.txt",
        r#","prompt":["Hi",[3,4]],"n":2"#,
        [hello(), hello(), hello(), hello()],
    );
    completion(
        "completion_logprobs.txt",
        r#","prompt":"Hi","logprobs":1"#,
        [hello_scored()],
    );
    completion(
        "completion_token_ids.txt",
        r#","prompt":"Hi","return_token_ids":true"#,
        [hello_with_prompt()],
    );
    let tokens: [(u32, &[u8]); 3] = [(1, b"<s>"), (3, b" H"), (4, b"i\xc3")];
    let echoed = at_once([
        prompt_of(&tokens, true),
        scored(5, b"\xa9"),
        scored(2, b""),
        finished(STOP, 3, 2),
    ]);
    completion(
        "completion_echo_tokens.txt",
        r#","prompt":[1,3,4],"echo":true,"logprobs":1"#,
        [echoed],
    );
    let tokens: [(u32, &[u8]); 3] = [(1, b"<s>"), (3, b" H"), (4, b"i")];
    let echoed = at_once([prompt_of(&tokens, true), finished(LENGTH, 3, 0)]);
    completion(
        "completion_echo_text.txt",
        r#","prompt":"Hi","echo":true,"logprobs":0,"max_tokens":0"#,
        [echoed],
    );
}

#[test]
fn completion_streams_are_openais() {
    completion(
        "completion_stream.txt",
        r#","prompt":"Hi","stream":true"#,
        [hello_slowly()],
    );
    let all = r#","prompt":"Hi","stream":true,"echo":true,"logprobs":1,"return_token_ids":true,"stream_options":{"include_usage":true}"#;
    let tokens: [(u32, &[u8]); 2] = [(3, b"H"), (4, b"i")];
    let echoed = one_by_one([
        prompt_of(&tokens, true),
        scored(5, b"Hel"),
        scored(2, b""),
        finished(STOP, 2, 2),
    ]);
    completion("completion_stream_all.txt", all, [echoed]);
}

#[test]
fn models_are_openais() {
    check("models.txt", Endpoint::Models, "", []);
    check("model.txt", Endpoint::Model("tiny".to_owned()), "", []);
    check(
        "model_unknown.txt",
        Endpoint::Model("huge".to_owned()),
        "",
        [],
    );
}
