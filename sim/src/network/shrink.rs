//! Makes a failing schedule small, as [`crate::swarm::shrink`] does: leaves out as many entries as
//! possible while the same promise still fails with the same blame. Times stay.

use super::run::run;
use super::schedule::{Happens, Schedule};
use crate::swarm::judge::Broken;

/// Shrinks; nothing if the schedule does not fail. `runs_max` bounds the work.
#[must_use]
pub fn shrink(schedule: &Schedule, runs_max: u64) -> Option<(Schedule, Broken)> {
    let mut broken = run(schedule, false).broken?;
    let mut small = schedule.clone();
    let mut runs = 1;
    let mut size = small.entries.len().div_ceil(2).max(1);
    while runs < runs_max {
        let (mut at, mut smaller) = (0, false);
        while at < small.entries.len() && runs < runs_max {
            let mut less = small.clone();
            less.entries.drain(at..(at + size).min(small.entries.len()));
            runs += 1;
            let found = run(&less, false)
                .broken
                .filter(|found| found.property == broken.property && found.blame == broken.blame);
            match found {
                Some(found) => {
                    (small, broken, smaller) = (less, found, true);
                }
                None => at += size,
            }
        }
        if size == 1 && !smaller {
            break;
        }
        size = if smaller { size } else { size.div_ceil(2) }.min(small.entries.len().max(1));
    }
    Some((small, broken))
}

/// Leaves out what comes after a time; the schedule then ends with it.
#[must_use]
pub fn until(schedule: &Schedule, at_ms: u64) -> Schedule {
    let mut cut = schedule.clone();
    cut.entries.retain(|entry| entry.at_ms <= at_ms);
    cut.entries.push(super::schedule::Entry { at_ms, what: Happens::Still });
    cut
}
