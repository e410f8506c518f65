//! Absence is not deletion: what becomes of objects that a complete list does not have.
//!
//! Inputs: lists with the identity and the revision of their store. Outputs: deletions that are
//! believed, and holds: objects that are served on. A deletion told as such is always believed, and
//! is not judged here.
//!
//! Few absent objects are believed at once. Many are held for a while, and given up when a later
//! list of the same store says the same. When the store went back or was replaced (emptied,
//! restored from a backup), nothing is believed at once, however little it is, and every hold
//! begins anew: the store as it is now is the one that later lists are compared with. While anything
//! is held, its kind is listed again and again, which repairs a list that was partial.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

use super::extent::Extent;
use super::index::service_of;
use super::object::{EndpointSlice, Kind, Name, ObjectRef};
use super::{Fact, World};
use crate::event::Listing;
use crate::problem::{Problem, Reason, Severity};
use crate::sabotage::{Mistake, is_planted};
use crate::settings::Absence;
use crate::small::SmallSet;
use crate::time::Time;

/// Time between two lists of a kind of which something is held, in milliseconds.
const RELIST_MS: u64 = 60_000;

/// What lists did not have, and the stores they came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Absences {
    /// The store of the last list.
    stores: BTreeMap<Extent, Store>,
    /// Objects that are held; until when, `None` for until an operator says so.
    held: BTreeMap<ObjectRef, Option<Time>>,
    /// What is told, by kind, as of the last list.
    told: BTreeMap<Kind, Told>,
    /// When what is held is listed again.
    relist_at: Option<Time>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Store {
    cluster: Box<str>,
    revision: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Told {
    held: usize,
    known: usize,
    /// Whether the store went back or was replaced since the first of them was held.
    replaced: bool,
}

/// What is thought of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verdict {
    /// Whether the store is another one, or older than what was seen of it.
    went_back: bool,
    /// Whether what is newly absent is gone.
    is_believed: bool,
}

impl Absences {
    /// As after the lists of a process before this one; what is held is told by the next list.
    pub(super) fn remembered(
        stores: Vec<(Extent, Box<str>, u64)>,
        held: Vec<ObjectRef>,
        until: Option<Time>,
    ) -> Absences {
        let stores = stores
            .into_iter()
            .map(|(extent, cluster, revision)| (extent, Store { cluster, revision }))
            .collect();
        let held = held.into_iter().map(|object| (object, until)).collect();
        Absences { stores, held, told: BTreeMap::new(), relist_at: None }
    }

    /// The store of the last list of each extent: identity and revision.
    pub(super) fn stores(&self) -> Vec<(Extent, Box<str>, u64)> {
        let stores = self.stores.iter();
        stores.map(|(extent, s)| (extent.clone(), s.cluster.clone(), s.revision)).collect()
    }

    /// What is held.
    pub(super) fn held(&self) -> impl Iterator<Item = &ObjectRef> {
        self.held.keys()
    }

    /// Whether the store is another one, or older than what was seen of it.
    fn went_back(&self, extent: &Extent, listing: &Store, watched: u64) -> bool {
        let before = self.stores.get(extent);
        let replaced = before.is_some_and(|before| {
            let are_known = !before.cluster.is_empty() && !listing.cluster.is_empty();
            are_known && before.cluster != listing.cluster
        });
        let highest = before.map_or(0, |before| before.revision).max(watched);
        let went_back = replaced || (listing.revision != 0 && listing.revision < highest);
        went_back && !is_planted(Mistake::OlderIsBelieved)
    }

    fn judge(&self, extent: &Extent, listing: &Store, watched: u64, sizes: Sizes) -> Verdict {
        let Sizes { limits, absent, known } = sizes;
        let went_back = self.went_back(extent, listing, watched);
        let share_is_large = absent * 100 > usize::from(limits.percent_max) * known;
        let are_few = absent <= limits.count_max as usize || !share_is_large;
        // Without any identity, an empty list is as much as nothing.
        let is_blind = (listing.cluster.is_empty() || listing.revision == 0) && absent == known;
        Verdict { went_back, is_believed: !went_back && are_few && !is_blind }
    }

    /// Whether an object is held.
    pub(super) fn is_held(&self, kind: Kind, name: &Name) -> bool {
        !self.held.is_empty() && self.held.contains_key(&ObjectRef { kind, name: name.clone() })
    }

    /// Number of objects that are held, by kind.
    pub(crate) fn counts(&self) -> BTreeMap<Kind, usize> {
        let mut counts = BTreeMap::new();
        for object in self.held.keys() {
            *counts.entry(object.kind).or_insert(0) += 1;
        }
        counts
    }

    /// One Problem for each kind of which something is held.
    pub(crate) fn problems(&self, limits: &Absence) -> impl Iterator<Item = Problem> + '_ {
        let ends = limits.hold_ms > 0;
        self.told.iter().map(move |(kind, told)| {
            let Told { held, known, replaced } = told;
            let why = if *replaced { ", whose store went back or was replaced" } else { "" };
            let restore = if *replaced { "restore the API server's store; " } else { "" };
            let fix = match ends {
                true => format!(
                    "{restore}what comes back is served on; the rest is given up after a while \
                     (--absence-hold), or now with `tidegate accept-deletions`"
                ),
                false => format!(
                    "{restore}what comes back is served on; the rest is given up when an operator \
                     runs `tidegate accept-deletions`"
                ),
            };
            Problem {
                object: ObjectRef::new(*kind, "", "*"),
                field: "".into(),
                reason: Reason::DeletionsHeld,
                severity: Severity::Warning,
                what: format!(
                    "{held} of {known} objects of kind {} are absent from the list of the API \
                     server{why}",
                    kind.name()
                ),
                instead: "they are served as they were".to_string(),
                fix,
            }
        })
    }

    /// When what is held is listed again.
    pub(crate) fn relist_at(&self) -> Option<Time> {
        self.relist_at
    }
}

/// What a verdict depends on.
struct Sizes<'s> {
    limits: &'s Absence,
    absent: usize,
    known: usize,
}

impl World {
    /// Takes in a complete list from an API server; adds what changed to `changed`.
    pub fn list(&mut self, listing: Listing, now: Time, changed: &mut BTreeSet<Fact>) {
        let Listing { kind, namespace, name, cluster, revision, watched, objects } = listing;
        let extent = Extent { kind, namespace, name };
        let store = Store { cluster, revision };
        let mut absent = self.names(&extent);
        let known = absent.len();
        for object in &objects {
            absent.remove(&object.meta().name);
        }
        let settings = self.settings.clone();
        let limits = &settings.scope.absence;
        let sizes = Sizes { limits, absent: absent.len(), known };
        let verdict = self.absences.judge(&extent, &store, watched, sizes);
        let until = (limits.hold_ms > 0).then(|| now.plus_ms(limits.hold_ms));
        // What is absent first: an address that the list gives to another Service leaves it.
        for name in absent {
            let object = ObjectRef { kind, name };
            match self.absences.held.get(&object) {
                Some(_) if verdict.went_back => {
                    self.absences.held.insert(object, until);
                }
                Some(Some(until)) if *until <= now => self.delete(&object, changed),
                Some(_) => {}
                None if verdict.is_believed => self.delete(&object, changed),
                None => self.hold(object, until, &extent, changed),
            }
        }
        for object in objects.into_iter().filter(|object| extent.has(&object.object_ref())) {
            let name = object.object_ref();
            let is_read = kind == Kind::Secret && settings.scope.secrets_on_demand;
            if is_read && self.secrets.contains_key(&name.name) {
                // The list says that it is there. What is in it is told by who reads it, and may
                // have been told before this list, though the list is older.
                self.release_hold(&name, changed);
                continue;
            }
            self.upsert(object, changed);
        }
        self.absences.stores.insert(extent.clone(), store);
        self.unlisted.retain(|missing| !missing.is_within(&extent));
        self.tell_held(kind, known, verdict.went_back, now, changed);
    }

    fn tell_held(
        &mut self,
        kind: Kind,
        known: usize,
        went_back: bool,
        now: Time,
        changed: &mut BTreeSet<Fact>,
    ) {
        let held = self.absences.held.keys().filter(|object| object.kind == kind).count();
        let before = self.absences.told.get(&kind);
        let replaced = went_back || before.is_some_and(|told| told.replaced);
        let told = (held > 0).then_some(Told { held, known, replaced });
        if self.absences.told.get(&kind) != told.as_ref() {
            self.absences.told.remove(&kind);
            self.absences.told.extend(told.map(|told| (kind, told)));
            changed.insert(Fact::Source);
        }
        let next = self.absences.held.values().flatten().filter(|until| **until > now).min();
        let next = next.copied().unwrap_or(now.plus_ms(RELIST_MS)).min(now.plus_ms(RELIST_MS));
        self.absences.relist_at = (!self.absences.held.is_empty()).then_some(next);
    }

    /// The kinds that are to be listed again, if it is time.
    pub(crate) fn relists(&mut self, now: Time) -> BTreeSet<Kind> {
        if self.absences.relist_at.is_none_or(|at| at > now) {
            return BTreeSet::new();
        }
        self.absences.relist_at = Some(now.plus_ms(RELIST_MS));
        self.absences.held.keys().map(|object| object.kind).collect()
    }

    /// An operator says that what is held is gone.
    pub fn accept_deletions(&mut self, changed: &mut BTreeSet<Fact>) {
        let held: Vec<ObjectRef> = self.absences.held.keys().cloned().collect();
        for object in held {
            self.delete(&object, changed);
        }
    }

    /// Number of objects that lists did not have and that are still served, by kind.
    #[must_use]
    pub fn held(&self) -> BTreeMap<Kind, usize> {
        self.absences.counts()
    }

    fn hold(
        &mut self,
        object: ObjectRef,
        until: Option<Time>,
        extent: &Extent,
        changed: &mut BTreeSet<Fact>,
    ) {
        if object.kind == Kind::Ingress {
            changed.insert(Fact::Ingress(object.name.clone()));
        }
        if object.kind == Kind::EndpointSlice
            && let Some(slice) = self.slices.get(&object.name).cloned()
        {
            self.keep_address(&slice);
            if extent.namespace.is_some() {
                // Others were listed before this one was held.
                self.yield_to_other_namespaces(&slice, changed);
            }
        }
        self.absences.held.insert(object, until);
    }

    /// Ends the hold of an object that was told of or is gone.
    pub(super) fn release_hold(&mut self, object: &ObjectRef, changed: &mut BTreeSet<Fact>) {
        if self.absences.held.is_empty() || self.absences.held.remove(object).is_none() {
            return;
        }
        if object.kind == Kind::Ingress {
            changed.insert(Fact::Ingress(object.name.clone()));
        }
        let first = ObjectRef::new(object.kind, "", "");
        let next = self.absences.held.range(first..).next();
        if next.is_none_or(|(held, _)| held.kind != object.kind) {
            self.absences.told.remove(&object.kind);
            changed.insert(Fact::Source);
        }
        if object.kind == Kind::EndpointSlice
            && let Some(slice) = self.slices.get(&object.name)
        {
            for address in addresses(slice) {
                if let Some(names) = self.kept_addresses.get_mut(&address) {
                    names.remove(&object.name);
                }
            }
        }
        if self.absences.held.is_empty() {
            self.absences.relist_at = None;
            self.kept_addresses.clear();
        }
    }

    /// Notes the addresses of a held slice, which another Service may come to have.
    pub(super) fn keep_address(&mut self, slice: &EndpointSlice) {
        for address in addresses(slice) {
            let names = self.kept_addresses.entry(address).or_default();
            names.insert(slice.meta.name.clone());
        }
    }

    fn yield_to_other_namespaces(&mut self, held: &EndpointSlice, changed: &mut BTreeSet<Fact>) {
        let own = addresses(held);
        let foreign = |slice: &&Arc<EndpointSlice>| {
            slice.meta.name.namespace != held.meta.name.namespace
                && !self.absences.is_held(Kind::EndpointSlice, &slice.meta.name)
        };
        let claimed: BTreeSet<SocketAddr> = self
            .slices
            .values()
            .filter(foreign)
            .flat_map(|slice| addresses(slice))
            .filter(|address| own.contains(address))
            .collect();
        self.strip(&held.meta.name, &claimed, changed);
    }

    /// A slice has new addresses: held slices of other Services that have them lose them. The pod
    /// behind the address is another one now (S5).
    pub(super) fn claim_addresses(
        &mut self,
        new: &EndpointSlice,
        old: Option<&EndpointSlice>,
        changed: &mut BTreeSet<Fact>,
    ) {
        if self.kept_addresses.is_empty() {
            return;
        }
        let mut claimed = addresses(new);
        if let Some(old) = old.filter(|old| service_of(old) == service_of(new)) {
            for address in addresses(old) {
                claimed.remove(&address);
            }
        }
        let service = service_of(new);
        let mut losers: BTreeMap<Name, BTreeSet<SocketAddr>> = BTreeMap::new();
        for address in claimed {
            let names = self.kept_addresses.get(&address);
            for name in names.into_iter().flat_map(SmallSet::iter) {
                losers.entry(name.clone()).or_default().insert(address);
            }
        }
        for (name, lost) in losers {
            if self.slices.get(&name).is_some_and(|held| service_of(held) != service) {
                self.strip(&name, &lost, changed);
            }
        }
    }

    fn strip(&mut self, name: &Name, lost: &BTreeSet<SocketAddr>, changed: &mut BTreeSet<Fact>) {
        if lost.is_empty() {
            return;
        }
        let Some(slice) = self.slices.get_mut(name) else { return };
        let gone: BTreeSet<_> = lost.iter().map(SocketAddr::ip).collect();
        Arc::make_mut(slice).endpoints.retain(|endpoint| !gone.contains(&endpoint.address));
        changed.insert(Fact::Slices(service_of(slice)));
    }

    /// Notes anew what follows from the holds, after a checkpoint.
    pub(crate) fn restore_holds(&mut self, absences: Absences) {
        self.absences = absences;
        let held: Vec<Arc<EndpointSlice>> = self
            .absences
            .held
            .keys()
            .filter(|object| object.kind == Kind::EndpointSlice)
            .filter_map(|object| self.slices.get(&object.name).cloned())
            .collect();
        for slice in held {
            self.keep_address(&slice);
        }
    }
}

fn addresses(slice: &EndpointSlice) -> BTreeSet<SocketAddr> {
    let ports = || slice.ports.iter().filter_map(|port| port.port);
    let endpoints = slice.endpoints.iter();
    endpoints.flat_map(|e| ports().map(|port| SocketAddr::new(e.address, port))).collect()
}
