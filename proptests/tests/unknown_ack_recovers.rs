//! Whatever is refused, lost, late, twice or dead, it recovers.

use tidegate_proptests::arb::{Flavour, TIERS, case};
use tidegate_proptests::properties::planner::unknown_ack_recovers as property;
use tidegate_proptests::run::holds;

#[test]
fn unknown_ack_recovers() {
    holds("unknown_ack_recovers", 600, || case(TIERS, Flavour::Rough, 1..20), property);
}
