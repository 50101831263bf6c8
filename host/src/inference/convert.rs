//! The words of the WIT and those of the engine, one function a direction.
//!
//! They are the same words: a conversion that decides anything is in the wrong place.

use spindle_inference::TokenId;
use spindle_inference::request as engine;
use spindle_runtime::{generation as wit, types};

pub fn request(request: wit::Request) -> engine::Request {
    engine::Request {
        model: request.model,
        prompt: match request.prompt {
            wit::Prompt::Text(text) => engine::Prompt::Text(text),
            wit::Prompt::Tokens(tokens) => engine::Prompt::Tokens(token_ids(tokens)),
        },
        max_tokens: request.max_tokens,
        clip_to_context: request.clip_to_context,
        min_tokens: request.min_tokens,
        ignore_eos: request.ignore_eos,
        stop: request.stop,
        sampling: sampling(request.sampling),
        logprobs: request.logprobs,
        prompt_detail: match request.prompt_detail {
            wit::PromptDetail::Count => engine::PromptDetail::Count,
            wit::PromptDetail::Tokens => engine::PromptDetail::Tokens,
            wit::PromptDetail::Logprobs => engine::PromptDetail::Logprobs,
        },
        lane: match request.lane {
            types::Lane::Interactive => engine::Lane::Interactive,
            types::Lane::Batch => engine::Lane::Batch,
        },
        tenant: request.tenant,
    }
}

fn sampling(sampling: wit::Sampling) -> engine::Sampling {
    engine::Sampling {
        temperature: sampling.temperature,
        top_k: sampling.top_k,
        top_p: sampling.top_p,
        min_p: sampling.min_p,
        typical_p: sampling.typical_p,
        repeat_penalty: sampling.repeat_penalty,
        frequency_penalty: sampling.frequency_penalty,
        presence_penalty: sampling.presence_penalty,
        logit_bias: sampling
            .logit_bias
            .into_iter()
            .map(|(id, bias)| (TokenId(id), bias))
            .collect(),
        seed: sampling.seed,
        choice_index: sampling.choice_index,
    }
}

pub fn token_ids(tokens: Vec<u32>) -> Vec<TokenId> {
    tokens.into_iter().map(TokenId).collect()
}

pub fn event(event: engine::Event) -> wit::Event {
    match event {
        engine::Event::Prompt(report) => wit::Event::Prompt(wit::PromptReport {
            prompt_tokens: report.prompt_tokens,
            cached_tokens: report.cached_tokens,
            tokens: report
                .tokens
                .into_iter()
                .map(|token| wit::PromptToken {
                    id: token.id.0,
                    bytes: token.bytes,
                    logprobs: token.logprobs.map(logprobs),
                })
                .collect(),
        }),
        engine::Event::Token(token) => wit::Event::Token(wit::TokenEvent {
            id: token.id.0,
            bytes: token.bytes,
            logprobs: token.logprobs.map(logprobs),
        }),
        engine::Event::Finished(finished) => wit::Event::Finished(wit::Finished {
            reason: match finished.reason {
                engine::FinishReason::Stop => wit::FinishReason::Stop,
                engine::FinishReason::Length => wit::FinishReason::Length,
            },
            prompt_tokens: finished.prompt_tokens,
            cached_tokens: finished.cached_tokens,
            completion_tokens: finished.completion_tokens,
            queue_us: finished.queue_us,
            prefill_us: finished.prefill_us,
            decode_us: finished.decode_us,
        }),
        engine::Event::Failed(cause) => wit::Event::Failed(error(cause)),
    }
}

fn logprobs(logprobs: engine::TokenLogprobs) -> wit::TokenLogprobs {
    wit::TokenLogprobs {
        chosen: candidate(logprobs.chosen),
        top: logprobs.top.into_iter().map(candidate).collect(),
    }
}

fn candidate(candidate: engine::Candidate) -> wit::Candidate {
    wit::Candidate {
        id: candidate.id.0,
        logprob: candidate.logprob,
        bytes: candidate.bytes,
    }
}

pub fn error(error: engine::ErrorCode) -> types::ErrorCode {
    match error {
        engine::ErrorCode::ModelNotFound(id) => types::ErrorCode::ModelNotFound(id),
        engine::ErrorCode::ContextExceeded(facts) => {
            types::ErrorCode::ContextExceeded(types::ContextExceeded {
                prompt_tokens: facts.prompt_tokens,
                requested_tokens: facts.requested_tokens,
                context_len: facts.context_len,
            })
        }
        engine::ErrorCode::InvalidArgument(facts) => {
            types::ErrorCode::InvalidArgument(types::InvalidArgument {
                param: facts.param,
                message: facts.message,
            })
        }
        engine::ErrorCode::Overloaded(seconds) => types::ErrorCode::Overloaded(seconds),
        engine::ErrorCode::ShuttingDown => types::ErrorCode::ShuttingDown,
        engine::ErrorCode::ReaderStalled => types::ErrorCode::ReaderStalled,
        engine::ErrorCode::Internal(text) => types::ErrorCode::Internal(text),
    }
}
