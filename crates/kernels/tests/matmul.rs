//! Every matrix product equals its definition to the last bit.

mod support;

use half::f16;
use spindle_kernels::{
    Activations, ColumnsMut, Format, Forms, Isa, Weights, dequantize_row, matmul, split_columns,
};
use std::ops::Range;
use support::{Random, Unaligned, assert_same, random_weights, weights};

fn input(isa: Isa, format: Format, tokens: usize, cols: usize, x: &[f32]) -> Activations {
    let mut input = Activations::new();
    input.reset(
        tokens,
        cols,
        Forms::default().with(format.activation_form()),
    );
    for (token, x) in x.chunks_exact(cols).enumerate() {
        input.set(isa, token, x);
    }
    input
}

fn product(
    isa: Isa,
    weights: &Weights<'_>,
    rows: Range<usize>,
    tokens: usize,
    x: &[f32],
) -> Vec<f32> {
    let input = input(isa, weights.format(), tokens, weights.cols(), x);
    let mut out = vec![7.0; tokens * rows.len()];
    matmul(
        isa,
        weights,
        rows.clone(),
        &input,
        0..tokens,
        &mut ColumnsMut::new(&mut out, rows.len()),
    );
    out
}

/// Numbers of columns around the edges of blocks, panels and chunks.
fn widths(format: Format) -> &'static [usize] {
    match format.block_len() {
        1 => &[1, 2, 15, 16, 17, 31, 48, 100, 576],
        32 => &[32, 64, 96, 480, 512, 544, 576, 1120],
        _ => &[256, 512, 1024, 1280],
    }
}

fn check(weights: &Weights<'_>, rows: Range<usize>, tokens: usize, x: &[f32], what: &str) {
    let expected = product(Isa::Scalar, weights, rows.clone(), tokens, x);
    for isa in Isa::available() {
        let found = product(isa, weights, rows.clone(), tokens, x);
        assert_same(
            &found,
            &expected,
            &format!(
                "{what}: {} {} {rows:?} x {} x {tokens}",
                isa.name(),
                weights.format(),
                weights.cols()
            ),
        );
    }
}

#[test]
fn products_equal_the_definition_for_all_shapes() {
    let mut random = Random(1);
    for format in Format::ALL {
        for (i, &cols) in widths(format).iter().enumerate() {
            for rows in [1, 3, 7, 8, 9, 15, 16, 17, 24, 31, 33, 40] {
                let tokens = 1 + (i + rows) % 20;
                let bytes = Unaligned::new(&random_weights(&mut random, format, rows, cols));
                let weights = Weights::new(format, rows, cols, bytes.get()).unwrap();
                let x = random.floats(tokens * cols);
                check(&weights, 0..rows, tokens, &x, "random");
                let start = random.below(rows);
                let range = start..start + 1 + random.below(rows - start);
                check(
                    &weights,
                    range,
                    tokens.min(5),
                    &x[..tokens.min(5) * cols],
                    "range",
                );
            }
        }
    }
}

#[test]
fn products_equal_the_definition_for_all_token_counts() {
    let mut random = Random(2);
    for format in Format::ALL {
        let (rows, cols) = (19, 512);
        let bytes = random_weights(&mut random, format, rows, cols);
        let weights = Weights::new(format, rows, cols, &bytes).unwrap();
        for tokens in (1..=20).chain([127, 128, 129, 131]) {
            let x = random.floats(tokens * cols);
            check(&weights, 0..rows, tokens, &x, "tokens");
        }
    }
}

#[test]
fn tokens_and_ranks_do_not_see_each_other() {
    let mut random = Random(3);
    for format in Format::ALL {
        let (rows, cols, tokens) = (50, 512, 11);
        let bytes = random_weights(&mut random, format, rows, cols);
        let weights = Weights::new(format, rows, cols, &bytes).unwrap();
        let x = random.floats(tokens * cols);
        for isa in Isa::available() {
            let whole = product(isa, &weights, 0..rows, tokens, &x);
            let input = input(isa, format, tokens, cols, &x);
            let mut pieces = vec![0.0; tokens * rows];
            for token in [0..1, 1..4, 4..11] {
                let edges = [0..5, 5..8, 8..27, 27..50];
                for (mut out, range) in split_columns(&mut pieces, rows, &edges)
                    .into_iter()
                    .zip(edges.clone())
                {
                    matmul(isa, &weights, range, &input, token.clone(), &mut out);
                }
            }
            assert_same(
                &pieces,
                &whole,
                &format!("{} {format} in pieces", isa.name()),
            );
        }
    }
}

#[test]
fn extreme_codes_scales_and_inputs_keep_to_the_definition() {
    let scales = [
        1.0,
        -1.0,
        65504.0,
        -65504.0,
        6e-8,
        0.0,
        f32::INFINITY,
        f32::NAN,
    ];
    let codes: [&dyn Fn(usize) -> u8; 7] = [
        &|_| 0xff,
        &|_| 0x00,
        &|_| 0x80,
        &|_| 0x7f,
        &|i| if i % 2 == 0 { 0x80 } else { 0x7f },
        &|i| if i % 3 == 0 { 0xf0 } else { 0x0f },
        &|i| i as u8,
    ];
    let inputs: [&dyn Fn(usize) -> f32; 9] = [
        &|_| 1.0,
        &|_| -1.0,
        &|i| if i % 2 == 0 { 1.0 } else { -1.0 },
        &|_| 0.0,
        &|_| -0.0,
        &|_| f32::MAX,
        &|i| if i % 40 == 7 { 1e-45 } else { -1e-38 },
        &|i| if i == 77 { f32::INFINITY } else { 1.0 },
        &|i| if i == 300 { f32::NAN } else { i as f32 },
    ];
    let (rows, cols) = (9, 512);
    for format in Format::ALL {
        for code in codes {
            for (s, scale) in scales.into_iter().enumerate() {
                let mut at = 0;
                let bytes = weights(
                    format,
                    rows,
                    cols,
                    || {
                        at += 1;
                        code(at)
                    },
                    || scale,
                );
                let weights = Weights::new(format, rows, cols, &bytes).unwrap();
                for (i, x) in inputs.iter().enumerate() {
                    let tokens = 1 + (s + i) % 2 * 4;
                    let x: Vec<f32> = (0..tokens * cols).map(|i| x(i % cols)).collect();
                    check(&weights, 0..rows, tokens, &x, "extreme");
                }
            }
        }
    }
}

#[test]
fn products_are_close_to_those_of_dequantized_weights() {
    let mut random = Random(4);
    let (rows, cols) = (16, 512);
    for format in Format::ALL {
        let bytes = random_weights(&mut random, format, rows, cols);
        let weights = Weights::new(format, rows, cols, &bytes).unwrap();
        let x = random.floats(cols);
        let found = product(Isa::Scalar, &weights, 0..rows, 1, &x);
        for (row, found) in found.into_iter().enumerate() {
            let mut values = vec![0.0; cols];
            dequantize_row(Isa::Scalar, &weights, row, &mut values);
            let exact: f64 = values
                .iter()
                .zip(&x)
                .map(|(w, x)| f64::from(*w) * f64::from(*x))
                .sum();
            // An input's error is half a unit of 1/127 (of at most 1); errors of many columns add up like a random walk.
            let size: f64 = values
                .iter()
                .map(|w| f64::from(*w).powi(2))
                .sum::<f64>()
                .sqrt();
            let error = (f64::from(found) - exact).abs();
            assert!(
                error < size * 0.5 / 127.0 * 4.0,
                "{format} row {row}: {found}, exactly {exact}"
            );
        }
    }
}

#[test]
fn dequantized_rows_mean_what_gguf_says() {
    let half = |x: f32| f16::from_f32(x).to_le_bytes();
    // (format, block, [(k, value)])
    let mut q4_0 = vec![0x21; 18];
    q4_0[..2].copy_from_slice(&half(0.5));
    let mut q4_1 = vec![0xf3; 20];
    q4_1[..2].copy_from_slice(&half(2.0));
    q4_1[2..4].copy_from_slice(&half(-1.5));
    let mut q5_0 = vec![0x10; 22];
    q5_0[..2].copy_from_slice(&half(1.0));
    q5_0[2..6].copy_from_slice(&[0x02, 0, 0x01, 0]); // fifth bits of k = 1 and k = 16
    let mut q5_1 = q5_0.clone();
    q5_1.splice(2..2, half(10.0));
    let mut q8_0 = vec![0x80; 34];
    q8_0[..2].copy_from_slice(&half(0.25));
    q8_0[33] = 0x7f;
    let mut q4_k = vec![0; 144];
    q4_k[..2].copy_from_slice(&half(1.0));
    q4_k[2..4].copy_from_slice(&half(1.0));
    q4_k[4] = 0b1000_0011; // scale 0 = 3, top bits of scale 4 = 2
    q4_k[8] = 0b0100_0001; // minimum 0 = 1, top bits of minimum 4 = 1
    q4_k[12] = 0b0010_0101; // low bits: scale 4 = 5, minimum 4 = 2
    q4_k[16] = 0x07; // k = 0 is 7, k = 32 is 0
    q4_k[16 + 64] = 0x09; // k = 128 is 9
    let mut q5_k = vec![0; 176];
    q5_k[..2].copy_from_slice(&half(2.0));
    q5_k[4] = 1;
    q5_k[7] = 1; // scale 3
    q5_k[16] = 0b0000_1001; // fifth bits of k = 0 (sub-block 0) and k = 96 (sub-block 3)
    q5_k[48] = 0x0f;
    q5_k[48 + 32] = 0x20; // k = 96 has nibble 2
    let mut q6_k = vec![0; 210];
    q6_k[208..].copy_from_slice(&half(1.0));
    q6_k[192..208].fill(1);
    q6_k[192 + 10] = 0xfe; // scale of k = 160..176: -2
    q6_k[64 + 32] = 0x05; // second half: k = 128 + 32
    q6_k[128 + 32] = 0b0000_1100; // its high bits: 3
    type Values = &'static [(usize, f32)];
    let cases: [(Format, Vec<u8>, Values); 11] = [
        (Format::F32, 1.25f32.to_le_bytes().to_vec(), &[(0, 1.25)]),
        (Format::F16, half(-2.5).to_vec(), &[(0, -2.5)]),
        (Format::BF16, vec![0x80, 0x3f], &[(0, 1.0)]),
        (
            Format::Q4_0,
            q4_0,
            &[(0, -3.5), (15, -3.5), (16, -3.0), (31, -3.0)],
        ),
        (Format::Q4_1, q4_1, &[(0, 4.5), (16, 28.5)]),
        (
            Format::Q5_0,
            q5_0,
            &[(0, -16.0), (1, 0.0), (16, 1.0), (17, -15.0)],
        ),
        (
            Format::Q5_1,
            q5_1,
            &[(0, 10.0), (1, 26.0), (16, 27.0), (17, 11.0)],
        ),
        (Format::Q8_0, q8_0, &[(0, -32.0), (31, 31.75)]),
        (
            Format::Q4K,
            q4_k,
            &[(0, 20.0), (1, -1.0), (32, 0.0), (128, 315.0), (129, -18.0)],
        ),
        (
            Format::Q5K,
            q5_k,
            &[(0, 62.0), (1, 0.0), (96, 36.0), (97, 0.0)],
        ),
        (
            Format::Q6K,
            q6_k,
            &[(0, -32.0), (160, -42.0), (161, 64.0), (176, -32.0)],
        ),
    ];
    for (format, bytes, expected) in cases {
        let weights = Weights::new(format, 1, format.block_len(), &bytes).unwrap();
        for isa in Isa::available() {
            let mut out = vec![0.0; format.block_len()];
            dequantize_row(isa, &weights, 0, &mut out);
            for &(k, value) in expected {
                assert_eq!(out[k], value, "{format} k = {k} on {}", isa.name());
            }
        }
    }
}

#[test]
fn weights_of_another_size_are_refused() {
    for (format, rows, cols, len, message) in [
        (Format::Q4_0, 0, 32, 0, "matrix is empty"),
        (
            Format::Q4_0,
            1,
            33,
            18,
            "33 columns are not a whole number of Q4_0 blocks of 32",
        ),
        (
            Format::Q6K,
            2,
            256,
            419,
            "matrix needs 420 bytes, found 419",
        ),
        (
            Format::F32,
            usize::MAX,
            4,
            4,
            "matrix size overflows, found 4 bytes",
        ),
    ] {
        assert_eq!(
            Weights::new(format, rows, cols, &vec![0; len])
                .unwrap_err()
                .to_string(),
            message
        );
    }
}
