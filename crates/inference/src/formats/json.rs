//! Reading JSON files of a model directory: sizes and counts bounded before they cost memory.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::LoadError;

/// `bytes` as a `T`; `file` names them in errors.
pub(crate) fn parse<'a, T: Deserialize<'a>>(
    file: &str,
    bytes: &'a [u8],
    bytes_max: usize,
) -> Result<T, LoadError> {
    if bytes.len() > bytes_max {
        return Err(LoadError::too_many(
            &format!("bytes of {file}"),
            bytes.len(),
            bytes_max,
        ));
    }
    serde_json::from_slice(bytes).map_err(|source| LoadError::Json {
        file: file.to_owned(),
        source,
    })
}

/// A part of a file that was kept as text.
pub(crate) fn parse_part<'a, T: Deserialize<'a>>(
    file: &str,
    part: &'a str,
) -> Result<T, LoadError> {
    serde_json::from_str(part).map_err(|source| LoadError::Json {
        file: file.to_owned(),
        source,
    })
}

/// An array of at most `MAX` items: a longer one is an error before it is in memory.
#[derive(Debug)]
pub(crate) struct Bounded<T, const MAX: usize>(pub Vec<T>);

impl<T, const MAX: usize> Default for Bounded<T, MAX> {
    fn default() -> Self {
        Bounded(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Bounded<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Items<T, MAX> {
            type Value = Bounded<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "an array of at most {MAX} items")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if items.len() == MAX {
                        return Err(A::Error::custom(format_args!("more than {MAX} items")));
                    }
                    items.push(item);
                }
                Ok(Bounded(items))
            }
        }
        deserializer.deserialize_seq(Items(PhantomData))
    }
}

/// A number or a list of them, as `eos_token_id` may be.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(u64),
    Many(Bounded<u64, 64>),
}

impl OneOrMany {
    pub(crate) fn into_vec(self) -> Vec<u64> {
        match self {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many.0,
        }
    }
}

/// The errors of a visitor's own checks are JSON errors with a place in the file.
pub(crate) fn custom<E: Error>(error: impl fmt::Display) -> E {
    E::custom(error)
}
