//! A connection's socket, with the deadlines and the check that the HTTP library leaves to us.
//!
//! - A head must be complete [`HEAD_MAX`] after its first byte (after the accept, for the first
//!   one). The library's own timer also runs between requests, so it is set to the longer time
//!   that an idle connection may be kept.
//! - A client that reads nothing for [`WRITE_STALL_MAX`] while something waits for it is gone.
//! - A head with both `content-length` and `transfer-encoding` is told to the connection: the
//!   library drops the first of them silently, and proxies disagree on which one counts.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// From a head's first byte to its last.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// Without a byte taken by the client.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);

/// What the socket and the requests on it tell each other.
#[derive(Default)]
pub struct Watch {
    /// A request is being served, so bytes that arrive are its body or wait for their turn.
    serving: AtomicBool,
    /// The head that came last has two lengths.
    ambiguous: AtomicBool,
}

impl Watch {
    /// A head is complete. True if it has two lengths.
    pub fn begin(&self) -> bool {
        self.serving.store(true, Relaxed);
        self.ambiguous.swap(false, Relaxed)
    }

    /// Its answer is complete.
    pub fn end(&self) {
        self.serving.store(false, Relaxed);
    }
}

/// See the module.
pub struct Socket {
    stream: TcpStream,
    watch: Arc<Watch>,
    /// Runs while a head is incomplete.
    head_deadline: Option<Pin<Box<Sleep>>>,
    /// Runs while the client takes nothing.
    write_deadline: Option<Pin<Box<Sleep>>>,
    scan: HeadScan,
}

impl Socket {
    /// A socket whose first head is awaited.
    pub fn new(stream: TcpStream, watch: Arc<Watch>) -> Self {
        Self { stream, watch, head_deadline: Some(Box::pin(sleep(HEAD_MAX))), write_deadline: None, scan: HeadScan::default() }
    }

    /// Bytes arrived, or the end of the stream if there are none.
    fn arrived(&mut self, bytes: &[u8]) {
        if self.watch.serving.load(Relaxed) {
            self.head_deadline = None;
            self.scan = HeadScan::default();
            return;
        }
        if self.head_deadline.is_none() {
            self.head_deadline = Some(Box::pin(sleep(HEAD_MAX)));
        }
        if self.scan.feed(bytes) {
            self.watch.ambiguous.store(true, Relaxed);
        }
    }

    fn written<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.write_deadline = None;
            return result;
        }
        let deadline = self.write_deadline.get_or_insert_with(|| Box::pin(sleep(WRITE_STALL_MAX)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing")))
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut this.stream).poll_read(cx, buffer) {
            result?;
            this.arrived(&buffer.filled()[before..]);
            return Poll::Ready(Ok(()));
        }
        if this.watch.serving.load(Relaxed) {
            this.head_deadline = None;
        }
        match &mut this.head_deadline {
            Some(deadline) => {
                ready!(deadline.as_mut().poll(cx));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the head did not arrive in time")))
            }
            None => Poll::Pending,
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, result)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A TCP stream has nothing to flush: this is never pending.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.written(cx, result)
    }
}

/// Looks for both length fields in one head, as its bytes come by.
///
/// It keeps no more of a line than the longer name, and stops at the head's end.
#[derive(Default)]
struct HeadScan {
    /// The beginning of the current line, in small letters.
    line: Vec<u8>,
    /// The current line is no field of interest.
    skip: bool,
    content_length: bool,
    transfer_encoding: bool,
    done: bool,
}

const CONTENT_LENGTH: &[u8] = b"content-length:";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding:";

impl HeadScan {
    /// True once both fields have been seen.
    fn feed(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            if self.done {
                break;
            }
            match byte {
                b'\n' => {
                    self.done = self.line.is_empty() && !self.skip;
                    self.line.clear();
                    self.skip = false;
                }
                b'\r' => {}
                _ if self.skip => {}
                _ => {
                    self.line.push(byte.to_ascii_lowercase());
                    self.content_length |= self.line == CONTENT_LENGTH;
                    self.transfer_encoding |= self.line == TRANSFER_ENCODING;
                    self.skip = !CONTENT_LENGTH.starts_with(&self.line) && !TRANSFER_ENCODING.starts_with(&self.line);
                }
            }
        }
        self.content_length && self.transfer_encoding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ambiguous(head: &str) -> bool {
        // In pieces of every size, for a network cuts where it likes.
        let results: Vec<_> = (1..head.len())
            .map(|size| {
                let mut scan = HeadScan::default();
                head.as_bytes().chunks(size).fold(false, |_, piece| scan.feed(piece))
            })
            .collect();
        assert!(results.iter().all(|result| *result == results[0]), "{head:?}");
        results[0]
    }

    #[test]
    fn both_lengths_in_one_head_are_seen() {
        let cases = [
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", true),
            ("POST / HTTP/1.1\r\nTRANSFER-ENCODING:chunked\r\nHost: a\r\ncontent-length:1\r\n\r\n", true),
            ("POST / HTTP/1.1\nTransfer-Encoding: chunked\nContent-Length: 1\n\n", true),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nTransfer-Encoding: chunked\r\n", false),
            ("POST / HTTP/1.1\r\nX-Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("POST / HTTP/1.1\r\nContent-Length-X: 1\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("GET /content-length: HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", false),
        ];
        for (head, expected) in cases {
            assert_eq!(ambiguous(head), expected, "{head:?}");
        }
    }
}
