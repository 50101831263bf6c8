//! The demo model: its trainer's logits, and one stored text that every way of computing it must give.
//!
//! `SPINDLE_UPDATE=1 cargo test --release -p spindle-inference --test model_demo every_isa` stores the text again, for a
//! demo model that was trained anew.

#[path = "support/drive.rs"]
mod drive;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use drive::{Answers, Counting, answer, model, request, run, settings, step};
use spindle_inference::kv::{KvCache, PAGE_LEN};
use spindle_inference::model::{Forward, Observer, Step};
use spindle_inference::request::{Lane, Request, Sampling};
use spindle_inference::scheduler::{Scheduler, SequenceId, StepOutcome};
use spindle_inference::{Model, TokenId};
use spindle_kernels::{Isa, KvType};

/// Logits may differ from the trainer's by this much: it sums in another order.
const LOGIT_DISTANCE_MAX: f32 = 1e-3;
const ANSWER_TOKENS: u32 = 200;
/// More than 64 tokens, so that chunks differ.
const PROMPT: &str = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n\
    <|im_start|>assistant\nThe capital of France is Paris.<|im_end|>\n\
    <|im_start|>user\nWhat is 7 plus 5?<|im_end|>\n<|im_start|>assistant\n7 plus 5 is 12.<|im_end|>\n\
    <|im_start|>user\nTell me a story.<|im_end|>\n<|im_start|>assistant\n";

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(name)
}

fn demo() -> Arc<Model> {
    model(
        std::fs::read(path("demo/spindle-demo.gguf"))
            .expect("the demo model is part of the project"),
    )
}

struct Patient;

impl Observer for Patient {
    fn now(&mut self) -> Duration {
        Duration::ZERO
    }

    fn goes_on(&mut self) -> bool {
        true
    }
}

/// The logits behind each of `tokens` from `from` on, fed in chunks of `chunk`.
fn logits(model: &Arc<Model>, tokens: &[TokenId], from: usize, chunk: usize) -> Vec<Vec<f32>> {
    let pages_wanted = tokens.len().div_ceil(PAGE_LEN);
    let mut cache = KvCache::new(model.config(), KvType::F32, u64::MAX, pages_wanted);
    let mut pages = Vec::new();
    assert!(cache.claim(pages_wanted, &mut pages));
    let mut forward = Forward::new(model.clone(), Isa::detect(), 2, chunk);
    let (mut step, mut rows) = (Step::default(), Vec::new());
    for (index, chunk_tokens) in tokens.chunks(chunk).enumerate() {
        step.clear();
        step.push(chunk_tokens, index * chunk, &pages);
        for row in 0..chunk_tokens.len() {
            if index * chunk + row >= from {
                step.push_output(row);
            }
        }
        forward
            .run(&step, &mut cache, &mut Patient)
            .expect("nobody interrupts");
        for output in 0..step.outputs() {
            rows.push(forward.logits(output..output + 1).1.to_vec());
        }
    }
    rows
}

#[test]
fn logits_are_the_trainers_in_prefill_and_step_by_step() {
    let model = demo();
    let text =
        std::fs::read_to_string(path("demo/logits.json")).expect("logits are part of the project");
    let expected: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let unit = expected["logit_unit"].as_f64().expect("a unit");
    let prompts = expected["prompts"].as_array().expect("prompts");
    assert_eq!(prompts.len(), 8);
    for prompt in prompts {
        let ids = |key: &str| -> Vec<TokenId> {
            let ids = prompt[key].as_array().expect("ids").iter();
            ids.map(|id| TokenId(id.as_u64().expect("an id") as u32))
                .collect()
        };
        let text = prompt["text"].as_str().expect("text");
        assert_eq!(
            model.encode(text, true).expect("it encodes"),
            ids("ids"),
            "{text}"
        );
        let tokens = [ids("ids"), ids("greedy")].concat();
        let from = prompt["prefill_from"].as_u64().expect("a position") as usize;
        let rows = ["prefill", "steps"]
            .map(|key| prompt[key].as_array().expect("rows").clone())
            .concat();
        for chunk in [tokens.len(), 1] {
            let found = logits(&model, &tokens, from, chunk);
            assert_eq!(found.len(), rows.len());
            for (position, (found, expected)) in found.iter().zip(&rows).enumerate() {
                for (found, expected) in found.iter().zip(expected.as_array().expect("a row")) {
                    let expected = (expected.as_i64().expect("a number") as f64 * unit) as f32;
                    let distance = (found - expected).abs();
                    assert!(
                        distance <= LOGIT_DISTANCE_MAX,
                        "{text}, row {position}: {found} {expected}"
                    );
                }
            }
        }
    }
}

/// Greedy, 200 tokens, past every end token.
fn story(model: &Model) -> Request {
    request(
        &model.encode(PROMPT, true).expect("it encodes"),
        ANSWER_TOKENS,
    )
}

fn stored() -> Vec<u8> {
    std::fs::read(path("crates/inference/tests/support/demo-greedy.txt"))
        .expect("the text is part of the project")
}

#[test]
fn the_greedy_text_is_the_stored_one_on_every_isa_thread_count_and_chunk() {
    let model = demo();
    if std::env::var_os("SPINDLE_UPDATE").is_some() {
        let text = answer(
            &mut Scheduler::new(model.clone(), settings(1)),
            story(&model),
        )
        .bytes();
        std::fs::write(path("crates/inference/tests/support/demo-greedy.txt"), text)
            .expect("it is written");
    }
    let stored = stored();
    assert!(
        stored.len() > ANSWER_TOKENS as usize,
        "more than a byte a token"
    );
    for isa in Isa::available() {
        for (threads, chunk) in [1, 2, 4]
            .into_iter()
            .flat_map(|threads| [1, 7, 64, 512].map(|chunk| (threads, chunk)))
        {
            let mut settings = settings(threads);
            (settings.isa, settings.prefill_chunk_max) = (isa, chunk);
            let found = answer(&mut Scheduler::new(model.clone(), settings), story(&model));
            assert_eq!(found.tokens.len(), ANSWER_TOKENS as usize);
            let found = found.bytes();
            let (found, stored) = (
                String::from_utf8_lossy(&found),
                String::from_utf8_lossy(&stored),
            );
            assert_eq!(
                found, stored,
                "{isa:?}, {threads} threads, chunks of {chunk}"
            );
        }
    }
}

#[test]
fn the_greedy_text_is_the_stored_one_among_fifteen_with_cancels_and_preemptions() {
    let (model, stored) = (demo(), stored());
    for (threads, lane) in [(1, Lane::Interactive), (2, Lane::Batch)] {
        let mut settings = settings(threads);
        // Sixteen sequences of up to 300 tokens want 160 pages.
        settings.kv_bytes = 20 * KvCache::page_bytes(model.config(), settings.kv_type);
        let mut scheduler = Scheduler::new(model.clone(), settings);
        let (mut random, mut answers, mut watch) = (Random(7), Answers::new(), Counting::default());
        let companion = |random: &mut Random| {
            let prompt: Vec<_> = (0..1 + random.below(90))
                .map(|_| TokenId(random.below(2048) as u32))
                .collect();
            let mut companion = request(&prompt, 1 + random.below(200) as u32);
            companion.sampling = Sampling {
                temperature: 1.0,
                seed: random.next(),
                ..Sampling::greedy()
            };
            companion.lane = [Lane::Interactive, Lane::Batch][random.below(2)];
            companion
        };
        let mut others: Vec<SequenceId> = Vec::new();
        for _ in 0..8 {
            others.push(
                scheduler
                    .submit(companion(&mut random), watch.now)
                    .expect("there is room"),
            );
        }
        let mut wanted = story(&model);
        wanted.lane = lane;
        let wanted = scheduler.submit(wanted, watch.now).expect("there is room");
        let mut steps = 0;
        while answers
            .get(&wanted)
            .is_none_or(|answer| answer.finished.is_none())
        {
            assert_ne!(
                step(&mut scheduler, &mut watch, &mut answers),
                StepOutcome::Idle
            );
            steps += 1;
            others.retain(|id| {
                answers
                    .get(id)
                    .is_none_or(|answer| answer.finished.is_none())
            });
            while others.len() < 15 {
                others.push(
                    scheduler
                        .submit(companion(&mut random), watch.now)
                        .expect("there is room"),
                );
            }
            let chosen = others[random.below(15)];
            match random.below(12) {
                0 => assert!(scheduler.cancel(others.swap_remove(random.below(15)))),
                1 => scheduler.pause(chosen),
                2 => scheduler.resume(chosen),
                _ => {}
            }
            if steps % 40 == 0 {
                scheduler.pause(wanted);
                step(&mut scheduler, &mut watch, &mut answers);
                scheduler.resume(wanted);
            }
        }
        let found = answers[&wanted].bytes();
        assert_eq!(
            String::from_utf8_lossy(&found),
            String::from_utf8_lossy(&stored),
            "{threads} threads, {lane:?}"
        );
        assert!(
            scheduler.counters().preemptions >= 5,
            "{:?}",
            scheduler.counters()
        );
        for id in others {
            scheduler.cancel(id);
        }
        assert_eq!(
            scheduler.counters().kv_pages_used,
            0,
            "every page came back"
        );
        assert!(run(&mut scheduler).is_empty());
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
