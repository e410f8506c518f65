//! The guides `docs/migrating-from-*.md` have a verdict for every key of their origin, and say of
//! tidegate's own keys what the tables of annotations say. The lists of keys are in `data/`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tidegate_core::annotations::{Apply, FAMILIES, Registry};

const VERDICTS: [&str; 5] = ["same", "better", "other key", "not yet", "never"];

/// A row of a guide: verdict, key under `tidegate.io/` (empty for none), remark.
type Row = (String, String, String);

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn keys_of(origin: &str) -> BTreeSet<String> {
    read(&format!("tests/data/keys-{origin}.txt")).lines().map(str::to_owned).collect()
}

/// The rows of a guide by key; a key that has two is a failure.
fn guide(origin: &str) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    for line in read(&format!("../docs/migrating-from-{origin}.md")).lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [key, verdict, ours, remark] = cells.as_slice() else { continue };
        let Some(key) = key.strip_prefix('`').and_then(|key| key.strip_suffix('`')) else {
            continue;
        };
        let ours = ours.trim_matches(['`', '–']).to_owned();
        let row = ((*verdict).to_owned(), ours, (*remark).to_owned());
        assert!(rows.insert(key.to_owned(), row).is_none(), "{origin}: {key} has two rows");
    }
    rows
}

#[test]
fn every_key_has_one_verdict_that_can_be_acted_on() {
    let known: BTreeSet<&str> = FAMILIES.iter().flat_map(|f| f.keys).map(|row| row.key).collect();
    for (origin, count) in [("haproxytech", 93), ("haproxy-ingress", 264), ("ingress-nginx", 138)] {
        let (keys, rows) = (keys_of(origin), guide(origin));
        assert_eq!(keys.len(), count, "{origin}: the list of keys");
        assert_eq!(
            keys,
            rows.keys().cloned().collect(),
            "{origin}: keys without or beside the list"
        );
        for (key, (verdict, ours, remark)) in rows {
            assert!(VERDICTS.contains(&&*verdict), "{origin}: {key} is {verdict:?}");
            assert!(ours.is_empty() || known.contains(&*ours), "{origin}: {key} names {ours}");
            let says_what = !ours.is_empty() || remark != "–";
            let needs_a_key = ["same", "better", "other key"].contains(&&*verdict);
            assert!(says_what || verdict == "not yet", "{origin}: {key} says neither what nor why");
            assert!(needs_a_key || ours.is_empty(), "{origin}: {key} is {verdict} and has a key");
        }
    }
}

/// What is said about haproxytech's keys is what happens to them.
#[test]
fn the_verdicts_on_haproxytech_are_those_of_the_tables() {
    let registry = Registry::new();
    let rows = guide("haproxytech");
    for (key, (verdict, ours, _)) in &rows {
        let found = registry.find(&format!("haproxy.org/{key}")).flatten();
        let row = found.and_then(|id| registry.row(id));
        // Keys without a meaning are known, and do nothing.
        if row.is_some_and(|row| matches!(row.apply, Apply::Inert(_))) {
            assert_eq!(verdict, "never", "{key}");
            continue;
        }
        let row = row.map_or("", |row| row.key);
        let reads = verdict == "same" || verdict == "better";
        assert_eq!(reads, !row.is_empty(), "{key} is {verdict}, and the tables have {row:?}");
        if reads {
            assert_eq!(row, ours, "{key}");
        }
    }
    for row in FAMILIES.iter().flat_map(|family| family.keys) {
        if let Some(name) = row.haproxy {
            assert!(rows.contains_key(name), "{name} is read and has no row");
        }
    }
}

/// The other guides promise no key under a name that tidegate does not have.
#[test]
fn same_means_the_same_name() {
    for origin in ["haproxy-ingress", "ingress-nginx"] {
        for (key, (verdict, ours, _)) in guide(origin) {
            if verdict == "same" || verdict == "better" {
                assert_eq!(key, ours, "{origin}");
            }
        }
    }
}
