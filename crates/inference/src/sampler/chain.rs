//! The choice of one token, defined step by step.
//!
//! 1. *Edits*, one token at a time: `logit_bias` is added; then a token of prompt or answer is divided by the repeat
//!    penalty where its logit is positive, multiplied where it is not; then `frequency_penalty` times its occurrences
//!    in the answer, and `presence_penalty` if there is one, are taken off. End tokens are ruled out before `min_tokens`.
//! 2. *Temperature 0*: the largest logit, the lowest id among equals. Nothing below applies.
//! 3. *Truncation*, each over what the one before left, at temperature 1: `top_k`, `typical_p`, `top_p`, `min_p`. At
//!    least one candidate stays.
//! 4. *Draw* at the temperature: the first candidate whose running sum of weights exceeds `uniform * total`.
//!
//! Order and sums, which make it one definition: candidates are ordered by (logit falling, id rising) and running sums
//! are taken in that order; a total is taken in that order once a step has truncated, and by [`total`] (id rising)
//! over a whole vocabulary. Weights are `exp(logit - max)` in f32, sums are f64.
//!
//! Log-probabilities are of the logits before step 1, at temperature 1.

use std::collections::BTreeMap;

use spindle_kernels::{Isa, argmax, exp};

use super::order::{self, Order};
use super::random::uniform;
use super::weights::{moments, total};
use crate::request::Sampling;
use crate::token::TokenId;

/// One sequence's sampler: its parameters and what its tokens were.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    /// Tokens of prompt and answer; kept only where a penalty asks for them.
    seen: BTreeMap<TokenId, u32>, // occurrences in the answer
}

/// Working memory of [`Sampler::choose`]; one a thread, kept from step to step.
#[derive(Debug, Default)]
pub struct Scratch {
    order: Order,
    /// Edited logits as they were before.
    edited: Vec<(TokenId, f32)>,
    kept: Vec<Kept>,
    /// Negated distance from the typical surprise, by token.
    distances: Vec<f32>,
}

impl Scratch {
    /// A walk's memory, free between choices.
    pub fn order(&mut self) -> &mut Order {
        &mut self.order
    }
}

/// A candidate that truncation left.
#[derive(Clone, Copy, Debug)]
struct Kept {
    id: TokenId,
    logit: f32,
    /// `exp(logit - max)`.
    weight: f32,
}

impl Sampler {
    /// A sampler for an answer to `prompt`.
    pub fn new(sampling: Sampling, prompt: &[TokenId]) -> Self {
        let mut sampler = Self {
            sampling,
            seen: BTreeMap::new(),
        };
        if sampler.sampling.repeat_penalty != 1.0 {
            sampler.seen.extend(prompt.iter().map(|&id| (id, 0)));
        }
        sampler
    }

    /// Chooses token number `step` of the answer. `logits` are lent: they are as before on return.
    pub fn choose(
        &self,
        isa: Isa,
        logits: &mut [f32],
        step: u32,
        ruled_out: &[TokenId],
        scratch: &mut Scratch,
    ) -> TokenId {
        self.edit(logits, ruled_out, &mut scratch.edited);
        let chosen = self.choose_edited(isa, logits, step, scratch);
        // Backwards, because a token may have been edited twice.
        for (id, before) in scratch.edited.drain(..).rev() {
            logits[id.0 as usize] = before;
        }
        chosen
    }

    /// Notes that `id` is part of the answer.
    pub fn accept(&mut self, id: TokenId) {
        let s = &self.sampling;
        if s.repeat_penalty != 1.0 || s.frequency_penalty != 0.0 || s.presence_penalty != 0.0 {
            *self.seen.entry(id).or_insert(0) += 1;
        }
    }

    fn edit(&self, logits: &mut [f32], ruled_out: &[TokenId], edited: &mut Vec<(TokenId, f32)>) {
        let s = &self.sampling;
        let mut edit = |id: TokenId, change: &dyn Fn(f32) -> f32| {
            let logit = &mut logits[id.0 as usize];
            edited.push((id, *logit));
            *logit = change(*logit);
        };
        for &(id, bias) in &s.logit_bias {
            edit(id, &|logit| logit + bias);
        }
        for (&id, &occurrences) in &self.seen {
            edit(id, &|logit| {
                let repeated = if logit > 0.0 {
                    logit / s.repeat_penalty
                } else {
                    logit * s.repeat_penalty
                };
                let present = if occurrences > 0 {
                    s.presence_penalty
                } else {
                    0.0
                };
                repeated - s.frequency_penalty * occurrences as f32 - present
            });
        }
        for &id in ruled_out {
            edit(id, &|_| f32::NEG_INFINITY);
        }
    }

    fn choose_edited(&self, isa: Isa, logits: &[f32], step: u32, scratch: &mut Scratch) -> TokenId {
        let s = &self.sampling;
        if s.temperature == 0.0 {
            return likeliest(isa, logits);
        }
        let max = order::max(logits);
        if !max.is_finite() {
            // No candidate, or an infinite one: no weights exist.
            return likeliest(isa, logits);
        }
        let Scratch {
            order,
            kept,
            distances,
            ..
        } = scratch;
        kept.clear();
        order.begin(max);
        let mut walk = Walk { logits, max, order };
        let mut whole = true; // The set is the vocabulary; else it is `kept`.

        if s.top_k > 0 && (s.top_k as usize) < logits.len() {
            kept.extend((0..s.top_k as usize).map_while(|index| walk.at(index)));
            whole = false;
        }
        if s.typical_p < 1.0 {
            if whole {
                take_typical(isa, s.typical_p, &mut walk, distances, kept);
            } else {
                keep_typical(s.typical_p, kept);
            }
            whole = false;
        }
        if s.top_p < 1.0 {
            let bound = f64::from(s.top_p)
                * if whole {
                    total(isa, logits, max, 1.0)
                } else {
                    sum(kept)
                };
            let mut running = 0.0;
            let mut enough = |candidate: Kept| {
                running += f64::from(candidate.weight);
                running >= bound
            };
            if whole {
                for index in 0.. {
                    let Some(candidate) = walk.at(index) else {
                        break;
                    };
                    kept.push(candidate);
                    if enough(candidate) {
                        break;
                    }
                }
            } else if let Some(last) = kept.iter().position(|&candidate| enough(candidate)) {
                kept.truncate(last + 1);
            }
            whole = false;
        }
        if s.min_p > 0.0 {
            if whole {
                // The first weight is 1.
                kept.extend(
                    (0..)
                        .map_while(|index| walk.at(index))
                        .take_while(|candidate| candidate.weight >= s.min_p),
                );
            } else {
                let least = kept[0].weight * s.min_p;
                kept.truncate(
                    kept.partition_point(|candidate| candidate.weight >= least)
                        .max(1),
                );
            }
            whole = false;
        }

        let draw = uniform(s.seed, s.choice_index, step);
        if whole {
            let target = draw * total(isa, logits, max, s.temperature);
            let candidates = (0..).map_while(|index| walk.at(index));
            pick(
                candidates.map(|c| (c.id, exp((c.logit - max) / s.temperature))),
                target,
            )
        } else {
            let first = kept[0].logit;
            kept.iter_mut()
                .for_each(|c| c.weight = exp((c.logit - first) / s.temperature));
            pick(kept.iter().map(|c| (c.id, c.weight)), draw * sum(kept))
        }
    }
}

/// The candidates in order, with their weights at temperature 1.
struct Walk<'a> {
    logits: &'a [f32],
    max: f32,
    order: &'a mut Order,
}

impl Walk<'_> {
    fn at(&mut self, index: usize) -> Option<Kept> {
        let id = self.order.at(self.logits, index)?;
        let logit = self.logits[id.0 as usize];
        Some(Kept {
            id,
            logit,
            weight: exp(logit - self.max),
        })
    }
}

/// Total of a truncated set, in its order.
fn sum(kept: &[Kept]) -> f64 {
    kept.iter()
        .map(|candidate| f64::from(candidate.weight))
        .sum()
}

/// The first whose running sum exceeds `target`; the last one where rounding leaves the sum below it.
fn pick(candidates: impl Iterator<Item = (TokenId, f32)>, target: f64) -> TokenId {
    let mut running = 0.0;
    let mut chosen = None;
    for (id, weight) in candidates {
        running += f64::from(weight);
        chosen = Some(id);
        if running > target {
            break;
        }
    }
    chosen.expect("a finite maximum is a candidate")
}

/// The first candidate of the order: the lowest id of those with the largest logit. Token 0 where there is none.
fn likeliest(isa: Isa, logits: &[f32]) -> TokenId {
    TokenId(argmax(isa, logits) as u32)
}

/// `typical_p` over the vocabulary: those whose surprise is nearest the expected one, lower ids first among equals,
/// until their weights reach `typical_p` of the total.
///
/// With `d = logit - max` and weight `w`, the distance from the entropy is `|sum(w * d) / sum(w) - d|`: the
/// logarithm of the total cancels.
fn take_typical(
    isa: Isa,
    typical_p: f32,
    walk: &mut Walk<'_>,
    distances: &mut Vec<f32>,
    kept: &mut Vec<Kept>,
) {
    let Walk {
        logits,
        max,
        ref mut order,
    } = *walk;
    let (total, moment) = moments(isa, logits, max);
    let mean = moment / total;
    distances.clear();
    distances.extend(
        logits
            .iter()
            .map(|&logit| -(mean - f64::from(logit - max)).abs() as f32),
    );
    order.begin(order::max(distances));
    let bound = f64::from(typical_p) * total;
    let mut running = 0.0;
    for index in 0.. {
        let Some(id) = order.at(distances, index) else {
            break;
        };
        let logit = logits[id.0 as usize];
        let weight = exp(logit - max);
        kept.push(Kept { id, logit, weight });
        running += f64::from(weight);
        if running >= bound {
            break;
        }
    }
    in_order(kept);
}

/// `typical_p` over a truncated set, whose order breaks ties.
fn keep_typical(typical_p: f32, kept: &mut Vec<Kept>) {
    let total = sum(kept);
    let first = kept[0].logit;
    let surprise = |candidate: &Kept| f64::from(candidate.logit - first);
    let moment: f64 = kept
        .iter()
        .map(|candidate| f64::from(candidate.weight) * surprise(candidate))
        .sum();
    let mean = moment / total;
    let distance = |candidate: &Kept| (mean - surprise(candidate)).abs();
    // Stable, so that equals keep the set's order.
    kept.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
    let bound = f64::from(typical_p) * total;
    let mut running = 0.0;
    let last = kept.iter().position(|candidate| {
        running += f64::from(candidate.weight);
        running >= bound
    });
    kept.truncate(last.map_or(kept.len(), |last| last + 1));
    in_order(kept);
}

/// Sorts by (logit falling, id rising).
fn in_order(kept: &mut [Kept]) {
    kept.sort_unstable_by(|a, b| b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id)));
}
