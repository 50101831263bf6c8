//! What the end-to-end tests share: the built binary as a child process and clients that talk to it.
//!
//! - A test sees the server as a user does: command line, environment, sockets, signals, output, `/proc`.
//! - Every wait is for a condition with a deadline ([`wait`]); nothing sleeps for a guessed time.
//! - A server never outlives the value that stands for it, and its log is shown when its test fails.
//! - What a test lacks on this machine is said once, in one form ([`means`]), and is a failure where `CI=true`.
//!
//! Absent: every crate of the project, every network but loopback, every download (`cargo xtask test` fetches).

pub mod answer;
pub mod client;
pub mod means;
pub mod process;
pub mod raw;
pub mod server;
pub mod sse;
pub mod wait;

pub use answer::{Answer, Choice, Endpoint, with};
pub use client::{Client, Reply};
pub use server::{Server, ServerOptions};
