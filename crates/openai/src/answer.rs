//! What chat and completions answers are made of: pieces of text, log-probabilities, usage.
//!
//! - A piece of text is whole characters; its tokens come with it, or with a later piece if their bytes are held back.
//! - A token that adds nothing at the end of an answer (an end token, a stop sequence's tokens) has no entry among
//!   the log-probabilities, as with OpenAI; it is still one of `token_ids`, and counted.

use serde::Serialize;
use serde_json::Value;

use crate::context::Context;
use crate::inference::{
    Candidate, FinishReason, Finished, ModelInfo, PromptToken, TokenEvent, TokenId, TokenLogprobs,
};
use crate::utf8::Utf8Assembler;

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

/// One choice on its way from tokens to text.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    assembler: Utf8Assembler,
    /// Tokens that belong to no piece yet.
    pending: Vec<Entry>,
}

/// A token's place in the text, and how likely it was.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: TokenId,
    pub(crate) logprobs: Option<TokenLogprobs>,
    /// Bytes of a token of the prompt, whose first one has no log-probabilities to name it.
    pub(crate) prompt_bytes: Option<Vec<u8>>,
    /// Characters of the choice's text before it.
    pub(crate) offset: usize,
    adds_text: bool,
}

/// Some text and the tokens behind it.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) entries: Vec<Entry>,
}

impl Transcript {
    /// Puts the prompt before the answer: `text`, or the text of its tokens if it was given as tokens.
    ///
    /// A begin token or a space that a tokenizer puts before the text is not in it; such tokens have the offset 0.
    pub(crate) fn prompt(&mut self, text: Option<&str>, tokens: Vec<PromptToken>) -> Piece {
        let bytes: Vec<u8> = tokens
            .iter()
            .flat_map(|token| &token.bytes)
            .copied()
            .collect();
        let mut extra = match text {
            Some(text) if bytes.ends_with(text.as_bytes()) => bytes.len() - text.len(),
            _ => 0,
        };
        let mut offsets = Utf8Assembler::default();
        for PromptToken {
            id,
            bytes,
            logprobs,
        } in tokens
        {
            let offset = offsets.chars();
            let skipped = extra.min(bytes.len());
            extra -= skipped;
            offsets.push(&bytes[skipped..]);
            self.pending.push(Entry {
                id,
                logprobs,
                offset,
                adds_text: true,
                prompt_bytes: Some(bytes),
            });
        }
        let text = self.assembler.push(text.map_or(&bytes, str::as_bytes));
        Piece {
            text,
            entries: std::mem::take(&mut self.pending),
        }
    }

    /// Adds a token; gives the text that is whole with it, if any is.
    pub(crate) fn token(
        &mut self,
        TokenEvent {
            id,
            bytes,
            logprobs,
        }: TokenEvent,
    ) -> Option<Piece> {
        let (offset, adds_text) = (self.assembler.chars(), !bytes.is_empty());
        self.pending.push(Entry {
            id,
            logprobs,
            offset,
            adds_text,
            prompt_bytes: None,
        });
        let text = self.assembler.push(&bytes);
        (!text.is_empty()).then(|| Piece {
            text,
            entries: std::mem::take(&mut self.pending),
        })
    }

    /// Ends the answer: gives what was held back, if it is anything, and the ids of tokens that add nothing.
    pub(crate) fn finish(&mut self, reason: FinishReason) -> (Option<Piece>, Vec<TokenId>) {
        let text = self.assembler.finish();
        let mut entries = std::mem::take(&mut self.pending);
        let kept = match reason {
            FinishReason::Stop => entries
                .iter()
                .rposition(|entry| entry.adds_text)
                .map_or(0, |last| last + 1),
            FinishReason::Length => entries.len(),
        };
        let trailing = entries
            .split_off(kept)
            .iter()
            .map(|entry| entry.id)
            .collect();
        let piece = Piece { text, entries };
        (
            (!piece.text.is_empty() || !piece.entries.is_empty()).then_some(piece),
            trailing,
        )
    }
}

impl Piece {
    /// Adds a piece that follows this one.
    pub(crate) fn append(&mut self, next: Piece) {
        self.text += &next.text;
        self.entries.extend(next.entries);
    }

    /// The ids of its tokens, if they were asked for.
    pub(crate) fn token_ids(&self, wanted: bool) -> Option<Vec<TokenId>> {
        wanted.then(|| self.entries.iter().map(|entry| entry.id).collect())
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

/// Log-probabilities as chat words them.
#[derive(Debug, Serialize)]
pub(crate) struct ChatLogprobs {
    content: Vec<ChatToken>,
    refusal: Value,
}

#[derive(Debug, Serialize)]
struct ChatToken {
    #[serde(flatten)]
    token: ChatCandidate,
    top_logprobs: Vec<ChatCandidate>,
}

#[derive(Debug, Serialize)]
struct ChatCandidate {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

impl ChatLogprobs {
    /// None if the request asked for none.
    pub(crate) fn new(entries: &[Entry], wanted: bool) -> Option<Self> {
        let content = entries
            .iter()
            .filter_map(|entry| entry.logprobs.as_ref())
            .map(|at| ChatToken {
                token: chat_candidate(&at.chosen),
                top_logprobs: at.top.iter().map(chat_candidate).collect(),
            });
        wanted.then(|| Self {
            content: content.collect(),
            refusal: Value::Null,
        })
    }
}

fn chat_candidate(candidate: &Candidate) -> ChatCandidate {
    ChatCandidate {
        token: token_text(&candidate.bytes),
        logprob: logprob(candidate),
        bytes: candidate.bytes.clone(),
    }
}

/// Tokens used, in OpenAI's shape. There is no reasoning, audio or prediction to count.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct PromptDetails {
    cached_tokens: u64,
    audio_tokens: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
    audio_tokens: u64,
    accepted_prediction_tokens: u64,
    rejected_prediction_tokens: u64,
}

impl Usage {
    /// Counts a choice. The prompt that several choices share is counted with the first of them.
    pub(crate) fn add(&mut self, finished: &Finished, first_of_prompt: bool) {
        if first_of_prompt {
            self.prompt_tokens += u64::from(finished.prompt_tokens);
            self.prompt_tokens_details.cached_tokens += u64::from(finished.cached_tokens);
        }
        self.completion_tokens += u64::from(finished.completion_tokens);
        self.total_tokens = self.prompt_tokens + self.completion_tokens;
    }
}
