//! Clients that leave, and a server that is told to: whoever is gone frees his place within one step, and nobody
//! who is served loses an answer.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use spindle_tests::raw::{self, Connection};
use spindle_tests::server::Load;
use spindle_tests::{Endpoint, Server, ServerOptions, means, wait, with};

/// A step of this model and the cost of looking, on a machine that does other things too.
const ONE_STEP: Duration = Duration::from_millis(1_500);

/// A real model: its steps are long enough to leave in the middle of one.
fn smollm2(args: &[&str]) -> Option<Server> {
    Some(
        ServerOptions::default()
            .arg("--model")
            .arg(means::smollm2()?)
            .args(args)
            .start(),
    )
}

/// A request that would run for minutes.
fn endless(server: &Server, prompt: &str, extra: serde_json::Value) -> String {
    let fields = with(json!({"max_tokens": 3_000, "ignore_eos": true}), &extra);
    let body = Endpoint::Completions.body(&server.model(), prompt, &fields);
    raw::post("/v1/completions", &body)
}

fn wait_for(server: &Server, running: u64, waiting: u64) {
    let load = Load { running, waiting };
    wait::until(&format!("the server holds {load:?}"), || {
        (server.load() == load).then_some(())
    });
}

/// Hangs up and asserts that everything is free one step later.
fn leave(server: &Server, connection: Connection, name: &str) {
    let start = Instant::now();
    drop(connection);
    server.wait_idle();
    let elapsed = start.elapsed();
    assert!(elapsed < ONE_STEP, "{name}: freed after {elapsed:?}");
}

#[test]
fn whoever_leaves_frees_his_place_within_one_step() {
    let Some(server) = smollm2(&["--ctx-size", "4096"]) else {
        return;
    };
    let long = "word ".repeat(3_500);
    for (name, prompt, extra, running) in [
        ("mid-stream", "Once", json!({"stream": true}), 1),
        (
            "mid-stream, four choices",
            "Once",
            json!({"stream": true, "n": 4, "max_tokens": 500}),
            4,
        ),
        ("whole answer", "Once", json!({}), 1),
        ("mid-prefill", long.as_str(), json!({"max_tokens": 10}), 1),
        (
            "mid-prefill of a stream",
            long.as_str(),
            json!({"max_tokens": 10, "stream": true}),
            1,
        ),
    ] {
        let mut connection = Connection::open(server.address());
        connection.send(endless(&server, prompt, extra));
        wait_for(&server, running, 0);
        if name.starts_with("mid-stream") {
            connection.wait_for("data: ");
        }
        leave(&server, connection, name);
    }
}

#[test]
fn whoever_leaves_the_queue_frees_his_place_too() {
    let Some(server) = smollm2(&["--ctx-size", "4096", "--parallel", "1"]) else {
        return;
    };
    let mut first = Connection::open(server.address());
    first.send(endless(&server, "Once", json!({"stream": true})));
    wait_for(&server, 1, 0);
    let mut second = Connection::open(server.address());
    second.send(endless(&server, "Twice", json!({"stream": true})));
    wait_for(&server, 1, 1);
    drop(second);
    wait_for(&server, 1, 0);
    leave(&server, first, "the one that ran");
}

#[test]
fn sixty_four_streams_at_once_finish() {
    let server = Server::start::<&str>([]);
    let body = Endpoint::Chat.body(
        &server.model(),
        "Tell me a little story.",
        &json!({"max_tokens": 50, "ignore_eos": true}),
    );
    let client = server.client();
    let expected = Endpoint::Chat.whole(&client, &body).choices;
    std::thread::scope(|scope| {
        let streams: Vec<_> = (0..64)
            .map(|_| scope.spawn(|| Endpoint::Chat.streamed(&client, &body).choices))
            .collect();
        for stream in streams {
            assert_eq!(stream.join().expect("a whole stream"), expected);
        }
    });
    server.wait_idle();
}

/// A stream that its client does not read: it fills the buffers between and is paused there.
fn held_stream(server: &Server) -> Connection {
    let fields = json!({"stream": true, "logprobs": true, "top_logprobs": 20, "ignore_eos": true, "max_tokens": 400});
    let body = Endpoint::Chat.body(&server.model(), "Tell me a little story.", &fields);
    let mut connection = Connection::open(server.address());
    connection.send(raw::post("/v1/chat/completions", &body));
    connection
}

#[test]
fn a_full_queue_is_too_many_requests() {
    let Some(server) = smollm2(&["--ctx-size", "4096", "--parallel", "1", "--queue-max", "2"])
    else {
        return;
    };
    // Whole answers: a stream that nobody reads would give its place to the next.
    let mut held = Vec::new();
    for (running, waiting) in [(1, 0), (1, 1), (1, 2)] {
        let mut connection = Connection::open(server.address());
        connection.send(endless(&server, "Once", json!({})));
        held.push(connection);
        wait_for(&server, running, waiting);
    }
    for endpoint in Endpoint::BOTH {
        let reply = server.client().post(
            endpoint.path(),
            &endpoint.body(&server.model(), "Hi", &json!({})),
        );
        reply.assert_error(429, "requests", None, Some("rate_limit_exceeded"));
        let seconds: u64 = reply
            .header("retry-after")
            .expect("retry-after")
            .parse()
            .expect("seconds");
        assert!((1..=120).contains(&seconds), "{seconds}");
    }
    // Those who have a place keep it, and there is room again when one leaves.
    drop(held.pop());
    wait_for(&server, 1, 1);
    drop(held);
    let body = Endpoint::Chat.body(&server.model(), "Hi", &json!({"max_tokens": 2}));
    Endpoint::Chat.whole(&server.client(), &body);
}

#[test]
fn a_flood_is_served_or_told_to_come_back() {
    let server = Server::start(["--parallel", "4", "--queue-max", "8", "--streams-max", "32"]);
    let body = Endpoint::Chat.body(
        &server.model(),
        "Hi",
        &json!({"max_tokens": 8, "ignore_eos": true}),
    );
    let client = server.client();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = || {
            (0..10)
                .map(|_| client.post(Endpoint::Chat.path(), &body).status)
                .collect::<Vec<u16>>()
        };
        let clients: Vec<_> = (0..100).map(|_| scope.spawn(ask)).collect();
        clients
            .into_iter()
            .flat_map(|client| client.join().expect("answers"))
            .collect()
    });
    let served = statuses.iter().filter(|status| **status == 200).count();
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert_eq!(
        (served + refused, statuses.len()),
        (1_000, 1_000),
        "only 200 and 429"
    );
    assert!(served >= 32, "{served} served");
    server.wait_idle();
}

#[test]
fn a_drained_server_finishes_its_streams() {
    let mut server = Server::start(["--drain-secs", "60"]);
    let stream = held_stream(&server);
    wait_for(&server, 1, 0);
    let mut idle = Connection::open(server.address());
    let ask = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n";
    idle.send(ask);
    assert_eq!(idle.response().map(|response| response.status), Some(200));
    server.signal(Signal::TERM);
    wait::until("nothing new is accepted", || {
        std::net::TcpStream::connect(server.address()).err()
    });
    // Who still has a connection is told, or finds it closed.
    idle.send(ask);
    assert!(
        idle.response()
            .is_none_or(|response| response.status == 503)
    );
    assert_eq!(server.ended(), None, "a stream is still unread");
    let found = stream.conversation();
    assert_eq!(found.responses.len(), 1);
    assert!(
        found.responses[0].body.ends_with(b"data: [DONE]\n\n"),
        "the stream is whole"
    );
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn draining_has_an_end() {
    let mut server = Server::start(["--drain-secs", "1"]);
    let stream = held_stream(&server);
    wait_for(&server, 1, 0);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    drop(stream);
}

#[test]
fn a_second_interrupt_ends_at_once() {
    let mut server = Server::start(["--drain-secs", "600"]);
    let stream = held_stream(&server);
    wait_for(&server, 1, 0);
    server.signal(Signal::INT);
    wait::until("the drain is announced", || {
        server
            .log()
            .to_lowercase()
            .contains("ctrl-c again")
            .then_some(())
    });
    server.signal(Signal::INT);
    assert_eq!(server.wait().code(), Some(130));
    drop(stream);
}
