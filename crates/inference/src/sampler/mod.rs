//! From logits to an answer: [`chain`] is the choice of a token, step by step; [`order`] the candidates' order, [`random`]
//! its random numbers, [`weights`] its sums, [`logprobs`] what it reports, [`stop`] where the answer ends.
//!
//! - Everything here is one definition: no result depends on a thread count, on company or on an instruction set.
//! - The vocabulary is scanned, never sorted and never copied.

pub mod chain;
pub mod logprobs;
pub mod order;
pub mod random;
pub mod stop;
pub mod weights;

pub use chain::{Sampler, Scratch};
pub use logprobs::LogSoftmax;
pub use stop::StopMatcher;
