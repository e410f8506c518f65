//! Objects as the API server holds them.
//!
//! Inputs: objects of [`crate::build`], and certificates by number. Outputs: JSON. Not here: what
//! they mean.

use serde_json::{Value, json};
use tidegate_core::world::object::{BackendRef, Ingress, Meta, Object, PathType, PortRef};

/// The certificates that Secrets hold, by number; HAProxy refuses the last.
const CERTIFICATES: [(u8, &str); 5] = [
    (1, include_str!("pem/1.pem")),
    (2, include_str!("pem/2.pem")),
    (3, include_str!("pem/3.pem")),
    (4, include_str!("pem/4.pem")),
    (REFUSED, include_str!("pem/7.pem")),
];

/// The certificate that HAProxy refuses.
pub const REFUSED: u8 = 7;

/// The certificate for hosts that have none.
pub const SELF_SIGNED: &str = include_str!("pem/default.pem");

/// Chain and key of a certificate.
#[must_use]
pub fn certificate(number: u8) -> &'static str {
    let found = CERTIFICATES.iter().find(|(of, _)| *of == number);
    found.or(CERTIFICATES.first()).map_or("", |(_, pem)| pem)
}

/// The middle lines of the private keys of all Secrets.
pub fn private_lines() -> impl Iterator<Item = &'static str> {
    let keys =
        CERTIFICATES.iter().filter_map(|(_, pem)| pem.split("-----BEGIN PRIVATE KEY-----").nth(1));
    let lines = keys.flat_map(|key| key.lines().take_while(|line| !line.starts_with('-')));
    lines.filter(|line| line.len() >= 32)
}

/// A Secret with a certificate.
#[must_use]
pub fn secret(namespace: &str, name: &str, number: u8) -> Value {
    let pem = certificate(number);
    let at = pem.find("-----BEGIN PRIVATE").unwrap_or(pem.len());
    let (chain, key) = pem.split_at(at);
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": { "namespace": namespace, "name": name, "creationTimestamp": stamp(0) },
        "data": { "tls.crt": base64(chain.as_bytes()), "tls.key": base64(key.as_bytes()) },
    })
}

/// An object; nothing for kinds that [`crate::build`] does not make, and for Secrets.
#[must_use]
pub fn of(object: &Object) -> Option<Value> {
    Some(match object {
        Object::Service(service) => {
            let ports: Vec<Value> = service
                .ports
                .iter()
                .map(|port| {
                    json!({ "name": &*port.name, "port": port.port, "protocol": "TCP",
                            "targetPort": 8080 })
                })
                .collect();
            json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": meta(&service.meta),
                "spec": { "type": "ClusterIP", "clusterIP": "10.96.0.1", "ports": ports },
            })
        }
        Object::EndpointSlice(slice) => {
            let endpoints: Vec<Value> = slice
                .endpoints
                .iter()
                .map(|endpoint| {
                    json!({
                        "addresses": [endpoint.address.to_string()],
                        "conditions": {
                            "ready": endpoint.ready,
                            "serving": endpoint.serving,
                            "terminating": endpoint.terminating,
                        },
                    })
                })
                .collect();
            let ports: Vec<Value> = slice
                .ports
                .iter()
                .map(|port| json!({ "name": &*port.name, "port": port.port, "protocol": "TCP" }))
                .collect();
            let mut metadata = meta(&slice.meta);
            if let Some(fields) = metadata.as_object_mut() {
                let labels = json!({ "kubernetes.io/service-name": &*slice.service });
                fields.insert("labels".to_owned(), labels);
            }
            json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": metadata,
                "addressType": "IPv4",
                "endpoints": endpoints,
                "ports": ports,
            })
        }
        Object::Ingress(wanted) => ingress(wanted),
        Object::IngressClass(class) => {
            let mut metadata = meta(&class.meta);
            if let Some(fields) = metadata.as_object_mut().filter(|_| class.is_default) {
                let key = "ingressclass.kubernetes.io/is-default-class";
                fields.insert("annotations".to_owned(), json!({ key: "true" }));
            }
            json!({
                "apiVersion": "networking.k8s.io/v1",
                "kind": "IngressClass",
                "metadata": metadata,
                "spec": { "controller": &*class.controller },
            })
        }
        Object::Namespace(_)
        | Object::ConfigMap(_)
        | Object::Secret(_)
        | Object::Custom(_)
        | Object::Node(_) => {
            return None;
        }
    })
}

fn ingress(wanted: &Ingress) -> Value {
    let rules: Vec<Value> = wanted
        .rules
        .iter()
        .map(|rule| {
            let paths: Vec<Value> = rule
                .paths
                .iter()
                .map(|path| {
                    let backend = match &path.backend {
                        BackendRef::Service { name, port: PortRef::Number(number) } => {
                            json!({ "service": { "name": &**name, "port": { "number": number } } })
                        }
                        other => json!({ "unknown": format!("{other:?}") }),
                    };
                    let kind = match path.path_type {
                        PathType::Exact => "Exact",
                        PathType::Prefix => "Prefix",
                        PathType::ImplementationSpecific => "ImplementationSpecific",
                    };
                    json!({ "path": &*path.path, "pathType": kind, "backend": backend })
                })
                .collect();
            json!({ "host": &*rule.host, "http": { "paths": paths } })
        })
        .collect();
    let tls: Vec<Value> = wanted
        .tls
        .iter()
        .map(|tls| {
            let hosts: Vec<&str> = tls.hosts.iter().map(|host| &**host).collect();
            json!({ "hosts": hosts, "secretName": tls.secret.as_deref() })
        })
        .collect();
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": meta(&wanted.meta),
        "spec": { "ingressClassName": wanted.class.as_deref(), "rules": rules, "tls": tls },
    })
}

fn meta(meta: &Meta) -> Value {
    let annotations: serde_json::Map<String, Value> =
        meta.annotations.iter().map(|(key, value)| (key.to_string(), json!(&**value))).collect();
    let mut out = json!({
        "name": &*meta.name.name,
        "creationTimestamp": stamp(meta.created),
        "generation": 1,
        "annotations": annotations,
    });
    if let Some(fields) = out.as_object_mut().filter(|_| !meta.name.namespace.is_empty()) {
        fields.insert("namespace".to_owned(), json!(&*meta.name.namespace));
    }
    out
}

/// RFC 3339 for the first day of 1970, which is enough for ages.
pub(super) fn stamp(seconds: i64) -> String {
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    format!("1970-01-01T{:02}:{:02}:{seconds:02}Z", (minutes / 60) % 24, minutes % 60)
}

/// RFC 4648.
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let mut word = 0_u32;
        for at in 0..3 {
            word = word << 8 | u32::from(chunk.get(at).copied().unwrap_or(0));
        }
        for at in 0..4 {
            let digit = DIGITS.get((word >> (18 - 6 * at) & 63) as usize).copied();
            let digit = if at <= chunk.len() { digit.unwrap_or(b'=') } else { b'=' };
            out.push(char::from(digit));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foobar", "Zm9vYmFy")] {
            assert_eq!(super::base64(plain.as_bytes()), coded);
        }
    }
}
