//! Kubernetes objects from few words, for worlds made by hand.

use std::net::IpAddr;
use std::sync::Arc;

use tidegate_core::digest::Digest;
use tidegate_core::world::object::{
    BackendRef, CertificateFacts, Endpoint, EndpointSlice, Ingress, IngressClass, KeyAlgorithm,
    Meta, Name, Object, Path, PathType, PortRef, Rule, Secret, Service, ServicePort, ServiceSource,
    SlicePort, Tls,
};

/// The class that every Ingress built here names.
pub const CLASS: &str = "tidegate";
/// Port of every pod.
pub const POD_PORT: u16 = 8080;

/// Metadata.
#[must_use]
pub fn meta(namespace: &str, name: &str, created: i64) -> Meta {
    Meta {
        name: Name::new(namespace, name),
        uid: "".into(),
        created,
        generation: 1,
        annotations: Vec::new(),
        notes: Vec::new(),
    }
}

/// The IngressClass that is ours.
#[must_use]
pub fn class() -> Object {
    Object::IngressClass(Arc::new(IngressClass {
        meta: meta("", CLASS, 0),
        controller: "tidegate.io/ingress-controller".into(),
        is_default: true,
    }))
}

/// A Service with the port `http` 80.
#[must_use]
pub fn service(namespace: &str, name: &str) -> Object {
    Object::Service(Arc::new(Service {
        meta: meta(namespace, name, 0),
        source: ServiceSource::Slices,
        ports: vec![ServicePort {
            name: PORT_NAME.into(),
            port: 80,
            app_protocol: None,
            node_port: None,
        }],
        local_traffic: false,
        addresses: Vec::new(),
    }))
}

/// The name of a Service's port.
pub const PORT_NAME: &str = "http";

/// The same as [`slice_of`] for a Service with one port.
#[must_use]
pub fn slice(
    namespace: &str,
    service: &str,
    number: u32,
    ready: &[IpAddr],
    leaving: &[IpAddr],
) -> Object {
    slice_of(namespace, service, number, &[PORT_NAME], ready, leaving)
}

/// A slice `SERVICE-NUMBER` with ready endpoints, and endpoints that only finish what they have.
#[must_use]
pub fn slice_of(
    namespace: &str,
    service: &str,
    number: u32,
    ports: &[&str],
    ready: &[IpAddr],
    leaving: &[IpAddr],
) -> Object {
    let port = |name: &&str| SlicePort { name: (*name).into(), port: Some(POD_PORT) };
    let endpoint = |ready: bool| {
        move |address: &IpAddr| Endpoint {
            address: *address,
            ready,
            serving: true,
            terminating: !ready,
        }
    };
    let endpoints =
        ready.iter().map(endpoint(true)).chain(leaving.iter().map(endpoint(false))).collect();
    Object::EndpointSlice(Arc::new(EndpointSlice {
        meta: meta(namespace, &format!("{service}-{number}"), 0),
        service: service.into(),
        ports: ports.iter().map(port).collect(),
        endpoints,
        nodes: Vec::new(),
    }))
}

/// A Secret with a usable certificate, whose digest is a number.
#[must_use]
pub fn secret(namespace: &str, name: &str, number: u8) -> Object {
    Object::Secret(Arc::new(Secret {
        meta: meta(namespace, name, 0),
        certificate: Some(Ok(CertificateFacts {
            digest: Digest([number; 16]),
            algorithm: KeyAlgorithm::Ecdsa,
            names: Vec::new(),
            not_before: 0,
            not_after: 4_000_000_000,
        })),
        authority: None,
        users: None,
    }))
}

/// An Ingress: one host, one prefix, one Service.
#[derive(Clone, Debug)]
pub struct Wants<'a> {
    /// Namespace and name.
    pub name: (&'a str, &'a str),
    /// Seconds since 1970.
    pub created: i64,
    /// Host.
    pub host: &'a str,
    /// Prefix.
    pub path: &'a str,
    /// Service.
    pub service: &'a str,
    /// Secret of the host's certificate.
    pub secret: Option<&'a str>,
    /// Annotations.
    pub annotations: &'a [(&'a str, &'a str)],
}

/// The Ingress that wants this.
#[must_use]
pub fn ingress(wants: &Wants<'_>) -> Object {
    let Wants { name: (namespace, name), created, host, path, service, secret, annotations } =
        *wants;
    let mut meta = meta(namespace, name, created);
    meta.annotations = annotations.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    meta.annotations.sort();
    let backend = BackendRef::Service { name: service.into(), port: PortRef::Number(80) };
    let path = Path { path: path.into(), path_type: PathType::Prefix, backend };
    let tls = secret.map(|secret| Tls { hosts: vec![host.into()], secret: Some(secret.into()) });
    Object::Ingress(Arc::new(Ingress {
        meta,
        class: Some(CLASS.into()),
        default_backend: None,
        rules: vec![Rule { host: host.into(), paths: vec![path] }],
        tls: tls.into_iter().collect(),
        status: Vec::new(),
    }))
}
