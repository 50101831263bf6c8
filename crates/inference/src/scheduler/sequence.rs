//! One generation from submission to its last event.
//!
//! - `tokens` is prompt, then answer; `computed` of them have keys and values in the cache. A preempted sequence
//!   forgets its pages and computes the same tokens again: nothing else about it changes.
//! - The n-th token of the answer depends on tokens, parameters and n alone.

use std::time::Duration;

use super::{SequenceId, plan::Ready};
use crate::kv::PageId;
use crate::model::Model;
use crate::request::{
    Candidate, Event, FinishReason, Finished, Lane, PromptDetail, PromptReport, PromptToken,
    Request, TokenEvent, TokenLogprobs,
};
use crate::sampler::{Sampler, StopMatcher};
use crate::token::TokenId;

/// A token with its log-probability, and the likeliest ones at its place; bytes are added when it is told.
#[derive(Debug)]
pub(super) struct Scored {
    pub chosen: (TokenId, f32),
    pub top: Vec<(TokenId, f32)>,
}

pub(super) struct Sequence {
    pub id: SequenceId,
    pub lane: Lane,
    pub tenant: String,
    /// Prompt, then answer.
    pub tokens: Vec<TokenId>,
    pub prompt_len: usize,
    pub sampler: Sampler,
    pub logprobs: Option<usize>,
    /// Its reader does not read: it keeps what it has and takes no steps.
    pub paused: bool,
    /// Where its keys and values are; empty while it waits.
    pub pages: Vec<PageId>,
    pub admitted: bool,
    pub computed: usize,
    answer_max: usize,
    min_tokens: usize,
    ignore_eos: bool,
    stop: StopMatcher,
    prompt_detail: PromptDetail,
    /// Of the prompt's tokens from the second on, as far as they are computed.
    prompt_scores: Vec<Scored>,
    prompt_told: bool,
    submitted_at: Duration,
    admitted_at: Option<Duration>,
    first_token_at: Option<Duration>,
}

impl Sequence {
    /// A checked request. `prompt` is its prompt and `answer_max` what [`super::validate::check`] found.
    pub fn new(
        id: SequenceId,
        request: Request,
        prompt: Vec<TokenId>,
        answer_max: usize,
        now: Duration,
    ) -> Self {
        Self {
            id,
            lane: request.lane,
            tenant: request.tenant,
            prompt_len: prompt.len(),
            sampler: Sampler::new(request.sampling, &prompt),
            logprobs: request.logprobs.map(|count| count as usize),
            paused: false,
            pages: Vec::new(),
            admitted: false,
            computed: 0,
            answer_max,
            min_tokens: request.min_tokens as usize,
            ignore_eos: request.ignore_eos,
            stop: StopMatcher::new(&request.stop),
            prompt_detail: request.prompt_detail,
            prompt_scores: Vec::new(),
            prompt_told: false,
            submitted_at: now,
            admitted_at: None,
            first_token_at: None,
            tokens: prompt,
        }
    }

    /// Tokens of the answer so far.
    pub fn answer_len(&self) -> usize {
        self.tokens.len() - self.prompt_len
    }

    /// Tokens that must be computed before the next event: all it has, or for an answer of none the ones whose
    /// logits say how likely the next prompt token was.
    fn target(&self) -> usize {
        match (self.answer_max, self.prompt_detail) {
            (0, PromptDetail::Logprobs) => self.prompt_len - 1,
            (0, _) => 0,
            _ => self.tokens.len(),
        }
    }

    /// How it may take part in a step.
    pub fn ready(&self) -> Ready {
        let pending = self.target() - self.computed;
        Ready {
            lane: self.lane,
            computed: self.computed,
            pending,
            decoding: pending == 1 && self.answer_len() > 0,
        }
    }

    /// Rows of the next `rows` to compute whose logits are needed, as (row, prompt token they score).
    pub fn prompt_rows(&self, rows: usize) -> std::ops::Range<usize> {
        if self.prompt_detail != PromptDetail::Logprobs || self.prompt_told {
            return 0..0;
        }
        // Position p scores token p + 1; scores up to the last one that is there survive preemption.
        let from = self.prompt_scores.len().max(self.computed) - self.computed;
        let to = (self.prompt_len - 1).max(self.computed) - self.computed;
        from.min(rows)..to.min(rows)
    }

    /// Whether the last of the next `rows` rows gives the next token.
    pub fn samples_after(&self, rows: usize) -> bool {
        self.answer_max > 0 && self.computed + rows == self.tokens.len()
    }

    /// End tokens must not be chosen yet.
    pub fn must_go_on(&self) -> bool {
        self.answer_len() < self.min_tokens
    }

    /// It got its place; false where it is done already, because nothing has to be computed.
    pub fn admit(&mut self, model: &Model, now: Duration, tell: &mut impl FnMut(Event)) -> bool {
        self.admitted_at.get_or_insert(now);
        if !self.prompt_told
            && (self.prompt_detail != PromptDetail::Logprobs || self.prompt_len == 1)
        {
            self.tell_prompt(model, tell);
        }
        if self.target() == 0 {
            tell(self.finished(FinishReason::Length, now));
            return false;
        }
        true
    }

    /// Takes the score of the next prompt token.
    pub fn score_prompt(&mut self, scored: Scored) {
        self.prompt_scores.push(scored);
    }

    /// The prompt is computed; true where that ends the sequence.
    pub fn prompt_done(
        &mut self,
        model: &Model,
        now: Duration,
        tell: &mut impl FnMut(Event),
    ) -> bool {
        if !self.prompt_told && self.prompt_scores.len() == self.prompt_len - 1 {
            self.tell_prompt(model, tell);
            if self.answer_max == 0 {
                tell(self.finished(FinishReason::Length, now));
                return true;
            }
        }
        false
    }

    /// Takes the next token of the answer; true where that ends the sequence.
    pub fn take(
        &mut self,
        model: &Model,
        id: TokenId,
        scored: Option<Scored>,
        now: Duration,
        tell: &mut impl FnMut(Event),
    ) -> bool {
        self.first_token_at.get_or_insert(now);
        self.tokens.push(id);
        self.sampler.accept(id);
        let is_end = model.is_end(id);
        let bytes = if is_end {
            Vec::new()
        } else {
            model.answer_bytes(id)
        };
        let event = TokenEvent {
            id,
            bytes,
            logprobs: scored.map(|scored| with_bytes(model, scored)),
        };
        let reason = if is_end && !self.ignore_eos {
            self.stop.flush(&mut |event| tell(Event::Token(event)));
            tell(Event::Token(event));
            FinishReason::Stop
        } else if self
            .stop
            .push(event, self.answer_len() >= self.min_tokens, &mut |event| {
                tell(Event::Token(event))
            })
        {
            FinishReason::Stop
        } else if self.answer_len() == self.answer_max {
            self.stop.flush(&mut |event| tell(Event::Token(event)));
            FinishReason::Length
        } else {
            return false;
        };
        tell(self.finished(reason, now));
        true
    }

    /// Seconds since it was first admitted.
    pub fn service_secs(&self, now: Duration) -> f64 {
        now.saturating_sub(self.admitted_at.unwrap_or(now))
            .as_secs_f64()
    }

    fn tell_prompt(&mut self, model: &Model, tell: &mut impl FnMut(Event)) {
        self.prompt_told = true;
        let mut scores = std::mem::take(&mut self.prompt_scores).into_iter();
        let mut token = |(index, &id): (usize, &TokenId)| PromptToken {
            id,
            bytes: model.token_bytes(id),
            logprobs: if index == 0 {
                None
            } else {
                scores.next().map(|scored| with_bytes(model, scored))
            },
        };
        let tokens = match self.prompt_detail {
            PromptDetail::Count => Vec::new(),
            _ => self.tokens[..self.prompt_len]
                .iter()
                .enumerate()
                .map(&mut token)
                .collect(),
        };
        tell(Event::Prompt(PromptReport {
            prompt_tokens: self.prompt_len as u32,
            cached_tokens: 0,
            tokens,
        }));
    }

    fn finished(&self, reason: FinishReason, now: Duration) -> Event {
        let admitted_at = self.admitted_at.unwrap_or(now);
        let first_token_at = self.first_token_at.unwrap_or(now);
        let micros = |from: Duration, to: Duration| to.saturating_sub(from).as_micros() as u64;
        Event::Finished(Finished {
            reason,
            prompt_tokens: self.prompt_len as u32,
            cached_tokens: 0,
            completion_tokens: self.answer_len() as u32,
            queue_us: micros(self.submitted_at, admitted_at),
            prefill_us: micros(admitted_at, first_token_at),
            decode_us: micros(first_token_at, now),
        })
    }
}

fn with_bytes(model: &Model, scored: Scored) -> TokenLogprobs {
    let candidate = |(id, logprob)| Candidate {
        id,
        logprob,
        bytes: model.token_bytes(id),
    };
    TokenLogprobs {
        chosen: candidate(scored.chosen),
        top: scored.top.into_iter().map(candidate).collect(),
    }
}
