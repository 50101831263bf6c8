//! From a computed step to tokens: a slice of logits at a time, each row by one rank, told in order.
//!
//! - A row needs its own sequence and its own logits only, so that it does not matter which rank takes it.
//! - No more logits exist at once than [`LOGIT_ROWS_MAX`] rows, whatever the number asked for.

use std::time::Duration;

use spindle_kernels::Isa;

use super::run::{Scheduler, Work};
use super::sequence::{Scored, Sequence};
use super::settings::{Interrupt, SequenceId, Watch};
use crate::model::{LOGIT_ROWS_MAX, Model};
use crate::request::Event;
use crate::sampler::{LogSoftmax, Scratch};
use crate::token::TokenId;

/// A row of the step whose logits are needed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    pub sequence: SequenceId,
    /// The prompt token this row scores; none where it gives the next token of the answer.
    pub prompt_token: Option<TokenId>,
}

/// What came of one output.
#[derive(Debug, Default)]
pub(super) struct Choice {
    id: Option<TokenId>,
    scored: Option<Scored>,
}

impl Scheduler {
    /// Turns logits into tokens and scores, a slice of rows at a time, and tells what came of it.
    pub(super) fn choose(&mut self, watch: &mut dyn Watch, events: &mut Vec<(SequenceId, Event)>) {
        let outputs = std::mem::take(&mut self.work.outputs);
        for (slice, outputs) in outputs.chunks(LOGIT_ROWS_MAX).enumerate() {
            self.choose_slice(slice * LOGIT_ROWS_MAX, outputs);
            // Scores of a long prompt may take as long as several layers each.
            while let Interrupt::Cancelled(id) = watch.between_layers() {
                self.cancel(id);
            }
            let now = watch.now();
            for (index, &output) in outputs.iter().enumerate() {
                let choice = std::mem::take(&mut self.work.choices[index]);
                self.settle(output, choice, now, events);
            }
        }
        self.work.outputs = outputs;
    }

    fn choose_slice(&mut self, first: usize, outputs: &[Output]) {
        let Work {
            choices, scratch, ..
        } = &mut self.work;
        choices.clear();
        choices.resize_with(outputs.len(), Choice::default);
        let (team, logits) = self.forward.logits(first..first + outputs.len());
        let vocab_len = self.model.config().vocab_len;
        let rows_each = outputs.len().div_ceil(team.threads());
        let (sequences, model, isa) = (&self.sequences, &*self.model, self.settings.isa);
        let rows = logits
            .chunks_mut(rows_each * vocab_len)
            .zip(choices.chunks_mut(rows_each));
        let mut parts: Vec<_> = rows.zip(outputs.chunks(rows_each)).zip(scratch).collect();
        team.run(&mut parts, |_, (((logits, choices), outputs), scratch)| {
            for ((logits, choice), output) in logits
                .chunks_mut(vocab_len)
                .zip(choices.iter_mut())
                .zip(*outputs)
            {
                if let Some(sequence) = sequences.get(&output.sequence) {
                    *choice =
                        choose_row(isa, model, sequence, output.prompt_token, logits, scratch);
                }
            }
        });
    }

    /// Hands a choice to its sequence, which may end with it.
    fn settle(
        &mut self,
        output: Output,
        choice: Choice,
        now: Duration,
        events: &mut Vec<(SequenceId, Event)>,
    ) {
        // Cancelled during the step.
        let Some(sequence) = self.sequences.get_mut(&output.sequence) else {
            return;
        };
        let mut tell = |event| events.push((output.sequence, event));
        let ended = match (output.prompt_token, choice.id, choice.scored) {
            (Some(_), _, Some(scored)) => {
                sequence.score_prompt(scored);
                sequence.prompt_done(&self.model, now, &mut tell)
            }
            (None, Some(id), scored) => {
                self.totals.completion_tokens += 1;
                sequence.take(&self.model, id, scored, now, &mut tell)
            }
            (output, id, _) => unreachable!("an output without its result: {output:?} {id:?}"),
        };
        if ended {
            self.service_secs += 0.1 * (sequence.service_secs(now) - self.service_secs);
            self.totals.finished += 1;
            self.cancel(output.sequence);
        }
    }
}

/// Chooses or scores one row.
fn choose_row(
    isa: Isa,
    model: &Model,
    sequence: &Sequence,
    prompt_token: Option<TokenId>,
    logits: &mut [f32],
    scratch: &mut Scratch,
) -> Choice {
    let id = prompt_token.unwrap_or_else(|| {
        let ruled_out = if sequence.must_go_on() {
            model.end_tokens()
        } else {
            &[]
        };
        sequence.sampler.choose(
            isa,
            logits,
            sequence.answer_len() as u32,
            ruled_out,
            scratch,
        )
    });
    // Scores of a prompt list as many alternatives as those of the answer.
    let count = if prompt_token.is_some() {
        Some(sequence.logprobs.unwrap_or(0))
    } else {
        sequence.logprobs
    };
    let scored = count.map(|count| {
        let softmax = LogSoftmax::of(isa, logits);
        let chosen = (id, softmax.logprob(logits[id.0 as usize]));
        Scored {
            chosen,
            top: softmax.top(logits, count, scratch.order()),
        }
    });
    Choice {
        id: Some(id),
        scored,
    }
}
