//! World: the latest objects. [`World::observe`] folds an event in and tells which facts changed;
//! projections read it only through [`lookup::Lookup`], which records what they read.

mod absence;
pub mod custom;
pub mod extent;
mod fact;
mod follow;
pub mod host;
mod index;
pub mod lookup;
pub mod memory;
pub mod named;
pub mod object;
mod snippets;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use crate::capability::Capabilities;
use crate::digest::Digest;
use crate::problem::Problem;
use crate::project::expiry::ages;
use crate::sabotage::{Mistake, is_planted};
use crate::settings::Settings;
use crate::shard::ShardMap;
use crate::small::SmallSet;
pub(crate) use absence::Absences;
use custom::Custom;
use extent::Extent;
pub use fact::Fact;
use follow::Follow;
pub(crate) use follow::{Asked, Kept};
use index::{Put, defaults, hosts_of, put, reindex, service_of, tls_hosts_of, unindex};
use named::Named;
use object::{
    ConfigMap, EndpointSlice, Ingress, IngressClass, Kind, Name, Namespace, Node, Object,
    ObjectRef, Secret, Service,
};
pub(crate) use snippets::KeptSnippets;
use snippets::Snippets;
pub use snippets::{InForce, Why};

/// The latest objects and what else projections depend on.
#[derive(Clone, Debug)]
pub struct World {
    /// Options; fixed for the life of a controller.
    pub(crate) settings: Arc<Settings>,
    /// What HAProxy can do; `None` until it was found.
    pub(crate) capabilities: Option<Arc<Capabilities>>,
    pub(crate) namespaces: ShardMap<Name, Arc<Namespace>>,
    pub(crate) config_map: Option<Arc<ConfigMap>>,
    /// ConfigMaps with a role, and what they amount to.
    pub(crate) named: Named,
    /// Snippets: what is written, judged and in force.
    pub(crate) snippets: Snippets,
    pub(crate) classes: ShardMap<Name, Arc<IngressClass>>,
    pub(crate) secrets: ShardMap<Name, Arc<Secret>>,
    pub(crate) services: ShardMap<Name, Arc<Service>>,
    pub(crate) slices: ShardMap<Name, Arc<EndpointSlice>>,
    pub(crate) ingresses: ShardMap<Name, Arc<Ingress>>,
    pub(crate) nodes: ShardMap<Name, Arc<Node>>,
    /// haproxytech's custom resources.
    pub(crate) customs: BTreeMap<ObjectRef, Arc<Custom>>,
    pub(crate) resolved: BTreeMap<Box<str>, Vec<IpAddr>>,
    pub(crate) quarantined: BTreeMap<ObjectRef, Box<str>>,
    /// Seconds since 1970, as last told; `None` before.
    pub(crate) date: Option<i64>,
    pub(crate) source_problems: Vec<Problem>,
    /// Of what the first complete list has not been seen yet.
    pub(crate) unlisted: BTreeSet<Extent>,
    /// Secrets on demand.
    pub(crate) follow: Follow,
    /// What lists did not have, and is served on.
    pub(crate) absences: Absences,
    /// Addresses of held slices.
    pub(crate) kept_addresses: BTreeMap<SocketAddr, SmallSet<Name>>,
    pub(crate) hosts: ShardMap<Arc<str>, SmallSet<Name>>,
    pub(crate) tls_hosts: ShardMap<Arc<str>, SmallSet<Name>>,
    pub(crate) slices_of: ShardMap<Name, SmallSet<Name>>,
}

impl World {
    /// An empty world.
    #[must_use]
    pub fn new(settings: Arc<Settings>) -> World {
        let unlisted = extent::expected(&settings);
        let named = Named::new(&settings);
        let mut world = World {
            settings,
            capabilities: None,
            namespaces: ShardMap::default(),
            config_map: None,
            named,
            snippets: Snippets::default(),
            classes: ShardMap::default(),
            secrets: ShardMap::default(),
            services: ShardMap::default(),
            slices: ShardMap::default(),
            ingresses: ShardMap::default(),
            nodes: ShardMap::default(),
            customs: BTreeMap::new(),
            resolved: BTreeMap::new(),
            quarantined: BTreeMap::new(),
            date: None,
            source_problems: Vec::new(),
            unlisted,
            follow: Follow::default(),
            absences: Absences::default(),
            kept_addresses: BTreeMap::new(),
            hosts: ShardMap::default(),
            tls_hosts: ShardMap::default(),
            slices_of: ShardMap::default(),
        };
        world.refer_default_certificate();
        world
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether a complete list of everything that is watched has been seen, and of Secrets on
    /// demand the first answers.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.is_listed() && self.is_answered()
    }

    /// Whether the first complete lists of all kinds have been seen.
    pub(crate) fn is_listed(&self) -> bool {
        let early = is_planted(Mistake::FirstTableEarly)
            && self.unlisted.iter().all(|missing| missing.kind == Kind::Ingress);
        self.unlisted.is_empty() || early
    }

    /// The kinds of which the first complete lists have not all been seen.
    #[must_use]
    pub fn awaited(&self) -> BTreeSet<Kind> {
        self.unlisted.iter().map(|extent| extent.kind).collect()
    }

    /// Number of objects of each kind.
    #[must_use]
    pub fn counts(&self) -> Vec<(Kind, usize)> {
        let mut counts = Vec::from([
            (Kind::Namespace, self.namespaces.len()),
            (Kind::ConfigMap, usize::from(self.config_map.is_some()) + self.named.len()),
            (Kind::IngressClass, self.classes.len()),
            (Kind::Secret, self.secrets.len()),
            (Kind::Service, self.services.len()),
            (Kind::EndpointSlice, self.slices.len()),
            (Kind::Ingress, self.ingresses.len()),
            (Kind::Node, self.nodes.len()),
        ]);
        counts.extend(Kind::customs().map(|kind| (kind, self.customs_of(kind).count())));
        counts
    }

    /// Number of objects of all kinds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts().iter().map(|(_, count)| count).sum()
    }

    /// Whether there are no objects.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The digests under which the vault has what the Secrets hold.
    pub fn secret_digests(&self) -> impl Iterator<Item = Digest> {
        self.secrets.values().flat_map(|secret| {
            let Secret { meta: _, certificate, authority, users } = &**secret;
            let certificate = certificate.iter().flatten().map(|facts| facts.digest);
            let authority = authority.iter().flatten().map(|facts| facts.digest);
            certificate.chain(authority).chain(users.iter().flatten().map(|facts| facts.digest))
        })
    }

    /// Takes notice of the date; the Secrets of which there is something else to say now have
    /// changed.
    pub fn read_date(&mut self, unix_s: i64, changed: &mut BTreeSet<Fact>) {
        let before = self.date.replace(unix_s);
        let news = self.secrets.iter().filter(|(_, secret)| {
            before.map(|date| ages(secret, date)) != Some(ages(secret, unix_s))
        });
        changed.extend(news.map(|(name, _)| Fact::Secret(name.clone())));
    }

    /// Every object, by kind and name.
    #[must_use]
    pub fn objects(&self) -> Vec<Object> {
        let mut all = Vec::with_capacity(self.len());
        all.extend(self.namespaces.values().cloned().map(Object::Namespace));
        all.extend(self.config_map.iter().cloned().map(Object::ConfigMap));
        all.extend(self.named.maps().cloned().map(Object::ConfigMap));
        all.extend(self.classes.values().cloned().map(Object::IngressClass));
        all.extend(self.secrets.values().cloned().map(Object::Secret));
        all.extend(self.services.values().cloned().map(Object::Service));
        all.extend(self.slices.values().cloned().map(Object::EndpointSlice));
        all.extend(self.ingresses.values().cloned().map(Object::Ingress));
        all.extend(self.nodes.values().cloned().map(Object::Node));
        all.extend(self.customs.values().cloned().map(Object::Custom));
        all
    }

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

    fn remove(&mut self, object: &ObjectRef, changed: &mut BTreeSet<Fact>) {
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
                    let none = BTreeSet::new();
                    reindex(&mut self.hosts, name, &hosts_of(&old), &none, |h| {
                        changed.insert(Fact::Host(h));
                    });
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
                self.upsert(object, changed);
            }
        }
        for name in gone {
            self.delete(&ObjectRef { kind: extent.kind, name }, changed);
        }
        self.unlisted.retain(|missing| !missing.is_within(&extent));
    }

    /// The names of what is known within an extent.
    fn names(&self, extent: &Extent) -> BTreeSet<Name> {
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

    /// Takes in what HAProxy can do.
    pub fn set_capabilities(&mut self, new: Capabilities, changed: &mut BTreeSet<Fact>) {
        if self.capabilities.as_deref() != Some(&new) {
            let is_other = self.capabilities.replace(Arc::new(new)).is_some();
            if is_other {
                self.forget_verdicts(changed);
            }
            changed.insert(Fact::Capabilities);
        }
    }

    /// Takes in the addresses of a DNS name.
    pub fn resolve(
        &mut self,
        name: Box<str>,
        addresses: Vec<IpAddr>,
        changed: &mut BTreeSet<Fact>,
    ) {
        if self.resolved.get(&name) != Some(&addresses) {
            changed.insert(Fact::Resolved(name.clone()));
            self.resolved.insert(name, addresses);
        }
    }

    /// Withholds an object until it changes.
    pub fn quarantine(&mut self, object: ObjectRef, why: Box<str>, changed: &mut BTreeSet<Fact>) {
        changed.insert(Fact::Quarantined(object.clone()));
        self.quarantined.insert(object, why);
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

    fn release_quarantine(&mut self, object: &ObjectRef, changed: &mut BTreeSet<Fact>) {
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
