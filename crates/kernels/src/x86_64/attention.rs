//! Attention for any [`Wide`]: the query heads of one KV head, times some tokens, as the rows of small products.
//!
//! - Up to [`Wide::QUERIES`] rows share every load of keys and values.
//! - Scores beyond the visible positions of a row are computed and then overwritten with -inf: exp makes them +0, which changes no sum.
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

/// Tokens whose states are kept at once: their rows fill whole tiles, and their queries and states stay in the second-level cache.
const TOKENS: usize = 16;

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
    let len = span_state_len(head_dim);
    let states = tokens.len().min(TOKENS) * queries.group * len;
    let (mut state, mut next) = (
        core::mem::take(&mut scratch.state),
        core::mem::take(&mut scratch.next),
    );
    state.resize(states, 0.0);
    next.resize(states, 0.0);
    for first in tokens.clone().step_by(TOKENS) {
        let block = first..(first + TOKENS).min(tokens.end);
        let position = position + (first - tokens.start);
        let states = &mut state[..block.len() * queries.group * len];
        span(
            s,
            context,
            queries,
            block.clone(),
            position,
            0,
            scratch,
            states,
        );
        for index in 1..span_count(position + block.len() - 1) {
            // The tokens before this one see nothing of the span.
            let from = (index * SPAN).saturating_sub(position);
            let states = &mut states[from * queries.group * len..];
            let next = &mut next[..states.len()];
            span(
                s,
                context,
                queries,
                block.start + from..block.end,
                position + from,
                index,
                scratch,
                next,
            );
            for (state, next) in states.chunks_exact_mut(len).zip(next.chunks_exact(len)) {
                merge(state, next);
            }
        }
        for (token, states) in block.zip(states.chunks_exact(queries.group * len)) {
            let out = out.row_mut(token).chunks_exact_mut(head_dim);
            for (state, out) in states.chunks_exact(len).zip(out) {
                finish(state, out);
            }
        }
    }
    (scratch.state, scratch.next) = (state, next);
}

/// One span of some tokens, all of which see something of it: `states` is `[tokens, group, span_state_len]`.
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
    let len = span_state_len(context.kv.shape().head_dim);
    scratch.scores.resize(S::QUERIES * SPAN, 0.0);
    let scores = &mut scratch.scores[..];
    let of = Rows {
        context,
        queries,
        tokens: tokens.clone(),
        position,
        index,
    };
    let rows = tokens.len() * queries.group;
    let mut row = 0;
    while row < rows {
        let states = &mut states[row * len..];
        row += match (rows - row).min(S::QUERIES) {
            8.. => tile::<S, 8>(s, &of, row, scores, states),
            4.. => tile::<S, 4>(s, &of, row, scores, states),
            3 => tile::<S, 3>(s, &of, row, scores, states),
            2 => tile::<S, 2>(s, &of, row, scores, states),
            _ => tile::<S, 1>(s, &of, row, scores, states),
        };
    }
}

/// The rows of a span: row i is head `i % group` of token `i / group`.
struct Rows<'a> {
    context: &'a Context<'a>,
    queries: &'a Queries<'a>,
    tokens: Range<usize>,
    position: usize,
    index: usize,
}

impl Rows<'_> {
    fn query(&self, row: usize) -> &[f32] {
        let head_dim = self.context.kv.shape().head_dim;
        let Queries {
            q,
            stride,
            column,
            group,
        } = *self.queries;
        &q[(self.tokens.start + row / group) * stride + column + row % group * head_dim..]
            [..head_dim]
    }

    /// Positions of the span that the row sees.
    fn visible(&self, row: usize) -> usize {
        (self.position + row / self.queries.group + 1 - self.index * SPAN).min(SPAN)
    }
}

/// One span for `R` rows from `row` on: `scores` is `[R, SPAN]`, `states` `[R, span_state_len]`. Returns `R`.
#[inline(always)]
fn tile<S: Wide, const R: usize>(
    s: S,
    of: &Rows<'_>,
    row: usize,
    scores: &mut [f32],
    states: &mut [f32],
) -> usize {
    let KvShape { kv_type, head_dim } = of.context.kv.shape();
    let len = span_state_len(head_dim);
    let (scores, states) = (&mut scores[..R * SPAN], &mut states[..R * len]);
    let mut q = [[0.0; HEAD_DIM_MAX]; R];
    let mut visible = [0; R];
    for r in 0..R {
        visible[r] = of.visible(row + r);
        for (scaled, q) in q[r].iter_mut().zip(of.query(row + r)) {
            *scaled = q * of.context.scale;
        }
    }
    // Positions of later rows see more.
    let pages = &of.context.pages[of.index * SPAN_PAGES..][..visible[R - 1].div_ceil(PAGE_TOKENS)];
    for (at, &page) in pages.iter().enumerate() {
        let keys = of.context.kv.keys(page);
        match kv_type {
            KvType::F32 => page_scores::<S, R, false>(s, keys, &q, head_dim, at, scores),
            KvType::F16 => page_scores::<S, R, true>(s, keys, &q, head_dim, at, scores),
        }
    }
    for r in 0..R {
        let (scores, state) = (
            &mut scores[r * SPAN..][..SPAN],
            &mut states[r * len..][..len],
        );
        // Pages are multiples of 16, so the padding has a place.
        let padded = visible[r].next_multiple_of(16);
        scores[visible[r]..padded].fill(f32::NEG_INFINITY);
        state[0] = super::elementwise::max(s, &scores[..padded]);
        state[1] = super::elementwise::exp_sum(s, &mut scores[..padded], state[0]);
        state[STATE..].fill(0.0);
    }
    for (at, &page) in pages.iter().enumerate() {
        let values = of.context.kv.values(page);
        let weights = &scores[at * PAGE_TOKENS..];
        match kv_type {
            KvType::F32 => {
                row_values::<S, R, false>(s, values, weights, &visible, at, head_dim, states)
            }
            KvType::F16 => {
                row_values::<S, R, true>(s, values, weights, &visible, at, head_dim, states)
            }
        }
    }
    R
}

/// Folds a page for `R` rows: what all of them see together, what some see beyond it one by one.
#[inline(always)]
fn row_values<S: Wide, const R: usize, const HALF: bool>(
    s: S,
    values: &[u8],
    weights: &[f32],
    visible: &[usize; R],
    at: usize,
    head_dim: usize,
    states: &mut [f32],
) {
    let len = span_state_len(head_dim);
    let common = visible[0].saturating_sub(at * PAGE_TOKENS).min(PAGE_TOKENS);
    page_values::<S, R, HALF>(s, values, weights, 0..common, head_dim, states);
    for r in 1..R {
        let count = visible[r].saturating_sub(at * PAGE_TOKENS).min(PAGE_TOKENS);
        if count > common {
            let (weights, state) = (&weights[r * SPAN..], &mut states[r * len..][..len]);
            page_values::<S, 1, HALF>(s, values, weights, common..count, head_dim, state);
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

/// Folds `positions` of a page: row r's weights are at `r * SPAN` of `weights`.
#[inline(always)]
fn page_values<S: Wide, const R: usize, const HALF: bool>(
    s: S,
    values: &[u8],
    weights: &[f32],
    positions: Range<usize>,
    head_dim: usize,
    states: &mut [f32],
) {
    assert!(
        values.len() == PAGE_TOKENS * head_dim * if HALF { 2 } else { 4 }
            && positions.end <= PAGE_TOKENS,
        "page size"
    );
    let len = span_state_len(head_dim);
    let mut d = 0;
    while d + 32 <= head_dim {
        columns::<S, R, 2, HALF>(s, values, weights, positions.clone(), head_dim, d, states);
        d += 32;
    }
    while d + 16 <= head_dim {
        columns::<S, R, 1, HALF>(s, values, weights, positions.clone(), head_dim, d, states);
        d += 16;
    }
    for d in d..head_dim {
        for (r, state) in states.chunks_exact_mut(len).enumerate() {
            for j in positions.clone() {
                let at = j * head_dim + d;
                let value = if HALF {
                    f16::from_le_bytes([values[2 * at], values[2 * at + 1]]).to_f32()
                } else {
                    f32::from_le_bytes(core::array::from_fn(|i| values[4 * at + i]))
                };
                state[STATE + d] = fma(weights[r * SPAN + j], value, state[STATE + d]);
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
    positions: Range<usize>,
    head_dim: usize,
    d: usize,
    states: &mut [f32],
) {
    let len = span_state_len(head_dim);
    let weights: [&[f32]; R] = core::array::from_fn(|r| &weights[r * SPAN..][..positions.end]);
    let states: [*mut f32; R] = {
        assert!(
            states.len() == R * len && d + 16 * C <= head_dim,
            "state size"
        );
        let base = states.as_mut_ptr();
        core::array::from_fn(|r| base.wrapping_add(r * len + STATE + d))
    };
    // SAFETY: each state has head_dim floats behind its first two, and d + 16 * C is at most that (asserted); values hold head_dim elements for
    // each of `positions` (asserted by the caller).
    unsafe {
        let mut acc: [[S::V; C]; R] = each!([s.splat(0.0); C], |r| each!(s.splat(0.0), |c| s
            .load(states[r].add(16 * c))));
        for j in positions {
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
