//! Everything that can end the program, with its exit code and the way out.
//!
//! - One line says the cause, a `hint:` line says what to type; `main` prints both, once.
//! - The exit code follows from the variant, never from the text.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The program's exit codes, which scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Done, or drained after a signal.
    Ok = 0,
    /// Anything without a code of its own.
    Failure = 1,
    /// The command line does not parse.
    Usage = 2,
    /// A setting cannot be what it is.
    Config = 3,
    /// The model cannot be found, read, trusted, or held in memory.
    Model = 4,
    /// The address cannot be listened on.
    Bind = 5,
    /// A second ctrl-c, or the first one during `spindle run`.
    Interrupted = 130,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

/// What ended the program.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting and what is wrong with it.
    #[error("{what}")]
    Config {
        /// Subject first, fact after a colon.
        what: String,
        /// What to type instead.
        hint: String,
    },
    /// A file that a setting names cannot be read.
    #[error("{}: {source}", path.display())]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The address is open to the network and nothing guards it.
    #[error("{address} is open to the network, and no API key is set")]
    Unguarded {
        /// Where to listen.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Where to listen.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// No model was named and none is built in.
    #[error("no model: this build has no built-in demo model")]
    NoModel,
    /// The model's file cannot be read.
    #[error("model {}: {source}", path.display())]
    ModelFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The model's file is not what it should be.
    #[error("model {name}: {cause}")]
    ModelRefused {
        /// File name, or `demo`.
        name: String,
        /// What the loader found.
        cause: String,
    },
    /// The model does not fit in memory.
    #[error("model {name} needs {needed} of memory, and {available} is there")]
    ModelTooLarge {
        /// File name.
        name: String,
        /// Weights and key/value memory.
        needed: String,
        /// What the machine, or the process's limit, has.
        available: String,
    },
    /// The embedded components do not fit this program or machine.
    #[error("components: {0}")]
    Runtime(String),
    /// The generation that `spindle run` asked for did not come to its end.
    #[error("{0}")]
    Generation(String),
    /// The thread that owns the model broke and could not be started again.
    #[error("inference stopped: {0}")]
    Inference(String),
    /// A file or socket failed in a way without a name of its own.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Ctrl-c, where nothing is left to finish.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// The code the program ends with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config { .. } | Self::ConfigFile { .. } | Self::Unguarded { .. } => {
                ExitCode::Config
            }
            Self::Bind { .. } => ExitCode::Bind,
            Self::NoModel
            | Self::ModelFile { .. }
            | Self::ModelRefused { .. }
            | Self::ModelTooLarge { .. } => ExitCode::Model,
            Self::Runtime(_) | Self::Generation(_) | Self::Inference(_) | Self::Io(_) => {
                ExitCode::Failure
            }
            Self::Interrupted => ExitCode::Interrupted,
        }
    }

    /// The way out, if there is one.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Config { hint, .. } => hint.clone(),
            Self::Unguarded { .. } => {
                "pass --api-key KEY (or --api-key-file FILE), or --insecure-no-auth if anybody may use this server".into()
            }
            Self::Bind { address, source } => match source.kind() {
                io::ErrorKind::AddrInUse => {
                    format!("another program listens there; choose another port, such as --listen {}:{}", host(address), next_port(address))
                }
                io::ErrorKind::PermissionDenied => format!("ports below 1024 need rights; try --listen {}:8080", host(address)),
                io::ErrorKind::AddrNotAvailable => "this machine has no such address; 0.0.0.0 stands for all it has".into(),
                _ => return None,
            },
            Self::NoModel => "pass --model FILE".into(),
            Self::ModelFile { .. } => "pass --model FILE with a GGUF file or a model directory, or omit it for the built-in demo".into(),
            Self::ModelRefused { .. } => "the file is damaged, or of a kind this version does not know; download it again or try another".into(),
            Self::ModelTooLarge { .. } => "take a smaller quantization of the model, a smaller --ctx-size, or a smaller --kv-bytes".into(),
            Self::ConfigFile { .. }
            | Self::Runtime(_)
            | Self::Generation(_)
            | Self::Inference(_)
            | Self::Io(_)
            | Self::Interrupted => return None,
        })
    }

    /// Whether somebody stopped reading our output, which is their right.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

fn host(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}

fn next_port(address: &SocketAddr) -> u16 {
    address.port().checked_add(1).unwrap_or(8080)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> SocketAddr {
        "127.0.0.1:8080".parse().unwrap()
    }

    #[test]
    fn each_error_has_the_documented_code() {
        let io = |kind| io::Error::from(kind);
        let cases = [
            (
                Error::Config {
                    what: String::new(),
                    hint: String::new(),
                },
                3,
            ),
            (
                Error::ConfigFile {
                    path: "keys".into(),
                    source: io(io::ErrorKind::NotFound),
                },
                3,
            ),
            (Error::Unguarded { address: address() }, 3),
            (
                Error::Bind {
                    address: address(),
                    source: io(io::ErrorKind::AddrInUse),
                },
                5,
            ),
            (Error::NoModel, 4),
            (
                Error::ModelFile {
                    path: "m".into(),
                    source: io(io::ErrorKind::NotFound),
                },
                4,
            ),
            (
                Error::ModelRefused {
                    name: "m".into(),
                    cause: String::new(),
                },
                4,
            ),
            (
                Error::ModelTooLarge {
                    name: "m".into(),
                    needed: String::new(),
                    available: String::new(),
                },
                4,
            ),
            (Error::Runtime(String::new()), 1),
            (Error::Generation(String::new()), 1),
            (Error::Inference(String::new()), 1),
            (Error::Io(io(io::ErrorKind::Other)), 1),
            (Error::Interrupted, 130),
        ];
        for (error, code) in cases {
            assert_eq!(error.exit_code() as u8, code, "{error:?}");
        }
    }

    #[test]
    fn a_port_in_use_names_a_free_looking_one() {
        let error = Error::Bind {
            address: address(),
            source: io::Error::from(io::ErrorKind::AddrInUse),
        };
        assert!(error.hint().unwrap().ends_with("--listen 127.0.0.1:8081"));
    }

    #[test]
    fn a_closed_pipe_is_known_from_other_failures() {
        assert!(Error::Io(io::Error::from(io::ErrorKind::BrokenPipe)).is_closed_pipe());
        assert!(!Error::Io(io::Error::from(io::ErrorKind::NotFound)).is_closed_pipe());
    }
}
