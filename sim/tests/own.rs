//! `tidegate-sim own`: somebody's manifests, through every fault and through a few lines.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/manifests")
}

fn own(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-sim"));
    let Output { status, stdout, stderr } =
        command.arg("own").arg(folder).args(arguments).output().unwrap();
    let said = [stdout, stderr].concat();
    (status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_examples_hold_through_every_fault() {
    let (code, said) = own(&manifests(), &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("every promise holds") && said.contains("4 Services"), "{said}");
}

#[test]
fn lines_of_a_file_happen_and_what_they_break_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("faults");
    let good =
        "71000 fault hang 3000\n71500 pods samples/shop 2,9 1\n80000 fault controller-dies 500\n";
    fs::write(&file, good).unwrap();
    let faults = ["--faults", file.to_str().unwrap()];
    for version in ["3.4", "3.2", "3.0", "2.6"] {
        let (code, said) = own(&manifests(), &[&faults[..], &["--haproxy", version]].concat());
        assert_eq!(code, Some(0), "{version}: {said}");
    }

    // A promise that nobody can keep: the alarm goes off here as well.
    fs::write(&file, format!("70000 quiet\n{good}90000 canary\n")).unwrap();
    let (code, said) = own(&manifests(), &faults);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("canary"), "{said}");

    fs::write(&file, "71000 fault nonsense\n").unwrap();
    let (code, said) = own(&manifests(), &faults);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("faults: cannot be read: 71000 fault nonsense"), "{said}");
}

#[test]
fn a_change_where_none_may_be_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("faults");
    fs::write(&file, "70000 quiet\n71000 still\n71001 pods samples/shop 9 -\n").unwrap();
    let (code, said) = own(&manifests(), &["--faults", file.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("S13"), "{said}");
}

#[test]
fn a_folder_without_services_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = own(folder.path(), &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("no Service"), "{said}");
}
