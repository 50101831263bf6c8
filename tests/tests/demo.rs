//! The model in the binary: what README says it answers, it answers, and stops by itself.

use serde_json::{Value, json};
use spindle_tests::{Endpoint, Server};

/// The questions README shows, each with the strings a right answer contains.
fn questions() -> Vec<(String, Vec<String>)> {
    let text = include_str!("../../demo/questions.jsonl");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let string = |value: &Value| {
        value
            .as_str()
            .unwrap_or_else(|| panic!("a string: {value}"))
            .to_owned()
    };
    lines
        .map(|line| {
            (
                string(&line["question"]),
                line["must_contain"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(string)
                    .collect(),
            )
        })
        .collect()
}

#[test]
fn questions_of_the_readme_are_answered_right() {
    let server = Server::demo();
    let (client, model) = (server.client(), server.model());
    let questions = questions();
    assert!(questions.len() >= 5, "a list worth the name");
    let mut wrong = Vec::new();
    for (question, expected) in questions {
        let answer = Endpoint::Chat.whole(
            &client,
            &Endpoint::Chat.body(&model, &question, &json!({"max_tokens": 200})),
        );
        let choice = &answer.choices[0];
        if expected.iter().any(|part| !choice.text.contains(part)) || choice.finish_reason != "stop"
        {
            wrong.push(format!(
                "{question:?}: {:?} ({}), not {expected:?}",
                choice.text, choice.finish_reason
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn demo_model_is_ready_in_a_moment() {
    let start = std::time::Instant::now();
    let server = Server::start::<&str>([]);
    let body = Endpoint::Chat.body(&server.model(), "Hi", &json!({"max_tokens": 1}));
    Endpoint::Chat.whole(&server.client(), &body);
    // Milliseconds on a quiet machine; a compiler or a conversion at start would take seconds.
    assert!(
        start.elapsed() < std::time::Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}
