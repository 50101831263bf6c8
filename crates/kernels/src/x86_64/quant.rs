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
use super::superblock::Super;
use crate::activations::Scale32;
use crate::block::SMALL;
use crate::{Activations, ColumnsMut, Format, Weights, reference};
use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use core::mem::MaybeUninit;
use core::ops::Range;
use core::sync::atomic::{Ordering, compiler_fence};

/// Tokens that share one unpacking of a panel; their sums rest on the stack.
const SWEEP: usize = 128;
/// Bytes to prefetch ahead of use: what arrives while memory answers once (about 100 ns at 40 GB/s), twice over.
const AHEAD: usize = 8192;
/// Bytes that may be prefetched in one place.
const BURST: usize = 2048;
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
    /// [`Blocks::unpack`] and [`Blocks::step`] for one token, without a panel in between if that is faster. Prefetches as many bytes as it reads,
    /// from `ahead` on; not too many lines at a time, or loads wait for them.
    ///
    /// # Safety
    /// As these two.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "the arguments of both")]
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
        prefetch(ahead, 0..V::LANES * Self::BYTES, V::LANES * Self::BYTES);
        // SAFETY: the caller's promise.
        unsafe { Self::step::<1>(v, &Self::unpack(v, base, stride), x, block, token, acc) }
    }
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
    pub(super) codes: *const i8,
    pub(super) code_stride: usize,
    pub(super) scales32: *const Scale32,
    pub(super) scales256: *const f32,
    pub(super) sums16: *const i16,
    pub(super) blocks: usize,
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
    let mut sums = [0.0; SWEEP * LANES_MAX];
    for first in rows.clone().step_by(V::LANES) {
        // The panel's own rows, and which of them were asked for.
        let start = first.min(weights.rows() - V::LANES);
        let wanted = first - start..(rows.end - start).min(V::LANES);
        let base = weights.bytes()[start * weights.row_bytes()..].as_ptr();
        let column = first - rows.start;
        if tokens.len() == 1 {
            let out = &mut out.row_mut(tokens.start)[column..][..wanted.len()];
            // SAFETY: rows start..start + LANES are inside the matrix; the token is inside the input; a full panel has LANES places.
            unsafe {
                let panel = one_token::<V, B>(v, base, weights.row_bytes(), &input, tokens.start);
                if out.len() == V::LANES {
                    v.store_f32(out.as_mut_ptr(), panel);
                } else {
                    v.store_f32(sums.as_mut_ptr(), panel);
                    out.copy_from_slice(&sums[wanted]);
                }
            }
            continue;
        }
        for first in tokens.clone().step_by(SWEEP) {
            let count = (tokens.end - first).min(SWEEP);
            sums[..count * V::LANES].fill(0.0);
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

/// Asks for the lines that hold `bytes` from `base` on; any address will do. `all` is how many bytes one block asks for in total.
#[inline(always)]
pub(super) fn prefetch(base: *const u8, bytes: Range<usize>, all: usize) {
    // The compiler gathers the prefetches of a super-block in one place. Beyond some thirty lines, loads wait behind them: half the speed on Q6_K.
    // The fence keeps them apart; where they are fewer it only costs the compiler its freedom.
    if all > BURST {
        compiler_fence(Ordering::SeqCst);
    }
    for at in bytes.step_by(64) {
        // SAFETY: a prefetch reads nothing the program can see, at any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(base.wrapping_add(at).cast()) };
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
    // Whole panels, so that lines come in the order of the file.
    let panel = V::LANES * row_bytes;
    let ahead = base.wrapping_add(panel * (AHEAD / panel).max(1));
    for block in 0..x.blocks {
        // SAFETY: the caller's promise; `block` is below the input's blocks.
        unsafe {
            let ahead = ahead.wrapping_add(block * V::LANES * B::BYTES);
            B::step_one(
                v,
                base.add(block * B::BYTES),
                row_bytes,
                x,
                block,
                token,
                &mut acc,
                ahead,
            );
        };
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
