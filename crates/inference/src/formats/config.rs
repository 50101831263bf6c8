//! A model's hyperparameters, typed and in bounds, in the same words for every file format.
//!
//! - Every count is at least 1 and at most its bound in [`super::limits`]; `heads` is a multiple of `kv_heads`;
//!   `head_dim` is even; floats are finite and in range. [`ModelConfig::check`] is the one place that says so.
//!
//! Absent: anything a file may say that changes no arithmetic, and anything we could not honour (that is an error).

use super::architecture::Architecture;
use super::error::LoadError;
use super::limits::{
    CONTEXT_MAX, FFN_WIDTH_MAX, HEAD_DIM_MAX, HEADS_MAX, LAYERS_MAX, VOCAB_MAX, WIDTH_MAX,
};

/// The hyperparameters of a decoder-only model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Which forward pass.
    pub architecture: Architecture,
    /// Decoder layers.
    pub layers: usize,
    /// Values of the residual stream.
    pub width: usize,
    /// Values between the two halves of a feed-forward layer.
    pub ffn_width: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; `heads` is a multiple of it.
    pub kv_heads: usize,
    /// Values of one head; even. `heads * head_dim` need not equal `width`.
    pub head_dim: usize,
    /// Rows of the embedding and of the head; every token id is below it.
    pub vocab_len: usize,
    /// The longest context the model can attend over in full, in tokens.
    pub context_len: usize,
    /// Added to the mean square before the root in every RMS norm.
    pub rms_eps: f32,
    /// How positions turn queries and keys.
    pub rope: Rope,
    /// The head is the embedding: there is no `output.weight`.
    pub tied_head: bool,
    /// `blk.N.attn_{q,k,v}.bias` exist and are added.
    pub qkv_bias: bool,
    /// `blk.N.attn_{q,k}_norm.weight` (`[head_dim]`) exist: each head of q and k is normed before the rotation.
    pub qk_norm: bool,
}

/// Rotary position embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Which values of a head form a pair.
    pub style: RopeStyle,
    /// Pair `i` turns by `position / base^(2i / dims)` radians before scaling.
    pub base: f32,
    /// Leading values of a head that turn; even and at most `head_dim`.
    pub dims: usize,
    /// How angles are stretched beyond the trained context.
    pub scaling: RopeScaling,
    /// The tensor `rope_freqs.weight` (`[dims / 2]`) exists: each pair's angle is divided by its entry.
    pub freq_factors: bool,
}

/// Which two values of a head turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeStyle {
    /// Values `2i` and `2i + 1` (GGUF files of the llama architecture, whose q and k rows are permuted for it).
    Interleaved,
    /// Values `i` and `i + dims / 2`.
    HalfSplit,
}

/// How rotary angles are stretched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Every angle divided by `factor`.
    Linear {
        /// At least 1.
        factor: f32,
    },
    /// Llama 3.1's: long wavelengths divided by `factor`, short ones kept, the band between interpolated.
    Llama3 {
        /// At least 1.
        factor: f32,
        /// Wavelengths above `original_context_len / low_freq_factor` are stretched in full.
        low_freq_factor: f32,
        /// Wavelengths below `original_context_len / high_freq_factor` are kept; greater than `low_freq_factor`.
        high_freq_factor: f32,
        /// The context the model was first trained with.
        original_context_len: usize,
    },
    /// YaRN: a ramp over pairs between kept and stretched angles, and a factor on cosine and sine.
    Yarn {
        /// At least 1.
        factor: f32,
        /// The context the model was first trained with.
        original_context_len: usize,
        /// Cosine and sine are multiplied by it; the file's word or `1 + 0.1 ln factor`, already worked out.
        attention_factor: f32,
        /// Rotations over the original context above which a pair is kept.
        beta_fast: f32,
        /// Rotations below which a pair is stretched in full.
        beta_slow: f32,
    },
}

impl ModelConfig {
    /// Values of all query heads together.
    #[must_use]
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Values of all key (or value) heads together.
    #[must_use]
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Relations between fields that hold for every architecture; each field's own bound was checked as it was read.
    pub(super) fn check(&self) -> Result<(), LoadError> {
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(LoadError::out_of_range(
                "key/value heads",
                self.kv_heads,
                format!("a divisor of {}", self.heads),
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(LoadError::out_of_range(
                "head dimension",
                self.head_dim,
                "an even number",
            ));
        }
        if !self.rope.dims.is_multiple_of(2) || !(2..=self.head_dim).contains(&self.rope.dims) {
            let expected = format!("an even number from 2 to {}", self.head_dim);
            return Err(LoadError::out_of_range(
                "rope dimensions",
                self.rope.dims,
                expected,
            ));
        }
        Ok(())
    }
}

/// A count a file may state, with its bound; the table both formats read by.
#[derive(Clone, Copy)]
pub(super) enum Count {
    Layers,
    Width,
    FfnWidth,
    Heads,
    HeadDim,
    Vocab,
    Context,
}

impl Count {
    fn max(self) -> u64 {
        match self {
            Count::Layers => LAYERS_MAX,
            Count::Width => WIDTH_MAX,
            Count::FfnWidth => FFN_WIDTH_MAX,
            Count::Heads => HEADS_MAX,
            Count::HeadDim => HEAD_DIM_MAX,
            Count::Vocab => VOCAB_MAX as u64,
            Count::Context => CONTEXT_MAX,
        }
    }

    /// `found`, if it is at least 1 and within bounds.
    pub(super) fn check(self, key: &str, found: u64) -> Result<usize, LoadError> {
        let max = self.max();
        match usize::try_from(found) {
            Ok(count) if (1..=max).contains(&found) => Ok(count),
            _ => Err(LoadError::out_of_range(key, found, format!("1 to {max}"))),
        }
    }
}

/// A float a file may state: finite and inside `min..=max`.
pub(super) fn check_float(key: &str, found: f64, min: f64, max: f64) -> Result<f32, LoadError> {
    if found.is_finite() && (min..=max).contains(&found) {
        Ok(found as f32)
    } else {
        Err(LoadError::out_of_range(
            key,
            found,
            format!("{min} to {max}"),
        ))
    }
}

/// [`ModelConfig::rms_eps`]: zero is allowed (a vector of zeros is then NaN, as the model says), a norm of one is not.
pub(super) fn check_eps(key: &str, found: f64) -> Result<f32, LoadError> {
    check_float(key, found, 0.0, 0.1)
}

/// [`Rope::base`]: the largest in use is 5e8.
pub(super) fn check_rope_base(key: &str, found: f64) -> Result<f32, LoadError> {
    check_float(key, found, 1.0, 1e12)
}

/// A stretch factor of [`RopeScaling`]: 1 (none) to far beyond any context.
pub(super) fn check_factor(key: &str, found: f64) -> Result<f32, LoadError> {
    check_float(key, found, 1.0, 65_536.0)
}

/// Any other positive parameter of [`RopeScaling`].
pub(super) fn check_scaling_parameter(key: &str, found: f64) -> Result<f32, LoadError> {
    check_float(key, found, 1e-6, 65_536.0)
}

/// The factor YaRN puts on cosine and sine where the file states none.
pub(super) fn yarn_attention_factor(factor: f32) -> f32 {
    // The library's logarithm, so that every machine works out the same bits.
    (1.0 + 0.1 * libm::log(f64::from(factor))) as f32
}
