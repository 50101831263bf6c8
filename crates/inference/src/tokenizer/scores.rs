//! What SentencePiece's vocabulary implies without saying it: an order of merges, and where words end.

use super::codec::BLANK;
use super::vocab::Vocab;

/// A score's place in the order of merging: a higher score is a lower number.
pub(super) fn score_order(score: f32) -> u32 {
    // Adding zero makes -0.0 equal to 0.0; then the bits of floats, sign folded, rise as the floats do.
    let bits = (score + 0.0).to_bits();
    let rising = if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    };
    !rising
}

/// Whether no token has a blank behind another character.
pub(super) fn splits_at_blanks(vocab: &Vocab) -> bool {
    (0..vocab.len() as u32)
        .filter(|id| vocab.is_text(*id))
        .all(|id| {
            let text = vocab.text(id);
            let mut body = text;
            while let Some(rest) = body.strip_prefix(BLANK.as_bytes()) {
                body = rest;
            }
            !body
                .windows(BLANK.len())
                .any(|window| window == BLANK.as_bytes())
        })
}

#[cfg(test)]
mod tests {
    use super::score_order;

    #[test]
    fn higher_scores_come_first_and_zeros_are_equal() {
        let falling = [f32::MAX, 1.5, 0.0, -0.5, -1e9];
        let orders = falling.map(score_order);
        assert!(orders.is_sorted(), "{orders:?}");
        assert_eq!(score_order(0.0), score_order(-0.0));
    }
}
