//! Every field that shapes an answer shapes it: a parameter that is parsed and dropped turns a test here red.

use serde_json::{Value, json};
use spindle_tests::{Client, Endpoint, Server, with};

const STORY: &str = "Tell me a little story.";

struct Asker {
    client: Client,
    model: String,
}

impl Asker {
    fn new(server: &Server) -> Self {
        Asker {
            client: server.client(),
            model: server.model(),
        }
    }

    /// Token ids of each choice, after a story of at most 60 tokens.
    fn tokens(&self, extra: &Value) -> Vec<Vec<u64>> {
        let fields = with(
            json!({"max_tokens": 60, "ignore_eos": true, "return_token_ids": true}),
            extra,
        );
        let body = Endpoint::Chat.body(&self.model, STORY, &fields);
        let answer = Endpoint::Chat.whole(&self.client, &body);
        let ids = |ids: &Value| {
            ids.as_array()
                .unwrap()
                .iter()
                .map(|id| id.as_u64().unwrap())
                .collect()
        };
        answer
            .choices
            .iter()
            .map(|choice| ids(&choice.token_ids))
            .collect()
    }

    fn only(&self, extra: &Value) -> Vec<u64> {
        self.tokens(extra).remove(0)
    }
}

#[test]
fn seed_decides_the_answer() {
    let server = Server::demo();
    let ask = Asker::new(&server);
    let with_seed = |seed: u64| ask.only(&json!({"temperature": 1.3, "seed": seed}));
    let answers: Vec<_> = (1..=4).map(with_seed).collect();
    assert_eq!(answers, (1..=4).map(with_seed).collect::<Vec<_>>());
    assert!(
        answers.iter().any(|answer| *answer != answers[0]),
        "four seeds, one answer"
    );
    // Any 64-bit seed is one: clients send negative ones too.
    assert_ne!(with_seed(u64::from(u32::MAX) + 2), with_seed(1));
}

#[test]
fn without_a_seed_answers_differ() {
    let server = Server::demo();
    let ask = Asker::new(&server);
    let answers: Vec<_> = (0..4)
        .map(|_| ask.only(&json!({"temperature": 1.5})))
        .collect();
    assert!(answers.iter().any(|answer| *answer != answers[0]));
}

#[test]
fn choices_are_independent_draws_of_one_seed() {
    let server = Server::demo();
    let ask = Asker::new(&server);
    let five = ask.tokens(&json!({"temperature": 1.3, "seed": 11, "n": 5}));
    assert_eq!(five.len(), 5);
    assert!(five.iter().skip(1).any(|choice| *choice != five[0]));
    // A choice does not depend on how many there are.
    assert_eq!(
        ask.tokens(&json!({"temperature": 1.3, "seed": 11, "n": 2})),
        five[..2]
    );
    assert_eq!(ask.only(&json!({"temperature": 1.3, "seed": 11})), five[0]);
}

#[test]
fn settings_that_leave_one_candidate_are_greedy() {
    let server = Server::demo();
    let ask = Asker::new(&server);
    let greedy = ask.only(&json!({"temperature": 0}));
    for narrow in [
        json!({"top_k": 1}),
        json!({"top_p": 0.000_001}),
        json!({"min_p": 1}),
        json!({"temperature": 0.000_1}),
    ] {
        let extra = with(json!({"temperature": 1.5, "seed": 3}), &narrow);
        assert_eq!(ask.only(&extra), greedy, "{narrow}");
    }
}

#[test]
fn every_sampling_field_changes_something() {
    let server = Server::demo();
    let ask = Asker::new(&server);
    for (base, field) in [
        (json!({"temperature": 1.5, "seed": 5}), json!({"top_k": 2})),
        (
            json!({"temperature": 1.5, "seed": 5}),
            json!({"top_p": 0.3}),
        ),
        (
            json!({"temperature": 1.5, "seed": 5}),
            json!({"min_p": 0.5}),
        ),
        (
            json!({"temperature": 1.5, "seed": 5}),
            json!({"typical_p": 0.1}),
        ),
        (json!({"temperature": 0}), json!({"frequency_penalty": 2})),
        (json!({"temperature": 0}), json!({"presence_penalty": 2})),
        (json!({"temperature": 0}), json!({"repeat_penalty": 1.9})),
    ] {
        let with_field = with(base.clone(), &field);
        assert_ne!(ask.only(&base), ask.only(&with_field), "{field} on {base}");
    }
}

#[test]
fn logit_bias_bans_and_forces() {
    let server = Server::demo();
    let ask = Asker::new(&server);
    let greedy = ask.only(&json!({}));
    let (banned, forced) = (greedy[0], greedy[5]);
    let without = ask.only(&json!({"logit_bias": {banned.to_string(): -100}}));
    assert!(!without.contains(&banned), "{banned} in {without:?}");
    let only = ask.only(&json!({"logit_bias": {forced.to_string(): 100}, "max_tokens": 12}));
    assert!(only.iter().all(|id| *id == forced), "{forced} in {only:?}");
}

#[test]
fn min_tokens_holds_the_end_back() {
    let server = Server::demo();
    let (client, model) = (server.client(), server.model());
    let ask = |extra: Value| {
        let body = Endpoint::Chat.body(&model, "What is the opposite of hot?", &extra);
        Endpoint::Chat.whole(&client, &body)
    };
    let natural = ask(json!({}));
    assert_eq!(natural.choices[0].finish_reason, "stop");
    let count = natural.usage["completion_tokens"].as_u64().unwrap();
    let longer = ask(json!({"min_tokens": count + 10, "max_tokens": count + 40}));
    assert!(
        longer.usage["completion_tokens"].as_u64() >= Some(count + 10),
        "{longer:?}"
    );
    let endless = ask(json!({"ignore_eos": true, "max_tokens": count + 40}));
    assert_eq!(endless.usage["completion_tokens"], count + 40);
    assert_eq!(endless.choices[0].finish_reason, "length");
}

#[test]
fn operator_defaults_apply_where_the_request_is_silent() {
    let server = Server::start(["--temp", "0", "--predict", "7"]);
    let (client, model) = (server.client(), server.model());
    let body = json!({"model": model, "messages": [{"role": "user", "content": STORY}], "ignore_eos": true});
    let silent = Endpoint::Chat.whole(&client, &body);
    assert_eq!(silent.usage["completion_tokens"], 7);
    assert_eq!(silent.choices, Endpoint::Chat.whole(&client, &body).choices);
    let mut explicit = body.clone();
    explicit["temperature"] = json!(0);
    explicit["max_tokens"] = json!(7);
    assert_eq!(
        silent.choices,
        Endpoint::Chat.whole(&client, &explicit).choices
    );
    explicit["max_tokens"] = json!(9);
    assert_eq!(
        Endpoint::Chat.whole(&client, &explicit).usage["completion_tokens"],
        9
    );
}

#[test]
fn a_default_length_is_cut_to_what_the_context_leaves() {
    let server = Server::start(["--ctx-size", "64", "--predict", "1000", "--temp", "0"]);
    let (client, model) = (server.client(), server.model());
    let body = json!({"model": model, "prompt": "Once upon a time", "ignore_eos": true});
    let usage = Endpoint::Completions.whole(&client, &body).usage;
    assert_eq!(usage["total_tokens"], 64, "{usage}");
}
