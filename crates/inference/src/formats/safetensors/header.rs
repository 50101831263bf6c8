//! One shard's header: its tensors, each inside the shard, in order and without overlap or hole.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use spindle_kernels::Format;

use crate::formats::check::{Dims, tensor_bytes};
use crate::formats::json::{self, Bounded};
use crate::formats::limits::{NAME_BYTES_MAX, SAFETENSORS_HEADER_BYTES_MAX, TENSORS_MAX};
use crate::formats::{LoadError, TensorFault, clip};

/// A tensor under its Hugging Face name.
pub(super) struct Entry<'a> {
    pub name: Cow<'a, str>,
    pub dims: Dims,
    pub format: Format,
    /// In the shard.
    pub range: Range<usize>,
}

/// Bytes of the header's length at the start.
const LEN_BYTES: usize = 8;

/// Reads a shard called `file`, beside `others` tensors of the shards before it.
pub(super) fn read<'a>(file: &str, shard: &'a [u8], others: usize) -> Result<Vec<Entry<'a>>, LoadError> {
    let left = shard.len() as u64;
    let truncated = |needed| LoadError::Truncated { what: format!("{file}: the header"), offset: 0, needed, left };
    let (len, rest) = shard.split_first_chunk().ok_or_else(|| truncated(LEN_BYTES as u64))?;
    let header_bytes = u64::from_le_bytes(*len);
    if header_bytes > SAFETENSORS_HEADER_BYTES_MAX {
        return Err(LoadError::too_many(&format!("{file}: bytes of the header"), header_bytes, SAFETENSORS_HEADER_BYTES_MAX));
    }
    if header_bytes > rest.len() as u64 {
        return Err(truncated(header_bytes.saturating_add(LEN_BYTES as u64)));
    }
    let (header, data) = rest.split_at(header_bytes as usize);
    let mut stated = Vec::new();
    let seed = Header { tensors: &mut stated, tensors_max: (TENSORS_MAX as usize).saturating_sub(others) };
    let mut json = serde_json::Deserializer::from_slice(header);
    let parsed = seed.deserialize(&mut json).and_then(|()| json.end());
    parsed.map_err(|source| LoadError::Json { file: file.to_owned(), source })?;
    place(file, stated, LEN_BYTES + header.len(), data.len())
}

/// A tensor as the header states it.
struct Stated<'a> {
    name: Cow<'a, str>,
    dtype: Cow<'a, str>,
    dims: Vec<u64>,
    offsets: [u64; 2],
}

#[derive(Deserialize)]
struct Info<'a> {
    #[serde(borrow)]
    dtype: Cow<'a, str>,
    shape: Bounded<u64, { Dims::MAX }>,
    data_offsets: [u64; 2],
}

/// The header's object, tensor by tensor.
struct Header<'t, 'a> {
    tensors: &'t mut Vec<Stated<'a>>,
    tensors_max: usize,
}

impl<'a> DeserializeSeed<'a> for Header<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Header<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(name)) = map.next_key()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if self.tensors.len() == self.tensors_max {
                return Err(json::custom(format_args!("more than {TENSORS_MAX} tensors")));
            }
            if name.len() as u64 > NAME_BYTES_MAX {
                return Err(json::custom(format_args!("a name of {} bytes", name.len())));
            }
            let Info { dtype, shape, data_offsets } = map.next_value()?;
            self.tensors.push(Stated { name, dtype, dims: shape.0, offsets: data_offsets });
        }
        Ok(())
    }
}

/// A string, borrowed if it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Gives every tensor its range of the shard, whose data begins at `data_start`.
fn place<'a>(
    file: &str,
    mut stated: Vec<Stated<'a>>,
    data_start: usize,
    data_bytes: usize,
) -> Result<Vec<Entry<'a>>, LoadError> {
    stated.sort_by_key(|tensor| tensor.offsets);
    let mut entries = Vec::with_capacity(stated.len());
    let mut end = 0;
    for Stated { name, dtype, dims, offsets: [from, to] } in stated {
        let fault = |fault| Err(LoadError::tensor(&name, fault));
        let Some(format) = format(&dtype) else {
            return fault(TensorFault::Format { found: clip(&dtype), supported: "F32, F16 and BF16 are" });
        };
        if dims.is_empty() {
            return fault(TensorFault::Dimensions(0));
        }
        let dims = Dims::new(&dims);
        let expected = tensor_bytes(&name, &dims, format)?;
        let found = to.saturating_sub(from);
        if found != expected {
            return fault(TensorFault::Bytes { expected, found });
        }
        if from != end {
            return fault(TensorFault::NotAdjacent { offset: from, expected: end });
        }
        if to > data_bytes as u64 {
            return fault(TensorFault::OutsideFile { offset: from, bytes: found, section_bytes: data_bytes as u64 });
        }
        end = to;
        // Inside the shard, so inside a usize.
        let range = data_start + from as usize..data_start + to as usize;
        entries.push(Entry { name, dims, format, range });
    }
    if end != data_bytes as u64 {
        return Err(LoadError::out_of_range(&format!("{file}: bytes of data"), data_bytes, format!("{end}, as its tensors have")));
    }
    Ok(entries)
}

fn format(dtype: &str) -> Option<Format> {
    match dtype {
        "F32" => Some(Format::F32),
        "F16" => Some(Format::F16),
        "BF16" => Some(Format::BF16),
        _ => None,
    }
}
