//! Who may use the server, and as whom.
//!
//! - A key is kept and compared as its SHA-256, in constant time, always over all keys: neither
//!   a match nor its place shows in the time an answer takes.
//! - No key and no part of one appears in a log, an error or `Debug`.
//! - Keys of one name are one tenant; a key without a name is a tenant of its own; without keys,
//!   or with a single `--api-key`, everybody is `default`.

use std::fmt;

use sha2::{Digest, Sha256};
use spindle_runtime::Refused;
use subtle::{ConditionallySelectable, ConstantTimeEq};

/// The tenant of a server without keys.
const DEFAULT_TENANT: &str = "default";

/// The keys a server accepts. Empty accepts everybody.
#[derive(Clone, Default)]
pub struct KeyRing(Vec<Key>);

#[derive(Clone)]
struct Key {
    hash: [u8; 32],
    tenant: String,
}

/// A line of a key file that is not `KEY [NAME]`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: expected KEY [NAME], found {words} words")]
pub struct BadKeyLine {
    line: usize,
    words: usize,
}

impl KeyRing {
    /// Adds a key that belongs to the default tenant.
    pub fn add(&mut self, key: &str) {
        self.0.push(Key {
            hash: hash(key),
            tenant: DEFAULT_TENANT.to_owned(),
        });
    }

    /// Adds the keys of a file: one `KEY [NAME]` a line, `#` begins a comment.
    pub fn add_file(&mut self, text: &str) -> Result<(), BadKeyLine> {
        for (index, line) in text.lines().enumerate() {
            let line = line.split_once('#').map_or(line, |(before, _)| before);
            let words: Vec<_> = line.split_whitespace().collect();
            let (key, name) = match words[..] {
                [] => continue,
                [key] => (key, None),
                [key, name] => (key, Some(name)),
                _ => {
                    return Err(BadKeyLine {
                        line: index + 1,
                        words: words.len(),
                    });
                }
            };
            let hash = hash(key);
            let tenant = name.map_or_else(|| hex16(&hash), str::to_owned);
            self.0.push(Key { hash, tenant });
        }
        Ok(())
    }

    /// Whether everybody is let in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tenant that an `authorization` header stands for.
    pub fn authenticate(&self, authorization: Option<&[u8]>) -> Result<String, Refused> {
        if self.0.is_empty() {
            return Ok(DEFAULT_TENANT.to_owned());
        }
        let key = authorization.and_then(bearer).ok_or(Refused::Missing)?;
        let hash: [u8; 32] = Sha256::digest(key).into();
        let mut found = u32::MAX;
        for (index, key) in self.0.iter().enumerate() {
            found.conditional_assign(&(index as u32), key.hash.ct_eq(&hash));
        }
        self.0
            .get(found as usize)
            .map(|key| key.tenant.clone())
            .ok_or(Refused::Unknown)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({} keys)", self.0.len())
    }
}

/// The key of `Bearer KEY`. The scheme's case is free: some clients write it small.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = header.split_at_checked(7)?;
    let key = key.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !key.is_empty()).then_some(key)
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key).into()
}

fn hex16(hash: &[u8; 32]) -> String {
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(file: &str) -> KeyRing {
        let mut ring = KeyRing::default();
        ring.add_file(file).unwrap();
        ring
    }

    fn authenticate(ring: &KeyRing, header: &str) -> Result<String, Refused> {
        ring.authenticate(Some(header.as_bytes()))
    }

    #[test]
    fn without_keys_everybody_is_the_default_tenant() {
        let ring = KeyRing::default();
        assert!(matches!(ring.authenticate(None).as_deref(), Ok("default")));
        assert!(matches!(
            authenticate(&ring, "Bearer anything").as_deref(),
            Ok("default")
        ));
    }

    #[test]
    fn keys_of_one_name_are_one_tenant() {
        let ring = ring("# ours\none alice\ntwo alice # her laptop\n\nthree\n");
        assert!(matches!(
            authenticate(&ring, "Bearer one").as_deref(),
            Ok("alice")
        ));
        assert!(matches!(
            authenticate(&ring, "bearer two").as_deref(),
            Ok("alice")
        ));
        assert_eq!(
            authenticate(&ring, "Bearer three").ok().as_deref(),
            Some(hex16(&hash("three")).as_str())
        );
    }

    #[test]
    fn a_missing_key_is_told_from_a_wrong_one() {
        let ring = ring("one");
        for header in ["", "Bearer", "Bearer ", "Basic one", "one"] {
            assert!(
                matches!(authenticate(&ring, header), Err(Refused::Missing)),
                "{header:?}"
            );
        }
        for header in ["Bearer two", "Bearer one two", "Bearer onee"] {
            assert!(
                matches!(authenticate(&ring, header), Err(Refused::Unknown)),
                "{header:?}"
            );
        }
    }

    #[test]
    fn a_line_of_three_words_is_named() {
        assert_eq!(
            KeyRing::default().add_file("a b\nc d e\n"),
            Err(BadKeyLine { line: 2, words: 3 })
        );
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", ring("secret name")), "KeyRing(1 keys)");
    }
}
