//! Answers do not depend on what happens around them: random schedules of arrivals, pauses, cancels, interrupts and
//! preemptions over few pages, each surviving answer compared with the one it gets alone.
//!
//! A failure names its seed; `schedule(seed)` replays it.

#[path = "support/drive.rs"]
mod drive;
#[path = "support/gguf_writer.rs"]
mod gguf_writer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use drive::{Answer, Answers, answer, model, request, settings};
use gguf_writer::TinyModel;
use spindle_inference::kv::KvCache;
use spindle_inference::request::{Lane, PromptDetail, Request};
use spindle_inference::scheduler::{Interrupt, Scheduler, SequenceId, StepOutcome, Watch};
use spindle_inference::{Model, TokenId};

/// About two seconds; 4,000 have been run.
const SCHEDULES: u64 = 250;
/// A schedule needs some hundred steps; one that needs this many does not end.
const STEPS_MAX: usize = 20_000;

#[test]
fn answers_do_not_depend_on_the_schedule() {
    let model = model(
        TinyModel {
            layers: 2,
            width: 64,
            ffn_width: 64,
            heads: 4,
            kv_heads: 2,
            head_dim: 32,
            context_len: 256,
            ..TinyModel::default()
        }
        .bytes(),
    );
    let (mut preemptions, mut abandoned) = (0, 0);
    for seed in 1..=SCHEDULES {
        let counters = schedule(&model, seed);
        preemptions += counters.preemptions;
        abandoned += counters.steps_abandoned;
    }
    assert!(
        preemptions > 0 && abandoned > 0,
        "nothing happened: {preemptions} preemptions, {abandoned} steps abandoned"
    );
}

/// Runs one schedule to its end and compares its answers.
fn schedule(model: &Arc<Model>, seed: u64) -> spindle_inference::scheduler::Counters {
    let mut random = Random::new(seed);
    let mut settings = settings(1 + random.below(2));
    settings.sequences_max = 1 + random.below(5);
    settings.prefill_chunk_max = random.one_of(&[1, 7, 16, 33, 512]);
    settings.kv_bytes =
        (8 + random.below(12) as u64) * KvCache::page_bytes(model.config(), settings.kv_type);
    settings.queue_max = 6;
    let mut scheduler = Scheduler::new(model.clone(), settings);
    let mut asked: BTreeMap<SequenceId, Request> = BTreeMap::new();
    let mut answers = Answers::new();
    let (mut cancelled, mut paused) = (BTreeSet::new(), BTreeSet::new());
    let mut now = Duration::ZERO;
    let mut arrivals = 4 + random.below(12);
    for step in 0.. {
        assert!(
            step < STEPS_MAX,
            "seed {seed}: stuck at {:?}",
            scheduler.counters()
        );
        if arrivals > 0 && random.below(2) == 0 {
            arrivals -= 1;
            let request = any_request(&mut random);
            // A full queue refuses; that request is not part of the schedule.
            if let Ok(id) = scheduler.submit(request.clone(), now) {
                asked.insert(id, request);
            }
        }
        let ended = |id: &SequenceId| {
            answers
                .get(id)
                .is_some_and(|a: &Answer| a.finished.is_some())
        };
        let live: Vec<SequenceId> = asked
            .keys()
            .filter(|id| !cancelled.contains(*id) && !ended(id))
            .copied()
            .collect();
        if !live.is_empty() && random.below(8) == 0 {
            let id = random.one_of(&live);
            scheduler.pause(id);
            paused.insert(id);
        }
        if !paused.is_empty() && random.below(6) == 0 {
            let id = random.one_of(&Vec::from_iter(paused.iter().copied()));
            paused.remove(&id);
            scheduler.resume(id);
        }
        if !live.is_empty() && random.below(40) == 0 {
            let id = random.one_of(&live);
            assert!(scheduler.cancel(id), "seed {seed}: {id:?} is live");
            cancelled.insert(id);
        }
        let mut events = Vec::new();
        let mut world = World {
            random: &mut random,
            now: &mut now,
            live: &live,
            cancelled: Vec::new(),
        };
        let outcome = scheduler.step(&mut world, &mut events);
        let between_layers = world.cancelled;
        for (id, event) in events {
            assert!(
                !cancelled.contains(&id),
                "seed {seed}: {id:?} was cancelled"
            );
            answers.entry(id).or_default().tell(event);
        }
        // One that ended in the very step of its cancel has its answer.
        let ended = |id: &SequenceId| {
            answers
                .get(id)
                .is_some_and(|a: &Answer| a.finished.is_some())
        };
        cancelled.extend(between_layers.into_iter().filter(|id| !ended(id)));
        if outcome == StepOutcome::Idle && arrivals == 0 {
            if paused.is_empty() {
                break;
            }
            for id in std::mem::take(&mut paused) {
                scheduler.resume(id);
            }
        }
    }
    let counters = scheduler.counters();
    assert_eq!(counters.kv_pages_used, 0, "seed {seed}: pages are lost");
    for (id, request) in asked.into_iter().filter(|(id, _)| !cancelled.contains(id)) {
        let found = answers
            .remove(&id)
            .unwrap_or_else(|| panic!("seed {seed}: {id:?} has no answer"));
        let mut alone = Scheduler::new(model.clone(), drive::settings(1));
        assert_eq!(
            timeless(found),
            timeless(answer(&mut alone, request)),
            "seed {seed}: {id:?}"
        );
    }
    counters
}

/// What happens between the layers of a step: time passes, somebody arrives, leaves, or ends the step.
struct World<'a> {
    random: &'a mut Random,
    now: &'a mut Duration,
    live: &'a [SequenceId],
    cancelled: Vec<SequenceId>,
}

impl Watch for World<'_> {
    fn now(&mut self) -> Duration {
        *self.now += Duration::from_micros(self.random.below(30_000) as u64);
        *self.now
    }

    fn between_layers(&mut self) -> Interrupt {
        match self.random.below(40) {
            0 => Interrupt::InteractiveArrived,
            1 => Interrupt::Stop,
            2 if !self.live.is_empty() && self.random.below(4) == 0 => {
                let id = self.random.one_of(self.live);
                self.cancelled.push(id);
                Interrupt::Cancelled(id)
            }
            _ => Interrupt::None,
        }
    }
}

fn any_request(random: &mut Random) -> Request {
    // Around the borders of a page of 32.
    let prompt_len = random.one_of(&[1, 2, 20, 31, 32, 33, 64, 100, 150]);
    let prompt: Vec<TokenId> = (0..prompt_len)
        .map(|_| TokenId(3 + random.below(250) as u32))
        .collect();
    let max_tokens = random.one_of(&[0, 1, 2, 10, 33, 70]);
    let mut request = request(&prompt, max_tokens);
    let mut sometimes = |one_in| random.below(one_in) == 0;
    if sometimes(2) {
        request.lane = Lane::Batch;
    }
    if sometimes(2) {
        request.sampling.temperature = 1.0;
    }
    if sometimes(3) {
        request.sampling.top_p = 0.9;
        request.sampling.min_p = 0.01;
    }
    if sometimes(3) {
        request.sampling.typical_p = 0.7;
    }
    if sometimes(3) {
        request.sampling.repeat_penalty = 1.3;
        request.sampling.frequency_penalty = 0.5;
    }
    if sometimes(3) {
        request.stop = vec!["e".into(), "th".into()];
        request.min_tokens = max_tokens.min(3);
    }
    request.ignore_eos = sometimes(2);
    request.logprobs = sometimes(3).then_some(3);
    request.tenant = random.one_of(&["a", "b", "c"]).into();
    request.sampling.seed = random.below(99) as u64;
    request.prompt_detail = random.one_of(&[
        PromptDetail::Count,
        PromptDetail::Tokens,
        PromptDetail::Logprobs,
    ]);
    request
}

/// An answer without its times.
fn timeless(answer: Answer) -> impl PartialEq + std::fmt::Debug {
    let finished = answer
        .finished
        .map(|f| (f.reason, f.prompt_tokens, f.completion_tokens));
    (answer.prompt, answer.tokens, finished)
}

/// Xorshift: the same schedules on every machine.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % bound as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}
