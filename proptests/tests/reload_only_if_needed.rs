//! Reloads happen for true reasons only.

use tidegate_proptests::arb::{Flavour, TIERS, case};
use tidegate_proptests::properties::planner::reload_only_if_needed as property;
use tidegate_proptests::run::holds;

#[test]
fn reload_only_if_needed() {
    holds("reload_only_if_needed", 300, || case(TIERS, Flavour::Calm, 1..16), property);
}
