//! haproxytech's custom resources in the report: a row for each field, by `crate::custom`.
//!
//! Inputs: Backend, Defaults, Global, Frontend, TCP and ValidationRules objects. Outputs: a [`Row`]
//! per field, and the keys that stand for a whole resource where an annotation names one
//! (`cr-backend` and its like). The objects themselves are not written anew.

use std::collections::BTreeMap;

use tidegate_core::annotations::PREFIX;
use tidegate_core::annotations::dialect::{Dialect, Target, Verdict};

use super::object::Found;
use super::row::{Deed, Need, Place, Row};
use super::tree::{Kind, Node};
use crate::custom::{self, Field, Outcome, Table, Tree, tcp};

/// The rows of all custom resources, by kind, namespace and name.
pub(super) type Resources = BTreeMap<(String, String, String), Vec<Row>>;

/// The rows of all custom resources.
pub(super) fn resources(objects: &[Found]) -> Resources {
    let table = custom::table();
    let custom = objects.iter().enumerate().filter(|(_, object)| object.is_custom());
    custom
        .map(|(at, object)| {
            let name = (object.kind.clone(), object.namespace.clone(), object.name.clone());
            let rows = fields(&table, object).into_iter().map(|field| row(at, object, field));
            (name, rows.collect())
        })
        .collect()
}

fn fields(table: &Table, object: &Found) -> Vec<Field> {
    let spec = object.node.at(&["spec"]).map(tree).unwrap_or_default();
    if object.kind != "TCP" {
        return custom::fields(table, &object.kind, &spec);
    }
    let (ports, mut fields) = tcp::ports(table, &object.namespace, &spec);
    fields.splice(0..0, ports.iter().map(tcp::by_hand));
    fields
}

fn tree(node: &Node) -> Tree {
    match &node.kind {
        Kind::Scalar(text, false) if text.is_empty() => Tree::Nothing,
        Kind::Scalar(text, _) => Tree::Text(text.clone()),
        Kind::List(items) => Tree::List(items.iter().map(tree).collect()),
        Kind::Map(map) => {
            let name = |key: &Node| key.text().unwrap_or_default().to_owned();
            Tree::Map(map.entries.iter().map(|(key, value)| (name(key), tree(value))).collect())
        }
    }
}

fn row(at: usize, object: &Found, field: Field) -> Row {
    let Field { path, place: _, entry, protects, outcome } = field;
    let mut row = Row::new(at, object, Place::Custom, &path, Dialect::Haproxytech);
    row.verdict = entry.map_or(Verdict::NotYet, |entry| entry.verdict).as_str();
    row.protects = protects;
    row.remark = entry.map_or_else(String::new, |entry| entry.remark.to_owned());
    match outcome {
        Outcome::Silent => {}
        Outcome::Keys(pairs) => {
            let pairs = pairs.into_iter().map(|(key, value)| (format!("{PREFIX}{key}"), value));
            row.deed = Deed::Write(pairs.collect());
        }
        Outcome::Left(why) => {
            if let Some(Target::Flag(flag)) = entry.map(|entry| entry.target) {
                row.flag = Some(flag);
            }
            let is_so = entry.is_some_and(|entry| entry.verdict == Verdict::Never);
            row.need = match (protects, is_so) {
                (true, _) => Need::Open,
                (false, true) => Need::Nothing,
                (false, false) => Need::Human,
            };
            if !why.is_empty() && !row.remark.is_empty() {
                row.remark = format!("{why}; {}", row.remark);
            } else if !why.is_empty() {
                row.remark = why;
            }
        }
    }
    row
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
    if row.object.starts_with("Service ") && pairs.iter().any(|(key, _)| key.ends_with("-header")) {
        row.remark = "stays, as header rules of a Service have no annotation".to_owned();
        row.need = Need::Nothing;
        row.deed = Deed::Keep;
        return;
    }
    // What its fields need is said there.
    row.need = Need::Nothing;
    row.remark = format!("field by field, see {kind} {namespace}/{name}");
    row.deed = if pairs.is_empty() { Deed::Comment } else { Deed::Write(pairs) };
}
