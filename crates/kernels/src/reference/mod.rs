//! The definition of every operation, as one obvious loop: what every kernel equals to the last bit, and the portable path.
//!
//! - `fma` is a fused multiply-add, rounded once. Without one in hardware the C library's exact substitute is called: slow, same bits.
//! - Sums of floats: 16 virtual lanes by `k mod 16`, each a chain in rising k, then the fixed tree of [`tree`].
//! - Integers are exact in any order; each definition states the bound that makes them so.
//! - A NaN in gives NaN out at the same places; its sign and payload are not defined.
//!
//! Everything here is `inline(always)`, so that a caller with fused multiply-add enabled compiles the same loops to it.

pub(crate) mod attention;
pub(crate) mod elementwise;
pub(crate) mod matmul;
pub(crate) mod quantize;

/// Virtual lanes of a sum of floats.
pub(crate) const LANES: usize = 16;

/// `a * b + c`, rounded once.
#[inline(always)]
pub(crate) fn fma(a: f32, b: f32, c: f32) -> f32 {
    a.mul_add(b, c)
}

/// Sums 16 lanes: upper half onto lower half, four times.
#[inline(always)]
pub(crate) fn tree(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}
