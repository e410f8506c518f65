//! Schedules from seeds: phases that grow, churn, shrink and rest, with a random part of all
//! faults.

use super::changes::Changes;
use super::schedule::{Entry, Fault, What};
use crate::dice::Dice;

/// An address is not given away again for so long, in milliseconds.
const REUSE_MS: u64 = 1_000;
/// All is quiet after so long without changes or faults: retries come at most a minute apart, and
/// so do audits.
const REST_MS: u64 = 150_000;

/// Every kind of fault, with what it takes.
const FAULTS: usize = 14;

fn fault(dice: &mut Dice, kind: usize) -> Fault {
    match kind {
        0 => Fault::LoseCommands(dice.below(6) as u8),
        1 => Fault::LoseFiles(dice.percent(50)),
        2 => Fault::RefuseCommand,
        3 => Fault::DiskFull,
        4 => Fault::SlowCommands(dice.between(10, 3_000) as u32),
        5 => Fault::SlowFiles(dice.between(10, 10_000) as u32),
        6 => Fault::WorkerDies,
        7 => Fault::ControllerDies,
        8 => Fault::Gap(dice.between(10, 20_000) as u32),
        9 => Fault::Outage(dice.between(10, 20_000) as u32),
        10 => Fault::Relist,
        11 => Fault::Twice,
        12 => Fault::Drop,
        _ => Fault::Tamper,
    }
}

/// What was put down so far, and when it is.
struct Plan {
    now: u64,
    entries: Vec<Entry>,
}

impl Plan {
    fn put(&mut self, what: What) {
        self.entries.push(Entry { at_ms: self.now, what });
    }
}

/// The names of all faults.
pub(super) fn faults() -> Vec<&'static str> {
    (0..FAULTS).map(|kind| fault(&mut Dice::new(0, "names"), kind).name()).collect()
}

/// A schedule of about half an hour.
#[must_use]
pub fn schedule(seed: u64) -> Vec<Entry> {
    let mut choices = Dice::new(seed, "choices");
    let chosen: Vec<usize> = (0..FAULTS).filter(|_| choices.percent(50)).collect();
    let guarded = choices.percent(60);
    let mut changes = Changes::new(seed, guarded, REUSE_MS);
    let mut plan = Plan { now: 0, entries: Vec::new() };
    let mut faults = Dice::new(seed, "faults");
    for what in changes.first(0) {
        plan.put(what);
    }
    let rest = |plan: &mut Plan| {
        // What was dropped or missed comes with a list.
        plan.now += 25_000;
        plan.put(What::Fault(Fault::Relist));
        plan.now += REST_MS;
        plan.put(What::Quiet);
    };
    rest(&mut plan);
    for phase in 0..8 {
        // Grow, churn, churn hard, shrink.
        let (count, gap_ms, shrink) = match phase % 4 {
            0 => (12, 2_000, false),
            1 => (25, 1_000, false),
            2 => (60, 60, false),
            _ => (12, 1_500, true),
        };
        for _ in 0..count {
            plan.now += changes.dice.between(1, gap_ms * 2);
            if let Some(kind) = faults.pick(&chosen).copied()
                && faults.percent(if phase % 4 == 2 { 8 } else { 20 })
            {
                let what = fault(&mut faults, kind);
                plan.put(What::Fault(what));
                plan.now += faults.below(20);
            }
            plan.put(changes.any(plan.now, shrink));
        }
        rest(&mut plan);
    }
    plan.entries
}
