//! Every test, one package after another: what fails hides nothing that comes after it.

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Result;

use crate::cargo;
use crate::guests;
use crate::means::{self, Means};
use crate::toolchain::{BARE, Toolchain};

/// Packages whose features may be unified are tested together; the others would be compiled anew in another shape.
const SUITES: &[&[&str]] = &[
    &["xtask"],
    &["spindle-kernels"],
    &["spindle-inference"],
    &["spindle-openai"],
    &["spindle-api"],
    &["spindle-wasm-config", "spindle-precompile"],
    &["spindle-runtime", "spindle"],
    &["spindle-tests"],
];

/// Packages that must compile where there is no system at all.
const PURE: [&str; 3] = ["spindle-kernels", "spindle-inference", "spindle-openai"];

/// Fetches, builds and tests; the exit code says whether everything passed.
pub fn run() -> Result<ExitCode> {
    let means = means::fetch();
    let mut steps = Steps {
        rows: Vec::new(),
        last: Instant::now(),
    };
    let built = steps.take("guests", guests::build())
        & steps.take(
            "server",
            cargo::run(cargo::command().args(["build", "--release", "--package", "spindle"])),
        );
    for suite in SUITES {
        // Without a server there is nothing to test from outside, and its own build would fail once more.
        if built || !suite.iter().any(|package| NEED_SERVER.contains(package)) {
            steps.take(&suite.join(", "), cargo::run(&mut test(suite, &means)));
        }
    }
    steps.take("pure crates compile for wasm", check_pure());
    Ok(steps.summary(&means))
}

const NEED_SERVER: [&str; 2] = ["spindle", "spindle-tests"];

fn test(packages: &[&str], means: &Means) -> Command {
    let mut command = cargo::command();
    command.args(["test", "--release", "--no-fail-fast"]);
    for package in packages {
        command.args(["--package", package]);
    }
    if packages.contains(&"spindle-tests") {
        let python = means
            .python
            .iter()
            .map(|path| ("SPINDLE_TEST_PYTHON", path));
        let node = means
            .node_modules
            .iter()
            .map(|path| ("SPINDLE_TEST_NODE_MODULES", path));
        command.envs(python.chain(node));
    }
    command
}

fn check_pure() -> Result<()> {
    let mut command = Toolchain::find(BARE)?.cargo("check", BARE);
    for package in PURE {
        command.args(["--package", package]);
    }
    cargo::run(&mut command)
}

/// What was done, and how it went.
struct Steps {
    /// Name, whether it passed, seconds.
    rows: Vec<(String, bool, u64)>,
    last: Instant,
}

impl Steps {
    /// Notes a step that has just ended; says whether it went well.
    fn take(&mut self, name: &str, result: Result<()>) -> bool {
        let seconds = self.last.elapsed().as_secs();
        self.last = Instant::now();
        if let Err(error) = &result {
            eprintln!("Error: {name}: {error:#}");
        }
        self.rows.push((name.to_owned(), result.is_ok(), seconds));
        result.is_ok()
    }

    fn summary(&self, means: &Means) -> ExitCode {
        eprintln!();
        for lacking in &means.lacking {
            eprintln!("not fetched: {lacking}");
        }
        for (name, passed, seconds) in &self.rows {
            eprintln!(
                "{} {name} ({seconds} s)",
                if *passed { "passed" } else { "FAILED" }
            );
        }
        if self.rows.iter().all(|(_, passed, _)| *passed) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}
