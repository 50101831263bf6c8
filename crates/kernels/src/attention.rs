//! Attention of the query heads of one KV head, over the pages of one sequence.
//!
//! - The definition is [`crate::reference`]'s: spans of 512 positions, each computable alone, merged in order. [`attention`] does all spans of some
//!   tokens; [`attention_spans`] and [`attention_merge`] do the same for one token with the spans shared out to ranks, bit for bit.
//! - The query at position p sees positions 0..=p, all of which must be in the cache already.
//!
//! Absent: masks other than the causal one, and who owns which page.

use crate::reference::attention::STATE;
use crate::{ColumnsMut, Isa, KvHead, PAGE_TOKENS, dispatch};
use core::ops::Range;

/// Positions in a span: the smallest thing one thread may take alone.
pub const SPAN: usize = 512;
/// Pages in a span.
pub(crate) const SPAN_PAGES: usize = SPAN / PAGE_TOKENS;
/// The largest key this crate attends to.
pub const HEAD_DIM_MAX: usize = 256;

/// What is attended to: one KV head of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// the head's pages
    pub kv: KvHead<'a>,
    /// page numbers of the sequence in the order of positions
    pub pages: &'a [u32],
    /// factor of the scores, usually 1 / sqrt(head_dim)
    pub scale: f32,
}

/// Queries: some rows of a `[tokens, stride]` buffer, of which `group` heads from column `column` on belong to the KV head.
#[derive(Clone, Copy, Debug)]
pub struct Queries<'a> {
    /// `[tokens, stride]`
    pub q: &'a [f32],
    /// distance of rows
    pub stride: usize,
    /// first column of the group
    pub column: usize,
    /// query heads in the group
    pub group: usize,
}

/// Memory for [`attention`], one for each rank.
#[derive(Clone, Debug, Default)]
pub struct AttentionScratch {
    pub(crate) scores: Vec<f32>,
    pub(crate) state: Vec<f32>,
    pub(crate) next: Vec<f32>,
}

/// Attention of rows `tokens` of `queries`, at positions `position`, `position + 1`, ...; writes the same rows of `out`, `[group * head_dim]` wide.
///
/// # Panics
/// If a row, page or length does not exist, or `head_dim` is above [`HEAD_DIM_MAX`].
pub fn attention(
    isa: Isa,
    context: &Context<'_>,
    queries: &Queries<'_>,
    tokens: Range<usize>,
    position: usize,
    scratch: &mut AttentionScratch,
    out: &mut ColumnsMut<'_>,
) {
    let head_dim = check(context, queries, &tokens, position);
    assert!(
        out.width() == queries.group * head_dim && tokens.end <= out.tokens(),
        "output shape"
    );
    if !tokens.is_empty() {
        dispatch::attention(isa, context, queries, tokens, position, scratch, out);
    }
}

/// Floats in one query's state over some spans.
pub fn span_state_len(head_dim: usize) -> usize {
    STATE + head_dim
}

/// Number of spans that the query at `position` sees.
pub fn span_count(position: usize) -> usize {
    position / SPAN + 1
}

/// The spans `spans` of one token, each on its own: `states` is `[spans, group, span_state_len]`.
///
/// # Panics
/// As [`attention`].
#[expect(
    clippy::too_many_arguments,
    reason = "the arguments of `attention` and a range"
)]
pub fn attention_spans(
    isa: Isa,
    context: &Context<'_>,
    queries: &Queries<'_>,
    token: usize,
    position: usize,
    spans: Range<usize>,
    scratch: &mut AttentionScratch,
    states: &mut [f32],
) {
    let head_dim = check(context, queries, &(token..token + 1), position);
    assert!(
        spans.end <= span_count(position),
        "span beyond the position"
    );
    let states_per_span = queries.group * span_state_len(head_dim);
    assert_eq!(states.len(), spans.len() * states_per_span, "states shape");
    for (span, states) in spans.zip(states.chunks_exact_mut(states_per_span)) {
        dispatch::attention_span(
            isa,
            context,
            queries,
            token..token + 1,
            position,
            span,
            scratch,
            states,
        );
    }
}

/// Merges all spans of one token, `states` as [`attention_spans`] filled it for all of them, and writes `out`, `[group * head_dim]`.
///
/// # Panics
/// If the lengths do not fit.
pub fn attention_merge(isa: Isa, head_dim: usize, states: &mut [f32], out: &mut [f32]) {
    let (len, width) = (span_state_len(head_dim), out.len());
    let per_span = width / head_dim * len;
    assert!(
        width > 0
            && width.is_multiple_of(head_dim)
            && !states.is_empty()
            && states.len().is_multiple_of(per_span),
        "states shape"
    );
    let (merged, rest) = states.split_at_mut(per_span);
    for (head, state) in merged.chunks_exact_mut(len).enumerate() {
        for next in rest.chunks_exact(per_span) {
            dispatch::attention_merge(isa, state, &next[head * len..][..len]);
        }
        dispatch::attention_finish(isa, state, &mut out[head * head_dim..][..head_dim]);
    }
}

/// Checks everything that is read; returns the head dimension.
fn check(
    context: &Context<'_>,
    queries: &Queries<'_>,
    tokens: &Range<usize>,
    position: usize,
) -> usize {
    let head_dim = context.kv.shape().head_dim;
    assert!(
        head_dim <= HEAD_DIM_MAX,
        "head_dim {head_dim} is above {HEAD_DIM_MAX}"
    );
    assert!(
        queries.group > 0 && queries.column + queries.group * head_dim <= queries.stride,
        "query columns"
    );
    assert!(
        tokens.start <= tokens.end && tokens.end * queries.stride <= queries.q.len(),
        "query rows"
    );
    let pages = (position + tokens.len()).div_ceil(PAGE_TOKENS);
    assert!(
        pages <= context.pages.len(),
        "position beyond the sequence's pages"
    );
    let count = context.kv.pages();
    assert!(
        context.pages[..pages]
            .iter()
            .all(|&page| (page as usize) < count),
        "page beyond the pool"
    );
    head_dim
}

/// The portable path: every query by its definition.
#[inline(always)]
pub(crate) fn scalar(
    context: &Context<'_>,
    queries: &Queries<'_>,
    tokens: Range<usize>,
    position: usize,
    scratch: &mut AttentionScratch,
    out: &mut ColumnsMut<'_>,
) {
    use crate::reference::attention as definition;
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
        scalar_span(
            context,
            queries,
            token..token + 1,
            position,
            0,
            scratch,
            &mut state,
        );
        for span in 1..span_count(position) {
            scalar_span(
                context,
                queries,
                token..token + 1,
                position,
                span,
                scratch,
                &mut next,
            );
            for (state, next) in state.chunks_exact_mut(len).zip(next.chunks_exact(len)) {
                definition::merge(state, next);
            }
        }
        for (state, out) in state
            .chunks_exact(len)
            .zip(out.row_mut(token).chunks_exact_mut(head_dim))
        {
            definition::finish(state, out);
        }
    }
    (scratch.state, scratch.next) = (state, next);
}

/// One span of some tokens: `states` is `[tokens, group, span_state_len]`. Every token sees something of the span.
#[inline(always)]
pub(crate) fn scalar_span(
    context: &Context<'_>,
    queries: &Queries<'_>,
    tokens: Range<usize>,
    position: usize,
    span: usize,
    scratch: &mut AttentionScratch,
    states: &mut [f32],
) {
    let head_dim = context.kv.shape().head_dim;
    scratch.scores.resize(SPAN, 0.0);
    let pages = &context.pages[span * SPAN_PAGES..];
    let mut states = states.chunks_exact_mut(span_state_len(head_dim));
    for (token, position) in tokens.zip(position..) {
        let visible = (position + 1 - span * SPAN).min(SPAN);
        let pages = &pages[..visible.div_ceil(PAGE_TOKENS)];
        let q = &queries.q[token * queries.stride + queries.column..][..queries.group * head_dim];
        for (q, state) in q.chunks_exact(head_dim).zip(&mut states) {
            crate::reference::attention::span(
                context.kv,
                pages,
                visible,
                q,
                context.scale,
                &mut scratch.scores,
                state,
            );
        }
    }
}
