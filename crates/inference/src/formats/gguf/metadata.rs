//! The metadata of a GGUF file: keys and values as ranges of the file, found by name and read by type.
//!
//! - Keys are unique. Arrays hold scalars or strings, never arrays. A value is converted to no other type than one
//!   that holds it exactly.

use std::ops::Range;

use super::cursor::Cursor;
use crate::formats::limits::{METADATA_ENTRIES_MAX, NAME_BYTES_MAX};
use crate::formats::{LoadError, clip};

/// The type of a value, by its number in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

/// The types in the order of their numbers.
const TYPES: [ValueType; 13] = [
    ValueType::U8,
    ValueType::I8,
    ValueType::U16,
    ValueType::I16,
    ValueType::U32,
    ValueType::I32,
    ValueType::F32,
    ValueType::Bool,
    ValueType::String,
    ValueType::Array,
    ValueType::U64,
    ValueType::I64,
    ValueType::F64,
];

impl ValueType {
    fn from_number(key: &str, found: u32) -> Result<Self, LoadError> {
        let known = TYPES.get(found as usize).copied();
        known.ok_or_else(|| LoadError::UnknownValueType {
            key: clip(key),
            found,
        })
    }

    /// Bytes of a scalar; of a string or an array, the least it takes.
    fn bytes_min(self) -> u64 {
        match self {
            ValueType::U8 | ValueType::I8 | ValueType::Bool => 1,
            ValueType::U16 | ValueType::I16 => 2,
            ValueType::U32 | ValueType::I32 | ValueType::F32 => 4,
            ValueType::U64 | ValueType::I64 | ValueType::F64 | ValueType::String => 8,
            ValueType::Array => 12,
        }
    }

    fn name(self) -> &'static str {
        match self {
            ValueType::U8 => "u8",
            ValueType::I8 => "i8",
            ValueType::U16 => "u16",
            ValueType::I16 => "i16",
            ValueType::U32 => "u32",
            ValueType::I32 => "i32",
            ValueType::F32 => "f32",
            ValueType::Bool => "bool",
            ValueType::String => "string",
            ValueType::Array => "array",
            ValueType::U64 => "u64",
            ValueType::I64 => "i64",
            ValueType::F64 => "f64",
        }
    }
}

/// An array's place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Array {
    pub item: ValueType,
    pub len: usize,
    /// The items; strings with their lengths.
    pub range: Range<usize>,
}

enum Value {
    /// Its bytes, zero-extended, as they are in the file.
    Scalar(ValueType, u64),
    String(Range<usize>),
    Array(Array),
}

pub(crate) struct Metadata<'a> {
    bytes: &'a [u8],
    /// Sorted by key.
    entries: Vec<(&'a str, Value)>,
}

/// The least a metadata entry takes: the length of its key, a type, a byte.
const ENTRY_BYTES_MIN: u64 = 8 + 4 + 1;

impl<'a> Metadata<'a> {
    /// Reads `count` entries.
    pub(super) fn read(
        bytes: &'a [u8],
        cursor: &mut Cursor<'a>,
        count: u64,
    ) -> Result<Self, LoadError> {
        if count > METADATA_ENTRIES_MAX {
            return Err(LoadError::too_many(
                "metadata entries",
                count,
                METADATA_ENTRIES_MAX,
            ));
        }
        if count > cursor.left() / ENTRY_BYTES_MIN {
            let [offset, needed, left] =
                [cursor.at() as u64, count * ENTRY_BYTES_MIN, cursor.left()];
            return Err(LoadError::Truncated {
                what: "metadata".into(),
                offset,
                needed,
                left,
            });
        }
        let mut entries = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let key = cursor.name("a metadata key", NAME_BYTES_MAX)?;
            entries.push((key, read_value(cursor, bytes, key)?));
        }
        entries.sort_by_key(|(key, _)| *key);
        if let Some(twice) = entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(LoadError::Duplicate {
                what: "metadata key",
                name: clip(twice[0].0),
            });
        }
        Ok(Metadata { bytes, entries })
    }

    fn get(&self, key: &str) -> Option<&Value> {
        let index = self
            .entries
            .binary_search_by(|(entry, _)| (*entry).cmp(key))
            .ok()?;
        Some(&self.entries[index].1)
    }

    /// An unsigned integer; signed types are taken if the value is not negative.
    pub(crate) fn uint(&self, key: &str) -> Result<Option<u64>, LoadError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let found = match *value {
            Value::Scalar(
                ValueType::U8 | ValueType::U16 | ValueType::U32 | ValueType::U64,
                bits,
            ) => Ok(bits),
            Value::Scalar(ValueType::I8, bits) => u64::try_from(bits as u8 as i8),
            Value::Scalar(ValueType::I16, bits) => u64::try_from(bits as u16 as i16),
            Value::Scalar(ValueType::I32, bits) => u64::try_from(bits as u32 as i32),
            Value::Scalar(ValueType::I64, bits) => u64::try_from(bits as i64),
            _ => return Err(wrong_type(key, "an unsigned integer", value)),
        };
        found
            .map(Some)
            .map_err(|_| LoadError::out_of_range(key, "a negative number", "an unsigned integer"))
    }

    /// A float, of either size.
    pub(crate) fn float(&self, key: &str) -> Result<Option<f64>, LoadError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Scalar(ValueType::F32, bits)) => {
                Ok(Some(f32::from_bits(*bits as u32).into()))
            }
            Some(Value::Scalar(ValueType::F64, bits)) => Ok(Some(f64::from_bits(*bits))),
            Some(value) => Err(wrong_type(key, "a float", value)),
        }
    }

    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>, LoadError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Scalar(ValueType::Bool, bits @ (0 | 1))) => Ok(Some(*bits == 1)),
            Some(Value::Scalar(ValueType::Bool, bits)) => {
                Err(LoadError::out_of_range(key, bits, "0 or 1"))
            }
            Some(value) => Err(wrong_type(key, "a bool", value)),
        }
    }

    pub(crate) fn string(&self, key: &str) -> Result<Option<&'a str>, LoadError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(range)) => match str::from_utf8(&self.bytes[range.clone()]) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(LoadError::NotUtf8 { what: clip(key) }),
            },
            Some(value) => Err(wrong_type(key, "a string", value)),
        }
    }

    /// An array whose items are of this very type.
    pub(crate) fn array(&self, key: &str, item: ValueType) -> Result<Option<&Array>, LoadError> {
        let expected = match item {
            ValueType::String => "an array of strings",
            ValueType::F32 => "an array of f32",
            ValueType::I32 => "an array of i32",
            _ => "an array",
        };
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(array)) if array.item == item => Ok(Some(array)),
            Some(value) => Err(wrong_type(key, expected, value)),
        }
    }

    /// The strings of an array, as ranges of the file.
    pub(crate) fn strings(&self, array: &Array) -> impl Iterator<Item = Range<usize>> + use<'a> {
        let bytes = self.bytes;
        let Range { start: mut at, end } = array.range;
        std::iter::from_fn(move || {
            // The lengths were checked when the array was read.
            let len = bytes[at..end]
                .first_chunk()
                .map(|len| u64::from_le_bytes(*len) as usize)?;
            let text = at + 8..at + 8 + len;
            at = text.end;
            Some(text)
        })
    }

    /// The bytes of the file a range names.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &'a [u8] {
        &self.bytes[range]
    }
}

fn wrong_type(key: &str, expected: &'static str, found: &Value) -> LoadError {
    let found = match found {
        Value::Scalar(value_type, _) => value_type.name().to_owned(),
        Value::String(_) => ValueType::String.name().to_owned(),
        Value::Array(array) => format!("an array of {}", array.item.name()),
    };
    LoadError::WrongType {
        key: clip(key),
        expected,
        found,
    }
}

fn read_value(cursor: &mut Cursor, bytes: &[u8], key: &str) -> Result<Value, LoadError> {
    let value_type = ValueType::from_number(key, cursor.u32(key)?)?;
    match value_type {
        ValueType::String => Ok(Value::String(cursor.string(key)?)),
        ValueType::Array => Ok(Value::Array(read_array(cursor, key)?)),
        scalar => {
            let range = cursor.skip(scalar.bytes_min(), key)?;
            let mut wide = [0; 8];
            wide[..range.len()].copy_from_slice(&bytes[range]);
            Ok(Value::Scalar(scalar, u64::from_le_bytes(wide)))
        }
    }
}

fn read_array(cursor: &mut Cursor, key: &str) -> Result<Array, LoadError> {
    let item = ValueType::from_number(key, cursor.u32(key)?)?;
    if item == ValueType::Array {
        return Err(LoadError::unsupported(
            key,
            "an array of arrays",
            "arrays of scalars and strings are",
        ));
    }
    let len = cursor.u64(key)?;
    let bytes = len
        .checked_mul(item.bytes_min())
        .filter(|bytes| *bytes <= cursor.left());
    let Some(bytes) = bytes else {
        let [offset, left] = [cursor.at() as u64, cursor.left()];
        let needed = len.saturating_mul(item.bytes_min());
        return Err(LoadError::Truncated {
            what: clip(key),
            offset,
            needed,
            left,
        });
    };
    let start = cursor.at();
    if item == ValueType::String {
        for _ in 0..len {
            cursor.string(key)?;
        }
    } else {
        cursor.skip(bytes, key)?;
    }
    Ok(Array {
        item,
        len: len as usize,
        range: start..cursor.at(),
    })
}
