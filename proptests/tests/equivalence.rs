//! After every step, what is wanted and what is wrong equal a computation from nothing.

use tidegate_proptests::arb::{Flavour, TIERS, case};
use tidegate_proptests::properties::projections::equivalence as property;
use tidegate_proptests::run::holds;

#[test]
fn equivalence() {
    holds("equivalence", 2_500, || case(TIERS, Flavour::Calm, 1..14), property);
}
