//! One replica of tidegate: the HAProxy, disk and link to the API server that are its own, what goes
//! wrong with them, and what it may know.
//!
//! Inputs: faults and times. Outputs: whether one may still show, and since when it is not certain
//! what the replica was told. Not here: what requests to it meet (`judge`), and what it writes to
//! the API server (`writers`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use tidegate_core::world::object::{Kind, ObjectRef};

use super::forever::Forever;
use super::load::Lists;
use super::proxy::process::Site;
use super::proxy::serve::{MASTER_PORT, WORKER_PORT};
use super::scrape::Tally;
use crate::model::haproxy::Haproxy;
use crate::swarm::cluster::Cluster;

/// How long a fault may show that waited for its occasion, in milliseconds.
pub const SHAKEN_MS: u64 = 20_000;

/// Phase: HAProxy starts, or reloads.
pub const RELOADING: &str = "HAProxy starts or reloads";
/// Phase: it is not certain what tidegate was told.
pub const BLIND: &str = "blind";
/// Phase: none of these.
pub const SERVED: &str = "served";

/// Which replica: 0, or 1 where there are two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplicaId(pub usize);

/// Most replicas of a run.
pub const REPLICAS_MAX: usize = 2;

impl ReplicaId {
    /// Its host on the network, on which tidegate runs.
    #[must_use]
    pub fn host(self) -> &'static str {
        if self.0 == 0 { "tidegate" } else { "tidegate-1" }
    }

    /// The host of its HAProxy, which is a machine of its own on this network.
    #[must_use]
    pub fn proxy(self) -> &'static str {
        if self.0 == 0 { "haproxy" } else { "haproxy-1" }
    }

    /// Its identity in the Lease.
    #[must_use]
    pub fn identity(self) -> &'static str {
        if self.0 == 0 { "tidegate-0" } else { "tidegate-1" }
    }

    /// What stands before words about it: nothing for the first.
    #[must_use]
    pub fn before_words(self) -> &'static str {
        if self.0 == 0 { "" } else { "at 1: " }
    }
}

/// What goes wrong with HAProxy next.
#[derive(Clone, Debug, Default)]
pub struct Armed {
    /// Commands that are carried out before answers are lost.
    pub lose_commands: Option<u32>,
    /// Half of the next answer comes.
    pub cut_answer: bool,
    /// Until when the runtime socket says nothing.
    pub hang_until_ms: u64,
    /// The next command is refused.
    pub refuse_command: bool,
    /// Deletions of servers that are refused.
    pub busy: u32,
    /// The next reload is not answered.
    pub lose_reload: bool,
    /// The next start or reload takes that much longer.
    pub slow_files_ms: u64,
    /// The next start or reload fails.
    pub refuse_load: bool,
    /// Until when the master says nothing.
    pub mute_until_ms: u64,
    /// No start and no reload works any more.
    pub never_loads: bool,
}

impl Armed {
    /// Whether this start or reload fails.
    pub fn refuses(&mut self) -> bool {
        std::mem::take(&mut self.refuse_load) || self.never_loads
    }
}

/// A replica and what is its own.
pub struct Replica {
    /// Its HAProxy and its disk.
    pub site: Site,
    /// Its address, by which the API server tells who asks.
    pub address: Option<IpAddr>,
    /// What goes wrong with HAProxy next.
    pub armed: Armed,
    /// Whether nothing passes to the API server.
    pub partitioned: bool,
    /// Until when something may arrive at the API server that was sent long before.
    pub late_until_ms: u64,
    /// HAProxy's memory when all was quiet last.
    pub frozen: Option<Haproxy>,
    /// Until when each kind of fault may show.
    pub shaken: BTreeMap<&'static str, u64>,
    /// Kinds of faults that may have shown since all was quiet last.
    pub shown: BTreeSet<&'static str>,
    /// Since when and until when it is not certain what tidegate was told.
    pub blind: (u64, u64),
    /// When HAProxy was reloaded last.
    pub reloaded_ms: u64,
    /// When a worker served last.
    pub served_ms: u64,
    /// When it was last in no state to write to the API server.
    pub unable_ms: u64,
    /// By how much the wall clock was set forward, in seconds; less than nothing is back.
    pub clock_s: i64,
    /// Kinds of which the present life of tidegate got a whole list.
    pub listed: BTreeSet<&'static str>,
    /// How often lists were made lately.
    pub lists: Lists,
    /// Whether tidegate was ready with everything listed, in this life or before: what HAProxy then
    /// serves from its files counts as well.
    pub was_ready: bool,
    /// When tidegate asked for reloads, in this life.
    pub reloads: VecDeque<u64>,
    /// How many times HAProxy carried out each command that changes it, in words.
    pub carried_out: BTreeMap<String, u64>,
    /// What happened in this life of tidegate, as metrics must say.
    pub tally: Tally,
    /// What stays broken for good.
    pub forever: BTreeSet<Forever>,
    /// Since when something does.
    pub forever_ms: u64,
    /// The cluster as far as it can be known here, where something keeps news away for good.
    pub known: Option<Box<Cluster>>,
    /// Since when servers are in maintenance, by worker, backend and name.
    pub(super) left: BTreeMap<(u32, Arc<str>, Arc<str>), u64>,
}

impl Replica {
    /// One that has not begun.
    #[must_use]
    pub fn new(site: Site) -> Replica {
        Replica {
            site,
            address: None,
            armed: Armed::default(),
            partitioned: false,
            late_until_ms: 0,
            frozen: None,
            shaken: BTreeMap::new(),
            shown: BTreeSet::new(),
            blind: (0, 0),
            reloaded_ms: 0,
            served_ms: 0,
            unable_ms: 0,
            clock_s: 0,
            listed: BTreeSet::new(),
            lists: Lists::default(),
            was_ready: false,
            reloads: VecDeque::new(),
            carried_out: BTreeMap::new(),
            tally: Tally::default(),
            forever: BTreeSet::new(),
            forever_ms: 0,
            known: None,
            left: BTreeMap::new(),
        }
    }

    /// Whether any fault of these names may still show.
    #[must_use]
    pub fn is_shaken(&self, now: u64, names: &[&str]) -> bool {
        self.shaken.iter().any(|(name, until)| *until > now && names.contains(name))
    }

    /// Faults that may still show.
    pub fn shaking(&self, now: u64) -> impl Iterator<Item = &'static str> {
        let active = self.shaken.iter().filter(move |(_, until)| **until > now);
        active.map(|(name, _)| *name)
    }

    /// From now on a fault may show, until then.
    pub fn shake(&mut self, name: &'static str, until_ms: u64) {
        let known = self.shaken.entry(name).or_insert(0);
        *known = until_ms.max(*known);
        self.shown.insert(name);
    }

    /// A fault that waited for its occasion happens now, and may show from here on.
    pub fn strikes(&mut self, now: u64, name: &'static str) {
        self.shake(name, now + SHAKEN_MS);
    }

    /// From now on it is not certain what tidegate is told, until then.
    pub fn hide(&mut self, now: u64, until_ms: u64) {
        if self.blind.1 < now {
            self.blind.0 = now;
        }
        self.blind.1 = self.blind.1.max(until_ms);
    }

    /// Whether it is not certain what tidegate was told.
    #[must_use]
    pub fn is_blind(&self, now: u64) -> bool {
        now < self.blind.1
    }

    /// Whether nothing keeps it from serving, and from writing to the API server.
    #[must_use]
    pub fn is_able(&self, now: u64) -> bool {
        !self.is_blind(now)
            && self.shaking(now).next().is_none()
            && self.site.serving().is_some()
            && !self.forever.contains(&Forever::CutOff)
    }

    /// Whether changes of a kind are kept from it for good.
    #[must_use]
    pub fn is_hidden(&self, kind: Kind) -> bool {
        self.forever.iter().any(|forever| forever.hides(kind))
    }

    /// It hears of an object, if nothing keeps that from it for good.
    pub fn hears(&mut self, truth: &Cluster, object: &ObjectRef, now: u64) {
        let is_hidden = self.is_hidden(object.kind);
        if let Some(known) = self.known.as_mut().filter(|_| !is_hidden) {
            known.follow(truth, object, now);
        }
    }

    /// Whether something listens behind a socket of HAProxy's.
    #[must_use]
    pub fn listens(&self, port: u16) -> bool {
        match port {
            WORKER_PORT => self.site.serving().is_some(),
            MASTER_PORT => self.site.master.as_ref().is_some_and(|master| !master.busy),
            _ => false,
        }
    }

    /// What it is doing, for the table of what was judged when.
    #[must_use]
    pub fn phase(&self, now: u64) -> &'static str {
        if self.site.master.as_ref().is_none_or(|master| master.busy) {
            RELOADING
        } else if self.is_blind(now) {
            BLIND
        } else {
            SERVED
        }
    }
}
