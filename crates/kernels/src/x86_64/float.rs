//! Products with F32, F16 and BF16 weights, for any [`Wide`]: 16 virtual lanes over k, some rows by some tokens at a time.
//!
//! The weights of a tile are widened once for all its tokens. Columns beyond a multiple of 16 are few and take the definition's own step.

use super::wide::Wide;
use crate::reference::fma;
use crate::{Activations, ColumnsMut, Format, Weights};
use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use core::ops::Range;
use half::{bf16, f16};

/// Bytes of input that one sweep over the rows meets: a quarter to a half of a second-level cache.
const SWEEP_BYTES: usize = 256 << 10;

/// How 16 weights become floats.
trait Element {
    const BYTES: usize;
    /// # Safety
    /// `from` is readable for 16 elements.
    unsafe fn load<S: Wide>(s: S, from: *const u8) -> S::V;
    /// # Safety
    /// `from` is readable for one element.
    unsafe fn one(from: *const u8) -> f32;
}

macro_rules! element {
    ($name:ident, $bytes:literal, |$s:ident, $from:ident| $load:expr, |$raw:ident| $one:expr) => {
        struct $name;
        impl Element for $name {
            const BYTES: usize = $bytes;
            #[inline(always)]
            unsafe fn load<S: Wide>($s: S, $from: *const u8) -> S::V {
                // SAFETY: the caller's promise.
                unsafe { $load }
            }
            #[inline(always)]
            unsafe fn one(from: *const u8) -> f32 {
                // SAFETY: the caller's promise.
                let $raw: [u8; $bytes] = unsafe { from.cast::<[u8; $bytes]>().read() };
                $one
            }
        }
    };
}

element!(F32, 4, |s, from| s.load(from.cast()), |raw| {
    f32::from_le_bytes(raw)
});
element!(F16, 2, |s, from| s.load_f16(from), |raw| {
    f16::from_le_bytes(raw).to_f32()
});
element!(BF16, 2, |s, from| s.load_bf16(from), |raw| {
    bf16::from_le_bytes(raw).to_f32()
});

/// Product with a float format.
#[inline(always)]
pub(super) fn matmul<S: Wide>(
    s: S,
    weights: &Weights<'_>,
    rows: Range<usize>,
    x: &Activations,
    tokens: Range<usize>,
    out: &mut ColumnsMut<'_>,
) {
    match weights.format() {
        Format::F32 => typed::<S, F32>(s, weights, rows, x, tokens, out),
        Format::F16 => typed::<S, F16>(s, weights, rows, x, tokens, out),
        Format::BF16 => typed::<S, BF16>(s, weights, rows, x, tokens, out),
        _ => unreachable!("not a float format"),
    }
}

#[inline(always)]
fn typed<S: Wide, E: Element>(
    s: S,
    weights: &Weights<'_>,
    rows: Range<usize>,
    x: &Activations,
    tokens: Range<usize>,
    out: &mut ColumnsMut<'_>,
) {
    // Tokens that stay in the second-level cache while all rows pass; a multiple of the tile.
    let sweep = (SWEEP_BYTES / (4 * weights.cols())).max(3) / 3 * 3;
    for first in tokens.clone().step_by(sweep) {
        let tokens = first..(first + sweep).min(tokens.end);
        let mut row = rows.start;
        while row + 4 <= rows.end {
            tokens_of::<S, E, 4>(s, weights, row, row - rows.start, x, tokens.clone(), out);
            row += 4;
        }
        while row < rows.end {
            tokens_of::<S, E, 1>(s, weights, row, row - rows.start, x, tokens.clone(), out);
            row += 1;
        }
    }
}

/// `R` rows from `row` on, all tokens; results go to `column` and on.
#[inline(always)]
fn tokens_of<S: Wide, E: Element, const R: usize>(
    s: S,
    weights: &Weights<'_>,
    row: usize,
    column: usize,
    x: &Activations,
    tokens: Range<usize>,
    out: &mut ColumnsMut<'_>,
) {
    let mut token = tokens.start;
    // Four rows by one token, and two by three, keep eight to twelve chains of additions in flight and in registers.
    while R == 4 && token + 3 <= tokens.end {
        for half in 0..2 {
            let sums = tile::<S, E, 2, 3>(s, weights, row + 2 * half, x, token);
            write(out, token, column + 2 * half, &sums);
        }
        token += 3;
    }
    while token < tokens.end {
        write(
            out,
            token,
            column,
            &tile::<S, E, R, 1>(s, weights, row, x, token),
        );
        token += 1;
    }
}

#[inline(always)]
fn write<const R: usize, const T: usize>(
    out: &mut ColumnsMut<'_>,
    token: usize,
    column: usize,
    sums: &[[f32; T]; R],
) {
    for t in 0..T {
        let out = &mut out.row_mut(token + t)[column..][..R];
        for (out, sums) in out.iter_mut().zip(sums) {
            *out = sums[t];
        }
    }
}

#[inline(always)]
fn tile<S: Wide, E: Element, const R: usize, const T: usize>(
    s: S,
    weights: &Weights<'_>,
    row: usize,
    x: &Activations,
    token: usize,
) -> [[f32; T]; R] {
    let w: [&[u8]; R] = core::array::from_fn(|r| weights.row(row + r));
    let x: [&[f32]; T] = core::array::from_fn(|t| x.float(token + t));
    let cols = weights.cols();
    let whole = cols / 16 * 16;
    let mut acc = [[s.splat(0.0); T]; R];
    for k in (0..whole).step_by(16) {
        // SAFETY: k + 16 is at most the columns of every row of weights and input, which the slices above hold.
        unsafe {
            let x: [S::V; T] = each!(s.splat(0.0), |t| s.load(x[t].as_ptr().add(k)));
            for r in 0..R {
                if T == 1 {
                    // The same place R rows on, which is R times this far in the order of the file.
                    _mm_prefetch::<_MM_HINT_T0>(
                        w[r].as_ptr()
                            .wrapping_add(R * weights.row_bytes() + k * E::BYTES)
                            .cast(),
                    );
                }
                let w = E::load(s, w[r].as_ptr().add(k * E::BYTES));
                for t in 0..T {
                    acc[r][t] = s.fma(w, x[t], acc[r][t]);
                }
            }
        }
    }
    let mut sums = [[0.0; T]; R];
    for r in 0..R {
        for t in 0..T {
            sums[r][t] = if whole == cols {
                s.tree(acc[r][t])
            } else {
                let mut lanes = s.lanes(acc[r][t]);
                for (lane, k) in lanes.iter_mut().zip(whole..cols) {
                    // SAFETY: k is below the columns of the row.
                    *lane = fma(
                        unsafe { E::one(w[r].as_ptr().add(k * E::BYTES)) },
                        x[t][k],
                        *lane,
                    );
                }
                crate::reference::tree(lanes)
            };
        }
    }
    sums
}
