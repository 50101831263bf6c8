//! The `openai` packages of Python and Node, unmodified, pointed at the server and otherwise left alone.
//!
//! What each checks stands in `tests/clients`, in its own language, where a user of that client can read it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use spindle_tests::{Server, means, process};

/// Interpreters start slowly on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Servers as the scripts expect them: one as anybody starts it, with a key, and one that is easily filled.
struct Servers {
    plain: Server,
    busy: Server,
}

const KEY: &str = "sk-clients";

impl Servers {
    fn start() -> Self {
        Servers {
            plain: Server::start(["--api-key", KEY]),
            busy: Server::start(["--api-key", KEY, "--parallel", "1", "--queue-max", "2"]),
        }
    }

    fn point(&self, command: &mut Command) {
        let url = |server: &Server| format!("http://{}/v1", server.address());
        let models = self.plain.client().with_key(KEY).get("/v1/models").json();
        command
            .env("OPENAI_BASE_URL", url(&self.plain))
            .env("OPENAI_API_KEY", KEY)
            .env("SPINDLE_TEST_BUSY_URL", url(&self.busy))
            .env(
                "SPINDLE_TEST_MODEL",
                models["data"][0]["id"].as_str().expect("a model"),
            );
    }

    fn check(&self, mut command: Command) {
        self.point(&mut command);
        let outcome = process::run_within(PATIENCE, &mut command);
        assert!(
            outcome.status.success(),
            "{command:?}\n{}{}",
            outcome.stdout,
            outcome.stderr
        );
    }
}

fn scripts(client: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .join(client)
}

#[test]
fn python_package_works_unmodified() {
    let Some(python) = means::python_with_openai() else {
        return;
    };
    let mut command = Command::new(python);
    command
        .args(["-B", "-m", "unittest", "discover", "--start-directory"])
        .arg(scripts("python"));
    Servers::start().check(command);
}

#[test]
fn node_package_works_unmodified() {
    let Some(modules) = means::node_modules_with_openai() else {
        return;
    };
    // Node looks for packages beside the script, so the script goes where the packages are linked.
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).unwrap();
    let script = folder.path().join("openai.test.mjs");
    std::fs::copy(scripts("node").join("openai.test.mjs"), &script).unwrap();
    let mut command = Command::new("node");
    command
        .args(["--test", "--test-reporter=spec"])
        .arg(script)
        .current_dir(folder.path());
    Servers::start().check(command);
}
