//! The two bodies of a request, each watched.
//!
//! - [`RequestBody`]: a client that stops sending in the middle is noticed after [`BODY_IDLE_MAX`].
//! - [`GuestBody`]: dropped before its end, it says that the client is gone.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::activity::{Activity, Busy};

/// How long a client may send nothing in the middle of a body.
const BODY_IDLE_MAX: Duration = Duration::from_secs(30);

/// A request's body on its way into a guest.
pub struct RequestBody<B> {
    body: Pin<Box<B>>,
    activity: Activity,
    /// Runs while the guest waits for the client.
    waiting: Option<(Pin<Box<Sleep>>, Busy)>,
    /// Set when the client took too long.
    stalled: CancellationToken,
}

impl<B> RequestBody<B> {
    pub(crate) fn new(body: B, activity: Activity, stalled: CancellationToken) -> Self {
        Self {
            body: Box::pin(body),
            activity,
            waiting: None,
            stalled,
        }
    }
}

impl<B: Body<Data = Bytes>> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = this.body.as_mut().poll_frame(cx) {
            this.waiting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(|_| Error::ConnectionTerminated)));
        }
        let activity = &this.activity;
        let (deadline, _) = this
            .waiting
            .get_or_insert_with(|| (Box::pin(sleep(BODY_IDLE_MAX)), activity.busy()));
        ready!(deadline.as_mut().poll(cx));
        this.waiting = None;
        this.stalled.cancel();
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response's body on its way out of a guest.
///
/// It ends well only if its instance did: where that trapped, a client must not take what it has
/// for the whole.
pub struct GuestBody {
    body: WasiBody,
    activity: Activity,
    /// Set before the guest's end of the body is dropped.
    failed: Arc<AtomicBool>,
    /// Ends the instance when dropped.
    guard: Option<DropGuard>,
}

impl GuestBody {
    pub(crate) fn new(
        body: WasiBody,
        activity: Activity,
        failed: Arc<AtomicBool>,
        guard: DropGuard,
    ) -> Self {
        Self {
            body,
            activity,
            failed,
            guard: Some(guard),
        }
    }
}

impl Body for GuestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.activity.touch();
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_some() {
            return Poll::Ready(frame);
        }
        if self.failed.load(SeqCst) {
            return Poll::Ready(Some(Err(Error::HttpResponseIncomplete)));
        }
        // Its own end, so the instance may come to its own too.
        self.guard.take().map(DropGuard::disarm);
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && !self.failed.load(SeqCst)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for GuestBody {
    fn drop(&mut self) {
        // A reader that knows the length does not poll for the end.
        if self.is_end_stream() {
            self.guard.take().map(DropGuard::disarm);
        }
    }
}

/// A deadline that moves on as long as something happens.
pub(crate) struct IdleTimer(Pin<Box<Sleep>>);

impl IdleTimer {
    pub(crate) fn new(max: Duration) -> Self {
        Self(Box::pin(sleep(max)))
    }

    /// Ready once `idle` says that nothing happened for `max`.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        max: Duration,
        idle: impl Fn() -> Duration,
    ) -> Poll<()> {
        loop {
            ready!(self.0.as_mut().poll(cx));
            let idle = idle();
            if idle >= max {
                return Poll::Ready(());
            }
            self.0.as_mut().reset(Instant::now() + (max - idle));
        }
    }
}
