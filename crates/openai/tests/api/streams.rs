//! Streams over time: what is there leaves at once, nothing is lost, and whoever goes takes the generations along.

use std::pin::pin;
use std::task::Poll;

use spindle_openai::inference::{Event, FinishReason, InferenceError};
use spindle_openai::{Body, Endpoint, Response, SseFrames};

use crate::fake::{
    Fake, Step, at_once, block_on, finished, one_by_one, poll_once, prompt, scored, token,
};

const STOP: FinishReason = FinishReason::Stop;

fn body(fields: &str) -> String {
    format!(r#"{{"messages":[{{"role":"user","content":"Hi"}}],"stream":true{fields}}}"#)
}

fn frames(response: Response) -> SseFrames {
    match response.body {
        Body::Stream(frames) => frames,
        Body::Json(body) => panic!("no stream: {}", String::from_utf8_lossy(&body)),
    }
}

fn now(frames: &mut SseFrames) -> Poll<Option<String>> {
    poll_once(pin!(frames.next()))
        .map(|frames| frames.map(|frames| String::from_utf8(frames).unwrap()))
}

#[test]
fn a_stream_begins_before_the_first_token_and_leaves_as_it_comes() {
    let steps = vec![
        Step::Wait,
        Step::Ready(vec![prompt(1)]),
        Step::Wait,
        Step::Wait,
        Step::Ready(vec![token(5, b"a"), token(6, b"b")]),
        Step::Ready(vec![token(7, b"c")]),
        Step::Wait,
        Step::Ready(vec![finished(STOP, 1, 3)]),
    ];
    let fake = Fake::new([Ok(steps)]);
    let mut frames = frames(fake.respond(Endpoint::ChatCompletions, &body("")));
    let Poll::Ready(Some(role)) = now(&mut frames) else {
        panic!("the role waits for nothing")
    };
    assert!(
        role.contains(r#""role":"assistant""#) && role.matches("data: ").count() == 1,
        "{role}"
    );
    // Looking and going away again, as for a comment in between, loses nothing.
    let mut pending = 0;
    let text = loop {
        match now(&mut frames) {
            Poll::Ready(text) => break text.expect("a token"),
            Poll::Pending => pending += 1,
        }
    };
    assert!(pending > 0);
    assert_eq!(
        text.matches("data: ").count(),
        3,
        "three tokens that are there are three frames of one write: {text}"
    );
    let rest = loop {
        if let Poll::Ready(rest) = now(&mut frames) {
            break rest.expect("an end");
        }
    };
    assert!(
        rest.ends_with("data: [DONE]\n\n") && rest.contains(r#""finish_reason":"stop""#),
        "{rest}"
    );
    assert_eq!(now(&mut frames), Poll::Ready(None));
    assert_eq!(now(&mut frames), Poll::Ready(None));
}

#[test]
fn one_write_is_bounded_and_cuts_no_frame() {
    let events = (0..5000).map(|_| token(5, b"hello"));
    let events: Vec<Event> = [prompt(1)]
        .into_iter()
        .chain(events)
        .chain([finished(STOP, 1, 5000)])
        .collect();
    let steps = events
        .chunks(16)
        .map(|chunk| Step::Ready(chunk.to_vec()))
        .collect();
    let fake = Fake::new([Ok(steps)]);
    let mut frames = frames(fake.respond(Endpoint::ChatCompletions, &body("")));
    let mut writes = 0;
    while let Some(write) = block_on(frames.next()) {
        assert!(
            write.len() < 24 * 1024 && write.ends_with(b"\n\n"),
            "{}",
            write.len()
        );
        writes += 1;
    }
    assert!(writes > 10);
}

#[test]
fn dropping_an_answer_ends_its_generations() {
    let endless = || {
        Ok(vec![
            Step::Ready(vec![prompt(1)]),
            Step::Wait,
            Step::Wait,
            Step::Wait,
        ])
    };
    let fake = Fake::new([endless(), endless(), endless()]);
    let mut frames = frames(fake.respond(Endpoint::ChatCompletions, &body(r#","n":3"#)));
    assert!(now(&mut frames).is_ready());
    assert_eq!(fake.running.get(), 3);
    drop(frames);
    assert_eq!(fake.running.get(), 0);
}

#[test]
fn one_failed_choice_ends_the_stream_with_its_error() {
    let failing = one_by_one([
        prompt(1),
        token(5, b"a"),
        Event::Failed(InferenceError::ReaderStalled),
        token(6, b"b"),
    ]);
    let patient = Ok(vec![Step::Wait; 1000]);
    let fake = Fake::new([failing, patient]);
    let answer = fake.run(Endpoint::ChatCompletions, &body(r#","n":2"#));
    assert_eq!(answer.status, 200);
    let chunks = answer.chunks();
    let (last, others) = chunks.split_last().unwrap();
    assert_eq!(last["error"]["code"], "reader_stalled");
    assert!(
        others.iter().all(|chunk| chunk["error"].is_null()),
        "one error, and nothing after it"
    );
    assert_eq!(fake.running.get(), 0);
}

#[test]
fn events_that_just_stop_are_our_fault() {
    for stream in ["true", "false"] {
        let fake = Fake::new([one_by_one([prompt(1), token(5, b"a")])]);
        let body = format!(r#"{{"prompt":"Hi","stream":{stream}}}"#);
        let answer = fake.run(Endpoint::Completions, &body);
        let error = if stream == "true" {
            answer.chunks().pop().unwrap()
        } else {
            answer.json()
        };
        assert_eq!(error["error"]["code"], "internal_error");
    }
}

#[test]
fn no_chunk_splits_a_character_wherever_tokens_split_it() {
    let text = "a\u{e9}\u{20ac}\u{1f600}z";
    let bytes = text.as_bytes();
    for first in 0..=bytes.len() {
        for second in first..=bytes.len() {
            let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
            let tokens = pieces.iter().zip(5..).map(|(piece, id)| scored(id, piece));
            let events: Vec<Event> = [prompt(1)]
                .into_iter()
                .chain(tokens)
                .chain([finished(STOP, 1, 3)])
                .collect();
            let fake = Fake::new([at_once(events)]);
            let answer = fake.run(
                Endpoint::ChatCompletions,
                &body(r#","logprobs":true,"return_token_ids":true"#),
            );
            let chunks = answer.chunks();
            let deltas = chunks.iter().map(|chunk| {
                chunk["choices"][0]["delta"]["content"]
                    .as_str()
                    .unwrap_or_default()
            });
            assert_eq!(
                deltas.collect::<String>(),
                text,
                "cut at {first} and {second}"
            );
            // The bytes of the log-probabilities put the text together as well.
            let spelled: Vec<u8> = chunks
                .iter()
                .filter_map(|chunk| chunk["choices"][0]["logprobs"]["content"].as_array())
                .flatten()
                .flat_map(|token| token["bytes"].as_array().unwrap())
                .map(|byte| byte.as_u64().unwrap() as u8)
                .collect();
            assert_eq!(spelled, bytes, "cut at {first} and {second}");
            let ids = chunks
                .iter()
                .filter_map(|chunk| chunk["choices"][0]["token_ids"].as_array())
                .flatten();
            assert_eq!(
                ids.filter_map(|id| id.as_u64()).collect::<Vec<_>>(),
                [5, 6, 7]
            );
        }
    }
}

#[test]
fn bytes_that_never_become_a_character_are_replaced_at_the_end() {
    for reason in [FinishReason::Stop, FinishReason::Length] {
        let events = || {
            at_once([
                prompt(1),
                token(5, b"a\xff"),
                token(6, b"\xf0\x9f"),
                token(2, b""),
                finished(reason, 1, 3),
            ])
        };
        let fake = Fake::new([events(), events()]);
        let chunks = fake.run(Endpoint::ChatCompletions, &body("")).chunks();
        let deltas = chunks.iter().map(|chunk| {
            chunk["choices"][0]["delta"]["content"]
                .as_str()
                .unwrap_or_default()
        });
        assert_eq!(deltas.collect::<String>(), "a\u{fffd}\u{fffd}");
        let whole = fake.run(Endpoint::Completions, r#"{"prompt":"Hi"}"#).json();
        assert_eq!(whole["choices"][0]["text"], "a\u{fffd}\u{fffd}");
    }
}
