//! Super-blocks of 256 for the driver in [`super::quant`]: Q4_K, Q5_K and Q6_K.
//!
//! - Scales and minimums are unpacked once a panel; codes come 64 at a time, so that one token can use them while they are in registers.
//! - Q6_K multiplies its codes as they are, 32 too large; its scales times the sums of the activations take that back, in integers.

use super::quant::{Blocks, Input, prefetch};
use super::rows::Rows;
use crate::block::SUPER;

/// Codes of `BITS`: 4 is Q4_K, 5 is Q5_K, 6 is Q6_K.
pub(super) struct Super<const BITS: u32, const BYTES: usize>;

/// Everything of a super-block but its codes.
struct Head<V: Rows> {
    /// one for each 32 codes; Q6_K: for each 16
    scales: [V::I; 16],
    /// i16 pairs that meet the sums per 16: minimums twice, or Q6_K's scales
    pairs: [V::I; 8],
    d: V::F,
    dmin: V::F,
}

/// A block of 256 columns.
pub(super) struct SuperPanel<V: Rows> {
    head: Head<V>,
    codes: [[V::I; 4]; 16],
}

impl<V: Rows, const BITS: u32, const BYTES: usize> Blocks<V> for Super<BITS, BYTES> {
    const LEN: usize = SUPER;
    const BYTES: usize = BYTES;
    const CHUNK: usize = 4;
    type Panel = SuperPanel<V>;

    #[inline(always)]
    unsafe fn unpack(v: V, base: *const u8, stride: usize) -> SuperPanel<V> {
        // SAFETY: the caller's promise.
        unsafe {
            let mut panel = SuperPanel {
                head: head::<V, BITS>(v, base, stride),
                codes: [[v.splat(0); 4]; 16],
            };
            macro_rules! part {
                ($part:literal) => {
                    let codes = codes::<V, BITS, $part>(v, base, stride);
                    for i in 0..4 {
                        panel.codes[place::<BITS>($part, i)] = codes[i];
                    }
                };
            }
            part!(0);
            part!(1);
            part!(2);
            part!(3);
            panel
        }
    }

    #[inline(always)]
    unsafe fn step_one(
        v: V,
        base: *const u8,
        stride: usize,
        x: &Input,
        block: usize,
        token: usize,
        acc: &mut [V::F; 1],
        ahead: *const u8,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let head = head::<V, BITS>(v, base, stride);
            let mut totals = [v.splat(0)];
            macro_rules! part {
                ($part:literal) => {
                    let all = V::LANES * BYTES;
                    prefetch(ahead, all * $part / 4..all * ($part + 1) / 4, all);
                    let codes = codes::<V, BITS, $part>(v, base, stride);
                    if BITS == 6 {
                        for i in 0..4 {
                            add::<V, BITS, 4, 1>(
                                v,
                                &mut totals,
                                &head,
                                &codes[i],
                                place::<BITS>($part, i),
                                x,
                                block,
                                token,
                            );
                        }
                    } else {
                        for (i, codes) in codes.as_flattened().as_chunks().0.iter().enumerate() {
                            add::<V, BITS, 8, 1>(
                                v,
                                &mut totals,
                                &head,
                                codes,
                                2 * $part + i,
                                x,
                                block,
                                token,
                            );
                        }
                    }
                };
            }
            part!(0);
            part!(1);
            part!(2);
            part!(3);
            fold::<V, BITS, 1>(v, &head, &totals, x, block, token, acc);
        }
    }

    #[inline(always)]
    unsafe fn step<const T: usize>(
        v: V,
        panel: &SuperPanel<V>,
        x: &Input,
        block: usize,
        token: usize,
        acc: &mut [V::F; T],
    ) {
        // SAFETY: the caller's promise: block and tokens are inside the input.
        unsafe {
            let mut totals = [v.splat(0); T];
            if BITS == 6 {
                for (j, codes) in panel.codes.iter().enumerate() {
                    add::<V, BITS, 4, T>(v, &mut totals, &panel.head, codes, j, x, block, token);
                }
            } else {
                for (j, codes) in panel.codes.as_flattened().as_chunks().0.iter().enumerate() {
                    add::<V, BITS, 8, T>(v, &mut totals, &panel.head, codes, j, x, block, token);
                }
            }
            fold::<V, BITS, T>(v, &panel.head, &totals, x, block, token, acc);
        }
    }
}

/// Which sixteen codes [`codes`] gives as element `i` of `part`.
#[inline(always)]
fn place<const BITS: u32>(part: usize, i: usize) -> usize {
    // Q6_K: part is (half, side), i the 32 codes of the half that share these bytes.
    if BITS == 6 {
        part / 2 * 8 + i * 2 + part % 2
    } else {
        part * 4 + i
    }
}

/// Adds the dots of the `j`-th `4 * N` codes, times their scale.
///
/// # Safety
/// As [`Blocks::step`].
#[allow(
    clippy::too_many_arguments,
    reason = "a step of `Blocks::step`, which has them"
)]
#[inline(always)]
unsafe fn add<V: Rows, const BITS: u32, const N: usize, const T: usize>(
    v: V,
    totals: &mut [V::I; T],
    head: &Head<V>,
    codes: &[V::I; N],
    j: usize,
    x: &Input,
    block: usize,
    token: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let x_codes = x
            .codes
            .add(token * x.code_stride + block * SUPER + j * 4 * N);
        v.scaled::<BITS, N, T>(totals, codes, head.scales[j], x_codes, x.code_stride);
    }
}

/// The float step.
///
/// # Safety
/// As [`Blocks::step`].
#[inline(always)]
unsafe fn fold<V: Rows, const BITS: u32, const T: usize>(
    v: V,
    head: &Head<V>,
    totals: &[V::I; T],
    x: &Input,
    block: usize,
    token: usize,
    acc: &mut [V::F; T],
) {
    for t in 0..T {
        let at = (token + t) * x.blocks + block;
        // SAFETY: the caller's promise.
        let (sums, d) = unsafe {
            (
                x.sums16.add(at * 16).cast::<i32>(),
                v.splat_f32(*x.scales256.add(at)),
            )
        };
        let mut m = v.splat(0);
        for j in 0..8 {
            // SAFETY: 16 sums of two bytes.
            m = v.add_pairs(
                m,
                head.pairs[j],
                v.splat(unsafe { sums.add(j).read_unaligned() }),
            );
        }
        if BITS == 6 {
            // 32 * m may wrap around; the difference fits, so wrapping is exact.
            acc[t] = v.fma(
                v.mul(head.d, d),
                v.to_f32(v.sub(totals[t], v.shl::<5>(m))),
                acc[t],
            );
        } else {
            acc[t] = v.fma(v.mul(head.d, d), v.to_f32(totals[t]), acc[t]);
            acc[t] = v.fnma(v.mul(head.dmin, d), v.to_f32(m), acc[t]);
        }
    }
}

/// Q4_K and Q5_K: d, dmin, 12 bytes of scales and minimums, then fifth bits, then nibbles.
/// Q6_K: 128 bytes of low nibbles, 64 of high pairs, 16 signed scales, d.
///
/// # Safety
/// As [`Blocks::unpack`].
#[inline(always)]
unsafe fn head<V: Rows, const BITS: u32>(v: V, base: *const u8, stride: usize) -> Head<V> {
    // SAFETY: offsets are inside the block: 16 bytes in front, or Q6_K's last 18.
    unsafe {
        if BITS == 6 {
            let scales = v.load16(base.add(192), stride);
            return Head {
                scales: each!(v.splat(0), |j| v.scale_signed(scales[j / 4], j % 4)),
                pairs: each!(v.splat(0), |j| v.signed_pair(scales[j / 2], j % 2)),
                d: v.load_f16(base.add(208), stride),
                dmin: v.splat_f32(0.0),
            };
        }
        let [d, a, b, c] = v.load16(base, stride);
        let (d, dmin) = v.halves(d);
        let (six, four, top) = (
            v.splat(0x3f3f_3f3f),
            v.splat(0x0f0f_0f0f),
            v.splat(0x3030_3030),
        );
        let scales = [
            v.and(a, six),
            v.or(v.and(c, four), v.and(v.shr::<2>(a), top)),
        ];
        let minimums = [
            v.and(b, six),
            v.or(v.and(v.shr::<4>(c), four), v.and(v.shr::<2>(b), top)),
        ];
        Head {
            scales: each!(v.splat(0), |j| if j < 8 {
                v.scale_unsigned(scales[j / 4], j % 4)
            } else {
                v.splat(0)
            }),
            pairs: each!(v.splat(0), |j| v.twice(minimums[j / 4], j % 4)),
            d,
            dmin,
        }
    }
}

/// 64 codes in sixteens; [`place`] says which.
///
/// # Safety
/// As [`Blocks::unpack`].
#[inline(always)]
unsafe fn codes<V: Rows, const BITS: u32, const PART: usize>(
    v: V,
    base: *const u8,
    stride: usize,
) -> [[V::I; 4]; 4] {
    let (four, one, top) = (
        v.splat(0x0f0f_0f0f),
        v.splat(0x1010_1010),
        v.splat(0x3030_3030),
    );
    let mut codes = [[v.splat(0); 4]; 4];
    // SAFETY: offsets are inside the block of 144, 176 or 210 bytes.
    unsafe {
        if BITS == 6 {
            let (half, side) = (PART / 2, PART % 2);
            let low = v.load16(base.add(half * 64 + side * 16), stride);
            let next = v.load16(base.add(half * 64 + 32 + side * 16), stride);
            let high = v.load16(base.add(128 + half * 32 + side * 16), stride);
            for g in 0..4 {
                codes[0][g] = v.or(v.and(low[g], four), v.and(v.shl::<4>(high[g]), top));
                codes[1][g] = v.or(v.and(next[g], four), v.and(v.shl::<2>(high[g]), top));
                codes[2][g] = v.or(v.and(v.shr::<4>(low[g]), four), v.and(high[g], top));
                codes[3][g] = v.or(
                    v.and(v.shr::<4>(next[g]), four),
                    v.and(v.shr::<2>(high[g]), top),
                );
            }
            return codes;
        }
        for side in 0..2 {
            let nibbles = v.load16(
                base.add(if BITS == 5 { 48 } else { 16 } + PART * 32 + side * 16),
                stride,
            );
            for g in 0..4 {
                codes[side][g] = v.and(nibbles[g], four);
                codes[2 + side][g] = v.and(v.shr::<4>(nibbles[g]), four);
            }
            if BITS == 5 {
                let bits = v.load16(base.add(16 + side * 16), stride);
                for g in 0..4 {
                    let (low, next) = match PART {
                        0 => (v.shl::<4>(bits[g]), v.shl::<3>(bits[g])),
                        1 => (v.shl::<2>(bits[g]), v.shl::<1>(bits[g])),
                        2 => (bits[g], v.shr::<1>(bits[g])),
                        _ => (v.shr::<2>(bits[g]), v.shr::<3>(bits[g])),
                    };
                    codes[side][g] = v.or(codes[side][g], v.and(low, one));
                    codes[2 + side][g] = v.or(codes[2 + side][g], v.and(next, one));
                }
            }
        }
    }
    codes
}
