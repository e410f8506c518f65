//! The rights that the manifests give are those that tidegate uses: every verb that it asks for is
//! granted, and every verb that is granted is asked for. And the server takes all manifests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use crate::bed::Bed;
use crate::common::certs::Authority;
use crate::common::manifest::ingress;
use crate::common::{ensure, eventually, places};
use crate::custom;
use crate::town::{Town, soon};

/// API group, resource with subresource, verb.
type Right = (String, String, String);

/// Kinds that only some clusters have.
const NOT_EVERYWHERE: [&str; 3] = ["ServiceMonitor", "PodMonitor", "PrometheusRule"];

fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/manifests")
}

fn read(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    objects.into_iter().filter(|object| !object.is_null()).collect()
}

fn words(value: &Value) -> Vec<String> {
    let words = value.as_array().into_iter().flatten();
    words.map(|word| word.as_str().unwrap_or("").to_owned()).collect()
}

#[test]
fn rights_are_those_that_are_used() {
    let bed = Bed::with(&[], true);
    let objects = read(&manifests().join("single.yaml"));
    let mut granted: BTreeSet<Right> = BTreeSet::new();
    let mut api = bed.api();
    for object in &objects {
        let kind = object["kind"].as_str().unwrap_or("");
        if matches!(kind, "Deployment" | "PodDisruptionBudget" | "NetworkPolicy") {
            continue;
        }
        api.apply(object);
        for rule in object["rules"].as_array().into_iter().flatten() {
            for group in words(&rule["apiGroups"]) {
                for resource in words(&rule["resources"]) {
                    for verb in words(&rule["verbs"]) {
                        granted.insert((group.clone(), resource.clone(), verb));
                    }
                }
            }
        }
    }
    for definition in custom::definitions() {
        api.apply(&definition);
    }
    let token = api.token("tidegate", "tidegate");
    let kubeconfig = bed.kubeconfig("tidegate", bed.wire.port, &token);
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let arguments = arguments(deployment);
    let mut rig = bed.rig_with("3.4", kubeconfig);
    rig = rig.arguments(&arguments.iter().map(|argument| &**argument).collect::<Vec<_>>());

    // Something of everything: routes, a Secret that is referred to, a problem, a status.
    let town = Town::new(&bed);
    let app = town.app("shop", 2);
    let authority = Authority::new();
    town.apply(&authority.issue(&["shop.test"]).secret("shop"));
    town.route(&app, |ingress| ingress.tls(&["shop.test"], "shop"));
    town.apply(&ingress("wrong").all("wrong.test", "no-such-service").into());
    rig.start();
    soon(&rig, Instant::now(), "shop.test", "/", 200, "shop");
    eventually("an Event tells of the problem", || {
        let events = bed.api().list("Event", "test");
        let about = events.iter().any(|event| event["involvedObject"]["name"] == "wrong");
        ensure(about, || format!("{events:?}"))
    });
    town.apply(&ingress("wrong").all("wrong.test", "another-missing-one").into());
    let mut missing = granted.clone();
    let unused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("all rights are used", || {
            for right in used(&bed) {
                missing.remove(&right);
            }
            ensure(missing.is_empty(), || format!("unused: {missing:?}"))
        });
    }));
    assert!(unused.is_ok(), "rights that are granted and never used: {missing:?}");
    let more: Vec<Right> = used(&bed).difference(&granted).cloned().collect();
    assert!(more.is_empty(), "{more:?}");
}

/// What the service account has asked for. Fails when something was forbidden.
fn used(bed: &Bed) -> BTreeSet<Right> {
    let mut used = BTreeSet::new();
    for event in bed.plane.audit() {
        if event["user"]["username"] != "system:serviceaccount:tidegate:tidegate" {
            continue;
        }
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let what = &event["objectRef"];
        assert_ne!(event["responseStatus"]["code"], 403, "forbidden: {event}");
        if what["resource"].is_null() {
            continue;
        }
        let mut resource = text(&what["resource"]);
        if let Some(part) = what["subresource"].as_str() {
            resource = format!("{resource}/{part}");
        }
        let group = text(&what["apiGroup"]);
        if text(&event["requestURI"]).contains("sendInitialEvents=true") {
            // A list that streams; servers without it are asked for a list.
            used.insert((group.clone(), resource.clone(), "list".to_owned()));
        }
        used.insert((group, resource, text(&event["verb"])));
    }
    used
}

/// What the manifest gives to `tidegate run`, as far as it concerns the cluster.
fn arguments(deployment: &Value) -> Vec<String> {
    let containers = deployment["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    let tidegate = containers.iter().find(|container| container["name"] == "tidegate").unwrap();
    let ours = ["--configmap=", "--lease=", "--publish-", "--ingress-class=", "--controller-name="];
    let mut arguments = words(&tidegate["args"]);
    arguments.retain(|argument| ours.iter().any(|flag| argument.starts_with(flag)));
    arguments.push("--identity=pod-1".to_owned());
    arguments
}

#[test]
fn the_server_takes_all_manifests_and_charts() {
    let bed = Bed::start();
    for namespace in ["tidegate", "one", "two"] {
        bed.plane.namespace(namespace);
    }
    let (mut api, mut taken, mut refused) = (bed.api(), 0, Vec::new());
    let mut give = |what: &str, object: &Value| {
        if NOT_EVERYWHERE.contains(&object["kind"].as_str().unwrap_or("")) {
            return;
        }
        match api.dry_run(object).unwrap() {
            (200..=299, _) => taken += 1,
            (status, body) => refused.push(format!("{what}: {status} {}", body["message"])),
        }
    };
    for entry in fs::read_dir(manifests()).unwrap() {
        let file = entry.unwrap().path();
        for object in read(&file) {
            give(&file.display().to_string(), &object);
        }
    }
    // The chart with every documented value at least once; `chart` looks at the text.
    let chart = manifests().join("../chart");
    let cases = fs::read_to_string(chart.join("ci/accepted.yaml")).unwrap();
    let cases: Value = serde_saphyr::from_str(&cases).unwrap();
    for case in cases.as_array().unwrap() {
        for object in rendered(&chart, &case["values"]) {
            give(&case["name"].to_string(), &object);
        }
    }
    println!("{taken} objects taken");
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert!(taken > 100, "{taken}");
}

/// What helm makes of values.
fn rendered(chart: &Path, values: &Value) -> Vec<Value> {
    let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    fs::write(file.path(), values.to_string()).unwrap();
    let mut helm = Command::new(places::helm());
    helm.args(["template", "tidegate"]).arg(chart).args(["--namespace", "tidegate", "-f"]);
    let output = helm.arg(file.path()).output().unwrap();
    assert!(output.status.success(), "{values}: {}", String::from_utf8_lossy(&output.stderr));
    let objects: Vec<Value> =
        serde_saphyr::from_multiple(&String::from_utf8_lossy(&output.stdout)).unwrap();
    objects.into_iter().filter(|object| !object.is_null()).collect()
}
