//! haproxytech's custom resources: which of our keys says the same, field by field.
//!
//! Inputs: the `spec` of a resource as a [`Tree`], and the table of fields
//! (`annotations/dialect/haproxytech-resources.txt`). Outputs: a [`Field`] for each, with the keys
//! that say it or why there are none. `run` makes objects of core of them (`decode::custom`),
//! `migrate` rows of its report. Not here: whether the values can be used; TCP resources
//! ([`tcp`]).

pub mod carry;
mod rules;
pub mod tcp;

use std::collections::BTreeMap;

use tidegate_core::annotations::dialect::{Carry, Entry, Target, Verdict, custom_resources};

use carry::{Carried, carry};

/// A value of any shape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tree {
    /// Nothing.
    #[default]
    Nothing,
    /// A text, number or boolean, as it reads.
    Text(String),
    /// A list.
    List(Vec<Tree>),
    /// A map, in order.
    Map(Vec<(String, Tree)>),
}

impl Tree {
    /// The value under a key of a map.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Tree> {
        let Tree::Map(entries) = self else { return None };
        entries.iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }

    /// The text under a key of a map; empty when there is none.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        match self.get(key) {
            Some(Tree::Text(text)) => text,
            Some(Tree::Nothing | Tree::List(_) | Tree::Map(_)) | None => "",
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Tree::Nothing => true,
            Tree::Text(_) => false,
            Tree::List(items) => items.is_empty(),
            Tree::Map(entries) => entries.is_empty(),
        }
    }
}

/// A field of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in the table: `Backend.cookie.name`.
    pub path: String,
    /// Where it stands: `spec.cookie.name`.
    pub place: String,
    /// Its line, or that of what it is in.
    pub entry: Option<Entry>,
    /// Whether what has it must not be served without it.
    pub protects: bool,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// What becomes of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// These keys, without prefix, say it.
    Keys(Vec<(String, String)>),
    /// It is so anyway.
    Silent,
    /// Nothing here says it; why, besides what its line remarks.
    Left(String),
}

/// The table of fields.
pub type Table = BTreeMap<&'static str, Entry>;

/// The table of fields.
#[must_use]
pub fn table() -> Table {
    custom_resources()
}

/// The fields of a resource of a kind, but TCP.
#[must_use]
pub fn fields(table: &Table, kind: &str, spec: &Tree) -> Vec<Field> {
    let mut fields = Vec::new();
    let Tree::Map(entries) = spec else { return fields };
    for (key, value) in entries {
        if key == "config" {
            // The first version of the API has a level more.
            walk(table, kind, "spec.config", value, &mut fields);
        } else {
            walk(table, &format!("{kind}.{key}"), &format!("spec.{key}"), value, &mut fields);
        }
    }
    fields
}

/// The fields of a value, and of those in it that have lines of their own.
fn walk(table: &Table, path: &str, place: &str, value: &Tree, fields: &mut Vec<Field>) {
    if value.is_empty() {
        return;
    }
    let own = table.get(path).copied();
    if let Some(entry) = own.filter(|entry| is_whole(entry.carry)) {
        rules::fields(&entry, path, place, value, fields);
        return;
    }
    let below = format!("{path}.");
    let divided = table.keys().any(|key| key.starts_with(&below));
    if let (Tree::Map(entries), true) = (value, divided) {
        for (key, value) in entries {
            walk(table, &format!("{below}{key}"), &format!("{place}.{key}"), value, fields);
        }
        return;
    }
    fields.push(leaf(entry(table, path), path, place, value));
}

/// Whether a line is about a map or list as a whole.
fn is_whole(carry: Carry) -> bool {
    matches!(
        carry,
        Carry::Algorithm | Carry::CheckRequest | Carry::RequestRules | Carry::ResponseRules
    )
}

fn leaf(entry: Option<Entry>, path: &str, place: &str, value: &Tree) -> Field {
    let outcome = match (entry, value) {
        (Some(entry), Tree::Text(text)) => said(&entry, text),
        (Some(Entry { carry: Carry::So, .. }), _) => Outcome::Silent,
        (Some(_) | None, _) => Outcome::Left(String::new()),
    };
    let protects = entry.is_some_and(|entry| entry.protects);
    Field { path: path.to_owned(), place: place.to_owned(), entry, protects, outcome }
}

/// What becomes of a text.
fn said(entry: &Entry, text: &str) -> Outcome {
    match entry.carry {
        Carry::So => return Outcome::Silent,
        Carry::Unless(harmless) if text == harmless => return Outcome::Silent,
        _ => {}
    }
    match (entry.verdict, entry.target) {
        (Verdict::NotYet | Verdict::Never, _) | (_, Target::Flag(_) | Target::Nothing) => {
            Outcome::Left(String::new())
        }
        (Verdict::Same | Verdict::Better | Verdict::OtherKey, Target::Key(_)) => {
            match carry(entry, text, &BTreeMap::new(), "") {
                Carried::Pairs(pairs) => Outcome::Keys(pairs),
                Carried::Silent(_) => Outcome::Silent,
                Carried::ByHand(why) => Outcome::Left(why),
            }
        }
    }
}

/// The line of a field, or of what it is in.
fn entry(table: &Table, path: &str) -> Option<Entry> {
    let mut path = path;
    loop {
        if let Some(entry) = table.get(path) {
            return Some(*entry);
        }
        path = path.rsplit_once('.')?.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(json: &serde_json::Value) -> Tree {
        use serde_json::Value;
        match json {
            Value::Null => Tree::Nothing,
            Value::Bool(b) => Tree::Text(b.to_string()),
            Value::Number(n) => Tree::Text(n.to_string()),
            Value::String(s) => Tree::Text(s.clone()),
            Value::Array(items) => Tree::List(items.iter().map(tree).collect()),
            Value::Object(map) => {
                Tree::Map(map.iter().map(|(key, value)| (key.clone(), tree(value))).collect())
            }
        }
    }

    fn read(kind: &str, spec: serde_json::Value) -> (Vec<String>, Vec<String>) {
        let fields = fields(&table(), kind, &tree(&spec));
        let (mut keys, mut left) = (Vec::new(), Vec::new());
        for field in fields {
            match field.outcome {
                Outcome::Keys(pairs) => keys.extend(pairs.iter().map(|(k, v)| format!("{k}={v}"))),
                Outcome::Silent => {}
                Outcome::Left(_) => {
                    left.push(format!("{}{}", if field.protects { "!" } else { "" }, field.place));
                }
            }
        }
        // The order of a map's keys is the library's.
        keys.sort_unstable();
        left.sort_by(|a, b| a.trim_start_matches('!').cmp(b.trim_start_matches('!')));
        (keys, left)
    }

    #[test]
    fn fields_become_keys_in_both_versions() {
        let v3 = serde_json::json!({
            "name": "x", "mode": "http", "server_timeout": 30000,
            "balance": {"algorithm": "hdr", "hdr_name": "X-User"},
            "default_server": {"check": "enabled", "maxconn": 7, "rise": 2, "ssl": "enabled",
                               "verify": "none"},
            "httpchk_params": {"method": "GET", "uri": "/healthz", "version": "HTTP/1.1"},
            "forwardfor": {"enabled": "enabled"},
            "http_reuse": "never",
        });
        let keys = ["server-tls=true", "timeout-server=30000", "load-balance=hdr(X-User)"];
        let (said, left) = read("Backend", v3);
        for key in keys.iter().chain(&["check=true", "pod-maxconn=7", "check-http=GET /healthz"]) {
            assert!(said.iter().any(|said| said == key), "{key}: {said:?}");
        }
        assert_eq!(left, ["spec.default_server.rise", "spec.http_reuse"]);
        let v1 = serde_json::json!({
            "config": {"server_timeout": 5, "balance": {"algorithm": "leastconn"}},
            "http-requests": [{"index": 0, "type": "deny", "cond": "if", "cond_test": "x"}],
        });
        let (said, left) = read("Backend", v1);
        assert_eq!(said, ["load-balance=leastconn", "timeout-server=5"]);
        assert_eq!(left, ["!spec.http-requests[0]"]);
    }

    #[test]
    fn what_cannot_be_said_and_protects_is_marked() {
        let spec = serde_json::json!({
            "default_server": {"verify": "required", "ssl_cafile": "/x"},
            "disabled": true,
            "tcp_request_rule_list": [{"type": "content"}],
        });
        let (_, left) = read("Backend", spec);
        assert_eq!(
            left,
            [
                "!spec.default_server.ssl_cafile",
                "!spec.default_server.verify",
                "!spec.disabled",
                "!spec.tcp_request_rule_list"
            ]
        );
    }

    #[test]
    fn rules_about_headers_become_keys() {
        let spec = serde_json::json!({
            "http_request_rule_list": [
                {"type": "set-header", "hdr_name": "X-A", "hdr_format": "one"},
                {"type": "set-header", "hdr_name": "X-B", "hdr_format": "\"two words\""},
                {"type": "del-header", "hdr_name": "X-C"},
                {"type": "set-header", "hdr_name": "X-D", "hdr_format": "%[src]"},
                {"type": "set-header", "hdr_name": "X-E", "hdr_format": "1", "cond": "if",
                 "cond_test": "x"},
                {"type": "silent-drop", "cond": "if", "cond_test": "bad"},
                {"type": "cache-use", "cache_name": "c"},
            ],
            "http_response_rule_list": [
                {"type": "add-header", "hdr_name": "X-F", "hdr_format": "a"},
                {"type": "add-header", "hdr_name": "X-F", "hdr_format": "b"},
            ],
        });
        let (said, left) = read("Backend", spec);
        assert_eq!(
            said,
            [
                "request-remove-header=X-C",
                "request-set-header=X-A one\nX-B two words",
                "response-add-header=X-F a\nX-F b",
            ]
        );
        let list = "spec.http_request_rule_list";
        let marked = [(3, ""), (4, ""), (5, "!"), (6, "")];
        assert_eq!(left, marked.map(|(at, mark)| format!("{mark}{list}[{at}]")));
    }
}
