//! One choice on its way from tokens to text.

use crate::inference::{FinishReason, PromptToken, TokenEvent, TokenId, TokenLogprobs};
use crate::utf8::Utf8Assembler;

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
