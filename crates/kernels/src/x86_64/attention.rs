//! Attention for any [`Wide`]: the query heads of one KV head as the rows of small products.
//!
//! - [`Wide::QUERIES`] heads of one token share every load of keys and values; the rest of a group goes one at a time.
//! - Scores beyond the visible positions of the last page are computed and then overwritten with -inf: exp makes them +0, which changes no sum.
//!   Values are folded for visible positions only.

use super::wide::Wide;
use crate::attention::{
    AttentionScratch, Context, Queries, SPAN, SPAN_PAGES, span_count, span_state_len,
};
use crate::reference::attention::{STATE, finish, merge};
use crate::reference::fma;
use crate::{ColumnsMut, HEAD_DIM_MAX, KvShape, KvType, PAGE_TOKENS};
use core::ops::Range;
use half::f16;

#[inline(always)]
pub(super) fn attention<S: Wide>(
    s: S,
    context: &Context<'_>,
    queries: &Queries<'_>,
    tokens: Range<usize>,
    position: usize,
    scratch: &mut AttentionScratch,
    out: &mut ColumnsMut<'_>,
) {
    let head_dim = context.kv.shape().head_dim;
    let (len, states) = (
        span_state_len(head_dim),
        queries.group * span_state_len(head_dim),
    );
    let (mut state, mut next) = (
        core::mem::take(&mut scratch.state),
        core::mem::take(&mut scratch.next),
    );
    state.resize(states, 0.0);
    next.resize(states, 0.0);
    for (token, position) in tokens.zip(position..) {
        span(
            s,
            context,
            queries,
            token..token + 1,
            position,
            0,
            scratch,
            &mut state,
        );
        for index in 1..span_count(position) {
            span(
                s,
                context,
                queries,
                token..token + 1,
                position,
                index,
                scratch,
                &mut next,
            );
            for (state, next) in state.chunks_exact_mut(len).zip(next.chunks_exact(len)) {
                merge(state, next);
            }
        }
        for (state, out) in state
            .chunks_exact(len)
            .zip(out.row_mut(token).chunks_exact_mut(head_dim))
        {
            finish(state, out);
        }
    }
    (scratch.state, scratch.next) = (state, next);
}

#[allow(clippy::too_many_arguments, reason = "mirrors the definition")]
#[inline(always)]
pub(super) fn span<S: Wide>(
    s: S,
    context: &Context<'_>,
    queries: &Queries<'_>,
    tokens: Range<usize>,
    position: usize,
    index: usize,
    scratch: &mut AttentionScratch,
    states: &mut [f32],
) {
    let head_dim = context.kv.shape().head_dim;
    let (len, group) = (span_state_len(head_dim), queries.group);
    scratch.scores.resize(S::QUERIES * SPAN, 0.0);
    for ((token, position), states) in tokens
        .zip(position..)
        .zip(states.chunks_exact_mut(group * len))
    {
        let visible = (position + 1 - index * SPAN).min(SPAN);
        let pages = &context.pages[index * SPAN_PAGES..][..visible.div_ceil(PAGE_TOKENS)];
        let q = &queries.q[token * queries.stride + queries.column..][..group * head_dim];
        let mut head = 0;
        while head + S::QUERIES <= group {
            match S::QUERIES {
                3 => heads::<S, 3>(
                    s,
                    context,
                    pages,
                    visible,
                    &q[head * head_dim..],
                    &mut scratch.scores,
                    &mut states[head * len..],
                ),
                4 => heads::<S, 4>(
                    s,
                    context,
                    pages,
                    visible,
                    &q[head * head_dim..],
                    &mut scratch.scores,
                    &mut states[head * len..],
                ),
                _ => unreachable!("a number this file knows"),
            }
            head += S::QUERIES;
        }
        while head + 2 <= group {
            heads::<S, 2>(
                s,
                context,
                pages,
                visible,
                &q[head * head_dim..],
                &mut scratch.scores,
                &mut states[head * len..],
            );
            head += 2;
        }
        if head < group {
            heads::<S, 1>(
                s,
                context,
                pages,
                visible,
                &q[head * head_dim..],
                &mut scratch.scores,
                &mut states[head * len..],
            );
        }
    }
}

/// One span for `R` query heads: `q` is `[R, head_dim]`, `scores` `[R, SPAN]`, `states` `[R, span_state_len]`.
#[inline(always)]
fn heads<S: Wide, const R: usize>(
    s: S,
    context: &Context<'_>,
    pages: &[u32],
    visible: usize,
    q: &[f32],
    scores: &mut [f32],
    states: &mut [f32],
) {
    let KvShape { kv_type, head_dim } = context.kv.shape();
    let len = span_state_len(head_dim);
    let mut scaled = [[0.0; HEAD_DIM_MAX]; R];
    for (scaled, q) in scaled.iter_mut().zip(q.chunks_exact(head_dim)) {
        for (scaled, q) in scaled.iter_mut().zip(q) {
            *scaled = q * context.scale;
        }
    }
    let (scores, states) = (&mut scores[..R * SPAN], &mut states[..R * len]);
    for (at, &page) in pages.iter().enumerate() {
        let keys = context.kv.keys(page);
        match kv_type {
            KvType::F32 => page_scores::<S, R, false>(s, keys, &scaled, head_dim, at, scores),
            KvType::F16 => page_scores::<S, R, true>(s, keys, &scaled, head_dim, at, scores),
        }
    }
    for (scores, state) in scores
        .chunks_exact_mut(SPAN)
        .zip(states.chunks_exact_mut(len))
    {
        // Pages are multiples of 16, so the padding stays inside them.
        scores[visible..visible.next_multiple_of(16)].fill(f32::NEG_INFINITY);
        let scores = &mut scores[..visible.next_multiple_of(16)];
        state[0] = super::elementwise::max(s, scores);
        state[1] = super::elementwise::exp_sum(s, scores, state[0]);
        state[STATE..].fill(0.0);
    }
    for (at, &page) in pages.iter().enumerate() {
        let values = context.kv.values(page);
        let count = (visible - at * PAGE_TOKENS).min(PAGE_TOKENS);
        match kv_type {
            KvType::F32 => page_values::<S, R, false>(
                s,
                values,
                &scores[at * PAGE_TOKENS..],
                count,
                head_dim,
                states,
            ),
            KvType::F16 => page_values::<S, R, true>(
                s,
                values,
                &scores[at * PAGE_TOKENS..],
                count,
                head_dim,
                states,
            ),
        }
    }
}

/// # Safety
/// `element + 16` elements are readable at `base`.
#[inline(always)]
unsafe fn load<S: Wide, const HALF: bool>(s: S, base: *const u8, element: usize) -> S::V {
    // SAFETY: the caller's promise.
    unsafe {
        if HALF {
            s.load_f16(base.add(element * 2))
        } else {
            s.load(base.add(element * 4).cast())
        }
    }
}

/// Scores of the 32 positions of a page.
#[inline(always)]
fn page_scores<S: Wide, const R: usize, const HALF: bool>(
    s: S,
    keys: &[u8],
    q: &[[f32; HEAD_DIM_MAX]; R],
    head_dim: usize,
    at: usize,
    scores: &mut [f32],
) {
    assert!(
        keys.len() == PAGE_TOKENS * head_dim * if HALF { 2 } else { 4 } && head_dim <= HEAD_DIM_MAX,
        "page size"
    );
    let mut acc = [[s.splat(0.0); 2]; R];
    for d in 0..head_dim {
        // SAFETY: keys hold 32 elements for each d below head_dim.
        let k = unsafe {
            [
                load::<S, HALF>(s, keys.as_ptr(), d * PAGE_TOKENS),
                load::<S, HALF>(s, keys.as_ptr(), d * PAGE_TOKENS + 16),
            ]
        };
        for r in 0..R {
            let q = s.splat(q[r][d]);
            for half in 0..2 {
                acc[r][half] = s.fma(q, k[half], acc[r][half]);
            }
        }
    }
    for (scores, acc) in scores.chunks_exact_mut(SPAN).zip(acc) {
        let scores = &mut scores[at * PAGE_TOKENS..][..PAGE_TOKENS];
        // SAFETY: the slice has 32 floats.
        unsafe {
            s.store(scores.as_mut_ptr(), acc[0]);
            s.store(scores.as_mut_ptr().add(16), acc[1]);
        }
    }
}

/// Folds the first `count` values of a page: row r's weights are at `r * SPAN` of `weights`.
#[inline(always)]
fn page_values<S: Wide, const R: usize, const HALF: bool>(
    s: S,
    values: &[u8],
    weights: &[f32],
    count: usize,
    head_dim: usize,
    states: &mut [f32],
) {
    assert!(
        values.len() == PAGE_TOKENS * head_dim * if HALF { 2 } else { 4 } && count <= PAGE_TOKENS,
        "page size"
    );
    let len = span_state_len(head_dim);
    let mut d = 0;
    while d + 32 <= head_dim {
        columns::<S, R, 2, HALF>(s, values, weights, count, head_dim, d, states);
        d += 32;
    }
    while d + 16 <= head_dim {
        columns::<S, R, 1, HALF>(s, values, weights, count, head_dim, d, states);
        d += 16;
    }
    for d in d..head_dim {
        for (r, state) in states.chunks_exact_mut(len).enumerate() {
            for (j, weight) in weights[r * SPAN..][..count].iter().enumerate() {
                let at = j * head_dim + d;
                let value = if HALF {
                    f16::from_le_bytes([values[2 * at], values[2 * at + 1]]).to_f32()
                } else {
                    f32::from_le_bytes(core::array::from_fn(|i| values[4 * at + i]))
                };
                state[STATE + d] = fma(*weight, value, state[STATE + d]);
            }
        }
    }
}

/// `C` times 16 columns from `d` on.
#[inline(always)]
fn columns<S: Wide, const R: usize, const C: usize, const HALF: bool>(
    s: S,
    values: &[u8],
    weights: &[f32],
    count: usize,
    head_dim: usize,
    d: usize,
    states: &mut [f32],
) {
    let len = span_state_len(head_dim);
    let weights: [&[f32]; R] = core::array::from_fn(|r| &weights[r * SPAN..][..count]);
    let states: [*mut f32; R] = {
        assert!(
            states.len() == R * len && d + 16 * C <= head_dim,
            "state size"
        );
        let base = states.as_mut_ptr();
        core::array::from_fn(|r| base.wrapping_add(r * len + STATE + d))
    };
    // SAFETY: each state has head_dim floats behind its first two, and d + 16 * C is at most that (asserted); values hold head_dim elements for
    // each of `count` positions (asserted by the caller).
    unsafe {
        let mut acc: [[S::V; C]; R] = each!([s.splat(0.0); C], |r| each!(s.splat(0.0), |c| s
            .load(states[r].add(16 * c))));
        for j in 0..count {
            let v: [S::V; C] = each!(s.splat(0.0), |c| {
                load::<S, HALF>(s, values.as_ptr(), j * head_dim + d + 16 * c)
            });
            for r in 0..R {
                let weight = s.splat(*weights[r].get_unchecked(j));
                for c in 0..C {
                    acc[r][c] = s.fma(weight, v[c], acc[r][c]);
                }
            }
        }
        for r in 0..R {
            for c in 0..C {
                s.store(states[r].add(16 * c), acc[r][c]);
            }
        }
    }
}
