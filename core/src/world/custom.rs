//! haproxytech's custom resources, as far as they say something here: keys of ours, by the field that
//! says them, and the fields that have none.
//!
//! Inputs: resources as the adapters decoded them (the table of fields is theirs to apply). Outputs:
//! a [`Custom`] by what it describes and its name, whichever version of the API it came in. Not here:
//! who refers to one (`annotations::custom`), TCP services (`project::tcp`).

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::object::{Kind, Meta, Name, ObjectRef};
use super::{Fact, World};
use crate::project::tcp::one_port;

/// The part of HAProxy's configuration that a custom resource describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Part {
    /// `global`.
    Global,
    /// `defaults`.
    Defaults,
    /// A `frontend` for HTTP.
    Frontend,
    /// A `backend`.
    Backend,
    /// Frontends for TCP.
    Tcp,
}

impl Part {
    /// The name Kubernetes uses in `kind:`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Part::Global => "Global",
            Part::Defaults => "Defaults",
            Part::Frontend => "Frontend",
            Part::Backend => "Backend",
            Part::Tcp => "TCP",
        }
    }
}

/// A version of haproxytech's API; each is a group of its own, with objects of its own. The newer
/// comes first: of two objects of one name it is the one that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Api {
    /// `ingress.v3.haproxy.org/v3`
    V3,
    /// `ingress.v1.haproxy.org/v1`
    V1,
}

impl Api {
    /// Both.
    pub const ALL: [Api; 2] = [Api::V3, Api::V1];
}

/// A custom resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Custom {
    /// Metadata.
    pub meta: Meta,
    /// What it describes.
    pub part: Part,
    /// The version of the API it is in.
    pub api: Api,
    /// What it says in keys of ours, sorted by key, each key once. Of a TCP resource the key is a port
    /// and the value what the ConfigMap of TCP services would say.
    pub said: Vec<Said>,
    /// The fields that say nothing here, and what to do about them.
    pub unsaid: Vec<Unsaid>,
}

/// A key of ours and its value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Said {
    /// The key, without prefix.
    pub key: Box<str>,
    /// Its value.
    pub value: Box<str>,
    /// The field that says it, such as `spec.server_timeout`.
    pub field: Box<str>,
}

/// A field without a counterpart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unsaid {
    /// The field.
    pub field: Box<str>,
    /// What is so, in words that follow the field's name.
    pub what: Box<str>,
    /// What to write instead.
    pub fix: Box<str>,
    /// What its absence means.
    pub weight: Weight,
}

/// What it means that a field says nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Weight {
    /// It has no meaning here, and nothing is lacking.
    Known,
    /// Something that is asked for is not there.
    Lacks,
    /// It protects: what refers to the resource must not be served without it.
    Protects,
}

impl Custom {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind::Custom(self.part, self.api)
    }

    /// Kind and name.
    #[must_use]
    pub fn object_ref(&self) -> ObjectRef {
        ObjectRef { kind: self.kind(), name: self.meta.name.clone() }
    }

    /// The field that says a key; the key itself when none does.
    #[must_use]
    pub fn field_of<'a>(&'a self, key: &'a str) -> &'a str {
        self.said.iter().find(|said| *said.key == *key).map_or(key, |said| &said.field)
    }
}

impl World {
    /// Takes one in. Whether it is the same as before.
    pub(super) fn put_custom(&mut self, new: Arc<Custom>, changed: &mut BTreeSet<Fact>) -> bool {
        let object = new.object_ref();
        if self.customs.get(&object) == Some(&new) {
            return true;
        }
        self.custom_changed(&new, changed);
        self.customs.insert(object, new);
        false
    }

    /// Removes one. Whether it was there.
    pub(super) fn remove_custom(
        &mut self,
        object: &ObjectRef,
        changed: &mut BTreeSet<Fact>,
    ) -> bool {
        let old = self.customs.remove(object);
        if let Some(old) = &old {
            self.custom_changed(old, changed);
        }
        old.is_some()
    }

    fn custom_changed(&mut self, one: &Custom, changed: &mut BTreeSet<Fact>) {
        if one.part == Part::Tcp {
            changed.insert(Fact::TcpResources);
            // Its ports get a new chance.
            let old = self.customs.get(&one.object_ref()).cloned();
            let said = one.said.iter().chain(old.iter().flat_map(|old| &old.said));
            for port in said.filter_map(|said| said.key.parse().ok()).collect::<Vec<u16>>() {
                let port = one_port(&self.settings, port);
                self.release_quarantine(&port, changed);
            }
        }
        changed.insert(Fact::Custom(one.part, one.meta.name.clone()));
        // What HAProxy refused of the ConfigMap may have been said by the resource.
        if let Some(name) = self.settings.config_map.clone() {
            self.release_quarantine(&ObjectRef { kind: Kind::ConfigMap, name }, changed);
        }
    }

    /// The names of the resources of a kind.
    pub(super) fn customs_of(&self, kind: Kind) -> impl Iterator<Item = &Name> {
        let all = self.customs.range(ObjectRef::new(kind, "", "")..);
        all.map(|(object, _)| object).take_while(move |o| o.kind == kind).map(|o| &o.name)
    }

    /// The resource of a name: that of the newest version of the API.
    pub(super) fn custom(&self, part: Part, name: &Name) -> Option<&Custom> {
        Api::ALL.into_iter().find_map(|api| {
            let object = ObjectRef { kind: Kind::Custom(part, api), name: name.clone() };
            self.customs.get(&object).map(|custom| &**custom)
        })
    }
}
