//! `spindle-precompile IN.wasm OUT.cwasm [IN OUT]...`: components to native code, ahead of time.
//!
//! - The settings are the server's ([`spindle_wasm_config`]), so that the server loads the result without a compiler.
//! - The result runs on every CPU of this architecture.
//! - An output appears whole or not at all: it is written beside its place and renamed.
//!
//! Absent: choices. A different setting would be a file no server loads.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use wasmtime::error::Context as _;
use wasmtime::{Engine, Result, ensure};

const USAGE: &str = "usage: spindle-precompile IN.wasm OUT.cwasm [IN.wasm OUT.cwasm]...";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[OsString]) -> Result<()> {
    let (pairs, rest) = arguments.as_chunks::<2>();
    ensure!(!pairs.is_empty() && rest.is_empty(), "{USAGE}");
    let engine = Engine::new(&spindle_wasm_config::config())?;
    for [input, output] in pairs {
        let (input, output) = (Path::new(input), Path::new(output));
        let component =
            std::fs::read(input).with_context(|| format!("cannot read {}", input.display()))?;
        let native = engine
            .precompile_component(&component)
            .with_context(|| format!("cannot compile {}", input.display()))?;
        write_whole(output, &native)
            .with_context(|| format!("cannot write {}", output.display()))?;
    }
    Ok(())
}

fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let unfinished = path.with_extension("cwasm.part");
    std::fs::write(&unfinished, bytes)?;
    std::fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::component::Component;

    /// Magic, version 13, layer 1 (component), no sections.
    const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn engine() -> Engine {
        Engine::new(&spindle_wasm_config::config()).unwrap()
    }

    #[test]
    fn what_is_precompiled_loads_in_another_engine_of_the_same_settings() {
        let native = engine().precompile_component(EMPTY_COMPONENT).unwrap();
        // SAFETY: the bytes come from the precompiler, unchanged.
        unsafe { Component::deserialize(&engine(), &native) }.unwrap();
    }

    #[test]
    fn a_core_module_is_refused() {
        assert!(engine().precompile_component(b"\0asm\x01\0\0\0").is_err());
    }

    /// The file lists every CPU feature with the code's use of it: name, kind of value, value.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn no_cpu_feature_is_asked_for() {
        let native = engine().precompile_component(EMPTY_COMPONENT).unwrap();
        for feature in ["has_sse42", "has_popcnt", "has_avx2", "has_bmi2", "has_fma"] {
            let name = feature.as_bytes();
            let at = native
                .windows(name.len())
                .position(|window| window == name)
                .expect(feature);
            assert_eq!(native[at + name.len() + 1], 0, "{feature}");
        }
    }

    #[test]
    fn arguments_come_in_pairs() {
        for count in [0, 1, 3] {
            let arguments = vec![OsString::from("x"); count];
            assert!(
                run(&arguments)
                    .unwrap_err()
                    .to_string()
                    .starts_with("usage:"),
                "{count}"
            );
        }
    }
}
