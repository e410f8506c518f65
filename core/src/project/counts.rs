//! Who refers to what, and which problems there are how often.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Refreshed;
use crate::problem::Problem;
use crate::shard::ShardMap;

/// Counts who refers to what; tells what is new, changed or no longer referred to.
pub(super) fn count_references<T: PartialEq>(
    counts: &mut ShardMap<Arc<str>, (Arc<T>, u32)>,
    old: &[(Arc<str>, Arc<T>)],
    new: &[(Arc<str>, Arc<T>)],
    mut changed: impl FnMut(&Arc<str>),
) {
    for (name, spec) in new {
        let entry = counts.get_or_insert_with(name.clone(), || (spec.clone(), 0));
        if entry.1 == 0 || entry.0 != *spec {
            entry.0 = spec.clone();
            changed(name);
        }
        entry.1 += 1;
    }
    for (name, _) in old {
        if let Some(entry) = counts.get_mut(name) {
            entry.1 -= 1;
            if entry.1 == 0 {
                counts.remove(name);
                changed(name);
            }
        }
    }
}

/// Counts problems; tells those that appeared and those that went.
pub(super) fn count(
    problems: &mut BTreeMap<Problem, u32>,
    old: &[Problem],
    new: &[Problem],
    report: &mut Refreshed,
) {
    for problem in new {
        let owners = problems.entry(problem.clone()).or_insert(0);
        *owners += 1;
        if *owners == 1 {
            report.opened.push(problem.clone());
        }
    }
    for problem in old {
        if let Some(owners) = problems.get_mut(problem) {
            *owners -= 1;
            if *owners == 0 {
                problems.remove(problem);
                report.closed.push(problem.clone());
            }
        }
    }
}

/// Sorts, and drops what was both opened and closed, as often as it was.
pub(crate) fn cancel_out(opened: &mut Vec<Problem>, closed: &mut Vec<Problem>) {
    opened.sort_unstable();
    closed.sort_unstable();
    let mut gone = core::mem::take(closed).into_iter().peekable();
    for problem in core::mem::take(opened) {
        while let Some(earlier) = gone.next_if(|gone| *gone < problem) {
            closed.push(earlier);
        }
        if gone.next_if_eq(&problem).is_none() {
            opened.push(problem);
        }
    }
    closed.extend(gone);
}
