//! The chain against its definition written out with full sorts, and against the distributions it must draw from.

use spindle_inference::TokenId;
use spindle_inference::request::Sampling;
use spindle_inference::sampler::random::uniform;
use spindle_inference::sampler::weights::{moments, total};
use spindle_inference::sampler::{LogSoftmax, Sampler, Scratch};
use spindle_kernels::{Isa, exp};

/// Random logits of this spread.
fn logits(len: usize, spread: f64, seed: u64) -> Vec<f32> {
    let bell = |i| (0..4).map(|k| uniform(seed, k, i)).sum::<f64>() - 2.0;
    (0..len as u32).map(|i| (bell(i) * spread) as f32).collect()
}

fn sampling(change: impl FnOnce(&mut Sampling)) -> Sampling {
    let mut sampling = Sampling {
        temperature: 1.0,
        seed: 77,
        ..Sampling::greedy()
    };
    change(&mut sampling);
    sampling
}

fn choose(sampling: &Sampling, logits: &[f32], step: u32) -> TokenId {
    let mut lent = logits.to_vec();
    let sampler = Sampler::new(sampling.clone(), &[]);
    let chosen = sampler.choose(Isa::detect(), &mut lent, step, &[], &mut Scratch::default());
    assert!(
        lent.iter()
            .zip(logits)
            .all(|(a, b)| a.to_bits() == b.to_bits()),
        "logits are lent"
    );
    chosen
}

/// The definition, step by step over a sorted vocabulary.
fn by_definition(s: &Sampling, logits: &[f32], step: u32) -> TokenId {
    let isa = Isa::Scalar;
    let mut set: Vec<u32> = (0..logits.len() as u32).collect();
    let at = |id: u32| logits[id as usize];
    let in_order =
        |set: &mut Vec<u32>| set.sort_by(|&a, &b| at(b).total_cmp(&at(a)).then(a.cmp(&b)));
    in_order(&mut set);
    let max = at(set[0]);
    let mut whole = true;
    let weight = |id: u32| f64::from(exp(at(id) - max));
    let sum = |set: &[u32], whole: bool| {
        if whole {
            total(isa, logits, max, 1.0)
        } else {
            set.iter().map(|&id| weight(id)).sum()
        }
    };
    let keep_until = |set: &mut Vec<u32>, bound: f64| {
        let mut running = 0.0;
        let last = set.iter().position(|&id| {
            running += weight(id);
            running >= bound
        });
        set.truncate(last.map_or(set.len(), |last| last + 1));
    };
    if s.top_k > 0 && (s.top_k as usize) < logits.len() {
        set.truncate(s.top_k as usize);
        whole = false;
    }
    if s.typical_p < 1.0 {
        let first = at(set[0]);
        let bound = f64::from(s.typical_p) * sum(&set, whole);
        let mean = if whole {
            let (total, moment) = moments(isa, logits, max);
            moment / total
        } else {
            set.iter()
                .map(|&id| weight(id) * f64::from(at(id) - first))
                .sum::<f64>()
                / sum(&set, whole)
        };
        let distance = |id: u32| (mean - f64::from(at(id) - first)).abs();
        if whole {
            set.sort_by(|&a, &b| {
                (distance(a) as f32)
                    .total_cmp(&(distance(b) as f32))
                    .then(a.cmp(&b))
            });
        } else {
            set.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
        }
        keep_until(&mut set, bound);
        in_order(&mut set);
        whole = false;
    }
    if s.top_p < 1.0 {
        let bound = f64::from(s.top_p) * sum(&set, whole);
        keep_until(&mut set, bound);
        whole = false;
    }
    if s.min_p > 0.0 {
        let least = exp(at(set[0]) - max) * s.min_p;
        set.retain(|&id| exp(at(id) - max) >= least);
        whole = false;
    }
    let first = at(set[0]);
    let weights: Vec<f64> = set
        .iter()
        .map(|&id| f64::from(exp((at(id) - first) / s.temperature)))
        .collect();
    let all = if whole {
        total(isa, logits, max, s.temperature)
    } else {
        weights.iter().sum()
    };
    let target = uniform(s.seed, s.choice_index, step) * all;
    let mut running = 0.0;
    let place = weights.iter().position(|weight| {
        running += weight;
        running > target
    });
    TokenId(set[place.unwrap_or(set.len() - 1)])
}

#[test]
fn the_lazy_chain_chooses_what_its_definition_says() {
    let chains = [
        sampling(|_| {}),
        sampling(|s| s.temperature = 0.3),
        sampling(|s| s.temperature = 2.0),
        sampling(|s| s.top_k = 1),
        sampling(|s| s.top_k = 40),
        sampling(|s| s.top_k = u32::MAX),
        sampling(|s| s.top_p = 0.9),
        sampling(|s| s.top_p = 0.0),
        sampling(|s| s.min_p = 0.05),
        sampling(|s| s.min_p = 1.0),
        sampling(|s| s.typical_p = 0.5),
        sampling(|s| s.typical_p = 0.0),
        sampling(|s| (s.top_k, s.typical_p) = (50, 0.7)),
        sampling(|s| (s.top_k, s.top_p, s.min_p, s.temperature) = (100, 0.95, 0.02, 0.7)),
        sampling(|s| (s.typical_p, s.top_p, s.min_p, s.temperature) = (0.9, 0.8, 0.1, 1.5)),
        sampling(|s| s.temperature = 1e-30),
    ];
    for (len, spread) in [
        (1, 1.0),
        (17, 3.0),
        (4000, 2.0),
        (4000, 20.0),
        (3000, 0.001),
    ] {
        let mut logits = logits(len, spread, len as u64);
        if len > 100 {
            // Ties, and a token that is ruled out.
            logits.copy_within(0..50, 60);
            logits[13] = f32::NEG_INFINITY;
        }
        for (index, chain) in chains.iter().enumerate() {
            for step in 0..20 {
                let expected = by_definition(chain, &logits, step);
                assert_eq!(
                    choose(chain, &logits, step),
                    expected,
                    "chain {index}, {len} logits of {spread}, step {step}"
                );
            }
        }
    }
}

#[test]
fn draws_follow_the_distribution() {
    // Weights 4 : 2 : 1 : 1.
    let logits = [2.0f32.ln(), 1.0f32.ln(), 4.0f32.ln(), 1.0f32.ln()];
    let count = |sampling: &Sampling| {
        let mut counts = [0; 4];
        (0..8000).for_each(|step| counts[choose(sampling, &logits, step).0 as usize] += 1);
        counts
    };
    let near = |found: [i32; 4], expected: [i32; 4]| {
        assert!(
            found
                .iter()
                .zip(expected)
                .all(|(found, expected)| (found - expected).abs() < 200),
            "{found:?} {expected:?}"
        );
    };
    near(count(&sampling(|_| {})), [2000, 1000, 4000, 1000]);
    // At temperature 1/2 weights are squared: 16 : 4 : 1 : 1.
    near(
        count(&sampling(|s| s.temperature = 0.5)),
        [1455, 364, 5818, 364],
    );
    near(count(&sampling(|s| s.top_k = 2)), [2667, 0, 5333, 0]);
    near(count(&sampling(|s| s.top_p = 0.7)), [2667, 0, 5333, 0]);
    near(count(&sampling(|s| s.min_p = 0.4)), [2667, 0, 5333, 0]);
    // Of equals the lower id comes first.
    near(count(&sampling(|s| s.top_k = 3)), [2286, 1143, 4571, 0]);
}

#[test]
fn penalties_and_biases_edit_logits_as_documented() {
    let logits = [1.0, -1.0, 0.5, 0.4];
    let greedy =
        |change: &dyn Fn(&mut Sampling), prompt: &[u32], answer: &[u32], ruled_out: &[u32]| {
            let mut sampling = Sampling::greedy();
            change(&mut sampling);
            let ids = |ids: &[u32]| ids.iter().map(|&id| TokenId(id)).collect::<Vec<_>>();
            let mut sampler = Sampler::new(sampling, &ids(prompt));
            ids(answer).into_iter().for_each(|id| sampler.accept(id));
            sampler
                .choose(
                    Isa::Scalar,
                    &mut logits.clone(),
                    0,
                    &ids(ruled_out),
                    &mut Scratch::default(),
                )
                .0
        };
    assert_eq!(greedy(&|_| {}, &[0], &[0], &[]), 0);
    assert_eq!(greedy(&|_| {}, &[], &[], &[0]), 2, "ruled out");
    // 1.0 / 2.1 is below 0.5: prompt and answer count alike.
    assert_eq!(greedy(&|s| s.repeat_penalty = 2.1, &[0], &[], &[]), 2);
    assert_eq!(greedy(&|s| s.repeat_penalty = 2.1, &[], &[0], &[]), 2);
    // A negative logit is multiplied, so that a penalty never helps.
    assert_eq!(greedy(&|s| s.repeat_penalty = 0.1, &[1], &[], &[0, 2]), 3);
    // The answer alone counts for the other two: 1.0 - 2 * 0.3 is below 0.5, 1.0 - 0.3 is not.
    assert_eq!(
        greedy(&|s| s.frequency_penalty = 0.3, &[0, 0], &[0], &[]),
        0
    );
    assert_eq!(greedy(&|s| s.frequency_penalty = 0.3, &[], &[0, 0], &[]), 2);
    assert_eq!(greedy(&|s| s.presence_penalty = 0.55, &[0], &[], &[]), 0);
    assert_eq!(greedy(&|s| s.presence_penalty = 0.55, &[], &[0], &[]), 2);
    assert_eq!(
        greedy(&|s| s.presence_penalty = -1.0, &[], &[2], &[]),
        2,
        "a negative penalty invites"
    );
    assert_eq!(
        greedy(&|s| s.logit_bias = vec![(TokenId(1), 2.5)], &[], &[], &[]),
        1
    );
    // The bias comes before the penalty: (1.0 + 1.0) / 2.1 is above 0.5.
    let both = |s: &mut Sampling| (s.logit_bias, s.repeat_penalty) = (vec![(TokenId(0), 1.0)], 2.1);
    assert_eq!(greedy(&both, &[0], &[], &[]), 0);
}

#[test]
fn logits_that_are_no_numbers_choose_something() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let table: [(&[f32], u32); 5] = [
        (&[nan, nan], 0),
        (&[-inf, -inf], 0),
        (&[nan, 1.0, 2.0], 2),
        (&[0.0, inf, inf], 1),
        (&[nan, -inf, -3.0], 2),
    ];
    for (logits, expected) in table {
        for chain in [
            Sampling::greedy(),
            sampling(|s| s.top_p = 0.5),
            sampling(|s| s.typical_p = 0.5),
            sampling(|s| s.top_k = 1),
        ] {
            let mut lent = logits.to_vec();
            let found = Sampler::new(chain.clone(), &[]).choose(
                Isa::detect(),
                &mut lent,
                0,
                &[],
                &mut Scratch::default(),
            );
            assert_eq!(found.0, expected, "{logits:?} {chain:?}");
        }
    }
}

#[test]
fn log_softmax_is_normal_and_lists_the_likeliest() {
    let logits = logits(5000, 6.0, 3);
    let softmax = LogSoftmax::of(Isa::detect(), &logits);
    let sum: f64 = logits
        .iter()
        .map(|&logit| f64::from(softmax.logprob(logit)).exp())
        .sum();
    assert!((sum - 1.0).abs() < 1e-4, "{sum}");
    let top = softmax.top(&logits, 20, Scratch::default().order());
    let mut sorted = logits.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let expected: Vec<f32> = sorted[..20]
        .iter()
        .map(|&logit| softmax.logprob(logit))
        .collect();
    assert_eq!(
        top.iter().map(|(_, logprob)| *logprob).collect::<Vec<_>>(),
        expected
    );
    for isa in Isa::available() {
        assert_eq!(
            LogSoftmax::of(isa, &logits).logprob(0.0),
            softmax.logprob(0.0),
            "{isa:?}"
        );
    }
}
