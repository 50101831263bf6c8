//! What a step will cost, learned from the steps before it.
//!
//! Two parts, because they grow apart: the dense part (weights times rows), by size class of rows, and attention, by
//! the number of (row, earlier position) pairs. Only planning rests on it: a wrong guess costs time, never a byte.

use std::time::Duration;

/// Size classes of rows: class `c` is reached at `2^c` rows.
const CLASSES: usize = 14;
/// Weight of the newest measurement. A neighbour on the machine may halve its speed for seconds: follow within a few steps.
const FRESH: f64 = 0.25;
/// Multiply-adds a second of one thread, before the first measurement: low, so that a first step is rather short.
const FIRST_GUESS: f64 = 2e10;

/// Learned costs, in seconds.
#[derive(Debug)]
pub struct CostModel {
    /// A step with this class's number of rows, without attention.
    dense: [f64; CLASSES],
    measured: [bool; CLASSES],
    /// A pair of row and earlier position.
    pair: f64,
}

impl CostModel {
    /// A first guess, for a model of `macs_per_token` and `pair_macs` a pair on `threads` threads.
    pub fn new(macs_per_token: u64, pair_macs: u64, threads: usize) -> Self {
        let rate = FIRST_GUESS * threads as f64;
        let dense = std::array::from_fn(|class| (macs_per_token << class) as f64 / rate);
        Self {
            dense,
            measured: [false; CLASSES],
            pair: pair_macs as f64 / rate,
        }
    }

    /// Notes what a step took.
    pub fn note(&mut self, rows: usize, pairs: usize, dense: Duration, attention: Duration) {
        if rows == 0 {
            return;
        }
        let class = class(rows);
        // Scale to the class's own size: rows beyond it are taken at its average.
        let seconds = dense.as_secs_f64() / (rows as f64 / (1 << class) as f64);
        let fresh = if self.measured[class] { FRESH } else { 1.0 };
        self.dense[class] += fresh * (seconds - self.dense[class]);
        self.measured[class] = true;
        // Short steps measure the fork and join rather than attention.
        if pairs >= 1024 {
            self.pair += FRESH * (attention.as_secs_f64() / pairs as f64 - self.pair);
        }
        self.carry_over(class);
    }

    /// Expected duration of a step.
    pub fn expect(&self, rows: usize, pairs: usize) -> Duration {
        if rows == 0 {
            return Duration::ZERO;
        }
        let class = class(rows);
        let dense = self.dense[class] * (rows as f64 / (1 << class) as f64);
        Duration::from_secs_f64((dense + self.pair * pairs as f64).clamp(0.0, 3600.0))
    }

    /// Brings the other classes into line: twice the rows take at most twice the time, and half of them no longer. So a
    /// class nobody measured has a guess, and one whose only measurement was bad luck is tried again.
    fn carry_over(&mut self, from: usize) {
        for class in from + 1..CLASSES {
            self.bound(class, 2.0 * self.dense[class - 1]);
        }
        for class in (0..from).rev() {
            self.bound(class, self.dense[class + 1]);
        }
    }

    fn bound(&mut self, class: usize, most: f64) {
        let known = if self.measured[class] {
            self.dense[class]
        } else {
            most
        };
        self.dense[class] = known.min(most);
    }
}

fn class(rows: usize) -> usize {
    (rows.ilog2() as usize).min(CLASSES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn measured_steps_replace_the_first_guess() {
        let mut cost = CostModel::new(100_000_000, 50_000, 2);
        cost.note(1, 10, 8 * MS, Duration::ZERO);
        assert_eq!(cost.expect(1, 0), 8 * MS);
        assert_eq!(cost.expect(256, 0), 2048 * MS, "at most in proportion");
        cost.note(256, 0, 512 * MS, Duration::ZERO);
        assert_eq!(cost.expect(256, 0), 512 * MS);
        assert_eq!(cost.expect(384, 0), 768 * MS);
        assert_eq!(cost.expect(1, 0), 8 * MS, "measured once, not forgotten");
        // A slow start is not held against large steps for ever.
        let mut unlucky = CostModel::new(100_000_000, 50_000, 2);
        unlucky.note(256, 0, 9000 * MS, Duration::ZERO);
        unlucky.note(64, 0, 100 * MS, Duration::ZERO);
        assert_eq!(unlucky.expect(256, 0), 400 * MS);
        let before = cost.expect(1, 10_000) - cost.expect(1, 0);
        for _ in 0..40 {
            cost.note(256, 100_000, 512 * MS, 100 * MS);
        }
        let after = cost.expect(1, 10_000) - cost.expect(1, 0);
        assert!(
            after != before && (after.as_secs_f64() - 0.01).abs() < 1e-4,
            "{after:?}"
        );
    }
}
