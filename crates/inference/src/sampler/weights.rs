//! Weights and totals over a whole vocabulary.
//!
//! - A weight is `exp((logit - max) / temperature)` by the kernels' one polynomial, in f32.
//! - A total over the vocabulary is the kernels' sum (16 lanes, a fixed tree) of each 512 ids, these added up in
//!   f64 in rising order: the one order that neither sorts nor depends on an instruction set.
//! - What is not a number weighs nothing.

use spindle_kernels::{Isa, exp_sum};

/// Ids summed in f32 before f64 takes over: short enough to lose nothing, and to stay in the first cache. Part of the
/// definition.
const CHUNK: usize = 512;

/// Sum of the weights of all `logits`, whose largest is `max`.
pub fn total(isa: Isa, logits: &[f32], max: f32, temperature: f32) -> f64 {
    let mut total = 0.0;
    each_chunk(
        isa,
        logits,
        |logit| (logit - max) / temperature,
        |_, _, sum| total += f64::from(sum),
    );
    total
}

/// At temperature 1: the total, and the sum of each weight times `logit - max`.
pub fn moments(isa: Isa, logits: &[f32], max: f32) -> (f64, f64) {
    let (mut total, mut moment) = (0.0, 0.0);
    each_chunk(
        isa,
        logits,
        |logit| logit - max,
        |logits, weights, sum| {
            total += f64::from(sum);
            // A weight of zero may stand beside minus infinity.
            let weighty = weights
                .iter()
                .zip(logits)
                .filter(|(weight, _)| **weight > 0.0);
            moment += weighty
                .map(|(&weight, &logit)| f64::from(weight) * f64::from(logit - max))
                .sum::<f64>();
        },
    );
    (total, moment)
}

/// Calls `sink` with each chunk of logits, its weights (the exponentials of `exponent(logit)`) and their sum.
fn each_chunk(
    isa: Isa,
    logits: &[f32],
    exponent: impl Fn(f32) -> f32,
    mut sink: impl FnMut(&[f32], &[f32], f32),
) {
    let mut weights = [0.0; CHUNK];
    for chunk in logits.chunks(CHUNK) {
        let weights = &mut weights[..chunk.len()];
        for (weight, &logit) in weights.iter_mut().zip(chunk) {
            let exponent = exponent(logit);
            *weight = if exponent.is_nan() {
                f32::NEG_INFINITY
            } else {
                exponent
            };
        }
        let sum = exp_sum(isa, weights, 0.0);
        sink(chunk, weights, sum);
    }
}
