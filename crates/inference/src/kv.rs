//! The KV cache: the kernels' pool of pages, and which of them are free.
//!
//! - A page number stands for [`PAGE_LEN`] positions in every head of every layer.
//! - A page is handed to one sequence at a time. Its contents are whatever the last owner left: attention reads no
//!   position that its sequence has not written.
//! - Memory is claimed once and backed by the machine as pages are first written; low page numbers go out first, so
//!   what was never needed stays unbacked.
//!
//! Absent: sharing by prefix; who gives a page up when none is left (the scheduler).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use spindle_kernels::{KvPool, KvShape, KvType, PAGE_TOKENS};

use crate::formats::ModelConfig;

/// Positions in a page.
pub const PAGE_LEN: usize = PAGE_TOKENS;

/// Number of a page.
pub type PageId = u32;

/// Keys and values of all sequences of a model.
#[derive(Debug)]
pub struct KvCache {
    pool: KvPool,
    /// Lowest number first.
    free: BinaryHeap<Reverse<PageId>>,
}

impl KvCache {
    /// As many pages as fit into `bytes`, but no more than `pages_wanted`; at least one.
    pub fn new(config: &ModelConfig, kv_type: KvType, bytes: u64, pages_wanted: usize) -> Self {
        let shape = KvShape {
            kv_type,
            head_dim: config.head_dim,
        };
        let affordable = bytes / Self::page_bytes(config, kv_type);
        let pages = usize::try_from(affordable)
            .unwrap_or(usize::MAX)
            .min(pages_wanted)
            .clamp(1, PageId::MAX as usize);
        let pool = KvPool::new(shape, config.layers, config.kv_heads, pages);
        Self {
            pool,
            free: (0..pages as PageId).map(Reverse).collect(),
        }
    }

    /// Bytes of one page over all layers and heads.
    pub fn page_bytes(config: &ModelConfig, kv_type: KvType) -> u64 {
        let shape = KvShape {
            kv_type,
            head_dim: config.head_dim,
        };
        KvPool::bytes_per_page(shape, config.layers, config.kv_heads) as u64
    }

    /// Moves `count` free pages to the end of `pages`; false, and nothing moved, where there are fewer.
    pub fn claim(&mut self, count: usize, pages: &mut Vec<PageId>) -> bool {
        if self.free.len() < count {
            return false;
        }
        pages.extend(
            (0..count)
                .filter_map(|_| self.free.pop())
                .map(|Reverse(page)| page),
        );
        true
    }

    /// Takes pages back.
    pub fn release(&mut self, pages: Vec<PageId>) {
        self.free.extend(pages.into_iter().map(Reverse));
        debug_assert!(
            self.free.len() <= self.pool.pages(),
            "a page was released twice"
        );
    }

    /// How keys and values are stored.
    pub fn kv_type(&self) -> KvType {
        self.pool.shape().kv_type
    }

    /// Pages there are.
    pub fn pages_total(&self) -> usize {
        self.pool.pages()
    }

    /// Pages nobody holds.
    pub fn pages_free(&self) -> usize {
        self.free.len()
    }

    /// Pages somebody holds.
    pub fn pages_used(&self) -> usize {
        self.pages_total() - self.pages_free()
    }

    /// The kernels' view.
    pub(crate) fn pool(&self) -> &KvPool {
        &self.pool
    }

    /// The kernels' view, to write.
    pub(crate) fn pool_mut(&mut self) -> &mut KvPool {
        &mut self.pool
    }
}
