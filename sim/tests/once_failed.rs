//! Every schedule that failed once, kept in `proptests/regressions`, holds on the tier that it is of.
//! A file that is added there is one more test.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tidegate_sim::regressions::{FOLDER, all};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(FOLDER)
}

#[test]
fn what_was_found_is_not_there_any_more() {
    let kept = all(&folder()).unwrap();
    let mut failed = Vec::new();
    for regression in &kept {
        if let Some(broken) = regression.broken().unwrap() {
            let (name, about) = (&regression.name, &regression.about);
            failed.push(format!("{FOLDER}/{name}.schedule: {broken}\n  it is about: {about}"));
        }
    }
    // Not by `eprintln!`, which the test harness swallows.
    let _ = writeln!(std::io::stderr(), "regressions: {} of {FOLDER}", kept.len());
    assert!(failed.is_empty(), "{} fail:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn a_folder_with_nothing_or_with_something_else_is_no_success() {
    let folder = tempfile::tempdir().unwrap();
    assert!(all(&folder.path().join("absent")).is_err());
    assert!(all(folder.path()).is_err(), "an empty folder");
    let good = folder.path().join("good.schedule");
    fs::write(&good, "# A Service without pods was never quiet.\n60000 quiet\n").unwrap();
    assert_eq!(all(folder.path()).unwrap().len(), 1);
    for (name, text) in [("bad.schedule", "# a b c d e\nnonsense\n"), ("notes.txt", "words")] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let why = all(folder.path()).unwrap_err();
        assert!(why.contains(name), "{why}");
        fs::remove_file(&path).unwrap();
    }
}
