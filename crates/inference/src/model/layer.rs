//! One layer's tensors: matrices as views into the file, vectors as f32.

use spindle_kernels::{Forms, Isa, Weights, dequantize_row};

use crate::formats::{LoadError, ModelFile, TensorRef};

/// Everything a layer multiplies by.
#[derive(Debug)]
pub(super) struct Layer {
    pub attention_norm: Vec<f32>, // [width]
    pub q: Projection,            // [q_width, width]
    pub k: Projection,            // [kv_width, width]
    pub v: Projection,            // [kv_width, width]
    /// Norms of each head of q and k, where the model has them.
    pub qk_norm: Option<(Vec<f32>, Vec<f32>)>, // [head_dim] each
    pub output: TensorRef,        // [width, q_width]
    pub feed_forward_norm: Vec<f32>, // [width]
    pub gate: TensorRef,          // [ffn_width, width]
    pub up: TensorRef,            // [ffn_width, width]
    pub down: TensorRef,          // [width, ffn_width]
}

/// A matrix and the bias added to its product.
#[derive(Debug)]
pub(super) struct Projection {
    pub matrix: TensorRef,
    pub bias: Option<Vec<f32>>, // [rows]
}

impl Layer {
    /// Layer `index` of a file, which has been checked to hold it.
    pub fn load(file: &ModelFile, index: usize) -> Result<Self, LoadError> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let matrix = |part: &str| tensor(file, &name(part));
        let vector = |part: &str| vector(file, &name(part));
        let projection = |part: &str| -> Result<_, LoadError> {
            let bias = if file.config.qkv_bias {
                Some(vector(&format!("{part}.bias"))?)
            } else {
                None
            };
            Ok(Projection {
                matrix: matrix(&format!("{part}.weight"))?,
                bias,
            })
        };
        let qk_norm = match file.config.qk_norm {
            true => Some((vector("attn_q_norm.weight")?, vector("attn_k_norm.weight")?)),
            false => None,
        };
        Ok(Self {
            attention_norm: vector("attn_norm.weight")?,
            q: projection("attn_q")?,
            k: projection("attn_k")?,
            v: projection("attn_v")?,
            qk_norm,
            output: matrix("attn_output.weight")?,
            feed_forward_norm: vector("ffn_norm.weight")?,
            gate: matrix("ffn_gate.weight")?,
            up: matrix("ffn_up.weight")?,
            down: matrix("ffn_down.weight")?,
        })
    }

    /// All matrices.
    pub fn matrices(&self) -> [&TensorRef; 7] {
        [
            &self.q.matrix,
            &self.k.matrix,
            &self.v.matrix,
            &self.output,
            &self.gate,
            &self.up,
            &self.down,
        ]
    }
}

/// The forms an input needs that is multiplied by these matrices.
pub(super) fn forms<'a>(matrices: impl IntoIterator<Item = &'a TensorRef>) -> Forms {
    matrices
        .into_iter()
        .map(|matrix| matrix.format.activation_form())
        .collect()
}

/// A tensor of a checked file.
pub(super) fn tensor(file: &ModelFile, name: &str) -> Result<TensorRef, LoadError> {
    let missing = || LoadError::TensorMissing {
        name: name.into(),
        architecture: file.config.architecture.name(),
    };
    file.tensors.get(name).cloned().ok_or_else(missing)
}

/// A vector of a checked file, as f32.
pub(super) fn vector(file: &ModelFile, name: &str) -> Result<Vec<f32>, LoadError> {
    let tensor = tensor(file, name)?;
    let mut values = vec![0.0; tensor.cols];
    dequantize_row(Isa::Scalar, &weights(file, &tensor), 0, &mut values);
    Ok(values)
}

/// The kernels' view of a tensor.
pub(super) fn weights<'a>(file: &'a ModelFile, tensor: &TensorRef) -> Weights<'a> {
    Weights::new(tensor.format, tensor.rows, tensor.cols, file.bytes(tensor))
        .expect("a checked file's tensors have their size")
}
