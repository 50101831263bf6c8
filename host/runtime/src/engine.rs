//! The wasmtime engine, its pool and its clock, and what every component is linked to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Engine, InstanceAllocationStrategy, PoolingAllocationConfig};
use wasmtime_wasi_http::p3::bindings::ServicePre;

use crate::bindings::Api;
use crate::cpu::TICK;
use crate::instance::Guest;
use crate::precompiled::Precompiled;
use crate::store::Ctx;
use crate::{ApiSettings, Inference};

/// Core instances and tables of one component: the guest and the shims around it.
const CORE_INSTANCES_EACH: u32 = 8;
const TABLES_EACH: u32 = 4;
/// One linear memory. Each reserves 4 GiB of addresses, which cost nothing but are not endless.
const MEMORIES_EACH: u32 = 1;
/// Wasm's part of a stack, and the whole of it: host functions run on the rest.
const WASM_STACK_BYTES: usize = 512 << 10;
const STACK_BYTES: usize = 2 << 20;
/// Stays resident when an instance ends, so that the next one need not fault it in.
/// 256 KiB leaves 177 MB resident after 500 streams, 0 costs page faults in each request.
const KEEP_RESIDENT_BYTES: usize = 64 << 10;

/// What guests may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Instances that live at once.
    pub instances_max: u32,
    /// Linear memory of one instance.
    pub memory_bytes_max: usize,
    /// Processor time of one request.
    pub guest_cpu: Duration,
}

/// An engine with its pool, ready to mount components.
pub struct Runtime {
    engine: Engine,
    linker: Linker<Ctx>,
    limits: Limits,
    inference: Arc<dyn Inference>,
    settings: ApiSettings,
    ticker: Ticker,
}

impl Runtime {
    /// Sets everything up but the components.
    pub fn new(
        limits: Limits,
        inference: Arc<dyn Inference>,
        settings: ApiSettings,
    ) -> wasmtime::Result<Self> {
        let mut config = spindle_wasm_config::config();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(&limits)));
        config.max_wasm_stack(WASM_STACK_BYTES);
        config.async_stack_size(STACK_BYTES);
        let engine = Engine::new(&config)?;
        let mut linker = Linker::new(&engine);
        // Rust's standard library speaks WASI 0.2, the HTTP half of a guest 0.3.
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
        wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
        Api::add_to_linker::<_, HasSelf<Ctx>>(&mut linker, |ctx| ctx)?;
        let ticker = Ticker::start(&engine)?;
        Ok(Self {
            engine,
            linker,
            limits,
            inference,
            settings,
            ticker,
        })
    }

    /// Loads a component and resolves its imports: whatever fails, fails here and not in a request.
    pub fn mount(&self, component: &Precompiled<'_>) -> wasmtime::Result<Guest> {
        let component = component.load(&self.engine)?;
        let pre = ServicePre::new(self.linker.instantiate_pre(&component)?)?;
        Ok(Guest::new(
            self.engine.clone(),
            pre,
            self.limits.clone(),
            self.inference.clone(),
            self.settings.clone(),
            self.ticker.clone(),
        ))
    }
}

fn pool(limits: &Limits) -> PoolingAllocationConfig {
    let instances = limits.instances_max;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances * CORE_INSTANCES_EACH)
        .total_memories(instances * MEMORIES_EACH)
        .total_tables(instances * TABLES_EACH)
        // A guest call and a host call that waits inside it each have a stack.
        .total_stacks(instances * 2)
        .max_core_instances_per_component(CORE_INSTANCES_EACH)
        .max_memories_per_component(MEMORIES_EACH)
        .max_tables_per_component(TABLES_EACH)
        .max_memory_size(limits.memory_bytes_max)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES);
    pool
}

/// Advances the epoch while any instance lives, and sleeps while none does.
#[derive(Clone)]
pub(crate) struct Ticker {
    live: Arc<AtomicUsize>,
    thread: Thread,
}

/// Held by a living instance.
pub(crate) struct Ticking(Ticker);

impl Ticker {
    fn start(engine: &Engine) -> wasmtime::Result<Self> {
        let live = Arc::new(AtomicUsize::new(0));
        let engine = engine.weak();
        let handle = thread::Builder::new().name("epoch".into()).spawn({
            let live = live.clone();
            move || {
                while let Some(engine) = engine.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    if live.load(Ordering::SeqCst) == 0 {
                        thread::park();
                    } else {
                        thread::sleep(TICK);
                    }
                }
            }
        })?;
        Ok(Self {
            live,
            thread: handle.thread().clone(),
        })
    }

    pub(crate) fn ticking(&self) -> Ticking {
        if self.live.fetch_add(1, Ordering::SeqCst) == 0 {
            self.thread.unpark();
        }
        Ticking(self.clone())
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::SeqCst);
    }
}
