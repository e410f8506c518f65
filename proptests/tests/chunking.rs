//! What is wanted does not depend on how the events are split into steps.

use tidegate_proptests::arb::{Flavour, TIERS, case};
use tidegate_proptests::properties::projections::chunking as property;
use tidegate_proptests::run::holds;

#[test]
fn chunking() {
    holds("chunking", 2_500, || case(TIERS, Flavour::Calm, 1..20), property);
}
