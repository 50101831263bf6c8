//! The batch lane's share of the compute time, over the last ten seconds.

use std::time::Duration;

/// Seconds the share is averaged over.
const WINDOW_SECS: u64 = 10;

/// Compute time by second, and how much of it went to the batch lane.
#[derive(Debug, Default)]
pub struct Share {
    seconds: [Second; WINDOW_SECS as usize],
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    at: u64,
    total: Duration,
    batch: Duration,
}

impl Share {
    /// Notes a step that ended at `now`, took `spent` and carried `batch_rows` of `rows` for the batch lane.
    pub fn note(&mut self, now: Duration, spent: Duration, batch_rows: usize, rows: usize) {
        let second = &mut self.seconds[(now.as_secs() % WINDOW_SECS) as usize];
        if second.at != now.as_secs() {
            *second = Second {
                at: now.as_secs(),
                ..Second::default()
            };
        }
        second.total += spent;
        second.batch += spent.mul_f64(batch_rows as f64 / rows.max(1) as f64);
    }

    /// Whether the batch lane had less than `share` of the window. Not where nothing ran in it: nobody was denied then.
    pub fn is_below(&self, share: f64, now: Duration) -> bool {
        let recent = self
            .seconds
            .iter()
            .filter(|second| second.at + WINDOW_SECS > now.as_secs());
        let (total, batch) = recent.fold(
            (Duration::ZERO, Duration::ZERO),
            |(total, batch), second| (total + second.total, batch + second.batch),
        );
        batch < total.mul_f64(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn only_the_last_ten_seconds_count() {
        let mut share = Share::default();
        assert!(!share.is_below(0.1, SECOND * 100), "nothing ran");
        share.note(SECOND * 100, SECOND, 0, 5);
        assert!(share.is_below(0.1, SECOND * 100));
        share.note(SECOND * 101, SECOND, 1, 4);
        assert!(!share.is_below(0.1, SECOND * 101), "an eighth");
        share.note(SECOND * 109, SECOND * 3, 0, 4);
        assert!(share.is_below(0.1, SECOND * 109), "a twentieth");
        assert!(!share.is_below(0.05, SECOND * 109));
        assert!(
            share.is_below(0.05, SECOND * 111),
            "the batch step has left the window"
        );
        assert!(!share.is_below(0.1, SECOND * 200));
    }
}
