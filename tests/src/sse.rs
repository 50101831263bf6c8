//! Server-sent events as the API uses them, read strictly.
//!
//! - An event is one `data: ` line and one empty line; `:` comments (pings) may stand between events.
//! - The stream ends with `data: [DONE]` and nothing after it; [`Events::finish`] checks both.

use std::io::{BufRead, BufReader, Read};

use serde_json::Value;

/// One streamed answer.
pub struct Events<R> {
    lines: BufReader<R>,
    done: bool,
}

impl<R: Read> Events<R> {
    pub fn new(body: R) -> Self {
        // One byte of buffer more than a line would hide from the server that its client does not read.
        Events {
            lines: BufReader::with_capacity(1024, body),
            done: false,
        }
    }

    /// The next event's JSON; none after `[DONE]`. An early end or a broken frame is an error.
    pub fn next_event(&mut self) -> std::io::Result<Option<Value>> {
        let Some(data) = self.next_data()? else {
            return Ok(None);
        };
        if data == "[DONE]" {
            self.done = true;
            let mut rest = String::new();
            self.lines.read_to_string(&mut rest)?;
            return if rest.is_empty() {
                Ok(None)
            } else {
                Err(broken(&rest))
            };
        }
        serde_json::from_str(&data)
            .map(Some)
            .map_err(|_| broken(&data))
    }

    /// All events up to `[DONE]`.
    ///
    /// # Panics
    /// When the stream is cut or a frame is malformed.
    pub fn finish(mut self) -> Vec<Value> {
        let mut events = Vec::new();
        while let Some(event) = self.next_event().expect("a whole stream") {
            events.push(event);
        }
        assert!(self.done, "the stream ends with [DONE]");
        events
    }

    fn next_data(&mut self) -> std::io::Result<Option<String>> {
        if self.done {
            return Ok(None);
        }
        loop {
            let line = self.line()?;
            if line.starts_with(':') {
                // A comment is an event of its own without data.
                if !self.line()?.is_empty() {
                    return Err(broken(&line));
                }
                continue;
            }
            let data = line.strip_prefix("data: ").ok_or_else(|| broken(&line))?;
            if !self.line()?.is_empty() {
                return Err(broken(&line));
            }
            return Ok(Some(data.to_owned()));
        }
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            return Err(std::io::Error::new(
                std::io::ErrorKind::UnexpectedEof,
                "stream ended without [DONE]",
            ));
        }
        line.strip_suffix('\n')
            .map(str::to_owned)
            .ok_or_else(|| broken(&line))
    }
}

fn broken(text: &str) -> std::io::Error {
    std::io::Error::new(
        std::io::ErrorKind::InvalidData,
        format!("not a frame: {text:?}"),
    )
}
