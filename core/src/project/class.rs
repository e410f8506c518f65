//! Which Ingresses are ours.

use alloc::sync::Arc;

use crate::world::custom::Custom;
use crate::world::lookup::Lookup;
use crate::world::object::{Ingress, Kind, ObjectRef};

/// The annotations that name a class; the first that is there counts. Those under haproxytech's
/// prefixes were read by that controller before its release 3.2.
const LEGACY: [&str; 4] = [
    "kubernetes.io/ingress.class",
    "haproxy.org/ingress.class",
    "haproxy.com/ingress.class",
    "ingress.kubernetes.io/ingress.class",
];

/// Where haproxytech's TCP resources name their class.
const THEIRS: &str = "ingress.class";

/// Whether an Ingress is ours: by the controller of its class, by the legacy annotation, or, when
/// it names neither, by the default class or the setting for class-less Ingresses.
///
/// Rule: `networking.k8s.io/v1` IngressSpec.ingressClassName; the legacy annotation
/// `kubernetes.io/ingress.class` is a free name and takes precedence only when no class is named.
/// Where IngressClasses cannot be watched, ours is the one with the name of the legacy annotation.
pub fn is_ours(lookup: &mut Lookup<'_>, ingress: &Ingress) -> bool {
    is_of_our_class(lookup, ingress) && is_admitted(lookup, &ingress.meta.name.namespace)
}

/// Whether a TCP resource is ours, by its annotation; `None` when it names no class and might be any
/// controller's.
pub fn of_tcp(lookup: &mut Lookup<'_>, custom: &Custom) -> Option<bool> {
    if !is_admitted(lookup, &custom.meta.name.namespace) {
        return Some(false);
    }
    let settings = lookup.settings();
    let named = [THEIRS].iter().chain(&LEGACY).find_map(|key| custom.meta.annotation(key));
    match named {
        Some(class) => Some(*class == *settings.legacy_class),
        None => settings.classless.then_some(true),
    }
}

/// Whether the Ingresses of a namespace are served, by the labels of the Namespace.
fn is_admitted(lookup: &mut Lookup<'_>, namespace: &Arc<str>) -> bool {
    let scope = &lookup.settings().scope;
    if scope.namespace_labels.is_empty() || !scope.namespaces.is_empty() {
        return true;
    }
    let Some(found) = lookup.namespace(namespace) else { return false };
    scope.namespace_labels.iter().all(|label| found.labels.contains(label))
}

fn is_of_our_class(lookup: &mut Lookup<'_>, ingress: &Ingress) -> bool {
    let controller = &lookup.settings().controller_name;
    if let Some(class) = &ingress.class {
        if !lookup.settings().scope.ingress_classes {
            return **class == *lookup.settings().legacy_class;
        }
        return lookup.class(class).is_some_and(|c| c.controller == *controller);
    }
    if let Some(legacy) = LEGACY.iter().find_map(|key| ingress.meta.annotation(key)) {
        return *legacy == *lookup.settings().legacy_class;
    }
    lookup.settings().classless
        || lookup.default_class().is_some_and(|c| c.controller == *controller)
}

/// Why an Ingress is withheld, if it is.
pub fn quarantined<'w>(lookup: &mut Lookup<'w>, ingress: &Ingress) -> Option<&'w str> {
    lookup.quarantined(&ObjectRef { kind: Kind::Ingress, name: ingress.meta.name.clone() })
}
