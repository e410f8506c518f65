//! Repeating any event when all is settled does nothing.

use tidegate_proptests::arb::{Flavour, TIERS, case};
use tidegate_proptests::properties::history::idempotence as property;
use tidegate_proptests::run::holds;

#[test]
fn idempotence() {
    holds("idempotence", 250, || case(TIERS, Flavour::Calm, 1..8), property);
}
