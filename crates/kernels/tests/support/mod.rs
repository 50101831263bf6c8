//! Seeded inputs and bitwise comparison for the kernel tests.
#![allow(dead_code, reason = "each test file uses its part of this")]

use half::f16;
use spindle_kernels::Format;

/// SplitMix64: small, seeded, good enough to shake kernels.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// -1..1
    pub fn signed(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.signed()).collect()
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// Where a block keeps its f16 fields.
fn f16_fields(format: Format) -> &'static [usize] {
    match format {
        Format::Q4_0 | Format::Q5_0 | Format::Q8_0 => &[0],
        Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K => &[0, 2],
        Format::Q6K => &[208],
        Format::F32 | Format::F16 | Format::BF16 => &[],
    }
}

/// Bytes of a matrix: codes from `byte`, scales and float weights from `float`.
pub fn weights(
    format: Format,
    rows: usize,
    cols: usize,
    mut byte: impl FnMut() -> u8,
    mut float: impl FnMut() -> f32,
) -> Vec<u8> {
    let len = rows * format.row_bytes(cols).unwrap();
    match format {
        Format::F32 => (0..rows * cols)
            .flat_map(|_| float().to_le_bytes())
            .collect(),
        Format::F16 => (0..rows * cols)
            .flat_map(|_| f16::from_f32(float()).to_le_bytes())
            .collect(),
        Format::BF16 => (0..rows * cols)
            .flat_map(|_| half::bf16::from_f32(float()).to_le_bytes())
            .collect(),
        _ => {
            let mut bytes: Vec<u8> = (0..len).map(|_| byte()).collect();
            for block in bytes.chunks_exact_mut(format.block_bytes()) {
                for &at in f16_fields(format) {
                    block[at..at + 2].copy_from_slice(&f16::from_f32(float()).to_le_bytes());
                }
            }
            bytes
        }
    }
}

pub fn random_weights(random: &mut Random, format: Format, rows: usize, cols: usize) -> Vec<u8> {
    let mut bytes = Random(random.next());
    weights(
        format,
        rows,
        cols,
        || bytes.next() as u8,
        || random.signed(),
    )
}

/// Bytes at an odd address, as a tensor in a mapped file may be.
pub struct Unaligned(Vec<u8>);

impl Unaligned {
    pub fn new(bytes: &[u8]) -> Self {
        let mut data = vec![0xa5; bytes.len() + 1];
        data[1..].copy_from_slice(bytes);
        Self(data)
    }

    pub fn get(&self) -> &[u8] {
        &self.0[1..]
    }
}

/// Bit for bit, any NaN equal to any NaN.
#[track_caller]
pub fn assert_same(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
        assert!(
            same,
            "{what}: element {i}: {found:?} ({:#x}), defined as {expected:?} ({:#x})",
            found.to_bits(),
            expected.to_bits()
        );
    }
}
