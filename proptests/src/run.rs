//! Runs a property over generated cases: how many, from which seed, on how many threads, and what
//! a failure shows. Nothing about tidegate itself is in here.
//!
//! `TIDEGATE_CASES` multiplies the number of cases (default 1), `TIDEGATE_SEED` picks other cases
//! (default 1). The same two values always give the same cases. Each property tells on standard
//! error how many cases it ran, as `cases: NAME COUNT`.

use std::fmt::Debug;
use std::io::Write as _;

use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// The outcome of a property for one case; the text says which promise was broken and how.
pub type Verdict = Result<(), String>;

/// How many cases and which.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Cases in all.
    pub cases: u32,
    /// Selects the cases.
    pub seed: u64,
    /// Steps of shrinking after a failure.
    pub shrink_steps: u32,
}

impl Budget {
    /// `base` cases, scaled by the environment.
    #[must_use]
    pub fn of(base: u32) -> Budget {
        let scale: f64 = from_environment("TIDEGATE_CASES").unwrap_or(1.0);
        let cases = (f64::from(base) * scale).ceil().max(1.0) as u32;
        Budget { cases, seed: from_environment("TIDEGATE_SEED").unwrap_or(1), shrink_steps: 3_000 }
    }
}

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs the property; panics with the smallest failing case it finds.
///
/// # Panics
/// When the property does not hold.
pub fn holds<S>(
    name: &str,
    base: u32,
    strategy: impl Fn() -> S + Sync,
    property: fn(&S::Value) -> Verdict,
) where
    S: Strategy,
    S::Value: Debug + Send,
{
    let budget = Budget::of(base);
    match first_failure(budget, strategy, property) {
        None => {
            // Not by `eprintln!`, which the test harness swallows.
            let _ = writeln!(std::io::stderr(), "cases: {name} {}", budget.cases);
        }
        Some(Failure { why, case, seed }) => {
            panic!("{name} does not hold (seed {seed}): {why}\nsmallest case:\n{case}")
        }
    }
}

/// A case for which a property does not hold.
#[derive(Debug)]
pub struct Failure {
    /// Which promise was broken and how.
    pub why: String,
    /// The case, as small as shrinking made it.
    pub case: String,
    /// Seed of the generator.
    pub seed: u64,
}

/// Runs the property and gives the first failure, if any.
pub fn first_failure<S>(
    budget: Budget,
    strategy: impl Fn() -> S + Sync,
    property: fn(&S::Value) -> Verdict,
) -> Option<Failure>
where
    S: Strategy,
    S::Value: Debug + Send,
{
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8) as u32;
    let share = budget.cases.div_ceil(threads);
    std::thread::scope(|scope| {
        let strategy = &strategy;
        let mut workers = Vec::new();
        for thread in 0..threads {
            workers
                .push(scope.spawn(move || run_share(budget, share, thread, strategy(), property)));
        }
        let mut first = None;
        for worker in workers {
            match worker.join() {
                Ok(failure) => first = first.or(failure),
                Err(cause) => std::panic::resume_unwind(cause),
            }
        }
        first
    })
}

/// On one thread, so that it is the same on every machine: how many cases it took to find one for
/// which a property does not hold, and why not.
pub fn cases_until<S: Strategy>(
    seed: u64,
    cases: u32,
    strategy: &S,
    property: fn(&S::Value) -> Verdict,
) -> Option<(u32, String)> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    (1..=cases).find_map(|number| {
        let case = match strategy.new_tree(&mut runner) {
            Ok(tree) => tree.current(),
            Err(why) => return Some((number, format!("no case: {why}"))),
        };
        property(&case).err().map(|why| (number, why))
    })
}

fn run_share<S>(
    budget: Budget,
    cases: u32,
    thread: u32,
    strategy: S,
    property: fn(&S::Value) -> Verdict,
) -> Option<Failure>
where
    S: Strategy,
    S::Value: Debug,
{
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: budget.shrink_steps,
        ..Config::default()
    };
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&budget.seed.to_le_bytes());
    seed[8..12].copy_from_slice(&thread.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let outcome = runner.run(&strategy, |case| property(&case).map_err(TestCaseError::fail));
    match outcome {
        Ok(()) => None,
        Err(TestError::Fail(why, case)) => Some(Failure {
            why: why.message().to_owned(),
            case: format!("{case:#?}"),
            seed: budget.seed,
        }),
        Err(TestError::Abort(why)) => Some(Failure {
            why: format!("aborted: {}", why.message()),
            case: String::new(),
            seed: budget.seed,
        }),
    }
}
