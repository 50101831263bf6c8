//! Answers of `POST /v1/completions`.

use serde::{Serialize, Serializer};

use super::{
    Entry, Head, Piece, Transcript, Usage, finish_reason, logprob, prompt_ids, token_text,
};
use crate::error::ApiError;
use crate::generation::Choices;
use crate::inference::{Event, Finished, PromptReport, TokenEvent, TokenId};
use crate::response::Response;
use crate::sse::{Chunks, Frames};

/// What of a request its answer's shape depends on.
pub(crate) struct Options {
    /// Texts to echo; none for a prompt of tokens, whose text is that of its tokens.
    pub(crate) prompts: Vec<Option<String>>,
    pub(crate) choices_per_prompt: usize,
    pub(crate) echo: bool,
    pub(crate) logprobs: bool,
    pub(crate) token_ids: bool,
}

/// The choices as they grow.
pub(crate) struct Answer {
    head: Head,
    options: Options,
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
    pub(crate) fn new(head: Head, options: Options) -> Self {
        let choices = options.prompts.len() * options.choices_per_prompt;
        Self {
            head,
            options,
            transcripts: (0..choices).map(|_| Transcript::default()).collect(),
        }
    }

    /// What the prompt adds to a choice, if it adds anything: its text, its ids.
    fn prompt(
        &mut self,
        index: usize,
        report: PromptReport,
    ) -> Option<(Piece, Option<Vec<TokenId>>)> {
        let ids = self.options.token_ids.then(|| prompt_ids(&report));
        let piece = self.options.echo.then(|| {
            let text = self.options.prompts[index / self.options.choices_per_prompt].as_deref();
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
        usage.add(
            finished,
            index.is_multiple_of(self.options.choices_per_prompt),
        );
        self.transcripts[index].finish(finished.reason)
    }

    /// A piece as a choice, or as a part of one.
    fn choice(&self, index: usize, piece: Piece) -> Choice {
        let logprobs = self.options.logprobs.then(|| Logprobs::new(&piece.entries));
        // Ids of the prompt are told apart from those of the answer.
        let answered = piece
            .entries
            .iter()
            .filter(|entry| entry.prompt_bytes.is_none());
        let token_ids = self
            .options
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
pub(crate) async fn whole(mut running: Choices, mut answer: Answer) -> Result<Response, ApiError> {
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
pub(crate) struct CompletionChunks {
    answer: Answer,
    include_usage: bool,
    usage: Usage,
}

impl CompletionChunks {
    pub(crate) fn new(answer: Answer, include_usage: bool) -> Self {
        Self {
            answer,
            include_usage,
            usage: Usage::default(),
        }
    }

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
                let token_ids = self.answer.options.token_ids.then_some(trailing);
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
