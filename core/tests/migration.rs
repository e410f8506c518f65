//! The verdicts on other controllers' keys (`annotations/dialect/*.txt`) are complete, agree with
//! the tables of annotations, and are what the guides `docs/migrating-from-*.md` say.
//! `BLESS=1 cargo test` writes the guides' tables anew. The lists of keys are in `data/`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use tidegate_core::annotations::dialect::{
    Carry, Dialect, Target, Verdict, custom_resources, guide,
};
use tidegate_core::annotations::{Apply, FAMILIES, Registry};

fn path(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Keys under `tidegate.io/`.
fn ours() -> BTreeSet<&'static str> {
    FAMILIES.iter().flat_map(|family| family.keys).map(|row| row.key).collect()
}

#[test]
fn every_key_has_one_verdict_that_can_be_acted_on() {
    let ours = ours();
    let counts =
        [(Dialect::Haproxytech, 93), (Dialect::HaproxyIngress, 264), (Dialect::IngressNginx, 138)];
    for (dialect, count) in counts {
        let name = dialect.name();
        assert_eq!(dialect.faults(), Vec::<&str>::new(), "{name}: lines that cannot be used");
        let list = read(&format!("tests/data/keys-{name}.txt"));
        let listed: BTreeSet<&str> = list.lines().collect();
        assert_eq!(listed.len(), count, "{name}: the list of keys");
        let table = dialect.table();
        let missing: Vec<_> = listed.iter().filter(|key| !table.contains_key(*key)).collect();
        assert!(missing.is_empty(), "{name}: without a verdict: {missing:?}");
        for (key, entry) in &table {
            let read_here = dialect == Dialect::Haproxytech && entry.carry == Carry::AsIs;
            assert!(listed.contains(key) || read_here, "{name}: {key} is not in the list of keys");
        }
        for (key, entry) in
            table.into_iter().chain(dialect.config_table()).chain(custom_resources())
        {
            if let Target::Key(target) = entry.target {
                assert!(ours.contains(target), "{name}: {key} names {target}, which is no key");
            }
            let works = matches!(entry.verdict, Verdict::Same | Verdict::Better);
            let moves = works || entry.verdict == Verdict::OtherKey;
            let says = entry.target != Target::Nothing || !entry.remark.is_empty();
            assert!(says || !moves, "{name}: {key} says neither what nor why");
            assert!(moves || entry.target == Target::Nothing, "{name}: {key} has a key and no use");
            let explained = entry.verdict != Verdict::Never && entry.verdict != Verdict::Better;
            assert!(explained || !entry.remark.is_empty(), "{name}: {key} does not say why");
        }
    }
}

/// What is said about haproxytech's keys is what happens to them: a key that is read is `same` or
/// `better`, and no other is.
#[test]
fn the_verdicts_on_haproxytech_are_those_of_the_tables() {
    let registry = Registry::new();
    for (key, entry) in Dialect::Haproxytech.table() {
        let found = registry.find(&format!("haproxy.org/{key}")).flatten();
        let row = found.and_then(|id| registry.row(id));
        let works = matches!(entry.verdict, Verdict::Same | Verdict::Better);
        // Known keys that do nothing.
        if row.is_some_and(|row| matches!(row.apply, Apply::Inert(_))) {
            assert!(matches!(entry.verdict, Verdict::Never | Verdict::NotYet), "{key}");
            continue;
        }
        let row = row.map(|row| row.key);
        let (is, line) = (entry.verdict.as_str(), "core/src/annotations/dialect/haproxytech.txt");
        match row {
            Some(row) => {
                assert!(works, "{key} is read: drop its `{is}` from {line}, or write `better`");
                assert_eq!(entry.target, Target::Key(row), "{key} in {line}");
            }
            None => assert!(!works, "{key} is not read, so it cannot be `{is}` in {line}"),
        }
    }
}

/// The other dialects promise no key under a name that tidegate does not have, and do not deny one
/// that it has.
#[test]
fn same_means_the_same_name_and_a_key_there_is_cannot_be_missing() {
    let ours = ours();
    for dialect in [Dialect::HaproxyIngress, Dialect::IngressNginx] {
        for (key, entry) in dialect.table().into_iter().chain(dialect.config_table()) {
            let (name, is) = (dialect.name(), entry.verdict.as_str());
            if matches!(entry.verdict, Verdict::Same | Verdict::Better) {
                assert_eq!(entry.target, Target::Key(key), "{name}: {key}");
            }
            let denied = ours.contains(key) && entry.verdict == Verdict::NotYet;
            assert!(!denied, "{name}: {key} is {is}, and tidegate.io/{key} exists");
        }
    }
}

#[test]
fn the_guides_tables_are_current() {
    for dialect in Dialect::ALL {
        let name = format!("../docs/migrating-from-{}.md", dialect.name());
        let written = read(&name);
        let wanted = guide::with_table(&written, dialect)
            .unwrap_or_else(|| panic!("{name} has no place for the table"));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(path(&name), &wanted).unwrap();
            continue;
        }
        let differs = wanted.lines().zip(written.lines()).find(|(is, was)| is != was);
        assert!(
            wanted == written,
            "{name} is not what the tables say; run BLESS=1 cargo test -p tidegate-core --test \
             migration. First difference: {differs:?}"
        );
    }
}
