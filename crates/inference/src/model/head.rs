//! The head: final norm and one logit for each token of the vocabulary, a bounded number of rows at a time.

use std::ops::Range;

use spindle_kernels::{Team, matmul, split_columns};

use super::forward::Forward;
use super::input::Source;
use super::layer::forms;

/// Rows of logits that exist at once. Sixteen share a pass over the head's weights; a vocabulary of 128,000 makes them
/// 8 MB, whatever the number of rows asked for.
pub const LOGIT_ROWS_MAX: usize = 16;

impl Forward {
    /// Logits of the last step's outputs `outputs`, at most [`LOGIT_ROWS_MAX`] of them: `[outputs, vocab_len]`, to be
    /// edited at will, and the team to do it with.
    ///
    /// # Panics
    /// If more are asked for.
    pub fn logits(&mut self, outputs: Range<usize>) -> (&mut Team, &mut [f32]) {
        let Self {
            model,
            isa,
            team,
            split,
            buffers,
        } = self;
        let (model, isa, rows) = (&**model, *isa, outputs.len());
        assert!(
            rows <= LOGIT_ROWS_MAX,
            "at most {LOGIT_ROWS_MAX} rows of logits at once"
        );
        let (width, vocab_len) = (model.config().width, model.config().vocab_len);
        let hidden = &buffers.outputs[outputs.start * width..outputs.end * width];
        let source = Source::Normed {
            stream: hidden,
            weight: &model.final_norm,
            eps: model.config().rms_eps,
        };
        let (input, own) =
            buffers
                .stream_input
                .prepare(isa, team, source, rows, forms([&model.head]));
        let logits = split_columns(
            &mut buffers.logits[..rows * vocab_len],
            vocab_len,
            &split.vocab,
        );
        let mut parts: Vec<_> = logits.into_iter().zip(own).collect();
        let weights = model.weights(&model.head);
        team.run(&mut parts, |_, (logits, own)| {
            matmul(
                isa,
                &weights,
                logits.columns(),
                input.get(own),
                0..rows,
                logits,
            );
        });
        drop(parts);
        (team, &mut buffers.logits[..rows * vocab_len])
    }
}
