//! Reading little-endian numbers and strings off a slice, with every length checked against what is left.

use std::ops::Range;

use crate::formats::LoadError;

pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    /// At most `bytes.len()`.
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn left(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    /// Moves past `len` bytes and returns their range.
    pub(super) fn skip(&mut self, len: u64, what: &str) -> Result<Range<usize>, LoadError> {
        if len > self.left() {
            let [offset, left] = [self.at as u64, self.left()];
            return Err(LoadError::Truncated {
                what: crate::formats::clip(what),
                offset,
                needed: len,
                left,
            });
        }
        // Not more than what is left, so it fits a usize.
        let range = self.at..self.at + len as usize;
        self.at = range.end;
        Ok(range)
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], LoadError> {
        let range = self.skip(N as u64, what)?;
        Ok(self.bytes[range].try_into().expect("skip returned N bytes"))
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, LoadError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, LoadError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A string's range: its length, then its bytes.
    pub(super) fn string(&mut self, what: &str) -> Result<Range<usize>, LoadError> {
        let len = self.u64(what)?;
        self.skip(len, what)
    }

    /// A string of at most `max` bytes, which must be UTF-8.
    pub(super) fn name(&mut self, what: &str, max: u64) -> Result<&'a str, LoadError> {
        let range = self.string(what)?;
        if range.len() as u64 > max {
            return Err(LoadError::too_many(
                &format!("bytes of {what}"),
                range.len(),
                max,
            ));
        }
        str::from_utf8(&self.bytes[range]).map_err(|_| LoadError::NotUtf8 {
            what: what.to_owned(),
        })
    }
}
