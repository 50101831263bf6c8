//! Weight formats under their GGUF names, and [`Weights`]: a matrix whose size was checked against its bytes.
//!
//! - A [`Weights`] value is the proof that `rows * row_bytes(cols)` bytes are there; kernels lean on it and check nothing twice.
//! - `cols` is a positive multiple of the format's block length.
//!
//! Absent: tensor names, files, any conversion. Bytes stay where they are, at any alignment.

use core::fmt;

/// How a matrix of weights is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are GGUF's and mean what GGUF says")]
pub enum Format {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

/// The form in which a format wants the other operand; see [`crate::Activations`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActivationForm {
    /// Plain f32.
    Float,
    /// Signed bytes with one scale per 32.
    Block32,
    /// Signed bytes with one scale per 256 and sums per 16.
    Block256,
}

impl Format {
    /// Every format, in the order of the documentation's tables.
    pub const ALL: [Format; 11] = [
        Format::F32,
        Format::F16,
        Format::BF16,
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Q8_0,
        Format::Q4K,
        Format::Q5K,
        Format::Q6K,
    ];

    /// Weights in one block.
    pub const fn block_len(self) -> usize {
        match self {
            Format::F32 | Format::F16 | Format::BF16 => 1,
            Format::Q4_0 | Format::Q4_1 | Format::Q5_0 | Format::Q5_1 | Format::Q8_0 => 32,
            Format::Q4K | Format::Q5K | Format::Q6K => 256,
        }
    }

    /// Bytes of one block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Format::F32 => 4,
            Format::F16 | Format::BF16 => 2,
            Format::Q4_0 => 18,
            Format::Q4_1 => 20,
            Format::Q5_0 => 22,
            Format::Q5_1 => 24,
            Format::Q8_0 => 34,
            Format::Q4K => 144,
            Format::Q5K => 176,
            Format::Q6K => 210,
        }
    }

    /// Bytes of a row of `cols` weights; `None` if `cols` is not a whole number of blocks or the size overflows.
    pub const fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.block_len()) {
            return None;
        }
        (cols / self.block_len()).checked_mul(self.block_bytes())
    }

    /// The form of input that [`crate::matmul`] needs for this format.
    pub const fn activation_form(self) -> ActivationForm {
        match self.block_len() {
            1 => ActivationForm::Float,
            32 => ActivationForm::Block32,
            _ => ActivationForm::Block256,
        }
    }

    /// The name as GGUF tools print it.
    pub const fn name(self) -> &'static str {
        match self {
            Format::F32 => "F32",
            Format::F16 => "F16",
            Format::BF16 => "BF16",
            Format::Q4_0 => "Q4_0",
            Format::Q4_1 => "Q4_1",
            Format::Q5_0 => "Q5_0",
            Format::Q5_1 => "Q5_1",
            Format::Q8_0 => "Q8_0",
            Format::Q4K => "Q4_K",
            Format::Q5K => "Q5_K",
            Format::Q6K => "Q6_K",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why bytes are not the matrix they were said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShapeError {
    /// No rows or no columns.
    Empty,
    /// `cols` is not a whole number of blocks.
    Columns {
        /// the format asked for
        format: Format,
        /// the columns asked for
        cols: usize,
    },
    /// Another number of bytes than the shape needs.
    Bytes {
        /// what the shape needs; `None` if that overflows
        expected: Option<usize>,
        /// what was given
        found: usize,
    },
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ShapeError::Empty => f.write_str("matrix is empty"),
            ShapeError::Columns { format, cols } => write!(
                f,
                "{cols} columns are not a whole number of {format} blocks of {}",
                format.block_len()
            ),
            ShapeError::Bytes {
                expected: Some(expected),
                found,
            } => write!(f, "matrix needs {expected} bytes, found {found}"),
            ShapeError::Bytes {
                expected: None,
                found,
            } => write!(f, "matrix size overflows, found {found} bytes"),
        }
    }
}

impl core::error::Error for ShapeError {}

/// A matrix of weights, `[rows, cols]`, row after row as in the file.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    format: Format,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    bytes: &'a [u8],
}

impl<'a> Weights<'a> {
    /// Checks that `bytes` is exactly a matrix of this shape.
    pub fn new(
        format: Format,
        rows: usize,
        cols: usize,
        bytes: &'a [u8],
    ) -> Result<Self, ShapeError> {
        if rows == 0 || cols == 0 {
            return Err(ShapeError::Empty);
        }
        if !cols.is_multiple_of(format.block_len()) {
            return Err(ShapeError::Columns { format, cols });
        }
        let row_bytes = format.row_bytes(cols);
        let expected = row_bytes.and_then(|row| row.checked_mul(rows));
        match (row_bytes, expected) {
            (Some(row_bytes), Some(expected)) if expected == bytes.len() => Ok(Self {
                format,
                rows,
                cols,
                row_bytes,
                bytes,
            }),
            _ => Err(ShapeError::Bytes {
                expected,
                found: bytes.len(),
            }),
        }
    }

    /// How the weights are stored.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes from one row to the next.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// All bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes of one row.
    pub fn row(&self, row: usize) -> &'a [u8] {
        &self.bytes[row * self.row_bytes..][..self.row_bytes]
    }
}
