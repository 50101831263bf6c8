//! Kernels: everything that multiplies a model's weights, for every instruction set, with the same bits.
//!
//! - Every operation has one definition, a scalar loop under `reference/`. Every kernel equals it to the last bit, for any
//!   range of rows, number of tokens, split over threads and [`Isa`].
//! - Lengths are checked here, by assertion, before any pointer exists. A failed assertion is a bug of the caller, never of a file.
//! - No allocation in a hot loop, no files, no clocks beyond the team's spinning, no threads outside [`Team`].
//!
//! The tour: [`Weights`] is a checked view of stored weights, [`Activations`] an input in the forms they need, [`matmul`] their product into
//! [`ColumnsMut`]; [`KvPool`] and [`attention()`] are the cache and its use; [`Team`] runs disjoint parts on threads.
#![warn(missing_docs)]

mod activations;
mod aligned;
mod attention;
mod block;
mod columns;
mod dispatch;
mod format;
mod kv;
mod reference;
mod rope;
mod team;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use activations::{Activations, ActivationsMut, Forms};
pub use attention::{
    AttentionScratch, Context, HEAD_DIM_MAX, Queries, SPAN, attention, attention_merge,
    attention_spans, span_count, span_state_len,
};
pub use columns::{ColumnsMut, split_columns};
pub use dispatch::Isa;
pub use format::{ActivationForm, Format, ShapeError, Weights};
pub use kv::{KvHead, KvHeadMut, KvPool, KvShape, KvType, PAGE_TOKENS};
pub use rope::{RopePairs, inverse_frequencies, rope, rope_table};
pub use team::{Team, split_even};
#[cfg(target_arch = "x86_64")]
pub use x86_64::{Avx2, Avx512};

use core::ops::Range;

/// Raised with any change of a definition that changes a bit of any result, and never otherwise. It is part of the
/// fingerprint by which an answer may be compared with one from another build.
pub const DEFINITION_VERSION: u32 = 1;

/// Matrix product: `out[t][i]` = weight row `rows.start + i` times input row `t`, for `t` in `tokens`.
///
/// # Panics
/// If rows or tokens do not exist, the input is of another width or lacks the format's form, or `out` is not `rows` wide.
pub fn matmul(
    isa: Isa,
    weights: &Weights<'_>,
    rows: Range<usize>,
    input: &Activations,
    tokens: Range<usize>,
    out: &mut ColumnsMut<'_>,
) {
    assert!(
        rows.start <= rows.end && rows.end <= weights.rows(),
        "rows {rows:?} of {}",
        weights.rows()
    );
    assert!(
        tokens.start <= tokens.end && tokens.end <= input.tokens() && tokens.end <= out.tokens(),
        "tokens {tokens:?}"
    );
    assert_eq!(input.cols(), weights.cols(), "input width");
    assert!(
        input.forms().has(weights.format().activation_form()),
        "input lacks the form that {} needs",
        weights.format()
    );
    assert_eq!(out.width(), rows.len(), "output width");
    if !rows.is_empty() && !tokens.is_empty() {
        dispatch::matmul(isa, weights, rows, input, tokens, out);
    }
}

/// One row of weights as f32, exactly as GGUF defines the format: an embedding lookup.
///
/// # Panics
/// If the row does not exist or `out` is not `cols` long.
pub fn dequantize_row(isa: Isa, weights: &Weights<'_>, row: usize, out: &mut [f32]) {
    assert!(row < weights.rows(), "row {row} of {}", weights.rows());
    assert_eq!(out.len(), weights.cols(), "output length");
    dispatch::dequantize_row(isa, weights, row, out);
}

/// `out[i] = x[i] / sqrt(mean of squares + eps) * weight[i]`
///
/// # Panics
/// If the lengths differ.
pub fn rms_norm(isa: Isa, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert!(
        x.len() == weight.len() && x.len() == out.len(),
        "norm lengths"
    );
    dispatch::rms_norm(isa, x, weight, eps, out);
}

/// `gate[i] = silu(gate[i]) * up[i]`
///
/// # Panics
/// If the lengths differ.
pub fn silu_mul(isa: Isa, gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len(), "gate length");
    dispatch::silu_mul(isa, gate, up);
}

/// `x[i] += y[i]`
///
/// # Panics
/// If the lengths differ.
pub fn add(isa: Isa, x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len(), "add lengths");
    dispatch::add(isa, x, y);
}

/// `x[i] *= factor`
pub fn scale(isa: Isa, x: &mut [f32], factor: f32) {
    dispatch::scale(isa, x, factor);
}

/// The largest element, NaN passed over; -inf if there is none. Which of two zeros is not defined.
pub fn max(isa: Isa, x: &[f32]) -> f32 {
    dispatch::max(isa, x)
}

/// Index of the largest element, the first among equals, NaN passed over; 0 if there is none.
pub fn argmax(isa: Isa, x: &[f32]) -> usize {
    dispatch::argmax(isa, x)
}

/// `x[i] = exp(x[i] - max)`; returns their sum. With `max` the largest element this is softmax before its division.
pub fn exp_sum(isa: Isa, x: &mut [f32], max: f32) -> f32 {
    dispatch::exp_sum(isa, x, max)
}

/// Turns scores into probabilities: `exp(x[i] - max) / sum`.
pub fn softmax(isa: Isa, x: &mut [f32]) {
    let largest = max(isa, x);
    let sum = exp_sum(isa, x, largest);
    for x in x {
        *x /= sum;
    }
}

/// e^x by the one polynomial of the project: at most 2 units in the last place off; +0 below -87.3, constant above 88.375.
pub fn exp(x: f32) -> f32 {
    reference::elementwise::exp(x)
}
