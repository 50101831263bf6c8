//! The normalizer, pre-tokenizer and post-processor of `tokenizer.json`: the combinations that the models we run use.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::build::FILE;
use crate::formats::LoadError;
use crate::formats::json::{Bounded, parse_part};
use crate::tokenizer::codec::{BLANK, BlankPrefix};
use crate::tokenizer::normalizer::Normalizer;
use crate::tokenizer::pattern::Pattern;
use crate::tokenizer::pre::{STEPS_MAX, Step};

/// Bytes of one part with all it holds. The longest in use, DeepSeek's patterns, has 5,000.
const PART_BYTES_MAX: usize = 16 << 10;

/// What becomes of a text before it is merged.
#[derive(Default)]
pub(super) struct Pipeline {
    pub normalizer: Option<Normalizer>,
    pub steps: Vec<Step>,
    /// Bytes are written in GPT-2's alphabet.
    pub byte_level: bool,
    /// GPT-2's option to put a blank before a text.
    pub add_prefix_space: bool,
    /// Blanks are written `▁`.
    pub blanks: bool,
    pub blank_prefix: Option<BlankPrefix>,
    /// The prefix is left out where the text begins with a blank.
    pub prefix_if_missing: bool,
}

#[derive(Deserialize)]
struct Typed {
    r#type: String,
}

type Parts<'a> = Bounded<&'a RawValue, STEPS_MAX>;

/// Refuses a part we do not do.
fn unsupported(part: &str, found: &str, supported: &str) -> LoadError {
    LoadError::unsupported(&format!("{FILE}: {part}"), found, supported)
}

fn type_of(part: &RawValue) -> Result<String, LoadError> {
    if part.get().len() > PART_BYTES_MAX {
        return Err(LoadError::too_many(
            &format!("{FILE}: bytes of a part"),
            part.get().len(),
            PART_BYTES_MAX,
        ));
    }
    Ok(parse_part::<Typed>(FILE, part.get())?.r#type)
}

impl Pipeline {
    /// Takes in the normalizer. `depth` counts nested sequences, which no model has more than one of.
    pub(super) fn normalizer(&mut self, part: &RawValue, depth: usize) -> Result<(), LoadError> {
        #[derive(Deserialize)]
        struct Sequence<'a> {
            #[serde(borrow)]
            normalizers: Parts<'a>,
        }
        #[derive(Deserialize)]
        struct Prepend {
            prepend: String,
        }
        #[derive(Deserialize)]
        struct Replace {
            pattern: PatternJson,
            content: String,
        }
        const PART: &str = "normalizer";
        let supported = "NFC and SentencePiece's blanks are";
        match &*type_of(part)? {
            "Sequence" if depth == 0 => {
                let Sequence { normalizers } = parse_part(FILE, part.get())?;
                normalizers
                    .0
                    .into_iter()
                    .try_for_each(|part| self.normalizer(part, depth + 1))
            }
            "NFC" => {
                self.normalizer = Some(Normalizer::Nfc);
                Ok(())
            }
            "Prepend" => match parse_part(FILE, part.get())? {
                Prepend { prepend } if prepend == BLANK => {
                    self.blank_prefix = Some(BlankPrefix::Always);
                    Ok(())
                }
                Prepend { prepend } => Err(unsupported(
                    PART,
                    &format!("Prepend of {prepend:?}"),
                    supported,
                )),
            },
            "Replace" => match parse_part(FILE, part.get())? {
                Replace {
                    pattern: PatternJson::String(from),
                    content,
                } if from == " " && content == BLANK => {
                    self.blanks = true;
                    Ok(())
                }
                _ => Err(unsupported(
                    PART,
                    "another Replace than of blanks",
                    supported,
                )),
            },
            other => Err(unsupported(PART, other, supported)),
        }
    }

    /// Takes in the pre-tokenizer.
    pub(super) fn pre_tokenizer(&mut self, part: &RawValue, depth: usize) -> Result<(), LoadError> {
        #[derive(Deserialize)]
        struct Sequence<'a> {
            #[serde(borrow)]
            pretokenizers: Parts<'a>,
        }
        #[derive(Deserialize)]
        struct ByteLevel {
            #[serde(default)]
            add_prefix_space: bool,
            use_regex: Option<bool>,
        }
        #[derive(Deserialize)]
        struct Digits {
            #[serde(default)]
            individual_digits: bool,
        }
        match &*type_of(part)? {
            "Sequence" if depth == 0 => {
                let Sequence { pretokenizers } = parse_part(FILE, part.get())?;
                return pretokenizers
                    .0
                    .into_iter()
                    .try_for_each(|part| self.pre_tokenizer(part, depth + 1));
            }
            "ByteLevel" => {
                let ByteLevel {
                    add_prefix_space,
                    use_regex,
                } = parse_part(FILE, part.get())?;
                self.byte_level = true;
                self.add_prefix_space |= add_prefix_space;
                if use_regex.unwrap_or(true) {
                    self.steps.push(Step::Gpt2);
                }
            }
            "Digits" => match parse_part(FILE, part.get())? {
                Digits {
                    individual_digits: true,
                } => self.steps.push(Step::SingleDigits),
                Digits {
                    individual_digits: false,
                } => self
                    .steps
                    .push(Step::Pattern(Box::new(Pattern::new(r"\p{N}+")?))),
            },
            "Split" => self.steps.push(split(part)?),
            "Metaspace" => self.metaspace(part)?,
            other => {
                let supported = "ByteLevel, Split, Digits, Metaspace and sequences of them are";
                return Err(unsupported("pre_tokenizer", other, supported));
            }
        }
        Ok(())
    }

    fn metaspace(&mut self, part: &RawValue) -> Result<(), LoadError> {
        #[derive(Deserialize)]
        struct Metaspace {
            replacement: String,
            prepend_scheme: Option<String>,
            add_prefix_space: Option<bool>,
            split: Option<bool>,
        }
        let Metaspace {
            replacement,
            prepend_scheme,
            add_prefix_space,
            split,
        } = parse_part(FILE, part.get())?;
        if replacement != BLANK || split.unwrap_or(true) {
            return Err(unsupported(
                "pre_tokenizer",
                "Metaspace that splits",
                "Metaspace with ▁ and split: false is",
            ));
        }
        self.blanks = true;
        self.prefix_if_missing = true;
        self.blank_prefix = Some(match (prepend_scheme.as_deref(), add_prefix_space) {
            (Some("never"), _) | (None, Some(false)) => BlankPrefix::Never,
            (Some("first"), _) => BlankPrefix::First,
            _ => BlankPrefix::Always,
        });
        Ok(())
    }
}

#[derive(Deserialize)]
enum PatternJson {
    Regex(String),
    String(String),
}

fn split(part: &RawValue) -> Result<Step, LoadError> {
    #[derive(Deserialize)]
    struct Split {
        pattern: PatternJson,
        behavior: String,
        #[serde(default)]
        invert: bool,
    }
    let Split {
        pattern,
        behavior,
        invert,
    } = parse_part(FILE, part.get())?;
    let PatternJson::Regex(pattern) = pattern else {
        return Err(unsupported(
            "pre_tokenizer",
            "Split at a string",
            "Split by a regular expression is",
        ));
    };
    let step = Step::from_pattern(&pattern)?;
    match (&*behavior, invert) {
        ("Isolated", _) => Ok(step),
        // "Remove what does not match": known patterns match everything, so nothing is removed.
        ("Removed", true) if step.covers_text() => Ok(step),
        _ => Err(unsupported(
            "pre_tokenizer",
            &format!("Split with {behavior}"),
            "Split with Isolated is",
        )),
    }
}

/// The text of the token that the post-processor puts before a sequence.
pub(super) fn prefix_token(part: &RawValue, depth: usize) -> Result<Option<String>, LoadError> {
    #[derive(Deserialize)]
    struct Sequence<'a> {
        #[serde(borrow)]
        processors: Parts<'a>,
    }
    #[derive(Deserialize)]
    struct Template {
        single: Bounded<Piece, 8>,
    }
    #[derive(Deserialize)]
    enum Piece {
        SpecialToken { id: String },
        Sequence(IgnoredAny),
    }
    const PART: &str = "post_processor";
    match &*type_of(part)? {
        "Sequence" if depth == 0 => {
            let Sequence { processors } = parse_part(FILE, part.get())?;
            let mut found = None;
            for part in processors.0 {
                found = prefix_token(part, depth + 1)?.or(found);
            }
            Ok(found)
        }
        "ByteLevel" => Ok(None),
        "TemplateProcessing" => {
            // What the template puts behind the text is left out: a prompt is to be continued.
            let Template { single } = parse_part(FILE, part.get())?;
            let before = single.0.into_iter().map_while(|piece| match piece {
                Piece::SpecialToken { id } => Some(id),
                Piece::Sequence(_) => None,
            });
            let mut before: Vec<String> = before.collect();
            match before.len() {
                0 | 1 => Ok(before.pop()),
                _ => Err(unsupported(
                    PART,
                    "a template that begins with two tokens",
                    "one begin token is",
                )),
            }
        }
        other => Err(unsupported(
            PART,
            other,
            "TemplateProcessing and ByteLevel are",
        )),
    }
}
