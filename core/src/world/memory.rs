//! What is known of a cluster, as data that outlives the process: absence is not deletion, also
//! when it is us who were away.
//!
//! Inputs: a World, once every first list was there. Outputs: a [`Memory`] of its objects and
//! stores, and the same put back into an empty World. What is put back is in force as what a list
//! lacks: nothing is rendered before the first complete lists, and those judge it
//! ([`super::absence`]). Not here: the file, the bytes of Secrets.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::absence::Absences;
use super::extent::{self, Extent};
use super::object::{Kind, Object, ObjectRef};
use super::{Fact, World};
use crate::time::Time;

/// The objects of a cluster and the stores they came from. Of Secrets, those that are referred to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The store of the last list of each extent: identity and revision.
    stores: Vec<(Extent, Box<str>, u64)>,
    objects: Vec<Object>,
    /// Those of them that lists did not have.
    held: Vec<ObjectRef>,
}

impl Memory {
    /// The Secrets in it.
    pub fn secrets(&self) -> impl Iterator<Item = &Object> {
        self.objects.iter().filter(|object| object.kind() == Kind::Secret)
    }

    /// Number of objects.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether it has no objects.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

impl World {
    /// What is known, to be remembered by the next process; `None` before every first list was
    /// there: half a table would make the other half look new.
    #[must_use]
    pub fn memory(&self) -> Option<Memory> {
        self.is_synced().then(|| Memory {
            stores: self.absences.stores(),
            objects: self.objects(),
            held: self.absences.held().cloned().collect(),
        })
    }

    /// Takes in what a process before this one knew. Counts only before anything was listed; what
    /// is not watched any more is left out, as no list would ever speak of it.
    pub fn remember(&mut self, memory: Memory, now: Time, changed: &mut BTreeSet<Fact>) {
        let expected = extent::expected(&self.settings);
        if self.unlisted != expected || !self.is_empty() {
            return;
        }
        let settings = self.settings.clone();
        let namespaces = &settings.scope.namespaces;
        let is_watched = |object: &ObjectRef| match object.kind {
            Kind::Secret => {
                namespaces.is_empty() || namespaces.iter().any(|n| **n == *object.name.namespace)
            }
            _ => expected.iter().any(|extent| extent.has(object)),
        };
        let Memory { stores, objects, held } = memory;
        let (kept, _): (Vec<Object>, Vec<Object>) =
            objects.into_iter().partition(|object| is_watched(&object.object_ref()));
        for object in kept {
            self.apply(object, changed);
        }
        let held: Vec<ObjectRef> = held.into_iter().filter(is_watched).collect();
        let hold_ms = self.settings.scope.absence.hold_ms;
        let until = (hold_ms > 0).then(|| now.plus_ms(hold_ms));
        self.restore_holds(Absences::remembered(stores, held, until));
    }

    /// Forgets remembered Secrets that nothing refers to: nobody will speak of them.
    pub(super) fn forget_secrets(&mut self, changed: &mut BTreeSet<Fact>) {
        let names: Vec<_> =
            self.secrets.keys().filter(|name| !self.is_followed(name)).cloned().collect();
        for name in names {
            self.remove(&ObjectRef { kind: Kind::Secret, name }, changed);
        }
    }
}
