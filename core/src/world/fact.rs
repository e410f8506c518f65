//! Facts: what a projection may read. The unit in which changes are told.

use alloc::boxed::Box;
use alloc::sync::Arc;

use super::custom::Part;
use super::object::{Name, ObjectRef};
use crate::settings::Role;
use crate::shard::{Fnv, ShardKey};

/// Something a projection may read, or find absent. A changed fact dirties its readers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// What HAProxy can do.
    Capabilities,
    /// The controller's own ConfigMap.
    ConfigMap,
    /// What the controller's own ConfigMap says about routes and backends: all but the static part.
    Defaults,
    /// The default IngressClass.
    DefaultClass,
    /// The problems of the source.
    Source,
    /// An IngressClass.
    Class(Arc<str>),
    /// The set of Ingresses with a rule (or default backend) for a host.
    Host(Arc<str>),
    /// The set of Ingresses with a TLS entry for a host.
    TlsHost(Arc<str>),
    /// An Ingress.
    Ingress(Name),
    /// A Service.
    Service(Name),
    /// The slices of a Service, together.
    Slices(Name),
    /// A Secret.
    Secret(Name),
    /// The addresses of a DNS name.
    Resolved(Box<str>),
    /// Whether an object is quarantined, and why.
    Quarantined(ObjectRef),
    /// The status of an Ingress. No projection reads it.
    Status(Name),
    /// The Nodes, together.
    Nodes,
    /// A Namespace.
    Namespace(Arc<str>),
    /// What is wrong with the ConfigMaps of a role, and what of them is of the static part.
    Role(Role),
    /// Whether a pattern file can be used as a list of networks, and why not.
    PatternState(Box<str>),
    /// The content of a pattern file.
    Pattern(Box<str>),
    /// What an object's snippets amount to.
    Snippet(ObjectRef),
    /// A custom resource, in whichever version of the API.
    Custom(Part, Name),
    /// The custom resources of TCP services, together.
    TcpResources,
}

impl ShardKey for Fact {
    fn shard(&self, hash: &mut Fnv) {
        match self {
            Fact::Capabilities => hash.bytes(b"1"),
            Fact::ConfigMap | Fact::Defaults => hash.bytes(b"2"),
            Fact::DefaultClass => hash.bytes(b"3"),
            Fact::Source => hash.bytes(b"4"),
            Fact::Nodes => hash.bytes(b"5"),
            Fact::Class(text) | Fact::Namespace(text) => text.shard(hash),
            Fact::Host(text) | Fact::TlsHost(text) => text.shard(hash),
            Fact::Ingress(name) | Fact::Service(name) => name.shard(hash),
            Fact::Slices(name) | Fact::Secret(name) | Fact::Status(name) => name.shard(hash),
            Fact::Custom(_, name) => name.shard(hash),
            Fact::Role(_) => hash.bytes(b"6"),
            Fact::TcpResources => hash.bytes(b"7"),
            Fact::Resolved(text) | Fact::Pattern(text) | Fact::PatternState(text) => {
                (**text).shard(hash)
            }
            Fact::Quarantined(object) | Fact::Snippet(object) => object.name.shard(hash),
        }
    }
}
