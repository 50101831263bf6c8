//! One shard's header: its tensors, each inside the shard, in order and without overlap or hole.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use spindle_kernels::Format;

use crate::formats::check::{Dims, RawTensor, tensor_bytes};
use crate::formats::json::{Bounded, custom};
use crate::formats::limits::{NAME_BYTES_MAX, SAFETENSORS_HEADER_BYTES_MAX, TENSORS_MAX};
use crate::formats::{LoadError, TensorFault, clip};

/// Bytes of the header's length at the start.
const LEN_BYTES: usize = 8;

/// Appends the tensors of a shard called `file`, number `shard`, to `tensors`, under the names they have there.
pub(super) fn read<'a>(
    file: &str,
    shard: u32,
    bytes: &'a [u8],
    tensors: &mut Vec<RawTensor<'a>>,
) -> Result<(), LoadError> {
    let left = bytes.len() as u64;
    let truncated = |needed| LoadError::Truncated {
        what: format!("{file}: the header"),
        offset: 0,
        needed,
        left,
    };
    let (len, rest) = bytes
        .split_first_chunk()
        .ok_or_else(|| truncated(LEN_BYTES as u64))?;
    let header_bytes = u64::from_le_bytes(*len);
    if header_bytes > SAFETENSORS_HEADER_BYTES_MAX {
        let what = format!("{file}: bytes of the header");
        return Err(LoadError::too_many(
            &what,
            header_bytes,
            SAFETENSORS_HEADER_BYTES_MAX,
        ));
    }
    if header_bytes > rest.len() as u64 {
        return Err(truncated(header_bytes.saturating_add(LEN_BYTES as u64)));
    }
    let (header, data) = rest.split_at(header_bytes as usize);
    let first = tensors.len();
    // Every tensor is an object, so their number is known before they are read and the list is never moved.
    let objects = header.iter().filter(|byte| **byte == b'{').count();
    tensors.reserve_exact(objects.min(TENSORS_MAX as usize));
    let mut fault = None;
    let data_start = LEN_BYTES + header.len();
    let seed = Header {
        shard,
        data_start,
        data_bytes: data.len(),
        tensors,
        fault: &mut fault,
    };
    let mut json = serde_json::Deserializer::from_slice(header);
    let parsed = seed.deserialize(&mut json).and_then(|()| json.end());
    if let Some(fault) = fault {
        return Err(fault);
    }
    parsed.map_err(|source| LoadError::Json {
        file: file.to_owned(),
        source,
    })?;
    check_cover(file, data_start, data.len(), &mut tensors[first..])
}

/// The header's object, tensor by tensor.
struct Header<'t, 'a> {
    shard: u32,
    data_start: usize,
    data_bytes: usize,
    tensors: &'t mut Vec<RawTensor<'a>>,
    /// Why the reading ended, where JSON's own errors cannot say it.
    fault: &'t mut Option<LoadError>,
}

#[derive(Deserialize)]
struct Info<'a> {
    #[serde(borrow)]
    dtype: Cow<'a, str>,
    shape: Bounded<u64, { Dims::MAX }>,
    data_offsets: [u64; 2],
}

/// A string, borrowed if it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

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
            match self.place(name, map.next_value()?) {
                Ok(tensor) => self.tensors.push(tensor),
                Err(fault) => {
                    *self.fault = Some(fault);
                    return Err(custom("refused"));
                }
            }
        }
        Ok(())
    }
}

impl<'a> Header<'_, 'a> {
    /// A tensor with its range of the shard.
    fn place(&self, name: Cow<'a, str>, info: Info) -> Result<RawTensor<'a>, LoadError> {
        if self.tensors.len() as u64 == TENSORS_MAX {
            return Err(LoadError::too_many("tensors", TENSORS_MAX + 1, TENSORS_MAX));
        }
        if name.len() as u64 > NAME_BYTES_MAX {
            return Err(LoadError::too_many(
                "bytes of a tensor name",
                name.len(),
                NAME_BYTES_MAX,
            ));
        }
        let fault = |fault| Err(LoadError::tensor(&name, fault));
        let Some(format) = format(&info.dtype) else {
            return fault(TensorFault::Format {
                found: clip(&info.dtype),
                supported: "F32, F16 and BF16 are",
            });
        };
        if info.shape.0.is_empty() {
            return fault(TensorFault::Dimensions(0));
        }
        let dims = Dims::new(&info.shape.0);
        let expected = tensor_bytes(&name, &dims, format)?;
        let [from, to] = info.data_offsets;
        let found = to.saturating_sub(from);
        if found != expected {
            return fault(TensorFault::Bytes { expected, found });
        }
        let section_bytes = self.data_bytes as u64;
        if to > section_bytes {
            return fault(TensorFault::OutsideFile {
                offset: from,
                bytes: found,
                section_bytes,
            });
        }
        // Inside the shard, so inside a usize.
        let range = self.data_start + from as usize..self.data_start + to as usize;
        Ok(RawTensor {
            name,
            dims,
            format,
            shard: self.shard,
            range,
        })
    }
}

/// Checks that the tensors follow each other from the first byte of data to the last.
fn check_cover(
    file: &str,
    data_start: usize,
    data_bytes: usize,
    tensors: &mut [RawTensor],
) -> Result<(), LoadError> {
    tensors.sort_unstable_by_key(|tensor| tensor.range.start);
    let mut end = data_start;
    for tensor in tensors {
        if tensor.range.start != end {
            let [offset, expected] = [tensor.range.start, end].map(|at| (at - data_start) as u64);
            return Err(LoadError::tensor(
                &tensor.name,
                TensorFault::NotAdjacent { offset, expected },
            ));
        }
        end = tensor.range.end;
    }
    if end - data_start != data_bytes {
        let expected = format!("{}, as its tensors have", end - data_start);
        return Err(LoadError::out_of_range(
            &format!("{file}: bytes of data"),
            data_bytes,
            expected,
        ));
    }
    Ok(())
}

fn format(dtype: &str) -> Option<Format> {
    match dtype {
        "F32" => Some(Format::F32),
        "F16" => Some(Format::F16),
        "BF16" => Some(Format::BF16),
        _ => None,
    }
}
