//! Applied: what we know HAProxy has in memory. It moves only on positive answers.

mod backend;
mod servers;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use serde::{Deserialize, Serialize};

use crate::action::{MapId, RuntimeCommand};
use crate::capability::Capabilities;
use crate::desired::{Backend, BackendSpec, Image, Owned, Table};
use crate::digest::Digest;
use crate::event::{Observed, WorkerId};
use crate::render;
use crate::render::crt_list::{self, Line};
use crate::settings::Delays;
use crate::time::Time;
pub use backend::{Admin, Published, RunningBackend, RunningServer};
pub use servers::Servers;

/// Key of the ledger map that names the content of the default certificate.
pub const LEDGER_DEFAULT_CERTIFICATE: &str = "default-certificate";
/// What the ledger says of a content that is being replaced: it may be the old or the new one.
pub const LEDGER_UNKNOWN: &str = "?";

/// Prefix of the ledger map's keys that name the profiles with snippets a worker was started with.
pub const LEDGER_PROFILE: &str = "profile:";

/// Prefix of the ledger map's keys that say which backend a spare one serves as.
pub const LEDGER_SPARE: &str = "spare:";

/// Beginning of the ledger's keys for the owner of what clients of a host are held to. The host
/// follows. The value is the number of the change that made it so and, after `|`, the owner; none
/// for a host that had one.
pub const LEDGER_CLIENTS: &str = "client:";

/// The ledger's key for the number of the last such change in this process.
pub const LEDGER_EPOCH: &str = "client-epoch";

/// The memory of one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Which worker.
    pub worker: WorkerId,
    /// Digest of the skeleton it was started with, in hex.
    pub skeleton: Arc<str>,
    maps: Vec<Table<Owned<Arc<str>>>>,
    /// Backends by their wanted name (which spare ones differ from).
    pub backends: Table<Arc<RunningBackend>>,
    /// Lines of the crt-list by certificate (hex of the digest).
    pub certificates: BTreeMap<Arc<str>, BTreeMap<Arc<str>, RunningLine>>,
    /// CA and client certificate files in memory.
    pub files: BTreeSet<Arc<str>>,
    /// Content of the default certificate that was installed and is not in the ledger yet.
    pub default_installed: Option<Option<Digest>>,
    /// Spare backends by profile.
    pub spares: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// How many routes refer to a backend or policy.
    references: BTreeMap<Arc<str>, u32>,
}

/// A certificate file with its line of the crt-list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RunningLine {
    /// SNI filters; empty when the file is in no line.
    pub hosts: BTreeSet<Arc<str>>,
    /// Whether the file is in a line.
    pub listed: bool,
}

impl Running {
    /// Whether the worker was started with a profile; those without snippet are in every static part.
    #[must_use]
    pub fn has_profile(&self, spec: &BackendSpec) -> bool {
        let key = || alloc::format!("{LEDGER_PROFILE}{}", spec.profile);
        spec.snippet.is_none() || self.map(MapId::Ledger).get(&key()).is_some()
    }

    /// The memory of a worker that has just loaded the files of an image.
    #[must_use]
    pub fn loaded(image: &Image, worker: WorkerId) -> Running {
        Running::loaded_after(None, image, worker, render::skeleton_digest(&image.skeleton))
    }

    /// The same, given the memory of the worker before: what is in both is shared, so that this costs
    /// little more than a comparison. `skeleton` is the digest of the image's.
    #[must_use]
    pub(crate) fn loaded_after(
        before: Option<Running>,
        image: &Image,
        worker: WorkerId,
        skeleton: Arc<str>,
    ) -> Running {
        let capabilities = &image.skeleton.capabilities;
        let mut running = match before {
            Some(before) => before,
            None => Running::empty(worker),
        };
        let mut other = Vec::new();
        image.backends.beside(&running.backends, |_, wanted, known| {
            if known.is_none_or(|known| !known.is_as_loaded(wanted, capabilities)) {
                other.push(wanted);
            }
        });
        for wanted in other {
            let fresh = RunningBackend::loaded(wanted, capabilities);
            running.backends.insert(wanted.name.clone(), Arc::new(fresh));
        }
        if running.backends.len() > image.backends.len() {
            let gone =
                running.backends.iter().filter(|(name, _)| image.backends.get(name).is_none());
            for name in gone.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
                running.backends.remove(&name);
            }
        }
        let mut maps: Vec<_> = MapId::ALL.iter().map(|id| image.map(*id).clone()).collect();
        if let Some(ledger) = maps.get_mut(MapId::Ledger as usize) {
            let value = render::maps::default_certificate_entry(image);
            ledger.insert(LEDGER_DEFAULT_CERTIFICATE.into(), Owned { value, owners: 1 });
            ledger.insert(LEDGER_EPOCH.into(), Owned { value: "0".into(), owners: 1 });
            for profile in render::profile::with_snippets(image).into_keys() {
                let key = alloc::format!("{LEDGER_PROFILE}{profile}").into();
                ledger.insert(key, Owned { value: "1".into(), owners: 1 });
            }
        }
        let old_maps = core::mem::replace(&mut running.maps, maps);
        for id in MapId::ALL.into_iter().filter(|id| id.has_records()) {
            if let Some(before) = old_maps.get(id as usize) {
                running.move_references(id, before);
            }
        }
        let mut certificates: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (digest, hosts) in image.certificates.iter() {
            let lines = crt_list::lines(digest, hosts).into_iter();
            let lines = lines.map(|Line { file, hosts }| {
                let hosts = hosts.into_iter().collect();
                (file, RunningLine { hosts, listed: true })
            });
            certificates.insert(digest.clone(), lines.collect());
        }
        Running {
            worker,
            skeleton,
            certificates,
            files: render::loaded_files(image),
            default_installed: None,
            spares: render::backend::spares(image),
            ..running
        }
    }

    fn empty(worker: WorkerId) -> Running {
        Running {
            worker,
            skeleton: "".into(),
            maps: MapId::ALL.iter().map(|_| Table::default()).collect(),
            backends: Table::default(),
            certificates: BTreeMap::new(),
            files: BTreeSet::new(),
            default_installed: None,
            spares: BTreeMap::new(),
            references: BTreeMap::new(),
        }
    }

    /// The memory of a worker as read back. What an image cannot have (a backend without the
    /// ledger's word, a file in no line) is kept, so that the planner removes it.
    #[must_use]
    pub fn observed(
        worker: WorkerId,
        observed: &Observed,
        capabilities: &Capabilities,
        now: Time,
    ) -> Running {
        let mut running = Running::empty(worker);
        running.skeleton = (*observed.skeleton).into();
        for (id, entries) in &observed.maps {
            for (key, value) in entries {
                // HAProxy looks up the first of equal keys.
                if running.map(*id).get(key).is_none() {
                    running.put(*id, &Arc::from(&**key), Arc::from(&**value));
                }
            }
        }
        let spares: BTreeMap<Arc<str>, Arc<str>> = running
            .map(MapId::Ledger)
            .iter()
            .filter_map(|(k, v)| Some((k.strip_prefix(LEDGER_SPARE)?.into(), v.value.clone())))
            .collect();
        for backend in &observed.backends {
            let physical: Arc<str> = (*backend.name).into();
            if let Some(profile) = render::backend::spare_profile(&physical)
                && !spares.contains_key(&physical)
            {
                running.spares.entry(profile).or_default().insert(physical);
                continue;
            }
            let name = spares.get(&physical).cloned().unwrap_or_else(|| physical.clone());
            let mut backend = RunningBackend::observed(physical, backend, now);
            if !capabilities.dynamic_backends {
                backend.published = Published::Yes;
            }
            let backend = Arc::new(backend);
            running.backends.insert(name, backend);
        }
        running.observe_files(observed);
        running
    }

    fn observe_files(&mut self, observed: &Observed) {
        let lines: BTreeMap<&str, &Vec<Box<str>>> =
            observed.crt_list.iter().map(|(file, hosts)| (&**file, hosts)).collect();
        for file in &observed.certificates {
            match crt_list::key_of(file) {
                Some(digest) => {
                    let hosts = lines.get(&**file);
                    let line = RunningLine {
                        hosts: hosts.iter().flat_map(|h| h.iter()).map(|h| (**h).into()).collect(),
                        listed: hosts.is_some(),
                    };
                    let files = self.certificates.entry(digest).or_default();
                    files.insert((**file).into(), line);
                }
                None if file.starts_with("certs/client-") => {
                    self.files.insert((**file).into());
                }
                None => {}
            }
        }
        for file in observed.authorities.iter().filter(|f| f.starts_with("ca/")) {
            self.files.insert((**file).into());
        }
    }

    /// Counts references anew where the routes differ from those before.
    fn move_references(&mut self, id: MapId, before: &Table<Owned<Arc<str>>>) {
        let after = self.map(id).clone();
        let mut records = Vec::new();
        before.differences(
            &after,
            |a, b| a.value == b.value,
            |key| {
                records.push((before.get(key).cloned(), after.get(key).cloned()));
            },
        );
        for (old, new) in records {
            if let Some(new) = new {
                self.refer(&new.value, true);
            }
            if let Some(old) = old {
                self.refer(&old.value, false);
            }
        }
    }

    /// Feeds everything but the worker's number and what is derived; see `crate::fingerprint`.
    pub(crate) fn fingerprint(&self, now: Time, delays: &Delays, hasher: &mut impl Hasher) {
        let Running {
            worker: _,
            skeleton,
            maps,
            backends,
            certificates,
            files,
            default_installed,
            spares,
            references: _,
        } = self;
        skeleton.hash(hasher);
        for (number, map) in maps.iter().enumerate() {
            for (key, entry) in map.iter() {
                (number, key, &entry.value).hash(hasher);
            }
        }
        for (name, backend) in backends.iter() {
            name.hash(hasher);
            backend.fingerprint(now, delays, hasher);
        }
        (certificates, files, default_installed, spares).hash(hasher);
    }

    /// One of the maps.
    #[must_use]
    pub fn map(&self, id: MapId) -> &Table<Owned<Arc<str>>> {
        &self.maps[id as usize]
    }

    /// Whether any route refers to a backend (by its name in HAProxy) or policy.
    #[must_use]
    pub fn is_referred(&self, name: &str) -> bool {
        self.references.contains_key(name)
    }

    /// The name in HAProxy of the backend with a wanted name.
    #[must_use]
    pub fn physical<'a>(&'a self, name: &'a str) -> &'a str {
        self.backends.get(name).map_or(name, |b| &b.physical)
    }

    /// Content of the default certificate according to the ledger; the outer `None` when the
    /// ledger does not say.
    #[must_use]
    pub fn default_certificate(&self) -> Option<Option<Digest>> {
        let entry = self.map(MapId::Ledger).get(LEDGER_DEFAULT_CERTIFICATE)?;
        if &*entry.value == "-" { Some(None) } else { Digest::from_hex(&entry.value).map(Some) }
    }

    fn put(&mut self, id: MapId, key: &Arc<str>, value: Arc<str>) {
        if id.has_records() {
            self.refer(&value, true);
        }
        let old = self.maps[id as usize].insert(key.clone(), Owned { value, owners: 1 });
        if let Some(old) = old.filter(|_| id.has_records()) {
            self.refer(&old.value, false);
        }
    }

    fn take(&mut self, id: MapId, key: &str) {
        let old = self.maps[id as usize].remove(key);
        if let Some(old) = old.filter(|_| id.has_records()) {
            self.refer(&old.value, false);
        }
    }

    fn refer(&mut self, record: &str, begins: bool) {
        for name in render::maps::referred(record) {
            if begins {
                *self.references.entry(name.into()).or_insert(0) += 1;
            } else if let Some(count) = self.references.get_mut(name) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.references.remove(name);
                }
            }
        }
    }

    /// Shares what a backend has in common with the wanted one, now that nothing differs.
    pub(crate) fn share(&mut self, wanted: &Arc<Backend>, capabilities: &Capabilities) {
        let known = self.backends.get(&wanted.name);
        if known.is_some_and(|known| !known.servers.are_of(wanted))
            && let Some(known) = self.backends.get_mut(&wanted.name)
        {
            Arc::make_mut(known).share(wanted, capabilities);
        }
    }

    /// Takes in a command that was done. `logical` is the wanted name of the backend it is about.
    pub fn apply(&mut self, command: &RuntimeCommand, logical: Option<&Arc<str>>, now: Time) {
        match command {
            RuntimeCommand::AddMapEntry { map, key, value }
            | RuntimeCommand::SetMapEntry { map, key, value } => {
                self.put(*map, key, value.clone());
                if let (MapId::Ledger, Some(physical)) = (*map, key.strip_prefix(LEDGER_SPARE)) {
                    self.claim(physical, value);
                }
            }
            RuntimeCommand::DeleteMapEntry { map, key } => {
                self.take(*map, key);
                if let (MapId::Ledger, Some(physical)) = (*map, key.strip_prefix(LEDGER_SPARE)) {
                    self.unclaim(physical);
                }
            }
            RuntimeCommand::InstallCertificate { file, digest: _ }
            | RuntimeCommand::InstallAuthority { file, digest: _ } => {
                match crt_list::key_of(file) {
                    Some(digest) => {
                        let line = RunningLine { hosts: BTreeSet::new(), listed: false };
                        self.certificates.entry(digest).or_default().insert(file.clone(), line);
                    }
                    None => {
                        self.files.insert(file.clone());
                    }
                }
            }
            RuntimeCommand::DeleteCertificate { file }
            | RuntimeCommand::DeleteAuthority { file } => self.forget_file(file),
            RuntimeCommand::AddCrtListLine { file, hosts } => {
                self.set_line(file, hosts.iter().cloned().collect(), true);
            }
            RuntimeCommand::DeleteCrtListLine { file } => {
                self.set_line(file, BTreeSet::new(), false);
            }
            RuntimeCommand::ReplaceDefaultCertificate { digest } => {
                self.default_installed = Some(*digest);
            }
            RuntimeCommand::AddBackend { backend, profile: _ } => {
                let fresh = RunningBackend {
                    physical: backend.clone(),
                    published: Published::No,
                    servers: Servers::none(),
                    free_slots: BTreeSet::new(),
                };
                self.backends.insert(logical.unwrap_or(backend).clone(), Arc::new(fresh));
            }
            RuntimeCommand::DeleteBackend { backend } => {
                self.backends.remove(logical.unwrap_or(backend));
            }
            RuntimeCommand::PublishBackend { backend }
            | RuntimeCommand::UnpublishBackend { backend }
            | RuntimeCommand::AddServer { backend, .. }
            | RuntimeCommand::SetServerAddress { backend, .. }
            | RuntimeCommand::SetServerState { backend, .. }
            | RuntimeCommand::EnableHealth { backend, .. }
            | RuntimeCommand::ShutdownSessions { backend, .. }
            | RuntimeCommand::DeleteServer { backend, .. } => {
                if let Some(running) = self.backends.get_mut(logical.unwrap_or(backend)) {
                    Arc::make_mut(running).apply(command, now);
                }
            }
        }
    }

    fn claim(&mut self, physical: &str, name: &Arc<str>) {
        let physical: Arc<str> = physical.into();
        if let Some(profile) = render::backend::spare_profile(&physical)
            && let Some(spares) = self.spares.get_mut(&profile)
        {
            spares.remove(&physical);
        }
        let fresh = RunningBackend {
            physical,
            published: Published::Yes,
            servers: Servers::none(),
            free_slots: BTreeSet::new(),
        };
        self.backends.insert(name.clone(), Arc::new(fresh));
    }

    fn unclaim(&mut self, physical: &str) {
        let physical: Arc<str> = physical.into();
        let name = self.backends.iter().find(|(_, b)| b.physical == physical);
        if let Some(name) = name.map(|(name, _)| name.clone()) {
            self.backends.remove(&name);
        }
        if let Some(profile) = render::backend::spare_profile(&physical) {
            self.spares.entry(profile).or_default().insert(physical);
        }
    }

    fn set_line(&mut self, file: &Arc<str>, hosts: BTreeSet<Arc<str>>, listed: bool) {
        if let Some(digest) = crt_list::key_of(file) {
            let files = self.certificates.entry(digest).or_default();
            files.insert(file.clone(), RunningLine { hosts, listed });
        }
    }

    fn forget_file(&mut self, file: &Arc<str>) {
        self.files.remove(file);
        let Some(digest) = crt_list::key_of(file) else { return };
        if let Some(files) = self.certificates.get_mut(&digest) {
            files.remove(file);
            if files.is_empty() {
                self.certificates.remove(&digest);
            }
        }
    }
}
