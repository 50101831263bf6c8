//! Puts the precompiled `api` component and the demo model into the program.
//!
//! The component is built by `cargo xtask guests`: a build script that called cargo would wait
//! for the lock its own cargo holds.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CARGO_TARGET_DIR");
    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("..");
    let target = env::var_os("CARGO_TARGET_DIR").filter(|path| !path.is_empty());
    let target = workspace.join(target.unwrap_or_else(|| "target".into()));
    let api = target.join("guests/api.cwasm");
    let demo = workspace.join("demo/spindle-demo.gguf");
    for path in [&api, &demo] {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    if !api.exists() {
        println!(
            "cargo::error={} is not there: run `cargo xtask guests` first",
            api.display()
        );
        return;
    }
    let mut text = format!(
        "pub static API: &[u8] = include_bytes!({});\n",
        literal(&api)
    );
    if demo.exists() {
        text += &format!(
            "static DEMO_FILE: &Aligned<[u8]> = &Aligned(*include_bytes!({}));\n\
             pub static DEMO: Option<&[u8]> = Some(&DEMO_FILE.0);\n",
            literal(&demo)
        );
    } else {
        println!(
            "cargo::warning=demo/spindle-demo.gguf is not there: the program will need --model"
        );
        text += "pub static DEMO: Option<&[u8]> = None;\n";
    }
    let out = PathBuf::from(variable("OUT_DIR")).join("embedded.rs");
    fs::write(&out, text).expect("the build directory can be written");
}

fn literal(path: &Path) -> String {
    format!(
        "{:?}",
        path.canonicalize()
            .expect("it exists")
            .to_str()
            .expect("a path in UTF-8")
    )
}

fn variable(name: &str) -> String {
    env::var(name).expect("cargo sets it")
}
