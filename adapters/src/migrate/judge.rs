//! What becomes of each key of an object.
//!
//! Inputs: objects, the tables of the dialects. Outputs: a [`Row`] per key, with what a rewrite
//! does about it. Not here: whether the values can be used, custom resources.

use std::collections::BTreeMap;

use tidegate_core::annotations::dialect::{Dialect, Entry, Target, Verdict};
use tidegate_core::annotations::nearest::nearest;
use tidegate_core::annotations::{HAPROXY_PREFIXES, PREFIX};

use super::custom::{self, Resources};
use super::object::Found;
use super::row::{Deed, Need, Place, Row};
use super::tree::Map;
use crate::custom::carry::{Carried, carry};

/// The dialects' tables, the custom resources, and what is known about the whole.
pub(super) struct Judge {
    tables: BTreeMap<Dialect, BTreeMap<&'static str, Entry>>,
    config_tables: BTreeMap<Dialect, BTreeMap<&'static str, Entry>>,
    resources: Resources,
    /// Whose `ingress.kubernetes.io/` and unknown classes are.
    from: Option<Dialect>,
    /// Controllers of IngressClasses by name of the class.
    classes: BTreeMap<String, Dialect>,
    /// Dialects whose ConfigMap says whether HTTPS is redirected to.
    redirects_said: Vec<Dialect>,
}

impl Judge {
    /// Looks at the classes and ConfigMaps of all objects.
    pub fn new(from: Option<Dialect>, objects: &[Found], configs: &[(usize, Dialect)]) -> Judge {
        let classes = objects.iter().filter(|object| object.kind == "IngressClass");
        let classes = classes.filter_map(|object| {
            let controller = object.node.text_at(&["spec", "controller"])?;
            let known = |dialect: &Dialect| controller.starts_with(dialect.controller());
            Some((object.name.clone(), Dialect::ALL.into_iter().find(known)?))
        });
        let says = |(at, _): &&(usize, Dialect)| {
            let data = objects.get(*at).and_then(Found::data);
            data.is_some_and(|data| data.value("ssl-redirect").is_some())
        };
        Judge {
            tables: Dialect::ALL.into_iter().map(|d| (d, d.table())).collect(),
            config_tables: Dialect::ALL.into_iter().map(|d| (d, d.config_table())).collect(),
            resources: custom::resources(objects),
            from,
            classes: classes.collect(),
            redirects_said: configs.iter().filter(says).map(|(_, dialect)| *dialect).collect(),
        }
    }

    /// The rows of the fields of a custom resource.
    pub fn custom(&self, object: &Found) -> Vec<Row> {
        let name = (object.kind.clone(), object.namespace.clone(), object.name.clone());
        self.resources.get(&name).cloned().unwrap_or_default()
    }

    fn table(&self, dialect: Dialect, place: Place) -> Option<&BTreeMap<&'static str, Entry>> {
        match place {
            Place::Data => self.config_tables.get(&dialect),
            Place::Annotation | Place::Implied | Place::Custom => self.tables.get(&dialect),
        }
    }

    fn entry(&self, dialect: Dialect, place: Place, key: &str) -> Option<&Entry> {
        self.table(dialect, place)?.get(key)
    }

    /// Whose an object is: by its keys, else by its class.
    pub fn dialect_of(&self, object: &Found) -> Option<Dialect> {
        let keys = object.annotations().into_iter().flat_map(|map| &map.entries);
        let mut keys = keys.filter_map(|(key, _)| key.text());
        let own = |key: &str| {
            let shared = "ingress.kubernetes.io/";
            let by = |d: &Dialect| d.prefixes().iter().any(|p| *p != shared && key.starts_with(p));
            Dialect::ALL.into_iter().find(by)
        };
        let class = object.class();
        let by_class = class.and_then(|class| self.classes.get(class).copied());
        let by_name = || (class == Some("nginx")).then_some(Dialect::IngressNginx);
        keys.find_map(own).or(by_class).or_else(by_name).or(self.from)
    }

    /// The rows of an object's annotations, in the order of the text.
    pub fn annotations(&self, at: usize, object: &Found) -> Vec<Row> {
        let whose = self.dialect_of(object);
        let split = |full: &str| -> Option<(Dialect, String)> {
            for dialect in Dialect::ALL {
                for prefix in dialect.prefixes() {
                    let Some(key) = full.strip_prefix(prefix) else { continue };
                    let shared = *prefix == "ingress.kubernetes.io/";
                    let other = whose == Some(Dialect::HaproxyIngress);
                    let dialect = if shared && other { Dialect::HaproxyIngress } else { dialect };
                    return Some((dialect, key.to_owned()));
                }
            }
            // haproxytech's controller reads keys without a prefix too; haproxy-ingress one with a
            // prefix that is nobody's.
            let read = match whose? {
                Dialect::Haproxytech => !full.contains('/'),
                Dialect::HaproxyIngress => full == "kubernetes.io/tls-acme",
                Dialect::IngressNginx => false,
            };
            let dialect = whose.filter(|_| read)?;
            let known = self.entry(dialect, Place::Annotation, full).is_some();
            known.then(|| (dialect, full.to_owned()))
        };
        let Some(map) = object.annotations() else { return Vec::new() };
        let mut rows = self.rows(at, object, map, Place::Annotation, &split);
        settle(&mut rows, map, PREFIX);
        rows
    }

    /// The row for what an Ingress with a `tls` block does without a key, where that differs.
    pub fn implied(&self, at: usize, object: &Found) -> Option<Row> {
        let dialect = self.dialect_of(object)?;
        let tls = object.node.at(&["spec", "tls"])?.items();
        let mut keys = object.annotations().into_iter().flat_map(|map| &map.entries);
        let said = keys.any(|(key, _)| key.text().is_some_and(|k| k.ends_with("ssl-redirect")));
        if object.kind != "Ingress" || tls.is_empty() || said {
            return None;
        }
        if self.redirects_said.contains(&dialect) {
            return None;
        }
        let mut pairs = vec![(format!("{PREFIX}ssl-redirect"), "true".to_owned())];
        if dialect == Dialect::IngressNginx {
            pairs.push((format!("{PREFIX}ssl-redirect-code"), "308".to_owned()));
        }
        Some(Row {
            remark: "there, a tls block redirects to HTTPS by itself".to_owned(),
            verdict: Verdict::OtherKey.as_str(),
            deed: Deed::Write(pairs),
            ..Row::new(at, object, Place::Implied, "(tls block)", dialect)
        })
    }

    /// The rows of a ConfigMap that is a controller's own.
    pub fn config(&self, at: usize, object: &Found, dialect: Dialect) -> Vec<Row> {
        let Some(map) = object.data() else { return Vec::new() };
        let split = |key: &str| Some((dialect, key.to_owned()));
        let mut rows = self.rows(at, object, map, Place::Data, &split);
        settle(&mut rows, map, "");
        rows
    }

    fn rows(
        &self,
        at: usize,
        object: &Found,
        map: &Map,
        place: Place,
        split: &dyn Fn(&str) -> Option<(Dialect, String)>,
    ) -> Vec<Row> {
        let texts =
            map.entries.iter().filter_map(|(key, value)| Some((key.text()?, value.text()?)));
        let known: Vec<(&str, &str, Dialect, String)> = texts
            .filter(|(full, _)| !full.starts_with(PREFIX))
            .filter_map(|(full, value)| split(full).map(|(d, key)| (full, value, d, key)))
            .collect();
        let row = |(full, value, dialect, key): &(&str, &str, Dialect, String)| {
            let others = known.iter().filter(|(_, _, d, _)| d == dialect);
            let others = others.map(|(_, value, _, key)| (key.as_str(), *value)).collect();
            let mut row = Row::new(at, object, place, full, *dialect);
            match self.entry(*dialect, place, key) {
                Some(entry) => {
                    judge(entry, value, &others, object, &mut row);
                    custom::expand(&mut row, key, value, &object.namespace, &self.resources);
                }
                None => self.unknown(*dialect, key, &mut row),
            }
            row
        };
        known.iter().map(row).collect()
    }

    fn unknown(&self, dialect: Dialect, key: &str, row: &mut Row) {
        let names = self.table(dialect, row.place).into_iter().flat_map(BTreeMap::keys).copied();
        row.verdict = UNKNOWN;
        row.need = Need::Human;
        row.remark = match nearest(key, names) {
            Some(name) => format!("not a key of {}; did you mean {name}?", dialect.name()),
            None => format!("not a key of {}", dialect.name()),
        };
        row.deed = left_out(row);
    }
}

/// The verdict on a key that its own controller does not know either.
pub(super) const UNKNOWN: &str = "unknown";

fn judge(entry: &Entry, value: &str, others: &BTreeMap<&str, &str>, object: &Found, row: &mut Row) {
    row.verdict = entry.verdict.as_str();
    row.protects = entry.protects;
    row.remark = entry.remark.to_owned();
    let by_hand = |row: &mut Row, why: String| {
        row.need = if entry.protects { Need::Open } else { Need::Human };
        if !why.is_empty() {
            row.remark = if row.remark.is_empty() { why } else { format!("{why}; {}", row.remark) };
        }
        row.deed = left_out(row);
    };
    let tls = object.node.at(&["spec", "tls"]).is_some_and(|tls| !tls.items().is_empty());
    match (entry.verdict, entry.target) {
        // Only haproxytech's controller redirects without a certificate to redirect to.
        _ if entry.key == "ssl-redirect"
            && row.place == Place::Annotation
            && row.dialect != Dialect::Haproxytech
            && !tls =>
        {
            row.remark = "without a tls block it redirects nothing there".to_owned();
            row.deed = left_out(row);
        }
        (Verdict::NotYet, _) => by_hand(row, String::new()),
        (Verdict::Never, _) => {
            row.need = if entry.protects { Need::Open } else { Need::Nothing };
            row.deed = left_out(row);
        }
        (_, Target::Flag(flag)) => {
            row.flag = Some(flag);
            by_hand(row, String::new());
        }
        (Verdict::Same, Target::Nothing) => row.deed = left_out(row),
        (_, Target::Nothing) => by_hand(row, String::new()),
        (_, Target::Key(_)) => match carry(entry, value, others, &object.namespace) {
            Carried::Pairs(pairs) => {
                let prefix = if row.place == Place::Data { "" } else { PREFIX };
                let pairs = pairs.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value));
                row.deed = Deed::Write(pairs.collect());
            }
            Carried::Silent(why) => {
                row.remark = why;
                row.deed = left_out(row);
            }
            Carried::ByHand(why) => by_hand(row, why),
        },
    }
}

/// What a rewrite does with a key that says nothing here: where tidegate reads the prefix, it
/// becomes a comment, lest it be a Problem; where it does not, it stays. What protects stays
/// where everybody sees it.
fn left_out(row: &Row) -> Deed {
    let read = row.place == Place::Data || HAPROXY_PREFIXES.iter().any(|p| row.key.starts_with(p));
    if read && row.need != Need::Open { Deed::Comment } else { Deed::Keep }
}

/// Two keys of an object must not become the same key here: a key of ours that is there wins, then
/// those that say the same, then the first. Header lines are put together.
fn settle(rows: &mut [Row], map: &Map, prefix: &str) {
    let mut taken: BTreeMap<String, (Option<usize>, String)> = BTreeMap::new();
    for (key, value) in &map.entries {
        let key = key.text().filter(|key| !prefix.is_empty() && key.starts_with(prefix));
        if let (Some(key), Some(value)) = (key, value.text()) {
            taken.insert(key.to_owned(), (None, value.to_owned()));
        }
    }
    let first = |row: &Row| row.verdict != Verdict::OtherKey.as_str();
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|at| !rows.get(*at).is_some_and(first));
    for at in order {
        let Some(row) = rows.get_mut(at) else { continue };
        let Deed::Write(pairs) = &mut row.deed else { continue };
        let pairs = std::mem::take(pairs);
        let (mut kept, mut merged) = (Vec::new(), Vec::new());
        for (key, value) in pairs {
            match taken.get(&key) {
                None => {
                    taken.insert(key.clone(), (Some(at), value.clone()));
                    kept.push((key, value));
                }
                Some((_, there)) if *there == value => {}
                Some((Some(_), _)) if key.ends_with("-header") => {
                    row.remark = format!("a line of {key}");
                    merged.push((key, value));
                }
                Some(_) => {
                    row.remark = format!("{key} is there already, and holds");
                    row.need = Need::Human;
                }
            }
        }
        // What another row writes need not be said twice.
        row.deed = if kept.is_empty() { Deed::Comment } else { Deed::Write(kept) };
        for (key, value) in merged {
            if let Some((Some(first), there)) = taken.get_mut(&key) {
                *there = format!("{}\n{value}", there.trim_end());
                let (first, there) = (*first, there.clone());
                merge(rows, first, &key, &there);
            }
        }
    }
}

fn merge(rows: &mut [Row], at: usize, key: &str, value: &str) {
    let Some(Row { deed: Deed::Write(pairs), .. }) = rows.get_mut(at) else { return };
    for pair in pairs.iter_mut().filter(|pair| pair.0 == key) {
        value.clone_into(&mut pair.1);
    }
}
