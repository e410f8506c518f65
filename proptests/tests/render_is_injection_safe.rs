//! Nothing that tenants write breaks out of its place in a file or command.

use tidegate_proptests::arb::{Flavour, TIERS, case, writing};
use tidegate_proptests::properties::render::{render_is_injection_safe, writing_is_contained};
use tidegate_proptests::run::holds;

#[test]
fn writing_in_every_field_is_contained() {
    holds("render_is_injection_safe/fields", 800, writing, writing_is_contained);
}

#[test]
fn files_and_commands_have_the_intended_structure() {
    let cases = || case(TIERS, Flavour::Calm, 1..8);
    holds("render_is_injection_safe/cases", 200, cases, render_is_injection_safe);
}
