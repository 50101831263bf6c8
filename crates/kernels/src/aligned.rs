//! [`AlignedBytes`]: zeroed memory on cache-line borders that costs nothing until it is touched.
//!
//! The only allocation of the crate that is not a `Vec`: a KV cache is sized for the worst case, so its pages must stay unbacked until used.

use core::ptr::NonNull;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};

const LINE: usize = 64;

/// An owned, zeroed byte buffer, aligned to 64.
#[derive(Debug)]
pub(crate) struct AlignedBytes {
    /// What the allocator gave.
    block: NonNull<u8>,
    /// The first line border in it.
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: it owns its bytes like a Vec<u8>.
unsafe impl Send for AlignedBytes {}
// SAFETY: as above; `&AlignedBytes` only reads.
unsafe impl Sync for AlignedBytes {}

impl AlignedBytes {
    pub(crate) fn zeroed(len: usize) -> Self {
        if len == 0 {
            return Self {
                block: NonNull::dangling(),
                base: NonNull::dangling(),
                len,
            };
        }
        let layout = Self::layout(len);
        // SAFETY: the size is not zero.
        let block = unsafe { alloc_zeroed(layout) };
        let block = NonNull::new(block).unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: the block has LINE - 1 bytes more than `len`, and the next line border is at most so far.
        let base = unsafe { block.add(block.align_offset(LINE)) };
        Self { block, base, len }
    }

    fn layout(len: usize) -> Layout {
        // Aligned by hand: an allocator asked for both zeroes and alignment writes the zeroes, and so backs every page.
        let padded = len
            .checked_add(LINE - 1)
            .expect("buffer size fits the address space");
        Layout::from_size_align(padded, 1).expect("buffer size fits the address space")
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: `len` bytes at `base` are ours and initialised.
        unsafe { core::slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and `&mut self` makes it exclusive.
        unsafe { core::slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: allocated in `zeroed` with the same layout.
            unsafe { dealloc(self.block.as_ptr(), Self::layout(self.len)) };
        }
    }
}
