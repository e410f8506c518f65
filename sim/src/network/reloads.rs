//! How many reloads tidegate may ask for (S12), and who may have to wait for one (L10). From
//! what HAProxy was asked for and what changed, never from tidegate's own count.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidegate_core::world::object::ObjectRef;

use super::proxy::Version;
use super::replica::ReplicaId;
use super::world::World;
use crate::swarm::judge::Broken;

/// The time that a number of reloads is for, in milliseconds.
const MINUTE_MS: u64 = 60_000;
/// From deciding on a reload to asking for it, in milliseconds: files are written meanwhile.
const ASKING_MS: u64 = 500;
/// Faults that make that longer, or a new count begin.
const DISTURBING: &[&str] =
    &["slow-disk", "disk-full", "sync-fails", "mute-master", "slow-reload", "hang"];

/// What changed lately, by namespace.
#[derive(Default)]
pub struct Changes(BTreeMap<String, VecDeque<u64>>);

impl Changes {
    /// An object changes.
    pub fn note(&mut self, object: &ObjectRef, now: u64) {
        let times = self.0.entry(object.name.namespace.to_string()).or_default();
        times.push_back(now);
        forget(times, now);
    }

    /// Namespaces with at least so many changes in the last minute.
    fn busy(&self, count: usize, now: u64) -> BTreeSet<&str> {
        let recent =
            |times: &VecDeque<u64>| times.iter().filter(|at| now < **at + MINUTE_MS).count();
        let busy = self.0.iter().filter(|(_, times)| recent(times) >= count);
        busy.map(|(namespace, _)| namespace.as_str()).collect()
    }
}

fn forget(times: &mut VecDeque<u64>, now: u64) {
    while times.front().is_some_and(|at| now > *at + 2 * MINUTE_MS) {
        times.pop_front();
    }
}

impl World {
    /// S12: tidegate asks for a reload. So many at once, and then one after the other.
    pub fn asked_to_reload(&mut self, id: ReplicaId) {
        let (now, most) = (self.now_ms(), u64::from(self.reloads_per_minute));
        let replica = self.at(id);
        replica.reloads.push_back(now);
        forget(&mut replica.reloads, now);
        if most == 0 || replica.is_shaken(now, DISTURBING) {
            return;
        }
        let late = replica.reloads.iter().enumerate().find_map(|(at, since)| {
            let count = (replica.reloads.len() - at) as u64;
            let allowed = most + (now - since + ASKING_MS) / (MINUTE_MS / most).max(1) + 1;
            (count > allowed).then_some((count, now - since))
        });
        if let Some((count, span_ms)) = late {
            let why = format!("{count} reloads within {span_ms} ms, with {most} in a minute");
            self.broke_at(id, Broken::new("S12", why));
        }
    }

    /// Hosts of namespaces that may have used up their share of reloads (a third of all): only a
    /// reload can make a backend before 3.4, and only whoever changes much can have caused many.
    pub(super) fn may_wait(&self, id: ReplicaId) -> BTreeSet<String> {
        let (now, replica) = (self.now_ms(), self.of(id));
        let share = (self.reloads_per_minute as usize / 3).max(1);
        let lately = replica.reloads.iter().filter(|at| now < **at + 2 * MINUTE_MS).count();
        if replica.site.version == Version::V34 || self.reloads_per_minute == 0 || lately < share {
            return BTreeSet::new();
        }
        let busy = self.changes.busy(share, now);
        let is_of = |service: &Option<String>| {
            let namespace = service.as_deref().and_then(|name| name.split('/').next());
            namespace.is_some_and(|namespace| busy.contains(namespace))
        };
        let since = now.saturating_sub(2 * MINUTE_MS);
        let cluster = self.known_to(id);
        let waits = |host: &&String| cluster.wanted_since(host, since).any(|w| is_of(&w.service));
        cluster.hosts().filter(waits).cloned().collect()
    }
}
