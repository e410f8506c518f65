//! Makes a failing schedule small: leaves out as many entries as possible while the same promise
//! still fails with the same blame (delta debugging), then closes the gaps in time.

use tidegate_core::capability::Capabilities;

use super::judge::Broken;
use super::run::run;
use super::schedule::{Entry, What};

/// A small schedule and how it fails.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// What is left.
    pub entries: Vec<Entry>,
    /// How it fails.
    pub broken: Broken,
    /// Runs that it took.
    pub runs: u64,
}

/// Shrinks; nothing if the schedule does not fail. `runs_max` bounds the work.
#[must_use]
pub fn shrink(entries: &[Entry], capabilities: &Capabilities, runs_max: u64) -> Option<Shrunk> {
    let out = run(entries, capabilities, false);
    let mut small = Shrunk { entries: entries.to_vec(), broken: out.broken?, runs: 1 };
    let fails = |small: &mut Shrunk, entries: &[Entry]| {
        small.runs += 1;
        let found = run(entries, capabilities, false).broken;
        let same = found.filter(|found| {
            found.property == small.broken.property && found.blame == small.broken.blame
        });
        same.inspect(|found| {
            small.broken = found.clone();
            small.entries = entries.to_vec();
        })
        .is_some()
    };
    // What comes later has nothing to do with it; until the first of that, time goes on.
    let before = entries.iter().take_while(|entry| entry.at_ms <= out.simulated_ms).count();
    fails(&mut small, entries.get(..=before).unwrap_or(entries));
    let mut size = small.entries.len().div_ceil(2).max(1);
    while small.runs < runs_max {
        let mut at = 0;
        let mut smaller = false;
        while at < small.entries.len() && small.runs < runs_max {
            let mut rest = small.entries.clone();
            rest.drain(at..(at + size).min(rest.len()));
            if fails(&mut small, &rest) {
                smaller = true;
            } else {
                at += size;
            }
        }
        if size == 1 && !smaller {
            break;
        }
        size = if smaller { size } else { size.div_ceil(2) }.min(small.entries.len().max(1));
    }
    gaps(&mut small, runs_max, fails);
    Some(small)
}

/// Closes gaps in time. What is to be quiet by then keeps its distance.
fn gaps(small: &mut Shrunk, runs_max: u64, fails: impl Fn(&mut Shrunk, &[Entry]) -> bool) {
    for at in 0..small.entries.len() {
        let before = at.checked_sub(1).and_then(|b| small.entries.get(b)).map_or(0, |e| e.at_ms);
        let Some(entry) = small.entries.get(at) else { break };
        let gap = entry.at_ms.saturating_sub(before);
        let kept = if entry.what == What::Quiet { 180_000 } else { 0 };
        for shorter in [0, 1, 10, 100, 1_000, 20_000, 180_000] {
            if shorter < kept || shorter >= gap || small.runs >= runs_max {
                continue;
            }
            let mut closer = small.entries.clone();
            for later in closer.iter_mut().skip(at) {
                later.at_ms -= gap - shorter;
            }
            if fails(small, &closer) {
                break;
            }
        }
    }
}
