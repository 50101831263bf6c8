//! The tensors of a file against what its architecture needs: existence, shape and type, before a [`Tensors`] exists.
//!
//! - A tensor the architecture has no place for is an error: a bias that nobody adds would make every answer wrong.
//!
//! Absent: where tensors lie; each format has checked that.

use std::borrow::Cow;
use std::ops::Range;

use spindle_kernels::Format;

use super::architecture::{Presence, Spec};
use super::config::ModelConfig;
use super::error::Shape;
use super::tensors::{TensorRef, Tensors};
use super::{LoadError, TensorFault, clip};

/// A tensor of a file, inside its shard.
pub(super) struct RawTensor<'a> {
    /// Its GGUF name, or its own if it has none.
    pub name: Cow<'a, str>,
    pub dims: Dims,
    pub format: Format,
    pub shard: u32,
    /// In the shard.
    pub range: Range<usize>,
}

/// One to four dimensions, outermost first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dims {
    dims: [u64; Self::MAX],
    len: u8,
}

impl Dims {
    pub(super) const MAX: usize = 4;

    /// At most [`Dims::MAX`] dimensions.
    pub(super) fn new(dims: &[u64]) -> Self {
        let mut all = [1; Self::MAX];
        all[..dims.len()].copy_from_slice(dims);
        Dims {
            dims: all,
            len: dims.len() as u8,
        }
    }

    fn as_slice(&self) -> &[u64] {
        &self.dims[..usize::from(self.len)]
    }

    fn shape(&self) -> Shape {
        Shape(self.as_slice().to_vec())
    }
}

/// Bytes of a tensor; every dimension is at least 1, rows are whole blocks, and nothing wraps.
pub(super) fn tensor_bytes(name: &str, dims: &Dims, format: Format) -> Result<u64, LoadError> {
    let dims = dims.as_slice();
    let fault = |fault| Err(LoadError::tensor(name, fault));
    if let Some(zero) = dims.iter().position(|dimension| *dimension == 0) {
        return fault(TensorFault::ZeroDimension(zero));
    }
    let cols = dims[dims.len() - 1];
    let block = format.block_len() as u64;
    if !cols.is_multiple_of(block) {
        return fault(TensorFault::Ragged { cols, block });
    }
    let values = dims
        .iter()
        .try_fold(1_u64, |product, dimension| product.checked_mul(*dimension));
    match values.and_then(|values| (values / block).checked_mul(format.block_bytes() as u64)) {
        Some(bytes) => Ok(bytes),
        None => fault(TensorFault::Overflow),
    }
}

/// The tensors a model uses, out of those of its file. Sets the flags of `config` that depend on which are there.
pub(super) fn check(
    spec: &Spec,
    config: &mut ModelConfig,
    mut raws: Vec<RawTensor>,
) -> Result<Tensors, LoadError> {
    raws.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    if let Some(twice) = raws.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(LoadError::Duplicate {
            what: "tensor",
            name: clip(&twice[0].name),
        });
    }
    let has = |name: &str| raws.binary_search_by(|raw| (*raw.name).cmp(name)).is_ok();
    config.tied_head = !has("output.weight");
    config.qk_norm = spec.qk_norm;
    config.rope.freq_factors = has("rope_freqs.weight");
    config.qkv_bias = match spec.qkv_bias {
        Presence::Required => true,
        Presence::Optional => has("blk.0.attn_q.bias"),
        Presence::Absent => false,
    };
    let mut taken = Taken {
        spec,
        used: vec![false; raws.len()],
        raws,
        entries: Vec::new(),
    };
    take_all(&mut taken, config)?;
    taken.finish()
}

fn take_all(taken: &mut Taken, config: &ModelConfig) -> Result<(), LoadError> {
    let [width, ffn_width, head_dim] = [config.width, config.ffn_width, config.head_dim];
    let [q_width, kv_width] = [config.q_width(), config.kv_width()];
    taken.matrix("token_embd.weight", config.vocab_len, width)?;
    taken.vector("output_norm.weight", width)?;
    if !config.tied_head {
        taken.matrix("output.weight", config.vocab_len, width)?;
    }
    if config.rope.freq_factors {
        taken.vector("rope_freqs.weight", config.rope.dims / 2)?;
    }
    for layer in 0..config.layers {
        let name = |tensor: &str| format!("blk.{layer}.{tensor}");
        taken.vector(&name("attn_norm.weight"), width)?;
        taken.matrix(&name("attn_q.weight"), q_width, width)?;
        taken.matrix(&name("attn_k.weight"), kv_width, width)?;
        taken.matrix(&name("attn_v.weight"), kv_width, width)?;
        if config.qkv_bias {
            taken.vector(&name("attn_q.bias"), q_width)?;
            taken.vector(&name("attn_k.bias"), kv_width)?;
            taken.vector(&name("attn_v.bias"), kv_width)?;
        }
        if config.qk_norm {
            taken.vector(&name("attn_q_norm.weight"), head_dim)?;
            taken.vector(&name("attn_k_norm.weight"), head_dim)?;
        }
        taken.matrix(&name("attn_output.weight"), width, q_width)?;
        taken.vector(&name("ffn_norm.weight"), width)?;
        taken.matrix(&name("ffn_gate.weight"), ffn_width, width)?;
        taken.matrix(&name("ffn_up.weight"), ffn_width, width)?;
        taken.matrix(&name("ffn_down.weight"), width, ffn_width)?;
    }
    Ok(())
}

/// A file's tensors while the architecture takes its own.
struct Taken<'a> {
    spec: &'a Spec,
    /// Sorted by name.
    raws: Vec<RawTensor<'a>>,
    used: Vec<bool>,
    entries: Vec<(Box<str>, TensorRef)>,
}

impl Taken<'_> {
    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<(), LoadError> {
        self.take(name, &[rows as u64, cols as u64], rows, cols)
    }

    /// Norms, biases and factors are read value by value, so they are floats.
    fn vector(&mut self, name: &str, len: usize) -> Result<(), LoadError> {
        self.take(name, &[len as u64], 1, len)?;
        match self.entries.last() {
            Some((_, tensor)) if tensor.format.block_len() > 1 => {
                let found = tensor.format.name().to_owned();
                let fault = TensorFault::Format {
                    found,
                    supported: "a vector is F32, F16 or BF16",
                };
                Err(LoadError::tensor(name, fault))
            }
            _ => Ok(()),
        }
    }

    fn take(
        &mut self,
        name: &str,
        shape: &[u64],
        rows: usize,
        cols: usize,
    ) -> Result<(), LoadError> {
        let Ok(index) = self.raws.binary_search_by(|raw| (*raw.name).cmp(name)) else {
            return Err(LoadError::TensorMissing {
                name: name.to_owned(),
                architecture: self.spec.gguf_name,
            });
        };
        let raw = &self.raws[index];
        if raw.dims.as_slice() != shape {
            let fault = TensorFault::Shape {
                expected: Shape(shape.to_vec()),
                found: raw.dims.shape(),
            };
            return Err(LoadError::tensor(name, fault));
        }
        self.used[index] = true;
        let RawTensor {
            format,
            shard,
            ref range,
            ..
        } = *raw;
        self.entries.push((
            name.into(),
            TensorRef {
                format,
                rows,
                cols,
                shard: shard as usize,
                range: range.clone(),
            },
        ));
        Ok(())
    }

    fn finish(self) -> Result<Tensors, LoadError> {
        let unused = self.used.iter().position(|used| !used);
        match unused {
            None => Ok(Tensors::new(self.entries)),
            Some(index) => Err(LoadError::TensorUnknown {
                name: clip(&self.raws[index].name),
                architecture: self.spec.gguf_name,
            }),
        }
    }
}
