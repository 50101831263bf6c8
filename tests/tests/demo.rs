//! The model in the binary: what README says it answers, it answers, and stops by itself.

use serde_json::{Value, json};
use spindle_tests::{Endpoint, Server};

/// One question of README's list: `{"question": .., "answer": ..}` a line.
fn questions() -> Vec<(String, String)> {
    let text = include_str!("../../demo/questions.jsonl");
    let field = |line: &Value, name: &str| line[name].as_str().unwrap_or_else(|| panic!("{name}: {line}")).to_owned();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.map(|line| (field(&line, "question"), field(&line, "answer"))).collect()
}

#[test]
fn questions_of_the_readme_are_answered_right() {
    let server = Server::demo();
    let (client, model) = (server.client(), server.model());
    let questions = questions();
    assert!(questions.len() >= 5, "a list worth the name");
    let mut wrong = Vec::new();
    for (question, expected) in questions {
        let answer = Endpoint::Chat.whole(&client, &Endpoint::Chat.body(&model, &question, &json!({"max_tokens": 200})));
        let choice = &answer.choices[0];
        if !choice.text.contains(&expected) || choice.finish_reason != "stop" {
            wrong.push(format!("{question:?}: {:?} ({}), not {expected:?}", choice.text, choice.finish_reason));
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
    assert!(start.elapsed() < std::time::Duration::from_secs(3), "{:?}", start.elapsed());
}
