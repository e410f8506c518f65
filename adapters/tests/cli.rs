//! The command line as a user meets it: the program is run, its output and exit code are read.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::certs::{Authority, Issued};
use serde_json::Value;

fn tidegate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).env_remove("TIDEGATE_HAPROXY");
    command.env("HOME", "/nonexistent").output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stdout));
    })
}

/// The samples of the demo, with one endpoint for the shop; `changes` are added.
fn samples(changes: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/demo");
    let mut files: Vec<PathBuf> =
        ["class", "shop"].map(|name| demo.join(format!("manifests/{name}.yaml"))).into();
    files.extend(changes.iter().map(|name| demo.join(format!("changes/{name}.yaml"))));
    for file in files {
        std::fs::copy(&file, dir.path().join(file.file_name().unwrap())).unwrap();
    }
    dir
}

fn path(dir: &tempfile::TempDir) -> &str {
    dir.path().to_str().unwrap()
}

#[test]
fn check_tells_errors_by_exit_code() {
    let broken = samples(&["broken"]);
    let output = tidegate(&["check", "-f", path(&broken)]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("broken.yaml:11"), "{text}");

    // The Secret of the shop's certificate is missing.
    let good = samples(&["blog"]);
    let output = tidegate(&["--output", "json", "check", "-f", path(&good)]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(json(&output)["problems"][0]["field"], "spec.tls[0].secretName");
    std::fs::remove_file(good.path().join("shop.yaml")).unwrap();
    let output = tidegate(&["--output", "json", "check", "--strict", "-f", path(&good)]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(json(&output)["errors"], 0);
}

#[test]
fn check_tells_of_certificates_that_expire() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let of = |name: &str, issued: Issued| {
        std::fs::write(dir.path().join(name), issued.secret(name).to_string()).unwrap();
    };
    of("fine.json", authority.client("fine"));
    of("over.json", authority.client_until("over", 2021));
    let output = tidegate(&["--output", "json", "check", "-f", path(&dir)]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = json(&output);
    assert_eq!(told["problems"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told["problems"][0]["reason"], "Expired");
    assert_eq!(told["problems"][0]["what"], "the certificate expired on 2021-01-01");
}

#[test]
fn a_mistyped_annotation_is_told_with_the_nearest_key() {
    let samples = samples(&["mistyped"]);
    let output = tidegate(&["--output", "json", "check", "-f", path(&samples)]);
    let problems = json(&output)["problems"].to_string();
    assert!(problems.contains("did you mean tidegate.io/timeout-server?"), "{problems}");
}

#[test]
fn what_cannot_be_done_has_its_own_exit_code() {
    assert_eq!(tidegate(&["check", "-f", "/nonexistent"]).status.code(), Some(3));
    assert_eq!(tidegate(&["check"]).status.code(), Some(2));
    assert_eq!(tidegate(&["run", "-f", "/nonexistent", "--audit", "5"]).status.code(), Some(2));
    assert_eq!(tidegate(&["--help"]).status.code(), Some(0));
}

#[test]
fn the_command_line_of_haproxytechs_controller_is_read() {
    let code = |arguments: &[&str]| tidegate(arguments).status.code();
    assert_eq!(code(&["--job-check-crd"]), Some(0));
    for wrong in [&["--namespace-blacklist=a"][..], &["--configmap=a/b", "--sink-period=5s"]] {
        assert_eq!(code(wrong), Some(2), "{wrong:?}");
    }
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/migrating-from-haproxytech.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    for (name, _) in tidegate::cli::theirs::ARGUMENTS {
        assert!(guide.contains(&format!("`--{name}`")), "the guide says nothing about --{name}");
    }
}

#[test]
fn a_new_application_is_planned_without_a_reload_where_that_is_possible() {
    let (old, new) = (samples(&[]), samples(&["blog"]));
    let plan = |version: &str| {
        let against = ["plan", "-f", path(&new), "--against", path(&old)];
        let flags = ["--haproxy-version", version, "--expect-no-reload", "--output", "json"];
        tidegate(&[&against[..], &flags[..]].concat())
    };
    for (version, code) in [("3.4", 0), ("3.2", 0), ("3.0", 0), ("2.6", 1)] {
        let output = plan(version);
        assert_eq!(output.status.code(), Some(code), "{version}: {output:?}");
        assert_eq!(json(&output)["reload"], code == 1, "{version}");
    }
    let steps = json(&plan("3.4"))["steps"].clone();
    let texts: Vec<&str> =
        steps.as_array().unwrap().iter().filter_map(|step| step["text"].as_str()).collect();
    // The backend before the route that refers to it.
    let at = |wanted: &str| texts.iter().position(|text| text.starts_with(wanted));
    assert!(at("add backend demo_blog_http").unwrap() < at("add map maps/route.map").unwrap());
}

#[test]
fn an_unchanged_folder_needs_nothing() {
    let samples = samples(&["blog"]);
    let arguments = ["--output", "json", "plan", "-f", path(&samples), "--against", path(&samples)];
    assert_eq!(json(&tidegate(&arguments))["steps"], Value::Array(Vec::new()));
}

#[test]
fn rendered_files_hold_no_secret_unless_asked() {
    let samples = samples(&[]);
    let show = |flags: &[&str]| {
        let output = tidegate(&[&["render", "-f", path(&samples)], flags].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = show(&[]);
    assert!(text.contains("==> maps/route.map <=="), "{text}");
    assert!(text.contains("shop.localhost/ |demo_shop_http|"), "{text}");
    assert!(!text.contains("PRIVATE KEY"));
    assert!(show(&["--with-secrets"]).contains("PRIVATE KEY"));
}

#[test]
fn capabilities_say_what_reloads() {
    let reloads = |tier: &str| {
        let found = json(&tidegate(&["--output", "json", "capabilities", "--tier", tier]));
        let keys = found["annotations"].as_array().unwrap().clone();
        let count = keys.iter().filter(|key| key["reloads"] != "never").count();
        (count, keys.len())
    };
    let (a, all) = reloads("a");
    let (c, _) = reloads("c");
    assert!(a < c && c < all, "{a} {c} {all}");
}
