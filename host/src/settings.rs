//! Flags into decisions: after this module nothing is optional that has a default.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderValue;
use spindle_runtime::models::SamplingDefaults;
use spindle_runtime::{ApiSettings, Limits};

use crate::Error;
use crate::cli::{ModelFlags, RunFlags, ServeFlags};
use crate::keys::KeyRing;
use crate::server::ServerSettings;

/// Most bytes of a request's body.
const BODY_BYTES_MAX: u64 = 10 << 20;
/// Linear memory of an instance: a body of 10 MiB, read and parsed, with room.
const GUEST_MEMORY_BYTES_MAX: usize = 64 << 20;
/// Source of a chat template.
const TEMPLATE_BYTES_MAX: u64 = 1 << 20;
/// More instances than a machine would ever run; the pool reserves address space for each.
const STREAMS_MAX_MAX: u32 = 10_000;
/// A week. What a clock cannot be set to is far beyond, and nobody waits so long.
const DRAIN_SECS_MAX: u64 = 7 * 24 * 60 * 60;

/// Where the model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    /// The model in this program.
    Demo,
    /// A file or a directory.
    Path(PathBuf),
}

/// Which template words a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatTemplate {
    /// The model's own.
    Model,
    /// ChatML, whatever the model says.
    ChatMl,
    /// This one.
    Text(String),
}

/// Which model, and how it is run.
#[derive(Clone, Debug)]
pub struct ModelSettings {
    /// See [`ModelSource`].
    pub source: ModelSource,
    /// Name in the API.
    pub id: String,
    /// Tokens of the context; none takes the model's own limit.
    pub context_len: Option<usize>,
    /// Compute threads.
    pub threads: usize,
    /// Generations that run at once.
    pub sequences_max: usize,
    /// Generations that may wait.
    pub queue_max: usize,
    /// Memory for keys and values; none takes what the context needs, up to a quarter of the memory.
    pub kv_bytes: Option<u64>,
    /// Map the file instead of reading it.
    pub mmap: bool,
    /// See [`ChatTemplate`].
    pub chat_template: ChatTemplate,
    /// What a request gets where it is silent.
    pub defaults: SamplingDefaults,
}

/// Everything `spindle serve` needs.
#[derive(Debug)]
pub struct ServeSettings {
    /// The model.
    pub model: ModelSettings,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Who may use it.
    pub keys: KeyRing,
    /// What components may use.
    pub limits: Limits,
    /// What components are told.
    pub api: ApiSettings,
    /// For the host's own answers.
    pub cors_origin: Option<HeaderValue>,
    /// Connections.
    pub server: ServerSettings,
    /// Further components by path prefix.
    pub test_guests: Vec<(String, PathBuf)>,
}

/// Everything `spindle run` needs.
#[derive(Debug)]
pub struct RunSettings {
    /// The model.
    pub model: ModelSettings,
    /// What the component may use.
    pub limits: Limits,
    /// What the component is told.
    pub api: ApiSettings,
}

/// Decides everything for `spindle serve`.
pub fn serve(flags: &ServeFlags) -> Result<ServeSettings, Error> {
    let listen = listen(flags);
    let keys = keys(flags)?;
    if keys.is_empty() && !listen.ip().to_canonical().is_loopback() && !flags.insecure_no_auth {
        return Err(Error::Unguarded { address: listen });
    }
    let streams_max = within(
        "--streams-max",
        flags.streams_max.unwrap_or(1000),
        1,
        STREAMS_MAX_MAX,
    )?;
    let drain_secs = within(
        "--drain-secs",
        flags.drain_secs.unwrap_or(30),
        0,
        DRAIN_SECS_MAX,
    )?;
    let cors_origin = flags.cors_origin.as_deref().map(origin).transpose()?;
    let mut model = model(&flags.model)?;
    if let Some(queue_max) = flags.queue_max {
        // A generation waits before it runs, if only for a moment: without a place to do so none would.
        model.queue_max = within("--queue-max", queue_max, 1, u32::MAX)? as usize;
    }
    Ok(ServeSettings {
        model,
        listen,
        keys,
        limits: limits(streams_max, flags.guest_cpu_ms.unwrap_or(30_000)),
        api: ApiSettings {
            cors_origin: flags.cors_origin.clone(),
            body_bytes_max: BODY_BYTES_MAX,
        },
        cors_origin,
        server: ServerSettings {
            drain: Duration::from_secs(drain_secs),
            trusted_proxies: flags.trusted_proxy.clone(),
        },
        test_guests: flags
            .test_guest
            .iter()
            .map(|text| test_guest(text))
            .collect::<Result<_, _>>()?,
    })
}

/// Decides everything for `spindle run`.
pub fn run(flags: &RunFlags) -> Result<RunSettings, Error> {
    Ok(RunSettings {
        model: model(&flags.model)?,
        limits: limits(1, 30_000),
        api: ApiSettings {
            cors_origin: None,
            body_bytes_max: BODY_BYTES_MAX,
        },
    })
}

fn limits(instances_max: u32, guest_cpu_ms: u64) -> Limits {
    Limits {
        instances_max,
        memory_bytes_max: GUEST_MEMORY_BYTES_MAX,
        guest_cpu: Duration::from_millis(guest_cpu_ms),
    }
}

fn listen(flags: &ServeFlags) -> SocketAddr {
    flags.listen.unwrap_or_else(|| {
        let host = flags.host.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        SocketAddr::new(host, flags.port.unwrap_or(8080))
    })
}

fn keys(flags: &ServeFlags) -> Result<KeyRing, Error> {
    let mut keys = KeyRing::default();
    if let Some(key) = &flags.api_key {
        let key = key.trim();
        if key.is_empty() {
            return Err(config(
                "--api-key: empty",
                "pass a key, or leave the option out",
            ));
        }
        keys.add(key);
    }
    if let Some(path) = &flags.api_key_file {
        let text = read(path)?;
        keys.add_file(&text).map_err(|error| {
            config(
                &format!("{}: {error}", path.display()),
                "write one KEY [NAME] a line",
            )
        })?;
        if keys.is_empty() {
            return Err(config(
                &format!("{}: no key in it", path.display()),
                "write one KEY [NAME] a line",
            ));
        }
    }
    Ok(keys)
}

fn model(flags: &ModelFlags) -> Result<ModelSettings, Error> {
    let source = flags
        .model
        .clone()
        .map_or(ModelSource::Demo, ModelSource::Path);
    let id = flags.alias.clone().unwrap_or_else(|| id(&source));
    if id.is_empty() {
        return Err(config(
            "--alias: empty",
            "pass a name, or leave the option out",
        ));
    }
    Ok(ModelSettings {
        id,
        source,
        context_len: flags
            .ctx_size
            .filter(|len| *len > 0)
            .map(|len| usize::try_from(len).unwrap_or(usize::MAX)),
        threads: threads(flags.threads)?,
        sequences_max: within("--parallel", flags.parallel.unwrap_or(16), 1, 1024)? as usize,
        // The choices of one request wait each on its own: an idle server must take the largest `n`.
        queue_max: 128,
        kv_bytes: flags.kv_bytes,
        mmap: flags.mmap.unwrap_or(true) && !flags.no_mmap,
        chat_template: chat_template(flags)?,
        defaults: defaults(flags)?,
    })
}

/// The file's name without its ending, or the directory's.
fn id(source: &ModelSource) -> String {
    match source {
        ModelSource::Demo => "spindle-demo".to_owned(),
        ModelSource::Path(path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            let named = if path.extension().is_some_and(|ending| ending == "gguf") {
                path.file_stem()
            } else {
                path.file_name()
            };
            named.map_or_else(
                || "model".to_owned(),
                |name| name.to_string_lossy().into_owned(),
            )
        }
    }
}

fn threads(wanted: Option<i64>) -> Result<usize, Error> {
    match wanted {
        // The number that affinity and the container's quota leave.
        None | Some(..=0) => {
            Ok(std::thread::available_parallelism().map_or(1, |cores| cores.get()))
        }
        Some(wanted) => within("--threads", wanted, 1, 512).map(|threads| threads as usize),
    }
}

fn chat_template(flags: &ModelFlags) -> Result<ChatTemplate, Error> {
    match (&flags.chat_template, &flags.chat_template_file) {
        (_, Some(path)) => {
            let text = read(path)?;
            if text.len() as u64 > TEMPLATE_BYTES_MAX {
                return Err(config(
                    &format!("{}: more than 1 MiB", path.display()),
                    "a chat template is a few KiB of text",
                ));
            }
            Ok(ChatTemplate::Text(text))
        }
        (Some(text), None) if text.contains("{{") || text.contains("{%") => {
            Ok(ChatTemplate::Text(text.clone()))
        }
        (Some(name), None) if name == "chatml" => Ok(ChatTemplate::ChatMl),
        (Some(name), None) => Err(config(
            &format!("--chat-template: neither a template nor a known name: {name}"),
            "pass chatml, the template's text, or --chat-template-file FILE",
        )),
        (None, None) => Ok(ChatTemplate::Model),
    }
}

/// In the ranges of a request (`docs/api.md`): a default reaches the engine without being checked again.
fn defaults(flags: &ModelFlags) -> Result<SamplingDefaults, Error> {
    let flags = &flags.sampling;
    let checked = |name, value: Option<f32>, min, max| {
        value.map(|value| within(name, value, min, max)).transpose()
    };
    Ok(SamplingDefaults {
        temperature: checked("--temp", flags.temp, 0.0, 2.0)?,
        top_p: checked("--top-p", flags.top_p, 0.0, 1.0)?,
        top_k: flags
            .top_k
            .map(|k| within("--top-k", k, 0, 1_000_000))
            .transpose()?,
        min_p: checked("--min-p", flags.min_p, 0.0, 1.0)?,
        typical_p: checked("--typical", flags.typical, 0.0, 1.0)?,
        repeat_penalty: checked("--repeat-penalty", flags.repeat_penalty, 0.1, 10.0)?,
        frequency_penalty: checked("--frequency-penalty", flags.frequency_penalty, -2.0, 2.0)?,
        presence_penalty: checked("--presence-penalty", flags.presence_penalty, -2.0, 2.0)?,
        seed: flags.seed.and_then(|seed| u64::try_from(seed).ok()),
        max_tokens: flags
            .predict
            .filter(|count| *count >= 0)
            .map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
    })
}

fn within<T: PartialOrd + std::fmt::Display>(
    flag: &str,
    value: T,
    min: T,
    max: T,
) -> Result<T, Error> {
    // A comparison with NaN is false, which refuses it.
    if value >= min && value <= max {
        return Ok(value);
    }
    Err(config(
        &format!("{flag}: out of range: {value}"),
        &format!("pass a value from {min} to {max}"),
    ))
}

fn origin(text: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(text).map_err(|_| {
        config(
            "--cors-origin: not an origin",
            "pass one such as https://example.com, or *",
        )
    })
}

fn test_guest(text: &str) -> Result<(String, PathBuf), Error> {
    match text.split_once('=') {
        Some((prefix, file)) if prefix.starts_with('/') => Ok((prefix.to_owned(), file.into())),
        _ => Err(config(
            &format!("--test-guest: {text}"),
            "pass /PREFIX=FILE.cwasm",
        )),
    }
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::ConfigFile {
        path: path.to_owned(),
        source,
    })
}

fn config(what: &str, hint: &str) -> Error {
    Error::Config {
        what: what.to_owned(),
        hint: hint.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::SamplingFlags;

    fn flags(change: impl FnOnce(&mut ServeFlags)) -> ServeFlags {
        let mut flags = ServeFlags::default();
        change(&mut flags);
        flags
    }

    #[test]
    fn without_flags_the_demo_listens_on_this_machine_only() {
        let settings = serve(&ServeFlags::default()).unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(settings.model.source, ModelSource::Demo);
        assert_eq!(settings.model.id, "spindle-demo");
        assert!(settings.model.mmap && settings.keys.is_empty());
        assert_eq!(settings.limits.instances_max, 1000);
    }

    #[test]
    fn the_network_wants_a_key_or_a_word() {
        let open = |change: fn(&mut ServeFlags)| {
            serve(&flags(|flags| {
                flags.host = Some("0.0.0.0".parse().unwrap());
                change(flags);
            }))
        };
        assert!(matches!(open(|_| ()), Err(Error::Unguarded { .. })));
        assert!(open(|flags| flags.api_key = Some("k".into())).is_ok());
        assert!(open(|flags| flags.insecure_no_auth = true).is_ok());
    }

    #[test]
    fn a_model_is_named_after_its_file() {
        for (path, id) in [
            ("dir/SmolLM2.Q4_1.gguf", "SmolLM2.Q4_1"),
            ("models/qwen3/", "qwen3"),
            ("models/v1.5", "v1.5"),
        ] {
            let settings = serve(&flags(|flags| flags.model.model = Some(path.into()))).unwrap();
            assert_eq!(settings.model.id, id);
        }
    }

    #[test]
    fn values_out_of_range_are_settings_errors() {
        let cases: [fn(&mut ServeFlags); 12] = [
            |flags| flags.model.sampling.temp = Some(-0.1),
            |flags| flags.model.sampling.temp = Some(f32::NAN),
            |flags| flags.model.sampling.top_p = Some(1.1),
            |flags| flags.model.sampling.repeat_penalty = Some(0.05),
            |flags| flags.model.sampling.top_k = Some(1_000_001),
            |flags| flags.model.parallel = Some(0),
            |flags| flags.streams_max = Some(0),
            |flags| flags.queue_max = Some(0),
            |flags| flags.drain_secs = Some(u64::MAX),
            |flags| flags.api_key = Some(" ".into()),
            |flags| flags.model.chat_template = Some("llama9".into()),
            |flags| flags.test_guest = vec!["file.cwasm".into()],
        ];
        for (index, change) in cases.into_iter().enumerate() {
            let error = serve(&flags(change))
                .err()
                .unwrap_or_else(|| panic!("case {index}"));
            assert_eq!(error.exit_code(), crate::ExitCode::Config, "{error}");
        }
    }

    #[test]
    fn either_switch_turns_mapping_off() {
        let cases = [
            (None, false, true),
            (Some(true), false, true),
            (Some(false), false, false),
            (None, true, false),
        ];
        for (mmap, no_mmap, expected) in cases {
            let settings = serve(&flags(|flags| {
                (flags.model.mmap, flags.model.no_mmap) = (mmap, no_mmap);
            }));
            assert_eq!(settings.unwrap().model.mmap, expected, "{mmap:?} {no_mmap}");
        }
    }

    #[test]
    fn negative_numbers_mean_none_where_llama_server_says_so() {
        let settings = serve(&flags(|flags| {
            flags.model.sampling = SamplingFlags {
                seed: Some(-1),
                predict: Some(-1),
                ..SamplingFlags::default()
            };
            flags.model.threads = Some(-1);
        }))
        .unwrap();
        assert_eq!(
            (
                settings.model.defaults.seed,
                settings.model.defaults.max_tokens
            ),
            (None, None)
        );
        assert!(settings.model.threads >= 1);
    }

    #[test]
    fn a_chat_template_is_told_from_a_name() {
        let template = |text: &str| {
            chat_template(&ModelFlags {
                chat_template: Some(text.into()),
                ..ModelFlags::default()
            })
        };
        assert_eq!(template("chatml").unwrap(), ChatTemplate::ChatMl);
        assert_eq!(
            template("{{ messages }}").unwrap(),
            ChatTemplate::Text("{{ messages }}".into())
        );
    }
}
