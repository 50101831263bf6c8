//! A loaded model and its forward pass.
//!
//! - A [`Model`] is the checked file with its small tensors unpacked; large ones stay where the file has them.
//! - [`Forward`] is the working memory of one scheduler: it computes a [`Step`] of many sequences at once.
//! - The residual stream runs through blocks: attention, then feed-forward, layer by layer, then the head.
//!   An architecture chooses among their parts by its `ModelConfig`; the rows of `formats::Architecture` say how.
//! - A value never depends on the rank that computes it, on the rows beside it or on how a prompt was cut.
//!
//! Absent: files, text templates, sampling, and who owns which page.

mod attention;
mod feed_forward;
mod forward;
mod head;
mod input;
mod layer;
mod loaded;
mod rope;
mod split;
mod step;

pub use forward::{Forward, Observer};
pub use head::LOGIT_ROWS_MAX;
pub use loaded::Model;
pub use step::Step;
