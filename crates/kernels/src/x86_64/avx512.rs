//! AVX-512 with VNNI: 16 rows a vector, 16 floats in one register.
//!
//! `dpbusd` adds four products of unsigned codes and signed activations straight into an i32: exact for every format. Signed codes are handed
//! over 128 too large (their bytes xor 0x80); the sum of the activations, which came with them, takes that back.

use super::rows::Rows;
use super::wide::Wide;
use core::arch::x86_64::*;

/// Proof that the processor has AVX-512 F, BW, DQ, VL and VNNI, and what [`super::Avx2`] stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512(());

impl Avx512 {
    /// The proof, if it is true.
    pub fn new() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        (has && super::Avx2::new().is_some()).then_some(Self(()))
    }
}

/// A value intrinsic of this file's instruction set.
macro_rules! op {
    ($e:expr) => {{
        // SAFETY: `self` proves that the processor has the instruction; values cannot be wrong.
        unsafe { $e }
    }};
}

impl Avx512 {
    /// As the AVX2 twin: a byte with the top bit set stays a zero, others move on by 4 with each 32-bit lane of a 128-bit quarter.
    #[inline(always)]
    fn shuffle(self, v: __m512i, bytes_of_first_lane: u32) -> __m512i {
        let first = bytes_of_first_lane as i32;
        let step = !first >> 7 & 0x0101_0101;
        op!(_mm512_shuffle_epi8(
            v,
            _mm512_set4_epi32(first + 12 * step, first + 8 * step, first + 4 * step, first)
        ))
    }

    /// Broadcast of 4 activations.
    ///
    /// # Safety
    /// `x` is readable for 4 bytes.
    #[inline(always)]
    unsafe fn four(self, x: *const i8) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_set1_epi32(x.cast::<i32>().read_unaligned()) }
    }
}

impl Rows for Avx512 {
    const LANES: usize = 16;
    const SIGNED_SHIFT: i32 = 7;
    const TILE: usize = 8;
    type I = __m512i;
    type F = __m512;

    #[inline(always)]
    unsafe fn load16(self, base: *const u8, stride: usize) -> [__m512i; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            macro_rules! row {
                ($lane:expr) => {
                    _mm_loadu_si128(base.add($lane * stride).cast())
                };
            }
            macro_rules! quad {
                ($lane:literal) => {{
                    let v = _mm512_castsi128_si512(row!($lane));
                    let v = _mm512_inserti32x4::<1>(v, row!($lane + 4));
                    let v = _mm512_inserti32x4::<2>(v, row!($lane + 8));
                    _mm512_inserti32x4::<3>(v, row!($lane + 12))
                }};
            }
            let (a, b, c, d) = (quad!(0), quad!(1), quad!(2), quad!(3));
            let (ab, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let (cd, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
            [
                _mm512_unpacklo_epi64(ab, cd),
                _mm512_unpackhi_epi64(ab, cd),
                _mm512_unpacklo_epi64(ab_high, cd_high),
                _mm512_unpackhi_epi64(ab_high, cd_high),
            ]
        }
    }

    #[inline(always)]
    unsafe fn load4(self, base: *const u8, stride: usize) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            macro_rules! row {
                ($lane:expr) => {
                    base.add($lane * stride).cast::<i32>().read_unaligned()
                };
            }
            macro_rules! quad {
                ($lane:literal) => {
                    _mm_setr_epi32(
                        row!($lane),
                        row!($lane + 1),
                        row!($lane + 2),
                        row!($lane + 3),
                    )
                };
            }
            let v = _mm512_castsi128_si512(quad!(0));
            let v = _mm512_inserti32x4::<1>(v, quad!(4));
            let v = _mm512_inserti32x4::<2>(v, quad!(8));
            _mm512_inserti32x4::<3>(v, quad!(12))
        }
    }

    #[inline(always)]
    unsafe fn load_f16(self, base: *const u8, stride: usize) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe {
            macro_rules! row {
                ($lane:expr) => {
                    base.add($lane * stride).cast::<i16>().read_unaligned()
                };
            }
            macro_rules! eight {
                ($lane:literal) => {
                    _mm_setr_epi16(
                        row!($lane),
                        row!($lane + 1),
                        row!($lane + 2),
                        row!($lane + 3),
                        row!($lane + 4),
                        row!($lane + 5),
                        row!($lane + 6),
                        row!($lane + 7),
                    )
                };
            }
            _mm512_cvtph_ps(_mm256_set_m128i(eight!(8), eight!(0)))
        }
    }

    #[inline(always)]
    fn halves(self, v: __m512i) -> (__m512, __m512) {
        op!({
            let high = _mm512_srli_epi32::<16>(v);
            (
                _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v)),
                _mm512_cvtph_ps(_mm512_cvtepi32_epi16(high)),
            )
        })
    }

    #[inline(always)]
    fn splat(self, x: i32) -> __m512i {
        op!(_mm512_set1_epi32(x))
    }

    #[inline(always)]
    fn and(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_and_si512(a, b))
    }

    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_or_si512(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_sub_epi32(a, b))
    }

    #[inline(always)]
    fn shl<const N: i32>(self, a: __m512i) -> __m512i {
        op!(_mm512_sll_epi32(a, _mm_cvtsi32_si128(N)))
    }

    #[inline(always)]
    fn shr<const N: i32>(self, a: __m512i) -> __m512i {
        op!(_mm512_srl_epi32(a, _mm_cvtsi32_si128(N)))
    }

    #[inline(always)]
    fn signed_codes(self, v: __m512i) -> __m512i {
        op!(_mm512_xor_si512(v, _mm512_set1_epi8(-128)))
    }

    #[inline(always)]
    fn fifth_bits(self, v: __m512i, g: usize) -> __m512i {
        let byte = self.shuffle(v, 0x0101_0101 * (g as u32 / 2));
        let bit = Rows::splat(
            self,
            if g.is_multiple_of(2) {
                0x0804_0201
            } else {
                0x8040_2010_u32 as i32
            },
        );
        op!(_mm512_maskz_mov_epi8(
            _mm512_test_epi8_mask(byte, bit),
            _mm512_set1_epi8(16)
        ))
    }

    #[inline(always)]
    fn scale_unsigned(self, v: __m512i, j: usize) -> __m512i {
        self.shuffle(v, 0x8080_8000 | j as u32)
    }

    #[inline(always)]
    fn scale_signed(self, v: __m512i, j: usize) -> __m512i {
        op!(_mm512_srai_epi32::<24>(
            self.shuffle(v, 0x0080_8080 | (j as u32) << 24)
        ))
    }

    #[inline(always)]
    fn twice(self, v: __m512i, j: usize) -> __m512i {
        self.shuffle(v, 0x8000_8000 | (0x0001_0001 * j as u32))
    }

    #[inline(always)]
    fn signed_pair(self, v: __m512i, j: usize) -> __m512i {
        let j = j as u32;
        op!(_mm512_srai_epi16::<8>(
            self.shuffle(v, 0x0080_0080 | (2 * j) << 8 | (2 * j + 1) << 24)
        ))
    }

    #[inline(always)]
    fn add_pairs(self, acc: __m512i, a: __m512i, pair: __m512i) -> __m512i {
        op!(_mm512_dpwssd_epi32(acc, a, pair))
    }

    #[inline(always)]
    unsafe fn dots<const BITS: u32, const T: usize>(
        self,
        w: &[__m512i; 8],
        x: *const i8,
        stride: usize,
    ) -> [__m512i; T] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [_mm512_setzero_si512(); T];
            for g in 0..8 {
                for t in 0..T {
                    sums[t] =
                        _mm512_dpbusd_epi32(sums[t], w[g], self.four(x.add(t * stride + g * 4)));
                }
            }
            sums
        }
    }

    #[inline(always)]
    unsafe fn scaled<const BITS: u32, const N: usize, const T: usize>(
        self,
        totals: &mut [__m512i; T],
        w: &[__m512i; N],
        scale: __m512i,
        x: *const i8,
        stride: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [_mm512_setzero_si512(); T];
            for g in 0..N {
                for t in 0..T {
                    sums[t] =
                        _mm512_dpbusd_epi32(sums[t], w[g], self.four(x.add(t * stride + g * 4)));
                }
            }
            for t in 0..T {
                totals[t] = _mm512_add_epi32(totals[t], _mm512_mullo_epi32(sums[t], scale));
            }
        }
    }

    #[inline(always)]
    fn to_f32(self, v: __m512i) -> __m512 {
        op!(_mm512_cvtepi32_ps(v))
    }

    #[inline(always)]
    fn splat_f32(self, x: f32) -> __m512 {
        op!(_mm512_set1_ps(x))
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        op!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn fnma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        op!(_mm512_fnmadd_ps(a, b, c))
    }

    #[inline(always)]
    unsafe fn load_f32(self, from: *const f32) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store_f32(self, to: *mut f32, v: __m512) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_ps(to, v) }
    }
}

impl Wide for Avx512 {
    type V = __m512;
    const QUERIES: usize = 8;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        op!(_mm512_set1_ps(x))
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_f16(self, from: *const u8) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u8) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe {
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(
                _mm256_loadu_si256(from.cast()),
            )))
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: __m512) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_ps(to, v) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_div_ps(a, b))
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        op!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_max_ps(a, b))
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_min_ps(a, b))
    }

    #[inline(always)]
    fn zero_below(self, x: __m512, bound: __m512, v: __m512) -> __m512 {
        op!(_mm512_maskz_mov_ps(
            _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, bound),
            v
        ))
    }

    #[inline(always)]
    fn power(self, v: __m512) -> __m512 {
        op!({
            let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(v));
            _mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(0x3f80_0000)))
        })
    }

    #[inline(always)]
    fn max_magnitude(self, a: __m512, b: __m512) -> __m512 {
        op!({
            let bits = _mm512_set1_epi32(0x7fff_ffff);
            let (a, b) = (
                _mm512_and_si512(_mm512_castps_si512(a), bits),
                _mm512_and_si512(_mm512_castps_si512(b), bits),
            );
            _mm512_castsi512_ps(_mm512_max_epu32(a, b))
        })
    }

    #[inline(always)]
    unsafe fn store_i8(self, to: *mut i8, v: __m512) {
        // SAFETY: the caller's promise. Conversion rounds as MXCSR says, which Rust keeps at nearest, ties to even.
        unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v))) }
    }

    #[inline(always)]
    fn tree(self, v: __m512) -> f32 {
        op!({
            let eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v));
            let four = _mm_add_ps(
                _mm256_castps256_ps128(eight),
                _mm256_extractf128_ps::<1>(eight),
            );
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        })
    }
}
