//! A hash of everything that decides the bytes of an answer.
//!
//! - The same model content, template, defaults and context give the same fingerprint on every
//!   machine: paths, names, threads and instruction sets are not in it.
//! - Fields are hashed with their lengths, so no two lists of fields run together to the same bytes.

use std::io;
use std::sync::{Arc, OnceLock};
use std::thread;

use sha2::{Digest, Sha256};
use spindle_inference::DEFINITION_VERSION;
use spindle_inference::formats::Bytes;
use spindle_inference::scheduler::SchedulerSettings;
use spindle_runtime::models::{ModelInfo, SamplingDefaults};

/// Files below this are hashed before the first request could ask.
const AT_ONCE_BYTES_MAX: usize = 8 << 20;

/// Computes the fingerprint: at once where that takes a few milliseconds, else on a thread of its own.
pub fn start(
    shards: Vec<Bytes>,
    info: &ModelInfo,
    settings: &SchedulerSettings,
) -> io::Result<Arc<OnceLock<String>>> {
    let rest = rest(info, settings);
    let bytes: usize = shards.iter().map(|shard| (**shard).as_ref().len()).sum();
    let compute = move || combine(&content(&shards), &rest);
    if bytes <= AT_ONCE_BYTES_MAX {
        return Ok(Arc::new(OnceLock::from(compute())));
    }
    let fingerprint = Arc::new(OnceLock::new());
    let result = fingerprint.clone();
    thread::Builder::new()
        .name("fingerprint".into())
        .spawn(move || {
            result.get_or_init(compute);
        })?;
    Ok(fingerprint)
}

fn content(shards: &[Bytes]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for shard in shards {
        let bytes = (**shard).as_ref();
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    hash.finalize().into()
}

fn combine(content: &[u8; 32], rest: &[u8]) -> String {
    let hash = Sha256::new()
        .chain_update(content)
        .chain_update(rest)
        .finalize();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn rest(info: &ModelInfo, settings: &SchedulerSettings) -> Vec<u8> {
    let mut bytes = DEFINITION_VERSION.to_le_bytes().to_vec();
    let template = info.chat_template.as_deref().unwrap_or_default();
    bytes.push(u8::from(info.chat_template.is_some()));
    bytes.extend((template.len() as u64).to_le_bytes());
    bytes.extend(template.as_bytes());
    bytes.extend((settings.context_len as u64).to_le_bytes());
    bytes.extend(format!("{:?};", settings.kv_type).as_bytes());
    let SamplingDefaults {
        temperature,
        top_p,
        top_k,
        min_p,
        typical_p,
        repeat_penalty,
        frequency_penalty,
        presence_penalty,
        seed,
        max_tokens,
    } = info.defaults;
    for value in [
        temperature,
        top_p,
        min_p,
        typical_p,
        repeat_penalty,
        frequency_penalty,
        presence_penalty,
    ] {
        field(&mut bytes, value.map(f32::to_le_bytes));
    }
    for value in [top_k, max_tokens] {
        field(&mut bytes, value.map(u32::to_le_bytes));
    }
    field(&mut bytes, seed.map(u64::to_le_bytes));
    bytes
}

fn field<const N: usize>(bytes: &mut Vec<u8>, value: Option<[u8; N]>) {
    bytes.push(u8::from(value.is_some()));
    bytes.extend(value.into_iter().flatten());
}

#[cfg(test)]
mod tests {
    use spindle_inference::Isa;

    use super::*;

    fn info(change: impl FnOnce(&mut ModelInfo)) -> ModelInfo {
        let defaults = crate::settings::serve(&crate::cli::ServeFlags::default())
            .unwrap()
            .model
            .defaults;
        let mut info = ModelInfo {
            id: "m".into(),
            created: 1,
            context_len: 0,
            vocab_len: 10,
            chat_template: None,
            bos_token: None,
            eos_token: None,
            fingerprint: None,
            defaults,
        };
        change(&mut info);
        info
    }

    #[test]
    fn whatever_changes_an_answer_changes_the_fingerprint_and_nothing_else_does() {
        let settings = SchedulerSettings::new(Isa::detect(), 2, 1 << 20);
        let base = combine(&[0; 32], &rest(&info(|_| ()), &settings));
        let same = [
            rest(&info(|info| info.id = "other".into()), &settings),
            rest(&info(|info| info.created = 2), &settings),
            rest(
                &info(|_| ()),
                &SchedulerSettings::new(Isa::detect(), 1, 2 << 20),
            ),
        ];
        for rest in same {
            assert_eq!(combine(&[0; 32], &rest), base);
        }
        let other = [
            rest(
                &info(|info| info.chat_template = Some(String::new())),
                &settings,
            ),
            rest(
                &info(|info| info.defaults.temperature = Some(0.0)),
                &settings,
            ),
            rest(&info(|info| info.defaults.seed = Some(0)), &settings),
            rest(
                &info(|_| ()),
                &SchedulerSettings {
                    context_len: 7,
                    ..settings.clone()
                },
            ),
        ];
        for rest in other {
            assert_ne!(combine(&[0; 32], &rest), base);
        }
        assert_ne!(combine(&[1; 32], &rest(&info(|_| ()), &settings)), base);
    }
}
