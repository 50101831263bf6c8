//! [`Activations`]: the input of matrix products, `[tokens, cols]`, in the forms that weight formats ask for.
//!
//! - Each form is made once per input, not once per matrix, and only if it was asked for.
//! - One rule for both quantized forms: `d` = largest magnitude / 127, codes = x * (127 / largest magnitude) rounded, ties to even.
//!   A block whose largest magnitude is below 2^-100 counts as zero; one that holds an infinity or NaN has a NaN scale, so it cannot pass unseen.
//! - Tokens are independent, so ranks may fill disjoint ranges of them, or each rank its own copy, with the same bits.
//!
//! Absent: a choice of forms; the caller collects [`crate::Format::activation_form`] over the matrices that share the input.

use crate::block::{SMALL, SUPER};
use crate::{ActivationForm, Isa, dispatch};
use core::ops::Range;

/// Which forms an input is kept in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forms {
    /// [`ActivationForm::Float`]
    pub float: bool,
    /// [`ActivationForm::Block32`]
    pub block32: bool,
    /// [`ActivationForm::Block256`]
    pub block256: bool,
}

impl Forms {
    /// Also `form`.
    #[must_use]
    pub fn with(mut self, form: ActivationForm) -> Self {
        match form {
            ActivationForm::Float => self.float = true,
            ActivationForm::Block32 => self.block32 = true,
            ActivationForm::Block256 => self.block256 = true,
        }
        self
    }

    /// Whether `form` is kept.
    pub fn has(self, form: ActivationForm) -> bool {
        match form {
            ActivationForm::Float => self.float,
            ActivationForm::Block32 => self.block32,
            ActivationForm::Block256 => self.block256,
        }
    }
}

impl FromIterator<ActivationForm> for Forms {
    fn from_iter<I: IntoIterator<Item = ActivationForm>>(forms: I) -> Self {
        forms.into_iter().fold(Self::default(), Self::with)
    }
}

/// Scale and sums of one block of 32.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub(crate) struct Scale32 {
    /// Value of one unit.
    pub d: f32,
    /// `d * sum`, rounded once.
    pub s: f32,
    /// Sum of the codes.
    pub sum: i32,
}

/// An input of matrix products; reusable, grows as needed.
#[derive(Clone, Debug, Default)]
pub struct Activations {
    tokens: usize,
    cols: usize,
    forms: Forms,
    float: Vec<f32>,        // [tokens, float_stride]
    codes32: Vec<i8>,       // [tokens, code_stride]
    scales32: Vec<Scale32>, // [tokens, cols / 32]
    codes256: Vec<i8>,      // [tokens, code_stride]
    scales256: Vec<f32>,    // [tokens, cols / 256]
    sums16: Vec<i16>,       // [tokens, cols / 16], of codes256
}

/// Distance of rows of `cols` elements: an odd number of cache lines, so that rows of a power-of-two size do not all fall into one cache set.
fn padded(cols: usize, line: usize) -> usize {
    (cols.div_ceil(line) | 1) * line
}

impl Activations {
    /// An empty input; see [`Self::reset`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for `tokens` rows of `cols` in the forms asked for. Contents are unspecified until set.
    ///
    /// # Panics
    /// If a quantized form is asked for and `cols` is not a whole number of its blocks.
    pub fn reset(&mut self, tokens: usize, cols: usize, forms: Forms) {
        assert!(
            !forms.block32 || cols.is_multiple_of(SMALL),
            "{cols} columns are not whole blocks of {SMALL}"
        );
        assert!(
            !forms.block256 || cols.is_multiple_of(SUPER),
            "{cols} columns are not whole blocks of {SUPER}"
        );
        (self.tokens, self.cols, self.forms) = (tokens, cols, forms);
        let grow = |wanted: bool, row: usize| if wanted { tokens * row } else { 0 };
        self.float
            .resize(grow(forms.float, self.float_stride()), 0.0);
        self.codes32
            .resize(grow(forms.block32, self.code_stride()), 0);
        self.scales32
            .resize(grow(forms.block32, cols / SMALL), Scale32::default());
        self.codes256
            .resize(grow(forms.block256, self.code_stride()), 0);
        self.scales256
            .resize(grow(forms.block256, cols / SUPER), 0.0);
        self.sums16.resize(grow(forms.block256, cols / 16), 0);
    }

    /// Rows.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Elements of a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The forms kept.
    pub fn forms(&self) -> Forms {
        self.forms
    }

    /// Sets one row in every form kept.
    ///
    /// # Panics
    /// If `token` is beyond the input or `x` is not `cols` long.
    pub fn set(&mut self, isa: Isa, token: usize, x: &[f32]) {
        self.all().set(isa, token, x);
    }

    /// Everything, for writing.
    fn all(&mut self) -> ActivationsMut<'_> {
        ActivationsMut {
            tokens: 0..self.tokens,
            cols: self.cols,
            float_stride: self.float_stride(),
            code_stride: self.code_stride(),
            forms: self.forms,
            float: &mut self.float,
            codes32: &mut self.codes32,
            scales32: &mut self.scales32,
            codes256: &mut self.codes256,
            scales256: &mut self.scales256,
            sums16: &mut self.sums16,
        }
    }

    /// Disjoint ranges of rows for the ranks of a team to fill. `ranges` must be rising, without gaps, and cover all rows.
    ///
    /// # Panics
    /// If they do not.
    pub fn split(&mut self, ranges: &[Range<usize>]) -> Vec<ActivationsMut<'_>> {
        let tokens = self.tokens;
        let mut rest = self.all();
        let mut parts = Vec::with_capacity(ranges.len());
        for range in ranges {
            assert!(
                range.start == rest.tokens.start && range.end >= range.start && range.end <= tokens,
                "token ranges have gaps or overlap"
            );
            let (part, remaining) = rest.split_at(range.len());
            parts.push(part);
            rest = remaining;
        }
        assert!(
            rest.tokens.is_empty(),
            "token ranges do not cover the input"
        );
        parts
    }

    pub(crate) fn float_stride(&self) -> usize {
        padded(self.cols, 16)
    }

    pub(crate) fn code_stride(&self) -> usize {
        padded(self.cols, 64)
    }

    /// f32 row of a token.
    pub(crate) fn float(&self, token: usize) -> &[f32] {
        &self.float[token * self.float_stride()..][..self.cols]
    }

    /// `[tokens, code_stride]`
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn codes32(&self) -> &[i8] {
        &self.codes32
    }

    /// `[tokens, cols / 32]`
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn scales32(&self) -> &[Scale32] {
        &self.scales32
    }

    /// `[tokens, code_stride]`
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn codes256(&self) -> &[i8] {
        &self.codes256
    }

    /// `[tokens, cols / 256]`
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn scales256(&self) -> &[f32] {
        &self.scales256
    }

    /// `[tokens, cols / 16]`, of codes256
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn sums16(&self) -> &[i16] {
        &self.sums16
    }

    /// Codes and scales per 32 of a token.
    pub(crate) fn block32(&self, token: usize) -> (&[i8], &[Scale32]) {
        let blocks = self.cols / SMALL;
        (
            &self.codes32[token * self.code_stride()..][..self.cols],
            &self.scales32[token * blocks..][..blocks],
        )
    }

    /// Codes, scales per 256 and sums per 16 of a token.
    pub(crate) fn block256(&self, token: usize) -> (&[i8], &[f32], &[i16]) {
        let (blocks, sums) = (self.cols / SUPER, self.cols / 16);
        (
            &self.codes256[token * self.code_stride()..][..self.cols],
            &self.scales256[token * blocks..][..blocks],
            &self.sums16[token * sums..][..sums],
        )
    }
}

/// A range of rows of an [`Activations`], to fill.
#[derive(Debug)]
pub struct ActivationsMut<'a> {
    tokens: Range<usize>,
    cols: usize,
    float_stride: usize,
    code_stride: usize,
    forms: Forms,
    float: &'a mut [f32],
    codes32: &'a mut [i8],
    scales32: &'a mut [Scale32],
    codes256: &'a mut [i8],
    scales256: &'a mut [f32],
    sums16: &'a mut [i16],
}

impl<'a> ActivationsMut<'a> {
    /// The rows this part may set.
    pub fn tokens(&self) -> Range<usize> {
        self.tokens.clone()
    }

    /// Sets row `token` (counted in the whole input) in every form kept.
    ///
    /// # Panics
    /// If `token` is not of this part or `x` is not `cols` long.
    pub fn set(&mut self, isa: Isa, token: usize, x: &[f32]) {
        assert!(self.tokens.contains(&token), "token is not of this part");
        assert_eq!(x.len(), self.cols, "row length");
        let row = token - self.tokens.start;
        if self.forms.float {
            self.float[row * self.float_stride..][..self.cols].copy_from_slice(x);
        }
        if self.forms.block32 {
            let blocks = self.cols / SMALL;
            let codes = &mut self.codes32[row * self.code_stride..][..self.cols];
            dispatch::quantize32(isa, x, codes, &mut self.scales32[row * blocks..][..blocks]);
        }
        if self.forms.block256 {
            let (blocks, sums) = (self.cols / SUPER, self.cols / 16);
            let codes = &mut self.codes256[row * self.code_stride..][..self.cols];
            dispatch::quantize256(
                isa,
                x,
                codes,
                &mut self.scales256[row * blocks..][..blocks],
                &mut self.sums16[row * sums..][..sums],
            );
        }
    }

    /// The first `count` rows and the rest.
    fn split_at(self, count: usize) -> (Self, Self) {
        fn cut<T>(data: &mut [T], kept: bool, at: usize) -> (&mut [T], &mut [T]) {
            data.split_at_mut(if kept { at } else { 0 })
        }
        let (forms, cols) = (self.forms, self.cols);
        let (float, float_rest) = cut(self.float, forms.float, count * self.float_stride);
        let (codes32, codes32_rest) = cut(self.codes32, forms.block32, count * self.code_stride);
        let (scales32, scales32_rest) = cut(self.scales32, forms.block32, count * (cols / SMALL));
        let (codes256, codes256_rest) =
            cut(self.codes256, forms.block256, count * self.code_stride);
        let (scales256, scales256_rest) =
            cut(self.scales256, forms.block256, count * (cols / SUPER));
        let (sums16, sums16_rest) = cut(self.sums16, forms.block256, count * (cols / 16));
        let middle = self.tokens.start + count;
        let sizes = (self.float_stride, self.code_stride);
        let part = |tokens, float, codes32, scales32, codes256, scales256, sums16| ActivationsMut {
            tokens,
            cols,
            float_stride: sizes.0,
            code_stride: sizes.1,
            forms,
            float,
            codes32,
            scales32,
            codes256,
            scales256,
            sums16,
        };
        (
            part(
                self.tokens.start..middle,
                float,
                codes32,
                scales32,
                codes256,
                scales256,
                sums16,
            ),
            part(
                middle..self.tokens.end,
                float_rest,
                codes32_rest,
                scales32_rest,
                codes256_rest,
                scales256_rest,
                sums16_rest,
            ),
        )
    }
}
