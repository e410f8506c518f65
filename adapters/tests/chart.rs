//! The Helm chart: every documented value does what it says, every typo is refused, and what is
//! made from the chart (manifests, the table of values) is current. With helm itself.
//!
//! Not here: whether an API server takes the objects (`cluster`).

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn chart() -> PathBuf {
    root().join("deploy/chart")
}

/// Runs helm. Fails when it is missing: nothing here is skipped.
fn helm(arguments: &[&str]) -> Output {
    let binary = common::places::helm();
    Command::new(binary).args(arguments).output().unwrap()
}

fn yaml(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The rendered text for these values, or what helm said.
fn template(values: &Value) -> Result<String, String> {
    let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    fs::write(file.path(), values.to_string()).unwrap();
    let chart = chart();
    let (chart, file) = (chart.to_str().unwrap(), file.path().to_str().unwrap());
    let output = helm(&["template", "tidegate", chart, "--namespace", "tidegate", "-f", file]);
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The objects in a rendered text.
fn objects(text: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_else(|e| panic!("{e}"));
    all.into_iter().filter(|object| !object.is_null()).collect()
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().map(|all| all.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// Paths of the leaves of a value; what is empty, and lists, are leaves.
fn leaves(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    match value.as_object() {
        Some(map) if !map.is_empty() => {
            for (key, inner) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves(inner, &path, into);
            }
        }
        _ => {
            into.insert(path.to_owned());
        }
    }
}

#[test]
fn lint_is_content() {
    let chart = chart();
    let output = helm(&["lint", "--strict", chart.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn every_value_does_what_it_says() {
    let plain = template(&json!({})).unwrap();
    let cases = yaml(&chart().join("ci/accepted.yaml"));
    let mut used = BTreeSet::new();
    let mut failed = Vec::new();
    for case in cases.as_array().unwrap() {
        let name = &case["name"];
        leaves(&case["values"], "", &mut used);
        let text = match template(&case["values"]) {
            Ok(text) => text,
            Err(error) => {
                failed.push(format!("{name}: {error}"));
                continue;
            }
        };
        for object in objects(&text) {
            for field in ["apiVersion", "kind"] {
                assert!(object[field].is_string(), "{name}: no {field} in {object}");
            }
            assert!(object["metadata"]["name"].is_string(), "{name}: no name in {object}");
        }
        let (contains, lacks) = (words(&case["contains"]), words(&case["lacks"]));
        assert!(!contains.is_empty() || !lacks.is_empty(), "{name} expects nothing");
        for word in contains.iter().filter(|word| !text.contains(**word)) {
            failed.push(format!("{name}: no '{word}'"));
        }
        for word in lacks.iter().filter(|word| text.contains(**word)) {
            failed.push(format!("{name}: there is '{word}'"));
        }
        // What is there by default says nothing about the value.
        let idle = contains.iter().all(|word| plain.contains(*word));
        let absent = lacks.iter().all(|word| !plain.contains(*word));
        let at_default = ["single", "no settings", "another HAProxy by digest"];
        if idle && absent && !at_default.contains(&name.as_str().unwrap_or("")) {
            failed.push(format!("{name}: the default output meets this too"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let mut documented = BTreeSet::new();
    leaves(&yaml(&chart().join("values.yaml")), "", &mut documented);
    let open: Vec<_> = documented
        .iter()
        .filter(|path| {
            let below = format!("{path}.");
            // A mapping that users fill, such as resources, is tried by any key in it.
            let whole = path.rsplit_once('.').map_or("", |(parent, _)| parent);
            let free = ["resources", "podSecurityContext", "securityContext", "haproxy.resources"];
            let in_free = free.iter().any(|f| whole.starts_with(f)) || whole.ends_with("labels");
            !in_free && !used.iter().any(|used| used == *path || used.starts_with(&below))
        })
        .collect();
    assert!(open.is_empty(), "values that no case in ci/accepted.yaml tries: {open:?}");
}

#[test]
fn mistakes_are_refused() {
    let cases = yaml(&chart().join("ci/refused.yaml"));
    let mut failed = Vec::new();
    for case in cases.as_array().unwrap() {
        let name = &case["name"];
        match template(&case["values"]) {
            Ok(_) => failed.push(format!("{name}: accepted")),
            Err(error) => {
                let missing = words(&case["words"]).into_iter().find(|word| !error.contains(word));
                failed.extend(missing.map(|word| format!("{name}: no '{word}' in: {error}")));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Puts a key that nobody knows into every mapping that is not the user's own.
fn mistype(value: &mut Value, path: &str, paths: &mut Vec<String>) {
    let own = ["config", "nodeSelector", "labels", "annotations", "commonLabels", "podLabels"];
    let own_too = ["podAnnotations", "requests", "namespaceLabels", "grafana_dashboard"];
    let last = path.rsplit('.').next().unwrap_or("");
    if own.contains(&last) || own_too.contains(&last) {
        return;
    }
    let Some(map) = value.as_object_mut() else { return };
    for (key, inner) in map.iter_mut() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        mistype(inner, &path, paths);
    }
    let key = format!("typo{}", paths.len());
    map.insert(key.clone(), json!(1));
    paths.push(key);
}

#[test]
fn typos_are_refused_at_every_level() {
    let mut values = yaml(&chart().join("values.yaml"));
    let mut keys = Vec::new();
    mistype(&mut values, "", &mut keys);
    assert!(keys.len() > 25, "{keys:?}");
    let error = template(&values).expect_err("a key that nobody knows in every mapping");
    let unseen: Vec<_> = keys.iter().filter(|key| !error.contains(&format!("'{key}'"))).collect();
    assert!(unseen.is_empty(), "accepted: {unseen:?}\n{error}");
}

#[test]
fn manifests_are_current() {
    let made = tempfile::tempdir().unwrap();
    let script = chart().join("render.sh");
    let output = Command::new(script).arg("--to").arg(made.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let folder = root().join("deploy/manifests");
    let names = |dir: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names(&folder), names(made.path()));
    for name in names(&folder) {
        let (committed, rendered) = (folder.join(&name), made.path().join(&name));
        assert_eq!(
            fs::read_to_string(committed).unwrap(),
            fs::read_to_string(rendered).unwrap(),
            "deploy/manifests/{name} is not what the chart renders: run deploy/chart/render.sh"
        );
    }
    for name in ["alerts.yaml", "dashboard.json"] {
        assert_eq!(
            fs::read_to_string(root().join("deploy/monitoring").join(name)).unwrap(),
            fs::read_to_string(chart().join("files").join(name)).unwrap(),
            "the chart's copy of {name} is old: run deploy/chart/render.sh"
        );
    }
}

/// The pods of a rendered text, with the kind they belong to.
fn pods(text: &str) -> Vec<Value> {
    let all = objects(text);
    all.into_iter()
        .map(|o| o["spec"]["template"]["spec"].clone())
        .filter(|s| !s.is_null())
        .collect()
}

/// The restricted pod security standard, by its list.
#[test]
fn pods_have_no_rights() {
    for topology in ["single", "sidecar"] {
        for mode in ["Deployment", "DaemonSet"] {
            let text = template(&json!({"topology": topology, "mode": mode})).unwrap();
            let pods = pods(&text);
            assert_eq!(pods.len(), 1);
            let pod = &pods[0];
            assert_eq!(pod["automountServiceAccountToken"], false);
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
            let containers = pod["containers"].as_array().unwrap();
            assert_eq!(containers.len(), if topology == "single" { 1 } else { 2 });
            for container in containers {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false);
                assert_eq!(context["readOnlyRootFilesystem"], true);
                assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
                // The token is for tidegate alone.
                let mounts = container["volumeMounts"].as_array().unwrap();
                let token = mounts.iter().any(|mount| mount["name"] == "token");
                assert_eq!(token, container["name"] == "tidegate", "{container}");
            }
        }
    }
}

/// The grace period covers everything that is waited for at the end.
#[test]
fn the_end_is_waited_for() {
    for (delay, stop) in [(0, 0), (10, 60), (30, 3600)] {
        let drain = json!({"delaySeconds": delay, "stopWithinSeconds": stop});
        let text = template(&json!({"drain": drain})).unwrap();
        let grace = pods(&text)[0]["terminationGracePeriodSeconds"].as_u64().unwrap();
        // SIGTERM and SIGKILL to HAProxy take up to six seconds more.
        assert!(grace > delay + stop + 6, "{grace}");
    }
}

/// Arguments of the container `tidegate`, without the verb, as the kubelet hands them over.
fn flags(text: &str) -> Vec<String> {
    let pod = &pods(text)[0];
    let containers = pod["containers"].as_array().unwrap();
    let container = containers.iter().find(|c| c["name"] == "tidegate").unwrap();
    let arguments = words(&container["args"]);
    assert_eq!(arguments[0], "run");
    arguments[1..].iter().map(|flag| flag.replace("$(POD_NAME)", "tidegate-0")).collect()
}

fn tidegate(verb: &str, flags: &[String], last: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.arg(verb).args(flags).args(last).output().unwrap()
}

/// Every flag that any values lead to is one that the program takes. `--help` comes last: flags
/// before it are read first.
#[test]
fn the_program_takes_every_flag() {
    let cases = yaml(&chart().join("ci/accepted.yaml"));
    let mut seen = BTreeSet::new();
    for case in cases.as_array().unwrap() {
        let text = template(&case["values"]).unwrap();
        if case["values"]["mode"] == "External" {
            assert!(pods(&text).is_empty());
            continue;
        }
        let flags = flags(&text);
        let output = tidegate("run", &flags, &["--help"]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {flags:?}: {error}", case["name"]);
        seen.extend(flags.into_iter().map(|f| f.split('=').next().unwrap().to_owned()));
    }
    assert!(seen.len() > 30, "{seen:?}");
    let wrong = tidegate("run", &["--no-such-flag".to_owned()], &["--help"]);
    assert!(!wrong.status.success(), "help hides wrong flags");
}

/// Namespace (empty for the cluster), group, resource, name (empty for all), verb.
type Grant = [String; 5];

fn strings(value: &Value) -> Vec<String> {
    words(value).into_iter().map(str::to_owned).collect()
}

/// What a rendered text grants.
fn granted(text: &str) -> BTreeSet<Grant> {
    let mut all = BTreeSet::new();
    for object in objects(text) {
        let namespace = match object["kind"].as_str().unwrap() {
            "ClusterRole" => "",
            "Role" => object["metadata"]["namespace"].as_str().unwrap(),
            _ => continue,
        };
        for rule in object["rules"].as_array().unwrap() {
            let mut names = strings(&rule["resourceNames"]);
            if names.is_empty() {
                names.push(String::new());
            }
            for group in strings(&rule["apiGroups"]) {
                for resource in strings(&rule["resources"]) {
                    for name in &names {
                        for verb in strings(&rule["verbs"]) {
                            let place = namespace.to_owned();
                            let grant =
                                [place, group.clone(), resource.clone(), name.clone(), verb];
                            assert!(all.insert(grant.clone()), "granted twice: {grant:?}");
                        }
                    }
                }
            }
        }
    }
    all
}

/// What the program asks for with these flags.
fn asked(flags: &[String]) -> BTreeSet<Grant> {
    let help = String::from_utf8(tidegate("rbac", &[], &["--help"]).stdout).unwrap();
    let known = |flag: &&String| {
        let name = flag.split('=').next().unwrap();
        let starts = |line: &str| line.trim_start().split([' ', ',', '=']).any(|word| word == name);
        help.lines().filter(|line| line.trim_start().starts_with('-')).any(starts)
    };
    let mut flags: Vec<String> = flags.iter().filter(known).cloned().collect();
    flags.push("--output=json".to_owned());
    let output = tidegate("rbac", &flags, &[]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{flags:?}: {error}");
    let rules: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut all = BTreeSet::new();
    for rule in rules["rules"].as_array().unwrap() {
        let text = |field: &str| rule[field].as_str().unwrap_or("").to_owned();
        let mut names = strings(&rule["names"]);
        if names.is_empty() {
            names.push(String::new());
        }
        for name in names {
            for verb in strings(&rule["verbs"]) {
                all.insert([
                    text("namespace"),
                    text("group"),
                    text("resource"),
                    name.clone(),
                    verb,
                ]);
            }
        }
    }
    all
}

/// Nothing is asked for that is not granted, and nothing is granted that is not asked for.
#[test]
fn rights_are_what_the_program_asks_for() {
    for values in [
        json!({}),
        json!({"fullnameOverride": "door"}),
        json!({"errorFiles": "answers", "patternFiles": ["lists", "more"]}),
        json!({"topology": "sidecar", "mode": "DaemonSet", "publish": {"nodes": true}}),
        json!({"publish": {"addresses": ["192.0.2.1"]}, "events": false}),
        json!({"publish": {"service": false}, "reach": "node-ports"}),
        json!({"scope": {"namespaces": ["one", "two"]}}),
        json!({"scope": {"namespaces": ["one", "tidegate"], "ingressClasses": false}}),
        json!({"scope": {"namespaceLabels": {"team": "shop"}}}),
        json!({"tcp": {"services": {"5432": "shop/db:5432"}}}),
    ] {
        let text = template(&values).unwrap();
        let (granted, asked) = (granted(&text), asked(&flags(&text)));
        let missing: Vec<_> = asked.difference(&granted).collect();
        let idle: Vec<_> = granted.difference(&asked).collect();
        assert!(missing.is_empty(), "{values}: not granted: {missing:?}");
        assert!(idle.is_empty(), "{values}: granted for nothing: {idle:?}");
        assert!(granted.len() > 10, "{granted:?}");
    }
}

/// One row per value, from the comments of values.yaml.
fn table() -> String {
    let text = fs::read_to_string(chart().join("values.yaml")).unwrap();
    let mut out = String::from("| Value | Default | What it does |\n|---|---|---|\n");
    let mut parents: Vec<(usize, String)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if trimmed.is_empty() {
            comment.clear();
            continue;
        }
        if let Some(words) = trimmed.strip_prefix("# ") {
            comment.push(words);
            continue;
        }
        let Some((key, value)) = trimmed.split_once(':') else { continue };
        parents.retain(|(at, _)| *at < indent);
        let mut path: Vec<&str> = parents.iter().map(|(_, key)| key.as_str()).collect();
        path.push(key);
        if !comment.is_empty() {
            let value = value.trim();
            let default = if value.is_empty() { "see values.yaml" } else { value };
            let words = comment.join(" ").replace('|', "\\|");
            out.push_str(&format!("| `{}` | `{default}` | {words} |\n", path.join(".")));
            comment.clear();
        }
        parents.push((indent, key.to_owned()));
    }
    out
}

#[test]
fn the_page_has_every_value() {
    let page = root().join("docs/deploying.md");
    let text = fs::read_to_string(&page).unwrap();
    let (begin, end) = ("<!-- values: begin -->\n", "<!-- values: end -->\n");
    let (head, rest) = text.split_once(begin).expect("the mark before the table");
    let (_, tail) = rest.split_once(end).expect("the mark after the table");
    let wanted = format!("{head}{begin}\n{}\n{end}{tail}", table());
    if std::env::var_os("BLESS").is_some() {
        fs::write(&page, &wanted).unwrap();
    } else {
        assert!(text == wanted, "the table in docs/deploying.md is old: run with BLESS=1");
    }
    let mut values = BTreeSet::new();
    leaves(&yaml(&chart().join("values.yaml")), "", &mut values);
    for value in values {
        let mut path = value.as_str();
        // A comment on a mapping tells of everything in it.
        let told = loop {
            if wanted.contains(&format!("| `{path}` |")) {
                break true;
            }
            match path.rsplit_once('.') {
                Some((parent, _)) => path = parent,
                None => break false,
            }
        };
        assert!(told, "{value} has no comment in values.yaml");
    }
}
