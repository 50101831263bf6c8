//! Model files: what they say, checked before anybody relies on it.
//!
//! - A [`ModelFile`] exists only when every hyperparameter is in bounds and every tensor its architecture needs is
//!   there in the right shape, inside its shard, overlapping nothing. The forward pass meets no unchecked length.
//! - Weights are never copied or converted: a [`TensorRef`] names a range of the bytes that were passed in.
//! - Names are GGUF's (`blk.0.attn_q.weight`) whatever the file was.
//! - Reading costs at most two seconds and little memory on any input, hostile ones included ([`limits`]).
//!
//! Absent: files and mappings (bytes arrive as [`Bytes`]), decoding of weights (the kernels' work), architectures'
//! arithmetic (`model`).

mod architecture;
mod check;
mod config;
mod error;
pub mod gguf;
pub(crate) mod json;
pub mod limits;
mod model_file;
pub mod safetensors;
mod tensors;

pub use architecture::{Architecture, SUPPORTED_ARCHITECTURES};
pub use config::{ModelConfig, Rope, RopeScaling, RopeStyle};
pub(crate) use error::clip;
pub use error::{LoadError, Shape, TensorFault};
pub use model_file::{Bytes, ModelFile};
pub use tensors::{TensorRef, Tensors};
