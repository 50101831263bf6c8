//! Which rank computes what. Fixed for the life of a model, so that a rank meets the same weights at every step; where
//! work is cut never changes a value.

use std::ops::Range;

use spindle_kernels::split_even;

use crate::formats::ModelConfig;

/// Rows of weights are cut at multiples of this: the kernels take so many at once.
const WEIGHT_ROWS: usize = 16;

/// Ranges by rank.
#[derive(Debug)]
pub(super) struct Split {
    /// Query heads.
    pub heads: Vec<Range<usize>>,
    /// Key/value heads.
    pub kv_heads: Vec<Range<usize>>,
    /// Columns of the residual stream.
    pub width: Vec<Range<usize>>,
    /// Columns between the halves of a feed-forward layer.
    pub ffn: Vec<Range<usize>>,
    /// The vocabulary.
    pub vocab: Vec<Range<usize>>,
}

impl Split {
    pub fn new(config: &ModelConfig, ranks: usize) -> Self {
        let kv_heads = split_even(config.kv_heads, ranks, 1);
        Self {
            heads: query_heads(config.heads, &kv_heads),
            kv_heads,
            width: split_even(config.width, ranks, WEIGHT_ROWS),
            ffn: split_even(config.ffn_width, ranks, WEIGHT_ROWS),
            vocab: split_even(config.vocab_len, ranks, WEIGHT_ROWS),
        }
    }
}

/// Query heads by rank, so that a rank's share of all heads (two for a key/value head) is even: few key/value heads
/// divide badly, and whole heads let a rank turn and store what it has computed without waiting.
fn query_heads(heads: usize, kv_heads: &[Range<usize>]) -> Vec<Range<usize>> {
    let ranks = kv_heads.len();
    let kv_total = kv_heads.last().map_or(0, |last| last.end);
    let all = heads + 2 * kv_total;
    let mut start = 0;
    let ends =
        (0..ranks).map(|rank| (all * (rank + 1) / ranks).saturating_sub(2 * kv_heads[rank].end));
    ends.map(|end| {
        let range = start..end.clamp(start, heads);
        start = range.end;
        range
    })
    .collect()
}

/// Cuts a slice at the ranges' ends, each item standing for `unit` elements.
pub(super) fn cut<'a, T>(
    mut slice: &'a mut [T],
    ranges: &[Range<usize>],
    unit: usize,
) -> Vec<&'a mut [T]> {
    let mut parts = Vec::with_capacity(ranges.len());
    for range in ranges {
        let (part, rest) = slice.split_at_mut(range.len() * unit);
        parts.push(part);
        slice = rest;
    }
    parts
}

/// Ranges of heads as ranges of columns.
pub(super) fn columns(heads: &[Range<usize>], head_dim: usize) -> Vec<Range<usize>> {
    heads
        .iter()
        .map(|range| range.start * head_dim..range.end * head_dim)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_shared_out_evenly_and_once() {
        for (heads, kv_heads) in [(9, 3), (32, 8), (8, 8), (4, 1), (14, 2), (1, 1)] {
            for ranks in 1..6 {
                let kv = split_even(kv_heads, ranks, 1);
                let queries = query_heads(heads, &kv);
                let mut next = 0;
                for range in &queries {
                    assert!(
                        range.start == next && range.end >= range.start,
                        "{queries:?}"
                    );
                    next = range.end;
                }
                assert_eq!(next, heads, "{ranks} ranks");
            }
        }
        let kv = split_even(3, 2, 1);
        let load: Vec<usize> = query_heads(9, &kv)
            .iter()
            .zip(&kv)
            .map(|(q, kv)| q.len() + 2 * kv.len())
            .collect();
        assert_eq!(load, [7, 8]);
    }
}
