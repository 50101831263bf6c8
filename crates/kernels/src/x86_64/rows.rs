//! [`Rows`]: a vector whose lanes are rows of a weight matrix, one i32 or f32 a row.
//!
//! - A value of an implementing type is the proof that the processor has its instructions, so value operations are safe.
//! - Codes of four consecutive k of a row share the row's lane as bytes; activations are broadcast to all lanes. No lane ever meets another:
//!   sums of floats keep the order of the definition for free.

/// Rows in lanes, for quantized weights.
pub(super) trait Rows: Copy {
    /// Rows in a vector.
    const LANES: usize;
    /// A signed code of 8 bits is handed to [`Rows::dots`] as unsigned, `1 << this` too large; 0 if it is handed over signed.
    const SIGNED_SHIFT: i32;
    /// Tokens whose sums fit into registers together.
    const TILE: usize;
    /// One i32, or four bytes, a lane.
    type I: Copy;
    /// One f32 a lane.
    type F: Copy;

    /// 16 bytes from each row, transposed: element g holds each row's bytes 4g..4g+4.
    ///
    /// # Safety
    /// `base + lane * stride` is readable for 16 bytes, for every lane.
    unsafe fn load16(self, base: *const u8, stride: usize) -> [Self::I; 4];
    /// 4 bytes from each row.
    ///
    /// # Safety
    /// As [`Rows::load16`], for 4 bytes.
    unsafe fn load4(self, base: *const u8, stride: usize) -> Self::I;
    /// An f16 from each row.
    ///
    /// # Safety
    /// As [`Rows::load16`], for 2 bytes.
    unsafe fn load_f16(self, base: *const u8, stride: usize) -> Self::F;
    /// Two f16 a lane: low half, high half.
    fn halves(self, v: Self::I) -> (Self::F, Self::F);

    fn splat(self, x: i32) -> Self::I;
    fn and(self, a: Self::I, b: Self::I) -> Self::I;
    fn or(self, a: Self::I, b: Self::I) -> Self::I;
    fn sub(self, a: Self::I, b: Self::I) -> Self::I;
    /// Logical shifts of the i32.
    fn shl<const N: i32>(self, a: Self::I) -> Self::I;
    fn shr<const N: i32>(self, a: Self::I) -> Self::I;
    /// The signed bytes of a Q8_0 block as [`Rows::dots`] of 8 bits wants them.
    fn signed_codes(self, v: Self::I) -> Self::I;
    /// Bits 4g..4g+4 of each lane, each as 16 in its own byte.
    fn fifth_bits(self, v: Self::I, g: usize) -> Self::I;
    /// Byte j of each lane as the operand `scale` of [`Rows::scaled`]: unsigned, or signed.
    fn scale_unsigned(self, v: Self::I, j: usize) -> Self::I;
    fn scale_signed(self, v: Self::I, j: usize) -> Self::I;
    /// Byte j of each lane twice, as a pair of i16.
    fn twice(self, v: Self::I, j: usize) -> Self::I;
    /// Bytes 2j and 2j + 1 of each lane, sign-extended, as a pair of i16.
    fn signed_pair(self, v: Self::I, j: usize) -> Self::I;
    /// `acc` + sum of the products of i16 pairs; `pair` is broadcast.
    fn add_pairs(self, acc: Self::I, a: Self::I, pair: Self::I) -> Self::I;

    /// Dots of 32 codes of `BITS` (4 or 5: unsigned; 8: see [`Rows::SIGNED_SHIFT`]) with the activations of `T` tokens.
    ///
    /// # Safety
    /// `x + t * stride` is readable for 32 bytes, for t in 0..T.
    unsafe fn dots<const BITS: u32, const T: usize>(
        self,
        w: &[Self::I; 8],
        x: *const i8,
        stride: usize,
    ) -> [Self::I; T];
    /// `totals[t]` += scale * dot of `4 * N` codes of `BITS` (4, 5 or 6, unsigned), N being 4 or 8.
    ///
    /// # Safety
    /// `x + t * stride` is readable for `4 * N` bytes, for t in 0..T.
    unsafe fn scaled<const BITS: u32, const N: usize, const T: usize>(
        self,
        totals: &mut [Self::I; T],
        w: &[Self::I; N],
        scale: Self::I,
        x: *const i8,
        stride: usize,
    );

    fn to_f32(self, v: Self::I) -> Self::F;
    fn splat_f32(self, x: f32) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `-(a * b) + c`
    fn fnma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// # Safety
    /// `from` is readable for LANES floats.
    unsafe fn load_f32(self, from: *const f32) -> Self::F;
    /// # Safety
    /// `to` is writable for LANES floats.
    unsafe fn store_f32(self, to: *mut f32, v: Self::F);
}
