//! What a scheduler is set up with, what it asks while it works, and what it tells about itself.

use std::time::Duration;

use spindle_kernels::{Isa, KvType};

/// How one model is served.
#[derive(Clone, Debug)]
pub struct SchedulerSettings {
    /// Instruction set of every kernel.
    pub isa: Isa,
    /// Compute threads, the caller's included; at least 1.
    pub threads: usize,
    /// Tokens prompt and answer may have together; the model's own limit where it is 0 or beyond that limit.
    pub context_len: usize,
    /// Bytes for keys and values of all sequences; rounded down to pages, at least one page.
    pub kv_bytes: u64,
    /// How keys and values are stored. Part of the definition: another kind gives other bytes.
    pub kv_type: KvType,
    /// Sequences that take part in a step; at least 1.
    pub sequences_max: usize,
    /// Sequences of one lane that may wait beside those that find a free place.
    pub queue_max: usize,
    /// Prompt tokens of a step; at least 1. Changes pace and working memory, never bytes.
    pub prefill_chunk_max: usize,
    /// What the batch lane is owed of the compute time, 0 to 1.
    pub batch_share: f64,
}

impl SchedulerSettings {
    /// The usual settings for this machine's instruction set, so many threads and so much memory.
    pub fn new(isa: Isa, threads: usize, kv_bytes: u64) -> Self {
        Self {
            isa,
            threads,
            context_len: 0,
            kv_bytes,
            kv_type: KvType::F16,
            sequences_max: 16,
            queue_max: 128,
            prefill_chunk_max: 512,
            batch_share: 0.1,
        }
    }
}

/// One sequence of a scheduler. Rises with age: an older sequence has a lower id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u64);

/// The world outside, as a step sees it.
pub trait Watch {
    /// Time since some fixed moment; never goes back.
    fn now(&mut self) -> Duration;

    /// Called before each layer, and between slices of logits, on the caller's thread: the moment for a heartbeat and for a look at the mail. After
    /// [`Interrupt::Cancelled`] it is called again at once, so that all of them can be told.
    fn between_layers(&mut self) -> Interrupt;
}

/// What [`Watch::between_layers`] has to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// Nothing; go on.
    None,
    /// An interactive request waits to be submitted: a step that carries batch work only is abandoned.
    InteractiveArrived,
    /// This sequence is not wanted any more. It is cancelled now; once nobody is left in the step, the step is abandoned.
    Cancelled(SequenceId),
    /// Leave at once. Nothing is lost: the step is computed when it is called for again.
    Stop,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// Nothing can be done until something is submitted, resumed or cancelled.
    Idle,
    /// A step was computed, or sequences were done that needed none.
    Ran,
    /// A step was begun and dropped. Its work will be redone, with the same bytes.
    Abandoned,
}

/// Numbers for metrics and tests. Totals count from the scheduler's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// The interactive lane's sequences now.
    pub interactive: LaneCounters,
    /// The batch lane's sequences now.
    pub batch: LaneCounters,
    /// Pages of keys and values in use now.
    pub kv_pages_used: usize,
    /// Pages there are.
    pub kv_pages_total: usize,
    /// Prompt tokens computed, repeated work included.
    pub prompt_tokens: u64,
    /// Tokens chosen.
    pub completion_tokens: u64,
    /// Sequences that finished by themselves.
    pub finished: u64,
    /// Times a sequence lost its pages.
    pub preemptions: u64,
    /// Steps computed.
    pub steps: u64,
    /// Steps begun and dropped.
    pub steps_abandoned: u64,
}

/// One lane's sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCounters {
    /// Admitted: they hold pages, and run if not paused.
    pub running: usize,
    /// Not admitted, or preempted.
    pub waiting: usize,
    /// Paused, whether they hold pages or not.
    pub paused: usize,
}
