//! The host's side of `wit/`: each function checks who asks and hands the call on.
//!
//! `tenant` and `lane` of a generation are overwritten here, whatever the guest wrote into them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Accessor, Destination, HasSelf, StreamProducer, StreamReader, StreamResult, VecBuffer,
};

use crate::activity::{Activity, Busy};
use crate::bindings::spindle::{host, inference};
use crate::generation::{Event, Request};
use crate::inference::EventStream;
use crate::models::ModelInfo;
use crate::store::Ctx;
use crate::types::ErrorCode;
use crate::{ApiSettings, Inference, Refused};

/// Calls an instance may have in progress: `n` is at most 128, and each choice is a generation.
const CALLS_MAX: usize = 128;
/// Events handed over at once.
const EVENTS_MAX: usize = 16;

impl host::identity::Host for Ctx {
    fn authenticate(&mut self, _: Option<String>) -> wasmtime::Result<Result<String, Refused>> {
        // The host compared the header before this instance existed.
        Ok(self.serving()?.caller.tenant.clone())
    }
}

impl host::settings::Host for Ctx {
    fn api(&mut self) -> wasmtime::Result<ApiSettings> {
        Ok(self.settings.clone())
    }
}

impl inference::types::Host for Ctx {}

impl inference::models::Host for Ctx {
    fn list(&mut self) -> wasmtime::Result<Vec<ModelInfo>> {
        Ok(self.inference.models())
    }

    fn get(&mut self, id: String) -> wasmtime::Result<Option<ModelInfo>> {
        Ok(self
            .inference
            .models()
            .into_iter()
            .find(|model| model.id == id))
    }
}

impl inference::tokenizer::Host for Ctx {}

impl<T: Send> inference::tokenizer::HostWithStore<T> for HasSelf<Ctx> {
    async fn encode(
        accessor: &Accessor<T, Self>,
        model: String,
        text: String,
        parse_special: bool,
    ) -> wasmtime::Result<Result<Vec<u32>, ErrorCode>> {
        let Some(call) = Call::begin(accessor)? else {
            return Ok(Err(too_many()));
        };
        Ok(call.inference.encode(model, text, parse_special).await)
    }

    async fn decode(
        accessor: &Accessor<T, Self>,
        model: String,
        tokens: Vec<u32>,
    ) -> wasmtime::Result<Result<Vec<u8>, ErrorCode>> {
        let Some(call) = Call::begin(accessor)? else {
            return Ok(Err(too_many()));
        };
        Ok(call.inference.decode(model, tokens).await)
    }
}

impl inference::generation::Host for Ctx {}

impl<T: Send> inference::generation::HostWithStore<T> for HasSelf<Ctx> {
    async fn generate(
        accessor: &Accessor<T, Self>,
        mut request: Request,
    ) -> wasmtime::Result<Result<StreamReader<Event>, ErrorCode>> {
        let Some(call) = Call::begin(accessor)? else {
            return Ok(Err(too_many()));
        };
        let tenant = accessor.with(|mut access| {
            let caller = &access.get().serving()?.caller;
            request.lane = caller.lane;
            wasmtime::error::Ok(caller.tenant.clone())
        })?;
        let Ok(tenant) = tenant else {
            return Ok(Err(ErrorCode::Internal(
                "generation without a tenant".into(),
            )));
        };
        request.tenant = tenant;
        match call.inference.generate(request).await {
            Err(error) => Ok(Err(error)),
            Ok(events) => {
                let events = Events {
                    events: events.fuse(),
                    activity: call.activity.clone(),
                    waiting: None,
                    _permit: call.permit,
                };
                accessor.with(|access| Ok(Ok(StreamReader::new(access, events)?)))
            }
        }
    }
}

fn too_many() -> ErrorCode {
    ErrorCode::Overloaded(1)
}

/// A host call that may wait.
struct Call {
    inference: Arc<dyn Inference>,
    activity: Activity,
    permit: Arc<()>,
    _busy: Busy,
}

impl Call {
    /// None if the instance has too many already.
    fn begin<T>(accessor: &Accessor<T, HasSelf<Ctx>>) -> wasmtime::Result<Option<Self>> {
        accessor.with(|mut access| {
            let ctx = access.get();
            if Arc::strong_count(&ctx.calls) > CALLS_MAX {
                return Ok(None);
            }
            let activity = ctx.serving()?.activity.clone();
            Ok(Some(Self {
                inference: ctx.inference.clone(),
                _busy: activity.busy(),
                activity,
                permit: ctx.calls.clone(),
            }))
        })
    }
}

/// The events of a generation on their way into a guest. Dropped with the guest's end of the
/// stream or with its store, which cancels the generation.
struct Events {
    events: futures_util::stream::Fuse<EventStream>,
    activity: Activity,
    /// Held while the guest waits for an event: the engine's deadlines apply, not the guest's.
    waiting: Option<Busy>,
    _permit: Arc<()>,
}

impl<D> StreamProducer<D> for Events {
    type Item = Event;
    type Buffer = VecBuffer<Event>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, Event, VecBuffer<Event>>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let room = destination
            .remaining(store)
            .unwrap_or(EVENTS_MAX)
            .min(EVENTS_MAX);
        if room == 0 {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let mut ready = Vec::new();
        let ended = loop {
            if ready.len() == room {
                break false;
            }
            match Pin::new(&mut self.events).poll_next(cx) {
                Poll::Ready(Some(event)) => ready.push(event),
                Poll::Ready(None) => break true,
                Poll::Pending if !ready.is_empty() => break false,
                Poll::Pending if finish => {
                    self.waiting = None;
                    return Poll::Ready(Ok(StreamResult::Cancelled));
                }
                Poll::Pending => {
                    if self.waiting.is_none() {
                        self.waiting = Some(self.activity.busy());
                    }
                    return Poll::Pending;
                }
            }
        };
        self.waiting = None;
        destination.set_buffer(ready.into());
        Poll::Ready(Ok(if ended {
            StreamResult::Dropped
        } else {
            StreamResult::Completed
        }))
    }
}
