//! The architectures we run, one file each and one row here.
//!
//! To add one: a file with its [`Spec`], a row in [`TABLE`], a variant of [`Architecture`], and its forward pass.

mod llama;
mod qwen2;
mod qwen3;

use super::config::RopeStyle;
use super::error::LoadError;

/// A forward pass we have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// Llama 1 to 3, Mistral, SmolLM and everything else that is a llama under another name.
    Llama,
    /// Qwen 2 and 2.5: a llama with biases on q, k and v.
    Qwen2,
    /// Qwen 3 (dense): a llama with norms on each head of q and k.
    Qwen3,
}

const TABLE: &[&Spec] = &[&llama::SPEC, &qwen2::SPEC, &qwen3::SPEC];

/// What error messages and documentation say we run.
pub const SUPPORTED_ARCHITECTURES: &str = "llama, qwen2 and qwen3 are";

/// How files spell an architecture and which tensors its layers have.
pub(super) struct Spec {
    pub architecture: Architecture,
    /// `general.architecture`, and the prefix of its keys.
    pub gguf_name: &'static str,
    /// `architectures[0]` of `config.json`.
    pub hf_classes: &'static [&'static str],
    /// The order of values in a head in a GGUF file; Hugging Face's order is always [`RopeStyle::HalfSplit`].
    pub gguf_rope_style: RopeStyle,
    /// Biases of q, k and v.
    pub qkv_bias: Presence,
    /// Norms of each head of q and k.
    pub qk_norm: bool,
}

/// Whether a group of tensors is in a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Required,
    /// All of them or none.
    Optional,
    Absent,
}

impl Architecture {
    /// Its name in GGUF files and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.spec().gguf_name
    }

    pub(super) fn spec(self) -> &'static Spec {
        match self {
            Architecture::Llama => &llama::SPEC,
            Architecture::Qwen2 => &qwen2::SPEC,
            Architecture::Qwen3 => &qwen3::SPEC,
        }
    }
}

/// The row for `general.architecture`.
pub(super) fn by_gguf_name(name: &str) -> Result<&'static Spec, LoadError> {
    let row = TABLE.iter().find(|spec| spec.gguf_name == name);
    row.copied().ok_or_else(|| {
        LoadError::unsupported("general.architecture", name, SUPPORTED_ARCHITECTURES)
    })
}

/// The row for a class in `config.json`.
pub(super) fn by_hf_class(class: &str) -> Result<&'static Spec, LoadError> {
    let row = TABLE.iter().find(|spec| spec.hf_classes.contains(&class));
    row.copied().ok_or_else(|| {
        let classes: Vec<&str> = TABLE
            .iter()
            .flat_map(|spec| spec.hf_classes)
            .copied()
            .collect();
        LoadError::unsupported(
            "config.json: architectures",
            class,
            format!("{} are", classes.join(", ")),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_names_its_own_architecture() {
        for spec in TABLE {
            assert!(std::ptr::eq(*spec, spec.architecture.spec()));
            assert!(SUPPORTED_ARCHITECTURES.contains(spec.gguf_name));
        }
    }
}
