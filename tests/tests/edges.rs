//! The room table of the architecture as assertions: who may import whom, which outside crates a room never touches,
//! where unsafe code may stand, and how a file begins.
//!
//! Edges inside the workspace are listed exactly; outside crates only by what is denied, so that a new dependency
//! needs no edit here unless it breaks a rule.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A package and the workspace packages it imports, of any kind of dependency.
const EDGES: &[(&str, &[&str])] = &[
    ("spindle-kernels", &[]),
    ("spindle-inference", &["spindle-kernels"]),
    ("spindle-openai", &[]),
    ("spindle-api", &["spindle-openai"]),
    ("spindle-wasm-config", &[]),
    ("spindle-runtime", &["spindle-wasm-config"]),
    ("spindle-precompile", &["spindle-wasm-config"]),
    ("spindle", &["spindle-inference", "spindle-runtime"]),
    ("guest-misbehave", &[]),
    ("spindle-tests", &[]),
    ("xtask", &[]),
];

const SOCKETS: &[&str] = &["tokio", "hyper", "mio", "socket2", "ureq", "reqwest"];
const RUNTIMES: &[&str] = &["wasmtime", "wasmtime-wasi", "wasmi", "wasmer"];
const COMPILERS: &[&str] = &[
    "cranelift-codegen",
    "wasmtime-internal-cranelift",
    "wasmtime-internal-winch",
];
const BINDINGS: &[&str] = &["wit-bindgen", "spin-sdk", "wasip2", "wasip3"];
const SYSTEM: &[&str] = &["memmap2", "rustix", "nix", "getrandom"];

/// A package and what must not appear anywhere below it.
const DENIED: &[(&str, &[&[&str]])] = &[
    (
        "spindle-kernels",
        &[
            SOCKETS,
            RUNTIMES,
            COMPILERS,
            BINDINGS,
            SYSTEM,
            &["serde", "serde_json", "log", "tracing"],
        ],
    ),
    (
        "spindle-inference",
        &[
            SOCKETS,
            RUNTIMES,
            COMPILERS,
            BINDINGS,
            &["memmap2", "nix", "spindle-openai"],
        ],
    ),
    (
        "spindle-openai",
        &[
            SOCKETS,
            RUNTIMES,
            COMPILERS,
            BINDINGS,
            SYSTEM,
            &["spindle-inference", "spindle-kernels"],
        ],
    ),
    (
        "spindle-api",
        &[
            SOCKETS,
            RUNTIMES,
            COMPILERS,
            &["memmap2", "spindle-inference", "spindle-kernels"],
        ],
    ),
    ("spindle", &[COMPILERS, BINDINGS, &["spindle-openai"]]),
    (
        "spindle-tests",
        &[RUNTIMES, COMPILERS, BINDINGS, &["tokio"]],
    ),
];

/// Files outside `crates/kernels` that may contain unsafe code; each says in its header who guarantees what.
const UNSAFE_FILES: &[&str] = &[
    // Components that this build compiled itself.
    "host/runtime/src/precompiled.rs",
    "precompile/src/main.rs",
    // A counting allocator, for the memory of hostile model files.
    "crates/inference/tests/support/meter.rs",
    // The weights, mapped.
    "host/src/mapped.rs",
];

#[test]
fn workspace_edges_are_as_drawn() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let names: BTreeSet<&str> = packages.iter().map(name).collect();
    let drawn: BTreeMap<&str, BTreeSet<&str>> = EDGES
        .iter()
        .map(|(from, to)| (*from, to.iter().copied().collect()))
        .collect();
    let found: BTreeMap<&str, BTreeSet<&str>> = packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            (
                name(package),
                dependencies
                    .iter()
                    .map(name)
                    .filter(|dependency| names.contains(dependency))
                    .collect(),
            )
        })
        .collect();
    assert_eq!(found, drawn);
}

#[test]
fn rooms_keep_out_what_they_never_touch() {
    for (package, denied) in DENIED {
        let below = packages_below(package);
        let found: Vec<_> = denied
            .iter()
            .copied()
            .flatten()
            .filter(|denied| below.contains(**denied))
            .collect();
        assert!(
            found.is_empty(),
            "{package} reaches {found:?} (cargo tree -p {package} -i NAME)"
        );
    }
}

#[test]
fn every_file_begins_with_what_it_owns() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "no //! header: {silent:#?}");
}

#[test]
fn unsafe_code_stands_where_it_is_allowed() {
    let allowed = |path: &str| path.starts_with("crates/kernels/") || UNSAFE_FILES.contains(&path);
    let found: BTreeSet<_> = sources()
        .into_iter()
        .filter(|(path, text)| !allowed(path) && text.lines().any(is_unsafe))
        .map(|(path, _)| path)
        .collect();
    assert!(found.is_empty(), "unsafe code in {found:#?}");
    for path in UNSAFE_FILES {
        let text = std::fs::read_to_string(root().join(path)).unwrap_or_default();
        assert!(
            text.lines().any(is_unsafe),
            "{path} needs no exception any more"
        );
    }
    for (root_file, level) in [
        ("crates/openai/src/lib.rs", "forbid"),
        ("crates/inference/src/lib.rs", "forbid"),
        ("components/api/src/lib.rs", "deny"),
        ("host/src/lib.rs", "deny"),
    ] {
        let text = std::fs::read_to_string(root().join(root_file)).expect(root_file);
        let stronger = text.contains("#![forbid(unsafe_code)]");
        assert!(
            stronger || text.contains(&format!("#![{level}(unsafe_code)]")),
            "{root_file}: {level}(unsafe_code)"
        );
    }
}

#[test]
fn no_test_sleeps_or_is_switched_off() {
    // Spelled in two parts, so that this file does not find itself.
    let banned = [
        concat!("thread::", "sleep"),
        concat!("time::", "sleep("),
        concat!("#[", "ignore"),
    ];
    let found: Vec<_> = sources()
        .into_iter()
        .filter(|(path, text)| {
            path.contains("tests") && banned.iter().any(|word| text.contains(word))
        })
        .map(|(path, _)| path)
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}

fn metadata() -> Value {
    let output = cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--offline",
    ]);
    serde_json::from_str(&output).expect("JSON")
}

/// Names of everything linked into a package's own build, without what only builds or tests it.
fn packages_below(package: &str) -> BTreeSet<String> {
    let target = if package == "spindle-api" {
        "wasm32-wasip2"
    } else {
        "x86_64-unknown-linux-gnu"
    };
    let arguments = [
        "tree",
        "--offline",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ];
    let output = cargo(&[&arguments[..], &["--target", target, "-p", package]].concat());
    output
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo");
    assert!(
        output.status.success(),
        "cargo {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn name(package: &Value) -> &str {
    package["name"].as_str().expect("a name")
}

/// All Rust sources of the workspace: path from its root, and text.
fn sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for room in [
        "crates",
        "components",
        "host",
        "precompile",
        "tests",
        "xtask",
        "demo",
    ] {
        collect(&root().join(room), &mut files);
    }
    assert!(files.len() > 20, "the sources are where this test looks");
    let relative = |path: &Path| {
        path.strip_prefix(root())
            .expect("below")
            .to_string_lossy()
            .into_owned()
    };
    files
        .into_iter()
        .map(|path| {
            (
                relative(&path),
                std::fs::read_to_string(&path).expect("UTF-8"),
            )
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            if !path.ends_with("target") && !path.ends_with("node_modules") {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.split("unsafe ").skip(1).any(|rest| {
        ["{", "fn", "impl", "extern", "trait"]
            .iter()
            .any(|word| rest.starts_with(word))
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ in the workspace")
}
