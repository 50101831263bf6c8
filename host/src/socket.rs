//! A connection's socket, with the deadlines and the check that the HTTP library leaves to us.
//!
//! - A head must be complete [`HEAD_MAX`] after its first byte (after the accept, for the first
//!   one). The library's own timer also runs between requests, so it is set to the longer time
//!   that an idle connection may be kept.
//! - A client that reads nothing for [`WRITE_STALL_MAX`] while something waits for it is gone.
//! - A client that is answered before it has sent its whole request still gets to read the answer:
//!   closing at once would reset the connection under it, so what it sends is taken and dropped
//!   until it stops, for [`LINGER_MAX`] at most.
//! - A head with both `content-length` and `transfer-encoding` is told to the connection
//!   ([`crate::heads`]).

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::heads::Heads;

/// From a head's first byte to its last.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// Without a byte taken by the client.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// Between the end of an answer and the end of its connection, while the client still sends: time
/// for the largest body on a fast network, and little to gain for who wants to hold connections.
const LINGER_MAX: Duration = Duration::from_secs(5);

const LINGER_BUFFER_BYTES: usize = 16 << 10;

/// What the socket and the requests on it tell each other.
#[derive(Default)]
pub struct Watch {
    /// A request is being served, so bytes that arrive are its body or wait for their turn.
    serving: AtomicBool,
    /// The body of the latest request has not been read to its end.
    unread: AtomicBool,
    /// For each head that has come and is not served yet: whether it has two lengths.
    heads: Mutex<VecDeque<bool>>,
}

impl Watch {
    /// A head is complete. True if it has two lengths.
    pub fn begin(&self) -> bool {
        self.serving.store(true, Relaxed);
        self.heads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
            .unwrap_or(false)
    }

    /// The request has a body, which may be empty.
    pub fn body_begins(&self, empty: bool) {
        self.unread.store(!empty, Relaxed);
    }

    /// The body has been read to its end.
    pub fn body_ends(&self) {
        self.unread.store(false, Relaxed);
    }

    /// Whether the client may still be sending its request.
    pub fn is_unread(&self) -> bool {
        self.unread.load(Relaxed)
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
    /// Runs once the last answer is written and its request is not read.
    linger: Option<Pin<Box<Sleep>>>,
    scan: Heads,
}

impl Socket {
    /// A socket whose first head is awaited.
    pub fn new(stream: TcpStream, watch: Arc<Watch>) -> Self {
        Self {
            stream,
            watch,
            head_deadline: Some(Box::pin(sleep(HEAD_MAX))),
            write_deadline: None,
            linger: None,
            scan: Heads::default(),
        }
    }

    /// Bytes arrived, or the end of the stream if there are none.
    fn arrived(&mut self, bytes: &[u8]) {
        if self.watch.serving.load(Relaxed) {
            self.head_deadline = None;
        } else {
            if self.head_deadline.is_none() {
                self.head_deadline = Some(Box::pin(sleep(HEAD_MAX)));
            }
            self.scan.between_requests();
        }
        let watch = &self.watch;
        self.scan.feed(bytes, |ambiguous| {
            watch
                .heads
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_back(ambiguous)
        });
    }

    /// Takes and drops what the client still sends, until it stops or its time is over.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self
            .linger
            .get_or_insert_with(|| Box::pin(sleep(LINGER_MAX)));
        let mut unwanted = [MaybeUninit::uninit(); LINGER_BUFFER_BYTES];
        while deadline.as_mut().poll(cx).is_pending() {
            let mut unwanted = ReadBuf::uninit(&mut unwanted);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut unwanted));
            if read.is_err() || unwanted.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(())
    }

    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.write_deadline = None;
            return result;
        }
        let deadline = self
            .write_deadline
            .get_or_insert_with(|| Box::pin(sleep(WRITE_STALL_MAX)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client reads nothing",
        )))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
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
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the head did not arrive in time",
                )))
            }
            None => Poll::Pending,
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
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
        ready!(self.written(cx, result))?;
        if self.watch.is_unread() {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}
