//! `POST /v1/chat/completions`.

use serde::Serialize;
use serde_json::Value;

use crate::answer::{ChatLogprobs, Head, Piece, Transcript, Usage, finish_reason};
use crate::context::Context;
use crate::error::ApiError;
use crate::fields::{Fields, Unsupported};
use crate::generation::Choices;
use crate::inference::{
    Event, GenerationRequest, Inference, ModelInfo, Prompt, PromptDetail, PromptReport, TokenId,
};
use crate::messages;
use crate::params::{self, Limits, Params};
use crate::response::Response;
use crate::sse::{Chunks, Frames, SseFrames};
use crate::template;

/// The field that an error about the prompt names.
const PROMPT_PARAM: &str = "messages";

const LIMITS: Limits = Limits {
    max_tokens_min: 1,
    max_tokens_default: None,
};

const TOP_LOGPROBS_MAX: i128 = 20;

/// OpenAI's fields that are not honoured, and the values with which an answer is the same without them.
const UNSUPPORTED: &[Unsupported] = &[
    Unsupported {
        name: "tools",
        harmless: is_empty,
    },
    Unsupported {
        name: "tool_choice",
        harmless: is_auto_or_none,
    },
    // Says how to call tools, of which there are none.
    Unsupported {
        name: "parallel_tool_calls",
        harmless: Value::is_boolean,
    },
    Unsupported {
        name: "functions",
        harmless: is_empty,
    },
    Unsupported {
        name: "function_call",
        harmless: is_auto_or_none,
    },
    Unsupported {
        name: "response_format",
        harmless: |value| value["type"] == "text",
    },
    Unsupported {
        name: "reasoning_effort",
        harmless: |value| value == "none",
    },
    Unsupported {
        name: "verbosity",
        harmless: |value| value == "medium",
    },
    Unsupported {
        name: "modalities",
        harmless: |value| *value == Value::from(vec!["text"]),
    },
    Unsupported {
        name: "audio",
        harmless: |_| false,
    },
    Unsupported {
        name: "prediction",
        harmless: |_| false,
    },
    Unsupported {
        name: "web_search_options",
        harmless: |_| false,
    },
    Unsupported {
        name: "store",
        harmless: |value| *value == false,
    },
    Unsupported {
        name: "service_tier",
        harmless: |value| value == "auto" || value == "default",
    },
];

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

fn is_auto_or_none(value: &Value) -> bool {
    value == "auto" || value == "none"
}

/// A request, checked.
struct Request {
    params: Params,
    logprobs: Option<u32>,
    prompt: String,
}

/// Continues a conversation.
pub(super) async fn run(
    body: &[u8],
    context: &Context,
    inference: &impl Inference,
) -> Result<Response, ApiError> {
    let mut fields = Fields::parse(body)?;
    let model = params::take_model(&mut fields, inference)?;
    let (request, ignored) = read(fields, &model, context)?;
    let head = Head::new("chatcmpl-", context, &model);
    let options = Options {
        choices: request.params.n as usize,
        logprobs: request.logprobs.is_some(),
        token_ids: request.params.return_token_ids,
        include_usage: request.params.include_usage,
    };
    let stream = request.params.stream;
    let requests =
        (0..request.params.n).map(|choice| generation(&request, choice, &model, context));
    let choices = Choices::start(inference, requests, PROMPT_PARAM).await?;
    let response = if stream {
        Response::stream(SseFrames::new(choices, ChatChunks::new(head, options)))
    } else {
        Response::json(200, &whole(choices, &head, &options).await?)
    };
    Ok(response.with_ignored(ignored))
}

fn read(
    mut fields: Fields<'_>,
    model: &ModelInfo,
    context: &Context,
) -> Result<(Request, Option<String>), ApiError> {
    let messages = messages::take(&mut fields)?;
    let params = params::take(&mut fields, model, context, &LIMITS)?;
    let logprobs = take_logprobs(&mut fields)?;
    let ignored = fields.finish(UNSUPPORTED, params::REFUSED)?;
    let (got, max) = (
        messages.iter().map(messages::Message::text_bytes).sum(),
        template::prompt_bytes_max(model.context_len),
    );
    if got > max {
        return Err(ApiError::PromptAboveMaxBytes {
            param: PROMPT_PARAM,
            max,
            got,
        });
    }
    let prompt = template::render(model, &messages, context.now)?;
    Ok((
        Request {
            params,
            logprobs,
            prompt,
        },
        ignored,
    ))
}

fn take_logprobs(fields: &mut Fields<'_>) -> Result<Option<u32>, ApiError> {
    let wanted = params::take_boolean(fields, "logprobs")?;
    let top =
        params::take_integer(fields, "top_logprobs", 0, TOP_LOGPROBS_MAX)?.unwrap_or(0) as u32;
    if top > 0 && !wanted {
        let message =
            "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.".to_owned();
        return Err(ApiError::InvalidValue {
            param: "top_logprobs".to_owned(),
            message,
        });
    }
    Ok(wanted.then_some(top))
}

fn generation(
    request: &Request,
    choice_index: u32,
    model: &ModelInfo,
    context: &Context,
) -> GenerationRequest {
    let detail = if request.params.return_token_ids {
        PromptDetail::Tokens
    } else {
        PromptDetail::Count
    };
    let prompt = Prompt::Text(request.prompt.clone());
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

/// What of a request its answer's shape depends on.
struct Options {
    choices: usize,
    logprobs: bool,
    token_ids: bool,
    include_usage: bool,
}

#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<Choice>,
    usage: Usage,
    service_tier: &'static str,
    system_fingerprint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_token_ids: Option<Vec<TokenId>>,
}

#[derive(Serialize)]
struct Choice {
    index: usize,
    message: Message,
    logprobs: Option<ChatLogprobs>,
    finish_reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: Option<Vec<TokenId>>,
}

#[derive(Serialize)]
struct Message {
    role: &'static str,
    content: String,
    refusal: Value,
    annotations: [Value; 0],
}

/// Waits for every choice and puts the answer together.
async fn whole<'h>(
    mut running: Choices,
    head: &'h Head,
    options: &Options,
) -> Result<Completion<'h>, ApiError> {
    let mut transcripts: Vec<(Transcript, Piece)> =
        (0..options.choices).map(|_| Default::default()).collect();
    let mut choices = Vec::with_capacity(options.choices);
    let mut usage = Usage::default();
    let mut prompt_token_ids = None;
    while let Some(batch) = running.next().await {
        let (transcript, text) = &mut transcripts[batch.choice];
        for event in batch.events {
            match event {
                Event::Prompt(report) => prompt_token_ids = options.token_ids.then(|| ids(&report)),
                Event::Token(token) => {
                    if let Some(piece) = transcript.token(token) {
                        text.append(piece);
                    }
                }
                Event::Finished(finished) => {
                    usage.add(&finished, batch.choice == 0);
                    let (piece, trailing) = transcript.finish(finished.reason);
                    text.append(piece.unwrap_or_default());
                    let Piece {
                        text: content,
                        entries,
                    } = std::mem::take(text);
                    let piece_ids = entries.iter().map(|entry| entry.id);
                    let token_ids = options
                        .token_ids
                        .then(|| piece_ids.chain(trailing).collect());
                    choices.push(Choice {
                        index: batch.choice,
                        logprobs: ChatLogprobs::new(&entries, options.logprobs),
                        message: Message {
                            role: "assistant",
                            content,
                            refusal: Value::Null,
                            annotations: [],
                        },
                        finish_reason: finish_reason(finished.reason),
                        token_ids,
                    });
                }
                Event::Failed(error) => return Err(running.error(error)),
            }
        }
    }
    choices.sort_unstable_by_key(|choice| choice.index);
    Ok(Completion {
        id: &head.id,
        object: "chat.completion",
        created: head.created,
        model: &head.model,
        choices,
        usage,
        service_tier: "default",
        system_fingerprint: head.fingerprint.as_deref(),
        prompt_token_ids,
    })
}

fn ids(report: &PromptReport) -> Vec<TokenId> {
    report.tokens.iter().map(|token| token.id).collect()
}

/// The chunks of a stream: a role for each choice, its text, its end, then usage.
struct ChatChunks {
    head: Head,
    options: Options,
    transcripts: Vec<Transcript>,
    usage: Usage,
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    service_tier: &'static str,
    system_fingerprint: Option<&'a str>,
    choices: &'a [ChunkChoice],
    /// With `include_usage`: null on every chunk but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_token_ids: Option<Vec<TokenId>>,
}

#[derive(Default, Serialize)]
struct ChunkChoice {
    index: usize,
    delta: Delta,
    logprobs: Option<ChatLogprobs>,
    finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: Option<Vec<TokenId>>,
}

#[derive(Default, Serialize)]
struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<Value>,
}

impl ChatChunks {
    fn new(head: Head, options: Options) -> Self {
        let transcripts = (0..options.choices)
            .map(|_| Transcript::default())
            .collect();
        Self {
            head,
            options,
            transcripts,
            usage: Usage::default(),
        }
    }

    fn chunk(
        &self,
        frames: &mut Frames,
        choices: &[ChunkChoice],
        usage: Option<Usage>,
        prompt: Option<Vec<TokenId>>,
    ) {
        frames.push(&Chunk {
            id: &self.head.id,
            object: "chat.completion.chunk",
            created: self.head.created,
            model: &self.head.model,
            service_tier: "default",
            system_fingerprint: self.head.fingerprint.as_deref(),
            choices,
            usage: self.options.include_usage.then_some(usage),
            prompt_token_ids: prompt,
        });
    }

    fn choice(&self, frames: &mut Frames, choice: ChunkChoice) {
        self.chunk(frames, &[choice], None, None);
    }

    fn role(&self, frames: &mut Frames, index: usize, prompt: Option<Vec<TokenId>>) {
        let delta = Delta {
            role: Some("assistant"),
            content: Some(String::new()),
            refusal: Some(Value::Null),
        };
        self.chunk(
            frames,
            &[ChunkChoice {
                index,
                delta,
                ..ChunkChoice::default()
            }],
            None,
            prompt,
        );
    }

    fn piece(&self, frames: &mut Frames, index: usize, piece: Piece) {
        let logprobs = ChatLogprobs::new(&piece.entries, self.options.logprobs);
        let token_ids = piece.token_ids(self.options.token_ids);
        let delta = Delta {
            content: Some(piece.text),
            ..Delta::default()
        };
        self.choice(
            frames,
            ChunkChoice {
                index,
                delta,
                logprobs,
                finish_reason: None,
                token_ids,
            },
        );
    }
}

impl Chunks for ChatChunks {
    fn open(&mut self, frames: &mut Frames) {
        // The first chunk has the prompt's ids if they are wanted, so it waits for them.
        if !self.options.token_ids {
            (0..self.options.choices).for_each(|index| self.role(frames, index, None));
        }
    }

    fn event(&mut self, index: usize, event: Event, frames: &mut Frames) {
        match event {
            Event::Prompt(report) if self.options.token_ids => {
                self.role(frames, index, Some(ids(&report)))
            }
            Event::Token(token) => {
                if let Some(piece) = self.transcripts[index].token(token) {
                    self.piece(frames, index, piece);
                }
            }
            Event::Finished(finished) => {
                self.usage.add(&finished, index == 0);
                let (piece, trailing) = self.transcripts[index].finish(finished.reason);
                if let Some(piece) = piece {
                    self.piece(frames, index, piece);
                }
                let token_ids = self.options.token_ids.then_some(trailing);
                let finish_reason = Some(finish_reason(finished.reason));
                self.choice(
                    frames,
                    ChunkChoice {
                        index,
                        finish_reason,
                        token_ids,
                        ..ChunkChoice::default()
                    },
                );
            }
            Event::Prompt(_) | Event::Failed(_) => {}
        }
    }

    fn close(&mut self, frames: &mut Frames) {
        if self.options.include_usage {
            self.chunk(frames, &[], Some(self.usage), None);
        }
    }
}
