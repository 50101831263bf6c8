//! Text generation by a language model: formats, tokenizer, forward pass, KV cache, sampler and scheduler.
//!
//! - One definition, bit for bit: a model file, a request and a seed give the same bytes whatever else runs, on any
//!   thread count, chunking, preemption or instruction set.
//! - Everything from outside is hostile: model files, requests and tokens are checked before they are used.
//!
//! Absent: files, sockets, clocks, the environment, threads of its own (the team is `spindle_kernels`'), OpenAI's
//! types. Weight bytes, time and seeds arrive as arguments.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod formats;
pub mod kv;
pub mod model;
pub mod request;
pub mod sampler;
pub mod scheduler;
pub mod token;
pub mod tokenizer;

pub use model::Model;
pub use scheduler::{Scheduler, SchedulerSettings};
/// The instruction set a scheduler is set up with.
pub use spindle_kernels::{DEFINITION_VERSION, Isa};
pub use token::TokenId;
