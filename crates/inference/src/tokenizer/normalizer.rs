//! What happens to a text before it is cut: nothing, or Unicode's composed form where `tokenizer.json` asks for it
//! (Qwen's does). The blank of SentencePiece is not a matter of this file.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Normalizer {
    None,
    Nfc,
}

impl Normalizer {
    pub(super) fn apply(self, text: &str) -> Cow<'_, str> {
        match self {
            Normalizer::Nfc if is_nfc_quick(text.chars()) != IsNormalized::Yes => {
                Cow::Owned(text.nfc().collect())
            }
            Normalizer::None | Normalizer::Nfc => Cow::Borrowed(text),
        }
    }
}
