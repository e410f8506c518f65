//! Election among replicas by a Lease, as client-go's `leaderelection` does it: whoever holds the
//! Lease renews it; whoever does not, reads it, and takes it when nobody renewed it for its
//! duration.
//!
//! Clocks of others are never read. A record counts as renewed when it changed, and its age is
//! measured from when the change was seen here. A term is counted from when its renewal was
//! asked for, which is earlier than anybody can have seen it. Writes name the version that was
//! read, so that of two replicas one is refused.

use alloc::boxed::Box;
use serde::{Deserialize, Serialize};

use super::{LeaseRecord, Tell};
use crate::event::Outcome;
use crate::sabotage::{Mistake, is_planted};
use crate::settings::Election;
use crate::time::Time;

/// Duration of a Lease that was given back, in milliseconds: the shortest the API can say.
const RELEASED_MS: u64 = 1_000;

/// What a replica knows about the Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Candidate {
    /// The Lease as last seen; `None` when it does not exist, or was never seen.
    lease: Option<LeaseRecord>,
    /// When it last changed.
    changed_at: Time,
    /// Whether any Lease was ever seen.
    ever_seen: bool,
    /// Whether `lease` is what the API server has, as far as can be known.
    fresh: bool,
    /// Until when we hold it.
    term: Option<Time>,
    open: Option<Open>,
    /// When to try again.
    at: Time,
}

/// The request that is open.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Open {
    Read,
    /// Taking or renewing, since then.
    Write(Time),
    Release,
}

impl Candidate {
    /// Whether the Lease is held.
    pub fn leads(&self, now: Time) -> bool {
        self.term.is_some_and(|end| now < end || is_planted(Mistake::EndlessTerm))
    }

    /// Who holds the Lease, as last seen; empty when nobody does.
    #[must_use]
    pub fn holder(&self) -> &str {
        self.lease.as_ref().map_or("", |lease| &lease.holder)
    }

    /// Takes in what the API server has.
    pub fn see(&mut self, lease: Option<LeaseRecord>, now: Time) {
        let is_news = match (&self.lease, &lease) {
            (Some(old), Some(new)) => !says_the_same(old, new),
            (None, None) => !self.ever_seen,
            (Some(_), None) | (None, Some(_)) => true,
        };
        if is_news {
            self.changed_at = now;
        }
        self.ever_seen |= lease.is_some();
        self.lease = lease;
        self.fresh = true;
    }

    /// Takes the outcome of the open request in.
    pub fn take(&mut self, election: &Election, outcome: &Outcome, now: Time) {
        let done = *outcome == Outcome::Done;
        match self.open.take() {
            Some(Open::Read) => {
                let ours = |lease: &LeaseRecord| lease.holder == election.identity;
                if done && self.fresh && !self.lease.as_ref().is_some_and(ours) {
                    self.term = None;
                }
                // Before it is taken, it is read: it may have been renewed meanwhile.
                self.fresh &= done && self.may_write(election, now);
                self.at = match self.fresh {
                    true => now,
                    false => now.plus_ms(election.retry_ms.saturating_add(jitter_ms(election))),
                };
            }
            Some(Open::Write(since)) if done => {
                self.term = Some(since.plus_ms(election.renew_ms));
                self.at = since.plus_ms(election.retry_ms);
            }
            Some(Open::Write(_)) => {
                // Somebody else wrote, or nobody knows: it must be read.
                self.fresh = false;
                self.at = now.plus_ms(election.retry_ms / 4);
            }
            Some(Open::Release) => self.term = None,
            None => {}
        }
    }

    /// What to ask for now. A replica that does not serve neither takes nor renews, so that one
    /// that does can take over; `release` gives the Lease back.
    pub fn next(
        &mut self,
        election: &Election,
        serving: bool,
        release: bool,
        now: Time,
    ) -> Option<Tell> {
        if self.open.is_some() {
            return None;
        }
        if release {
            return self.release(election, now);
        }
        if !serving || now < self.at {
            return None;
        }
        if !self.fresh || !self.may_write(election, now) {
            self.open = Some(Open::Read);
            return Some(Tell::ReadLease);
        }
        let (version, transitions) = match &self.lease {
            None => (None, 0),
            Some(lease) => {
                let more = u32::from(lease.holder != election.identity);
                (Some(lease.version.clone()), lease.transitions.saturating_add(more))
            }
        };
        self.open = Some(Open::Write(now));
        // What is answered to the write says the version of the next.
        self.fresh = false;
        Some(write(version, &election.identity, election.duration_ms, transitions))
    }

    /// Whether the Lease as last seen is ours, free, or not renewed for its duration.
    fn may_write(&self, election: &Election, now: Time) -> bool {
        let expired = |duration: u64| now >= self.changed_at.plus_ms(duration);
        match &self.lease {
            // Deleted under its holder: it may not know yet.
            None => !self.ever_seen || expired(election.duration_ms),
            Some(lease) if lease.holder == election.identity || lease.holder.is_empty() => true,
            Some(lease) if lease.duration_ms == 0 => expired(election.duration_ms),
            Some(lease) => expired(lease.duration_ms),
        }
    }

    fn release(&mut self, election: &Election, now: Time) -> Option<Tell> {
        if !self.leads(now) {
            return None;
        }
        match &self.lease {
            Some(lease) if self.fresh && lease.holder == election.identity => {
                let (version, transitions) = (lease.version.clone(), lease.transitions);
                self.open = Some(Open::Release);
                self.fresh = false;
                Some(write(Some(version), "", RELEASED_MS, transitions))
            }
            _ if self.fresh => {
                self.term = None;
                None
            }
            _ => {
                self.open = Some(Open::Read);
                Some(Tell::ReadLease)
            }
        }
    }

    /// When to look again though nothing happens.
    pub fn wake_at(&self, serving: bool, stopping: bool, now: Time) -> Option<Time> {
        let ends = self.term.filter(|end| *end > now);
        let next = (self.open.is_none() && serving && !stopping).then_some(self.at);
        [ends, next].into_iter().flatten().min()
    }
}

fn write(version: Option<Box<str>>, holder: &str, duration_ms: u64, transitions: u32) -> Tell {
    let (holder, renewed) = (holder.into(), "".into());
    let lease = LeaseRecord { version: "".into(), holder, duration_ms, transitions, renewed };
    Tell::WriteLease { version, lease }
}

/// Whether two records say the same of holder and renewal; versions change for other reasons too.
fn says_the_same(a: &LeaseRecord, b: &LeaseRecord) -> bool {
    let LeaseRecord { version: _, holder, duration_ms, transitions, renewed } = a;
    *holder == b.holder
        && *duration_ms == b.duration_ms
        && *transitions == b.transitions
        && *renewed == b.renewed
}

/// Up to a fifth of the time between tries, from the identity: replicas that started together
/// should not ask together.
fn jitter_ms(election: &Election) -> u64 {
    let sum = election.identity.bytes().fold(0_u64, |sum, b| sum.wrapping_mul(31) + u64::from(b));
    sum % (election.retry_ms / 5).max(1)
}

#[cfg(test)]
#[path = "election_tests.rs"]
mod tests;
