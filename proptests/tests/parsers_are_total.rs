//! Any bytes in any field of any object: a step ends and keeps the invariants.

use tidegate_proptests::arb::writing;
use tidegate_proptests::properties::render::parsers_are_total as property;
use tidegate_proptests::run::holds;

#[test]
fn parsers_are_total() {
    holds("parsers_are_total", 10_000, writing, property);
}
