//! Answers of `POST /v1/chat/completions`.

use serde::Serialize;
use serde_json::Value;

use super::{
    Entry, Head, Piece, Transcript, Usage, finish_reason, logprob, prompt_ids, token_text,
};
use crate::error::ApiError;
use crate::generation::Choices;
use crate::inference::{Candidate, Event, TokenId};
use crate::sse::{Chunks, Frames};

/// What of a request its answer's shape depends on.
pub(crate) struct Options {
    pub(crate) choices: usize,
    pub(crate) logprobs: bool,
    pub(crate) token_ids: bool,
    pub(crate) include_usage: bool,
}

#[derive(Serialize)]
pub(crate) struct Completion<'a> {
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
    logprobs: Option<Logprobs>,
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
pub(crate) async fn whole<'h>(
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
                Event::Prompt(report) => {
                    prompt_token_ids = options.token_ids.then(|| prompt_ids(&report))
                }
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
                        logprobs: Logprobs::new(&entries, options.logprobs),
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

/// The chunks of a stream: a role for each choice, its text, its end, then usage.
pub(crate) struct ChatChunks {
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
    logprobs: Option<Logprobs>,
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
    pub(crate) fn new(head: Head, options: Options) -> Self {
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
        let logprobs = Logprobs::new(&piece.entries, self.options.logprobs);
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
                self.role(frames, index, Some(prompt_ids(&report)))
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

/// Log-probabilities as chat words them.
#[derive(Debug, Serialize)]
struct Logprobs {
    content: Vec<TokenLogprobs>,
    refusal: Value,
}

#[derive(Debug, Serialize)]
struct TokenLogprobs {
    #[serde(flatten)]
    token: TokenLogprob,
    top_logprobs: Vec<TokenLogprob>,
}

#[derive(Debug, Serialize)]
struct TokenLogprob {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

impl Logprobs {
    /// None if the request asked for none.
    fn new(entries: &[Entry], wanted: bool) -> Option<Self> {
        let content = entries
            .iter()
            .filter_map(|entry| entry.logprobs.as_ref())
            .map(|at| TokenLogprobs {
                token: token_logprob(&at.chosen),
                top_logprobs: at.top.iter().map(token_logprob).collect(),
            });
        wanted.then(|| Self {
            content: content.collect(),
            refusal: Value::Null,
        })
    }
}

fn token_logprob(candidate: &Candidate) -> TokenLogprob {
    TokenLogprob {
        token: token_text(&candidate.bytes),
        logprob: logprob(candidate),
        bytes: candidate.bytes.clone(),
    }
}
