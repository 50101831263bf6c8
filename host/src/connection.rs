//! One connection: HTTP/1.1 from a socket to the request path and back.
//!
//! Deliberately absent: HTTP/2, upgrades, and answers to bytes that are no HTTP (the library
//! closes those, or says 400 without a body).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use spindle_runtime::{BodyError, GuestBody};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::answers::{FixedBody, never};
use crate::request::Requests;
use crate::socket::{Socket, Watch};

/// How long a connection is kept between two requests.
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(60);
/// Bytes of a head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Bytes that wait to be read, or to be written.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// Fields of a head.
const HEADERS_MAX: usize = 100;

/// Serves one connection to its end. `closing` lets the answer in progress finish and no other begin.
pub async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    requests: Arc<Requests>,
    closing: CancellationToken,
) {
    let watch = Arc::new(Watch::default());
    let socket = Socket::new(stream, watch.clone());
    let service = service_fn(|request: Request<Incoming>| {
        let (requests, watch) = (requests.clone(), watch.clone());
        async move {
            let request = request.map(|body| Received::new(body, watch.clone()));
            let ambiguous = watch.begin();
            let held = Held {
                watch,
                _in_flight: requests.in_flight(),
            };
            let mut response = requests.answer(request, ambiguous).await;
            if held.watch.is_unread() {
                // The rest of the request stands between this answer and the next request: the
                // client must not send one here.
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok::<_, Infallible>(response.map(|answer| Outgoing {
                answer,
                broken: None,
                _held: held,
            }))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(KEEP_ALIVE_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, error = %error, "connection ended");
    }
}

/// A request's body, which tells the connection when it has been read to its end.
struct Received {
    body: Incoming,
    watch: Arc<Watch>,
}

impl Received {
    fn new(body: Incoming, watch: Arc<Watch>) -> Self {
        watch.body_begins(body.is_end_stream());
        Self { body, watch }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        // Whoever knows the length does not ask for the end.
        if frame.is_none() || self.body.is_end_stream() {
            self.watch.body_ends();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What an answer is made of.
pub enum Answer {
    /// By the host.
    Fixed(FixedBody),
    /// By a component.
    Guest(GuestBody),
}

/// Wraps a fixed answer.
pub fn fixed(response: Response<FixedBody>) -> Response<Answer> {
    response.map(Answer::Fixed)
}

/// An answer on its way to the client; dropping it says that the request is over.
struct Outgoing {
    answer: Answer,
    /// Why the answer is cut, once that is known.
    broken: Option<BodyError>,
    _held: Held,
}

/// What a request holds until its answer is written.
struct Held {
    watch: Arc<Watch>,
    _in_flight: TaskTrackerToken,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.watch.end();
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let frame = ready!(match &mut self.answer {
            Answer::Fixed(body) => Pin::new(body).poll_frame(cx).map_err(never),
            Answer::Guest(body) => Pin::new(body).poll_frame(cx),
        });
        match frame {
            // The library closes the connection on the spot, with whatever it has not written yet:
            // let it write first, so that a client sees how far the answer came.
            Some(Err(error)) => {
                self.broken = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            frame => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.broken.is_none()
            && match &self.answer {
                Answer::Fixed(body) => body.is_end_stream(),
                Answer::Guest(body) => body.is_end_stream(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.answer {
            Answer::Fixed(body) => body.size_hint(),
            Answer::Guest(body) => body.size_hint(),
        }
    }
}
