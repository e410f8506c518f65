//! The small world on trial: each planted mistake is found, at the smallest depth, by the promise
//! named.
//!
//! `cargo test -p tidegate-sim --features sabotage --test planted`

use std::io::Write as _;
use std::time::Instant;

use tidegate_core::action::Lane::{Files, Runtime};
use tidegate_core::capability::Capabilities;
use tidegate_core::sabotage::{Mistake, plant};
use tidegate_sim::small::explore::{Plan, explore, replay};
use tidegate_sim::small::moves::Budget;
use tidegate_sim::small::moves::Move::{self, Answer, Change, ControllerDies, Run, Wake};

/// One after the other: a mistake is planted in the whole process.
#[test]
fn each_planted_mistake_is_found_at_the_smallest_depth() {
    let calm = Budget { changes: 2, losses: 0, crashes: 0 };
    let lossy = Budget { changes: 2, losses: 1, crashes: 0 };
    let planted = [
        (Mistake::BreakBeforeMake, "S7", calm),
        (Mistake::RouteBeforeServer, "S7", calm),
        (Mistake::ServersBeforeRoutes, "S7", calm),
        (Mistake::LineGap, "S19", calm),
        (Mistake::NameBeforeAge, "S8", calm),
        (Mistake::SavedAtWrite, "S28", calm),
        (Mistake::UnknownIsDone, "S24", Budget { changes: 1, ..lossy }),
        (Mistake::NoRetry, "L1", Budget { changes: 0, ..lossy }),
        (Mistake::UnpublishFirst, "S24", Budget { changes: 1, ..lossy }),
    ];
    let mut missed = Vec::new();
    for (mistake, promise, budget) in planted {
        plant(Some(mistake));
        let begin = Instant::now();
        let capabilities = Capabilities::tier_a();
        let plan =
            Plan { capabilities: capabilities.clone(), budget, states_max: usize::MAX, threads: 2 };
        match explore(&plan, |_| {}) {
            Err(found) => {
                // Not by `eprintln!`, which the test harness swallows.
                let _ = writeln!(
                    std::io::stderr(),
                    "planted {mistake:?}: found in {:.1?} by {found}",
                    begin.elapsed()
                );
                if found.broken.property != promise {
                    missed.push(format!("{mistake:?} found by {}", found.broken.property));
                }
                // The list of what happened is all it takes.
                if replay(capabilities, budget, &found.moves).is_ok() && promise != "L1" {
                    missed.push(format!("{mistake:?}: replay finds nothing"));
                }
            }
            Ok(report) => missed.push(format!("{mistake:?} in {} states", report.states)),
        }
    }
    missed.extend(adopted_without_looking());
    plant(None);
    assert!(missed.is_empty(), "{missed:#?}");
}

/// What the exploration of two changes and a crash found among its first 400,000 states: deleted
/// routes came back with the next restart of HAProxy.
fn adopted_without_looking() -> Option<String> {
    let happened: [Move; 14] = [
        Run(Files),
        Change(2, 0),
        Change(3, 0),
        Answer(Files),
        Run(Runtime),
        Answer(Runtime),
        Run(Runtime),
        Answer(Runtime),
        Wake,
        Run(Runtime),
        Answer(Runtime),
        ControllerDies(2, false),
        Run(Runtime),
        Answer(Runtime),
    ];
    let budget = Budget { changes: 2, losses: 0, crashes: 1 };
    let run = || replay(Capabilities::tier_a(), budget, &happened);
    plant(None);
    if let Err(found) = run() {
        return Some(format!("without a mistake: {found}"));
    }
    plant(Some(Mistake::AdoptUnsaved));
    match run() {
        Err(found) if found.broken.property == "S28" => None,
        other => Some(format!("AdoptUnsaved: {other:?}")),
    }
}
