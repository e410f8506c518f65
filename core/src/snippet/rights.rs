//! Who may write snippets, and where.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::Place;
use crate::annotations::Refusal;
use crate::world::object::{Kind, ObjectRef};

/// Who may write snippets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// Namespaces whose Ingresses and Services may.
    pub namespaces: Vec<Box<str>>,
    /// Places where nobody may.
    pub disabled: Vec<Place>,
}

impl Rights {
    /// Why an object may have none in a place, and how to change that.
    #[must_use]
    pub fn refuses(&self, object: &ObjectRef, place: Place) -> Option<Refusal> {
        let namespace = &object.name.namespace;
        if self.disabled.contains(&place) {
            let what = format!("{} snippets are switched off", place.name());
            return Some(Refusal::new(what, "--disable-config-snippets switches them off"));
        }
        let is_operators = object.kind == Kind::ConfigMap;
        if !is_operators && !self.namespaces.iter().any(|allowed| **allowed == **namespace) {
            let what = format!("namespace {namespace} may not use snippets");
            return Some(Refusal::new(what, "the operator allows it by --snippet-namespaces"));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_namespaces_may_and_the_operator_may_anywhere() {
        let who = Rights { namespaces: Vec::from(["a".into()]), disabled: Vec::new() };
        let of = |kind, namespace| ObjectRef::new(kind, namespace, "x");
        assert!(who.refuses(&of(Kind::Ingress, "a"), Place::Backend).is_none());
        assert!(who.refuses(&of(Kind::Ingress, "b"), Place::Backend).is_some());
        assert!(who.refuses(&of(Kind::ConfigMap, "b"), Place::Global).is_none());
        let who = Rights { namespaces: Vec::new(), disabled: Vec::from([Place::Global]) };
        assert!(who.refuses(&of(Kind::ConfigMap, "b"), Place::Global).is_some());
    }
}
