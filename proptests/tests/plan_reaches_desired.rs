//! On every prefix of every action there is no gap, and in the end HAProxy has what is wanted.

use tidegate_proptests::arb::{Flavour, TIERS, case};
use tidegate_proptests::properties::planner::plan_reaches_desired as property;
use tidegate_proptests::run::holds;

#[test]
fn plan_reaches_desired() {
    holds("plan_reaches_desired", 600, || case(TIERS, Flavour::Calm, 1..16), property);
}
