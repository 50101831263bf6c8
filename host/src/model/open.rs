//! Files into bytes, and bytes into a checked [`ModelFile`].
//!
//! A mapped model is there at once; a large one that is read shows how far it is.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressStyle};
use spindle_inference::formats::{Bytes, LoadError, ModelFile, gguf, safetensors};

use crate::mapped::Mapped;
use crate::settings::{ModelSettings, ModelSource};
use crate::{Error, embedded, logging, sizes};

/// A model below this is read before anybody could look at a bar.
const PROGRESS_BYTES_MIN: u64 = 256 << 20;
/// Between two lines of progress where there is no terminal.
const PROGRESS_LINE_EVERY: Duration = Duration::from_secs(5);
/// Of one JSON file beside the weights. The loader has closer limits of its own.
const JSON_BYTES_MAX: u64 = 64 << 20;

/// A checked file and where its bytes are.
pub struct Opened {
    pub file: ModelFile,
    pub held: Held,
    /// Seconds since 1970.
    pub created: u64,
}

/// Where weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// In the program.
    BuiltIn,
    /// In the page cache, shared with whoever else reads the file.
    Mapped,
    /// In this process alone.
    Memory,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BuiltIn => "built in",
            Self::Mapped => "mapped",
            Self::Memory => "in memory",
        })
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Demo => f.write_str("demo"),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Opens the model that the settings name. `fits` hears the size before anything is read.
pub fn open(
    settings: &ModelSettings,
    fits: impl Fn(u64) -> Result<(), Error>,
) -> Result<Opened, Error> {
    let path = match &settings.source {
        ModelSource::Demo => return demo(),
        ModelSource::Path(path) => path,
    };
    let unreadable = |source| Error::ModelFile {
        path: path.clone(),
        source,
    };
    let is_directory = fs::metadata(path).map_err(unreadable)?.is_dir();
    let weights = if is_directory {
        shards(path)?
    } else {
        vec![path.clone()]
    };
    let mut files = weights
        .iter()
        .map(|path| Weights::open(path))
        .collect::<Result<Vec<_>, _>>()?;
    let total = files
        .iter()
        .fold(0u64, |sum, file| sum.saturating_add(file.bytes));
    fits(total)?;
    let created = files
        .iter()
        .map(|file| file.modified)
        .max()
        .unwrap_or_default();
    let mut progress =
        (!settings.mmap && total >= PROGRESS_BYTES_MIN).then(|| Progress::new(total));
    let bytes = files
        .iter_mut()
        .map(|file| file.load(settings.mmap, &mut progress))
        .collect::<Result<Vec<_>, _>>()?;
    drop(progress);
    let read = if is_directory {
        directory(path, &weights, bytes)?
    } else {
        bytes
            .into_iter()
            .map(gguf::read)
            .next()
            .unwrap_or_else(|| unreachable!("one file, one result"))
    };
    let refused = |error: LoadError| Error::ModelRefused {
        name: settings.source.to_string(),
        cause: error.to_string(),
    };
    let held = if settings.mmap {
        Held::Mapped
    } else {
        Held::Memory
    };
    Ok(Opened {
        file: read.map_err(refused)?,
        held,
        created,
    })
}

fn demo() -> Result<Opened, Error> {
    let bytes: Bytes = Arc::new(embedded::DEMO.ok_or(Error::NoModel)?);
    let file = gguf::read(bytes).map_err(|error| Error::ModelRefused {
        name: "demo".into(),
        cause: error.to_string(),
    })?;
    Ok(Opened {
        file,
        held: Held::BuiltIn,
        created: 0,
    })
}

/// The weights of a model directory: one file, or the numbered parts of one.
fn shards(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let whole = directory.join("model.safetensors");
    if whole.is_file() {
        return Ok(vec![whole]);
    }
    let unreadable = |source| Error::ModelFile {
        path: directory.to_owned(),
        source,
    };
    let mut parts = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("model-") && name.ends_with(".safetensors") {
            parts.push(path);
        }
    }
    if parts.is_empty() {
        let cause = "the directory has no model.safetensors".to_owned();
        return Err(Error::ModelRefused {
            name: directory.display().to_string(),
            cause,
        });
    }
    parts.sort();
    Ok(parts)
}

fn directory(
    path: &Path,
    weights: &[PathBuf],
    bytes: Vec<Bytes>,
) -> Result<Result<ModelFile, LoadError>, Error> {
    let names = weights.iter().map(|path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    });
    Ok(safetensors::read(safetensors::DirectoryParts {
        config_json: required(path, "config.json")?,
        tokenizer_json: required(path, "tokenizer.json")?,
        tokenizer_config_json: optional(path, "tokenizer_config.json")?,
        generation_config_json: optional(path, "generation_config.json")?,
        chat_template_jinja: optional(path, "chat_template.jinja")?,
        index_json: optional(path, "model.safetensors.index.json")?,
        shards: names.zip(bytes).collect(),
    }))
}

fn required(directory: &Path, name: &str) -> Result<Vec<u8>, Error> {
    optional(directory, name)?.ok_or_else(|| Error::ModelFile {
        path: directory.join(name),
        source: io::ErrorKind::NotFound.into(),
    })
}

fn optional(directory: &Path, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let path = directory.join(name);
    let mut text = Vec::new();
    let read =
        File::open(&path).and_then(|file| file.take(JSON_BYTES_MAX + 1).read_to_end(&mut text));
    match read {
        Ok(_) if text.len() as u64 > JSON_BYTES_MAX => Err(Error::ModelFile {
            path,
            source: io::Error::new(io::ErrorKind::FileTooLarge, "more than 64 MiB"),
        }),
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::ModelFile { path, source }),
    }
}

/// An open file of weights.
struct Weights {
    path: PathBuf,
    file: File,
    bytes: u64,
    modified: u64,
}

impl Weights {
    fn open(path: &Path) -> Result<Self, Error> {
        let open = || {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            // A pipe has no size, and a mapping of nothing is refused in words nobody understands.
            if !metadata.is_file() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "not a regular file",
                ));
            }
            if metadata.len() == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the file is empty",
                ));
            }
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let modified = modified
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs();
            Ok(Self {
                path: path.to_owned(),
                file,
                bytes: metadata.len(),
                modified,
            })
        };
        open().map_err(|source| Error::ModelFile {
            path: path.to_owned(),
            source,
        })
    }

    fn load(&mut self, mmap: bool, progress: &mut Option<Progress>) -> Result<Bytes, Error> {
        let loaded = if mmap {
            Mapped::map(&self.file)
        } else {
            let bytes = usize::try_from(self.bytes).unwrap_or(usize::MAX);
            Mapped::read(&mut self.file, bytes, |chunk| {
                if let Some(progress) = progress {
                    progress.add(chunk);
                }
            })
        };
        let loaded = loaded.map_err(|source| Error::ModelFile {
            path: self.path.clone(),
            source,
        })?;
        Ok(Arc::new(loaded))
    }
}

/// A bar on a terminal, a line now and then elsewhere.
struct Progress {
    bar: ProgressBar,
    total: u64,
    done: u64,
    start: Instant,
    /// Of the last line; none where there is a bar.
    said: Option<Instant>,
}

impl Progress {
    fn new(total: u64) -> Self {
        let style = ProgressStyle::with_template(
            "loading {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        );
        let (bar, said) = match (logging::is_terminal(), style) {
            (true, Ok(style)) => (ProgressBar::new(total).with_style(style), None),
            _ => (ProgressBar::hidden(), Some(Instant::now())),
        };
        Self {
            bar,
            total,
            done: 0,
            start: Instant::now(),
            said,
        }
    }

    fn add(&mut self, bytes: u64) {
        self.done += bytes;
        self.bar.set_position(self.done);
        if self
            .said
            .is_some_and(|said| said.elapsed() >= PROGRESS_LINE_EVERY)
        {
            self.said = Some(Instant::now());
            let rate = (self.done as f64 / self.start.elapsed().as_secs_f64()) as u64;
            logging::say(format_args!(
                "loading: {} %, {} of {}, {}/s, {} s left",
                self.done * 100 / self.total,
                sizes::display(self.done),
                sizes::display(self.total),
                sizes::display(rate),
                (self.total - self.done) / rate.max(1)
            ));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings;

    fn open_path(path: &Path) -> Error {
        let mut settings = settings::serve(&crate::cli::ServeFlags::default())
            .unwrap()
            .model;
        settings.source = ModelSource::Path(path.to_owned());
        open(&settings, |_| Ok(())).err().expect("refused")
    }

    #[test]
    fn what_is_no_model_is_a_model_error_with_its_path() {
        let directory = std::env::temp_dir().join(format!("spindle-open-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (empty, text) = (directory.join("empty.gguf"), directory.join("text.gguf"));
        fs::write(&empty, "").unwrap();
        fs::write(&text, "hello, I am no model at all").unwrap();
        for path in [&directory.join("absent.gguf"), &empty, &text, &directory] {
            let error = open_path(path);
            assert_eq!(error.exit_code(), crate::ExitCode::Model);
            assert!(
                error.to_string().contains(path.to_str().unwrap()),
                "{error}"
            );
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}
