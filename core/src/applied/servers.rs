//! The servers of a backend in a worker's memory.
//!
//! Most are as the worker loaded them from its files: those are told by the wanted backend they came
//! from, which is held anyway. So a fleet that runs as wanted costs one pointer a backend here, and is
//! compared by one. Only backends that commands have moved, or that were read back, list their own.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Admin, RunningServer};
use crate::desired::Backend;

/// Servers, sorted by address.
#[derive(Clone, Debug)]
pub struct Servers {
    /// The backend in the files whose servers they are, all ready, and whether in slots from 1 on.
    from: Option<(Arc<Backend>, bool)>,
    /// They themselves, if they are not.
    own: Vec<RunningServer>,
}

impl Servers {
    /// None.
    #[must_use]
    pub fn none() -> Servers {
        Servers { from: None, own: Vec::new() }
    }

    /// Those of a backend that a worker has just loaded.
    pub(super) fn loaded(from: &Arc<Backend>, in_slots: bool) -> Servers {
        Servers { from: Some((from.clone(), in_slots)), own: Vec::new() }
    }

    /// These, whatever their order.
    pub(super) fn own(mut own: Vec<RunningServer>) -> Servers {
        own.sort_unstable();
        Servers { from: None, own }
    }

    /// Whether they are exactly those of a wanted backend, by being its very own.
    #[must_use]
    pub fn are_of(&self, wanted: &Arc<Backend>) -> bool {
        self.from.as_ref().is_some_and(|(from, _)| Arc::ptr_eq(from, wanted))
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.from.as_ref().map_or(self.own.len(), |(from, _)| from.servers.len())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All, by address.
    pub fn iter(&self) -> impl Iterator<Item = RunningServer> + Clone {
        (0..self.len()).filter_map(|at| self.at(at))
    }

    /// The server with an address.
    #[must_use]
    pub fn get(&self, address: &SocketAddr) -> Option<RunningServer> {
        let at = match &self.from {
            Some((from, _)) => from.servers.binary_search(address),
            None => self.own.binary_search_by(|s| s.address.cmp(address)),
        };
        self.at(at.ok()?)
    }

    fn at(&self, at: usize) -> Option<RunningServer> {
        let Some((from, in_slots)) = &self.from else { return self.own.get(at).copied() };
        let address = *from.servers.get(at)?;
        let slot = if *in_slots { u16::try_from(at + 1).unwrap_or(u16::MAX) } else { 0 };
        Some(RunningServer { address, slot, state: Admin::Ready })
    }

    /// To be changed; whoever changes them keeps them sorted.
    pub(super) fn to_mut(&mut self) -> &mut Vec<RunningServer> {
        if self.from.is_some() {
            self.own = self.iter().collect();
            self.from = None;
        }
        &mut self.own
    }
}

impl PartialEq for Servers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Servers {}

impl Serialize for Servers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.iter().collect::<Vec<_>>().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Servers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Servers::own)
    }
}
