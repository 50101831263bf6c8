//! What this crate asks of whoever runs the model: the trait, and the plain records of `spindle:inference`.
//!
//! - One record or enum here is one in `wit/deps/spindle-inference.wit`, field for field, so that a component's
//!   bindings map them without deciding anything.
//! - Nothing is `Send`: a guest has one thread.
//!
//! Absent: what the fields mean to a model. Their ranges are checked before a record is made.

use thiserror::Error;

/// A token of the model's vocabulary, below [`ModelInfo::vocab_len`].
pub type TokenId = u32;

/// Text generation by loaded models.
#[expect(
    async_fn_in_trait,
    reason = "callers are single threaded, so no Send bound is wanted"
)]
pub trait Inference {
    /// A running generation. Dropping it cancels the generation.
    type Events: EventStream + 'static;

    /// The models that are loaded.
    fn models(&self) -> Vec<ModelInfo>;
    /// One model, or none.
    fn model(&self, id: &str) -> Option<ModelInfo>;
    /// Text to tokens. `parse_special` reads texts such as `<|im_end|>` as the tokens they name.
    async fn encode(
        &self,
        model: &str,
        text: &str,
        parse_special: bool,
    ) -> Result<Vec<TokenId>, InferenceError>;
    /// Tokens to bytes, which need not be whole UTF-8.
    async fn decode(&self, model: &str, tokens: &[TokenId]) -> Result<Vec<u8>, InferenceError>;
    /// Starts a generation. `Ok` means that the request was admitted.
    async fn generate(&self, request: GenerationRequest) -> Result<Self::Events, InferenceError>;
}

/// The events of one generation.
#[expect(
    async_fn_in_trait,
    reason = "callers are single threaded, so no Send bound is wanted"
)]
pub trait EventStream {
    /// The next events, as many as are there without waiting for more, at least one; none after the last.
    /// The future is never dropped unfinished, except together with the stream.
    async fn next(&mut self) -> Option<Vec<Event>>;
}

/// Why a call was refused, or why a running generation broke.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum InferenceError {
    /// No loaded model has this id.
    #[error("model not found: {0}")]
    ModelNotFound(String),
    /// Prompt and requested tokens do not fit the context, however long one waits.
    #[error(
        "context exceeded: {prompt_tokens} prompt and {requested_tokens} requested tokens of {context_len}"
    )]
    ContextExceeded {
        /// Tokens of the prompt; at least so many where they alone are more than `context_len`.
        prompt_tokens: u32,
        /// Tokens the request allows the answer to have.
        requested_tokens: u32,
        /// Tokens the model's context, or the key/value memory, holds.
        context_len: u32,
    },
    /// One argument is out of its range.
    #[error("invalid argument: {param}: {message}")]
    InvalidArgument {
        /// The request's field, in the API's own spelling.
        param: String,
        /// Lower case, no full stop.
        message: String,
    },
    /// The queue is full. Retry after this many seconds.
    #[error("overloaded: retry after {0} s")]
    Overloaded(u32),
    /// The host is draining and takes no new work.
    #[error("shutting down")]
    ShuttingDown,
    /// The client did not read for so long that its generation was ended.
    #[error("reader stalled")]
    ReaderStalled,
    /// Something broke in the host; the text is safe to show.
    #[error("internal error: {0}")]
    Internal(String),
}

/// Which queue a request waits in. The host overwrites it from the calling instance.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Lane {
    /// Somebody waits for the answer.
    #[default]
    Interactive,
    /// A line of a batch.
    Batch,
}

/// What a caller needs to know to word requests to a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelInfo {
    /// Name in the API.
    pub id: String,
    /// Seconds since 1970, from the model file.
    pub created: u64,
    /// Tokens that prompt and answer may have together.
    pub context_len: u32,
    /// Number of tokens in the vocabulary.
    pub vocab_len: u32,
    /// The chat template's source; none means ChatML.
    pub chat_template: Option<String>,
    /// Text of the token that begins a sequence, for chat templates.
    pub bos_token: Option<String>,
    /// Text of the token that ends an answer, for chat templates.
    pub eos_token: Option<String>,
    /// Hash of everything that decides the bytes of an answer, in hex; none until it is computed.
    pub fingerprint: Option<String>,
    /// What a request gets where it is silent.
    pub defaults: SamplingDefaults,
}

/// The operator's defaults; none means the API's own.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    missing_docs,
    reason = "the fields are the request's, under the request's names"
)]
pub struct SamplingDefaults {
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub top_k: Option<u32>,
    pub min_p: Option<f32>,
    pub typical_p: Option<f32>,
    pub repeat_penalty: Option<f32>,
    pub frequency_penalty: Option<f32>,
    pub presence_penalty: Option<f32>,
    pub seed: Option<u64>,
    pub max_tokens: Option<u32>,
}

/// What to continue.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// Text; texts of special tokens in it are read as these tokens, and the model's begin token
    /// is put before it if the model wants one and the text does not start with it.
    Text(String),
    /// Tokens, taken as they are.
    Tokens(Vec<TokenId>),
}

/// How the next token is chosen. Every value has been checked against the API's range.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the likeliest token.
    pub temperature: f32,
    /// 0 is off.
    pub top_k: u32,
    /// 1 is off.
    pub top_p: f32,
    /// 0 is off.
    pub min_p: f32,
    /// 1 is off.
    pub typical_p: f32,
    /// 1 is off; over prompt and answer.
    pub repeat_penalty: f32,
    /// Per occurrence in the answer.
    pub frequency_penalty: f32,
    /// Once for a token that is in the answer.
    pub presence_penalty: f32,
    /// Added to the logit of a token; ascending ids, each once.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Key of the random numbers.
    pub seed: u64,
    /// Which of `n` choices this is; part of the key of its random numbers.
    pub choice_index: u32,
}

/// What the caller wants to hear about the prompt.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PromptDetail {
    /// How many tokens it has.
    #[default]
    Count,
    /// Its tokens.
    Tokens,
    /// Its tokens and how likely each was.
    Logprobs,
}

/// One generation.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationRequest {
    /// Id of a loaded model.
    pub model: String,
    /// What to continue.
    pub prompt: Prompt,
    /// Most tokens the answer may have; none means what the context leaves.
    pub max_tokens: Option<u32>,
    /// Where the context leaves fewer than `max_tokens`, the answer may have those; otherwise the request is refused.
    pub clip_to_context: bool,
    /// The answer does not end by itself before it has this many tokens.
    pub min_tokens: u32,
    /// An end token does not end the answer.
    pub ignore_eos: bool,
    /// Texts that end the answer and are not part of it; at most 4, of 1..=1,024 bytes.
    pub stop: Vec<String>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Report log-probabilities, with this many alternatives (0..=20).
    pub logprobs: Option<u32>,
    /// What to report about the prompt.
    pub prompt_detail: PromptDetail,
    /// Overwritten by the host.
    pub lane: Lane,
    /// Overwritten by the host.
    pub tenant: String,
}

/// A token and how likely it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The token.
    pub id: TokenId,
    /// Natural logarithm of the probability at temperature 1, before any bias or penalty.
    pub logprob: f32,
    /// The token's bytes.
    pub bytes: Vec<u8>,
}

/// The token at one place, and what else might have been there.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// The token that is there.
    pub chosen: Candidate,
    /// Likeliest first.
    pub top: Vec<Candidate>,
}

/// A token of the prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptToken {
    /// The token.
    pub id: TokenId,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// None for the first token, and where [`PromptDetail`] is not `Logprobs`.
    pub logprobs: Option<TokenLogprobs>,
}

/// The prompt as the model sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PromptReport {
    /// Number of tokens.
    pub prompt_tokens: u32,
    /// Of these, the ones found in the cache.
    pub cached_tokens: u32,
    /// Empty where [`PromptDetail`] is `Count`.
    pub tokens: Vec<PromptToken>,
}

/// One token of the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenEvent {
    /// The token.
    pub id: TokenId,
    /// Bytes this token adds to the answer: not always whole UTF-8, cut before a stop sequence,
    /// empty for an end token.
    pub bytes: Vec<u8>,
    /// Present if the request asked.
    pub logprobs: Option<TokenLogprobs>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FinishReason {
    /// An end token or a stop sequence.
    Stop,
    /// As many tokens as were allowed.
    Length,
}

/// The end of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Why it ended.
    pub reason: FinishReason,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Of these, the ones found in the cache.
    pub cached_tokens: u32,
    /// Tokens generated, an end token and a stop sequence's tokens included.
    pub completion_tokens: u32,
    /// Microseconds in the queue.
    pub queue_us: u64,
    /// Microseconds of prefill.
    pub prefill_us: u64,
    /// Microseconds of decode steps.
    pub decode_us: u64,
}

/// `Prompt` comes first and once, then tokens, then one of the last two.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The prompt was read.
    Prompt(PromptReport),
    /// One more token.
    Token(TokenEvent),
    /// The answer is whole.
    Finished(Finished),
    /// The generation broke.
    Failed(InferenceError),
}
