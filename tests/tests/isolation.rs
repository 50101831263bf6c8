//! A guest that misbehaves costs exactly its own request, however often it does so.
//!
//! The guest is `tests/guests/misbehave`, mounted beside the real one: the path says what it does.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use serde_json::json;
use spindle_tests::raw::Connection;
use spindle_tests::{Client, Endpoint, Server, ServerOptions, means, wait};

const MOUNT: &str = "/misbehave";

/// What the guest can do, and how its client sees it.
const KINDS: &[(&str, Seen)] = &[
    ("trap", Seen::Error),
    ("panic", Seen::Error),
    ("error", Seen::Error),
    ("loop", Seen::Error),
    ("recurse", Seen::Error),
    ("hoard", Seen::Error),
    ("handles", Seen::Error),
    ("headers", Seen::Error),
    ("giant-list", Seen::Error),
    ("chatter", Seen::Error),
    ("trap-mid-stream", Seen::CutStream),
    ("panic-mid-stream", Seen::CutStream),
    ("loop-mid-stream", Seen::CutStream),
    ("cut", Seen::CutStream),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Seen {
    /// 500 in the API's form.
    Error,
    /// 200, and a body that ends without its end.
    CutStream,
}

/// A server that ends a guest after so much processor time.
fn server(guest_cpu_ms: u32, args: &[&str]) -> Option<Server> {
    let mut mount = std::ffi::OsString::from(format!("{MOUNT}="));
    mount.push(means::misbehaving_guest()?);
    Some(
        ServerOptions::default()
            .arg("--test-guest")
            .arg(mount)
            .args(["--guest-cpu-ms", &guest_cpu_ms.to_string()])
            .args(args)
            .start(),
    )
}

/// Asks the guest to misbehave and asserts what its client must see.
fn misbehave(server: &Server, client: &Client, kind: &str, seen: Seen) {
    let path = format!("{MOUNT}/{kind}");
    match seen {
        Seen::Error => {
            client
                .get(&path)
                .assert_error(500, "server_error", None, Some("internal_error"));
        }
        Seen::CutStream => {
            let mut connection = Connection::open(server.address());
            connection.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
            let found = connection.conversation();
            assert!(
                found.responses.is_empty(),
                "{kind}: a cut stream must not look whole: {found:?}"
            );
            assert!(
                found.rest.starts_with(b"HTTP/1.1 200 "),
                "{kind}: {:?}",
                String::from_utf8_lossy(&found.rest)
            );
        }
    }
}

#[test]
fn each_kind_of_misbehaviour_costs_its_own_request() {
    let Some(server) = server(500, &[]) else {
        return;
    };
    let client = server.client();
    for (kind, seen) in KINDS {
        misbehave(&server, &client, kind, *seen);
        assert_eq!(client.get("/v1/models").status, 200, "after {kind}");
    }
}

#[test]
fn ten_thousand_requests_with_one_in_a_hundred_misbehaving() {
    const REQUESTS: usize = 10_000;
    const AT_A_TIME: usize = 16;
    /// Freed memory the allocator keeps, and the buffers of sixteen connections.
    const GROWTH_MAX: u64 = 48 << 20;
    let Some(server) = server(500, &[]) else {
        return;
    };
    let client = server.client();
    let model = server.model();
    let body = Endpoint::Completions.body(&model, "Once upon a time", &json!({"max_tokens": 1}));
    let expected = Endpoint::Completions.whole(&client, &body).choices;
    let models = client.get("/v1/models").body;

    let next = AtomicUsize::new(0);
    let rss_after_warm_up = Mutex::new(None);
    let worker = || {
        loop {
            let number = next.fetch_add(1, Relaxed);
            if number >= REQUESTS {
                break;
            }
            if number == REQUESTS / 10 {
                *rss_after_warm_up.lock().unwrap() = Some(server.rss_bytes());
            }
            match number % 100 {
                7 => {
                    let (kind, seen) = KINDS[number / 100 % KINDS.len()];
                    misbehave(&server, &client, kind, seen);
                }
                3 | 21 | 42 | 63 | 84 => assert_eq!(
                    Endpoint::Completions.whole(&client, &body).choices,
                    expected
                ),
                _ => {
                    let reply = client.get("/v1/models");
                    assert_eq!(
                        (reply.status, reply.body.as_slice()),
                        (200, models.as_slice()),
                        "request {number}"
                    );
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(worker);
        }
    });
    server.wait_idle();
    let before = rss_after_warm_up.lock().unwrap().expect("measured");
    let after = server.rss_bytes();
    assert!(
        after < before + GROWTH_MAX,
        "{} MiB grew to {} MiB",
        before >> 20,
        after >> 20
    );
}

#[test]
fn probes_answer_while_every_guest_is_stuck() {
    const PLACES: usize = 4;
    let Some(server) = server(500, &["--streams-max", &PLACES.to_string()]) else {
        return;
    };
    let client = Client::with_patience(server.address(), Duration::from_secs(10));
    let stuck = take_places(&server, &client, "loop", PLACES);
    for path in ["/livez", "/readyz", "/health"] {
        assert_eq!(client.get(path).status, 200, "{path}");
    }
    for mut connection in stuck {
        assert_eq!(
            connection.response().map(|response| response.status),
            Some(500)
        );
    }
    assert_eq!(client.get("/v1/models").status, 200);
}

/// Lets guests misbehave until they have all places, and others are told to come back.
fn take_places(server: &Server, client: &Client, kind: &str, places: usize) -> Vec<Connection> {
    let open = || {
        let mut connection = Connection::open(server.address());
        connection.send(format!("GET {MOUNT}/{kind} HTTP/1.1\r\nHost: x\r\n\r\n"));
        connection
    };
    let mut taken: Vec<Connection> = (0..places).map(|_| open()).collect();
    wait::until("all places are taken", || {
        let refused = client.get("/v1/models");
        // Our own question may have held a place when one of them came.
        for connection in &mut taken {
            if connection.has_begun("HTTP/1.1 429 ") {
                *connection = open();
            }
        }
        (refused.status != 200).then(|| {
            refused.assert_error(429, "requests", None, Some("rate_limit_exceeded"));
            assert!(refused.header("retry-after").is_some());
        })
    });
    taken
}

#[test]
fn streams_go_on_beside_misbehaving_guests() {
    let Some(server) = server(500, &[]) else {
        return;
    };
    let client = server.client();
    let body = Endpoint::Chat.body(
        &server.model(),
        "Tell me a little story.",
        &json!({"max_tokens": 120, "ignore_eos": true}),
    );
    let expected = Endpoint::Chat.whole(&client, &body).choices;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..3 {
                    assert_eq!(Endpoint::Chat.streamed(&client, &body).choices, expected);
                }
            });
        }
        for (kind, seen) in KINDS {
            misbehave(&server, &client, kind, *seen);
        }
    });
}

#[test]
fn a_client_that_leaves_a_stuck_guest_frees_its_place() {
    let Some(server) = server(600_000, &["--streams-max", "1"]) else {
        return;
    };
    let client = server.client();
    for kind in ["loop", "never", "silent-stream", "loop-mid-stream", "deaf"] {
        drop(take_places(&server, &client, kind, 1));
        wait::until("the place is free", || {
            (client.get("/v1/models").status == 200).then_some(())
        });
    }
}

#[test]
fn no_argument_of_a_guest_is_trusted() {
    let Some(server) = server(500, &[]) else {
        return;
    };
    let reply = server.client().get(&format!("{MOUNT}/hostile"));
    assert_eq!(reply.status, 200);
    let accepted: Vec<String> = reply
        .text()
        .lines()
        .filter(|line| !line.ends_with(": refused"))
        .map(str::to_owned)
        .collect();
    assert!(
        accepted.is_empty() && reply.body.len() > 500,
        "{}",
        reply.text()
    );
    server.wait_idle();
}
