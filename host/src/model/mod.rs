//! From a path to a checked model: opening, reading, fitting into memory.
//!
//! - Everything here may block for long and runs on a thread of its own.
//! - Before a byte is read, the file's size is held against the memory there is.
//! - The fingerprint needs every byte of the file, so it comes later, in the background.

mod fingerprint;
mod open;

use std::sync::{Arc, OnceLock};
use std::thread;

use spindle_inference::kv::{KvCache, PAGE_LEN};
use spindle_inference::scheduler::SchedulerSettings;
use spindle_inference::{Isa, Model};
use spindle_runtime::models::ModelInfo;
use tokio::sync::oneshot;

use crate::settings::{ChatTemplate, ModelSettings};
use crate::{Error, memory, sizes};
pub use open::Held;

/// For the program itself, connections and working memory, beside weights, keys and values.
const ROOM_BYTES: u64 = 256 << 20;

/// A model, and how it will be run.
pub struct LoadedModel {
    /// Weights and tokenizer.
    pub model: Arc<Model>,
    /// For the scheduler.
    pub settings: SchedulerSettings,
    /// For the components; context and fingerprint come later.
    pub info: ModelInfo,
    /// Set once the file's content has been hashed.
    pub fingerprint: Arc<OnceLock<String>>,
    /// For the start-up lines.
    pub facts: Facts,
}

/// What the operator is told about a model.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Architecture.
    pub architecture: &'static str,
    /// Instruction set of the kernels.
    pub isa: &'static str,
    /// Compute threads.
    pub threads: usize,
    /// Bytes of all weights.
    pub weight_bytes: u64,
    /// Where they are.
    pub held: Held,
    /// Whether the operator or the model says how chats are worded.
    pub has_template: bool,
}

/// Loads a model on a thread of its own.
pub async fn load_aside(settings: ModelSettings) -> Result<LoadedModel, Error> {
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new().name("load".into()).spawn(move || {
        // Nobody listens only when the program ends anyway.
        let _ = sender.send(load(&settings));
    })?;
    receiver
        .await
        .unwrap_or_else(|_| Err(Error::Inference("the model's loader broke".into())))
}

fn load(settings: &ModelSettings) -> Result<LoadedModel, Error> {
    let name = settings.source.to_string();
    let memory_bytes = memory::total_bytes().unwrap_or(u64::MAX);
    let opened = open::open(settings, |file_bytes| {
        fits(&name, file_bytes, 0, memory_bytes)
    })?;
    let (shards, held, created) = (opened.file.shards.clone(), opened.held, opened.created);
    let weight_bytes = opened.file.weight_bytes();
    let kv_bytes = kv_bytes(&name, settings.kv_bytes, weight_bytes, memory_bytes)?;
    let refused = |error| Error::ModelRefused {
        name: name.clone(),
        cause: format!("{error}"),
    };
    let model = Model::new(opened.file).map_err(refused)?;

    let isa = Isa::detect();
    let scheduler = SchedulerSettings {
        context_len: settings.context_len.unwrap_or(0),
        sequences_max: settings.sequences_max,
        queue_max: settings.queue_max,
        ..SchedulerSettings::new(isa, settings.threads, kv_bytes)
    };
    let page_bytes = KvCache::page_bytes(model.config(), scheduler.kv_type);
    if kv_bytes < page_bytes {
        too_small(
            &name,
            settings.kv_bytes,
            page_bytes,
            weight_bytes,
            memory_bytes,
        )?;
    }
    let info = info(&model, settings, created);
    let facts = Facts {
        architecture: model.config().architecture.name(),
        isa: isa.name(),
        threads: settings.threads,
        weight_bytes,
        held,
        has_template: info.chat_template.is_some()
            || settings.chat_template == ChatTemplate::ChatMl,
    };
    let fingerprint = fingerprint::start(shards, &info, &scheduler)?;
    Ok(LoadedModel {
        model,
        settings: scheduler,
        info,
        fingerprint,
        facts,
    })
}

fn info(model: &Model, settings: &ModelSettings, created: u64) -> ModelInfo {
    // The context is the scheduler's to say.
    let facts = model.info(&settings.id, 0);
    ModelInfo {
        id: facts.id,
        created,
        context_len: facts.context_len,
        vocab_len: facts.vocab_len,
        chat_template: match &settings.chat_template {
            ChatTemplate::Model => facts.chat_template,
            ChatTemplate::ChatMl => None,
            ChatTemplate::Text(text) => Some(text.clone()),
        },
        bos_token: facts.bos_token,
        eos_token: facts.eos_token,
        fingerprint: None,
        defaults: settings.defaults,
    }
}

/// What the operator says, or a quarter of the memory; the cache takes no more than the context needs.
fn kv_bytes(
    name: &str,
    wanted: Option<u64>,
    weight_bytes: u64,
    memory_bytes: u64,
) -> Result<u64, Error> {
    match wanted {
        Some(bytes) => fits(name, weight_bytes, bytes, memory_bytes).map(|()| bytes),
        None => Ok((memory_bytes / 4)
            .min(memory_bytes.saturating_sub(weight_bytes.saturating_add(ROOM_BYTES)))),
    }
}

/// Less than the page that the cache has in any case: a server takes no more than it was allowed, and
/// does not begin with a context that no question fits into.
fn too_small(
    name: &str,
    wanted: Option<u64>,
    page_bytes: u64,
    weight_bytes: u64,
    memory_bytes: u64,
) -> Result<(), Error> {
    let Some(wanted) = wanted else {
        return fits(
            name,
            weight_bytes.saturating_add(ROOM_BYTES),
            page_bytes,
            memory_bytes,
        );
    };
    Err(Error::Config {
        what: format!(
            "--kv-bytes: {} is less than {PAGE_LEN} tokens of this model take, {}",
            sizes::display(wanted),
            sizes::display(page_bytes)
        ),
        hint: "pass more, or leave the option out".into(),
    })
}

fn fits(name: &str, weight_bytes: u64, kv_bytes: u64, memory_bytes: u64) -> Result<(), Error> {
    let needed = weight_bytes.saturating_add(kv_bytes);
    if needed <= memory_bytes {
        return Ok(());
    }
    Err(Error::ModelTooLarge {
        name: name.to_owned(),
        needed: sizes::display(needed),
        available: sizes::display(memory_bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn keys_and_values_get_a_quarter_of_the_memory_or_what_the_weights_leave() {
        let cases = [
            (None, GIB, 16 * GIB, Some(4 * GIB)),
            (None, 14 * GIB, 16 * GIB, Some(2 * GIB - ROOM_BYTES)),
            (Some(8 * GIB), 8 * GIB, 16 * GIB, Some(8 * GIB)),
            (Some(9 * GIB), 8 * GIB, 16 * GIB, None),
            (Some(u64::MAX), GIB, 16 * GIB, None),
        ];
        for (wanted, weights, memory, expected) in cases {
            assert_eq!(
                kv_bytes("m", wanted, weights, memory).ok(),
                expected,
                "{wanted:?} {weights}"
            );
        }
    }

    #[test]
    fn less_than_a_page_is_a_settings_error_or_a_model_too_large() {
        let code = |wanted, memory| {
            let checked = too_small("m", wanted, 1 << 20, GIB, memory);
            checked.err().map(|error| error.exit_code())
        };
        assert_eq!(code(Some(1), 16 * GIB), Some(crate::ExitCode::Config));
        assert_eq!(code(None, GIB + ROOM_BYTES), Some(crate::ExitCode::Model));
        assert_eq!(code(None, GIB + ROOM_BYTES + (1 << 20)), None);
    }

    #[test]
    fn what_does_not_fit_is_said_with_both_sizes() {
        let error = fits("big.gguf", 40 * GIB, 0, 16 * GIB).unwrap_err();
        assert_eq!(
            error.to_string(),
            "model big.gguf needs 40.0 GiB of memory, and 16.0 GiB is there"
        );
        assert_eq!(error.exit_code(), crate::ExitCode::Model);
    }
}
