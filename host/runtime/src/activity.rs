//! Whether anything happens for a request, so that a guest that waits for nothing is ended.
//!
//! Time spent in a host call that itself has a deadline (a generation, a tokenizer call, a read
//! of the request's body) is not idle time. Everything else is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

#[derive(Clone)]
pub(crate) struct Activity(Arc<Inner>);

struct Inner {
    start: Instant,
    /// Host calls in progress.
    busy: AtomicUsize,
    /// Milliseconds from `start` to the latest sign of life.
    last_ms: AtomicU64,
}

/// Held while a host call is in progress.
pub(crate) struct Busy(Activity);

impl Activity {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            start: Instant::now(),
            busy: AtomicUsize::new(0),
            last_ms: AtomicU64::new(0),
        }))
    }

    pub(crate) fn touch(&self) {
        let elapsed = self.0.start.elapsed().as_millis() as u64;
        self.0.last_ms.store(elapsed, Relaxed);
    }

    pub(crate) fn busy(&self) -> Busy {
        self.0.busy.fetch_add(1, Relaxed);
        Busy(self.clone())
    }

    /// How long nothing has happened; zero while a host call is in progress.
    pub(crate) fn idle(&self) -> Duration {
        if self.0.busy.load(Relaxed) > 0 {
            return Duration::ZERO;
        }
        let last = Duration::from_millis(self.0.last_ms.load(Relaxed));
        self.0.start.elapsed().saturating_sub(last)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.touch();
        self.0.0.busy.fetch_sub(1, Relaxed);
    }
}
