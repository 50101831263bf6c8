//! Bytes that no well-behaved client sends: one request in is one response out, or the connection is closed.
//!
//! Each row ends with a second request that must not be found: whoever finds it reads bodies as requests, and a
//! proxy in front of it can be made to answer one client with another one's answer.

use std::time::{Duration, Instant};

use spindle_tests::Server;
use spindle_tests::raw::{Connection, Conversation, RawResponse};

/// What a proxy would believe to be part of the body, or never to have been sent.
const HIDDEN: &str = "GET /livez HTTP/1.1\r\nHost: hidden\r\nConnection: close\r\n\r\n";

/// Well below the first deadline of a connection, which is ten seconds.
const AT_ONCE: Duration = Duration::from_secs(5);

fn converse(server: &Server, bytes: &[u8]) -> Conversation {
    let mut connection = Connection::open(server.address());
    connection.send(bytes);
    connection.conversation()
}

/// Sends each row; the one response has an allowed status, or there is none where 0 is allowed.
fn check(rows: &[(&str, String, &[u16])]) {
    let server = Server::demo();
    for (name, bytes, allowed) in rows {
        let start = Instant::now();
        let found = converse(&server, bytes.as_bytes());
        let elapsed = start.elapsed();
        assert!(
            elapsed < AT_ONCE,
            "{name}: {elapsed:?}, a deadline and no decision"
        );
        let statuses: Vec<u16> = found
            .responses
            .iter()
            .map(|response| response.status)
            .collect();
        assert!(
            statuses.len() <= 1,
            "{name}: {statuses:?}, more answers than requests"
        );
        let status = statuses.first().copied().unwrap_or(0);
        assert!(
            allowed.contains(&status),
            "{name}: {status}, not one of {allowed:?}: {found:?}"
        );
        assert!(
            found.rest.is_empty(),
            "{name}: {:?}",
            String::from_utf8_lossy(&found.rest)
        );
    }
    assert_eq!(server.client().get("/livez").status, 200);
}

fn post(headers: &str, body: &str) -> String {
    format!("POST /v1/completions HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}")
}

fn get(headers: &str) -> String {
    format!("GET /livez HTTP/1.1\r\nHost: x\r\n{headers}\r\n")
}

#[test]
fn two_lengths_are_refused_and_closed() {
    let chunked = format!("0\r\n\r\n{HIDDEN}");
    check(&[
        ("CL+TE", post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", &chunked), &[400]),
        ("TE+CL", post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", &chunked), &[400]),
        ("cl+te", post("content-length: 4\r\ntransfer-encoding: chunked\r\n", &chunked), &[400]),
        ("CL 0+TE", post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", &chunked), &[400]),
        ("CL+TE identity", post("Content-Length: 4\r\nTransfer-Encoding: identity\r\n", &chunked), &[400]),
        ("CL+TE far apart", post(&format!("Content-Length: 4\r\nX-Pad: {}\r\nTransfer-Encoding: chunked\r\n", "x".repeat(9_000)), &chunked), &[400]),
        ("CL+TE on GET", format!("{}{chunked}", get("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n")), &[400]),
        ("CL+TE, bare LF", "POST /v1/completions HTTP/1.1\nHost: x\nContent-Length: 4\nTransfer-Encoding: chunked\n\n0\r\n\r\n".to_owned(), &[400]),
    ]);
}

#[test]
fn two_lengths_in_pieces_are_refused_too() {
    let server = Server::demo();
    let request = post(
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        &format!("0\r\n\r\n{HIDDEN}"),
    );
    for cut in [60, 70, 75, 80, 95] {
        // On a connection that has served before: nothing of the last request may excuse this one.
        let mut connection = Connection::open(server.address());
        connection.send(get(""));
        assert_eq!(
            connection.response().map(|response| response.status),
            Some(200)
        );
        connection.send(&request.as_bytes()[..cut]);
        connection.send(&request.as_bytes()[cut..]);
        let found = connection.conversation();
        let statuses: Vec<u16> = found
            .responses
            .iter()
            .map(|response| response.status)
            .collect();
        assert_eq!(statuses, [400], "cut at {cut}");
    }
}

#[test]
fn two_lengths_behind_something_else_are_refused_too() {
    let server = Server::demo();
    let bad = post(
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        &format!("0\r\n\r\n{HIDDEN}"),
    );
    for (name, first, expected) in [
        ("empty lines", "\r\n\r\n".to_owned(), &[400][..]),
        ("a request in the same segment", get(""), &[200, 400]),
        (
            "a guest's request in the same segment",
            "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            &[200, 400],
        ),
        (
            "a body in the same segment",
            post("Content-Length: 2\r\n", "{}"),
            &[400, 400],
        ),
    ] {
        let found = converse(&server, format!("{first}{bad}").as_bytes());
        let statuses: Vec<u16> = found
            .responses
            .iter()
            .map(|response| response.status)
            .collect();
        assert_eq!(statuses, expected, "behind {name}");
    }
}

#[test]
fn lengths_that_are_none_are_refused_and_closed() {
    let row = |value: &'static str| {
        (
            value,
            post(
                &format!("Content-Length: {value}\r\n"),
                &format!("{{}}x{HIDDEN}"),
            ),
            &[400, 0][..],
        )
    };
    let values = [
        "+3",
        "-1",
        "0x3",
        "3 3",
        "3;3",
        "3, 4",
        "",
        "1e1",
        "three",
        "99999999999999999999",
        "18446744073709551616",
    ];
    check(&values.map(row));
    check(&[
        (
            "two that differ",
            post(
                "Content-Length: 3\r\nContent-Length: 4\r\n",
                &format!("{{}}x{HIDDEN}"),
            ),
            &[400],
        ),
        (
            "space before the colon",
            post("Content-Length : 3\r\n", &format!("{{}}x{HIDDEN}")),
            &[400],
        ),
    ]);
}

#[test]
fn codings_that_are_not_chunked_are_refused_and_closed() {
    let row = |value: &'static str| {
        (
            value,
            post(
                &format!("Transfer-Encoding: {value}\r\n"),
                &format!("0\r\n\r\n{HIDDEN}"),
            ),
            &[400, 501, 0][..],
        )
    };
    check(
        &[
            "xchunked",
            "chunkedx",
            "identity",
            "chunked, identity",
            "gzip",
            "chunked;q=1",
            "\"chunked\"",
            "",
        ]
        .map(row),
    );
    check(&[
        (
            "space before the colon",
            post(
                "Transfer-Encoding : chunked\r\n",
                &format!("0\r\n\r\n{HIDDEN}"),
            ),
            &[400],
        ),
        (
            "HTTP/1.0",
            format!(
                "POST /v1/completions HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"
            ),
            &[400, 0],
        ),
    ]);
}

#[test]
fn broken_chunks_end_the_connection() {
    let row = |chunk: &'static str| {
        let headers = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
        (
            chunk,
            post(headers, &format!("{chunk}{HIDDEN}")),
            &[400, 408, 500, 0][..],
        )
    };
    check(
        &[
            "+2\r\n{}\r\n0\r\n\r\n",
            "0x2\r\n{}\r\n0\r\n\r\n",
            "-2\r\n{}\r\n0\r\n\r\n",
            "2 2\r\n{}\r\n0\r\n\r\n",
            "2\r\n{}x\r\n0\r\n\r\n",
            "2\r\n{}0\r\n\r\n",
            "FFFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n",
            "\r\n{}\r\n0\r\n\r\n",
            "g\r\n{}\r\n0\r\n\r\n",
        ]
        .map(row),
    );
}

#[test]
fn broken_heads_are_refused_and_closed() {
    // Past the limit of 64 KiB and what is read at once beyond it.
    let long = "x".repeat(200_000);
    let many: String = (0..150).map(|index| format!("X-{index}: x\r\n")).collect();
    check(&[
        (
            "obs-fold",
            format!("{}{HIDDEN}", get("X-Folded: a\r\n b\r\n")),
            &[400],
        ),
        (
            "name with a space",
            format!("{}{HIDDEN}", get("X Spaced: a\r\n")),
            &[400],
        ),
        (
            "no colon",
            format!("{}{HIDDEN}", get("X-Nothing\r\n")),
            &[400],
        ),
        ("no name", format!("{}{HIDDEN}", get(": a\r\n")), &[400]),
        (
            "NUL in a value",
            format!("{}{HIDDEN}", get("X: a\0b\r\n")),
            &[400],
        ),
        (
            "bare CR in a value",
            format!("{}{HIDDEN}", get("X: a\rb\r\n")),
            &[400],
        ),
        (
            "NUL in a name",
            format!("{}{HIDDEN}", get("X\0: a\r\n")),
            &[400],
        ),
        (
            "no host",
            format!("GET /livez HTTP/1.1\r\n\r\n{HIDDEN}"),
            &[400],
        ),
        (
            "two hosts",
            format!("{}{HIDDEN}", get("Host: y\r\n")),
            &[400],
        ),
        (
            "host with a slash",
            format!("GET /livez HTTP/1.1\r\nHost: a/b\r\n\r\n{HIDDEN}"),
            &[400],
        ),
        ("HTTP/0.9", format!("GET /livez\r\n\r\n{HIDDEN}"), &[400, 0]),
        (
            "HTTP/3.7",
            format!("GET /livez HTTP/3.7\r\nHost: x\r\n\r\n{HIDDEN}"),
            &[400, 505, 0],
        ),
        (
            "http/1.1",
            format!("GET /livez http/1.1\r\nHost: x\r\n\r\n{HIDDEN}"),
            &[400, 0],
        ),
        (
            "HTTP/2 preface",
            format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{HIDDEN}"),
            &[400, 505, 0],
        ),
        (
            "no target",
            format!("GET  HTTP/1.1\r\nHost: x\r\n\r\n{HIDDEN}"),
            &[400],
        ),
        (
            "space in the target",
            format!("GET /livez /x HTTP/1.1\r\nHost: x\r\n\r\n{HIDDEN}"),
            &[400],
        ),
        (
            "bytes of TLS",
            format!("\u{16}\u{3}\u{1}\0\u{7a}\u{1}\0\0\u{76}\u{3}\u{3}{HIDDEN}"),
            &[400, 0],
        ),
        (
            "a long field",
            get(&format!("X: {long}\r\n")),
            &[431, 400, 0],
        ),
        (
            "a long target",
            format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
            &[414, 431, 400, 0],
        ),
        ("many fields", get(&many), &[431, 400, 0]),
    ]);
}

#[test]
fn odd_requests_get_one_answer() {
    let close = "Connection: close\r\n";
    check(&[
        (
            "bare LF",
            format!("GET /livez HTTP/1.1\nHost: x\n{}\n", "Connection: close\n"),
            &[200, 400],
        ),
        (
            "two equal lengths",
            post(
                &format!("Content-Length: 2\r\nContent-Length: 2\r\n{close}"),
                "{}",
            ),
            &[400],
        ),
        (
            "empty lines first",
            format!("\r\n\r\n{}", get(close)),
            &[200, 400],
        ),
        (
            "lower-case method",
            format!("get /v1/models HTTP/1.1\r\nHost: x\r\n{close}\r\n"),
            &[400, 404, 405],
        ),
        (
            "unknown method",
            format!("BREW /v1/models HTTP/1.1\r\nHost: x\r\n{close}\r\n"),
            &[405],
        ),
        (
            "TRACE",
            format!("TRACE /v1/models HTTP/1.1\r\nHost: x\r\n{close}\r\n"),
            &[405],
        ),
        (
            "CONNECT",
            format!("CONNECT example.test:80 HTTP/1.1\r\nHost: example.test\r\n{close}\r\n"),
            &[400, 404, 405],
        ),
        (
            "OPTIONS *",
            format!("OPTIONS * HTTP/1.1\r\nHost: x\r\n{close}\r\n"),
            &[400, 404, 405, 204],
        ),
        (
            "absolute target",
            format!("GET http://x/livez HTTP/1.1\r\nHost: x\r\n{close}\r\n"),
            &[200],
        ),
        (
            "upgrade to h2c",
            get(&format!(
                "{close}Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
            )),
            &[200],
        ),
        ("HTTP/1.0", "GET /livez HTTP/1.0\r\n\r\n".to_owned(), &[200]),
        (
            "path that climbs",
            format!("GET /v1/../livez HTTP/1.1\r\nHost: x\r\n{close}\r\n"),
            &[404],
        ),
        (
            "encoded path",
            format!("GET /%6Civez HTTP/1.1\r\nHost: x\r\n{close}\r\n"),
            &[404],
        ),
        (
            "NUL in the path",
            format!("GET /v1/models/a%00b HTTP/1.1\r\nHost: x\r\n{close}\r\n"),
            &[404],
        ),
    ]);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::demo();
    let ask = |path: &str, id: &str, headers: &str, body: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-Request-Id: {id}\r\n{headers}\r\n{body}")
    };
    let answers = |requests: String| -> Vec<(u16, String)> {
        let found = converse(&server, requests.as_bytes()).responses;
        let id =
            |response: &RawResponse| response.header("x-request-id").expect("an id").to_owned();
        found
            .iter()
            .map(|response| (response.status, id(response)))
            .collect()
    };
    let (one, two) = (
        ask("/livez", "one", "", ""),
        ask("/v1/models", "two", "", ""),
    );
    let three = ask("/readyz", "three", "Connection: close\r\n", "");
    let expected = ["one", "two", "three"].map(|id| (200, id.to_owned()));
    assert_eq!(answers(format!("{one}{two}{three}{HIDDEN}")), expected);
    // A body on a GET is not the next request. Nobody reads it, so what follows it is not answered here.
    let length = format!("Content-Length: {}\r\n", HIDDEN.len());
    let two = ask("/v1/models", "two", &length, HIDDEN);
    assert_eq!(answers(format!("{one}{two}{three}")), expected[..2]);
}

#[test]
fn a_client_may_wait_for_leave_to_send() {
    let server = Server::demo();
    let mut connection = Connection::open(server.address());
    connection.send(post("Content-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n", ""));
    assert_eq!(
        connection.response().map(|response| response.status),
        Some(100)
    );
    connection.send("{}");
    assert_eq!(
        connection.response().map(|response| response.status),
        Some(400)
    );
}

#[test]
fn an_answer_that_comes_early_can_be_read_by_who_still_sends() {
    // A refusal that did not wait for the body once reset the connection under its client, who then
    // saw a broken pipe instead of the refusal.
    let server = Server::start(["--api-key", "sk-right"]);
    let body = vec![b'x'; 11 << 20];
    let right = "Authorization: Bearer sk-right\r\n";
    let json = "Content-Type: application/json\r\n";
    for (name, headers, status) in [
        ("no key", json.to_owned(), 401),
        (
            "another type",
            format!("{right}Content-Type: text/html\r\n"),
            415,
        ),
        ("too large", format!("{right}{json}"), 413),
    ] {
        let mut connection = Connection::open(server.address());
        connection.send(post(
            &format!("{headers}Content-Length: {}\r\n", body.len()),
            "",
        ));
        assert!(
            body.chunks(64 << 10).all(|piece| connection.send(piece)),
            "{name}: all of it is taken"
        );
        let response = connection.response().expect("an answer");
        assert_eq!(response.status, status, "{name}");
        if response.header("connection") == Some("close") {
            assert!(
                connection.conversation().responses.is_empty(),
                "{name}: closed"
            );
        } else {
            connection.send(get(""));
            assert!(
                connection.response().is_some(),
                "{name}: all of it was read"
            );
        }
    }
}

#[test]
fn a_body_that_is_cut_short_costs_nothing() {
    let server = Server::demo();
    for headers in ["Content-Length: 4000\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut connection = Connection::open(server.address());
        connection.send(post(
            &format!("Content-Type: application/json\r\n{headers}"),
            "3\r\n{\"m",
        ));
        connection.finish_sending();
        let found = connection.conversation();
        assert!(
            found
                .responses
                .iter()
                .all(|response| response.status >= 400),
            "{found:?}"
        );
    }
    server.wait_idle();
}
