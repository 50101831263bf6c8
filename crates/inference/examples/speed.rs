//! Prefill and decode speed of a model, as `llama-bench -p 256 -n 64` measures them: a prompt in one go, then tokens
//! one by one from an empty cache.
//!
//! `cargo run --release -p spindle-inference --example speed -- MODEL.gguf [--threads N] [--prompt N] [--decode N]
//! [--streams N] [--repeat N] [--isa NAME]`

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spindle_inference::formats::gguf;
use spindle_inference::request::{Event, Lane, Prompt, PromptDetail, Request, Sampling};
use spindle_inference::scheduler::{
    Interrupt, Scheduler, SchedulerSettings, SequenceId, StepOutcome, Watch,
};
use spindle_inference::{Model, TokenId};
use spindle_kernels::Isa;

struct Clock(Instant);

impl Watch for Clock {
    fn now(&mut self) -> Duration {
        self.0.elapsed()
    }

    fn between_layers(&mut self) -> Interrupt {
        Interrupt::None
    }
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(path) = args.next() else {
        eprintln!(
            "usage: speed MODEL.gguf [--threads N] [--prompt N] [--decode N] [--streams N] [--repeat N] [--isa NAME]"
        );
        return ExitCode::from(2);
    };
    let (mut threads, mut prompt, mut decode, mut streams, mut repeat) = (2, 256, 64, 1, 5);
    let mut isa = Isa::detect();
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        let count = value.parse();
        match (&*name, count) {
            ("--threads", Ok(n)) => threads = n,
            ("--prompt", Ok(n)) => prompt = n,
            ("--decode", Ok(n)) => decode = n,
            ("--streams", Ok(n)) => streams = n,
            ("--repeat", Ok(n)) => repeat = n,
            ("--isa", _) if Isa::from_name(&value).is_some() => {
                isa = Isa::from_name(&value).unwrap_or(isa)
            }
            _ => {
                eprintln!("not understood: {name} {value}");
                return ExitCode::from(2);
            }
        }
    }
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            eprintln!("{path}: {error}");
            return ExitCode::from(4);
        }
    };
    let model = match gguf::read(Arc::new(bytes)).and_then(Model::new) {
        Ok(model) => model,
        Err(error) => {
            eprintln!("{path}: {error}");
            return ExitCode::from(4);
        }
    };
    let mut settings = SchedulerSettings::new(isa, threads, 4 << 30);
    settings.sequences_max = streams.max(1);
    settings.prefill_chunk_max = prompt.max(1);
    println!("{} on {threads} threads, {streams} streams", isa.name());
    let (mut prefill_best, mut decode_best) = (0.0f64, 0.0f64);
    for round in 0..repeat {
        let prefill = speed(&model, &settings, 1, prompt, 1);
        let decode = speed(&model, &settings, streams, 1, decode + 1);
        println!(
            "prefill {:8.1} t/s   decode {:8.1} t/s",
            prefill.0, decode.1
        );
        // The first round backs memory with pages.
        if round > 0 || repeat == 1 {
            prefill_best = prefill_best.max(prefill.0);
            decode_best = decode_best.max(decode.1);
        }
    }
    println!("best: prefill {prefill_best:.1} t/s, decode {decode_best:.1} t/s");
    ExitCode::SUCCESS
}

/// Tokens a second of the prompts, and of the answers behind their first tokens.
fn speed(
    model: &Arc<Model>,
    settings: &SchedulerSettings,
    streams: usize,
    prompt: usize,
    answer: usize,
) -> (f64, f64) {
    let mut scheduler = Scheduler::new(model.clone(), settings.clone());
    let mut clock = Clock(Instant::now());
    let mut events = Vec::new();
    // Teach the cost model, so that the prompt is one chunk if the step's budget allows.
    run(&mut scheduler, &mut clock, &mut events, model, 1, prompt, 1);
    let (prefill, decode) = run(
        &mut scheduler,
        &mut clock,
        &mut events,
        model,
        streams,
        prompt,
        answer,
    );
    let rate = |tokens: usize, time: Duration| tokens as f64 / time.as_secs_f64();
    (
        rate(streams * prompt, prefill),
        rate(streams * (answer - 1), decode),
    )
}

fn run(
    scheduler: &mut Scheduler,
    clock: &mut Clock,
    events: &mut Vec<(SequenceId, Event)>,
    model: &Model,
    streams: usize,
    prompt: usize,
    answer: usize,
) -> (Duration, Duration) {
    let vocab_len = model.config().vocab_len as u32;
    for stream in 0..streams as u32 {
        let tokens = (0..prompt as u32)
            .map(|i| TokenId((i * 7919 + stream * 104_729 + 11) % vocab_len))
            .collect();
        let request = Request {
            model: String::new(),
            prompt: Prompt::Tokens(tokens),
            max_tokens: Some(answer as u32),
            clip_to_context: false,
            min_tokens: 0,
            ignore_eos: true,
            stop: Vec::new(),
            sampling: Sampling::greedy(),
            logprobs: None,
            prompt_detail: PromptDetail::Count,
            lane: Lane::Interactive,
            tenant: String::new(),
        };
        scheduler
            .submit(request, clock.now())
            .expect("the request fits");
    }
    let start = clock.now();
    let (mut prefilled, mut answered) = (None, 0);
    loop {
        events.clear();
        let outcome = scheduler.step(clock, events);
        if outcome == StepOutcome::Idle {
            break;
        }
        let told = |(_, event): &(_, Event)| matches!(event, Event::Token(_));
        answered += events.iter().filter(|event| told(event)).count();
        if answered >= streams && prefilled.is_none() {
            prefilled = Some(clock.now());
        }
    }
    let (prefilled, end) = (prefilled.unwrap_or(start), clock.now());
    (prefilled - start, end - prefilled)
}
