//! Log-probabilities of both endpoints: they describe the tokens that were chosen, and add up.

use serde_json::{Value, json};
use spindle_tests::{Endpoint, Server};

const PROMPT: &str = "Tell me a little story.";

fn bytes(candidate: &Value) -> Vec<u8> {
    let bytes = candidate["bytes"].as_array().expect("bytes");
    bytes
        .iter()
        .map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap())
        .collect()
}

#[test]
fn chat_logprobs_spell_the_text() {
    let server = Server::demo();
    for (temperature, top) in [(0.0, 5), (1.0, 0), (1.4, 20)] {
        let extra = json!({"temperature": temperature, "seed": 2, "logprobs": true, "top_logprobs": top, "max_tokens": 30});
        let body = Endpoint::Chat.body(&server.model(), PROMPT, &extra);
        let choice = Endpoint::Chat
            .whole(&server.client(), &body)
            .choices
            .remove(0);
        assert_eq!(choice.logprobs["refusal"], Value::Null);
        let content = choice.logprobs["content"].as_array().expect("content");
        let spelled: Vec<u8> = content.iter().flat_map(bytes).collect();
        assert_eq!(String::from_utf8_lossy(&spelled), choice.text);
        for token in content {
            let logprob = token["logprob"].as_f64().unwrap();
            assert!(logprob <= 0.0 && token["token"].is_string(), "{token}");
            let candidates = token["top_logprobs"].as_array().unwrap();
            assert_eq!(candidates.len(), top, "{token}");
            let probabilities: Vec<f64> = candidates
                .iter()
                .map(|one| one["logprob"].as_f64().unwrap())
                .collect();
            assert!(
                probabilities.is_sorted_by(|a, b| a >= b),
                "likeliest first: {token}"
            );
            assert!(
                probabilities.iter().map(|one| one.exp()).sum::<f64>() <= 1.0 + 1e-4,
                "{token}"
            );
            if temperature == 0.0 {
                assert_eq!(
                    (&candidates[0]["token"], &candidates[0]["logprob"]),
                    (&token["token"], &token["logprob"])
                );
            }
        }
    }
}

#[test]
fn logprobs_are_those_of_temperature_one() {
    let server = Server::demo();
    let first = |temperature: f64| {
        let extra = json!({"temperature": temperature, "seed": 4, "logprobs": true, "top_logprobs": 5, "max_tokens": 1});
        let body = Endpoint::Chat.body(&server.model(), PROMPT, &extra);
        Endpoint::Chat.whole(&server.client(), &body).choices[0].logprobs["content"][0]["top_logprobs"].clone()
    };
    assert_eq!(first(0.0), first(2.0));
}

#[test]
fn bias_moves_the_choice_and_not_the_logprobs() {
    let server = Server::demo();
    let first = |bias: Value| {
        let extra = json!({"logit_bias": bias, "logprobs": true, "top_logprobs": 5, "max_tokens": 1, "return_token_ids": true});
        let body = Endpoint::Chat.body(&server.model(), PROMPT, &extra);
        let choice = Endpoint::Chat
            .whole(&server.client(), &body)
            .choices
            .remove(0);
        (
            choice.token_ids[0].as_u64().unwrap(),
            choice.logprobs["content"][0]["top_logprobs"].clone(),
        )
    };
    let (token, plain) = first(json!({}));
    let (other, biased) = first(json!({token.to_string(): -100}));
    assert_ne!(token, other);
    assert_eq!(plain, biased);
}

#[test]
fn completions_logprobs_line_up_with_the_text() {
    let server = Server::demo();
    for top in [0, 1, 5] {
        let extra = json!({"logprobs": top, "max_tokens": 20, "echo": true});
        let body = Endpoint::Completions.body(&server.model(), PROMPT, &extra);
        let choice = Endpoint::Completions
            .whole(&server.client(), &body)
            .choices
            .remove(0);
        assert!(choice.text.starts_with(PROMPT), "{choice:?}");
        let list = |name: &str| {
            choice.logprobs[name]
                .as_array()
                .unwrap_or_else(|| panic!("{name}: {choice:?}"))
        };
        let (tokens, logprobs) = (list("tokens"), list("token_logprobs"));
        let (offsets, tops) = (list("text_offset"), list("top_logprobs"));
        assert!(
            [logprobs.len(), offsets.len(), tops.len()] == [tokens.len(); 3],
            "{choice:?}"
        );
        // Nothing precedes the first token of the prompt.
        assert_eq!((&logprobs[0], &tops[0]), (&Value::Null, &Value::Null));
        for index in 1..tokens.len() {
            assert!(logprobs[index].as_f64().unwrap() <= 0.0);
            let count = tops[index].as_object().map_or(0, |top| top.len());
            // The chosen token is always among them, which may make one more; equal texts make one less.
            assert!(count <= top + 1, "{:?}", tops[index]);
            assert!(top == 0 || count >= 1, "{:?}", tops[index]);
        }
        let letters: Vec<char> = choice.text.chars().collect();
        for (index, offset) in offsets
            .iter()
            .enumerate()
            .filter(|(index, _)| tokens[*index].as_str() != Some(""))
        {
            let token = tokens[index].as_str().unwrap();
            let offset = offset.as_u64().unwrap() as usize;
            if !token.starts_with("bytes:") && !token.starts_with("<|") {
                let found: String = letters[offset..]
                    .iter()
                    .take(token.chars().count())
                    .collect();
                assert_eq!(found, token, "at {offset} of {:?}", choice.text);
            }
        }
    }
}

#[test]
fn scoring_a_text_equals_having_generated_it() {
    let server = Server::demo();
    let (client, model) = (server.client(), server.model());
    let extra =
        json!({"logprobs": 1, "max_tokens": 25, "return_token_ids": true, "ignore_eos": true});
    let generated =
        Endpoint::Completions.whole(&client, &Endpoint::Completions.body(&model, PROMPT, &extra));
    let prompt = generated.prompt_token_ids.as_array().unwrap().clone();
    let answer = generated.choices[0].token_ids.as_array().unwrap().clone();
    let all: Vec<Value> = prompt.iter().chain(&answer).cloned().collect();
    let extra = json!({"prompt": all, "echo": true, "logprobs": 1, "max_tokens": 0});
    let scored =
        Endpoint::Completions.whole(&client, &Endpoint::Completions.body(&model, PROMPT, &extra));
    let scores = &scored.choices[0].logprobs["token_logprobs"]
        .as_array()
        .unwrap()[prompt.len()..][..answer.len()];
    // One definition, bit for bit: prefill and decode steps give the same numbers.
    assert_eq!(
        scores,
        generated.choices[0].logprobs["token_logprobs"]
            .as_array()
            .unwrap()
    );
}
