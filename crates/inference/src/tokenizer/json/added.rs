//! `added_tokens`: what is found in a text before it is cut.

use serde::Deserialize;

use super::build::FILE;
use crate::formats::LoadError;
use crate::formats::json::Bounded;
use crate::tokenizer::special::Strip;

/// Added tokens of a vocabulary; Gemma has 6,400.
pub(super) const ADDED_MAX: usize = 32_768;

pub(super) type AddedTokens = Bounded<AddedToken, ADDED_MAX>;

/// One added token. `normalized` is not read: it asks whether the token is sought before or after normalizing, which
/// differs only for texts that a normalizer changes, and ours change no added token's.
#[derive(Deserialize)]
pub(super) struct AddedToken {
    pub id: u64,
    pub content: Box<str>,
    #[serde(default)]
    pub special: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    single_word: bool,
}

impl AddedToken {
    pub(super) fn strip(&self) -> Strip {
        Strip {
            left: self.lstrip,
            right: self.rstrip,
        }
    }

    pub(super) fn check(&self) -> Result<(), LoadError> {
        if self.single_word {
            let found = format!("single_word of {}", super::vocabulary::shown(&self.content));
            return Err(LoadError::unsupported(
                &format!("{FILE}: added_tokens"),
                found,
                "tokens without it are",
            ));
        }
        Ok(())
    }
}
