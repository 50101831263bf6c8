//! The built `spindle serve` as a child process on a port of its own.
//!
//! - Starts with an environment that holds nothing of the machine's: no `SPINDLE_*`, no user configuration, no cache.
//! - Is ready when it has said its address; that line is also what a user reads.
//! - Dropping it kills it; a panicking test gets its log first.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, Weak};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::client::Client;
use crate::process::{self, Collected, Reaped};
use crate::wait;

/// A running server.
pub struct Server {
    child: Reaped,
    address: SocketAddr,
    stderr: Collected,
    /// Home and working directory of the child.
    _home: TempDir,
}

/// How many generations the server holds, as `/health` tells.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct Load {
    /// Sequences that take part in steps.
    pub running: u64,
    /// Sequences that wait for a place.
    pub waiting: u64,
}

impl Load {
    pub const IDLE: Load = Load {
        running: 0,
        waiting: 0,
    };
}

/// Arguments and environment of a server to be started.
#[derive(Default)]
pub struct ServerOptions {
    args: Vec<OsString>,
    variables: Vec<(String, String)>,
}

impl ServerOptions {
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the server and waits until it listens.
    ///
    /// # Panics
    /// When it ends instead, with what it said.
    pub fn start(self) -> Server {
        let home = tempfile::tempdir().expect("a temporary directory");
        let mut command = spindle(home.path());
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(&self.args)
            .envs(self.variables);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = Reaped(
            command
                .spawn()
                .unwrap_or_else(|error| panic!("{command:?}: {error}")),
        );
        let stderr = Collected::start(child.0.stderr.take().expect("piped"));
        let address = wait::until("the server says its address", || {
            if let Some(status) = child.0.try_wait().expect("a child of ours") {
                panic!("{command:?} ended with {status}:\n{}", stderr.so_far());
            }
            address_in(&stderr.so_far())
        });
        Server {
            child,
            address,
            stderr,
            _home: home,
        }
    }
}

impl Server {
    /// A server with these arguments after `serve --listen 127.0.0.1:0`; the embedded demo model unless they name one.
    pub fn start<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Server {
        ServerOptions::default().args(args).start()
    }

    /// The demo model with default settings, shared by tests that only ask and look at the answer.
    pub fn demo() -> Arc<Server> {
        // Weak: a static is never dropped, and a server must not outlive its tests. Restarting costs milliseconds.
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        // A test that panicked while it started the server left nothing half done.
        let mut shared = SHARED
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Server::start::<&str>([]));
            *shared = Arc::downgrade(&server);
            server
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// The id of the one loaded model.
    pub fn model(&self) -> String {
        let models = self.client().get("/v1/models").json();
        models["data"][0]["id"]
            .as_str()
            .expect("a loaded model")
            .to_owned()
    }

    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    pub fn rss_bytes(&self) -> u64 {
        process::rss_bytes(self.pid())
    }

    /// Everything the server wrote to stderr so far.
    pub fn log(&self) -> String {
        self.stderr.so_far()
    }

    /// What the scheduler holds at this moment.
    pub fn load(&self) -> Load {
        let health = self.client().get("/health").json();
        let count = |name: &str| {
            health[name]
                .as_u64()
                .unwrap_or_else(|| panic!("{name} in {health}"))
        };
        Load {
            running: count("running"),
            waiting: count("waiting"),
        }
    }

    /// Waits until no generation is left.
    pub fn wait_idle(&self) {
        wait::until("the server holds no sequence", || {
            (self.load() == Load::IDLE).then_some(())
        });
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child.0);
        kill_process(pid, signal).expect("a process of ours");
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self) -> ExitStatus {
        wait::until("the server ends", || {
            self.child.0.try_wait().expect("a child of ours")
        })
    }

    /// The end of the process, if it has come.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.0.try_wait().expect("a child of ours")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- end of the log of the server at {}", self.address);
            let log = self.stderr.so_far();
            for line in log
                .lines()
                .skip(log.lines().count().saturating_sub(LOG_LINES_SHOWN))
            {
                eprintln!(
                    "{}",
                    line.chars().take(LOG_LINE_CHARS_SHOWN).collect::<String>()
                );
            }
        }
    }
}

/// Enough to see what came before a failure; a trap's backtrace alone fills a screen.
const LOG_LINES_SHOWN: usize = 40;
const LOG_LINE_CHARS_SHOWN: usize = 240;

/// The binary under test: `SPINDLE_BIN`, or the one this target directory holds.
pub fn binary() -> PathBuf {
    std::env::var_os("SPINDLE_BIN")
        .map_or_else(|| target_dir().join("release/spindle"), PathBuf::from)
}

/// Cargo's target directory, seen from the test that runs in it.
pub fn target_dir() -> PathBuf {
    let test = std::env::current_exe().expect("a path of our own");
    // target/PROFILE/deps/TEST
    test.ancestors()
        .nth(3)
        .expect("a test inside a target directory")
        .to_owned()
}

/// A command for the binary that sees nothing of the machine's settings.
pub fn spindle(home: &Path) -> Command {
    let binary = binary();
    assert!(
        binary.is_file(),
        "{} is not built: cargo xtask build",
        binary.display()
    );
    let mut command = Command::new(binary);
    command
        .current_dir(home)
        .env_clear()
        .env("HOME", home)
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    // A panic in the server should say where.
    command.env("RUST_BACKTRACE", "1").env("NO_COLOR", "1");
    command
}

/// The first address after `http://` in a finished line of the log.
fn address_in(log: &str) -> Option<SocketAddr> {
    let finished = &log[..=log.rfind('\n')?];
    finished.split("http://").skip(1).find_map(|rest| {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && !".:[]abcdef".contains(c))
            .unwrap_or(rest.len());
        rest[..end].trim_end_matches(['.', ':']).parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_read_from_finished_lines_only() {
        let address = Some("127.0.0.1:4321".parse().unwrap());
        for (log, expected) in [
            ("", None),
            ("listening on http://127.0.0.1:43", None),
            ("listening on http://127.0.0.1:4321\n", address),
            ("x http://127.0.0.1:4321/v1, and more\n", address),
            (
                "see http://example.test\nserving http://127.0.0.1:4321.\n",
                address,
            ),
        ] {
            assert_eq!(address_in(log), expected, "{log:?}");
        }
    }
}
