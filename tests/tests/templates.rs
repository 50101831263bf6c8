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
        // Given by the operator, it is tried before anybody is served.
        let outcome = soon(
            name,
            &folder,
            &["serve", "--listen", "127.0.0.1:0", "--chat-template-file"],
            &path,
        );
        assert_eq!(outcome.status.code(), Some(3), "{name}: {}", outcome.stderr);
        // Come with a model, it costs its own requests only.
        let model_file = demo_with_template(folder.path(), template);
        let outcome = soon(name, &folder, &["run", "Hi", "--model"], &model_file);
        match outcome.status.code() {
            Some(1) => {}
            Some(4) => continue,
            code => panic!("{name}: {code:?} {}", outcome.stderr),
        }
        let server = ServerOptions::default().arg("-m").arg(&model_file).start();
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

/// Runs a command that has to fail soon and in order.
fn soon(name: &str, folder: &tempfile::TempDir, args: &[&str], path: &Path) -> process::Outcome {
    let start = Instant::now();
    let outcome = process::run(spindle(folder.path()).args(args).arg(path));
    assert!(start.elapsed() < SOON, "{name}: {:?}", start.elapsed());
    assert!(
        !outcome.stderr.contains("panicked"),
        "{name}: {}",
        outcome.stderr
    );
    outcome
}

/// The demo model's file with another chat template.
fn demo_with_template(folder: &Path, template: &str) -> std::path::PathBuf {
    const KEY: &[u8] = b"tokenizer.chat_template";
    // What the header says of the value's kind: a string.
    const STRING: u32 = 8;
    const ALIGNMENT: usize = 32;
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/spindle-demo.gguf");
    let bytes = std::fs::read(demo).unwrap();
    let key = bytes
        .windows(KEY.len())
        .position(|part| part == KEY)
        .unwrap();
    let (kind, value) = (key + KEY.len(), key + KEY.len() + 12);
    assert_eq!(bytes[kind..kind + 4], STRING.to_le_bytes());
    let old = u64::from_le_bytes(bytes[kind + 4..value].try_into().unwrap()) as usize;
    // The header may only grow by whole alignments, or the tensors behind it would not be where it says.
    let mut text = template.to_owned();
    while text.len() % ALIGNMENT != old % ALIGNMENT {
        text.push(' ');
    }
    let mut out = bytes[..kind + 4].to_vec();
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
    out.extend(&bytes[value + old..]);
    let path = folder.join("template.gguf");
    std::fs::write(&path, out).unwrap();
    path
}
