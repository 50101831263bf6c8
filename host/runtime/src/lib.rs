//! Runs Spindle's components on wasmtime, one fresh instance for each request.
//!
//! Invariants:
//! - an instance serves one request and dies with it: a trap, an endless loop, a hoard of memory
//!   or a panic costs exactly that request;
//! - a client that is gone ends its instance, and with it the generation it waits for;
//! - who asks (tenant, lane) is said by the host in each call, never by the guest;
//! - nothing a guest does is waited for without an end: guest CPU time and idle time are bounded.
//!
//! Deliberately absent: sockets and connections (the `spindle` package), the model
//! (behind [`Inference`]), a compiler, directories, environment variables, outgoing requests.
//!
//! It is a package of its own because WASI's generics take long to compile.

#![deny(unsafe_code)]
#![warn(missing_docs)]

mod activity;
#[allow(unsafe_code, missing_docs, reason = "made by a macro")]
mod bindings;
mod body;
mod cpu;
mod engine;
mod imports;
mod inference;
mod instance;
mod log;
mod precompiled;
mod store;

pub use bindings::spindle::host::identity::Refused;
pub use bindings::spindle::host::settings::ApiSettings;
pub use bindings::spindle::inference::{generation, models, types};
pub use body::{GuestBody, RequestBody};
pub use engine::{Limits, Runtime};
pub use inference::{Answer, EventStream, Inference};
pub use instance::{Caller, Failure, Guest};
pub use precompiled::Precompiled;
/// Why a body broke.
pub use wasmtime_wasi_http::Error as BodyError;
