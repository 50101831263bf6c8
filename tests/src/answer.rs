//! One form for what both endpoints answer, whole or streamed, so that a test compares answers and not JSON.
//!
//! Reading checks the shape as it goes: an answer that breaks the API's form never becomes an [`Answer`].

use serde_json::{Map, Value, json};

use crate::client::Client;

/// An endpoint that generates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Chat,
    Completions,
}

/// What was generated, without ids and times.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub choices: Vec<Choice>,
    /// Null where a stream was not asked for it.
    pub usage: Value,
    /// Null unless `return_token_ids`; of the first prompt, where there are several.
    pub prompt_token_ids: Value,
}

#[derive(Debug, PartialEq, Default)]
pub struct Choice {
    pub text: String,
    pub finish_reason: String,
    /// As the endpoint words them; null without `logprobs`.
    pub logprobs: Value,
    /// Null unless `return_token_ids`.
    pub token_ids: Value,
}

impl Endpoint {
    pub const BOTH: [Endpoint; 2] = [Endpoint::Chat, Endpoint::Completions];

    pub fn path(self) -> &'static str {
        match self {
            Endpoint::Chat => "/v1/chat/completions",
            Endpoint::Completions => "/v1/completions",
        }
    }

    /// A greedy request with `prompt`, and the fields of `extra` over it.
    pub fn body(self, model: &str, prompt: &str, extra: &Value) -> Value {
        let mut body = match self {
            Endpoint::Chat => json!({"messages": [{"role": "user", "content": prompt}]}),
            Endpoint::Completions => json!({"prompt": prompt}),
        };
        body["model"] = json!(model);
        body["temperature"] = json!(0);
        with(body, extra)
    }

    /// Asks for the whole answer.
    pub fn whole(self, client: &Client, body: &Value) -> Answer {
        self.read_whole(&client.ask(self.path(), body))
    }

    /// Asks for a stream and reads it to its end.
    pub fn streamed(self, client: &Client, body: &Value) -> Answer {
        let mut body = body.clone();
        body["stream_options"] = json!({"include_usage": true});
        self.read_stream(&client.stream(self.path(), &body).finish())
    }

    /// Reads a whole answer, checking its form.
    pub fn read_whole(self, answer: &Value) -> Answer {
        let (object, prefix) = match self {
            Endpoint::Chat => ("chat.completion", "chatcmpl-"),
            Endpoint::Completions => ("text_completion", "cmpl-"),
        };
        check_envelope(answer, object, prefix);
        let choices = answer["choices"].as_array().expect("choices");
        let choices = choices.iter().enumerate().map(|(index, choice)| {
            assert_eq!(choice["index"], index, "{choice}");
            let text = match self {
                Endpoint::Chat => {
                    assert_eq!(choice["message"]["role"], "assistant", "{choice}");
                    assert_eq!(choice["message"]["refusal"], Value::Null, "{choice}");
                    &choice["message"]["content"]
                }
                Endpoint::Completions => &choice["text"],
            };
            Choice {
                text: text
                    .as_str()
                    .unwrap_or_else(|| panic!("no text: {choice}"))
                    .to_owned(),
                finish_reason: choice["finish_reason"]
                    .as_str()
                    .expect("a finish reason")
                    .to_owned(),
                logprobs: field(choice, "logprobs").clone(),
                token_ids: choice["token_ids"].clone(),
            }
        });
        let usage = answer["usage"].clone();
        check_usage(&usage);
        Answer {
            choices: choices.collect(),
            usage,
            prompt_token_ids: self.prompt_token_ids(answer).clone(),
        }
    }

    /// Joins the chunks of a stream with usage, checking their form and order.
    pub fn read_stream(self, events: &[Value]) -> Answer {
        let (object, prefix) = match self {
            Endpoint::Chat => ("chat.completion.chunk", "chatcmpl-"),
            Endpoint::Completions => ("text_completion", "cmpl-"),
        };
        let (last, chunks) = events.split_last().expect("at least one event");
        let mut answer = Answer {
            choices: Vec::new(),
            usage: last["usage"].clone(),
            prompt_token_ids: Value::Null,
        };
        assert_eq!(
            last["choices"],
            json!([]),
            "usage comes last and alone: {last}"
        );
        check_usage(&answer.usage);
        let mut begun = Vec::new();
        for event in events {
            check_envelope(event, object, prefix);
            assert_eq!(
                (&event["id"], &event["created"]),
                (&last["id"], &last["created"]),
                "{event}"
            );
            let ids = self.prompt_token_ids(event);
            if !ids.is_null() {
                answer.prompt_token_ids = ids.clone();
            }
        }
        for chunk in chunks {
            assert_eq!(field(chunk, "usage"), &Value::Null, "{chunk}");
            for choice in chunk["choices"].as_array().expect("choices") {
                let index = choice["index"].as_u64().expect("an index") as usize;
                // Choices may begin in any order; the first chunk of each names its role.
                let first = !begun.contains(&index);
                if first {
                    begun.push(index);
                    let len = answer.choices.len().max(index + 1);
                    answer.choices.resize_with(len, Choice::default);
                }
                if self == Endpoint::Chat {
                    let role = choice["delta"]["role"].as_str();
                    assert_eq!(
                        role,
                        first.then_some("assistant"),
                        "the role comes first and once: {choice}"
                    );
                }
                self.add_delta(&mut answer.choices[index], choice);
            }
        }
        for choice in &answer.choices {
            assert!(
                !choice.finish_reason.is_empty(),
                "every choice ends: {answer:?}"
            );
        }
        answer
    }

    /// A chat has one prompt; completions may have several, each told with its choices.
    fn prompt_token_ids(self, answer: &Value) -> &Value {
        match self {
            Endpoint::Chat => &answer["prompt_token_ids"],
            Endpoint::Completions => &answer["choices"][0]["prompt_token_ids"],
        }
    }

    fn add_delta(self, whole: &mut Choice, delta: &Value) {
        assert!(
            whole.finish_reason.is_empty(),
            "nothing follows the finish reason: {delta}"
        );
        let text = match self {
            Endpoint::Chat => delta["delta"]["content"].as_str().unwrap_or_default(),
            Endpoint::Completions => delta["text"].as_str().expect("a text"),
        };
        whole.text.push_str(text);
        join(&mut whole.logprobs, field(delta, "logprobs"));
        join(&mut whole.token_ids, &delta["token_ids"]);
        if let Some(reason) = field(delta, "finish_reason").as_str() {
            whole.finish_reason = reason.to_owned();
        }
    }
}

impl Answer {
    /// The text of the only choice.
    pub fn text(&self) -> &str {
        assert_eq!(self.choices.len(), 1, "{self:?}");
        &self.choices[0].text
    }

    pub fn texts(&self) -> Vec<&str> {
        self.choices
            .iter()
            .map(|choice| choice.text.as_str())
            .collect()
    }
}

/// An object with the fields of another one over its own.
pub fn with(mut object: Value, fields: &Value) -> Value {
    for (name, value) in fields.as_object().expect("fields") {
        object[name] = value.clone();
    }
    object
}

fn check_envelope(answer: &Value, object: &str, prefix: &str) {
    assert_eq!(answer["object"], object, "{answer}");
    assert!(
        answer["id"]
            .as_str()
            .is_some_and(|id| id.starts_with(prefix) && id.len() > prefix.len()),
        "{answer}"
    );
    assert!(
        answer["created"]
            .as_u64()
            .is_some_and(|created| created > 1_700_000_000),
        "{answer}"
    );
    assert!(answer["model"].is_string(), "{answer}");
}

fn check_usage(usage: &Value) {
    let count = |name: &str| {
        usage[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name} in {usage}"))
    };
    assert_eq!(
        count("prompt_tokens") + count("completion_tokens"),
        count("total_tokens"),
        "{usage}"
    );
    assert!(
        usage["prompt_tokens_details"]["cached_tokens"].is_u64(),
        "{usage}"
    );
}

/// A field that must be there, null or not.
fn field<'a>(object: &'a Value, name: &str) -> &'a Value {
    object
        .get(name)
        .unwrap_or_else(|| panic!("no {name} in {object}"))
}

/// Appends arrays, key by key in objects.
fn join(whole: &mut Value, part: &Value) {
    match part {
        Value::Null => {}
        Value::Array(items) => match whole {
            Value::Array(array) => array.extend(items.iter().cloned()),
            Value::Null => *whole = part.clone(),
            other => panic!("cannot append {part} to {other}"),
        },
        Value::Object(fields) => {
            if whole.is_null() {
                *whole = Value::Object(Map::new());
            }
            for (name, value) in fields {
                let slot = whole
                    .as_object_mut()
                    .expect("an object")
                    .entry(name)
                    .or_insert(Value::Null);
                join(slot, value);
            }
        }
        other => panic!("neither array nor object: {other}"),
    }
}
