//! Tokens used, in OpenAI's shape.

use serde::Serialize;

use crate::inference::Finished;

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
