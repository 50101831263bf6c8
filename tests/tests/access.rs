//! Keys and origins: who is let in, and what a browser is told.

use serde_json::json;
use spindle_tests::{Endpoint, Server};

#[test]
fn one_key_opens_everything_but_the_probes() {
    let server = Server::start(["--api-key", "sk-right"]);
    let anonymous = server.client();
    for path in ["/livez", "/readyz", "/health"] {
        assert_eq!(anonymous.get(path).status, 200, "{path}");
    }
    let (right, wrong) = (
        anonymous.with_key("sk-right"),
        anonymous.with_key("sk-wrong-4711"),
    );
    let model = right.get("/v1/models").json()["data"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let body = Endpoint::Chat.body(&model, "Hi", &json!({"max_tokens": 2}));
    for client in [&anonymous, &wrong] {
        for reply in [
            client.get("/v1/models"),
            client.post(Endpoint::Chat.path(), &body),
            client.get("/v1/nothing"),
        ] {
            let message =
                reply.assert_error(401, "invalid_request_error", None, Some("invalid_api_key"));
            assert!(
                !message.contains("4711"),
                "a key is never repeated: {message}"
            );
            assert!(reply.header("www-authenticate").is_some());
        }
    }
    Endpoint::Chat.whole(&right, &body);
    // Spin's own client spells the scheme in lower case.
    let lower = anonymous
        .send(
            "GET",
            "/v1/models",
            &[("authorization", "bearer sk-right")],
            b"",
        )
        .unwrap();
    assert_eq!(lower.status, 200);
    for broken in [
        "sk-right",
        "Basic sk-right",
        "Bearer",
        "Bearer ",
        "Bearer sk-right sk-right",
        "Bearer sk-righ",
    ] {
        let reply = anonymous
            .send("GET", "/v1/models", &[("authorization", broken)], b"")
            .unwrap();
        assert_eq!(reply.status, 401, "{broken:?}");
    }
    let log = server.log();
    assert!(
        !log.contains("sk-right") && !log.contains("4711"),
        "a key in the log: {log}"
    );
}

#[test]
fn a_file_holds_many_keys() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(
        &file,
        "# comment\n\nsk-one alice\nsk-two   bob\n  sk-three\n",
    )
    .unwrap();
    let server = Server::start(["--api-key-file".as_ref(), file.as_os_str()]);
    for (key, status) in [
        ("sk-one", 200),
        ("sk-two", 200),
        ("sk-three", 200),
        ("alice", 401),
        ("#", 401),
        ("", 401),
    ] {
        assert_eq!(
            server.client().with_key(key).get("/v1/models").status,
            status,
            "{key:?}"
        );
    }
}

#[test]
fn browsers_are_told_only_where_the_operator_says_so() {
    let silent = Server::demo();
    let origin = ("origin", "https://app.example");
    let reply = silent
        .client()
        .send("GET", "/v1/models", &[origin], b"")
        .unwrap();
    assert_eq!(reply.header("access-control-allow-origin"), None);

    let open = Server::start(["--cors-origin", "https://app.example"]);
    let client = open.client();
    let model = open.model();
    let plain = client.send("GET", "/v1/models", &[origin], b"").unwrap();
    assert_eq!(
        plain.header("access-control-allow-origin"),
        Some("https://app.example")
    );
    let failed = client.post(Endpoint::Chat.path(), &json!({"model": model}));
    assert_eq!(
        failed.header("access-control-allow-origin"),
        Some("https://app.example"),
        "errors too"
    );
    let health = client.send("GET", "/health", &[origin], b"").unwrap();
    assert_eq!(
        health.header("access-control-allow-origin"),
        Some("https://app.example"),
        "a page shows whether its server is up"
    );
    let wanted = [
        origin,
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization"),
    ];
    let preflight = client
        .send("OPTIONS", Endpoint::Chat.path(), &wanted, b"")
        .unwrap();
    assert!(
        [200, 204].contains(&preflight.status),
        "{}",
        preflight.status
    );
    assert_eq!(
        preflight.header("access-control-allow-origin"),
        Some("https://app.example")
    );
    let allowed = |name: &str| preflight.header(name).unwrap_or_default().to_lowercase();
    assert!(allowed("access-control-allow-methods").contains("post"));
    let headers = allowed("access-control-allow-headers");
    assert!(
        headers == "*, authorization" || headers.contains("authorization"),
        "{headers}"
    );
}
