//! [`ModelConfig`] from `config.json`.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::formats::LoadError;
use crate::formats::architecture::{self, Spec};
use crate::formats::config::{
    Count, ModelConfig, Rope, RopeScaling, RopeStyle, check_eps, check_factor, check_rope_base,
    check_scaling_parameter, yarn_attention_factor,
};
use crate::formats::json::{self, Bounded, OneOrMany};
use crate::formats::limits::CONFIG_JSON_BYTES_MAX;

const FILE: &str = "config.json";

/// The fields that change what a model computes, and no others.
#[derive(Deserialize)]
pub(super) struct ConfigJson<'a> {
    #[serde(borrow)]
    architectures: Option<Bounded<Cow<'a, str>, 8>>,
    num_hidden_layers: u64,
    hidden_size: u64,
    intermediate_size: u64,
    num_attention_heads: u64,
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    vocab_size: u64,
    max_position_embeddings: u64,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    #[serde(borrow)]
    rope_scaling: Option<RopeJson<'a>>,
    /// Where newer exports put `rope_theta`, `rope_scaling` and `partial_rotary_factor`.
    #[serde(borrow)]
    rope_parameters: Option<RopeJson<'a>>,
    partial_rotary_factor: Option<f64>,
    tie_word_embeddings: Option<bool>,
    #[serde(borrow)]
    hidden_act: Option<Cow<'a, str>>,
    sliding_window: Option<u64>,
    use_sliding_window: Option<bool>,
    quantization_config: Option<IgnoredAny>,
    bos_token_id: Option<OneOrMany>,
    eos_token_id: Option<OneOrMany>,
}

#[derive(Deserialize)]
struct RopeJson<'a> {
    #[serde(borrow)]
    rope_type: Option<Cow<'a, str>>,
    /// The older name of `rope_type`; some files have both.
    #[serde(borrow, rename = "type")]
    older_type: Option<Cow<'a, str>>,
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<u64>,
    attention_factor: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
}

impl<'a> ConfigJson<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, LoadError> {
        json::parse(FILE, bytes, CONFIG_JSON_BYTES_MAX)
    }

    /// Whether the head is the embedding. Transformers' default for these architectures is that it is not.
    pub(super) fn tied(&self) -> bool {
        self.tie_word_embeddings.unwrap_or(false)
    }

    /// Begin and end tokens, out of the file.
    pub(super) fn take_special_ids(&mut self) -> (Option<u64>, Vec<u64>) {
        let bos = self
            .bos_token_id
            .take()
            .and_then(|ids| ids.into_vec().first().copied());
        (
            bos,
            self.eos_token_id
                .take()
                .map(OneOrMany::into_vec)
                .unwrap_or_default(),
        )
    }

    pub(super) fn model_config(&self) -> Result<(&'static Spec, ModelConfig), LoadError> {
        let class = self
            .architectures
            .as_ref()
            .and_then(|classes| classes.0.first());
        let spec = architecture::by_hf_class(
            class.ok_or_else(|| LoadError::missing("config.json: architectures"))?,
        )?;
        self.refuse_what_changes_arithmetic()?;
        let width = Count::Width.check("hidden_size", self.hidden_size)?;
        let heads = Count::Heads.check("num_attention_heads", self.num_attention_heads)?;
        let head_dim = self.head_dim(width, heads)?;
        let config = ModelConfig {
            architecture: spec.architecture,
            layers: Count::Layers.check("num_hidden_layers", self.num_hidden_layers)?,
            width,
            ffn_width: Count::FfnWidth.check("intermediate_size", self.intermediate_size)?,
            heads,
            kv_heads: match self.num_key_value_heads {
                Some(found) => Count::Heads.check("num_key_value_heads", found)?,
                None => heads,
            },
            head_dim,
            vocab_len: Count::Vocab.check("vocab_size", self.vocab_size)?,
            context_len: self.context_len()?,
            rms_eps: check_eps("rms_norm_eps", self.rms_norm_eps)?,
            rope: Rope {
                style: RopeStyle::HalfSplit,
                base: self.rope_base()?,
                dims: self.rope_dims(head_dim),
                scaling: self.scaling()?,
                freq_factors: false,
            },
            tied_head: false,
            qkv_bias: false,
            qk_norm: false,
        };
        config.check()?;
        Ok((spec, config))
    }

    fn refuse_what_changes_arithmetic(&self) -> Result<(), LoadError> {
        if let Some(found) = self.hidden_act.as_deref().filter(|act| *act != "silu") {
            return Err(LoadError::unsupported("hidden_act", found, "silu is"));
        }
        if self.quantization_config.is_some() {
            let supported = "F32, F16 and BF16 weights are (or a GGUF file of the model)";
            return Err(LoadError::unsupported(
                "quantization_config",
                "a quantized export",
                supported,
            ));
        }
        Ok(())
    }

    fn head_dim(&self, width: usize, heads: usize) -> Result<usize, LoadError> {
        match self.head_dim {
            Some(found) => Count::HeadDim.check("head_dim", found),
            None if width.is_multiple_of(heads) => {
                Count::HeadDim.check("head_dim", (width / heads) as u64)
            }
            None => Err(LoadError::out_of_range(
                "hidden_size",
                width,
                format!("a multiple of {heads} heads"),
            )),
        }
    }

    /// Inside its sliding window a model's attention is full, so the window is a bound we can keep.
    fn context_len(&self) -> Result<usize, LoadError> {
        let len = Count::Context.check("max_position_embeddings", self.max_position_embeddings)?;
        match self
            .sliding_window
            .filter(|_| self.use_sliding_window.unwrap_or(true))
        {
            Some(window) => Ok(len.min(Count::Context.check("sliding_window", window)?)),
            None => Ok(len),
        }
    }

    fn rope_base(&self) -> Result<f32, LoadError> {
        let newer = self
            .rope_parameters
            .as_ref()
            .and_then(|rope| rope.rope_theta);
        check_rope_base("rope_theta", newer.or(self.rope_theta).unwrap_or(10_000.0))
    }

    fn rope_dims(&self, head_dim: usize) -> usize {
        let newer = self
            .rope_parameters
            .as_ref()
            .and_then(|rope| rope.partial_rotary_factor);
        // Out of range becomes a number that `ModelConfig::check` refuses.
        newer
            .or(self.partial_rotary_factor)
            .map_or(head_dim, |factor| (head_dim as f64 * factor) as usize)
    }

    fn scaling(&self) -> Result<RopeScaling, LoadError> {
        let Some(rope) = self.rope_parameters.as_ref().or(self.rope_scaling.as_ref()) else {
            return Ok(RopeScaling::None);
        };
        let factor = || check_factor("rope_scaling: factor", required("factor", rope.factor)?);
        match rope
            .rope_type
            .as_ref()
            .or(rope.older_type.as_ref())
            .map_or("default", |name| name)
        {
            "default" => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear { factor: factor()? }),
            "llama3" => rope.llama3(factor()?),
            "yarn" => rope.yarn(factor()?, self.max_position_embeddings),
            other => Err(LoadError::unsupported(
                "rope_scaling",
                other,
                "default, linear, llama3 and yarn are",
            )),
        }
    }
}

impl RopeJson<'_> {
    fn llama3(&self, factor: f32) -> Result<RopeScaling, LoadError> {
        let parameter = |name: &str, found| check_scaling_parameter(name, required(name, found)?);
        let low_freq_factor = parameter("low_freq_factor", self.low_freq_factor)?;
        let high_freq_factor = parameter("high_freq_factor", self.high_freq_factor)?;
        if high_freq_factor <= low_freq_factor {
            let expected = format!("more than {low_freq_factor}");
            return Err(LoadError::out_of_range(
                "high_freq_factor",
                high_freq_factor,
                expected,
            ));
        }
        let original = required(
            "original_max_position_embeddings",
            self.original_max_position_embeddings,
        )?;
        let original_context_len =
            Count::Context.check("original_max_position_embeddings", original)?;
        Ok(RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_context_len,
        })
    }

    fn yarn(&self, factor: f32, max_position_embeddings: u64) -> Result<RopeScaling, LoadError> {
        if let Some(found) = self.mscale.or(self.mscale_all_dim) {
            return Err(LoadError::unsupported(
                "rope_scaling: mscale",
                found,
                "yarn without it is",
            ));
        }
        let original = self
            .original_max_position_embeddings
            .unwrap_or(max_position_embeddings);
        let parameter = |name: &str, found: Option<f64>, default| {
            found.map_or(Ok(default), |found| check_scaling_parameter(name, found))
        };
        Ok(RopeScaling::Yarn {
            factor,
            original_context_len: Count::Context
                .check("original_max_position_embeddings", original)?,
            attention_factor: parameter(
                "attention_factor",
                self.attention_factor,
                yarn_attention_factor(factor),
            )?,
            beta_fast: parameter("beta_fast", self.beta_fast, 32.0)?,
            beta_slow: parameter("beta_slow", self.beta_slow, 1.0)?,
        })
    }
}

fn required<T>(name: &str, found: Option<T>) -> Result<T, LoadError> {
    found.ok_or_else(|| LoadError::missing(&format!("config.json: rope_scaling: {name}")))
}
