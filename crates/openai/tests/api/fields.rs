//! What each field of a body becomes in the request to inference.

use spindle_openai::Endpoint;
use spindle_openai::inference::{
    GenerationRequest, Lane, Prompt, PromptDetail, Sampling, SamplingDefaults,
};

use crate::fake::Fake;

type Change = fn(&mut GenerationRequest);

fn chat_body(fields: &str) -> String {
    format!(r#"{{"messages":[{{"role":"user","content":"Hi"}}]{fields}}}"#)
}

fn silent(prompt: Prompt, max_tokens: Option<u32>) -> GenerationRequest {
    GenerationRequest {
        model: "tiny".to_owned(),
        prompt,
        max_tokens,
        clip_to_context: true,
        min_tokens: 0,
        ignore_eos: false,
        stop: Vec::new(),
        sampling: Sampling {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            repeat_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 42,
            choice_index: 0,
        },
        logprobs: None,
        prompt_detail: PromptDetail::Count,
        lane: Lane::Interactive,
        tenant: "default".to_owned(),
    }
}

/// A limit that the client named, which is kept or refused.
fn named(request: &mut GenerationRequest, max_tokens: u32) {
    request.max_tokens = Some(max_tokens);
    request.clip_to_context = false;
}

fn chatml() -> Prompt {
    Prompt::Text("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n".to_owned())
}

/// Every field, with a value that is not its default, and what it changes; each on its own.
const SHARED: &[(&str, Change)] = &[
    ("", |_| ()),
    (r#""model":"tiny""#, |_| ()),
    (r#""model":"""#, |_| ()),
    (r#""max_tokens":5"#, |r| named(r, 5)),
    (r#""max_completion_tokens":2048"#, |r| named(r, 2048)),
    (r#""max_tokens":7,"max_completion_tokens":7.0"#, |r| {
        named(r, 7)
    }),
    (r#""min_tokens":3"#, |r| r.min_tokens = 3),
    (r#""ignore_eos":true"#, |r| r.ignore_eos = true),
    (r#""temperature":0"#, |r| r.sampling.temperature = 0.0),
    (r#""temperature":-0.0"#, |r| r.sampling.temperature = 0.0),
    (r#""temperature":2"#, |r| r.sampling.temperature = 2.0),
    (r#""temperature":1.25"#, |r| r.sampling.temperature = 1.25),
    (r#""top_p":0.5"#, |r| r.sampling.top_p = 0.5),
    (r#""top_k":40"#, |r| r.sampling.top_k = 40),
    (r#""min_p":0.25"#, |r| r.sampling.min_p = 0.25),
    (r#""typical_p":0.75"#, |r| r.sampling.typical_p = 0.75),
    (r#""frequency_penalty":-2"#, |r| {
        r.sampling.frequency_penalty = -2.0
    }),
    (r#""presence_penalty":2"#, |r| {
        r.sampling.presence_penalty = 2.0
    }),
    (r#""repeat_penalty":1.5"#, |r| {
        r.sampling.repeat_penalty = 1.5
    }),
    (r#""repetition_penalty":0.5"#, |r| {
        r.sampling.repeat_penalty = 0.5
    }),
    (r#""seed":7"#, |r| r.sampling.seed = 7),
    (r#""seed":-1"#, |r| r.sampling.seed = u64::MAX),
    (r#""seed":-9223372036854775808"#, |r| {
        r.sampling.seed = 1 << 63
    }),
    (r#""logit_bias":{"999":-100,"5":100,"50":0.5}"#, |r| {
        r.sampling.logit_bias = vec![(5, 100.0), (50, 0.5), (999, -100.0)];
    }),
    (r#""stop":"a""#, |r| r.stop = vec!["a".to_owned()]),
    (r#""stop":[]"#, |_| ()),
    (r#""stop":["a","\n","\u00e9","d"]"#, |r| {
        r.stop = ["a", "\n", "\u{e9}", "d"].map(str::to_owned).to_vec()
    }),
    (r#""return_token_ids":true"#, |r| {
        r.prompt_detail = PromptDetail::Tokens
    }),
    (
        r#""user":"u","metadata":{"a":"b"},"stream":false,"stream_options":null"#,
        |_| (),
    ),
    (
        r#""stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}"#,
        |_| (),
    ),
    (
        r#""temperature":null,"n":null,"stop":null,"seed":null,"logit_bias":null,"metadata":null,"user":null"#,
        |_| (),
    ),
    (r#""temperature":0.5,"temperature":0.75"#, |r| {
        r.sampling.temperature = 0.75
    }),
];

const CHAT: &[(&str, Change)] = &[
    (r#""logprobs":true"#, |r| r.logprobs = Some(0)),
    (r#""logprobs":true,"top_logprobs":20"#, |r| {
        r.logprobs = Some(20)
    }),
    (r#""logprobs":false,"top_logprobs":0"#, |_| ()),
    // OpenAI's fields at values that change nothing.
    (
        r#""tools":[],"tool_choice":"auto","parallel_tool_calls":true,"functions":[],"function_call":"none""#,
        |_| (),
    ),
    (
        r#""response_format":{"type":"text"},"modalities":["text"],"store":false,"service_tier":"auto""#,
        |_| (),
    ),
    (
        r#""reasoning_effort":"none","verbosity":"medium","audio":null,"prediction":null,"service_tier":"default""#,
        |_| (),
    ),
];

const COMPLETIONS: &[(&str, Change)] = &[
    (r#""max_tokens":0"#, |r| named(r, 0)),
    (r#""logprobs":5"#, |r| r.logprobs = Some(5)),
    (r#""logprobs":0"#, |r| r.logprobs = Some(0)),
    (r#""echo":true"#, |_| ()),
    (r#""echo":true,"logprobs":1"#, |r| {
        (r.logprobs, r.prompt_detail) = (Some(1), PromptDetail::Logprobs)
    }),
    (r#""best_of":1,"suffix":"""#, |_| ()),
    (r#""prompt":[5,0,999]"#, |r| {
        r.prompt = Prompt::Tokens(vec![5, 0, 999])
    }),
    (r#""prompt":["Ho"]"#, |r| {
        r.prompt = Prompt::Text("Ho".to_owned())
    }),
    (r#""prompt":[[5]],"echo":true"#, |r| {
        (r.prompt, r.prompt_detail) = (Prompt::Tokens(vec![5]), PromptDetail::Tokens)
    }),
];

fn check(endpoint: &Endpoint, body: &str, silent: &GenerationRequest, change: Change) {
    let fake = Fake::willing();
    let answer = fake.run(endpoint.clone(), body);
    assert_eq!(answer.status, 200, "{body}: {}", answer.text());
    assert_eq!(answer.header("x-spindle-ignored"), None, "{body}");
    let mut expected = silent.clone();
    change(&mut expected);
    assert_eq!(fake.request(), expected, "{body}");
    assert_eq!(
        fake.request().sampling.temperature.to_bits(),
        expected.sampling.temperature.to_bits()
    );
}

#[test]
fn every_honoured_field_reaches_inference() {
    let after = |fields: &str| {
        if fields.is_empty() {
            String::new()
        } else {
            format!(",{fields}")
        }
    };
    let chat = silent(chatml(), None);
    for (fields, change) in SHARED.iter().chain(CHAT) {
        check(
            &Endpoint::ChatCompletions,
            &chat_body(&after(fields)),
            &chat,
            *change,
        );
    }
    let completion = silent(Prompt::Text("Hi".to_owned()), Some(16));
    for (fields, change) in SHARED.iter().chain(COMPLETIONS) {
        check(
            &Endpoint::Completions,
            &format!(r#"{{"prompt":"Hi"{}}}"#, after(fields)),
            &completion,
            *change,
        );
    }
}

#[test]
fn silent_requests_get_the_operators_defaults_and_others_their_own() {
    let mut fake = Fake::willing();
    fake.models[0].defaults = SamplingDefaults {
        temperature: Some(0.25),
        top_p: Some(0.5),
        top_k: Some(3),
        min_p: Some(0.125),
        typical_p: Some(0.75),
        repeat_penalty: Some(1.25),
        frequency_penalty: Some(0.5),
        presence_penalty: Some(-0.5),
        seed: Some(11),
        max_tokens: Some(9),
    };
    fake.run(Endpoint::ChatCompletions, &chat_body(""));
    let mut expected = silent(chatml(), Some(9));
    expected.sampling = Sampling {
        temperature: 0.25,
        top_k: 3,
        top_p: 0.5,
        min_p: 0.125,
        typical_p: 0.75,
        repeat_penalty: 1.25,
        frequency_penalty: 0.5,
        presence_penalty: -0.5,
        logit_bias: Vec::new(),
        seed: 11,
        choice_index: 0,
    };
    assert_eq!(fake.request(), expected);
    let fields = r#","temperature":1,"top_p":1,"top_k":0,"min_p":0,"typical_p":1,"repeat_penalty":1,
        "frequency_penalty":0,"presence_penalty":0,"seed":42,"max_tokens":2048"#;
    fake.run(Endpoint::ChatCompletions, &chat_body(fields));
    let mut expected = silent(chatml(), None);
    named(&mut expected, 2048);
    assert_eq!(fake.requests.borrow()[1], expected);
}

#[test]
fn choices_differ_in_their_index_alone() {
    let fake = Fake::willing();
    fake.run(Endpoint::ChatCompletions, &chat_body(r#","n":128"#));
    let requests = fake.requests.borrow();
    assert_eq!(requests.len(), 128);
    for (index, request) in requests.iter().enumerate() {
        let mut first = requests[0].clone();
        first.sampling.choice_index = index as u32;
        assert_eq!(*request, first);
    }
    let fake = Fake::willing();
    fake.run(Endpoint::Completions, r#"{"prompt":["a","b"],"n":2}"#);
    let asked: Vec<_> = fake
        .requests
        .borrow()
        .iter()
        .map(|r| (r.prompt.clone(), r.sampling.choice_index))
        .collect();
    let text = |text: &str| Prompt::Text(text.to_owned());
    assert_eq!(
        asked,
        [
            (text("a"), 0),
            (text("a"), 1),
            (text("b"), 0),
            (text("b"), 1)
        ]
    );
}

#[test]
fn unknown_fields_are_named_and_change_nothing() {
    for stream in ["false", "true"] {
        let fake = Fake::willing();
        let fields = format!(
            r#","stream":{stream},"cache_prompt":true,"Mirostat":2,"prompt_cache_key":"k","nothing":null,
            "messages":[{{"role":"user","content":"Hi","weight":1}}]"#
        );
        let answer = fake.run(Endpoint::ChatCompletions, &chat_body(&fields));
        let ignored = "Mirostat, cache_prompt, messages.weight, prompt_cache_key";
        assert_eq!(answer.header("x-spindle-ignored"), Some(ignored));
        assert_eq!(fake.request(), silent(chatml(), None));
    }
    let fake = Fake::willing();
    let body = chat_body(r#","stream":true,"stream_options":{"continuous_usage_stats":true}"#);
    let answer = fake.run(Endpoint::ChatCompletions, &body);
    assert_eq!(
        answer.header("x-spindle-ignored"),
        Some("stream_options.continuous_usage_stats")
    );
}
