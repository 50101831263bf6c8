//! The forward pass of one step: embeddings, layers, and the rows whose logits are wanted.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use spindle_kernels::{AttentionScratch, Isa, Team, dequantize_row, rope_table, split_even};

use super::head::LOGIT_ROWS_MAX;
use super::input::InputMemory;
use super::loaded::Model;
use super::split::{Split, cut};
use super::step::Step;
use crate::kv::KvCache;

/// Rows are embedded by the caller alone up to here; it takes microseconds.
const EMBEDDED_ALONE_MAX: usize = 32;

/// What a forward pass asks of its caller.
pub trait Observer {
    /// Time since some fixed moment.
    fn now(&mut self) -> Duration;
    /// Called before each layer; false abandons the pass.
    fn goes_on(&mut self) -> bool;
}

/// Threads and working memory for the steps of one model.
pub struct Forward {
    pub(super) model: Arc<Model>,
    pub(super) isa: Isa,
    pub(super) team: Team,
    pub(super) split: Split,
    pub(super) buffers: Buffers,
}

/// Working memory for as many rows as a step may have; claimed at once, backed when first used.
pub(super) struct Buffers {
    pub stream: Vec<f32>,   // [rows, width], the residual stream
    pub change: Vec<f32>,   // [rows, width], what a block adds to it
    pub q: Vec<f32>,        // [rows, q_width]
    pub k: Vec<f32>,        // [rows, kv_width]
    pub v: Vec<f32>,        // [rows, kv_width]
    pub attended: Vec<f32>, // [kv_heads, rows, q_width / kv_heads]
    pub gate: Vec<f32>,     // [rows, ffn_width]
    pub up: Vec<f32>,       // [rows, ffn_width]
    pub rope: Vec<f32>,     // [rows, rope_dims]
    pub outputs: Vec<f32>,  // [outputs, width]
    pub logits: Vec<f32>,   // [LOGIT_ROWS_MAX, vocab_len]
    pub stream_input: InputMemory,
    pub attended_input: InputMemory,
    pub gated_input: InputMemory,
    pub attention: Vec<AttentionScratch>, // [ranks]
}

impl Forward {
    /// For steps of up to `rows_max` rows on `threads` threads.
    pub fn new(model: Arc<Model>, isa: Isa, threads: usize, rows_max: usize) -> Self {
        let team = Team::new(threads);
        let ranks = team.threads();
        let config = model.config();
        let rows = |width: usize| vec![0.0; rows_max * width];
        let buffers = Buffers {
            stream: rows(config.width),
            change: rows(config.width),
            q: rows(config.q_width()),
            k: rows(config.kv_width()),
            v: rows(config.kv_width()),
            attended: rows(config.q_width()),
            gate: rows(config.ffn_width),
            up: rows(config.ffn_width),
            rope: rows(config.rope.dims),
            outputs: rows(config.width),
            logits: vec![0.0; LOGIT_ROWS_MAX * config.vocab_len],
            stream_input: InputMemory::new(ranks, config.width),
            attended_input: InputMemory::new(ranks, config.q_width()),
            gated_input: InputMemory::new(ranks, config.ffn_width),
            attention: (0..ranks).map(|_| AttentionScratch::default()).collect(),
        };
        Self {
            split: Split::new(config, ranks),
            isa,
            team,
            buffers,
            model,
        }
    }

    /// Computes a step: writes keys and values of all its rows, and keeps the rows whose logits were asked for until
    /// the next step. Returns the time attention took; none where the pass was abandoned, which leaves no trace but
    /// keys and values that the same step will write again.
    pub fn run(
        &mut self,
        step: &Step,
        cache: &mut KvCache,
        observer: &mut dyn Observer,
    ) -> Option<Duration> {
        let mut attention = Duration::ZERO;
        self.embed(step);
        for layer in 0..self.model.layers.len() {
            if !observer.goes_on() {
                return None;
            }
            self.project_attention(step, layer, cache);
            let start = observer.now();
            self.attend(step, layer, cache);
            attention += observer.now().saturating_sub(start);
            self.add_attention(step, layer);
            self.feed_forward(step, layer);
        }
        let width = self.model.config().width;
        for (row, output) in step
            .outputs
            .iter()
            .zip(self.buffers.outputs.chunks_exact_mut(width))
        {
            output.copy_from_slice(&self.buffers.stream[row * width..][..width]);
        }
        Some(attention)
    }

    /// Looks up each row's token and makes its position's rotation.
    fn embed(&mut self, step: &Step) {
        let (model, isa) = (&*self.model, self.isa);
        let (width, rope_dims) = (model.config().width, model.config().rope.dims);
        let ranks = if step.rows() > EMBEDDED_ALONE_MAX {
            self.team.threads()
        } else {
            1
        };
        let ranges: Vec<Range<usize>> = split_even(step.rows(), ranks, 1);
        let streams = cut(&mut self.buffers.stream, &ranges, width);
        let tables = cut(&mut self.buffers.rope, &ranges, rope_dims);
        let mut parts: Vec<_> = ranges
            .into_iter()
            .zip(streams.into_iter().zip(tables))
            .collect();
        let embedding = model.weights(&model.embedding);
        self.team.run(&mut parts, |_, (rows, (stream, tables))| {
            for (index, row) in rows.clone().enumerate() {
                let token = step.tokens[row].0 as usize;
                dequantize_row(
                    isa,
                    &embedding,
                    token,
                    &mut stream[index * width..][..width],
                );
                let table = &mut tables[index * rope_dims..][..rope_dims];
                rope_table(
                    step.positions[row],
                    &model.rotation.inverse_frequencies,
                    model.rotation.magnitude,
                    table,
                );
            }
        });
    }
}
