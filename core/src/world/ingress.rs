//! Ingresses, as far as routing needs them.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::object::{Address, Meta};

/// `networking.k8s.io/v1/Ingress`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingress {
    /// Metadata.
    pub meta: Meta,
    /// `spec.ingressClassName`.
    pub class: Option<Box<str>>,
    /// `spec.defaultBackend`.
    pub default_backend: Option<BackendRef>,
    /// `spec.rules`.
    pub rules: Vec<Rule>,
    /// `spec.tls`.
    pub tls: Vec<Tls>,
    /// `status.loadBalancer.ingress`.
    pub status: Vec<Address>,
}

impl Ingress {
    /// Whether nothing but the status tells them apart.
    #[must_use]
    pub fn is_same_but_for_status(&self, other: &Ingress) -> bool {
        let Ingress { meta, class, default_backend, rules, tls, status: _ } = self;
        *meta == other.meta
            && *class == other.class
            && *default_backend == other.default_backend
            && *rules == other.rules
            && *tls == other.tls
    }
}

/// One entry of `spec.rules`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// `host` as written; empty when absent.
    pub host: Box<str>,
    /// `http.paths`; empty when there is no `http`.
    pub paths: Vec<Path>,
}

/// One entry of `http.paths`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path {
    /// `path` as written; empty when absent.
    pub path: Box<str>,
    /// `pathType`.
    pub path_type: PathType,
    /// `backend`.
    pub backend: BackendRef,
}

/// `pathType`. An unknown value is decoded as `ImplementationSpecific` and noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PathType {
    /// The path and nothing else.
    Exact,
    /// By path element.
    Prefix,
    /// Ours: the same as `Prefix`.
    ImplementationSpecific,
}

/// What an Ingress path refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackendRef {
    /// `service`: a Service of the same namespace.
    Service {
        /// `service.name`.
        name: Arc<str>,
        /// `service.port`.
        port: PortRef,
    },
    /// Anything else: a `resource`, both at once, or nothing. The text says which.
    Unusable(Box<str>),
}

/// `service.port`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PortRef {
    /// By `name`.
    Name(Box<str>),
    /// By `number`.
    Number(u16),
}

/// One entry of `spec.tls`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// `hosts`, as written; empty means every host of the Ingress's rules.
    pub hosts: Vec<Box<str>>,
    /// `secretName`; `None` means the default certificate.
    pub secret: Option<Arc<str>>,
}
