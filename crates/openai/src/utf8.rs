//! Bytes to text, when the bytes come in pieces that ignore character borders.
//!
//! The texts it gives, put together, equal [`String::from_utf8_lossy`] of all the bytes, wherever they were cut.

/// Holds back the beginning of a character until the rest of it is there.
#[derive(Debug, Default)]
pub(crate) struct Utf8Assembler {
    /// A proper beginning of one character: at most three bytes.
    pending: Vec<u8>,
    /// Characters given so far.
    chars: usize,
}

impl Utf8Assembler {
    /// Adds bytes; gives the text that is whole with them.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.pending.len());
        let mut rest = self.pending.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, invalid) = rest.split_at(error.valid_up_to());
                    text.push_str(std::str::from_utf8(valid).expect("checked up to here"));
                    rest = invalid;
                    // No length: the bytes end inside a character that may still become whole.
                    let Some(bad) = error.error_len() else { break };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &rest[bad..];
                }
            }
        }
        let done = self.pending.len() - rest.len();
        self.pending.drain(..done);
        self.chars += text.chars().count();
        text
    }

    /// No more bytes come: what is held back will never be a character.
    pub(crate) fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        self.chars += text.chars().count();
        text
    }

    /// Characters given so far: the place of the next one, or of the one that is held back.
    pub(crate) fn chars(&self) -> usize {
        self.chars
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: &[&[u8]] = &[
        b"",
        b"plain",
        "gr\u{fc}n \u{20ac} \u{1f600}\u{1f468}\u{200d}\u{1f469} e\u{301}".as_bytes(),
        b"\xff\xfe half \xe2\x82 and \xf0\x9f\x98",
        b"\xe2\x82\xe2\x82\xac \xc0\x80 \xed\xa0\x80 \xf4\x90\x80\x80 \xf0\x9f",
        b"\x80\x80\xc3",
    ];

    #[test]
    fn pieces_cut_anywhere_equal_the_whole() {
        for bytes in TEXTS {
            let whole = String::from_utf8_lossy(bytes);
            for first in 0..=bytes.len() {
                for second in first..=bytes.len() {
                    let mut assembler = Utf8Assembler::default();
                    let mut text = String::new();
                    for piece in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                        text += &assembler.push(piece);
                    }
                    text += &assembler.finish();
                    assert_eq!(text, whole, "cut at {first} and {second}");
                    assert_eq!(assembler.chars(), whole.chars().count());
                }
            }
        }
    }

    #[test]
    fn a_character_appears_with_its_last_byte() {
        let mut assembler = Utf8Assembler::default();
        let texts: Vec<String> = "\u{1f600}!"
            .bytes()
            .map(|byte| assembler.push(&[byte]))
            .collect();
        assert_eq!(texts, ["", "", "", "\u{1f600}", "!"]);
    }
}
