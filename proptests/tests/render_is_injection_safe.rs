//! Nothing that tenants write breaks out of its place in a file or command.

use std::io::Write as _;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_proptests::arb::{Flavour, TIERS, case, writing};
use tidegate_proptests::properties::render::{
    self, Writing, render_is_injection_safe, texts, writing_is_contained,
};
use tidegate_proptests::run::{Verdict, holds};

static TEXTS: AtomicU64 = AtomicU64::new(0);

/// The property, counting the texts that it is tried with.
fn contained(writing: &Writing) -> Verdict {
    TEXTS.fetch_add(texts(slice::from_ref(writing)) as u64, Ordering::Relaxed);
    writing_is_contained(writing)
}

#[test]
fn writing_in_every_field_is_contained() {
    holds("render_is_injection_safe/fields", 800, writing, contained);
    let texts = TEXTS.load(Ordering::Relaxed);
    assert!(texts > 0, "no text was written");
    // Not by `eprintln!`, which the test harness swallows.
    let _ = writeln!(std::io::stderr(), "texts in fields: render_is_injection_safe/fields {texts}");
}

#[test]
fn files_and_commands_have_the_intended_structure() {
    let cases = || case(TIERS, Flavour::Calm, 1..8);
    holds("render_is_injection_safe/cases", 200, cases, render_is_injection_safe);
}

#[test]
fn sessions_stay_apart() {
    render::sessions_stay_apart().unwrap();
}
