//! One instance for one request, from its start to its end.
//!
//! An instance ends when its guest is done, when it traps, when its client is gone, or when
//! nothing has happened in it for [`IDLE_MAX`]. The last two are seen in [`Expiration::poll`],
//! which runs outside the guest: a guest that is parked in a read notices nothing by itself.

use std::any::Any;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use wasmtime::component::GuestTaskId;
use wasmtime::{Engine, Store, StoreContextMut};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::handler::{
    HandlerState, Instance, InstantiationError, ProxyHandler, ProxyPre, ShouldAccept,
    WorkerExpiration, WorkerState, WorkerStatus,
};
use wasmtime_wasi_http::p3::bindings::ServicePre;

use crate::activity::Activity;
use crate::body::{GuestBody, IdleTimer, RequestBody};
use crate::engine::{Limits, Ticker, Ticking};
use crate::log::LogTail;
use crate::store::{Ctx, Serving};
use crate::types::Lane;
use crate::{ApiSettings, Inference, Refused};

/// Longer than any wait that has a deadline of its own.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Who asks, as the host found out before the instance existed.
pub struct Caller {
    /// The tenant of the request's key, or why there is none.
    pub tenant: Result<String, Refused>,
    /// The queue its generations wait in.
    pub lane: Lane,
    /// For the log.
    pub request_id: String,
    /// Dropped when the instance is gone.
    pub slot: Box<dyn Any + Send + Sync>,
}

/// Why a request has no answer from its guest. Details are in the log, not for the client.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The guest trapped, timed out, or answered with an error instead of a response.
    #[error("the component failed")]
    Guest,
    /// No instance could be made.
    #[error("no instance: {0}")]
    Unavailable(String),
    /// The client stopped in the middle of its request.
    #[error("the request's body stalled")]
    BodyStalled,
}

/// A mounted component.
#[derive(Clone)]
pub struct Guest(ProxyHandler<Pool>);

impl Guest {
    pub(crate) fn new(
        engine: Engine,
        pre: ServicePre<Ctx>,
        limits: Limits,
        inference: Arc<dyn Inference>,
        settings: ApiSettings,
        ticker: Ticker,
    ) -> Self {
        Self(ProxyHandler::new(Pool {
            engine,
            pre: ProxyPre::P3(pre),
            limits,
            inference,
            settings,
            ticker,
        }))
    }

    /// Serves one request in an instance of its own. Dropping the future, or the body before
    /// its end, ends the instance.
    pub async fn handle<B>(
        &self,
        caller: Caller,
        request: http::Request<B>,
    ) -> Result<http::Response<GuestBody>, Failure>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
    {
        let cancel = CancellationToken::new();
        let guard = cancel.clone().drop_guard();
        let activity = Activity::new();
        let stalled = CancellationToken::new();
        let request = request
            .map(|body| RequestBody::new(body, activity.clone(), stalled.clone()).boxed_unsync());
        let failed = Arc::new(AtomicBool::new(false));
        let serving = Serving {
            caller,
            cancel,
            activity: activity.clone(),
            failed: failed.clone(),
        };
        let response = tokio::select! {
            biased;
            () = stalled.cancelled() => return Err(Failure::BodyStalled),
            response = self.0.handle(serving, request) => response.map_err(failure)?,
        };
        Ok(response.map(|body| GuestBody::new(body, activity, failed, guard)))
    }
}

fn failure(error: wasmtime::Error) -> Failure {
    match error.downcast_ref::<InstantiationError<Serving>>() {
        Some(error) => Failure::Unavailable(format!("{:#}", error.error)),
        // A trap is logged by the instance it ended; an error that a guest returned, here.
        None => {
            tracing::debug!(error = format!("{error:#}"), "no response");
            Failure::Guest
        }
    }
}

/// Makes instances.
struct Pool {
    engine: Engine,
    pre: ProxyPre<Ctx>,
    limits: Limits,
    inference: Arc<dyn Inference>,
    settings: ApiSettings,
    ticker: Ticker,
}

impl HandlerState for Pool {
    type StoreData = Ctx;
    type WorkerExpiration = Expiration;
    type WorkerState = Worker;

    async fn instantiate(&self) -> wasmtime::Result<Instance<Ctx, Expiration, Worker>> {
        let ticking = self.ticker.ticking();
        let ctx = Ctx::new(
            self.inference.clone(),
            self.settings.clone(),
            self.limits.memory_bytes_max,
            self.limits.guest_cpu,
        );
        let serving = ctx.serving.clone();
        let state = Worker {
            serving: serving.clone(),
            log: ctx.log.clone(),
            _ticking: ticking,
        };
        let mut store = ctx.into_store(&self.engine);
        let proxy = self.pre.instantiate_async(&mut store).await?;
        let expiration = Expiration {
            serving,
            cancelled: None,
            idle: IdleTimer::new(IDLE_MAX),
        };
        Ok(Instance {
            store,
            proxy,
            view: Ctx::http,
            expiration,
            state,
        })
    }
}

/// The host's side of one living instance.
struct Worker {
    serving: Arc<OnceLock<Serving>>,
    log: LogTail,
    _ticking: Ticking,
}

impl WorkerState for Worker {
    type StoreData = Ctx;
    type RequestData = Serving;

    fn should_accept_request(&self, _: usize, _: usize) -> ShouldAccept {
        // Reuse forgets streams that still run, so one panic would end several.
        ShouldAccept::Never
    }

    fn on_request_start(
        &self,
        store: StoreContextMut<'_, Ctx>,
        serving: Serving,
        _: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + 'static + Send + Sync>> {
        let first = store.data().serving.set(serving).is_ok();
        assert!(first, "an instance serves one request");
        Box::pin(std::future::pending())
    }

    fn drop(&self, store: Store<Ctx>, result: wasmtime::Result<()>) {
        let (Err(error), Some(serving)) = (result, self.serving.get()) else {
            return;
        };
        // Before the store goes, for with it goes the body's other end.
        serving.failed.store(true, SeqCst);
        drop(store);
        if serving.cancel.is_cancelled() {
            return;
        }
        tracing::warn!(
            request_id = serving.caller.request_id,
            error = %error.root_cause(),
            output = self.log.text(),
            "component failed"
        );
    }
}

/// Ends an instance from outside.
struct Expiration {
    serving: Arc<OnceLock<Serving>>,
    cancelled: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    idle: IdleTimer,
}

impl WorkerExpiration for Expiration {
    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: WorkerStatus,
        _: std::time::Instant,
    ) -> Poll<()> {
        let this = self.get_mut();
        let Some(serving) = this.serving.get() else {
            return Poll::Pending;
        };
        let cancelled = this
            .cancelled
            .get_or_insert_with(|| Box::pin(serving.cancel.clone().cancelled_owned()));
        if cancelled.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        this.idle.poll(cx, IDLE_MAX, || serving.activity.idle())
    }
}
