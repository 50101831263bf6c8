//! Chat templates: a conversation to the text a model was trained on.
//!
//! - A template is Jinja as Hugging Face runs it: `trim_blocks`, `lstrip_blocks`, Python's methods on values,
//!   `raise_exception`, `strftime_now`, a `tojson` that escapes nothing.
//! - A template comes from a model's file and is trusted with nothing: it has fuel, and its source and its output
//!   have limits. What runs out is named in the error.
//! - A request never brings a template.
//! - What fuel does not see (a list that holds itself thousands of times, compared or joined) is ended by the limits
//!   of the instance it runs in, and costs that one request.
//!
//! Absent: tools and documents (templates see `none`, as they do under Hugging Face without them), includes and
//! other templates, the machine's time zone (dates are in UTC).

mod date;
mod generation_tag;
mod json;

use std::error::Error as _;
use std::fmt;
use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, context};
use thiserror::Error as ThisError;

use crate::error::ApiError;
use crate::inference::ModelInfo;
use crate::messages::Message;

/// Instructions, and 64 bytes each of what they make: a long chat in a long template takes a tenth.
const FUEL: u64 = 1_000_000;

/// The longest template of a public model has 30 KiB.
const SOURCE_BYTES_MAX: usize = 1 << 20;

/// Least limit of a prompt's text; long contexts have more, by the bytes that a token has at most on average.
const PROMPT_BYTES_MAX: usize = 4 << 20;
const BYTES_PER_TOKEN: usize = 8;

/// What models without a template are most often trained on.
const CHATML: &str = "{% for message in messages %}\
    {{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}\
    {% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// Why there is no text.
#[derive(Debug, ThisError, PartialEq)]
pub(crate) enum TemplateError {
    /// The template called `raise_exception`.
    #[error("{0}")]
    Raised(String),
    #[error("its source has {0} bytes, more than {SOURCE_BYTES_MAX}")]
    Source(usize),
    #[error("it ran out of fuel after {FUEL} steps")]
    Fuel,
    #[error("its output is longer than {0} bytes")]
    Output(usize),
    /// A mistake in the template.
    #[error("{0}")]
    Broken(String),
}

impl From<TemplateError> for ApiError {
    fn from(error: TemplateError) -> Self {
        match error {
            TemplateError::Raised(message) => Self::ChatTemplateRefused { message },
            error => Self::ChatTemplateFailed {
                detail: error.to_string(),
            },
        }
    }
}

/// Most bytes of text in a prompt for a context of so many tokens: what is longer cannot fit, and is not worth
/// being made into tokens to find out.
pub(crate) fn prompt_bytes_max(context_len: u32) -> usize {
    PROMPT_BYTES_MAX.max((context_len as usize).saturating_mul(BYTES_PER_TOKEN))
}

/// The text of a conversation, up to where the assistant's answer begins. A last message by the assistant is a
/// message like any other: its answer is not continued.
pub(crate) fn render(
    model: &ModelInfo,
    messages: &[Message],
    now: u64,
) -> Result<String, TemplateError> {
    let source = model.chat_template.as_deref().unwrap_or(CHATML);
    if source.len() > SOURCE_BYTES_MAX {
        return Err(TemplateError::Source(source.len()));
    }
    let mut output = LimitedOutput {
        bytes: Vec::new(),
        bytes_max: prompt_bytes_max(model.context_len),
        full: false,
    };
    let source = generation_tag::remove(source);
    let environment = environment(now, output.bytes_max);
    let template = environment.template_from_named_str("chat_template", &source);
    let rendered = template.and_then(|template| {
        let context = context! {
            messages => messages.iter().map(|message| Value::from_pairs(message.pairs())).collect::<Value>(),
            add_generation_prompt => true,
            bos_token => model.bos_token.as_deref().unwrap_or_default(),
            eos_token => model.eos_token.as_deref().unwrap_or_default(),
            tools => Value::from(()),
            documents => Value::from(()),
        };
        template.render_captured_to(context, &mut output).map(drop)
    });
    match rendered {
        Ok(()) => Ok(String::from_utf8(output.bytes).expect("a template writes text")),
        Err(_) if output.full => Err(TemplateError::Output(output.bytes_max)),
        Err(error) => Err(classify(&error)),
    }
}

fn environment<'s>(now: u64, bytes_max: usize) -> Environment<'s> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_syntax(syntax.expect("the usual delimiters are valid"));
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_formatter(|output, state, value| match value.kind() {
        // Spelled as Python spells them.
        ValueKind::Bool => Ok(output.write_str(if value.is_true() { "True" } else { "False" })?),
        ValueKind::None => Ok(output.write_str("None")?),
        _ => minijinja::escape_formatter(output, state, value),
    });
    // `none is iterable` is false in Python, and templates lean on it before they count their tools.
    let is_iterable =
        |value: &Value| !value.is_none() && !value.is_undefined() && value.try_iter().is_ok();
    environment.add_test("iterable", is_iterable);
    environment.add_filter("tojson", move |value: &Value, options| {
        json::tojson(value, options, bytes_max)
    });
    environment.add_function(
        "raise_exception",
        |message: String| -> Result<Value, Error> {
            let error = Error::new(ErrorKind::InvalidOperation, "raise_exception was called");
            Err(error.with_source(Raised(message)))
        },
    );
    environment.add_function("strftime_now", move |format: String| {
        date::format(now, &format)
    });
    environment
}

/// Finds the reason among the errors an error stands on: a call inside a macro wraps what it failed on.
fn classify(error: &Error) -> TemplateError {
    let mut reason: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = reason {
        if let Some(Raised(message)) = cause.downcast_ref() {
            return TemplateError::Raised(message.clone());
        }
        if cause
            .downcast_ref::<Error>()
            .is_some_and(|error| error.kind() == ErrorKind::OutOfFuel)
        {
            return TemplateError::Fuel;
        }
        reason = cause.source();
    }
    match error.source() {
        Some(source) => TemplateError::Broken(format!("{error}: {source}")),
        None => TemplateError::Broken(error.to_string()),
    }
}

/// What a template said with `raise_exception`.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// Memory that refuses to grow beyond a limit.
struct LimitedOutput {
    bytes: Vec<u8>,
    bytes_max: usize,
    full: bool,
}

impl io::Write for LimitedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.bytes_max {
            self.full = true;
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
