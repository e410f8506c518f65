//! What is seen of a worker's memory: by a read-back, by requests, by handshakes.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;

use tidegate_core::action::MapId;
use tidegate_core::digest::Digest;
use tidegate_core::event::{Observed, ObservedBackend, ObservedServer};

use super::haproxy::{Admin, Answer, Backend, Haproxy, Server};

impl Haproxy {
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

    /// The backend that the route of a request names.
    #[must_use]
    pub fn backend_of(&self, host: &str, path: &str) -> Option<&str> {
        let record = self.record(host, path)?;
        match record.strip_prefix('|') {
            Some(fields) => fields.split('|').next(),
            None => Some(record),
        }
    }

    /// Where a connection to a port of TCP services goes; `None` when it is refused.
    #[must_use]
    pub fn tcp(&self, port: u16) -> Option<Answer> {
        self.stream(MapId::Tcp, &port.to_string())
    }

    /// Where TLS for a name is passed through to: the outer `None` when it is not.
    #[must_use]
    pub fn sni(&self, name: &str) -> Option<Option<Answer>> {
        let name = name.to_ascii_lowercase();
        let is_known = self.longest(&format!("{name}/")).is_some();
        let wildcard = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let names = [Some(name), wildcard.filter(|_| !is_known)];
        let name = names.into_iter().flatten().find(|n| self.entry(MapId::Sni, n).is_some())?;
        Some(self.stream(MapId::Sni, &name))
    }

    fn stream(&self, map: MapId, key: &str) -> Option<Answer> {
        let record = self.entry(map, key)?;
        let backend = match record.strip_prefix('|') {
            Some(fields) => fields.split('|').next().unwrap_or(""),
            None => record,
        };
        (backend != "tidegate-refused").then(|| self.follow(backend))
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

    /// The list of users that a request is held against, by its digest: a field of the route's
    /// policy of the form `LIST:REALM`.
    #[must_use]
    pub fn users(&self, host: &str, path: &str) -> Option<Digest> {
        let policy = self.record(host, path)?.strip_prefix('|')?.split('|').nth(1)?;
        let mut fields = self.entry(MapId::Policy, policy)?.split('|').skip(1);
        fields.find_map(|field| Digest::from_hex(field.split_once(':')?.0))
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
                (name, address, *admin as u8, keywords).hash(hasher);
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
            let [_, name, policy, ..] = fields.as_slice() else { return Answer::Unavailable };
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
        slot: s.name.strip_prefix('s').and_then(|number| number.parse().ok()).unwrap_or(0),
        address: s.address,
        ready: s.admin == Admin::Ready,
    };
    ObservedBackend { name: name.into(), servers: backend.servers.iter().map(server).collect() }
}
