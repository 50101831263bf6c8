//! How tokens are chosen: temperature and what narrows it, penalties, bias, seed.

use serde_json::Value;

use super::take_integer;
use crate::context::Context;
use crate::error::{ApiError, quoted};
use crate::fields::{Fields, decimal, wrong_type};
use crate::inference::{ModelInfo, Sampling, TokenId};

/// A number that may have a fraction.
struct Decimal {
    name: &'static str,
    min: f64,
    max: f64,
}

const TEMPERATURE: Decimal = Decimal {
    name: "temperature",
    min: 0.0,
    max: 2.0,
};
const TOP_P: Decimal = Decimal {
    name: "top_p",
    min: 0.0,
    max: 1.0,
};
const MIN_P: Decimal = Decimal {
    name: "min_p",
    min: 0.0,
    max: 1.0,
};
const TYPICAL_P: Decimal = Decimal {
    name: "typical_p",
    min: 0.0,
    max: 1.0,
};
const FREQUENCY_PENALTY: Decimal = Decimal {
    name: "frequency_penalty",
    min: -2.0,
    max: 2.0,
};
const PRESENCE_PENALTY: Decimal = Decimal {
    name: "presence_penalty",
    min: -2.0,
    max: 2.0,
};
/// Logits are divided by it: near zero they would leave the range of a float.
const REPEAT_PENALTY: Decimal = Decimal {
    name: "repeat_penalty",
    min: 0.1,
    max: 10.0,
};
/// The same under vLLM's and Hugging Face's name.
const REPETITION_PENALTY: Decimal = Decimal {
    name: "repetition_penalty",
    ..REPEAT_PENALTY
};

/// More than any vocabulary.
const TOP_K_MAX: i128 = 1_000_000;

/// Entries of `logit_bias`: each is looked at for every token of the answer.
const LOGIT_BIAS_MAX: usize = 1024;

/// Takes every field of sampling.
pub(super) fn take(
    fields: &mut Fields<'_>,
    model: &ModelInfo,
    context: &Context,
) -> Result<Sampling, ApiError> {
    let defaults = &model.defaults;
    let mut number = |field: &Decimal, default: Option<f32>, otherwise: f32| {
        take_decimal(fields, field).map(|value| value.or(default).unwrap_or(otherwise))
    };
    let temperature = number(&TEMPERATURE, defaults.temperature, 1.0)?;
    let top_p = number(&TOP_P, defaults.top_p, 1.0)?;
    let min_p = number(&MIN_P, defaults.min_p, 0.0)?;
    let typical_p = number(&TYPICAL_P, defaults.typical_p, 1.0)?;
    let frequency_penalty = number(&FREQUENCY_PENALTY, defaults.frequency_penalty, 0.0)?;
    let presence_penalty = number(&PRESENCE_PENALTY, defaults.presence_penalty, 0.0)?;
    let repeat_penalty = take_decimal(fields, &REPEAT_PENALTY)?;
    let alias = take_decimal(fields, &REPETITION_PENALTY)?;
    if alias.is_some() && repeat_penalty.is_some() && alias != repeat_penalty {
        let message = "Setting 'repeat_penalty' and 'repetition_penalty' to different values is not supported.";
        return Err(ApiError::InvalidValue {
            param: "repetition_penalty".to_owned(),
            message: message.to_owned(),
        });
    }
    let repeat_penalty = repeat_penalty
        .or(alias)
        .or(defaults.repeat_penalty)
        .unwrap_or(1.0);
    let top_k = take_integer(fields, "top_k", 0, TOP_K_MAX)?
        .map(|k| k as u32)
        .or(defaults.top_k)
        .unwrap_or(0);
    // A negative seed is a key like any other: its bits are taken as they are.
    let seed = take_integer(fields, "seed", i64::MIN.into(), i64::MAX.into())?
        .map(|seed| seed as i64 as u64);
    let seed = seed.or(defaults.seed).unwrap_or(context.seed);
    let logit_bias = take_logit_bias(fields, model.vocab_len)?;
    Ok(Sampling {
        temperature,
        top_k,
        top_p,
        min_p,
        typical_p,
        repeat_penalty,
        frequency_penalty,
        presence_penalty,
        logit_bias,
        seed,
        choice_index: 0,
    })
}

fn take_decimal(fields: &mut Fields<'_>, field: &Decimal) -> Result<Option<f32>, ApiError> {
    fields
        .take(field.name)?
        .map(|value| decimal(field.name, &value, field.min, field.max))
        .transpose()
}

/// Ids come as keys, so as text: only the one spelling of a number is taken, or `1` and `01` would be one token.
fn take_logit_bias(
    fields: &mut Fields<'_>,
    vocab_len: u32,
) -> Result<Vec<(TokenId, f32)>, ApiError> {
    const NAME: &str = "logit_bias";
    let entries = match fields.take(NAME)? {
        None => return Ok(Vec::new()),
        Some(Value::Object(entries)) => entries,
        Some(other) => return Err(wrong_type(NAME, "an object", &other)),
    };
    if entries.len() > LOGIT_BIAS_MAX {
        let (param, max, got) = (NAME.to_owned(), LOGIT_BIAS_MAX, entries.len());
        return Err(ApiError::ObjectAboveMaxProperties { param, max, got });
    }
    let mut biases = Vec::with_capacity(entries.len());
    for (key, value) in &entries {
        let id = key
            .parse::<TokenId>()
            .ok()
            .filter(|id| *id < vocab_len && id.to_string() == *key);
        let Some(id) = id else {
            let message = format!(
                "Invalid key in 'logit_bias': {}. Keys are token ids of this model, which are integers from 0 to {}.",
                quoted(key),
                vocab_len.saturating_sub(1)
            );
            return Err(ApiError::InvalidValue {
                param: NAME.to_owned(),
                message,
            });
        };
        biases.push((id, decimal(&format!("{NAME}.{key}"), value, -100.0, 100.0)?));
    }
    biases.sort_unstable_by_key(|(id, _)| *id);
    Ok(biases)
}
