//! Tokens as bytes and bytes as tokens: GPT-2's alphabet, SentencePiece's blanks and `<0xNN>`.

use super::alphabet;
use super::codec::BLANK;
use super::error::VocabError;
use super::merge::NO_TOKEN;
use super::vocab::Vocab;

/// The byte a token spelled `<0xNN>` stands for.
pub(super) fn byte_of(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    let digits = str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.len() == 2)?;
    u8::from_str_radix(digits, 16).ok()
}

/// The token of each byte: what `find` says, or [`NO_TOKEN`]. Those that `needed` names must have one.
pub(super) fn byte_tokens(
    find: impl Fn(u8) -> Option<u32>,
    needed: impl Fn(u8) -> bool,
) -> Result<Box<[u32; 256]>, VocabError> {
    let mut tokens = Box::new([NO_TOKEN; 256]);
    for byte in 0..=u8::MAX {
        match find(byte) {
            Some(token) => tokens[usize::from(byte)] = token,
            None if needed(byte) => return Err(VocabError::ByteMissing { byte }),
            None => {}
        }
    }
    Ok(tokens)
}

/// Tokens of bytes in a byte-level vocabulary. Some have none for bytes that begin rare planes of Unicode; those bytes
/// are left out of a text, as in the reference. One without ASCII is no vocabulary.
pub(super) fn alphabet_tokens(vocab: &Vocab) -> Result<Box<[u32; 256]>, VocabError> {
    let find = |byte| {
        let mut utf8 = [0; 4];
        vocab.find(alphabet::char_of(byte).encode_utf8(&mut utf8).as_bytes())
    };
    byte_tokens(find, |byte| matches!(byte, b' '..=b'~'))
}

/// Tokens of bytes in SentencePiece's vocabulary, `<0xNN>`, or the unknown token. Bytes that UTF-8 never contains need
/// none.
pub(super) fn fallback_tokens(
    vocab: &Vocab,
    unknown: Option<u32>,
) -> Result<Box<[u32; 256]>, VocabError> {
    let mut ids = [None; 256];
    for id in 0..vocab.len() as u32 {
        if let Some(byte) = byte_of(vocab.text(id)) {
            ids[usize::from(byte)].get_or_insert(id);
        }
    }
    byte_tokens(
        |byte| ids[usize::from(byte)].or(unknown),
        |byte| !matches!(byte, 0xc0 | 0xc1 | 0xf5..),
    )
}

/// Text in GPT-2's alphabet as bytes. A token with any other character is taken as it is.
pub(super) fn push_alphabet(text: &[u8], bytes: &mut Vec<u8>) {
    let len = bytes.len();
    let decoded = str::from_utf8(text).is_ok_and(|text| {
        text.chars().all(|c| {
            alphabet::byte_of(c)
                .inspect(|byte| bytes.push(*byte))
                .is_some()
        })
    });
    if !decoded {
        bytes.truncate(len);
        bytes.extend_from_slice(text);
    }
}

/// Text with SentencePiece's blanks as bytes.
pub(super) fn push_blanks(text: &[u8], bytes: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((byte, behind)) = rest.split_first() {
        if let Some(behind) = rest.strip_prefix(BLANK.as_bytes()) {
            bytes.push(b' ');
            rest = behind;
        } else {
            bytes.push(*byte);
            rest = behind;
        }
    }
}
