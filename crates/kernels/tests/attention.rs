//! Attention equals its definition to the last bit, however it is split, and the definition is softmax(q . k) . v.

mod support;

use spindle_kernels::*;
use support::{Random, assert_same};

struct Case {
    pool: KvPool,
    pages: Vec<u32>,
    q: Vec<f32>,
    group: usize,
    keys: Vec<f32>,
    values: Vec<f32>,
}

fn case(
    random: &mut Random,
    kv_type: KvType,
    head_dim: usize,
    group: usize,
    context: usize,
    tokens: usize,
) -> Case {
    let count = context.div_ceil(PAGE_TOKENS);
    let mut pool = KvPool::new(KvShape { kv_type, head_dim }, 1, 1, count + 2);
    // Pages in falling order, so that a kernel that ignores the table fails.
    let pages: Vec<u32> = (0..count as u32).rev().map(|page| page + 1).collect();
    let (keys, values) = (
        random.floats(context * head_dim),
        random.floats(context * head_dim),
    );
    let mut head = pool.heads_mut(0).next().unwrap();
    for position in 0..context {
        let row = position * head_dim..(position + 1) * head_dim;
        head.store(
            pages[position / PAGE_TOKENS],
            position % PAGE_TOKENS,
            &keys[row.clone()],
            &values[row],
        );
    }
    // What a page holds beyond the context must not matter.
    for position in context..count * PAGE_TOKENS {
        let garbage = vec![f32::NAN; head_dim];
        head.store(
            pages[position / PAGE_TOKENS],
            position % PAGE_TOKENS,
            &garbage,
            &garbage,
        );
    }
    Case {
        q: random.floats(tokens * group * head_dim),
        pool,
        pages,
        group,
        keys,
        values,
    }
}

impl Case {
    fn run(&self, isa: Isa, tokens: std::ops::Range<usize>, position: usize, out: &mut [f32]) {
        let head_dim = self.pool.shape().head_dim;
        let width = self.group * head_dim;
        let context = Context {
            kv: self.pool.head(0, 0),
            pages: &self.pages,
            scale: 0.3,
        };
        let queries = Queries {
            q: &self.q,
            stride: width,
            column: 0,
            group: self.group,
        };
        attention(
            isa,
            &context,
            &queries,
            tokens,
            position,
            &mut AttentionScratch::default(),
            &mut ColumnsMut::new(out, width),
        );
    }
}

#[test]
fn attention_equals_the_definition_for_all_shapes() {
    let mut random = Random(7);
    for kv_type in [KvType::F32, KvType::F16] {
        for (i, head_dim) in [2, 8, 16, 34, 48, 64, 80, 128, 256].into_iter().enumerate() {
            for (j, context) in [1, 15, 32, 33, 100, 511, 512, 513, 1100]
                .into_iter()
                .enumerate()
            {
                let (group, tokens) = (1 + (i + j) % 8, (1 + (i * 2 + j) % 5).min(context));
                let case = case(&mut random, kv_type, head_dim, group, context, tokens);
                let mut expected = vec![0.0; tokens * group * head_dim];
                case.run(Isa::Scalar, 0..tokens, context - tokens, &mut expected);
                for isa in Isa::available() {
                    let mut found = vec![0.0; expected.len()];
                    case.run(isa, 0..tokens, context - tokens, &mut found);
                    assert_same(
                        &found,
                        &expected,
                        &format!(
                            "{} {kv_type:?} {head_dim} x {context}, {group} heads",
                            isa.name()
                        ),
                    );
                }
            }
        }
    }
}

#[test]
fn prompts_equal_the_definition_across_pages_and_spans() {
    let mut random = Random(11);
    for (group, context, tokens) in [
        (1, 40, 40),
        (3, 100, 67),
        (2, 530, 45),
        (5, 1040, 33),
        (8, 70, 21),
    ] {
        let case = case(&mut random, KvType::F16, 64, group, context, tokens);
        let mut expected = vec![0.0; tokens * group * 64];
        case.run(Isa::Scalar, 0..tokens, context - tokens, &mut expected);
        for isa in Isa::available() {
            let mut found = vec![0.0; expected.len()];
            case.run(isa, 0..tokens, context - tokens, &mut found);
            assert_same(
                &found,
                &expected,
                &format!("{} {tokens} of {context}, {group} heads", isa.name()),
            );
        }
    }
}

#[test]
fn chunks_and_spans_taken_alone_change_nothing() {
    let mut random = Random(8);
    let (head_dim, group, context, tokens) = (64, 3, 1300, 9);
    let case = case(&mut random, KvType::F16, head_dim, group, context, tokens);
    let width = group * head_dim;
    for isa in Isa::available() {
        let mut whole = vec![0.0; tokens * width];
        case.run(isa, 0..tokens, context - tokens, &mut whole);
        let mut chunked = vec![0.0; tokens * width];
        for chunk in [0..1, 1..5, 5..9] {
            case.run(
                isa,
                chunk.clone(),
                context - tokens + chunk.start,
                &mut chunked,
            );
        }
        assert_same(&chunked, &whole, "chunks");

        let view = Context {
            kv: case.pool.head(0, 0),
            pages: &case.pages,
            scale: 0.3,
        };
        let queries = Queries {
            q: &case.q,
            stride: width,
            column: 0,
            group,
        };
        for token in 0..tokens {
            let position = context - tokens + token;
            let spans = span_count(position);
            assert_eq!(spans, 3);
            let len = group * span_state_len(head_dim);
            let mut states = vec![0.0; spans * len];
            for span in [2, 0, 1] {
                let states = &mut states[span * len..][..len];
                attention_spans(
                    isa,
                    &view,
                    &queries,
                    token,
                    position,
                    span..span + 1,
                    &mut AttentionScratch::default(),
                    states,
                );
            }
            let mut out = vec![0.0; width];
            attention_merge(isa, head_dim, &mut states, &mut out);
            assert_same(&out, &whole[token * width..][..width], "spans");
        }
    }
}

#[test]
fn attention_is_softmax_of_scores_times_values() {
    let mut random = Random(9);
    let (head_dim, group, context) = (64, 2, 700);
    let case = case(&mut random, KvType::F32, head_dim, group, context, 1);
    let mut found = vec![0.0; group * head_dim];
    case.run(Isa::detect(), 0..1, context - 1, &mut found);
    for (q, found) in case
        .q
        .chunks_exact(head_dim)
        .zip(found.chunks_exact(head_dim))
    {
        let dot = |k: &[f32]| {
            q.iter()
                .zip(k)
                .map(|(q, k)| f64::from(*q) * f64::from(*k) * 0.3)
                .sum::<f64>()
        };
        let weights: Vec<f64> = case
            .keys
            .chunks_exact(head_dim)
            .map(|k| dot(k).exp())
            .collect();
        let sum: f64 = weights.iter().sum();
        for (d, found) in found.iter().enumerate() {
            let exact: f64 = weights
                .iter()
                .zip(case.values.chunks_exact(head_dim))
                .map(|(w, v)| w / sum * f64::from(v[d]))
                .sum();
            assert!(
                (f64::from(*found) - exact).abs() < 1e-5,
                "{found}, exactly {exact}"
            );
        }
    }
}

#[test]
fn infinite_scores_are_the_same_everywhere() {
    for (key, q) in [
        (f32::INFINITY, 1.0),
        (f32::NEG_INFINITY, 1.0),
        (f32::NAN, 1.0),
        (3e38, 3e38),
    ] {
        let mut case = case(&mut Random(10), KvType::F32, 16, 1, 40, 1);
        case.q[3] = q;
        case.pool
            .heads_mut(0)
            .next()
            .unwrap()
            .store(case.pages[1], 2, &[key; 16], &[1.0; 16]);
        let mut expected = vec![0.0; 16];
        case.run(Isa::Scalar, 0..1, 39, &mut expected);
        for isa in Isa::available() {
            let mut found = vec![0.0; 16];
            case.run(isa, 0..1, 39, &mut found);
            assert_same(&found, &expected, &format!("{} with key {key}", isa.name()));
        }
    }
}
