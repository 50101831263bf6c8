//! From logits to tokens: [`order`] of candidates, [`random`] numbers, [`stop`] sequences.

pub mod order;
pub mod random;
pub mod stop;
