//! A tiny HAProxy: what a worker has in memory, how each runtime command changes it or is refused,
//! and where a request goes. Semantics are those measured on HAProxy 2.6 to 3.4.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;

use tidegate_core::action::{MapId, RuntimeCommand, ServerState};
use tidegate_core::capability::Capabilities;
use tidegate_core::digest::Digest;
use tidegate_core::event::{Observed, ObservedBackend, ObservedServer};

/// Number of the digests whose content OpenSSL cannot load; for generators.
pub const REFUSED_DIGEST: u8 = 7;

/// Administrative state of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin {
    /// Takes traffic.
    Ready,
    /// Takes none.
    Maint,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Name.
    pub name: String,
    /// Address; `None` for a slot that was never given one.
    pub address: Option<SocketAddr>,
    /// State.
    pub admin: Admin,
    /// Its keywords.
    pub keywords: Vec<String>,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Named defaults section.
    pub profile: String,
    /// Whether rules may select it.
    pub published: bool,
    /// Servers in order.
    pub servers: Vec<Server>,
}

/// What a request meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// One of these servers.
    Servers(BTreeSet<SocketAddr>),
    /// 404.
    NotFound,
    /// 503.
    Unavailable,
}

/// The memory of a worker.
#[derive(Clone, Debug)]
pub struct Haproxy {
    capabilities: Capabilities,
    /// Digest of the skeleton.
    pub skeleton: String,
    /// Names of defaults sections.
    pub profiles: BTreeSet<String>,
    /// Maps, in HAProxy's order; a key may occur twice.
    pub maps: BTreeMap<MapId, Vec<(String, String)>>,
    /// Backends, static ones too.
    pub backends: BTreeMap<String, Backend>,
    /// Certificate and CA files in memory.
    pub files: BTreeSet<String>,
    /// Lines of the crt-list after the default certificate's.
    pub crt_list: Vec<(String, Vec<String>)>,
    /// Content of the default certificate; the outer `None` when nobody told.
    pub default_certificate: Option<Option<Digest>>,
}

type Answered = Result<(), String>;

impl Haproxy {
    /// The file of the default certificate.
    pub const DEFAULT_CERTIFICATE: &'static str = "certs/default.pem";

    /// A worker without anything.
    #[must_use]
    pub fn empty(capabilities: Capabilities) -> Haproxy {
        Haproxy {
            capabilities,
            skeleton: String::new(),
            profiles: BTreeSet::new(),
            maps: BTreeMap::new(),
            backends: BTreeMap::new(),
            files: BTreeSet::new(),
            crt_list: Vec::new(),
            default_certificate: None,
        }
    }

    /// Whether this map entry is a regular expression that PCRE2 cannot compile.
    #[must_use]
    pub fn refuses_key(map: MapId, key: &str) -> bool {
        map == MapId::Rewrite && key.contains("[z-a]")
    }

    /// Whether the file's content is one that OpenSSL cannot load.
    #[must_use]
    pub fn refuses_file(file: &str) -> bool {
        file.contains(&Digest([REFUSED_DIGEST; 16]).hex())
    }

    /// Files that server keywords name.
    #[must_use]
    pub fn files_of(keywords: &[String]) -> Vec<String> {
        let pairs = keywords.windows(2);
        pairs.filter(|w| w[0] == "ca-file" || w[0] == "crt").map(|w| w[1].clone()).collect()
    }

    /// Whether a backend is part of the skeleton.
    #[must_use]
    pub fn is_static(backend: &str) -> bool {
        backend.starts_with("tidegate-")
    }

    /// Executes a command.
    ///
    /// # Errors
    /// HAProxy's words; nothing has changed then.
    pub fn execute(&mut self, command: &RuntimeCommand) -> Answered {
        match command {
            RuntimeCommand::AddBackend { backend, profile } => self.add_backend(backend, profile),
            RuntimeCommand::PublishBackend { backend } => {
                self.needs(self.capabilities.dynamic_backends)?;
                self.backend(backend)?.published = true;
                Ok(())
            }
            RuntimeCommand::UnpublishBackend { backend } => {
                self.needs(self.capabilities.dynamic_backends)?;
                self.backend(backend)?.published = false;
                Ok(())
            }
            RuntimeCommand::DeleteBackend { backend } => self.delete_backend(backend),
            RuntimeCommand::AddServer { backend, server, address, keywords } => {
                self.add_server(backend, server, *address, keywords)
            }
            RuntimeCommand::SetServerAddress { backend, server, address } => {
                self.server(backend, server)?.address = Some(*address);
                Ok(())
            }
            RuntimeCommand::SetServerState { backend, server, state } => {
                self.server(backend, server)?.admin = match state {
                    ServerState::Ready => Admin::Ready,
                    ServerState::Drain | ServerState::Maint => Admin::Maint,
                };
                Ok(())
            }
            RuntimeCommand::EnableHealth { backend, server } => {
                if self.server(backend, server)?.keywords.iter().any(|w| w == "check") {
                    Ok(())
                } else {
                    Err("Health checks are not configured on this server.".to_owned())
                }
            }
            RuntimeCommand::ShutdownSessions { backend, server } => {
                self.server(backend, server).map(|_| ())
            }
            RuntimeCommand::DeleteServer { backend, server } => self.delete_server(backend, server),
            RuntimeCommand::AddMapEntry { map, key, value } => self.add_entry(*map, key, value),
            RuntimeCommand::SetMapEntry { map, key, value } => self.set_entry(*map, key, value),
            RuntimeCommand::DeleteMapEntry { map, key } => self.delete_entry(*map, key),
            RuntimeCommand::InstallCertificate { file, digest: _ }
            | RuntimeCommand::InstallAuthority { file, digest: _ } => self.install(file),
            RuntimeCommand::DeleteCertificate { file }
            | RuntimeCommand::DeleteAuthority { file } => self.delete_file(file),
            RuntimeCommand::ReplaceDefaultCertificate { digest } => {
                if *digest == Some(Digest([REFUSED_DIGEST; 16])) {
                    return Err("unable to load the certificate".to_owned());
                }
                self.default_certificate = Some(*digest);
                Ok(())
            }
            RuntimeCommand::AddCrtListLine { file, hosts } => {
                if !self.files.contains(&**file) {
                    return Err(format!("certificate '{file}' does not exist!"));
                }
                if self.crt_list.iter().any(|(f, _)| f == &**file) {
                    return Err(format!("'{file}' is in the crt-list already"));
                }
                let hosts = hosts.iter().map(|h| h.to_string()).collect();
                self.crt_list.push((file.to_string(), hosts));
                Ok(())
            }
            RuntimeCommand::DeleteCrtListLine { file } => {
                let before = self.crt_list.len();
                self.crt_list.retain(|(f, _)| f != &**file);
                if self.crt_list.len() == before {
                    return Err(format!("the line '{file}' doesn't exist in the crt-list"));
                }
                Ok(())
            }
        }
    }

    fn needs(&self, ability: bool) -> Answered {
        if ability { Ok(()) } else { Err("Unknown command".to_owned()) }
    }

    fn backend(&mut self, name: &str) -> Result<&mut Backend, String> {
        self.backends.get_mut(name).ok_or_else(|| format!("No such backend {name}."))
    }

    fn server(&mut self, backend: &str, name: &str) -> Result<&mut Server, String> {
        let servers = &mut self.backend(backend)?.servers;
        servers.iter_mut().find(|s| s.name == name).ok_or_else(|| format!("No such server {name}."))
    }

    fn add_backend(&mut self, name: &str, profile: &str) -> Answered {
        self.needs(self.capabilities.dynamic_backends)?;
        if !self.profiles.contains(profile) {
            return Err(format!("No such defaults section {profile}."));
        }
        if self.backends.contains_key(name) {
            return Err(format!("Backend {name} already exists."));
        }
        let fresh = Backend { profile: profile.to_owned(), published: false, servers: vec![] };
        self.backends.insert(name.to_owned(), fresh);
        Ok(())
    }

    fn delete_backend(&mut self, name: &str) -> Answered {
        self.needs(self.capabilities.dynamic_backends)?;
        let backend = self.backend(name)?;
        if backend.published {
            return Err("Backend is published.".to_owned());
        }
        if !backend.servers.is_empty() {
            return Err("Backend still has servers.".to_owned());
        }
        if Self::is_static(name) {
            return Err("Backend is referenced by a rule.".to_owned());
        }
        self.backends.remove(name);
        Ok(())
    }

    fn add_server(
        &mut self,
        backend: &str,
        name: &str,
        address: SocketAddr,
        keywords: &str,
    ) -> Answered {
        self.needs(self.capabilities.dynamic_servers)?;
        let keywords: Vec<String> =
            keywords.split(' ').filter(|w| !w.is_empty()).map(String::from).collect();
        for file in Self::files_of(&keywords) {
            if !self.files.contains(&file) {
                return Err(format!("unable to load {file}"));
            }
        }
        let servers = &mut self.backend(backend)?.servers;
        if servers.iter().any(|s| s.name == name) {
            return Err("Already exists a server with the same name in backend.".to_owned());
        }
        let (name, address) = (name.to_owned(), Some(address));
        servers.push(Server { name, address, admin: Admin::Maint, keywords });
        Ok(())
    }

    fn delete_server(&mut self, backend: &str, name: &str) -> Answered {
        self.needs(self.capabilities.dynamic_servers)?;
        if self.server(backend, name)?.admin == Admin::Ready {
            return Err("Only servers in maintenance mode can be deleted.".to_owned());
        }
        self.backend(backend)?.servers.retain(|s| s.name != name);
        Ok(())
    }

    fn entries(&mut self, map: MapId) -> &mut Vec<(String, String)> {
        self.maps.entry(map).or_default()
    }

    fn add_entry(&mut self, map: MapId, key: &str, value: &str) -> Answered {
        if Self::refuses_key(map, key) {
            return Err("regex is invalid".to_owned());
        }
        self.entries(map).push((key.to_owned(), value.to_owned()));
        Ok(())
    }

    fn set_entry(&mut self, map: MapId, key: &str, value: &str) -> Answered {
        let mut found = false;
        for (k, v) in self.entries(map) {
            if k == key {
                value.clone_into(v);
                found = true;
            }
        }
        if found { Ok(()) } else { Err("entry not found.".to_owned()) }
    }

    fn delete_entry(&mut self, map: MapId, key: &str) -> Answered {
        let entries = self.entries(map);
        let before = entries.len();
        entries.retain(|(k, _)| k != key);
        if entries.len() < before { Ok(()) } else { Err("Key not found.".to_owned()) }
    }

    fn install(&mut self, file: &str) -> Answered {
        if self.files.contains(file) {
            return Err(format!("{file} already exists!"));
        }
        if Self::refuses_file(file) {
            return Err(format!("unable to load {file}"));
        }
        self.files.insert(file.to_owned());
        Ok(())
    }

    fn delete_file(&mut self, file: &str) -> Answered {
        if !self.files.contains(file) {
            return Err(format!("{file} doesn't exist!"));
        }
        let listed = self.crt_list.iter().any(|(f, _)| f == file);
        let named = |s: &Server| Self::files_of(&s.keywords).iter().any(|f| f == file);
        let used = self.backends.values().flat_map(|b| &b.servers).any(named);
        if listed || used || file == Self::DEFAULT_CERTIFICATE {
            return Err(format!("{file} in use, can't be deleted!"));
        }
        self.files.remove(file);
        Ok(())
    }

    /// Number of spare backends of a profile that the ledger gives no role.
    #[must_use]
    pub fn spares(&self, profile: &str) -> usize {
        let routes: Vec<&str> =
            self.maps.get(&MapId::Ledger).into_iter().flatten().map(|(k, _)| k.as_str()).collect();
        let free = |name: &&String| !routes.contains(&format!("spare:{name}").as_str());
        let spare = self.backends.iter().filter(|(_, b)| b.profile == profile);
        spare.map(|(name, _)| name).filter(|n| n.starts_with("spare:")).filter(free).count()
    }

    /// Everything, as a read-back shows it. Static backends are not shown.
    #[must_use]
    pub fn observed(&self) -> Observed {
        let boxed = |entries: &Vec<(String, String)>| {
            entries.iter().map(|(k, v)| (k.as_str().into(), v.as_str().into())).collect()
        };
        let tenants = self.backends.iter().filter(|(name, _)| !Self::is_static(name));
        let (authorities, certificates): (Vec<_>, Vec<_>) =
            self.files.iter().partition(|f| f.starts_with("ca/"));
        let line = |(file, hosts): &(String, Vec<String>)| {
            (file.as_str().into(), hosts.iter().map(|h| h.as_str().into()).collect())
        };
        Observed {
            saved: None,
            skeleton: self.skeleton.as_str().into(),
            maps: self.maps.iter().map(|(id, entries)| (*id, boxed(entries))).collect(),
            backends: tenants.map(|(name, b)| observed_backend(name, b)).collect(),
            certificates: certificates.into_iter().map(|f| f.as_str().into()).collect(),
            authorities: authorities.into_iter().map(|f| f.as_str().into()).collect(),
            crt_list: self.crt_list.iter().map(line).collect(),
        }
    }

    /// The value of a map's first entry for a key.
    #[must_use]
    pub fn entry(&self, map: MapId, key: &str) -> Option<&str> {
        let found = self.maps.get(&map)?.iter().find(|(k, _)| k == key)?;
        Some(&found.1)
    }

    /// Where a request goes, whatever policies do with it on the way.
    #[must_use]
    pub fn route(&self, host: &str, path: &str) -> Answer {
        match self.record(host, path) {
            None => Answer::NotFound,
            Some(record) => self.follow(record),
        }
    }

    /// Whether an address list stands before a request: its route has a policy, one of whose
    /// fields names a list that has entries.
    #[must_use]
    pub fn is_guarded(&self, host: &str, path: &str) -> bool {
        let policy = self.record(host, path).and_then(|record| record.strip_prefix('|'));
        let policy = policy.and_then(|fields| fields.split('|').nth(1));
        let Some(value) = policy.and_then(|policy| self.entry(MapId::Policy, policy)) else {
            return false;
        };
        let lists = self.maps.get(&MapId::Access);
        let has_entries = |id: &str| {
            let entry = |key: &str| key.strip_prefix(id).is_some_and(|rest| rest.starts_with(':'));
            !id.is_empty() && lists.is_some_and(|l| l.iter().any(|(key, _)| entry(key)))
        };
        value.split('|').skip(1).any(has_entries)
    }

    /// The certificate file presented for a name: that of the line that names it, else of one
    /// with its wildcard, else the default.
    #[must_use]
    pub fn presented(&self, name: &str) -> &str {
        let wildcard = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let lines = || self.crt_list.iter();
        let of = |name: &str| lines().find(|(_, hosts)| hosts.iter().any(|h| h == name));
        let found = of(name).or_else(|| wildcard.as_deref().and_then(of));
        found.map_or(Self::DEFAULT_CERTIFICATE, |(file, _)| file)
    }

    /// Feeds everything to a hasher.
    pub fn fingerprint(&self, hasher: &mut impl Hasher) {
        let Haproxy {
            capabilities: _,
            skeleton,
            profiles: _,
            maps,
            backends,
            files,
            crt_list,
            default_certificate,
        } = self;
        (skeleton, maps, files, crt_list, default_certificate).hash(hasher);
        for (name, Backend { profile, published, servers }) in backends {
            (name, profile, published, servers.len()).hash(hasher);
            for Server { name, address, admin, keywords } in servers {
                (name, address, *admin == Admin::Ready, keywords).hash(hasher);
            }
        }
    }

    /// The record of a request's route.
    fn record(&self, host: &str, path: &str) -> Option<&str> {
        let host = host.to_ascii_lowercase();
        let host = host.split(':').next().unwrap_or("");
        let mut merged = String::new();
        for c in path.chars() {
            if !(c == '/' && merged.ends_with('/')) {
                merged.push(c);
            }
        }
        let wildcard = host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let names = [Some(host.to_owned()), wildcard, Some(String::new())];
        names.iter().flatten().find_map(|n| self.longest(&format!("{n}{merged}/>")))
    }

    /// `map_beg`: the longest key that begins the text.
    fn longest(&self, text: &str) -> Option<&str> {
        let entries = self.maps.get(&MapId::Route)?.iter();
        let mut best: Option<&(String, String)> = None;
        for entry in entries.filter(|(key, _)| text.starts_with(key.as_str())) {
            if best.is_none_or(|b| entry.0.len() > b.0.len()) {
                best = Some(entry);
            }
        }
        best.map(|(_, value)| value.as_str())
    }

    fn follow(&self, record: &str) -> Answer {
        let mut backend = record;
        if record.starts_with('|') {
            let fields: Vec<&str> = record.split('|').collect();
            let [_, name, policy] = fields.as_slice() else { return Answer::Unavailable };
            if self.entry(MapId::Policy, policy).is_none() {
                return Answer::Unavailable;
            }
            backend = name;
        }
        if backend == "tidegate-404" {
            return Answer::NotFound;
        }
        let Some(found) = self.backends.get(backend).filter(|b| b.published) else {
            return Answer::Unavailable;
        };
        let ready = found.servers.iter().filter(|s| s.admin == Admin::Ready);
        let addresses: BTreeSet<SocketAddr> = ready.filter_map(|s| s.address).collect();
        if addresses.is_empty() { Answer::Unavailable } else { Answer::Servers(addresses) }
    }
}

fn observed_backend(name: &str, backend: &Backend) -> ObservedBackend {
    let server = |s: &Server| ObservedServer {
        name: s.name.as_str().into(),
        address: s.address,
        ready: s.admin == Admin::Ready,
    };
    ObservedBackend { name: name.into(), servers: backend.servers.iter().map(server).collect() }
}
