//! Measures the kernels and checks their results against the definition.
//!
//! `cargo bench -p spindle-kernels -- [WORD...]` runs the rows whose label contains every word; `THREADS`, default 1 and 2, sets the teams.
//! Decode is one token over 128 MiB of weights, more than a last-level cache, in GB/s beside a plain read of the same memory by the same team;
//! prefill is many tokens over one matrix, in 10^9 multiply-adds a second. Each figure is the best of several runs: shared machines only ever slow one down.

use spindle_kernels::*;
use std::hint::black_box;
use std::time::Instant;

const DECODE_BYTES: usize = 128 << 20;
const RUNS: usize = 30;

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let wanted = |label: &str| {
        words
            .iter()
            .all(|word| label.split(' ').any(|part| part == word))
    };
    let threads = std::env::var("THREADS").map_or(vec![1, 2], |list| {
        list.split(',').filter_map(|n| n.parse().ok()).collect()
    });
    for threads in threads {
        let mut team = Team::new(threads);
        for isa in Isa::available() {
            for format in Format::ALL {
                let label = format!("decode {format} {} {threads}", isa.name());
                if isa != Isa::Scalar && wanted(&label) {
                    decode(&label, isa, format, &mut team);
                }
            }
            for format in Format::ALL {
                for tokens in [4, 128] {
                    let label = format!("prefill {format} {} {threads} M={tokens}", isa.name());
                    if (isa != Isa::Scalar || tokens == 4) && wanted(&label) {
                        prefill(&label, isa, format, tokens, &mut team);
                    }
                }
            }
            for (context, tokens) in [(1024, 1), (8192, 1), (512, 512)] {
                let label = format!(
                    "attention {} {threads} context={context} M={tokens}",
                    isa.name()
                );
                if isa != Isa::Scalar && wanted(&label) {
                    attend(&label, isa, context, tokens, &mut team);
                }
            }
        }
    }
}

/// Seconds of the fastest run.
fn best(mut run: impl FnMut()) -> f64 {
    (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

/// Weights whose scales are small numbers and whose codes repeat after an odd length.
fn weights(format: Format, rows: usize, cols: usize) -> Vec<u8> {
    let mut state = 1u64;
    let unit: Vec<u8> = (0..4099)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8 & if format.block_len() == 1 { 0x3b } else { 0xff }
        })
        .collect();
    let mut bytes: Vec<u8> = unit
        .iter()
        .copied()
        .cycle()
        .take(rows * format.row_bytes(cols).unwrap())
        .collect();
    let scale = 0x2000u16.to_le_bytes();
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        match format {
            Format::F32 | Format::F16 | Format::BF16 => {}
            Format::Q6K => block[208..].copy_from_slice(&scale),
            Format::Q4_0 | Format::Q5_0 | Format::Q8_0 => block[..2].copy_from_slice(&scale),
            _ => {
                block[..2].copy_from_slice(&scale);
                block[2..4].copy_from_slice(&scale);
            }
        }
    }
    bytes
}

fn input(isa: Isa, format: Format, tokens: usize, cols: usize) -> Activations {
    let mut input = Activations::new();
    input.reset(
        tokens,
        cols,
        Forms::default().with(format.activation_form()),
    );
    for token in 0..tokens {
        let x: Vec<f32> = (0..cols)
            .map(|k| ((k * 37 + token * 11) % 101) as f32 * 0.02 - 1.0)
            .collect();
        input.set(isa, token, &x);
    }
    input
}

fn run(isa: Isa, weights: &Weights<'_>, input: &Activations, out: &mut [f32], team: &mut Team) {
    let ranges = split_even(weights.rows(), team.threads(), 16);
    let mut parts: Vec<_> = split_columns(out, weights.rows(), &ranges)
        .into_iter()
        .zip(ranges)
        .collect();
    team.run(&mut parts, |_, (out, rows)| {
        matmul(isa, weights, rows.clone(), input, 0..input.tokens(), out)
    });
}

/// Compares some rows with the definition.
fn verify(label: &str, weights: &Weights<'_>, input: &Activations, out: &[f32]) {
    let rows = weights.rows();
    for row in [0, rows / 3, rows - 1] {
        let mut expected = vec![0.0; input.tokens()];
        matmul(
            Isa::Scalar,
            weights,
            row..row + 1,
            input,
            0..input.tokens(),
            &mut ColumnsMut::new(&mut expected, 1),
        );
        for (token, expected) in expected.iter().enumerate() {
            assert_eq!(
                out[token * rows + row].to_bits(),
                expected.to_bits(),
                "{label}: row {row}, token {token}"
            );
        }
    }
}

fn decode(label: &str, isa: Isa, format: Format, team: &mut Team) {
    for cols in [576, 2048] {
        if cols % format.block_len() != 0 {
            continue;
        }
        let rows = DECODE_BYTES / format.row_bytes(cols).unwrap();
        let bytes = weights(format, rows, cols);
        let weights = Weights::new(format, rows, cols, &bytes).unwrap();
        let input = input(isa, format, 1, cols);
        let mut out = vec![0.0; rows];
        let seconds = best(|| run(isa, &weights, &input, &mut out, team));
        verify(label, &weights, &input, &out);
        let mut parts: Vec<&[u8]> = bytes.chunks(bytes.len().div_ceil(team.threads())).collect();
        let read = best(|| {
            team.run(&mut parts, |_, part| {
                let sum = part
                    .as_chunks::<64>()
                    .0
                    .iter()
                    .fold([0u64; 8], |sum, line| {
                        core::array::from_fn(|i| {
                            sum[i] ^ u64::from_le_bytes(line[i * 8..i * 8 + 8].try_into().unwrap())
                        })
                    });
                black_box(sum);
            });
        });
        let size = bytes.len() as f64 / 1e9;
        println!(
            "{label} cols={cols}: {:.1} GB/s, plain read {:.1} GB/s",
            size / seconds,
            size / read
        );
    }
}

fn prefill(label: &str, isa: Isa, format: Format, tokens: usize, team: &mut Team) {
    for (rows, cols) in [(1536, 576), (2048, 2048)] {
        if cols % format.block_len() != 0 {
            continue;
        }
        let bytes = weights(format, rows, cols);
        let weights = Weights::new(format, rows, cols, &bytes).unwrap();
        let input = input(isa, format, tokens, cols);
        let mut out = vec![0.0; tokens * rows];
        run(isa, &weights, &input, &mut out, team);
        verify(label, &weights, &input, &out);
        let repeats = (if isa == Isa::Scalar { 1 } else { 64 } / tokens).max(1);
        let seconds =
            best(|| (0..repeats).for_each(|_| run(isa, &weights, &input, &mut out, team)));
        let macs = (rows * cols * tokens * repeats) as f64 / 1e9;
        println!("{label} {rows}x{cols}: {:.1} GMAC/s", macs / seconds);
    }
}

/// Three query heads of each of four KV heads of 64.
fn attend(label: &str, isa: Isa, context: usize, tokens: usize, team: &mut Team) {
    let (head_dim, group, heads) = (64, 3, 4);
    let pages: Vec<u32> = (0..context.div_ceil(PAGE_TOKENS) as u32).collect();
    let mut pool = KvPool::new(
        KvShape {
            kv_type: KvType::F16,
            head_dim,
        },
        1,
        heads,
        pages.len(),
    );
    let x: Vec<f32> = (0..context * head_dim)
        .map(|i| (i * 7 % 23) as f32 * 0.1 - 1.0)
        .collect();
    for mut head in pool.heads_mut(0) {
        for (position, x) in x.chunks_exact(head_dim).enumerate() {
            head.store(pages[position / PAGE_TOKENS], position % PAGE_TOKENS, x, x);
        }
    }
    let stride = heads * group * head_dim;
    let q: Vec<f32> = (0..tokens * stride)
        .map(|i| (i * 5 % 17) as f32 * 0.1 - 0.8)
        .collect();
    let ranges: Vec<_> = (0..heads)
        .map(|head| head * group * head_dim..(head + 1) * group * head_dim)
        .collect();
    let mut scratch = vec![AttentionScratch::default(); heads];
    let mut all = |isa: Isa, out: &mut [f32]| {
        let mut parts: Vec<_> = split_columns(out, stride, &ranges)
            .into_iter()
            .zip(&mut scratch)
            .collect();
        team.run(&mut parts, |head, (out, scratch)| {
            let view = Context {
                kv: pool.head(0, head),
                pages: &pages,
                scale: 0.125,
            };
            let queries = Queries {
                q: &q,
                stride,
                column: head * group * head_dim,
                group,
            };
            attention(
                isa,
                &view,
                &queries,
                0..tokens,
                context - tokens,
                scratch,
                out,
            );
        });
    };
    let (mut expected, mut out) = (vec![0.0; tokens * stride], vec![0.0; tokens * stride]);
    all(Isa::Scalar, &mut expected);
    let seconds = best(|| all(isa, &mut out));
    assert_eq!(out, expected, "{label}");
    let positions: usize = (context - tokens..context)
        .map(|position| position + 1)
        .sum();
    println!(
        "{label}: {:.1} GMAC/s, {:.1} us",
        (2 * positions * stride) as f64 / 1e9 / seconds,
        seconds * 1e6
    );
}
