//! A change of a fact that a piece did not record does not change the piece.

use tidegate_proptests::arb::{Flavour, TIERS, case};
use tidegate_proptests::properties::projections::reads_are_complete as property;
use tidegate_proptests::run::holds;

#[test]
fn reads_are_complete() {
    holds("reads_are_complete", 2_500, || case(TIERS, Flavour::Calm, 1..12), property);
}
