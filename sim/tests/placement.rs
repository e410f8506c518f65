//! Systematic placement: not when chance has it, but at each step of a trace, each fault; and tidegate
//! killed in each of its writes.

use std::io::Write as _;

use tidegate_core::capability::Capabilities;
use tidegate_sim::network::fault::Fault;
use tidegate_sim::network::proxy::Version;
use tidegate_sim::network::replica::ReplicaId;
use tidegate_sim::network::run;
use tidegate_sim::network::schedule::{Entry, Happens, Schedule};
use tidegate_sim::swarm;

/// What is there at the beginning.
const BEGIN: &str = "0 service t1/web\n0 service t2/api\n0 pods t1/web 1,2 -\n0 pods t2/api 3 -\n\
    0 secret t1/tls 1\n0 ingress t1/a a.example web tls=tls guarded\n0 ingress t2/b b.example api\n";

/// What then happens, a step each: a pod that leaves, one that comes, a certificate, a Service and a route
/// that come and go, no pods and some again.
const STEPS: [&str; 8] = [
    "pods t1/web 2,4 1",
    "pods t1/web 2,4 -",
    "secret t1/tls 2",
    "service t1/new",
    "ingress t1/n n.example new",
    "pods t1/new 5 -",
    "no-ingress t2/b",
    "pods t1/web - -",
];
/// When the steps begin, and how far apart they are, in milliseconds.
const FROM_MS: u64 = 71_000;
const EVERY_MS: u64 = 700;
/// By when all is quiet, also when an operator accepted deletions after the fault.
const ACCEPT_MS: u64 = 230_000;
const END_MS: u64 = 330_000;

/// Not by `eprintln!`, which the test harness swallows.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn trace(quiet_ms: u64) -> String {
    let steps = STEPS.iter().zip(0..);
    let steps = steps.map(|(step, at)| format!("{} {step}\n", FROM_MS + at * EVERY_MS));
    format!("{BEGIN}{quiet_ms} quiet\n{}", steps.collect::<String>())
}

/// Numbers that matter on a trace of six seconds.
fn with_numbers(kind: Fault) -> Fault {
    match kind {
        Fault::CutLists(_)
        | Fault::ExpirePages(_)
        | Fault::LoseWrites(_)
        | Fault::Conflicts(_)
        | Fault::Busy(_) => kind.with(2, 0),
        Fault::Twice(_) => kind.with(8, 0),
        Fault::LoseCommands(_) => kind.with(1, 0),
        Fault::DiesWriting(_) | Fault::CrashLoop(_) => kind.with(3, 0),
        Fault::Deny(..) | Fault::Lag(..) => kind.with(1, 3_000),
        Fault::Back(..) => kind.with(2, 2_500),
        Fault::NoMarks(_) => kind.with(90_000, 0),
        Fault::ControllerDies(_) => kind.with(400, 0),
        other => other.with(2_500, 0),
    }
}

fn network(version: Version, fault: Fault, at_ms: u64) -> Result<(), String> {
    network_with(version, &[fault], at_ms)
}

fn network_with(version: Version, faults: &[Fault], at_ms: u64) -> Result<(), String> {
    let text = format!(
        "haproxy {}\n{}{ACCEPT_MS} accept\n{END_MS} quiet\n",
        version.name(),
        trace(60_000)
    );
    let mut schedule = Schedule::from_text(&text)?;
    schedule.tick_ms = 5;
    schedule.page_max = 2;
    let place = schedule.entries.partition_point(|entry| entry.at_ms < at_ms);
    for fault in faults.iter().rev() {
        let what = Happens::Fault(*fault, ReplicaId::default());
        schedule.entries.insert(place, Entry { at_ms, what });
    }
    match run::run(&schedule, false).broken {
        Some(broken) => Err(schedule.to_text(&broken.to_string())),
        None => Ok(()),
    }
}

#[test]
fn every_fault_of_the_network_at_every_other_step() {
    let mut failed = Vec::new();
    let mut runs = 0;
    for (kind, number) in Fault::ALL.into_iter().zip(0..) {
        // One fault at the even steps, the next at the odd ones; each meets each version.
        for step in (number % 2..STEPS.len() as u64).step_by(2) {
            let version = Version::ALL[((step / 2 + number) % 4) as usize];
            let at_ms = FROM_MS + step * EVERY_MS - 3;
            failed.extend(network(version, with_numbers(kind), at_ms).err());
            runs += 1;
        }
    }
    tell(&format!("placement: {runs} runs on the network, {} failed", failed.len()));
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn tidegate_killed_in_each_of_its_writes() {
    let (mut failed, mut runs) = (Vec::new(), 0);
    for count in 0..48_u32 {
        let version = Version::ALL[(count % 4) as usize];
        failed.extend(network(version, Fault::DiesWriting(count), FROM_MS - 3).err());
        runs += 1;
    }
    tell(&format!("placement: killed in {runs} writes, {} failed", failed.len()));
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// A new life meets the store as it was before each of the steps, and then as it is (F8 and F29).
#[test]
fn every_prefix_of_the_store_met_by_a_new_life() {
    let (mut failed, mut runs) = (Vec::new(), 0);
    for changes in 1..=STEPS.len() as u32 {
        let version = Version::ALL[(changes % 4) as usize];
        let at_ms = FROM_MS + STEPS.len() as u64 * EVERY_MS;
        let faults = [Fault::Back(changes, 5_000), Fault::ControllerDies(300)];
        failed.extend(network_with(version, &faults, at_ms).err());
        runs += 1;
    }
    tell(&format!("placement: {runs} prefixes of the store, {} failed", failed.len()));
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Also each event that is not told: what it changed is told with the next list.
#[test]
fn every_fault_of_the_core_at_every_step() {
    let (mut failed, mut runs) = (Vec::new(), 0);
    let faults = [
        "lose-commands 0",
        "lose-commands 1",
        "lose-commands 2",
        "lose-files 0",
        "lose-files 1",
        "refuse-command",
        "disk-full",
        "slow-commands 2500",
        "slow-files 2500",
        "worker-dies",
        "controller-dies",
        "gap 2500",
        "outage 2500",
        "relist",
        "twice",
        "drop",
    ];
    let capabilities = [Capabilities::tier_a(), Capabilities::tier_b(), Capabilities::tier_c()];
    for fault in faults {
        for step in 0..STEPS.len() as u64 {
            for capabilities in &capabilities {
                let at_ms = FROM_MS + step * EVERY_MS - 1;
                // What was not told is told at last.
                let text = format!(
                    "{}{at_ms} fault {fault}\n100000 fault relist\n300000 quiet\n",
                    trace(60_000)
                );
                let (_, entries) = swarm::schedule::from_text(&text).unwrap();
                let out = swarm::run::run(&entries, capabilities, false);
                failed.extend(out.broken.map(|broken| format!("{broken}\n{text}")));
                runs += 1;
            }
        }
    }
    tell(&format!("placement: {runs} runs of the core, {} failed", failed.len()));
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
