//! A guest that does what no guest should: the last segment of the path says what.
//!
//! Each of these may cost its own request and nothing else. `ok` is the control: it must answer, between and after all
//! the others.

mod hostile;

use std::hint::black_box;

use spin_sdk::http::Request;
use spin_sdk::wasip3::clocks::monotonic_clock;
use spin_sdk::wasip3::http::types::{self, ErrorCode, Fields};
use spin_sdk::wasip3::http_compat::BodyWriter;
use spin_sdk::wasip3::wit_bindgen;

#[spin_sdk::http_service]
async fn handle(request: Request) -> Result<types::Response, ErrorCode> {
    match request.uri().path().rsplit('/').next().unwrap_or_default() {
        "ok" => Ok(stream(async |writer| send(writer, "ok\n").await)),
        // Before there is an answer: each of these is a 500.
        "trap" => std::process::abort(),
        "panic" => panic!("asked to"),
        "error" => Err(ErrorCode::InternalError(Some("asked to".into()))),
        "loop" => spin(),
        "recurse" => Err(ErrorCode::InternalError(Some(recurse(1).to_string()))),
        "hoard" => hoard(),
        "handles" => {
            let handles: Vec<Fields> = (0..1_000_000).map(|_| Fields::new()).collect();
            Err(ErrorCode::InternalError(Some(format!(
                "{} handles",
                handles.len()
            ))))
        }
        "headers" => {
            let fields: Vec<_> = (0..40_000)
                .map(|n| (format!("x-{n}"), vec![b'x'; 8]))
                .collect();
            Ok(respond(
                Fields::from_list(&fields).map_err(|_| refused())?,
                async |writer| send(writer, "ok\n").await,
            ))
        }
        "giant-list" => {
            let field = ("x-giant".to_owned(), vec![b'x'; 40 << 20]);
            Ok(respond(
                Fields::from_list(&[field]).map_err(|_| refused())?,
                async |_| true,
            ))
        }
        "never" => for_ever().await,
        // In the middle of an answer: each of these is a stream that is cut, or that its reader ends.
        "trap-mid-stream" => Ok(stream(async |writer| {
            begin(writer).await;
            std::process::abort()
        })),
        "panic-mid-stream" => Ok(stream(async |writer| {
            begin(writer).await;
            panic!("asked to")
        })),
        "loop-mid-stream" => Ok(stream(async |writer| {
            begin(writer).await;
            spin()
        })),
        // The end of the body without the word that it was meant to end.
        "cut" => Ok(stream(async |writer| {
            begin(writer).await;
            false
        })),
        "silent-stream" => Ok(stream(async |writer| {
            begin(writer).await;
            for_ever().await
        })),
        // Writes on, whether or not anybody takes it.
        "deaf" => Ok(stream(async |writer| {
            loop {
                send(writer, &"more\n".repeat(1000)).await;
            }
        })),
        "chatter" => loop {
            eprintln!("{}", "noise ".repeat(1000));
        },
        "hostile" => Ok(hostile::answer().await),
        _ => Err(ErrorCode::HttpRequestUriInvalid),
    }
}

/// A wait for the host: one for nothing would trap.
async fn for_ever() -> ! {
    loop {
        monotonic_clock::wait_for(u64::MAX).await;
    }
}

fn spin() -> ! {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

#[expect(unconditional_recursion, reason = "that is what it is for")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(depth + 1) + black_box(frame[63])
}

fn hoard() -> ! {
    let mut hoard = Vec::new();
    loop {
        hoard.push(black_box(vec![1u8; 1 << 20]));
    }
}

fn refused() -> ErrorCode {
    ErrorCode::InternalError(Some("the host refused the headers".into()))
}

/// Whether all of it was taken.
async fn send(writer: &mut BodyWriter, text: &str) -> bool {
    writer.stream_writer.write_all(text.into()).await.is_empty()
}

/// Nanoseconds after which what was sent has left: while a body waits, its server writes out what it has.
const SENT_AFTER_NS: u64 = 20_000_000;

/// The first bytes of an answer, seen to leave: a connection that breaks at once would break before its head is out.
async fn begin(writer: &mut BodyWriter) {
    send(writer, "first\n").await;
    monotonic_clock::wait_for(SENT_AFTER_NS).await;
}

fn stream(body: impl AsyncFnOnce(&mut BodyWriter) -> bool + 'static) -> types::Response {
    respond(Fields::new(), body)
}

/// A 200 whose body `body` writes; it says whether the body ends as it should.
fn respond(
    headers: Fields,
    body: impl AsyncFnOnce(&mut BodyWriter) -> bool + 'static,
) -> types::Response {
    let (mut writer, stream, result) = BodyWriter::new();
    let (response, _sent) = types::Response::new(headers, Some(stream), result);
    wit_bindgen::spawn(async move {
        if body(&mut writer).await {
            drop(writer.stream_writer);
            let _ = writer.result_writer.write(Ok(None)).await;
        }
    });
    response
}
