//! The scheduler itself: submission, and the step that admits, plans, computes, chooses and tells.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::choose::{Choice, Output};
use super::cost::CostModel;
use super::observer::StepObserver;
use super::plan::{Limits, Ready, plan};
use super::sequence::Sequence;
use super::settings::{Counters, LaneCounters, SchedulerSettings, SequenceId, StepOutcome, Watch};
use super::share::Share;
use super::validate;
use crate::kv::{KvCache, PAGE_LEN};
use crate::model::{Forward, Model, Step};
use crate::request::{ErrorCode, Event, Lane, Prompt, Request};
use crate::sampler::Scratch;

/// Seconds an overloaded client is asked to wait, at most: what it is told is an estimate from finished work.
const RETRY_AFTER_MAX: u32 = 60;

/// Runs a model for many sequences at once.
pub struct Scheduler {
    pub(super) model: Arc<Model>,
    pub(super) settings: SchedulerSettings,
    pub(super) cache: KvCache,
    pub(super) sequences: BTreeMap<SequenceId, Sequence>,
    /// The tenant whose batch work was admitted last; the next one in turn follows it.
    pub(super) last_tenant: String,
    pub(super) totals: Counters,
    pub(super) forward: Forward,
    cost: CostModel,
    share: Share,
    /// Seconds from admission to the end, averaged over recent answers.
    pub(super) service_secs: f64,
    next_id: u64,
    pub(super) work: Work,
}

/// Vectors of a step, kept for their memory.
#[derive(Default)]
pub(super) struct Work {
    ids: Vec<SequenceId>,
    ready: Vec<Ready>,
    planned: Vec<(usize, usize)>,
    batch_turn: bool,
    /// Sequences of this step and their rows.
    taking_part: Vec<(SequenceId, usize)>,
    batch_rows: usize,
    step: Step,
    pub(super) outputs: Vec<Output>,
    pub(super) choices: Vec<Choice>,
    pub(super) scratch: Vec<Scratch>,
}

impl Scheduler {
    /// A scheduler with nothing to do. Working memory is claimed here and touched as it is needed.
    pub fn new(model: Arc<Model>, settings: SchedulerSettings) -> Self {
        let mut settings = settings;
        let config = model.config();
        settings.threads = settings.threads.max(1);
        settings.sequences_max = settings.sequences_max.max(1);
        settings.prefill_chunk_max = settings.prefill_chunk_max.max(1);
        let model_len = config.context_len;
        settings.context_len = if settings.context_len == 0 {
            model_len
        } else {
            settings.context_len.min(model_len)
        };
        // Batch sequences keep one place beside a full house.
        let sequences_in_step = settings.sequences_max + 1;
        let pages_wanted = settings.context_len.div_ceil(PAGE_LEN) * sequences_in_step;
        let cache = KvCache::new(config, settings.kv_type, settings.kv_bytes, pages_wanted);
        let pair_macs = 2 * (config.layers * config.q_width()) as u64;
        Self {
            forward: Forward::new(
                model.clone(),
                settings.isa,
                settings.threads,
                sequences_in_step + settings.prefill_chunk_max,
            ),
            cost: CostModel::new(model.macs_per_token(), pair_macs, settings.threads),
            work: Work {
                scratch: (0..settings.threads).map(|_| Scratch::default()).collect(),
                ..Work::default()
            },
            cache,
            model,
            settings,
            sequences: BTreeMap::new(),
            last_tenant: String::new(),
            totals: Counters::default(),
            share: Share::default(),
            service_secs: 1.0,
            next_id: 0,
        }
    }

    /// The model it runs.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Tokens prompt and answer may have together: the context, or what the key/value memory holds where that is less.
    pub fn context_len(&self) -> usize {
        self.settings
            .context_len
            .min(self.cache.pages_total() * PAGE_LEN)
    }

    /// Takes a request in, after checking every argument of it. Its first event comes from a later [`Self::step`].
    ///
    /// # Errors
    /// Invalid arguments, a request that can never fit, or a full queue.
    pub fn submit(&mut self, mut request: Request, now: Duration) -> Result<SequenceId, ErrorCode> {
        self.model.encode_prompt(&mut request, self.context_len())?;
        let answer_max =
            validate::check(&request, self.model.config().vocab_len, self.context_len())?;
        let waiting = self
            .sequences
            .values()
            .filter(|s| s.lane == request.lane && !s.admitted && !s.paused)
            .count();
        // Who finds a free place only passes through the queue: an idle scheduler takes as many as places and queue hold.
        let places = self
            .settings
            .sequences_max
            .saturating_sub(self.running(request.lane));
        if waiting >= self.settings.queue_max.saturating_add(places) {
            return Err(ErrorCode::Overloaded(self.retry_after(waiting)));
        }
        let prompt = match std::mem::replace(&mut request.prompt, Prompt::Tokens(Vec::new())) {
            Prompt::Tokens(tokens) => tokens,
            Prompt::Text(_) => unreachable!("a checked prompt is tokens"),
        };
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        self.sequences
            .insert(id, Sequence::new(id, request, prompt, answer_max, now));
        Ok(id)
    }

    /// Forgets a sequence and frees its pages; no event follows. False where there is no such sequence (any more).
    pub fn cancel(&mut self, id: SequenceId) -> bool {
        let Some(sequence) = self.sequences.remove(&id) else {
            return false;
        };
        self.cache.release(sequence.pages);
        true
    }

    /// Lets a sequence take no more steps until it is resumed.
    pub fn pause(&mut self, id: SequenceId) {
        if let Some(sequence) = self.sequences.get_mut(&id) {
            sequence.paused = true;
        }
    }

    /// Lets a paused sequence go on.
    pub fn resume(&mut self, id: SequenceId) {
        if let Some(sequence) = self.sequences.get_mut(&id) {
            sequence.paused = false;
        }
    }

    /// Numbers for metrics and tests.
    pub fn counters(&self) -> Counters {
        let lane = |lane| {
            let mut counters = LaneCounters::default();
            for sequence in self.sequences.values().filter(|s| s.lane == lane) {
                counters.running += usize::from(sequence.admitted);
                counters.waiting += usize::from(!sequence.admitted);
                counters.paused += usize::from(sequence.paused);
            }
            counters
        };
        Counters {
            interactive: lane(Lane::Interactive),
            batch: lane(Lane::Batch),
            kv_pages_used: self.cache.pages_used(),
            kv_pages_total: self.cache.pages_total(),
            ..self.totals
        }
    }

    /// Computes one step and appends what its sequences have to tell.
    pub fn step(
        &mut self,
        watch: &mut dyn Watch,
        events: &mut Vec<(SequenceId, Event)>,
    ) -> StepOutcome {
        let told = events.len();
        let start = watch.now();
        self.admit(start, events);
        self.plan(start);
        if self.work.taking_part.is_empty() {
            // Whoever was planned may have given way to others: then the next step finds it something to do.
            let moved = events.len() > told || !self.work.planned.is_empty();
            return if moved {
                StepOutcome::Ran
            } else {
                StepOutcome::Idle
            };
        }
        self.lay_out();

        // A turn the batch lane is owed is short, and not taken away again.
        let yields = self.work.batch_rows == self.work.step.rows() && !self.work.batch_turn;
        let mut observer = StepObserver {
            watch,
            yields,
            taking_part: &self.work.taking_part,
            cancelled: Vec::new(),
        };
        let computed = self
            .forward
            .run(&self.work.step, &mut self.cache, &mut observer);
        for id in std::mem::take(&mut observer.cancelled) {
            self.cancel(id);
        }
        let Some(attention) = computed else {
            self.totals.steps_abandoned += 1;
            // Time that nobody had anything of: counted, so that arrivals which need no step cannot starve the batch lane.
            let now = watch.now();
            self.share.note(now, now.saturating_sub(start), 0, 1);
            return StepOutcome::Abandoned;
        };
        self.advance();
        self.choose(watch, events);
        self.learn(start, watch.now(), attention);
        StepOutcome::Ran
    }

    /// Decides who takes part, and makes sure that each has pages for its rows.
    fn plan(&mut self, now: Duration) {
        let Work {
            ids,
            ready,
            planned,
            batch_turn,
            taking_part,
            ..
        } = &mut self.work;
        ids.clear();
        ready.clear();
        for sequence in self.sequences.values().filter(|s| s.admitted && !s.paused) {
            ids.push(sequence.id);
            ready.push(sequence.ready());
        }
        let limits = Limits {
            sequences_max: self.settings.sequences_max,
            prefill_chunk_max: self.settings.prefill_chunk_max,
            batch_starved: self.share.is_below(self.settings.batch_share, now),
        };
        *batch_turn = plan(ready, limits, &self.cost, planned);
        taking_part.clear();
        taking_part.extend(planned.iter().map(|&(index, rows)| (ids[index], rows)));
        let mut taking_part = std::mem::take(&mut self.work.taking_part);
        // Oldest first, so that who gives way is seldom somebody who was just served.
        taking_part.retain(|&(id, rows)| self.grow(id, rows));
        // A later one may have taken an earlier one's pages.
        taking_part.retain(|(id, _)| self.sequences[id].admitted);
        self.work.taking_part = taking_part;
    }

    /// Writes the plan down as rows for the forward pass and outputs for the sampler.
    fn lay_out(&mut self) {
        let Work {
            taking_part,
            batch_rows,
            step,
            outputs,
            ..
        } = &mut self.work;
        step.clear();
        outputs.clear();
        *batch_rows = 0;
        for &(id, rows) in taking_part.iter() {
            let sequence = &self.sequences[&id];
            if sequence.lane == Lane::Batch {
                *batch_rows += rows;
            }
            let from = sequence.computed;
            let first_row = step.push(&sequence.tokens[from..from + rows], from, &sequence.pages);
            for row in sequence.prompt_rows(rows) {
                step.push_output(first_row + row);
                outputs.push(Output {
                    sequence: id,
                    prompt_token: Some(sequence.tokens[from + row + 1]),
                });
            }
            if sequence.samples_after(rows) {
                step.push_output(first_row + rows - 1);
                outputs.push(Output {
                    sequence: id,
                    prompt_token: None,
                });
            }
        }
    }

    /// Notes what the forward pass computed. Sequences cancelled meanwhile are gone already.
    fn advance(&mut self) {
        for (id, rows) in &self.work.taking_part {
            if let Some(sequence) = self.sequences.get_mut(id) {
                if !sequence.ready().decoding {
                    self.totals.prompt_tokens += *rows as u64;
                }
                sequence.computed += rows;
            }
        }
        self.totals.steps += 1;
    }

    /// Teaches the cost model and the lanes' account what the step took.
    fn learn(&mut self, start: Duration, end: Duration, attention: Duration) {
        let Work {
            step, batch_rows, ..
        } = &self.work;
        let spent = end.saturating_sub(start);
        self.cost.note(
            step.rows(),
            step.pairs(),
            spent.saturating_sub(attention),
            attention,
        );
        self.share.note(end, spent, *batch_rows, step.rows());
    }

    /// How long the queue will last, by recent answers.
    fn retry_after(&self, waiting: usize) -> u32 {
        let secs = self.service_secs * waiting as f64 / self.settings.sequences_max as f64;
        (secs.ceil() as u32).clamp(1, RETRY_AFTER_MAX)
    }
}
