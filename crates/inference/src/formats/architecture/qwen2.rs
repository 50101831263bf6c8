//! Qwen 2 and 2.5 (dense): llama's layer with biases on q, k and v; halves turn together in every format.

use super::{Architecture, Presence, Spec};
use crate::formats::config::RopeStyle;

pub(super) const SPEC: Spec = Spec {
    architecture: Architecture::Qwen2,
    gguf_name: "qwen2",
    hf_classes: &["Qwen2ForCausalLM"],
    gguf_rope_style: RopeStyle::HalfSplit,
    qkv_bias: Presence::Required,
    qk_norm: false,
};
