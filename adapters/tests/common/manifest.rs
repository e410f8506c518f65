//! Kubernetes objects as JSON, in namespace `test` unless said otherwise.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::pods::Pod;

/// Namespace of the samples.
pub const NAMESPACE: &str = "test";

/// Our class, and one that belongs to nobody.
pub fn classes() -> Vec<Value> {
    vec![class("tidegate", "tidegate.io/ingress-controller"), class("theirs", "example.com/other")]
}

/// An IngressClass.
pub fn class(name: &str, controller: &str) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "metadata": {"name": name}, "spec": {"controller": controller}})
}

/// An Ingress under construction.
#[derive(Clone)]
pub struct Ingress(pub Value);

/// An Ingress of our class without rules.
pub fn ingress(name: &str) -> Ingress {
    Ingress(json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": name, "namespace": NAMESPACE, "annotations": {},
            "creationTimestamp": "2024-01-01T00:00:00Z"},
        "spec": {"ingressClassName": "tidegate", "rules": [], "tls": []}}))
}

/// A reference to a port: a number, or a name.
pub fn port_ref(port: &str) -> Value {
    match port.parse::<u16>() {
        Ok(number) => json!({"number": number}),
        Err(_) => json!({"name": port}),
    }
}

impl Ingress {
    /// Adds a rule: path type `Exact`, `Prefix` or `ImplementationSpecific`; port name or number.
    pub fn rule(
        mut self,
        host: &str,
        path_type: &str,
        path: &str,
        service: &str,
        port: &str,
    ) -> Self {
        let path = json!({"path": path, "pathType": path_type,
            "backend": {"service": {"name": service, "port": port_ref(port)}}});
        let mut rule = json!({"http": {"paths": [path]}});
        if !host.is_empty() {
            rule["host"] = json!(host);
        }
        self.0["spec"]["rules"].as_array_mut().unwrap().push(rule);
        self
    }

    /// Everything below `/` of a host.
    pub fn all(self, host: &str, service: &str) -> Self {
        self.rule(host, "Prefix", "/", service, "8080")
    }

    /// Sets the default backend.
    pub fn default_backend(mut self, service: &str, port: &str) -> Self {
        self.0["spec"]["defaultBackend"] =
            json!({"service": {"name": service, "port": port_ref(port)}});
        self
    }

    /// Adds a TLS entry; without a Secret when the name is empty.
    pub fn tls(mut self, hosts: &[&str], secret: &str) -> Self {
        let mut entry = json!({"hosts": hosts});
        if !secret.is_empty() {
            entry["secretName"] = json!(secret);
        }
        self.0["spec"]["tls"].as_array_mut().unwrap().push(entry);
        self
    }

    /// Sets an annotation by its full key.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["annotations"][key] = json!(value);
        self
    }

    /// Sets one of our annotations.
    pub fn with(self, key: &str, value: &str) -> Self {
        self.annotation(&format!("tidegate.io/{key}"), value)
    }

    /// Sets the class; none when empty.
    pub fn class(mut self, class: &str) -> Self {
        self.0["spec"]["ingressClassName"] =
            if class.is_empty() { Value::Null } else { json!(class) };
        self
    }

    /// Sets the age.
    pub fn created(mut self, time: &str) -> Self {
        self.0["metadata"]["creationTimestamp"] = json!(time);
        self
    }
}

impl From<Ingress> for Value {
    fn from(ingress: Ingress) -> Value {
        ingress.0
    }
}

/// A Service with port 8080, named `http`.
pub fn service(name: &str) -> Value {
    service_ports(name, json!([{"name": "http", "port": 8080, "targetPort": "http"}]))
}

/// A Service with these ports.
pub fn service_ports(name: &str, ports: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE, "annotations": {}},
        "spec": {"type": "ClusterIP", "ports": ports}})
}

/// One endpoint with its conditions.
pub fn endpoint(address: IpAddr, conditions: Value) -> Value {
    json!({"addresses": [address.to_string()], "conditions": conditions})
}

/// An EndpointSlice.
pub fn slice_of(name: &str, service: &str, ports: Value, endpoints: Vec<Value>) -> Value {
    let six = endpoints.iter().any(|e| e["addresses"][0].as_str().is_some_and(|a| a.contains(':')));
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": service}},
        "addressType": if six { "IPv6" } else { "IPv4" }, "ports": ports, "endpoints": endpoints})
}

/// The slice of a Service whose pods are all ready, on port name `http`.
pub fn slice(service: &str, pods: &[&Pod]) -> Value {
    let port = pods.first().map_or(8080, |pod| pod.address.port());
    let endpoints = pods.iter().map(|pod| endpoint(pod.address.ip(), json!({"ready": true})));
    let ports = json!([{"name": "http", "port": port, "protocol": "TCP"}]);
    slice_of(&format!("{service}-1"), service, ports, endpoints.collect())
}

/// A Service and the slice of its pods.
pub fn app(service_name: &str, pods: &[&Pod]) -> Vec<Value> {
    vec![service(service_name), slice(service_name, pods)]
}

/// A Secret with PEM texts.
pub fn secret(name: &str, data: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<String, Value> =
        data.iter().map(|(key, pem)| ((*key).to_owned(), json!(STANDARD.encode(pem)))).collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE},
        "type": if data.contains_key("tls.crt") { "kubernetes.io/tls" } else { "Opaque" },
        "data": data})
}

/// The controller's ConfigMap.
pub fn config_map(data: &[(&str, &str)]) -> Value {
    named_config_map("tidegate", data)
}

/// A ConfigMap.
pub fn named_config_map(name: &str, data: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<String, Value> =
        data.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE}, "data": data})
}
