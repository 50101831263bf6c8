//! Definition of attention for one query: `softmax(q . k) . v` over the positions of its context.
//!
//! - A score is one chain in rising d from +0: `s = fma(q[d] * scale, k[d], s)`; `q[d] * scale` is rounded to f32.
//! - Positions are taken in spans of 512 at absolute multiples of 512. Within a span: m = the largest score; weights e = exp(s - m);
//!   l = sum of e in 16 lanes by position and the tree; `acc[d] = fma(e, v[d], acc[d])` in rising position from +0.
//! - Spans are merged in rising order: m' = max(m, m_2), c = exp(m - m'), c_2 = exp(m_2 - m'); l' = fma(l, c, l_2 * c_2), acc likewise.
//! - The result is `acc[d] / l`.
//!
//! Keys and values are those of the cache, rounded to its type, also for the positions of the current step: a chunk border changes nothing.

use super::elementwise::{exp, exp_sum, max};
use super::fma;
use crate::attention::{SPAN, SPAN_PAGES};
use crate::{KvHead, KvType, PAGE_TOKENS};
use half::f16;

/// State of a query over some spans: `[m, l, acc[head_dim]]`.
pub(crate) const STATE: usize = 2;

/// One span: the `visible` (1..=512) positions of `pages`. `scores` holds at least 512 elements.
#[inline(always)]
pub(crate) fn span(
    kv: KvHead<'_>,
    pages: &[u32],
    visible: usize,
    q: &[f32],
    scale: f32,
    scores: &mut [f32],
    state: &mut [f32],
) {
    match kv.shape().kv_type {
        KvType::F32 => span_of(
            kv,
            pages,
            visible,
            q,
            scale,
            scores,
            state,
            f32::from_le_bytes,
        ),
        KvType::F16 => span_of(kv, pages, visible, q, scale, scores, state, |b| {
            f16::from_le_bytes(b).to_f32()
        }),
    }
}

#[allow(
    clippy::too_many_arguments,
    reason = "one span of one query, spelled out"
)]
#[inline(always)]
fn span_of<const N: usize>(
    kv: KvHead<'_>,
    pages: &[u32],
    visible: usize,
    q: &[f32],
    scale: f32,
    scores: &mut [f32],
    state: &mut [f32],
    element: impl Fn([u8; N]) -> f32,
) {
    debug_assert!(visible <= SPAN && pages.len() <= SPAN_PAGES);
    let head_dim = q.len();
    let scores = &mut scores[..visible];
    scores.fill(0.0);
    for (scores, &page) in scores.chunks_mut(PAGE_TOKENS).zip(pages) {
        let keys = kv.keys(page).as_chunks::<N>().0;
        for (d, q) in q.iter().enumerate() {
            let q = q * scale;
            for (score, key) in scores.iter_mut().zip(&keys[d * PAGE_TOKENS..]) {
                *score = fma(q, element(*key), *score);
            }
        }
    }
    let largest = max(scores);
    let (head, acc) = state.split_at_mut(STATE);
    head[0] = largest;
    head[1] = exp_sum(scores, largest);
    acc.fill(0.0);
    for (weights, &page) in scores.chunks(PAGE_TOKENS).zip(pages) {
        let values = kv.values(page).as_chunks::<N>().0;
        for (weight, values) in weights.iter().zip(values.chunks_exact(head_dim)) {
            for (acc, value) in acc.iter_mut().zip(values) {
                *acc = fma(*weight, element(*value), *acc);
            }
        }
    }
}

/// Merges the next span into `state`.
#[inline(always)]
pub(crate) fn merge(state: &mut [f32], next: &[f32]) {
    let largest = if next[0] > state[0] {
        next[0]
    } else {
        state[0]
    };
    let (old, new) = (exp(state[0] - largest), exp(next[0] - largest));
    state[0] = largest;
    for (x, y) in state[1..].iter_mut().zip(&next[1..]) {
        *x = fma(*x, old, y * new);
    }
}

/// `out[d] = acc[d] / l`
#[inline(always)]
pub(crate) fn finish(state: &[f32], out: &mut [f32]) {
    for (out, acc) in out.iter_mut().zip(&state[STATE..]) {
        *out = acc / state[1];
    }
}
