//! A client of the API server, independent of the one that tidegate uses: blocking, one kept
//! connection, JSON in and out.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::ClientConfig;
use serde_json::{Value, json};

use crate::common::client::{Answer, Connection, Request};

/// Who is asked, and as whom.
#[derive(Clone)]
pub struct Access {
    /// Port on 127.0.0.1.
    pub port: u16,
    /// Whom to trust.
    pub tls: Arc<ClientConfig>,
    /// Bearer token.
    pub token: String,
}

/// A client.
pub struct Api {
    access: Access,
    connection: Option<Connection>,
}

/// What the server said: status code and body.
pub type Reply = (u16, Value);

/// Name of this client in `managedFields`.
const MANAGER: &str = "tests";

/// `(prefix of the API, plural, whether namespaced)` of a kind.
fn resource(kind: &str) -> (&'static str, &'static str, bool) {
    match kind {
        "Namespace" => ("/api/v1", "namespaces", false),
        "Node" => ("/api/v1", "nodes", false),
        "Service" => ("/api/v1", "services", true),
        "Secret" => ("/api/v1", "secrets", true),
        "ConfigMap" => ("/api/v1", "configmaps", true),
        "ServiceAccount" => ("/api/v1", "serviceaccounts", true),
        "Event" => ("/api/v1", "events", true),
        "EndpointSlice" => ("/apis/discovery.k8s.io/v1", "endpointslices", true),
        "Ingress" => ("/apis/networking.k8s.io/v1", "ingresses", true),
        "IngressClass" => ("/apis/networking.k8s.io/v1", "ingressclasses", false),
        "NetworkPolicy" => ("/apis/networking.k8s.io/v1", "networkpolicies", true),
        "Lease" => ("/apis/coordination.k8s.io/v1", "leases", true),
        "Deployment" => ("/apis/apps/v1", "deployments", true),
        "DaemonSet" => ("/apis/apps/v1", "daemonsets", true),
        "HorizontalPodAutoscaler" => ("/apis/autoscaling/v2", "horizontalpodautoscalers", true),
        "PodDisruptionBudget" => ("/apis/policy/v1", "poddisruptionbudgets", true),
        "Role" => ("/apis/rbac.authorization.k8s.io/v1", "roles", true),
        "RoleBinding" => ("/apis/rbac.authorization.k8s.io/v1", "rolebindings", true),
        "ClusterRole" => ("/apis/rbac.authorization.k8s.io/v1", "clusterroles", false),
        "ClusterRoleBinding" => {
            ("/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings", false)
        }
        "CustomResourceDefinition" => {
            ("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions", false)
        }
        "Backend" => ("/apis/ingress.v3.haproxy.org/v3", "backends", true),
        other => panic!("the tests do not know the kind {other}"),
    }
}

/// The path of a collection; of all namespaces when the namespace is empty.
pub fn collection(kind: &str, namespace: &str) -> String {
    match resource(kind) {
        (prefix, plural, true) if !namespace.is_empty() => {
            format!("{prefix}/namespaces/{namespace}/{plural}")
        }
        (prefix, plural, _) => format!("{prefix}/{plural}"),
    }
}

/// The path of an object.
pub fn path(kind: &str, namespace: &str, name: &str) -> String {
    // Colons occur in names of roles; they are fine in a path.
    format!("{}/{name}", collection(kind, namespace))
}

/// Kind, namespace and name of an object.
pub fn identity(object: &Value) -> (String, String, String) {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let metadata = &object["metadata"];
    (text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"]))
}

impl Api {
    /// A client that has not connected yet.
    pub fn new(access: &Access) -> Api {
        Api { access: access.clone(), connection: None }
    }

    /// One request for JSON.
    pub fn ask(&mut self, method: &str, path: &str, kind: &str, body: &str) -> io::Result<Reply> {
        let answer = self.ask_as(method, path, "application/json", kind, body)?;
        let body = serde_json::from_str(&answer.body).unwrap_or(Value::String(answer.body));
        Ok((answer.status, body))
    }

    /// One request. Asked again on a new connection when the kept one turns out to be closed.
    pub fn ask_as(
        &mut self,
        method: &str,
        path: &str,
        accept: &str,
        kind: &str,
        body: &str,
    ) -> io::Result<Answer> {
        let mut request = Request::get("127.0.0.1", path).method(method);
        request = request.header("authorization", &format!("Bearer {}", self.access.token));
        request = request.header("accept", accept);
        if !body.is_empty() {
            request = request.header("content-type", kind);
            body.clone_into(&mut request.body);
        }
        if let Some(mut kept) = self.connection.take()
            && let Ok(answer) = kept.ask(&request)
        {
            return Ok(self.keep(kept, answer));
        }
        let Access { port, tls, .. } = &self.access;
        let mut connection = Connection::tls(*port, "127.0.0.1", tls)?;
        let answer = connection.ask(&request)?;
        Ok(self.keep(connection, answer))
    }

    fn keep(&mut self, connection: Connection, answer: Answer) -> Answer {
        if !answer.closes() {
            self.connection = Some(connection);
        }
        answer
    }

    /// Reads a path.
    pub fn get(&mut self, path: &str) -> io::Result<Reply> {
        self.ask("GET", path, "", "")
    }

    /// Creates an object; fails the test when the server refuses.
    pub fn create(&mut self, object: &Value) -> Value {
        let (kind, namespace, name) = identity(object);
        let body = sendable(object).to_string();
        let asked = self.ask("POST", &collection(&kind, &namespace), "application/json", &body);
        expect(asked, &format!("POST {kind} {namespace}/{name}"))
    }

    /// Makes an object what is given, whether it exists or not.
    pub fn apply(&mut self, object: &Value) -> Value {
        expect(self.try_apply(object), &format!("apply {:?}", identity(object)))
    }

    /// The same, when the server may refuse or be away.
    pub fn try_apply(&mut self, object: &Value) -> io::Result<Reply> {
        self.patch(object, "")
    }

    /// Whether the server would take an object.
    pub fn dry_run(&mut self, object: &Value) -> io::Result<Reply> {
        self.patch(object, "&dryRun=All&fieldValidation=Strict")
    }

    fn patch(&mut self, object: &Value, query: &str) -> io::Result<Reply> {
        let (kind, namespace, name) = identity(object);
        let path = path(&kind, &namespace, &name);
        let path = format!("{path}?fieldManager={MANAGER}&force=true{query}");
        let body = sendable(object).to_string();
        self.ask("PATCH", &path, "application/apply-patch+yaml", &body)
    }

    /// A merge patch of an object.
    pub fn merge(&mut self, kind: &str, namespace: &str, name: &str, patch: &Value) -> Value {
        let path = path(kind, namespace, name);
        let body = patch.to_string();
        expect(self.ask("PATCH", &path, "application/merge-patch+json", &body), &path)
    }

    /// Deletes an object. Gone already is fine.
    pub fn delete(&mut self, kind: &str, namespace: &str, name: &str) {
        let path = path(kind, namespace, name);
        let (status, body) = self
            .ask("DELETE", &path, "", "")
            .unwrap_or_else(|error| panic!("DELETE {path}: {error}"));
        assert!(matches!(status, 200 | 202 | 404), "DELETE {path}: {status} {body}");
    }

    /// An object, when there is one.
    pub fn find(&mut self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let path = path(kind, namespace, name);
        match self.get(&path).unwrap_or_else(|error| panic!("GET {path}: {error}")) {
            (200, object) => Some(object),
            (404, _) => None,
            (status, body) => panic!("GET {path}: {status} {body}"),
        }
    }

    /// The objects of a kind.
    pub fn list(&mut self, kind: &str, namespace: &str) -> Vec<Value> {
        let path = collection(kind, namespace);
        let list = expect(self.get(&path), &path);
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// A token of a ServiceAccount. It becomes worthless when the account is deleted.
    pub fn token(&mut self, namespace: &str, account: &str) -> String {
        let path = format!("{}/token", path("ServiceAccount", namespace, account));
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600}});
        let made = self.ask("POST", &path, "application/json", &body.to_string());
        let token = expect(made, &path)["status"]["token"].as_str().map(str::to_owned);
        token.unwrap_or_else(|| panic!("{path}: no token"))
    }
}

/// Creates many objects with `workers` connections at once, in no order.
pub fn seed(access: &Access, objects: &[Value], workers: usize) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut api = Api::new(access);
                while let Some(object) = objects.get(next.fetch_add(1, Ordering::Relaxed)) {
                    api.create(object);
                }
            });
        }
    });
}

fn expect(asked: io::Result<Reply>, what: &str) -> Value {
    match asked {
        Ok((200..=299, body)) => body,
        Ok((status, body)) => panic!("{what}: {status} {body}"),
        Err(error) => panic!("{what}: {error}"),
    }
}

/// Without what only a server sets.
fn sendable(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("creationTimestamp");
    }
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.retain(|_, value| !value.is_null());
    }
    object
}
