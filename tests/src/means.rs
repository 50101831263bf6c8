//! What tests need beside the binary, and what happens where it is missing.
//!
//! `cargo xtask test` fetches all of it first. A bare `cargo test` may lack some: then a test says `not run: needs X`
//! and passes, except under `CI=true`, where a test that did not run is a failure.

use std::path::PathBuf;

/// The weights of the reference results.
const SMOLLM2: &str = "smollm2-135m-instruct.Q4_1.gguf";

/// SmolLM2-135M-Instruct in Q4_1, from the cache of test models.
pub fn smollm2() -> Option<PathBuf> {
    let path = cache_home().map(|cache| cache.join("spindle-test-models").join(SMOLLM2));
    path.filter(|path| path.is_file())
        .or_else(|| missing(SMOLLM2))
}

/// A Python interpreter that can import the `openai` package.
pub fn python_with_openai() -> Option<PathBuf> {
    from_environment("SPINDLE_TEST_PYTHON", "the Python package openai")
}

/// A `node_modules` folder that holds the `openai` package.
pub fn node_modules_with_openai() -> Option<PathBuf> {
    from_environment("SPINDLE_TEST_NODE_MODULES", "the Node package openai")
}

/// The component `tests/guests/misbehave`, precompiled for this host.
pub fn misbehaving_guest() -> Option<PathBuf> {
    let path = crate::server::target_dir().join("guests/misbehave.cwasm");
    if path.is_file() {
        Some(path)
    } else {
        missing("the guest misbehave (cargo xtask guests)")
    }
}

/// Says that a test did not run for want of `what`. Panics where everything must run.
pub fn missing<T>(what: &str) -> Option<T> {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "needs {what}");
    // Past the test runner's capture, and in one piece: a test that passes without having run must be seen.
    use std::io::Write;
    let _ = std::io::stderr().write_all(format!("not run: needs {what}\n").as_bytes());
    None
}

fn from_environment(variable: &str, what: &str) -> Option<PathBuf> {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.exists())
        .or_else(|| missing(what))
}

fn cache_home() -> Option<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    named.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
}
