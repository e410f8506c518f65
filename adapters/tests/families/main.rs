//! Every annotation family by real requests on each HAProxy, every key's example, and what
//! happens when a key that protects something cannot be used.

mod browsers;
mod clients;
#[path = "../common/mod.rs"]
mod common;
mod protocol;
mod requests;
mod theirs;
mod traffic;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::certs::{Authority, Issued};
use common::client::{self, Answer, Connection, Request};
use common::manifest::{
    Ingress, app, classes, config_map, ingress, secret, service, service_ports, slice,
};
use common::pods::{Pod, Speech};
use common::rig::Rig;
use common::{Scenarios, ensure, eventually};
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, crypto::ring};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tidegate_core::annotations::{Annotation, FAMILIES, HAPROXY_PREFIXES, Scopes};

on_each_haproxy!(families);

/// What the scenarios share. Everything but classes and Services comes while HAProxy runs.
struct Stage {
    rig: Rig,
    pods: Vec<Pod>,
    authority: Authority,
}

fn families(version: &'static str) {
    let mut rig = Rig::new(version);
    let pods = Pod::several("app", 3);
    let mut objects = classes();
    objects.extend(app("app", &pods.iter().collect::<Vec<_>>()));
    objects.push(ingress("plain").all("plain.test", "app").into());
    rig.put("base", &objects);
    rig.start();
    rig.wait("plain.test", "/", 200, "app");
    let stage = &Stage { rig, pods, authority: Authority::new() };
    let mut scenarios = Scenarios::new(version);
    scenarios.run("timeouts", || traffic::timeouts(stage));
    scenarios.run("timeouts of 3.0 and 3.4", || traffic::newer_timeouts(stage));
    scenarios.run("load balancing", || traffic::balance(stage));
    scenarios.run("connection limits", || traffic::limits(stage));
    scenarios.run("health checks", || traffic::checks(stage));
    scenarios.run("redirects", || requests::redirects(stage));
    scenarios.run("path rewriting", || requests::rewriting(stage));
    scenarios.run("headers", || requests::headers(stage));
    scenarios.run("allow and deny lists", || requests::access(stage));
    scenarios.run("lists that cannot be read", || requests::broken_access(stage));
    scenarios.run("client addresses", || clients::source(stage));
    scenarios.run("rate limits", || clients::rates(stage));
    scenarios.run("CORS", || browsers::cors(stage));
    scenarios.run("HSTS", || browsers::hsts(stage));
    scenarios.run("session affinity", || browsers::affinity(stage));
    scenarios.run("HTTP/2 to pods", || protocol::h2(stage));
    scenarios.run("TLS to pods", || protocol::tls(stage));
    scenarios.run("mutual TLS to pods", || protocol::mutual_tls(stage));
    scenarios.run("authorities that cannot be used", || protocol::broken_authority(stage));
    scenarios.run("host and client", || theirs::forwarding(stage));
    scenarios.run("redirects by tls block", || theirs::redirects_by_tls(stage));
    scenarios.run("names", || theirs::names(stage));
    scenarios.run("proxies in front", || whole::proxies(stage));
    scenarios.run("default backend", || whole::fallback(stage));
    scenarios.run("annotations of the ConfigMap", || whole::annotated(stage));
    scenarios.run("precedence", || precedence(stage));
    scenarios.run("unknown keys", || unknown_keys(stage));
    scenarios.run("examples", || examples(stage));
    scenarios.run("no reloads", || stage.rig.assert_no_reloads_on_3_4("families"));
    scenarios.run("static timeouts", || traffic::static_timeouts(stage));
    scenarios.run("logs", || whole::logs(stage));
    scenarios.run("connections", || whole::connections(stage));
    scenarios.run("abortion", || whole::abortion(stage));
    scenarios.run("process", || whole::process(stage));
    scenarios.run("timeouts for all", || whole::timeouts(stage));
    scenarios.run("costs", || whole::costs(stage));
    scenarios.finish();
}

/// Puts a file of Ingresses, each for everything below `NAME.test`.
fn routes(stage: &Stage, file: &str, routes: &[(&str, &str, &[(&str, &str)])]) {
    let objects = routes.iter().map(|(name, service, annotations)| {
        let route = ingress(name).all(&format!("{name}.test"), service);
        annotations.iter().fold(route, |route, (key, value)| route.with(key, value)).into()
    });
    stage.rig.put(file, &objects.collect::<Vec<Value>>());
}

fn precedence(stage: &Stage) {
    let rig = &stage.rig;
    rig.put(
        "config",
        &[config_map(&[("request-set-header", "X-From config"), ("no-such-key", "1")])],
    );
    eventually("the ConfigMap holds", || {
        let answer = rig.get("plain.test", "/")?;
        ensure(answer.seen("x-from") == Some("config"), || format!("{:?}", answer.seen("x-from")))
    });
    rig.wait_problem(&["UnknownKey", "data.no-such-key"]);
    routes(stage, "precedence", &[("from", "app", &[("request-set-header", "X-From ingress")])]);
    assert_eq!(rig.wait("from.test", "/", 200, "app").seen("x-from"), Some("ingress"));
    // A bad value leaves the wider scope's in force.
    routes(stage, "precedence", &[("from", "app", &[("request-set-header", "Content-Length 0")])]);
    rig.wait_problem(&["BadValue", "\"name\":\"from\""]);
    eventually("the ConfigMap holds again", || {
        let answer = rig.get("from.test", "/")?;
        ensure(answer.seen("x-from") == Some("config"), || format!("{:?}", answer.seen("x-from")))
    });
    rig.put("config", &[config_map(&[])]);
    eventually("the ConfigMap says nothing", || {
        let answer = rig.get("plain.test", "/")?;
        ensure(answer.seen("x-from").is_none(), || format!("{:?}", answer.seen("x-from")))
    });
    // Service over Ingress, for keys that may stand on both.
    let slow = Pod::start("narrow");
    let mut objects = app("narrow", &[&slow]);
    objects[0]["metadata"]["annotations"]["tidegate.io/timeout-server"] = json!("300ms");
    objects
        .push(ingress("narrow").all("narrow.test", "narrow").with("timeout-server", "30s").into());
    rig.put("narrow", &objects);
    rig.wait("narrow.test", "/", 200, "narrow");
    assert_eq!(rig.now("narrow.test", "/?delay=2000").status, 504, "the Service wins");
}

fn unknown_keys(stage: &Stage) {
    let route = ingress("typo")
        .all("typo.test", "app")
        .with("alow-list", "10.0.0.0/8")
        .annotation("haproxy.org/path-rewrit", "/x")
        .with("timeout-http-request", "5s")
        .annotation("example.com/anything", "at all");
    stage.rig.put("typo", &[route.into()]);
    stage.rig.wait_problem(&["UnknownKey", "alow-list", "did you mean tidegate.io/allow-list?"]);
    stage.rig.wait_problem(&[
        "UnknownKey",
        "path-rewrit",
        "did you mean haproxy.org/path-rewrite?",
    ]);
    stage.rig.wait_problem(&["WrongScope", "timeout-http-request"]);
    stage.rig.wait("typo.test", "/", 200, "app");
    let strange =
        stage.rig.problems().iter().filter(|p| p.to_string().contains("example.com/any")).count();
    assert_eq!(strange, 0, "other programs' annotations are none of our business");
}

/// Keys that a HAProxy cannot honour.
fn is_unsupported(version: &str, row: &Annotation) -> bool {
    match row.key {
        "timeout-client" => version == "2.6",
        "timeout-connect" | "timeout-queue" => version != "3.4",
        // Told, as it has no meaning.
        "scale-server-slots" => true,
        // Of namespaces that may, in the tests of snippets.
        "backend-config-snippet" => true,
        _ => false,
    }
}

/// Each key's documented example applies without a Problem, in every spelling.
fn examples(stage: &Stage) {
    let rig = &stage.rig;
    let inner = Authority::new();
    let mut objects = vec![inner.issue(&["tidegate.internal"]).secret("client-cert")];
    objects.push(secret("pods-ca", &[("ca.crt", &inner.pem)]));
    objects.push(secret("clients-ca", &[("ca.crt", &inner.pem)]));
    objects.push(json!({"apiVersion": "ingress.v3.haproxy.org/v3", "kind": "Backend",
        "metadata": {"name": "tuned", "namespace": "test"}, "spec": {"server_timeout": 50_000}}));
    objects.push(secret("users", &[("anna", "$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1")]));
    for file in ["mutual", "mutual-routes", "secure", "tls"] {
        rig.remove(file);
    }
    let mut expected = BTreeSet::new();
    let mut names = Vec::new();
    // Canaries, which take two objects, and passthrough, which serves nothing by plain HTTP, are shown
    // in tests of their own.
    let elsewhere = |key: &str| key.starts_with("canary") || key == "tls-passthrough";
    let shown =
        |row: &&Annotation| !matches!(row.scopes, Scopes::C | Scopes::S) && !elsewhere(row.key);
    for row in FAMILIES.iter().flat_map(|family| family.keys).filter(shown) {
        let ours = [format!("tidegate.io/{}", row.key)];
        let theirs =
            row.haproxy.map(|name| HAPROXY_PREFIXES.map(|prefix| format!("{prefix}{name}")));
        for (number, key) in ours.into_iter().chain(theirs.into_iter().flatten()).enumerate() {
            let name = format!("example-{}-{number}", row.key);
            let host = format!("{name}.test");
            let route = ingress(&name).all(&host, "app");
            let route = match row.key {
                // They say more about what another key asks for.
                "auth-type" | "auth-realm" => route.with("auth-secret", "users"),
                "client-ca" => route.tls(&[&host], "client-cert"),
                _ => route,
            };
            objects.push(route.annotation(&key, row.example).into());
            if is_unsupported(rig.version, row) {
                expected.insert(name.clone());
            }
            names.push(name);
        }
    }
    rig.put("examples", &objects);
    for name in &names {
        eventually(&format!("{name} is served"), || {
            let status = rig.get(&format!("{name}.test"), "/")?.status;
            ensure(status != 404, || "404".to_owned())
        });
    }
    let problems = || {
        let mut problems = rig.problems();
        problems.retain(|p| p["name"].as_str().is_some_and(|name| name.starts_with("example-")));
        problems
    };
    let found = || -> BTreeSet<String> {
        let problems = problems();
        let names = problems.iter().filter_map(|p| p["name"].as_str());
        names.map(str::to_owned).collect()
    };
    eventually("problems of the examples", || {
        let found = found();
        ensure(found == expected, || {
            let mut unexpected = problems();
            unexpected.retain(|p| p["name"].as_str().is_some_and(|name| !expected.contains(name)));
            format!("{found:?} instead of {expected:?}; unexpected: {unexpected:?}")
        })
    });
    rig.remove("examples");
    rig.wait(&format!("{}.test", names[0]), "/", 404, "");
}
