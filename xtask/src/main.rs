//! `cargo xtask COMMAND`: the few commands that build, serve and test the whole project.
//!
//! - A command leaves nothing to be set up by hand: what it lacks it fetches, and what it cannot fetch it names together
//!   with the commands to type.
//! - Guests are built once, into `target/guests`, and shared by the server and the tests.
//! - Every program it starts is shown on stderr, so that a step can be repeated by hand.
//!
//! Absent: formatting and lints (`.ci/run`), and any work that `cargo build -p NAME` does as well.

mod cargo;
mod demo;
mod guests;
mod means;
mod python;
mod stamp;
mod test;
mod toolchain;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
Builds, serves and tests Spindle.

Usage: cargo xtask COMMAND

Commands:
  serve [ARGS]...  Build everything and run `spindle serve ARGS` (try `serve --help`)
  test             Fetch what the tests need and run them all
  build            Build target/release/spindle, the guests embedded in it
  guests           Build the WebAssembly components into target/guests
  demo-model       Train the built-in model again (about 45 minutes)
  help             Show this

Environment:
  CARGO_TARGET_DIR  Where builds go instead of target
  XDG_CACHE_HOME    Where test models and clients are kept instead of ~/.cache
  CI=true           A test that lacks a means fails instead of being left out
";

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1).collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: Vec<OsString>) -> Result<ExitCode> {
    if arguments.is_empty() {
        eprint!("{HELP}");
        return Ok(ExitCode::from(USAGE));
    }
    let command = arguments.remove(0);
    match command.to_str() {
        Some("serve") => serve(&arguments),
        Some("help" | "--help" | "-h") => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        Some("test" | "build" | "guests" | "demo-model") if asks_for_help(&arguments) => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        Some(name @ ("test" | "build" | "guests" | "demo-model")) => {
            if let Some(extra) = arguments.first() {
                eprintln!("Error: `{name}` takes no arguments: {}", extra.display());
                return Ok(ExitCode::from(USAGE));
            }
            match name {
                "test" => test::run(),
                "build" => build().map(|()| ExitCode::SUCCESS),
                "guests" => guests::build().map(|()| ExitCode::SUCCESS),
                _ => demo::train().map(|()| ExitCode::SUCCESS),
            }
        }
        _ => {
            eprintln!(
                "Error: no such command: {} (see `cargo xtask help`)",
                command.display()
            );
            Ok(ExitCode::from(USAGE))
        }
    }
}

/// Exit code of a wrong command line, as the server has it.
const USAGE: u8 = 2;

fn asks_for_help(arguments: &[OsString]) -> bool {
    arguments
        .iter()
        .any(|argument| argument == "--help" || argument == "-h")
}

fn build() -> Result<()> {
    guests::build()?;
    cargo::run(cargo::command().args(["build", "--release", "--package", "spindle"]))
}

fn serve(arguments: &[OsString]) -> Result<ExitCode> {
    build()?;
    let server = cargo::target_dir().join("release/spindle");
    // Signals reach the server itself: this process becomes it.
    let error = std::process::Command::new(&server)
        .arg("serve")
        .args(arguments)
        .exec();
    bail!(anyhow::Error::from(error).context(format!("cannot run {}", server.display())))
}
