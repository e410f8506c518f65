//! Drafts: what annotations shape, before it becomes records, names and keywords.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::value::Network;
use super::{auth, flag_of, policy_fields};
use crate::action::MapId;
use crate::desired::{Contribution, HostClients, ServerFile};
use crate::digest::Digest;
use crate::settings::Reach;

/// What the route-type keys of one Ingress add up to: a policy record and the map entries that it
/// points to. All of it is content-addressed, so a policy never changes in place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteDraft {
    fields: BTreeMap<&'static str, String>,
    entries: BTreeSet<(MapId, String, String)>,
    header_names: BTreeSet<String>,
    lists: BTreeMap<Arc<str>, Arc<ListSpec>>,
    /// Validated values by name, for the `finish_route` functions of the families.
    pub values: BTreeMap<&'static str, String>,
    /// What the handshake must have held the client to.
    pub clients: Option<HostClients>,
}

impl RouteDraft {
    /// Sets a field of the policy record. The value must not contain `|` or control characters;
    /// offending bytes are dropped, as the last line of defence behind the typed parsers.
    pub fn set(&mut self, field: &'static str, value: impl Into<String>) {
        let mut value: String = value.into();
        value.retain(|c| c != '|' && !c.is_control());
        self.fields.insert(field, value);
    }

    /// Unsets a field of the policy record.
    pub fn unset(&mut self, field: &'static str) {
        self.fields.remove(field);
    }

    /// A field set before.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&str> {
        self.fields.get(field).map(|value| &**value)
    }

    /// Adds an entry of a map that the policy points to.
    pub fn entry(&mut self, map: MapId, key: impl Into<String>, value: impl Into<String>) {
        self.entries.insert((map, key.into(), value.into()));
    }

    /// Notes a header name that occurs as data.
    pub fn header_name(&mut self, name: impl Into<String>) {
        self.header_names.insert(name.into());
    }

    /// Adds a list whose entries come from pattern files; gives its id.
    pub fn list(&mut self, spec: ListSpec) -> Arc<str> {
        let id = spec.id();
        self.lists.insert(id.clone(), Arc::new(spec));
        id
    }

    /// The lists whose entries come from pattern files, by id.
    pub fn lists(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<ListSpec>)> {
        self.lists.iter()
    }

    /// Whether the route needs no policy at all.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.fields.is_empty()
    }

    /// The policy's id and everything it consists of; `None` for a plain route.
    #[must_use]
    pub fn finish(&self) -> Option<(String, Vec<Contribution>)> {
        if self.is_plain() {
            return None;
        }
        let mut record = String::new();
        let given = policy_fields().filter(|field| self.fields.contains_key(field));
        record.extend(given.map(flag_of));
        for field in policy_fields() {
            record.push('|');
            record.push_str(self.get(field).unwrap_or(""));
        }
        let asks_alone = self.fields.len() == 1 && self.fields.contains_key("auth");
        let kind = if asks_alone { auth::ALONE } else { "p" };
        let id = format!("{kind}{}", Digest::of(record.as_bytes()).short());
        let mut contributions = Vec::with_capacity(self.entries.len() + 1);
        contributions.push(Contribution::Map(
            MapId::Policy,
            id.as_str().into(),
            record.as_str().into(),
        ));
        for (map, key, value) in &self.entries {
            let entry = Contribution::Map(*map, key.as_str().into(), value.as_str().into());
            contributions.push(entry);
        }
        for name in &self.header_names {
            contributions.push(Contribution::HeaderName(name.as_str().into()));
        }
        Some((id, contributions))
    }
}

/// A list of networks of which some are in pattern files. Its id says which, not what is in them: a
/// change of a file changes entries in place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListSpec {
    /// Names of pattern files.
    pub files: BTreeSet<Box<str>>,
    /// Networks beside them.
    pub networks: Vec<Network>,
}

/// First letter of the ids of lists with pattern files; ids of other lists are hexadecimal digits.
pub const LIVING: char = 'P';

impl ListSpec {
    /// Its id in the map of networks.
    #[must_use]
    pub fn id(&self) -> Arc<str> {
        let files = self.files.iter().map(|file| file.as_bytes());
        let prefixes = super::access::prefixes(&self.networks);
        let of_files = Digest::of_parts(files);
        let of_networks = Digest::of_parts(prefixes.iter().map(|prefix| prefix.as_bytes()));
        let both = Digest::of_parts([&of_files.0[..], &of_networks.0[..]]);
        format!("{LIVING}{}", both.short()).into()
    }
}

/// What the backend-type keys of one Service, Ingress and ConfigMap add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendDraft {
    /// Validated values by name, for the `finish` functions of the families.
    pub values: BTreeMap<&'static str, String>,
    /// Algorithm part of the profile; empty for the default.
    pub balance: &'static str,
    /// Whether the profile is one with session affinity.
    pub affinity: bool,
    /// Whether it is for TCP: nobody speaks HTTP for the clients.
    pub stream: bool,
    /// Health check part of the profile; empty for none.
    pub check_profile: &'static str,
    /// Value in the map of health check requests.
    pub check: Option<Arc<str>>,
    /// How pods are reached, where a key says so.
    pub reach: Option<Reach>,
    /// Server keywords in order; each encoded.
    pub keywords: Vec<String>,
    /// Whether this HAProxy sends a server the request's Host as SNI unless told not to.
    pub plain_sni: bool,
    /// Files that the keywords name.
    pub files: BTreeSet<ServerFile>,
    /// Route-side part: what the frontend must compute for this backend (a hash key).
    pub route: RouteDraft,
}

impl RouteDraft {
    /// Takes in what a backend needs the frontend to compute.
    pub fn absorb(&mut self, other: &RouteDraft) {
        let RouteDraft { fields, entries, header_names, lists, values: _, clients: _ } = other;
        self.fields.extend(fields.iter().map(|(field, value)| (*field, value.clone())));
        self.entries.extend(entries.iter().cloned());
        self.header_names.extend(header_names.iter().cloned());
        self.lists.extend(lists.iter().map(|(id, list)| (id.clone(), list.clone())));
    }
}
