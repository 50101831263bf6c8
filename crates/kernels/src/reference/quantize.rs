//! Definition of activation quantization and of dequantized weights.

use crate::activations::Scale32;
use crate::block::*;
use crate::{Format, Weights};
use half::{bf16, f16};

/// Blocks below this magnitude count as zero: 127 / magnitude must not overflow.
pub(crate) const TINY: f32 = f32::from_bits((127 - 100) << 23);

/// Quantizes one block; returns `d`. Rounding by ties to even is the conversion of `round_ties_even`.
#[inline(always)]
fn quantize_block(x: &[f32], codes: &mut [i8]) -> f32 {
    // Magnitudes compare like their bits, and NaN is above infinity: no order of the comparison can lose it.
    let largest = f32::from_bits(
        x.iter()
            .fold(0, |largest, x| largest.max(x.to_bits() & 0x7fff_ffff)),
    );
    if largest < TINY || !largest.is_finite() {
        codes.fill(0);
        return if largest < TINY { 0.0 } else { f32::NAN };
    }
    let inverse = 127.0 / largest;
    for (code, x) in codes.iter_mut().zip(x) {
        *code = (x * inverse).round_ties_even() as i8;
    }
    largest / 127.0
}

/// Blocks of 32: codes, `d`, `d * sum` and the sum (at most 32 * 127).
#[inline(always)]
pub(crate) fn quantize32(x: &[f32], codes: &mut [i8], scales: &mut [Scale32]) {
    for ((x, codes), scale) in x
        .chunks_exact(SMALL)
        .zip(codes.chunks_exact_mut(SMALL))
        .zip(scales)
    {
        let d = quantize_block(x, codes);
        let sum = codes.iter().map(|&c| i32::from(c)).sum();
        *scale = Scale32 {
            d,
            s: d * sum as f32,
            sum,
        };
    }
}

/// Blocks of 256: codes, `d`, and sums per 16 (at most 16 * 127).
#[inline(always)]
pub(crate) fn quantize256(x: &[f32], codes: &mut [i8], scales: &mut [f32], sums: &mut [i16]) {
    for ((x, codes), d) in x
        .chunks_exact(SUPER)
        .zip(codes.chunks_exact_mut(SUPER))
        .zip(scales)
    {
        *d = quantize_block(x, codes);
    }
    for (codes, sum) in codes.chunks_exact(16).zip(sums) {
        *sum = codes.iter().map(|&c| i16::from(c)).sum();
    }
}

/// One row of weights as f32, as GGUF defines the format. Each product of scale and code is exact; adding a minimum rounds once.
#[inline(always)]
pub(crate) fn dequantize_row(weights: &Weights<'_>, row: usize, out: &mut [f32]) {
    let bytes = weights.row(row);
    match weights.format() {
        Format::F32 => bytes
            .as_chunks()
            .0
            .iter()
            .zip(out)
            .for_each(|(b, x)| *x = f32::from_le_bytes(*b)),
        Format::F16 => bytes
            .as_chunks()
            .0
            .iter()
            .zip(out)
            .for_each(|(b, x)| *x = f16::from_le_bytes(*b).to_f32()),
        Format::BF16 => bytes
            .as_chunks()
            .0
            .iter()
            .zip(out)
            .for_each(|(b, x)| *x = bf16::from_le_bytes(*b).to_f32()),
        Format::Q4_0 => each(bytes, out, |b: &BlockQ4_0| {
            codes4(&b.qs).map(|q| f16_bytes(b.d) * (f32::from(q) - 8.0))
        }),
        Format::Q4_1 => each(bytes, out, |b: &BlockQ4_1| {
            codes4(&b.qs).map(|q| f16_bytes(b.d) * f32::from(q) + f16_bytes(b.m))
        }),
        Format::Q5_0 => each(bytes, out, |b: &BlockQ5_0| {
            codes5(&b.qs, b.qh).map(|q| f16_bytes(b.d) * (f32::from(q) - 16.0))
        }),
        Format::Q5_1 => each(bytes, out, |b: &BlockQ5_1| {
            codes5(&b.qs, b.qh).map(|q| f16_bytes(b.d) * f32::from(q) + f16_bytes(b.m))
        }),
        Format::Q8_0 => each(bytes, out, |b: &BlockQ8_0| {
            b.qs.map(|q| f16_bytes(b.d) * f32::from(q))
        }),
        Format::Q4K => each(bytes, out, |b: &BlockQ4K| {
            k_values(b.d, b.dmin, &b.scales, b.codes())
        }),
        Format::Q5K => each(bytes, out, |b: &BlockQ5K| {
            k_values(b.d, b.dmin, &b.scales, b.codes())
        }),
        Format::Q6K => each::<_, SUPER>(bytes, out, |b: &BlockQ6K| {
            let codes = b.codes();
            core::array::from_fn(|k| {
                f16_bytes(b.d) * f32::from(b.scales[k / 16]) * (f32::from(codes[k]) - 32.0)
            })
        }),
    }
}

#[inline(always)]
fn each<B: Block, const N: usize>(bytes: &[u8], out: &mut [f32], values: impl Fn(&B) -> [f32; N]) {
    for (block, out) in B::from_bytes(bytes).iter().zip(out.as_chunks_mut().0) {
        *out = values(block);
    }
}

#[inline(always)]
fn k_values(d: [u8; 2], dmin: [u8; 2], packed: &[u8; 12], codes: [u8; SUPER]) -> [f32; SUPER] {
    let (scales, minimums) = scales_and_minimums(packed);
    let (d, dmin) = (f16_bytes(d), f16_bytes(dmin));
    core::array::from_fn(|k| {
        d * f32::from(scales[k / 32]) * f32::from(codes[k]) - dmin * f32::from(minimums[k / 32])
    })
}
