//! Waiting for a condition, with a deadline that names what was awaited.
//!
//! Deadlines are generous: they catch a hang, they measure nothing. A claim about time is an assertion of its own.

use std::time::{Duration, Instant};

/// Longest any single thing may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Pause between two looks: short beside any limit a test asserts, long beside the cost of a look.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Calls `look` until it returns a value; panics with `what` after [`PATIENCE`].
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look)
}

/// As [`until`], with a deadline of the caller's.
pub fn until_within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(
            start.elapsed() < patience,
            "waited {patience:?} in vain until {what}"
        );
        std::thread::park_timeout(LOOK_EVERY);
    }
}
