//! Arguments that no honest guest passes to `spindle:inference`, since the honest one checks them first.
//!
//! The answer has a line for each: its name, and `refused` or `ACCEPTED`.

use spin_sdk::wasip3::http::types::Response;

mod generated {
    spin_sdk::wit_bindgen::generate!({
        path: "../../../wit",
        world: "api",
        runtime_path: "::spin_sdk::wit_bindgen::rt",
        generate_all,
    });
}

use generated::spindle::inference::generation::{self, Prompt, PromptDetail, Request, Sampling};
use generated::spindle::inference::types::Lane;
use generated::spindle::inference::{models, tokenizer};

type Change = (&'static str, fn(&mut Request));

const CHANGES: &[Change] = &[
    ("unknown model", |request| {
        request.model = "../../etc/passwd".into()
    }),
    ("no prompt", |request| {
        request.prompt = Prompt::Tokens(Vec::new())
    }),
    ("token past the vocabulary", |request| {
        request.prompt = Prompt::Tokens(vec![u32::MAX])
    }),
    ("prompt past the context", |request| {
        request.prompt = Prompt::Tokens(vec![0; 1 << 20])
    }),
    ("temperature not a number", |request| {
        request.sampling.temperature = f32::NAN
    }),
    ("temperature below zero", |request| {
        request.sampling.temperature = -1.0
    }),
    ("top_p infinite", |request| {
        request.sampling.top_p = f32::INFINITY
    }),
    ("top_p below zero", |request| request.sampling.top_p = -0.5),
    ("min_p above one", |request| request.sampling.min_p = 2.0),
    ("typical_p not a number", |request| {
        request.sampling.typical_p = f32::NAN
    }),
    ("repeat_penalty zero", |request| {
        request.sampling.repeat_penalty = 0.0
    }),
    ("frequency_penalty not a number", |request| {
        request.sampling.frequency_penalty = f32::NAN
    }),
    ("presence_penalty infinite", |request| {
        request.sampling.presence_penalty = f32::NEG_INFINITY
    }),
    ("bias on a token past the vocabulary", |request| {
        request.sampling.logit_bias = vec![(u32::MAX, 1.0)]
    }),
    ("bias not a number", |request| {
        request.sampling.logit_bias = vec![(0, f32::NAN)]
    }),
    ("too many biases", |request| {
        request.sampling.logit_bias = vec![(0, 1.0); 100_000]
    }),
    ("too many stop sequences", |request| {
        request.stop = vec!["x".into(); 10_000]
    }),
    ("an empty stop sequence", |request| {
        request.stop = vec![String::new()]
    }),
    ("a giant stop sequence", |request| {
        request.stop = vec!["x".repeat(1 << 20)]
    }),
    ("too many alternatives", |request| {
        request.logprobs = Some(u32::MAX)
    }),
    ("more tokens than the context", |request| {
        request.max_tokens = Some(u32::MAX)
    }),
];

pub async fn answer() -> Response {
    let model = models::list()
        .into_iter()
        .next()
        .map(|model| model.id)
        .unwrap_or_default();
    let mut lines = String::new();
    for (name, change) in CHANGES {
        let mut request = honest(model.clone());
        change(&mut request);
        line(
            &mut lines,
            name,
            generation::generate(request).await.is_err(),
        );
    }
    let decoded = tokenizer::decode(model.clone(), vec![u32::MAX]).await;
    line(
        &mut lines,
        "decoding a token past the vocabulary",
        decoded.is_err(),
    );
    let encoded = tokenizer::encode("no such model".into(), "text".into(), true).await;
    line(
        &mut lines,
        "encoding for an unknown model",
        encoded.is_err(),
    );
    crate::stream(async move |writer| crate::send(writer, &lines).await)
}

fn line(lines: &mut String, name: &str, refused: bool) {
    lines.push_str(&format!(
        "{name}: {}\n",
        if refused { "refused" } else { "ACCEPTED" }
    ));
}

/// A request that is accepted as it stands.
fn honest(model: String) -> Request {
    Request {
        model,
        prompt: Prompt::Text("Hello".into()),
        max_tokens: Some(1),
        clip_to_context: false,
        min_tokens: 0,
        ignore_eos: false,
        stop: Vec::new(),
        sampling: Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            repeat_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
            choice_index: 0,
        },
        logprobs: None,
        prompt_detail: PromptDetail::Count,
        lane: Lane::Batch,
        tenant: "somebody else".into(),
    }
}
