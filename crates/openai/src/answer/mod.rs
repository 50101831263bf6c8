//! What answers are made of and how each endpoint words them, whole and in chunks.
//!
//! - A piece of text is whole characters; its tokens come with it, or with a later piece if their bytes are held back.
//! - A token that adds nothing at the end of an answer (an end token, a stop sequence's tokens) has no entry among
//!   the log-probabilities, as with OpenAI; it is still one of `token_ids`, and counted.
//! - A stream and a whole answer to the same request say the same.

pub(crate) mod chat;
pub(crate) mod completions;
mod transcript;
mod usage;

use crate::context::Context;
use crate::inference::{Candidate, FinishReason, ModelInfo, PromptReport, TokenId};

pub(crate) use transcript::{Entry, Piece, Transcript};
pub(crate) use usage::Usage;

/// OpenAI's number for what is so unlikely that its logarithm is no number in JSON.
const LOGPROB_MIN: f32 = -9999.0;

/// What every answer and every chunk of one repeats.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) id: String,
    pub(crate) created: u64,
    pub(crate) model: String,
    pub(crate) fingerprint: Option<String>,
}

impl Head {
    pub(crate) fn new(prefix: &str, context: &Context, model: &ModelInfo) -> Self {
        Self {
            id: format!("{prefix}{}", context.id),
            created: context.now,
            model: model.id.clone(),
            fingerprint: model.fingerprint.clone(),
        }
    }
}

/// A token's text alone. A token that is part of a character is shown as U+FFFD; its bytes say more.
pub(crate) fn token_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A log-probability that JSON can hold.
pub(crate) fn logprob(candidate: &Candidate) -> f32 {
    // Also for what is not a number, which `max` turns into the other operand.
    candidate.logprob.max(LOGPROB_MIN)
}

/// The word for why an answer ended.
pub(crate) fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    }
}

/// The ids of a prompt.
fn prompt_ids(report: &PromptReport) -> Vec<TokenId> {
    report.tokens.iter().map(|token| token.id).collect()
}
