//! Who runs when: lanes, arrivals, cancels, pauses, pages and queues, on a clock that the test moves.

#[path = "support/drive.rs"]
mod drive;
#[path = "support/gguf_writer.rs"]
mod gguf_writer;

use std::sync::Arc;
use std::time::Duration;

use drive::{Answers, Counting, model, request, run, settings, step};
use gguf_writer::TinyModel;
use spindle_inference::kv::KvCache;
use spindle_inference::request::{ErrorCode, Lane, Request};
use spindle_inference::scheduler::{
    Interrupt, Scheduler, SchedulerSettings, SequenceId, StepOutcome, Watch,
};
use spindle_inference::{Model, TokenId};

const START: Duration = Duration::ZERO;

fn tiny() -> Arc<Model> {
    let small = TinyModel {
        layers: 4,
        width: 64,
        ffn_width: 64,
        heads: 2,
        kv_heads: 1,
        ..TinyModel::default()
    };
    model(small.bytes())
}

fn prompt(len: usize) -> Vec<TokenId> {
    (0..len)
        .map(|i| TokenId(3 + (i * 37 % 250) as u32))
        .collect()
}

fn of(lane: Lane, prompt_len: usize, max_tokens: u32) -> Request {
    Request {
        lane,
        ..request(&prompt(prompt_len), max_tokens)
    }
}

fn of_tenant(tenant: &str, prompt_len: usize, max_tokens: u32) -> Request {
    Request {
        tenant: tenant.into(),
        ..of(Lane::Batch, prompt_len, max_tokens)
    }
}

/// Settings with so many pages.
fn with_pages(model: &Model, pages: u64) -> SchedulerSettings {
    let mut settings = settings(1);
    settings.kv_bytes = pages * KvCache::page_bytes(model.config(), settings.kv_type);
    settings
}

fn submit(scheduler: &mut Scheduler, request: Request) -> SequenceId {
    scheduler
        .submit(request, START)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// A clock that moves 10 ms a layer, and one interrupt at the n-th look.
struct Scripted {
    now: Duration,
    looks: usize,
    interrupts: Vec<(usize, Interrupt)>,
}

impl Scripted {
    fn new(interrupts: &[(usize, Interrupt)]) -> Self {
        Self {
            now: START,
            looks: 0,
            interrupts: interrupts.to_vec(),
        }
    }
}

impl Watch for Scripted {
    fn now(&mut self) -> Duration {
        self.now
    }

    fn between_layers(&mut self) -> Interrupt {
        if let Some(at) = self
            .interrupts
            .iter()
            .position(|(look, _)| *look == self.looks)
        {
            return self.interrupts.remove(at).1;
        }
        self.looks += 1;
        self.now += Duration::from_millis(10);
        Interrupt::None
    }
}

#[test]
fn an_interactive_arrival_abandons_a_batch_step_and_no_other() {
    let model = tiny();
    for (lane, outcome) in [
        (Lane::Batch, StepOutcome::Abandoned),
        (Lane::Interactive, StepOutcome::Ran),
    ] {
        let mut scheduler = Scheduler::new(model.clone(), settings(1));
        let id = submit(&mut scheduler, of(lane, 40, 4));
        let alone = run(&mut scheduler)[&id].ids();

        let id = submit(&mut scheduler, of(lane, 40, 4));
        let mut answers = Answers::new();
        let mut watch = Scripted::new(&[(2, Interrupt::InteractiveArrived)]);
        assert_eq!(step(&mut scheduler, &mut watch, &mut answers), outcome);
        assert_eq!(
            watch.looks,
            if outcome == StepOutcome::Ran { 4 } else { 2 },
            "looks at the mail"
        );
        while step(&mut scheduler, &mut watch, &mut answers) != StepOutcome::Idle {}
        assert_eq!(answers[&id].ids(), alone, "the bytes are the same");
    }
}

#[test]
fn a_cancel_between_layers_frees_the_sequence_within_the_step() {
    let model = tiny();
    let mut scheduler = Scheduler::new(model, settings(1));
    let (gone, stays) = (
        submit(&mut scheduler, of(Lane::Interactive, 300, 9)),
        submit(&mut scheduler, of(Lane::Interactive, 5, 3)),
    );
    let mut answers = Answers::new();
    let mut watch = Scripted::new(&[(1, Interrupt::Cancelled(gone))]);
    assert_eq!(
        step(&mut scheduler, &mut watch, &mut answers),
        StepOutcome::Ran,
        "somebody is left"
    );
    assert_eq!(scheduler.counters().interactive.running, 1);
    assert_eq!(scheduler.counters().kv_pages_used, 1);
    let mut watch = Scripted::new(&[(1, Interrupt::Cancelled(stays))]);
    assert_eq!(
        step(&mut scheduler, &mut watch, &mut answers),
        StepOutcome::Abandoned,
        "nobody is left"
    );
    assert_eq!((watch.looks, scheduler.counters().kv_pages_used), (1, 0));
    assert_eq!(
        step(&mut scheduler, &mut watch, &mut answers),
        StepOutcome::Idle
    );
    assert!(!scheduler.cancel(stays), "it is gone");
}

#[test]
fn a_stop_leaves_at_once_and_loses_nothing() {
    let mut scheduler = Scheduler::new(tiny(), settings(1));
    let id = submit(&mut scheduler, of(Lane::Interactive, 20, 5));
    let alone = run(&mut scheduler)[&id].ids();
    let id = submit(&mut scheduler, of(Lane::Interactive, 20, 5));
    let (mut answers, mut watch) = (
        Answers::new(),
        Scripted::new(&[(3, Interrupt::Stop), (9, Interrupt::Stop)]),
    );
    let mut abandoned = 0;
    loop {
        match step(&mut scheduler, &mut watch, &mut answers) {
            StepOutcome::Idle => break,
            StepOutcome::Abandoned => abandoned += 1,
            StepOutcome::Ran => {}
        }
    }
    assert_eq!((abandoned, answers[&id].ids()), (2, alone));
}

#[test]
fn the_batch_lane_keeps_its_share_under_a_flood_of_interactive_prompts() {
    let mut scheduler = Scheduler::new(tiny(), settings(1));
    let batch = submit(&mut scheduler, of(Lane::Batch, 10, 400));
    let (mut answers, mut watch) = (Answers::new(), Scripted::new(&[]));
    let mut steps = 0;
    while watch.now < Duration::from_secs(25) {
        // Somebody's prompt always waits.
        while scheduler.counters().interactive.waiting == 0 {
            scheduler
                .submit(of(Lane::Interactive, 200, 1), watch.now)
                .expect("there is room");
        }
        step(&mut scheduler, &mut watch, &mut answers);
        steps += 1;
    }
    let told = answers[&batch].tokens.len();
    assert!(told * 100 >= steps * 9, "{told} of {steps} steps");
    assert!(told * 100 <= steps * 20, "{told} of {steps} steps");
}

#[test]
fn batch_work_advances_however_often_somebody_arrives() {
    let mut scheduler = Scheduler::new(tiny(), settings(1));
    let batch = submit(&mut scheduler, of(Lane::Batch, 10, 400));
    let mut answers = Answers::new();
    let mut watch = Scripted::new(&[]);
    while watch.now < Duration::from_secs(25) {
        // Somebody arrives in the second layer of every step, and is answered by the next one.
        watch.interrupts = vec![(watch.looks + 1, Interrupt::InteractiveArrived)];
        if step(&mut scheduler, &mut watch, &mut answers) == StepOutcome::Abandoned {
            scheduler
                .submit(of(Lane::Interactive, 20, 1), watch.now)
                .expect("there is room");
        }
    }
    let told = answers[&batch].tokens.len();
    assert!(told >= 50, "{told} tokens in 25 s of steps of 40 ms");
}

#[test]
fn arrivals_that_compute_nothing_do_not_starve_batch_work() {
    // An arrival ends a batch step, even where nothing of it is ever computed: it is refused, cancelled, or answered
    // without a step. The batch lane's share was measured against steps that were computed, of which there were none,
    // so it was never owed a turn, and a client who sent such requests steadily kept it still for good.
    let refused = of(Lane::Interactive, 20, u32::MAX);
    let needs_no_step = of(Lane::Interactive, 20, 0);
    for arrival in [refused, needs_no_step] {
        let mut scheduler = Scheduler::new(tiny(), settings(1));
        let batch = submit(&mut scheduler, of(Lane::Batch, 10, 400));
        let (mut answers, mut watch) = (Answers::new(), Scripted::new(&[]));
        while watch.now < Duration::from_secs(25) {
            watch.interrupts = vec![(watch.looks + 1, Interrupt::InteractiveArrived)];
            if step(&mut scheduler, &mut watch, &mut answers) == StepOutcome::Abandoned {
                // Whether it is taken does not matter here.
                let _ = scheduler.submit(arrival.clone(), watch.now);
            }
        }
        let told = answers.get(&batch).map_or(0, |batch| batch.tokens.len());
        assert!(told >= 50, "{told} tokens in 25 s of steps of 40 ms");
    }
}

#[test]
fn batch_work_fills_the_places_that_interactive_work_leaves() {
    let mut settings = settings(1);
    settings.sequences_max = 4;
    let mut scheduler = Scheduler::new(tiny(), settings);
    for _ in 0..6 {
        submit(&mut scheduler, of(Lane::Batch, 4, 50));
    }
    let (mut answers, mut watch) = (Answers::new(), Counting::default());
    step(&mut scheduler, &mut watch, &mut answers);
    assert_eq!(
        (
            scheduler.counters().batch.running,
            scheduler.counters().batch.waiting
        ),
        (4, 2)
    );
    let interactive: Vec<_> = (0..4)
        .map(|_| submit(&mut scheduler, of(Lane::Interactive, 4, 3)))
        .collect();
    step(&mut scheduler, &mut watch, &mut answers);
    let told = interactive.iter().all(|id| answers[id].tokens.len() == 1);
    assert!(told, "interactive sequences need not wait for a place");
    while step(&mut scheduler, &mut watch, &mut answers) != StepOutcome::Idle {}
    assert_eq!(scheduler.counters().finished, 10);
}

#[test]
fn batch_work_is_admitted_in_turns_among_tenants_oldest_first() {
    let mut settings = settings(1);
    settings.sequences_max = 1;
    let mut scheduler = Scheduler::new(tiny(), settings);
    let tenants = ["a", "a", "a", "b", "b", "c"];
    let ids: Vec<_> = tenants
        .iter()
        .map(|tenant| submit(&mut scheduler, of_tenant(tenant, 4, 2)))
        .collect();
    let (mut answers, mut order) = (Answers::new(), Vec::new());
    while step(&mut scheduler, &mut Counting::default(), &mut answers) != StepOutcome::Idle {
        for (place, id) in ids.iter().enumerate() {
            if answers.contains_key(id) && !order.contains(&place) {
                order.push(place);
            }
        }
    }
    assert_eq!(order, [0, 3, 5, 1, 4, 2]);
}

#[test]
fn the_youngest_batch_sequence_gives_way_first_and_loses_nothing() {
    let model = tiny();
    let roomy = |request: &Request| {
        let mut scheduler = Scheduler::new(model.clone(), settings(1));
        let id = submit(&mut scheduler, request.clone());
        run(&mut scheduler)[&id].ids()
    };
    // Each grows from one page to five; eight pages are there.
    let requests = [
        of(Lane::Interactive, 20, 130),
        of(Lane::Batch, 21, 130),
        of(Lane::Batch, 22, 130),
    ];
    let mut scheduler = Scheduler::new(model.clone(), with_pages(&model, 8));
    let ids = requests
        .each_ref()
        .map(|request| submit(&mut scheduler, request.clone()));
    let answers = run(&mut scheduler);
    assert!(scheduler.counters().preemptions > 0);
    for (id, request) in ids.iter().zip(&requests) {
        assert_eq!(answers[id].ids(), roomy(request));
        assert_eq!(answers[id].tokens.len(), 130);
    }
    assert_eq!(scheduler.counters().kv_pages_used, 0);
}

#[test]
fn an_interactive_prompt_takes_pages_from_batch_work_and_not_the_other_way_round() {
    let model = tiny();
    let mut scheduler = Scheduler::new(model.clone(), with_pages(&model, 8));
    let batch = submit(&mut scheduler, of(Lane::Batch, 220, 20));
    let (mut answers, mut watch) = (Answers::new(), Counting::default());
    step(&mut scheduler, &mut watch, &mut answers);
    let interactive = submit(&mut scheduler, of(Lane::Interactive, 100, 10));
    step(&mut scheduler, &mut watch, &mut answers);
    assert_eq!(scheduler.counters().batch.running, 0, "it gave way");
    assert_eq!(answers[&interactive].tokens.len(), 1);
    while answers[&interactive].finished.is_none() {
        assert_eq!(scheduler.counters().batch.running, 0, "it waits for pages");
        step(&mut scheduler, &mut watch, &mut answers);
    }
    while step(&mut scheduler, &mut watch, &mut answers) != StepOutcome::Idle {}
    assert_eq!(answers[&batch].tokens.len(), 20);
}

#[test]
fn a_paused_sequence_takes_no_step_and_no_place_and_goes_on_where_it_was() {
    let model = tiny();
    let mut settings = settings(1);
    settings.sequences_max = 1;
    let mut scheduler = Scheduler::new(model, settings);
    let id = submit(&mut scheduler, of(Lane::Interactive, 20, 12));
    let alone = run(&mut scheduler)[&id].ids();

    let paused = submit(&mut scheduler, of(Lane::Interactive, 20, 12));
    let (mut answers, mut watch) = (Answers::new(), Counting::default());
    for _ in 0..4 {
        step(&mut scheduler, &mut watch, &mut answers);
    }
    scheduler.pause(paused);
    assert_eq!(
        step(&mut scheduler, &mut watch, &mut answers),
        StepOutcome::Idle
    );
    let other = submit(&mut scheduler, of(Lane::Interactive, 8, 5));
    while step(&mut scheduler, &mut watch, &mut answers) != StepOutcome::Idle {}
    assert_eq!(answers[&other].tokens.len(), 5, "the place was free");
    assert_eq!(answers[&paused].tokens.len(), 4);
    assert_eq!(scheduler.counters().preemptions, 0, "it kept its pages");
    scheduler.resume(paused);
    while step(&mut scheduler, &mut watch, &mut answers) != StepOutcome::Idle {}
    assert_eq!(answers[&paused].ids(), alone);
}

#[test]
fn a_paused_sequence_gives_its_pages_to_an_interactive_prompt() {
    let model = tiny();
    let mut scheduler = Scheduler::new(model.clone(), with_pages(&model, 8));
    let paused = submit(&mut scheduler, of(Lane::Interactive, 200, 30));
    let (mut answers, mut watch) = (Answers::new(), Counting::default());
    for _ in 0..3 {
        step(&mut scheduler, &mut watch, &mut answers);
    }
    scheduler.pause(paused);
    let other = submit(&mut scheduler, of(Lane::Interactive, 100, 5));
    while step(&mut scheduler, &mut watch, &mut answers) != StepOutcome::Idle {}
    assert_eq!(answers[&other].tokens.len(), 5);
    assert_eq!(scheduler.counters().preemptions, 1);
    scheduler.resume(paused);
    while step(&mut scheduler, &mut watch, &mut answers) != StepOutcome::Idle {}
    assert_eq!(answers[&paused].tokens.len(), 30);
}

#[test]
fn a_full_queue_refuses_one_lane_and_says_when_to_retry() {
    let mut settings = settings(1);
    (settings.queue_max, settings.sequences_max) = (3, 1);
    let mut scheduler = Scheduler::new(tiny(), settings);
    // One finds the free place, three wait.
    for _ in 0..4 {
        submit(&mut scheduler, of(Lane::Interactive, 4, 4));
    }
    let (mut answers, mut watch) = (Answers::new(), Counting::default());
    for _ in 0..2 {
        let refused = scheduler.submit(of(Lane::Interactive, 4, 4), START);
        assert!(
            matches!(refused, Err(ErrorCode::Overloaded(secs)) if (1..=60).contains(&secs)),
            "{refused:?}"
        );
        // The one that found a place is computed now; nothing else has changed.
        step(&mut scheduler, &mut watch, &mut answers);
    }
    submit(&mut scheduler, of(Lane::Batch, 4, 4));
    while step(&mut scheduler, &mut watch, &mut answers) != StepOutcome::Idle {}
    assert_eq!(scheduler.counters().finished, 5);
}

#[test]
fn what_can_never_fit_is_refused_and_what_just_fits_is_answered() {
    let model = tiny();
    // 4 pages are 128 positions; the model's context is 512.
    let mut scheduler = Scheduler::new(model.clone(), with_pages(&model, 4));
    assert_eq!(scheduler.context_len(), 128);
    let refused = scheduler.submit(of(Lane::Interactive, 100, 29), START);
    assert!(
        matches!(refused, Err(ErrorCode::ContextExceeded(facts)) if facts.context_len == 128),
        "{refused:?}"
    );
    let fits = submit(&mut scheduler, of(Lane::Interactive, 100, 28));
    let also = submit(&mut scheduler, of(Lane::Interactive, 127, 1));
    let fills = submit(
        &mut scheduler,
        Request {
            max_tokens: None,
            ..of(Lane::Interactive, 100, 0)
        },
    );
    let answers = run(&mut scheduler);
    assert_eq!(
        [fits, also, fills].map(|id| answers[&id].tokens.len()),
        [28, 1, 28]
    );
}

#[test]
fn prompts_are_cut_to_the_budget_once_their_cost_is_known() {
    // A layer takes 10 ms of this clock whatever it does, so that a prompt row looks cheap in a large step only.
    let mut scheduler = Scheduler::new(tiny(), settings(1));
    let (mut answers, mut watch) = (Answers::new(), Scripted::new(&[]));
    let first = submit(&mut scheduler, of(Lane::Interactive, 17, 1));
    while step(&mut scheduler, &mut watch, &mut answers) != StepOutcome::Idle {}
    assert!(answers[&first].finished.is_some());
    // 16 rows took 40 ms: at most 80 fit into 200 ms if cost rises in proportion.
    let id = submit(&mut scheduler, of(Lane::Interactive, 400, 1));
    let before = scheduler.counters().prompt_tokens;
    step(&mut scheduler, &mut watch, &mut answers);
    let taken = scheduler.counters().prompt_tokens - before;
    assert!((64..=96).contains(&taken), "{taken}");
    while step(&mut scheduler, &mut watch, &mut answers) != StepOutcome::Idle {}
    assert!(answers[&id].finished.is_some());
}
