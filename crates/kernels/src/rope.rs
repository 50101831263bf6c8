//! Rotary position embedding: tables in f64, turned in fused f32.
//!
//! - A table is made once per position and step, `[cos[pairs], sin[pairs]]`, and serves all layers and heads.
//! - sin and cos come from `libm`, not from the platform, so that every machine has the same bits.
//!
//! Absent: frequency scaling (linear, NTK, llama-3, YaRN); the caller puts it into `inverse_frequencies` and `magnitude`.

use crate::{Isa, dispatch};

/// Which elements form a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RopePairs {
    /// (0, 1), (2, 3), ...: llama as GGUF stores it.
    Interleaved,
    /// (0, n/2), (1, n/2 + 1), ...: qwen, and llama as safetensors store it.
    Halves,
}

/// theta^(-2i / rotary_dim) for each pair i.
pub fn inverse_frequencies(theta: f64, rotary_dim: usize) -> Vec<f64> {
    (0..rotary_dim / 2)
        .map(|i| libm::pow(theta, -2.0 * i as f64 / rotary_dim as f64))
        .collect()
}

/// Cosines, then sines, of `position * inverse_frequencies[i]`, times `magnitude` (1 unless YaRN scales the attention), rounded once to f32.
///
/// # Panics
/// If `table` is not twice as long as the frequencies.
pub fn rope_table(position: u32, inverse_frequencies: &[f64], magnitude: f64, table: &mut [f32]) {
    let pairs = inverse_frequencies.len();
    assert_eq!(table.len(), 2 * pairs, "table length");
    let (cos, sin) = table.split_at_mut(pairs);
    for ((cos, sin), frequency) in cos.iter_mut().zip(sin).zip(inverse_frequencies) {
        let (s, c) = libm::sincos(f64::from(position) * frequency);
        (*cos, *sin) = ((c * magnitude) as f32, (s * magnitude) as f32);
    }
}

/// Turns the first `table.len()` elements of each head in `heads`, `[heads, head_dim]`.
///
/// # Panics
/// If `heads` is not whole heads, or `table` is longer than a head or odd.
pub fn rope(isa: Isa, pairs: RopePairs, heads: &mut [f32], head_dim: usize, table: &[f32]) {
    assert!(
        table.len().is_multiple_of(2)
            && table.len() <= head_dim
            && heads.len().is_multiple_of(head_dim),
        "rope lengths"
    );
    for head in heads.chunks_exact_mut(head_dim) {
        dispatch::rope(isa, pairs, &mut head[..table.len()], table);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_turn_moves_the_first_of_each_pair_onto_the_second() {
        let mut table = [0.0; 4];
        rope_table(1, &[core::f64::consts::FRAC_PI_2; 2], 2.0, &mut table);
        assert!(table[0].abs() < 1e-7 && table[2] == 2.0);
        for (pairs, expected) in [
            (RopePairs::Interleaved, [0.0, 2.0, 0.0, 6.0, 9.0]),
            (RopePairs::Halves, [0.0, 0.0, 2.0, 4.0, 9.0]),
        ] {
            let mut x = match pairs {
                RopePairs::Interleaved => [1.0, 0.0, 3.0, 0.0, 9.0],
                RopePairs::Halves => [1.0, 2.0, 0.0, 0.0, 9.0],
            };
            rope(Isa::Scalar, pairs, &mut x, 5, &table);
            for (x, expected) in x.iter().zip(expected) {
                assert!((x - expected).abs() < 1e-5, "{pairs:?}: {x} {expected}");
            }
        }
    }

    #[test]
    fn frequencies_fall_from_one() {
        let f = inverse_frequencies(10_000.0, 64);
        assert_eq!((f.len(), f[0]), (32, 1.0));
        assert!((f[16] - 0.01).abs() < 1e-15);
    }
}
