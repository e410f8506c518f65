//! The units in deploy/systemd: systemd reads them without complaint, and what they hand to tidegate
//! is what it takes.
//!
//! Not here: what the units' commands do (`attach`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy/systemd")
}

fn units() -> Vec<(String, String)> {
    let mut units = Vec::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "service") {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            units.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    units.sort();
    assert_eq!(units.len(), 3);
    units
}

fn help(verb: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    String::from_utf8(command.args([verb, "--help"]).output().unwrap().stdout).unwrap()
}

/// The executables exist where the units say on a real machine only, so others stand in for them.
#[test]
fn systemd_has_no_complaint() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no"]);
    for (name, text) in units() {
        let text = text
            .replace("/usr/local/bin/tidegate", env!("CARGO_BIN_EXE_tidegate"))
            .replace("=/usr/sbin/haproxy ", "=/bin/true ");
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        command.arg(path);
    }
    let output = command.output().unwrap_or_else(|error| {
        panic!("systemd-analyze cannot be run, install systemd: {error}");
    });
    let words = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<_> = words.lines().filter(|line| line.contains("tidegate")).collect();
    assert!(output.status.success() && ours.is_empty(), "{words}");
}

#[test]
fn every_unit_is_confined() {
    for (name, text) in units() {
        for line in [
            "User=tidegate",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "ProtectHome=yes",
            "StateDirectory=tidegate",
            "UMask=0077",
            "SystemCallFilter=@system-service",
        ] {
            assert!(text.lines().any(|l| l == line), "{name} has no {line}");
        }
        let bounding = text.lines().find(|l| l.starts_with("CapabilityBoundingSet=")).unwrap();
        let binds = name != "tidegate-attached.service";
        assert_eq!(bounding.ends_with("CAP_NET_BIND_SERVICE"), binds, "{name}: {bounding}");
    }
}

/// Flags of the units, and variables of the environment file, are those of `tidegate run`.
#[test]
fn flags_and_variables_exist() {
    let help = help("run");
    let mut flags = 0;
    for (name, text) in units() {
        let start = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        if !start.contains("tidegate run") {
            continue;
        }
        for flag in start.split(' ').filter(|word| word.starts_with("--")) {
            flags += 1;
            assert!(help.contains(&format!("{flag} ")), "{name}: {flag}");
        }
        for variable in text.lines().filter_map(|line| line.strip_prefix("Environment=")) {
            let variable = variable.split('=').next().unwrap();
            assert!(help.contains(&format!("[env: {variable}=")), "{name}: {variable}");
        }
    }
    assert_eq!(flags, 2);
    let text = fs::read_to_string(folder().join("tidegate.env")).unwrap();
    let named = text.lines().map(|line| line.trim_start_matches('#'));
    let named: Vec<_> = named.filter(|line| line.starts_with("TIDEGATE_")).collect();
    assert!(named.len() > 8);
    for line in named {
        let variable = line.split('=').next().unwrap();
        assert!(help.contains(&format!("[env: {variable}=")), "tidegate.env: {variable}");
    }
}
