//! Weights as bytes: the file mapped, or memory that the file was read into.
//!
//! - A mapping is read-only and private to this process; whoever shortens the file while the
//!   server runs kills the server with SIGBUS. Whoever cannot promise otherwise uses `--no-mmap`.
//! - Both begin on a page, so tensors are aligned as their file says.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};

use memmap2::{Advice, Mmap, MmapMut};

/// Bytes that stay where they are.
pub struct Mapped(Kind);

enum Kind {
    File(Mmap),
    Memory(MmapMut),
}

/// Bytes read at once: small enough for a smooth progress bar.
const CHUNK_BYTES: usize = 8 << 20;

impl Mapped {
    /// Maps a file. Pages come from the disk when they are first touched.
    pub fn map(file: &File) -> io::Result<Self> {
        // SAFETY: the mapping is only read. That the file does not change meanwhile cannot be
        // enforced; it is documented, and `--no-mmap` is the way out.
        let map = unsafe { Mmap::map(file)? };
        // Advice only: a kernel that ignores it reads the same bytes later.
        let _ = map.advise(Advice::WillNeed);
        Ok(Self(Kind::File(map)))
    }

    /// Reads a file into memory, saying after each chunk how many bytes it had.
    pub fn read(file: &mut File, len: usize, mut progress: impl FnMut(u64)) -> io::Result<Self> {
        let mut memory = MmapMut::map_anon(len)?;
        for chunk in memory.chunks_mut(CHUNK_BYTES) {
            file.read_exact(chunk)?;
            progress(chunk.len() as u64);
        }
        Ok(Self(Kind::Memory(memory)))
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Kind::File(map) => map,
            Kind::Memory(memory) => memory,
        }
    }
}
