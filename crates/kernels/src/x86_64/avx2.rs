//! AVX2 with FMA and F16C: 8 rows a vector, 16 floats in two registers.
//!
//! Integer dots go through `maddubs`, unsigned code times signed activation (magnitude at most 127), which adds two products in 16 bits:
//!
//! | codes | one `maddubs` at most | added in 16 bits before widening |
//! | --- | --- | --- |
//! | 4 bits | 2 * 15 * 127 = 3,810 | 8: 30,480 |
//! | 5 bits | 2 * 31 * 127 = 7,874 | 4: 31,496 |
//! | 6 bits | 2 * 63 * 127 = 16,002 | 2: 32,004 |
//! | 8 bits, magnitude times signed activation | 2 * 128 * 127 = 32,512 | 1 |

use super::rows::Rows;
use super::wide::Wide;
use core::arch::x86_64::*;

/// Proof that the processor has AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    /// The proof, if it is true.
    pub fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c"))
        .then_some(Self(()))
    }
}

impl Avx2 {
    /// Rounds to f16, ties to even.
    pub(crate) fn to_f16(self, x: &[f32], out: &mut [u16]) {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn inner(x: &[f32], out: &mut [u16]) {
            let (wholes, rest) = x.as_chunks::<8>();
            let (outs, out_rest) = out.as_chunks_mut::<8>();
            for (x, out) in wholes.iter().zip(outs) {
                // SAFETY: chunks of 8.
                unsafe {
                    let v = _mm256_loadu_ps(x.as_ptr());
                    _mm_storeu_si128(
                        out.as_mut_ptr().cast(),
                        _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v),
                    );
                }
            }
            for (x, out) in rest.iter().zip(out_rest) {
                *out = half::f16::from_f32(*x).to_bits();
            }
        }
        // SAFETY: `self` proves that the processor has the features.
        unsafe { inner(x, out) }
    }
}

/// A value intrinsic of this file's instruction set.
macro_rules! op {
    ($e:expr) => {{
        // SAFETY: `self` proves that the processor has the instruction; values cannot be wrong.
        unsafe { $e }
    }};
}

#[inline(always)]
fn shuffle_mask(bytes_of_first_lane: i32) -> [i32; 8] {
    // Bytes with the top bit set stay zeros; others move on by 4 with each 32-bit lane of a 128-bit half.
    let step = !bytes_of_first_lane >> 7 & 0x0101_0101;
    let (a, b, c, d) = (
        bytes_of_first_lane,
        bytes_of_first_lane + 4 * step,
        bytes_of_first_lane + 8 * step,
        bytes_of_first_lane + 12 * step,
    );
    [a, b, c, d, a, b, c, d]
}

impl Avx2 {
    #[inline(always)]
    fn shuffle(self, v: __m256i, bytes_of_first_lane: u32) -> __m256i {
        let mask = shuffle_mask(bytes_of_first_lane as i32);
        // SAFETY: the mask is 32 bytes; `self` proves the instruction.
        unsafe { _mm256_shuffle_epi8(v, _mm256_loadu_si256(mask.as_ptr().cast())) }
    }

    /// Broadcast of 4 activations.
    ///
    /// # Safety
    /// `x` is readable for 4 bytes.
    #[inline(always)]
    unsafe fn four(self, x: *const i8) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_set1_epi32(x.cast::<i32>().read_unaligned()) }
    }
}

impl Rows for Avx2 {
    const LANES: usize = 8;
    const SIGNED_SHIFT: i32 = 0;
    const TILE: usize = 4;
    type I = __m256i;
    type F = __m256;

    #[inline(always)]
    unsafe fn load16(self, base: *const u8, stride: usize) -> [__m256i; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            macro_rules! pair {
                ($lane:literal) => {
                    _mm256_inserti128_si256::<1>(
                        _mm256_castsi128_si256(_mm_loadu_si128(base.add($lane * stride).cast())),
                        _mm_loadu_si128(base.add(($lane + 4) * stride).cast()),
                    )
                };
            }
            let (a, b, c, d) = (pair!(0), pair!(1), pair!(2), pair!(3));
            let (ab, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
            let (cd, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
            [
                _mm256_unpacklo_epi64(ab, cd),
                _mm256_unpackhi_epi64(ab, cd),
                _mm256_unpacklo_epi64(ab_high, cd_high),
                _mm256_unpackhi_epi64(ab_high, cd_high),
            ]
        }
    }

    #[inline(always)]
    unsafe fn load4(self, base: *const u8, stride: usize) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe {
            macro_rules! row {
                ($lane:literal) => {
                    base.add($lane * stride).cast::<i32>().read_unaligned()
                };
            }
            _mm256_setr_epi32(
                row!(0),
                row!(1),
                row!(2),
                row!(3),
                row!(4),
                row!(5),
                row!(6),
                row!(7),
            )
        }
    }

    #[inline(always)]
    unsafe fn load_f16(self, base: *const u8, stride: usize) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe {
            macro_rules! row {
                ($lane:literal) => {
                    base.add($lane * stride).cast::<i16>().read_unaligned()
                };
            }
            _mm256_cvtph_ps(_mm_setr_epi16(
                row!(0),
                row!(1),
                row!(2),
                row!(3),
                row!(4),
                row!(5),
                row!(6),
                row!(7),
            ))
        }
    }

    #[inline(always)]
    fn halves(self, v: __m256i) -> (__m256, __m256) {
        op!({
            let order = _mm256_setr_epi8(
                0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15, 0, 1, 4, 5, 8, 9, 12, 13, 2,
                3, 6, 7, 10, 11, 14, 15,
            );
            let v = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_shuffle_epi8(v, order));
            (
                _mm256_cvtph_ps(_mm256_castsi256_si128(v)),
                _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(v)),
            )
        })
    }

    #[inline(always)]
    fn splat(self, x: i32) -> __m256i {
        op!(_mm256_set1_epi32(x))
    }

    #[inline(always)]
    fn and(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_and_si256(a, b))
    }

    #[inline(always)]
    fn or(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_or_si256(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_sub_epi32(a, b))
    }

    #[inline(always)]
    fn shl<const N: i32>(self, a: __m256i) -> __m256i {
        op!(_mm256_slli_epi32::<N>(a))
    }

    #[inline(always)]
    fn shr<const N: i32>(self, a: __m256i) -> __m256i {
        op!(_mm256_srli_epi32::<N>(a))
    }

    #[inline(always)]
    fn signed_codes(self, v: __m256i) -> __m256i {
        v
    }

    #[inline(always)]
    fn fifth_bits(self, v: __m256i, g: usize) -> __m256i {
        let byte = self.shuffle(v, 0x0101_0101 * (g as u32 / 2));
        let bit = Rows::splat(
            self,
            if g.is_multiple_of(2) {
                0x0804_0201
            } else {
                0x8040_2010_u32 as i32
            },
        );
        op!(_mm256_and_si256(
            _mm256_cmpeq_epi8(_mm256_and_si256(byte, bit), bit),
            _mm256_set1_epi8(16)
        ))
    }

    #[inline(always)]
    fn scale_unsigned(self, v: __m256i, j: usize) -> __m256i {
        self.twice(v, j)
    }

    #[inline(always)]
    fn scale_signed(self, v: __m256i, j: usize) -> __m256i {
        let high = self.shuffle(v, 0x0080_0080 | (0x0100_0100 * j as u32));
        op!(_mm256_srai_epi16::<8>(high))
    }

    #[inline(always)]
    fn twice(self, v: __m256i, j: usize) -> __m256i {
        self.shuffle(v, 0x8000_8000 | (0x0001_0001 * j as u32))
    }

    #[inline(always)]
    fn signed_pair(self, v: __m256i, j: usize) -> __m256i {
        let j = j as u32;
        let high = self.shuffle(v, 0x0080_0080 | (2 * j) << 8 | (2 * j + 1) << 24);
        op!(_mm256_srai_epi16::<8>(high))
    }

    #[inline(always)]
    fn add_pairs(self, acc: __m256i, a: __m256i, pair: __m256i) -> __m256i {
        op!(_mm256_add_epi32(acc, _mm256_madd_epi16(a, pair)))
    }

    #[inline(always)]
    unsafe fn dots<const BITS: u32, const T: usize>(
        self,
        w: &[__m256i; 8],
        x: *const i8,
        stride: usize,
    ) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe {
            let ones = _mm256_set1_epi16(1);
            let mut sums = [_mm256_setzero_si256(); T];
            if BITS == 8 {
                for (g, w) in w.iter().enumerate() {
                    let magnitude = _mm256_abs_epi8(*w);
                    for (t, sum) in sums.iter_mut().enumerate() {
                        let x = self.four(x.add(t * stride + g * 4));
                        let products = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(x, *w));
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(products, ones));
                    }
                }
                return sums;
            }
            let narrow = if BITS == 4 { 8 } else { 4 };
            for part in 0..8 / narrow {
                let mut products = [_mm256_setzero_si256(); T];
                for g in part * narrow..(part + 1) * narrow {
                    for (t, products) in products.iter_mut().enumerate() {
                        let next = _mm256_maddubs_epi16(w[g], self.four(x.add(t * stride + g * 4)));
                        *products = if g == part * narrow {
                            next
                        } else {
                            _mm256_add_epi16(*products, next)
                        };
                    }
                }
                for (sum, products) in sums.iter_mut().zip(products) {
                    let wide = _mm256_madd_epi16(products, ones);
                    *sum = if part == 0 {
                        wide
                    } else {
                        _mm256_add_epi32(*sum, wide)
                    };
                }
            }
            sums
        }
    }

    #[inline(always)]
    unsafe fn scaled<const BITS: u32, const N: usize, const T: usize>(
        self,
        totals: &mut [__m256i; T],
        w: &[__m256i; N],
        scale: __m256i,
        x: *const i8,
        stride: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let narrow = match BITS {
                4 => 8,
                5 => 4,
                _ => 2,
            };
            for part in 0..N / narrow {
                let mut products = [_mm256_setzero_si256(); T];
                for g in part * narrow..(part + 1) * narrow {
                    for (t, products) in products.iter_mut().enumerate() {
                        let next = _mm256_maddubs_epi16(w[g], self.four(x.add(t * stride + g * 4)));
                        *products = if g == part * narrow {
                            next
                        } else {
                            _mm256_add_epi16(*products, next)
                        };
                    }
                }
                for (total, products) in totals.iter_mut().zip(products) {
                    *total = _mm256_add_epi32(*total, _mm256_madd_epi16(products, scale));
                }
            }
        }
    }

    #[inline(always)]
    fn to_f32(self, v: __m256i) -> __m256 {
        op!(_mm256_cvtepi32_ps(v))
    }

    #[inline(always)]
    fn splat_f32(self, x: f32) -> __m256 {
        op!(_mm256_set1_ps(x))
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        op!(_mm256_mul_ps(a, b))
    }

    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        op!(_mm256_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn fnma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        op!(_mm256_fnmadd_ps(a, b, c))
    }

    #[inline(always)]
    unsafe fn load_f32(self, from: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store_f32(self, to: *mut f32, v: __m256) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_ps(to, v) }
    }
}

impl Wide for Avx2 {
    type V = [__m256; 2];
    const QUERIES: usize = 3;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [op!(_mm256_set1_ps(x)); 2]
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }

    #[inline(always)]
    unsafe fn load_f16(self, from: *const u8) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe {
            [
                _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(from.add(16).cast())),
            ]
        }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u8) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe {
            let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.add(16).cast()));
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(low)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(high)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Self::V) {
        // SAFETY: the caller's promise.
        unsafe {
            _mm256_storeu_ps(to, v[0]);
            _mm256_storeu_ps(to.add(8), v[1]);
        }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        op!([_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        op!([_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        op!([_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        op!([_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        op!([
            _mm256_fmadd_ps(a[0], b[0], c[0]),
            _mm256_fmadd_ps(a[1], b[1], c[1])
        ])
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // The instruction gives its second operand unless the first is larger.
        op!([_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        op!([_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn zero_below(self, x: Self::V, bound: Self::V, v: Self::V) -> Self::V {
        op!([
            _mm256_andnot_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(x[0], bound[0]), v[0]),
            _mm256_andnot_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(x[1], bound[1]), v[1]),
        ])
    }

    #[inline(always)]
    fn power(self, v: Self::V) -> Self::V {
        op!({
            let one = _mm256_set1_epi32(0x3f80_0000);
            let exponents = [
                _mm256_slli_epi32::<23>(_mm256_castps_si256(v[0])),
                _mm256_slli_epi32::<23>(_mm256_castps_si256(v[1])),
            ];
            [
                _mm256_castsi256_ps(_mm256_add_epi32(exponents[0], one)),
                _mm256_castsi256_ps(_mm256_add_epi32(exponents[1], one)),
            ]
        })
    }

    #[inline(always)]
    fn max_magnitude(self, a: Self::V, b: Self::V) -> Self::V {
        op!({
            let bits = _mm256_set1_ps(f32::from_bits(0x7fff_ffff));
            let largest = [
                _mm256_max_epu32(
                    _mm256_castps_si256(_mm256_and_ps(a[0], bits)),
                    _mm256_castps_si256(_mm256_and_ps(b[0], bits)),
                ),
                _mm256_max_epu32(
                    _mm256_castps_si256(_mm256_and_ps(a[1], bits)),
                    _mm256_castps_si256(_mm256_and_ps(b[1], bits)),
                ),
            ];
            [
                _mm256_castsi256_ps(largest[0]),
                _mm256_castsi256_ps(largest[1]),
            ]
        })
    }

    #[inline(always)]
    unsafe fn store_i8(self, to: *mut i8, v: Self::V) {
        // SAFETY: the caller's promise. Conversion rounds as MXCSR says, which Rust keeps at nearest, ties to even.
        unsafe {
            let words = _mm256_packs_epi32(_mm256_cvtps_epi32(v[0]), _mm256_cvtps_epi32(v[1]));
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            let bytes = _mm_packs_epi16(
                _mm256_castsi256_si128(words),
                _mm256_extracti128_si256::<1>(words),
            );
            _mm_storeu_si128(to.cast(), bytes);
        }
    }

    #[inline(always)]
    fn tree(self, v: Self::V) -> f32 {
        op!({
            let eight = _mm256_add_ps(v[0], v[1]);
            let four = _mm_add_ps(
                _mm256_castps256_ps128(eight),
                _mm256_extractf128_ps::<1>(eight),
            );
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        })
    }
}
