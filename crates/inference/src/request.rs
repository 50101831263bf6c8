//! What is asked of a model and what comes back: `wit/deps/spindle-inference.wit` in Rust, one to one.
//!
//! - Names and order of fields are the WIT's, so a binding is a move of fields and nothing else.
//! - Nothing here is checked: the scheduler treats every value as hostile.
//! - Events of one sequence come in the order: one [`Event::Prompt`], any number of [`Event::Token`], then exactly one
//!   of [`Event::Finished`] and [`Event::Failed`]. A cancelled sequence gets no further event.
//!
//! Absent: OpenAI's JSON, defaults (the caller words every value), clocks.

use crate::token::TokenId;

/// Why a call was refused, or why a running generation broke.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ErrorCode {
    /// No loaded model has this id.
    #[error("model not found: {0}")]
    ModelNotFound(String),
    /// Prompt and requested tokens do not fit the context, however long one waits.
    #[error(transparent)]
    ContextExceeded(#[from] ContextExceeded),
    /// One argument is out of its range.
    #[error(transparent)]
    InvalidArgument(#[from] InvalidArgument),
    /// The queue is full. Retry after this many seconds.
    #[error("the queue is full: retry after {0} s")]
    Overloaded(u32),
    /// The host is draining and takes no new work.
    #[error("shutting down")]
    ShuttingDown,
    /// The client did not read for so long that its generation was ended.
    #[error("the client did not read")]
    ReaderStalled,
    /// Something broke in the host; the text is for its log and safe to show.
    #[error("{0}")]
    Internal(String),
}

/// The facts behind [`ErrorCode::ContextExceeded`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "prompt of {prompt_tokens} tokens and {requested_tokens} requested exceed the context: {context_len}"
)]
pub struct ContextExceeded {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens the request allows the answer to have.
    pub requested_tokens: u32,
    /// Tokens the model's context, or the key/value memory, holds.
    pub context_len: u32,
}

/// The facts behind [`ErrorCode::InvalidArgument`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{param}: {message}")]
pub struct InvalidArgument {
    /// Field of [`Request`], in the API's own spelling (`logit_bias`, `prompt`).
    pub param: String,
    /// Lower case, no full stop.
    pub message: String,
}

/// Which queue a request waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Somebody waits for the answer.
    Interactive,
    /// Takes what the interactive lane leaves.
    Batch,
}

/// What a caller needs to know to word requests to a model.
#[derive(Clone, Debug, PartialEq)]
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
    reason = "each field is the request's field of the same name"
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
    /// Text; texts of special tokens in it are read as these tokens, and the model's begin token is put before it if
    /// the model wants one and the text does not start with it.
    Text(String),
    /// Tokens, taken as they are.
    Tokens(Vec<TokenId>),
}

/// How the next token is chosen. The chain and its order are [`crate::sampler`]'s.
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
    /// Added to the logit of a token.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Key of the random numbers, with `choice_index` and the token's place in the answer.
    pub seed: u64,
    /// Which of `n` choices this is.
    pub choice_index: u32,
}

impl Sampling {
    /// The likeliest token at every step, nothing else.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            repeat_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
            choice_index: 0,
        }
    }
}

/// What the caller wants to hear about the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptDetail {
    /// How many tokens it has.
    Count,
    /// Its tokens.
    Tokens,
    /// Its tokens and how likely each was.
    Logprobs,
}

/// One generation, as asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Id of the model; the scheduler serves one model and leaves this to its caller.
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
    /// What [`Event::Prompt`] holds.
    pub prompt_detail: PromptDetail,
    /// Which queue it waits in.
    pub lane: Lane,
    /// Whose it is; batch work is shared out in turns among tenants.
    pub tenant: String,
}

/// A token and how likely it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The token.
    pub id: TokenId,
    /// Natural logarithm of the probability at temperature 1, before any bias or penalty.
    pub logprob: f32,
    /// The token's bytes, which need not be whole UTF-8.
    pub bytes: Vec<u8>,
}

/// The chosen token beside the likeliest ones.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// The token that was taken.
    pub chosen: Candidate,
    /// Likeliest first, as many as were asked for.
    pub top: Vec<Candidate>,
}

/// One token of the prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptToken {
    /// The token.
    pub id: TokenId,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// None for the first token, and where [`PromptDetail`] is not `Logprobs`.
    pub logprobs: Option<TokenLogprobs>,
}

/// What a generation starts from. Comes when the prompt is admitted; where log-probabilities of the prompt are asked
/// for, when it is computed.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptReport {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Of these, the ones found in the cache.
    pub cached_tokens: u32,
    /// Empty where [`PromptDetail`] is `Count`.
    pub tokens: Vec<PromptToken>,
}

/// One token of the answer.
///
/// Tokens that lie wholly in a stop sequence have no event; the token a stop sequence begins in has one if bytes
/// of it are left.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenEvent {
    /// The token.
    pub id: TokenId,
    /// Bytes this token adds to the answer: not always whole UTF-8, cut before a stop sequence, empty for an end token.
    pub bytes: Vec<u8>,
    /// Where log-probabilities were asked for.
    pub logprobs: Option<TokenLogprobs>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// An end token or a stop sequence.
    Stop,
    /// `max_tokens`, or the context is full.
    Length,
}

/// The last event of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Why it ended.
    pub reason: FinishReason,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Of these, the ones found in the cache.
    pub cached_tokens: u32,
    /// Tokens generated, an end token and a stop sequence's tokens included.
    pub completion_tokens: u32,
    /// Waiting for admission, in microseconds.
    pub queue_us: u64,
    /// From admission to the first token.
    pub prefill_us: u64,
    /// From the first token to the last.
    pub decode_us: u64,
}

/// What a sequence tells its reader.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// First and once.
    Prompt(PromptReport),
    /// One token of the answer.
    Token(TokenEvent),
    /// The answer is complete.
    Finished(Finished),
    /// The answer broke.
    Failed(ErrorCode),
}
