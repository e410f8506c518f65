//! Extents: what a complete list covers, and which lists a controller waits for before it renders
//! anything. Never a partial table: one list that is missing holds up the first rendering.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use serde::{Deserialize, Serialize};

use super::object::{Kind, Name, ObjectRef};
use crate::settings::{Scope, Settings};

/// A kind, in one namespace or in all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Extent {
    /// The kind.
    pub kind: Kind,
    /// The namespace; `None` for all, and for kinds without namespace.
    pub namespace: Option<Box<str>>,
    /// The only object; `None` for all. Several ConfigMaps of a namespace are watched one by one.
    pub name: Option<Box<str>>,
}

impl Extent {
    /// Whether an object is in it.
    #[must_use]
    pub fn has(&self, object: &ObjectRef) -> bool {
        object.kind == self.kind && self.has_name(&object.name)
    }

    /// Whether a name of the kind is in it.
    #[must_use]
    pub fn has_name(&self, name: &Name) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| **namespace == *name.namespace)
            && self.name.as_ref().is_none_or(|only| **only == *name.name)
    }

    /// Whether all of it is in another one.
    #[must_use]
    pub fn is_within(&self, other: &Extent) -> bool {
        self.kind == other.kind
            && (other.namespace.is_none() || other.namespace == self.namespace)
            && (other.name.is_none() || other.name == self.name)
    }
}

/// What must be listed before anything is rendered. Secrets that arrive on demand are not in it:
/// nobody lists them.
#[must_use]
pub fn expected(settings: &Settings) -> BTreeSet<Extent> {
    let Scope {
        namespaces,
        namespace_labels,
        ingress_classes,
        nodes,
        custom_resources,
        secrets_on_demand,
        absence: _,
    } = &settings.scope;
    let mut expected = BTreeSet::new();
    let mut namespaced = |kind| {
        if namespaces.is_empty() {
            expected.insert(Extent { kind, namespace: None, name: None });
        }
        for namespace in namespaces {
            expected.insert(Extent { kind, namespace: Some(namespace.clone()), name: None });
        }
    };
    namespaced(Kind::Service);
    namespaced(Kind::EndpointSlice);
    namespaced(Kind::Ingress);
    if !secrets_on_demand {
        namespaced(Kind::Secret);
    }
    for kind in Kind::customs().filter(|_| *custom_resources) {
        namespaced(kind);
    }
    let cluster_wide = [
        // Nothing else of them is needed, and they take a right in the whole cluster.
        (Kind::Namespace, namespaces.is_empty() && !namespace_labels.is_empty()),
        (Kind::IngressClass, *ingress_classes),
        (Kind::Node, *nodes),
    ];
    for (kind, _) in cluster_wide.into_iter().filter(|(_, watched)| *watched) {
        expected.insert(Extent { kind, namespace: None, name: None });
    }
    for Name { namespace, name } in settings.all_config_maps() {
        let (namespace, name) = (Some((&**namespace).into()), Some((&**name).into()));
        expected.insert(Extent { kind: Kind::ConfigMap, namespace, name });
    }
    expected
}
