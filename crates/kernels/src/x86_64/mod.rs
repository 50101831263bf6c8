//! Kernels for x86-64. The instruction sets differ in [`rows::Rows`] and [`wide::Wide`]; everything built on these is written once.
//!
//! - The macro `entries` makes, for one instruction set, a function an operation in which the compiler may use it. Everything below those functions is
//!   `inline(always)`: code that is not inlined into one loses the instructions.
//! - Operations that treat elements one by one, without an order to keep, are the definitions themselves: the compiler vectorises them.
#![expect(
    clippy::needless_range_loop,
    reason = "tiles index several small arrays alike, and iterators hide what must unroll"
)]

/// An array of which element i is the value of an expression. `array::from_fn` takes a closure, and a closure that the compiler does not inline has
/// lost the instruction set: measured at a fortieth of the speed.
macro_rules! each {
    ($first:expr, |$i:ident| $value:expr) => {{
        let mut all = [$first; _];
        let mut $i = 0;
        while $i < all.len() {
            all[$i] = $value;
            $i += 1;
        }
        all
    }};
}

mod attention;
mod avx2;
mod avx512;
mod elementwise;
mod float;
mod quant;
mod rows;
mod superblock;
mod wide;

pub use avx2::Avx2;
pub use avx512::Avx512;

use crate::activations::Scale32;
use crate::attention::{AttentionScratch, Context, Queries};
use crate::{Activations, ColumnsMut, Format, RopePairs, Weights, reference};
use core::ops::Range;

/// One function an operation, compiled with `features`. The first argument is the proof that the processor has them.
macro_rules! entries {
    ($module:ident, $proof:ty, $features:literal, $($name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = |$s:ident| $body:expr;)*) => {
        pub(crate) mod $module {
            use super::*;
            $(
                #[allow(clippy::too_many_arguments, reason = "mirrors the definition")]
                #[inline]
                pub(crate) fn $name($s: $proof, $($arg: $ty),*) $(-> $ret)? {
                    #[allow(clippy::too_many_arguments, reason = "mirrors the definition")]
                    #[target_feature(enable = $features)]
                    fn inner($s: $proof, $($arg: $ty),*) $(-> $ret)? {
                        $body
                    }
                    // SAFETY: the first argument proves that the processor has the features.
                    unsafe { inner($s, $($arg),*) }
                }
            )*
        }
    };
}

macro_rules! operations {
    ($module:ident, $proof:ty, $features:literal) => {
        entries! { $module, $proof, $features,
            quantize32(x: &[f32], codes: &mut [i8], scales: &mut [Scale32]) = |s| elementwise::quantize32(s, x, codes, scales);
            quantize256(x: &[f32], codes: &mut [i8], scales: &mut [f32], sums: &mut [i16]) = |s| elementwise::quantize256(s, x, codes, scales, sums);
            dequantize_row(weights: &Weights<'_>, row: usize, out: &mut [f32]) = |_s| reference::quantize::dequantize_row(weights, row, out);
            matmul(weights: &Weights<'_>, rows: Range<usize>, x: &Activations, tokens: Range<usize>, out: &mut ColumnsMut<'_>) = |s| match weights.format() {
                Format::F32 | Format::F16 | Format::BF16 => float::matmul(s, weights, rows, x, tokens, out),
                _ => quant::matmul(s, weights, rows, x, tokens, out),
            };
            silu_mul(gate: &mut [f32], up: &[f32]) = |s| elementwise::silu_mul(s, gate, up);
            add(x: &mut [f32], y: &[f32]) = |_s| reference::elementwise::add(x, y);
            scale(x: &mut [f32], factor: f32) = |_s| reference::elementwise::scale(x, factor);
            rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) = |s| elementwise::rms_norm(s, x, weight, eps, out);
            max(x: &[f32]) -> f32 = |s| elementwise::max(s, x);
            exp_sum(x: &mut [f32], max: f32) -> f32 = |s| elementwise::exp_sum(s, x, max);
            argmax(x: &[f32]) -> usize = |s| elementwise::argmax(s, x);
            rope(pairs: RopePairs, x: &mut [f32], table: &[f32]) = |_s| reference::elementwise::rope(pairs, x, table);
            attention(context: &Context<'_>, queries: &Queries<'_>, tokens: Range<usize>, position: usize, scratch: &mut AttentionScratch, out: &mut ColumnsMut<'_>) =
                |s| attention::attention(s, context, queries, tokens, position, scratch, out);
            attention_span(context: &Context<'_>, queries: &Queries<'_>, tokens: Range<usize>, position: usize, span: usize, scratch: &mut AttentionScratch, states: &mut [f32]) =
                |s| attention::span(s, context, queries, tokens, position, span, scratch, states);
            attention_merge(state: &mut [f32], next: &[f32]) = |_s| reference::attention::merge(state, next);
            attention_finish(state: &[f32], out: &mut [f32]) = |_s| reference::attention::finish(state, out);
        }
    };
}

operations!(avx2_entries, Avx2, "avx2,fma,f16c");
operations!(
    avx512_entries,
    Avx512,
    "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"
);

// The definitions again, so that fused multiply-add is an instruction here and not a call: same bits, several times the speed.
entries! { scalar_entries, Avx2, "avx2,fma,f16c",
    quantize32(x: &[f32], codes: &mut [i8], scales: &mut [Scale32]) = |_s| reference::quantize::quantize32(x, codes, scales);
    quantize256(x: &[f32], codes: &mut [i8], scales: &mut [f32], sums: &mut [i16]) = |_s| reference::quantize::quantize256(x, codes, scales, sums);
    dequantize_row(weights: &Weights<'_>, row: usize, out: &mut [f32]) = |_s| reference::quantize::dequantize_row(weights, row, out);
    matmul(weights: &Weights<'_>, rows: Range<usize>, x: &Activations, tokens: Range<usize>, out: &mut ColumnsMut<'_>) =
        |_s| reference::matmul::matmul(weights, rows, x, tokens, out);
    silu_mul(gate: &mut [f32], up: &[f32]) = |_s| reference::elementwise::silu_mul(gate, up);
    add(x: &mut [f32], y: &[f32]) = |_s| reference::elementwise::add(x, y);
    scale(x: &mut [f32], factor: f32) = |_s| reference::elementwise::scale(x, factor);
    rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) = |_s| reference::elementwise::rms_norm(x, weight, eps, out);
    max(x: &[f32]) -> f32 = |_s| reference::elementwise::max(x);
    exp_sum(x: &mut [f32], max: f32) -> f32 = |_s| reference::elementwise::exp_sum(x, max);
    argmax(x: &[f32]) -> usize = |_s| reference::elementwise::argmax(x);
    rope(pairs: RopePairs, x: &mut [f32], table: &[f32]) = |_s| reference::elementwise::rope(pairs, x, table);
    attention(context: &Context<'_>, queries: &Queries<'_>, tokens: Range<usize>, position: usize, scratch: &mut AttentionScratch, out: &mut ColumnsMut<'_>) =
        |_s| crate::attention::scalar(context, queries, tokens, position, scratch, out);
    attention_span(context: &Context<'_>, queries: &Queries<'_>, tokens: Range<usize>, position: usize, span: usize, scratch: &mut AttentionScratch, states: &mut [f32]) =
        |_s| crate::attention::scalar_span(context, queries, tokens, position, span, scratch, states);
    attention_merge(state: &mut [f32], next: &[f32]) = |_s| reference::attention::merge(state, next);
    attention_finish(state: &[f32], out: &mut [f32]) = |_s| reference::attention::finish(state, out);
}
