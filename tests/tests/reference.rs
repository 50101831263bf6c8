//! A real model over HTTP against another engine's results: SmolLM2-135M-Instruct in Q4_1, greedy.
//!
//! - Prompts are the same tokens.
//! - Answers are the same tokens up to the first step whose two best candidates are closer than rounding can tell.
//! - Fed the reference's own tokens, the best candidate's log-probability agrees at every step.

use std::sync::Arc;

use serde_json::{Value, json};
use spindle_tests::{Endpoint, Server, ServerOptions, means};

/// Other kernels round elsewhere: two candidates this close (in log-probability) may change places.
const TIE: f64 = 0.1;
/// Mean distance, over the steps of one answer, between the two engines' best log-probabilities.
const MEAN_DISTANCE_MAX: f64 = 0.05;

/// One line of the reference.
struct Line(Value);

impl Line {
    fn ids(&self, name: &str) -> Vec<u64> {
        self.0[name]
            .as_array()
            .expect("ids")
            .iter()
            .map(|id| id.as_u64().expect("an id"))
            .collect()
    }

    /// Log-probability of the candidate at this rank of a step.
    fn logprob(&self, step: usize, rank: usize) -> f64 {
        self.0["top5"][step][rank][1]
            .as_f64()
            .expect("a log-probability")
    }

    fn prompt(&self) -> &str {
        self.0["prompt"].as_str().expect("a prompt")
    }

    /// Endpoint and body that ask for this line's answer.
    fn request(&self, model: &str) -> (Endpoint, Value) {
        let extra = json!({"max_tokens": self.ids("tokens").len(), "return_token_ids": true});
        let mut body = Endpoint::Completions.body(model, self.prompt(), &extra);
        if self.0["kind"] == "chat" {
            body = Endpoint::Chat.body(model, "", &extra);
            body["messages"] = self.0["messages"].clone();
            return (Endpoint::Chat, body);
        }
        (Endpoint::Completions, body)
    }
}

fn reference() -> Vec<Line> {
    let text = include_str!("../reference/smollm2-135m-q4_1-greedy.jsonl");
    let lines: Vec<Line> = text
        .lines()
        .map(|line| Line(serde_json::from_str(line).expect("JSON")))
        .collect();
    assert_eq!(lines.len(), 25);
    lines
}

fn server() -> Option<Arc<Server>> {
    static SHARED: std::sync::Mutex<std::sync::Weak<Server>> =
        std::sync::Mutex::new(std::sync::Weak::new());
    let weights = means::smollm2()?;
    let mut shared = SHARED
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    Some(shared.upgrade().unwrap_or_else(|| {
        let server = Arc::new(
            ServerOptions::default()
                .arg("--model")
                .arg(weights)
                .args(["--ctx-size", "2048"])
                .start(),
        );
        *shared = Arc::downgrade(&server);
        server
    }))
}

fn ids(value: &Value) -> Vec<u64> {
    value
        .as_array()
        .unwrap_or_else(|| panic!("ids: {value}"))
        .iter()
        .map(|id| id.as_u64().unwrap())
        .collect()
}

#[test]
fn greedy_answers_agree_up_to_the_first_tie() {
    let Some(server) = server() else { return };
    let (client, model) = (server.client(), server.model());
    let mut agreed = 0;
    for line in reference() {
        let (endpoint, body) = line.request(&model);
        let answer = endpoint.whole(&client, &body);
        assert_eq!(
            ids(&answer.prompt_token_ids),
            line.ids("prompt_tokens"),
            "prompt of {:?}",
            line.prompt()
        );
        let (found, expected) = (ids(&answer.choices[0].token_ids), line.ids("tokens"));
        let tie =
            (0..expected.len()).find(|step| line.logprob(*step, 0) - line.logprob(*step, 1) < TIE);
        let sure = tie.unwrap_or(expected.len());
        assert!(found.len() >= sure, "{found:?} ends before {expected:?}");
        assert_eq!(found[..sure], expected[..sure], "{:?}", line.prompt());
        if tie.is_none() {
            assert_eq!(answer.text(), line.0["text"], "{:?}", line.prompt());
        }
        agreed += sure;
    }
    // The test would be empty if every line began with a tie.
    assert!(agreed > 300, "{agreed} steps compared");
}

#[test]
fn log_probabilities_agree_at_every_step() {
    let Some(server) = server() else { return };
    let (client, model) = (server.client(), server.model());
    for line in reference() {
        let (prompt, tokens) = (line.ids("prompt_tokens"), line.ids("tokens"));
        let all: Vec<u64> = prompt.iter().chain(&tokens).copied().collect();
        let extra = json!({"prompt": all, "echo": true, "logprobs": 5, "max_tokens": 0});
        let body = Endpoint::Completions.body(&model, "", &extra);
        let answer = Endpoint::Completions.whole(&client, &body);
        let tops = answer.choices[0].logprobs["top_logprobs"]
            .as_array()
            .expect("top_logprobs")
            .clone();
        let tops = &tops[prompt.len()..][..tokens.len()];
        let distances: Vec<f64> = (0..tokens.len())
            .map(|step| {
                let candidates = tops[step].as_object().expect("candidates").values();
                let best = candidates
                    .map(|one| one.as_f64().unwrap())
                    .fold(f64::NEG_INFINITY, f64::max);
                (best - line.logprob(step, 0)).abs()
            })
            .collect();
        let mean = distances.iter().sum::<f64>() / distances.len() as f64;
        assert!(
            mean <= MEAN_DISTANCE_MAX,
            "{:?}: mean {mean:.4}, {distances:.3?}",
            line.prompt()
        );
    }
}

#[test]
fn streams_never_split_a_letter() {
    let Some(server) = server() else { return };
    let (client, model) = (server.client(), server.model());
    // Letters of two, three and four bytes, which this vocabulary spells with several tokens each.
    for prompt in [
        "Repeat exactly: \u{65e5}\u{672c}\u{8a9e} \u{1f389}\u{1f9f5} \u{e9}\u{df}",
        "\u{1f600}\u{1f601}\u{1f602}",
    ] {
        for extra in [
            json!({}),
            json!({"temperature": 2, "seed": 3}),
            json!({"temperature": 2, "seed": 4, "n": 2}),
        ] {
            let mut extra = extra;
            extra["max_tokens"] = json!(48);
            extra["ignore_eos"] = json!(true);
            let body = Endpoint::Chat.body(&model, prompt, &extra);
            let whole = Endpoint::Chat.whole(&client, &body);
            // A split letter would arrive as two replacement characters, or as none.
            assert_eq!(
                Endpoint::Chat.streamed(&client, &body).texts(),
                whole.texts(),
                "{prompt} {extra}"
            );
        }
    }
    // An answer forced to be the bytes of one emoji: every frame is whole text and together they are the emoji.
    let emoji = "\u{1f9f5}";
    let asked = Endpoint::Completions.body(
        &model,
        emoji,
        &json!({"max_tokens": 1, "return_token_ids": true}),
    );
    let pieces = ids(&Endpoint::Completions
        .whole(&client, &asked)
        .prompt_token_ids);
    assert!(pieces.len() > 1, "spelled with several tokens: {pieces:?}");
    let forced = json!({"logit_bias": {pieces[0].to_string(): 100}, "max_tokens": 1});
    let cut =
        Endpoint::Completions.streamed(&client, &Endpoint::Completions.body(&model, "x", &forced));
    assert!(
        !cut.text().is_empty() && cut.text().chars().all(|c| c == '\u{fffd}'),
        "a cut letter ends as U+FFFD: {cut:?}"
    );
}
