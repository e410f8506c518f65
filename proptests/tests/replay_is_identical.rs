//! The same events at the same times give the same steps.

use tidegate_proptests::arb::{Flavour, TIERS, case};
use tidegate_proptests::properties::history::replay_is_identical as property;
use tidegate_proptests::run::holds;

#[test]
fn replay_is_identical() {
    holds("replay_is_identical", 350, || case(TIERS, Flavour::Rough, 1..20), property);
}
