//! The messages of a chat, as a chat template gets them.
//!
//! - A template sees a role, a text, and the two fields templates know besides; never what a client made up.
//! - What a text cannot say (an image, a tool call) is refused by the path of the part that says it.

use serde_json::{Map, Value};

use crate::error::{ApiError, quoted};
use crate::fields::{Fields, string, wrong_type};

/// One message.
#[derive(Debug, PartialEq)]
pub(crate) struct Message {
    role: &'static str,
    content: String,
    name: Option<String>,
    reasoning_content: Option<String>,
}

/// Messages of a conversation: as many as a template's fuel is enough for, at two hundred steps each.
const MESSAGES_MAX: usize = 4096;

/// Roles as clients write them, and as templates know them: `developer` is the newer name of `system`.
const ROLES: &[(&str, &str)] = &[
    ("system", "system"),
    ("developer", "system"),
    ("user", "user"),
    ("assistant", "assistant"),
];

/// Roles that come with tools.
const ROLES_UNSUPPORTED: &[&str] = &["tool", "function"];

/// Parts of OpenAI's that are not text.
const PARTS_UNSUPPORTED: &[&str] = &["image_url", "input_audio", "file", "refusal"];

/// Fields of OpenAI's in a message that are refused unless they are empty: replies come back with them.
const FIELDS_UNSUPPORTED: &[&str] = &["tool_calls", "function_call", "audio", "refusal"];

impl Message {
    /// The fields it has, for a template.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let fields = [
            ("role", Some(self.role)),
            ("content", Some(&self.content)),
            ("name", self.name.as_deref()),
            ("reasoning_content", self.reasoning_content.as_deref()),
        ];
        fields
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
    }

    /// Bytes of text a template is given by this message.
    pub(crate) fn text_bytes(&self) -> usize {
        self.content.len() + self.reasoning_content.as_ref().map_or(0, String::len)
    }

    #[cfg(test)]
    pub(crate) fn new(role: &'static str, content: &str) -> Self {
        Self {
            role,
            content: content.to_owned(),
            name: None,
            reasoning_content: None,
        }
    }
}

/// Takes the field `messages`.
pub(crate) fn take(fields: &mut Fields<'_>) -> Result<Vec<Message>, ApiError> {
    const NAME: &str = "messages";
    match fields.require(NAME)? {
        Value::Array(messages) if messages.is_empty() => Err(ApiError::EmptyArray {
            param: NAME.to_owned(),
        }),
        Value::Array(messages) if messages.len() > MESSAGES_MAX => {
            Err(ApiError::ArrayAboveMaxLength {
                param: NAME.to_owned(),
                max: MESSAGES_MAX,
                got: messages.len(),
            })
        }
        Value::Array(messages) => messages
            .into_iter()
            .enumerate()
            .map(|(index, value)| message(fields, &format!("{NAME}.{index}"), value))
            .collect(),
        other => Err(wrong_type(NAME, "an array of objects", &other)),
    }
}

fn message(fields: &mut Fields<'_>, path: &str, value: Value) -> Result<Message, ApiError> {
    let Value::Object(mut message) = value else {
        return Err(wrong_type(path, "an object", &value));
    };
    message.retain(|_, value| !value.is_null());
    let role = role(path, require(&mut message, path, "role")?)?;
    let content = content(path, require(&mut message, path, "content")?)?;
    let mut text = |name: &str| {
        message
            .remove(name)
            .map(|value| string(&format!("{path}.{name}"), value))
            .transpose()
    };
    let (name, reasoning_content) = (text("name")?, text("reasoning_content")?);
    for (key, value) in message {
        if value.as_array().is_some_and(Vec::is_empty) {
            continue;
        }
        if FIELDS_UNSUPPORTED.contains(&key.as_str()) {
            return Err(ApiError::UnsupportedParameter {
                param: format!("{path}.{key}"),
            });
        }
        fields.ignore(format!("messages.{key}"));
    }
    Ok(Message {
        role,
        content,
        name,
        reasoning_content,
    })
}

fn require(object: &mut Map<String, Value>, path: &str, name: &str) -> Result<Value, ApiError> {
    object
        .remove(name)
        .ok_or_else(|| ApiError::MissingParameter {
            param: format!("{path}.{name}"),
        })
}

fn role(path: &str, value: Value) -> Result<&'static str, ApiError> {
    let param = format!("{path}.role");
    let role = string(&param, value)?;
    if let Some((_, role)) = ROLES.iter().find(|(name, _)| *name == role) {
        return Ok(role);
    }
    if ROLES_UNSUPPORTED.contains(&role.as_str()) {
        return Err(ApiError::UnsupportedParameter { param });
    }
    let message = format!(
        "Invalid value: '{}'. Supported values are: 'system', 'developer', 'user', and 'assistant'.",
        quoted(&role)
    );
    Err(ApiError::InvalidValue { param, message })
}

/// A text, or parts that are texts. They are put on lines of their own, as other servers do.
fn content(path: &str, value: Value) -> Result<String, ApiError> {
    let path = format!("{path}.content");
    match value {
        Value::String(text) => Ok(text),
        Value::Array(parts) if parts.is_empty() => Err(ApiError::EmptyArray { param: path }),
        Value::Array(parts) => {
            let mut content = String::new();
            for (index, value) in parts.into_iter().enumerate() {
                if index > 0 {
                    content.push('\n');
                }
                content += &part(&format!("{path}.{index}"), value)?;
            }
            Ok(content)
        }
        other => Err(wrong_type(&path, "a string or an array of objects", &other)),
    }
}

fn part(path: &str, value: Value) -> Result<String, ApiError> {
    let Value::Object(mut part) = value else {
        return Err(wrong_type(path, "an object", &value));
    };
    let param = format!("{path}.type");
    let kind = string(&param, require(&mut part, path, "type")?)?;
    match kind.as_str() {
        "text" => string(&format!("{path}.text"), require(&mut part, path, "text")?),
        other if PARTS_UNSUPPORTED.contains(&other) => Err(ApiError::UnsupportedParameter {
            param: path.to_owned(),
        }),
        other => {
            let message = format!(
                "Invalid value: '{}'. Supported values are: 'text'.",
                quoted(other)
            );
            Err(ApiError::InvalidValue { param, message })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Code and field of an error.
    type Refusal = (&'static str, String);

    fn read(messages: Value) -> Result<(Vec<Message>, Option<String>), Refusal> {
        let body = json!({"messages": messages}).to_string();
        let mut fields = Fields::parse(body.as_bytes()).unwrap();
        let named = |error: ApiError| (error.code(), error.param().unwrap().to_owned());
        let messages = take(&mut fields).map_err(named)?;
        Ok((messages, fields.finish(&[], &[]).map_err(named)?))
    }

    #[test]
    fn texts_and_text_parts_of_every_role_are_read() {
        let (messages, ignored) = read(json!([
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": ""}, {"type": "text", "text": "b"}]},
            {"role": "user", "content": "", "name": "ann"},
            {"role": "assistant", "content": "x", "reasoning_content": "y", "refusal": null, "tool_calls": [],
             "function_call": null, "annotations": [], "audio": null, "weight": 1},
        ]))
        .unwrap();
        let mut named = Message::new("user", "");
        named.name = Some("ann".to_owned());
        let mut reasoned = Message::new("assistant", "x");
        reasoned.reasoning_content = Some("y".to_owned());
        assert_eq!(
            messages,
            [
                Message::new("system", "Be brief."),
                Message::new("system", "a\n\nb"),
                named,
                reasoned
            ]
        );
        assert_eq!(ignored.as_deref(), Some("messages.weight"));
    }

    #[test]
    fn what_is_not_a_text_is_refused_by_its_path() {
        let user = |content: Value| json!([{"role": "user", "content": "a"}, {"role": "user", "content": content}]);
        let assistant =
            |key: &str, value: Value| json!([{"role": "assistant", "content": "a", key: value}]);
        let cases = [
            (json!("hello"), "invalid_type", "messages"),
            (json!({}), "invalid_type", "messages"),
            (json!([]), "empty_array", "messages"),
            (json!([3]), "invalid_type", "messages.0"),
            (
                json!([{"content": "a"}]),
                "missing_required_parameter",
                "messages.0.role",
            ),
            (
                json!([{"role": 3, "content": "a"}]),
                "invalid_type",
                "messages.0.role",
            ),
            (
                json!([{"role": "bob", "content": "a"}]),
                "invalid_value",
                "messages.0.role",
            ),
            (
                json!([{"role": "tool", "content": "a"}]),
                "unsupported_parameter",
                "messages.0.role",
            ),
            (
                json!([{"role": "function", "content": "a"}]),
                "unsupported_parameter",
                "messages.0.role",
            ),
            (
                json!([{"role": "user"}]),
                "missing_required_parameter",
                "messages.0.content",
            ),
            (
                user(Value::Null),
                "missing_required_parameter",
                "messages.1.content",
            ),
            (user(json!(3)), "invalid_type", "messages.1.content"),
            (user(json!([])), "empty_array", "messages.1.content"),
            (user(json!(["a"])), "invalid_type", "messages.1.content.0"),
            (
                user(json!([{"text": "a"}])),
                "missing_required_parameter",
                "messages.1.content.0.type",
            ),
            (
                user(json!([{"type": "text"}])),
                "missing_required_parameter",
                "messages.1.content.0.text",
            ),
            (
                user(json!([{"type": "text", "text": 3}])),
                "invalid_type",
                "messages.1.content.0.text",
            ),
            (
                user(json!([{"type": "video"}])),
                "invalid_value",
                "messages.1.content.0.type",
            ),
            (
                user(
                    json!([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "http://x"}}]),
                ),
                "unsupported_parameter",
                "messages.1.content.1",
            ),
            (
                user(json!([{"type": "input_audio"}])),
                "unsupported_parameter",
                "messages.1.content.0",
            ),
            (
                user(json!([{"type": "file"}])),
                "unsupported_parameter",
                "messages.1.content.0",
            ),
            (
                assistant("tool_calls", json!([{"id": "a"}])),
                "unsupported_parameter",
                "messages.0.tool_calls",
            ),
            (
                assistant("function_call", json!({})),
                "unsupported_parameter",
                "messages.0.function_call",
            ),
            (
                assistant("refusal", json!("no")),
                "unsupported_parameter",
                "messages.0.refusal",
            ),
            (
                assistant("audio", json!({"id": "a"})),
                "unsupported_parameter",
                "messages.0.audio",
            ),
            (
                assistant("name", json!(3)),
                "invalid_type",
                "messages.0.name",
            ),
        ];
        for (messages, code, param) in cases {
            assert_eq!(
                read(messages.clone()).unwrap_err(),
                (code, param.to_owned()),
                "{messages}"
            );
        }
    }
}
