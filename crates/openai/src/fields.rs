//! A request's body as named fields, and the readers that check one value each.
//!
//! - A body is split before its values are read, so that an error inside a value names its field.
//! - Of two fields with one name the last counts; `null` is the same as absent.
//! - Depth and memory of the values are limited before anything is built from them.
//!
//! Absent: which fields there are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::ApiError;

/// Arrays and objects within each other. serde_json's own limit, which keeps its recursion off the stack's end.
const DEPTH_MAX: usize = 127;

/// Memory that the values of a body may take: a value takes up to a hundred times its shortest spelling, and a
/// component has 64 MiB for everything. Enough for 390,000 token ids.
const VALUES_BYTES_MAX: usize = 24 << 20;

/// What serde_json's values take, allocation and growth included: a node of an object, the first elements of an array,
/// a further element, and what a key adds to it.
const OBJECT_BYTES: usize = 640;
const ARRAY_BYTES: usize = 128;
const ELEMENT_BYTES: usize = 64;
const KEY_BYTES: usize = 64;

/// Bytes of the `x-spindle-ignored` header, and of one name in it.
const IGNORED_BYTES_MAX: usize = 1024;
const IGNORED_NAME_BYTES_MAX: usize = 64;

/// The fields nobody has taken yet.
pub(crate) struct Fields<'b> {
    fields: BTreeMap<String, &'b RawValue>,
    ignored: BTreeSet<String>,
}

/// A field of OpenAI's that is refused unless its value changes nothing.
pub(crate) struct Unsupported {
    pub(crate) name: &'static str,
    /// Whether an answer would be the same without the field.
    pub(crate) harmless: fn(&Value) -> bool,
}

impl<'b> Fields<'b> {
    /// Splits a body.
    pub(crate) fn parse(body: &'b [u8]) -> Result<Self, ApiError> {
        let text = std::str::from_utf8(body).map_err(|error| invalid_json(error.to_string()))?;
        check_size(text)?;
        if text.trim_start().starts_with(['[', '"']) {
            return Err(invalid_json("expected an object".to_owned()));
        }
        let fields = serde_json::from_str(text).map_err(|error| invalid_json(error.to_string()))?;
        Ok(Self {
            fields,
            ignored: BTreeSet::new(),
        })
    }

    /// The value of a field, which is then done with.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<Value>, ApiError> {
        let Some(raw) = self.fields.remove(name) else {
            return Ok(None);
        };
        let value = parse_field(name, raw)?;
        Ok((!value.is_null()).then_some(value))
    }

    /// As [`Self::take`], for a field that must be there.
    pub(crate) fn require(&mut self, name: &str) -> Result<Value, ApiError> {
        self.take(name)?.ok_or_else(|| ApiError::MissingParameter {
            param: name.to_owned(),
        })
    }

    /// Notes a field inside another one that nobody reads.
    pub(crate) fn ignore(&mut self, name: String) {
        self.ignored.insert(name);
    }

    /// Judges the fields that nobody took; gives the value of the header that lists the ignored ones.
    ///
    /// `refused` may not be there at all.
    pub(crate) fn finish(
        mut self,
        unsupported: &[Unsupported],
        refused: &[&str],
    ) -> Result<Option<String>, ApiError> {
        for (name, raw) in std::mem::take(&mut self.fields) {
            if raw.get() == "null" {
                continue;
            }
            if refused.contains(&name.as_str()) {
                return Err(ApiError::UnknownParameter { param: name });
            }
            match unsupported.iter().find(|field| field.name == name) {
                Some(field) if (field.harmless)(&parse_field(&name, raw)?) => {}
                Some(_) => return Err(ApiError::UnsupportedParameter { param: name }),
                None => self.ignore(name),
            }
        }
        Ok(header(&self.ignored))
    }
}

/// Names for a header: whatever a client put into them, the value is printable and bounded.
fn header(names: &BTreeSet<String>) -> Option<String> {
    let mut value = String::new();
    for name in names {
        let safe = |c: char| {
            if c.is_ascii_alphanumeric() || "_.-".contains(c) {
                c
            } else {
                '?'
            }
        };
        let name: String = name
            .chars()
            .take(IGNORED_NAME_BYTES_MAX)
            .map(safe)
            .collect();
        if value.len() + name.len() > IGNORED_BYTES_MAX {
            value += ", ...";
            break;
        }
        if !value.is_empty() {
            value += ", ";
        }
        value += if name.is_empty() { "?" } else { &name };
    }
    (!value.is_empty()).then_some(value)
}

fn parse_field(name: &str, raw: &RawValue) -> Result<Value, ApiError> {
    serde_json::from_str(raw.get()).map_err(|error| {
        let reason = error.to_string();
        // `1e400` is good JSON and no number we can hold.
        if reason.starts_with("number out of range") {
            return ApiError::InvalidValue {
                param: name.to_owned(),
                message: format!("Invalid '{name}': number out of range."),
            };
        }
        invalid_json(format!("in '{}': {reason}", crate::error::quoted(name)))
    })
}

fn invalid_json(detail: String) -> ApiError {
    ApiError::InvalidJson { detail }
}

/// Looks at what is outside strings, in one pass and without building anything.
fn check_size(text: &str) -> Result<(), ApiError> {
    let (mut depth, mut bytes, mut in_string, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in text.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                bytes += if byte == b'[' {
                    ARRAY_BYTES
                } else {
                    OBJECT_BYTES
                };
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => bytes += ELEMENT_BYTES,
            b':' => bytes += KEY_BYTES,
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(invalid_json(format!(
                "more than {DEPTH_MAX} arrays and objects within each other"
            )));
        }
        if bytes > VALUES_BYTES_MAX {
            return Err(invalid_json("too many values".to_owned()));
        }
    }
    Ok(())
}

/// A string.
pub(crate) fn string(param: &str, value: Value) -> Result<String, ApiError> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(wrong_type(param, "a string", &other)),
    }
}

/// A boolean.
pub(crate) fn boolean(param: &str, value: &Value) -> Result<bool, ApiError> {
    value
        .as_bool()
        .ok_or_else(|| wrong_type(param, "a boolean", value))
}

/// A whole number in a range. `1e2` is one: JSON has only one kind of number, and some clients write floats.
pub(crate) fn integer(param: &str, value: &Value, min: i128, max: i128) -> Result<i128, ApiError> {
    let Value::Number(number) = value else {
        return Err(wrong_type(param, "an integer", value));
    };
    let whole = match (number.as_i128(), number.as_f64()) {
        (Some(integer), _) => integer,
        // Beyond 64 bits a number was rounded, perhaps onto the border of a range: it is moved past it.
        (None, Some(float)) if float.fract() == 0.0 => match float as i128 {
            far if far.unsigned_abs() >= 1 << 63 => far.saturating_add(far.signum()),
            near => near,
        },
        _ => return Err(wrong_type(param, "an integer", value)),
    };
    let (param, got) = (param.to_owned(), number.to_string());
    if whole < min {
        return Err(ApiError::IntegerBelowMin { param, min, got });
    }
    if whole > max {
        return Err(ApiError::IntegerAboveMax { param, max, got });
    }
    Ok(whole)
}

/// A number in a range.
pub(crate) fn decimal(param: &str, value: &Value, min: f64, max: f64) -> Result<f32, ApiError> {
    let Some(number) = value.as_f64() else {
        return Err(wrong_type(param, "a number", value));
    };
    let (param, got) = (param.to_owned(), value.to_string());
    if number < min {
        return Err(ApiError::DecimalBelowMin { param, min, got });
    }
    if number > max {
        return Err(ApiError::DecimalAboveMax { param, max, got });
    }
    // Adding zero turns a negative zero into the other one: two spellings of one request must not differ.
    Ok(number as f32 + 0.0)
}

/// The error for a value of another type than `expected`.
pub(crate) fn wrong_type(param: &str, expected: &'static str, value: &Value) -> ApiError {
    let got = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a decimal number",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    ApiError::InvalidType {
        param: param.to_owned(),
        expected,
        got,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn error(body: &str) -> String {
        match Fields::parse(body.as_bytes()) {
            Ok(_) => panic!("accepted: {}", &body[..body.len().min(80)]),
            Err(error) => {
                assert_eq!(
                    (error.status(), error.code()),
                    (400, "invalid_json"),
                    "{body:.80}"
                );
                error.message()
            }
        }
    }

    #[test]
    fn a_body_is_one_object() {
        for body in [
            "",
            " ",
            "[]",
            "\"x\"",
            "3",
            "null",
            "{",
            "{}x",
            "{\"a\":}",
            "{'a':1}",
            "\u{feff}{}",
            "{\"a\":1,}",
        ] {
            error(body);
        }
        assert!(Fields::parse(b"{\"a\": \"\xff\"}").is_err());
        assert!(Fields::parse(b" {} ").is_ok());
    }

    #[test]
    fn depth_and_memory_of_values_are_limited() {
        assert!(error(&"[".repeat(1_000_000)).contains("within each other"));
        let nested = |depth: usize| {
            format!(
                "{{\"a\":{}{}}}",
                "[".repeat(depth - 1),
                "]".repeat(depth - 1)
            )
        };
        let mut fields = Fields::parse(nested(DEPTH_MAX).leak().as_bytes()).unwrap();
        assert!(fields.take("a").unwrap().is_some());
        error(&nested(DEPTH_MAX + 1));
        let elements = |value: &str, count: usize| {
            format!("{{\"a\":[{}0]}}", format!("{value},").repeat(count))
        };
        assert!(Fields::parse(elements("0", 390_000).leak().as_bytes()).is_ok());
        for body in [
            elements("0", 400_000),
            elements("[]", 140_000),
            elements("{}", 40_000),
        ] {
            assert!(error(&body).contains("too many values"));
        }
        let keys: Vec<String> = (0..200_000).map(|key| format!("\"{key}\":0")).collect();
        error(&format!("{{\"a\":{{{}}}}}", keys.join(",")));
        // What stands inside a string is text.
        let text = format!(
            "{{\"a\":\"{}\\\"{}\"}}",
            "[".repeat(1000),
            "{,:".repeat(1_000_000)
        );
        assert!(Fields::parse(text.as_bytes()).is_ok());
    }

    #[test]
    fn the_last_of_two_fields_counts_and_null_is_absent() {
        let mut fields = Fields::parse(br#"{"a": 1, "b": 2, "\u0061": [3], "b": null}"#).unwrap();
        assert_eq!(fields.take("a").unwrap(), Some(json!([3])));
        assert_eq!(fields.take("b").unwrap(), None);
        assert_eq!(
            fields.require("c").unwrap_err().code(),
            "missing_required_parameter"
        );
    }

    #[test]
    fn an_error_inside_a_value_names_its_field() {
        let mut fields = Fields::parse(br#"{"n": 1e400, "user": "\ud800", "x": -1e999}"#).unwrap();
        assert_eq!(fields.take("n").unwrap_err().param(), Some("n"));
        assert_eq!(fields.take("x").unwrap_err().param(), Some("x"));
        assert!(
            fields
                .take("user")
                .unwrap_err()
                .message()
                .contains("'user'")
        );
    }

    #[test]
    fn whole_numbers_may_be_written_as_floats() {
        let check = |text: &str, expected: Result<i128, &str>| {
            let value = serde_json::from_str(text).unwrap();
            assert_eq!(
                integer("n", &value, 1, 128).map_err(|error| error.code()),
                expected,
                "{text}"
            );
        };
        check("1", Ok(1));
        check("1e2", Ok(100));
        check("128.0", Ok(128));
        check("0", Err("integer_below_min_value"));
        check("-0.0", Err("integer_below_min_value"));
        check("129", Err("integer_above_max_value"));
        check("1e300", Err("integer_above_max_value"));
        check("-1e300", Err("integer_below_min_value"));
        check("-9223372036854775809", Err("integer_below_min_value"));
        check("18446744073709551615", Err("integer_above_max_value"));
        for text in ["1.5", "\"3\"", "true", "[1]", "{}"] {
            check(text, Err("invalid_type"));
        }
    }

    #[test]
    fn ignored_names_are_safe_in_a_header_and_bounded() {
        let body = format!(
            r#"{{"zeta": 1, "top_a": 2, "a\r\nset-cookie: b": 1, "": 2, "gone": null, "{}": 3}}"#,
            "\u{e9}".repeat(500)
        );
        let header = Fields::parse(body.as_bytes())
            .unwrap()
            .finish(&[], &[])
            .unwrap()
            .unwrap();
        assert_eq!(
            header,
            format!("?, a??set-cookie??b, top_a, zeta, {}", "?".repeat(64))
        );
        let many: Vec<String> = (0..5000)
            .map(|index| format!("\"field_{index}\": 0"))
            .collect();
        let body = format!("{{{}}}", many.join(","));
        let header = Fields::parse(body.as_bytes())
            .unwrap()
            .finish(&[], &[])
            .unwrap()
            .unwrap();
        assert!(
            header.len() < IGNORED_BYTES_MAX + 100 && header.ends_with(", ..."),
            "{header}"
        );
        assert_eq!(
            Fields::parse(b"{}").unwrap().finish(&[], &[]).unwrap(),
            None
        );
    }
}
