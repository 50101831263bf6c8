//! How much processor time a guest has used.
//!
//! The clock runs from each entry into wasm to the exit from it. One interval counts for at most
//! [`INTERVAL_MAX`]: a guest that computes is interrupted at every tick, so a longer interval is a
//! host call that waited, which is free. The pause between an interruption and its resumption
//! belongs to whoever ran meanwhile and does not count at all.

use std::time::{Duration, Instant};

/// Time between two epochs. With ticks of 10 ms, guests that spin hold everybody else up for
/// hundreds of milliseconds on two cores.
pub(crate) const TICK: Duration = Duration::from_millis(2);

/// Two ticks, because a tick may come late.
const INTERVAL_MAX: Duration = Duration::from_millis(4);

/// The guest computed for longer than its request may.
#[derive(Debug, thiserror::Error)]
#[error("guest used more than its {} ms of processor time", .0.as_millis())]
pub(crate) struct CpuExceeded(Duration);

pub(crate) struct CpuClock {
    limit: Duration,
    used: Duration,
    mark: Option<Instant>,
}

impl CpuClock {
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit,
            used: Duration::ZERO,
            mark: None,
        }
    }

    /// Wasm begins to run, or runs again after a pause.
    pub(crate) fn resume(&mut self, now: Instant) {
        self.count(now);
        self.mark = Some(now);
    }

    /// Wasm stopped running.
    pub(crate) fn stop(&mut self, now: Instant) {
        self.count(now);
    }

    /// An interruption: the guest pauses, unless it has used its time up.
    pub(crate) fn interrupt(&mut self, now: Instant) -> Result<(), CpuExceeded> {
        self.count(now);
        if self.used > self.limit {
            Err(CpuExceeded(self.limit))
        } else {
            Ok(())
        }
    }

    fn count(&mut self, now: Instant) {
        if let Some(mark) = self.mark.take() {
            self.used += now.saturating_duration_since(mark).min(INTERVAL_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn a_guest_that_computes_is_stopped_at_its_limit() {
        let start = Instant::now();
        let mut clock = CpuClock::new(Duration::from_millis(10));
        let mut now = 0;
        let ticks = (0..100).take_while(|_| {
            clock.resume(ms(start, now));
            now += 2;
            clock.interrupt(ms(start, now)).is_ok()
        });
        assert_eq!(ticks.count(), 5);
    }

    #[test]
    fn pauses_and_waits_are_free() {
        let start = Instant::now();
        let mut clock = CpuClock::new(Duration::from_millis(10));
        clock.resume(start);
        assert!(clock.interrupt(ms(start, 2)).is_ok());
        clock.resume(ms(start, 60_000));
        clock.stop(ms(start, 60_001));
        clock.resume(ms(start, 120_000));
        // A host call that waited for a minute counts as one interval.
        clock.resume(ms(start, 180_000));
        assert_eq!(clock.used, Duration::from_millis(2 + 1 + 4));
    }
}
