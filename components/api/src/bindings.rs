//! The component's imports, and `spindle_openai`'s [`Inference`] over them.
//!
//! One function a direction and a record: fields are named one by one, so that a field added to the interface or to the
//! crate does not compile until it is mapped.

#[allow(unsafe_code, clippy::all, reason = "generated")]
mod generated {
    spin_sdk::wit_bindgen::generate!({
        path: "../../wit",
        world: "api",
        runtime_path: "::spin_sdk::wit_bindgen::rt",
        generate_all,
    });
}

pub use generated::spindle::host::identity::{Refused, authenticate};
pub use generated::spindle::host::settings;

use generated::spindle::inference::{generation, models, tokenizer, types};
use spin_sdk::wasip3::wit_bindgen::{StreamReader, StreamResult};
use spindle_openai::inference as api;
use spindle_openai::{EventStream, Inference};

/// Events asked for at once; more wait at the host.
const EVENTS_MAX: usize = 16;

/// Whoever supplies `spindle:inference`.
pub struct Host;

impl Inference for Host {
    type Events = Events;

    fn models(&self) -> Vec<api::ModelInfo> {
        models::list().into_iter().map(model_info).collect()
    }

    fn model(&self, id: &str) -> Option<api::ModelInfo> {
        models::get(id).map(model_info)
    }

    async fn encode(
        &self,
        model: &str,
        text: &str,
        parse_special: bool,
    ) -> Result<Vec<u32>, api::InferenceError> {
        tokenizer::encode(model.to_owned(), text.to_owned(), parse_special)
            .await
            .map_err(error)
    }

    async fn decode(&self, model: &str, tokens: &[u32]) -> Result<Vec<u8>, api::InferenceError> {
        tokenizer::decode(model.to_owned(), tokens.to_vec())
            .await
            .map_err(error)
    }

    async fn generate(
        &self,
        request: api::GenerationRequest,
    ) -> Result<Events, api::InferenceError> {
        let events = generation::generate(generation_request(request))
            .await
            .map_err(error)?;
        Ok(Events {
            stream: Some(events),
        })
    }
}

/// The events of one generation; dropping it cancels the generation.
pub struct Events {
    /// None once it has ended.
    stream: Option<StreamReader<generation::Event>>,
}

impl EventStream for Events {
    async fn next(&mut self) -> Option<Vec<api::Event>> {
        let stream = self.stream.as_mut()?;
        let (result, events) = stream.read(Vec::with_capacity(EVENTS_MAX)).await;
        if !matches!(result, StreamResult::Complete(_)) {
            self.stream = None;
        }
        (!events.is_empty()).then(|| events.into_iter().map(event).collect())
    }
}

fn model_info(info: models::ModelInfo) -> api::ModelInfo {
    let models::ModelInfo {
        id,
        created,
        context_len,
        vocab_len,
        chat_template,
        bos_token,
        eos_token,
        fingerprint,
        defaults,
    } = info;
    let models::SamplingDefaults {
        temperature,
        top_p,
        top_k,
        min_p,
        typical_p,
        repeat_penalty,
        frequency_penalty,
        presence_penalty,
        seed,
        max_tokens,
    } = defaults;
    api::ModelInfo {
        id,
        created,
        context_len,
        vocab_len,
        chat_template,
        bos_token,
        eos_token,
        fingerprint,
        defaults: api::SamplingDefaults {
            temperature,
            top_p,
            top_k,
            min_p,
            typical_p,
            repeat_penalty,
            frequency_penalty,
            presence_penalty,
            seed,
            max_tokens,
        },
    }
}

fn generation_request(request: api::GenerationRequest) -> generation::Request {
    let api::GenerationRequest {
        model,
        prompt,
        max_tokens,
        clip_to_context,
        min_tokens,
        ignore_eos,
        stop,
        sampling,
        logprobs,
        prompt_detail,
        lane,
        tenant,
    } = request;
    let api::Sampling {
        temperature,
        top_k,
        top_p,
        min_p,
        typical_p,
        repeat_penalty,
        frequency_penalty,
        presence_penalty,
        logit_bias,
        seed,
        choice_index,
    } = sampling;
    generation::Request {
        model,
        prompt: match prompt {
            api::Prompt::Text(text) => generation::Prompt::Text(text),
            api::Prompt::Tokens(tokens) => generation::Prompt::Tokens(tokens),
        },
        max_tokens,
        clip_to_context,
        min_tokens,
        ignore_eos,
        stop,
        sampling: generation::Sampling {
            temperature,
            top_k,
            top_p,
            min_p,
            typical_p,
            repeat_penalty,
            frequency_penalty,
            presence_penalty,
            logit_bias,
            seed,
            choice_index,
        },
        logprobs,
        prompt_detail: match prompt_detail {
            api::PromptDetail::Count => generation::PromptDetail::Count,
            api::PromptDetail::Tokens => generation::PromptDetail::Tokens,
            api::PromptDetail::Logprobs => generation::PromptDetail::Logprobs,
        },
        lane: match lane {
            api::Lane::Interactive => types::Lane::Interactive,
            api::Lane::Batch => types::Lane::Batch,
        },
        tenant,
    }
}

fn event(event: generation::Event) -> api::Event {
    match event {
        generation::Event::Prompt(generation::PromptReport {
            prompt_tokens,
            cached_tokens,
            tokens,
        }) => {
            let tokens = tokens.into_iter().map(prompt_token).collect();
            api::Event::Prompt(api::PromptReport {
                prompt_tokens,
                cached_tokens,
                tokens,
            })
        }
        generation::Event::Token(generation::TokenEvent {
            id,
            bytes,
            logprobs,
        }) => api::Event::Token(api::TokenEvent {
            id,
            bytes,
            logprobs: logprobs.map(token_logprobs),
        }),
        generation::Event::Finished(end) => api::Event::Finished(finished(end)),
        generation::Event::Failed(code) => api::Event::Failed(error(code)),
    }
}

fn prompt_token(token: generation::PromptToken) -> api::PromptToken {
    let generation::PromptToken {
        id,
        bytes,
        logprobs,
    } = token;
    api::PromptToken {
        id,
        bytes,
        logprobs: logprobs.map(token_logprobs),
    }
}

fn token_logprobs(logprobs: generation::TokenLogprobs) -> api::TokenLogprobs {
    let generation::TokenLogprobs { chosen, top } = logprobs;
    api::TokenLogprobs {
        chosen: candidate(chosen),
        top: top.into_iter().map(candidate).collect(),
    }
}

fn candidate(candidate: generation::Candidate) -> api::Candidate {
    let generation::Candidate { id, logprob, bytes } = candidate;
    api::Candidate { id, logprob, bytes }
}

fn finished(end: generation::Finished) -> api::Finished {
    let generation::Finished {
        reason,
        prompt_tokens,
        cached_tokens,
        completion_tokens,
        queue_us,
        prefill_us,
        decode_us,
    } = end;
    api::Finished {
        reason: match reason {
            generation::FinishReason::Stop => api::FinishReason::Stop,
            generation::FinishReason::Length => api::FinishReason::Length,
        },
        prompt_tokens,
        cached_tokens,
        completion_tokens,
        queue_us,
        prefill_us,
        decode_us,
    }
}

fn error(code: types::ErrorCode) -> api::InferenceError {
    match code {
        types::ErrorCode::ModelNotFound(id) => api::InferenceError::ModelNotFound(id),
        types::ErrorCode::ContextExceeded(exceeded) => {
            let types::ContextExceeded {
                prompt_tokens,
                requested_tokens,
                context_len,
            } = exceeded;
            api::InferenceError::ContextExceeded {
                prompt_tokens,
                requested_tokens,
                context_len,
            }
        }
        types::ErrorCode::InvalidArgument(types::InvalidArgument { param, message }) => {
            api::InferenceError::InvalidArgument { param, message }
        }
        types::ErrorCode::Overloaded(seconds) => api::InferenceError::Overloaded(seconds),
        types::ErrorCode::ShuttingDown => api::InferenceError::ShuttingDown,
        types::ErrorCode::ReaderStalled => api::InferenceError::ReaderStalled,
        types::ErrorCode::Internal(detail) => api::InferenceError::Internal(detail),
    }
}
