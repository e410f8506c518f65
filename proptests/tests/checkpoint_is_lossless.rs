//! A controller made from a checkpoint goes on exactly as the one that gave it.

use tidegate_proptests::arb::{Flavour, TIERS, case};
use tidegate_proptests::properties::history::checkpoint_is_lossless as property;
use tidegate_proptests::run::holds;

#[test]
fn checkpoint_is_lossless() {
    holds("checkpoint_is_lossless", 350, || case(TIERS, Flavour::Rough, 1..16), property);
}
