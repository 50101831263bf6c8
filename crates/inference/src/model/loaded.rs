//! A model in memory: the file, its layers, and what callers ask about it.

use std::sync::Arc;

use spindle_kernels::{HEAD_DIM_MAX, Weights};

use super::layer::{Layer, tensor, vector, weights};
use super::rope::Rotation;
use crate::formats::{LoadError, ModelConfig, ModelFile, TensorRef};
use crate::request::{
    ContextExceeded, ErrorCode, InvalidArgument, ModelInfo, Prompt, Request, SamplingDefaults,
};
use crate::token::TokenId;
use crate::tokenizer::{EncodeError, Tokenizer};

/// A model ready to run, shared by its scheduler and whoever encodes text for it.
pub struct Model {
    file: ModelFile,
    pub(super) layers: Vec<Layer>,
    pub(super) embedding: TensorRef, // [vocab_len, width]
    pub(super) head: TensorRef,      // [vocab_len, width]
    pub(super) final_norm: Vec<f32>, // [width]
    pub(super) rotation: Rotation,
}

impl Model {
    /// Takes a checked file.
    ///
    /// # Errors
    /// A head larger than the kernels attend to.
    pub fn new(file: ModelFile) -> Result<Arc<Self>, LoadError> {
        let config = &file.config;
        if config.head_dim > HEAD_DIM_MAX {
            return Err(LoadError::out_of_range(
                "head dimension",
                config.head_dim,
                format!("1 to {HEAD_DIM_MAX}"),
            ));
        }
        let layers = (0..config.layers)
            .map(|index| Layer::load(&file, index))
            .collect::<Result<_, _>>()?;
        let embedding = tensor(&file, "token_embd.weight")?;
        let head = if config.tied_head {
            embedding.clone()
        } else {
            tensor(&file, "output.weight")?
        };
        let freq_factors = if config.rope.freq_factors {
            Some(vector(&file, "rope_freqs.weight")?)
        } else {
            None
        };
        Ok(Arc::new(Self {
            layers,
            embedding,
            head,
            final_norm: vector(&file, "output_norm.weight")?,
            rotation: Rotation::new(&config.rope, freq_factors.as_deref()),
            file,
        }))
    }

    /// Hyperparameters.
    pub fn config(&self) -> &ModelConfig {
        &self.file.config
    }

    /// Text to tokens and back.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.file.tokenizer
    }

    /// The file it runs on.
    pub fn file(&self) -> &ModelFile {
        &self.file
    }

    /// What callers need to know, under the name `id`. `context_len` is the scheduler's; time, operator's defaults
    /// and fingerprint are the host's to add.
    pub fn info(&self, id: &str, context_len: usize) -> ModelInfo {
        let text = |text: Option<std::borrow::Cow<'_, str>>| text.map(std::borrow::Cow::into_owned);
        ModelInfo {
            id: id.into(),
            created: 0,
            context_len: context_len as u32,
            vocab_len: self.config().vocab_len as u32,
            chat_template: self.file.chat_template.clone(),
            bos_token: text(self.tokenizer().bos_text()),
            eos_token: text(self.tokenizer().eos_text()),
            fingerprint: None,
            defaults: SamplingDefaults::default(),
        }
    }

    /// Turns a prompt of text into tokens, as [`Prompt::Text`] says; a prompt of tokens is left alone. `context_len`
    /// bounds the work: a text that has more tokens is refused as soon as that is known.
    ///
    /// # Errors
    /// A text that does not fit or cannot be encoded.
    pub fn encode_prompt(
        &self,
        request: &mut Request,
        context_len: usize,
    ) -> Result<(), ErrorCode> {
        let Prompt::Text(text) = &request.prompt else {
            return Ok(());
        };
        let refused = |error: EncodeError| match error {
            EncodeError::TooLong { at_least, .. } => ErrorCode::ContextExceeded(ContextExceeded {
                prompt_tokens: u32::try_from(at_least).unwrap_or(u32::MAX),
                requested_tokens: request.max_tokens.unwrap_or(request.min_tokens),
                context_len: context_len as u32,
            }),
            other => ErrorCode::InvalidArgument(InvalidArgument {
                param: "prompt".into(),
                message: other.to_string(),
            }),
        };
        let mut tokens = self
            .tokenizer()
            .encode_within(text, true, context_len)
            .map_err(refused)?;
        let bos = self.tokenizer().add_bos();
        if let Some(bos) = bos.filter(|bos| tokens.first() != Some(bos)) {
            tokens.insert(0, bos);
        }
        // An empty text is a beginning, where the model has one.
        if tokens.is_empty() {
            tokens.extend(self.tokenizer().bos().or(self.tokenizer().eos()));
        }
        request.prompt = Prompt::Tokens(tokens);
        Ok(())
    }

    /// Text to tokens, no begin token added.
    ///
    /// # Errors
    /// A text that cannot be encoded.
    pub fn encode(&self, text: &str, parse_special: bool) -> Result<Vec<TokenId>, EncodeError> {
        self.tokenizer().encode(text, parse_special)
    }

    /// Tokens to bytes, which need not be whole UTF-8. Ids beyond the vocabulary are nothing.
    pub fn decode(&self, tokens: &[TokenId]) -> Vec<u8> {
        self.tokenizer().decode(tokens)
    }

    /// Whether a token ends an answer.
    pub fn is_end(&self, id: TokenId) -> bool {
        self.tokenizer().is_end(id)
    }

    /// Every token that ends an answer.
    pub fn end_tokens(&self) -> &[TokenId] {
        self.tokenizer().eos_ids()
    }

    /// What a token adds to an answer: nothing where it is a control token.
    pub fn answer_bytes(&self, id: TokenId) -> Vec<u8> {
        self.tokenizer().token_bytes(id)
    }

    /// A token as it is shown in reports: control tokens by their text.
    pub fn token_bytes(&self, id: TokenId) -> Vec<u8> {
        if self.tokenizer().is_control(id) {
            return self.tokenizer().token_text(id).into_owned().into_bytes();
        }
        self.answer_bytes(id)
    }

    /// Multiply-adds of one token beside attention, the head included.
    pub fn macs_per_token(&self) -> u64 {
        let matrices = self
            .layers
            .iter()
            .flat_map(Layer::matrices)
            .chain([&self.head]);
        matrices
            .map(|matrix| matrix.rows as u64 * matrix.cols as u64)
            .sum()
    }

    pub(super) fn weights(&self, tensor: &TensorRef) -> Weights<'_> {
        weights(&self.file, tensor)
    }
}
