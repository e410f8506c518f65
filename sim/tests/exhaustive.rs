//! Exhaustive in the small: every state of the small world, on each tier.
//!
//! `TIDEGATE_STATES` bounds the large run: no level is begun after so many states (default 20,000;
//! 0 for no bound), and the runs of tiers A and C with a lost answer. Counts are the same on every machine.

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

/// The bound asked for, and what it means.
fn bound() -> (usize, usize) {
    let bound = std::env::var("TIDEGATE_STATES").ok().and_then(|text| text.parse().ok());
    let bound = bound.unwrap_or(20_000);
    (bound, if bound == 0 { usize::MAX } else { bound })
}

const SMALL: Budget = Budget { changes: 1, losses: 1, crashes: 1 };

/// Two changes and a crash anywhere between any of their steps.
#[test]
fn two_changes_and_a_crash() {
    let (bound, most) = bound();
    let budget = Budget { changes: 2, losses: 0, crashes: 1 };
    let states = visit("tier A", Capabilities::tier_a(), budget, most);
    assert!(states >= bound, "{states} states");
}

#[test]
fn a_change_a_lost_answer_and_a_crash() {
    visit("tier A", Capabilities::tier_a(), SMALL, bound().1);
}

#[test]
fn spare_backends() {
    let budget = Budget { crashes: 0, ..SMALL };
    visit("tier B", Capabilities::tier_b(), budget, usize::MAX);
}

#[test]
fn server_slots() {
    visit("tier C", Capabilities::tier_c(), SMALL, bound().1);
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
