//! Tier 1: tidegate with its real adapters on a simulated network. Seeds, the same run in this
//! process and in another, each version of HAProxy by hand.
//!
//! `TIDEGATE_NETWORK_SEEDS` is the number of seeds (default 20), `TIDEGATE_SEED` the first.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use tidegate::journal::replay::{ReplayOptions, replay};
use tidegate::os::files::OsFiles;
use tidegate_sim::network::cells::covered;
use tidegate_sim::network::cli::{apart, words};
use tidegate_sim::network::generate;
use tidegate_sim::network::proxy::Version;
use tidegate_sim::network::run::{run, try_alarm};
use tidegate_sim::network::schedule::Schedule;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Not by `eprintln!`, which the test harness swallows.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A host with a certificate, pods that come and go, and then nothing.
const PLAIN: &str = "0 service t1/web\n0 pods t1/web 1,2 -\n0 secret t1/tls 1\n\
    0 ingress t1/a a.example web tls=tls guarded\n60000 quiet\n61000 pods t1/web 2,3 1\n\
    63000 pods t1/web 3 -\n64000 secret t1/tls 2\n65000 ingress t1/b b.example web\n\
    130000 quiet\n130001 still\n130002 fault expire\n190000 quiet\n190001 still\n\
    190002 fault controller-dies 300\n250000 quiet\n";

#[test]
fn every_version_serves_what_is_wanted_and_rests() {
    for version in Version::ALL {
        let text = format!("haproxy {}\n{PLAIN}", version.name());
        let out = run(&Schedule::from_text(&text).unwrap(), false);
        assert!(out.broken.is_none(), "{}: {}", version.name(), out.broken.unwrap());
        assert!(out.steps > 0 && out.commands > 0, "{}: {out:?}", version.name());
    }
}

/// Files are written and synced beside everything else.
#[test]
fn a_disk_that_takes_seconds_holds_up_no_runtime_command() {
    let text = "haproxy 3.4\n0 service t1/web\n0 pods t1/web 1 -\n0 ingress t1/a a.example web\n\
        60000 quiet\n61000 pods t1/web 1,2 -\n61100 fault slow-disk 8000\n61450 fault slow-disk 8000\n\
        61900 pods t1/web 1,2,3 -\n65000 pods t1/web 1,2,3,4 -\n160000 quiet\n";
    let out = run(&Schedule::from_text(text).unwrap(), true);
    assert!(out.broken.is_none(), "{}", out.broken.unwrap());
    for (at_ms, pod) in [(61_900, "10.0.0.3:8080"), (65_000, "10.0.0.4:8080")] {
        let is_it = |words: &str| words.starts_with("AddServer") && words.contains(pod);
        let added = out.trace.iter().find(|(_, row, words)| *row == "actions" && is_it(words));
        let after_ms = added.unwrap().0 - at_ms;
        assert!(after_ms < 50, "{pod} after {after_ms} ms");
    }
}

/// What a namespace beyond its share of reloads wants waits; what others want does not (S12, L10 are
/// judged in the run).
#[test]
fn a_namespace_that_floods_delays_only_itself() {
    let text = include_str!("data/flood.schedule");
    let out = run(&Schedule::from_text(text).unwrap(), false);
    assert!(out.broken.is_none(), "{}", out.broken.unwrap());
    // Six in a minute: two of the flood and then one each half minute, and those of the other namespace.
    assert!((4..=9).contains(&out.reloads), "{} reloads", out.reloads);
    let free = text.replace("reloads 6", "reloads 0");
    let out = run(&Schedule::from_text(&free).unwrap(), false);
    assert!(out.broken.is_none(), "{}", out.broken.unwrap());
    assert!(out.reloads > 40, "{} reloads without a bound", out.reloads);
}

#[test]
fn promises_hold_on_the_network() {
    let (first, seeds) = (number("TIDEGATE_SEED", 1), number("TIDEGATE_NETWORK_SEEDS", 20));
    let begin = Instant::now();
    let program = Path::new(env!("CARGO_BIN_EXE_tidegate-sim"));
    let jobs = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let failures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("network");
    let sum = apart(program, first, seeds, jobs, &failures, true).unwrap();
    tell(&format!("network:\n{}", words(&sum, &failures, begin.elapsed().as_secs_f64())));
    assert!(sum.failed.is_empty(), "{:?} failed", sum.failed.keys());
    let covered = covered(&sum.cells);
    assert!(seeds < 100 || covered.is_whole(), "{covered}\n{}", covered.words());
    // A tenth of them again in other processes; three more are run twice in this one below.
    let again = sum.chains.iter().step_by(10);
    again.for_each(|(seed, chain)| same_in_another_process(*seed, chain));
    try_alarm(&generate::schedule(first)).unwrap();
}

/// Every step's input and outcome, of every life of tidegate.
#[test]
fn a_run_is_the_same_again_and_in_another_process() {
    for seed in [1, 2, 3] {
        let schedule = generate::schedule(seed);
        let again = Schedule::from_text(&schedule.to_text("")).unwrap();
        assert_eq!(schedule, again, "seed {seed}: text and schedule differ");
        let first = run(&schedule, false).chain;
        assert_eq!(first, run(&again, false).chain, "seed {seed}: the second run differs");
        same_in_another_process(seed, &format!("{first:032x}"));
    }
}

/// What a run leaves is what production leaves: `tidegate replay` reads it.
#[test]
fn a_run_leaves_journals_that_replay() {
    let folder = tempfile::tempdir().unwrap();
    let said = Command::new(env!("CARGO_BIN_EXE_tidegate-sim"))
        .args(["run", "--tier", "1", "--seed", "1", "--output", "json", "--journal"])
        .arg(folder.path())
        .output()
        .unwrap();
    let said: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    let mut steps = 0;
    for replica in std::fs::read_dir(folder.path()).unwrap() {
        let journal = replica.unwrap().path();
        let report = replay(&OsFiles, &journal, &ReplayOptions::default(), &mut |_| Ok(()));
        let report = report.unwrap();
        assert!(report.difference.is_none(), "{:?}", report.difference);
        steps += report.steps;
    }
    assert!(steps > 100, "{steps}");
    assert_eq!(said["steps"], steps);
}

fn same_in_another_process(seed: u64, chain: &str) {
    let other = Command::new(env!("CARGO_BIN_EXE_tidegate-sim"))
        .args(["run", "--tier", "1", "--output", "json", "--seed", &seed.to_string()])
        .env_clear()
        .env("TZ", "Asia/Kathmandu")
        .env("LC_ALL", "tr_TR.UTF-8")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&other.stdout).into_owned();
    assert!(said.contains(chain), "seed {seed}: {said} is not {chain}");
}
