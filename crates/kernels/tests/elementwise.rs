//! Norms, gates, exp, quantization and RoPE equal their definitions to the last bit, and the definitions are right.

mod support;

use spindle_kernels::*;
use support::{Random, assert_same};

const EDGES: [f32; 20] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    1e-45,
    -1e-45,
    1e-38,
    88.0,
    89.0,
    -87.33,
    -87.34,
    -104.0,
    3e38,
    -3e38,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    f32::MIN_POSITIVE,
    0.5,
    -127.5,
];

/// Applies `f` for every ISA to random and extreme data of many lengths and compares with scalar.
fn check(what: &str, f: impl Fn(Isa, &[f32], &[f32]) -> Vec<f32>) {
    let mut random = Random(5);
    for len in (0..70).chain([255, 256, 576]) {
        for extreme in [false, true] {
            let mut vector = |scale: f32| -> Vec<f32> {
                (0..len)
                    .map(|_| {
                        if extreme && random.below(4) == 0 {
                            EDGES[random.below(EDGES.len())]
                        } else {
                            random.signed() * scale
                        }
                    })
                    .collect()
            };
            let (a, b) = (vector(20.0), vector(1.0));
            let expected = f(Isa::Scalar, &a, &b);
            for isa in Isa::available() {
                assert_same(
                    &f(isa, &a, &b),
                    &expected,
                    &format!("{what} of {len} on {}", isa.name()),
                );
            }
        }
    }
}

#[test]
fn element_wise_operations_equal_the_definition() {
    check("silu_mul", |isa, a, b| {
        let mut out = a.to_vec();
        silu_mul(isa, &mut out, b);
        out
    });
    check("add", |isa, a, b| {
        let mut out = a.to_vec();
        add(isa, &mut out, b);
        out
    });
    check("scale", |isa, a, _| {
        let mut out = a.to_vec();
        scale(isa, &mut out, 0.3);
        out
    });
    check("rms_norm", |isa, a, b| {
        let mut out = vec![0.0; a.len()];
        rms_norm(isa, a, b, 1e-5, &mut out);
        out
    });
    check("max", |isa, a, _| vec![max(isa, a) + 0.0]);
    check("argmax", |isa, a, _| vec![argmax(isa, a) as f32]);
    check("exp_sum", |isa, a, _| {
        let mut out = a.to_vec();
        let sum = exp_sum(isa, &mut out, 3.0);
        out.push(sum);
        out
    });
    check("softmax", |isa, a, _| {
        let mut out = a.to_vec();
        softmax(isa, &mut out);
        out
    });
    for pairs in [RopePairs::Interleaved, RopePairs::Halves] {
        check("rope", |isa, a, b| {
            let (mut out, table) = (a.to_vec(), &b[..b.len() / 2 * 2]);
            if !out.is_empty() {
                let len = out.len();
                rope(isa, pairs, &mut out, len, table);
            }
            out
        });
    }
}

#[test]
fn exp_is_within_two_units_in_the_last_place() {
    let mut worst = 0.0f64;
    for i in -87_330..=88_370 {
        let x = i as f32 * 1e-3;
        let (found, exact) = (f64::from(exp(x)), f64::from(x).exp());
        let unit = f64::from(f32::from_bits((exact as f32).to_bits() & 0x7f80_0000))
            * f64::from(f32::EPSILON);
        worst = worst.max((found - exact).abs() / unit);
    }
    assert!(worst < 2.0, "{worst} units");
    assert_eq!(
        (exp(0.0), exp(-0.0), exp(-90.0), exp(f32::NEG_INFINITY)),
        (1.0, 1.0, 0.0, 0.0)
    );
    assert!(exp(f32::NAN).is_nan() && exp(f32::INFINITY) > 2e38 && exp(f32::INFINITY) == exp(89.0));
}

#[test]
fn softmax_sums_to_one_and_keeps_order() {
    let mut x = [1.0, 3.0, 2.0, f32::NEG_INFINITY];
    softmax(Isa::Scalar, &mut x);
    assert!((x.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    assert!(x[1] > x[2] && x[2] > x[0] && x[3] == 0.0);
}

#[test]
fn argmax_is_the_first_of_the_largest() {
    for isa in Isa::available() {
        assert_eq!(argmax(isa, &[1.0, f32::NAN, 5.0, 5.0]), 2);
        assert_eq!(argmax(isa, &[f32::NAN; 40]), 0);
        assert_eq!(argmax(isa, &[f32::NEG_INFINITY; 40]), 0);
    }
}

#[test]
fn quantization_rounds_to_nearest_of_127_steps() {
    // A product with unit weights at one column each reads the quantized input back.
    for isa in Isa::available() {
        let mut x = vec![0.0; 32];
        (x[0], x[1], x[2], x[3], x[4]) = (127.0, 0.5, 1.5, -2.5, -126.6);
        let mut input = Activations::new();
        input.reset(1, 32, Forms::default().with(ActivationForm::Block32));
        input.set(isa, 0, &x);
        let mut bytes = Vec::new();
        for row in 0..32 {
            bytes.extend(0x3c00u16.to_le_bytes());
            bytes.extend((0..32).map(|k| u8::from(k == row)));
        }
        let weights = Weights::new(Format::Q8_0, 32, 32, &bytes).unwrap();
        let mut out = vec![0.0; 32];
        matmul(
            isa,
            &weights,
            0..32,
            &input,
            0..1,
            &mut ColumnsMut::new(&mut out, 32),
        );
        assert_eq!(
            out[..6],
            [127.0, 0.0, 2.0, -2.0, -127.0, 0.0],
            "{}",
            isa.name()
        );
    }
}

#[test]
fn inputs_split_over_ranks_equal_one_filled_alone() {
    let (tokens, cols) = (7, 512);
    let forms = [
        ActivationForm::Float,
        ActivationForm::Block32,
        ActivationForm::Block256,
    ]
    .into_iter()
    .collect();
    let x = Random(6).floats(tokens * cols);
    let (mut alone, mut shared) = (Activations::new(), Activations::new());
    alone.reset(tokens, cols, forms);
    shared.reset(tokens, cols, forms);
    for (token, x) in x.chunks_exact(cols).enumerate() {
        alone.set(Isa::Scalar, token, x);
    }
    let mut parts = shared.split(&[0..3, 3..3, 3..7]);
    Team::new(2).run(&mut parts, |_, part| {
        for token in part.tokens() {
            part.set(Isa::detect(), token, &x[token * cols..][..cols]);
        }
    });
    assert_eq!(format!("{alone:?}"), format!("{shared:?}"));
}
