//! A conversation with an API server, and what matters of its answers: for the real one, which is
//! recorded, and for the simulator's, which must say the same.
//!
//! UIDs, times and numbers of versions differ from server to server. What is kept of a version is
//! which write of the conversation it is of, and whether a list is as new as everything before it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `GET`, …
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// `Accept`.
    pub accept: &'static str,
    /// `Content-Type` of the body.
    pub content_type: &'static str,
    /// The body; empty for none.
    pub body: String,
}

/// Who is talked to.
pub trait Server {
    /// Status and body; of a watch, all its lines.
    fn ask(&mut self, asked: &Asked) -> (u16, String);
    /// Forgets every version but the newest.
    fn compact(&mut self);
}

const SLIM: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const SLIM_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const SERVICES: &str = "/api/v1/namespaces/rec/services";
const SECRETS: &str = "/api/v1/namespaces/rec/secrets";
const INGRESSES: &str = "/apis/networking.k8s.io/v1/namespaces/rec/ingresses";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/rec/leases";
/// Parameters of a watch that begins with the whole state.
const WHOLE: &str = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&\
                     allowWatchBookmarks=true&timeoutSeconds=2";

/// The conversation so far.
pub struct Transcript<'s> {
    server: &'s mut dyn Server,
    /// The newest version seen.
    newest: u64,
    /// Of which write a version is.
    written: BTreeMap<u64, String>,
    /// Version of the list that is read in pages.
    paged: u64,
    said: Vec<Value>,
}

/// Has the whole conversation; what was said, step by step.
pub fn hold(server: &mut dyn Server) -> Vec<Value> {
    let mut t =
        Transcript { server, newest: 0, written: BTreeMap::new(), paged: 0, said: Vec::new() };
    let begin = t.writes();
    t.pages();
    t.refusals();
    t.watches(&begin);
    t.metadata(&begin);
    t.compaction(&begin);
    t.said
}

fn service(name: &str, mark: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "rec", "labels": {"mark": mark}},
        "spec": {"ports": [{"port": 80}]}})
}

impl Transcript<'_> {
    /// Objects of each kind that is written or only read; gives the version before the Services.
    fn writes(&mut self) -> String {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "rec"},
            "spec": {"finalizers": ["kubernetes"]}});
        self.write("POST", "/api/v1/namespaces", JSON, &namespace);
        let begin = self.newest.to_string();
        for name in ["a", "b", "c", "d", "e"] {
            self.write("POST", SERVICES, JSON, &service(name, "first"));
        }
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "s", "namespace": "rec"}, "data": {"k": "dg=="}});
        self.write("POST", SECRETS, JSON, &secret);
        let backend = json!({"service": {"name": "a", "port": {"number": 80}}});
        let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": "i", "namespace": "rec"}, "spec": {"defaultBackend": backend}});
        self.write("POST", INGRESSES, JSON, &ingress);
        let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
        self.write("PATCH", &format!("{INGRESSES}/i/status"), MERGE, &status);
        self.write("PATCH", &format!("{INGRESSES}/i/status"), MERGE, &status);
        begin
    }

    /// A list in pages is of one version, whatever is written meanwhile.
    fn pages(&mut self) {
        self.read(SERVICES, JSON);
        let mut token = self.read(&format!("{SERVICES}?limit=2"), JSON);
        self.write("POST", SERVICES, JSON, &service("bb", "first"));
        while let Some(Value::String(next)) = token.pointer("/metadata/continue") {
            let path = format!("{SERVICES}?limit=2&continue={next}");
            token = self.read(&path, JSON);
        }
        self.read(&format!("{SERVICES}?fieldSelector=metadata.name%3Dbb"), JSON);
        self.read(&format!("{SERVICES}?fieldSelector=metadata.name%3Dnone"), JSON);
    }

    /// What is not done, and why; and what changes nothing.
    fn refusals(&mut self) {
        self.read(&format!("{SERVICES}/none"), JSON);
        self.write("POST", SERVICES, JSON, &service("a", "again"));
        let old = self.read(&format!("{SERVICES}/a"), JSON);
        let mark = |mark: &str| json!({"metadata": {"labels": {"mark": mark}}});
        let a = format!("{SERVICES}/a");
        self.write("PATCH", &a, MERGE, &mark("second"));
        self.write("PATCH", &a, MERGE, &mark("second"));
        self.write("PUT", &a, JSON, &old);
        let new = self.read(&a, JSON);
        let mut changed = new.clone();
        changed["metadata"]["labels"]["mark"] = json!("third");
        self.write("PUT", &a, JSON, &changed);
        let mut foreign = mark("fourth");
        foreign["metadata"]["uid"] = json!("00000000-0000-4000-8000-000000000000");
        self.write("PATCH", &a, MERGE, &foreign);
        self.write("PATCH", &format!("{SERVICES}/none"), MERGE, &mark("fourth"));
        foreign["status"] = json!({"loadBalancer": {}});
        self.write("PATCH", &format!("{INGRESSES}/i/status"), MERGE, &foreign);
        self.write("PATCH", &format!("{INGRESSES}/none/status"), MERGE, &foreign);
        let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "l", "namespace": "rec"}, "spec": {"holderIdentity": "one"}});
        let first = self.write("POST", LEASES, JSON, &lease);
        let mut next = first.clone();
        next["spec"]["holderIdentity"] = json!("two");
        self.write("PUT", &format!("{LEASES}/l"), JSON, &next);
        self.write("PUT", &format!("{LEASES}/l"), JSON, &first);
        self.write("POST", LEASES, JSON, &lease);
        self.write("DELETE", &format!("{SERVICES}/e"), JSON, &Value::Null);
    }

    /// Everything since a version, in order; the whole state and its end.
    fn watches(&mut self, begin: &str) {
        let since = format!(
            "watch=true&allowWatchBookmarks=true&timeoutSeconds=2&\
                             resourceVersion={begin}"
        );
        self.watch(&format!("{SERVICES}?{since}"), JSON);
        self.watch(&format!("{SERVICES}?{since}&fieldSelector=metadata.name%3Da"), JSON);
        self.watch(&format!("{INGRESSES}?{since}"), JSON);
        self.watch(&format!("{SERVICES}?{WHOLE}"), JSON);
        self.watch(&format!("{LEASES}?{WHOLE}"), JSON);
    }

    /// Only metadata of Secrets.
    fn metadata(&mut self, begin: &str) {
        self.read(SECRETS, SLIM_LIST);
        self.read(&format!("{SECRETS}/s"), SLIM);
        let since = format!("watch=true&timeoutSeconds=2&resourceVersion={begin}");
        self.watch(&format!("{SECRETS}?{since}"), SLIM);
        self.watch(&format!("{SECRETS}?{WHOLE}"), SLIM);
    }

    /// What is forgotten is gone; what is newest is not.
    fn compaction(&mut self, begin: &str) {
        let first = self.read(&format!("{SERVICES}?limit=2"), JSON);
        let token = first.pointer("/metadata/continue").and_then(Value::as_str).unwrap_or("");
        self.write(
            "PATCH",
            &format!("{SERVICES}/b"),
            MERGE,
            &json!({"metadata": {"labels": {"mark": "last"}}}),
        );
        self.server.compact();
        self.said.push(json!({ "compacted": true }));
        self.read(&format!("{SERVICES}?limit=2&continue={token}"), JSON);
        let since =
            |version: &str| format!("watch=true&timeoutSeconds=2&resourceVersion={version}");
        self.watch(&format!("{SERVICES}?{}", since(begin)), JSON);
        self.read(SERVICES, JSON);
    }

    fn ask(&mut self, asked: Asked) -> (u16, String, String) {
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        let shown = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name @ ("continue" | "resourceVersion"), _)) => format!("{name}=…"),
            _ => pair.to_owned(),
        });
        let shown = format!("{} {path}?{}", asked.method, shown.collect::<Vec<_>>().join("&"));
        let (code, body) = self.server.ask(&asked);
        (code, body, shown.trim_end_matches('?').to_owned())
    }

    fn write(
        &mut self,
        method: &'static str,
        path: &str,
        content_type: &'static str,
        body: &Value,
    ) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let asked = Asked { method, path: path.to_owned(), accept: JSON, content_type, body };
        let (code, text, shown) = self.ask(asked);
        let answer: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        // A deletion is answered with a Status or with the object, as the kind likes.
        let said = if method == "DELETE" { Value::Null } else { self.one(&answer) };
        self.said.push(json!({ "asked": shown, "code": code, "answer": said }));
        answer
    }

    fn read(&mut self, path: &str, accept: &'static str) -> Value {
        let asked = Asked {
            method: "GET",
            path: path.to_owned(),
            accept,
            content_type: "",
            body: String::new(),
        };
        let (code, text, shown) = self.ask(asked);
        let answer: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        let said = match answer["items"].as_array() {
            None => self.one(&answer),
            Some(items) => {
                let items: Vec<Value> = items.iter().map(|item| self.one(item)).collect();
                let metadata = &answer["metadata"];
                let version = version(&answer);
                let age = match path.contains("continue=") {
                    true if version == self.paged => "of the first page",
                    false if version >= self.newest => "now",
                    _ => "another",
                };
                self.paged = version;
                json!({ "apiVersion": answer["apiVersion"], "kind": answer["kind"], "version": age,
                    "goes on": metadata["continue"].as_str().is_some_and(|t| !t.is_empty()),
                    "remaining": metadata["remainingItemCount"], "items": items })
            }
        };
        self.said.push(json!({ "asked": shown, "code": code, "answer": said }));
        answer
    }

    fn watch(&mut self, path: &str, accept: &'static str) {
        let asked = Asked {
            method: "GET",
            path: path.to_owned(),
            accept,
            content_type: "",
            body: String::new(),
        };
        let (code, text, shown) = self.ask(asked);
        let mut events = Vec::new();
        for line in text.lines() {
            let event: Value = serde_json::from_str(line).expect("a line of a watch");
            let object = &event["object"];
            let kind = event["type"].as_str().unwrap_or("");
            let end = object.pointer("/metadata/annotations/k8s.io~1initial-events-end");
            if kind == "BOOKMARK" {
                assert!(version(object) >= self.newest, "a bookmark before an event: {line}");
                // Others come when the server likes.
                if let Some(end) = end {
                    events.push(json!({ "type": kind, "end": end, "kind": object["kind"] }));
                }
                continue;
            }
            let object = self.one(object);
            events.push(json!({ "type": kind, "object": object }));
        }
        // A refusal is no event, but one line.
        self.said.push(json!({ "asked": shown, "code": code, "events": events }));
    }

    /// What matters of an object or a `Status`.
    fn one(&mut self, object: &Value) -> Value {
        if object["kind"] == "Status" {
            return json!({ "status": object["status"], "reason": object["reason"], "code": object["code"] });
        }
        if object.is_null() {
            return Value::Null;
        }
        let number = version(object);
        let write = format!("write {}", self.written.len() + 1);
        let age = match self.written.get(&number) {
            Some(write) => write.clone(),
            None if number > self.newest => {
                self.newest = number;
                self.written.insert(number, write.clone());
                write
            }
            None => "unknown".to_owned(),
        };
        let metadata = &object["metadata"];
        let whole = ["spec", "data"].iter().any(|part| !object[*part].is_null());
        json!({
            "apiVersion": object["apiVersion"], "kind": object["kind"], "name": metadata["name"],
            "version": age, "mark": metadata["labels"]["mark"], "uid": metadata["uid"].is_string(),
            "whole": whole,
        })
    }
}

fn version(object: &Value) -> u64 {
    let text = object.pointer("/metadata/resourceVersion").and_then(Value::as_str);
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The first difference between what is recorded and what was said.
pub fn difference(recorded: &[Value], said: &[Value]) -> Option<String> {
    let longest = recorded.len().max(said.len());
    (0..longest).find(|n| recorded.get(*n) != said.get(*n)).map(|n| {
        let show = |side: &[Value]| match side.get(n) {
            Some(value) => format!("{value:#}"),
            None => "nothing".to_owned(),
        };
        format!("step {n}:\nrecorded {}\nsaid {}", show(recorded), show(said))
    })
}
