//! Tier 0 on trial: each mistake that is planted makes the schedule fail that is for it, by the
//! promise named, and without it the same schedule holds. Several schedules are those of known
//! failures of other controllers, and of what failed here once, with their mistake put back.
//!
//! `cargo test -p tidegate-sim --features sabotage --test planted_schedules`

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tidegate_core::sabotage::{Mistake, plant};
use tidegate_sim::regressions;
use tidegate_sim::swarm::run::{Outcomes, run};
use tidegate_sim::swarm::scenario::SCENARIOS;
use tidegate_sim::swarm::schedule::from_text;
use tidegate_sim::swarm::{generate, tier};

/// Mistake, promises of which one must find it, and a schedule or the name of a known failure: a
/// scenario, or a file of `proptests/regressions`.
const PLANTED: &[(Mistake, &[&str], &str)] = &[
    (Mistake::KeepRemoved, &["L1", "S2", "S4"], OUTAGE),
    (Mistake::RefusedIsDone, &["S2"], REFUSED),
    (Mistake::UnknownIsDone, &["S1", "S2", "L1"], "M7"),
    (Mistake::StateBeforeAddress, &["S4"], MOVED),
    (Mistake::OneBadCertificate, &["S19"], CERTIFICATES),
    (Mistake::TooManyEmpties, &["S1"], "M35"),
    (Mistake::NoRetry, &["S1", "L1"], "M29"),
    (Mistake::SavedAtWrite, &["S28"], SLOW_SAVE),
    (Mistake::SavedBeforeWrite, &["S28"], FULL),
    (Mistake::AdoptUnsaved, &["S28"], "adopted"),
    (Mistake::UnpublishFirst, &["S1"], "unpublished"),
    (Mistake::LeavesInRounds, &["S4"], REUSED),
    (Mistake::AdditionsOnly, &["S2"], "M1"),
    (Mistake::ActsUnlisted, &["S1"], "M3"),
    (Mistake::ActsUnlisted, &["S1"], "M5"),
    (Mistake::OneBadCertificate, &["S19"], "M9"),
    (Mistake::SentToOld, &["S2"], "M27"),
    (Mistake::ClearedThenFilled, &["S1"], "M31"),
    (Mistake::NamesCollide, &["S4"], "M33"),
    (Mistake::OneSliceIsAll, &["S1"], "M37"),
    (Mistake::RemovalsUnsaved, &["S28"], "M49"),
    (Mistake::SeveralEndAll, &["S2"], "M57"),
    (Mistake::OneIngressIsAll, &["S1"], "M59"),
    (Mistake::NeedsTheDead, &["L1"], "M77"),
];

/// Something goes while nothing is told, and the list that follows is of what is left (M1).
const OUTAGE: &str = "0 service t1/web\n0 pods t1/web 1,2 -\n0 ingress t1/a a.example web\n\
    0 ingress t1/b b.example web\n20000 fault outage 8000\n21000 pods t1/web 2,3 -\n\
    21001 no-ingress t1/b\n240000 quiet\n";

/// HAProxy refuses to take a server out, between two audits.
const REFUSED: &str = "0 service t1/web\n0 pods t1/web 1,2 -\n0 service t1/api\n\
    0 pods t1/api 3 -\n0 ingress t1/a a.example web\n0 ingress t1/b b.example api\n\
    63000 fault refuse-command\n63001 pods t1/web 2 -\n90000 pods t1/api 3,4 -\n\
    240000 quiet\n";

/// The address of a pod that went is another tenant's when its slot is used again (M10, M33).
const MOVED: &str = "tier C\n0 service t1/web\n0 pods t1/web 1,2 -\n0 service t2/api\n\
    0 pods t2/api 9 -\n0 ingress t1/a a.example web\n0 ingress t2/b b.example api\n\
    20000 pods t1/web 2 -\n25000 pods t2/api 9,1 -\n60000 pods t1/web 2,3 -\n240000 quiet\n";

/// One tenant's certificate is refused, and then another tenant renews theirs (M9).
const CERTIFICATES: &str = "0 service t1/web\n0 pods t1/web 1 -\n0 secret t1/tls 1\n\
    0 ingress t1/a a.example web tls=tls\n0 service t2/web\n0 pods t2/web 2 -\n\
    20000 secret t2/tls 7\n20001 ingress t2/b b.example web tls=tls\n25000 secret t1/tls 2\n\
    30000 pods t1/web 1,3 -\n300000 quiet\n";

/// Something changes while the files are being written.
const SLOW_SAVE: &str = "0 service t1/web\n0 pods t1/web 1,2 -\n0 ingress t1/a a.example web\n\
    0 ingress t1/b b.example web\n60000 quiet\n61000 fault slow-files 9000\n\
    61001 pods t1/web 2 -\n66000 no-ingress t1/b\n240000 quiet\n";

/// The disk is full when the files are to be written.
const FULL: &str = "0 service t1/web\n0 pods t1/web 1,2 -\n0 ingress t1/a a.example web\n\
    60000 quiet\n61000 fault disk-full\n61001 pods t1/web 2 -\n240000 quiet\n";

/// Two changes come together: one Service's pod went, and another's has its address. It answers, and
/// nothing is wrong with it but whose pod it is.
const REUSED: &str = "0 service t1/web\n0 pods t1/web 1,2 -\n0 service t2/api\n\
    0 pods t2/api 9 -\n0 ingress t1/a a.example web\n0 ingress t2/b b.example api\n\
    26000 fault outage 1000\n26001 pods t1/web 2 -\n26002 pods t2/api 9,1 -\n\
    28000 pods t2/api 1,9 8\n240000 quiet\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn outcomes(schedule: &str) -> Outcomes {
    let file = regressions::file(&root().join(regressions::FOLDER), schedule);
    let scenario = SCENARIOS.iter().find(|(name, ..)| *name == schedule);
    let known = scenario.map(|(_, _, text)| (*text).to_owned());
    let known = known.or_else(|| fs::read_to_string(file).ok());
    let (of, entries) = from_text(known.as_deref().unwrap_or(schedule)).unwrap();
    run(&entries, &tier(&of).unwrap(), false)
}

/// Not by `eprintln!`, which the test harness swallows.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// One after the other: a mistake is planted in the whole process.
#[test]
fn each_planted_mistake_is_found() {
    let mut missed = Vec::new();
    for (mistake, promises, schedule) in PLANTED {
        plant(None);
        if let Some(broken) = outcomes(schedule).broken {
            missed.push(format!("without {mistake:?}: {broken}"));
        }
        plant(Some(*mistake));
        let begin = Instant::now();
        let found = outcomes(schedule).broken;
        tell(&format!("planted {mistake:?}: in {:.1?} {found:?}", begin.elapsed()));
        if !found.as_ref().is_some_and(|broken| promises.contains(&broken.property)) {
            missed.push(format!("{mistake:?}: {found:?}"));
        }
    }
    missed.extend(order_from_elsewhere());
    missed.extend(truth_follows_actions());
    plant(None);
    assert!(missed.is_empty(), "{missed:#?}");
}

/// S21: what the hash over all steps is for.
fn order_from_elsewhere() -> Option<String> {
    let chain = |entries: &_| run(entries, &tier("A").unwrap(), false).chain;
    // Every third plan is in another order: a run of three times as many plans begins the next alike.
    let all: Vec<_> = (1..=4).map(generate::schedule).collect();
    let differs = || all.iter().any(|entries| chain(entries) != chain(entries));
    plant(None);
    if differs() {
        return Some("two runs differ without a mistake".to_owned());
    }
    plant(Some(Mistake::HashOrder));
    let found = differs();
    tell(&format!("planted HashOrder: two runs differ: {found}"));
    (!found).then(|| "HashOrder: all runs are the same".to_owned())
}

/// The simulator's own mistake: the same schedule is another one where HAProxy needs other commands.
fn truth_follows_actions() -> Option<String> {
    let entries = generate::schedule(1);
    let truth = |name: &str| run(&entries, &tier(name).unwrap(), false).truth;
    plant(None);
    if truth("A") != truth("C") {
        return Some("what is true differs between tiers without a mistake".to_owned());
    }
    plant(Some(Mistake::TruthFollowsActions));
    let found = truth("A") != truth("C");
    tell(&format!("planted TruthFollowsActions: what is true differs: {found}"));
    (!found).then(|| "TruthFollowsActions: what is true is the same".to_owned())
}

/// The table of mistakes in `docs/simulator.md` has each of the thirty, and each is where it says,
/// which `deploy/test.sh` runs.
#[test]
fn the_table_says_where() {
    let root = root();
    let page = fs::read_to_string(root.join("docs/simulator.md")).unwrap();
    let script = fs::read_to_string(root.join("deploy/test.sh")).unwrap();
    // `schedules` runs with all other tests.
    let (_, planted) = script.split_once("planted=(").unwrap();
    let (planted, _) = planted.split_once(')').unwrap();
    for number in 1..=46 {
        let begin = format!("| B{number} |");
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with(&begin)).collect();
        let [row] = rows[..] else { panic!("{begin} is there {} times", rows.len()) };
        is_where_it_says(row, planted);
    }
    // Mistakes of others, by their row in the list of known failures.
    let others = page.lines().filter(|line| {
        let name = line.strip_prefix("| M").unwrap_or_default();
        name.starts_with(|c: char| c.is_ascii_digit())
    });
    let mut count = 0;
    for row in others {
        is_where_it_says(row, planted);
        count += 1;
    }
    assert!(count > 20, "{count} mistakes of others");
}

/// A row of the table: its test has the mistakes, and is run.
fn is_where_it_says(row: &str, planted: &str) {
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    let (begin, test) = (cells[1], cells[5].trim_matches('`'));
    let package = if test == "sabotage" { "proptests" } else { "sim" };
    let text = fs::read_to_string(root().join(format!("{package}/tests/{test}.rs"))).unwrap();
    let runs = planted.split_whitespace().any(|word| word == test);
    assert!(runs || test == "schedules", "{begin} deploy/test.sh does not run {test}");
    for name in cells[3].split(", ") {
        let name = name.trim_matches('`');
        assert!(text.contains(name), "{begin} {test} has no {name}");
    }
}
