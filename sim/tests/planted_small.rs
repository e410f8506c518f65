//! What fails is made small: mistakes are planted in the core, seeds run until a promise breaks, and the
//! schedule that broke it is shrunk. Half of what is left has at most twelve lines.
//!
//! `cargo test -p tidegate-sim --features sabotage --test planted_small -- --nocapture`

use std::io::Write as _;
use std::time::Instant;

use tidegate_core::sabotage::{Mistake, plant};
use tidegate_sim::swarm::run::run;
use tidegate_sim::swarm::shrink::{Shrunk, shrink};
use tidegate_sim::swarm::{generate, tier};

const PLANTED: &[Mistake] = &[
    Mistake::RefusedIsDone,
    Mistake::UnknownIsDone,
    Mistake::StateBeforeAddress,
    Mistake::TooManyEmpties,
    Mistake::NoRetry,
    Mistake::SavedAtWrite,
    Mistake::SavedBeforeWrite,
    Mistake::KeepRemoved,
    Mistake::LeavesInRounds,
    Mistake::RouteBeforeServer,
];

/// Seeds in which a mistake must be found, each on three tiers.
const SEEDS: u64 = 40;
/// Runs that it may take to make one small, as `tidegate-sim swarm` allows.
const RUNS_MAX: u64 = 300;
/// Lines of a small schedule, at the median.
const LINES: usize = 12;

/// The first seed that fails, and what is left of it.
fn found() -> Option<(u64, &'static str, Shrunk)> {
    let tiers = ["A", "B", "C"];
    let mut all = (1..=SEEDS).flat_map(|seed| tiers.map(|name| (seed, name)));
    all.find_map(|(seed, name)| {
        let capabilities = tier(name).unwrap();
        let entries = generate::schedule(seed);
        run(&entries, &capabilities, false).broken?;
        shrink(&entries, &capabilities, RUNS_MAX).map(|small| (seed, name, small))
    })
}

/// One after the other: a mistake is planted in the whole process.
#[test]
fn half_of_all_failures_are_small() {
    let mut sizes = Vec::new();
    for mistake in PLANTED {
        plant(Some(*mistake));
        let begin = Instant::now();
        let found = found();
        let words = match &found {
            Some((seed, name, small)) => format!(
                "seed {seed} on {name}, {} lines after {} runs: {}",
                small.entries.len(),
                small.runs,
                small.broken
            ),
            None => format!("not found in {SEEDS} seeds"),
        };
        // Not by `eprintln!`, which the test harness swallows.
        let seconds = begin.elapsed().as_secs_f64();
        let _ = writeln!(std::io::stderr(), "planted {mistake:?}: {seconds:.1} s: {words}");
        sizes.extend(found.map(|(_, _, small)| small.entries.len()));
    }
    plant(None);
    sizes.sort_unstable();
    assert_eq!(sizes.len(), PLANTED.len(), "not all are found by seeds");
    let median = sizes[sizes.len() / 2];
    assert!(median <= LINES, "{median} lines at the median: {sizes:?}");
}
