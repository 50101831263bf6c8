//! `GET /v1/models`, names of models, and the probes that need no guest.

use serde_json::json;
use spindle_tests::{Endpoint, Server};

#[test]
fn list_and_get_agree() {
    let server = Server::demo();
    let client = server.client();
    let list = client.get("/v1/models").json();
    assert_eq!(list["object"], "list");
    let models = list["data"].as_array().unwrap();
    assert_eq!(models.len(), 1);
    let id = models[0]["id"].as_str().unwrap();
    assert_eq!(models[0]["object"], "model");
    assert!(
        models[0]["created"].is_u64() && models[0]["owned_by"].is_string(),
        "{list}"
    );
    assert!(models[0]["max_model_len"].as_u64() > Some(0), "{list}");
    let one = client.get(&format!("/v1/models/{id}"));
    assert_eq!((one.status, one.json()), (200, models[0].clone()));
}

#[test]
fn alias_is_the_name_everywhere() {
    let server = Server::start(["--alias", "org/small-model"]);
    let client = server.client();
    assert_eq!(server.model(), "org/small-model");
    for path in ["/v1/models/org/small-model", "/v1/models/org%2Fsmall-model"] {
        assert_eq!(client.get(path).json()["id"], "org/small-model", "{path}");
    }
    let answer = client.ask(
        Endpoint::Chat.path(),
        &Endpoint::Chat.body("org/small-model", "Hi", &json!({})),
    );
    assert_eq!(answer["model"], "org/small-model");
}

#[test]
fn unknown_names_are_not_found() {
    let server = Server::demo();
    let client = server.client();
    for name in [
        "nothing",
        "..%2F..",
        "%252e",
        "a%00b",
        "%ff",
        "%C3%A9",
        &"x".repeat(300),
    ] {
        let reply = client.get(&format!("/v1/models/{name}"));
        reply.assert_error(404, "invalid_request_error", None, Some("model_not_found"));
    }
}

#[test]
fn probes_answer_and_tell_the_load() {
    let server = Server::demo();
    let client = server.client();
    for path in ["/livez", "/readyz", "/health"] {
        assert_eq!(client.get(path).status, 200, "{path}");
        assert_eq!(
            client.send("HEAD", path, &[], b"").unwrap().status,
            200,
            "{path}"
        );
    }
    server.wait_idle();
}

#[test]
fn unknown_routes_and_methods_are_told_apart() {
    let server = Server::demo();
    let client = server.client();
    for path in [
        "/",
        "/v1",
        "/v1/nothing",
        "/v1/chat/completions/",
        "//v1/models",
        "/V1/models",
    ] {
        client
            .get(path)
            .assert_error(404, "invalid_request_error", None, Some("unknown_url"));
    }
    for (method, path, allow) in [
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/completions", "POST"),
        ("POST", "/v1/models", "GET"),
        ("PUT", "/v1/models/demo", "GET"),
    ] {
        let reply = client.send(method, path, &[], b"").unwrap();
        reply.assert_error(
            405,
            "invalid_request_error",
            None,
            Some("method_not_supported"),
        );
        assert!(
            reply
                .header("allow")
                .is_some_and(|found| found.contains(allow)),
            "{method} {path}"
        );
    }
    // A query changes nothing: clients add their own.
    assert_eq!(client.get("/v1/models?limit=20").status, 200);
}
