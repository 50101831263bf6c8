//! The gated feed-forward block: norm, gate and up, silu, down.

use spindle_kernels::{ColumnsMut, Isa, Team, Weights, add, matmul, silu_mul, split_columns};

use super::forward::Forward;
use super::input::{Input, OwnInput, Source};
use super::layer::forms;
use super::step::Step;

impl Forward {
    /// Adds the block's change to the stream.
    pub(super) fn feed_forward(&mut self, step: &Step, layer: usize) {
        let Self {
            model,
            isa,
            team,
            split,
            buffers,
        } = self;
        let (model, isa, rows) = (&**model, *isa, step.rows());
        let (config, weights) = (model.config(), &model.layers[layer]);
        let (width, ffn_width) = (config.width, config.ffn_width);

        let source = Source::Normed {
            stream: &buffers.stream[..rows * width],
            weight: &weights.feed_forward_norm,
            eps: config.rms_eps,
        };
        let (input, own) = buffers.stream_input.prepare(
            isa,
            team,
            source,
            rows,
            forms([&weights.gate, &weights.up]),
        );
        let gate = split_columns(&mut buffers.gate[..rows * ffn_width], ffn_width, &split.ffn);
        let up = split_columns(&mut buffers.up[..rows * ffn_width], ffn_width, &split.ffn);
        let mut parts: Vec<_> = gate.into_iter().zip(up).zip(own).collect();
        let (gate_weights, up_weights) = (model.weights(&weights.gate), model.weights(&weights.up));
        team.run(&mut parts, |_, ((gate, up), own)| {
            let input = input.get(own);
            matmul(isa, &gate_weights, gate.columns(), input, 0..rows, gate);
            matmul(isa, &up_weights, up.columns(), input, 0..rows, up);
            (0..rows).for_each(|row| silu_mul(isa, gate.row_mut(row), up.row(row)));
        });
        drop(parts);

        let source = Source::Plain {
            rows: &buffers.gate[..rows * ffn_width],
        };
        let (input, own) =
            buffers
                .gated_input
                .prepare(isa, team, source, rows, forms([&weights.down]));
        let stream = split_columns(&mut buffers.stream[..rows * width], width, &split.width);
        let change = split_columns(&mut buffers.change[..rows * width], width, &split.width);
        add_product(
            isa,
            team,
            &model.weights(&weights.down),
            &input,
            own,
            stream,
            change,
        );
    }
}

/// Adds `weights` times `input` to the stream, each rank its columns of it.
pub(super) fn add_product(
    isa: Isa,
    team: &mut Team,
    weights: &Weights<'_>,
    input: &Input<'_>,
    own: &mut [OwnInput],
    stream: Vec<ColumnsMut<'_>>,
    change: Vec<ColumnsMut<'_>>,
) {
    let mut parts: Vec<_> = stream.into_iter().zip(change).zip(own).collect();
    team.run(&mut parts, |_, ((stream, change), own)| {
        let rows = stream.tokens();
        matmul(
            isa,
            weights,
            change.columns(),
            input.get(own),
            0..rows,
            change,
        );
        (0..rows).for_each(|row| add(isa, stream.row_mut(row), change.row(row)));
    });
}
