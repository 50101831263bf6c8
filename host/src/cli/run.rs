//! `spindle run`: one answer on stdout.
//!
//! The prompt takes the path of every request: through the `api` component, in this process.
//! What is printed here is therefore what a client of the server would read. A closed stdout
//! ends the generation and is no failure.

use std::io::{self, IsTerminal, Read, Write};
use std::sync::Arc;

use http::{Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use spindle_runtime::{GuestBody, Precompiled, Runtime};

use super::{RunFlags, chat};
use crate::health::Health;
use crate::inference::Engine;
use crate::settings::{self, RunSettings};
use crate::{Error, embedded, model};

/// Answers one prompt.
pub fn run(flags: &RunFlags) -> Result<(), Error> {
    let settings = settings::run(flags)?;
    let prompt = prompt(flags)?;
    let runtime = super::runtime()?;
    let result = runtime.block_on(answer(settings, flags.system.as_deref(), &prompt));
    runtime.shutdown_background();
    result
}

fn prompt(flags: &RunFlags) -> Result<String, Error> {
    if let Some(prompt) = &flags.prompt {
        return Ok(prompt.clone());
    }
    let mut stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(Error::Config {
            what: "no prompt".into(),
            hint: "spindle run \"What is two plus two?\", or send it to stdin".into(),
        });
    }
    let mut prompt = String::new();
    stdin.read_to_string(&mut prompt)?;
    Ok(prompt)
}

async fn answer(settings: RunSettings, system: Option<&str>, prompt: &str) -> Result<(), Error> {
    let broken = |error| Error::Runtime(format!("{error:#}"));
    let model_id = settings.model.id.clone();
    let engine = Arc::new(Engine::default());
    let runtime = Runtime::new(settings.limits, engine.clone(), settings.api).map_err(broken)?;
    let api = runtime
        .mount(&Precompiled::embedded(embedded::API))
        .map_err(broken)?;
    let loaded = model::load_aside(settings.model).await?;
    let _started = engine.start(loaded, &Health::default())?;
    let response = chat::ask(&api, "run", &chat::streamed(&model_id, system, prompt)).await?;
    tokio::select! {
        result = print(response) => result,
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
    }
}

async fn print(mut response: Response<GuestBody>) -> Result<(), Error> {
    if response.status() != StatusCode::OK {
        return Err(Error::Generation(chat::refusal(response).await));
    }
    let mut stdout = io::stdout();
    let mut lines = Lines::default();
    let mut ends_line = true;
    while let Some(frame) = response.body_mut().frame().await {
        let frame =
            frame.map_err(|error| Error::Generation(format!("the answer was cut: {error}")))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        lines.feed(&data);
        while let Some(line) = lines.next() {
            match event(&line) {
                Event::Text(text) => {
                    ends_line = text.ends_with('\n');
                    stdout.write_all(text.as_bytes())?;
                    stdout.flush()?;
                }
                Event::Failed(message) => return Err(Error::Generation(message)),
                Event::Other => {}
            }
        }
    }
    if !ends_line {
        stdout.write_all(b"\n")?;
    }
    Ok(())
}

/// What one line of the stream says.
enum Event {
    Text(String),
    Failed(String),
    Other,
}

fn event(line: &[u8]) -> Event {
    let Some(data) = line.strip_prefix(b"data: ") else {
        return Event::Other;
    };
    let value: Value = serde_json::from_slice(data).unwrap_or_default();
    if let Some(message) = value["error"]["message"].as_str() {
        return Event::Failed(message.to_owned());
    }
    value["choices"][0]["delta"]["content"]
        .as_str()
        .map_or(Event::Other, |text| Event::Text(text.to_owned()))
}

/// Bytes into lines, wherever frames were cut.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn feed(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let end = self.0.iter().position(|byte| *byte == b'\n')?;
        let mut line: Vec<_> = self.0.drain(..=end).collect();
        line.pop();
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found_wherever_frames_are_cut() {
        let stream = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\
                      data: {\"choices\":[{\"delta\":{\"content\":\"Grüße\"}}]}\n\n: ping\n\ndata: [DONE]\n\n";
        for size in 1..stream.len() {
            let mut lines = Lines::default();
            let mut text = String::new();
            for piece in stream.as_bytes().chunks(size) {
                lines.feed(piece);
                while let Some(line) = lines.next() {
                    if let Event::Text(more) = event(&line) {
                        text.push_str(&more);
                    }
                }
            }
            assert_eq!(text, "Grüße");
        }
    }

    #[test]
    fn an_error_in_the_stream_is_a_failure() {
        assert!(
            matches!(event(br#"data: {"error":{"message":"no"}}"#), Event::Failed(message) if message == "no")
        );
    }
}
