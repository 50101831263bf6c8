//! What goes to stderr, and whether it has colours.
//!
//! Lines that cannot be written are lost: a closed pipe or a full disk behind stderr is no reason to
//! stop serving, and a panic in the wrong place would be worse than that.

use std::fmt;
use std::io::{IsTerminal, Write};

use tracing_subscriber::EnvFilter;

use crate::cli::ColorChoice;

/// Starts the log. `RUST_LOG` says what is in it.
pub fn start(colors: ColorChoice) {
    let colors = match colors {
        ColorChoice::On => anstream::ColorChoice::Always,
        ColorChoice::Off => anstream::ColorChoice::Never,
        ColorChoice::Auto => anstream::ColorChoice::Auto,
    };
    colors.write_global();
    let ansi = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    // Started once; a second start, in tests, changes nothing.
    let _ = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        .with_env_filter(filter)
        .with_target(false)
        // It would say on stderr that nothing can be said there, and panic.
        .log_internal_errors(false)
        .try_init();
}

/// Writes a line for people.
pub fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}

/// Whether a bar would be seen, and not end as junk in a file.
pub fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}
