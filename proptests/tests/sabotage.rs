//! The tests of the tests: each planted mistake makes the property fail that promises it away, and
//! without it the same cases hold.
//!
//! `cargo test -p tidegate-proptests --features sabotage --test sabotage`

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use proptest::collection::vec;
use proptest::strategy::Strategy;
use tidegate_core::sabotage::{Mistake, plant};
use tidegate_proptests::arb::{Act, Case, Flavour, TIERS, case, change, writing};
use tidegate_proptests::cluster;
use tidegate_proptests::properties::render::{Writing, writing_is_contained};
use tidegate_proptests::properties::{planner, projections, snippets, telling};
use tidegate_proptests::run::{Verdict, cases_until};

/// A property, and the cases it is for.
#[derive(Clone, Copy)]
enum Judge {
    Calm(fn(&Case) -> Verdict),
    Rough(fn(&Case) -> Verdict),
    /// Changes a quarter of a second apart, for ten seconds.
    Restless(fn(&Case) -> Verdict),
    Writing(fn(&Writing) -> Verdict),
    Snippets(fn(&snippets::Writing) -> Verdict),
    Replicas(fn(&cluster::Case) -> Verdict),
    /// A case by hand: in generated ones it is found, if at all, only after thousands.
    One(fn() -> Verdict),
}

use Judge::{Calm, One, Replicas, Restless, Rough, Snippets};

impl Judge {
    fn until(self, seed: u64, cases: u32) -> Option<(u32, String)> {
        let calm = || case(TIERS, Flavour::Calm, 1..16);
        let rough = || case(TIERS, Flavour::Rough, 1..20);
        match self {
            Calm(property) => cases_until(seed, cases, &calm(), property),
            Rough(property) => cases_until(seed, cases, &rough(), property),
            Restless(property) => cases_until(seed, cases, &restless(), property),
            Judge::Writing(property) => cases_until(seed, cases, &writing(), property),
            Snippets(property) => cases_until(seed, cases, &snippets::writing(), property),
            Replicas(property) => cases_until(seed, cases, &cluster::case(), property),
            One(property) => property().err().map(|why| (1, why)),
        }
    }
}

fn restless() -> impl Strategy<Value = Case> {
    let cases = (case(TIERS, Flavour::Calm, 1..2), vec(change(), 40..41));
    cases.prop_map(|(case, changes)| Case {
        acts: changes.into_iter().flat_map(|change| [change, Act::Pass(0)]).collect(),
        ..case
    })
}

/// Mistake, property, its judge, and a seed with which it is caught soon.
const PLANTED: &[(Mistake, &str, Judge, u64)] = &[
    (Mistake::UnrecordedMiss, "equivalence", Calm(projections::equivalence), 1),
    (Mistake::UnrecordedMiss, "reads_are_complete", Calm(projections::reads_are_complete), 1),
    (Mistake::BreakBeforeMake, "plan_reaches_desired", Calm(planner::plan_reaches_desired), 1),
    (Mistake::NameBeforeAge, "plan_reaches_desired", Calm(planner::plan_reaches_desired), 1),
    (Mistake::OpenWithoutUsers, "plan_reaches_desired", Calm(planner::plan_reaches_desired), 1),
    (Mistake::AnyHandshake, "plan_reaches_desired", Calm(planner::plan_reaches_desired), 1),
    (Mistake::SavedAtWrite, "saved_is_safe", Calm(planner::saved_is_safe), 1),
    (Mistake::NoSaveMax, "saved_is_safe", Restless(planner::saved_is_safe), 1),
    (Mistake::OneSliceIsAll, "plan_reaches_desired", Calm(planner::plan_reaches_desired), 1),
    (Mistake::OneSliceIsAll, "confluence", Calm(projections::confluence), 1),
    (Mistake::KeepRemoved, "plan_reaches_desired", Calm(planner::plan_reaches_desired), 1),
    (Mistake::UnknownIsDone, "unknown_ack_recovers", Rough(planner::unknown_ack_recovers), 1),
    (Mistake::AnyHeaderName, "render_is_injection_safe", Judge::Writing(writing_is_contained), 1),
    (Mistake::PercentName, "render_is_injection_safe", Judge::Writing(writing_is_contained), 1),
    (Mistake::UnanchoredName, "render_is_injection_safe", Judge::Writing(writing_is_contained), 1),
    (Mistake::CarriageReturn, "render_is_injection_safe", Judge::Writing(writing_is_contained), 1),
    (
        Mistake::UnjudgedSnippet,
        "nothing_unjudged_joins",
        Snippets(snippets::nothing_unjudged_joins),
        1,
    ),
    (
        Mistake::LostStatusIsWritten,
        "lost_status_is_written_again",
        One(telling::lost_status_is_written_again),
        1,
    ),
    (Mistake::EndlessTerm, "one_writer", Replicas(telling::one_writer), 1),
];

/// Cases in which a mistake must be caught.
const CASES_MAX: u32 = 2_000;

/// Not by `println!`, which the test harness swallows.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// One after the other: a mistake is planted in the whole process.
#[test]
fn each_planted_mistake_is_caught() {
    let mut took = Vec::new();
    let mut missed = Vec::new();
    for (mistake, name, judge, seed) in PLANTED {
        plant(Some(*mistake));
        let begin = Instant::now();
        match judge.until(*seed, CASES_MAX) {
            Some((cases, why)) => {
                let short: String = why.chars().take(160).collect();
                tell(&format!(
                    "planted {mistake:?}: {name} catches it in case {cases}, {:.1?}: {short}",
                    begin.elapsed()
                ));
                took.push((mistake, name, *judge, *seed, cases));
            }
            None => missed.push(format!("{name} does not catch {mistake:?}")),
        }
    }
    plant(None);
    let next = AtomicUsize::new(0);
    let guilty = std::thread::scope(|scope| {
        let look = || {
            let mut guilty = Vec::new();
            while let Some((mistake, name, judge, seed, cases)) =
                took.get(next.fetch_add(1, Ordering::Relaxed))
            {
                if let Some((_, why)) = judge.until(*seed, *cases) {
                    guilty.push(format!("{name} fails without {mistake:?}: {why}"));
                }
            }
            guilty
        };
        let threads = [scope.spawn(look), scope.spawn(look)];
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    missed.extend(guilty);
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
#[ignore]
fn search() {
    let part: usize = std::env::var("PART").unwrap().parse().unwrap();
    for (n, (mistake, name, judge, _)) in PLANTED.iter().enumerate() {
        if n % 2 != part {
            continue;
        }
        plant(Some(*mistake));
        let mut best = (0, 600);
        let begin = Instant::now();
        for seed in 1..=40 {
            if let Some((cases, why)) = judge.until(seed, best.1 - 1) {
                best = (seed, cases);
                tell(&format!("   {mistake:?} {seed} {cases} {why:.150}"));
                if cases < 4 {
                    break;
                }
            }
            if begin.elapsed().as_secs() > 14 {
                break;
            }
        }
        tell(&format!(
            "best {mistake:?} {name}: seed {} in case {}; {:.1?}",
            best.0,
            best.1,
            begin.elapsed()
        ));
    }
}
