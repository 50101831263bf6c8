//! Guests: components compiled to wasm, then to native code, in `target/guests`.
//!
//! - One cargo call for all of them, so that they share their standard library and dependencies.
//! - What did not change is not built, not copied and not compiled again; a file that stays the same keeps its time,
//!   so nothing that embeds it is built again either.
//! - `NAME.wasm` is the component for any runtime, `NAME.cwasm` the same for our server, which has no compiler.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cargo;
use crate::stamp::Stamp;
use crate::toolchain::{COMPONENT, Toolchain};

struct Guest {
    package: &'static str,
    /// Name of its files.
    name: &'static str,
}

const GUESTS: &[Guest] = &[
    Guest {
        package: "spindle-api",
        name: "api",
    },
    Guest {
        package: "guest-misbehave",
        name: "misbehave",
    },
];

/// Whatever may change a guest. The crates are here whole: a build that finds nothing to do is cheap.
const INPUTS: &[&str] = &[
    "components",
    "crates",
    "tests/guests",
    "wit",
    "xtask/src",
    "Cargo.toml",
    "Cargo.lock",
];
/// Whatever may change what a component is compiled to.
const PRECOMPILER_INPUTS: &[&str] = &["precompile", "host/wasm-config", "Cargo.toml", "Cargo.lock"];

/// Where the server's build and the tests look for guests.
pub fn folder() -> PathBuf {
    cargo::target_dir().join("guests")
}

/// Brings all guests up to date.
pub fn build() -> Result<()> {
    let folder = folder();
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let (built, built_in) = (
        Stamp::of(cargo::root(), INPUTS)?,
        folder.join("guests.stamp"),
    );
    let (compiler, compiler_in) = (
        Stamp::of(cargo::root(), PRECOMPILER_INPUTS)?,
        folder.join("precompiler.stamp"),
    );
    let complete = GUESTS
        .iter()
        .all(|guest| guest.component().exists() && guest.native().exists());
    if complete && built.is_in(&built_in) && compiler.is_in(&compiler_in) {
        return Ok(());
    }

    compile()?;
    let same_compiler = compiler.is_in(&compiler_in);
    let mut stale = Vec::new();
    for guest in GUESTS {
        let changed = copy_if_changed(&guest.artifact(), &guest.component())?;
        if changed || !same_compiler || !guest.native().exists() {
            // A copy without its native code must not look finished if this ends here.
            let _ = std::fs::remove_file(guest.native());
            stale.push(guest);
        }
    }
    if !stale.is_empty() {
        precompile(&stale)?;
    }
    compiler.write(&compiler_in)?;
    built.write(&built_in)
}

fn compile() -> Result<()> {
    let mut command = Toolchain::find(COMPONENT)?.cargo("build", COMPONENT);
    for guest in GUESTS {
        command.args(["--package", guest.package]);
    }
    cargo::run(&mut command)
}

fn precompile(guests: &[&Guest]) -> Result<()> {
    cargo::run(cargo::command().args(["build", "--release", "--package", "spindle-precompile"]))?;
    let mut command = Command::new(cargo::target_dir().join("release/spindle-precompile"));
    for guest in guests {
        command.arg(guest.component()).arg(guest.native());
    }
    cargo::run(&mut command)
}

/// Copies a file whose content differs; says whether it did.
fn copy_if_changed(from: &Path, to: &Path) -> Result<bool> {
    let bytes = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    // A core module begins alike, with another version: the linker of an old toolchain makes one.
    ensure!(
        bytes.starts_with(b"\0asm\x0d\0\x01\0"),
        "not a component: {}",
        from.display()
    );
    if std::fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    std::fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(true)
}

impl Guest {
    fn artifact(&self) -> PathBuf {
        let file = format!("{}.wasm", self.package.replace('-', "_"));
        cargo::target_dir()
            .join("guests-build")
            .join(COMPONENT)
            .join("release")
            .join(file)
    }

    fn component(&self) -> PathBuf {
        folder().join(format!("{}.wasm", self.name))
    }

    fn native(&self) -> PathBuf {
        folder().join(format!("{}.cwasm", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_of_guests_has_a_row() {
        for parent in ["components", "tests/guests"] {
            for entry in std::fs::read_dir(cargo::root().join(parent)).unwrap() {
                let name = entry.unwrap().file_name();
                assert!(
                    GUESTS.iter().any(|guest| name == guest.name),
                    "{parent}/{}",
                    name.display()
                );
            }
        }
    }
}
