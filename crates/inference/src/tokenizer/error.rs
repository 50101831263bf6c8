//! What can be wrong with a vocabulary, and with encoding a text.

/// Why a vocabulary was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VocabError {
    /// No tokens at all.
    #[error("the vocabulary is empty")]
    Empty,
    /// One token's text is longer than any real one.
    #[error("token {id} has {bytes} bytes: at most {max} are allowed")]
    TokenLength {
        /// Its id.
        id: u64,
        /// Its length.
        bytes: u64,
        /// The bound.
        max: u64,
    },
    /// A table with one entry a token has another length.
    #[error("{table} has {found} entries for {expected} tokens")]
    TableLength {
        /// The table's name.
        table: &'static str,
        /// Its entries.
        found: u64,
        /// Tokens of the vocabulary.
        expected: u64,
    },
    /// Two tokens with one text: encoding would be ambiguous.
    #[error("tokens {first} and {second} have the same text: {text}")]
    SameText {
        /// The lower id.
        first: u32,
        /// The higher id.
        second: u32,
        /// Their text.
        text: String,
    },
    /// Two texts with one id.
    #[error("id {id} is given to two tokens")]
    SameId {
        /// The id.
        id: u64,
    },
    /// An id outside the vocabulary.
    #[error("{what} is {id}, but the vocabulary has {vocab_len} tokens")]
    IdOutOfRange {
        /// What refers to it.
        what: String,
        /// The id.
        id: u64,
        /// Tokens of the vocabulary.
        vocab_len: u64,
    },
    /// A merge that is no pair.
    #[error("merge {rank} is no pair of tokens: {text}")]
    MergeShape {
        /// Its place in the table.
        rank: u64,
        /// Its text.
        text: String,
    },
    /// A merge of something that is no token, or into something that is none.
    #[error("merge {rank} needs a token that does not exist: {text}")]
    MergeToken {
        /// Its place in the table.
        rank: u64,
        /// The missing token's text.
        text: String,
    },
    /// A score that is no number.
    #[error("the score of token {id} is not finite")]
    Score {
        /// The token.
        id: u32,
    },
    /// A byte without which text cannot be expressed.
    #[error("byte 0x{byte:02x} has no token")]
    ByteMissing {
        /// The byte.
        byte: u8,
    },
    /// Texts chosen so that a hash table degenerates.
    #[error("its texts collide in the hash table: no real vocabulary does")]
    Collisions,
    /// A pattern of `tokenizer.json` that does not compile.
    #[error("pattern does not compile: {message}")]
    Pattern {
        /// What the pattern engine says.
        message: String,
    },
    /// The matcher of control and user-defined tokens could not be built.
    #[error("special tokens cannot be matched: {message}")]
    Special {
        /// What the matcher says.
        message: String,
    },
}

/// Why a text was not encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// More tokens than the caller allows. Found early, so `at_least` need not be the whole count.
    #[error("the text has at least {at_least} tokens: at most {max} are allowed")]
    TooLong {
        /// Tokens counted so far, or known to be needed.
        at_least: usize,
        /// The caller's limit.
        max: usize,
    },
    /// The model's own split pattern gave up on this text (only patterns outside our table can).
    #[error("the model's split pattern takes more than {limit} steps on this text")]
    Pattern {
        /// Steps it was given.
        limit: usize,
    },
}
