//! Objects that come, change and go, and the facts that change by it.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::World;
use super::extent::Extent;
use super::fact::Fact;
use super::index::{Put, defaults, hosts_of, put, reindex, service_of, tls_hosts_of, unindex};
use super::object::*;
use crate::sabotage::{Mistake, is_planted};
use crate::small::SmallSet;

impl World {
    /// Takes in an object as the source tells it; adds what changed to `changed`. It may have to
    /// wait for Secrets.
    pub fn upsert(&mut self, object: Object, changed: &mut BTreeSet<Fact>) {
        let name = object.object_ref();
        if !self.answered(&name) {
            return;
        }
        self.release_hold(&name, changed);
        if let Some(object) = self.wait(object) {
            self.apply(object, changed);
        }
    }

    /// Puts an object in force; adds what changed to `changed`.
    pub(crate) fn apply(&mut self, object: Object, changed: &mut BTreeSet<Fact>) {
        let version = object.clone();
        let object_ref = object.object_ref();
        self.read_snippets(&object, changed);
        // A changed object gets a new chance; see `crate::quarantine`.
        let same = match object {
            Object::Namespace(new) => {
                let put = put(&mut self.namespaces, new, |o| &o.meta.name);
                if !put.is_same() {
                    changed.insert(Fact::Namespace(object_ref.name.name.clone()));
                }
                put.is_same()
            }
            Object::ConfigMap(new) if self.settings.config_map.as_ref() != Some(&new.meta.name) => {
                let old = self.named.get(&new.meta.name).cloned();
                let same = self.named.put(&self.settings, new.clone(), changed);
                if let (Some(old), false) = (old, same) {
                    self.release_entries(&old, Some(&new), changed);
                }
                same
            }
            Object::ConfigMap(new) => {
                let same = self.config_map.as_ref() == Some(&new);
                let old = self.config_map.replace(new);
                if !same {
                    changed.insert(Fact::ConfigMap);
                    if !defaults(old.as_ref()).eq(defaults(self.config_map.as_ref())) {
                        changed.insert(Fact::Defaults);
                    }
                }
                same
            }
            Object::IngressClass(new) => {
                let name = new.meta.name.name.clone();
                let put = put(&mut self.classes, new, |o| &o.meta.name);
                if !put.is_same() {
                    changed.insert(Fact::Class(name));
                    changed.insert(Fact::DefaultClass);
                }
                put.is_same()
            }
            Object::Secret(new) => {
                let put = put(&mut self.secrets, new, |o| &o.meta.name);
                if !put.is_same() {
                    changed.insert(Fact::Secret(object_ref.name.clone()));
                }
                put.is_same()
            }
            Object::Service(new) => {
                let put = put(&mut self.services, new, |o| &o.meta.name);
                if !put.is_same() {
                    changed.insert(Fact::Service(object_ref.name.clone()));
                }
                put.is_same()
            }
            Object::EndpointSlice(new) => self.upsert_slice(new, changed),
            Object::Ingress(new) => self.upsert_ingress(new, changed),
            Object::Node(new) => {
                let put = put(&mut self.nodes, new, |o| &o.meta.name);
                if !put.is_same() {
                    changed.insert(Fact::Nodes);
                }
                put.is_same()
            }
            Object::Custom(new) => self.put_custom(new, changed),
        };
        if !same {
            if self.named.get(&object_ref.name).is_some() && object_ref.kind == Kind::ConfigMap {
                self.reread_snippets(changed);
            }
            self.refer(&object_ref, Some(&version));
            self.release_quarantine(&object_ref, changed);
        }
    }

    fn upsert_slice(&mut self, new: Arc<EndpointSlice>, changed: &mut BTreeSet<Fact>) -> bool {
        let name = new.meta.name.clone();
        let service = service_of(&new);
        let put = put(&mut self.slices, new.clone(), |o| &o.meta.name);
        match &put {
            Put::Same => {}
            Put::Added => self.claim_addresses(&new, None, changed),
            Put::Replaced(old) => self.claim_addresses(&new, Some(old), changed),
        }
        match &put {
            Put::Same => return true,
            Put::Replaced(old) if service_of(old) == service => {}
            Put::Replaced(old) => {
                let old_service = service_of(old);
                unindex(&mut self.slices_of, &old_service, &name);
                changed.insert(Fact::Slices(old_service));
            }
            Put::Added => {}
        }
        self.slices_of.get_or_insert_with(service.clone(), SmallSet::default).insert(name);
        changed.insert(Fact::Slices(service));
        false
    }

    fn upsert_ingress(&mut self, new: Arc<Ingress>, changed: &mut BTreeSet<Fact>) -> bool {
        let name = new.meta.name.clone();
        if let Some(old) = self.ingresses.get_mut(&name).filter(|old| old.status != new.status) {
            changed.insert(Fact::Status(name.clone()));
            if old.is_same_but_for_status(&new) {
                *old = new;
                return true;
            }
        }
        let (hosts, tls_hosts) = (hosts_of(&new), tls_hosts_of(&new));
        let put = put(&mut self.ingresses, new, |o| &o.meta.name);
        let (old_hosts, old_tls) = match &put {
            Put::Same => return true,
            Put::Replaced(old) => (hosts_of(old), tls_hosts_of(old)),
            Put::Added => (BTreeSet::new(), BTreeSet::new()),
        };
        changed.insert(Fact::Ingress(name.clone()));
        reindex(&mut self.hosts, &name, &old_hosts, &hosts, |h| {
            changed.insert(Fact::Host(h));
        });
        reindex(&mut self.tls_hosts, &name, &old_tls, &tls_hosts, |h| {
            changed.insert(Fact::TlsHost(h));
        });
        false
    }

    /// Removes an object on positive evidence; adds what changed to `changed`.
    pub fn delete(&mut self, object: &ObjectRef, changed: &mut BTreeSet<Fact>) {
        self.answered(object);
        self.stop_waiting(object);
        self.release_hold(object, changed);
        self.remove(object, changed);
    }

    pub(super) fn remove(&mut self, object: &ObjectRef, changed: &mut BTreeSet<Fact>) {
        let name = &object.name;
        let existed = match object.kind {
            Kind::Namespace => {
                let existed = self.namespaces.remove(name).is_some();
                if existed {
                    changed.insert(Fact::Namespace(name.name.clone()));
                }
                existed
            }
            Kind::Node => {
                let existed = self.nodes.remove(name).is_some();
                if existed {
                    changed.insert(Fact::Nodes);
                }
                existed
            }
            Kind::Custom(..) => self.remove_custom(object, changed),
            Kind::ConfigMap => {
                let ours = self.config_map.as_ref().is_some_and(|c| c.meta.name == *name);
                if ours {
                    self.config_map = None;
                    changed.extend([Fact::ConfigMap, Fact::Defaults]);
                }
                if let Some(old) = self.named.get(name).cloned() {
                    self.release_entries(&old, None, changed);
                }
                ours | self.named.remove(&self.settings, name, changed)
            }
            Kind::IngressClass => {
                let existed = self.classes.remove(name).is_some();
                if existed {
                    changed.insert(Fact::Class(name.name.clone()));
                    changed.insert(Fact::DefaultClass);
                }
                existed
            }
            Kind::Secret => {
                let existed = self.secrets.remove(name).is_some();
                if existed {
                    changed.insert(Fact::Secret(name.clone()));
                }
                existed
            }
            Kind::Service => {
                let existed = self.services.remove(name).is_some();
                if existed {
                    changed.insert(Fact::Service(name.clone()));
                }
                existed
            }
            Kind::EndpointSlice => match self.slices.remove(name) {
                Some(old) => {
                    let service = service_of(&old);
                    unindex(&mut self.slices_of, &service, name);
                    if is_planted(Mistake::OneSliceIsAll) {
                        self.slices_of.remove(&service);
                    }
                    changed.insert(Fact::Slices(service));
                    true
                }
                None => false,
            },
            Kind::Ingress => match self.ingresses.remove(name) {
                Some(old) => {
                    changed.insert(Fact::Ingress(name.clone()));
                    let (hosts, none) = (hosts_of(&old), BTreeSet::new());
                    reindex(&mut self.hosts, name, &hosts, &none, |h| {
                        changed.insert(Fact::Host(h));
                    });
                    if is_planted(Mistake::OneIngressIsAll) {
                        hosts.iter().for_each(|host| drop(self.hosts.remove(host)));
                    }
                    reindex(&mut self.tls_hosts, name, &tls_hosts_of(&old), &none, |h| {
                        changed.insert(Fact::TlsHost(h));
                    });
                    true
                }
                None => false,
            },
        };
        if existed {
            if object.kind == Kind::ConfigMap {
                self.reread_snippets(changed);
            }
            self.forget_snippets(object, changed);
            self.refer(object, None);
            self.release_quarantine(object, changed);
        }
    }

    /// Takes in a complete list of one kind from a source that is believed: what is not in it is
    /// gone.
    pub fn relist(&mut self, kind: Kind, objects: Vec<Object>, changed: &mut BTreeSet<Fact>) {
        let extent = Extent { kind, namespace: None, name: None };
        let mut gone = self.names(&extent);
        for object in objects {
            if extent.has(&object.object_ref()) {
                gone.remove(&object.meta().name);
                let only_more = is_planted(Mistake::AdditionsOnly);
                let object = if only_more { self.with_former(object) } else { object };
                self.upsert(object, changed);
            }
        }
        for name in gone {
            self.delete(&ObjectRef { kind: extent.kind, name }, changed);
        }
        self.unlisted.retain(|missing| !missing.is_within(&extent));
    }

    /// A slice with the endpoints that it had before, too: a planted mistake.
    fn with_former(&self, object: Object) -> Object {
        let Object::EndpointSlice(new) = &object else { return object };
        let Some(old) = self.slices.get(&new.meta.name) else { return object };
        let mut both = EndpointSlice::clone(new);
        let is_gone = |was: &&Endpoint| new.endpoints.iter().all(|e| e.address != was.address);
        both.endpoints.extend(old.endpoints.iter().filter(is_gone));
        Object::EndpointSlice(Arc::new(both))
    }

    /// The names of what is known within an extent.
    pub(super) fn names(&self, extent: &Extent) -> BTreeSet<Name> {
        let mut names: BTreeSet<Name> = match extent.kind {
            Kind::Namespace => self.namespaces.keys().cloned().collect(),
            Kind::ConfigMap => {
                let own = self.config_map.iter().map(|own| own.meta.name.clone());
                own.chain(self.named.names().cloned()).collect()
            }
            Kind::IngressClass => self.classes.keys().cloned().collect(),
            Kind::Secret => self.secrets.keys().cloned().collect(),
            Kind::Service => self.services.keys().cloned().collect(),
            Kind::EndpointSlice => self.slices.keys().cloned().collect(),
            Kind::Ingress => self.ingresses.keys().cloned().collect(),
            Kind::Node => self.nodes.keys().cloned().collect(),
            Kind::Custom(..) => self.customs_of(extent.kind).cloned().collect(),
        };
        names.extend(self.follow.waiting(extent.kind).cloned());
        names.retain(|name| extent.has_name(name));
        names
    }

    /// Gives the changed entries of a ConfigMap a new chance: see `project::tcp::one_port`.
    fn release_entries(
        &mut self,
        old: &ConfigMap,
        new: Option<&ConfigMap>,
        changed: &mut BTreeSet<Fact>,
    ) {
        let is_same = |key: &_, value| new.is_some_and(|new| new.data.get(key) == Some(value));
        let differing = old.data.iter().filter(|(key, value)| !is_same(*key, *value));
        for port in differing.filter_map(|(key, _)| key.parse().ok()) {
            let entry = crate::project::tcp::one_port(&self.settings, port);
            self.release_quarantine(&entry, changed);
        }
    }

    pub(super) fn release_quarantine(&mut self, object: &ObjectRef, changed: &mut BTreeSet<Fact>) {
        if self.quarantined.remove(object).is_some() {
            changed.insert(Fact::Quarantined(object.clone()));
        }
        if object.kind == Kind::ConfigMap {
            // Its keys too; see `crate::project::global::part`.
            let parts = self.quarantined.keys().filter(|part| {
                part.kind == Kind::ConfigMap
                    && part.name.namespace == object.name.namespace
                    && part
                        .name
                        .name
                        .strip_prefix(&*object.name.name)
                        .is_some_and(|key| key.starts_with('/'))
            });
            for part in parts.cloned().collect::<Vec<_>>() {
                self.quarantined.remove(&part);
                changed.insert(Fact::Quarantined(part));
            }
        }
    }
}
