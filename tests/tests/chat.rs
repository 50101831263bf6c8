//! `POST /v1/chat/completions` over HTTP: the form of answers, streamed and whole, and what requests may say.

use serde_json::{Value, json};
use spindle_tests::{Endpoint, Server};

const CHAT: Endpoint = Endpoint::Chat;
const PROMPT: &str = "What is the capital of France?";

#[test]
fn answer_has_every_documented_field() {
    let server = Server::demo();
    let model = server.model();
    let answer = server
        .client()
        .ask(CHAT.path(), &CHAT.body(&model, PROMPT, &json!({})));
    CHAT.read_whole(&answer);
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    for key in [
        "choices",
        "created",
        "id",
        "model",
        "object",
        "system_fingerprint",
        "usage",
    ] {
        assert!(
            keys(&answer).iter().any(|found| found == key),
            "{key}: {answer}"
        );
    }
    assert_eq!(answer["model"], model);
    assert_eq!(answer["choices"][0]["logprobs"], Value::Null);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(
        answer["usage"]["completion_tokens_details"]["reasoning_tokens"],
        0
    );
}

#[test]
fn stream_and_whole_answer_are_the_same() {
    let server = Server::demo();
    let (client, model) = (server.client(), server.model());
    for extra in [
        json!({}),
        json!({"max_tokens": 1}),
        json!({"max_completion_tokens": 5}),
        json!({"temperature": 1.2, "seed": 7}),
        json!({"temperature": 1, "seed": 8, "n": 3, "max_tokens": 24}),
        json!({"temperature": 2, "seed": 9, "ignore_eos": true, "max_tokens": 120}),
        json!({"logprobs": true, "top_logprobs": 3, "max_tokens": 12}),
        json!({"temperature": 1.5, "seed": 10, "n": 2, "logprobs": true, "max_tokens": 20}),
        json!({"return_token_ids": true, "max_tokens": 9}),
        json!({"stop": ["a"], "ignore_eos": true, "max_tokens": 60}),
    ] {
        let body = CHAT.body(&model, PROMPT, &extra);
        let (mut whole, mut streamed) = (CHAT.whole(&client, &body), CHAT.streamed(&client, &body));
        // The second request may find the first one's prompt in the cache.
        for answer in [&mut whole, &mut streamed] {
            answer.usage["prompt_tokens_details"] = Value::Null;
        }
        assert_eq!(whole, streamed, "{extra}");
    }
}

#[test]
fn stream_without_usage_has_no_usage() {
    let server = Server::demo();
    let body = CHAT.body(&server.model(), PROMPT, &json!({"max_tokens": 4}));
    let events = server.client().stream(CHAT.path(), &body).finish();
    for event in &events {
        assert!(event.get("usage").is_none_or(Value::is_null), "{event}");
        assert_eq!(
            event["choices"].as_array().map(Vec::len),
            Some(1),
            "{event}"
        );
    }
    assert_eq!(
        events.last().unwrap()["choices"][0]["finish_reason"],
        "length"
    );
}

#[test]
fn both_limits_of_length_mean_tokens() {
    let server = Server::demo();
    let (client, model) = (server.client(), server.model());
    for name in ["max_tokens", "max_completion_tokens"] {
        for limit in [1, 2, 17] {
            let body = CHAT.body(
                &model,
                PROMPT,
                &json!({name: limit, "ignore_eos": true, "return_token_ids": true}),
            );
            let answer = CHAT.whole(&client, &body);
            assert_eq!(answer.choices[0].finish_reason, "length");
            assert_eq!(answer.usage["completion_tokens"], limit);
            assert_eq!(answer.choices[0].token_ids.as_array().unwrap().len(), limit);
        }
    }
}

#[test]
fn usage_counts_the_prompt_that_was_rendered() {
    let server = Server::demo();
    let body = CHAT.body(
        &server.model(),
        PROMPT,
        &json!({"return_token_ids": true, "n": 3, "max_tokens": 4}),
    );
    let answer = CHAT.whole(&server.client(), &body);
    assert_eq!(
        answer.usage["prompt_tokens"],
        answer.prompt_token_ids.as_array().unwrap().len()
    );
    let generated: usize = answer
        .choices
        .iter()
        .map(|choice| choice.token_ids.as_array().unwrap().len())
        .sum();
    assert_eq!(answer.usage["completion_tokens"], generated);
}

#[test]
fn text_parts_are_lines_of_one_text() {
    let server = Server::demo();
    let (client, model) = (server.client(), server.model());
    let plain = CHAT.body(&model, "Two lines.\nWhat is two plus three?", &json!({}));
    let mut parts = plain.clone();
    parts["messages"][0]["content"] = json!([
        {"type": "text", "text": "Two lines."},
        {"type": "text", "text": "What is two plus three?"},
    ]);
    assert_eq!(
        CHAT.whole(&client, &plain).choices,
        CHAT.whole(&client, &parts).choices
    );
}

#[test]
fn every_role_of_a_conversation_is_taken() {
    let server = Server::demo();
    for system in ["system", "developer"] {
        let messages = json!([
            {"role": system, "content": "Answer in one word."},
            {"role": "user", "content": "What is the opposite of hot?", "name": "somebody"},
            {"role": "assistant", "content": "Cold."},
            {"role": "user", "content": PROMPT},
        ]);
        let body = json!({"model": server.model(), "messages": messages, "temperature": 0, "max_tokens": 8});
        CHAT.whole(&server.client(), &body);
    }
}

#[test]
fn fields_without_effect_are_taken_silently() {
    let server = Server::demo();
    let extra = json!({
        "user": "u", "metadata": {"k": "v"}, "store": false, "n": 1, "stream": false, "max_tokens": 4,
        "response_format": {"type": "text"}, "tools": null, "stop": null, "logprobs": false, "logit_bias": {},
        "presence_penalty": 0, "frequency_penalty": 0, "top_p": 1, "seed": null,
    });
    let reply = server
        .client()
        .post(CHAT.path(), &CHAT.body(&server.model(), PROMPT, &extra));
    assert_eq!(
        (reply.status, reply.header("x-spindle-ignored")),
        (200, None),
        "{}",
        reply.text()
    );
}

#[test]
fn unknown_fields_are_ignored_and_named() {
    let server = Server::demo();
    let extra = json!({"max_tokens": 4, "mirostat": 2, "cache_prompt": true});
    for stream in [false, true] {
        let mut body = CHAT.body(&server.model(), PROMPT, &extra);
        body["stream"] = json!(stream);
        let reply = server.client().post(CHAT.path(), &body);
        assert_eq!(reply.status, 200);
        let mut names: Vec<_> = reply
            .header("x-spindle-ignored")
            .expect("the header")
            .split(", ")
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["cache_prompt", "mirostat"]);
    }
}

#[test]
fn request_id_goes_in_and_comes_out() {
    let server = Server::demo();
    let client = server.client();
    let body = CHAT
        .body(&server.model(), PROMPT, &json!({"max_tokens": 1}))
        .to_string();
    let json_type = ("content-type", "application/json");
    let named = client
        .send(
            "POST",
            CHAT.path(),
            &[json_type, ("x-request-id", "mine-42")],
            body.as_bytes(),
        )
        .unwrap();
    assert_eq!(named.header("x-request-id"), Some("mine-42"));
    let mut made: Vec<String> = (0..2)
        .map(|_| {
            client
                .send("POST", CHAT.path(), &[json_type], body.as_bytes())
                .unwrap()
        })
        .map(|reply| reply.header("x-request-id").expect("an id").to_owned())
        .collect();
    made.dedup();
    assert_eq!(made.len(), 2, "{made:?}");
    // An error and a probe have one too: it is what a user quotes when something is wrong.
    assert!(client.get("/v1/nothing").header("x-request-id").is_some());
}

#[test]
fn the_same_question_has_the_same_answer_and_usage() {
    let server = Server::demo();
    let long = "one two three four five six seven eight nine ten ".repeat(15);
    let body = CHAT.body(&server.model(), &long, &json!({"max_tokens": 4}));
    let first = CHAT.whole(&server.client(), &body);
    let second = CHAT.whole(&server.client(), &body);
    assert_eq!(first.choices, second.choices);
    for usage in [&first.usage, &second.usage] {
        assert!(
            usage["prompt_tokens_details"]["cached_tokens"].as_u64()
                <= usage["prompt_tokens"].as_u64()
        );
    }
}
