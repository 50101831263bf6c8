//! What one request gets: its events, their order and content, and the refusal of what is out of range.

#[path = "support/drive.rs"]
mod drive;
#[path = "support/gguf_writer.rs"]
mod gguf_writer;

use std::sync::Arc;
use std::time::Duration;

use drive::{Answer, answer, model, request, run, settings};
use gguf_writer::TinyModel;
use spindle_inference::request::{
    ErrorCode, FinishReason, Prompt, PromptDetail, Request, Sampling, TokenLogprobs,
};
use spindle_inference::scheduler::Scheduler;
use spindle_inference::{Model, TokenId};

/// `<|im_end|>`, which ends an answer.
const END: TokenId = TokenId(2);

fn tiny() -> Arc<Model> {
    model(
        TinyModel {
            seed: 5,
            ..TinyModel::default()
        }
        .bytes(),
    )
}

fn ask(model: &Arc<Model>, request: Request) -> Answer {
    answer(&mut Scheduler::new(model.clone(), settings(2)), request)
}

fn text(request: Request, text: &str) -> Request {
    Request {
        prompt: Prompt::Text(text.into()),
        ..request
    }
}

/// A request for 12 tokens that samples.
fn sampled(seed: u64) -> Request {
    let mut request = request(&[TokenId(9), TokenId(70)], 12);
    request.sampling.temperature = 1.0;
    request.sampling.seed = seed;
    request
}

fn with(change: impl FnOnce(&mut Request)) -> Request {
    let mut request = sampled(3);
    change(&mut request);
    request
}

/// The answer always wants to end: the end token's logit is far above all others.
fn eager_to_end(request: &mut Request) {
    request.ignore_eos = false;
    request.sampling.logit_bias = vec![(END, 100.0)];
}

#[test]
fn a_prompt_of_text_is_its_tokens() {
    let model = tiny();
    let of_text = ask(&model, text(sampled(1), "hello<|im_end|>"));
    let tokens = model.encode("hello<|im_end|>", true).unwrap();
    assert_eq!(tokens.last(), Some(&END));
    let of_tokens = ask(
        &model,
        Request {
            prompt: Prompt::Tokens(tokens),
            ..sampled(1)
        },
    );
    assert_eq!(of_text.ids(), of_tokens.ids());
    // An empty text begins with the begin token, where there is one.
    assert_eq!(
        ask(&model, text(sampled(1), ""))
            .prompt
            .unwrap()
            .prompt_tokens,
        1
    );
}

#[test]
fn a_long_text_is_refused_before_it_is_encoded_in_full() {
    let mut scheduler = Scheduler::new(tiny(), settings(1));
    let refused = scheduler.submit(text(sampled(1), &"a".repeat(10_000_000)), Duration::ZERO);
    assert!(
        matches!(refused, Err(ErrorCode::ContextExceeded(_))),
        "{refused:?}"
    );
}

#[test]
fn hostile_arguments_are_refused_by_name() {
    let mut scheduler = Scheduler::new(tiny(), settings(1));
    let requests = [
        (
            "prompt",
            with(|r| r.prompt = Prompt::Tokens(vec![TokenId(1 << 31)])),
        ),
        (
            "logit_bias",
            with(|r| r.sampling.logit_bias = vec![(TokenId(272), 1.0)]),
        ),
        ("temperature", with(|r| r.sampling.temperature = f32::NAN)),
        ("stop", with(|r| r.stop = vec![String::new()])),
        ("logprobs", with(|r| r.logprobs = Some(u32::MAX))),
        ("min_tokens", with(|r| r.min_tokens = 13)),
    ];
    for (param, request) in requests {
        match scheduler.submit(request, Duration::ZERO) {
            Err(ErrorCode::InvalidArgument(argument)) => assert_eq!(argument.param, param),
            other => panic!("{param}: {other:?}"),
        }
    }
    assert!(run(&mut scheduler).is_empty());
}

#[test]
fn the_seed_and_the_choice_decide_the_answer() {
    let model = tiny();
    let first = ask(&model, sampled(1)).ids();
    assert_eq!(first, ask(&model, sampled(1)).ids());
    assert_ne!(first, ask(&model, sampled(2)).ids());
    let second_choice = with(|r| (r.sampling.seed, r.sampling.choice_index) = (1, 1));
    assert_ne!(first, ask(&model, second_choice).ids());
}

#[test]
fn an_end_token_ends_the_answer_and_has_no_bytes() {
    let model = tiny();
    let ended = ask(&model, with(eager_to_end));
    assert_eq!(ended.ids(), [END]);
    assert!(ended.bytes().is_empty());
    let finished = ended.finished.unwrap();
    assert_eq!(
        (finished.reason, finished.completion_tokens),
        (FinishReason::Stop, 1)
    );

    // Not before `min_tokens`, and then at once.
    let later = with(|r| {
        eager_to_end(r);
        r.min_tokens = 5;
    });
    let later = ask(&model, later).ids();
    assert_eq!(later.len(), 6);
    assert!(!later[..5].contains(&END) && later[5] == END);

    // Never where it is ignored: it is a token like any other then.
    let ignored = with(|r| {
        eager_to_end(r);
        r.ignore_eos = true;
    });
    let ignored = ask(&model, ignored);
    assert_eq!(ignored.ids(), [END; 12]);
    assert_eq!(ignored.finished.unwrap().reason, FinishReason::Length);
}

#[test]
fn a_stop_sequence_cuts_the_bytes_and_counts_its_tokens() {
    let model = tiny();
    // A stop sequence must be UTF-8: find two printable tokens in a row to stop at.
    let printable = |bytes: &Vec<u8>| !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic);
    let stopped = (0..50).find_map(|seed| {
        let whole = ask(&model, sampled(seed));
        let bytes: Vec<Vec<u8>> = whole
            .tokens
            .iter()
            .map(|token| token.bytes.clone())
            .collect();
        let at = bytes
            .windows(2)
            .position(|pair| pair.iter().all(printable))?;
        let stop = String::from_utf8(bytes[at..at + 2].concat()).ok()?;
        let request = Request {
            stop: vec!["never found".into(), stop.clone()],
            ..sampled(seed)
        };
        Some((whole, stop, ask(&model, request)))
    });
    let (whole, stop, cut) = stopped.expect("some answer has two printable tokens in a row");
    let all = String::from_utf8_lossy(&whole.bytes()).into_owned();
    let kept = all.split(&stop).next().unwrap().to_owned();
    assert_eq!(String::from_utf8_lossy(&cut.bytes()), kept);
    let finished = cut.finished.unwrap();
    assert_eq!(finished.reason, FinishReason::Stop);
    assert!(
        finished.completion_tokens as usize > cut.tokens.len(),
        "the stop sequence's tokens count"
    );
}

#[test]
fn log_probabilities_are_of_the_raw_logits_and_add_up() {
    let model = tiny();
    let mut request =
        with(|r| r.sampling.logit_bias = vec![(TokenId(40), -100.0), (TokenId(41), 5.0)]);
    request.sampling.repeat_penalty = 1.5;
    request.sampling.presence_penalty = 1.0;
    request.logprobs = Some(20);
    let found = ask(&model, request.clone());
    for token in &found.tokens {
        let TokenLogprobs { chosen, top } = token.logprobs.as_ref().unwrap();
        assert_eq!((chosen.id, top.len()), (token.id, 20));
        assert!(
            top.windows(2)
                .all(|pair| pair[0].logprob >= pair[1].logprob),
            "likeliest first"
        );
        let sum: f32 = top.iter().map(|candidate| candidate.logprob.exp()).sum();
        assert!(sum > 0.0 && sum <= 1.0 + 1e-5);
        if let Some(same) = top.iter().find(|candidate| candidate.id == chosen.id) {
            assert_eq!(same.logprob, chosen.logprob);
        }
    }
    // Fed back as a prompt, without any editing, the same tokens have the same log-probabilities to the last bit.
    let Prompt::Tokens(prompt) = &request.prompt else {
        unreachable!()
    };
    let all = [&prompt[..], &found.ids()].concat();
    let mut again = drive::request(&all, 0);
    (again.prompt_detail, again.logprobs) = (PromptDetail::Logprobs, Some(20));
    let report = ask(&model, again).prompt.unwrap();
    let fed: Vec<_> = report.tokens[prompt.len()..]
        .iter()
        .map(|token| token.logprobs.clone())
        .collect();
    let chosen: Vec<_> = found
        .tokens
        .iter()
        .map(|token| token.logprobs.clone())
        .collect();
    assert_eq!(fed, chosen);
}

#[test]
fn prompt_reports_hold_what_was_asked_for() {
    let model = tiny();
    let ids: Vec<TokenId> = (0..40).map(|i| TokenId(2 + i * 5)).collect();
    for (detail, max_tokens) in [
        PromptDetail::Count,
        PromptDetail::Tokens,
        PromptDetail::Logprobs,
    ]
    .into_iter()
    .flat_map(|d| [(d, 0), (d, 3)])
    {
        let mut request = request(&ids, max_tokens);
        (request.prompt_detail, request.logprobs) = (detail, Some(2));
        let found = ask(&model, request);
        let report = found.prompt.unwrap();
        assert_eq!((report.prompt_tokens, report.cached_tokens), (40, 0));
        assert_eq!(found.tokens.len(), max_tokens as usize);
        let finished = found.finished.unwrap();
        assert_eq!(
            (finished.reason, finished.completion_tokens),
            (FinishReason::Length, max_tokens)
        );
        if detail == PromptDetail::Count {
            assert!(report.tokens.is_empty());
            continue;
        }
        assert_eq!(
            report
                .tokens
                .iter()
                .map(|token| token.id)
                .collect::<Vec<_>>(),
            ids
        );
        assert_eq!(
            report.tokens[0].bytes, b"<|im_end|>",
            "control tokens are shown by their text"
        );
        let scored = report
            .tokens
            .iter()
            .filter(|token| token.logprobs.is_some())
            .count();
        assert_eq!(
            scored,
            if detail == PromptDetail::Logprobs {
                39
            } else {
                0
            }
        );
        assert!(
            report.tokens[0].logprobs.is_none(),
            "nothing comes before the first token"
        );
    }
    // A prompt of one token has nothing to score.
    let mut one = request(&ids[..1], 0);
    one.prompt_detail = PromptDetail::Logprobs;
    assert_eq!(ask(&model, one).prompt.unwrap().tokens.len(), 1);
}

#[test]
fn scores_of_a_long_prompt_survive_being_cut_and_preempted() {
    let model = tiny();
    let ids: Vec<TokenId> = (0..150).map(|i| TokenId(3 + i * 11 % 260)).collect();
    let mut request = request(&ids, 4);
    (request.prompt_detail, request.logprobs) = (PromptDetail::Logprobs, Some(1));
    let whole = ask(&model, request.clone());
    let mut small = settings(2);
    small.prefill_chunk_max = 16;
    small.kv_bytes = 8 * spindle_inference::kv::KvCache::page_bytes(model.config(), small.kv_type);
    let mut scheduler = Scheduler::new(model, small);
    request.lane = spindle_inference::request::Lane::Batch;
    let id = scheduler.submit(request, Duration::ZERO).unwrap();
    let (mut answers, mut watch) = (drive::Answers::new(), drive::Counting::default());
    for _ in 0..5 {
        drive::step(&mut scheduler, &mut watch, &mut answers);
    }
    // Takes the pages in the middle of the prompt.
    scheduler
        .submit(drive::request(&ids[..100], 3), Duration::ZERO)
        .unwrap();
    while drive::step(&mut scheduler, &mut watch, &mut answers)
        != spindle_inference::scheduler::StepOutcome::Idle
    {}
    assert_eq!(scheduler.counters().preemptions, 1);
    let mut found = answers.remove(&id).unwrap();
    // Times differ, nothing else.
    found.finished = whole.finished;
    assert_eq!(found, whole);
}

#[test]
fn greedy_ignores_the_seed_and_every_truncation() {
    let model = tiny();
    let plain = ask(&model, request(&[TokenId(9)], 10)).ids();
    let mut other = request(&[TokenId(9)], 10);
    other.sampling = Sampling {
        seed: 9,
        top_k: 3,
        top_p: 0.1,
        min_p: 0.5,
        typical_p: 0.2,
        ..Sampling::greedy()
    };
    assert_eq!(ask(&model, other).ids(), plain);
}
