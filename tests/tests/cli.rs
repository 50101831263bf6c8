//! The command line: exit codes, messages with their way out, and what goes to which stream.

use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use spindle_tests::process::{self, Outcome, Reaped};
use spindle_tests::server::spindle;
use spindle_tests::{Server, means, wait};

fn run(args: &[&str]) -> Outcome {
    let home = tempfile::tempdir().unwrap();
    process::run(spindle(home.path()).args(args))
}

/// Asserts an exit code and that stderr is one error with these words, and nothing is on stdout.
fn check_failure(args: &[&str], code: i32, words: &[&str]) {
    let outcome = run(args);
    assert_eq!(outcome.status.code(), Some(code), "{args:?}: {outcome:?}");
    assert_eq!(outcome.stdout, "", "{args:?}: stdout carries results only");
    for word in words {
        assert!(
            outcome.stderr.contains(word),
            "{args:?}: {word:?} in {}",
            outcome.stderr
        );
    }
    assert!(
        !outcome.stderr.contains("panicked"),
        "{args:?}: {}",
        outcome.stderr
    );
}

#[test]
fn memory_for_no_question_is_three() {
    check_failure(
        &["serve", "--listen", "127.0.0.1:0", "--kv-bytes", "1"],
        3,
        &["--kv-bytes", "hint:"],
    );
}

#[test]
fn usage_errors_are_two() {
    for args in [
        &["serve", "--no-such-flag"][..],
        &["no-such-command"],
        &["serve", "--ctx-size", "many"],
        &["serve", "--listen", "nowhere"],
        &["serve", "--threads", "some"],
        &["serve", "--kv-bytes", "12parsecs"],
        &["serve", "--listen", "127.0.0.1:1", "--port", "2"],
    ] {
        check_failure(args, 2, &["error"]);
    }
}

#[test]
fn settings_that_cannot_be_are_three() {
    check_failure(
        &["serve", "--listen", "0.0.0.0:0"],
        3,
        &["--api-key", "--insecure-no-auth"],
    );
    check_failure(
        &[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--api-key-file",
            "nothing-here",
        ],
        3,
        &["nothing-here"],
    );
    check_failure(
        &[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--chat-template-file",
            "nothing-here",
        ],
        3,
        &["nothing-here"],
    );
}

#[test]
fn models_that_cannot_be_are_four() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let serve = |model: &str, words: &[&str]| {
        check_failure(
            &["serve", "--listen", "127.0.0.1:0", "--model", model],
            4,
            words,
        );
        check_failure(&["run", "--model", model, "Hi"], 4, words);
    };
    serve("nothing-here.gguf", &["nothing-here.gguf", "hint:"]);
    serve(folder.path().to_str().unwrap(), &["hint:"]);
    serve(&file("empty.gguf", b""), &["empty.gguf"]);
    serve(
        &file(
            "text.gguf",
            b"this is no model at all, only a text that is long enough",
        ),
        &["text.gguf"],
    );
    // A header that promises 2^61 tensors.
    let mut huge = b"GGUF\x03\0\0\0".to_vec();
    huge.extend_from_slice(&(1u64 << 61).to_le_bytes());
    huge.extend_from_slice(&(1u64 << 61).to_le_bytes());
    serve(&file("huge.gguf", &huge), &["huge.gguf"]);
}

#[test]
fn a_cut_model_file_is_four() {
    let Some(weights) = means::smollm2() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.gguf");
    let mut head = vec![0; 4 << 20];
    std::fs::File::open(weights)
        .unwrap()
        .read_exact(&mut head)
        .unwrap();
    std::fs::write(&path, head).unwrap();
    let path = path.to_str().unwrap();
    check_failure(
        &["serve", "--listen", "127.0.0.1:0", "--model", path],
        4,
        &["cut.gguf"],
    );
}

#[test]
fn a_taken_port_is_five() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    check_failure(&["serve", "--listen", &address], 5, &[&address, "hint:"]);
}

#[test]
fn errors_have_no_colours_without_a_terminal() {
    let home = tempfile::tempdir().unwrap();
    let mut command = spindle(home.path());
    let outcome =
        process::run(
            command
                .env_remove("NO_COLOR")
                .args(["serve", "--model", "nothing-here"]),
        );
    assert!(!outcome.stderr.contains('\u{1b}'), "{:?}", outcome.stderr);
}

#[test]
fn help_names_what_a_user_needs() {
    for (args, words) in [
        (&["--help"][..], &["serve", "run", "Usage"][..]),
        (
            &["serve", "--help"],
            &[
                "--listen",
                "--model",
                "--ctx-size",
                "--threads",
                "--parallel",
                "--api-key",
                "SPINDLE_CTX_SIZE",
            ],
        ),
        (&["run", "--help"], &["--model", "--temp", "--seed"]),
        (&["--version"], &["spindle 0."]),
    ] {
        let outcome = run(args);
        assert!(
            outcome.status.success() && outcome.stderr.is_empty(),
            "{args:?}: {outcome:?}"
        );
        for word in words {
            assert!(
                outcome.stdout.contains(word),
                "{args:?}: {word} in {}",
                outcome.stdout
            );
        }
    }
}

#[test]
fn run_prints_the_answer_and_nothing_else() {
    let ask = |extra: &[&str]| {
        let outcome = run(&[
            &["run", "--temp", "0"],
            extra,
            &["What is the opposite of hot?"],
        ]
        .concat());
        assert!(outcome.status.success(), "{outcome:?}");
        outcome.stdout
    };
    let answer = ask(&[]);
    assert!(
        !answer.trim().is_empty() && answer.ends_with('\n'),
        "{answer:?}"
    );
    assert_eq!(answer, ask(&["--threads", "1"]));
    // The server says the same: one model, one template, one definition.
    let server = Server::demo();
    let body = spindle_tests::Endpoint::Chat.body(
        &server.model(),
        "What is the opposite of hot?",
        &serde_json::json!({}),
    );
    assert_eq!(
        answer.trim_end(),
        spindle_tests::Endpoint::Chat
            .whole(&server.client(), &body)
            .text()
            .trim_end()
    );
}

#[test]
fn a_prompt_may_come_from_stdin() {
    let home = tempfile::tempdir().unwrap();
    let question = "What is the opposite of hot?";
    let mut command = spindle(home.path());
    let piped = process::run_with_input(
        command.args(["run", "--temp", "0"]),
        &format!("{question}\n"),
    );
    assert!(piped.status.success(), "{piped:?}");
    assert_eq!(piped.stdout, run(&["run", "--temp", "0", question]).stdout);
}

#[test]
fn a_closed_pipe_is_success() {
    let home = tempfile::tempdir().unwrap();
    let mut command = spindle(home.path());
    command
        .args(["run", "--predict", "400", "Tell me a little story."])
        .stdin(Stdio::null());
    let mut child = Reaped(
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut first = [0];
    child
        .0
        .stdout
        .take()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    // The pipe is closed here: whatever comes next has no reader.
    let status = wait::until("the answer's writer ends", || child.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

/// A warning with nobody behind stderr used to panic, wherever it was about to be written.
#[test]
fn what_cannot_be_said_on_stderr_changes_no_exit_code() {
    let cases = [
        (
            &[
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--model",
                "nothing-here",
            ][..],
            4,
        ),
        (&["run", "What is the opposite of hot?"], 0),
    ];
    for (args, code) in cases {
        let home = tempfile::tempdir().unwrap();
        let full = std::fs::File::create("/dev/full").unwrap();
        let mut command = spindle(home.path());
        let status = command
            .args(args)
            .env("RUST_LOG", "trace")
            .stdout(Stdio::null())
            .stderr(full)
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(code), "{args:?}");
    }
}

#[test]
fn settings_come_from_the_environment_below_the_command_line() {
    let home = tempfile::tempdir().unwrap();
    let outcome = process::run(
        spindle(home.path())
            .env("SPINDLE_MODEL", "from-environment.gguf")
            .args(["serve", "--listen", "127.0.0.1:0"]),
    );
    assert_eq!(outcome.status.code(), Some(4), "{outcome:?}");
    assert!(
        outcome.stderr.contains("from-environment.gguf"),
        "{}",
        outcome.stderr
    );
    let mut command = spindle(home.path());
    command.env("SPINDLE_MODEL", "from-environment.gguf").args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--model",
        "from-flag.gguf",
    ]);
    let outcome = process::run(&mut command);
    assert!(
        outcome.stderr.contains("from-flag.gguf"),
        "{}",
        outcome.stderr
    );
    let outcome = process::run(
        spindle(home.path())
            .env("LLAMA_ARG_MODEL", "from-llama.gguf")
            .args(["serve", "--listen", "127.0.0.1:0"]),
    );
    assert!(
        outcome.stderr.contains("from-llama.gguf"),
        "{}",
        outcome.stderr
    );
    // Kubernetes sets SPINDLE_PORT=tcp://.. for a service of that name: it is no setting.
    let server = spindle_tests::server::ServerOptions::default()
        .variable("SPINDLE_PORT", "tcp://10.0.0.1:80")
        .start();
    assert_eq!(server.client().get("/livez").status, 200);
}

/// A server whose environment names its address, or switches something on, could not be started with
/// an option that excludes the named one, nor with the `1` that llama-server takes for a switch.
#[test]
fn variables_neither_exclude_a_typed_option_nor_must_say_true() {
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let cases = [
        (
            ("SPINDLE_LISTEN", "127.0.0.1:1"),
            &["--host", "0.0.0.0"][..],
            3,
        ),
        (
            ("SPINDLE_CHAT_TEMPLATE", "chatml"),
            &["--chat-template-file", "nothing-here"],
            3,
        ),
        (
            ("SPINDLE_INSECURE_NO_AUTH", "1"),
            &["--listen", &address],
            5,
        ),
        (
            ("LLAMA_ARG_NO_MMAP", "on"),
            &["--listen", "127.0.0.1:0", "--model", "nothing-here"],
            4,
        ),
        (
            ("SPINDLE_MMAP", "0"),
            &["--listen", "127.0.0.1:0", "--model", "nothing-here"],
            4,
        ),
        (
            ("SPINDLE_TRUSTED_PROXY", "10.0.0.1,10.0.0.2"),
            &["--listen", "127.0.0.1:0", "--model", "nothing-here"],
            4,
        ),
    ];
    for ((name, value), args, code) in cases {
        let home = tempfile::tempdir().unwrap();
        let mut command = spindle(home.path());
        let outcome = process::run(command.env(name, value).arg("serve").args(args));
        assert_eq!(outcome.status.code(), Some(code), "{name}: {outcome:?}");
    }
}

#[test]
fn start_up_says_what_serves_and_how_to_ask() {
    let server = Server::start(["--threads", "2"]);
    let log = wait::until("the start-up lines are complete", || {
        Some(server.log()).filter(|log| log.contains("curl"))
    });
    for word in [
        &server.model(),
        "127.0.0.1",
        "threads",
        "/v1/chat/completions",
    ] {
        assert!(log.contains(word), "{word} in {log}");
    }
    assert!(
        ["avx2", "avx512", "scalar", "neon"]
            .iter()
            .any(|isa| log.to_lowercase().contains(isa)),
        "the ISA in {log}"
    );
    // The line to paste is a command that works.
    let start = log.find("curl ").unwrap();
    let command = log[start..].lines().next().unwrap();
    if !Path::new("/usr/bin/curl").exists() {
        means::missing::<()>("curl");
        return;
    }
    let outcome = process::run(
        std::process::Command::new("sh")
            .args(["-c", &format!("{command} --silent --show-error --fail")]),
    );
    assert!(outcome.status.success(), "{command}: {outcome:?}");
}

#[test]
fn start_up_says_that_the_context_is_less_than_asked_for() {
    let server = Server::start(["--ctx-size", "1m"]);
    let log = wait::until("the start-up lines are complete", || {
        Some(server.log()).filter(|log| log.contains("curl"))
    });
    assert!(log.contains(" instead of 1000000"), "{log}");
}

#[test]
fn one_signal_ends_an_idle_server_with_zero() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::start::<&str>([]);
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0), "{signal:?}");
    }
}
