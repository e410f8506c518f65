//! Exhaustive in the small: every state of the small world, on each tier.
//!
//! `TIDEGATE_STATES` is how many distinct states are visited at least (default 100,000; 0 for all
//! there are): a tenth of them, or all there are, with a lost answer and a crash on tiers A and C, all there
//! are with a lost answer on tier B, and the others with two changes and a crash. A level that was begun is finished. Counts are the same on every machine.

use std::io::Write as _;
use std::time::Instant;

use tidegate_core::capability::Capabilities;
use tidegate_sim::small::explore::{Plan, explore};
use tidegate_sim::small::moves::Budget;

fn visit(name: &str, capabilities: Capabilities, budget: Budget, states_max: usize) -> usize {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    let begin = Instant::now();
    let plan = Plan { capabilities, budget, states_max, threads };
    let report = match explore(&plan, |_| {}) {
        Ok(report) => report,
        Err(found) => panic!("{name}: {found}"),
    };
    let Budget { changes, losses, crashes } = budget;
    let end = if report.complete { "every state" } else { "bounded" };
    // Not by `eprintln!`, which the test harness swallows.
    let _ = writeln!(
        std::io::stderr(),
        "exhaustive, {name}, {changes} changes, {losses} lost answers, {crashes} crashes: {} \
         distinct states ({end}), {} moves judged, depth {}, {} quiet, at most {} calm moves to \
         quiet, {:.1?}",
        report.states,
        report.moves,
        report.depth,
        report.quiet,
        report.calm_moves,
        begin.elapsed()
    );
    report.states
}

#[test]
fn small_worlds() {
    let wanted = std::env::var("TIDEGATE_STATES").ok().and_then(|text| text.parse().ok());
    let wanted: usize = wanted.unwrap_or(100_000);
    let bound = if wanted == 0 { usize::MAX } else { wanted };
    let lossy = Budget { changes: 1, losses: 1, crashes: 1 };
    let mut states = visit("tier A", Capabilities::tier_a(), lossy, bound / 10);
    let safe = Budget { crashes: 0, ..lossy };
    states += visit("tier B", Capabilities::tier_b(), safe, usize::MAX);
    states += visit("tier C", Capabilities::tier_c(), lossy, bound / 10);
    // Two changes and a crash anywhere between any of their steps.
    let budget = Budget { changes: 2, losses: 0, crashes: 1 };
    states += visit("tier A", Capabilities::tier_a(), budget, bound.saturating_sub(states));
    let _ = writeln!(std::io::stderr(), "exhaustive: {states} distinct states");
    assert!(states >= wanted, "{states} states");
}

/// The number of threads changes nothing.
#[test]
fn counts_are_the_same_with_any_number_of_threads() {
    let budget = Budget { changes: 1, losses: 0, crashes: 1 };
    let run = |threads| {
        let capabilities = Capabilities::tier_a();
        explore(&Plan { capabilities, budget, states_max: usize::MAX, threads }, |_| {})
    };
    let (one, three) = (run(1), run(3));
    assert!(one.is_ok(), "{:?}", one.err().map(|found| found.to_string()));
    assert_eq!(one, three);
}
