//! The flags, one field each, as typed.

use std::net::{AddrParseError, IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

use crate::sizes;

/// Which model, and how it is run.
#[derive(Args, Clone, Debug, Default)]
pub struct ModelFlags {
    /// GGUF file, or directory with config.json and safetensors [default: the built-in demo model]
    #[arg(short, long, value_name = "FILE|DIR")]
    pub model: Option<PathBuf>,
    /// Name of the model in the API [default: the file's name]
    #[arg(short, long, value_name = "NAME")]
    pub alias: Option<String>,
    /// Tokens that prompt and answer may have together, 0 for the model's own limit [default: 0]
    #[arg(short, long, value_name = "N", value_parser = size)]
    pub ctx_size: Option<u64>,
    /// Compute threads [default: all cores]
    #[arg(short, long, value_name = "N", allow_negative_numbers = true)]
    pub threads: Option<i64>,
    /// Generations that run at once; further ones wait (-np for short) [default: 16]
    #[arg(long, value_name = "N")]
    pub parallel: Option<u32>,
    /// Memory for keys and values [default: a quarter of the memory, at most what the context needs]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub kv_bytes: Option<u64>,
    /// Map the model's file into memory (the default)
    #[arg(
        long,
        action = ArgAction::SetTrue,
        default_value = "true",
        hide_default_value = true,
        overrides_with = "no_mmap"
    )]
    pub mmap: Option<bool>,
    /// Read the model's file instead of mapping it
    #[arg(long, overrides_with = "mmap")]
    pub no_mmap: bool,
    /// Jinja template for chats, or `chatml` [default: the model's own]
    #[arg(
        long,
        value_name = "NAME|TEMPLATE",
        conflicts_with = "chat_template_file"
    )]
    pub chat_template: Option<String>,
    /// File with the Jinja template for chats
    #[arg(long, value_name = "FILE")]
    pub chat_template_file: Option<PathBuf>,
    /// Colours on stderr: auto, on or off [default: auto]
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub log_colors: ColorChoice,
    #[command(flatten)]
    pub sampling: SamplingFlags,
}

/// What a request gets where it is silent.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Defaults of a request")]
pub struct SamplingFlags {
    /// Tokens of an answer, -1 for what the context leaves
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        allow_negative_numbers = true,
        visible_alias = "n-predict"
    )]
    pub predict: Option<i64>,
    /// Temperature, 0 for the likeliest token
    #[arg(long, value_name = "X", visible_alias = "temperature")]
    pub temp: Option<f32>,
    /// Choose among the N likeliest tokens, 0 for all
    #[arg(long, value_name = "N")]
    pub top_k: Option<u32>,
    /// Choose among the likeliest tokens that have this probability together
    #[arg(long, value_name = "X")]
    pub top_p: Option<f32>,
    /// Drop tokens below this part of the likeliest one's probability
    #[arg(long, value_name = "X")]
    pub min_p: Option<f32>,
    /// Choose among tokens of typical surprise
    #[arg(long, value_name = "X", visible_alias = "typical-p")]
    pub typical: Option<f32>,
    /// Penalty on tokens of prompt and answer, 1 for none
    #[arg(long, value_name = "X")]
    pub repeat_penalty: Option<f32>,
    /// Penalty on tokens that the answer has
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub presence_penalty: Option<f32>,
    /// Penalty on tokens for each time the answer has them
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub frequency_penalty: Option<f32>,
    /// Seed of the random numbers, -1 for a new one each time
    #[arg(short, long, value_name = "N", allow_negative_numbers = true)]
    pub seed: Option<i64>,
}

/// `spindle serve`.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeFlags {
    /// Where to listen [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT", value_parser = socket_address, help_heading = "Network")]
    pub listen: Option<SocketAddr>,
    /// Address to listen on, for those who know it by this name
    #[arg(long, value_name = "ADDR", value_parser = ip_address,
        conflicts_with = "listen",
        help_heading = "Network"
    )]
    pub host: Option<IpAddr>,
    /// Port to listen on, for those who know it by this name
    #[arg(
        long,
        value_name = "PORT",
        conflicts_with = "listen",
        help_heading = "Network"
    )]
    pub port: Option<u16>,
    /// Key that clients must send
    #[arg(long, value_name = "KEY", help_heading = "Network")]
    pub api_key: Option<String>,
    /// File of keys: a line is KEY [NAME], keys of one name share files and caches, # begins a comment
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    pub api_key_file: Option<PathBuf>,
    /// Listen on the network without a key
    #[arg(long, help_heading = "Network")]
    pub insecure_no_auth: bool,
    /// Origin of web pages that may use the server, * for all
    #[arg(long, value_name = "ORIGIN", help_heading = "Network")]
    pub cors_origin: Option<String>,
    /// Proxy in front of the server, which may open any number of connections (repeatable)
    #[arg(
        long,
        value_name = "ADDR",
        value_delimiter = ',',
        help_heading = "Network"
    )]
    pub trusted_proxy: Vec<IpAddr>,
    /// Requests served at once; further ones get 429 [default: 1000]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub streams_max: Option<u32>,
    /// Generations that may wait; further ones get 429 [default: 128]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub queue_max: Option<u32>,
    /// Seconds that requests in progress have after SIGTERM or ctrl-c [default: 30]
    #[arg(long, value_name = "SECS", help_heading = "Limits")]
    pub drain_secs: Option<u64>,
    /// Processor time a component may use for one request, in milliseconds [default: 30000]
    #[arg(long, value_name = "MS", help_heading = "Limits")]
    pub guest_cpu_ms: Option<u64>,
    /// Precompiled component behind a path prefix, for tests: PREFIX=FILE
    #[arg(long, value_name = "PREFIX=FILE", hide = true)]
    pub test_guest: Vec<String>,
    #[command(flatten)]
    pub model: ModelFlags,
}

/// `spindle run`.
#[derive(Args, Clone, Debug, Default)]
pub struct RunFlags {
    /// What to ask; read from stdin if it is not given
    pub prompt: Option<String>,
    /// Instructions that come before the prompt
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    #[command(flatten)]
    pub model: ModelFlags,
}

/// When stderr has colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR says otherwise
    #[default]
    Auto,
    /// Always
    On,
    /// Never
    Off,
}

/// The one name that means the same everywhere; others would need a look-up before there is a server.
fn numeric(text: &str) -> String {
    match text.strip_prefix("localhost") {
        Some(port) if port.is_empty() || port.starts_with(':') => format!("127.0.0.1{port}"),
        _ => text.to_owned(),
    }
}

fn socket_address(text: &str) -> Result<SocketAddr, AddrParseError> {
    numeric(text).parse()
}

fn ip_address(text: &str) -> Result<IpAddr, AddrParseError> {
    numeric(text).parse()
}

fn size(text: &str) -> Result<u64, sizes::BadSize> {
    sizes::parse(text)
}
