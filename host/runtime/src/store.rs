//! What one instance's `wasmtime::Store` holds, and its limits.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use wasmtime::component::ResourceTable;
use wasmtime::{CallHook, Store, StoreLimits, StoreLimitsBuilder, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use crate::activity::Activity;
use crate::cpu::CpuClock;
use crate::instance::Caller;
use crate::log::LogTail;
use crate::{ApiSettings, Inference};

/// Bytes copied out of a guest by one host call. A body of 10 MiB fits, with room.
const HOSTCALL_BYTES_MAX: usize = 16 << 20;
/// Handles a guest may hold; wasmtime's own default is a million.
const HANDLES_MAX: usize = 4096;
/// Body writes are lock-step: larger chunks only cost memory.
const BODY_CHUNK_BYTES: usize = 16 << 10;

/// The request an instance serves; set once, when it starts.
pub(crate) struct Serving {
    pub(crate) caller: Caller,
    pub(crate) cancel: CancellationToken,
    pub(crate) activity: Activity,
    /// The instance came to a bad end.
    pub(crate) failed: Arc<AtomicBool>,
}

/// The store's data.
pub(crate) struct Ctx {
    pub(crate) inference: Arc<dyn Inference>,
    pub(crate) settings: ApiSettings,
    pub(crate) serving: Arc<OnceLock<Serving>>,
    /// Generations and tokenizer calls in progress.
    pub(crate) calls: Arc<()>,
    pub(crate) log: LogTail,
    cpu: CpuClock,
    limits: StoreLimits,
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: NoOutgoing,
}

impl Ctx {
    pub(crate) fn new(
        inference: Arc<dyn Inference>,
        settings: ApiSettings,
        memory_bytes_max: usize,
        cpu_max: Duration,
    ) -> Self {
        let log = LogTail::default();
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        let limits = StoreLimitsBuilder::new()
            .memory_size(memory_bytes_max)
            .table_elements(10_000)
            .instances(16)
            .memories(4)
            .build();
        Self {
            inference,
            settings,
            serving: Arc::default(),
            calls: Arc::default(),
            cpu: CpuClock::new(cpu_max),
            limits,
            table,
            // No directories, no environment, no network: what the builder gives by itself,
            // except that a name look-up is refused before it is tried.
            wasi: WasiCtx::builder()
                .stdout(log.clone())
                .stderr(log.clone())
                .allow_ip_name_lookup(false)
                .build(),
            log,
            http: WasiHttpCtx::new(),
            hooks: NoOutgoing,
        }
    }

    /// Applies the limits that live in the store itself.
    pub(crate) fn into_store(self, engine: &wasmtime::Engine) -> Store<Self> {
        let mut store = Store::new(engine, self);
        store.limiter(|ctx| &mut ctx.limits);
        store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut ctx| {
            ctx.data_mut().cpu.interrupt(Instant::now())?;
            Ok(UpdateDeadline::Yield(1))
        });
        store.call_hook(|mut ctx, hook| {
            let cpu = &mut ctx.data_mut().cpu;
            match hook {
                CallHook::CallingWasm | CallHook::CallingHost | CallHook::ReturningFromHost => {
                    cpu.resume(Instant::now())
                }
                CallHook::ReturningFromWasm => cpu.stop(Instant::now()),
            }
            Ok(())
        });
        store
    }

    pub(crate) fn serving(&self) -> wasmtime::Result<&Serving> {
        self.serving
            .get()
            .ok_or_else(|| wasmtime::format_err!("host call before the request"))
    }
}

impl WasiView for Ctx {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Ctx {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.hooks,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

/// A guest has no outgoing HTTP: nothing it is sent can make the server fetch an address.
struct NoOutgoing;

type Sending = Result<
    (
        http::Response<WasiBody>,
        Box<dyn Future<Output = Result<(), Error>> + Send>,
    ),
    Error,
>;

impl WasiHttpHooks for NoOutgoing {
    fn send_request(
        &mut self,
        _: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sending> + Send> {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }
}
