//! [`Wide`]: the definition's 16 virtual lanes, in as many registers as the instruction set needs.
//!
//! A value of an implementing type is the proof that the processor has its instructions, so value operations are safe.

/// 16 floats.
pub(super) trait Wide: Copy {
    /// 16 floats.
    type V: Copy;
    /// Queries whose scores over a page fit into registers together; at most 8.
    const QUERIES: usize;

    fn splat(self, x: f32) -> Self::V;
    /// # Safety
    /// `from` is readable for 16 floats.
    unsafe fn load(self, from: *const f32) -> Self::V;
    /// 16 f16.
    ///
    /// # Safety
    /// `from` is readable for 32 bytes.
    unsafe fn load_f16(self, from: *const u8) -> Self::V;
    /// 16 bf16.
    ///
    /// # Safety
    /// `from` is readable for 32 bytes.
    unsafe fn load_bf16(self, from: *const u8) -> Self::V;
    /// # Safety
    /// `to` is writable for 16 floats.
    unsafe fn store(self, to: *mut f32, v: Self::V);
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// a > b ? a : b
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// a < b ? a : b
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// x < bound ? +0 : v
    fn zero_below(self, x: Self::V, bound: Self::V, v: Self::V) -> Self::V;
    /// The power of two whose exponent is in the low bits of `v`, as the definition of exp makes it.
    fn power(self, v: Self::V) -> Self::V;
    /// Larger of the magnitudes, compared as bits.
    fn max_magnitude(self, a: Self::V, b: Self::V) -> Self::V;
    /// Rounds to integers, ties to even, and writes 16 bytes. Every element is within -127.5..127.5.
    ///
    /// # Safety
    /// `to` is writable for 16 bytes.
    unsafe fn store_i8(self, to: *mut i8, v: Self::V);
    /// The lanes as an array.
    #[inline(always)]
    fn lanes(self, v: Self::V) -> [f32; 16] {
        let mut lanes = [0.0; 16];
        // SAFETY: the array has 16 floats.
        unsafe { self.store(lanes.as_mut_ptr(), v) };
        lanes
    }
    /// The fixed tree of additions.
    fn tree(self, v: Self::V) -> f32;
}
