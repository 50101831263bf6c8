//! Whether inputs changed since the last time: a hash of files, kept in a file.
//!
//! Contents decide, not times: a fresh clone, a switched branch and a touched file all give the right answer.
//! Reading a megabyte of sources costs milliseconds.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The state of some inputs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stamp(String);

impl Stamp {
    /// Of files and of everything below folders, each named from `root`.
    pub fn of(root: &Path, inputs: &[&str]) -> Result<Self> {
        let mut files = Vec::new();
        for input in inputs {
            collect(&root.join(input), &mut files)
                .with_context(|| format!("cannot read {input}"))?;
        }
        files.sort();
        // Not for secrecy: an accidental collision of 64 bits is what it must not meet.
        let mut hasher = DefaultHasher::new();
        for file in files {
            let bytes =
                std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            file.strip_prefix(root).unwrap_or(&file).hash(&mut hasher);
            bytes.hash(&mut hasher);
        }
        Ok(Stamp(format!("{:016x}", hasher.finish())))
    }

    /// Whether `file` says that this state was reached.
    pub fn is_in(&self, file: &Path) -> bool {
        std::fs::read_to_string(file).is_ok_and(|text| text == self.0)
    }

    /// Says in `file` that this state was reached.
    pub fn write(&self, file: &Path) -> Result<()> {
        std::fs::write(file, &self.0).with_context(|| format!("cannot write {}", file.display()))
    }

    /// The hash, for names.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        collect(&entry?.path(), files)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_and_name_decide_and_time_does_not() {
        let folder = std::env::temp_dir().join(format!("spindle-stamp-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("src")).unwrap();
        let file = folder.join("src/a");
        let write = |text: &str| {
            std::fs::write(&file, text).unwrap();
            Stamp::of(&folder, &["src"]).unwrap()
        };
        let first = write("one");
        assert_eq!(write("one"), first);
        assert_ne!(write("two"), first);
        std::fs::write(folder.join("src/b"), "").unwrap();
        assert_ne!(write("one"), first);
        std::fs::remove_file(&file).unwrap();
        std::fs::rename(folder.join("src/b"), &file).unwrap();
        assert_eq!(write("one"), first);

        let kept = folder.join("stamp");
        assert!(!first.is_in(&kept));
        first.write(&kept).unwrap();
        assert!(first.is_in(&kept));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
