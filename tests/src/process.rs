//! Child processes with collected output, deadlines and a look into `/proc`.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::wait;

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end, which must come within [`wait::PATIENCE`].
pub fn run(command: &mut Command) -> Outcome {
    run_within(wait::PATIENCE, command)
}

/// As [`run`], with a deadline of the caller's.
pub fn run_within(patience: Duration, command: &mut Command) -> Outcome {
    finish(patience, command.stdin(Stdio::null()), |_| {})
}

/// As [`run`], with a text on stdin.
pub fn run_with_input(command: &mut Command, input: &str) -> Outcome {
    finish(wait::PATIENCE, command.stdin(Stdio::piped()), |child| {
        let mut stdin = child.stdin.take().expect("piped");
        stdin
            .write_all(input.as_bytes())
            .expect("a short text is taken");
    })
}

fn finish(patience: Duration, command: &mut Command, feed: impl FnOnce(&mut Child)) -> Outcome {
    let name = format!("{command:?} ends");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Reaped(
        command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}")),
    );
    feed(&mut child.0);
    let stdout = Collected::start(child.0.stdout.take().expect("piped"));
    let stderr = Collected::start(child.0.stderr.take().expect("piped"));
    let status = wait::until_within(patience, &name, || {
        child.0.try_wait().expect("a child of ours")
    });
    Outcome {
        status,
        stdout: stdout.join(),
        stderr: stderr.join(),
    }
}

/// Bytes of memory the process holds now.
pub fn rss_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a living process");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("a VmRSS line");
    let kib: u64 = line
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number of kB");
    kib * 1024
}

/// A child that is killed and waited for when dropped.
pub struct Reaped(pub Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A pipe read by a thread, so that its writer never blocks; readable while it grows.
pub struct Collected {
    text: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Collected {
    pub fn start(mut pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                sink.lock()
                    .expect("no panic while held")
                    .extend_from_slice(&buffer[..count]);
            }
        });
        Collected { text, reader }
    }

    /// What has come so far.
    pub fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().expect("no panic while held")).into_owned()
    }

    /// Everything, once the pipe is closed.
    pub fn join(self) -> String {
        self.reader.join().expect("a reader that only reads");
        String::from_utf8_lossy(&self.text.lock().expect("no panic while held")).into_owned()
    }
}
