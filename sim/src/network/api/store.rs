//! What the API server knows: objects, each change with its revision, and how far back it remembers.
//!
//! Inputs: objects created, changed, deleted; compaction. Outputs: objects now, changes since a
//! revision. One counter of revisions for all kinds, as in etcd.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

/// A resource that is served.
#[derive(Debug, PartialEq, Eq)]
pub struct Resource {
    /// Path before namespace and plural.
    pub root: &'static str,
    /// Plural.
    pub plural: &'static str,
    /// Kind.
    pub kind: &'static str,
}

/// All of them.
pub const RESOURCES: [Resource; 10] = [
    Resource { root: "/api/v1", plural: "namespaces", kind: "Namespace" },
    Resource { root: "/api/v1", plural: "services", kind: "Service" },
    Resource { root: "/api/v1", plural: "secrets", kind: "Secret" },
    Resource { root: "/api/v1", plural: "configmaps", kind: "ConfigMap" },
    Resource { root: "/api/v1", plural: "nodes", kind: "Node" },
    Resource { root: "/api/v1", plural: "events", kind: "Event" },
    Resource { root: "/apis/discovery.k8s.io/v1", plural: "endpointslices", kind: "EndpointSlice" },
    Resource { root: "/apis/networking.k8s.io/v1", plural: "ingresses", kind: "Ingress" },
    Resource { root: "/apis/networking.k8s.io/v1", plural: "ingressclasses", kind: "IngressClass" },
    Resource { root: "/apis/coordination.k8s.io/v1", plural: "leases", kind: "Lease" },
];

/// The resource of a kind.
#[must_use]
pub fn resource_of(kind: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|resource| resource.kind == kind)
}

/// Namespace (empty for none) and name.
pub type Name = (String, String);

/// A change.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its revision.
    pub revision: u64,
    /// Of which resource.
    pub plural: &'static str,
    /// `ADDED`, `MODIFIED`, `DELETED`.
    pub verb: &'static str,
    /// The object after it, or its last state.
    pub object: Arc<Value>,
}

/// A store.
#[derive(Clone, Debug)]
pub struct Store {
    /// The newest revision.
    pub revision: u64,
    /// Changes up to here are forgotten.
    pub compacted: u64,
    objects: BTreeMap<&'static str, BTreeMap<Name, Arc<Value>>>,
    log: VecDeque<Change>,
    /// Lists that are read in pages, by their revision.
    pages: BTreeMap<(u64, &'static str), Vec<Arc<Value>>>,
    seed: u64,
    next_uid: u64,
}

/// Namespace and name of an object.
#[must_use]
pub fn name_of(object: &Value) -> Name {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    (text("/metadata/namespace").to_owned(), text("/metadata/name").to_owned())
}

impl Store {
    /// A new cluster, whose objects get UIDs of this seed.
    #[must_use]
    pub fn new(seed: u64, revision: u64) -> Store {
        let mut store = Store {
            revision,
            compacted: revision,
            objects: BTreeMap::new(),
            log: VecDeque::new(),
            pages: BTreeMap::new(),
            seed,
            next_uid: 0,
        };
        store.put(json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": "kube-system", "creationTimestamp": "1970-01-01T00:00:00Z" },
        }));
        store
    }

    /// An object by name.
    #[must_use]
    pub fn get(&self, plural: &str, name: &Name) -> Option<&Arc<Value>> {
        self.objects.get(plural)?.get(name)
    }

    /// All objects but Secrets.
    pub fn all_but_secrets(&self) -> impl Iterator<Item = &Value> {
        let others = self.objects.iter().filter(|(plural, _)| **plural != "secrets");
        others.flat_map(|(_, objects)| objects.values().map(|object| &**object))
    }

    /// All objects of a resource, in one namespace or in all, by name if wanted.
    #[must_use]
    pub fn list(
        &self,
        plural: &str,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> Vec<Arc<Value>> {
        let all = self.objects.get(plural).into_iter().flatten();
        all.filter(|((of, called), _)| {
            namespace.is_none_or(|wanted| wanted == of)
                && name.is_none_or(|wanted| wanted == called)
        })
        .map(|(_, object)| object.clone())
        .collect()
    }

    /// Creates or changes an object; gives it as it is now. UID and age stay.
    pub fn put(&mut self, mut object: Value) -> Option<Arc<Value>> {
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
        let plural = resource_of(kind)?.plural;
        let name = name_of(&object);
        let known = self.get(plural, &name).cloned();
        self.revision += 1;
        let metadata = object.get_mut("metadata")?.as_object_mut()?;
        let uid = match known.as_ref().and_then(|known| known.pointer("/metadata/uid")) {
            Some(uid) => uid.clone(),
            None => {
                self.next_uid += 1;
                json!(format!("00000000-0000-4000-{:04x}-{:012x}", self.seed, self.next_uid))
            }
        };
        metadata.insert("uid".to_owned(), uid);
        metadata.insert("resourceVersion".to_owned(), json!(self.revision.to_string()));
        let object = Arc::new(object);
        self.objects.entry(plural).or_default().insert(name, object.clone());
        let verb = if known.is_some() { "MODIFIED" } else { "ADDED" };
        self.log.push_back(Change {
            revision: self.revision,
            plural,
            verb,
            object: object.clone(),
        });
        Some(object)
    }

    /// Deletes an object.
    pub fn delete(&mut self, plural: &'static str, name: &Name) {
        let Some(known) = self.objects.get_mut(plural).and_then(|all| all.remove(name)) else {
            return;
        };
        self.revision += 1;
        let mut last = (*known).clone();
        if let Some(version) = last.pointer_mut("/metadata/resourceVersion") {
            *version = json!(self.revision.to_string());
        }
        self.log.push_back(Change {
            revision: self.revision,
            plural,
            verb: "DELETED",
            object: Arc::new(last),
        });
    }

    /// Forgets all changes, and the lists that are being read.
    pub fn compact(&mut self) {
        self.compacted = self.revision;
        self.log.clear();
        self.pages.clear();
    }

    /// Changes of a resource after a revision; nothing if that is forgotten.
    #[must_use]
    pub fn since(&self, plural: &str, revision: u64) -> Option<Vec<Change>> {
        if revision < self.compacted {
            return None;
        }
        let begin = self.log.partition_point(|change| change.revision <= revision);
        let later = self.log.range(begin..);
        Some(later.filter(|change| change.plural == plural).cloned().collect())
    }

    /// Keeps a list, to be read in pages.
    pub fn keep(&mut self, plural: &'static str, list: Vec<Arc<Value>>) -> u64 {
        self.pages.insert((self.revision, plural), list);
        self.revision
    }

    /// A list that was kept.
    #[must_use]
    pub fn kept(&self, plural: &'static str, revision: u64) -> Option<&Vec<Arc<Value>>> {
        self.pages.get(&(revision, plural))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_known_until_they_are_forgotten() {
        let mut store = Store::new(1, 100);
        let service = |port: u16| {
            json!({ "kind": "Service", "metadata": { "namespace": "a", "name": "b" },
                    "spec": { "port": port } })
        };
        let first = store.revision;
        let uid = store.put(service(1)).unwrap().pointer("/metadata/uid").cloned();
        assert_eq!(store.put(service(2)).unwrap().pointer("/metadata/uid").cloned(), uid);
        store.delete("services", &("a".to_owned(), "b".to_owned()));
        let verbs: Vec<_> =
            store.since("services", first).unwrap().iter().map(|c| c.verb).collect();
        assert_eq!(verbs, ["ADDED", "MODIFIED", "DELETED"]);
        store.compact();
        assert!(store.since("services", first).is_none());
        assert!(store.since("services", store.revision).unwrap().is_empty());
    }
}
