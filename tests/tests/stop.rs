//! Stop sequences: wherever token borders fall, a stop ends the answer and no byte of it is seen.

use serde_json::{Value, json};
use spindle_tests::{Endpoint, Server, with};

const PROMPT: &str = "Tell me a little story.";

/// The answer without any stop sequence, long enough to be cut anywhere.
fn unstopped(server: &Server, endpoint: Endpoint) -> String {
    let body = endpoint.body(&server.model(), PROMPT, &fields(json!({})));
    let text = endpoint.whole(&server.client(), &body).text().to_owned();
    assert!(text.len() > 60, "long enough for this test: {text:?}");
    text
}

fn fields(extra: Value) -> Value {
    with(json!({"max_tokens": 80, "ignore_eos": true}), &extra)
}

fn check(server: &Server, endpoint: Endpoint, full: &str, stop: &Value) {
    let stops: Vec<&str> = match stop {
        Value::String(one) => vec![one],
        many => many
            .as_array()
            .unwrap()
            .iter()
            .map(|stop| stop.as_str().unwrap())
            .collect(),
    };
    // Whichever is complete first; of two that end together, the longer.
    let found = stops
        .iter()
        .filter_map(|stop| full.find(stop).map(|start| (start + stop.len(), start)));
    let cut = found.min().map(|(_, start)| start);
    let body = endpoint.body(&server.model(), PROMPT, &fields(json!({"stop": stop})));
    for answer in [
        endpoint.whole(&server.client(), &body),
        endpoint.streamed(&server.client(), &body),
    ] {
        let choice = &answer.choices[0];
        let expected = (
            &full[..cut.unwrap_or(full.len())],
            if cut.is_some() { "stop" } else { "length" },
        );
        assert_eq!(
            (choice.text.as_str(), choice.finish_reason.as_str()),
            expected,
            "{stop} in {full:?}"
        );
    }
}

#[test]
fn stop_is_found_wherever_it_stands() {
    let server = Server::demo();
    let full = unstopped(&server, Endpoint::Chat);
    let letters: Vec<usize> = full.char_indices().map(|(at, _)| at).collect();
    // Seven letters span at least two tokens somewhere: each offset moves the token borders inside the stop.
    for start in (0..letters.len().saturating_sub(20)).step_by(5) {
        check(
            &server,
            Endpoint::Chat,
            &full,
            &json!(&full[letters[start]..letters[start + 7]]),
        );
    }
    for start in [3, 11, 26] {
        check(
            &server,
            Endpoint::Chat,
            &full,
            &json!(&full[letters[start]..letters[start + 1]]),
        );
    }
}

#[test]
fn completions_stop_as_chat_does() {
    let server = Server::demo();
    let full = unstopped(&server, Endpoint::Completions);
    let letters: Vec<usize> = full.char_indices().map(|(at, _)| at).collect();
    for start in [5, 17, 31] {
        check(
            &server,
            Endpoint::Completions,
            &full,
            &json!(&full[letters[start]..letters[start + 6]]),
        );
    }
}

#[test]
fn what_looked_like_a_stop_and_was_none_is_given_back() {
    let server = Server::demo();
    let full = unstopped(&server, Endpoint::Chat);
    let letters: Vec<usize> = full.char_indices().map(|(at, _)| at).collect();
    for start in [4, 19, 33] {
        // Ten right letters and one that never comes.
        let almost = format!("{}\u{1}", &full[letters[start]..letters[start + 10]]);
        check(&server, Endpoint::Chat, &full, &json!(almost));
    }
    // Still held back when the answer ends: the last letters may have become a stop.
    let end = format!("{}\u{1}", &full[letters[letters.len() - 6]..]);
    check(&server, Endpoint::Chat, &full, &json!(end));
}

#[test]
fn the_earliest_of_four_ends_the_answer() {
    let server = Server::demo();
    let full = unstopped(&server, Endpoint::Chat);
    let letters: Vec<usize> = full.char_indices().map(|(at, _)| at).collect();
    let piece = |start: usize, count: usize| &full[letters[start]..letters[start + count]];
    check(
        &server,
        Endpoint::Chat,
        &full,
        &json!([piece(30, 8), piece(20, 8), piece(22, 3), "\u{1}"]),
    );
    // One stop inside another: the one that is complete first wins, whatever the order of the list.
    check(
        &server,
        Endpoint::Chat,
        &full,
        &json!([piece(10, 9), piece(12, 3)]),
    );
}

#[test]
fn long_stops_over_long_answers_are_cheap() {
    let server = Server::demo();
    let stops: Vec<String> = (0..4)
        .map(|index| format!("{}{index}", "a".repeat(1_000)))
        .collect();
    // The token that is most like "a" is unknown: whatever is repeated, the matcher sees its worst near misses.
    let body = Endpoint::Chat.body(
        &server.model(),
        &"a".repeat(200),
        &fields(json!({"stop": stops, "max_tokens": 200})),
    );
    let answer = Endpoint::Chat.whole(&server.client(), &body);
    assert_eq!(answer.choices[0].finish_reason, "length");
}
