//! Chat templates: the operator's own is used, and one that does not end, grows or recurses costs a request its answer
//! and nobody else anything.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use spindle_tests::server::spindle;
use spindle_tests::{Endpoint, Server, ServerOptions, process};

/// Fuel and output limits end any template long before this.
const SOON: Duration = Duration::from_secs(5);

fn write(folder: &Path, template: &str) -> std::path::PathBuf {
    let path = folder.join("template.jinja");
    std::fs::write(&path, template).unwrap();
    path
}

#[test]
fn the_operators_template_words_the_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let template = "{{ bos_token }}{% for m in messages %}{{ m.role | upper }}={{ m.content | trim }};{% endfor %}\
                    {% if add_generation_prompt %}GO{% endif %}";
    let path = write(folder.path(), template);
    let by_file = ServerOptions::default()
        .arg("--chat-template-file")
        .arg(&path)
        .start();
    let by_text = Server::start(["--chat-template", template]);
    for server in [by_file, by_text] {
        let (client, model) = (server.client(), server.model());
        let extra = json!({"return_token_ids": true, "max_tokens": 4});
        let chat = Endpoint::Chat.whole(&client, &Endpoint::Chat.body(&model, " Hello ", &extra));
        let plain = Endpoint::Completions.body(&model, "USER=Hello;GO", &extra);
        let plain = Endpoint::Completions.whole(&client, &plain);
        assert_eq!(chat.prompt_token_ids, plain.prompt_token_ids);
        assert_eq!(chat.text(), plain.text());
    }
}

#[test]
fn a_template_may_refuse_a_conversation() {
    let template = "{% if messages[0].role != 'system' %}{{ raise_exception('say who you are first') }}{% endif %}x";
    let server = Server::start(["--chat-template", template]);
    let body = Endpoint::Chat.body(&server.model(), "Hi", &json!({}));
    let reply = server.client().post(Endpoint::Chat.path(), &body);
    let message = reply.assert_error(
        400,
        "invalid_request_error",
        Some("messages"),
        Some("chat_template_refused"),
    );
    assert!(message.contains("say who you are first"), "{message}");
}

#[test]
fn hostile_templates_end_soon_and_alone() {
    let nested = format!(
        "{}x{}",
        "{% if true %}".repeat(50_000),
        "{% endif %}".repeat(50_000)
    );
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000));
    for (name, template) in [
        (
            "loops in loops",
            "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
        ),
        (
            "long output",
            "{% for a in range(99999) %}{{ 'A' * 100000 }}{% endfor %}",
        ),
        (
            "long strings",
            "{% for a in range(99999) %}{% set x = 'A' * 100000000 %}{% endfor %}",
        ),
        (
            "doubling",
            "{% set ns = namespace(x='A') %}{% for a in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        ),
        (
            "recursion",
            "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
        ),
        (
            "including itself",
            "{% include 'chat' %}{% extends 'chat' %}",
        ),
        ("nesting", &nested),
        ("parentheses", &deep),
        ("no template", "{% for %}{{"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), template);
        let start = Instant::now();
        // Refused at the start, or at the request: the operator decides neither.
        let mut command = spindle(folder.path());
        command
            .args(["run", "--predict", "1", "--chat-template-file"])
            .arg(&path)
            .arg("Hi");
        let outcome = process::run(&mut command);
        let code = outcome.status.code();
        assert!(
            [Some(1), Some(3)].contains(&code),
            "{name}: {code:?} {}",
            outcome.stderr.chars().take(300).collect::<String>()
        );
        assert!(start.elapsed() < SOON, "{name}: {:?}", start.elapsed());
        assert!(
            !outcome.stderr.contains("panicked"),
            "{name}: {}",
            outcome.stderr
        );
        if code == Some(3) {
            continue;
        }
        let server = ServerOptions::default()
            .arg("--chat-template-file")
            .arg(&path)
            .start();
        let (client, model) = (server.client(), server.model());
        let before = server.rss_bytes();
        let start = Instant::now();
        let reply = client.post(
            Endpoint::Chat.path(),
            &Endpoint::Chat.body(&model, "Hi", &json!({})),
        );
        reply.assert_error(500, "server_error", None, Some("chat_template_error"));
        assert_eq!(reply.header("x-should-retry"), Some("false"), "{name}");
        assert!(start.elapsed() < SOON, "{name}: {:?}", start.elapsed());
        let body = Endpoint::Completions.body(&model, "Hi", &json!({"max_tokens": 1}));
        Endpoint::Completions.whole(&client, &body);
        assert!(
            server.rss_bytes() < before + (64 << 20),
            "{name}: {} MiB",
            server.rss_bytes() >> 20
        );
    }
}
