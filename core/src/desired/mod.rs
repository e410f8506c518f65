//! Desired: the proxy configuration we want, as typed data.
//!
//! Projections contribute entries ([`Contribution`]); an entry lives while somebody contributes
//! it. What changes is remembered as dirty keys, so the planner looks at those only.

pub mod backend;
pub mod clients;
pub mod image;
pub mod skeleton;
pub mod table;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::action::MapId;
use crate::digest::Digest;
use crate::render::crt_list;
use crate::time::Time;
pub use backend::{Backend, BackendSpec};
pub use clients::{ClientCheck, HostClients};
pub use image::{Image, Owned};
pub use skeleton::Skeleton;
pub use table::Table;

/// One thing a projection wants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contribution {
    /// A map entry. Several may contribute the same entry; nobody contributes the same key with
    /// another value, as shared keys are content addresses.
    Map(MapId, Arc<str>, Arc<str>),
    /// A backend with its servers.
    Backend(Arc<Backend>),
    /// A certificate presented for a host.
    Certificate(Digest, Arc<str>),
    /// A file named by server keywords or by lines of the crt-list.
    File(ServerFile),
    /// A header name that occurs as data; static rules need it where HAProxy takes no names as
    /// data.
    HeaderName(Arc<str>),
    /// The content of the default certificate; none means the self-signed one.
    DefaultCertificate(Digest),
    /// A DNS name to keep resolved.
    ResolveName(Box<str>),
    /// A certificate presented for a host, whose clients are asked for certificates of their own.
    CheckedCertificate(Digest, ClientCheck, Arc<str>),
}

/// A file named by server keywords. Its name is its content address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerFile {
    /// `ca-file`
    Authority(Digest),
    /// `crt`
    ClientCertificate(Digest),
}

impl ServerFile {
    /// Its name within a generation, which is also its identifier on the runtime socket.
    #[must_use]
    pub fn file(&self) -> Arc<str> {
        match self {
            ServerFile::Authority(digest) => alloc::format!("ca/{}.pem", digest.hex()).into(),
            ServerFile::ClientCertificate(digest) => {
                alloc::format!("certs/client-{}.pem", digest.hex()).into()
            }
        }
    }
}

/// What may differ between wanted and running.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// The static part.
    Skeleton,
    /// The content of the default certificate.
    DefaultCertificate,
    /// A file named by server keywords.
    File(Arc<str>),
    /// A certificate and its crt-list lines ([`crate::render::crt_list::key`]).
    Certificate(Arc<str>),
    /// A backend and its servers.
    Backend(Arc<str>),
    /// A map entry.
    Map(MapId, Arc<str>),
}

/// The wanted image and what changed in it since the planner last settled it.
#[derive(Clone, Debug)]
pub struct Desired {
    image: Image,
    dirty: BTreeSet<Key>,
    /// Keys with nothing to do before a time, so that planning does not look at them till then.
    parked: BTreeMap<Key, Time>,
    parked_until: BTreeSet<(Time, Key)>,
    header_names: BTreeMap<Arc<str>, u32>,
    default_certificates: BTreeMap<Digest, u32>,
    checked_servers: u64,
    servers: u64,
    client_checks: BTreeMap<ClientCheck, u32>,
    resolve_names: BTreeMap<Box<str>, u32>,
    names_changed: bool,
}

impl Desired {
    /// An empty image over a skeleton.
    #[must_use]
    pub fn new(skeleton: Arc<Skeleton>) -> Desired {
        Desired {
            image: Image::new(skeleton),
            dirty: BTreeSet::from([Key::Skeleton]),
            parked: BTreeMap::new(),
            parked_until: BTreeSet::new(),
            header_names: BTreeMap::new(),
            default_certificates: BTreeMap::new(),
            checked_servers: 0,
            servers: 0,
            client_checks: BTreeMap::new(),
            resolve_names: BTreeMap::new(),
            names_changed: false,
        }
    }

    /// The image.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Keys that may differ from what runs and are not parked.
    #[must_use]
    pub fn dirty(&self) -> &BTreeSet<Key> {
        &self.dirty
    }

    /// Whether nothing differs from what runs, as far as is known.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.dirty.is_empty() && self.parked.is_empty()
    }

    /// Everything that differs from what runs as far as is known, also what is set aside.
    pub(crate) fn all_open(&self) -> BTreeSet<Key> {
        self.dirty.iter().chain(self.parked.keys()).cloned().collect()
    }

    /// Sets a key aside until a time, or until it is marked again.
    pub fn park(&mut self, key: Key, until: Time) {
        self.dirty.remove(&key);
        self.unpark(&key);
        self.parked_until.insert((until, key.clone()));
        self.parked.insert(key, until);
    }

    /// Marks the keys whose time has come; returns the earliest time that has not.
    pub fn wake(&mut self, now: Time) -> Option<Time> {
        while let Some((until, key)) = self.parked_until.first().cloned() {
            if until > now {
                return Some(until);
            }
            self.mark(key);
        }
        None
    }

    /// Marks every parked key: what they waited for may have changed altogether.
    pub fn wake_all(&mut self) {
        let keys: Vec<Key> = self.parked.keys().cloned().collect();
        for key in keys {
            self.mark(key);
        }
    }

    /// Parked entries of the route map.
    pub fn parked_routes(&self) -> impl Iterator<Item = &Arc<str>> {
        let routes = Key::Map(MapId::Route, "".into())..Key::Map(MapId::Policy, "".into());
        self.parked.range(routes).filter_map(|(key, _)| match key {
            Key::Map(MapId::Route, route) => Some(route),
            _ => None,
        })
    }

    fn unpark(&mut self, key: &Key) {
        if let Some(until) = self.parked.remove(key) {
            self.parked_until.remove(&(until, key.clone()));
        }
    }

    /// Servers that are to be checked actively: each costs HAProxy a descriptor.
    #[must_use]
    pub fn checked_servers(&self) -> u64 {
        self.checked_servers
    }

    /// Servers of all backends.
    #[must_use]
    pub fn servers(&self) -> u64 {
        self.servers
    }

    /// What clients are held to, for any host.
    pub fn client_checks(&self) -> impl Iterator<Item = &ClientCheck> {
        self.client_checks.keys()
    }

    /// Header names in use.
    pub fn header_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.header_names.keys()
    }

    /// Names to keep resolved, if the set changed since the last call.
    pub fn take_resolve_names(&mut self) -> Option<BTreeSet<Box<str>>> {
        core::mem::take(&mut self.names_changed)
            .then(|| self.resolve_names.keys().cloned().collect())
    }

    /// Keys set aside, with the time until when.
    pub(crate) fn parked(&self) -> &BTreeMap<Key, Time> {
        &self.parked
    }

    /// Marks a key as settled: running equals wanted.
    pub fn settle(&mut self, key: &Key) {
        self.dirty.remove(key);
    }

    /// Marks a key as possibly different.
    pub fn mark(&mut self, key: Key) {
        self.unpark(&key);
        self.dirty.insert(key);
    }

    /// Replaces the static part; returns whether it changed.
    pub fn set_skeleton(&mut self, skeleton: Arc<Skeleton>) -> bool {
        if self.image.skeleton == skeleton {
            return false;
        }
        self.image.skeleton = skeleton;
        self.touch(Key::Skeleton);
        true
    }

    fn touch(&mut self, key: Key) {
        self.image.version += 1;
        self.mark(key);
    }

    /// Replaces what one projection contributed. Both slices are sorted and free of duplicates.
    pub fn replace(&mut self, old: &[Contribution], new: &[Contribution]) {
        // Acquire first, so that an entry in both is never seen without an owner.
        for_difference(new, old, |c| self.acquire(c));
        for_difference(old, new, |c| self.release(c));
    }

    fn acquire(&mut self, contribution: &Contribution) {
        match contribution {
            Contribution::Map(map, key, value) => {
                match self.image.map_mut(*map).get_mut(key) {
                    Some(entry) if entry.value == *value => entry.owners += 1,
                    Some(entry) => {
                        // The same projection gives the key another value; its claim on the old
                        // one is released by `release`, which then finds the value changed.
                        entry.value = value.clone();
                        self.touch(Key::Map(*map, key.clone()));
                    }
                    None => {
                        let entry = Owned { value: value.clone(), owners: 1 };
                        self.image.map_mut(*map).insert(key.clone(), entry);
                        self.touch(Key::Map(*map, key.clone()));
                    }
                }
            }
            Contribution::Backend(backend) => {
                let old = self.image.backends.insert(backend.name.clone(), backend.clone());
                self.checked_servers += checked(backend);
                self.servers += backend.servers.len() as u64;
                self.image.snippets += usize::from(backend.spec.snippet.is_some());
                if let Some(old) = old {
                    self.image.snippets -= usize::from(old.spec.snippet.is_some());
                    self.checked_servers -= checked(&old);
                    self.servers -= old.servers.len() as u64;
                }
                self.touch(Key::Backend(backend.name.clone()));
            }
            Contribution::Certificate(digest, host) => {
                self.present(crt_list::key(digest, None), host);
            }
            Contribution::CheckedCertificate(digest, check, host) => {
                *self.client_checks.entry(*check).or_insert(0) += 1;
                self.present(crt_list::key(digest, Some(check)), host);
            }
            Contribution::File(file) => {
                let name = file.file();
                let entry = self
                    .image
                    .files
                    .entry(name.clone())
                    .or_insert(Owned { value: *file, owners: 0 });
                entry.owners += 1;
                if entry.owners == 1 {
                    self.touch(Key::File(name));
                }
            }
            Contribution::HeaderName(name) => {
                *self.header_names.entry(name.clone()).or_insert(0) += 1;
            }
            Contribution::DefaultCertificate(digest) => {
                *self.default_certificates.entry(*digest).or_insert(0) += 1;
                self.choose_default_certificate();
            }
            Contribution::ResolveName(name) => {
                let owners = self.resolve_names.entry(name.clone()).or_insert(0);
                *owners += 1;
                self.names_changed |= *owners == 1;
            }
        }
    }

    fn release(&mut self, contribution: &Contribution) {
        match contribution {
            Contribution::Map(map, key, value) => {
                let Some(entry) = self.image.map_mut(*map).get_mut(key) else { return };
                if entry.value != *value {
                    return;
                }
                entry.owners -= 1;
                if entry.owners == 0 {
                    self.image.map_mut(*map).remove(key);
                    self.touch(Key::Map(*map, key.clone()));
                }
            }
            Contribution::Backend(backend) => {
                let current = self.image.backends.get(&backend.name);
                if current.is_some_and(|b| Arc::ptr_eq(b, backend) || **b == **backend) {
                    self.image.backends.remove(&backend.name);
                    self.image.snippets -= usize::from(backend.spec.snippet.is_some());
                    self.checked_servers -= checked(backend);
                    self.servers -= backend.servers.len() as u64;
                    self.touch(Key::Backend(backend.name.clone()));
                }
            }
            Contribution::Certificate(digest, host) => {
                self.withdraw(crt_list::key(digest, None), host);
            }
            Contribution::CheckedCertificate(digest, check, host) => {
                if let Some(owners) = self.client_checks.get_mut(check) {
                    *owners -= 1;
                    if *owners == 0 {
                        self.client_checks.remove(check);
                    }
                }
                self.withdraw(crt_list::key(digest, Some(check)), host);
            }
            Contribution::File(file) => {
                let name = file.file();
                let Some(entry) = self.image.files.get_mut(&name) else { return };
                entry.owners -= 1;
                if entry.owners == 0 {
                    self.image.files.remove(&name);
                    self.touch(Key::File(name));
                }
            }
            Contribution::HeaderName(name) => {
                if let Some(owners) = self.header_names.get_mut(name) {
                    *owners -= 1;
                    if *owners == 0 {
                        self.header_names.remove(name);
                    }
                }
            }
            Contribution::DefaultCertificate(digest) => {
                if let Some(owners) = self.default_certificates.get_mut(digest) {
                    *owners -= 1;
                    if *owners == 0 {
                        self.default_certificates.remove(digest);
                    }
                }
                self.choose_default_certificate();
            }
            Contribution::ResolveName(name) => {
                if let Some(owners) = self.resolve_names.get_mut(name) {
                    *owners -= 1;
                    if *owners == 0 {
                        self.resolve_names.remove(name);
                        self.names_changed = true;
                    }
                }
            }
        }
    }

    fn present(&mut self, key: Arc<str>, host: &Arc<str>) {
        let mut hosts = match self.image.certificates.get(&key) {
            Some(hosts) => (**hosts).clone(),
            None => BTreeSet::new(),
        };
        hosts.insert(host.clone());
        self.image.certificates.insert(key.clone(), Arc::new(hosts));
        self.touch(Key::Certificate(key));
    }

    fn withdraw(&mut self, key: Arc<str>, host: &Arc<str>) {
        let Some(hosts) = self.image.certificates.get(&key) else { return };
        let mut hosts = (**hosts).clone();
        hosts.remove(host);
        if hosts.is_empty() {
            self.image.certificates.remove(&key);
        } else {
            self.image.certificates.insert(key.clone(), Arc::new(hosts));
        }
        self.touch(Key::Certificate(key));
    }

    fn choose_default_certificate(&mut self) {
        let chosen = self.default_certificates.keys().next().copied();
        if chosen != self.image.default_certificate {
            self.image.default_certificate = chosen;
            self.touch(Key::DefaultCertificate);
        }
    }
}

fn checked(backend: &Backend) -> u64 {
    if backend.spec.is_checked() { backend.servers.len() as u64 } else { 0 }
}

/// Calls `f` for each element of `a` that is not in `b`; both are sorted.
fn for_difference<'a>(
    a: &'a [Contribution],
    b: &[Contribution],
    mut f: impl FnMut(&'a Contribution),
) {
    let mut rest = b.iter().peekable();
    for item in a {
        while rest.peek().is_some_and(|other| **other < *item) {
            rest.next();
        }
        if rest.peek().is_none_or(|other| **other != *item) {
            f(item);
        }
    }
}

/// Sorts contributions and drops duplicates, as [`Desired::replace`] asks.
#[must_use]
pub fn normalised(mut contributions: Vec<Contribution>) -> Vec<Contribution> {
    contributions.sort_unstable();
    contributions.dedup();
    contributions
}
