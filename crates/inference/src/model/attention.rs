//! The attention block: project and store, attend, project back.
//!
//! - A rank projects whole heads, so that it can add biases, norm, turn and store them without waiting for anybody.
//! - Attention itself is shared out by its cost, which grows with the position: a rank takes a run of (head, row).

use spindle_kernels::{
    ColumnsMut, Context, KvHeadMut, KvType, PAGE_TOKENS, Queries, RopePairs, add, attention,
    matmul, rms_norm, rope, split_columns,
};

use super::forward::Forward;
use super::input::Source;
use super::layer::{Projection, forms};
use super::loaded::Model;
use super::split::{columns, cut};
use super::step::Step;
use crate::formats::RopeStyle;
use crate::kv::KvCache;

/// Chunks are cut between ranks at multiples of this many rows, so that the kernels' tiles stay whole.
const ROWS_OF_A_TILE: usize = 16;

impl Forward {
    /// Norm, q, k and v, biases, norms of heads, rotation; keys and values go to the cache.
    pub(super) fn project_attention(&mut self, step: &Step, layer: usize, cache: &mut KvCache) {
        let Self {
            model,
            isa,
            team,
            split,
            buffers,
        } = self;
        let (model, isa, rows) = (&**model, *isa, step.rows());
        let (config, weights) = (model.config(), &model.layers[layer]);
        let (width, head_dim, rope_dims) = (config.width, config.head_dim, config.rope.dims);
        let (q_width, kv_width) = (config.q_width(), config.kv_width());

        let source = Source::Normed {
            stream: &buffers.stream[..rows * width],
            weight: &weights.attention_norm,
            eps: config.rms_eps,
        };
        let forms = forms([&weights.q.matrix, &weights.k.matrix, &weights.v.matrix]);
        let (input, own) = buffers.stream_input.prepare(isa, team, source, rows, forms);
        let q_columns = columns(&split.heads, head_dim);
        let kv_columns = columns(&split.kv_heads, head_dim);
        let q = split_columns(&mut buffers.q[..rows * q_width], q_width, &q_columns);
        let k = split_columns(&mut buffers.k[..rows * kv_width], kv_width, &kv_columns);
        let v = split_columns(&mut buffers.v[..rows * kv_width], kv_width, &kv_columns);
        let half = cache.kv_type() == KvType::F16;
        let mut heads: Vec<KvHeadMut<'_>> = cache.pool_mut().heads_mut(layer).collect();
        let stores = cut(&mut heads, &split.kv_heads, 1);
        let mut parts: Vec<_> = q.into_iter().zip(k).zip(v).zip(stores).zip(own).collect();
        let tables = &buffers.rope[..rows * rope_dims];
        team.run(&mut parts, |_, ((((q, k), v), stores), own)| {
            let input = input.get(own);
            let project = |projection: &Projection, out: &mut ColumnsMut<'_>| {
                let columns = out.columns();
                matmul(
                    isa,
                    &model.weights(&projection.matrix),
                    columns.clone(),
                    input,
                    0..rows,
                    out,
                );
                if let Some(bias) = &projection.bias {
                    (0..rows).for_each(|row| add(isa, out.row_mut(row), &bias[columns.clone()]));
                }
            };
            project(&weights.q, q);
            project(&weights.k, k);
            project(&weights.v, v);
            let norms = weights.qk_norm.as_ref();
            turn(model, isa, q, norms.map(|(q, _)| &**q), tables);
            if half {
                (0..rows).for_each(|row| q.row_mut(row).iter_mut().for_each(|x| *x = to_half(*x)));
            }
            turn(model, isa, k, norms.map(|(_, k)| &**k), tables);
            store(step, stores, k, v, head_dim);
        });
    }

    /// Attention of every row over its own sequence.
    pub(super) fn attend(&mut self, step: &Step, layer: usize, cache: &KvCache) {
        let Self {
            model,
            isa,
            team,
            buffers,
            ..
        } = self;
        let (isa, rows, config) = (*isa, step.rows(), model.config());
        let (head_dim, q_width) = (config.head_dim, config.q_width());
        let group = config.heads / config.kv_heads;
        let part_width = group * head_dim;
        // The chip's division and square root are exact, so this is one number everywhere.
        let scale = 1.0 / (head_dim as f32).sqrt();

        let edges = shares(step, config.kv_heads, team.threads());
        let ranges: Vec<_> = edges.windows(2).map(|edge| edge[0]..edge[1]).collect();
        let attended = cut(&mut buffers.attended[..rows * q_width], &ranges, part_width);
        let mut parts: Vec<_> = ranges
            .iter()
            .cloned()
            .zip(attended)
            .zip(&mut buffers.attention)
            .collect();
        let q = &buffers.q[..rows * q_width];
        team.run(&mut parts, |_, ((range, attended), scratch)| {
            let mut rest = &mut **attended;
            while range.start < range.end {
                // The next run of rows in one chunk and one head.
                let (head, row) = (range.start / rows, range.start % rows);
                let chunk =
                    &step.chunks[step.chunks.partition_point(|chunk| chunk.rows.end <= row)];
                let count = (chunk.rows.end - row).min(range.len());
                let context = Context {
                    kv: cache.pool().head(layer, head),
                    pages: step.pages(chunk),
                    scale,
                };
                let queries = Queries {
                    q: &q[row * q_width..][..count * q_width],
                    stride: q_width,
                    column: head * part_width,
                    group,
                };
                let (out, others) = rest.split_at_mut(count * part_width);
                let position = chunk.position + (row - chunk.rows.start);
                attention(
                    isa,
                    &context,
                    &queries,
                    0..count,
                    position,
                    scratch,
                    &mut ColumnsMut::new(out, part_width),
                );
                rest = others;
                range.start += count;
            }
        });
    }

    /// Projects what attention found and adds it to the stream.
    pub(super) fn add_attention(&mut self, step: &Step, layer: usize) {
        let config = self.model.config();
        let (rows, width, q_width) = (step.rows(), config.width, config.q_width());
        let part_width = q_width / config.kv_heads;
        let model = self.model.clone();
        let matrix = &model.layers[layer].output;
        let buffers = &mut self.buffers;
        let source = Source::Attended {
            parts: &buffers.attended[..rows * q_width],
            part_width,
            rows,
        };
        let (input, own) =
            buffers
                .attended_input
                .prepare(self.isa, &mut self.team, source, rows, forms([matrix]));
        let stream = split_columns(
            &mut buffers.stream[..rows * width],
            width,
            &self.split.width,
        );
        let change = split_columns(
            &mut buffers.change[..rows * width],
            width,
            &self.split.width,
        );
        super::feed_forward::add_product(
            self.isa,
            &mut self.team,
            &model.weights(matrix),
            &input,
            own,
            stream,
            change,
        );
    }
}

/// Norms and turns the heads a rank has.
fn turn(
    model: &Model,
    isa: spindle_kernels::Isa,
    heads: &mut ColumnsMut<'_>,
    norm: Option<&[f32]>,
    tables: &[f32],
) {
    let config = model.config();
    let (head_dim, rope_dims) = (config.head_dim, config.rope.dims);
    let pairs = match config.rope.style {
        RopeStyle::Interleaved => RopePairs::Interleaved,
        RopeStyle::HalfSplit => RopePairs::Halves,
    };
    let mut normed = [0.0; spindle_kernels::HEAD_DIM_MAX];
    let normed = &mut normed[..head_dim];
    for row in 0..heads.tokens() {
        let row_heads = heads.row_mut(row);
        if let Some(weight) = norm {
            for head in row_heads.chunks_exact_mut(head_dim) {
                rms_norm(isa, head, weight, config.rms_eps, normed);
                head.copy_from_slice(normed);
            }
        }
        rope(
            isa,
            pairs,
            row_heads,
            head_dim,
            &tables[row * rope_dims..][..rope_dims],
        );
    }
}

/// Writes keys and values of the heads a rank has into their pages.
fn store(
    step: &Step,
    stores: &mut [KvHeadMut<'_>],
    k: &ColumnsMut<'_>,
    v: &ColumnsMut<'_>,
    head_dim: usize,
) {
    for (index, head) in stores.iter_mut().enumerate() {
        let columns = index * head_dim..(index + 1) * head_dim;
        for chunk in &step.chunks {
            let pages = step.pages(chunk);
            for (row, position) in chunk.rows.clone().zip(chunk.position..) {
                let (page, slot) = (pages[position / PAGE_TOKENS], position % PAGE_TOKENS);
                head.store(
                    page,
                    slot,
                    &k.row(row)[columns.clone()],
                    &v.row(row)[columns.clone()],
                );
            }
        }
    }
}

/// Where the ranks' shares of (head, row), rows within heads, begin and end: `ranks + 1` edges of equal cost between.
fn shares(step: &Step, kv_heads: usize, ranks: usize) -> Vec<usize> {
    let rows = step.rows();
    let of_head = step.pairs();
    let mut edges = Vec::with_capacity(ranks + 1);
    edges.push(0);
    // One walk over the rows serves all edges that fall into the same head; few ranks make it cheap enough.
    for rank in 1..ranks {
        let target = kv_heads * of_head * rank / ranks;
        let (head, mut left) = (target / of_head, target % of_head);
        let row = step.positions.iter().position(|&position| {
            let cost = position as usize + 1;
            let here = left < cost;
            left = left.saturating_sub(cost);
            here
        });
        let row = row.map_or(rows, |row| whole_tiles(step, row));
        edges.push((head * rows + row).max(*edges.last().expect("the first edge is there")));
    }
    edges.push(kv_heads * rows);
    edges
}

/// The row nearest to `row` at which a chunk may be cut.
fn whole_tiles(step: &Step, row: usize) -> usize {
    let chunk = &step.chunks[step.chunks.partition_point(|chunk| chunk.rows.end <= row)];
    let tiles = (row - chunk.rows.start + ROWS_OF_A_TILE / 2) / ROWS_OF_A_TILE;
    (chunk.rows.start + tiles * ROWS_OF_A_TILE).min(chunk.rows.end)
}

/// The nearest number of half precision, ties to even. Queries are rounded where keys are: engines that keep keys in
/// half precision multiply them by queries of the same, and a small model's near ties fall as theirs do.
fn to_half(x: f32) -> f32 {
    /// Below this, half precision has steps of 2^-24: the last bit of f32 between a half and one.
    const NORMAL_MIN: f32 = 1.0 / 16384.0;
    let bits = x.to_bits();
    let normal = f32::from_bits((bits.wrapping_add(0x0fff + (bits >> 13 & 1))) & !0x1fff);
    if x.abs() < NORMAL_MIN {
        (x + 0.75) - 0.75
    } else if x.is_nan() {
        // Its payload would be carried into the exponent or over the sign.
        x
    } else {
        normal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_rounds_to_nearest_even() {
        let table = [
            (1.0, 1.0),
            (1.0 + 1.0 / 2048.0, 1.0),
            (1.0 + 3.0 / 2048.0, 1.0 + 2.0 / 1024.0),
            (-1.0 - 1.1 / 2048.0, -1.0 - 1.0 / 1024.0),
            (2047.6, 2048.0),
            (6.1e-5, 1023.0 / 16_777_216.0),
            (1e-9, 0.0),
            (0.0, 0.0),
        ];
        for (x, expected) in table {
            assert_eq!(to_half(x), expected, "{x}");
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so_in_half_precision_whatever_its_bits() {
        // Rounding is an addition to the bits: it carried a payload of ones over the sign into a zero, and one whose
        // payload is in the last bits only into an infinity. Payloads differ between instruction sets.
        for bits in [
            0x7fc0_0000,
            0x7fff_ffff,
            0xffff_ffff,
            0x7f80_0001,
            0xff80_1000,
        ] {
            let found = to_half(f32::from_bits(bits));
            assert!(found.is_nan(), "{bits:x}: {found}");
        }
        for x in [f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(to_half(x), x);
        }
    }
}
