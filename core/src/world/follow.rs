//! Secrets on demand: which are referred to, which are asked for, and the waiting room of objects
//! that refer to some that have not been answered yet.
//!
//! Inputs: objects as they come and go, answers. Outputs: what to follow and what no longer; when a
//! wait ends. References are found without any projection, so that a new version of an object can
//! wait while the old one stays in force. Not here: reading Secrets.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::object::{Ingress, Kind, Meta, Name, Object, ObjectRef};
use super::{Fact, World};
use crate::annotations::Registry;
use crate::annotations::resolve::Source;
use crate::annotations::secrets::{can_exist, named};
use crate::project::class;
use crate::time::Time;
use crate::world::lookup::Lookup;

/// How long an answer is waited for, in milliseconds. After that, what refers to it is let in, and
/// fails closed. Answers to others asked for at the same time prolong it.
const PATIENCE_MS: u64 = 2_000;

/// What each Secret asked for at the same time may prolong the wait by, in milliseconds.
const EACH_MS: u64 = 10;

/// The Secrets that are referred to, and what waits for them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Follow {
    /// What each object in force refers to.
    of: BTreeMap<ObjectRef, Vec<Name>>,
    /// New versions that wait, with what they refer to.
    waiting: BTreeMap<ObjectRef, (Object, Vec<Name>)>,
    /// How often each Secret is referred to.
    count: BTreeMap<Name, u32>,
    /// Referred to, and not asked for.
    unasked: BTreeSet<Name>,
    /// Asked for, and no longer referred to.
    idle: BTreeSet<Name>,
    /// Asked for and not answered, until when each is waited for.
    open: BTreeMap<Name, Patience>,
    /// Answers to open questions since the last step.
    answers: u32,
    /// Which Ingresses are ours may have changed.
    stale: bool,
    /// The first answers are there: a first table can be rendered.
    is_begun: bool,
}

/// How long one answer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Patience {
    /// Until then, unless others are answered.
    until: Time,
    /// Until then in any case.
    at_most: Time,
}

/// What a checkpoint keeps; the rest is a function of the objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    waiting: Vec<Object>,
    open: BTreeMap<Name, Patience>,
    is_begun: bool,
}

/// What the adapter is to be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Secrets to follow.
    pub add: Vec<Name>,
    /// Secrets not to follow any more.
    pub drop: Vec<Name>,
}

impl Follow {
    fn is_settled(&self, name: &Name) -> bool {
        self.count.contains_key(name)
            && !self.unasked.contains(name)
            && !self.open.contains_key(name)
    }

    fn add(&mut self, names: &[Name]) {
        for name in names {
            let count = self.count.entry(name.clone()).or_insert(0);
            *count += 1;
            // What is idle was asked for, and still is followed.
            if *count == 1 && !self.idle.remove(name) {
                self.unasked.insert(name.clone());
            }
        }
    }

    fn remove(&mut self, names: &[Name]) {
        for name in names {
            let Some(count) = self.count.get_mut(name) else { continue };
            *count -= 1;
            if *count == 0 {
                self.count.remove(name);
                if !self.unasked.remove(name) {
                    self.idle.insert(name.clone());
                }
            }
        }
    }

    fn replace(&mut self, object: &ObjectRef, names: Vec<Name>) {
        self.add(&names);
        let old = if names.is_empty() {
            self.of.remove(object)
        } else {
            self.of.insert(object.clone(), names)
        };
        self.remove(&old.unwrap_or_default());
    }

    fn leave_waiting(&mut self, object: &ObjectRef) -> Option<Object> {
        let (object, names) = self.waiting.remove(object)?;
        self.remove(&names);
        Some(object)
    }

    /// The names of objects of a kind that wait.
    pub(super) fn waiting(&self, kind: Kind) -> impl Iterator<Item = &Name> {
        self.waiting.keys().filter(move |object| object.kind == kind).map(|object| &object.name)
    }

    /// Feeds what decides what comes next.
    pub(crate) fn fingerprint(&self, now: Time, hasher: &mut impl core::hash::Hasher) {
        use core::hash::Hash;
        self.is_begun.hash(hasher);
        for object in self.waiting.keys() {
            object.hash(hasher);
        }
        for (name, Patience { until, at_most }) in &self.open {
            (name, until.since_ms(now), at_most.since_ms(now)).hash(hasher);
        }
    }
}

impl World {
    fn is_on_demand(&self) -> bool {
        self.settings.scope.secrets_on_demand
    }

    /// Whether the first answers are there, where Secrets are asked for.
    pub(super) fn is_answered(&self) -> bool {
        !self.is_on_demand() || self.follow.is_begun
    }

    /// Whether a Secret is followed or arrives by itself.
    #[must_use]
    pub fn is_followed(&self, secret: &Name) -> bool {
        !self.is_on_demand() || self.follow.count.contains_key(secret) || !can_exist(secret)
    }

    /// Takes in that a Secret was answered. Whether anybody wants to know.
    pub(super) fn answered(&mut self, object: &ObjectRef) -> bool {
        if !self.is_on_demand() || object.kind != Kind::Secret {
            return true;
        }
        if self.follow.open.remove(&object.name).is_some() {
            self.follow.answers += 1;
        }
        self.follow.count.contains_key(&object.name) && !self.follow.unasked.contains(&object.name)
    }

    /// Puts a new version aside if it refers to a Secret that is not answered. Gives it back if not.
    pub(super) fn wait(&mut self, object: Object) -> Option<Object> {
        if !self.is_on_demand() {
            return Some(object);
        }
        let name = object.object_ref();
        self.follow.leave_waiting(&name);
        if !self.follow.is_begun {
            return Some(object);
        }
        let names = self.references(&object);
        if names.iter().all(|secret| self.follow.is_settled(secret)) {
            return Some(object);
        }
        self.follow.add(&names);
        self.follow.waiting.insert(name, (object, names));
        None
    }

    /// Forgets a new version that waits.
    pub(super) fn stop_waiting(&mut self, object: &ObjectRef) {
        self.follow.leave_waiting(object);
    }

    /// Takes in that an object is now in force in this version, or not at all.
    pub(super) fn refer(&mut self, object: &ObjectRef, version: Option<&Object>) {
        if !self.is_on_demand() {
            return;
        }
        match object.kind {
            Kind::Ingress | Kind::Service | Kind::ConfigMap => {
                let names = version.map(|object| self.static_references(object));
                self.follow.replace(object, names.unwrap_or_default());
            }
            Kind::IngressClass => self.follow.stale = true,
            Kind::Namespace if !self.settings.scope.namespace_labels.is_empty() => {
                self.follow.stale = true;
            }
            // A custom resource names no Secret: the table has no line for that.
            Kind::Namespace
            | Kind::Secret
            | Kind::EndpointSlice
            | Kind::Node
            | Kind::Custom(..) => {}
        }
    }

    /// What an object would refer to: of classes and Namespaces, what Ingresses refer to that would
    /// become ours.
    fn references(&self, object: &Object) -> Vec<Name> {
        let is_class = match object {
            Object::IngressClass(_) => true,
            Object::Namespace(_) => !self.settings.scope.namespace_labels.is_empty(),
            _ => false,
        };
        if !is_class {
            return self.static_references(object);
        }
        let mut trial = self.clone();
        trial.apply(object.clone(), &mut BTreeSet::new());
        let theirs = |ingress: &&alloc::sync::Arc<Ingress>| !self.is_ours(ingress);
        let names: BTreeSet<Name> = self
            .ingresses
            .values()
            .filter(theirs)
            .flat_map(|ingress| trial.static_references(&Object::Ingress(ingress.clone())))
            .collect();
        names.into_iter().collect()
    }

    fn is_ours(&self, ingress: &Ingress) -> bool {
        class::is_ours(&mut Lookup::new(self), ingress)
    }

    fn static_references(&self, object: &Object) -> Vec<Name> {
        let keys = |source: Source<'_>, meta: &Meta, operator: bool| {
            // Most objects have no keys at all.
            let none = !operator && meta.annotations.is_empty();
            if none { Vec::new() } else { named(&Registry::new(), &source, &meta.name, operator) }
        };
        let mut names = match object {
            Object::Ingress(ingress) if self.is_ours(ingress) => {
                let meta = &ingress.meta;
                let mut names = keys(Source::Ingress(meta), meta, false);
                let secrets = ingress.tls.iter().filter_map(|tls| tls.secret.clone());
                names.extend(
                    secrets.map(|name| Name { namespace: meta.name.namespace.clone(), name }),
                );
                names
            }
            Object::Service(service) => keys(Source::Service(&service.meta), &service.meta, false),
            Object::ConfigMap(map) if self.settings.config_map.as_ref() == Some(&map.meta.name) => {
                keys(Source::ConfigMap(map), &map.meta, true)
            }
            _ => Vec::new(),
        };
        names.retain(can_exist);
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Lets in what needs no longer wait; says what to ask. At the end of the events of a step.
    pub(crate) fn settle_secrets(&mut self, now: Time, changed: &mut BTreeSet<Fact>) -> Asked {
        let mut asked = Asked::default();
        if !self.is_on_demand() || !self.is_listed() {
            return asked;
        }
        if !self.follow.is_begun && self.follow.open.is_empty() {
            self.forget_secrets(changed);
        }
        if core::mem::take(&mut self.follow.answers) > 0 {
            for Patience { until, at_most } in self.follow.open.values_mut() {
                *until = now.plus_ms(PATIENCE_MS).min(*at_most);
            }
        }
        self.follow.open.retain(|_, patience| patience.until > now);
        loop {
            if core::mem::take(&mut self.follow.stale) {
                self.refer_anew();
            }
            let mut ready = Vec::new();
            for (object, (_, names)) in &self.follow.waiting {
                if names.iter().all(|name| self.follow.is_settled(name)) {
                    ready.push(object.clone());
                }
            }
            if ready.is_empty() {
                break;
            }
            for object in ready {
                let Some((object, names)) = self.follow.waiting.remove(&object) else { continue };
                self.apply(object, changed);
                self.follow.remove(&names);
            }
        }
        for name in core::mem::take(&mut self.follow.idle) {
            self.follow.open.remove(&name);
            let secret = ObjectRef { kind: Kind::Secret, name };
            self.remove(&secret, changed);
            asked.drop.push(secret.name);
        }
        asked.add = core::mem::take(&mut self.follow.unasked).into_iter().collect();
        let until = now.plus_ms(PATIENCE_MS);
        let at_most = until.plus_ms(EACH_MS.saturating_mul(asked.add.len() as u64));
        for name in &asked.add {
            self.follow.open.insert(name.clone(), Patience { until, at_most });
        }
        self.follow.is_begun |= self.follow.open.is_empty();
        asked
    }

    /// Finds all references of Ingresses anew, and of what waits.
    fn refer_anew(&mut self) {
        let ingresses: Vec<Object> =
            self.ingresses.values().cloned().map(Object::Ingress).collect();
        for object in ingresses {
            let names = self.static_references(&object);
            self.follow.replace(&object.object_ref(), names);
        }
        let waiting = self.follow.waiting.keys().cloned().collect::<Vec<_>>();
        for name in waiting {
            let Some((object, old)) = self.follow.waiting.remove(&name) else { continue };
            let names = self.references(&object);
            self.follow.add(&names);
            self.follow.remove(&old);
            self.follow.waiting.insert(name, (object, names));
        }
    }

    /// When a wait ends even without an answer.
    pub(crate) fn patience_ends(&self) -> Option<Time> {
        self.follow.open.values().map(|patience| patience.until).min()
    }

    /// What a checkpoint keeps.
    pub(crate) fn kept_secrets(&self) -> Kept {
        let Follow { waiting, open, is_begun, .. } = &self.follow;
        let waiting = waiting.values().map(|(object, _)| object.clone()).collect();
        Kept { waiting, open: open.clone(), is_begun: *is_begun }
    }

    /// Goes on from a checkpoint, once the objects in force are there.
    pub(crate) fn restore_secrets(&mut self, kept: Kept) {
        let Kept { waiting, open, is_begun } = kept;
        self.follow.is_begun = is_begun;
        for object in waiting {
            let names = self.references(&object);
            self.follow.add(&names);
            self.follow.waiting.insert(object.object_ref(), (object, names));
        }
        if core::mem::take(&mut self.follow.stale) {
            self.refer_anew();
        }
        self.follow.open = open;
        if self.is_listed() {
            // They were asked for before.
            self.follow.unasked.clear();
            self.follow.idle.clear();
        }
    }

    /// The default certificate is referred to from the beginning.
    pub(super) fn refer_default_certificate(&mut self) {
        if self.is_on_demand() {
            let name: Vec<Name> = self.settings.default_certificate.iter().cloned().collect();
            self.follow.add(&name);
        }
    }
}
