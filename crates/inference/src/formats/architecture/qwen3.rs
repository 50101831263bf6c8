//! Qwen 3 (dense): llama's layer with a norm on each head of q and k; halves turn together in every format.

use super::{Architecture, Presence, Spec};
use crate::formats::config::RopeStyle;

pub(super) const SPEC: Spec = Spec {
    architecture: Architecture::Qwen3,
    gguf_name: "qwen3",
    hf_classes: &["Qwen3ForCausalLM"],
    gguf_rope_style: RopeStyle::HalfSplit,
    qkv_bias: Presence::Absent,
    qk_norm: true,
};
