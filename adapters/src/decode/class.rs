//! Decoding of `networking.k8s.io/v1/IngressClass` and `v1/Namespace`.

use tidegate_core::world::object::{IngressClass, Meta, Namespace};

/// The IngressClass of its parts. `spec.parameters` is not read.
pub(super) fn ingress_class(
    meta: Meta,
    controller: Option<Box<str>>,
    is_default: bool,
) -> IngressClass {
    IngressClass { meta, controller: controller.unwrap_or_default(), is_default }
}

/// The Namespace of its parts.
pub(super) fn namespace(meta: Meta, labels: Vec<(Box<str>, Box<str>)>) -> Namespace {
    Namespace { meta, labels }
}
