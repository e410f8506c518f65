//! A change that is undone within one step causes no action.

use tidegate_proptests::arb::{Flavour, TIERS, case};
use tidegate_proptests::properties::history::roundtrip as property;
use tidegate_proptests::run::holds;

#[test]
fn roundtrip() {
    holds("roundtrip", 300, || case(TIERS, Flavour::Calm, 1..8), property);
}
