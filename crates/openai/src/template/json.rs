//! `tojson` as Hugging Face defines it for chat templates: Python's `json.dumps` without escaping what is not ASCII.

use std::io;

use minijinja::value::{Kwargs, Value};
use minijinja::{Error, ErrorKind};
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{Formatter, PrettyFormatter};

/// The filter. `indent` is honoured; `ensure_ascii`, `separators` and `sort_keys` are taken only at their defaults.
///
/// A value may hold itself many times over, so that its text is far larger than it: the text has a limit too.
pub(super) fn tojson(value: &Value, options: Kwargs, bytes_max: usize) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    for (name, default) in [("ensure_ascii", false), ("sort_keys", false)] {
        if options
            .get::<Option<bool>>(name)?
            .is_some_and(|value| value != default)
        {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("tojson: {name} is not supported"),
            ));
        }
    }
    options.assert_all_used()?;
    let mut output = super::LimitedOutput {
        bytes: Vec::new(),
        bytes_max,
        full: false,
    };
    let result = match indent {
        Some(width) => {
            let indent = " ".repeat(width.min(16));
            value.serialize(&mut Serializer::with_formatter(
                &mut output,
                PrettyFormatter::with_indent(indent.as_bytes()),
            ))
        }
        None => value.serialize(&mut Serializer::with_formatter(
            &mut output,
            PythonFormatter,
        )),
    };
    match result {
        Ok(()) => Ok(Value::from(
            String::from_utf8(output.bytes).expect("JSON is text"),
        )),
        Err(_) if output.full => Err(Error::from(ErrorKind::OutOfFuel)),
        Err(error) => Err(Error::new(ErrorKind::BadSerialization, error.to_string())),
    }
}

/// A space after each comma and colon.
struct PythonFormatter;

impl Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first {
            Ok(())
        } else {
            writer.write_all(b", ")
        }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first {
            Ok(())
        } else {
            writer.write_all(b", ")
        }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}
