//! [`ModelConfig`] from a GGUF file's metadata.

use super::metadata::Metadata;
use crate::formats::LoadError;
use crate::formats::architecture::Spec;
use crate::formats::config::{
    Count, ModelConfig, Rope, RopeScaling, check_eps, check_factor, check_rope_base,
    check_scaling_parameter, yarn_attention_factor,
};

/// The hyperparameters of a file of this architecture with a vocabulary of this length.
pub(super) fn read(
    metadata: &Metadata,
    spec: &Spec,
    vocab_len: usize,
) -> Result<ModelConfig, LoadError> {
    let keys = Keys {
        metadata,
        architecture: spec.gguf_name,
    };
    keys.refuse_experts()?;
    let width = keys.count("embedding_length", Count::Width)?;
    let heads = keys.count("attention.head_count", Count::Heads)?;
    let kv_heads = keys.count_or("attention.head_count_kv", Count::Heads, heads)?;
    let head_dim = keys.head_dim(width, heads)?;
    let context_len = keys.context_len()?;
    let config = ModelConfig {
        architecture: spec.architecture,
        layers: keys.count("block_count", Count::Layers)?,
        width,
        ffn_width: keys.count("feed_forward_length", Count::FfnWidth)?,
        heads,
        kv_heads,
        head_dim,
        vocab_len: Count::Vocab.check("tokenizer.ggml.tokens", vocab_len as u64)?,
        context_len,
        rms_eps: keys.required_float("attention.layer_norm_rms_epsilon", check_eps)?,
        rope: Rope {
            style: spec.gguf_rope_style,
            base: keys.float_or("rope.freq_base", 10_000.0, check_rope_base)?,
            dims: keys.count_or("rope.dimension_count", Count::HeadDim, head_dim)?,
            scaling: keys.scaling(context_len)?,
            freq_factors: false,
        },
        tied_head: false,
        qkv_bias: false,
        qk_norm: false,
    };
    config.check()?;
    Ok(config)
}

/// How a float is checked: key, value.
type FloatCheck = fn(&str, f64) -> Result<f32, LoadError>;

struct Keys<'a> {
    metadata: &'a Metadata<'a>,
    architecture: &'static str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn count(&self, name: &str, count: Count) -> Result<usize, LoadError> {
        let key = self.key(name);
        let found = self
            .metadata
            .uint(&key)?
            .ok_or_else(|| LoadError::missing(&key))?;
        count.check(&key, found)
    }

    fn count_or(&self, name: &str, count: Count, default: usize) -> Result<usize, LoadError> {
        let key = self.key(name);
        self.metadata
            .uint(&key)?
            .map_or(Ok(default), |found| count.check(&key, found))
    }

    fn required_float(&self, name: &str, check: FloatCheck) -> Result<f32, LoadError> {
        let key = self.key(name);
        let found = self
            .metadata
            .float(&key)?
            .ok_or_else(|| LoadError::missing(&key))?;
        check(&key, found)
    }

    fn float_or(&self, name: &str, default: f64, check: FloatCheck) -> Result<f32, LoadError> {
        let key = self.key(name);
        check(&key, self.metadata.float(&key)?.unwrap_or(default))
    }

    fn head_dim(&self, width: usize, heads: usize) -> Result<usize, LoadError> {
        let stated = self.key("attention.key_length");
        let head_dim = match self.metadata.uint(&stated)? {
            Some(found) => Count::HeadDim.check(&stated, found)?,
            None if width.is_multiple_of(heads) => {
                Count::HeadDim.check(&stated, (width / heads) as u64)?
            }
            None => {
                let expected = format!("a multiple of {heads} heads");
                return Err(LoadError::out_of_range(
                    &self.key("embedding_length"),
                    width,
                    expected,
                ));
            }
        };
        let value_len = self.count_or("attention.value_length", Count::HeadDim, head_dim)?;
        if value_len != head_dim {
            let supported = format!("values as long as keys ({head_dim}) are");
            return Err(LoadError::unsupported(
                &self.key("attention.value_length"),
                value_len,
                supported,
            ));
        }
        Ok(head_dim)
    }

    /// Inside its sliding window a model's attention is full, so the window is a bound we can keep.
    fn context_len(&self) -> Result<usize, LoadError> {
        let len = self.count("context_length", Count::Context)?;
        let key = self.key("attention.sliding_window");
        match self.metadata.uint(&key)? {
            None | Some(0) => Ok(len),
            Some(window) => Ok(len.min(Count::Context.check(&key, window)?)),
        }
    }

    fn refuse_experts(&self) -> Result<(), LoadError> {
        let key = self.key("expert_count");
        match self.metadata.uint(&key)? {
            None | Some(0) => Ok(()),
            Some(experts) => Err(LoadError::unsupported(
                &key,
                experts,
                "models without experts are",
            )),
        }
    }

    fn scaling(&self, context_len: usize) -> Result<RopeScaling, LoadError> {
        let key = self.key("rope.scaling.type");
        let stated = self.metadata.string(&key)?;
        // Old files state a factor under another name and no type: linear.
        let legacy = self.float_or("rope.scale_linear", 1.0, check_factor)?;
        let factor = self.float_or("rope.scaling.factor", legacy.into(), check_factor)?;
        match stated {
            Some("none") => Ok(RopeScaling::None),
            None | Some("linear") if factor == 1.0 => Ok(RopeScaling::None),
            None | Some("linear") => Ok(RopeScaling::Linear { factor }),
            Some("yarn") => self.yarn(factor, context_len),
            Some(other) => Err(LoadError::unsupported(
                &key,
                other,
                "none, linear and yarn are",
            )),
        }
    }

    fn yarn(&self, factor: f32, context_len: usize) -> Result<RopeScaling, LoadError> {
        let multiplier = self.key("rope.scaling.yarn_log_multiplier");
        if let Some(found) = self
            .metadata
            .float(&multiplier)?
            .filter(|found| *found != 0.0)
        {
            return Err(LoadError::unsupported(
                &multiplier,
                found,
                "yarn without it is",
            ));
        }
        let stated = self.float_or("rope.scaling.attn_factor", 1.0, check_scaling_parameter)?;
        Ok(RopeScaling::Yarn {
            factor,
            original_context_len: self.count_or(
                "rope.scaling.original_context_length",
                Count::Context,
                context_len,
            )?,
            attention_factor: stated * yarn_attention_factor(factor),
            beta_fast: self.float_or(
                "rope.scaling.yarn_beta_fast",
                32.0,
                check_scaling_parameter,
            )?,
            beta_slow: self.float_or(
                "rope.scaling.yarn_beta_slow",
                1.0,
                check_scaling_parameter,
            )?,
        })
    }
}
