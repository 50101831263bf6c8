//! A loaded model: what every format ends in.

use std::sync::Arc;

use super::config::ModelConfig;
use super::limits::MODEL_NAME_BYTES_MAX;
use super::tensors::Tensors;
use crate::tokenizer::Tokenizer;

/// Bytes of a file, whoever keeps them: a mapping or a vector.
pub type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A model whose hyperparameters, tokenizer and tensors have been checked against each other.
pub struct ModelFile {
    /// Hyperparameters.
    pub config: ModelConfig,
    /// Text to tokens and back. Its ids are below `config.vocab_len`.
    pub tokenizer: Tokenizer,
    /// Source of the chat template, if the file carries one.
    pub chat_template: Option<String>,
    /// The name the file gives itself.
    pub name: Option<String>,
    /// Every tensor the architecture uses, and no other.
    pub tensors: Tensors,
    /// What the tensors' ranges index.
    pub shards: Vec<Bytes>,
}

impl ModelFile {
    /// The raw bytes of a tensor's rows, `rows * cols` values in its format.
    #[must_use]
    pub fn bytes(&self, tensor: &super::TensorRef) -> &[u8] {
        &(*self.shards[tensor.shard]).as_ref()[tensor.range.clone()]
    }

    /// Bytes of all weights together.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        self.tensors
            .iter()
            .map(|(_, tensor)| tensor.range.len() as u64)
            .sum()
    }
}

/// The name a file gives itself, on one line and of bounded length; none if nothing of it is left.
pub(super) fn model_name(stated: &str) -> Option<String> {
    let mut end = stated.len().min(MODEL_NAME_BYTES_MAX);
    while !stated.is_char_boundary(end) {
        end -= 1;
    }
    let name: String = stated[..end].chars().filter(|c| !c.is_control()).collect();
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}
