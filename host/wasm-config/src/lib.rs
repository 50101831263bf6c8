//! The one `wasmtime::Config` that server and precompiler share.
//!
//! - A precompiled guest loads only where the engine has the same settings: whatever decides generated code is set
//!   here and nowhere else.
//! - No CPU feature beyond the architecture's baseline: a guest compiled on one machine runs on every other.
//! - Nothing is read from the environment.
//! - What no guest of ours needs is off: garbage collection, exceptions, 64-bit memories. Less to attack.
//!
//! Absent: what only the running server decides (instance pool, stack sizes, epoch deadlines, limits of a store).
#![warn(missing_docs)]

use wasmtime::{Config, WasmBacktraceDetails};

/// The settings under which guests are compiled and loaded.
pub fn config() -> Config {
    let mut config = Config::new();
    // Naming a target, even the machine's own, switches off detection of its CPU's features.
    config.target(TARGET).expect("a target wasmtime knows");
    config.wasm_component_model(true);
    config.wasm_component_model_async(true);
    // Checked at loop heads and function entries, so that no guest keeps a thread.
    config.epoch_interruption(true);
    // The default asks the environment, and server and precompiler may have different ones.
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    // Reserved address space instead of bounds checks, with the sizes wasmtime has on 64-bit machines; said here because
    // generated code depends on them and the pool's slots are of this size.
    config.memory_reservation(4 << 30);
    config.memory_guard_size(32 << 20);
    config.memory_may_move(false);
    config.gc_support(false);
    config.wasm_gc(false);
    config.wasm_function_references(false);
    config.wasm_exceptions(false);
    config.wasm_memory64(false);
    config
}

const TARGET: &str = if cfg!(all(target_arch = "x86_64", target_os = "linux")) {
    "x86_64-unknown-linux-gnu"
} else if cfg!(all(target_arch = "aarch64", target_os = "linux")) {
    "aarch64-unknown-linux-gnu"
} else {
    panic!("guests run on Linux, x86-64 and aarch64")
};

#[cfg(test)]
mod tests {
    /// Wasmtime checks combinations of settings only when an engine is made.
    #[test]
    fn makes_an_engine() {
        wasmtime::Engine::new(&super::config()).expect("consistent settings");
    }
}
