//! The same model, request and seed give the same bytes, whatever else the server does and however it was started.

use std::sync::Barrier;

use serde_json::{Value, json};
use spindle_tests::{Answer, Choice, Client, Endpoint, Server};

/// Requests that between them use greedy choice, drawing, several choices, logprobs and long prompts.
fn probes(model: &str) -> Vec<(Endpoint, Value)> {
    let long = "Ann has a red ball. Ben has a blue cat. ".repeat(12);
    vec![
        (Endpoint::Chat, json!({"max_tokens": 64, "ignore_eos": true})),
        (Endpoint::Chat, json!({"temperature": 1.3, "seed": 21, "max_tokens": 64, "ignore_eos": true})),
        (Endpoint::Chat, json!({"temperature": 1.1, "seed": 22, "n": 3, "max_tokens": 32, "ignore_eos": true})),
        (Endpoint::Chat, json!({"logprobs": true, "top_logprobs": 5, "max_tokens": 24, "ignore_eos": true})),
        (Endpoint::Completions, json!({"prompt": long, "max_tokens": 48, "ignore_eos": true, "logprobs": 5})),
        (Endpoint::Completions, json!({"prompt": long, "temperature": 1.5, "seed": 23, "max_tokens": 48, "ignore_eos": true})),
    ]
    .into_iter()
    .map(|(endpoint, extra)| (endpoint, endpoint.body(model, "Tell me a little story.", &extra)))
    .collect()
}

fn answers(client: &Client, probes: &[(Endpoint, Value)]) -> Vec<Vec<Choice>> {
    probes
        .iter()
        .map(|(endpoint, body)| endpoint.whole(client, body).choices)
        .collect()
}

/// A request nobody compares: only there to share the steps.
fn companion(model: &str, number: usize) -> (Endpoint, Value) {
    let prompt = format!(
        "Number {number}. {}",
        "Count on and on. ".repeat(number * 3 % 41)
    );
    let extra = json!({"temperature": 1.4, "seed": number, "max_tokens": 20 + number * 7 % 80, "ignore_eos": true});
    (
        Endpoint::Completions,
        Endpoint::Completions.body(model, &prompt, &extra),
    )
}

/// Answers the probes again and again while 15 companions come, go and hang up.
fn answers_in_company(
    server: &Server,
    probes: &[(Endpoint, Value)],
    companions: usize,
) -> Vec<Vec<Choice>> {
    let (client, model) = (server.client(), server.model());
    let everyone = Barrier::new(companions + 1);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for start in 0..companions {
            let (client, model, everyone, done) = (&client, &model, &everyone, &done);
            scope.spawn(move || {
                everyone.wait();
                for number in (start..).step_by(companions) {
                    if done.load(std::sync::atomic::Ordering::Relaxed) {
                        break;
                    }
                    let (endpoint, body) = companion(model, number);
                    if number % 3 == 0 {
                        // Hangs up after its first events.
                        let mut events = client.stream(endpoint.path(), &body);
                        let _ = events.next_event();
                        let _ = events.next_event();
                    } else {
                        let _: Answer = endpoint.whole(client, &body);
                    }
                }
            });
        }
        everyone.wait();
        let found =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| answers(&client, probes)));
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        found.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Answers of a server started with these settings, alone and in company, against the one plain server's.
fn check(settings: &[&[&str]], companions: usize) {
    let plain = Server::start(["--threads", "1"]);
    let probes = probes(&plain.model());
    let expected = answers(&plain.client(), &probes);
    drop(plain);
    for args in settings {
        let server = Server::start(*args);
        assert_eq!(
            answers(&server.client(), &probes),
            expected,
            "{args:?}, alone"
        );
        assert_eq!(
            answers(&server.client(), &probes),
            expected,
            "{args:?}, again"
        );
        assert_eq!(
            answers_in_company(&server, &probes, companions),
            expected,
            "{args:?}, in company"
        );
        server.wait_idle();
    }
}

#[test]
fn threads_change_no_byte() {
    check(&[&["--threads", "2"], &["--threads", "4"]], 15);
}

#[test]
fn parallel_sequences_change_no_byte() {
    check(&[&["--parallel", "1"], &["--parallel", "16"]], 15);
}

#[test]
fn preemption_changes_no_byte() {
    // Room for about three of the probes' sequences: the youngest is thrown out and computed again.
    check(&[&["--kv-bytes", "1M", "--parallel", "16"]], 15);
}

#[test]
fn how_weights_are_held_changes_no_byte() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../demo/spindle-demo.gguf");
    let model = ["--model", file, "--alias", "spindle-demo"];
    let read = [&model[..], &["--no-mmap"]].concat();
    check(&[&model, &read], 3);
}

#[test]
fn streams_carry_the_same_bytes() {
    let server = Server::demo();
    for (endpoint, body) in probes(&server.model()) {
        let whole = endpoint.whole(&server.client(), &body);
        assert_eq!(
            endpoint.streamed(&server.client(), &body).choices,
            whole.choices,
            "{body}"
        );
    }
}
