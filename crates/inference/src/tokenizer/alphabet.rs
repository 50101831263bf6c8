//! GPT-2's alphabet: each of the 256 bytes as one printable character, so that vocabularies are text files.
//!
//! Printable bytes of Latin-1 stand for themselves; the other 68 are numbered from U+0100 in rising order. The first
//! 188 characters take one or two bytes in UTF-8, the rest two.

/// Bytes that stand for themselves: `!`..`~`, `¡`..`¬`, `®`..`ÿ`.
const fn is_itself(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

/// Characters by byte.
const CHARS: [char; 256] = {
    let mut chars = ['\0'; 256];
    let mut shifted = 0;
    let mut byte = 0;
    while byte < 256 {
        let code = if is_itself(byte as u8) {
            byte as u32
        } else {
            shifted += 1;
            0xff + shifted
        };
        chars[byte] = char::from_u32(code).expect("codes up to U+0143 are characters");
        byte += 1;
    }
    chars
};

/// One more than the highest character of the alphabet.
const CODES: usize = 0x144;

/// Bytes by character code; [`NONE`] where the code is no letter of the alphabet.
const BYTES: [u16; CODES] = {
    let mut bytes = [NONE; CODES];
    let mut byte = 0;
    while byte < 256 {
        bytes[CHARS[byte] as usize] = byte as u16;
        byte += 1;
    }
    bytes
};

const NONE: u16 = u16::MAX;

/// The character that stands for a byte.
pub(super) fn char_of(byte: u8) -> char {
    CHARS[usize::from(byte)]
}

/// The byte a character stands for.
pub(super) fn byte_of(c: char) -> Option<u8> {
    let byte = *BYTES.get(c as usize)?;
    (byte != NONE).then_some(byte as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        for byte in 0..=255 {
            assert_eq!(byte_of(char_of(byte)), Some(byte));
        }
        assert_eq!(char_of(b' '), 'Ġ');
        assert_eq!(char_of(b'\n'), 'Ċ');
        assert_eq!(char_of(0xad), 'Ń');
        assert_eq!(byte_of(' '), None);
        assert_eq!(byte_of('▁'), None);
    }
}
