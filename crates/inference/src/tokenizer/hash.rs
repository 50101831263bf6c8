//! The hash of the token and merge tables, and their probing rule.
//!
//! - No seed and no randomness: a vocabulary loads the same way everywhere, wasm without an entropy source included.
//! - A file made to collide is refused after [`PROBES_MAX`] slots instead of loading in quadratic time.

/// Slots a search may look at. Tables are two thirds full at most, where half a million random keys need about 180.
pub(super) const PROBES_MAX: usize = 512;

const K: u64 = 0x9e37_79b9_7f4a_7c15;

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

/// Hash of a token's text.
pub(super) fn bytes(text: &[u8]) -> u64 {
    let mut state = K ^ text.len() as u64;
    let mut words = text.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().expect("chunks of eight"));
        state = fold(state ^ word, K);
    }
    let mut last = 0;
    for (i, byte) in words.remainder().iter().enumerate() {
        last |= u64::from(*byte) << (8 * i);
    }
    fold(state ^ last, 0xd6e8_feb8_6659_fd93)
}

/// Hash of a pair of token ids.
pub(super) fn pair(left: u32, right: u32) -> u64 {
    fold(
        (u64::from(left) << 32 | u64::from(right)) ^ K,
        0xd6e8_feb8_6659_fd93,
    )
}

/// The slot of a hash in a table of `slots`: its upper half scaled, so that `slots` may be any number.
pub(super) fn slot(hash: u64, slots: usize) -> usize {
    (((hash >> 32) * slots as u64) >> 32) as usize
}
