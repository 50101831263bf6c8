//! Which tokens end an answer.
//!
//! GGUF names one end token, but chat models end turns with another, so the texts below count as well, as in
//! llama.cpp. Hugging Face's files list their end tokens; the texts stand in where the list is missing.

use super::vocab::{TokenKind, Vocab};

/// Texts that end an answer in whatever model has them as a token.
const END_TEXTS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<｜end▁of▁sentence｜>",
    // Fill-in-the-middle models write these where an answer must stop.
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
];

/// The tokens with an end text, but for those that `is_word` says are made from text by merging (in Qwen's vocabulary
/// `</s>` is a word of HTML). They become control tokens, whatever the file says: some converters left `<|im_end|>` a
/// normal token, and a client could then end the answer, or forge a turn, by writing it.
pub(super) fn take_by_text(vocab: &mut Vocab, is_word: impl Fn(u32) -> bool) -> Vec<u32> {
    let mut ends = Vec::new();
    for id in 0..vocab.len() as u32 {
        let text = vocab.text(id);
        // Every end text begins with one of these: most tokens are passed over by their first byte.
        if !matches!(text.first(), Some(b'<' | b'[' | b'_')) {
            continue;
        }
        if END_TEXTS.iter().any(|end| end.as_bytes() == text) && !is_word(id) {
            ends.push(id);
        }
    }
    for id in &ends {
        vocab.set_kind(*id, TokenKind::Control);
    }
    ends
}
