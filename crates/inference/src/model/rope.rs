//! Rotary position embedding: each pair's frequency, with the model's stretching worked in.
//!
//! Everything is f64 by `libm`, so that every machine has the same bits; the kernels round once, in the table.

use std::f64::consts::TAU;

use crate::formats::{Rope, RopeScaling};

/// What the kernels' tables are made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotation {
    /// Radians a position, for each pair.
    pub inverse_frequencies: Vec<f64>,
    /// Factor on cosine and sine.
    pub magnitude: f64,
}

impl Rotation {
    /// A model's rotation. `freq_factors` is the tensor of that name, where the model has it.
    pub fn new(rope: &Rope, freq_factors: Option<&[f32]>) -> Self {
        let mut frequencies = spindle_kernels::inverse_frequencies(f64::from(rope.base), rope.dims);
        let mut magnitude = 1.0;
        match rope.scaling {
            RopeScaling::None => {}
            RopeScaling::Linear { factor } => {
                frequencies.iter_mut().for_each(|f| *f /= f64::from(factor))
            }
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context_len,
            } => {
                let [factor, low, high] =
                    [factor, low_freq_factor, high_freq_factor].map(f64::from);
                for f in &mut frequencies {
                    // Turns over the original context; between the two bounds the two frequencies are mixed.
                    let turns = original_context_len as f64 * *f / TAU;
                    let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    *f = *f / factor * (1.0 - kept) + *f * kept;
                }
            }
            RopeScaling::Yarn {
                factor,
                original_context_len,
                attention_factor,
                beta_fast,
                beta_slow,
            } => {
                magnitude = f64::from(attention_factor);
                let pair_of =
                    |turns: f32| pair_that_turns(rope, original_context_len, f64::from(turns));
                let first = libm::floor(pair_of(beta_fast)).max(0.0);
                let last = libm::ceil(pair_of(beta_slow)).min(rope.dims as f64 - 1.0);
                // A ramp of no length is a step.
                let length = if last > first { last - first } else { 0.001 };
                for (pair, f) in frequencies.iter_mut().enumerate() {
                    let stretched = ((pair as f64 - first) / length).clamp(0.0, 1.0);
                    *f = *f / f64::from(factor) * stretched + *f * (1.0 - stretched);
                }
            }
        }
        for (f, factor) in frequencies.iter_mut().zip(freq_factors.unwrap_or_default()) {
            *f /= f64::from(*factor);
        }
        Self {
            inverse_frequencies: frequencies,
            magnitude,
        }
    }
}

/// The (fractional) pair that makes so many turns over the original context.
fn pair_that_turns(rope: &Rope, original_context_len: usize, turns: f64) -> f64 {
    rope.dims as f64 * libm::log(original_context_len as f64 / (turns * TAU))
        / (2.0 * libm::log(f64::from(rope.base)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::RopeStyle;

    fn rotation(scaling: RopeScaling, freq_factors: Option<&[f32]>) -> Rotation {
        let rope = Rope {
            style: RopeStyle::HalfSplit,
            base: 10_000.0,
            dims: 8,
            scaling,
            freq_factors: freq_factors.is_some(),
        };
        Rotation::new(&rope, freq_factors)
    }

    #[track_caller]
    fn assert_close(found: &Rotation, expected: [f64; 4]) {
        for (found, expected) in found.inverse_frequencies.iter().zip(expected) {
            assert!((found / expected - 1.0).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn stretching_follows_its_formulas() {
        assert_close(&rotation(RopeScaling::None, None), [1.0, 0.1, 0.01, 0.001]);
        assert_close(
            &rotation(RopeScaling::Linear { factor: 4.0 }, None),
            [0.25, 0.025, 0.0025, 0.00025],
        );
        assert_close(
            &rotation(RopeScaling::None, Some(&[1.0, 2.0, 4.0, 8.0])),
            [1.0, 0.05, 0.0025, 0.000_125],
        );
        // Turns over 628.3 positions: 100, 10, 1, 0.1. Kept above 4, stretched below 1 (at 1: in full).
        let llama3 = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context_len: 628,
        };
        assert_close(&rotation(llama3, None), [1.0, 0.1, 0.01 / 8.0, 0.001 / 8.0]);
        // Between: a wavelength that turns 2.5 times is half way.
        let llama3 = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context_len: 1571,
        };
        let kept = (1571.0 * 0.01 / TAU - 1.0) / 3.0;
        assert_close(
            &rotation(llama3, None),
            [
                1.0,
                0.1,
                0.01 / 8.0 * (1.0 - kept) + 0.01 * kept,
                0.001 / 8.0,
            ],
        );
    }

    #[test]
    fn yarn_ramps_between_its_turns_and_scales_the_table() {
        // Pair p turns 100 / 10^p times over 628 positions: from pair 0 (100 turns) to pair 2 (1 turn).
        let yarn = RopeScaling::Yarn {
            factor: 4.0,
            original_context_len: 628,
            attention_factor: 1.5,
            beta_fast: 99.0,
            beta_slow: 1.0,
        };
        let found = rotation(yarn, None);
        assert_eq!(found.magnitude, 1.5);
        assert_close(
            &found,
            [1.0, 0.1 / 4.0 * 0.5 + 0.1 * 0.5, 0.01 / 4.0, 0.001 / 4.0],
        );
    }
}
