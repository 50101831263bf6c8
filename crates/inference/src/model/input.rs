//! Inputs of matrix products: where a row comes from, and who quantises it.
//!
//! - Few rows are prepared by every rank for itself: repeating the work costs less than waiting for each other. Many
//!   rows are shared out, at the price of one more barrier. Both give the same bits: rows do not meet.

use std::ops::Range;

use spindle_kernels::{Activations, Forms, Isa, Team, rms_norm, split_even};

/// Up to this many rows each rank prepares all of them. A row of a small model takes half a microsecond, as long as a
/// barrier; a rank of two saves half of them by sharing.
const REPEATED_ROWS_MAX: usize = 6;

/// A matrix of rows that are made when they are asked for.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// RMS norm of the residual stream, `[rows, width]`.
    Normed {
        stream: &'a [f32],
        weight: &'a [f32],
        eps: f32,
    },
    /// Rows as they are, `[rows, cols]`.
    Plain { rows: &'a [f32] },
    /// What attention left, `[parts, rows, cols / parts]`: one part a key/value head.
    Attended {
        parts: &'a [f32],
        part_width: usize,
        rows: usize,
    },
}

impl Source<'_> {
    /// Row `row`, made in `space` if need be.
    fn row<'t>(&'t self, isa: Isa, row: usize, space: &'t mut [f32]) -> &'t [f32] {
        match *self {
            Source::Plain { rows } => &rows[row * space.len()..][..space.len()],
            Source::Normed {
                stream,
                weight,
                eps,
            } => {
                rms_norm(
                    isa,
                    &stream[row * space.len()..][..space.len()],
                    weight,
                    eps,
                    space,
                );
                space
            }
            Source::Attended {
                parts,
                part_width,
                rows,
            } => {
                for (part, to) in space.chunks_exact_mut(part_width).enumerate() {
                    to.copy_from_slice(&parts[(part * rows + row) * part_width..][..part_width]);
                }
                space
            }
        }
    }
}

/// Memory for inputs of one width: one for all, one for each rank.
pub(super) struct InputMemory {
    shared: Activations,
    own: Vec<OwnInput>, // [ranks]
}

/// A rank's own.
pub(super) struct OwnInput {
    activations: Activations,
    space: Vec<f32>, // [cols]
}

/// An input on its way to the ranks.
pub(super) struct Input<'a> {
    isa: Isa,
    source: Source<'a>,
    rows: usize,
    forms: Forms,
    /// Where the rows were shared out.
    shared: Option<&'a Activations>,
}

impl InputMemory {
    pub fn new(ranks: usize, cols: usize) -> Self {
        let own = (0..ranks).map(|_| OwnInput {
            activations: Activations::new(),
            space: vec![0.0; cols],
        });
        Self {
            shared: Activations::new(),
            own: own.collect(),
        }
    }

    /// Prepares `rows` of `source`, at once or when a rank asks.
    pub fn prepare<'a>(
        &'a mut self,
        isa: Isa,
        team: &mut Team,
        source: Source<'a>,
        rows: usize,
        forms: Forms,
    ) -> (Input<'a>, &'a mut [OwnInput]) {
        let Self { shared, own } = self;
        let mut input = Input {
            isa,
            source,
            rows,
            forms,
            shared: None,
        };
        if rows > REPEATED_ROWS_MAX && team.threads() > 1 {
            shared.reset(rows, own[0].space.len(), forms);
            let ranges: Vec<Range<usize>> = split_even(rows, team.threads(), 1);
            let mut parts: Vec<_> = shared
                .split(&ranges)
                .into_iter()
                .zip(own.iter_mut())
                .collect();
            team.run(&mut parts, |_, (activations, own)| {
                for row in activations.tokens() {
                    activations.set(isa, row, source.row(isa, row, &mut own.space));
                }
            });
            input.shared = Some(shared);
        }
        (input, own)
    }
}

impl Input<'_> {
    /// The input as a rank sees it.
    pub fn get<'r>(&'r self, own: &'r mut OwnInput) -> &'r Activations {
        if let Some(shared) = self.shared {
            return shared;
        }
        let OwnInput { activations, space } = own;
        activations.reset(self.rows, space.len(), self.forms);
        for row in 0..self.rows {
            activations.set(self.isa, row, self.source.row(self.isa, row, space));
        }
        activations
    }
}
