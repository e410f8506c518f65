//! Objects of a watch as core's events.
//!
//! Inputs: JSON of single objects. Outputs: `Listed`, `Upserted`, `Deleted`. Decoded straight from
//! the wire; an object that cannot be decoded keeps its last version and is told. Not here: what
//! the objects mean.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeSeed as _;
use tidegate_core::event::{Event, Listing};
use tidegate_core::world::object::{Kind, Object, ObjectRef};

use super::frame::position_of;
use super::health::Health;
use super::target::{Sink, Target, Whole};
use crate::decode::{Decoded, Refusal, SlimSeed};
use crate::vault::Vault;

/// The sink of every kind but Secrets.
pub struct Objects {
    target: Target,
    vault: Arc<Vault>,
    health: Arc<Health>,
    listing: Vec<Object>,
    events: Vec<Event>,
}

/// `metadata` of any object, as far as it identifies it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Head {
    /// Namespace.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// Version.
    pub resource_version: Box<str>,
    /// UID.
    uid: Box<str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Headed {
    metadata: Head,
}

/// Reads who an object is.
#[must_use]
pub fn head(json: &[u8]) -> Head {
    let headed: Headed = serde_json::from_slice(json).unwrap_or_default();
    headed.metadata
}

/// Reads the UID of an object.
#[must_use]
pub fn uid(json: &[u8]) -> Box<str> {
    head(json).uid
}

impl Objects {
    /// The sink of a target.
    #[must_use]
    pub fn new(target: Target, vault: Arc<Vault>, health: Arc<Health>) -> Objects {
        Objects { target, vault, health, listing: Vec::new(), events: Vec::new() }
    }

    /// The object and its version. What cannot be decoded is told.
    fn decode(&self, json: &[u8]) -> (Option<Object>, Option<Box<str>>) {
        let kind = self.target.kind;
        let mut text = serde_json::Deserializer::from_slice(json);
        let refusal = match SlimSeed(Some(kind)).deserialize(&mut text) {
            Ok(slim) => {
                let version = slim.resource_version().map(Into::into);
                match slim.finish(Some(kind), &self.vault) {
                    Decoded::Object(object) => {
                        self.health.settled(&object.object_ref());
                        return (Some(object), version);
                    }
                    Decoded::Foreign => return (None, version),
                    Decoded::Refused(refusal) => refusal,
                }
            }
            Err(error) => {
                let Head { namespace, name, .. } = head(json);
                Refusal {
                    object: ObjectRef::new(kind, &namespace, &name),
                    what: position_of(&error),
                    fix: "write the object anew".to_owned(),
                }
            }
        };
        self.health.refused(refusal);
        let version = head(json).resource_version;
        (None, Some(version).filter(|version| !version.is_empty()))
    }
}

impl Sink for Objects {
    fn form(&self, _: bool) -> &'static str {
        "application/json"
    }

    fn begin(&mut self) {
        self.listing = Vec::new();
    }

    fn item(&mut self, json: &[u8]) {
        if let (Some(object), _) = self.decode(json) {
            self.listing.push(object);
        }
    }

    fn complete(&mut self, list: Whole<'_>) -> usize {
        let Whole { version, watched, cluster } = list;
        let objects = std::mem::take(&mut self.listing);
        let count = objects.len();
        self.events.push(Event::Listed(Listing {
            kind: self.target.kind,
            namespace: self.target.namespace.clone(),
            name: self.target.name.clone(),
            cluster,
            revision: version.parse().unwrap_or(0),
            watched,
            objects,
        }));
        count
    }

    fn changed(&mut self, json: &[u8]) -> Option<Box<str>> {
        let (object, version) = self.decode(json);
        self.events.extend(object.map(Event::Upserted));
        version
    }

    fn deleted(&mut self, json: &[u8]) -> Option<Box<str>> {
        let Head { namespace, name, resource_version, .. } = head(json);
        let kind = self.target.kind;
        let namespace = match kind {
            Kind::Namespace | Kind::IngressClass | Kind::Node => "",
            Kind::ConfigMap
            | Kind::Secret
            | Kind::Service
            | Kind::EndpointSlice
            | Kind::Ingress
            | Kind::Custom(..) => &namespace,
        };
        let object = ObjectRef::new(kind, namespace, &name);
        self.health.settled(&object);
        if !name.is_empty() {
            self.events.push(Event::Deleted(object));
        }
        Some(resource_version).filter(|version| !version.is_empty())
    }

    fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}
