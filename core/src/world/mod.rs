//! World: the latest objects. [`World::observe`] folds an event in and tells which facts changed;
//! projections read it only through [`lookup::Lookup`], which records what they read.

mod absence;
mod apply;
pub mod custom;
pub mod extent;
mod fact;
mod follow;
pub mod host;
mod index;
pub mod ingress;
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
        self.unlisted.is_empty() || early || is_planted(Mistake::ActsUnlisted)
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
}
