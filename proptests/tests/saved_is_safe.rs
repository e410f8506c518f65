//! What is saved always loads, and names no server that went long ago.

use tidegate_proptests::arb::{Flavour, TIERS, case};
use tidegate_proptests::properties::planner::saved_is_safe as property;
use tidegate_proptests::run::holds;

#[test]
fn saved_is_safe() {
    holds("saved_is_safe", 250, || case(TIERS, Flavour::Calm, 1..10), property);
}
