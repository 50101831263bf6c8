//! Clients that keep a connection and do nothing: each kind is ended at its deadline, and costs nobody else.
//!
//! The deadlines are real and last seconds, so all kinds wait side by side in one test.

use std::time::{Duration, Instant};

use serde_json::json;
use spindle_tests::raw::{self, Connection};
use spindle_tests::server::Load;
use spindle_tests::{Endpoint, Server, wait};

/// How much later than its deadline an end may be seen on a busy machine.
const LATE: Duration = Duration::from_secs(15);
/// How much earlier: two clocks, rounded.
const EARLY: Duration = Duration::from_secs(1);

const HEAD: Duration = Duration::from_secs(10);
const BODY_IDLE: Duration = Duration::from_secs(30);
const WRITE_STALL: Duration = Duration::from_secs(30);

fn assert_near(what: &str, elapsed: Duration, deadline: Duration) {
    let (least, most) = (deadline.saturating_sub(EARLY), deadline + LATE);
    assert!(
        (least..=most).contains(&elapsed),
        "{what}: ended after {elapsed:?}, due after {deadline:?}"
    );
}

/// A head that never ends is closed, even if it keeps dripping.
fn slow_head(server: &Server, dripping: bool) {
    let start = Instant::now();
    let mut connection = Connection::open(server.address());
    connection.send("GET /livez HTTP/1.1\r\nHost: x\r\n");
    if dripping {
        let dripped = wait::until("the dripping head is closed", || {
            (!connection.send("X-Drip: x\r\n") || connection.is_closed()).then(|| start.elapsed())
        });
        assert_near("dripping head", dripped, HEAD);
        return;
    }
    let found = connection.conversation();
    assert!(
        found
            .responses
            .iter()
            .all(|response| response.status == 408),
        "{found:?}"
    );
    assert_near("unfinished head", start.elapsed(), HEAD);
}

/// A body that stops in the middle is told so and closed.
fn slow_body(server: &Server) {
    let start = Instant::now();
    let mut connection = Connection::open(server.address());
    connection.send(
        "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"model\":",
    );
    let found = connection.conversation();
    let statuses: Vec<u16> = found
        .responses
        .iter()
        .map(|response| response.status)
        .collect();
    assert_eq!(statuses, [408], "{found:?}");
    assert_near("unfinished body", start.elapsed(), BODY_IDLE);
}

/// A stream that nobody reads is paused, not buffered and not dropped, and ended at its deadline.
fn unread_stream(server: &Server) {
    let fields = json!({"stream": true, "logprobs": true, "top_logprobs": 20, "ignore_eos": true, "max_tokens": 400});
    let model = server.model();
    let body = Endpoint::Chat.body(&model, "Tell me a little story.", &fields);
    let start = Instant::now();
    let mut connection = Connection::open(server.address());
    connection.send(raw::post("/v1/chat/completions", &body));
    wait::until("the stream runs", || {
        (server.load().running == 1).then_some(())
    });
    // Others are served as ever, for longer than the unread answer would take.
    for _ in 0..2 {
        let mut read = Endpoint::Chat.body(&model, "Tell me a little story.", &fields);
        read["stream"] = json!(false);
        Endpoint::Chat.whole(&server.client(), &read);
    }
    assert_eq!(
        server.load().running,
        1,
        "paused, not finished and not dropped"
    );
    wait::until("the unread stream is ended", || {
        (server.load() == Load::IDLE).then_some(())
    });
    assert_near("unread stream", start.elapsed(), WRITE_STALL);
    let found = connection.conversation();
    assert!(
        found.responses.is_empty(),
        "a cut stream does not look whole: {found:?}"
    );
}

#[test]
fn each_kind_of_idleness_ends_at_its_deadline() {
    let (stalled, slow) = (Server::start::<&str>([]), Server::start::<&str>([]));
    std::thread::scope(|scope| {
        scope.spawn(|| slow_head(&slow, false));
        scope.spawn(|| slow_head(&slow, true));
        scope.spawn(|| slow_body(&slow));
        scope.spawn(|| unread_stream(&stalled));
    });
    for server in [stalled, slow] {
        assert_eq!(server.client().get("/readyz").status, 200);
        server.wait_idle();
    }
}

#[test]
fn probes_answer_beside_a_thousand_slow_clients() {
    let server = Server::start::<&str>([]);
    let mut slow: Vec<Connection> = (0..1_000)
        .map(|index| {
            let mut connection = Connection::open(server.address());
            connection.send(if index % 2 == 0 {
                "GET /livez HT"
            } else {
                "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"
            });
            connection
        })
        .collect();
    let client = server.client();
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let start = Instant::now();
            assert_eq!(client.get("/livez").status, 200);
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    // The 99th of a hundred; the figure on a quiet machine is a tenth of this.
    assert!(times[197] < Duration::from_millis(500), "{:?}", times[197]);
    slow.clear();
    server.wait_idle();
}
