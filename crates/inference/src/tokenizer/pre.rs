//! Pre-tokenizers: how a text is cut into words before merging. One table for GGUF's names and one for the patterns
//! in `tokenizer.json`.
//!
//! - Known patterns are matched by hand ([`super::split`]): linear on any text.
//! - A pattern we do not know runs in an automaton that counts its steps ([`super::pattern`]); a text that takes too
//!   many is an error, never a hang.
//!
//! To add a pre-tokenizer: a row in [`ROWS`], and a matcher in [`super::split`] only if its pattern is new.

use super::error::EncodeError;
use super::pattern::{Cache, Pattern};
use super::split;
use crate::formats::LoadError;

/// One pass over the text. Each further pass cuts the pieces of the one before.
#[derive(Debug)]
pub(super) enum Step {
    /// Every digit alone.
    SingleDigits,
    /// GPT-2's pattern.
    Gpt2,
    /// Llama 3's pattern with digits in groups of so many.
    Llama3 {
        /// Digits of a group, at the most.
        digits: usize,
    },
    /// Blanks at the end of the text, and what is before them.
    TrailingBlanks,
    /// Matches of a pattern and what lies between them.
    Pattern(Box<Pattern>),
}

/// The passes of a model, in order.
#[derive(Debug, Default)]
pub(super) struct PreTokenizer {
    steps: Vec<Step>,
}

/// What GGUF means by a name in `tokenizer.ggml.pre`.
pub(super) struct Row {
    names: &'static [&'static str],
    passes: &'static [Pass],
    /// A word that is a token is that token, without merging.
    pub ignore_merges: bool,
    /// The begin token is added unless the file says otherwise.
    pub add_bos: bool,
}

/// A [`Step`] before its pattern is compiled.
enum Pass {
    SingleDigits,
    Gpt2,
    Llama3 { digits: usize },
    TrailingBlanks,
    Pattern(&'static str),
}

const GPT2: &[Pass] = &[Pass::Gpt2];
const DIGITS_THEN_GPT2: &[Pass] = &[Pass::SingleDigits, Pass::Gpt2];
const LLAMA3: &[Pass] = &[Pass::Llama3 { digits: 3 }];
const QWEN2: &[Pass] = &[Pass::Llama3 { digits: 1 }];

const ROWS: &[Row] = &[
    Row {
        names: &[
            "gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "gigachat", "mellum", "exaone4",
        ],
        passes: GPT2,
        ignore_merges: false,
        add_bos: false,
    },
    Row {
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
        ],
        passes: DIGITS_THEN_GPT2,
        ignore_merges: false,
        add_bos: false,
    },
    Row {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "midm-2.0",
            "lfm2",
        ],
        passes: LLAMA3,
        ignore_merges: true,
        add_bos: true,
    },
    Row {
        names: &["dbrx", "smaug-bpe"],
        passes: LLAMA3,
        ignore_merges: false,
        add_bos: false,
    },
    Row {
        names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "stablelm2",
            "hunyuan",
            "megrez",
            "solar-open",
            "grok-2",
        ],
        passes: QWEN2,
        ignore_merges: false,
        add_bos: false,
    },
    Row {
        names: &["deepseek-llm"],
        passes: DEEPSEEK_LLM,
        ignore_merges: false,
        add_bos: false,
    },
];

/// What an error says is supported.
const SUPPORTED: &str = "gpt-2, smollm, llama-bpe, qwen2, deepseek-llm and those that share their patterns (refact, mpt, ...) are";

/// The row of a GGUF name.
pub(super) fn by_gguf_name(name: &str) -> Result<&'static Row, LoadError> {
    let row = ROWS.iter().find(|row| row.names.contains(&name));
    row.ok_or_else(|| LoadError::unsupported("tokenizer.ggml.pre", name, SUPPORTED))
}

/// Llama 3's pattern as `tokenizer.json` spells it, around its group of digits.
const LLAMA3_HEAD: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|";
const LLAMA3_TAIL: &str = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// GPT-2's pattern as `tokenizer.json` spells it where it is written out.
const GPT2_PATTERN: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

impl Step {
    /// The step for a pattern of `tokenizer.json`: by hand if we know it, else compiled.
    pub(super) fn from_pattern(pattern: &str) -> Result<Step, LoadError> {
        if pattern == GPT2_PATTERN {
            return Ok(Step::Gpt2);
        }
        let digits = pattern
            .strip_prefix(LLAMA3_HEAD)
            .and_then(|rest| rest.strip_suffix(LLAMA3_TAIL));
        match digits {
            Some(r"\p{N}") => return Ok(Step::Llama3 { digits: 1 }),
            Some(r"\p{N}{1,3}") => return Ok(Step::Llama3 { digits: 3 }),
            _ => {}
        }
        if pattern == r"\p{N}" {
            return Ok(Step::SingleDigits);
        }
        Ok(Step::Pattern(Box::new(Pattern::new(pattern)?)))
    }

    /// Whether its matches leave nothing out on any text.
    pub(super) fn covers_text(&self) -> bool {
        matches!(self, Step::Gpt2 | Step::Llama3 { .. })
    }
}

impl Row {
    pub(super) fn pre_tokenizer(&self) -> Result<PreTokenizer, LoadError> {
        let steps = self.passes.iter().map(|pass| match pass {
            Pass::SingleDigits => Ok(Step::SingleDigits),
            Pass::Gpt2 => Ok(Step::Gpt2),
            Pass::Llama3 { digits } => Ok(Step::Llama3 { digits: *digits }),
            Pass::TrailingBlanks => Ok(Step::TrailingBlanks),
            Pass::Pattern(pattern) => Ok(Step::Pattern(Box::new(Pattern::new(pattern)?))),
        });
        Ok(PreTokenizer {
            steps: steps.collect::<Result<_, LoadError>>()?,
        })
    }
}

/// What receives the words, one by one; an error ends the text.
pub(super) type Words<'a> = dyn FnMut(&str) -> Result<(), EncodeError> + 'a;

/// Memory of one text's passes, by step; only patterns need any.
#[derive(Default)]
pub(super) struct Caches(Vec<Option<Box<Cache>>>);

impl PreTokenizer {
    pub(super) fn new(steps: Vec<Step>) -> Self {
        PreTokenizer { steps }
    }

    /// Hands every word of `text` to `word`, in order. Together they are the text.
    pub(super) fn split(
        &self,
        caches: &mut Caches,
        text: &str,
        word: &mut Words,
    ) -> Result<(), EncodeError> {
        caches.0.resize_with(self.steps.len(), || None);
        split_by(&self.steps, &mut caches.0, text, word)
    }
}

/// One level of calls for each step of the model, of which there are at most [`STEPS_MAX`].
fn split_by(
    steps: &[Step],
    caches: &mut [Option<Box<Cache>>],
    text: &str,
    word: &mut Words,
) -> Result<(), EncodeError> {
    let (Some((step, steps)), Some((cache, caches))) =
        (steps.split_first(), caches.split_first_mut())
    else {
        return word(text);
    };
    let mut piece = |piece: &str| split_by(steps, caches, piece, word);
    match step {
        Step::SingleDigits => pieces(split::single_digits, text, &mut piece),
        Step::Gpt2 => pieces(split::gpt2, text, &mut piece),
        Step::Llama3 { digits } => pieces(|rest| split::llama3(rest, *digits), text, &mut piece),
        Step::TrailingBlanks => {
            let (body, blanks) = text.split_at(text.trim_end().len());
            [body, blanks]
                .into_iter()
                .filter(|part| !part.is_empty())
                .try_for_each(piece)
        }
        Step::Pattern(pattern) => {
            let cache = cache.get_or_insert_with(|| Box::new(pattern.cache()));
            pattern.split(cache, text, &mut piece)
        }
    }
}

fn pieces(
    matcher: impl Fn(&str) -> usize,
    text: &str,
    piece: &mut Words,
) -> Result<(), EncodeError> {
    let mut rest = text;
    while !rest.is_empty() {
        let (first, behind) = rest.split_at(matcher(rest));
        piece(first)?;
        rest = behind;
    }
    Ok(())
}

/// Steps of one pre-tokenizer in `tokenizer.json`; the longest in use has 7.
pub(super) const STEPS_MAX: usize = 16;

/// DeepSeek-LLM's passes: line ends, words of cased letters, punctuation, blanks at the end, CJK and Hangul, numbers.
/// The ranges are those of the model's own `tokenizer.json`.
const DEEPSEEK_LLM: &[Pass] = &[
    Pass::Pattern(r"[\r\n]"),
    Pass::Pattern(DEEPSEEK_LLM_LETTERS),
    Pass::Pattern(
        r"\s?[!-/:-~\u{ff01}-\u{ff0f}\u{ff1a}-\u{ff5e}\u{2018}-\u{201f}\u{3000}-\u{3002}]+",
    ),
    Pass::TrailingBlanks,
    Pass::Pattern(r"[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+"),
    Pass::Pattern(r"\p{N}+"),
];

const DEEPSEEK_LLM_LETTERS: &str = concat!(
    r"\s?[",
    r"A-Za-z\u{b5}\u{c0}-\u{d6}\u{d8}-\u{f6}\u{f8}-\u{1ba}\u{1bc}-\u{1bf}\u{1c4}-\u{293}\u{295}-\u{2af}",
    r"\u{370}-\u{373}\u{376}\u{377}\u{37b}-\u{37d}\u{37f}\u{386}\u{388}-\u{38a}\u{38c}\u{38e}-\u{3a1}",
    r"\u{3a3}-\u{3f5}\u{3f7}-\u{481}\u{48a}-\u{52f}\u{531}-\u{556}\u{10a0}-\u{10c5}\u{13a0}-\u{13f5}",
    r"\u{13f8}-\u{13fd}\u{1c90}-\u{1cba}\u{1cbd}-\u{1cbf}\u{1d00}-\u{1d2b}\u{1d6b}-\u{1d77}\u{1d79}-\u{1d9a}",
    r"\u{1e00}-\u{1f15}\u{1f18}-\u{1f1d}\u{1f20}-\u{1f45}\u{1f48}-\u{1f4d}\u{1f50}-\u{1f57}\u{1f59}\u{1f5b}",
    r"\u{1f5d}\u{1f5f}-\u{1f7d}\u{1f80}-\u{1fb4}\u{1fb6}-\u{1fbc}\u{1fbe}\u{1fc2}-\u{1fc4}\u{1fc6}-\u{1fcc}",
    r"\u{1fd0}-\u{1fd3}\u{1fd6}-\u{1fdb}\u{1fe0}-\u{1fec}\u{1ff2}-\u{1ff4}\u{1ff6}-\u{1ffc}\u{2102}\u{2107}",
    r"\u{210a}-\u{2113}\u{2115}\u{2119}-\u{211d}\u{2124}\u{2126}\u{2128}\u{212a}-\u{212d}\u{212f}-\u{2134}",
    r"\u{2139}\u{213c}-\u{213f}\u{2145}-\u{2149}\u{214e}\u{2183}\u{2184}\u{2c00}-\u{2c7b}\u{2c7e}-\u{2ce4}",
    r"\u{2ceb}-\u{2cee}\u{2cf2}\u{2cf3}\u{a640}-\u{a66d}\u{a680}-\u{a69b}\u{a722}-\u{a76f}\u{a771}-\u{a787}",
    r"\u{a78b}-\u{a78e}\u{ab70}-\u{abbf}\u{fb00}-\u{fb06}\u{fb13}-\u{fb17}\u{ff21}-\u{ff3a}\u{ff41}-\u{ff5a}",
    r"\u{10400}-\u{1044f}\u{104b0}-\u{104d3}\u{104d8}-\u{104fb}\u{10c80}-\u{10cb2}\u{10cc0}-\u{10cf2}",
    r"\u{118a0}-\u{118df}\u{1e900}-\u{1e943}",
    r"]+",
);
