//! `docs/faults.md` says where each fault is tried: what it names must be there, and what there is it
//! must name.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tidegate_sim::{network, swarm};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page() -> String {
    fs::read_to_string(root().join("docs/faults.md")).unwrap()
}

/// What stands between backticks.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_row_of_the_fault_model_is_there_once() {
    let page = page();
    // There is no F19.
    for number in (1..=18).chain(20..=45) {
        let begin = format!("| F{number} |");
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with(&begin)).collect();
        let [row] = rows[..] else { panic!("{begin} is there {} times", rows.len()) };
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{row}");
        let tried = &cells[2..cells.len() - 1];
        assert!(tried.iter().any(|cell| *cell != "–"), "nothing tries it: {row}");
    }
}

#[test]
fn every_fault_of_the_simulator_is_named() {
    let page = page();
    let names = quoted(&page);
    for (tier, faults) in [(0, swarm::cells::table().faults), (1, network::cells::table().faults)] {
        let missing: Vec<&str> = faults.into_iter().filter(|name| !names.contains(name)).collect();
        assert!(missing.is_empty(), "of tier {tier}: {missing:?}");
    }
}

#[test]
fn tests_that_are_named_exist() {
    let page = page();
    let mut checked = 0;
    for name in quoted(&page) {
        let file = match name.split_once(": ") {
            Some(("cluster", module)) => format!("adapters/tests/cluster/{module}.rs"),
            Some(("apiserver", module)) => format!("adapters/tests/apiserver/{module}.rs"),
            Some(("haproxy_socket", test)) => {
                let folder = fs::read_dir(root().join("adapters/tests/haproxy_socket")).unwrap();
                let mut texts =
                    folder.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
                assert!(texts.any(|text| text.contains(&format!("fn {test}("))), "{name}");
                checked += 1;
                continue;
            }
            _ if name.ends_with(".rs") => name.to_owned(),
            _ => continue,
        };
        assert!(root().join(&file).exists(), "{name}: {file}");
        checked += 1;
    }
    assert!(checked > 10, "{checked}");
}
