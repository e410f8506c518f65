//! What is wanted does not depend on the order of events of different objects, nor on repetition.

use tidegate_proptests::arb::{Flavour, TIERS, case};
use tidegate_proptests::properties::projections::confluence as property;
use tidegate_proptests::run::holds;

#[test]
fn confluence() {
    holds("confluence", 2_500, || case(TIERS, Flavour::Calm, 1..20), property);
}
