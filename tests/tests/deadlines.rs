//! Clients that keep a connection and do nothing: each kind is ended at its deadline, and costs nobody else.
//!
//! The deadlines are real and last seconds, so all kinds wait side by side in one test.

use std::time::{Duration, Instant};

use serde_json::json;
use spindle_tests::raw::{self, Connection};
use spindle_tests::server::Load;
use spindle_tests::{Endpoint, Server, wait, with};

/// How much later than its deadline an end may be seen on a busy machine.
const LATE: Duration = Duration::from_secs(15);
/// How much earlier: two clocks, rounded.
const EARLY: Duration = Duration::from_secs(1);

const HEAD: Duration = Duration::from_secs(10);
const BODY_IDLE: Duration = Duration::from_secs(30);
const WRITE_STALL: Duration = Duration::from_secs(30);

/// Streams nobody reads.
const UNREAD: u64 = 32;

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

/// Streams that nobody reads are paused, not buffered and not dropped, and ended at their deadline.
fn unread_streams(server: &Server) {
    /// Of the server's, for all of them: the kernel's buffers are not among it.
    const GROWTH_MAX: u64 = 64 << 20;
    let fields =
        json!({"logprobs": true, "top_logprobs": 20, "ignore_eos": true, "max_tokens": 400});
    let body = Endpoint::Chat.body(&server.model(), "Tell me a little story.", &fields);
    // The same answer, read: the memory of a busy server is what growth is counted from.
    Endpoint::Chat.whole(&server.client(), &body);
    let before = server.rss_bytes();
    let start = Instant::now();
    let unread: Vec<Connection> = (0..UNREAD)
        .map(|_| {
            let mut connection = Connection::open(server.address());
            connection.send(raw::post(
                Endpoint::Chat.path(),
                &with(body.clone(), &json!({"stream": true})),
            ));
            connection
        })
        .collect();
    let all = Load {
        running: UNREAD,
        waiting: 0,
    };
    wait::until("the streams run", || (server.load() == all).then_some(()));
    // Others are served as ever, for longer than an unread answer would take.
    for _ in 0..2 {
        Endpoint::Chat.whole(&server.client(), &body);
    }
    assert_eq!(server.load(), all, "paused, not finished and not dropped");
    let growth = server.rss_bytes().saturating_sub(before);
    assert!(growth < GROWTH_MAX, "{} MiB more", growth >> 20);
    wait::until("the unread streams are ended", || {
        (server.load() == Load::IDLE).then_some(())
    });
    assert_near("unread streams", start.elapsed(), WRITE_STALL);
    for connection in unread {
        let found = connection.conversation();
        assert!(
            found.responses.is_empty(),
            "a cut stream does not look whole: {found:?}"
        );
    }
}

#[test]
fn each_kind_of_idleness_ends_at_its_deadline() {
    let stalled = Server::start(["--parallel", &(UNREAD + 1).to_string()]);
    let slow = Server::start::<&str>([]);
    std::thread::scope(|scope| {
        scope.spawn(|| slow_head(&slow, false));
        scope.spawn(|| slow_head(&slow, true));
        scope.spawn(|| slow_body(&slow));
        scope.spawn(|| unread_streams(&stalled));
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
