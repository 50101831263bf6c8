//! Definitions of exp, norms, softmax, the gate, RoPE and the like.

use super::{LANES, fma, tree};
use crate::RopePairs;

/// Adding and subtracting this rounds to an integer, ties to even, for magnitudes below 2^22; the sum's low bits are the integer.
pub(crate) const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts: the nearest f32 and the nearest f32 to what is missing.
#[allow(
    clippy::excessive_precision,
    clippy::approx_constant,
    reason = "the digits name the f32"
)]
pub(crate) const LN2: [f32; 2] = [0.693_147_182_464_599_6, -1.904_654_323_148_236e-9];
/// Results below the smallest normal number are +0.
pub(crate) const EXP_MIN: f32 = -87.336_54;
/// Above this the result stays that of the bound, 2.39e38: 2^127 is the largest power a single factor can hold.
pub(crate) const EXP_MAX: f32 = 88.375;
/// exp(r) = 1 + r + r^2 * p(r) for abs(r) <= ln 2 / 2; coefficients of p from r^5 down.
#[allow(clippy::excessive_precision, reason = "the digits name the f32")]
pub(crate) const EXP: [f32; 6] = [
    1.987_569_15e-4,
    1.398_199_95e-3,
    8.333_451_9e-3,
    4.166_579_6e-2,
    1.666_666_55e-1,
    5.000_000_1e-1,
];

/// e^x: at most 2 units in the last place off between [`EXP_MIN`] and [`EXP_MAX`]; +0 below, constant above, NaN for NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let bounded = if EXP_MAX < x { EXP_MAX } else { x };
    let bounded = if EXP_MIN > bounded { EXP_MIN } else { bounded };
    let shifted = fma(bounded, core::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma(n, -LN2[1], fma(n, -LN2[0], bounded));
    let mut p = EXP[0];
    for c in &EXP[1..] {
        p = fma(p, r, *c);
    }
    let p = fma(p, r * r, r) + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    if x < EXP_MIN { 0.0 } else { p * power }
}

/// x / (1 + e^-x)
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// `gate[i] = silu(gate[i]) * up[i]`
#[inline(always)]
pub(crate) fn silu_mul(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = silu(*gate) * up;
    }
}

/// `x[i] += y[i]`
#[inline(always)]
pub(crate) fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// `x[i] *= factor`
#[inline(always)]
pub(crate) fn scale(x: &mut [f32], factor: f32) {
    for x in x {
        *x *= factor;
    }
}

/// Sum in 16 lanes and the tree.
#[inline(always)]
pub(crate) fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    for x in x.chunks(LANES) {
        for (lane, x) in lanes.iter_mut().zip(x) {
            *lane += x;
        }
    }
    tree(lanes)
}

/// Sum of squares in 16 lanes and the tree.
#[inline(always)]
pub(crate) fn sum_of_squares(x: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    for x in x.chunks(LANES) {
        for (lane, x) in lanes.iter_mut().zip(x) {
            *lane = fma(*x, *x, *lane);
        }
    }
    tree(lanes)
}

/// 1 / sqrt(mean of squares + eps): the factor of [`rms_norm`].
#[inline(always)]
pub(crate) fn rms_factor(sum_of_squares: f32, len: usize, eps: f32) -> f32 {
    1.0 / (sum_of_squares / len as f32 + eps).sqrt()
}

/// `out[i] = (x[i] * factor) * weight[i]`
#[inline(always)]
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let factor = rms_factor(sum_of_squares(x), x.len(), eps);
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = (x * factor) * weight;
    }
}

/// The largest element, NaN passed over; -inf if there is none.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    x.iter()
        .fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max })
}

/// `x[i] = exp(x[i] - max)`; returns the sum in 16 lanes.
#[inline(always)]
pub(crate) fn exp_sum(x: &mut [f32], max: f32) -> f32 {
    for x in x.iter_mut() {
        *x = exp(*x - max);
    }
    sum(x)
}

/// Index of the largest element, the first among equals, NaN passed over; 0 if there is none.
#[inline(always)]
pub(crate) fn argmax(x: &[f32]) -> usize {
    let max = max(x);
    x.iter().position(|&x| x == max).unwrap_or(0)
}

/// Turns each pair (a, b) by the angle whose cosines come first in `table`, sines second:
/// a' = fma(a, cos, -(b * sin)), b' = fma(a, sin, b * cos).
#[inline(always)]
pub(crate) fn rope(pairs: RopePairs, x: &mut [f32], table: &[f32]) {
    let half = table.len() / 2;
    let angles = table[..half].iter().zip(&table[half..]);
    match pairs {
        RopePairs::Interleaved => {
            for ([a, b], (&cos, &sin)) in x.as_chunks_mut().0.iter_mut().zip(angles) {
                (*a, *b) = turn(*a, *b, cos, sin);
            }
        }
        RopePairs::Halves => {
            let (first, second) = x[..2 * half].split_at_mut(half);
            for ((a, b), (&cos, &sin)) in first.iter_mut().zip(second).zip(angles) {
                (*a, *b) = turn(*a, *b, cos, sin);
            }
        }
    }
}

#[inline(always)]
fn turn(a: f32, b: f32, cos: f32, sin: f32) -> (f32, f32) {
    (fma(a, cos, -(b * sin)), fma(a, sin, b * cos))
}
