//! Element-wise operations and sums for any [`Wide`]: whole 16s here, the rest by the definition's own steps.

use super::wide::Wide;
use crate::activations::Scale32;
use crate::block::{SMALL, SUPER};
use crate::reference::elementwise as definition;
use crate::reference::elementwise::{EXP, EXP_MAX, EXP_MIN, LN2, ROUND};
use crate::reference::quantize::TINY;
use crate::reference::{fma, tree};

/// The definition's exp, 16 at a time.
#[inline(always)]
pub(super) fn exp<S: Wide>(s: S, x: S::V) -> S::V {
    // NaN passes: min and max give their second operand unless the first wins.
    let bounded = s.max(s.splat(EXP_MIN), s.min(s.splat(EXP_MAX), x));
    let shifted = s.fma(bounded, s.splat(core::f32::consts::LOG2_E), s.splat(ROUND));
    let n = s.sub(shifted, s.splat(ROUND));
    let r = s.fma(n, s.splat(-LN2[1]), s.fma(n, s.splat(-LN2[0]), bounded));
    let mut p = s.splat(EXP[0]);
    for c in &EXP[1..] {
        p = s.fma(p, r, s.splat(*c));
    }
    let p = s.add(s.fma(p, s.mul(r, r), r), s.splat(1.0));
    s.zero_below(x, s.splat(EXP_MIN), s.mul(p, s.power(shifted)))
}

#[inline(always)]
pub(super) fn silu_mul<S: Wide>(s: S, gate: &mut [f32], up: &[f32]) {
    let (gates, gate_rest) = gate.as_chunks_mut::<16>();
    let (ups, up_rest) = up.as_chunks::<16>();
    for (gate, up) in gates.iter_mut().zip(ups) {
        // SAFETY: chunks of 16.
        unsafe {
            let g = s.load(gate.as_ptr());
            let negative = s.mul(g, s.splat(-1.0));
            let silu = s.div(g, s.add(s.splat(1.0), exp(s, negative)));
            s.store(gate.as_mut_ptr(), s.mul(silu, s.load(up.as_ptr())));
        }
    }
    definition::silu_mul(gate_rest, up_rest);
}

#[inline(always)]
pub(super) fn rms_norm<S: Wide>(s: S, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let (chunks, rest) = x.as_chunks::<16>();
    let mut acc = s.splat(0.0);
    for x in chunks {
        // SAFETY: a chunk of 16.
        let x = unsafe { s.load(x.as_ptr()) };
        acc = s.fma(x, x, acc);
    }
    let mut lanes = s.lanes(acc);
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = fma(*x, *x, *lane);
    }
    let factor = definition::rms_factor(tree(lanes), x.len(), eps);
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = (x * factor) * weight;
    }
}

#[inline(always)]
pub(super) fn max<S: Wide>(s: S, x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<16>();
    let mut acc = s.splat(f32::NEG_INFINITY);
    for x in chunks {
        // SAFETY: a chunk of 16.
        acc = s.max(unsafe { s.load(x.as_ptr()) }, acc);
    }
    let largest = definition::max(&s.lanes(acc));
    let rest = definition::max(rest);
    if rest > largest { rest } else { largest }
}

#[inline(always)]
pub(super) fn argmax<S: Wide>(s: S, x: &[f32]) -> usize {
    let largest = max(s, x);
    x.iter().position(|&x| x == largest).unwrap_or(0)
}

#[inline(always)]
pub(super) fn exp_sum<S: Wide>(s: S, x: &mut [f32], max: f32) -> f32 {
    let (chunks, rest) = x.as_chunks_mut::<16>();
    let mut acc = s.splat(0.0);
    for x in chunks {
        // SAFETY: a chunk of 16.
        unsafe {
            let e = exp(s, s.sub(s.load(x.as_ptr()), s.splat(max)));
            s.store(x.as_mut_ptr(), e);
            acc = s.add(acc, e);
        }
    }
    let mut lanes = s.lanes(acc);
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *x = definition::exp(*x - max);
        *lane += *x;
    }
    tree(lanes)
}

/// Codes of one block; returns `d`.
#[inline(always)]
fn quantize_block<S: Wide, const N: usize>(s: S, x: &[f32; N], codes: &mut [i8; N]) -> f32 {
    const { assert!(N.is_multiple_of(16)) };
    let mut largest = s.splat(0.0);
    for x in x.as_chunks::<16>().0 {
        // SAFETY: a chunk of 16.
        largest = s.max_magnitude(largest, unsafe { s.load(x.as_ptr()) });
    }
    let largest = f32::from_bits(
        s.lanes(largest)
            .iter()
            .fold(0, |largest, x| largest.max(x.to_bits())),
    );
    if largest < TINY || !largest.is_finite() {
        codes.fill(0);
        return if largest < TINY { 0.0 } else { f32::NAN };
    }
    let inverse = s.splat(127.0 / largest);
    for (codes, x) in codes
        .as_chunks_mut::<16>()
        .0
        .iter_mut()
        .zip(x.as_chunks::<16>().0)
    {
        // SAFETY: chunks of 16; a product is at most 127 and a rounding error away from zero.
        unsafe { s.store_i8(codes.as_mut_ptr(), s.mul(s.load(x.as_ptr()), inverse)) };
    }
    largest / 127.0
}

#[inline(always)]
pub(super) fn quantize32<S: Wide>(s: S, x: &[f32], codes: &mut [i8], scales: &mut [Scale32]) {
    let blocks = x
        .as_chunks::<SMALL>()
        .0
        .iter()
        .zip(codes.as_chunks_mut::<SMALL>().0);
    for ((x, codes), scale) in blocks.zip(scales) {
        let d = quantize_block(s, x, codes);
        let sum = codes.iter().map(|&c| i32::from(c)).sum();
        *scale = Scale32 {
            d,
            s: d * sum as f32,
            sum,
        };
    }
}

#[inline(always)]
pub(super) fn quantize256<S: Wide>(
    s: S,
    x: &[f32],
    codes: &mut [i8],
    scales: &mut [f32],
    sums: &mut [i16],
) {
    let blocks = x
        .as_chunks::<SUPER>()
        .0
        .iter()
        .zip(codes.as_chunks_mut::<SUPER>().0);
    for ((x, codes), d) in blocks.zip(scales) {
        *d = quantize_block(s, x, codes);
    }
    for (codes, sum) in codes.as_chunks::<16>().0.iter().zip(sums) {
        *sum = codes.iter().map(|&c| i16::from(c)).sum();
    }
}
