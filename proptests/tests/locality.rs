//! A step computes what read a changed fact, and nothing else moves.

use tidegate_proptests::arb::{Flavour, TIERS, case};
use tidegate_proptests::properties::projections::locality as property;
use tidegate_proptests::run::holds;

#[test]
fn locality() {
    holds("locality", 4_000, || case(TIERS, Flavour::Calm, 1..20), property);
}
