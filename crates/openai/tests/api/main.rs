//! The crate from outside: bodies in, requests to inference and answers out, against a scripted inference.

mod answers;
mod docs;
mod fake;
mod fields;
mod golden;
mod numbers;
mod refusals;
mod routes;
mod streams;
