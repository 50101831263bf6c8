//! Training the built-in model again.

use std::process::Command;

use anyhow::Result;

use crate::cargo;
use crate::python;

/// Runs the trainer, which continues where an earlier run stopped and leaves its results beside itself.
pub fn train() -> Result<()> {
    let python = python::environment("demo", "demo/requirements.txt")?;
    let work = cargo::target_dir().join("demo");
    let mut trainer = cargo::in_workspace(Command::new(python));
    cargo::run(trainer.args(["demo/train.py", "--work"]).arg(work))
}
