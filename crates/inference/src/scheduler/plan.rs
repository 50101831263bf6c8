//! Who takes part in the next step, and with how many rows.
//!
//! - A step carries the interactive lane's decode rows always; then, in this order of cases, either batch work because
//!   that lane is starved (a *batch turn*), or interactive prompts and no batch work at all, or batch work that rides along.
//! - Prompt tokens are taken until the step is expected to reach its budget, but at least [`PROMPT_ROWS_MIN`] of them.
//! - The batch lane always has one place, so that a full house of interactive sequences cannot starve it.
//! - A plan decides when a row is computed, never its value.

use std::time::Duration;

use super::cost::CostModel;
use crate::request::Lane;

/// A step's budget while anybody interactive waits for it: what a pause between two tokens may last.
const BUDGET_INTERACTIVE: Duration = Duration::from_millis(200);
/// And while nobody does; an arrival ends such a step at its next layer anyway.
const BUDGET_BATCH: Duration = Duration::from_secs(1);
/// Fewer prompt tokens than this waste most of a pass over the weights.
const PROMPT_ROWS_MIN: usize = 16;
/// Batch work that rides along with interactive decode rows may make their step this many times as long, no more:
/// a stream keeps half its speed, and rows that share a pass over the weights are cheap.
const RIDE_ALONG: u32 = 2;
/// Long chunks are cut to a multiple of this, the kernels' largest tile.
const CHUNK_MULTIPLE: usize = 16;

/// A sequence that could take part: admitted and not paused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub lane: Lane,
    /// Tokens whose keys and values are in the cache.
    pub computed: usize,
    /// Tokens still to compute, at least 1.
    pub pending: usize,
    /// It has one row to compute and then a token; else it computes its prompt (or recomputes what it had).
    pub decoding: bool,
}

/// What bounds a plan beside time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub sequences_max: usize,
    pub prefill_chunk_max: usize,
    /// The batch lane is below its share.
    pub batch_starved: bool,
}

/// How many batch sequences may take part beside so many interactive ones.
pub(super) fn batch_places(sequences_max: usize, interactive: usize) -> usize {
    sequences_max.saturating_sub(interactive).max(1)
}

/// Plans a step over `ready`, oldest first in each lane. Pushes (index into `ready`, rows) in the order of `ready`.
/// Says whether it is a batch turn.
pub(super) fn plan(
    ready: &[Ready],
    limits: Limits,
    cost: &CostModel,
    step: &mut Vec<(usize, usize)>,
) -> bool {
    step.clear();
    let of =
        |lane, decoding| move |&(_, r): &(usize, &Ready)| r.lane == lane && r.decoding == decoding;
    let lane = |lane, places| {
        ready
            .iter()
            .enumerate()
            .filter(move |(_, r)| r.lane == lane)
            .take(places)
    };
    let interactive = || lane(Lane::Interactive, limits.sequences_max);
    let places = batch_places(limits.sequences_max, interactive().count());
    let batch = || lane(Lane::Batch, places);
    let mut draft = Draft {
        step,
        cost,
        rows: 0,
        pairs: 0,
        prompt_left: limits.prefill_chunk_max,
    };

    for (index, ready) in interactive().filter(of(Lane::Interactive, true)) {
        draft.add(index, ready, 1);
    }
    let alone = interactive().next().is_none();
    let batch_turn = limits.batch_starved && batch().next().is_some();
    let mut prompts = interactive()
        .filter(of(Lane::Interactive, false))
        .peekable();
    if prompts.peek().is_some() && !batch_turn {
        draft.add_prompts(prompts, BUDGET_INTERACTIVE, PROMPT_ROWS_MIN);
    } else {
        let (budget, least) = match (alone, batch_turn) {
            // A turn that is owed lasts so long only, because an arrival does not end it.
            (_, true) => (BUDGET_INTERACTIVE, PROMPT_ROWS_MIN),
            (true, false) => (BUDGET_BATCH, PROMPT_ROWS_MIN),
            (false, false) => (BUDGET_INTERACTIVE.min(draft.expected() * RIDE_ALONG), 0),
        };
        let before = draft.step.len();
        for (index, ready) in batch().filter(of(Lane::Batch, true)) {
            let first = draft.step.len() == before && least > 0;
            if !first && draft.expected_with(1, pairs(ready, 1)) > budget {
                break;
            }
            draft.add(index, ready, 1);
        }
        draft.add_prompts(batch().filter(of(Lane::Batch, false)), budget, least);
    }
    step.sort_unstable();
    batch_turn
}

/// A step as it grows.
struct Draft<'a> {
    step: &'a mut Vec<(usize, usize)>,
    cost: &'a CostModel,
    rows: usize,
    pairs: usize,
    prompt_left: usize,
}

impl Draft<'_> {
    fn add(&mut self, index: usize, ready: &Ready, rows: usize) {
        self.step.push((index, rows));
        self.rows += rows;
        self.pairs += pairs(ready, rows);
    }

    fn add_prompts<'r>(
        &mut self,
        prompts: impl Iterator<Item = (usize, &'r Ready)>,
        budget: Duration,
        mut least: usize,
    ) {
        for (index, ready) in prompts {
            let most = ready.pending.min(self.prompt_left);
            let mut rows = self.affordable(ready, most, budget);
            if rows < ready.pending && rows > CHUNK_MULTIPLE {
                rows -= rows % CHUNK_MULTIPLE;
            }
            let rows = rows.max(least.min(most));
            if rows == 0 {
                break;
            }
            self.add(index, ready, rows);
            self.prompt_left -= rows;
            // The least is a step's, not a prompt's.
            least = 0;
        }
    }

    /// The largest number of rows up to `most` that keeps the step within `budget`.
    fn affordable(&self, ready: &Ready, most: usize, budget: Duration) -> usize {
        let (mut fits, mut too_many) = (0, most + 1);
        while too_many - fits > 1 {
            let middle = fits.midpoint(too_many);
            if self.expected_with(middle, pairs(ready, middle)) <= budget {
                fits = middle;
            } else {
                too_many = middle;
            }
        }
        fits
    }

    fn expected(&self) -> Duration {
        self.cost.expect(self.rows, self.pairs)
    }

    fn expected_with(&self, rows: usize, pairs: usize) -> Duration {
        self.cost.expect(self.rows + rows, self.pairs + pairs)
    }
}

/// Pairs of a new row and a position it attends to, its own included.
fn pairs(ready: &Ready, rows: usize) -> usize {
    rows * ready.computed + rows * (rows + 1) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row costs 1 ms, attention nothing.
    fn cost() -> CostModel {
        let mut cost = CostModel::new(1, 0, 1);
        for class in 0..12 {
            cost.note(
                1 << class,
                0,
                Duration::from_millis(1 << class),
                Duration::ZERO,
            );
        }
        cost
    }

    fn check(ready: &[(char, usize)], limits: Limits, expected: &[(usize, usize)]) {
        let ready: Vec<Ready> = ready
            .iter()
            .map(|&(kind, pending)| Ready {
                lane: if kind.is_uppercase() {
                    Lane::Interactive
                } else {
                    Lane::Batch
                },
                computed: 0,
                pending,
                decoding: kind.eq_ignore_ascii_case(&'d'),
            })
            .collect();
        let mut step = Vec::new();
        plan(&ready, limits, &cost(), &mut step);
        assert_eq!(step, expected);
    }

    const LIMITS: Limits = Limits {
        sequences_max: 4,
        prefill_chunk_max: 512,
        batch_starved: false,
    };
    const STARVED: Limits = Limits {
        batch_starved: true,
        ..LIMITS
    };

    #[test]
    fn interactive_prompts_fill_the_step_to_its_budget_and_keep_batch_out() {
        // D, P: interactive decode and prompt; d, p: batch.
        check(
            &[('D', 1), ('P', 1000), ('d', 1), ('p', 50)],
            LIMITS,
            &[(0, 1), (1, 192)],
        );
        check(&[('P', 100), ('P', 1000)], LIMITS, &[(0, 100), (1, 96)]);
        check(
            &[('P', 100), ('P', 100), ('P', 7)],
            LIMITS,
            &[(0, 100), (1, 100)],
        );
        check(
            &[('P', 1000)],
            Limits {
                prefill_chunk_max: 7,
                ..LIMITS
            },
            &[(0, 7)],
        );
    }

    #[test]
    fn a_step_always_takes_sixteen_prompt_tokens() {
        let slow = {
            let mut cost = CostModel::new(1, 0, 1);
            cost.note(1, 0, Duration::from_secs(5), Duration::ZERO);
            cost
        };
        let ready = |pending| {
            [Ready {
                lane: Lane::Interactive,
                computed: 0,
                pending,
                decoding: false,
            }]
        };
        let mut step = Vec::new();
        plan(&ready(100), LIMITS, &slow, &mut step);
        assert_eq!(step, [(0, 16)]);
        plan(&ready(9), LIMITS, &slow, &mut step);
        assert_eq!(step, [(0, 9)]);
    }

    #[test]
    fn batch_alone_gets_the_long_budget() {
        check(
            &[('d', 1), ('p', 5000)],
            Limits {
                prefill_chunk_max: 4096,
                ..LIMITS
            },
            &[(0, 1), (1, 992)],
        );
    }

    #[test]
    fn batch_rides_along_with_interactive_decode_up_to_twice_its_cost() {
        check(
            &[('D', 1), ('D', 1), ('d', 1), ('d', 1)],
            LIMITS,
            &[(0, 1), (1, 1), (2, 1), (3, 1)],
        );
        check(
            &[('D', 1), ('d', 1), ('d', 1), ('d', 1)],
            LIMITS,
            &[(0, 1), (1, 1)],
        );
        check(
            &[('D', 1), ('D', 1), ('p', 100)],
            LIMITS,
            &[(0, 1), (1, 1), (2, 2)],
        );
    }

    #[test]
    fn a_starved_batch_lane_gets_a_turn_without_interactive_prompts() {
        check(
            &[('D', 1), ('P', 1000), ('d', 1), ('p', 500)],
            STARVED,
            &[(0, 1), (2, 1), (3, 192)],
        );
        // Even where interactive sequences fill the house.
        check(
            &[('D', 1), ('D', 1), ('P', 9), ('P', 9), ('d', 1), ('d', 1)],
            STARVED,
            &[(0, 1), (1, 1), (4, 1)],
        );
        // Alone, it is short: an arrival must wait for its end.
        check(&[('p', 5000)], STARVED, &[(0, 192)]);
        // Without batch work there is no turn.
        check(&[('P', 10)], STARVED, &[(0, 10)]);
    }

    #[test]
    fn the_oldest_take_the_places() {
        check(
            &[('D', 1), ('D', 1), ('D', 1), ('D', 1), ('D', 1)],
            LIMITS,
            &[(0, 1), (1, 1), (2, 1), (3, 1)],
        );
        check(
            &[('d', 1), ('d', 1), ('d', 1), ('d', 1), ('d', 1)],
            LIMITS,
            &[(0, 1), (1, 1), (2, 1), (3, 1)],
        );
    }
}
