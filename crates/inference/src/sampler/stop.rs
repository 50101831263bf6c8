//! Stop sequences over the bytes of an answer, token by token.
//!
//! - Linear: one failure table a stop sequence (Knuth, Morris, Pratt), so a byte costs a constant on average whatever
//!   the sequences look like.
//! - The answer is cut before the stop sequence that is complete first; of those that are complete at the same byte,
//!   before the longest.
//! - No byte leaves that may still turn out to belong to a stop sequence, and every other byte leaves at once,
//!   together with the rest of its token.

use std::collections::VecDeque;

use crate::request::TokenEvent;

/// Holds tokens back while their bytes may be the start of a stop sequence.
#[derive(Debug)]
pub struct StopMatcher {
    patterns: Vec<Pattern>,
    held: VecDeque<TokenEvent>,
    held_bytes: usize,
}

#[derive(Debug)]
struct Pattern {
    bytes: Box<[u8]>,
    /// `failure[i]`: length of the longest proper prefix that also ends at byte `i`.
    failure: Box<[u16]>,
    /// Length of the longest prefix that ends at the last byte seen.
    matched: usize,
}

impl StopMatcher {
    /// A matcher for `stop`, whose sequences the caller has checked to be of 1..=1,024 bytes.
    pub fn new(stop: &[String]) -> Self {
        Self {
            patterns: stop
                .iter()
                .map(|text| Pattern::new(text.as_bytes()))
                .collect(),
            held: VecDeque::new(),
            held_bytes: 0,
        }
    }

    /// Takes the next token and passes on those that can be passed on. True where a stop sequence is complete: all
    /// that precedes it has been passed on then, and nothing follows.
    ///
    /// Where the answer may not end yet (`may_stop` false), a complete stop sequence is text like any other.
    pub fn push(
        &mut self,
        event: TokenEvent,
        may_stop: bool,
        pass: &mut impl FnMut(TokenEvent),
    ) -> bool {
        let mut found = None;
        for (index, &byte) in event.bytes.iter().enumerate() {
            let longest = self
                .patterns
                .iter_mut()
                .filter_map(|pattern| pattern.advance(byte))
                .max();
            if let Some(length) = longest.filter(|_| may_stop) {
                found = Some((index + 1, length));
                break;
            }
        }
        let seen = found.map_or(event.bytes.len(), |(end, _)| end);
        self.held_bytes += seen;
        self.held.push_back(event);
        if let Some((_, length)) = found {
            self.cut(self.held_bytes - length, pass);
            return true;
        }
        let undecided = self
            .patterns
            .iter()
            .map(|pattern| pattern.matched)
            .max()
            .unwrap_or(0);
        while let Some(front) = self.held.front()
            && front.bytes.len() + undecided <= self.held_bytes
        {
            self.held_bytes -= front.bytes.len();
            pass(self.held.pop_front().expect("the front was just seen"));
        }
        false
    }

    /// The answer ended otherwise: what was held is part of it.
    pub fn flush(&mut self, pass: &mut impl FnMut(TokenEvent)) {
        self.held_bytes = 0;
        self.held.drain(..).for_each(pass);
    }

    /// Passes on the first `keep` held bytes and forgets the rest.
    fn cut(&mut self, mut keep: usize, pass: &mut impl FnMut(TokenEvent)) {
        for mut event in self.held.drain(..) {
            if keep == 0 {
                break;
            }
            event.bytes.truncate(keep);
            keep -= event.bytes.len();
            pass(event);
        }
        self.held.clear();
        self.held_bytes = 0;
    }
}

impl Pattern {
    fn new(bytes: &[u8]) -> Self {
        let mut failure = vec![0u16; bytes.len()];
        let mut length = 0;
        for i in 1..bytes.len() {
            while length > 0 && bytes[i] != bytes[length] {
                length = usize::from(failure[length - 1]);
            }
            length += usize::from(bytes[i] == bytes[length]);
            failure[i] = length as u16;
        }
        Self {
            bytes: bytes.into(),
            failure: failure.into(),
            matched: 0,
        }
    }

    /// Takes a byte; the pattern's length where it is complete with it.
    fn advance(&mut self, byte: u8) -> Option<usize> {
        while self.matched > 0 && self.bytes[self.matched] != byte {
            self.matched = usize::from(self.failure[self.matched - 1]);
        }
        self.matched += usize::from(self.bytes[self.matched] == byte);
        if self.matched < self.bytes.len() {
            return None;
        }
        self.matched = usize::from(self.failure[self.matched - 1]);
        Some(self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{sampler::random::uniform, token::TokenId};

    /// Feeds `tokens`; the texts passed on, whether it stopped, and the number of tokens taken.
    fn run(stop: &[&str], tokens: &[&str], may_stop_from: usize) -> (Vec<String>, bool, usize) {
        let stop: Vec<String> = stop.iter().map(|text| (*text).to_string()).collect();
        let mut matcher = StopMatcher::new(&stop);
        let mut passed = Vec::new();
        let mut pass = |event: TokenEvent| passed.push(String::from_utf8(event.bytes).unwrap());
        for (index, token) in tokens.iter().enumerate() {
            let event = TokenEvent {
                id: TokenId(index as u32),
                bytes: token.as_bytes().to_vec(),
                logprobs: None,
            };
            if matcher.push(event, index >= may_stop_from, &mut pass) {
                return (passed, true, index + 1);
            }
        }
        matcher.flush(&mut pass);
        (passed, false, tokens.len())
    }

    /// Stop sequences, tokens, what is passed on, and whether it stopped.
    type Row = (
        &'static [&'static str],
        &'static [&'static str],
        &'static [&'static str],
        bool,
    );

    #[test]
    fn answers_are_cut_before_the_stop_sequence() {
        #[rustfmt::skip]
        let table: &[Row] = &[
            (&[], &["a", "b"], &["a", "b"], false),
            (&["b"], &["a", "b", "c"], &["a"], true),
            // Across token borders, and inside one token.
            (&["END"], &["go E", "N", "D now"], &["go "], true),
            (&["END"], &["xENDy"], &["x"], true),
            // A start that comes to nothing is passed on, whole tokens in order.
            (&["END"], &["E", "N", "E", "x"], &["E", "N", "E", "x"], false),
            // What is held at the end belongs to the answer.
            (&["END"], &["a", "EN"], &["a", "EN"], false),
            // Overlapping restarts.
            (&["aab"], &["a", "a", "a", "b"], &["a"], true),
            // First complete wins; at one byte the longest.
            (&["abcd", "bc"], &["abcd"], &["a"], true),
            (&["c", "abc"], &["xab", "c"], &["x"], true),
            // Tokens without bytes keep their place.
            (&["b"], &["", "a", "", "b"], &["", "a", ""], true),
            (&["ab"], &["a", "", "c"], &["a", "", "c"], false),
            // A character of several bytes.
            (&["é"], &["caf", "é", "!"], &["caf"], true),
        ];
        for (stop, tokens, expected, stopped) in table {
            let (passed, did_stop, _) = run(stop, tokens, 0);
            assert_eq!(
                (
                    passed
                        .iter()
                        .map(String::as_str)
                        .collect::<Vec<_>>()
                        .as_slice(),
                    did_stop
                ),
                (*expected, *stopped),
                "{stop:?} {tokens:?}"
            );
        }
    }

    #[test]
    fn a_stop_sequence_before_min_tokens_is_text() {
        assert_eq!(
            run(&["b"], &["a", "b", "c", "b"], 2),
            (vec!["a".into(), "b".into(), "c".into()], true, 4)
        );
        // Begun before, complete after.
        assert_eq!(
            run(&["bc"], &["a", "b", "c"], 2),
            (vec!["a".into()], true, 3)
        );
    }

    #[test]
    fn any_split_of_a_text_gives_what_a_search_of_the_whole_gives() {
        for round in 0..500 {
            let draw = |step: u32, below: usize| (uniform(11, round, step) * below as f64) as usize;
            let text: String = (0..60).map(|i| ['a', 'b'][draw(i, 2)]).collect();
            let stop: Vec<String> = (0..3)
                .map(|s| {
                    (0..3 + draw(100 + s, 6))
                        .map(|i| ['a', 'b'][draw(200 + s * 20 + i as u32, 2)])
                        .collect()
                })
                .collect();
            let end = (1..=text.len())
                .find(|&end| stop.iter().any(|s| text[..end].ends_with(s.as_str())));
            let expected = match end {
                Some(end) => {
                    &text[..end
                        - stop
                            .iter()
                            .filter(|s| text[..end].ends_with(s.as_str()))
                            .map(String::len)
                            .max()
                            .unwrap()]
                }
                None => &text[..],
            };
            let mut tokens = Vec::new();
            let mut at = 0;
            while at < text.len() {
                if draw(400 + at as u32, 4) == 0 {
                    tokens.push("");
                }
                let next = (at + 1 + draw(300 + at as u32, 4)).min(text.len());
                tokens.push(&text[at..next]);
                at = next;
            }
            let stop: Vec<&str> = stop.iter().map(String::as_str).collect();
            let (passed, stopped, _) = run(&stop, &tokens, 0);
            assert_eq!(
                (passed.concat().as_str(), stopped),
                (expected, end.is_some()),
                "{stop:?} {text}"
            );
        }
    }

    #[test]
    fn four_long_sequences_over_a_long_answer_stay_linear() {
        let stop: Vec<String> = (0..4).map(|i| "a".repeat(1020 + i) + "b").collect();
        let mut matcher = StopMatcher::new(&stop);
        let mut count = 0;
        for _ in 0..100_000 {
            let event = TokenEvent {
                id: TokenId(0),
                bytes: b"aaaaaaaaaaaaaaaa".to_vec(),
                logprobs: None,
            };
            assert!(!matcher.push(event, true, &mut |_| count += 1));
        }
        // Never more held back than the longest sequence, and no less than may still complete one.
        assert_eq!(count, 100_000 - 1023usize.div_ceil(16));
    }
}
