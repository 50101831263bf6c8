//! Llama: RMS norms, rotary attention with grouped heads, gated feed-forward.
//!
//! GGUF's converter permutes the rows of q and k so that pairs lie side by side; Hugging Face's files keep halves.

use super::{Architecture, Presence, Spec};
use crate::formats::config::RopeStyle;

pub(super) const SPEC: Spec = Spec {
    architecture: Architecture::Llama,
    gguf_name: "llama",
    hf_classes: &["LlamaForCausalLM", "MistralForCausalLM"],
    gguf_rope_style: RopeStyle::Interleaved,
    qkv_bias: Presence::Optional,
    qk_norm: false,
};
