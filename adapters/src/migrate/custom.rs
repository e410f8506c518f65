//! haproxytech's custom resources: which of our keys says the same, field by field.
//!
//! Inputs: Backend, Defaults, Global, Frontend, TCP and ValidationRules objects. Outputs: a [`Row`]
//! per field, and the keys that stand for a whole resource where an annotation names one
//! (`cr-backend` and its like). The objects themselves are not written anew: nothing reads them.

use std::collections::BTreeMap;

use tidegate_core::annotations::PREFIX;
use tidegate_core::annotations::dialect::{Dialect, Entry, Verdict, custom_resources};

use super::judge;
use super::object::Found;
use super::row::{Deed, Need, Place, Row};
use super::tree::{Kind, Node};

/// The rows of all custom resources, by kind, namespace and name.
pub(super) type Resources = BTreeMap<(String, String, String), Vec<Row>>;

/// The rows of all custom resources.
pub(super) fn resources(objects: &[Found]) -> Resources {
    let table = custom_resources();
    let custom = objects.iter().enumerate().filter(|(_, object)| object.is_custom());
    custom
        .map(|(at, object)| {
            let name = (object.kind.clone(), object.namespace.clone(), object.name.clone());
            (name, rows(&table, at, object))
        })
        .collect()
}

fn rows(table: &BTreeMap<&'static str, Entry>, at: usize, object: &Found) -> Vec<Row> {
    let mut rows = Vec::new();
    let spec = object.node.at(&["spec"]);
    // The first version of the API has a level more.
    let spec = match spec.and_then(|spec| spec.at(&["config"])) {
        Some(config) => {
            let rest = spec.and_then(Node::map).into_iter().flat_map(|map| &map.entries);
            for (key, value) in rest.filter(|(key, _)| key.text() != Some("config")) {
                let path = format!("{}.{}", object.kind, key.text().unwrap_or_default());
                field(table, at, object, &path, value, &mut rows);
            }
            Some(config)
        }
        None => spec,
    };
    if let Some(spec) = spec {
        field(table, at, object, &object.kind, spec, &mut rows);
    }
    rows
}

/// The rows of a field and of those in it that have lines of their own.
fn field(
    table: &BTreeMap<&'static str, Entry>,
    at: usize,
    object: &Found,
    path: &str,
    value: &Node,
    rows: &mut Vec<Row>,
) {
    let below = format!("{path}.");
    let divided = table.keys().any(|key| key.starts_with(&below));
    if let (Kind::Map(map), true) = (&value.kind, divided) {
        for (key, value) in &map.entries {
            let path = format!("{below}{}", key.text().unwrap_or_default());
            field(table, at, object, &path, value, rows);
        }
        return;
    }
    let mut row = Row::new(at, object, Place::Custom, path, Dialect::Haproxytech);
    match entry(table, path) {
        Some(entry) => {
            let text = value.text().unwrap_or_default();
            judge::judge(&entry, text, &BTreeMap::new(), object, &mut row);
        }
        None => {
            row.verdict = Verdict::NotYet.as_str();
            row.need = Need::Human;
        }
    }
    rows.push(row);
}

/// The line of a field, or of what it is in.
fn entry(table: &BTreeMap<&'static str, Entry>, path: &str) -> Option<Entry> {
    let mut path = path;
    loop {
        if let Some(entry) = table.get(path) {
            return Some(*entry);
        }
        path = path.rsplit_once('.')?.0;
    }
}

/// Puts the keys of the resource that `row` names (`value`) into its place.
pub(super) fn expand(row: &mut Row, key: &str, value: &str, namespace: &str, known: &Resources) {
    let kind = match key {
        "cr-backend" => "Backend",
        "cr-defaults" => "Defaults",
        "cr-global" => "Global",
        "cr-frontend-http" | "cr-frontend-https" | "cr-frontend-stats" => "Frontend",
        _ => return,
    };
    let (namespace, name) = value.trim().split_once('/').unwrap_or((namespace, value.trim()));
    let Some(fields) = known.get(&(kind.to_owned(), namespace.to_owned(), name.to_owned())) else {
        row.remark = format!("there is no {kind} {namespace}/{name} in what was read");
        row.need = Need::Human;
        return;
    };
    let prefix = if row.place == Place::Data { "" } else { PREFIX };
    let mut pairs = Vec::new();
    for (key, value) in fields.iter().flat_map(|field| match &field.deed {
        Deed::Write(pairs) => pairs.as_slice(),
        Deed::Keep | Deed::Comment => &[],
    }) {
        let key = key.strip_prefix(PREFIX).unwrap_or(key);
        pairs.push((format!("{prefix}{key}"), value.clone()));
    }
    // What its fields need is said there.
    row.need = Need::Nothing;
    row.remark = format!("field by field, see {kind} {namespace}/{name}");
    row.deed = if pairs.is_empty() { Deed::Comment } else { Deed::Write(pairs) };
}
