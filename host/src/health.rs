//! Whether requests would be served: what `/readyz` and `/health` tell.
//!
//! The thread that owns the model beats at least once a second, and between the layers of a
//! step. A beat older than [`BEAT_AGE_MAX`] means that it hangs, however well everything else does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Several times the longest layer of a model this server is meant for.
const BEAT_AGE_MAX: Duration = Duration::from_secs(5);

/// What the server is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The model is not there yet.
    Loading,
    /// Requests are served.
    Ready,
    /// The thread that owns the model does not answer.
    Stuck,
    /// No new requests; the ones in progress are finished.
    Draining,
}

/// Generations the server holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Taking part in steps.
    pub running: u64,
    /// Waiting for a place.
    pub waiting: u64,
}

/// Shared by the connections, which read it, and the inference thread, which writes it.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    start: Instant,
    loaded: AtomicBool,
    draining: AtomicBool,
    beat_ms: AtomicU64,
    running: AtomicU64,
    waiting: AtomicU64,
}

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(Inner {
            start: Instant::now(),
            loaded: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            beat_ms: AtomicU64::new(0),
            running: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
        }))
    }
}

impl Health {
    /// The model is there.
    pub fn loaded(&self) {
        self.beat();
        self.0.loaded.store(true, Relaxed);
    }

    /// No new requests from now on.
    pub fn drain(&self) {
        self.0.draining.store(true, Relaxed);
    }

    /// The inference thread is alive.
    pub fn beat(&self) {
        self.0
            .beat_ms
            .store(self.0.start.elapsed().as_millis() as u64, Relaxed);
    }

    /// What the inference thread holds.
    pub fn hold(&self, load: Load) {
        self.0.running.store(load.running, Relaxed);
        self.0.waiting.store(load.waiting, Relaxed);
    }

    /// See [`Load`].
    pub fn load(&self) -> Load {
        Load {
            running: self.0.running.load(Relaxed),
            waiting: self.0.waiting.load(Relaxed),
        }
    }

    /// See [`Phase`].
    pub fn phase(&self) -> Phase {
        phase(
            self.0.loaded.load(Relaxed),
            self.0.draining.load(Relaxed),
            self.0
                .start
                .elapsed()
                .saturating_sub(Duration::from_millis(self.0.beat_ms.load(Relaxed))),
        )
    }
}

fn phase(loaded: bool, draining: bool, beat_age: Duration) -> Phase {
    if draining {
        Phase::Draining
    } else if !loaded {
        Phase::Loading
    } else if beat_age > BEAT_AGE_MAX {
        Phase::Stuck
    } else {
        Phase::Ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_one_phase() {
        let (fresh, stale) = (Duration::from_secs(1), Duration::from_secs(6));
        let cases = [
            (false, false, stale, Phase::Loading),
            (true, false, fresh, Phase::Ready),
            (true, false, stale, Phase::Stuck),
            (false, true, fresh, Phase::Draining),
            (true, true, fresh, Phase::Draining),
            (true, true, stale, Phase::Draining),
        ];
        for (loaded, draining, age, expected) in cases {
            assert_eq!(phase(loaded, draining, age), expected);
        }
    }
}
