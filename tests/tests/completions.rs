//! `POST /v1/completions` over HTTP: every form of a prompt, echo, and the order of choices.

use serde_json::{Value, json};
use spindle_tests::{Endpoint, Server};

const TEXT: Endpoint = Endpoint::Completions;
const PROMPT: &str = "Once upon a time";

#[test]
fn answer_has_every_documented_field() {
    let server = Server::demo();
    let model = server.model();
    let answer = server.client().ask(
        TEXT.path(),
        &TEXT.body(&model, PROMPT, &json!({"max_tokens": 3})),
    );
    TEXT.read_whole(&answer);
    assert_eq!(answer["model"], model);
    assert_eq!(answer["choices"][0]["logprobs"], Value::Null);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
}

#[test]
fn stream_and_whole_answer_are_the_same() {
    let server = Server::demo();
    let (client, model) = (server.client(), server.model());
    for extra in [
        json!({}),
        json!({"echo": true, "max_tokens": 5}),
        json!({"echo": true, "logprobs": 2, "max_tokens": 5}),
        json!({"logprobs": 5, "max_tokens": 8}),
        json!({"n": 3, "temperature": 1.3, "seed": 5}),
        json!({"prompt": ["one", "two"], "n": 2, "temperature": 1.3, "seed": 5, "echo": true}),
        json!({"temperature": 2, "seed": 6, "ignore_eos": true, "max_tokens": 100}),
    ] {
        let body = TEXT.body(&model, PROMPT, &extra);
        let (mut whole, mut streamed) = (TEXT.whole(&client, &body), TEXT.streamed(&client, &body));
        for answer in [&mut whole, &mut streamed] {
            answer.usage["prompt_tokens_details"] = Value::Null;
        }
        assert_eq!(whole, streamed, "{extra}");
    }
}

#[test]
fn silent_requests_get_sixteen_tokens() {
    let server = Server::demo();
    let body = TEXT.body(&server.model(), PROMPT, &json!({"ignore_eos": true}));
    assert_eq!(
        TEXT.whole(&server.client(), &body).usage["completion_tokens"],
        16
    );
}

#[test]
fn every_form_of_a_prompt_is_the_same_prompt() {
    let server = Server::demo();
    let (client, model) = (server.client(), server.model());
    let ask = |prompt: Value| {
        let extra = json!({"prompt": prompt, "return_token_ids": true, "max_tokens": 12});
        TEXT.whole(&client, &TEXT.body(&model, PROMPT, &extra))
    };
    let text = ask(json!(PROMPT));
    let ids = text.prompt_token_ids.clone();
    assert!(
        ids.as_array().is_some_and(|ids| !ids.is_empty()),
        "{text:?}"
    );
    for prompt in [json!([PROMPT]), ids.clone(), json!([ids])] {
        assert_eq!(ask(prompt.clone()).choices, text.choices, "{prompt}");
    }
}

#[test]
fn choices_come_prompt_by_prompt() {
    let server = Server::demo();
    let (client, model) = (server.client(), server.model());
    let ask = |prompt: Value, n: usize| {
        let extra =
            json!({"prompt": prompt, "n": n, "temperature": 1.2, "seed": 4, "max_tokens": 10});
        TEXT.whole(&client, &TEXT.body(&model, PROMPT, &extra))
    };
    let prompts = ["The cat", "A dog", "One bird"];
    let together = ask(json!(prompts), 2);
    let alone: Vec<_> = prompts.iter().map(|prompt| ask(json!(prompt), 2)).collect();
    let expected: Vec<_> = alone.iter().flat_map(|answer| answer.texts()).collect();
    assert_eq!(together.texts(), expected);
    let sum = |name: &str| {
        alone
            .iter()
            .map(|answer| answer.usage[name].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(together.usage["prompt_tokens"], sum("prompt_tokens"));
    assert_eq!(
        together.usage["completion_tokens"],
        sum("completion_tokens")
    );
}

#[test]
fn echo_puts_the_prompt_before_the_answer() {
    let server = Server::demo();
    let (client, model) = (server.client(), server.model());
    let ask = |extra: Value| {
        TEXT.whole(&client, &TEXT.body(&model, PROMPT, &extra))
            .text()
            .to_owned()
    };
    let answer = ask(json!({"max_tokens": 9}));
    assert_eq!(
        ask(json!({"max_tokens": 9, "echo": true})),
        format!("{PROMPT}{answer}")
    );
    // A stop sequence in the prompt stops nothing.
    assert_eq!(
        ask(json!({"max_tokens": 9, "echo": true, "stop": "upon"})),
        format!("{PROMPT}{answer}")
    );
}

#[test]
fn chat_is_a_completion_of_the_rendered_template() {
    let server = Server::demo();
    let (client, model) = (server.client(), server.model());
    let extra = json!({"max_tokens": 40, "return_token_ids": true});
    let chat = Endpoint::Chat.whole(
        &client,
        &Endpoint::Chat.body(&model, "What is two plus three?", &extra),
    );
    let extra =
        json!({"prompt": chat.prompt_token_ids, "max_tokens": 40, "return_token_ids": true});
    let text = TEXT.whole(&client, &TEXT.body(&model, "", &extra));
    assert_eq!(chat.choices[0].token_ids, text.choices[0].token_ids);
    assert_eq!(chat.text(), text.text());
}
