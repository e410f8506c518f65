//! The status of Ingresses: which of ours say something else than they should, and when each is
//! written.
//!
//! An Ingress is looked at when its status, its class or the addresses change, never otherwise.
//! It is written once for each such change, and again only after a refusal or a lost answer. What
//! was written is right when the watch says so. Nothing is written while there are no addresses:
//! that a Service or Node is absent clears no status (S8). An Ingress that is not ours, or no
//! longer, is left as it is.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::Tell;
use super::pace::{Pace, pause_ms};
use crate::event::Outcome;
use crate::project::{PieceKey, class};
use crate::sabotage::{Mistake, is_planted};
use crate::settings::Publish;
use crate::time::Time;
use crate::world::lookup::Lookup;
use crate::world::object::{Address, Kind, Name};
use crate::world::{Fact, World};

/// Writes open at a time at most.
const OPEN_MAX: u32 = 16;

/// How long a status waits for its Ingress to take effect, in milliseconds.
const EFFECT_MS: u64 = 1_000;

/// How long the watch may take to show what was written before it is written again, in
/// milliseconds; doubles.
const CONFIRM_MS: u64 = 60_000;

/// Longest pause after a refusal, in milliseconds.
const REFUSED_MAX_MS: u64 = 300_000;

/// Longest pause after a lost answer, in milliseconds: it says nothing about the object.
const UNKNOWN_MAX_MS: u64 = 8_000;

/// A status that stayed right for so long is forgotten, in milliseconds: if somebody changes it
/// then, it is written at once. Before that, ever later.
const CALM_MS: u64 = 600_000;

/// The Ingresses whose status is wrong or was so lately.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Statuses {
    /// What ours should say, sorted; `None` while that is not known.
    addresses: Option<Arc<[Address]>>,
    /// Counts changes of `addresses`.
    version: u64,
    entries: BTreeMap<Name, Entry>,
    /// Entries that are wrong and not being written, by when they are.
    queue: BTreeSet<(Time, Name)>,
    /// Entries that are right, by when they are forgotten.
    calm: BTreeSet<(Time, Name)>,
    pace: Pace,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Entry {
    uid: Box<str>,
    /// Since when it is wrong.
    since: Time,
    stage: Stage,
    /// Writes since it was forgotten last, or since the addresses changed.
    tries: u32,
    written_at: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Stage {
    /// In `queue`, for then.
    Wrong(Time),
    /// Being written, with the addresses of that version.
    Open(u64),
    /// In `calm`, until then.
    Right(Time),
}

/// Why an Ingress is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// It, or its class.
    Object,
    /// Its status.
    Status,
    /// The addresses.
    Addresses,
}

impl Entry {
    fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }
}

impl Default for Statuses {
    fn default() -> Self {
        Statuses {
            addresses: None,
            version: 0,
            entries: BTreeMap::new(),
            queue: BTreeSet::new(),
            calm: BTreeSet::new(),
            pace: Pace::new(OPEN_MAX),
        }
    }
}

impl Statuses {
    /// Entries that are wrong, those being written included.
    pub fn pending(&self) -> usize {
        self.entries.len() - self.calm.len()
    }

    /// Takes in what changed.
    pub fn learn(
        &mut self,
        world: &World,
        publish: &Publish,
        changed: &BTreeSet<Fact>,
        pieces: &[PieceKey],
        now: Time,
    ) {
        let may_differ = self.version == 0
            || match publish {
                Publish::Nothing | Publish::Addresses(_) => false,
                Publish::Service(name) => changed.contains(&Fact::Service(name.clone())),
                Publish::Nodes => changed.contains(&Fact::Nodes),
            };
        if may_differ {
            let addresses = addresses(world, publish);
            if self.addresses.as_deref() != addresses.as_deref() || self.version == 0 {
                self.addresses = addresses;
                self.version += 1;
                for name in world.ingresses.keys() {
                    self.look(world, name, Cause::Addresses, now);
                }
                return;
            }
        }
        for piece in pieces {
            if let PieceKey::Object(object) = piece
                && object.kind == Kind::Ingress
            {
                self.look(world, &object.name, Cause::Object, now);
            }
        }
        for fact in changed {
            if let Fact::Status(name) = fact {
                self.look(world, name, Cause::Status, now);
            }
        }
    }

    /// Compares an Ingress with what it should say.
    fn look(&mut self, world: &World, name: &Name, cause: Cause, now: Time) {
        let uid = self.wrong(world, name);
        let Some(uid) = uid else {
            if self.entries.get(name).is_some_and(|e| !e.is_open()) {
                self.set_right(name, now);
            }
            return;
        };
        let Some(entry) = self.entries.get_mut(name).filter(|e| e.uid == uid || e.is_open()) else {
            let stage = Stage::Wrong(now);
            let fresh = Entry { uid, since: now, stage, tries: 0, written_at: Time(0) };
            self.unlist(name);
            self.entries.insert(name.clone(), fresh);
            self.queue.insert((now, name.clone()));
            return;
        };
        if entry.uid != uid {
            // Another object of the name: what is being written is for the one before.
            *entry = Entry { uid, since: now, tries: 0, ..entry.clone() };
        }
        if cause == Cause::Addresses {
            entry.tries = 0;
        }
        // Not at once after the last write: somebody else may be writing too.
        let soon = now.max(entry.written_at.plus_ms(pause_ms(entry.tries, REFUSED_MAX_MS)));
        match entry.stage {
            Stage::Right(_) => self.set_wrong(name, soon, Some(now)),
            Stage::Wrong(at) if cause != Cause::Object => self.set_wrong(name, at.min(soon), None),
            Stage::Wrong(_) | Stage::Open(_) => {}
        }
    }

    /// The UID of an Ingress of ours whose status is not what it should be.
    fn wrong(&self, world: &World, name: &Name) -> Option<Box<str>> {
        let wanted = self.addresses.as_deref()?;
        let ingress = world.ingresses.get(name)?;
        let ours = class::is_ours(&mut Lookup::new(world), ingress);
        (ours && !says(&ingress.status, wanted)).then(|| ingress.meta.uid.clone())
    }

    fn unlist(&mut self, name: &Name) {
        match self.entries.get(name).map(|e| e.stage) {
            Some(Stage::Wrong(at)) => {
                self.queue.remove(&(at, name.clone()));
            }
            Some(Stage::Right(until)) => {
                self.calm.remove(&(until, name.clone()));
            }
            Some(Stage::Open(_)) | None => {}
        }
    }

    /// Puts an entry into the queue; `since` is when it began to be wrong, if it was right.
    fn set_wrong(&mut self, name: &Name, at: Time, since: Option<Time>) {
        self.unlist(name);
        if let Some(entry) = self.entries.get_mut(name) {
            entry.stage = Stage::Wrong(at);
            entry.since = since.unwrap_or(entry.since);
            self.queue.insert((at, name.clone()));
        }
    }

    fn set_right(&mut self, name: &Name, now: Time) {
        self.unlist(name);
        let Some(entry) = self.entries.get_mut(name) else { return };
        if let Stage::Right(until) = entry.stage {
            self.calm.insert((until, name.clone()));
            return;
        }
        if entry.tries == 0 {
            self.entries.remove(name);
            return;
        }
        let until = now.plus_ms(CALM_MS);
        entry.stage = Stage::Right(until);
        self.calm.insert((until, name.clone()));
    }

    /// The writes that may begin now.
    pub fn next(&mut self, world: &World, effective: bool, now: Time) -> Vec<(Name, Tell)> {
        while let Some((until, name)) = self.calm.first().cloned().filter(|(at, _)| *at <= now) {
            self.calm.remove(&(until, name.clone()));
            self.entries.remove(&name);
        }
        let mut tells = Vec::new();
        while self.pace.admits(now) {
            let Some((at, name)) = self.queue.first().cloned() else { break };
            if at > now || !self.is_in_force(&name, effective, now) {
                break;
            }
            self.queue.remove(&(at, name.clone()));
            let (Some(entry), Some(addresses)) = (self.entries.get_mut(&name), &self.addresses)
            else {
                continue;
            };
            if !world.ingresses.contains_key(&name) {
                self.entries.remove(&name);
                continue;
            }
            entry.stage = Stage::Open(self.version);
            entry.tries = entry.tries.saturating_add(1);
            entry.written_at = now;
            self.pace.begin();
            let (uid, addresses) = (entry.uid.clone(), addresses.to_vec());
            tells.push((name.clone(), Tell::Status { ingress: name, uid, addresses }));
        }
        tells
    }

    /// Whether what the Ingress asks for has taken effect, or had a second for it.
    fn is_in_force(&self, name: &Name, effective: bool, now: Time) -> bool {
        let since = self.entries.get(name).map_or(now, |entry| entry.since);
        effective || is_planted(Mistake::StatusFirst) || now >= since.plus_ms(EFFECT_MS)
    }

    /// When the next write may begin; `None` when an answer or an event must come first.
    pub fn wake_at(&self, effective: bool) -> Option<Time> {
        let admits_at = self.pace.admits_at()?;
        let (at, name) = self.queue.first()?;
        let since = self.entries.get(name).map_or(*at, |entry| entry.since);
        let in_force = if effective { since } else { since.plus_ms(EFFECT_MS) };
        Some((*at).max(in_force).max(admits_at))
    }

    /// Takes the outcome of a write in.
    pub fn take(&mut self, world: &World, name: &Name, outcome: &Outcome, now: Time) {
        self.pace.end(outcome, now);
        let Some(entry) = self.entries.get_mut(name) else { return };
        let Stage::Open(version) = entry.stage else { return };
        if version != self.version {
            entry.tries = 0;
        }
        let pause = match outcome {
            // Another object, or other addresses, since it was sent.
            _ if entry.tries == 0 => 0,
            Outcome::Done => CONFIRM_MS << (entry.tries - 1).min(3),
            Outcome::Unknown if is_planted(Mistake::LostStatusIsWritten) => CONFIRM_MS,
            Outcome::Refused(_) => pause_ms(entry.tries, REFUSED_MAX_MS),
            Outcome::Unknown => pause_ms(entry.tries, UNKNOWN_MAX_MS),
        };
        if self.wrong(world, name).is_some() {
            self.set_wrong(name, now.plus_ms(pause), None);
        } else {
            self.set_right(name, now);
        }
    }
}

/// Whether a status says these addresses, in any order.
fn says(status: &[Address], wanted: &[Address]) -> bool {
    if status == wanted {
        return true;
    }
    let status: BTreeSet<&Address> = status.iter().collect();
    status.into_iter().eq(wanted.iter())
}

/// What the status of ours should say, sorted; `None` while there is nothing to say.
fn addresses(world: &World, publish: &Publish) -> Option<Arc<[Address]>> {
    let all: BTreeSet<Address> = match publish {
        Publish::Nothing => return None,
        Publish::Addresses(addresses) => addresses.iter().cloned().collect(),
        Publish::Service(name) => world.services.get(name)?.addresses.iter().cloned().collect(),
        Publish::Nodes => {
            let ready = || world.nodes.values().filter(|node| node.ready);
            let external: BTreeSet<Address> =
                ready().flat_map(|node| &node.external).copied().map(Address::Ip).collect();
            if external.is_empty() {
                ready().flat_map(|node| &node.internal).copied().map(Address::Ip).collect()
            } else {
                external
            }
        }
    };
    (!all.is_empty()).then(|| all.into_iter().collect())
}
