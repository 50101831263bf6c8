//! One scheduler a model: continuous batching with chunked prefill, as a pure step function.
//!
//! - Pure: time, interrupts and requests come in as arguments, events go out; whoever owns a thread calls
//!   [`Scheduler::step`] in a loop and parks while it says [`StepOutcome::Idle`].
//! - What is computed never depends on when: bytes of an answer are the same alone or in company, whatever was
//!   abandoned, cancelled, paused or preempted in between.
//! - Two lanes: interactive work first; batch work rides along and is owed [`SchedulerSettings::batch_share`] of the
//!   time, averaged over ten seconds.
//! - Memory for keys and values is bounded; whoever does not fit waits, and when it runs dry the youngest gives way
//!   and is computed again later. The oldest always advances, so everybody finishes.
//! - A paused sequence keeps its pages and takes no place. It is the first to give way: to an interactive prompt that
//!   needs pages, and in its lane before those that run. Resumed, it is admitted and computed again; its reader sees
//!   a longer pause, no other byte.
//!
//! Absent: threads but the kernels' team, clocks, channels, text (a prompt arrives as tokens or is encoded on
//! submission; do that beforehand, with [`crate::Model::encode_prompt`], off the compute thread).

mod admission;
mod choose;
mod cost;
mod observer;
mod plan;
mod run;
mod sequence;
mod settings;
mod share;
mod validate;

pub use run::Scheduler;
pub use settings::{
    Counters, Interrupt, LaneCounters, SchedulerSettings, SequenceId, StepOutcome, Watch,
};
pub use validate::{LOGIT_BIAS_MAX, LOGPROBS_MAX, STOP_BYTES_MAX, STOP_MAX};
