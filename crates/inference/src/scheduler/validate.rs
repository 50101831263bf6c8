//! Every argument of a request, checked as if it were hostile.
//!
//! - What passes can neither index out of a vocabulary, nor make a weight that is no number, nor ask for more memory
//!   than the limits here allow.
//! - The caller has worded defaults and checked the API's ranges; the ranges here are those, or wider where the API has none.

use crate::request::{ContextExceeded, ErrorCode, InvalidArgument, Prompt, Request, Sampling};
use crate::token::TokenId;

/// Stop sequences of a request.
pub const STOP_MAX: usize = 4;
/// Bytes of a stop sequence.
pub const STOP_BYTES_MAX: usize = 1024;
/// Entries of a logit bias.
pub const LOGIT_BIAS_MAX: usize = 1024;
/// Alternatives a token's log-probabilities may list.
pub const LOGPROBS_MAX: u32 = 20;

/// Checks all of a request whose prompt is tokens, against the vocabulary and the context it would run in.
///
/// Returns the most tokens its answer may have.
pub fn check(request: &Request, vocab_len: usize, context_len: usize) -> Result<usize, ErrorCode> {
    let Prompt::Tokens(prompt) = &request.prompt else {
        return refuse("prompt", "must be tokens here");
    };
    if prompt.is_empty() {
        return refuse("prompt", "must have at least one token");
    }
    if let Some(id) = prompt.iter().find(|id| id.0 as usize >= vocab_len) {
        return refuse(
            "prompt",
            format!("token {} is not below the vocabulary's {vocab_len}", id.0),
        );
    }
    check_stop(&request.stop)?;
    check_sampling(&request.sampling, vocab_len)?;
    if request.logprobs.is_some_and(|count| count > LOGPROBS_MAX) {
        return refuse("logprobs", format!("must be 0 to {LOGPROBS_MAX}"));
    }
    if request
        .max_tokens
        .is_some_and(|max| request.min_tokens > max)
    {
        return refuse("min_tokens", "must not exceed max_tokens");
    }
    // Without a limit that must be kept the answer has what is left, which must be something.
    let hard = request.max_tokens.filter(|_| !request.clip_to_context);
    let asked = hard.unwrap_or(request.min_tokens.max(1)) as usize;
    if asked > context_len || prompt.len() > context_len - asked {
        return Err(ErrorCode::ContextExceeded(ContextExceeded {
            prompt_tokens: u32::try_from(prompt.len()).unwrap_or(u32::MAX),
            requested_tokens: hard.unwrap_or(request.min_tokens),
            context_len: context_len as u32,
        }));
    }
    let left = context_len - prompt.len();
    Ok(request
        .max_tokens
        .map_or(left, |max| left.min(max as usize)))
}

fn check_stop(stop: &[String]) -> Result<(), ErrorCode> {
    if stop.len() > STOP_MAX {
        return refuse("stop", format!("must have at most {STOP_MAX} sequences"));
    }
    if stop
        .iter()
        .any(|text| !(1..=STOP_BYTES_MAX).contains(&text.len()))
    {
        return refuse(
            "stop",
            format!("each sequence must have 1 to {STOP_BYTES_MAX} bytes"),
        );
    }
    Ok(())
}

fn check_sampling(sampling: &Sampling, vocab_len: usize) -> Result<(), ErrorCode> {
    let ranges = [
        ("temperature", sampling.temperature, 0.0, 2.0),
        ("top_p", sampling.top_p, 0.0, 1.0),
        ("min_p", sampling.min_p, 0.0, 1.0),
        ("typical_p", sampling.typical_p, 0.0, 1.0),
        // Zero would divide by it.
        ("repeat_penalty", sampling.repeat_penalty, 0.01, 100.0),
        ("frequency_penalty", sampling.frequency_penalty, -2.0, 2.0),
        ("presence_penalty", sampling.presence_penalty, -2.0, 2.0),
    ];
    for (param, value, min, max) in ranges {
        // False for what is not a number.
        if !(min..=max).contains(&value) {
            return refuse(param, format!("must be {min} to {max}"));
        }
    }
    if sampling.logit_bias.len() > LOGIT_BIAS_MAX {
        return refuse(
            "logit_bias",
            format!("must have at most {LOGIT_BIAS_MAX} entries"),
        );
    }
    for &(TokenId(id), bias) in &sampling.logit_bias {
        if id as usize >= vocab_len {
            return refuse(
                "logit_bias",
                format!("token {id} is not below the vocabulary's {vocab_len}"),
            );
        }
        if !(-100.0..=100.0).contains(&bias) {
            return refuse("logit_bias", "each bias must be -100 to 100");
        }
    }
    Ok(())
}

fn refuse<T>(param: &str, message: impl Into<String>) -> Result<T, ErrorCode> {
    Err(ErrorCode::InvalidArgument(InvalidArgument {
        param: param.into(),
        message: message.into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Lane, PromptDetail};

    fn request() -> Request {
        Request {
            model: String::new(),
            prompt: Prompt::Tokens(vec![TokenId(1), TokenId(99)]),
            max_tokens: Some(8),
            clip_to_context: false,
            min_tokens: 0,
            ignore_eos: false,
            stop: Vec::new(),
            sampling: Sampling::greedy(),
            logprobs: None,
            prompt_detail: PromptDetail::Count,
            lane: Lane::Interactive,
            tenant: String::new(),
        }
    }

    /// What is refused of the request after `change`: the parameter, `context`, or nothing.
    fn refused(change: impl Fn(&mut Request)) -> String {
        let mut request = request();
        change(&mut request);
        match check(&request, 100, 64) {
            Ok(_) => String::new(),
            Err(ErrorCode::InvalidArgument(argument)) => argument.param,
            Err(ErrorCode::ContextExceeded(_)) => "context".into(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn each_argument_is_refused_outside_its_range_and_taken_at_its_ends() {
        type Row = (&'static str, fn(&mut Request));
        let tokens = |n: usize| Prompt::Tokens(vec![TokenId(0); n]);
        assert_eq!(refused(|r| r.prompt = tokens(56)), "");
        assert_eq!(refused(|r| r.prompt = tokens(57)), "context");
        #[rustfmt::skip]
        let table: &[Row] = &[
            ("", |_| {}),
            ("prompt", |r| r.prompt = Prompt::Text("text".into())),
            ("prompt", |r| r.prompt = Prompt::Tokens(vec![])),
            ("prompt", |r| r.prompt = Prompt::Tokens(vec![TokenId(100)])),
            ("prompt", |r| r.prompt = Prompt::Tokens(vec![TokenId(1 << 31)])),
            ("prompt", |r| r.prompt = Prompt::Tokens(vec![TokenId(u32::MAX)])),
            ("", |r| r.max_tokens = Some(0)),
            ("", |r| r.max_tokens = None),
            ("", |r| r.max_tokens = Some(62)),
            ("context", |r| r.max_tokens = Some(63)),
            ("context", |r| r.max_tokens = Some(u32::MAX)),
            ("", |r| (r.max_tokens, r.clip_to_context) = (Some(u32::MAX), true)),
            ("context", |r| (r.max_tokens, r.min_tokens, r.clip_to_context) = (Some(99), 63, true)),
            ("min_tokens", |r| r.min_tokens = 9),
            ("", |r| r.min_tokens = 8),
            ("context", |r| (r.max_tokens, r.min_tokens) = (None, u32::MAX)),
            ("stop", |r| r.stop = vec!["a".into(); 5]),
            ("", |r| r.stop = vec!["a".repeat(1024); 4]),
            ("stop", |r| r.stop = vec![String::new()]),
            ("stop", |r| r.stop = vec!["a".repeat(1025)]),
            ("logprobs", |r| r.logprobs = Some(21)),
            ("", |r| r.logprobs = Some(20)),
            ("temperature", |r| r.sampling.temperature = f32::NAN),
            ("temperature", |r| r.sampling.temperature = -0.1),
            ("temperature", |r| r.sampling.temperature = f32::INFINITY),
            ("", |r| r.sampling.temperature = 2.0),
            ("top_p", |r| r.sampling.top_p = 1.1),
            ("", |r| r.sampling.top_p = 0.0),
            ("min_p", |r| r.sampling.min_p = -1.0),
            ("typical_p", |r| r.sampling.typical_p = f32::NAN),
            ("", |r| r.sampling.top_k = u32::MAX),
            ("repeat_penalty", |r| r.sampling.repeat_penalty = 0.0),
            ("repeat_penalty", |r| r.sampling.repeat_penalty = f32::NEG_INFINITY),
            ("frequency_penalty", |r| r.sampling.frequency_penalty = 2.5),
            ("presence_penalty", |r| r.sampling.presence_penalty = f32::NAN),
            ("", |r| r.sampling.logit_bias = vec![(TokenId(99), -100.0); 1024]),
            ("logit_bias", |r| r.sampling.logit_bias = vec![(TokenId(99), 1.0); 1025]),
            ("logit_bias", |r| r.sampling.logit_bias = vec![(TokenId(100), 1.0)]),
            ("logit_bias", |r| r.sampling.logit_bias = vec![(TokenId(u32::MAX), 1.0)]),
            ("logit_bias", |r| r.sampling.logit_bias = vec![(TokenId(0), f32::NAN)]),
            ("logit_bias", |r| r.sampling.logit_bias = vec![(TokenId(0), f32::INFINITY)]),
            ("logit_bias", |r| r.sampling.logit_bias = vec![(TokenId(0), 100.5)]),
        ];
        for (index, (expected, change)) in table.iter().enumerate() {
            assert_eq!(refused(change), *expected, "row {index}");
        }
    }

    #[test]
    fn an_answer_without_a_limit_may_fill_the_context() {
        let mut request = request();
        request.max_tokens = None;
        assert_eq!(check(&request, 100, 64), Ok(62));
    }

    #[test]
    fn a_default_limit_gives_way_to_the_context_and_a_named_one_does_not() {
        for (max_tokens, clip_to_context, answer_max) in [
            (Some(8), true, Some(8)),
            (Some(1000), true, Some(62)),
            (None, true, Some(62)),
            (Some(62), false, Some(62)),
            (Some(63), false, None),
        ] {
            let request = Request {
                max_tokens,
                clip_to_context,
                ..request()
            };
            assert_eq!(check(&request, 100, 64).ok(), answer_max, "{max_tokens:?}");
        }
    }
}
