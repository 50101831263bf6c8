//! [`Isa`]: the instruction set, chosen once; and one `match` an operation.
//!
//! - Holding an [`Isa`] is the proof that the processor has it: the handles inside cannot be made by hand.
//! - Every choice gives the same bits; the choice is about time only.
//! - Callers of this module have checked every length.

use crate::activations::Scale32;
use crate::attention::{AttentionScratch, Context, Queries};
#[cfg(target_arch = "x86_64")]
use crate::x86_64::{self, Avx2, Avx512};
use crate::{
    Activations, ColumnsMut, RopePairs, Weights, attention as scalar_attention, reference,
};
use core::ops::Range;

/// An instruction set this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isa {
    /// The definitions themselves, as the compiler translates them.
    Scalar,
    /// AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// AVX-512 with VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Isa {
    /// The fastest one.
    pub fn detect() -> Self {
        *Self::available().last().expect("scalar is always there")
    }

    /// All of them, slowest first.
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut, reason = "other processors have only one")]
        let mut available = vec![Isa::Scalar];
        #[cfg(target_arch = "x86_64")]
        available.extend(
            Avx2::new()
                .map(Isa::Avx2)
                .into_iter()
                .chain(Avx512::new().map(Isa::Avx512)),
        );
        available
    }

    /// The name for start-up lines and settings.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => "avx512",
        }
    }

    /// The available one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::available().into_iter().find(|isa| isa.name() == name)
    }
}

macro_rules! operations {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $definition:path;)*) => {$(
        $(#[$doc])*
        #[allow(clippy::too_many_arguments, reason = "mirrors the definition")]
        pub(crate) fn $name(isa: Isa, $($arg: $ty),*) $(-> $ret)? {
            match isa {
                Isa::Scalar => {
                    #[cfg(target_arch = "x86_64")]
                    if let Some(fused) = Avx2::new() {
                        return x86_64::scalar_entries::$name(fused, $($arg),*);
                    }
                    $definition($($arg),*)
                }
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2(avx2) => x86_64::avx2_entries::$name(avx2, $($arg),*),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512(avx512) => x86_64::avx512_entries::$name(avx512, $($arg),*),
            }
        }
    )*};
}

operations! {
    fn quantize32(x: &[f32], codes: &mut [i8], scales: &mut [Scale32]) = reference::quantize::quantize32;
    fn quantize256(x: &[f32], codes: &mut [i8], scales: &mut [f32], sums: &mut [i16]) = reference::quantize::quantize256;
    fn dequantize_row(weights: &Weights<'_>, row: usize, out: &mut [f32]) = reference::quantize::dequantize_row;
    fn matmul(weights: &Weights<'_>, rows: Range<usize>, x: &Activations, tokens: Range<usize>, out: &mut ColumnsMut<'_>) = reference::matmul::matmul;
    fn silu_mul(gate: &mut [f32], up: &[f32]) = reference::elementwise::silu_mul;
    fn add(x: &mut [f32], y: &[f32]) = reference::elementwise::add;
    fn scale(x: &mut [f32], factor: f32) = reference::elementwise::scale;
    fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) = reference::elementwise::rms_norm;
    fn max(x: &[f32]) -> f32 = reference::elementwise::max;
    fn exp_sum(x: &mut [f32], max: f32) -> f32 = reference::elementwise::exp_sum;
    fn argmax(x: &[f32]) -> usize = reference::elementwise::argmax;
    fn rope(pairs: RopePairs, x: &mut [f32], table: &[f32]) = reference::elementwise::rope;
    fn attention(context: &Context<'_>, queries: &Queries<'_>, tokens: Range<usize>, position: usize, scratch: &mut AttentionScratch, out: &mut ColumnsMut<'_>) = scalar_attention::scalar;
    fn attention_span(context: &Context<'_>, queries: &Queries<'_>, tokens: Range<usize>, position: usize, span: usize, scratch: &mut AttentionScratch, states: &mut [f32]) = scalar_attention::scalar_span;
    fn attention_merge(state: &mut [f32], next: &[f32]) = reference::attention::merge;
    fn attention_finish(state: &[f32], out: &mut [f32]) = reference::attention::finish;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, Forms};

    #[test]
    fn definitions_compiled_without_the_instruction_give_the_same_bits() {
        let (rows, cols, tokens) = (5, 512, 3);
        for format in Format::ALL {
            // Any bytes are weights; a NaN here and there does no harm.
            let bytes: Vec<u8> = (0..rows * format.row_bytes(cols).unwrap())
                .map(|i| (i * i % 251) as u8)
                .collect();
            let weights = Weights::new(format, rows, cols, &bytes).unwrap();
            let mut input = Activations::new();
            input.reset(
                tokens,
                cols,
                Forms::default().with(format.activation_form()),
            );
            let x: Vec<f32> = (0..cols).map(|i| (i as f32 * 0.37).sin()).collect();
            (0..tokens).for_each(|token| input.set(Isa::Scalar, token, &x[..]));
            let (mut plain, mut fused) = (vec![0.0f32; tokens * rows], vec![0.0f32; tokens * rows]);
            reference::matmul::matmul(
                &weights,
                0..rows,
                &input,
                0..tokens,
                &mut ColumnsMut::new(&mut plain, rows),
            );
            matmul(
                Isa::Scalar,
                &weights,
                0..rows,
                &input,
                0..tokens,
                &mut ColumnsMut::new(&mut fused, rows),
            );
            for (plain, fused) in plain.iter().zip(&fused) {
                assert!(
                    plain.to_bits() == fused.to_bits() || plain.is_nan() && fused.is_nan(),
                    "{format}: {plain} {fused}"
                );
            }
            let (mut plain, mut fused) = (x.clone(), x.clone());
            let sums = [
                reference::elementwise::exp_sum(&mut plain, 0.5),
                exp_sum(Isa::Scalar, &mut fused, 0.5),
            ];
            assert!(plain == fused && sums[0].to_bits() == sums[1].to_bits());
        }
    }

    #[test]
    fn a_name_finds_its_instruction_set() {
        for isa in Isa::available() {
            assert_eq!(Isa::from_name(isa.name()), Some(isa));
        }
        assert_eq!(Isa::from_name("neon"), None);
        assert_eq!(Isa::available()[0], Isa::Scalar);
    }
}
