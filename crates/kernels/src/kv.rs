//! Pages of keys and values: [`KvPool`] owns them, [`KvHead`] and [`KvHeadMut`] are one KV head of one layer.
//!
//! - A page holds [`PAGE_TOKENS`] positions of one head: keys transposed, `[head_dim, PAGE_TOKENS]`, so that one load meets many positions;
//!   then values, `[PAGE_TOKENS, head_dim]`.
//! - The bytes of a page mean nothing outside this crate, except that equal bytes are equal keys and values: pages may be copied, shared and hashed.
//! - A pool's memory is zero and unbacked until a page is written.
//!
//! Absent: which sequence owns which page, reference counts, eviction.

use crate::HEAD_DIM_MAX;
use crate::aligned::AlignedBytes;
use half::f16;

/// Positions in a page.
pub const PAGE_TOKENS: usize = 32;

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KvType {
    /// as computed
    F32,
    /// rounded to nearest, ties to even
    F16,
}

impl KvType {
    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            KvType::F32 => 4,
            KvType::F16 => 2,
        }
    }
}

/// What a page of one KV head looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// type of both keys and values
    pub kv_type: KvType,
    /// elements of a key; those of a value are as many
    pub head_dim: usize,
}

impl KvShape {
    /// Bytes of a page.
    pub const fn page_bytes(self) -> usize {
        2 * self.half_page_bytes()
    }

    pub(crate) const fn half_page_bytes(self) -> usize {
        PAGE_TOKENS * self.head_dim * self.kv_type.bytes()
    }
}

/// All pages of a model: `[layers, kv_heads, pages]`.
#[derive(Debug)]
pub struct KvPool {
    shape: KvShape,
    layers: usize,
    kv_heads: usize,
    pages: usize,
    bytes: AlignedBytes,
}

impl KvPool {
    /// Room for `pages` pages of every head of every layer; page numbers are the same in all of them.
    ///
    /// # Panics
    /// If a count is zero, `head_dim` is above [`HEAD_DIM_MAX`] or the size overflows.
    pub fn new(shape: KvShape, layers: usize, kv_heads: usize, pages: usize) -> Self {
        assert!(
            layers > 0 && kv_heads > 0 && pages > 0 && shape.head_dim > 0,
            "empty pool"
        );
        assert!(
            shape.head_dim <= HEAD_DIM_MAX,
            "head_dim {} is above {HEAD_DIM_MAX}",
            shape.head_dim
        );
        let len = [shape.page_bytes(), layers, kv_heads]
            .into_iter()
            .try_fold(pages, usize::checked_mul)
            .expect("pool size fits the address space");
        Self {
            shape,
            layers,
            kv_heads,
            pages,
            bytes: AlignedBytes::zeroed(len),
        }
    }

    /// Bytes that one page number stands for, over all layers and heads.
    pub const fn bytes_per_page(shape: KvShape, layers: usize, kv_heads: usize) -> usize {
        shape.page_bytes() * layers * kv_heads
    }

    /// What a page looks like.
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    /// Pages of each head.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// One head of one layer, to read.
    pub fn head(&self, layer: usize, kv_head: usize) -> KvHead<'_> {
        assert!(
            layer < self.layers && kv_head < self.kv_heads,
            "head beyond the pool"
        );
        let len = self.shape.page_bytes() * self.pages;
        KvHead {
            shape: self.shape,
            bytes: &self.bytes.as_slice()[(layer * self.kv_heads + kv_head) * len..][..len],
        }
    }

    /// The heads of one layer, to write; each may go to another rank.
    pub fn heads_mut(&mut self, layer: usize) -> impl Iterator<Item = KvHeadMut<'_>> {
        assert!(layer < self.layers, "layer beyond the pool");
        let (shape, len) = (self.shape, self.shape.page_bytes() * self.pages);
        let layer_bytes = len * self.kv_heads;
        let bytes = &mut self.bytes.as_mut_slice()[layer * layer_bytes..][..layer_bytes];
        bytes
            .chunks_exact_mut(len)
            .map(move |bytes| KvHeadMut { shape, bytes })
    }

    /// Copies one page of every head of every layer: a sequence that writes into a shared page gets its own first.
    pub fn copy_page(&mut self, from: u32, to: u32) {
        let (page, head) = (
            self.shape.page_bytes(),
            self.shape.page_bytes() * self.pages,
        );
        let (from, to) = (from as usize * page, to as usize * page);
        assert!(from < head && to < head, "page beyond the pool");
        for bytes in self.bytes.as_mut_slice().chunks_exact_mut(head) {
            bytes.copy_within(from..from + page, to);
        }
    }
}

/// Pages of one KV head, to read.
#[derive(Clone, Copy, Debug)]
pub struct KvHead<'a> {
    shape: KvShape,
    bytes: &'a [u8],
}

impl<'a> KvHead<'a> {
    /// What a page looks like.
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    /// Pages there are.
    pub fn pages(&self) -> usize {
        self.bytes.len() / self.shape.page_bytes()
    }

    /// Keys of a page, transposed.
    pub(crate) fn keys(&self, page: u32) -> &'a [u8] {
        &self.bytes[page as usize * self.shape.page_bytes()..][..self.shape.half_page_bytes()]
    }

    /// Values of a page.
    pub(crate) fn values(&self, page: u32) -> &'a [u8] {
        let half = self.shape.half_page_bytes();
        &self.bytes[page as usize * 2 * half + half..][..half]
    }
}

/// Pages of one KV head, to write.
#[derive(Debug)]
pub struct KvHeadMut<'a> {
    shape: KvShape,
    bytes: &'a mut [u8],
}

impl KvHeadMut<'_> {
    /// The same pages, to read.
    pub fn as_ref(&self) -> KvHead<'_> {
        KvHead {
            shape: self.shape,
            bytes: self.bytes,
        }
    }

    /// Writes key and value of the position `slot` of `page`.
    ///
    /// # Panics
    /// If page or slot do not exist or a length is not `head_dim`.
    pub fn store(&mut self, page: u32, slot: usize, key: &[f32], value: &[f32]) {
        let KvShape { kv_type, head_dim } = self.shape;
        assert!(
            slot < PAGE_TOKENS && key.len() == head_dim && value.len() == head_dim,
            "slot or length"
        );
        let page =
            &mut self.bytes[page as usize * self.shape.page_bytes()..][..self.shape.page_bytes()];
        let (keys, values) = page.split_at_mut(self.shape.half_page_bytes());
        match kv_type {
            KvType::F32 => put(keys, values, slot, key, value, |x: f32| x.to_le_bytes()),
            KvType::F16 => {
                let (mut halves, mut value_halves) = ([0; HEAD_DIM_MAX], [0; HEAD_DIM_MAX]);
                to_f16(key, &mut halves);
                to_f16(value, &mut value_halves);
                put(
                    keys,
                    values,
                    slot,
                    &halves[..head_dim],
                    &value_halves[..head_dim],
                    u16::to_le_bytes,
                );
            }
        }
    }
}

/// Rounds to f16, ties to even.
fn to_f16(x: &[f32], out: &mut [u16; HEAD_DIM_MAX]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = crate::Avx2::new() {
        return avx2.to_f16(x, &mut out[..x.len()]);
    }
    for (out, x) in out.iter_mut().zip(x) {
        *out = f16::from_f32(*x).to_bits();
    }
}

fn put<T: Copy, const N: usize>(
    keys: &mut [u8],
    values: &mut [u8],
    slot: usize,
    key: &[T],
    value: &[T],
    bytes: impl Fn(T) -> [u8; N],
) {
    for (column, x) in keys
        .as_chunks_mut::<N>()
        .0
        .iter_mut()
        .skip(slot)
        .step_by(PAGE_TOKENS)
        .zip(key)
    {
        *column = bytes(*x);
    }
    for (place, x) in values.as_chunks_mut::<N>().0[slot * value.len()..]
        .iter_mut()
        .zip(value)
    {
        *place = bytes(*x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_pages_do_not_touch_each_other() {
        let shape = KvShape {
            kv_type: KvType::F16,
            head_dim: 2,
        };
        let mut pool = KvPool::new(shape, 2, 2, 3);
        for layer in 0..2 {
            for (head, mut kv) in pool.heads_mut(layer).enumerate() {
                kv.store(1, 31, &[layer as f32, head as f32], &[7.0, 8.0]);
            }
        }
        for (layer, head) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let kv = pool.head(layer, head);
            let key = |d: usize| {
                f16::from_le_bytes(kv.keys(1).as_chunks().0[d * PAGE_TOKENS + 31]).to_f32()
            };
            assert_eq!([key(0), key(1)], [layer as f32, head as f32]);
            assert!(kv.keys(0).iter().chain(kv.values(2)).all(|&b| b == 0));
            assert_eq!(kv.values(1)[31 * 4..], [0x00, 0x47, 0x00, 0x48]);
        }
        pool.copy_page(1, 2);
        assert_eq!(pool.head(1, 1).keys(2), pool.head(1, 1).keys(1));
    }

    #[test]
    fn halves_round_to_nearest_whatever_converts_them() {
        let bits = (0..=u32::MAX).step_by(65_521).chain([
            0x3380_0000,
            0x3300_0001,
            0x477f_efff,
            0x477f_f000,
        ]);
        let x: Vec<f32> = bits.map(f32::from_bits).collect();
        for x in x.chunks(100) {
            let mut out = [0; HEAD_DIM_MAX];
            to_f16(x, &mut out);
            for (x, out) in x.iter().zip(out) {
                let (found, expected) = (f16::from_bits(out), f16::from_f32(*x));
                assert!(
                    found == expected && out == expected.to_bits() || x.is_nan() && found.is_nan(),
                    "{x}: {found} {expected}"
                );
            }
        }
    }
}
