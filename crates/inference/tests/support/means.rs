//! Files that tests need and the project does not carry: fetched by `cargo xtask test` into a cache.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::PathBuf;

/// The bytes of a file of the cache. Without it a test passes and says so, but fails where CI is set: there every
/// means must be present.
pub fn cached(name: &str) -> Option<Vec<u8>> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| {
            let home = std::env::var_os("HOME")?;
            Some(PathBuf::from(home).join(".cache"))
        })?;
    let path = cache.join("spindle-test-models").join(name);
    match std::fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) if std::env::var("CI").is_ok_and(|ci| ci == "true") => {
            panic!("{}: {error}", path.display())
        }
        Err(_) => {
            eprintln!(
                "not run: needs {} (cargo xtask test fetches it)",
                path.display()
            );
            None
        }
    }
}
