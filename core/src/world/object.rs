//! Our trimmed copies of Kubernetes objects: what routing needs and nothing else.
//!
//! The adapters decode API objects into these leniently: a field of the wrong shape is left out
//! and noted in [`Meta::notes`], so one bad field never makes an object vanish.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use serde::{Deserialize, Serialize};

use super::custom::{Api, Custom, Part};
pub use super::ingress::{BackendRef, Ingress, Path, PathType, PortRef, Rule, Tls};
use crate::digest::Digest;

/// The kinds tidegate reads. Order: what others refer to comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// `v1/Namespace`
    Namespace,
    /// `v1/ConfigMap`, the controller's own only
    ConfigMap,
    /// `networking.k8s.io/v1/IngressClass`
    IngressClass,
    /// `v1/Secret`
    Secret,
    /// `v1/Service`
    Service,
    /// `discovery.k8s.io/v1/EndpointSlice`
    EndpointSlice,
    /// `networking.k8s.io/v1/Ingress`
    Ingress,
    /// `v1/Node`
    Node,
    /// A custom resource of haproxytech's.
    Custom(Part, Api),
}

impl Kind {
    /// Every kind, in order.
    pub const ALL: [Kind; 17] = [
        Kind::Namespace,
        Kind::ConfigMap,
        Kind::IngressClass,
        Kind::Secret,
        Kind::Service,
        Kind::EndpointSlice,
        Kind::Ingress,
        Kind::Node,
        Kind::Custom(Part::Global, Api::V3),
        Kind::Custom(Part::Global, Api::V1),
        Kind::Custom(Part::Defaults, Api::V3),
        Kind::Custom(Part::Defaults, Api::V1),
        Kind::Custom(Part::Frontend, Api::V3),
        Kind::Custom(Part::Backend, Api::V3),
        Kind::Custom(Part::Backend, Api::V1),
        Kind::Custom(Part::Tcp, Api::V3),
        Kind::Custom(Part::Tcp, Api::V1),
    ];

    /// The kinds of custom resources.
    pub fn customs() -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(|kind| matches!(kind, Kind::Custom(..)))
    }

    /// The name Kubernetes uses in `kind:`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Namespace => "Namespace",
            Kind::ConfigMap => "ConfigMap",
            Kind::IngressClass => "IngressClass",
            Kind::Secret => "Secret",
            Kind::Service => "Service",
            Kind::EndpointSlice => "EndpointSlice",
            Kind::Ingress => "Ingress",
            Kind::Node => "Node",
            Kind::Custom(part, _) => part.name(),
        }
    }
}

/// Namespace (empty for cluster-scoped kinds) and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Name {
    /// Namespace; empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// Object name.
    pub name: Arc<str>,
}

impl Name {
    /// A name from its parts.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Name {
        Name { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// Which object: kind and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Kind.
    pub kind: Kind,
    /// Namespace and name.
    pub name: Name,
}

impl ObjectRef {
    /// A reference from its parts.
    #[must_use]
    pub fn new(kind: Kind, namespace: &str, name: &str) -> ObjectRef {
        ObjectRef { kind, name: Name::new(namespace, name) }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.name)
    }
}

/// A field that could not be decoded and was left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Note {
    /// Path of the field, such as `spec.rules[0].host`.
    pub field: Box<str>,
    /// What is wrong with it.
    pub message: Box<str>,
}

/// The object metadata we keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Namespace and name.
    pub name: Name,
    /// `metadata.uid`; empty when the source has none (a manifest in a folder).
    pub uid: Box<str>,
    /// `metadata.creationTimestamp` in seconds since 1970; 0 when the source has none.
    pub created: i64,
    /// `metadata.generation`.
    pub generation: i64,
    /// Annotations under the prefixes tidegate knows, sorted by full key; the others are dropped.
    pub annotations: Vec<(Box<str>, Box<str>)>,
    /// Fields left out by the decoder.
    pub notes: Vec<Note>,
}

impl Meta {
    /// The value of an annotation by its full key.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        let at = self.annotations.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        self.annotations.get(at).map(|(_, v)| &**v)
    }

    /// The order in which claims on the same thing win: oldest first, then by name.
    #[must_use]
    pub fn seniority(&self) -> (i64, &Name) {
        (self.created, &self.name)
    }
}

/// Any object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Object {
    /// `v1/Namespace`
    Namespace(Arc<Namespace>),
    /// `v1/ConfigMap`
    ConfigMap(Arc<ConfigMap>),
    /// `networking.k8s.io/v1/IngressClass`
    IngressClass(Arc<IngressClass>),
    /// `v1/Secret`
    Secret(Arc<Secret>),
    /// `v1/Service`
    Service(Arc<Service>),
    /// `discovery.k8s.io/v1/EndpointSlice`
    EndpointSlice(Arc<EndpointSlice>),
    /// `networking.k8s.io/v1/Ingress`
    Ingress(Arc<Ingress>),
    /// `v1/Node`
    Node(Arc<Node>),
    /// A custom resource of haproxytech's.
    Custom(Arc<Custom>),
}

impl Object {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Object::Namespace(_) => Kind::Namespace,
            Object::ConfigMap(_) => Kind::ConfigMap,
            Object::IngressClass(_) => Kind::IngressClass,
            Object::Secret(_) => Kind::Secret,
            Object::Service(_) => Kind::Service,
            Object::EndpointSlice(_) => Kind::EndpointSlice,
            Object::Ingress(_) => Kind::Ingress,
            Object::Node(_) => Kind::Node,
            Object::Custom(o) => o.kind(),
        }
    }

    /// Its metadata.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        match self {
            Object::Namespace(o) => &o.meta,
            Object::ConfigMap(o) => &o.meta,
            Object::IngressClass(o) => &o.meta,
            Object::Secret(o) => &o.meta,
            Object::Service(o) => &o.meta,
            Object::EndpointSlice(o) => &o.meta,
            Object::Ingress(o) => &o.meta,
            Object::Node(o) => &o.meta,
            Object::Custom(o) => &o.meta,
        }
    }

    /// Kind and name.
    #[must_use]
    pub fn object_ref(&self) -> ObjectRef {
        ObjectRef { kind: self.kind(), name: self.meta().name.clone() }
    }
}

/// `v1/Namespace`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Metadata.
    pub meta: Meta,
    /// `metadata.labels`, sorted.
    pub labels: Vec<(Box<str>, Box<str>)>,
}

/// `v1/ConfigMap`: the controller's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigMap {
    /// Metadata.
    pub meta: Meta,
    /// `data`.
    pub data: BTreeMap<Box<str>, Box<str>>,
}

/// `networking.k8s.io/v1/IngressClass`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngressClass {
    /// Metadata.
    pub meta: Meta,
    /// `spec.controller`.
    pub controller: Box<str>,
    /// Annotation `ingressclass.kubernetes.io/is-default-class: "true"`.
    pub is_default: bool,
}

/// `v1/Secret`: public facts only. The bytes stay in the adapter's vault under the digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Metadata.
    pub meta: Meta,
    /// What `tls.crt` and `tls.key` hold; `None` when both keys are absent.
    pub certificate: Option<Result<CertificateFacts, Box<str>>>,
    /// What `ca.crt` holds (or `tls.crt` when it holds CA certificates only), with `ca.crl`.
    pub authority: Option<Result<AuthorityFacts, Box<str>>>,
    /// The users in it; `None` when it holds certificates.
    pub users: Option<Result<UserFacts, Box<str>>>,
}

/// A list of users with the hashes of their passwords. Neither is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserFacts {
    /// Keyed digest of the list; the vault's key.
    pub digest: Digest,
    /// Entries that cannot be used: where they stand (`data.auth, line 3`), and why.
    pub refused: Vec<(Box<str>, Box<str>)>,
}

/// A certificate chain with its matching private key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFacts {
    /// Keyed digest of chain and key; the vault's key.
    pub digest: Digest,
    /// Algorithm of the key.
    pub algorithm: KeyAlgorithm,
    /// DNS names of the leaf (subject alternative names), lower case.
    pub names: Vec<Box<str>>,
    /// Validity of the leaf, seconds since 1970.
    pub not_before: i64,
    /// Validity of the leaf, seconds since 1970.
    pub not_after: i64,
}

/// Certificates of authorities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityFacts {
    /// Keyed digest of the bundle; the vault's key.
    pub digest: Digest,
    /// Earliest end of validity, seconds since 1970.
    pub not_after: i64,
    /// Whether lists of revoked certificates (`ca.crl`) are part of the bundle.
    pub revokes: bool,
}

/// Algorithm of a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum KeyAlgorithm {
    /// RSA.
    Rsa,
    /// Elliptic curve.
    Ecdsa,
    /// Anything else HAProxy may know (Ed25519).
    Other,
}

/// `v1/Service`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Metadata.
    pub meta: Meta,
    /// Where its endpoints come from.
    pub source: ServiceSource,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.externalTrafficPolicy: Local`: its node ports answer only on Nodes with a ready pod.
    pub local_traffic: bool,
    /// Where it is reached from outside: `status.loadBalancer.ingress`, else `spec.externalIPs`,
    /// else `spec.clusterIPs`.
    pub addresses: Vec<Address>,
}

/// Where the endpoints of a Service come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceSource {
    /// EndpointSlices (ClusterIP, NodePort, LoadBalancer, headless, no selector).
    Slices,
    /// `type: ExternalName`: a DNS name, lower case.
    ExternalName(Box<str>),
}

/// One entry of `spec.ports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    /// `name`; empty when absent.
    pub name: Box<str>,
    /// `port`.
    pub port: u16,
    /// `appProtocol`.
    pub app_protocol: Option<Box<str>>,
    /// `nodePort`.
    pub node_port: Option<u16>,
}

/// `discovery.k8s.io/v1/EndpointSlice`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSlice {
    /// Metadata (no annotations).
    pub meta: Meta,
    /// Label `kubernetes.io/service-name`; empty when absent.
    pub service: Arc<str>,
    /// `ports`.
    pub ports: Vec<SlicePort>,
    /// `endpoints`: one entry for the first address of each. `addressType: FQDN` gives none.
    pub endpoints: Vec<Endpoint>,
    /// `nodeName` of the ready endpoints, sorted, without duplicates.
    pub nodes: Vec<Arc<str>>,
}

/// One entry of a slice's `ports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlicePort {
    /// `name`: the Service port's name; empty when absent.
    pub name: Box<str>,
    /// `port`; `None` means all ports, which a proxy cannot use.
    pub port: Option<u16>,
}

/// One endpoint. Absent conditions are decoded as the API defines them: ready and serving are
/// true, terminating is false (`discovery/v1` EndpointConditions).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// First address.
    pub address: IpAddr,
    /// `conditions.ready`.
    pub ready: bool,
    /// `conditions.serving`.
    pub serving: bool,
    /// `conditions.terminating`.
    pub terminating: bool,
}

/// An address under which something is reached: an entry of `status.loadBalancer.ingress`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Address {
    /// `ip`
    Ip(IpAddr),
    /// `hostname`
    Host(Box<str>),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Host(host) => f.write_str(host),
        }
    }
}

/// `v1/Node`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Metadata.
    pub meta: Meta,
    /// `status.addresses` of type `InternalIP`.
    pub internal: Vec<IpAddr>,
    /// `status.addresses` of type `ExternalIP`.
    pub external: Vec<IpAddr>,
    /// Condition `Ready` is true.
    pub ready: bool,
}
