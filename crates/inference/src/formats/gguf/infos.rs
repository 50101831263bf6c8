//! The tensor infos of a GGUF file, and the placing of each tensor in the data section.
//!
//! - No dimension, product, offset or sum is used before it is known to fit; two tensors share no byte.

use spindle_kernels::Format;

use super::cursor::Cursor;
use crate::formats::check::{Dims, RawTensor, tensor_bytes};
use crate::formats::limits::{NAME_BYTES_MAX, TENSORS_MAX};
use crate::formats::{LoadError, TensorFault, clip};

/// A tensor as the header states it.
pub(super) struct Info<'a> {
    name: &'a str,
    dims: Dims,
    format: Format,
    /// In the data section.
    offset: u64,
}

/// The least an info takes: the length of a name, a number of dimensions and one of them, a type, an offset.
const INFO_BYTES_MIN: u64 = 8 + 4 + 8 + 4 + 8;

/// Reads `count` infos.
pub(super) fn read<'a>(cursor: &mut Cursor<'a>, count: u64) -> Result<Vec<Info<'a>>, LoadError> {
    if count > TENSORS_MAX {
        return Err(LoadError::too_many("tensors", count, TENSORS_MAX));
    }
    if count > cursor.left() / INFO_BYTES_MIN {
        let [offset, needed, left] = [cursor.at() as u64, count * INFO_BYTES_MIN, cursor.left()];
        return Err(LoadError::Truncated {
            what: "the tensor infos".into(),
            offset,
            needed,
            left,
        });
    }
    let mut infos = Vec::with_capacity(count as usize);
    for _ in 0..count {
        infos.push(read_info(cursor)?);
    }
    Ok(infos)
}

fn read_info<'a>(cursor: &mut Cursor<'a>) -> Result<Info<'a>, LoadError> {
    let name = cursor.name("a tensor name", NAME_BYTES_MAX)?;
    let count = cursor.u32(name)?;
    if !(1..=Dims::MAX as u32).contains(&count) {
        return Err(LoadError::tensor(
            name,
            TensorFault::Dimensions(count.into()),
        ));
    }
    // The file has the innermost dimension first.
    let mut dims = [0; Dims::MAX];
    for dimension in dims[..count as usize].iter_mut().rev() {
        *dimension = cursor.u64(name)?;
    }
    let dims = Dims::new(&dims[..count as usize]);
    let format = format(name, cursor.u32(name)?)?;
    Ok(Info {
        name,
        dims,
        format,
        offset: cursor.u64(name)?,
    })
}

/// Gives every tensor its range of the file, whose header ends at `header_end`.
pub(super) fn place<'a>(
    infos: Vec<Info<'a>>,
    header_end: usize,
    file_bytes: usize,
    alignment: u64,
) -> Result<Vec<RawTensor<'a>>, LoadError> {
    // Both are lengths of slices and the alignment is small: the sum cannot wrap.
    let data_start = (header_end as u64).next_multiple_of(alignment);
    let section_bytes = (file_bytes as u64).saturating_sub(data_start);
    let mut tensors = Vec::with_capacity(infos.len());
    for Info {
        name,
        dims,
        format,
        offset,
    } in infos
    {
        let bytes = tensor_bytes(name, &dims, format)?;
        let fault = if !offset.is_multiple_of(alignment) {
            Some(TensorFault::Misaligned { offset, alignment })
        } else if offset
            .checked_add(bytes)
            .is_none_or(|end| end > section_bytes)
        {
            Some(TensorFault::OutsideFile {
                offset,
                bytes,
                section_bytes,
            })
        } else {
            None
        };
        if let Some(fault) = fault {
            return Err(LoadError::tensor(name, fault));
        }
        // Inside the file, so inside a usize.
        let start = (data_start + offset) as usize;
        let range = start..start + bytes as usize;
        tensors.push(RawTensor {
            name: name.into(),
            dims,
            format,
            shard: 0,
            range,
        });
    }
    check_overlaps(&mut tensors)?;
    Ok(tensors)
}

fn check_overlaps(tensors: &mut [RawTensor]) -> Result<(), LoadError> {
    tensors.sort_unstable_by_key(|tensor| tensor.range.start);
    match tensors
        .windows(2)
        .find(|pair| pair[0].range.end > pair[1].range.start)
    {
        None => Ok(()),
        Some(pair) => Err(LoadError::tensor(
            &pair[1].name,
            TensorFault::Overlap(clip(&pair[0].name)),
        )),
    }
}

fn format(name: &str, number: u32) -> Result<Format, LoadError> {
    let found = FORMATS.iter().find(|(known, ..)| *known == number);
    match found {
        Some((_, _, Some(format))) => Ok(*format),
        Some((_, spelled, None)) => Err(unsupported(name, (*spelled).to_owned())),
        None => Err(unsupported(name, number.to_string())),
    }
}

fn unsupported(name: &str, found: String) -> LoadError {
    LoadError::tensor(
        name,
        TensorFault::Format {
            found,
            supported: SUPPORTED,
        },
    )
}

const SUPPORTED: &str = "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and Q6_K are";

/// GGUF's numbers of tensor types; those without a format are known by name only.
const FORMATS: &[(u32, &str, Option<Format>)] = &[
    (0, "F32", Some(Format::F32)),
    (1, "F16", Some(Format::F16)),
    (2, "Q4_0", Some(Format::Q4_0)),
    (3, "Q4_1", Some(Format::Q4_1)),
    (6, "Q5_0", Some(Format::Q5_0)),
    (7, "Q5_1", Some(Format::Q5_1)),
    (8, "Q8_0", Some(Format::Q8_0)),
    (9, "Q8_1", None),
    (10, "Q2_K", None),
    (11, "Q3_K", None),
    (12, "Q4_K", Some(Format::Q4K)),
    (13, "Q5_K", Some(Format::Q5K)),
    (14, "Q6_K", Some(Format::Q6K)),
    (15, "Q8_K", None),
    (16, "IQ2_XXS", None),
    (17, "IQ2_XS", None),
    (18, "IQ3_XXS", None),
    (19, "IQ1_S", None),
    (20, "IQ4_NL", None),
    (21, "IQ3_S", None),
    (22, "IQ2_S", None),
    (23, "IQ4_XS", None),
    (24, "I8", None),
    (25, "I16", None),
    (26, "I32", None),
    (27, "I64", None),
    (28, "F64", None),
    (29, "IQ1_M", None),
    (30, "BF16", Some(Format::BF16)),
    (34, "TQ1_0", None),
    (35, "TQ2_0", None),
    (39, "MXFP4", None),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_its_number_and_is_named_as_supported() {
        for format in Format::ALL {
            let row = FORMATS.iter().find(|(.., known)| *known == Some(format));
            assert_eq!(row.map(|(_, name, _)| *name), Some(format.name()));
            assert!(SUPPORTED.contains(format.name()));
        }
    }
}
