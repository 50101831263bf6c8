//! The split patterns of well-known tokenizers, matched by hand.
//!
//! - Each matcher reads the text once, from left to right, and looks at no character more than three times.
//! - Pieces are never empty and follow each other without a gap.
//!
//! Absent: which model uses which ([`super::pre`]).

use unicode_general_category::{GeneralCategory as Category, get_general_category};

/// The classes the patterns tell apart: `\p{L}`, `\p{N}`, `\s` and everything else.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Number,
    Space,
    Other,
}

fn class(c: char) -> Class {
    if c.is_ascii() {
        return match c {
            'a'..='z' | 'A'..='Z' => Class::Letter,
            '0'..='9' => Class::Number,
            '\t'..='\r' | ' ' => Class::Space,
            _ => Class::Other,
        };
    }
    if c.is_whitespace() {
        return Class::Space;
    }
    match get_general_category(c) {
        Category::UppercaseLetter
        | Category::LowercaseLetter
        | Category::TitlecaseLetter
        | Category::ModifierLetter
        | Category::OtherLetter => Class::Letter,
        Category::DecimalNumber | Category::LetterNumber | Category::OtherNumber => Class::Number,
        _ => Class::Other,
    }
}

/// `\p{N}`: every digit a piece of its own, what lies between them whole.
pub(super) fn single_digits(text: &str) -> usize {
    let mut chars = text.char_indices();
    match chars.next() {
        Some((_, c)) if class(c) == Class::Number => c.len_utf8(),
        _ => chars
            .find(|(_, c)| class(*c) == Class::Number)
            .map_or(text.len(), |(at, _)| at),
    }
}

/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`: GPT-2's first piece.
pub(super) fn gpt2(text: &str) -> usize {
    if let Some(len) = contraction(text, |a, b| a == b) {
        return len;
    }
    let skip = usize::from(text.starts_with(' '));
    match text[skip..].chars().next().map(class) {
        Some(first) if first != Class::Space => skip + run(&text[skip..], first),
        _ => spaces(text),
    }
}

/// Llama 3's first piece, with digits in groups of up to `digits`; Qwen 2's with 1:
/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
pub(super) fn llama3(text: &str, digits: usize) -> usize {
    if let Some(len) = contraction(text, |a, b| a.eq_ignore_ascii_case(&b)) {
        return len;
    }
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return 0 };
    let second = chars.next().map(class);
    let width = first.len_utf8();
    match class(first) {
        Class::Letter => run(text, Class::Letter),
        Class::Number => {
            let group = text
                .char_indices()
                .take(digits)
                .take_while(|(_, c)| class(*c) == Class::Number);
            group.last().map_or(width, |(at, c)| at + c.len_utf8())
        }
        Class::Space | Class::Other if second == Some(Class::Letter) && !is_newline(first) => {
            width + run(&text[width..], Class::Letter)
        }
        Class::Other => others_and_newlines(text, 0),
        Class::Space if first == ' ' && second == Some(Class::Other) => {
            others_and_newlines(text, 1)
        }
        Class::Space => {
            let blank = &text[..run(text, Class::Space)];
            // `\s*[\r\n]+` gives back what follows the last line end of the blank run.
            blank
                .rfind(is_newline)
                .map_or_else(|| spaces(text), |at| at + 1)
        }
    }
}

fn is_newline(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

/// `[^\s\p{L}\p{N}]+[\r\n]*` behind `skip` bytes.
fn others_and_newlines(text: &str, skip: usize) -> usize {
    let end = skip + run(&text[skip..], Class::Other);
    end + text[end..]
        .bytes()
        .take_while(|b| is_newline(char::from(*b)))
        .count()
}

/// Bytes of the characters of one class at the start.
fn run(text: &str, wanted: Class) -> usize {
    text.char_indices()
        .find(|(_, c)| class(*c) != wanted)
        .map_or(text.len(), |(at, _)| at)
}

/// `\s+(?!\S)|\s+`: a blank run, but its last character belongs to the word behind it, unless it is the only one.
fn spaces(text: &str) -> usize {
    let blank = run(text, Class::Space);
    if blank == text.len() {
        return blank;
    }
    let last = text[..blank].chars().next_back().map_or(0, char::len_utf8);
    if last == blank { blank } else { blank - last }
}

/// `'s|'t|'re|'ve|'m|'ll|'d`.
fn contraction(text: &str, same: impl Fn(u8, u8) -> bool) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'\'') {
        return None;
    }
    let found = ["s", "t", "re", "ve", "m", "ll", "d"]
        .into_iter()
        .find(|ending| {
            let tail = bytes.get(1..1 + ending.len());
            tail.is_some_and(|tail| tail.iter().zip(ending.bytes()).all(|(a, b)| same(*a, b)))
        });
    found.map(|ending| 1 + ending.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(matcher: impl Fn(&str) -> usize, text: &str, expected: &[&str]) {
        let mut rest = text;
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(matcher(rest));
            pieces.push(piece);
            rest = behind;
        }
        assert_eq!(pieces, expected);
    }

    #[test]
    fn gpt2_splits_as_its_pattern_does() {
        check(gpt2, "I'll go", &["I", "'ll", " go"]);
        check(gpt2, "I'LL", &["I", "'", "LL"]);
        check(gpt2, "a  b", &["a", " ", " b"]);
        check(gpt2, "a \n b\n", &["a", " \n", " b", "\n"]);
        check(gpt2, "\n\nx", &["\n", "\n", "x"]);
        check(gpt2, "12345 !?", &["12345", " !?"]);
        check(gpt2, "x\u{a0}y \t", &["x", "\u{a0}", "y", " \t"]);
        check(gpt2, "!'s", &["!'", "s"]);
    }

    #[test]
    fn llama3_splits_as_its_pattern_does() {
        let matcher = |text: &str| llama3(text, 3);
        check(matcher, "I'LL go", &["I", "'LL", " go"]);
        check(matcher, "12345", &["123", "45"]);
        check(matcher, "(a) {}\n\nb", &["(a", ")", " {}\n\n", "b"]);
        check(matcher, "a  \n \n  b", &["a", "  \n \n", " ", " b"]);
        check(matcher, "\tx\n y", &["\tx", "\n", " y"]);
        check(matcher, "   ", &["   "]);
        check(matcher, " 1", &[" ", "1"]);
        check(matcher, "\r\nword", &["\r\n", "word"]);
    }

    #[test]
    fn single_digits_keep_what_lies_between() {
        check(single_digits, "ab12 c", &["ab", "1", "2", " c"]);
        check(single_digits, "½x", &["½", "x"]);
    }
}
