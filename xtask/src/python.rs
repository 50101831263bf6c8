//! Virtual environments of Python, in the cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cargo;
use crate::stamp::Stamp;

/// Where things are kept that are worth fetching once for all clones.
pub fn cache_home() -> Result<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    named
        .or_else(home)
        .context("no cache folder: set HOME or XDG_CACHE_HOME")
}

/// The interpreter of an environment that has what the workspace's file `requirements` lists.
///
/// Another content of that file is another environment, so an existing one is never changed.
pub fn environment(name: &str, requirements: &str) -> Result<PathBuf> {
    let stamp = Stamp::of(cargo::root(), &[requirements])?;
    let folder = cache_home()?
        .join("spindle-python")
        .join(format!("{name}-{}", stamp.as_str()));
    let python = folder.join("bin/python");
    let complete = folder.join("complete");
    if stamp.is_in(&complete) && python.exists() {
        return Ok(python);
    }
    ensure!(
        cargo::succeeds(Command::new("python3").arg("--version")),
        "python3 not found (Debian: apt-get install python3 python3-venv)"
    );
    create(&folder).context("no virtual environment (Debian: apt-get install python3-venv)")?;
    let mut install = Command::new(&python);
    install.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--requirement",
        requirements,
    ]);
    cargo::run(&mut cargo::in_workspace(install))?;
    stamp.write(&complete)?;
    Ok(python)
}

fn create(folder: &Path) -> Result<()> {
    // `--clear`: an earlier attempt may have left half of one.
    cargo::run(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(folder),
    )
}
