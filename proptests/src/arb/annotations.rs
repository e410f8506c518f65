//! Keys and values of every family: valid, invalid and hostile ones.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tidegate_core::annotations::{FAMILIES, Mechanism, dialect};

use super::hostile;

/// A rewrite that core takes and HAProxy refuses: it quarantines.
pub const REFUSED_REWRITE: &str = "[z-a] /x";

/// Values that fit at least one key, and near misses.
const VALUES: &[&str] = &[
    "true",
    "false",
    "on",
    "30s",
    "5",
    "0",
    "1ms",
    "99d",
    "10.0.0.0/8",
    "10.0.0.0/33",
    "0.0.0.0/0",
    "2001:db8::/32, 10.1.2.3",
    "leastconn",
    "source",
    "hdr(X-User)",
    "url_param(uid)",
    "hdr()",
    "static-rr",
    "h1",
    "h2",
    "h3",
    "GET /healthz",
    "/health",
    "HEAD /h HTTP/1.1",
    "tls",
    "ca",
    "tls2",
    "a/tls",
    "users",
    "a/users",
    "b/users",
    "basic-auth",
    "digest-auth",
    "b/ca",
    "none",
    "www.example.com",
    "https://x.org:8443",
    "ftp://x",
    "a/ca",
    "1 ",
    "any",
    "proxy-v2-ssl",
    "308",
    "200",
    "8443",
    "X-A 1",
    "X-A 1\nX-B \"two words\"",
    "X-C 3",
    "X-D",
    "Content-Length 0",
    "^/a/(.*) /\\1",
    "/fixed",
    "a b c",
    "^/x /y\n^/y /z",
    "app.internal",
    "",
];

/// What matters here of a row of the tables.
#[derive(Clone, Copy, Debug)]
struct Row {
    key: &'static str,
    haproxy: Option<&'static str>,
    example: &'static str,
    mechanism: Mechanism,
}

fn rows() -> Vec<Row> {
    let keys = FAMILIES.iter().flat_map(|family| family.keys);
    keys.map(|a| Row { key: a.key, haproxy: a.haproxy, example: a.example, mechanism: a.mechanism })
        .collect()
}

fn value(row: Row) -> BoxedStrategy<String> {
    let refused = if row.key == "path-rewrite" { REFUSED_REWRITE } else { row.example };
    prop_oneof![
        8 => Just(row.example.to_owned()),
        6 => select(VALUES).prop_map(str::to_owned),
        1 => Just(refused.to_owned()),
        1 => hostile::text(),
    ]
    .boxed()
}

/// Rows that rarely reload or close a route are drawn more often.
fn row() -> impl Strategy<Value = Row> {
    let common: Vec<_> =
        rows().into_iter().filter(|r| r.mechanism != Mechanism::Skeleton).collect();
    prop_oneof![10 => select(common), 1 => select(rows())]
}

fn annotation() -> BoxedStrategy<(String, String)> {
    let known = row().prop_flat_map(|row| {
        let mut keys = vec![format!("tidegate.io/{}", row.key); 3];
        keys.extend(row.haproxy.map(|key| format!("haproxy.org/{key}")));
        keys.extend(row.haproxy.map(|key| format!("haproxy.com/{key}")));
        (select(keys), value(row))
    });
    let unknown = select(&["tidegate.io/timeout-servr", "haproxy.org/x", "tidegate.io/"][..]);
    let keys = &["kubernetes.io/ingress.class", "haproxy.org/ingress.class"][..];
    let class = (select(keys), select(&["tidegate", "nginx"][..]));
    prop_oneof![
        20 => known,
        3 => prop_oneof![reference("haproxy.org/cr-backend"), reference("tidegate.io/cr-backend")],
        1 => (unknown.prop_map(str::to_owned), Just("1".to_owned())),
        1 => class.prop_map(|(key, class)| (key.to_owned(), class.to_owned())),
    ]
    .boxed()
}

fn some(max: usize) -> BoxedStrategy<BTreeMap<String, String>> {
    prop_oneof![
        2 => Just(BTreeMap::new()),
        1 => vec(annotation(), 1..=max).prop_map(|all| all.into_iter().collect())
    ]
    .boxed()
}

/// Names of custom resources.
pub const CUSTOMS: &[&str] = &["tuned", "cr2"];

/// References to custom resources; some lead nowhere.
fn reference(key: &'static str) -> BoxedStrategy<(String, String)> {
    let value = select(&["tuned", "cr2", "a/tuned", "b/cr2", "none", "a/", "A"][..]);
    value.prop_map(move |value| (key.to_owned(), value.to_owned())).boxed()
}

/// Keys that a custom resource can say: those that the table of its fields names.
pub fn for_custom() -> BoxedStrategy<BTreeMap<String, String>> {
    let named: Vec<&str> = dialect::custom_resources()
        .values()
        .filter_map(|entry| match entry.target {
            dialect::Target::Key(key) => Some(key),
            dialect::Target::Nothing | dialect::Target::Flag(_) => None,
        })
        .collect();
    let is_said = |row: &Row| named.contains(&row.key) || row.key.ends_with("set-header");
    let said: Vec<Row> = rows().into_iter().filter(is_said).collect();
    let entry =
        select(said).prop_flat_map(|row| value(row).prop_map(move |v| (row.key.to_owned(), v)));
    vec(entry, 0..4).prop_map(|all| all.into_iter().collect()).boxed()
}

/// Annotations of an Ingress; some are canaries.
pub fn for_ingress() -> BoxedStrategy<BTreeMap<String, String>> {
    let keys = FAMILIES.iter().flat_map(|family| family.keys).map(|row| row.key);
    let keys: Vec<_> = keys.filter(|key| key.starts_with("canary-")).collect();
    let row = select(keys).prop_map(|key| rows().into_iter().find(|row| row.key == key));
    let own = row.prop_flat_map(|row| {
        row.map_or(Just(None).boxed(), |row| {
            value(row)
                .prop_map(move |value| Some((format!("tidegate.io/{}", row.key), value)))
                .boxed()
        })
    });
    let canary = (some(2), vec(own, 0..4)).prop_map(|(mut all, own)| {
        all.extend(own.into_iter().flatten());
        all.insert("tidegate.io/canary".to_owned(), "true".to_owned());
        all
    });
    prop_oneof![5 => some(4), 1 => canary].boxed()
}

/// Annotations of a Service.
pub fn for_service() -> BoxedStrategy<BTreeMap<String, String>> {
    some(3)
}

/// Data of the controller's ConfigMap. No snippets: what they amount to depends on what was good
/// before, and not on the objects alone; see `properties::snippets`.
pub fn for_config_map() -> BoxedStrategy<BTreeMap<String, String>> {
    let entry = row().prop_flat_map(|row| {
        let key = Just(row.key.to_owned());
        (prop_oneof![9 => key, 1 => Just("nonsense".to_owned())], value(row))
    });
    let entry = entry.prop_filter("a snippet", |(key, _)| !key.ends_with("-config-snippet"));
    let named = ["cr-backend", "cr-defaults", "cr-global", "cr-frontend-http", "cr-frontend-stats"];
    let named = select(named.to_vec()).prop_flat_map(reference);
    let entry = prop_oneof![4 => entry, 1 => named];
    vec(entry, 0..3).prop_map(|all| all.into_iter().collect()).boxed()
}

/// Every key with hostile values: for the properties about parsing and rendering.
pub fn hostile_annotations() -> BoxedStrategy<BTreeMap<String, String>> {
    let entry = select(rows()).prop_flat_map(|row| {
        (
            Just(format!("tidegate.io/{}", row.key)),
            prop_oneof![3 => hostile::text(), 1 => value(row)],
        )
    });
    vec(entry, 1..8).prop_map(|all| all.into_iter().collect()).boxed()
}
