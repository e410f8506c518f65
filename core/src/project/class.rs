//! Which Ingresses are ours.

use crate::world::lookup::Lookup;
use crate::world::object::{Ingress, Kind, ObjectRef};

/// Whether an Ingress is ours: by the controller of its class, by the legacy annotation, or, when
/// it names neither, by the default class or the setting for class-less Ingresses.
///
/// Rule: `networking.k8s.io/v1` IngressSpec.ingressClassName; the legacy annotation
/// `kubernetes.io/ingress.class` is a free name and takes precedence only when no class is named.
pub fn is_ours(lookup: &mut Lookup<'_>, ingress: &Ingress) -> bool {
    let controller = &lookup.settings().controller_name;
    if let Some(class) = &ingress.class {
        return lookup.class(class).is_some_and(|c| c.controller == *controller);
    }
    if let Some(legacy) = ingress.meta.annotation("kubernetes.io/ingress.class") {
        return *legacy == *lookup.settings().legacy_class;
    }
    lookup.settings().classless
        || lookup.default_class().is_some_and(|c| c.controller == *controller)
}

/// Why an Ingress is withheld, if it is.
pub fn quarantined<'w>(lookup: &mut Lookup<'w>, ingress: &Ingress) -> Option<&'w str> {
    lookup.quarantined(&ObjectRef { kind: Kind::Ingress, name: ingress.meta.name.clone() })
}
