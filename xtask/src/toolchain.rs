//! Finding a compiler for WebAssembly, or saying what to type to get one.
//!
//! The first that is there: the standard library of the project's own toolchain; Debian's second Rust, which builds it
//! from source. Where neither is: `rustup target add`, then, as root on Debian, `apt-get install`. What changes the
//! machine is shown before it runs.
//!
//! Absent: versions. rustc-web may be newer than the project's toolchain; guests hold no code that notices.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::cargo;

/// The target of components.
pub const COMPONENT: &str = "wasm32-wasip2";
/// The target without any system interface: what compiles for it depends on none.
pub const BARE: &str = "wasm32-unknown-unknown";

const DEBIAN_PACKAGES: [&str; 6] = [
    "rustc-web",
    "cargo-web",
    "rust-web-src",
    "rust-web-llvm",
    "lld-22",
    "wasi-libc",
];
/// Debian's cargo and rustc, by full path: rustup's stand before them in PATH.
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_STD: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";
const DEBIAN_LIBC: &str = "/usr/lib/wasm32-wasi/libc.a";

/// A way to compile for one wasm target.
pub enum Toolchain {
    /// The project's own, with the target's standard library.
    Installed,
    /// Debian's, which compiles the standard library along.
    Debian {
        /// Its linker, whose name carries a version.
        wasm_ld: PathBuf,
    },
}

impl Toolchain {
    /// Finds one for `target`, installing it where that is possible without asking.
    pub fn find(target: &str) -> Result<Self> {
        if has_std(target) {
            return Ok(Toolchain::Installed);
        }
        if let Some(debian) = debian() {
            return Ok(debian);
        }
        if add_target(target) && has_std(target) {
            return Ok(Toolchain::Installed);
        }
        // What it said is on the screen already; what to do about it is the same as without it.
        if can_apt()
            && apt_install().is_ok()
            && let Some(debian) = debian()
        {
            return Ok(debian);
        }
        bail!(
            "no Rust standard library for {target}: run\n\n    rustup target add {target}\n\n\
             or, where its server cannot be reached, on Debian\n\n    \
             sudo apt-get update && sudo apt-get install --no-install-recommends {}\n\n\
             and then this command again",
            DEBIAN_PACKAGES.join(" ")
        )
    }

    /// `cargo SUBCOMMAND --release --target TARGET`, in a target directory of its own:
    /// the caller may itself be run by a cargo that holds the lock of the usual one.
    pub fn cargo(&self, subcommand: &str, target: &str) -> Command {
        let mut command = match self {
            Toolchain::Installed => cargo::command(),
            Toolchain::Debian { .. } => cargo::in_workspace(Command::new(DEBIAN_CARGO)),
        };
        // Flags meant for the machine's own processor do not fit this one.
        for name in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_BUILD_RUSTFLAGS",
            "CARGO_BUILD_TARGET",
        ] {
            command.env_remove(name);
        }
        command.args([subcommand, "--release", "--target", target, "--target-dir"]);
        command.arg(cargo::target_dir().join("guests-build"));
        if let Toolchain::Debian { wasm_ld } = self {
            for name in [
                "CARGO",
                "RUSTUP_TOOLCHAIN",
                "RUSTC_WRAPPER",
                "RUSTC_WORKSPACE_WRAPPER",
                "LD_LIBRARY_PATH",
            ] {
                command.env_remove(name);
            }
            command
                .env("RUSTC", DEBIAN_RUSTC)
                .env("RUSTDOC", "/usr/bin/rustdoc")
                .env("RUSTC_BOOTSTRAP", "1");
            command.env(
                "CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS",
                debian_link_flags(wasm_ld),
            );
            command.arg("-Zbuild-std=std,panic_abort");
        }
        command
    }
}

fn debian_link_flags(wasm_ld: &Path) -> String {
    let libc = Path::new(DEBIAN_LIBC).parent().expect("a file in a folder");
    format!(
        "-Clink-arg=--wasm-ld-path={} -Clink-arg=-L{}",
        wasm_ld.display(),
        libc.display()
    )
}

/// Whether the project's own toolchain has the target's standard library.
fn has_std(target: &str) -> bool {
    let mut rustc = cargo::in_workspace(Command::new(
        std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()),
    ));
    let folder = cargo::output(rustc.args(["--print", "target-libdir", "--target", target]));
    let Some(entries) = folder.and_then(|folder| std::fs::read_dir(folder).ok()) else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
}

/// Debian's toolchain, if all its parts are there.
fn debian() -> Option<Toolchain> {
    let parts = [DEBIAN_CARGO, DEBIAN_RUSTC, DEBIAN_STD, DEBIAN_LIBC];
    if !parts.iter().all(|part| Path::new(part).exists()) {
        return None;
    }
    let linkers = std::fs::read_dir("/usr/bin").ok()?.flatten();
    let versioned = |name: &str| {
        name.strip_prefix("wasm-ld-")
            .and_then(|version| version.parse::<u32>().ok())
    };
    let newest = linkers
        .filter_map(|entry| versioned(entry.file_name().to_str()?))
        .max()?;
    Some(Toolchain::Debian {
        wasm_ld: format!("/usr/bin/wasm-ld-{newest}").into(),
    })
}

/// Longest wait for rustup's server: some 30 MB on a slow line, but no day without a network.
const DOWNLOAD_MAX: Duration = Duration::from_secs(300);

/// Tries rustup. Its complaints are kept to ourselves: there is a second way, and the last error names both.
fn add_target(target: &str) -> bool {
    let mut command = cargo::in_workspace(Command::new("rustup"));
    command
        .args(["target", "add", target])
        .env("RUSTUP_MAX_RETRIES", "0");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    eprintln!("> rustup target add {target}");
    let Ok(mut child) = command.spawn() else {
        return false;
    };
    let start = Instant::now();
    while start.elapsed() < DOWNLOAD_MAX {
        match child.try_wait() {
            Ok(Some(status)) => {
                if !status.success() {
                    eprintln!("  rustup has none for us: {status}");
                }
                return status.success();
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(100)),
            Err(_) => return false,
        }
    }
    eprintln!("  given up after {} s", DOWNLOAD_MAX.as_secs());
    let _ = child.kill();
    let _ = child.wait();
    false
}

/// Whether packages can be installed without asking anybody.
fn can_apt() -> bool {
    // /proc/self belongs to the effective user.
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0);
    is_root && Path::new("/etc/debian_version").exists() && Path::new("/usr/bin/apt-get").exists()
}

fn apt_install() -> Result<()> {
    let install = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args([
            "install",
            "--yes",
            "--quiet",
            "--no-install-recommends",
        ]);
        command.args(DEBIAN_PACKAGES).stdin(Stdio::null());
        command
    };
    // A machine that never asked, or asked long ago, for what there is does not find it.
    if cargo::run(&mut install()).is_err() {
        cargo::run(
            Command::new("apt-get")
                .args(["update", "--quiet"])
                .stdin(Stdio::null()),
        )?;
        cargo::run(&mut install())?;
    }
    Ok(())
}
