//! One definition: every architecture and format gives the same answer on every instruction set, thread count and
//! chunk, to the last bit of its log-probabilities.

#[path = "support/drive.rs"]
mod drive;
#[path = "support/gguf_writer.rs"]
mod gguf_writer;

use std::sync::Arc;

use drive::{Answer, answer, model, request, settings};
use gguf_writer::{TinyModel, Value};
use spindle_inference::request::{PromptDetail, Request};
use spindle_inference::scheduler::{Scheduler, SchedulerSettings};
use spindle_inference::{Model, TokenId};
use spindle_kernels::{Format, Isa, KvType};

const CASES: [(&str, Format); 6] = [
    ("llama", Format::Q4_1),
    ("llama", Format::F32),
    ("qwen2", Format::Q8_0),
    ("qwen2", Format::Q6K),
    ("qwen3", Format::Q4K),
    ("qwen3", Format::BF16),
];

fn tiny(architecture: &'static str, format: Format) -> Arc<Model> {
    model(
        TinyModel {
            architecture,
            format,
            ..TinyModel::default()
        }
        .bytes(),
    )
}

/// A sampled answer with everything that is ever reported.
fn asked() -> Request {
    let prompt: Vec<TokenId> = (0..75).map(|i| TokenId(3 + i * 13 % 260)).collect();
    let mut request = request(&prompt, 20);
    request.sampling.temperature = 0.8;
    request.sampling.top_p = 0.95;
    request.sampling.repeat_penalty = 1.1;
    request.sampling.seed = 4;
    request.logprobs = Some(3);
    request.prompt_detail = PromptDetail::Logprobs;
    request
}

/// The answer, times apart.
fn ask(model: &Arc<Model>, settings: SchedulerSettings, request: Request) -> Answer {
    Answer {
        finished: None,
        ..answer(&mut Scheduler::new(model.clone(), settings), request)
    }
}

#[test]
fn answers_do_not_depend_on_isa_threads_or_chunks() {
    for (architecture, format) in CASES {
        let model = tiny(architecture, format);
        let mut plain = settings(1);
        plain.isa = Isa::Scalar;
        let expected = ask(&model, plain, asked());
        for isa in Isa::available() {
            for (threads, chunk) in [(1, 512), (2, 7), (3, 32), (4, 1), (5, 512)] {
                let mut settings = settings(threads);
                (settings.isa, settings.prefill_chunk_max) = (isa, chunk);
                let found = ask(&model, settings, asked());
                assert_eq!(
                    found, expected,
                    "{architecture} {format}, {isa:?}, {threads} threads, chunks of {chunk}"
                );
            }
        }
    }
}

#[test]
fn answers_do_not_depend_on_company() {
    let model = tiny("llama", Format::Q5_0);
    let expected = ask(&model, settings(2), asked());
    let mut scheduler = Scheduler::new(model, settings(2));
    let mut wanted = None;
    for place in 0..16u32 {
        let mut other = asked();
        if place == 9 {
            wanted = Some(scheduler.submit(other, std::time::Duration::ZERO).unwrap());
            continue;
        }
        // Prompts of their own, and one with the same prompt and another seed.
        if place != 3 {
            other = request(&[TokenId(place + 3), TokenId(8 * place + 3)], 5 + 4 * place);
        }
        other.sampling.seed = u64::from(place) + 100;
        other.sampling.temperature = 1.0;
        // Another's penalties must not leak into ours.
        other.sampling.logit_bias = vec![(TokenId(50), 100.0)];
        scheduler.submit(other, std::time::Duration::ZERO).unwrap();
    }
    let found = drive::run(&mut scheduler).remove(&wanted.unwrap()).unwrap();
    assert_eq!(
        Answer {
            finished: None,
            ..found
        },
        expected
    );
}

#[test]
fn long_contexts_share_spans_and_keep_their_bits() {
    // 1,300 positions are three spans of attention; one key/value head, so that most ranks have none.
    let long = TinyModel {
        context_len: 2048,
        kv_heads: 1,
        heads: 2,
        width: 64,
        ffn_width: 64,
        ..TinyModel::default()
    };
    let model = model(long.bytes());
    let prompt: Vec<TokenId> = (0..1300).map(|i| TokenId(3 + i * 29 % 260)).collect();
    let mut asked = request(&prompt, 6);
    asked.logprobs = Some(5);
    for kv_type in [KvType::F16, KvType::F32] {
        let with = |isa, threads, chunk| {
            let mut settings = settings(threads);
            (settings.isa, settings.prefill_chunk_max, settings.kv_type) = (isa, chunk, kv_type);
            ask(&model, settings, asked.clone())
        };
        let expected = with(Isa::Scalar, 1, 512);
        for isa in Isa::available() {
            assert_eq!(with(isa, 3, 333), expected, "{isa:?}");
        }
    }
}

#[test]
fn a_stretched_rotation_is_another_model_and_a_factor_of_one_is_none() {
    let with = |factor: Option<f32>| {
        let mut gguf = TinyModel::default().gguf();
        if let Some(factor) = factor {
            gguf.set("llama.rope.scaling.type", Value::Text("linear".into()));
            gguf.set("llama.rope.scaling.factor", Value::F32(factor));
        }
        ask(&model(gguf.bytes()), settings(1), asked())
    };
    let plain = with(None);
    assert_eq!(with(Some(1.0)), plain);
    assert_ne!(with(Some(4.0)), plain);
}
