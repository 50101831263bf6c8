//! What is wrong with a request is said in four keys, with the field that is wrong, before anything is generated.
//!
//! Rows are fragments of a body; the wording itself is tested beside the error table, in `crates/openai`.

use serde_json::json;
use spindle_tests::{Endpoint, Reply, Server};

const INVALID: &str = "invalid_request_error";

/// Posts `{"model": .., "messages": .., FRAGMENT}` as it stands: some rows are numbers no serialiser writes.
fn post_fragment(server: &Server, endpoint: Endpoint, model: &str, fragment: &str) -> Reply {
    let input = match endpoint {
        Endpoint::Chat => r#""messages":[{"role":"user","content":"Hi"}]"#,
        Endpoint::Completions => r#""prompt":"Hi""#,
    };
    post_text(
        server,
        endpoint,
        &format!(r#"{{"model":"{model}",{input},"max_tokens":2,{fragment}}}"#),
    )
}

fn post_text(server: &Server, endpoint: Endpoint, body: &str) -> Reply {
    let headers = [("content-type", "application/json")];
    server
        .client()
        .send("POST", endpoint.path(), &headers, body.as_bytes())
        .expect("an answer")
}

/// Each row: fragment, field, code.
fn check_rows(endpoint: Endpoint, rows: &[(&str, &str, &str)]) {
    let server = Server::demo();
    let model = server.model();
    for (fragment, param, code) in rows {
        let reply = post_fragment(&server, endpoint, &model, fragment);
        assert_eq!(reply.status, 400, "{fragment}: {}", reply.text());
        assert_eq!(
            reply.json()["error"]["param"],
            *param,
            "{fragment}: {}",
            reply.text()
        );
        assert_eq!(
            reply.json()["error"]["code"],
            *code,
            "{fragment}: {}",
            reply.text()
        );
        reply.assert_error(400, INVALID, Some(param), Some(code));
    }
    assert_eq!(
        post_fragment(&server, endpoint, &model, r#""n":1"#).status,
        200,
        "nothing is broken afterwards"
    );
}

#[test]
fn numbers_stay_in_their_ranges() {
    let rows = [
        (r#""n":0"#, "n", "integer_below_min_value"),
        (r#""n":-1"#, "n", "integer_below_min_value"),
        (r#""n":129"#, "n", "integer_above_max_value"),
        (r#""n":1000000000"#, "n", "integer_above_max_value"),
        (
            r#""n":99999999999999999999999"#,
            "n",
            "integer_above_max_value",
        ),
        (r#""n":1.5"#, "n", "invalid_type"),
        (r#""n":"3""#, "n", "invalid_type"),
        (
            r#""temperature":2.1"#,
            "temperature",
            "decimal_above_max_value",
        ),
        (
            r#""temperature":-0.1"#,
            "temperature",
            "decimal_below_min_value",
        ),
        (r#""temperature":"hot""#, "temperature", "invalid_type"),
        (r#""top_p":1.01"#, "top_p", "decimal_above_max_value"),
        (r#""top_p":-1"#, "top_p", "decimal_below_min_value"),
        (r#""min_p":2"#, "min_p", "decimal_above_max_value"),
        (r#""typical_p":-1"#, "typical_p", "decimal_below_min_value"),
        (
            r#""frequency_penalty":2.5"#,
            "frequency_penalty",
            "decimal_above_max_value",
        ),
        (
            r#""presence_penalty":-2.5"#,
            "presence_penalty",
            "decimal_below_min_value",
        ),
        (r#""top_k":-2"#, "top_k", "integer_below_min_value"),
        (
            r#""min_tokens":-1"#,
            "min_tokens",
            "integer_below_min_value",
        ),
        (r#""min_tokens":3"#, "min_tokens", "invalid_value"),
    ];
    for endpoint in Endpoint::BOTH {
        check_rows(endpoint, &rows);
    }
}

#[test]
fn a_number_too_large_for_any_type_is_no_json() {
    let server = Server::demo();
    for fragment in [
        r#""n":1e400"#,
        r#""temperature":1e999"#,
        r#""temperature":NaN"#,
        r#""n":0x3"#,
    ] {
        let reply = post_fragment(&server, Endpoint::Chat, &server.model(), fragment);
        assert_eq!(reply.status, 400, "{fragment}: {}", reply.text());
    }
}

#[test]
fn stops_are_few_and_short() {
    let long = format!(r#""stop":"{}""#, "x".repeat(1_025));
    let rows = [
        (
            r#""stop":["1","2","3","4","5"]"#,
            "stop",
            "array_above_max_length",
        ),
        (r#""stop":"""#, "stop", "empty_string"),
        (r#""stop":7"#, "stop", "invalid_type"),
        (long.as_str(), "stop", "string_above_max_length"),
    ];
    for endpoint in Endpoint::BOTH {
        check_rows(endpoint, &rows);
    }
}

#[test]
fn token_ids_outside_the_vocabulary_are_refused() {
    let server = Server::demo();
    for id in [
        "-1",
        "2147483648",
        "9223372036854775808",
        "99999999",
        "x",
        "1.0",
        "",
    ] {
        for endpoint in Endpoint::BOTH {
            let reply = post_fragment(
                &server,
                endpoint,
                &server.model(),
                &format!(r#""logit_bias":{{"{id}":1}}"#),
            );
            assert_eq!(reply.status, 400, "{id:?}: {}", reply.text());
            let param = reply.json()["error"]["param"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            assert!(param.starts_with("logit_bias"), "{id:?}: {param}");
        }
        // 1.0 is a whole number to JSON Schema, and a key is a text.
        if ["", "x", "1.0"].contains(&id) {
            continue;
        }
        let body = format!(r#"{{"model":"{}","prompt":[1,{id}]}}"#, server.model());
        let reply = post_text(&server, Endpoint::Completions, &body);
        assert_eq!(reply.status, 400, "{id:?}: {}", reply.text());
        let param = reply.json()["error"]["param"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(param.starts_with("prompt"), "{id:?}: {param}");
    }
    for bias in ["101", "-100.5", "\"1\""] {
        let reply = post_fragment(
            &server,
            Endpoint::Chat,
            &server.model(),
            &format!(r#""logit_bias":{{"5":{bias}}}"#),
        );
        assert_eq!(reply.status, 400, "{bias}: {}", reply.text());
    }
}

#[test]
fn logprobs_of_each_endpoint_have_their_bounds() {
    check_rows(
        Endpoint::Chat,
        &[
            (
                r#""logprobs":true,"top_logprobs":21"#,
                "top_logprobs",
                "integer_above_max_value",
            ),
            (
                r#""logprobs":true,"top_logprobs":-1"#,
                "top_logprobs",
                "integer_below_min_value",
            ),
            (r#""logprobs":3"#, "logprobs", "invalid_type"),
            (r#""top_logprobs":3"#, "top_logprobs", "invalid_value"),
        ],
    );
    check_rows(
        Endpoint::Completions,
        &[
            (r#""logprobs":6"#, "logprobs", "integer_above_max_value"),
            (r#""logprobs":true"#, "logprobs", "invalid_type"),
        ],
    );
}

#[test]
fn what_is_not_honoured_is_refused_by_name() {
    check_rows(
        Endpoint::Chat,
        &[
            (
                r#""tools":[{"type":"function","function":{"name":"f"}}]"#,
                "tools",
                "unsupported_parameter",
            ),
            (
                r#""tool_choice":"required""#,
                "tool_choice",
                "unsupported_parameter",
            ),
            (
                r#""functions":[{"name":"f"}]"#,
                "functions",
                "unsupported_parameter",
            ),
            (
                r#""response_format":{"type":"json_object"}"#,
                "response_format",
                "unsupported_parameter",
            ),
            (
                r#""reasoning_effort":"high""#,
                "reasoning_effort",
                "unsupported_parameter",
            ),
            (
                r#""modalities":["audio"]"#,
                "modalities",
                "unsupported_parameter",
            ),
            (
                r#""web_search_options":{}"#,
                "web_search_options",
                "unsupported_parameter",
            ),
        ],
    );
    check_rows(
        Endpoint::Completions,
        &[(r#""suffix":"end""#, "suffix", "unsupported_parameter")],
    );
}

#[test]
fn templates_never_come_from_a_request() {
    check_rows(
        Endpoint::Chat,
        &[
            (
                r#""chat_template":"{{ x }}""#,
                "chat_template",
                "unknown_parameter",
            ),
            (
                r#""chat_template_kwargs":{"a":1}"#,
                "chat_template_kwargs",
                "unknown_parameter",
            ),
        ],
    );
}

#[test]
fn messages_are_checked() {
    let server = Server::demo();
    let model = server.model();
    for (messages, param) in [
        ("[]", "messages"),
        ("\"Hi\"", "messages"),
        ("null", "messages"),
        ("[7]", "messages.0"),
        (r#"[{"content":"Hi"}]"#, "messages.0.role"),
        (r#"[{"role":"king","content":"Hi"}]"#, "messages.0.role"),
        (r#"[{"role":"user"}]"#, "messages.0.content"),
        (r#"[{"role":"user","content":7}]"#, "messages.0.content"),
        (r#"[{"role":"user","content":[]}]"#, "messages.0.content"),
        (
            r#"[{"role":"user","content":"a"},{"role":"user","content":[{"type":"text"}]}]"#,
            "messages.1.content.0.text",
        ),
        (
            r#"[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://127.0.0.1:9/"}}]}]"#,
            "messages.0.content.0",
        ),
    ] {
        let reply = post_text(
            &server,
            Endpoint::Chat,
            &format!(r#"{{"model":"{model}","messages":{messages}}}"#),
        );
        assert_eq!(reply.status, 400, "{messages}: {}", reply.text());
        let found = reply.json()["error"]["param"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(found.starts_with(param), "{messages}: {found}");
    }
}

#[test]
fn required_fields_are_asked_for() {
    let server = Server::demo();
    let model = server.model();
    let missing = Some("missing_required_parameter");
    for (endpoint, body, param) in [
        // With one model loaded, its name may be left out.
        (Endpoint::Chat, json!({}), "messages"),
        (Endpoint::Chat, json!({"model": model}), "messages"),
        (Endpoint::Completions, json!({"model": model}), "prompt"),
    ] {
        server.client().post(endpoint.path(), &body).assert_error(
            400,
            INVALID,
            Some(param),
            missing,
        );
    }
}

#[test]
fn unknown_models_are_not_found() {
    let server = Server::demo();
    for endpoint in Endpoint::BOTH {
        let body = endpoint.body("gpt-nothing", "Hi", &json!({}));
        let message = server.client().post(endpoint.path(), &body).assert_error(
            404,
            INVALID,
            None,
            Some("model_not_found"),
        );
        assert!(message.contains("gpt-nothing"), "{message}");
    }
}

#[test]
fn what_can_never_fit_is_refused_at_once() {
    let server = Server::start(["--ctx-size", "128"]);
    let model = server.model();
    for (endpoint, param) in [
        (Endpoint::Chat, "messages"),
        (Endpoint::Completions, "prompt"),
    ] {
        let long = endpoint.body(&model, &"word ".repeat(400), &json!({"max_tokens": 4}));
        server.client().post(endpoint.path(), &long).assert_error(
            400,
            INVALID,
            Some(param),
            Some("context_length_exceeded"),
        );
        let greedy = endpoint.body(&model, "Hi", &json!({"max_tokens": 129}));
        let reply = server.client().post(endpoint.path(), &greedy);
        reply.assert_error(
            400,
            INVALID,
            Some("max_tokens"),
            Some("context_length_exceeded"),
        );
    }
    // Without a limit, an answer gets what the context leaves.
    let body = Endpoint::Chat.body(&model, "Hi", &json!({"ignore_eos": true}));
    assert_eq!(
        Endpoint::Chat.whole(&server.client(), &body).usage["total_tokens"],
        128
    );
}

#[test]
fn only_one_json_object_is_a_body() {
    let server = Server::demo();
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let nested = format!(r#"{{"messages":{}"#, "{\"a\":".repeat(200_000));
    for body in [
        "",
        "{",
        "null",
        "[]",
        "7",
        "\"x\"",
        "{}{}",
        "{\"a\":1,}",
        "\u{feff}{}",
        "{\"\\ud800\":1}",
        &deep,
        &nested,
    ] {
        let reply = post_text(&server, Endpoint::Chat, body);
        let shown = &body[..body.len().min(20)];
        assert_eq!(reply.status, 400, "{shown}: {}", reply.text());
        assert!(reply.body.len() < 2_000, "{shown}: a long answer");
        assert_eq!(
            reply.json()["error"]["code"],
            "invalid_json",
            "{shown}: {}",
            reply.text()
        );
    }
    let utf8 = [("content-type", "application/json")];
    let reply = server
        .client()
        .send(
            "POST",
            Endpoint::Chat.path(),
            &utf8,
            b"{\"model\":\"\xff\"}",
        )
        .unwrap();
    reply.assert_error(400, INVALID, None, Some("invalid_json"));
}

#[test]
fn bodies_have_a_largest_size() {
    let server = Server::demo();
    let limit = 10 << 20;
    let body = |bytes: usize| format!("{{\"pad\":\"{}\"}}", "x".repeat(bytes - 10));
    let just_fits = post_text(&server, Endpoint::Chat, &body(limit));
    assert_eq!(
        just_fits.status,
        400,
        "no model, but no 413 either: {}",
        just_fits.text()
    );
    let reply = post_text(&server, Endpoint::Chat, &body(limit + 1));
    reply.assert_error(413, INVALID, None, Some("request_too_large"));
}

#[test]
fn only_json_is_accepted() {
    let server = Server::demo();
    let body = Endpoint::Chat
        .body(&server.model(), "Hi", &json!({"max_tokens": 1}))
        .to_string();
    for (content_type, status) in [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("text/html", 415),
        ("multipart/form-data; boundary=x", 415),
    ] {
        let headers = [("content-type", content_type)];
        let reply = server
            .client()
            .send("POST", Endpoint::Chat.path(), &headers, body.as_bytes())
            .unwrap();
        assert_eq!(reply.status, status, "{content_type}: {}", reply.text());
    }
}

#[test]
fn the_largest_number_of_choices_is_served() {
    let server = Server::demo();
    let body = Endpoint::Chat.body(&server.model(), "Hi", &json!({"n": 128, "max_tokens": 2}));
    assert_eq!(
        Endpoint::Chat.whole(&server.client(), &body).choices.len(),
        128
    );
}

#[test]
fn no_value_of_any_field_is_our_fault() {
    const FIELDS: &[&str] = &[
        "model",
        "messages",
        "prompt",
        "n",
        "best_of",
        "max_tokens",
        "max_completion_tokens",
        "min_tokens",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "typical_p",
        "seed",
        "stop",
        "echo",
        "suffix",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "frequency_penalty",
        "presence_penalty",
        "repeat_penalty",
        "ignore_eos",
        "stream",
        "stream_options",
        "return_token_ids",
        "user",
        "metadata",
        "tools",
        "response_format",
        "anything",
    ];
    const VALUES: &[&str] = &[
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1",
        "-1",
        "0.5",
        "-0.5",
        "1e-320",
        "1e308",
        "-1e308",
        "129",
        "2147483647",
        "2147483648",
        "-2147483649",
        "4294967296",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "1e30",
        r#""""#,
        r#""x""#,
        r#""\u0000""#,
        "[]",
        "[[]]",
        "[0]",
        "[[0]]",
        "[null]",
        "[\"\"]",
        "[\"x\",1]",
        "{}",
        r#"{"0":0}"#,
        r#"{"x":{}}"#,
        r#"{"include_usage":1}"#,
    ];
    let server = Server::demo();
    let model = server.model();
    for endpoint in Endpoint::BOTH {
        for (field, value) in FIELDS
            .iter()
            .flat_map(|field| VALUES.iter().map(move |value| (field, value)))
        {
            // The last of two equal keys counts, so this replaces the field where it is there already.
            let reply = post_fragment(
                &server,
                endpoint,
                &model,
                &format!(r#""max_tokens":2,"{field}":{value}"#),
            );
            let fine = [200, 400, 404].contains(&reply.status);
            assert!(
                fine,
                "{endpoint:?} {field}: {value}: {} {}",
                reply.status,
                reply.text()
            );
        }
    }
    server.wait_idle();
}
