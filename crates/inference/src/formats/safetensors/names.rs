//! Hugging Face's names of tensors in GGUF's words. One table; every llama-like architecture shares it.

use std::borrow::Cow;

/// Names outside the layers.
const GLOBAL: &[(&str, &str)] = &[
    ("model.embed_tokens.weight", "token_embd.weight"),
    ("model.norm.weight", "output_norm.weight"),
    (HEAD, "output.weight"),
];

/// The head's own name; a tied model may carry it although it is the embedding.
pub(super) const HEAD: &str = "lm_head.weight";

/// Names behind `model.layers.N.`.
const LAYER: &[(&str, &str)] = &[
    ("input_layernorm.weight", "attn_norm.weight"),
    ("self_attn.q_proj.weight", "attn_q.weight"),
    ("self_attn.k_proj.weight", "attn_k.weight"),
    ("self_attn.v_proj.weight", "attn_v.weight"),
    ("self_attn.q_proj.bias", "attn_q.bias"),
    ("self_attn.k_proj.bias", "attn_k.bias"),
    ("self_attn.v_proj.bias", "attn_v.bias"),
    ("self_attn.q_norm.weight", "attn_q_norm.weight"),
    ("self_attn.k_norm.weight", "attn_k_norm.weight"),
    ("self_attn.o_proj.weight", "attn_output.weight"),
    ("post_attention_layernorm.weight", "ffn_norm.weight"),
    ("mlp.gate_proj.weight", "ffn_gate.weight"),
    ("mlp.up_proj.weight", "ffn_up.weight"),
    ("mlp.down_proj.weight", "ffn_down.weight"),
];

/// The GGUF name; a name we do not know stays as it is, and no architecture has a place for it.
pub(super) fn gguf_name(name: Cow<'_, str>) -> Cow<'_, str> {
    if let Some((_, gguf)) = GLOBAL.iter().find(|(known, _)| *known == name) {
        return Cow::Borrowed(gguf);
    }
    let layer = name
        .strip_prefix("model.layers.")
        .and_then(|rest| rest.split_once('.'));
    let Some((number, part)) = layer else {
        return name;
    };
    // `07` would be a second name for layer 7.
    let plain = number.bytes().all(|byte| byte.is_ascii_digit())
        && (number == "0" || !number.starts_with('0'));
    match LAYER.iter().find(|(known, _)| plain && *known == part) {
        Some((_, gguf)) => Cow::Owned(format!("blk.{number}.{gguf}")),
        None => name,
    }
}

/// Whether a tensor is known to be derived from the others: the table of angles that old exports carry.
pub(super) fn is_derived(name: &str) -> bool {
    name.ends_with(".rotary_emb.inv_freq")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_translated_or_kept() {
        let check = |name: &str, expected: &str| assert_eq!(gguf_name(name.into()), expected);
        check("model.embed_tokens.weight", "token_embd.weight");
        check(
            "model.layers.12.self_attn.q_proj.weight",
            "blk.12.attn_q.weight",
        );
        check(
            "model.layers.0.mlp.down_proj.weight",
            "blk.0.ffn_down.weight",
        );
        check(
            "model.layers.07.mlp.down_proj.weight",
            "model.layers.07.mlp.down_proj.weight",
        );
        check(
            "model.layers.0.mlp.down_proj.bias",
            "model.layers.0.mlp.down_proj.bias",
        );
        check("visual.blocks.0.weight", "visual.blocks.0.weight");
    }
}
