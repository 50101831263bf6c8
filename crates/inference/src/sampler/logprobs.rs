//! Log-probabilities: log-softmax at temperature 1 of logits nobody has edited.

use spindle_kernels::Isa;

use super::order::{self, Order};
use super::weights::total;
use crate::token::TokenId;

/// The logarithm of a softmax's total, ready to be asked about tokens.
#[derive(Clone, Copy, Debug)]
pub struct LogSoftmax {
    max: f32,
    log_total: f64,
}

impl LogSoftmax {
    /// Of all `logits`.
    pub fn of(isa: Isa, logits: &[f32]) -> Self {
        let max = order::max(logits);
        // Without a finite maximum there is no distribution; report the logits as they are.
        if !max.is_finite() {
            return Self {
                max: 0.0,
                log_total: 0.0,
            };
        }
        Self {
            max,
            log_total: libm::log(total(isa, logits, max, 1.0)),
        }
    }

    /// The log-probability of a token with this logit.
    pub fn logprob(&self, logit: f32) -> f32 {
        (f64::from(logit) - f64::from(self.max) - self.log_total) as f32
    }

    /// The `count` likeliest tokens of `logits`, in the candidates' order.
    pub fn top(&self, logits: &[f32], count: usize, order: &mut Order) -> Vec<(TokenId, f32)> {
        order.begin(order::max(logits));
        let likeliest = (0..count).map_while(|index| order.at(logits, index));
        likeliest
            .map(|id| (id, self.logprob(logits[id.0 as usize])))
            .collect()
    }
}
