//! Tier 1 on trial: each mistake planted in an adapter is found, by the promise named, and the same
//! schedule passes without it.
//!
//! `cargo test -p tidegate-sim --features sabotage --test planted_network`

use std::io::Write as _;
use std::time::Instant;

use tidegate::sabotage::{Mistake, plant};
use tidegate_core::sabotage as core;
use tidegate_sim::network::run::run;
use tidegate_sim::network::schedule::Schedule;

const WORLD: &str = "haproxy 3.4\nstreaming 0\npages 1\n0 service t1/web\n0 service t1/api\n\
    0 pods t1/web 1,2 -\n0 pods t1/api 3 -\n0 ingress t1/a a.example web\n\
    0 ingress t1/b b.example api\n";

/// A namespace that needs a reload twice a second.
const FLOOD: &str = include_str!("data/flood.schedule");

/// A mistake of one of the packages.
#[derive(Clone, Copy, Debug)]
enum Planted {
    Core(core::Mistake),
    Adapters(Mistake),
}

use Planted::{Adapters, Core};

fn plant_any(planted: Option<Planted>) {
    core::plant(None);
    plant(None);
    match planted {
        Some(Core(mistake)) => core::plant(Some(mistake)),
        Some(Adapters(mistake)) => plant(Some(mistake)),
        None => {}
    }
}

/// Mistake, promises of which one must find it, and what happens to the world.
const PLANTED: &[(Planted, &[&str], &str)] = &[
    (Adapters(Mistake::FirstPageOnly), &["S25", "L1"], "60000 quiet\n"),
    (
        Adapters(Mistake::UnansweredIsDone),
        &["S27", "S1", "S2", "L1"],
        "60000 quiet\n61000 fault lose-commands 0\n61001 pods t1/web 2,4 1\n\
         62000 pods t1/web 4 -\n160000 quiet\n",
    ),
    // At a start there is nothing that the guard of absence could hold.
    (Adapters(Mistake::FailureIsEmpty), &["S25"], "0 fault cut-lists 2\n240000 quiet\n"),
    (Core(core::Mistake::FirstTableEarly), &["S25"], "0 fault deny 2 40000\n240000 quiet\n"),
    (
        Core(core::Mistake::OlderIsBelieved),
        &["S1"],
        "60000 quiet\n61000 fault emptied 20000\n300000 quiet\n",
    ),
    // More pods than slots make a reload, which fails.
    (
        Adapters(Mistake::AskedIsDone),
        &["S27", "L1"],
        "haproxy 2.6\n60000 quiet\n61000 fault refuse-load\n\
         61001 pods t1/web 1,2,4,5,6,7,8,9,10,11,12,13,14,15,16 -\n100000 quiet\n",
    ),
    // A new backend makes a reload, in the middle of which HAProxy dies.
    (
        Adapters(Mistake::WaitsForTheDead),
        &["L3"],
        "haproxy 2.6\n30000 service t2/api\n30000 pods t2/api 5 -\n60000 quiet\n\
         61000 ingress t2/c c.example api\n61150 fault worker-dies\n160000 quiet\n",
    ),
    (
        Adapters(Mistake::SecretInWords),
        &["S20"],
        "60000 quiet\n61000 secret t1/tls 7\n61001 ingress t1/a a.example web tls=tls\n\
         160000 quiet\n",
    ),
    (
        Adapters(Mistake::OldRoutesStay),
        &["S28"],
        "60000 quiet\n61000 no-ingress t1/b\n160000 quiet\n",
    ),
    // tidegate dies while it writes the generation, and then HAProxy does.
    (
        Adapters(Mistake::PointsFirst),
        &["S6"],
        "60000 quiet\n61001 pods t1/web 2,4 -\n61400 fault dies-writing 4\n\
         61560 fault worker-dies\n160000 quiet\n",
    ),
    // A power loss takes from the generation in use what was not synced.
    (
        Adapters(Mistake::PointsUnsynced),
        &["S6"],
        "60000 quiet\n61000 pods t1/web 2,4 1\n63000 fault power-cut 1000\n160000 quiet\n",
    ),
    // The same where the disk refuses the sync.
    (
        Adapters(Mistake::FailedSyncIsDone),
        &["S6"],
        "60000 quiet\n61000 fault sync-fails 4000\n61100 pods t1/web 2,4 1\n\
         67000 fault power-cut 1000\n160000 quiet\n",
    ),
    // Something happens right after the clock was set, so that there is a step.
    (
        Adapters(Mistake::WallClock),
        &["S3"],
        "60000 quiet\n61000 pods t1/web 2 -\n61500 clock 3600\n61600 pods t1/api 3,4 -\n\
         160000 quiet\n",
    ),
    // Both pods are replaced while each has a client that goes on.
    (
        Core(core::Mistake::CutsToDelete),
        &["S3"],
        "60000 quiet\n61000 stream a.example 30000\n61000 stream a.example 30000\n\
         61100 pods t1/web 4,5 -\n160000 quiet\n",
    ),
    // The same, and a route is lost meanwhile.
    (
        Core(core::Mistake::AuditsAtRest),
        &["S1"],
        "60000 quiet\n61000 stream a.example 200000\n61000 stream a.example 200000\n\
         61100 pods t1/web 4,5 -\n64000 fault tamper\n400000 quiet\n",
    ),
    // The free slot with the lowest number gets the highest address.
    (
        Core(core::Mistake::UnsortedSlots),
        &["S13"],
        "haproxy 2.6\n10000 pods t1/web 2 -\n12000 pods t1/web 2,4 -\n20000 quiet\n\
         20001 still\n25000 quiet\n",
    ),
    // HAProxy of who leads is away for longer than its term; it hears of something to tell.
    (
        Core(core::Mistake::EndlessTerm),
        &["S17"],
        "replicas 2\n60000 quiet\n61000 fault slow-reload 30000\n61001 fault worker-dies\n\
         80000 ingress t2/c c.example web tls=none\n160000 quiet\n",
    ),
    // Who leads is cut off for less than its term, with a status to write that waits for HAProxy.
    (
        Core(core::Mistake::LostStatusIsWritten),
        &["L9"],
        "replicas 2\n60000 quiet\n61000 service t2/web\n61001 pods t2/web 7 -\n\
         61800 fault hang 3000\n61900 ingress t2/c c.example web\n62300 fault partition 5500\n\
         200000 quiet\n",
    ),
    (
        Core(core::Mistake::StatusFirst),
        &["S18"],
        "60000 quiet\n61000 service t2/web\n61001 pods t2/web 7 -\n\
         61002 ingress t2/c c.example web\n160000 quiet\n",
    ),
    // A new backend makes a reload, and the old worker has a request that lasts.
    (
        Core(core::Mistake::NoHardStop),
        &["L5"],
        "haproxy 2.6\nhard-stop 10\n0 service t2/api\n60000 quiet\n\
         61000 stream a.example 100000\n62000 ingress t2/c c.example api\n200000 quiet\n",
    ),
    (Core(core::Mistake::NoReloadBudget), &["S12"], FLOOD),
    (Core(core::Mistake::OneReloadBudget), &["L10"], FLOOD),
    // What HAProxy was sent it runs when tidegate is dead.
    (
        Adapters(Mistake::JournalWaits),
        &["L8"],
        "60000 quiet\n61000 pods t1/web 2,4 1\n120000 quiet\n",
    ),
    // More pods than slots make a reload, which HAProxy refuses (M69).
    (
        Adapters(Mistake::CountedAsDone),
        &["S27"],
        "haproxy 2.6\n60000 quiet\n61000 fault refuse-load\n\
         61001 pods t1/web 1,2,4,5,6,7,8,9,10,11,12,13,14,15,16 -\n160000 quiet\n",
    ),
    // Connections end after some changes, none of which takes anything away.
    (
        Adapters(Mistake::ResumesAtList),
        &["S9"],
        "60000 quiet\n61000 pods t1/web 1,2,4 -\n62000 pods t1/web 1,2,4,5 -\n\
         63000 pods t1/web 1,2,4,5,6 -\n64000 fault cut\n160000 quiet\n",
    ),
    // As long as it ends, nobody could know what was told meanwhile.
    (
        Adapters(Mistake::HoldsWhileDenied),
        &["S1", "S2"],
        "60000 quiet\n61000 forever deny 2\n90000 pods t1/web 4 -\n160000 quiet\n",
    ),
    // A disk that is full for some seconds would hide it.
    (
        Core(core::Mistake::WaitsForFiles),
        &["S1", "S2"],
        "60000 quiet\n61000 forever disk-full\n62000 pods t1/web 2,4 -\n90000 pods t1/web 4 -\n\
         160000 quiet\n",
    ),
    // Another store answers for a while, and the server does not know streaming lists.
    (
        Adapters(Mistake::DoubtsItsList),
        &["S23"],
        "60000 quiet\n61000 fault emptied 5000\n300000 quiet\n",
    ),
    // More pods than slots make a reload, which fails, and would not the second time (M23).
    (
        Adapters(Mistake::FailedStaysFailed),
        &["L1"],
        "haproxy 2.6\n60000 quiet\n61000 fault refuse-load\n\
         61001 pods t1/web 1,2,4,5,6,7,8,9,10,11,12,13,14,15,16 -\n100000 quiet\n",
    ),
    // A change that takes several commands (M25).
    (
        Adapters(Mistake::OneAnswerForAll),
        &["S1"],
        "60000 quiet\n61000 pods t1/web 2,4 1\n62000 pods t1/web 4 -\n100000 quiet\n",
    ),
    // HAProxy refuses a certificate for good, and then somebody else asks for something (M55).
    (
        Core(core::Mistake::StatusesWait),
        &["L9"],
        "60000 quiet\n61000 secret t1/tls 7\n61001 ingress t1/a a.example web tls=tls\n\
         65000 service t2/web\n65001 pods t2/web 7 -\n65002 ingress t2/c c.example web\n\
         120000 quiet\n",
    ),
];

/// One after the other: a mistake is planted in the whole process.
#[test]
fn each_planted_mistake_is_found() {
    let mut missed = Vec::new();
    for (mistake, promises, rest) in PLANTED {
        let schedule = Schedule::from_text(&format!("{WORLD}{rest}")).unwrap();
        plant_any(None);
        if let Some(broken) = run(&schedule, false).broken {
            missed.push(format!("without {mistake:?}: {broken}"));
        }
        plant_any(Some(*mistake));
        let begin = Instant::now();
        let found = run(&schedule, false).broken;
        // Not by `eprintln!`, which the test harness swallows.
        let _ = writeln!(
            std::io::stderr(),
            "planted {mistake:?}: in {:.1?} {found:?}",
            begin.elapsed()
        );
        if !found.as_ref().is_some_and(|broken| promises.contains(&broken.property)) {
            missed.push(format!("{mistake:?}: {found:?}"));
        }
    }
    plant_any(None);
    assert!(missed.is_empty(), "{missed:#?}");
}
