//! Any bytes in any field of any object, or none: a step ends and keeps the invariants, and one object
//! has no more effect than its limits admit.

use tidegate_proptests::arb::writing;
use tidegate_proptests::properties::extremes;
use tidegate_proptests::properties::render::parsers_are_total as property;
use tidegate_proptests::run::holds;

#[test]
fn parsers_are_total() {
    holds("parsers_are_total", 10_000, writing, property);
}

#[test]
fn one_object_is_bounded() {
    extremes::one_object_is_bounded().unwrap();
}

#[test]
fn absent_fields_are_fine() {
    extremes::absent_fields_are_fine().unwrap();
}
