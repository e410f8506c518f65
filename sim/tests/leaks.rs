//! Nothing of tidegate looks at the world but through its seams: a detector of clocks, chance, hash
//! order, the environment and threads in the text of the program.
//!
//! core is `no_std`, so that the compiler refuses most of it there; what is asked for here is that it
//! stays so. Adapters have [`tidegate::ports`], and the few places that go around it are named below,
//! each with why it cannot change what tidegate does. The proof that nothing leaks is that runs are
//! the same in other processes (`schedules`, `network`); this says where to look when they are not.

use std::fs;
use std::path::{Path, PathBuf};

/// What gives different things at different times or in different processes.
const LEAKS: &[&str] = &[
    "SystemTime",
    "HashMap",
    "HashSet",
    "RandomState",
    "getrandom",
    "rand::",
    "fastrand",
    "thread_rng",
    "env::var",
    "env::args",
    "env::temp_dir",
    "process::id",
    "available_parallelism",
    "thread::spawn",
    "spawn_blocking",
    "thread::current",
    "chrono::",
    "Local::now",
    "Utc::now",
];

/// Where adapters may: a beginning of a path, and why.
const ALLOWED: &[(&str, &str)] = &[
    ("os/", "the ports themselves"),
    ("demo/", "a program of its own, which measures"),
    ("cli/", "the command line: where things are, before anything runs"),
    ("auth/queue.rs", "threads that check passwords; what they take is a metric"),
    ("folder/load.rs", "threads that read a folder; their results are put in order"),
    ("folder/watch.rs", "the folder is watched in real time; what it tells is journaled"),
    ("run/propagation.rs", "a metric"),
    ("run/mod.rs", "how long a step takes is a metric"),
    ("metrics/mod.rs", "a test writes the page of metrics"),
];

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// Lines of a package with a leak, outside of comments, as `path: line`.
fn leaks(package: &str, allowed: &[(&str, &str)]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(package).join("src");
    let mut all = Vec::new();
    files(&root, &mut all);
    assert!(all.len() > 20, "{package} is not there");
    let mut found = Vec::new();
    for path in all {
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        if allowed.iter().any(|(beginning, _)| name.starts_with(beginning)) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        // tokio's clock is the simulator's, where it is simulated.
        let is_clock = |line: &str| line.contains("std::time::") && line.contains("Instant");
        let is_leaky = |line: &&str| is_clock(line) || LEAKS.iter().any(|leak| line.contains(leak));
        let leaky = lines.filter(is_leaky);
        found.extend(leaky.map(|line| format!("{package}/src/{name}: {}", line.trim())));
    }
    found
}

#[test]
fn core_has_no_clock_no_chance_and_no_world() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src/lib.rs");
    let text = fs::read_to_string(root).unwrap();
    assert!(text.lines().any(|line| line == "#![no_std]"), "core is not no_std any more");
    assert!(text.lines().any(|line| line == "#![forbid(unsafe_code)]"));
    let std = text.matches("extern crate std").count();
    assert!(std == 1 && text.contains("#[cfg(test)]\nextern crate std;"), "core takes std in");
    assert_eq!(leaks("core", &[]), Vec::<String>::new());
}

#[test]
fn adapters_look_at_the_world_through_their_ports_only() {
    assert_eq!(leaks("adapters", ALLOWED), Vec::<String>::new());
}

/// A permission that nobody uses any more hides the next leak.
#[test]
fn every_permission_is_used() {
    let all = leaks("adapters", &[]);
    for (beginning, why) in ALLOWED {
        let used = all.iter().any(|line| line.starts_with(&format!("adapters/src/{beginning}")));
        assert!(used, "{beginning} ({why}) has no leak");
    }
}
