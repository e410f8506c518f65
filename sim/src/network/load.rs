//! S23: the load on the API server has a limit, whatever happens: nobody lists without end.
//!
//! Inputs: whole lists, when they were given. Outputs: a broken promise.

use std::collections::{BTreeMap, VecDeque};

use crate::swarm::judge::Broken;

/// The time that lists are counted in, in milliseconds.
const SPAN_MS: u64 = 10_000;
/// Most whole lists of one kind in that time. After a failure a list is made at once, and those after
/// it wait for longer and longer.
const LISTS_MAX: usize = 12;
/// One of these says which store answers, whenever a watch begins.
const IDENTITY: &str = "namespaces";

/// When whole lists were given to a replica, by kind.
#[derive(Debug, Default)]
pub struct Lists(BTreeMap<&'static str, VecDeque<u64>>);

impl Lists {
    /// One more is given.
    pub(super) fn one_more(&mut self, plural: &'static str, now: u64) -> Result<(), Broken> {
        if plural == IDENTITY {
            return Ok(());
        }
        let times = self.0.entry(plural).or_default();
        times.push_back(now);
        while times.front().is_some_and(|at| now > at + SPAN_MS) {
            times.pop_front();
        }
        if times.len() <= LISTS_MAX {
            return Ok(());
        }
        let why = format!("{} lists of {plural} within {SPAN_MS} ms", times.len());
        Err(Broken::new("S23", why))
    }
}
