//! Every number of every field, from a seeded generator and a list of the usual suspects: it reaches inference inside
//! its range, or it is refused by its name. Nothing else.

use serde_json::Value;
use spindle_openai::Endpoint;
use spindle_openai::inference::GenerationRequest;

use crate::fake::Fake;

/// A field, its range, and where its value arrives; none if it is not a number there.
pub type Field = (
    &'static str,
    f64,
    f64,
    bool,
    fn(&GenerationRequest) -> Option<f64>,
);

pub const FIELDS: &[Field] = &[
    ("n", 1.0, 128.0, true, |_| None),
    ("max_tokens", 1.0, 2048.0, true, |r| {
        r.max_tokens.map(f64::from)
    }),
    ("max_completion_tokens", 1.0, 2048.0, true, |r| {
        r.max_tokens.map(f64::from)
    }),
    ("min_tokens", 0.0, 2048.0, true, |r| {
        Some(r.min_tokens.into())
    }),
    ("temperature", 0.0, 2.0, false, |r| {
        Some(r.sampling.temperature.into())
    }),
    ("top_p", 0.0, 1.0, false, |r| Some(r.sampling.top_p.into())),
    ("top_k", 0.0, 1e6, true, |r| Some(r.sampling.top_k.into())),
    ("min_p", 0.0, 1.0, false, |r| Some(r.sampling.min_p.into())),
    ("typical_p", 0.0, 1.0, false, |r| {
        Some(r.sampling.typical_p.into())
    }),
    ("frequency_penalty", -2.0, 2.0, false, |r| {
        Some(r.sampling.frequency_penalty.into())
    }),
    ("presence_penalty", -2.0, 2.0, false, |r| {
        Some(r.sampling.presence_penalty.into())
    }),
    ("repeat_penalty", 0.1, 10.0, false, |r| {
        Some(r.sampling.repeat_penalty.into())
    }),
    ("repetition_penalty", 0.1, 10.0, false, |r| {
        Some(r.sampling.repeat_penalty.into())
    }),
    (
        "seed",
        -9_223_372_036_854_775_808.0,
        9_223_372_036_854_775_807.0,
        true,
        |r| Some(r.sampling.seed as i64 as f64),
    ),
    ("top_logprobs", 0.0, 20.0, true, |r| {
        r.logprobs.map(f64::from)
    }),
    ("logit_bias", -100.0, 100.0, false, |r| {
        Some(r.sampling.logit_bias[0].1.into())
    }),
];

const SUSPECTS: &[&str] = &[
    "0",
    "-0",
    "-0.0",
    "1",
    "-1",
    "1.5",
    "2",
    "3",
    "20",
    "21",
    "128",
    "129",
    "1e9",
    "1e400",
    "-1e400",
    "1e-400",
    "1e308",
    "0.1",
    "0.09999",
    "10",
    "10.1",
    "2.0000001",
    "-2.0000001",
    "100",
    "100.5",
    "2048",
    "2049",
    "1000000",
    "1000001",
    "2147483647",
    "2147483648",
    "-2147483649",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "1e2",
    "12e-1",
    "123456789012345678901234567890",
    "0.30000000000000004",
    "5e-324",
];

/// Not numbers at all.
const STRANGERS: &[&str] = &[
    "\"3\"", "true", "false", "[1]", "[]", "{}", "\"NaN\"", "\"\"",
];

fn ask(field: &str, value: &str) -> (u16, Value, Vec<GenerationRequest>) {
    let fragment = match field {
        "logit_bias" => format!(r#""logit_bias":{{"5":{value}}}"#),
        "top_logprobs" => format!(r#""logprobs":true,"top_logprobs":{value}"#),
        field => format!(r#""{field}":{value}"#),
    };
    let body = format!(r#"{{"messages":[{{"role":"user","content":"Hi"}}],{fragment}}}"#);
    let fake = Fake::willing();
    let answer = fake.run(Endpoint::ChatCompletions, &body);
    (answer.status, answer.json(), fake.requests.take())
}

fn check(field: &Field, value: &str) {
    let (name, min, max, whole, arrives) = field;
    let (status, answer, requests) = ask(name, value);
    // What the text means, by another parser than the one under test.
    let number: f64 = value.parse().expect("a number");
    let inside = (*min..=*max).contains(&number) && (!whole || number.fract() == 0.0);
    // 2^63 is the same float as the greatest seed, and one too many.
    let inside =
        inside && (*name != "seed" || value.parse::<i64>().is_ok() || number.abs() < 9.2e18);
    if !inside {
        let param = answer["error"]["param"].as_str().unwrap_or_default();
        assert_eq!(status, 400, "{name} {value}: {answer}");
        assert_eq!(
            param.split('.').next(),
            Some(*name),
            "{name} {value}: {answer}"
        );
        assert!(requests.is_empty(), "{name} {value}");
        return;
    }
    assert_eq!(status, 200, "{name} {value}: {answer}");
    if *name == "n" {
        assert_eq!(requests.len() as f64, number, "{value}");
    }
    if let Some(arrived) = arrives(&requests[0]) {
        let expected = if *whole {
            number
        } else {
            f64::from(number as f32)
        };
        // Beyond 53 bits a number written as a float is one of its neighbours.
        if number.abs() < 2f64.powi(53) {
            assert_eq!(arrived, expected, "{name} {value}");
        }
    }
}

#[test]
fn numbers_arrive_inside_their_range_or_are_refused_by_name() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for field in FIELDS {
        for value in SUSPECTS {
            check(field, value);
        }
        for _ in 0..200 {
            let span = field.2 - field.1;
            let unit = random() as f64 / u64::MAX as f64;
            // Three times as wide as the range, so that a third of them is inside.
            let number = field.1 - span + unit * 3.0 * span;
            let rounded = if random() % 2 == 0 {
                number.round()
            } else {
                number
            };
            check(field, &rounded.to_string());
            check(field, &format!("{rounded:e}"));
        }
    }
}

#[test]
fn what_is_no_number_is_refused_by_name() {
    for (name, ..) in FIELDS {
        for value in STRANGERS {
            let (status, answer, _) = ask(name, value);
            assert_eq!(
                (status, answer["error"]["code"].as_str()),
                (400, Some("invalid_type")),
                "{name} {value}"
            );
        }
        if *name != "logit_bias" {
            assert_eq!(ask(name, "null").0, 200, "{name}: null is absent");
        }
    }
}
