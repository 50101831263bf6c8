//! Running programs: where the workspace is, which cargo, and what is shown.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The workspace's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the workspace")
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR").filter(|path| !path.is_empty()) {
        // Cargo reads it against the folder it runs in, which is the workspace's for everything started here.
        Some(path) => root().join(path),
        None => root().join("target"),
    }
}

/// The cargo that runs this, in the workspace's folder.
pub fn command() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    in_workspace(Command::new(cargo))
}

/// A program run in the workspace's folder.
pub fn in_workspace(mut command: Command) -> Command {
    command.current_dir(root());
    command
}

/// Shows a command, runs it with its output going where ours goes, and fails where it fails.
pub fn run(command: &mut Command) -> Result<()> {
    eprintln!("> {}", shown(command));
    let name = name(command);
    let status = command
        .status()
        .with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{name} failed: {status}");
    Ok(())
}

/// What a command prints, or none where it cannot run or fails.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether a command runs and succeeds, showing nothing.
pub fn succeeds(command: &mut Command) -> bool {
    output(command).is_some()
}

/// The program as one would type it: our own cargo by its name, everything else as it is run.
fn name(command: &Command) -> String {
    let program = command.get_program();
    let own = std::env::var_os("CARGO").is_some_and(|cargo| cargo == program);
    if own {
        "cargo".to_owned()
    } else {
        program.display().to_string()
    }
}

/// The command as one would type it: settings first, quoted only where a shell needs it.
fn shown(command: &Command) -> String {
    let settings = command
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    let settings = settings.map(|(name, value)| {
        format!(
            "{}={}",
            name.display(),
            quoted(&value.display().to_string())
        )
    });
    let arguments = command
        .get_args()
        .map(|argument| quoted(&argument.display().to_string()));
    settings
        .chain([name(command)])
        .chain(arguments)
        .collect::<Vec<_>>()
        .join(" ")
}

fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_command_can_be_pasted() {
        let mut command = Command::new("/usr/bin/cargo");
        command
            .env("FLAGS", "-C a")
            .env_remove("CARGO")
            .args(["build", "-p", "x", "it's"]);
        assert_eq!(
            shown(&command),
            r"FLAGS='-C a' /usr/bin/cargo build -p x 'it'\''s'"
        );
    }
}
