//! The World's indexes: which Ingresses speak of a host, which slices belong to a Service.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;

use super::host;
use super::object::{ConfigMap, EndpointSlice, Ingress, Name};
use crate::shard::{ShardKey, ShardMap};
use crate::small::SmallSet;

/// What an upsert did.
pub(super) enum Put<T> {
    Added,
    Replaced(Arc<T>),
    Same,
}

impl<T> Put<T> {
    pub(super) fn is_same(&self) -> bool {
        matches!(self, Put::Same)
    }
}

pub(super) fn put<T: PartialEq>(
    map: &mut ShardMap<Name, Arc<T>>,
    new: Arc<T>,
    name: impl Fn(&T) -> &Name,
) -> Put<T> {
    if let Some(old) = map.get_mut(name(&new)) {
        if **old == *new {
            return Put::Same;
        }
        return Put::Replaced(core::mem::replace(old, new));
    }
    map.insert(name(&new).clone(), new);
    Put::Added
}

/// What the ConfigMap says about routes and backends.
pub(super) fn defaults(
    config: Option<&Arc<ConfigMap>>,
) -> impl Iterator<Item = (&Box<str>, &Box<str>)> {
    let data = config.into_iter().flat_map(|config| &config.data);
    let annotations = config.into_iter().flat_map(|config| &config.meta.annotations);
    let pairs = data.chain(annotations.map(|(key, value)| (key, value)));
    pairs.filter(|(key, _)| !crate::annotations::is_static(key))
}

pub(super) fn service_of(slice: &EndpointSlice) -> Name {
    Name { namespace: slice.meta.name.namespace.clone(), name: slice.service.clone() }
}

/// Hosts whose routes an Ingress may take part in; unusable hosts are left to its own piece.
pub(super) fn hosts_of(ingress: &Ingress) -> BTreeSet<Arc<str>> {
    let mut hosts: BTreeSet<Arc<str>> =
        ingress.rules.iter().filter_map(|r| host::parse(&r.host).ok()).collect();
    if ingress.default_backend.is_some() {
        hosts.insert("".into());
    }
    hosts
}

/// Hosts for which an Ingress names a Secret.
pub(super) fn tls_hosts_of(ingress: &Ingress) -> BTreeSet<Arc<str>> {
    let mut hosts = BTreeSet::new();
    for tls in &ingress.tls {
        if tls.hosts.is_empty() {
            hosts.extend(ingress.rules.iter().filter_map(|r| host::parse(&r.host).ok()));
        }
        hosts.extend(tls.hosts.iter().filter_map(|h| host::parse(h).ok()));
    }
    hosts.remove("");
    hosts
}

pub(super) fn reindex(
    index: &mut ShardMap<Arc<str>, SmallSet<Name>>,
    name: &Name,
    old: &BTreeSet<Arc<str>>,
    new: &BTreeSet<Arc<str>>,
    mut changed: impl FnMut(Arc<str>),
) {
    for host in old.difference(new) {
        unindex(index, host, name);
        changed(host.clone());
    }
    for host in new.difference(old) {
        index.get_or_insert_with(host.clone(), SmallSet::default).insert(name.clone());
        changed(host.clone());
    }
}

pub(super) fn unindex<K: Ord + Clone + ShardKey>(
    index: &mut ShardMap<K, SmallSet<Name>>,
    key: &K,
    name: &Name,
) {
    if let Some(names) = index.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            index.remove(key);
        }
    }
}
