//! The bounds a model file must keep, each far above any model we can run and low enough that the largest file
//! inside them loads with little memory and time.

/// Metadata entries of a GGUF file. Real files hold fewer than 100.
pub const METADATA_ENTRIES_MAX: u64 = 65_536;
/// Bytes of a metadata key or a tensor's name; the GGUF specification's own bound for keys.
pub const NAME_BYTES_MAX: u64 = 65_535;
/// Tensors of a model. The widest mixture of experts known has about 60,000 when each expert is its own tensor.
pub const TENSORS_MAX: u64 = 100_000;
/// Bytes of a safetensors header. The official reader's bound is 100 MB; 100,000 tensors need 10 MB.
pub const SAFETENSORS_HEADER_BYTES_MAX: u64 = 32 << 20;
/// Shards of a safetensors directory.
pub const SHARDS_MAX: usize = 4_096;
/// Largest alignment of a GGUF data section: a page on every machine we know.
pub const ALIGNMENT_MAX: u64 = 65_536;
/// Bytes of `tokenizer.json`.
pub const TOKENIZER_JSON_BYTES_MAX: usize = 64 << 20;
/// Bytes of every other JSON file of a safetensors directory but the shard index.
pub const CONFIG_JSON_BYTES_MAX: usize = 4 << 20;
/// Bytes of `model.safetensors.index.json`: 100,000 tensors at 300 bytes.
pub const INDEX_JSON_BYTES_MAX: usize = 32 << 20;
/// Bytes of a chat template's source.
pub const CHAT_TEMPLATE_BYTES_MAX: usize = 1 << 20;
/// Bytes of a model's name; a longer one is cut.
pub const MODEL_NAME_BYTES_MAX: usize = 256;

/// Tokens of a vocabulary: twice the largest in use (262,144). Token tables pack an id into 20 bits.
pub const VOCAB_MAX: usize = 1 << 19;
/// Merges of a vocabulary; the largest in use have about 515,000.
pub const MERGES_MAX: usize = 1 << 19;
/// Bytes of one token's text. Runs of 512 spaces in GPT-2's two-byte alphabet need 1,024.
pub const TOKEN_BYTES_MAX: usize = 4_096;
/// Bytes of all token texts together, in `tokenizer.json`, where they must be copied out of their escapes. Twice those of
/// the largest vocabulary in use.
pub const VOCAB_TEXT_BYTES_MAX: usize = 4 << 20;
/// Bytes of the texts of all control and user-defined tokens together: their matcher costs some 40 bytes for each.
pub const SPECIAL_TEXT_BYTES_MAX: usize = 64 << 10;

/// Decoder layers. The deepest dense model in use has 126.
pub const LAYERS_MAX: u64 = 1_024;
/// Width of the residual stream.
pub const WIDTH_MAX: u64 = 65_536;
/// Width of a feed-forward layer.
pub const FFN_WIDTH_MAX: u64 = 1 << 20;
/// Attention heads.
pub const HEADS_MAX: u64 = 1_024;
/// Values of one attention head.
pub const HEAD_DIM_MAX: u64 = 1_024;
/// Tokens of context.
pub const CONTEXT_MAX: u64 = 1 << 24;
