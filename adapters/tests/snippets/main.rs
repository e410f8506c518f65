//! What an operator writes for HAProxy itself, by real requests: snippets in every place, error files,
//! pattern files, rate limits by header and shared by replicas.

#[path = "../common/mod.rs"]
mod common;
mod files;
mod lines;
mod peers;

use std::time::{Duration, Instant};

use common::client::Request;
use common::manifest::{app, classes, ingress};
use common::pods::Pod;
use common::rig::Rig;
use common::{Scenarios, ensure, eventually, eventually_within};
use serde_json::{Value, json};

/// What the scenarios share.
struct Stage {
    rig: Rig,
    pod: Pod,
}

fn stage(version: &'static str) -> Stage {
    let mut rig = Rig::new(version).arguments(&[
        "--configmap=test/tidegate",
        "--configmap-errorfiles=test/errors",
        "--configmap-patternfiles=test/patterns",
        "--snippet-namespaces=test",
    ]);
    let pod = Pod::start("app");
    let mut objects = classes();
    objects.extend(app("app", &[&pod]));
    objects.push(ingress("plain").all("plain.test", "app").into());
    rig.put("base", &objects);
    rig.start();
    rig.wait("plain.test", "/", 200, "app");
    Stage { rig, pod }
}

/// A ConfigMap of the namespace of the samples.
fn map(name: &str, data: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<String, Value> =
        data.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "test"}, "data": data})
}

/// An Ingress for everything below `NAME.test`.
fn route(name: &str, annotations: &[(&str, &str)]) -> Value {
    let route = ingress(name).all(&format!("{name}.test"), "app");
    annotations.iter().fold(route, |route, (key, value)| route.with(key, value)).into()
}

fn of_operators(version: &'static str) {
    let stage = &stage(version);
    let mut scenarios = Scenarios::new(version);
    scenarios.run("error files", || files::errors(stage));
    scenarios.run("pattern files", || files::patterns(stage));
    scenarios.run("lists of 100,000 networks", || files::long_lists(stage));
    scenarios.run("rate limits by header", || peers::by_header(stage));
    scenarios.run("rate limits of replicas", || peers::shared(version, &stage.pod));
    scenarios.run("static snippets", || lines::places(stage));
    scenarios.run("backend snippets", || lines::backends(stage));
    scenarios.run("snippets with pattern files", || lines::with_files(stage));
    scenarios.run("refused snippets", || lines::refused(stage));
    scenarios.run("hostile snippets", || lines::hostile(stage));
    scenarios.run("snippets of other namespaces", || lines::not_allowed(stage));
    scenarios.run("the page's example", || lines::example(stage));
    scenarios.finish();
}

#[test]
fn on_3_2() {
    of_operators("3.2");
}

#[test]
fn on_3_4() {
    of_operators("3.4");
}

/// The reloads so far, once all that began are counted.
fn settled_reloads(rig: &Rig) -> u64 {
    eventually("every reload is counted", || {
        let (count, begun) = (rig.reload_count(), rig.reload_reasons().len() as u64);
        // The first start has a reason, and is not counted.
        ensure(count + 1 == begun, || format!("{count} of {begun}"))
    });
    rig.reload_count()
}

/// So many reloads were counted. They are as soon as their outcome is known, a moment after they have
/// an effect.
fn reloads_are(rig: &Rig, count: u64) {
    eventually("reloads", || {
        let now = rig.reload_count();
        ensure(now == count, || format!("{now}: {:?}", rig.reload_reasons()))
    });
}
