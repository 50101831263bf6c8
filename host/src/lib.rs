//! The native host: command line, connections, the thread that owns the model.
//!
//! - What reads a client's JSON runs in components ([`spindle_runtime`]); the host compares keys,
//!   counts, limits and carries bytes.
//! - The model runs on threads of its own; the async side sees events and sends commands.
//! - Probes are answered here, whatever the components do.
//!
//! Deliberately absent: a compiler, HTTP/2, wording of OpenAI's objects (a few fixed errors in
//! [`answers`] excepted).
#![deny(unsafe_code)]

mod answers;
pub mod cli;
mod connection;
mod embedded;
mod error;
mod heads;
pub mod health;
mod inference;
pub mod keys;
pub mod logging;
mod mapped;
mod memory;
mod model;
pub mod request;
pub mod server;
pub mod settings;
mod sizes;
mod socket;

pub use error::{Error, ExitCode};
