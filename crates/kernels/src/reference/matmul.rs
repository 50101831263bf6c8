//! Definition of the matrix product: one dot product per output element, each one chain over blocks in rising k, starting at +0.
//!
//! | formats | per block | exact because |
//! | --- | --- | --- |
//! | Q4_0, Q5_0 | `acc = fma(d_w * d_x, dot, acc)`, dot of (code - 8 or 16) with the input's codes | abs(dot) <= 32 * 16 * 127 |
//! | Q4_1, Q5_1 | `acc = fma(d_w * d_x, dot, acc)`, then `acc = fma(m_w, s_x, acc)` | dot <= 32 * 31 * 127 |
//! | Q8_0 | `acc = fma(d_w * d_x, dot, acc)` | abs(dot) <= 32 * 128 * 127 < 2^24 |
//! | Q4_K, Q5_K | T = sum of scale_j * dot_j, M = sum of minimum_j * sum_j; `acc = fma(d_w * d_x, T, acc)`, then `acc = fma(-(dmin_w * d_x), M, acc)` | T <= 8 * 63 * 32 * 31 * 127 < 2^26 in i32, one rounding to f32; M <= 8 * 63 * 4064 < 2^24 |
//! | Q6_K | T = sum of scale_j * dot_j over (code - 32); `acc = fma(d_w * d_x, T, acc)` | abs(T) <= 16 * 128 * 16 * 32 * 127 < 2^28 in i32, one rounding; with codes not yet centred < 2^29 |
//! | F32, F16, BF16 | 16 lanes by k mod 16, `lane = fma(w, x, lane)`, then the tree | |
//!
//! `d_w * d_x` is rounded to f32 before it is used.

use super::{LANES, fma, tree};
use crate::block::*;
use crate::{Activations, ColumnsMut, Format, Weights};
use core::ops::Range;
use half::{bf16, f16};

/// `out[t][i]` = dot of weight row `rows.start + i` and input row `t`, for `t` in `tokens`.
#[inline(always)]
pub(crate) fn matmul(
    weights: &Weights<'_>,
    rows: Range<usize>,
    x: &Activations,
    tokens: Range<usize>,
    out: &mut ColumnsMut<'_>,
) {
    for (column, row) in rows.enumerate() {
        let bytes = weights.row(row);
        for token in tokens.clone() {
            out.row_mut(token)[column] = dot(weights.format(), bytes, x, token);
        }
    }
}

#[inline(always)]
fn dot(format: Format, bytes: &[u8], x: &Activations, token: usize) -> f32 {
    match format {
        Format::F32 => dot_float(bytes, x.float(token), f32::from_le_bytes),
        Format::F16 => dot_float(bytes, x.float(token), |b| f16::from_le_bytes(b).to_f32()),
        Format::BF16 => dot_float(bytes, x.float(token), |b| bf16::from_le_bytes(b).to_f32()),
        Format::Q4_0 => dot_offset(bytes, x, token, |b: &BlockQ4_0| {
            (b.d, codes4(&b.qs).map(|q| q as i8 - 8))
        }),
        Format::Q5_0 => dot_offset(bytes, x, token, |b: &BlockQ5_0| {
            (b.d, codes5(&b.qs, b.qh).map(|q| q as i8 - 16))
        }),
        Format::Q8_0 => dot_offset(bytes, x, token, |b: &BlockQ8_0| (b.d, b.qs)),
        Format::Q4_1 => dot_minimum(bytes, x, token, |b: &BlockQ4_1| (b.d, b.m, codes4(&b.qs))),
        Format::Q5_1 => dot_minimum(bytes, x, token, |b: &BlockQ5_1| {
            (b.d, b.m, codes5(&b.qs, b.qh))
        }),
        Format::Q4K => dot_super(bytes, x, token, |b: &BlockQ4K| {
            (b.d, b.dmin, b.scales, b.codes())
        }),
        Format::Q5K => dot_super(bytes, x, token, |b: &BlockQ5K| {
            (b.d, b.dmin, b.scales, b.codes())
        }),
        Format::Q6K => dot_q6k(bytes, x, token),
    }
}

#[inline(always)]
fn dot_float<const N: usize>(bytes: &[u8], x: &[f32], weight: impl Fn([u8; N]) -> f32) -> f32 {
    let (weights, x) = (bytes.as_chunks::<N>().0, &x[..bytes.len() / N]);
    let mut lanes = [0.0; LANES];
    for (weights, x) in weights.chunks(LANES).zip(x.chunks(LANES)) {
        for ((lane, w), x) in lanes.iter_mut().zip(weights).zip(x) {
            *lane = fma(weight(*w), *x, *lane);
        }
    }
    tree(lanes)
}

#[inline(always)]
fn integer_dot(weights: impl Iterator<Item = i32>, codes: &[i8]) -> i32 {
    weights.zip(codes).map(|(w, &x)| w * i32::from(x)).sum()
}

#[inline(always)]
fn dot_offset<B: Block>(
    bytes: &[u8],
    x: &Activations,
    token: usize,
    unpack: impl Fn(&B) -> ([u8; 2], [i8; SMALL]),
) -> f32 {
    let (codes, scales) = x.block32(token);
    let mut acc = 0.0;
    for ((block, x), scale) in B::from_bytes(bytes)
        .iter()
        .zip(codes.chunks_exact(SMALL))
        .zip(scales)
    {
        let (d, w) = unpack(block);
        acc = fma(
            f16_bytes(d) * scale.d,
            integer_dot(w.into_iter().map(i32::from), x) as f32,
            acc,
        );
    }
    acc
}

#[inline(always)]
fn dot_minimum<B: Block>(
    bytes: &[u8],
    x: &Activations,
    token: usize,
    unpack: impl Fn(&B) -> ([u8; 2], [u8; 2], [u8; SMALL]),
) -> f32 {
    let (codes, scales) = x.block32(token);
    let mut acc = 0.0;
    for ((block, x), scale) in B::from_bytes(bytes)
        .iter()
        .zip(codes.chunks_exact(SMALL))
        .zip(scales)
    {
        let (d, m, w) = unpack(block);
        acc = fma(
            f16_bytes(d) * scale.d,
            integer_dot(w.into_iter().map(i32::from), x) as f32,
            acc,
        );
        acc = fma(f16_bytes(m), scale.s, acc);
    }
    acc
}

#[inline(always)]
fn dot_super<B: Block>(
    bytes: &[u8],
    x: &Activations,
    token: usize,
    unpack: impl Fn(&B) -> ([u8; 2], [u8; 2], [u8; 12], [u8; SUPER]),
) -> f32 {
    let (codes, scales, sums) = x.block256(token);
    let mut acc = 0.0;
    for (i, block) in B::from_bytes(bytes).iter().enumerate() {
        let (d, dmin, packed, w) = unpack(block);
        let (w_scales, w_minimums) = scales_and_minimums(&packed);
        let (mut t, mut m) = (0, 0);
        for j in 0..8 {
            let x = &codes[i * SUPER + j * 32..][..32];
            t += i32::from(w_scales[j])
                * integer_dot(w[j * 32..][..32].iter().map(|&q| i32::from(q)), x);
            m += i32::from(w_minimums[j])
                * (i32::from(sums[i * 16 + 2 * j]) + i32::from(sums[i * 16 + 2 * j + 1]));
        }
        acc = fma(f16_bytes(d) * scales[i], t as f32, acc);
        acc = fma(-(f16_bytes(dmin) * scales[i]), m as f32, acc);
    }
    acc
}

#[inline(always)]
fn dot_q6k(bytes: &[u8], x: &Activations, token: usize) -> f32 {
    let (codes, scales, _) = x.block256(token);
    let mut acc = 0.0;
    for (i, block) in BlockQ6K::from_bytes(bytes).iter().enumerate() {
        let w = block.codes();
        let mut t = 0;
        for j in 0..16 {
            let x = &codes[i * SUPER + j * 16..][..16];
            t += i32::from(block.scales[j])
                * integer_dot(w[j * 16..][..16].iter().map(|&q| i32::from(q) - 32), x);
        }
        acc = fma(f16_bytes(block.d) * scales[i], t as f32, acc);
    }
    acc
}
