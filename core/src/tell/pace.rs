//! How many requests of one sort may be open at a time, and how long to wait when none gets
//! through. Additive increase, multiplicative decrease: a server that is slow or refuses is asked
//! less.

use serde::{Deserialize, Serialize};

use crate::event::Outcome;
use crate::time::Time;

/// Failures in a row after which all further requests wait.
const FAILURES_MAX: u32 = 16;

/// Longest wait of all requests, in milliseconds.
const PAUSE_MAX_MS: u64 = 30_000;

/// The number of open requests and what it may be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pace {
    open: u32,
    window: u32,
    window_max: u32,
    failures: u32,
    not_before: Time,
}

impl Pace {
    /// At most `window_max` requests at a time.
    pub fn new(window_max: u32) -> Pace {
        Pace { open: 0, window: window_max, window_max, failures: 0, not_before: Time(0) }
    }

    /// Whether one more may be sent now.
    pub fn admits(&self, now: Time) -> bool {
        self.open < self.window && self.not_before <= now
    }

    /// When one more may be sent; `None` when an answer must come first.
    pub fn admits_at(&self) -> Option<Time> {
        (self.open < self.window).then_some(self.not_before)
    }

    /// One was sent.
    pub fn begin(&mut self) {
        self.open += 1;
    }

    /// One was answered.
    pub fn end(&mut self, outcome: &Outcome, now: Time) {
        self.open = self.open.saturating_sub(1);
        match outcome {
            Outcome::Done => {
                self.failures = 0;
                self.not_before = Time(0);
                self.window = (self.window + 1).min(self.window_max);
            }
            Outcome::Refused(_) | Outcome::Unknown => {
                self.failures = self.failures.saturating_add(1);
                self.window = (self.window / 2).max(1);
                if let Some(over) = self.failures.checked_sub(FAILURES_MAX) {
                    self.not_before = now.plus_ms((1_000 << over.min(5)).min(PAUSE_MAX_MS));
                }
            }
        }
    }
}

/// `1 s, 2 s, 4 s, …`, at most `max_ms`: the pause after a number of tries; none after none.
pub fn pause_ms(tries: u32, max_ms: u64) -> u64 {
    match tries.checked_sub(1) {
        None => 0,
        Some(doublings) => (1_000_u64 << doublings.min(20)).min(max_ms),
    }
}
