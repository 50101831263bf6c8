//! Weights and totals over a whole vocabulary.
//!
//! - A weight is `exp((logit - max) / temperature)` by the kernels' one polynomial, in f32.
//! - A total over the vocabulary is taken in 16 f64 lanes by `id mod 16`, added up in rising lane order: the one order
//!   that neither sorts nor depends on an instruction set.

use spindle_kernels::Isa;

/// Logits taken at once: what stays in the first cache.
const CHUNK: usize = 512;
const LANES: usize = 16;

/// One weight: `exp(x)`.
pub fn exp(x: f32) -> f32 {
    spindle_kernels::exp(x)
}

/// Sum of the weights of all `logits`, whose largest is `max`.
pub fn total(isa: Isa, logits: &[f32], max: f32, temperature: f32) -> f64 {
    let mut lanes = [0.0; LANES];
    each_chunk(
        isa,
        logits,
        |logit| (logit - max) / temperature,
        |_, weights| add_lanes(&mut lanes, weights.iter().map(|&w| f64::from(w))),
    );
    lanes.iter().sum()
}

/// At temperature 1: the total, and the sum of each weight times `logit - max`.
pub fn moments(isa: Isa, logits: &[f32], max: f32) -> (f64, f64) {
    let (mut totals, mut moments) = ([0.0; LANES], [0.0; LANES]);
    each_chunk(
        isa,
        logits,
        |logit| logit - max,
        |logits, weights| {
            add_lanes(&mut totals, weights.iter().map(|&w| f64::from(w)));
            // A weight of zero may stand beside minus infinity.
            let products = weights.iter().zip(logits).map(|(&w, &l)| {
                if w == 0.0 {
                    0.0
                } else {
                    f64::from(w) * f64::from(l - max)
                }
            });
            add_lanes(&mut moments, products);
        },
    );
    (totals.iter().sum(), moments.iter().sum())
}

/// Calls `sink` with each chunk of logits and its weights, the exponentials of `exponent(logit)`.
fn each_chunk(
    isa: Isa,
    logits: &[f32],
    exponent: impl Fn(f32) -> f32,
    mut sink: impl FnMut(&[f32], &[f32]),
) {
    let mut weights = [0.0; CHUNK];
    for chunk in logits.chunks(CHUNK) {
        let weights = &mut weights[..chunk.len()];
        for (weight, &logit) in weights.iter_mut().zip(chunk) {
            // What is not a number has no weight.
            let exponent = exponent(logit);
            *weight = if exponent.is_nan() {
                f32::NEG_INFINITY
            } else {
                exponent
            };
        }
        spindle_kernels::exp_in_place(isa, weights);
        sink(chunk, weights);
    }
}

/// Adds each value to the lane of its index. Chunks start at a multiple of the lanes.
fn add_lanes(lanes: &mut [f64; LANES], values: impl Iterator<Item = f64>) {
    values
        .enumerate()
        .for_each(|(index, value)| lanes[index % LANES] += value);
}
