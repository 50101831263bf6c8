//! `POST /v1/completions`.
//!
//! Several prompts of `n` choices each are one answer: the choices of the first prompt come first.

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::answer::{Entry, Head, Piece, Transcript, Usage, finish_reason, logprob, token_text};
use crate::context::Context;
use crate::error::ApiError;
use crate::fields::{Fields, Unsupported, integer, wrong_type};
use crate::generation::Choices;
use crate::inference::{
    Event, Finished, GenerationRequest, Inference, ModelInfo, Prompt, PromptDetail, PromptReport,
    TokenEvent, TokenId,
};
use crate::params::{self, CHOICES_MAX, Limits, Params};
use crate::response::Response;
use crate::sse::{Chunks, Frames, SseFrames};
use crate::template::prompt_bytes_max;

/// The field that an error about the prompt names.
const PROMPT_PARAM: &str = "prompt";

/// No tokens at all is a way to have a prompt echoed with its log-probabilities. 16 is OpenAI's default.
const LIMITS: Limits = Limits {
    max_tokens_min: 0,
    max_tokens_default: Some(16),
};

const LOGPROBS_MAX: i128 = 5;

const BEST_OF_MAX: i128 = 20;

/// OpenAI's fields that are not honoured, and the values with which an answer is the same without them.
const UNSUPPORTED: &[Unsupported] = &[Unsupported {
    name: "suffix",
    harmless: |value| value == "",
}];

/// A request, checked.
struct Request {
    params: Params,
    prompts: Vec<Prompt>,
    logprobs: Option<u32>,
    echo: bool,
}

/// Continues a text.
pub(super) async fn run(
    body: &[u8],
    context: &Context,
    inference: &impl Inference,
) -> Result<Response, ApiError> {
    let mut fields = Fields::parse(body)?;
    let model = params::take_model(&mut fields, inference)?;
    let (request, ignored) = read(fields, &model, context)?;
    let requests = request.prompts.iter().flat_map(|prompt| {
        (0..request.params.n)
            .map(|choice| generation(&request, prompt.clone(), choice, &model, context))
    });
    let running = Choices::start(inference, requests, PROMPT_PARAM).await?;
    let (stream, include_usage) = (request.params.stream, request.params.include_usage);
    let answer = Answer::new(Head::new("cmpl-", context, &model), request);
    let response = if stream {
        let chunks = CompletionChunks {
            answer,
            include_usage,
            usage: Usage::default(),
        };
        Response::stream(SseFrames::new(running, chunks))
    } else {
        whole(running, answer).await?
    };
    Ok(response.with_ignored(ignored))
}

fn read(
    mut fields: Fields<'_>,
    model: &ModelInfo,
    context: &Context,
) -> Result<(Request, Option<String>), ApiError> {
    let prompts = read_prompts(fields.require(PROMPT_PARAM)?, model)?;
    let params = params::take(&mut fields, model, context, &LIMITS)?;
    let choices = prompts.len() * params.n as usize;
    if choices > CHOICES_MAX as usize {
        let (count, n) = (prompts.len(), params.n);
        let message = format!(
            "Invalid 'prompt': {count} prompts of {n} choices are more than {CHOICES_MAX} choices."
        );
        return Err(ApiError::InvalidValue {
            param: PROMPT_PARAM.to_owned(),
            message,
        });
    }
    let logprobs =
        params::take_integer(&mut fields, "logprobs", 0, LOGPROBS_MAX)?.map(|top| top as u32);
    let echo = params::take_boolean(&mut fields, "echo")?;
    // As many tries as choices: no choice is left out, so there is nothing to be the best of.
    let best_of = params::take_integer(&mut fields, "best_of", 1, BEST_OF_MAX)?;
    if best_of.is_some_and(|tries| tries != params.n.into()) {
        return Err(ApiError::UnsupportedParameter {
            param: "best_of".to_owned(),
        });
    }
    let ignored = fields.finish(UNSUPPORTED, params::REFUSED)?;
    Ok((
        Request {
            params,
            prompts,
            logprobs,
            echo,
        },
        ignored,
    ))
}

/// A text, tokens, or an array of either.
fn read_prompts(value: Value, model: &ModelInfo) -> Result<Vec<Prompt>, ApiError> {
    match value {
        Value::String(text) => Ok(vec![read_text(text, model)?]),
        Value::Array(values) if values.is_empty() => Err(ApiError::EmptyArray {
            param: PROMPT_PARAM.to_owned(),
        }),
        Value::Array(values) if values[0].is_number() => {
            Ok(vec![read_tokens(PROMPT_PARAM, values, model)?])
        }
        Value::Array(values) => {
            let one =
                |(index, value): (usize, Value)| match (format!("{PROMPT_PARAM}.{index}"), value) {
                    (_, Value::String(text)) => read_text(text, model),
                    (param, Value::Array(values)) => read_tokens(&param, values, model),
                    (param, other) => Err(wrong_type(
                        &param,
                        "a string or an array of integers",
                        &other,
                    )),
                };
            values.into_iter().enumerate().map(one).collect()
        }
        other => Err(wrong_type(PROMPT_PARAM, "a string or an array", &other)),
    }
}

fn read_text(text: String, model: &ModelInfo) -> Result<Prompt, ApiError> {
    let (got, max) = (text.len(), prompt_bytes_max(model.context_len));
    if got > max {
        return Err(ApiError::PromptAboveMaxBytes {
            param: PROMPT_PARAM,
            max,
            got,
        });
    }
    Ok(Prompt::Text(text))
}

fn read_tokens(param: &str, values: Vec<Value>, model: &ModelInfo) -> Result<Prompt, ApiError> {
    if values.is_empty() {
        return Err(ApiError::EmptyArray {
            param: param.to_owned(),
        });
    }
    let id_max = i128::from(model.vocab_len) - 1;
    let id =
        |(index, value)| Ok(integer(&format!("{param}.{index}"), value, 0, id_max)? as TokenId);
    values
        .iter()
        .enumerate()
        .map(id)
        .collect::<Result<_, _>>()
        .map(Prompt::Tokens)
}

fn generation(
    request: &Request,
    prompt: Prompt,
    choice_index: u32,
    model: &ModelInfo,
    context: &Context,
) -> GenerationRequest {
    let detail = match (request.echo, request.logprobs, &prompt) {
        (true, Some(_), _) => PromptDetail::Logprobs,
        (true, None, Prompt::Tokens(_)) => PromptDetail::Tokens,
        _ if request.params.return_token_ids => PromptDetail::Tokens,
        _ => PromptDetail::Count,
    };
    params::generation(
        &request.params,
        prompt,
        choice_index,
        request.logprobs,
        detail,
        model,
        context,
    )
}

/// The choices as they grow, and what of the request their shape depends on.
struct Answer {
    head: Head,
    /// Texts to echo; none for a prompt of tokens, whose text is that of its tokens.
    prompts: Vec<Option<String>>,
    choices_per_prompt: usize,
    echo: bool,
    logprobs: bool,
    token_ids: bool,
    transcripts: Vec<Transcript>,
}

#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: &'a [Choice],
    /// With `include_usage` on a stream: null on every chunk but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
    system_fingerprint: Option<&'a str>,
}

#[derive(Default, Serialize)]
struct Choice {
    text: String,
    index: usize,
    logprobs: Option<Logprobs>,
    finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: Option<Vec<TokenId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_token_ids: Option<Vec<TokenId>>,
}

/// Log-probabilities as four columns.
#[derive(Default, Serialize)]
struct Logprobs {
    text_offset: Vec<usize>,
    token_logprobs: Vec<Option<f32>>,
    tokens: Vec<String>,
    top_logprobs: Vec<Option<TopLogprobs>>,
}

/// Texts of tokens and their log-probabilities, likeliest first, as an object.
struct TopLogprobs(Vec<(String, f32)>);

impl Serialize for TopLogprobs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(text, logprob)| (text, logprob)))
    }
}

impl Answer {
    fn new(head: Head, request: Request) -> Self {
        let choices_per_prompt = request.params.n as usize;
        let choices = request.prompts.len() * choices_per_prompt;
        let text = |prompt| match prompt {
            Prompt::Text(text) => Some(text),
            Prompt::Tokens(_) => None,
        };
        Self {
            head,
            prompts: request.prompts.into_iter().map(text).collect(),
            choices_per_prompt,
            echo: request.echo,
            logprobs: request.logprobs.is_some(),
            token_ids: request.params.return_token_ids,
            transcripts: (0..choices).map(|_| Transcript::default()).collect(),
        }
    }

    /// What the prompt adds to a choice, if it adds anything: its text, its ids.
    fn prompt(
        &mut self,
        index: usize,
        report: PromptReport,
    ) -> Option<(Piece, Option<Vec<TokenId>>)> {
        let ids = self
            .token_ids
            .then(|| report.tokens.iter().map(|token| token.id).collect());
        let piece = self.echo.then(|| {
            let text = self.prompts[index / self.choices_per_prompt].as_deref();
            self.transcripts[index].prompt(text, report.tokens)
        });
        (piece.is_some() || ids.is_some()).then(|| (piece.unwrap_or_default(), ids))
    }

    fn token(&mut self, index: usize, token: TokenEvent) -> Option<Piece> {
        self.transcripts[index].token(token)
    }

    fn finish(
        &mut self,
        index: usize,
        finished: &Finished,
        usage: &mut Usage,
    ) -> (Option<Piece>, Vec<TokenId>) {
        usage.add(finished, index.is_multiple_of(self.choices_per_prompt));
        self.transcripts[index].finish(finished.reason)
    }

    /// A piece as a choice, or as a part of one.
    fn choice(&self, index: usize, piece: Piece) -> Choice {
        let logprobs = self.logprobs.then(|| Logprobs::new(&piece.entries));
        // Ids of the prompt are told apart from those of the answer.
        let answered = piece
            .entries
            .iter()
            .filter(|entry| entry.prompt_bytes.is_none());
        let token_ids = self
            .token_ids
            .then(|| answered.map(|entry| entry.id).collect());
        Choice {
            text: piece.text,
            index,
            logprobs,
            token_ids,
            ..Choice::default()
        }
    }

    fn object<'a>(&'a self, choices: &'a [Choice], usage: Option<Option<Usage>>) -> Completion<'a> {
        Completion {
            id: &self.head.id,
            object: "text_completion",
            created: self.head.created,
            model: &self.head.model,
            choices,
            usage,
            system_fingerprint: self.head.fingerprint.as_deref(),
        }
    }
}

impl Logprobs {
    fn new(entries: &[Entry]) -> Self {
        let mut columns = Self::default();
        for entry in entries {
            columns.text_offset.push(entry.offset);
            let Some(at) = &entry.logprobs else {
                // The first token of a prompt: nothing came before it that could make it likely.
                columns.tokens.push(token_text(
                    entry.prompt_bytes.as_deref().unwrap_or_default(),
                ));
                columns.token_logprobs.push(None);
                columns.top_logprobs.push(None);
                continue;
            };
            columns.tokens.push(token_text(&at.chosen.bytes));
            columns.token_logprobs.push(Some(logprob(&at.chosen)));
            let mut top: Vec<(String, f32)> = Vec::with_capacity(at.top.len() + 1);
            for candidate in at.top.iter().chain([&at.chosen]) {
                let text = token_text(&candidate.bytes);
                // Two tokens may look the same where bytes are no text: the likelier one stays.
                if top.iter().all(|(other, _)| *other != text) {
                    top.push((text, logprob(candidate)));
                }
            }
            columns.top_logprobs.push(Some(TopLogprobs(top)));
        }
        columns
    }
}

/// Waits for every choice and puts the answer together.
async fn whole(mut running: Choices, mut answer: Answer) -> Result<Response, ApiError> {
    #[derive(Default)]
    struct Parts {
        piece: Piece,
        prompt_token_ids: Option<Vec<TokenId>>,
    }
    let mut parts: Vec<Parts> = answer
        .transcripts
        .iter()
        .map(|_| Parts::default())
        .collect();
    let mut choices = Vec::with_capacity(parts.len());
    let mut usage = Usage::default();
    while let Some(batch) = running.next().await {
        let (index, part) = (batch.choice, &mut parts[batch.choice]);
        for event in batch.events {
            match event {
                Event::Prompt(report) => {
                    if let Some((piece, ids)) = answer.prompt(index, report) {
                        part.piece.append(piece);
                        part.prompt_token_ids = ids;
                    }
                }
                Event::Token(token) => {
                    if let Some(piece) = answer.token(index, token) {
                        part.piece.append(piece);
                    }
                }
                Event::Finished(finished) => {
                    let (piece, trailing) = answer.finish(index, &finished, &mut usage);
                    let Parts {
                        piece: mut text,
                        prompt_token_ids,
                    } = std::mem::take(part);
                    text.append(piece.unwrap_or_default());
                    let mut choice = answer.choice(index, text);
                    choice
                        .token_ids
                        .iter_mut()
                        .for_each(|ids| ids.extend_from_slice(&trailing));
                    let finish_reason = Some(finish_reason(finished.reason));
                    choices.push(Choice {
                        finish_reason,
                        prompt_token_ids,
                        ..choice
                    });
                }
                Event::Failed(error) => return Err(running.error(error)),
            }
        }
    }
    choices.sort_unstable_by_key(|choice: &Choice| choice.index);
    Ok(Response::json(
        200,
        &answer.object(&choices, Some(Some(usage))),
    ))
}

/// The chunks of a stream: echo, text and end of each choice, then usage.
struct CompletionChunks {
    answer: Answer,
    include_usage: bool,
    usage: Usage,
}

impl CompletionChunks {
    fn chunk(&self, frames: &mut Frames, choice: Choice) {
        frames.push(
            &self
                .answer
                .object(&[choice], self.include_usage.then_some(None)),
        );
    }
}

impl Chunks for CompletionChunks {
    fn open(&mut self, _: &mut Frames) {}

    fn event(&mut self, index: usize, event: Event, frames: &mut Frames) {
        match event {
            Event::Prompt(report) => {
                if let Some((piece, prompt_token_ids)) = self.answer.prompt(index, report) {
                    let choice = self.answer.choice(index, piece);
                    self.chunk(
                        frames,
                        Choice {
                            prompt_token_ids,
                            ..choice
                        },
                    );
                }
            }
            Event::Token(token) => {
                if let Some(piece) = self.answer.token(index, token) {
                    self.chunk(frames, self.answer.choice(index, piece));
                }
            }
            Event::Finished(finished) => {
                let (piece, trailing) = self.answer.finish(index, &finished, &mut self.usage);
                if let Some(piece) = piece {
                    self.chunk(frames, self.answer.choice(index, piece));
                }
                let finish_reason = Some(finish_reason(finished.reason));
                let token_ids = self.answer.token_ids.then_some(trailing);
                self.chunk(
                    frames,
                    Choice {
                        index,
                        finish_reason,
                        token_ids,
                        ..Choice::default()
                    },
                );
            }
            Event::Failed(_) => {}
        }
    }

    fn close(&mut self, frames: &mut Frames) {
        if self.include_usage {
            frames.push(&self.answer.object(&[], Some(Some(self.usage))));
        }
    }
}
