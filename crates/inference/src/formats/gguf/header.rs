//! The head of a GGUF file: magic, version, metadata, tensor infos, and where the data section begins.

use super::cursor::Cursor;
use super::infos;
use super::metadata::Metadata;
use crate::formats::check::RawTensor;
use crate::formats::limits::ALIGNMENT_MAX;
use crate::formats::{LoadError, clip};

pub(super) struct Header<'a> {
    pub metadata: Metadata<'a>,
    /// Every tensor of the file, each inside it and overlapping no other.
    pub tensors: Vec<RawTensor<'a>>,
}

/// Bytes of the data section's alignment where the file states none.
const ALIGNMENT_DEFAULT: u64 = 32;

impl<'a> Header<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, LoadError> {
        let mut cursor = Cursor::new(bytes);
        check_magic(&mut cursor, bytes)?;
        let tensors = cursor.u64("the number of tensors")?;
        let entries = cursor.u64("the number of metadata entries")?;
        let metadata = Metadata::read(bytes, &mut cursor, entries)?;
        let alignment = alignment(&metadata)?;
        let infos = infos::read(&mut cursor, tensors)?;
        let tensors = infos::place(infos, cursor.at(), bytes.len(), alignment)?;
        Ok(Header { metadata, tensors })
    }
}

fn check_magic(cursor: &mut Cursor, bytes: &[u8]) -> Result<(), LoadError> {
    let magic = cursor.array::<4>("the magic number").unwrap_or_default();
    if magic != *b"GGUF" {
        let start = &bytes[..bytes.len().min(4)];
        return Err(LoadError::NotGguf {
            found: format!("\"{}\"", clip(&start.escape_ascii().to_string())),
        });
    }
    let version = cursor.u32("the version")?;
    match version {
        2 | 3 => Ok(()),
        // Swapped, a small version has its bits on top.
        _ if version.swap_bytes() <= 3 => Err(LoadError::BigEndian),
        found => Err(LoadError::GgufVersion { found }),
    }
}

fn alignment(metadata: &Metadata) -> Result<u64, LoadError> {
    const KEY: &str = "general.alignment";
    let alignment = metadata.uint(KEY)?.unwrap_or(ALIGNMENT_DEFAULT);
    if alignment.is_power_of_two() && alignment <= ALIGNMENT_MAX {
        Ok(alignment)
    } else {
        Err(LoadError::out_of_range(
            KEY,
            alignment,
            format!("a power of two up to {ALIGNMENT_MAX}"),
        ))
    }
}
