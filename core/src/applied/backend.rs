//! A backend in a worker's memory, with its servers: as read back, and moved by commands that were
//! done. Not here: which backends there are.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

use super::Servers;
use crate::action::{RuntimeCommand, ServerState};
use crate::capability::Capabilities;
use crate::desired::Backend;
use crate::desired::backend::{address_in, server_name, slot_name};
use crate::event::ObservedBackend;
use crate::render;
use crate::time::Time;

/// A backend in a worker's memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningBackend {
    /// Its name in HAProxy.
    pub physical: Arc<str>,
    /// Whether rules may select it.
    pub published: Published,
    /// Its servers.
    pub servers: Servers,
    /// Unused slots, where servers have slots.
    pub free_slots: BTreeSet<u16>,
}

/// Whether rules may select a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Published {
    /// They may.
    Yes,
    /// They pass it over.
    No,
    /// A read-back does not show it. Both commands are safe to repeat.
    Unknown,
}

/// A server in a worker's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RunningServer {
    /// Its address.
    pub address: SocketAddr,
    /// Its slot; 0 when it is named by its address.
    pub slot: u16,
    /// Its state.
    pub state: Admin,
}

/// Administrative state as we know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Admin {
    /// Takes traffic.
    Ready,
    /// In maintenance since then (or just added).
    Maint(Time),
}

fn first_free_slot(wanted: &Backend, capabilities: &Capabilities) -> u16 {
    let used = if capabilities.dynamic_servers { 0 } else { wanted.servers.len() };
    u16::try_from(used).unwrap_or(u16::MAX).saturating_add(1)
}

impl RunningServer {
    /// Its name in HAProxy.
    #[must_use]
    pub fn name(&self) -> Arc<str> {
        if self.slot == 0 { server_name(&self.address) } else { slot_name(self.slot) }
    }

    /// Whether a server has this name.
    fn named(name: &str) -> impl Fn(&RunningServer) -> bool {
        let address = address_in(name);
        move |server| match address {
            Some(address) => server.slot == 0 && server.address == address,
            None => server.slot != 0 && *server.name() == *name,
        }
    }
}

impl RunningBackend {
    /// Whether its servers are exactly those wanted. A slot whose endpoint is gone does not count,
    /// nor whether an empty backend is published: it answers 503 either way.
    #[must_use]
    pub fn is_as_wanted(&self, wanted: &Arc<Backend>) -> bool {
        let published = self.published == Published::Yes || wanted.servers.is_empty();
        if self.servers.are_of(wanted) {
            return published;
        }
        let counts = |s: &RunningServer| s.slot == 0 || s.state == Admin::Ready;
        let servers = self.servers.iter().filter(counts);
        published
            && servers.clone().count() == wanted.servers.len()
            && servers
                .zip(&wanted.servers)
                .all(|(server, address)| server.address == *address && server.state == Admin::Ready)
    }

    /// Whether any server takes traffic that is not wanted.
    #[must_use]
    pub fn has_strangers(&self, wanted: &Arc<Backend>) -> bool {
        let is_strange = |s: &RunningServer| wanted.servers.binary_search(&s.address).is_err();
        !self.servers.are_of(wanted)
            && self.servers.iter().any(|s| s.state == Admin::Ready && is_strange(&s))
    }

    /// Whether any server takes traffic.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        self.servers.iter().any(|s| s.state == Admin::Ready)
    }
}

impl RunningBackend {
    /// As a worker has it that has just loaded its files.
    pub(super) fn loaded(wanted: &Arc<Backend>, capabilities: &Capabilities) -> RunningBackend {
        let slots = render::backend::slots(capabilities, wanted.servers.len());
        let first_free = first_free_slot(wanted, capabilities);
        RunningBackend {
            physical: wanted.name.clone(),
            published: Published::Yes,
            servers: Servers::loaded(wanted, !capabilities.dynamic_servers),
            free_slots: (first_free..=slots).collect(),
        }
    }

    /// Whether it is what [`RunningBackend::loaded`] gives, and shares the servers.
    pub(super) fn is_as_loaded(&self, wanted: &Arc<Backend>, capabilities: &Capabilities) -> bool {
        let slots = render::backend::slots(capabilities, wanted.servers.len());
        let first_free = first_free_slot(wanted, capabilities);
        self.servers.are_of(wanted)
            && self.physical == wanted.name
            && self.published == Published::Yes
            && (first_free..=slots).eq(self.free_slots.iter().copied())
    }

    /// Shares the servers with the wanted backend, if they are the same.
    pub(super) fn share(&mut self, wanted: &Arc<Backend>, capabilities: &Capabilities) {
        let loaded = Servers::loaded(wanted, !capabilities.dynamic_servers);
        if !self.servers.are_of(wanted) && self.servers == loaded {
            self.servers = loaded;
        }
    }

    /// As read back.
    pub(super) fn observed(
        physical: Arc<str>,
        backend: &ObservedBackend,
        now: Time,
    ) -> RunningBackend {
        let mut servers = Vec::with_capacity(backend.servers.len());
        let mut free_slots = BTreeSet::new();
        for server in &backend.servers {
            match server.address {
                Some(address) => servers.push(RunningServer {
                    address,
                    slot: server.slot,
                    state: if server.ready { Admin::Ready } else { Admin::Maint(now) },
                }),
                None => free_slots.extend(Some(server.slot).filter(|slot| *slot != 0)),
            }
        }
        // A backend is unpublished after its servers were put into maintenance.
        let serves = servers.iter().any(|s| s.state == Admin::Ready);
        let published = if serves { Published::Yes } else { Published::Unknown };
        RunningBackend { physical, published, servers: Servers::own(servers), free_slots }
    }

    /// Takes in a command about it that was done.
    pub(super) fn apply(&mut self, command: &RuntimeCommand, now: Time) {
        match command {
            RuntimeCommand::PublishBackend { .. } => self.published = Published::Yes,
            RuntimeCommand::UnpublishBackend { .. } => self.published = Published::No,
            RuntimeCommand::AddServer { address, .. } => {
                let server = RunningServer { address: *address, slot: 0, state: Admin::Maint(now) };
                self.insert(server);
            }
            RuntimeCommand::SetServerAddress { server, address, .. } => {
                let Some(slot) = server.strip_prefix('s').and_then(|n| n.parse().ok()) else {
                    return;
                };
                self.free_slots.remove(&slot);
                self.servers.to_mut().retain(|s| s.slot != slot);
                self.insert(RunningServer { address: *address, slot, state: Admin::Maint(now) });
            }
            RuntimeCommand::SetServerState { server, state, .. } => {
                let is_it = RunningServer::named(server);
                let found = self.servers.to_mut().iter_mut().find(|s| is_it(s));
                if let Some(found) = found {
                    found.state = match state {
                        ServerState::Ready => Admin::Ready,
                        ServerState::Drain | ServerState::Maint => Admin::Maint(now),
                    };
                }
            }
            RuntimeCommand::DeleteServer { server, .. } => {
                let is_it = RunningServer::named(server);
                self.servers.to_mut().retain(|s| !is_it(s));
            }
            _ => {}
        }
    }

    fn insert(&mut self, server: RunningServer) {
        let servers = self.servers.to_mut();
        match servers.binary_search_by(|s| s.address.cmp(&server.address)) {
            Ok(at) => {
                if let Some(old) = servers.get_mut(at) {
                    *old = server;
                }
            }
            Err(at) => servers.insert(at, server),
        }
    }
}
