//! Quantized blocks as GGUF stores them, and how to read their codes.
//!
//! - Every struct is `repr(C)`, made of bytes only: alignment 1, no padding, any bit pattern valid. A row may start at any byte of a file.
//! - `codes` gives the unsigned codes in the order of k; what a code means (offset, minimum, scale) is said in [`crate::reference`].
//!
//! Absent: arithmetic on weights; that is the definition's and the kernels' business.

use half::f16;

/// Weights in a small block.
pub const SMALL: usize = 32;
/// Weights in a super-block.
pub const SUPER: usize = 256;

/// A fixed-size group of weights.
///
/// # Safety
/// Implementors are `repr(C)`, have alignment 1 and no padding, and accept every bit pattern.
pub unsafe trait Block: Copy + 'static {
    /// Views whole blocks; a trailing part of a block is left out.
    fn from_bytes(bytes: &[u8]) -> &[Self] {
        const { assert!(align_of::<Self>() == 1) };
        let count = bytes.len() / size_of::<Self>();
        // SAFETY: alignment is 1 (checked above), `count` whole blocks fit into `bytes`, and every bit pattern is valid (the trait's promise).
        unsafe { core::slice::from_raw_parts(bytes.as_ptr().cast(), count) }
    }
}

macro_rules! block {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, { $($(#[$fdoc:meta])* $field:ident: $ty:ty),* $(,)? }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty),* }
        const _: () = assert!(size_of::<$name>() == $bytes);
        // SAFETY: `repr(C)` over bytes and signed bytes only.
        unsafe impl Block for $name {}
    };
}

block!(
    /// 32 weights of 4 bits, offset 8.
    BlockQ4_0, 18, { /** f16 scale */ d: [u8; 2], /** low nibbles: k 0..16, high: 16..32 */ qs: [u8; 16] }
);
block!(
    /// 32 weights of 4 bits with a minimum.
    BlockQ4_1, 20, { /** f16 scale */ d: [u8; 2], /** f16 minimum */ m: [u8; 2], /** low nibbles: k 0..16, high: 16..32 */ qs: [u8; 16] }
);
block!(
    /// 32 weights of 5 bits, offset 16.
    BlockQ5_0, 22, { /** f16 scale */ d: [u8; 2], /** fifth bits, bit k */ qh: [u8; 4], /** as Q4_0 */ qs: [u8; 16] }
);
block!(
    /// 32 weights of 5 bits with a minimum.
    BlockQ5_1, 24, { /** f16 scale */ d: [u8; 2], /** f16 minimum */ m: [u8; 2], /** fifth bits, bit k */ qh: [u8; 4], /** as Q4_0 */ qs: [u8; 16] }
);
block!(
    /// 32 weights of 8 bits.
    BlockQ8_0, 34, { /** f16 scale */ d: [u8; 2], /** weights in the order of k */ qs: [i8; 32] }
);
block!(
    /// 256 weights of 4 bits in eight sub-blocks with 6-bit scales and minimums.
    BlockQ4K, 144, {
        /** f16 scale of the scales */ d: [u8; 2], /** f16 scale of the minimums */ dmin: [u8; 2],
        /** packed scales and minimums, see [`scales_and_minimums`] */ scales: [u8; 12],
        /** four groups of 32 bytes: low nibbles one sub-block, high nibbles the next */ qs: [u8; 128],
    }
);
block!(
    /// 256 weights of 5 bits in eight sub-blocks with 6-bit scales and minimums.
    BlockQ5K, 176, {
        /** f16 scale of the scales */ d: [u8; 2], /** f16 scale of the minimums */ dmin: [u8; 2],
        /** as Q4_K */ scales: [u8; 12], /** fifth bits: bit j of byte i belongs to weight i of sub-block j */ qh: [u8; 32],
        /** as Q4_K */ qs: [u8; 128],
    }
);
block!(
    /// 256 weights of 6 bits, offset 32, in sixteen sub-blocks with 8-bit scales.
    BlockQ6K, 210, {
        /** low four bits */ ql: [u8; 128], /** high two bits */ qh: [u8; 64],
        /** signed sub-block scales */ scales: [i8; 16], /** f16 scale of the scales */ d: [u8; 2],
    }
);

/// An f16 stored in two bytes, as f32 (exact).
#[inline(always)]
pub fn f16_bytes(bytes: [u8; 2]) -> f32 {
    f16::from_le_bytes(bytes).to_f32()
}

/// Codes 0..16 of 32 weights, nibbles split in halves.
#[inline(always)]
pub fn codes4(qs: &[u8; 16]) -> [u8; SMALL] {
    let mut codes = [0; SMALL];
    for (i, byte) in qs.iter().enumerate() {
        codes[i] = byte & 15;
        codes[i + 16] = byte >> 4;
    }
    codes
}

/// Codes 0..32 of 32 weights: nibbles as [`codes4`], bit k of `qh` on top.
#[inline(always)]
pub fn codes5(qs: &[u8; 16], qh: [u8; 4]) -> [u8; SMALL] {
    let high = u32::from_le_bytes(qh);
    let mut codes = codes4(qs);
    for (k, code) in codes.iter_mut().enumerate() {
        *code |= ((high >> k & 1) << 4) as u8;
    }
    codes
}

/// The eight 6-bit scales and eight 6-bit minimums of a Q4_K or Q5_K block.
#[inline(always)]
pub fn scales_and_minimums(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut minimums) = ([0; 8], [0; 8]);
    for j in 0..4 {
        scales[j] = packed[j] & 63;
        minimums[j] = packed[j + 4] & 63;
        scales[j + 4] = packed[j + 8] & 15 | packed[j] >> 6 << 4;
        minimums[j + 4] = packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4;
    }
    (scales, minimums)
}

impl BlockQ4K {
    /// Codes 0..16.
    #[inline(always)]
    pub fn codes(&self) -> [u8; SUPER] {
        let mut codes = [0; SUPER];
        for group in 0..4 {
            for i in 0..32 {
                let byte = self.qs[group * 32 + i];
                codes[group * 64 + i] = byte & 15;
                codes[group * 64 + 32 + i] = byte >> 4;
            }
        }
        codes
    }
}

impl BlockQ5K {
    /// Codes 0..32.
    #[inline(always)]
    pub fn codes(&self) -> [u8; SUPER] {
        let mut codes = [0; SUPER];
        for group in 0..4 {
            for i in 0..32 {
                let (byte, high) = (self.qs[group * 32 + i], self.qh[i] >> (2 * group));
                codes[group * 64 + i] = byte & 15 | (high & 1) << 4;
                codes[group * 64 + 32 + i] = byte >> 4 | (high & 2) << 3;
            }
        }
        codes
    }
}

impl BlockQ6K {
    /// Codes 0..64; the weight is the code minus 32.
    #[inline(always)]
    pub fn codes(&self) -> [u8; SUPER] {
        let mut codes = [0; SUPER];
        for half in 0..2 {
            let codes = &mut codes[half * 128..][..128];
            for i in 0..32 {
                let (low, next) = (self.ql[half * 64 + i], self.ql[half * 64 + 32 + i]);
                let high = self.qh[half * 32 + i];
                codes[i] = low & 15 | (high & 3) << 4;
                codes[i + 32] = next & 15 | (high >> 2 & 3) << 4;
                codes[i + 64] = low >> 4 | (high >> 4 & 3) << 4;
                codes[i + 96] = next >> 4 | (high >> 6) << 4;
            }
        }
        codes
    }
}
