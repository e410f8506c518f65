//! The resources of the API server that tidegate uses: groups, plural names, paths.
//!
//! Inputs: a kind or a resource, a namespace, a name. Outputs: paths of requests. The rules that
//! an operator must grant ([`super::access`]) name the same resources. Not here: requests.

use tidegate_core::world::custom::{Api, Part};
use tidegate_core::world::object::Kind;

/// A resource of the API.
#[derive(Debug, PartialEq, Eq)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version in the group.
    pub version: &'static str,
    /// Name in paths and rules.
    pub plural: &'static str,
}

/// `events.k8s.io` and the core group show the same objects; `kubectl describe` reads the latter.
pub static EVENTS: Resource = Resource { group: "", version: "v1", plural: "events" };
/// Leases.
pub static LEASES: Resource =
    Resource { group: "coordination.k8s.io", version: "v1", plural: "leases" };
static NAMESPACES: Resource = Resource { group: "", version: "v1", plural: "namespaces" };
static CONFIG_MAPS: Resource = Resource { group: "", version: "v1", plural: "configmaps" };
static SECRETS: Resource = Resource { group: "", version: "v1", plural: "secrets" };
static SERVICES: Resource = Resource { group: "", version: "v1", plural: "services" };
static NODES: Resource = Resource { group: "", version: "v1", plural: "nodes" };
static SLICES: Resource =
    Resource { group: "discovery.k8s.io", version: "v1", plural: "endpointslices" };
static CLASSES: Resource =
    Resource { group: "networking.k8s.io", version: "v1", plural: "ingressclasses" };
static INGRESSES: Resource =
    Resource { group: "networking.k8s.io", version: "v1", plural: "ingresses" };

/// One of haproxytech's custom resources.
macro_rules! custom {
    (v1, $plural:literal) => {
        Resource { group: "ingress.v1.haproxy.org", version: "v1", plural: $plural }
    };
    (v3, $plural:literal) => {
        Resource { group: "ingress.v3.haproxy.org", version: "v3", plural: $plural }
    };
}

static GLOBALS: [Resource; 2] = [custom!(v3, "globals"), custom!(v1, "globals")];
static DEFAULTS: [Resource; 2] = [custom!(v3, "defaults"), custom!(v1, "defaults")];
// There is none in the first version.
static FRONTENDS: [Resource; 2] = [custom!(v3, "frontends"), custom!(v1, "frontends")];
static BACKENDS: [Resource; 2] = [custom!(v3, "backends"), custom!(v1, "backends")];
static TCPS: [Resource; 2] = [custom!(v3, "tcps"), custom!(v1, "tcps")];

fn custom(part: Part, api: Api) -> &'static Resource {
    let [v3, v1] = match part {
        Part::Global => &GLOBALS,
        Part::Defaults => &DEFAULTS,
        Part::Frontend => &FRONTENDS,
        Part::Backend => &BACKENDS,
        Part::Tcp => &TCPS,
    };
    match api {
        Api::V3 => v3,
        Api::V1 => v1,
    }
}

/// The resource of a kind.
#[must_use]
pub fn of(kind: Kind) -> &'static Resource {
    match kind {
        Kind::Namespace => &NAMESPACES,
        Kind::ConfigMap => &CONFIG_MAPS,
        Kind::IngressClass => &CLASSES,
        Kind::Secret => &SECRETS,
        Kind::Service => &SERVICES,
        Kind::EndpointSlice => &SLICES,
        Kind::Ingress => &INGRESSES,
        Kind::Node => &NODES,
        Kind::Custom(part, api) => custom(part, api),
    }
}

impl Resource {
    /// `apiVersion` of its objects.
    #[must_use]
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// Path of the collection, in one namespace or in all.
    #[must_use]
    pub fn collection(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() { "/api/" } else { "/apis/" };
        let version = self.api_version();
        match namespace {
            Some(namespace) if !namespace.is_empty() => {
                format!("{root}{version}/namespaces/{}/{}", segment(namespace), self.plural)
            }
            Some(_) | None => format!("{root}{version}/{}", self.plural),
        }
    }

    /// Path of an object; the namespace is empty for cluster-scoped ones.
    #[must_use]
    pub fn object(&self, namespace: &str, name: &str) -> String {
        format!("{}/{}", self.collection(Some(namespace)), segment(name))
    }
}

/// A text as one segment of a path or one value of a query. Names of objects need no encoding;
/// what does is hostile.
#[must_use]
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            b'.' if text != "." && text != ".." => out.push('.'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api() {
        assert_eq!(of(Kind::Service).collection(None), "/api/v1/services");
        assert_eq!(
            of(Kind::Ingress).object("a", "b"),
            "/apis/networking.k8s.io/v1/namespaces/a/ingresses/b"
        );
        assert_eq!(of(Kind::Namespace).object("", "kube-system"), "/api/v1/namespaces/kube-system");
        assert_eq!(
            of(Kind::Secret).object("a", "../x?y"),
            "/api/v1/namespaces/a/secrets/..%2Fx%3Fy"
        );
        assert_eq!(segment(".."), "%2E%2E");
    }
}
