//! One example of every row, its recorded body, and its row in the documentation.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::*;

const DOCS: &str = include_str!("../../../../docs/api.md");

/// One example of every variant.
fn examples() -> Vec<ApiError> {
    use ApiError::*;
    let param = || "n".to_owned();
    vec![
        MissingApiKey,
        InvalidApiKey,
        ModelNotFound {
            model: "gpt-4o".to_owned(),
        },
        UnknownUrl {
            method: "GET".to_owned(),
            path: "/v1/nothing".to_owned(),
        },
        MethodNotAllowed {
            method: "GET".to_owned(),
            path: "/v1/completions".to_owned(),
            allow: "POST".to_owned(),
        },
        RequestTimeout,
        RequestTooLarge {
            bytes_max: 10 << 20,
        },
        UnsupportedMediaType {
            content_type: "text/html".to_owned(),
        },
        InvalidJson {
            detail: "EOF while parsing a value at line 1 column 0".to_owned(),
        },
        MissingParameter {
            param: "messages".to_owned(),
        },
        InvalidType {
            param: param(),
            expected: "an integer",
            got: "a string",
        },
        IntegerBelowMin {
            param: param(),
            min: 1,
            got: "0".to_owned(),
        },
        IntegerAboveMax {
            param: param(),
            max: 128,
            got: "129".to_owned(),
        },
        DecimalBelowMin {
            param: "temperature".to_owned(),
            min: 0.0,
            got: "-0.5".to_owned(),
        },
        DecimalAboveMax {
            param: "temperature".to_owned(),
            max: 2.0,
            got: "3".to_owned(),
        },
        EmptyArray {
            param: "messages".to_owned(),
        },
        ArrayAboveMaxLength {
            param: "stop".to_owned(),
            max: 4,
            got: 5,
        },
        ObjectAboveMaxProperties {
            param: "metadata".to_owned(),
            max: 16,
            got: 17,
        },
        EmptyString {
            param: "stop.0".to_owned(),
        },
        StringAboveMaxLength {
            param: "stop.2".to_owned(),
            max: 1024,
            got: 1025,
        },
        InvalidValue {
            param: "top_logprobs".to_owned(),
            message: "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
                .to_owned(),
        },
        UnsupportedParameter {
            param: "tools".to_owned(),
        },
        UnknownParameter {
            param: "chat_template".to_owned(),
        },
        ContextLengthExceeded {
            param: "messages",
            context_len: 2048,
            prompt_tokens: 2040,
            requested_tokens: 16,
        },
        MaxTokensAboveContext {
            param: "max_tokens",
            context_len: 2048,
            requested_tokens: 4096,
        },
        PromptAboveMaxBytes {
            param: "prompt",
            max: 4 << 20,
            got: 5_000_000,
        },
        ChatTemplateRefused {
            message: "roles must alternate".to_owned(),
        },
        ChatTemplateFailed {
            detail: "it ran out of fuel after 1000000 steps".to_owned(),
        },
        ReaderStalled,
        Overloaded { retry_after: 2 },
        Internal {
            detail: "the generation stopped without an end".to_owned(),
        },
        ShuttingDown,
    ]
}

/// The variant's name. A new variant does not compile until it is here, and fails until it has an example.
fn name(error: &ApiError) -> &'static str {
    use ApiError::*;
    macro_rules! names {
        ($($name:ident),* $(,)?) => {{
            const COUNT: usize = [$(stringify!($name)),*].len();
            assert_eq!(examples().len(), COUNT, "an example of every variant");
            match error { $($name { .. } => stringify!($name),)* }
        }};
    }
    names!(
        MissingApiKey,
        InvalidApiKey,
        ModelNotFound,
        UnknownUrl,
        MethodNotAllowed,
        RequestTimeout,
        RequestTooLarge,
        UnsupportedMediaType,
        InvalidJson,
        MissingParameter,
        InvalidType,
        IntegerBelowMin,
        IntegerAboveMax,
        DecimalBelowMin,
        DecimalAboveMax,
        EmptyArray,
        ArrayAboveMaxLength,
        ObjectAboveMaxProperties,
        EmptyString,
        StringAboveMaxLength,
        InvalidValue,
        UnsupportedParameter,
        UnknownParameter,
        ContextLengthExceeded,
        MaxTokensAboveContext,
        PromptAboveMaxBytes,
        ChatTemplateRefused,
        ChatTemplateFailed,
        ReaderStalled,
        Overloaded,
        Internal,
        ShuttingDown,
    )
}

#[test]
fn every_row_has_its_recorded_body() {
    let mut actual = String::new();
    for error in examples() {
        let Response {
            status, headers, ..
        } = error.response();
        write!(actual, "{} {status}", name(&error)).unwrap();
        for (name, value) in headers {
            write!(actual, " [{name}: {value}]").unwrap();
        }
        writeln!(actual, "\n{}", String::from_utf8(error.body()).unwrap()).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/errors.txt");
    if std::env::var_os("SPINDLE_UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, &actual).unwrap();
    }
    assert_eq!(actual, std::fs::read_to_string(&path).unwrap());
}

#[test]
fn every_body_has_the_four_keys() {
    for error in examples() {
        let body: serde_json::Value = serde_json::from_slice(&error.body()).unwrap();
        let keys: Vec<_> = body["error"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["code", "message", "param", "type"], "{error:?}");
        assert!((400..600).contains(&error.status()), "{error:?}");
        assert_eq!(error.kind() == SERVER, error.status() >= 500, "{error:?}");
    }
}

#[test]
fn messages_repeat_little_of_what_was_sent() {
    let long = "\u{e9}".repeat(100_000);
    for error in [
        ApiError::ModelNotFound {
            model: long.clone(),
        },
        ApiError::UnknownUrl {
            method: long.clone(),
            path: long.clone(),
        },
        ApiError::UnsupportedMediaType {
            content_type: long.clone(),
        },
        ApiError::ChatTemplateRefused {
            message: long.clone(),
        },
        ApiError::IntegerAboveMax {
            param: "n".to_owned(),
            max: 1,
            got: long.clone(),
        },
    ] {
        assert!(error.body().len() < 2000, "{} bytes", error.body().len());
    }
}

#[test]
fn the_documentation_lists_every_row() {
    let mut rows: BTreeMap<String, usize> = BTreeMap::new();
    for error in examples() {
        let row = format!(
            "| {} | `{}` | `{}` |",
            error.status(),
            error.code(),
            error.kind()
        );
        *rows.entry(row).or_default() += 1;
    }
    for (row, count) in &rows {
        let found = DOCS.lines().filter(|line| line.starts_with(row)).count();
        assert_eq!(found, *count, "rows of docs/api.md that start with: {row}");
    }
    let is_row = |line: &&str| line.starts_with("| 4") || line.starts_with("| 5");
    assert_eq!(
        DOCS.lines().filter(is_row).count(),
        examples().len(),
        "rows of docs/api.md in all"
    );
}

#[test]
fn a_count_that_stopped_at_the_context_is_not_told_as_the_whole() {
    let message = |prompt_tokens| {
        let error = ApiError::ContextLengthExceeded {
            param: "prompt",
            context_len: 8,
            prompt_tokens,
            requested_tokens: 4,
        };
        error.message()
    };
    assert!(message(8).contains("you requested 12 tokens (8 in the prompt, 4 in the completion)"));
    assert!(message(9).contains(
        "you requested at least 13 tokens (at least 9 in the prompt, 4 in the completion)"
    ));
}
