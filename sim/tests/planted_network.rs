//! Tier 1 on trial: each mistake planted in an adapter is found, by the promise named, and the same
//! schedule passes without it.
//!
//! `cargo test -p tidegate-sim --features sabotage --test planted_network`

use std::io::Write as _;

use tidegate::sabotage::{Mistake, plant};
use tidegate_sim::network::run::run;
use tidegate_sim::network::schedule::Schedule;

const WORLD: &str = "haproxy 3.4\nstreaming 0\npages 1\n0 service t1/web\n0 service t1/api\n\
    0 pods t1/web 1,2 -\n0 pods t1/api 3 -\n0 ingress t1/a a.example web\n\
    0 ingress t1/b b.example api\n";

/// One after the other: a mistake is planted in the whole process. `FailureIsEmpty` (B1) is not among
/// them: no schedule was found in which it does harm, as the guard of absence holds what it takes away.
#[test]
fn each_planted_mistake_is_found() {
    let planted = [
        (Mistake::FirstPageOnly, &["S25", "L1"][..], "60000 quiet\n"),
        (
            Mistake::UnansweredIsDone,
            &["S1", "S2", "L1"],
            "60000 quiet\n61000 fault lose-commands 0\n61001 pods t1/web 2,4 1\n\
             62000 pods t1/web 4 -\n160000 quiet\n",
        ),
    ];
    let mut missed = Vec::new();
    for (mistake, promises, rest) in planted {
        let schedule = Schedule::from_text(&format!("{WORLD}{rest}")).unwrap();
        plant(None);
        if let Some(broken) = run(&schedule, false).broken {
            missed.push(format!("without {mistake:?}: {broken}"));
        }
        plant(Some(mistake));
        let found = run(&schedule, false).broken;
        // Not by `eprintln!`, which the test harness swallows.
        let _ = writeln!(std::io::stderr(), "planted {mistake:?}: {found:?}");
        if !found.as_ref().is_some_and(|broken| promises.contains(&broken.property)) {
            missed.push(format!("{mistake:?}: {found:?}"));
        }
    }
    plant(None);
    assert!(missed.is_empty(), "{missed:#?}");
}
