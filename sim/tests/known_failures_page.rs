//! `docs/known-failures.md` says what keeps the failures of others out of here: each row has the
//! mistake that is put back, and what it names must be there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tidegate_sim::swarm::scenario::SCENARIOS;
use tidegate_sim::{network, swarm};

/// Rows whose mistake nobody here can make; the page says why.
const NOBODYS: &[&str] = &["M13", "M67"];

/// Folders with tests.
const TESTS: &[&str] = &["adapters/tests", "core/tests", "proptests/tests", "sim/tests"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn page() -> String {
    read("docs/known-failures.md")
}

/// The cells of the rows that begin with a letter and a number.
fn rows(page: &str, letter: char) -> Vec<Vec<&str>> {
    let is_row = |line: &&str| {
        let name = line.strip_prefix("| ").and_then(|line| line.strip_prefix(letter));
        name.is_some_and(|name| name.starts_with(|c: char| c.is_ascii_digit()))
    };
    let lines = page.lines().filter(is_row);
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// What a cell says of planted mistakes or scenarios: its parts that begin so.
fn parts<'a>(cell: &'a str, begin: &'static str) -> impl Iterator<Item = &'a str> {
    cell.split(';').map(str::trim).filter(move |part| part.starts_with(begin))
}

/// The mistakes that a cell says are planted: `planted B2, M1`.
fn planted(cell: &str) -> Vec<&str> {
    let words = parts(cell, "planted ").flat_map(|part| part.split([' ', ',', '(', ')']));
    let is_name = |word: &&str| {
        let number = word.strip_prefix(['B', 'M']).unwrap_or_default();
        !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    };
    words.filter(is_name).collect()
}

#[test]
fn every_row_of_the_list_is_there_once_with_its_mistake() {
    let (page, table) = (page(), read("docs/simulator.md"));
    let on_trial: BTreeSet<&str> =
        [rows(&table, 'B'), rows(&table, 'M')].iter().flatten().map(|cells| cells[0]).collect();
    let rows = rows(&page, 'M');
    let names: Vec<&str> = rows.iter().map(|cells| cells[0]).collect();
    let wanted: Vec<String> = (1..=79).step_by(2).map(|number| format!("M{number}")).collect();
    assert_eq!(names, wanted);
    let mut put_back = BTreeSet::new();
    for cells in &rows {
        let [name, _, _, here, _] = cells[..] else { panic!("cells: {cells:?}") };
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{cells:?}");
        let mistakes = planted(here);
        for mistake in &mistakes {
            assert!(on_trial.contains(mistake), "{name}: {mistake} is not on trial");
        }
        if NOBODYS.contains(&name) {
            assert!(mistakes.is_empty(), "{name} can be planted, as {mistakes:?}");
            let says = here.contains("nobody here can make it");
            assert!(says, "{name} does not say why nothing is planted");
        } else {
            assert!(!mistakes.is_empty(), "{name} has no mistake that is put back");
        }
        put_back.extend(mistakes);
    }
    let unnamed: Vec<&&str> = on_trial
        .iter()
        .filter(|name| name.starts_with('M') && !put_back.contains(**name))
        .collect();
    assert!(unnamed.is_empty(), "on trial, and not on the page: {unnamed:?}");
}

#[test]
fn scenarios_are_named_and_each_fails_with_a_mistake() {
    let page = page();
    let on_trial = read("sim/tests/planted_schedules.rs");
    let of_rows = rows(&page, 'M');
    for cells in &of_rows {
        let (name, here) = (cells[0], cells[3]);
        let named: Vec<&str> = parts(here, "scenario").flat_map(quoted).collect();
        for scenario in &named {
            assert!(SCENARIOS.iter().any(|(of, ..)| of == scenario), "{name}: no {scenario}");
        }
        if SCENARIOS.iter().any(|(of, ..)| *of == name) {
            assert!(named.contains(&name), "{name} does not name its scenario");
            let is_tried = on_trial.contains(&format!("\"{name}\")"));
            assert!(is_tried, "nothing is planted for the scenario {name}");
        }
    }
}

/// Every text in a folder and below.
fn texts(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts(&path, all);
        } else if path.extension().is_some_and(|end| end == "rs") {
            all.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn what_is_named_exists() {
    let page = page();
    let mut all = String::new();
    TESTS.iter().for_each(|folder| texts(&root().join(folder), &mut all));
    let faults: BTreeSet<&str> =
        swarm::cells::table().faults.into_iter().chain(network::cells::table().faults).collect();
    let is_test = |name: &str| {
        let of_folder = |folder: &&str| {
            let path = root().join(folder).join(name);
            path.with_extension("rs").exists() || path.join("main.rs").exists()
        };
        TESTS.iter().any(of_folder)
    };
    let is_function = |name: &str| all.contains(&format!("fn {name}("));
    let exists = |name: &str| match name.split_once(": ") {
        Some((test @ ("cluster" | "apiserver"), module)) => {
            root().join(format!("adapters/tests/{test}/{module}.rs")).exists()
        }
        Some((test, function)) => is_test(test) && is_function(function),
        None if name.contains('/') => root().join(name).exists(),
        None => {
            let is_scenario = SCENARIOS.iter().any(|(of, ..)| *of == name);
            is_scenario || faults.contains(name) || is_test(name) || is_function(name)
        }
    };
    let rows = rows(&page, 'M');
    let names: Vec<&str> = rows.iter().flat_map(|cells| quoted(cells[3])).collect();
    assert!(names.len() > 60, "{}", names.len());
    let missing: Vec<&str> = names.into_iter().filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
