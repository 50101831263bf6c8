//! What is refused, with which code, naming which field; nothing reaches inference.

use serde_json::Value;
use spindle_openai::Endpoint;
use spindle_openai::inference::{Event, InferenceError, ModelInfo};

use crate::fake::{Fake, at_once, model, prompt};

/// Fragments of a body, code, field.
const SHARED: &[(&str, &str, &str)] = &[
    (r#""model":3"#, "invalid_type", "model"),
    (r#""n":0"#, "integer_below_min_value", "n"),
    (r#""n":129"#, "integer_above_max_value", "n"),
    (r#""n":"3""#, "invalid_type", "n"),
    (r#""n":1e400"#, "invalid_value", "n"),
    (
        r#""max_tokens":-1"#,
        "integer_below_min_value",
        "max_tokens",
    ),
    (
        r#""max_tokens":2049"#,
        "context_length_exceeded",
        "max_tokens",
    ),
    (
        r#""max_completion_tokens":4294967296"#,
        "integer_above_max_value",
        "max_completion_tokens",
    ),
    (
        r#""max_tokens":1,"max_completion_tokens":2"#,
        "invalid_value",
        "max_completion_tokens",
    ),
    (
        r#""min_tokens":2049"#,
        "integer_above_max_value",
        "min_tokens",
    ),
    (
        r#""min_tokens":17,"max_tokens":16"#,
        "invalid_value",
        "min_tokens",
    ),
    (r#""ignore_eos":1"#, "invalid_type", "ignore_eos"),
    (
        r#""return_token_ids":"yes""#,
        "invalid_type",
        "return_token_ids",
    ),
    (
        r#""temperature":2.5"#,
        "decimal_above_max_value",
        "temperature",
    ),
    (r#""temperature":"1""#, "invalid_type", "temperature"),
    (r#""top_p":1.1"#, "decimal_above_max_value", "top_p"),
    (r#""top_k":-1"#, "integer_below_min_value", "top_k"),
    (r#""top_k":1000001"#, "integer_above_max_value", "top_k"),
    (
        r#""repeat_penalty":0"#,
        "decimal_below_min_value",
        "repeat_penalty",
    ),
    (
        r#""repeat_penalty":1.1,"repetition_penalty":1.2"#,
        "invalid_value",
        "repetition_penalty",
    ),
    (
        r#""seed":9223372036854775808"#,
        "integer_above_max_value",
        "seed",
    ),
    (
        r#""seed":-9223372036854775809"#,
        "integer_below_min_value",
        "seed",
    ),
    (r#""logit_bias":[]"#, "invalid_type", "logit_bias"),
    (r#""logit_bias":{"1000":1}"#, "invalid_value", "logit_bias"),
    (r#""logit_bias":{"-1":1}"#, "invalid_value", "logit_bias"),
    (
        r#""logit_bias":{"2147483648":1}"#,
        "invalid_value",
        "logit_bias",
    ),
    (
        r#""logit_bias":{"9223372036854775808":1}"#,
        "invalid_value",
        "logit_bias",
    ),
    (r#""logit_bias":{"01":1}"#, "invalid_value", "logit_bias"),
    (r#""logit_bias":{"+1":1}"#, "invalid_value", "logit_bias"),
    (r#""logit_bias":{"hello":1}"#, "invalid_value", "logit_bias"),
    (
        r#""logit_bias":{"5":101}"#,
        "decimal_above_max_value",
        "logit_bias.5",
    ),
    (r#""logit_bias":{"5":"1"}"#, "invalid_type", "logit_bias.5"),
    (r#""stop":3"#, "invalid_type", "stop"),
    (r#""stop":"""#, "empty_string", "stop"),
    (r#""stop":["a","b",3]"#, "invalid_type", "stop.2"),
    (r#""stop":["a",""]"#, "empty_string", "stop.1"),
    (
        r#""stop":["1","2","3","4","5"]"#,
        "array_above_max_length",
        "stop",
    ),
    (r#""stream":"yes""#, "invalid_type", "stream"),
    (
        r#""stream_options":{"include_usage":true}"#,
        "invalid_value",
        "stream_options",
    ),
    (
        r#""stream":true,"stream_options":true"#,
        "invalid_type",
        "stream_options",
    ),
    (
        r#""stream":true,"stream_options":{"include_usage":1}"#,
        "invalid_type",
        "stream_options.include_usage",
    ),
    (
        r#""stream":true,"stream_options":{"include_obfuscation":true}"#,
        "unsupported_parameter",
        "stream_options.include_obfuscation",
    ),
    (r#""user":3"#, "invalid_type", "user"),
    (r#""metadata":"a""#, "invalid_type", "metadata"),
    (
        r#""metadata":{"tags":["a"]}"#,
        "invalid_type",
        "metadata.tags",
    ),
    (
        r#""chat_template":"{{ 1 }}""#,
        "unknown_parameter",
        "chat_template",
    ),
    (
        r#""chat_template_kwargs":{}"#,
        "unknown_parameter",
        "chat_template_kwargs",
    ),
];

const CHAT: &[(&str, &str, &str)] = &[
    (
        r#""messages":null"#,
        "missing_required_parameter",
        "messages",
    ),
    (r#""max_tokens":0"#, "integer_below_min_value", "max_tokens"),
    (r#""logprobs":1"#, "invalid_type", "logprobs"),
    (
        r#""logprobs":true,"top_logprobs":21"#,
        "integer_above_max_value",
        "top_logprobs",
    ),
    (r#""top_logprobs":1"#, "invalid_value", "top_logprobs"),
    (
        r#""tools":[{"type":"function"}]"#,
        "unsupported_parameter",
        "tools",
    ),
    (
        r#""tool_choice":"required""#,
        "unsupported_parameter",
        "tool_choice",
    ),
    (
        r#""functions":[{"name":"f"}]"#,
        "unsupported_parameter",
        "functions",
    ),
    (
        r#""function_call":{"name":"f"}"#,
        "unsupported_parameter",
        "function_call",
    ),
    (
        r#""response_format":{"type":"json_object"}"#,
        "unsupported_parameter",
        "response_format",
    ),
    (
        r#""response_format":"text""#,
        "unsupported_parameter",
        "response_format",
    ),
    (
        r#""reasoning_effort":"low""#,
        "unsupported_parameter",
        "reasoning_effort",
    ),
    (r#""verbosity":"low""#, "unsupported_parameter", "verbosity"),
    (
        r#""modalities":["text","audio"]"#,
        "unsupported_parameter",
        "modalities",
    ),
    (r#""audio":{"voice":"a"}"#, "unsupported_parameter", "audio"),
    (
        r#""prediction":{"type":"content"}"#,
        "unsupported_parameter",
        "prediction",
    ),
    (
        r#""web_search_options":{}"#,
        "unsupported_parameter",
        "web_search_options",
    ),
    (r#""store":true"#, "unsupported_parameter", "store"),
    (
        r#""service_tier":"priority""#,
        "unsupported_parameter",
        "service_tier",
    ),
    (
        r#""parallel_tool_calls":1"#,
        "unsupported_parameter",
        "parallel_tool_calls",
    ),
];

const COMPLETIONS: &[(&str, &str, &str)] = &[
    (r#""prompt":null"#, "missing_required_parameter", "prompt"),
    (r#""prompt":3"#, "invalid_type", "prompt"),
    (r#""prompt":[]"#, "empty_array", "prompt"),
    (r#""prompt":[[]]"#, "empty_array", "prompt.0"),
    (r#""prompt":[1,-1]"#, "integer_below_min_value", "prompt.1"),
    (
        r#""prompt":[1,1000]"#,
        "integer_above_max_value",
        "prompt.1",
    ),
    (r#""prompt":[[1],[2,1.5]]"#, "invalid_type", "prompt.1.1"),
    (r#""prompt":[1,"a"]"#, "invalid_type", "prompt.1"),
    (r#""prompt":["a",1]"#, "invalid_type", "prompt.1"),
    (r#""prompt":["a","b"],"n":65"#, "invalid_value", "prompt"),
    (r#""logprobs":6"#, "integer_above_max_value", "logprobs"),
    (r#""logprobs":true"#, "invalid_type", "logprobs"),
    (r#""echo":1"#, "invalid_type", "echo"),
    (r#""best_of":2"#, "unsupported_parameter", "best_of"),
    (r#""n":2,"best_of":1"#, "unsupported_parameter", "best_of"),
    (r#""best_of":21"#, "integer_above_max_value", "best_of"),
    (r#""suffix":"end""#, "unsupported_parameter", "suffix"),
];

fn chat(fields: &str) -> String {
    format!(r#"{{"messages":[{{"role":"user","content":"Hi"}}],{fields}}}"#)
}

fn check(endpoint: Endpoint, body: &str, status: u16, code: &str, param: Option<&str>) -> String {
    let fake = Fake::willing();
    let answer = fake.run(endpoint, body);
    let shown = &body[..body.len().min(200)];
    assert_eq!(answer.status, status, "{shown}: {}", answer.text());
    let error = &answer.json()["error"];
    assert_eq!(error.as_object().unwrap().len(), 4, "{shown}: {error}");
    assert_eq!(
        (error["code"].as_str(), error["param"].as_str()),
        (Some(code), param),
        "{shown}: {error}"
    );
    assert!(fake.requests.borrow().is_empty(), "{shown}");
    error["message"].as_str().expect("a message").to_owned()
}

#[test]
fn wrong_fields_are_refused_by_name() {
    for (fields, code, param) in SHARED.iter().chain(CHAT) {
        check(
            Endpoint::ChatCompletions,
            &chat(fields),
            400,
            code,
            Some(param),
        );
    }
    for (fields, code, param) in SHARED.iter().chain(COMPLETIONS) {
        check(
            Endpoint::Completions,
            &format!(r#"{{"prompt":"Hi",{fields}}}"#),
            400,
            code,
            Some(param),
        );
    }
}

#[test]
fn limits_of_size_hold() {
    let check = |fields: String, code: &str, param: &str| {
        check(
            Endpoint::ChatCompletions,
            &chat(&fields),
            400,
            code,
            Some(param),
        );
    };
    let quoted = |count: usize| format!("\"{}\"", "x".repeat(count));
    check(
        format!(r#""stop":{}"#, quoted(1025)),
        "string_above_max_length",
        "stop",
    );
    check(
        format!(r#""stop":["a","{}"]"#, "\u{e9}".repeat(513)),
        "string_above_max_length",
        "stop.1",
    );
    let entries = |count: usize| {
        (0..count)
            .map(|id| format!("\"{id}\":1"))
            .collect::<Vec<_>>()
            .join(",")
    };
    check(
        format!(r#""logit_bias":{{{}}}"#, entries(1025)),
        "object_above_max_properties",
        "logit_bias",
    );
    let entries = |count: usize| {
        (0..count)
            .map(|id| format!("\"{id}\":\"1\""))
            .collect::<Vec<_>>()
            .join(",")
    };
    check(
        format!(r#""metadata":{{{}}}"#, entries(17)),
        "object_above_max_properties",
        "metadata",
    );
    check(
        format!(r#""metadata":{{"a":{}}}"#, quoted(513)),
        "string_above_max_length",
        "metadata.a",
    );
    let key = "k".repeat(65);
    check(
        format!(r#""metadata":{{"{key}":"a"}}"#),
        "string_above_max_length",
        &format!("metadata.{key}"),
    );
    let messages = vec![r#"{"role":"user","content":"a"}"#; 4097].join(",");
    check(
        format!(r#""messages":[{messages}]"#),
        "array_above_max_length",
        "messages",
    );
    // More text than any context of this model holds is not even counted.
    let long = format!(
        r#""messages":[{{"role":"user","content":{}}}]"#,
        quoted((4 << 20) + 1)
    );
    check(long, "context_length_exceeded", "messages");
    let long = format!(r#"{{"prompt":{}}}"#, quoted((4 << 20) + 1));
    self::check(
        Endpoint::Completions,
        &long,
        400,
        "context_length_exceeded",
        Some("prompt"),
    );
    // At the limits, all is well.
    let fields = format!(
        r#""stop":{},"metadata":{{{}}},"logit_bias":{{"999":100}}"#,
        quoted(1024),
        entries(16)
    );
    assert_eq!(
        Fake::willing()
            .run(Endpoint::ChatCompletions, &chat(&fields))
            .status,
        200
    );
}

#[test]
fn errors_are_worded_as_openai_words_them() {
    let check = |fields: &str, code: &str, param: &str, message: &str| {
        let found = check(
            Endpoint::ChatCompletions,
            &chat(fields),
            400,
            code,
            Some(param),
        );
        assert_eq!(found, message);
    };
    check(
        r#""temperature":"hot""#,
        "invalid_type",
        "temperature",
        "Invalid type for 'temperature': expected a number, but got a string instead.",
    );
    check(
        r#""n":1000000000"#,
        "integer_above_max_value",
        "n",
        "Invalid 'n': integer above maximum value. Expected a value <= 128, but got 1000000000 instead.",
    );
    check(
        r#""temperature":2.5"#,
        "decimal_above_max_value",
        "temperature",
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 2.5 instead.",
    );
    check(
        r#""tools":[{}]"#,
        "unsupported_parameter",
        "tools",
        "Unsupported parameter: 'tools' is not supported with this model.",
    );
}

#[test]
fn a_model_is_named_or_is_the_only_one() {
    let ask = |fake: &Fake, fields: &str| fake.run(Endpoint::ChatCompletions, &chat(fields));
    let fake = Fake::willing();
    let answer = ask(&fake, r#""model":"gpt-4o""#);
    assert_eq!(
        (answer.status, &answer.json()["error"]["param"]),
        (404, &Value::Null)
    );
    assert_eq!(answer.json()["error"]["code"], "model_not_found");
    let mut fake = Fake::willing();
    fake.models.push(ModelInfo {
        id: "other".to_owned(),
        ..model()
    });
    assert_eq!(
        ask(&fake, r#""model":null"#).json()["error"]["param"],
        "model"
    );
    assert_eq!(ask(&fake, r#""model":"other""#).json()["model"], "other");
    fake.models.clear();
    assert_eq!(
        ask(&fake, r#""n":1"#).json()["error"]["code"],
        "missing_required_parameter"
    );
}

#[test]
fn refusals_of_inference_have_their_own_errors() {
    let internal = InferenceError::Internal("no page".to_owned());
    let exceeded = InferenceError::ContextExceeded {
        prompt_tokens: 3000,
        requested_tokens: 16,
        context_len: 2048,
    };
    let invalid = |param: &str| InferenceError::InvalidArgument {
        param: param.to_owned(),
        message: "is odd".to_owned(),
    };
    let cases = [
        (
            InferenceError::ModelNotFound("tiny".to_owned()),
            404,
            "model_not_found",
            [None, None],
        ),
        (
            exceeded,
            400,
            "context_length_exceeded",
            [Some("messages"), Some("prompt")],
        ),
        (
            invalid("prompt"),
            400,
            "invalid_value",
            [Some("messages"), Some("prompt")],
        ),
        (
            invalid("logit_bias"),
            400,
            "invalid_value",
            [Some("logit_bias"), Some("logit_bias")],
        ),
        (
            InferenceError::Overloaded(7),
            429,
            "rate_limit_exceeded",
            [None, None],
        ),
        (
            InferenceError::ShuttingDown,
            503,
            "shutting_down",
            [None, None],
        ),
        (
            InferenceError::ReaderStalled,
            408,
            "reader_stalled",
            [None, None],
        ),
        (internal, 500, "internal_error", [None, None]),
    ];
    let bodies = [
        (
            Endpoint::ChatCompletions,
            r#"{"messages":[{"role":"user","content":"Hi"}],"n":2,"stream":"#,
        ),
        (Endpoint::Completions, r#"{"prompt":"Hi","n":2,"stream":"#),
    ];
    for (error, status, code, params) in cases {
        for ((endpoint, body), param) in bodies.iter().zip(params) {
            for stream in ["true}", "false}"] {
                // Refused at once, refused at the second choice, failed before anything was said.
                let failed = at_once([Event::Failed(error.clone())]);
                let scripts = [
                    vec![Err(error.clone())],
                    vec![at_once([prompt(1)]), Err(error.clone())],
                    vec![at_once([prompt(1)]), failed],
                ];
                for script in scripts {
                    let fake = Fake::new(script);
                    let answer = fake.run(endpoint.clone(), &format!("{body}{stream}"));
                    let found = &answer.json()["error"];
                    assert_eq!(
                        (answer.status, found["code"].as_str()),
                        (status, Some(code))
                    );
                    assert_eq!(found["param"].as_str(), param, "{found}");
                    assert_eq!(
                        answer.header("retry-after").is_some(),
                        status == 429 || status == 503
                    );
                    assert_eq!(fake.running.get(), 0, "what was begun is ended");
                }
            }
        }
    }
}

#[test]
fn templates_refuse_in_their_own_words_and_break_as_our_fault() {
    let ask = |template: &str| {
        let mut fake = Fake::willing();
        fake.models[0].chat_template = Some(template.to_owned());
        fake.run(Endpoint::ChatCompletions, &chat(r#""n":1"#))
    };
    let answer = ask("{{ raise_exception('Roles must alternate') }}");
    let error = &answer.json()["error"];
    assert_eq!(
        (answer.status, error["code"].as_str()),
        (400, Some("chat_template_refused"))
    );
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .ends_with("Roles must alternate"),
        "{error}"
    );
    let answer =
        ask("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}");
    let error = &answer.json()["error"];
    assert_eq!(
        (answer.status, error["code"].as_str()),
        (500, Some("chat_template_error"))
    );
    assert!(
        error["message"].as_str().unwrap().contains("fuel"),
        "{error}"
    );
    assert_eq!(answer.header("x-should-retry"), Some("false"));
}
