//! The manifests of the benchmarks, as YAML of the kind that `kubectl get -o yaml` prints.

#![allow(dead_code, reason = "each benchmark uses its own part")]

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// The class that is ours.
pub const CLASS: &str = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata:\n  \
    name: tidegate\nspec:\n  controller: tidegate.io/ingress-controller\n";

/// An address of a first pod: there are about four million.
pub fn pod(number: usize) -> Ipv4Addr {
    address(1, number)
}

/// An address of a pod that comes later: there are about four million.
pub fn later_pod(number: usize) -> Ipv4Addr {
    address(64, number)
}

fn address(second: usize, number: usize) -> Ipv4Addr {
    // Neither .0 nor .255 as last byte.
    let (high, low) = (number / 250, number % 250 + 1);
    let second = u8::try_from(second + high / 256).expect("few enough pods");
    Ipv4Addr::new(127, second, (high % 256) as u8, low as u8)
}

/// An Ingress for everything below `/` of a host; annotations as `key: value`.
pub fn ingress(name: &str, host: &str, service: &str, annotations: &[(&str, &str)]) -> String {
    let mut text = String::new();
    text.push_str("---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n");
    let _ = write!(text, "  name: {name}\n  namespace: fleet\n");
    text.push_str("  creationTimestamp: \"2026-01-01T00:00:00Z\"\n");
    if !annotations.is_empty() {
        text.push_str("  annotations:\n");
    }
    for (key, value) in annotations {
        let _ = writeln!(text, "    tidegate.io/{key}: '{value}'");
    }
    text.push_str("spec:\n  ingressClassName: tidegate\n  rules:\n");
    let _ = write!(text, "  - host: {host}\n    http:\n      paths:\n      - path: /\n");
    text.push_str("        pathType: Prefix\n        backend:\n          service:\n");
    let _ = write!(text, "            name: {service}\n            port:\n");
    text.push_str("              number: 80\n");
    text
}

/// A Service with port 80; annotations as `key: value`.
pub fn service(name: &str, annotations: &[(&str, &str)]) -> String {
    let mut text = String::from("---\napiVersion: v1\nkind: Service\nmetadata:\n");
    let _ = write!(text, "  name: {name}\n  namespace: fleet\n");
    if !annotations.is_empty() {
        text.push_str("  annotations:\n");
    }
    for (key, value) in annotations {
        let _ = writeln!(text, "    tidegate.io/{key}: '{value}'");
    }
    text.push_str("spec:\n  type: ClusterIP\n  ports:\n  - name: http\n    port: 80\n");
    text.push_str("    protocol: TCP\n    targetPort: http\n");
    text
}

/// The EndpointSlice of a Service.
pub fn slice(service: &str, pods: &[Ipv4Addr], port: u16) -> String {
    let mut text = String::from("---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n");
    let _ = write!(text, "metadata:\n  name: {service}-1\n  namespace: fleet\n  labels:\n");
    let _ = writeln!(text, "    kubernetes.io/service-name: {service}");
    let _ = write!(text, "addressType: IPv4\nports:\n- name: http\n  port: {port}\n");
    text.push_str("  protocol: TCP\nendpoints:\n");
    for pod in pods {
        let _ = write!(text, "- addresses:\n  - {pod}\n  conditions:\n    ready: true\n");
        text.push_str("    serving: true\n    terminating: false\n");
    }
    text
}

/// Service, EndpointSlice and Ingress of an application; its host is `NAME.example.com`.
pub fn app(name: &str, pods: &[Ipv4Addr], port: u16) -> String {
    let mut text = service(name, &[]);
    text.push_str(&slice(name, pods, port));
    text.push_str(&ingress(name, &format!("{name}.example.com"), name, &[]));
    text
}

/// A folder of manifests.
pub struct Folder(pub PathBuf);

impl Folder {
    /// Makes it.
    pub fn make(path: &Path) -> Folder {
        fs::create_dir_all(path).unwrap();
        Folder(path.to_owned())
    }

    /// Puts a file in place at once.
    pub fn put(&self, name: &str, text: &str) {
        let hidden = self.0.join(format!(".{name}.new"));
        fs::write(&hidden, text).unwrap();
        fs::rename(hidden, self.0.join(format!("{name}.yaml"))).unwrap();
    }

    /// Takes a file away.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.0.join(format!("{name}.yaml"))).unwrap();
    }
}
