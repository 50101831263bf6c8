//! What serving costs, seen from outside: start, first token, latency of a request by how far it gets, requests a second, memory.
//!
//! `cargo bench -p spindle-tests --bench serving [-- FILE.gguf]`, after `cargo xtask build`. Figures are medians with their spread (10th to 90th
//! percentile) on the machine it runs on; nothing is asserted about them. Every answer is checked, so that no failure is counted as speed.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spindle_tests::{Server, ServerOptions};

const STARTS: usize = 9;
const REQUESTS: usize = 400;
const CLIENTS: usize = 16;
/// As many as run at once by default: a waiting stream has no first event to wait for.
const STREAMS: usize = 16;

fn main() {
    // `cargo bench` adds flags of its own.
    let model = std::env::args()
        .skip(1)
        .find(|arg| !arg.starts_with("--"))
        .map(PathBuf::from);
    println!(
        "model: {}",
        model
            .as_deref()
            .map_or("the built-in one".into(), |path| path.display().to_string())
    );
    starts(&model);
    let server = server(&model);
    println!(
        "memory after start: {:.1} MB resident",
        megabytes(server.rss_bytes())
    );
    latencies(&server);
    throughput(&server);
    memory_of_streams(&server);
}

fn server(model: &Option<PathBuf>) -> Server {
    let options = ServerOptions::default();
    match model {
        Some(path) => options.arg("-m").arg(path),
        None => options,
    }
    .start()
}

/// From exec to the line that says the address, and to the first token of the first answer.
fn starts(model: &Option<PathBuf>) {
    let (mut listening, mut first_token) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let start = Instant::now();
        let server = server(model);
        listening.push(start.elapsed());
        let mut events = server.client().stream("/v1/completions", &completion(4));
        let event = events.next_event().expect("a frame").expect("an event");
        first_token.push(start.elapsed());
        assert!(event["choices"][0]["text"].is_string(), "{event}");
        events.finish();
    }
    show("exec to listening", listening);
    show("exec to first token", first_token);
}

/// One client, one request at a time: the host alone, host and component, and a whole generation of one token and of 65.
fn latencies(server: &Server) {
    let client = server.client();
    show(
        "GET /livez (host alone)",
        timed(|| assert_eq!(client.get("/livez").status, 200)),
    );
    show(
        "GET /v1/models (host and component)",
        timed(|| assert_eq!(client.get("/v1/models").status, 200)),
    );
    let one = timed(|| drop(client.ask("/v1/completions", &completion(1))));
    let many = timed(|| drop(client.stream("/v1/completions", &completion(65)).finish()));
    println!(
        "a streamed token: {:.1} us",
        (median(&many) - median(&one)).as_secs_f64() * 1e6 / 64.0
    );
    show("completion of 1 token", one);
    show("completion of 65 tokens, streamed", many);
}

fn throughput(server: &Server) {
    for (what, body) in [
        ("GET /v1/models", None),
        ("completions of 1 token", Some(completion(1))),
    ] {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let client = server.client();
                    for _ in 0..REQUESTS {
                        match &body {
                            Some(body) => drop(client.ask("/v1/completions", body)),
                            None => assert_eq!(client.get("/v1/models").status, 200),
                        }
                    }
                });
            }
        });
        println!(
            "{what}, {CLIENTS} clients: {:.0} requests/s",
            (CLIENTS * REQUESTS) as f64 / start.elapsed().as_secs_f64()
        );
    }
}

/// What an open stream adds, with its connection, instance and place in the scheduler's queue.
fn memory_of_streams(server: &Server) {
    server.wait_idle();
    let before = server.rss_bytes();
    let client = server.client();
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut events = client.stream("/v1/completions", &completion(900));
        events.next_event().expect("a frame").expect("an event");
        streams.push(events);
    }
    let after = server.rss_bytes();
    println!(
        "memory of a live stream: {:.0} kB resident, of {}",
        after.saturating_sub(before) as f64 / 1e3 / streams.len() as f64,
        streams.len()
    );
    drop(streams);
    server.wait_idle();
}

fn completion(tokens: u64) -> Value {
    json!({"prompt": "Once upon a time", "max_tokens": tokens, "temperature": 0, "ignore_eos": true})
}

fn timed(mut body: impl FnMut()) -> Vec<Duration> {
    (0..REQUESTS + REQUESTS / 10)
        .map(|_| {
            let start = Instant::now();
            body();
            start.elapsed()
        })
        // The first ones meet cold caches.
        .skip(REQUESTS / 10)
        .collect()
}

fn median(samples: &[Duration]) -> Duration {
    quantile(samples, 0.5)
}

fn quantile(samples: &[Duration], part: f64) -> Duration {
    let mut sorted = samples.to_vec();
    sorted.sort();
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}

fn show(what: &str, samples: Vec<Duration>) {
    let micros = |part| quantile(&samples, part).as_secs_f64() * 1e6;
    println!(
        "{what}: {:.0} us ({:.0} to {:.0}), of {}",
        micros(0.5),
        micros(0.1),
        micros(0.9),
        samples.len()
    );
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
