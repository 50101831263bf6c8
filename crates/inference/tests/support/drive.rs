//! Drives a scheduler by hand: a clock that counts, requests with plain defaults, answers put together from events.
//!
//! Use: `#[path = "support/drive.rs"] mod drive;`

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use spindle_inference::formats::gguf;
use spindle_inference::request::{
    Event, Finished, Lane, Prompt, PromptDetail, PromptReport, Request, Sampling, TokenEvent,
};
use spindle_inference::scheduler::{
    Interrupt, Scheduler, SchedulerSettings, SequenceId, StepOutcome, Watch,
};
use spindle_inference::{Model, TokenId};

/// A clock that moves a millisecond whenever it is read, and nobody who interrupts.
#[derive(Default)]
pub struct Counting {
    pub now: Duration,
}

impl Watch for Counting {
    fn now(&mut self) -> Duration {
        self.now += Duration::from_millis(1);
        self.now
    }

    fn between_layers(&mut self) -> Interrupt {
        Interrupt::None
    }
}

/// Greedy, interactive, so many tokens, no end before.
pub fn request(prompt: &[TokenId], max_tokens: u32) -> Request {
    Request {
        model: String::new(),
        prompt: Prompt::Tokens(prompt.to_vec()),
        max_tokens: Some(max_tokens),
        clip_to_context: false,
        min_tokens: 0,
        ignore_eos: true,
        stop: Vec::new(),
        sampling: Sampling::greedy(),
        logprobs: None,
        prompt_detail: PromptDetail::Count,
        lane: Lane::Interactive,
        tenant: "default".into(),
    }
}

/// All a sequence told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub prompt: Option<PromptReport>,
    pub tokens: Vec<TokenEvent>,
    pub finished: Option<Finished>,
}

impl Answer {
    pub fn ids(&self) -> Vec<TokenId> {
        self.tokens.iter().map(|token| token.id).collect()
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.tokens
            .iter()
            .flat_map(|token| token.bytes.clone())
            .collect()
    }

    /// Adds an event, checking the order they must come in.
    pub fn tell(&mut self, event: Event) {
        assert!(
            self.finished.is_none(),
            "an event after the last: {event:?}"
        );
        match event {
            Event::Prompt(report) => {
                assert!(
                    self.prompt.is_none() && self.tokens.is_empty(),
                    "a late prompt report"
                );
                self.prompt = Some(report);
            }
            Event::Token(token) => {
                assert!(self.prompt.is_some(), "a token before the prompt report");
                self.tokens.push(token);
            }
            Event::Finished(finished) => self.finished = Some(finished),
            Event::Failed(error) => panic!("{error}"),
        }
    }
}

pub type Answers = BTreeMap<SequenceId, Answer>;

/// One step; what was told is added to `answers`.
pub fn step(
    scheduler: &mut Scheduler,
    watch: &mut dyn Watch,
    answers: &mut Answers,
) -> StepOutcome {
    let mut events = Vec::new();
    let outcome = scheduler.step(watch, &mut events);
    for (id, event) in events {
        answers.entry(id).or_default().tell(event);
    }
    outcome
}

/// Steps until nothing is left to do.
pub fn run(scheduler: &mut Scheduler) -> Answers {
    let mut answers = Answers::new();
    let mut watch = Counting::default();
    while step(scheduler, &mut watch, &mut answers) != StepOutcome::Idle {}
    answers
}

/// One request alone.
pub fn answer(scheduler: &mut Scheduler, request: Request) -> Answer {
    let id = scheduler
        .submit(request, Duration::ZERO)
        .unwrap_or_else(|error| panic!("{error}"));
    run(scheduler).remove(&id).expect("it was answered")
}

pub fn model(bytes: Vec<u8>) -> Arc<Model> {
    let file = gguf::read(Arc::new(bytes)).unwrap_or_else(|error| panic!("{error}"));
    Model::new(file).unwrap_or_else(|error| panic!("{error}"))
}

/// Settings with plenty of everything.
pub fn settings(threads: usize) -> SchedulerSettings {
    SchedulerSettings::new(spindle_kernels::Isa::detect(), threads, 256 << 20)
}

/// A model that is fetched before the tests run. Without it the test says so and is not run, or fails where `CI` is set.
pub fn fetched(name: &str) -> Option<Vec<u8>> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    let path = cache.join("spindle-test-models").join(name);
    let bytes = std::fs::read(&path).ok();
    if bytes.is_none() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "{} is missing (cargo xtask test fetches it)",
            path.display()
        );
        println!(
            "not run: needs {} (cargo xtask test fetches it)",
            path.display()
        );
    }
    bytes
}
