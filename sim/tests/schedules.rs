//! Schedules of changes and faults: seeds on each tier, known failures of other controllers, stored
//! failures, and that a schedule always gives the same run.
//!
//! `TIDEGATE_SEEDS` is the number of seeds (default 12, which makes 17 simulated hours on the three
//! tiers; 150 make more than 200); `TIDEGATE_SEED` the first.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tidegate_sim::swarm::run::{named_chain, run, try_alarm};
use tidegate_sim::swarm::scenario::SCENARIOS;
use tidegate_sim::swarm::schedule::{from_text, to_text};
use tidegate_sim::swarm::shrink::shrink;
use tidegate_sim::swarm::{cells, generate, tier};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Not by `eprintln!`, which the test harness swallows.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[test]
fn promises_hold_through_changes_and_faults() {
    let (first, seeds) = (number("TIDEGATE_SEED", 1), number("TIDEGATE_SEEDS", 12));
    let begin = Instant::now();
    let next = AtomicU64::new(0);
    let sum = Mutex::new((0_u64, 0_u64, (0_u64, 0_u64)));
    let seen = Mutex::new((BTreeMap::<&str, u64>::new(), BTreeSet::new()));
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from).min(4) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= seeds * 3 {
                        break;
                    }
                    let (seed, name) = (first + at / 3, ["A", "B", "C"][(at % 3) as usize]);
                    let capabilities = tier(name).unwrap();
                    let entries = generate::schedule(seed);
                    let out = run(&entries, &capabilities, false);
                    if let Some(broken) = &out.broken {
                        let small = shrink(&entries, &capabilities, 300);
                        let small = small.map_or(entries.clone(), |small| small.entries);
                        let about = format!("seed {seed}\n{broken}");
                        failed.lock().unwrap().push(to_text(name, &about, &small));
                    }
                    let mut sum = sum.lock().unwrap();
                    sum.0 += out.simulated_ms;
                    sum.1 += out.steps;
                    sum.2 = (sum.2.0 + out.judged.0, sum.2.1 + out.judged.1);
                    let mut seen = seen.lock().unwrap();
                    for (what, count) in out.sometimes {
                        *seen.0.entry(what).or_insert(0) += count;
                    }
                    seen.1.extend(out.cells);
                }
            });
        }
    });
    let (ms, steps, judged) = sum.into_inner().unwrap();
    let (sometimes, reached) = seen.into_inner().unwrap();
    let failed = failed.into_inner().unwrap();
    let covered = cells::table().covered(reached);
    let share = 100.0 * judged.0 as f64 / judged.1.max(1) as f64;
    tell(&format!(
        "schedules: {} runs, {:.0} simulated hours, {steps} steps, {share:.1} % of request time \
         judged, {covered} of fault, phase and promise, {:.1?}",
        seeds * 3,
        ms as f64 / 3_600_000.0,
        begin.elapsed()
    ));
    for (what, count) in &sometimes {
        tell(&format!("sometimes: {count} times {what}"));
    }
    assert!(failed.is_empty(), "{} runs failed:\n{}", failed.len(), failed.join("\n"));
    assert!(share > 60.0, "only {share} % of request time was judged");
    if seeds >= 100 {
        let wanted = [
            "all was quiet",
            "a command was refused without reason",
            "commands were carried out in part, and the answer was lost",
            "something changed while an action was under way",
            "something changed while nothing was told",
            "somebody deleted a route",
            "the answer to a save or reload was lost",
            "the disk was full",
            "the worker died",
            "the worker died before the files were written",
            "tidegate died at work",
            "tidegate started while the API server was away",
        ];
        let missing: Vec<_> = wanted.iter().filter(|w| !sometimes.contains_key(**w)).collect();
        assert!(missing.is_empty(), "never reached: {missing:?}");
        assert!(covered.is_whole(), "{covered}\n{}", covered.words());
    }
}

#[test]
fn known_failures_do_not_happen_here() {
    for (name, about, text) in SCENARIOS {
        let (of, entries) = from_text(text).unwrap();
        let out = run(&entries, &tier(&of).unwrap(), false);
        assert!(out.broken.is_none(), "{name} ({about}): {}", out.broken.unwrap());
    }
    tell(&format!("scenarios: {} hold", SCENARIOS.len()));
}

/// A dozen seeds, each twice in this process, and all of them in another, in another time zone and
/// locale, with another number of threads. What becomes true is the same on each tier too, whatever
/// tidegate does there: nothing that a schedule draws depends on what tidegate did.
#[test]
fn a_schedule_always_gives_the_same_run() {
    let (first, seeds) = (number("TIDEGATE_SEED", 1), 12);
    let next = AtomicU64::new(first);
    let sum = Mutex::new(0_u128);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    let chains = twice(seed).into_iter();
                    let chains = chains.fold(0, u128::wrapping_add);
                    let mut sum = sum.lock().unwrap();
                    *sum = sum.wrapping_add(chains);
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap();
    let other = Command::new(env!("CARGO_BIN_EXE_tidegate-sim"))
        .args(["swarm", "--output", "json", "--jobs", "1"])
        .args(["--from", &first.to_string(), "--seeds", &seeds.to_string()])
        .env_clear()
        .env("TZ", "Asia/Kathmandu")
        .env("LC_ALL", "tr_TR.UTF-8")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&other.stdout).into_owned();
    assert!(said.contains(&format!("{sum:032x}")), "another process: {said} is not {sum:032x}");
    tell(&format!("determinism: {} runs, each three times, in two processes", seeds * 3));
}

/// The hashes over the steps of a seed's runs.
fn twice(seed: u64) -> Vec<u128> {
    let entries = generate::schedule(seed);
    let mut truths = BTreeSet::new();
    let mut chains = Vec::new();
    for name in ["A", "B", "C"] {
        let (_, again) = from_text(&to_text(name, "", &entries)).unwrap();
        assert_eq!(entries, again, "seed {seed}: text and schedule differ");
        let of = |entries| run(entries, &tier(name).unwrap(), false);
        let (one, two) = (of(&entries), of(&again));
        assert_eq!(one.chain, two.chain, "seed {seed}, tier {name}");
        chains.push(named_chain(&format!("{seed} {name}"), one.chain));
        truths.insert(one.truth);
    }
    assert_eq!(truths.len(), 1, "seed {seed}: what became true depends on what tidegate did");
    chains
}

#[test]
fn the_alarm_goes_off() {
    for name in ["A", "B", "C"] {
        try_alarm(&generate::schedule(number("TIDEGATE_SEED", 1)), &tier(name).unwrap()).unwrap();
    }
}
