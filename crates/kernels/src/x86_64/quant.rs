//! Products with quantized weights, straight from GGUF rows, for any [`Rows`].
//!
//! - A panel is `LANES` consecutive rows: codes of four k transposed so that a row is a lane. Then integer dots per block, then the float
//!   step of the definition, lane by lane.
//! - One token: each block is transposed in registers and used at once, while the next panel is prefetched in the order of the file:
//!   one linear stream, which the hardware follows further than `LANES` separate ones.
//! - More tokens: some blocks are unpacked to scratch in the first-level cache, and all tokens sweep over them, [`Rows::TILE`] at a time.
//!   Sums between sweeps rest in memory; that changes no bit.
//! - The last panel of a range reaches back into rows before it, or on into rows after it, and drops what was not asked for. A matrix of
//!   fewer than `LANES` rows goes to the portable path.

use super::rows::Rows;
use crate::activations::Scale32;
use crate::block::{SMALL, SUPER};
use crate::{Activations, ColumnsMut, Format, Weights, reference};
use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use core::mem::MaybeUninit;
use core::ops::Range;

/// Tokens that share one unpacking of a panel; their sums rest on the stack.
const SWEEP: usize = 128;
/// Most lanes of any [`Rows`].
const LANES_MAX: usize = 16;

/// Blocks of 32 columns (or 256) of a panel, unpacked.
pub(super) trait Blocks<V: Rows> {
    /// Weights of a row.
    const LEN: usize;
    /// Bytes of a row.
    const BYTES: usize;
    /// Blocks unpacked at a time; they and what they meet fit the first-level cache.
    const CHUNK: usize;
    /// A block of `LANES` rows, ready to meet activations.
    type Panel;

    /// # Safety
    /// `base + lane * stride` is readable for `BYTES`, for every lane.
    unsafe fn unpack(v: V, base: *const u8, stride: usize) -> Self::Panel;
    /// The definition's step for one block and `T` tokens.
    ///
    /// # Safety
    /// `block` and tokens `token..token + T` are inside the input.
    unsafe fn step<const T: usize>(
        v: V,
        panel: &Self::Panel,
        x: &Input,
        block: usize,
        token: usize,
        acc: &mut [V::F; T],
    );
}

/// The input's arrays as pointers; which ones are valid depends on the form the format needs.
pub(super) struct Input {
    codes: *const i8,
    code_stride: usize,
    scales32: *const Scale32,
    scales256: *const f32,
    sums16: *const i16,
    blocks: usize,
}

/// Product with a quantized format.
///
/// # Panics
/// Never; lengths were checked by [`crate::matmul`].
#[inline(always)]
pub(super) fn matmul<V: Rows>(
    v: V,
    weights: &Weights<'_>,
    rows: Range<usize>,
    x: &Activations,
    tokens: Range<usize>,
    out: &mut ColumnsMut<'_>,
) {
    match weights.format() {
        _ if weights.rows() < V::LANES => reference::matmul::matmul(weights, rows, x, tokens, out),
        Format::Q4_0 => panels::<V, Small<4, 3, false, 18>>(v, weights, rows, x, tokens, out),
        Format::Q4_1 => panels::<V, Small<4, 0, true, 20>>(v, weights, rows, x, tokens, out),
        Format::Q5_0 => panels::<V, Small<5, 4, false, 22>>(v, weights, rows, x, tokens, out),
        Format::Q5_1 => panels::<V, Small<5, 0, true, 24>>(v, weights, rows, x, tokens, out),
        Format::Q8_0 => panels::<V, Small<8, 0, false, 34>>(v, weights, rows, x, tokens, out),
        Format::Q4K => panels::<V, Super<4, 144>>(v, weights, rows, x, tokens, out),
        Format::Q5K => panels::<V, Super<5, 176>>(v, weights, rows, x, tokens, out),
        Format::Q6K => panels::<V, Super<6, 210>>(v, weights, rows, x, tokens, out),
        Format::F32 | Format::F16 | Format::BF16 => unreachable!("not quantized"),
    }
}

#[inline(always)]
fn panels<V: Rows, B: Blocks<V>>(
    v: V,
    weights: &Weights<'_>,
    rows: Range<usize>,
    x: &Activations,
    tokens: Range<usize>,
    out: &mut ColumnsMut<'_>,
) {
    let input = x.quantized(B::LEN);
    for first in rows.clone().step_by(V::LANES) {
        // The panel's own rows, and which of them were asked for.
        let start = first.min(weights.rows() - V::LANES);
        let wanted = first - start..(rows.end - start).min(V::LANES);
        let base = weights.bytes()[start * weights.row_bytes()..].as_ptr();
        let column = first - rows.start;
        if tokens.len() == 1 {
            let mut sums = [0.0; LANES_MAX];
            // SAFETY: rows start..start + LANES are inside the matrix; the token is inside the input.
            unsafe {
                v.store_f32(
                    sums.as_mut_ptr(),
                    one_token::<V, B>(v, base, weights.row_bytes(), &input, tokens.start),
                )
            };
            out.row_mut(tokens.start)[column..][..wanted.len()].copy_from_slice(&sums[wanted]);
            continue;
        }
        for first in tokens.clone().step_by(SWEEP) {
            let count = (tokens.end - first).min(SWEEP);
            let mut sums = [0.0; SWEEP * LANES_MAX];
            // SAFETY: as above, for each of `count` tokens.
            unsafe {
                sweep::<V, B>(
                    v,
                    base,
                    weights.row_bytes(),
                    &input,
                    first,
                    count,
                    &mut sums,
                )
            };
            for (i, sums) in sums.chunks_exact(V::LANES).take(count).enumerate() {
                out.row_mut(first + i)[column..][..wanted.len()]
                    .copy_from_slice(&sums[wanted.clone()]);
            }
        }
    }
}

/// # Safety
/// A panel's rows are readable at `base`, `row_bytes` apart; `token` is inside the input.
#[inline(always)]
unsafe fn one_token<V: Rows, B: Blocks<V>>(
    v: V,
    base: *const u8,
    row_bytes: usize,
    x: &Input,
    token: usize,
) -> V::F {
    let mut acc = [v.splat_f32(0.0)];
    let next = base.wrapping_add(V::LANES * row_bytes);
    for block in 0..x.blocks {
        // As many lines ahead as this block consumes, in the order of the file.
        for line in (0..V::LANES * B::BYTES).step_by(64) {
            let ahead = next.wrapping_add(block * V::LANES * B::BYTES + line);
            // SAFETY: a prefetch reads nothing the program can see, at any address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead.cast()) };
        }
        // SAFETY: the caller's promise; `block` is below the input's blocks.
        unsafe {
            let panel = B::unpack(v, base.add(block * B::BYTES), row_bytes);
            B::step::<1>(v, &panel, x, block, token, &mut acc);
        }
    }
    acc[0]
}

/// # Safety
/// As [`one_token`], for tokens `first..first + count`, `count` at most [`SWEEP`].
#[inline(always)]
unsafe fn sweep<V: Rows, B: Blocks<V>>(
    v: V,
    base: *const u8,
    row_bytes: usize,
    x: &Input,
    first: usize,
    count: usize,
    sums: &mut [f32; SWEEP * LANES_MAX],
) {
    let mut scratch: [MaybeUninit<B::Panel>; 16] = [const { MaybeUninit::uninit() }; 16];
    const { assert!(B::CHUNK <= 16) };
    let sums = sums.as_mut_ptr();
    for from in (0..x.blocks).step_by(B::CHUNK) {
        let chunk = from..(from + B::CHUNK).min(x.blocks);
        for (panel, block) in scratch.iter_mut().zip(chunk.clone()) {
            // SAFETY: the caller's promise; `block` is below the input's blocks.
            panel.write(unsafe { B::unpack(v, base.add(block * B::BYTES), row_bytes) });
        }
        let mut i = 0;
        // SAFETY: `scratch` was written for all of `chunk`; token first + i + T - 1 is below first + count; sums has LANES floats for each.
        unsafe {
            while i + V::TILE <= count {
                match V::TILE {
                    4 => tile::<V, B, 4>(
                        v,
                        &scratch,
                        chunk.clone(),
                        x,
                        first + i,
                        sums.add(i * V::LANES),
                    ),
                    8 => tile::<V, B, 8>(
                        v,
                        &scratch,
                        chunk.clone(),
                        x,
                        first + i,
                        sums.add(i * V::LANES),
                    ),
                    _ => unreachable!("a tile this file knows"),
                }
                i += V::TILE;
            }
            if i + 4 <= count {
                tile::<V, B, 4>(
                    v,
                    &scratch,
                    chunk.clone(),
                    x,
                    first + i,
                    sums.add(i * V::LANES),
                );
                i += 4;
            }
            match count - i {
                3 => tile::<V, B, 3>(v, &scratch, chunk, x, first + i, sums.add(i * V::LANES)),
                2 => tile::<V, B, 2>(v, &scratch, chunk, x, first + i, sums.add(i * V::LANES)),
                1 => tile::<V, B, 1>(v, &scratch, chunk, x, first + i, sums.add(i * V::LANES)),
                _ => {}
            }
        }
    }
}

/// # Safety
/// As [`sweep`]; `scratch` is written for all of `chunk`, `sums` is valid for `T * LANES` floats.
#[inline(always)]
unsafe fn tile<V: Rows, B: Blocks<V>, const T: usize>(
    v: V,
    scratch: &[MaybeUninit<B::Panel>; 16],
    chunk: Range<usize>,
    x: &Input,
    token: usize,
    sums: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc: [V::F; T] = each!(v.splat_f32(0.0), |t| v.load_f32(sums.add(t * V::LANES)));
        for (panel, block) in scratch.iter().zip(chunk) {
            B::step::<T>(v, panel.assume_init_ref(), x, block, token, &mut acc);
        }
        for (t, acc) in acc.into_iter().enumerate() {
            v.store_f32(sums.add(t * V::LANES), acc);
        }
    }
}

/// Formats of 32: codes of `BITS`, the weight being code - (1 << SHIFT) unless SHIFT is 0; with a minimum or without.
pub(super) struct Small<const BITS: u32, const SHIFT: i32, const MINIMUM: bool, const BYTES: usize>;

/// A block of 32 columns.
pub(super) struct SmallPanel<V: Rows> {
    codes: [V::I; 8],
    d: V::F,
    m: V::F,
}

impl<V: Rows, const BITS: u32, const SHIFT: i32, const MINIMUM: bool, const BYTES: usize> Blocks<V>
    for Small<BITS, SHIFT, MINIMUM, BYTES>
{
    const LEN: usize = SMALL;
    const BYTES: usize = BYTES;
    const CHUNK: usize = 16;
    type Panel = SmallPanel<V>;

    #[inline(always)]
    unsafe fn unpack(v: V, base: *const u8, stride: usize) -> SmallPanel<V> {
        // SAFETY: all offsets are inside the block: scale, minimum if any, fifth bits if any, codes.
        unsafe {
            let (d, m) = if MINIMUM {
                v.halves(v.load4(base, stride))
            } else {
                (v.load_f16(base, stride), v.splat_f32(0.0))
            };
            let rest = base.add(if MINIMUM { 4 } else { 2 });
            if BITS == 8 {
                let (low, high) = (v.load16(rest, stride), v.load16(rest.add(16), stride));
                let codes = each!(v.splat(0), |g| {
                    v.signed_codes(if g < 4 { low[g] } else { high[g - 4] })
                });
                return SmallPanel { codes, d, m };
            }
            let nibbles = v.load16(rest.add(if BITS == 5 { 4 } else { 0 }), stride);
            let mask = v.splat(0x0f0f_0f0f);
            let mut codes: [V::I; 8] = each!(v.splat(0), |g| {
                if g < 4 {
                    v.and(nibbles[g], mask)
                } else {
                    v.and(v.shr::<4>(nibbles[g - 4]), mask)
                }
            });
            if BITS == 5 {
                let high = v.load4(rest, stride);
                codes = each!(v.splat(0), |g| v.or(codes[g], v.fifth_bits(high, g)));
            }
            SmallPanel { codes, d, m }
        }
    }

    #[inline(always)]
    unsafe fn step<const T: usize>(
        v: V,
        panel: &SmallPanel<V>,
        x: &Input,
        block: usize,
        token: usize,
        acc: &mut [V::F; T],
    ) {
        // SAFETY: the caller's promise: block and tokens are inside the input.
        unsafe {
            let codes = x.codes.add(token * x.code_stride + block * SMALL);
            let dots = v.dots::<BITS, T>(&panel.codes, codes, x.code_stride);
            for t in 0..T {
                let scale = &*x.scales32.add((token + t) * x.blocks + block);
                let dot = match if BITS == 8 { V::SIGNED_SHIFT } else { SHIFT } {
                    0 => dots[t],
                    3 => v.sub(dots[t], v.shl::<3>(v.splat(scale.sum))),
                    4 => v.sub(dots[t], v.shl::<4>(v.splat(scale.sum))),
                    7 => v.sub(dots[t], v.shl::<7>(v.splat(scale.sum))),
                    _ => unreachable!("an offset this file knows"),
                };
                acc[t] = v.fma(v.mul(panel.d, v.splat_f32(scale.d)), v.to_f32(dot), acc[t]);
                if MINIMUM {
                    acc[t] = v.fma(panel.m, v.splat_f32(scale.s), acc[t]);
                }
            }
        }
    }
}

/// Super-blocks of 256: Q4_K, Q5_K, and with 6 bits Q6_K.
pub(super) struct Super<const BITS: u32, const BYTES: usize>;

/// A block of 256 columns.
pub(super) struct SuperPanel<V: Rows> {
    codes: [[V::I; 8]; 8],
    /// one for each 32 codes; Q6_K: for each 16
    scales: [V::I; 16],
    /// i16 pairs that meet the sums per 16: minimums twice, or Q6_K's scales
    pairs: [V::I; 8],
    d: V::F,
    dmin: V::F,
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
            if BITS == 6 {
                unpack_q6k(v, base, stride)
            } else {
                unpack_k::<V, BITS>(v, base, stride)
            }
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
            let codes = x.codes.add(token * x.code_stride + block * SUPER);
            let scales_each = if BITS == 6 { 2 } else { 1 };
            for j in 0..8 {
                let scales = &panel.scales[j * scales_each..][..scales_each];
                v.scaled::<BITS, T>(
                    &mut totals,
                    &panel.codes[j],
                    scales,
                    codes.add(j * 32),
                    x.code_stride,
                );
            }
            for t in 0..T {
                let sums = x
                    .sums16
                    .add(((token + t) * x.blocks + block) * 16)
                    .cast::<i32>();
                let mut m = v.splat(0);
                for j in 0..8 {
                    m = v.add_pairs(m, panel.pairs[j], v.splat(sums.add(j).read_unaligned()));
                }
                let d = v.splat_f32(*x.scales256.add((token + t) * x.blocks + block));
                if BITS == 6 {
                    // 32 * m may wrap around; the difference fits, so wrapping is exact.
                    acc[t] = v.fma(
                        v.mul(panel.d, d),
                        v.to_f32(v.sub(totals[t], v.shl::<5>(m))),
                        acc[t],
                    );
                } else {
                    acc[t] = v.fma(v.mul(panel.d, d), v.to_f32(totals[t]), acc[t]);
                    acc[t] = v.fnma(v.mul(panel.dmin, d), v.to_f32(m), acc[t]);
                }
            }
        }
    }
}

/// Q4_K and Q5_K: d, dmin, 12 bytes of scales and minimums, then fifth bits, then nibbles.
///
/// # Safety
/// As [`Blocks::unpack`].
#[inline(always)]
unsafe fn unpack_k<V: Rows, const BITS: u32>(
    v: V,
    base: *const u8,
    stride: usize,
) -> SuperPanel<V> {
    // SAFETY: offsets are inside the block of 144 or 176 bytes.
    unsafe {
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
        let zero = v.splat(0);
        let mut panel = SuperPanel {
            codes: [[zero; 8]; 8],
            scales: each!(v.splat(0), |j| {
                if j < 8 {
                    v.scale_unsigned(scales[j / 4], j % 4)
                } else {
                    zero
                }
            }),
            pairs: each!(v.splat(0), |j| v.twice(minimums[j / 4], j % 4)),
            d,
            dmin,
        };
        let high: [[V::I; 4]; 2] = if BITS == 5 {
            [
                v.load16(base.add(16), stride),
                v.load16(base.add(32), stride),
            ]
        } else {
            [[zero; 4]; 2]
        };
        let nibbles = base.add(if BITS == 5 { 48 } else { 16 });
        for part in 0..8 {
            let (group, half) = (part / 2, part % 2);
            let quads = v.load16(nibbles.add(part * 16), stride);
            for g in 0..4 {
                let mut low = v.and(quads[g], four);
                let mut next = v.and(v.shr::<4>(quads[g]), four);
                if BITS == 5 {
                    let (one, bits) = (v.splat(0x1010_1010), high[half][g]);
                    let (low_bit, next_bit) = match group {
                        0 => (v.shl::<4>(bits), v.shl::<3>(bits)),
                        1 => (v.shl::<2>(bits), v.shl::<1>(bits)),
                        2 => (bits, v.shr::<1>(bits)),
                        _ => (v.shr::<2>(bits), v.shr::<3>(bits)),
                    };
                    low = v.or(low, v.and(low_bit, one));
                    next = v.or(next, v.and(next_bit, one));
                }
                panel.codes[2 * group][half * 4 + g] = low;
                panel.codes[2 * group + 1][half * 4 + g] = next;
            }
        }
        panel
    }
}

/// Q6_K: 128 bytes of low nibbles, 64 of high pairs, 16 signed scales, d.
///
/// # Safety
/// As [`Blocks::unpack`].
#[inline(always)]
unsafe fn unpack_q6k<V: Rows>(v: V, base: *const u8, stride: usize) -> SuperPanel<V> {
    // SAFETY: offsets are inside the block of 210 bytes.
    unsafe {
        let scales = v.load16(base.add(192), stride);
        let zero = v.splat(0);
        let mut panel = SuperPanel {
            codes: [[zero; 8]; 8],
            scales: each!(v.splat(0), |j| v.scale_signed(scales[j / 4], j % 4)),
            pairs: each!(v.splat(0), |j| v.signed_pair(scales[j / 2], j % 2)),
            d: v.load_f16(base.add(208), stride),
            dmin: v.splat_f32(0.0),
        };
        let (four, top) = (v.splat(0x0f0f_0f0f), v.splat(0x3030_3030));
        for part in 0..4 {
            let (half, side) = (part / 2, part % 2);
            let low = v.load16(base.add(half * 64 + side * 16), stride);
            let next = v.load16(base.add(half * 64 + 32 + side * 16), stride);
            let high = v.load16(base.add(128 + half * 32 + side * 16), stride);
            for g in 0..4 {
                let at = side * 4 + g;
                let codes = &mut panel.codes[half * 4..][..4];
                codes[0][at] = v.or(v.and(low[g], four), v.and(v.shl::<4>(high[g]), top));
                codes[1][at] = v.or(v.and(next[g], four), v.and(v.shl::<2>(high[g]), top));
                codes[2][at] = v.or(v.and(v.shr::<4>(low[g]), four), v.and(high[g], top));
                codes[3][at] = v.or(
                    v.and(v.shr::<4>(next[g]), four),
                    v.and(v.shr::<2>(high[g]), top),
                );
            }
        }
        panel
    }
}

impl Activations {
    /// The arrays of the form with blocks of `block_len`.
    fn quantized(&self, block_len: usize) -> Input {
        let codes = if block_len == SMALL {
            self.codes32()
        } else {
            self.codes256()
        };
        Input {
            codes: codes.as_ptr(),
            code_stride: self.code_stride(),
            scales32: self.scales32().as_ptr(),
            scales256: self.scales256().as_ptr(),
            sums16: self.sums16().as_ptr(),
            blocks: self.cols() / block_len,
        }
    }
}
