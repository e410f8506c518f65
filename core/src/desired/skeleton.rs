//! The static part of the configuration: what only a reload can change.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

use crate::capability::Capabilities;
use crate::settings::{Listen, Quic};
use crate::snippet::{Place, Snippet};
use crate::world::World;
use crate::world::lookup::Lookup;
use crate::world::named::ErrorFiles;

/// Everything the skeleton depends on. Two equal values render the same text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skeleton {
    /// Binds, sockets, process options.
    pub listen: Listen,
    /// What HAProxy can do; decides between forms of the same rule.
    pub capabilities: Arc<Capabilities>,
    /// Header names with a static rule each; empty where names are data.
    pub header_names: Vec<Arc<str>>,
    /// Whether servers are checked when asked for; not when that took more descriptors than
    /// HAProxy may open.
    pub checks: bool,
    /// Options of the frontend and the defaults, from the controller's ConfigMap: directive to
    /// encoded value.
    pub options: BTreeMap<Box<str>, Box<str>>,
    /// Whole answers that take the place of HAProxy's own, by status code.
    pub errors: Arc<ErrorFiles>,
    /// The other replicas that share tables, sorted.
    pub peers: Vec<SocketAddr>,
    /// Snippets by place; those of backends are not of the static part.
    pub snippets: BTreeMap<Place, Arc<Snippet>>,
    /// Ports of TCP services that are not bound from the beginning, sorted.
    pub tcp_ports: Vec<u16>,
    /// Whether TLS is passed through for any host, so that the HTTPS port looks at the SNI first.
    pub passthrough: bool,
}

impl Skeleton {
    /// The skeleton over a world of which nothing has been projected yet.
    #[must_use]
    pub fn initial(world: &World) -> Skeleton {
        Skeleton {
            listen: world.settings.listen.clone(),
            capabilities: Lookup::new(world).capabilities(),
            header_names: Vec::new(),
            checks: true,
            options: BTreeMap::new(),
            errors: Arc::default(),
            peers: Vec::new(),
            snippets: BTreeMap::new(),
            tcp_ports: Vec::new(),
            passthrough: false,
        }
    }

    /// Where HTTP/3 is served; `None` when nobody asked for it or this HAProxy cannot.
    #[must_use]
    pub fn quic(&self) -> Option<Quic> {
        self.listen.quic.filter(|_| self.capabilities.quic)
    }

    /// Whether there is any port for TCP services.
    #[must_use]
    pub fn has_tcp(&self) -> bool {
        self.listen.tcp_ports.is_some() || !self.tcp_ports.is_empty()
    }
}
