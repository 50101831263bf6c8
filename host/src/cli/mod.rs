//! The command line: flags as people type them, into structs that touch nothing.
//!
//! - Flags keep the names users know from llama-server; what a value means is decided in
//!   [`crate::settings`], once.
//! - Each flag may come from the environment: `SPINDLE_` and its name, or `LLAMA_ARG_` and the name
//!   llama-server has for it. The command line wins, also over a variable of an option that excludes
//!   the one that was typed. `--host` and `--port` have no such names:
//!   Kubernetes sets `SPINDLE_PORT` by itself for a service called spindle.

mod chat;
mod flags;
mod run;
mod serve;

use std::ffi::OsString;

use clap::builder::BoolishValueParser;
use clap::parser::ValueSource;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::Error;
use crate::logging;
pub use flags::{ColorChoice, ModelFlags, RunFlags, SamplingFlags, ServeFlags};

/// Threads that tokenise long texts and the like: more of them would only take turns.
const BLOCKING_THREADS_MAX: usize = 4;

/// The threads that carry bytes and run components.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
}

/// What `--help` opens with.
#[derive(Parser)]
#[command(
    name = "spindle",
    version,
    about = "An OpenAI-compatible server for language models, made of WebAssembly components",
    after_help = "Examples:\n  \
        spindle serve                          the built-in demo model on http://127.0.0.1:8080\n  \
        spindle serve -m model.gguf -c 8k      a model of yours, with 8,000 tokens of context\n  \
        spindle run \"What is two plus two?\"    one answer, no server",
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve a model over HTTP
    #[command(after_help = ENVIRONMENT)]
    Serve(Box<ServeFlags>),
    /// Answer one prompt on stdout, as it is generated
    #[command(after_help = ENVIRONMENT)]
    Run(Box<RunFlags>),
}

const ENVIRONMENT: &str = "Environment:\n  \
    Each option but --host and --port has a variable, SPINDLE_ and its name: SPINDLE_CTX_SIZE=8k.\n  \
    LLAMA_ARG_* names of llama-server are read where SPINDLE_* is not set. RUST_LOG chooses what is logged.";

/// Parses the command line and does what it says.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Result<(), Error> {
    let args: Vec<_> = args.into_iter().map(long_form).collect();
    let matches = command(&args).get_matches_from(args);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match cli.verb {
        Verb::Serve(flags) => {
            logging::start(flags.model.log_colors);
            serve::serve(&flags)
        }
        Verb::Run(flags) => {
            logging::start(flags.model.log_colors);
            run::run(&flags)
        }
    }
}

/// The whole command line, with the environment's names in it.
fn command(args: &[OsString]) -> clap::Command {
    let typed = typed(args);
    Cli::command()
        .mut_subcommands(|verb| verb.mut_args(|arg| with_environment(lenient(arg), &typed)))
}

/// The options that are on the command line. None if it does not parse: then it will not with the
/// environment either, and is refused there.
fn typed(args: &[OsString]) -> Vec<clap::Id> {
    let matches = Cli::command()
        .mut_subcommands(|verb| verb.mut_args(lenient))
        .try_get_matches_from(args);
    let given = |verb: &clap::ArgMatches| {
        verb.ids()
            .filter(|id| verb.value_source(id.as_str()) == Some(ValueSource::CommandLine))
            .cloned()
            .collect()
    };
    matches
        .ok()
        .and_then(|matches| matches.subcommand().map(|(_, verb)| given(verb)))
        .unwrap_or_default()
}

/// llama-server's options of several letters after one dash, which this parser would take apart.
fn long_form(arg: OsString) -> OsString {
    match arg.to_str() {
        Some("-np") => "--parallel".into(),
        // Not an option here; said under its own name rather than as `-h` and a rest.
        Some("-hf" | "-hfr") => "--hf-repo".into(),
        Some("-tb") => "--threads-batch".into(),
        _ => arg,
    }
}

/// Names of llama-server that are not `LLAMA_ARG_` and the flag's name.
const LLAMA_NAMES: [(&str, &str); 5] = [
    ("parallel", "LLAMA_ARG_N_PARALLEL"),
    ("predict", "LLAMA_ARG_N_PREDICT"),
    ("temp", "LLAMA_ARG_TEMPERATURE"),
    ("api-key", "LLAMA_API_KEY"),
    ("cors-origin", "LLAMA_ARG_CORS_ORIGINS"),
];

/// Options and those that they exclude: of such a pair, a typed one silences the other's variable.
const EXCLUDED: [(&str, &str); 6] = [
    ("host", "listen"),
    ("port", "listen"),
    ("chat_template", "chat_template_file"),
    ("chat_template_file", "chat_template"),
    ("mmap", "no_mmap"),
    ("no_mmap", "mmap"),
];

/// As llama-server reads them: of an option that comes twice the last one counts, and a variable
/// for a switch may say 1, on or yes.
fn lenient(arg: clap::Arg) -> clap::Arg {
    match arg.get_action() {
        ArgAction::Set => arg.clone().overrides_with(arg.get_id()),
        ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
        _ => arg,
    }
}

fn with_environment(arg: clap::Arg, typed: &[clap::Id]) -> clap::Arg {
    let silenced = typed.iter().any(|typed| {
        let excluded = |(this, other): &(_, _)| typed == this && arg.get_id() == other;
        EXCLUDED.iter().any(excluded)
    });
    if silenced {
        return arg;
    }
    let Some(long) = arg.get_long().map(str::to_owned) else {
        return arg;
    };
    if matches!(
        long.as_str(),
        "help" | "version" | "host" | "port" | "test-guest"
    ) {
        return arg;
    }
    let upper = long.to_uppercase().replace('-', "_");
    let ours = format!("SPINDLE_{upper}");
    let theirs = LLAMA_NAMES
        .iter()
        .find(|(name, _)| *name == long)
        .map_or_else(
            || format!("LLAMA_ARG_{upper}"),
            |(_, name)| (*name).to_owned(),
        );
    let chosen = if std::env::var_os(&ours).is_none() && std::env::var_os(&theirs).is_some() {
        theirs
    } else {
        ours
    };
    // Shown in one place instead of beside each option; values may be secret.
    arg.env(OsString::from(chosen)).hide_env(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        let args: Vec<_> = ["spindle"]
            .iter()
            .chain(args)
            .map(|arg| long_form(OsString::from(arg)))
            .collect();
        Cli::from_arg_matches(&command(&args).try_get_matches_from(args)?)
    }

    #[test]
    fn flags_of_llama_server_work_word_for_word() {
        let line = "serve -m m.gguf -c 4096 -t 4 -np 8 -n 128 --temp 0.7 --top-k 40 --top-p 0.9 --min-p 0.05 --typical 1 \
                    --repeat-penalty 1.1 --presence-penalty 0 --frequency-penalty 0 -s 7 -a name --host 127.0.0.1 --port 9000 --no-mmap";
        let Ok(Cli {
            verb: Verb::Serve(flags),
        }) = parse(&line.split_whitespace().collect::<Vec<_>>())
        else {
            panic!("refused")
        };
        assert_eq!(flags.model.parallel, Some(8));
        assert_eq!(flags.model.ctx_size, Some(4096));
        assert!(flags.model.no_mmap);
    }

    #[test]
    fn an_option_of_several_letters_is_refused_under_its_own_name() {
        let error = parse(&["serve", "-hf", "user/repo"])
            .err()
            .expect("refused");
        assert!(error.to_string().contains("--hf-repo"), "{error}");
    }

    #[test]
    fn the_last_of_a_boolean_pair_counts() {
        let Ok(Cli {
            verb: Verb::Serve(flags),
        }) = parse(&["serve", "--no-mmap", "--mmap"])
        else {
            panic!("refused")
        };
        assert!(flags.model.mmap == Some(true) && !flags.model.no_mmap);
    }

    #[test]
    fn the_last_of_an_option_counts_unless_it_collects() {
        let line = [
            "serve",
            "-t",
            "1",
            "-t",
            "2",
            "--trusted-proxy",
            "::1",
            "--trusted-proxy",
            "::2",
        ];
        let Ok(Cli {
            verb: Verb::Serve(flags),
        }) = parse(&line)
        else {
            panic!("refused")
        };
        assert_eq!(
            (flags.model.threads, flags.trusted_proxy.len()),
            (Some(2), 2)
        );
    }

    #[test]
    fn localhost_is_an_address() {
        for line in [
            &["serve", "--listen", "localhost:9"][..],
            &["serve", "--host", "localhost", "--port", "9"],
        ] {
            let Ok(Cli {
                verb: Verb::Serve(flags),
            }) = parse(line)
            else {
                panic!("refused")
            };
            let settings = crate::settings::serve(&flags).unwrap();
            assert_eq!(settings.listen.to_string(), "127.0.0.1:9");
        }
        assert!(parse(&["serve", "--host", "localhost.example"]).is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        command(&[]).debug_assert();
    }

    #[test]
    fn help_names_every_option_once_and_no_test_means() {
        let help = command(&[])
            .find_subcommand_mut("serve")
            .unwrap()
            .render_long_help()
            .to_string();
        assert!(!help.contains("--test-guest"));
        for option in [
            "--model",
            "--listen",
            "--ctx-size",
            "--api-key-file",
            "--drain-secs",
        ] {
            let first = |line: &&str| {
                let words = line
                    .split_whitespace()
                    .filter(|word| word.starts_with("--"));
                line.trim_start().starts_with('-') && words.take(1).any(|word| word == option)
            };
            assert_eq!(help.lines().filter(first).count(), 1, "{option}\n{help}");
        }
    }
}
