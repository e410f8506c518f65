//! Tier 1: tidegate with its real adapters on a simulated network. Seeds, the same run in this
//! process and in another, each version of HAProxy by hand.
//!
//! `TIDEGATE_NETWORK_SEEDS` is the number of seeds (default 20), `TIDEGATE_SEED` the first.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

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

/// What the simulator has found in tidegate, each in a few lines.
const FOUND: [(&str, &str); 9] = [
    (
        "the certificate of a Secret that nothing served for a while was gone from the vault, and \
         the host that came to need it never got it",
        "haproxy 3.4\n0 service t1/web\n0 ingress t1/a a.example web tls=tls\n0 secret t1/tls 1\n\
         0 secret t2/tls 2\n0 service t2/web\n0 ingress t2/a a.example web tls=tls\n\
         0 ingress t2/b d.example web\n60000 quiet\n71000 ingress t2/b c.example web tls=tls\n\
         140000 quiet\n",
    ),
    (
        "a reload that failed as a port was taken was laid to a Secret, whose host then got the \
         default certificate",
        "haproxy 2.6\n0 service t1/web\n0 pods t1/web 1 -\n0 secret t1/tls 1\n\
         0 ingress t1/a a.example web tls=tls\n60000 quiet\n61000 fault refuse-load\n\
         61001 service t2/web\n61002 pods t2/web 2 -\n61003 ingress t2/b b.example web\n\
         160000 quiet\n",
    ),
    (
        "what was known was written once a minute, so that a start over an emptied store took away \
         the certificate that had come since",
        "haproxy 3.4\n0 service t2/api\n60000 quiet\n61000 secret t2/tls 3\n\
         62000 ingress t2/a d.example api tls=tls\n120000 quiet\n\
         121000 fault controller-dies 300\n121100 fault emptied 16000\n720000 quiet\n",
    ),
    (
        "what was known and could not be written, as the disk was full, was not tried again before \
         something else changed",
        "haproxy 3.4\n0 service t2/api\n60000 quiet\n61000 fault disk-full 10000\n\
         62000 secret t2/tls 3\n63000 ingress t2/a d.example api tls=tls\n160000 quiet\n\
         161000 fault controller-dies 300\n161100 fault emptied 16000\n760000 quiet\n",
    ),
    (
        "a reload was waited for, a minute long, of an HAProxy that had died on the way, and nobody \
         started it again",
        "haproxy 2.6\n0 service t1/web\n0 pods t1/web 1 -\n0 ingress t1/a a.example web\n\
         0 service t2/api\n0 pods t2/api 2 -\n60000 quiet\n61000 ingress t2/b b.example api\n\
         61150 fault worker-dies\n62000 pods t1/web 3 -\n160000 quiet\n",
    ),
    (
        "nothing was synced, and a power loss took files of the generation that HAProxy is started \
         from before any source is read",
        "haproxy 3.4\nseed 1\n0 service t1/web\n0 service t1/api\n0 pods t1/web 1,2 -\n\
         0 pods t1/api 3 -\n0 secret t1/tls 1\n0 ingress t1/a a.example web tls=tls guarded\n\
         0 ingress t1/b b.example api\n60000 quiet\n61000 pods t1/web 2,4 1\n\
         61001 ingress t1/c c.example web guarded\n62000 fault power-cut 1000\n160000 quiet\n",
    ),
    (
        "what was known was not synced either: after a power loss an emptied store was believed, and \
         a certificate that was valid was gone",
        "haproxy 3.4\nseed 1\n0 service t2/api\n60000 quiet\n61000 secret t2/tls 3\n\
         62000 ingress t2/a d.example api tls=tls\n120000 quiet\n\
         121000 fault power-cut 300\n121100 fault emptied 45000\n720000 quiet\n",
    ),
    (
        "commands of a connection that was given up, as HAProxy said nothing, were carried out after the \
         read-back that was to show what had become of them: pods that were gone came back for a minute",
        "haproxy 3.0\nseed 1000237\ntick 5\n0 service t1/api\n0 ingress t1/i1 a.example api\n60000 quiet\n\
         61761 ingress t1/i1 c.example web tls=tls\n61952 pods t1/api 6,8 -\n61971 fault hang 5368\n\
         61989 ingress t1/i2 b.example api\n63330 pods t1/api - -\n63371 fault hang 3856\n160000 quiet\n",
    ),
    (
        "there were no audits while anybody had a connection to a pod that had left, so that a route which \
         somebody had deleted from HAProxy's memory stayed away for as long",
        "haproxy 3.4\n0 service t1/web\n0 pods t1/web 1,2 -\n0 ingress t1/a a.example web\n\
         60000 quiet\n61000 stream a.example 200000\n61000 stream a.example 200000\n\
         61100 pods t1/web 3,4 -\n64000 fault tamper\n400000 quiet\n",
    ),
];

#[test]
fn what_was_found_is_not_there_any_more() {
    for (what, text) in FOUND {
        let out = run(&Schedule::from_text(text).unwrap(), false);
        assert!(out.broken.is_none(), "{what}: {}", out.broken.unwrap());
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

#[test]
fn promises_hold_on_the_network() {
    let (first, seeds) = (number("TIDEGATE_SEED", 1), number("TIDEGATE_NETWORK_SEEDS", 20));
    let begin = Instant::now();
    let program = Path::new(env!("CARGO_BIN_EXE_tidegate-sim"));
    let jobs = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let failures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("network");
    let sum = apart(program, first, seeds, jobs, &failures).unwrap();
    tell(&format!("network:\n{}", words(&sum, begin.elapsed().as_secs_f64())));
    assert!(sum.failed.is_empty(), "{} seeds failed", sum.failed.len());
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
