//! What is told to the API server: status of Ingresses, Kubernetes Events, and the Lease that
//! decides which replica tells.
//!
//! In: changed facts, computed pieces, problems that came and went, what the Lease says, answers.
//! Out: [`Tell`]s, bounded in flight and in rate. Not here: any request; and nothing here decides
//! about routing or waits for it: telling may fail for good without anybody's traffic noticing.

pub mod election;
pub mod notices;
mod pace;
pub mod status;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::action::{ActionBody, ActionId};
use crate::controller::{Controller, Step};
use crate::event::{Ack, Outcome};
use crate::problem::{Reason, Severity};
use crate::project::Refreshed;
use crate::sabotage::{Mistake, is_planted};
use crate::settings::Telling;
use crate::time::{Time, WakeReason};
use crate::world::Fact;
use crate::world::object::{Address, Name, ObjectRef};
use election::Candidate;
use notices::Notices;
use status::Statuses;

/// One request of [`crate::action::Lane::Cluster`].
///
/// The adapter gives each of them up, and answers `Unknown`, before the time between
/// `Election::renew_ms` and `Election::duration_ms` has passed, so that nothing is written in the
/// term of the next holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tell {
    /// Write `status.loadBalancer` of an Ingress, if it still is that object.
    Status {
        /// Which.
        ingress: Name,
        /// Its UID.
        uid: Box<str>,
        /// The whole of `status.loadBalancer.ingress`.
        addresses: Vec<Address>,
    },
    /// Create or refresh a Kubernetes Event.
    Event(Notice),
    /// Read the Lease; answered by `Event::LeaseSeen` before the ack.
    ReadLease,
    /// Create the Lease, or replace it if it still is at the version that was read. What was
    /// written is answered by `Event::LeaseSeen` before the ack; without that it is read again.
    WriteLease {
        /// The version that was read; `None` creates it.
        version: Option<Box<str>>,
        /// What to write.
        lease: LeaseRecord,
    },
}

/// A Kubernetes Event to be created or refreshed: one per object and reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The object it is about.
    pub about: ObjectRef,
    /// Its UID; empty when not known.
    pub uid: Box<str>,
    /// `reason`.
    pub reason: Reason,
    /// `Warning` in either case; errors are told first.
    pub severity: Severity,
    /// `note`: what is wrong, what was done instead, how to fix it. At most 1,024 bytes
    /// (`events.k8s.io/v1`).
    pub note: String,
    /// What the problem is of: the object it is told about, or a kind as a whole.
    pub of: ObjectRef,
}

/// A Lease, as far as the election reads and writes it (`coordination.k8s.io/v1` LeaseSpec).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// `metadata.resourceVersion`; empty in what is written.
    pub version: Box<str>,
    /// `spec.holderIdentity`; empty when it is free.
    pub holder: Box<str>,
    /// `spec.leaseDurationSeconds`, in milliseconds.
    pub duration_ms: u64,
    /// `spec.leaseTransitions`.
    pub transitions: u32,
    /// `spec.renewTime` as written, compared only for change: clocks of others are not read.
    /// Empty in what is written; the adapter puts the wall clock there.
    pub renewed: Box<str>,
}

/// Everything the controller knows about what it told and has yet to tell. Part of checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Teller {
    statuses: Statuses,
    notices: Notices,
    candidate: Candidate,
    flights: BTreeMap<ActionId, Flight>,
    /// The program is about to end: nothing more is told, and the Lease is given back.
    stopping: bool,
}

/// What a request that is not acked yet is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Flight {
    Status(Name),
    Notice(notices::Topic),
    Lease,
}

impl Teller {
    /// Whether this replica is the one that writes: always, where there is no election.
    #[must_use]
    pub fn is_leader(&self, telling: &Telling, now: Time) -> bool {
        !self.stopping && (telling.election.is_none() || self.candidate.leads(now))
    }

    /// Whether it was told to stop, has no request open, and holds no Lease it could give back.
    #[must_use]
    pub fn is_silent(&self, now: Time) -> bool {
        self.stopping && self.flights.is_empty() && !self.candidate.leads(now)
    }

    /// Who holds the Lease, as last seen; empty when nobody does, or nobody asked.
    #[must_use]
    pub fn lease_holder(&self) -> &str {
        self.candidate.holder()
    }

    /// Ingresses of ours whose status is not what it should be, as far as is known.
    #[must_use]
    pub fn statuses_pending(&self) -> usize {
        self.statuses.pending()
    }

    /// Objects and reasons for which there is a problem.
    #[must_use]
    pub fn topics(&self) -> usize {
        self.notices.topics()
    }
}

impl Controller {
    /// What was told and is yet to be told; `None` when nothing is ever told.
    #[must_use]
    pub fn telling(&self) -> Option<(&Teller, &Telling)> {
        let telling = self.world.settings.telling.as_ref()?;
        Some((&self.teller, telling))
    }

    /// Whether this replica writes to the API server: the metric `tidegate_leader`.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.telling().is_some_and(|(teller, telling)| teller.is_leader(telling, self.now))
    }

    /// Whether nothing is left to be told before the program may end. See `Event::Stopping`.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.telling().is_none_or(|(teller, _)| teller.is_silent(self.now))
    }

    /// Takes in what a refresh changed.
    pub(crate) fn learn(&mut self, changed: &BTreeSet<Fact>, refreshed: &Refreshed) {
        let Some(telling) = &self.world.settings.telling else { return };
        let teller = &mut self.teller;
        teller.statuses.learn(&self.world, &telling.publish, changed, &refreshed.pieces, self.now);
        if telling.events {
            teller.notices.learn(&refreshed.opened, &refreshed.closed, self.now);
        }
    }

    /// Takes in what the Lease says.
    pub(crate) fn take_lease(&mut self, lease: Option<LeaseRecord>) {
        self.teller.candidate.see(lease, self.now);
    }

    /// Takes in that the program is about to end.
    pub(crate) fn stop_telling(&mut self) {
        self.teller.stopping = true;
    }

    /// Takes an answer in; whether it was one to something told.
    pub(crate) fn take_told(&mut self, ack: &Ack) -> bool {
        let Some(flight) = self.teller.flights.remove(&ack.id) else { return false };
        let Some(telling) = &self.world.settings.telling else { return true };
        let outcome = ack.outcomes.first().unwrap_or(&Outcome::Unknown);
        match flight {
            Flight::Status(name) => {
                self.teller.statuses.take(&self.world, &name, outcome, self.now);
            }
            Flight::Notice(topic) => self.teller.notices.take(&topic, outcome, self.now),
            Flight::Lease => {
                if let Some(election) = &telling.election {
                    self.teller.candidate.take(election, outcome, self.now);
                }
            }
        }
        true
    }

    /// Tells what is due.
    pub(crate) fn tell(&mut self, step: &mut Step) {
        let settings = self.world.settings.clone();
        let Some(telling) = &settings.telling else { return };
        let (now, serving, effective) = (self.now, self.is_serving(), step.effective);
        let writes_statuses = self.writes_statuses();
        let teller = &mut self.teller;
        let mut told: Vec<(Flight, Tell)> = Vec::new();
        let writes = telling.publish != crate::settings::Publish::Nothing || telling.events;
        if let Some(election) = telling.election.as_ref().filter(|_| writes) {
            let releases = teller.stopping && teller.flights.is_empty();
            let next = if teller.stopping && !releases {
                None
            } else {
                teller.candidate.next(election, serving, releases, now)
            };
            told.extend(next.map(|tell| (Flight::Lease, tell)));
        }
        if teller.is_leader(telling, now) {
            if writes_statuses {
                let statuses = teller.statuses.next(&self.world, effective, now);
                told.extend(statuses.into_iter().map(|(name, tell)| (Flight::Status(name), tell)));
            }
            let notices = teller.notices.next(&self.world, &self.projections, now);
            told.extend(notices.into_iter().map(|(topic, tell)| (Flight::Notice(topic), tell)));
        }
        for (flight, tell) in told {
            let id = self.emit(ActionBody::Tell(tell), step);
            self.teller.flights.insert(id, flight);
        }
    }

    /// Whether statuses are written by who leads.
    fn writes_statuses(&self) -> bool {
        let waits = is_planted(Mistake::StatusesWait) && !self.world.quarantined.is_empty();
        self.is_serving() && !waits
    }

    /// When something more is to be told though nothing happens, and why.
    pub(crate) fn tell_at(&self, effective: bool) -> Option<(Time, WakeReason)> {
        let telling = self.world.settings.telling.as_ref()?;
        let (teller, serving) = (&self.teller, self.is_serving());
        let mut wake = None;
        let mut ask = |at: Option<Time>, reason| {
            if let Some(at) = at.filter(|at| wake.is_none_or(|(first, _)| *at < first)) {
                wake = Some((at, reason));
            }
        };
        if telling.election.is_some() {
            let at = teller.candidate.wake_at(serving, teller.stopping, self.now);
            ask(at, WakeReason::Election);
        }
        if teller.is_leader(telling, self.now) {
            if self.writes_statuses() {
                ask(teller.statuses.wake_at(effective), WakeReason::Tell);
            }
            ask(teller.notices.wake_at(), WakeReason::Tell);
        }
        wake
    }
}
