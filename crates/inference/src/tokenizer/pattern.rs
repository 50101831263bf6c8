//! Split patterns outside our table, run in an automaton whose steps are counted.
//!
//! - No backtracking: a byte is one step, and a text gets [`STEPS_PER_BYTE`] steps a byte. What needs more (a pattern
//!   that reads far ahead at every place, say) is an error, so splitting is linear on any text under any pattern.
//! - Look-around is refused but for the one every tokenizer uses: the pattern may end in `|\s+(?!\S)|\s+`.
//!
//! Absent: possessive quantifiers and everything else a regular expression in the narrow sense has not; such patterns
//! are load errors.

pub(super) use regex_automata::hybrid::dfa::Cache;
use regex_automata::hybrid::dfa::DFA;
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};

use super::error::{EncodeError, VocabError};
use crate::formats::{LoadError, clip};

/// One compiled pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    dfa: DFA,
    /// The pattern ended in [`BLANKS_TAIL`], which is compiled as the DFA's second pattern.
    blanks: bool,
}

/// A blank run without its last character, unless the text or the run ends there.
const BLANKS_TAIL: &str = r"|\s+(?!\S)|\s+";

/// Bytes of a pattern. The longest in use has about 1,500; four times as many of the costliest kind, folded classes,
/// compile in half a second.
const PATTERN_BYTES_MAX: usize = 4 << 10;
/// Bytes its compiled form may take; `\p{L}` takes some 40,000.
const NFA_BYTES_MAX: usize = 2 << 20;
/// Bytes of the cache of states, for one text at a time.
const CACHE_BYTES: usize = 4 << 20;
/// Steps a byte of text may take, all starts together. Real patterns take 2 or 3.
const STEPS_PER_BYTE: usize = 32;
/// Steps any text may take, however short.
const STEPS_MIN: usize = 4_096;

impl Pattern {
    pub(super) fn new(pattern: &str) -> Result<Self, LoadError> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(LoadError::too_many(
                "bytes of a split pattern",
                pattern.len(),
                PATTERN_BYTES_MAX,
            ));
        }
        if has_possessive(pattern) {
            let message = format!(
                "possessive quantifiers are not supported: {}",
                clip(pattern)
            );
            return Err(VocabError::Pattern { message }.into());
        }
        let head = pattern.strip_suffix(BLANKS_TAIL);
        let patterns: &[&str] = match head {
            Some(head) => &[head, r"\s+"],
            None => &[pattern],
        };
        let dfa = DFA::builder()
            .configure(
                DFA::config()
                    .cache_capacity(CACHE_BYTES)
                    .skip_cache_capacity_check(true),
            )
            .thompson(thompson::Config::new().nfa_size_limit(Some(NFA_BYTES_MAX)))
            .syntax(syntax::Config::new().nest_limit(64))
            .build_many(patterns);
        match dfa {
            Ok(dfa) => Ok(Pattern {
                dfa,
                blanks: head.is_some(),
            }),
            Err(error) => Err(VocabError::Pattern {
                message: reason(&error),
            }
            .into()),
        }
    }

    /// Memory for [`Pattern::split`], to be used again for the next text.
    pub(super) fn cache(&self) -> Cache {
        self.dfa.create_cache()
    }

    /// Hands matches, and what lies between them, to `piece` in order.
    pub(super) fn split(
        &self,
        cache: &mut Cache,
        text: &str,
        piece: &mut dyn FnMut(&str) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let limit = STEPS_MIN + text.len().saturating_mul(STEPS_PER_BYTE);
        let mut steps = limit;
        let [mut gap, mut at] = [0, 0];
        while at < text.len() {
            let end = self
                .match_at(cache, text, at, &mut steps)
                .ok_or(EncodeError::Pattern { limit })?;
            if end == at {
                at += text[at..].chars().next().map_or(1, char::len_utf8);
                continue;
            }
            if gap < at {
                piece(&text[gap..at])?;
            }
            piece(&text[at..end])?;
            [gap, at] = [end, end];
        }
        if gap < text.len() {
            piece(&text[gap..])
        } else {
            Ok(())
        }
    }

    /// The end of the match that begins at `start`, or `start` if there is none; nothing if the steps ran out.
    fn match_at(
        &self,
        cache: &mut Cache,
        text: &str,
        start: usize,
        steps: &mut usize,
    ) -> Option<usize> {
        let input = Input::new(text).range(start..).anchored(Anchored::Yes);
        let mut state = self.dfa.start_state_forward(cache, &input).ok()?;
        let mut found = None;
        // A match is reported one byte late, and the end of the text is one more step.
        for at in start..=text.len() {
            *steps = steps.checked_sub(1)?;
            state = match text.as_bytes().get(at) {
                Some(byte) => self.dfa.next_state(cache, state, *byte).ok()?,
                None => self.dfa.next_eoi_state(cache, state).ok()?,
            };
            if state.is_match() {
                found = Some((at, self.dfa.match_pattern(cache, state, 0).as_usize()));
            } else if state.is_dead() || state.is_quit() {
                break;
            }
        }
        let Some((end, pattern)) = found else {
            return Some(start);
        };
        // Patterns work on characters, so their matches end at characters; an empty match is none.
        if !(self.blanks && pattern == 1 && end < text.len()) {
            return Some(end);
        }
        let last = text[start..end]
            .chars()
            .next_back()
            .map_or(0, char::len_utf8);
        Some(if start + last == end { end } else { end - last })
    }
}

/// Whether a quantifier is followed by `+`: possessive elsewhere, and something else entirely in our engine.
fn has_possessive(pattern: &str) -> bool {
    let mut in_class = 0_usize;
    let mut quantifier = false;
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let was_quantifier = std::mem::take(&mut quantifier);
        match c {
            // The guard takes the escaped character; `\p{L}` ends in a brace that is no quantifier.
            '\\' if matches!(chars.next(), Some('p' | 'P' | 'x' | 'u'))
                && chars.as_str().starts_with('{') =>
            {
                chars.by_ref().find(|c| *c == '}');
            }
            '\\' => {}
            '[' => in_class += 1,
            ']' => in_class = in_class.saturating_sub(1),
            '+' if in_class == 0 && was_quantifier => return true,
            '?' | '*' | '+' | '}' if in_class == 0 => quantifier = true,
            _ => {}
        }
    }
    false
}

/// The innermost error, which names the construct.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    clip(innermost.to_string().lines().last().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, text: &str, expected: &[&str]) {
        let pattern = Pattern::new(pattern).unwrap();
        let mut pieces = Vec::new();
        let split = pattern.split(&mut pattern.cache(), text, &mut |piece| {
            pieces.push(piece.to_owned());
            Ok(())
        });
        assert_eq!(split, Ok(()));
        assert_eq!(pieces, expected);
    }

    #[test]
    fn matches_and_gaps_are_pieces() {
        check(r"\p{N}{1,3}", "ab1234c", &["ab", "123", "4", "c"]);
        check(r"\s?\p{L}+", "a, bß!", &["a", ",", " bß", "!"]);
        check(r"x*", "axxb", &["a", "xx", "b"]);
    }

    #[test]
    fn blanks_leave_their_last_character_to_the_next_word() {
        check(
            r" ?\p{L}+|\s+(?!\S)|\s+",
            "a   b \n",
            &["a", "  ", " b", " \n"],
        );
        check(r" ?\p{L}+|\s+(?!\S)|\s+", "a\tb", &["a", "\t", "b"]);
    }

    #[test]
    fn what_is_not_regular_is_refused() {
        for pattern in [
            r"(?=a)b",
            r"(?<!x)y",
            r"(a)\1",
            r"a++",
            r"[a]?+b",
            r"\p{L}{2}+",
            r"(",
            "(?>a)",
        ] {
            let refused = Pattern::new(pattern).map(|_| ());
            assert!(
                matches!(
                    refused,
                    Err(LoadError::Tokenizer(VocabError::Pattern { .. }))
                ),
                "{pattern}"
            );
        }
        assert!(Pattern::new(r"[+*?]+\+?\p{L}+").is_ok());
    }

    #[test]
    fn a_pattern_that_reads_ahead_everywhere_is_an_error_and_not_a_hang() {
        let pattern = Pattern::new(r"a*b|a").unwrap();
        let split = pattern.split(&mut pattern.cache(), &"a".repeat(100_000), &mut |_| Ok(()));
        assert!(matches!(split, Err(EncodeError::Pattern { .. })));
        let nested = Pattern::new(r"(a+)+").unwrap();
        assert_eq!(
            nested.split(&mut nested.cache(), &"a".repeat(100_000), &mut |_| Ok(())),
            Ok(())
        );
    }
}
