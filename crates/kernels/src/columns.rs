//! [`ColumnsMut`]: a range of columns of a `[tokens, stride]` buffer, so that the ranks of a team write disjoint columns of one output.
//!
//! - Two values from one [`split_columns`] call never overlap; each lends its rows out as ordinary `&mut` slices, bound to `&mut self`.
//! - A value keeps the whole buffer borrowed for as long as it lives.

use core::marker::PhantomData;
use core::ops::Range;

/// Exclusive access to `columns` of each row of a `[tokens, stride]` buffer.
#[derive(Debug)]
pub struct ColumnsMut<'a> {
    base: *mut f32,
    tokens: usize,
    stride: usize,
    start: usize,
    width: usize,
    _buffer: PhantomData<&'a mut [f32]>,
}

// SAFETY: a ColumnsMut is an exclusive borrow of its own columns and of nothing else, like the `&mut [f32]` it stands for.
unsafe impl Send for ColumnsMut<'_> {}
// SAFETY: `&ColumnsMut` gives out sizes and shared reads only.
unsafe impl Sync for ColumnsMut<'_> {}

impl<'a> ColumnsMut<'a> {
    /// All columns of a `[tokens, stride]` buffer.
    ///
    /// # Panics
    /// If the buffer is not a whole number of rows.
    pub fn new(buffer: &'a mut [f32], stride: usize) -> Self {
        assert!(
            stride > 0 && buffer.len().is_multiple_of(stride),
            "buffer is not a whole number of rows"
        );
        Self {
            base: buffer.as_mut_ptr(),
            tokens: buffer.len() / stride,
            stride,
            start: 0,
            width: stride,
            _buffer: PhantomData,
        }
    }

    /// The first `width` columns and the rest.
    ///
    /// # Panics
    /// If there are fewer columns.
    pub fn split_at(self, width: usize) -> (Self, Self) {
        assert!(width <= self.width, "split beyond the columns");
        let right = Self {
            start: self.start + width,
            width: self.width - width,
            ..self
        };
        (Self { width, ..self }, right)
    }

    /// The same columns for a shorter time.
    pub fn reborrow(&mut self) -> ColumnsMut<'_> {
        ColumnsMut {
            _buffer: PhantomData,
            ..*self
        }
    }

    /// Rows of the buffer.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Which columns of the buffer these are.
    pub fn columns(&self) -> Range<usize> {
        self.start..self.start + self.width
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// One row's part.
    pub fn row(&self, token: usize) -> &[f32] {
        assert!(token < self.tokens, "token beyond the buffer");
        // SAFETY: `token` is checked, the columns lie inside the stride, and nobody else may write them while `self` lives.
        unsafe {
            core::slice::from_raw_parts(self.base.add(token * self.stride + self.start), self.width)
        }
    }

    /// One row's part, to write.
    pub fn row_mut(&mut self, token: usize) -> &mut [f32] {
        assert!(token < self.tokens, "token beyond the buffer");
        // SAFETY: as in `row`; `&mut self` makes it exclusive, and no other ColumnsMut covers these columns.
        unsafe {
            core::slice::from_raw_parts_mut(
                self.base.add(token * self.stride + self.start),
                self.width,
            )
        }
    }
}

/// Splits a `[tokens, stride]` buffer into ranges of columns.
///
/// # Panics
/// If the ranges are not rising and disjoint, or reach beyond `stride`.
pub fn split_columns<'a>(
    buffer: &'a mut [f32],
    stride: usize,
    ranges: &[Range<usize>],
) -> Vec<ColumnsMut<'a>> {
    let whole = ColumnsMut::new(buffer, stride);
    let mut end = 0;
    let mut parts = Vec::with_capacity(ranges.len());
    for range in ranges {
        assert!(
            end <= range.start && range.start <= range.end && range.end <= stride,
            "column ranges overlap or exceed the stride"
        );
        end = range.end;
        parts.push(ColumnsMut {
            start: range.start,
            width: range.len(),
            ..whole
        });
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_write_their_own_columns_only() {
        let mut buffer = vec![0.0; 12];
        let mut parts = split_columns(&mut buffer, 4, &[0..1, 2..4]);
        for token in 0..3 {
            parts[0].row_mut(token).fill(1.0);
            parts[1].row_mut(token).fill(2.0);
        }
        assert_eq!(parts[1].columns(), 2..4);
        assert_eq!(buffer, [1.0, 0.0, 2.0, 2.0].repeat(3));
    }

    #[test]
    #[should_panic(expected = "overlap")]
    fn overlapping_ranges_are_refused() {
        split_columns(&mut [0.0; 8], 4, &[0..2, 1..4]);
    }

    #[test]
    fn a_split_shares_nothing() {
        let mut buffer = vec![0.0; 6];
        let (mut left, mut right) = ColumnsMut::new(&mut buffer, 3).split_at(1);
        left.row_mut(1).fill(5.0);
        right.row_mut(1).fill(7.0);
        assert_eq!(buffer, [0.0, 0.0, 0.0, 5.0, 7.0, 7.0]);
    }
}
