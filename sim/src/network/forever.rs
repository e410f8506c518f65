//! What stays broken for good. A fault that ends hides whoever waits for its end: so in part of all
//! runs something never heals, and what does not depend on it is owed all the same.
//!
//! Inputs: lines of a schedule. Outputs: a world in which something is broken from then on, what a
//! replica can still know, and whose changes can have no effect any more. What is owed follows from
//! the truth and from what is broken, never from what tidegate says of itself.

use std::collections::BTreeSet;
use std::fmt;

use tidegate_core::world::object::Kind;

use super::fault::KINDS;
use super::proxy::Version;
use super::replica::{Replica, ReplicaId};
use super::run::{Due, Run};
use super::world::{World, lock};
use crate::model::haproxy::Answer;
use crate::swarm::cluster::{Cluster, Wanted};

/// From when something breaks to when that has settled, in milliseconds: connections that were cut
/// are back, and the Lease of who is cut off has run out.
const SETTLES_MS: u64 = 20_000;
/// For how long a Secret is waited for that nobody says anything of, in milliseconds.
const WAITS_MS: u64 = 2_100;
/// Servers of a backend of 2.6 that need no reload at least.
const SLOTS: usize = 3;

/// The kinds that can be kept away, as in [`KINDS`].
const HIDDEN: [Kind; KINDS.len()] =
    [Kind::Service, Kind::EndpointSlice, Kind::Ingress, Kind::Secret];

/// Something that never heals. The letters are those of the fault model.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Forever {
    /// F14: one kind is denied.
    Deny(u8),
    /// F3: of one kind nothing is said, and no list of it comes.
    Silent(u8),
    /// F17: the status of an Ingress is refused each time.
    RefuseStatus(String),
    /// F4: a replica is cut off from the API server.
    CutOff,
    /// F25: HAProxy refuses each reload.
    RefuseLoad,
    /// F22: the master's socket takes connections and says nothing.
    MuteMaster,
    /// F26: old workers never end, whatever their files say.
    OldWorkers,
    /// F20: HAProxy is gone, and does not start.
    NoHaproxy,
    /// F27: the disk is full.
    DiskFull,
}

impl Forever {
    /// One of each, for those who choose.
    #[must_use]
    pub fn all() -> Vec<Forever> {
        let kinds = 0..KINDS.len() as u8;
        let news = kinds.flat_map(|kind| [Forever::Deny(kind), Forever::Silent(kind)]);
        let others = [
            Forever::RefuseStatus("t1/i1".to_owned()),
            Forever::CutOff,
            Forever::RefuseLoad,
            Forever::MuteMaster,
            Forever::OldWorkers,
            Forever::NoHaproxy,
            Forever::DiskFull,
        ];
        news.chain(others).collect()
    }

    /// Its name in schedules.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.cell().strip_prefix("forever ").unwrap_or_default()
    }

    /// Its name in the table of what was judged under what.
    #[must_use]
    pub fn cell(&self) -> &'static str {
        match self {
            Forever::Deny(_) => "forever deny",
            Forever::Silent(_) => "forever silent",
            Forever::RefuseStatus(_) => "forever refuse-status",
            Forever::CutOff => "forever cut-off",
            Forever::RefuseLoad => "forever refuse-load",
            Forever::MuteMaster => "forever mute-master",
            Forever::OldWorkers => "forever old-workers",
            Forever::NoHaproxy => "forever no-haproxy",
            Forever::DiskFull => "forever disk-full",
        }
    }

    /// Reads what comes after `forever`.
    #[must_use]
    pub fn read(words: &[&str]) -> Option<Forever> {
        let kind = |text: &str| text.parse().ok().filter(|kind| usize::from(*kind) < KINDS.len());
        match words {
            ["deny", number] => Some(Forever::Deny(kind(number)?)),
            ["silent", number] => Some(Forever::Silent(kind(number)?)),
            ["refuse-status", name] if name.contains('/') => {
                Some(Forever::RefuseStatus((*name).to_owned()))
            }
            [name] => {
                let plain = |one: &Forever| one.name() == *name && one.to_string() == *name;
                Forever::all().into_iter().find(plain)
            }
            _ => None,
        }
    }

    /// Whether it happens to one replica, and not to the API server that all of them share.
    #[must_use]
    pub fn is_of_one(&self) -> bool {
        !matches!(self, Forever::Deny(_) | Forever::Silent(_) | Forever::RefuseStatus(_))
    }

    /// Whether it leaves a replica alone with nothing to do: another one has to be there.
    #[must_use]
    pub fn needs_two(&self) -> bool {
        matches!(self, Forever::CutOff | Forever::NoHaproxy)
    }

    /// Whether changes of a kind are no longer heard of.
    #[must_use]
    pub fn hides(&self, kind: Kind) -> bool {
        match self {
            Forever::Deny(hidden) | Forever::Silent(hidden) => {
                HIDDEN.get(usize::from(*hidden)) == Some(&kind)
            }
            Forever::CutOff => true,
            _ => false,
        }
    }

    /// How much longer a change may take, in milliseconds: whoever refers to a Secret for the first time
    /// waits for it for so long.
    #[must_use]
    pub fn waits_ms(&self) -> u64 {
        match self {
            Forever::Silent(_) if self.hides(Kind::Secret) => WAITS_MS,
            _ => 0,
        }
    }

    /// Whether a promise cannot be kept at a replica at which it shows.
    #[must_use]
    pub fn suspends(&self, promise: &str) -> bool {
        match self {
            Forever::NoHaproxy => !["L9", "S18"].contains(&promise),
            Forever::DiskFull => promise == "S28",
            _ => false,
        }
    }

    /// Whether nothing that HAProxy loads as a whole has effect any more.
    fn keeps_from_loading(&self) -> bool {
        matches!(self, Forever::RefuseLoad | Forever::MuteMaster | Forever::DiskFull)
    }
}

impl fmt::Display for Forever {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Forever::Deny(kind) | Forever::Silent(kind) => write!(f, "{} {kind}", self.name()),
            Forever::RefuseStatus(name) => write!(f, "{} {name}", self.name()),
            _ => f.write_str(self.name()),
        }
    }
}

impl Run {
    /// Something breaks for good.
    pub(super) fn stays(&mut self, forever: &Forever, id: ReplicaId, now: u64) {
        match forever {
            Forever::CutOff => {
                self.due.retain(|(_, due)| *due != Due::Repair(id));
                self.sim.partition("api", id.host());
            }
            Forever::DiskFull => {
                self.due.retain(|(_, due)| *due != Due::DiskIsFree(id));
                self.disk(id).set_full(true);
            }
            _ => {}
        }
        let mut world = lock(&self.world);
        world.sometimes(forever.cell());
        let ids: Vec<ReplicaId> =
            if forever.is_of_one() { vec![id] } else { world.ids().collect() };
        world.breaks(forever);
        for id in ids {
            world.breaks_at(id, forever, now);
        }
    }
}

impl World {
    /// Something of the API server breaks for good.
    fn breaks(&mut self, forever: &Forever) {
        let plural = |kind: &u8| KINDS.get(usize::from(*kind)).copied();
        match forever {
            Forever::Deny(kind) => {
                self.api.denied = plural(kind);
                self.api.denied_until_ms = u64::MAX;
                self.api.cut();
            }
            Forever::Silent(kind) => {
                self.api.lagging = plural(kind);
                self.api.lagging_until_ms = u64::MAX;
            }
            Forever::RefuseStatus(name) => {
                self.api.refused_status = name
                    .split_once('/')
                    .map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
            }
            _ => {}
        }
    }

    /// Something breaks for good at a replica, or for it.
    fn breaks_at(&mut self, id: ReplicaId, forever: &Forever, now: u64) {
        let cluster = self.cluster.clone();
        let replica = self.at(id);
        let Replica { armed, site, .. } = replica;
        match forever {
            Forever::Deny(_) => replica.hide(now, now + SETTLES_MS),
            Forever::CutOff => {
                replica.partitioned = true;
                replica.hide(now, now + SETTLES_MS);
            }
            Forever::RefuseLoad => armed.never_loads = true,
            Forever::MuteMaster => armed.mute_until_ms = u64::MAX,
            Forever::OldWorkers => site.keeps_old = true,
            Forever::NoHaproxy => {
                armed.never_loads = true;
                site.die();
                site.cut.clear();
            }
            Forever::Silent(_) | Forever::RefuseStatus(_) | Forever::DiskFull => {}
        }
        if replica.forever.is_empty() {
            replica.forever_ms = now;
        }
        if HIDDEN.into_iter().any(|kind| forever.hides(kind)) {
            let known = replica.known.get_or_insert_with(|| Box::new(cluster));
            // Which Secrets tidegate has asked for only it knows.
            known.doubts_secrets |= forever.hides(Kind::Secret);
        }
        replica.forever.insert(forever.clone());
    }

    /// The cluster as a replica can know it.
    #[must_use]
    pub(super) fn known_to(&self, id: ReplicaId) -> &Cluster {
        self.of(id).known.as_deref().unwrap_or(&self.cluster)
    }

    /// Hosts that need what HAProxy loads as a whole, where it no longer does: those of 2.6 that are
    /// led to another Service than when that began, or to more pods than a backend has room for. Newer
    /// ones have spare backends, or make them. And since when that is so.
    pub(super) fn held_for_good(&self, id: ReplicaId) -> Option<(u64, BTreeSet<String>)> {
        let replica = self.of(id);
        let is_held = replica.forever.iter().any(Forever::keeps_from_loading);
        if !is_held || replica.site.version != Version::V26 {
            return None;
        }
        let (since, cluster) = (replica.forever_ms, self.known_to(id));
        let is_much =
            |w: &Wanted| matches!(&w.answer, Answer::Servers(servers) if servers.len() > SLOTS);
        let needs = |host: &&String| {
            let all: Vec<&Wanted> = cluster.wanted_since(host, since).collect();
            let services: BTreeSet<&Option<String>> = all.iter().map(|w| &w.service).collect();
            services.len() > 1 || all.iter().any(|w| is_much(w))
        };
        Some((since, cluster.hosts().filter(needs).cloned().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_value_are_the_same_thing() {
        for forever in Forever::all() {
            let text = forever.to_string();
            let words: Vec<&str> = text.split(' ').collect();
            assert_eq!(Forever::read(&words), Some(forever.clone()), "{text}");
            assert!(!forever.name().is_empty(), "{text}");
        }
        for bad in ["deny", "deny 4", "silent x", "refuse-status i1", "cut-off 1", "rain"] {
            let words: Vec<&str> = bad.split(' ').collect();
            assert_eq!(Forever::read(&words), None, "{bad}");
        }
    }
}
