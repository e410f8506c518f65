//! What the tests against a real HAProxy share: tidegate as a child process on a folder of
//! manifests, sample pods in this process, clients, a request loop that checks every answer.
//!
//! Nothing sleeps blindly: whoever waits says for what, and fails with what was seen last.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod certs;
pub mod client;
pub mod h2;
pub mod h3;
pub mod ledger;
pub mod long;
pub mod manifest;
pub mod places;
pub mod pods;
pub mod rig;
pub mod traffic;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Longest wait for a change to take effect. Far above what it takes, as machines may be busy.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Looks again and again until `look` is satisfied; fails with what it said last.
pub fn eventually<T>(what: &str, look: impl FnMut() -> Result<T, String>) -> T {
    eventually_within(PATIENCE, what, look)
}

/// The same with another patience.
pub fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
    let begin = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) if begin.elapsed() > patience => {
                panic!("{what}: after {patience:?} still {why}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(3)),
        }
    }
}

/// `Ok` when the condition holds, otherwise the words.
pub fn ensure(condition: bool, words: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(words()) }
}

/// Scenarios on one rig. All run, also after one has failed; the end names every failure.
pub struct Scenarios {
    version: &'static str,
    failed: Vec<String>,
    passed: usize,
}

impl Scenarios {
    /// None yet.
    pub fn new(version: &'static str) -> Scenarios {
        Scenarios { version, failed: Vec::new(), passed: 0 }
    }

    /// Runs one.
    pub fn run(&mut self, name: &str, scenario: impl FnOnce()) {
        let begin = Instant::now();
        match catch_unwind(AssertUnwindSafe(scenario)) {
            Ok(()) => {
                self.passed += 1;
                println!("HAProxy {}: {name}: ok, {:?}", self.version, begin.elapsed());
            }
            Err(why) => {
                let text = why.downcast_ref::<String>().cloned();
                let text = text.or_else(|| why.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                self.failed.push(format!("{name}: {}", text.unwrap_or_default()));
            }
        }
    }

    /// Fails if any failed.
    pub fn finish(self) {
        let Scenarios { version, failed, passed } = self;
        assert!(
            failed.is_empty(),
            "HAProxy {version}: {} of {} scenarios failed:\n- {}",
            failed.len(),
            failed.len() + passed,
            failed.join("\n- ")
        );
    }
}

/// One test per HAProxy branch, each calling `$body(version)`.
#[macro_export]
macro_rules! on_each_haproxy {
    ($body:path) => {
        #[test]
        fn on_2_6() {
            $body("2.6");
        }
        #[test]
        fn on_3_0() {
            $body("3.0");
        }
        #[test]
        fn on_3_2() {
            $body("3.2");
        }
        #[test]
        fn on_3_4() {
            $body("3.4");
        }
    };
}
