//! Candidates in the order every sum is taken in: logit falling, id rising. Only as many as are asked for are sorted.
//!
//! - `keys[..sorted]` is final; `keys[sorted..]` is everything else not below `floor`; the rest is below it.
//! - A token whose logit is minus infinity or not a number is no candidate.
//! - The order does not depend on how far it has been walked before.
//!
//! The floor sinks in bands under the largest logit, so a walk of the likeliest few hundred costs one scan of the
//! vocabulary and a small sort.

use crate::token::TokenId;

/// Depth of the first band under the largest logit; each further band doubles it. e^-4 keeps tens of candidates of a
/// trained model's vocabulary, a hundred at most.
const FIRST_BAND: f32 = 4.0;
/// Below this depth one more scan takes all that is left: weights there round to nothing beside the first one's.
const LAST_BAND: f32 = 64.0;
/// Smallest part of a band that is sorted at once.
const RUN: usize = 64;

/// Scratch of a lazily sorted walk; keep it to keep its memory.
#[derive(Debug, Default)]
pub struct Order {
    keys: Vec<u64>,
    sorted: usize,
    max: f32,
    floor: f32,
}

impl Order {
    /// Begins a walk over `logits`, whose largest is `max` (as [`max`] finds it).
    pub fn begin(&mut self, max: f32) {
        self.keys.clear();
        self.sorted = 0;
        self.max = max;
        self.floor = f32::INFINITY;
    }

    /// The candidate at `index` of the order, or none past the last one.
    pub fn at(&mut self, logits: &[f32], index: usize) -> Option<TokenId> {
        while index >= self.sorted {
            if self.keys.len() > self.sorted {
                self.sort_run();
            } else if !self.sink(logits) {
                return None;
            }
        }
        Some(TokenId(self.keys[index] as u32))
    }

    fn sort_run(&mut self) {
        let run = RUN.max(self.sorted);
        let rest = &mut self.keys[self.sorted..];
        if rest.len() > run {
            rest.select_nth_unstable(run);
            rest[..run].sort_unstable();
            self.sorted += run;
        } else {
            rest.sort_unstable();
            self.sorted = self.keys.len();
        }
    }

    /// Lowers the floor by one band; false where there was nothing left below it.
    fn sink(&mut self, logits: &[f32]) -> bool {
        if self.floor == f32::NEG_INFINITY {
            return false;
        }
        let depth = if self.floor == f32::INFINITY {
            FIRST_BAND
        } else {
            (self.max - self.floor) * 2.0
        };
        // Also where the largest logit is so large that a band under it rounds away, or is itself infinite.
        let sunk = self.max - depth;
        let next = if depth <= LAST_BAND && sunk < self.floor && sunk < self.max {
            sunk
        } else {
            f32::NEG_INFINITY
        };
        for (id, &logit) in logits.iter().enumerate() {
            // False for what is not a number; minus infinity is left out by the second comparison.
            if logit >= next && logit < self.floor && logit > f32::NEG_INFINITY
                || logit == f32::INFINITY && self.floor == f32::INFINITY
            {
                self.keys.push(key(logit, id as u32));
            }
        }
        self.floor = next;
        true
    }
}

/// The largest logit; minus infinity where there is none.
pub fn max(logits: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (chunks, rest) = logits.as_chunks::<16>();
    for chunk in chunks {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane = if logit > *lane { logit } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(
        f32::NEG_INFINITY,
        |max, &logit| if logit > max { logit } else { max },
    )
}

/// Rising keys are falling logits, then rising ids.
fn key(logit: f32, id: u32) -> u64 {
    // Adding zero makes one zero of the two.
    let bits = (logit + 0.0).to_bits();
    let rising = if bits >> 31 == 0 {
        bits | 1 << 31
    } else {
        !bits
    };
    u64::from(!rising) << 32 | u64::from(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::random::uniform;
    use spindle_kernels::{Isa, argmax};

    fn by_full_sort(logits: &[f32]) -> Vec<TokenId> {
        let mut ids: Vec<u32> = (0..logits.len() as u32)
            .filter(|&i| logits[i as usize] > f32::NEG_INFINITY)
            .collect();
        ids.sort_by(|&a, &b| {
            logits[b as usize]
                .partial_cmp(&logits[a as usize])
                .unwrap()
                .then(a.cmp(&b))
        });
        ids.into_iter().map(TokenId).collect()
    }

    #[test]
    fn a_lazy_walk_is_the_full_sort() {
        let spread = |scale: f32, seed| {
            (0..3000)
                .map(|i| (uniform(seed, 0, i) as f32 - 0.5) * scale)
                .collect::<Vec<_>>()
        };
        let mut odd = spread(10.0, 4);
        odd[5] = f32::NAN;
        odd[6] = f32::NEG_INFINITY;
        odd[7] = f32::INFINITY;
        odd[8] = f32::INFINITY;
        let mut zeros = vec![0.0; 100];
        zeros[3] = -0.0;
        let table = [
            spread(1e-3, 1),
            spread(30.0, 2),
            spread(1e3, 3),
            spread(1e38, 5),
            odd,
            zeros,
            vec![1.0; 500],
            vec![f32::MAX, f32::MIN, 0.0],
            vec![f32::NEG_INFINITY; 4],
            vec![f32::NAN],
        ];
        for logits in table {
            let mut order = Order::default();
            order.begin(max(&logits));
            let walked: Vec<TokenId> = (0..).map_while(|i| order.at(&logits, i)).collect();
            assert_eq!(walked, by_full_sort(&logits));
            let first = walked.first().copied().unwrap_or(TokenId(0));
            for isa in Isa::available() {
                // The one-pass way to the first candidate, which greedy sampling takes.
                assert_eq!(argmax(isa, &logits), first.0 as usize);
            }
        }
    }
}
