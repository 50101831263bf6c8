//! The `spindle` program: what it was asked for, and how that ended.

use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default();

fn main() -> ExitCode {
    let Err(error) = spindle::cli::main(std::env::args_os()) else {
        return spindle::ExitCode::Ok.into();
    };
    if error.is_closed_pipe() {
        return spindle::ExitCode::Ok.into();
    }
    if matches!(error, spindle::Error::Interrupted) {
        // Whoever pressed the keys knows.
        return error.exit_code().into();
    }
    spindle::logging::say(format_args!("{ERROR}Error:{ERROR:#} {error}"));
    if let Some(hint) = error.hint() {
        spindle::logging::say(format_args!("{HINT}hint:{HINT:#} {hint}"));
    }
    error.exit_code().into()
}
