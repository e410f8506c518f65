//! The Ingress conformance suite, and what it leaves out, by real requests: the scenarios, whatever
//! the objects come from.
//!
//! Scenarios of `kubernetes-sigs/ingress-controller-conformance` keep their names. All manifests
//! are there at the start; what changes live comes last.

mod beyond;
mod manifests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::common::certs::{Authority, Issued};
use crate::common::client::{self, Connection, Request};
use crate::common::manifest::{
    app, class, classes, endpoint, ingress, secret, service, service_ports, slice, slice_of,
};
use crate::common::pods::{self, Pod, Speech};
use crate::common::rig::Rig;
use crate::common::{Scenarios, eventually};
use serde_json::{Value, json};

/// Pods, certificates and the rig they are served by.
pub struct Stage {
    /// tidegate.
    pub rig: Rig,
    pods: BTreeMap<&'static str, Vec<Pod>>,
    authority: Authority,
    certificates: BTreeMap<&'static str, Issued>,
    external: u16,
    six: bool,
    _others: Vec<Pod>,
}

const APPS: [&str; 16] = [
    "foo-bar-com",
    "wildcard-foo-com",
    "foo-exact",
    "foo-prefix",
    "aaa-slash-bbb-prefix",
    "aaa-prefix",
    "aaa-slash-bbb-slash-prefix",
    "foo-slash-exact",
    "root",
    "precise",
    "old",
    "young",
    "implementation",
    "echo-service",
    "plain",
    "fallback",
];

/// Runs all scenarios on a rig, and `before` what comes live the ones of the source it is on.
pub fn run(rig: Rig, before: impl FnOnce(&Stage)) {
    let version = rig.version;
    let mut stage = manifests::stage(rig);
    stage.rig.start();
    let mut scenarios = Scenarios::new(version);
    let stage = &stage;
    scenarios.run("host rules", || host_rules(stage));
    scenarios.run("host rules over TLS", || host_rules_tls(stage));
    scenarios.run("path rules", || path_rules(stage));
    scenarios.run("prefix truth table", || truth_table(stage));
    scenarios.run("load balancing", || load_balancing(stage));
    scenarios.run("class nobody owns", || classes_of_others(stage));
    scenarios.run("precise beats wildcard", || beyond::precise_beats_wildcard(stage));
    scenarios.run("implementation specific", || beyond::implementation_specific(stage));
    scenarios.run("the oldest wins", || beyond::oldest_wins(stage));
    scenarios.run("missing Service", || beyond::missing_service(stage));
    scenarios.run("no endpoints", || beyond::no_endpoints(stage));
    scenarios.run("named ports", || beyond::named_ports(stage));
    scenarios.run("several slices", || beyond::several_slices(stage));
    scenarios.run("endpoint conditions", || beyond::conditions(stage));
    scenarios.run("dual stack", || beyond::dual_stack(stage));
    scenarios.run("RSA and ECDSA side by side", || beyond::two_algorithms(stage));
    scenarios.run("default certificate", || beyond::default_certificate(stage));
    scenarios.run("wildcard certificate", || beyond::wildcard_certificate(stage));
    scenarios.run("ExternalName", || beyond::external_name(stage));
    scenarios.run("spelling of the host", || beyond::host_spelling(stage));
    scenarios.run("paths that are refused", || beyond::refused_paths(stage));
    scenarios.run("spelling of the path", || beyond::path_spelling(stage));
    scenarios.run("the source's own", || before(stage));
    scenarios.run("default class, live", || beyond::default_class(stage));
    scenarios.run("default backend, live", || default_backend(stage));
    scenarios.run("host without paths, live", || beyond::host_without_paths(stage));
    scenarios.finish();
}

/// Checks that requests are answered: host, path, status, Service.
fn check(stage: &Stage, rows: &[(&str, &str, u16, &str)]) {
    let mut wrong = Vec::new();
    for (host, path, status, service) in rows {
        match stage.rig.get(host, path) {
            Ok(answer) if answer.status == *status && answer.service() == *service => {}
            Ok(answer) => wrong.push(format!(
                "http://{host}{path}: {} from '{}' instead of {status} from '{service}'",
                answer.status,
                answer.service()
            )),
            Err(error) => wrong.push(error),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("; "));
}

fn host_rules(stage: &Stage) {
    check(
        stage,
        &[
            ("foo.bar.com", "/", 200, "foo-bar-com"),
            ("subdomain.bar.com", "/", 404, ""),
            ("bar.foo.com", "/", 200, "wildcard-foo-com"),
            ("baz.bar.foo.com", "/", 404, ""),
            ("foo.com", "/", 404, ""),
        ],
    );
}

fn host_rules_tls(stage: &Stage) {
    let config = client::trusting(&stage.authority.roots());
    let mut connection = Connection::tls(stage.rig.https, "foo.bar.com", &config).unwrap();
    assert_eq!(connection.certificate.as_ref(), Some(&stage.certificates["foo"].der));
    let answer = connection.ask(&Request::get("foo.bar.com", "/")).unwrap();
    assert_eq!((answer.status, answer.service()), (200, "foo-bar-com"));
    assert_eq!(answer.seen("x-forwarded-proto"), Some("https"));
    // Under Ingress the name in the handshake picks the certificate, the Host header the route.
    let answer = connection.ask(&Request::get("bar.foo.com", "/")).unwrap();
    assert_eq!((answer.status, answer.service()), (200, "wildcard-foo-com"));
}

fn path_rules(stage: &Stage) {
    check(
        stage,
        &[
            ("exact-path-rules", "/foo", 200, "foo-exact"),
            ("exact-path-rules", "/foo/", 404, ""),
            ("exact-path-rules", "/FOO", 404, ""),
            ("exact-path-rules", "/bar", 404, ""),
            ("prefix-path-rules", "/foo", 200, "foo-prefix"),
            ("prefix-path-rules", "/foo/", 200, "foo-prefix"),
            ("prefix-path-rules", "/FOO", 404, ""),
            ("prefix-path-rules", "/aaa/bbb", 200, "aaa-slash-bbb-prefix"),
            ("prefix-path-rules", "/aaa/bbb/ccc", 200, "aaa-slash-bbb-prefix"),
            ("prefix-path-rules", "/aaa/ccc", 200, "aaa-prefix"),
            ("prefix-path-rules", "/aaaccc", 404, ""),
            ("mixed-path-rules", "/foo", 200, "foo-exact"),
            ("trailing-slash-path-rules", "/aaa/bbb", 200, "aaa-slash-bbb-slash-prefix"),
            ("trailing-slash-path-rules", "/aaa/bbb/", 200, "aaa-slash-bbb-slash-prefix"),
            ("trailing-slash-path-rules", "/foo", 404, ""),
            ("trailing-slash-path-rules", "/foo/", 200, "foo-slash-exact"),
        ],
    );
}

fn truth_table(stage: &Stage) {
    check(
        stage,
        &[
            ("prefix-path-rules", "/foo/bar", 200, "foo-prefix"),
            ("prefix-path-rules", "/foobar", 404, ""),
            ("prefix-path-rules", "/bar", 404, ""),
            ("prefix-path-rules", "/ccc", 404, ""),
            ("slash.test", "/foo", 200, "foo-prefix"),
            ("slash.test", "/foo/", 200, "foo-prefix"),
            ("slash.test", "/foo/bar", 200, "foo-prefix"),
            ("slash.test", "/", 200, "root"),
            ("slash.test", "/x", 404, ""),
            ("short.test", "/aaa/bbb", 404, ""),
            ("short.test", "/aaa/bb/b", 200, "aaa-prefix"),
            ("prefix-path-rules", "/aaa/bbb/", 200, "aaa-slash-bbb-prefix"),
            ("prefix-path-rules", "/aaa/bbbxyz", 200, "aaa-prefix"),
            ("nested.test", "/", 200, "root"),
            ("nested.test", "/aaa/ccc", 200, "aaa-prefix"),
            ("nested.test", "/aaa/bbb/x", 200, "aaa-slash-bbb-prefix"),
            ("nested.test", "/aaa/bbbxyz", 200, "aaa-prefix"),
            ("nested.test", "/ccc", 200, "root"),
            ("mixed-path-rules", "/foo/", 200, "foo-prefix"),
            ("mixed-path-rules", "/foo/x", 200, "foo-prefix"),
            ("exact-path-rules", "/foo?x=/bar", 200, "foo-exact"),
            ("exact-path-rules", "/foo/x", 404, ""),
            ("exact-path-rules", "/bar?/foo", 404, ""),
        ],
    );
}

fn load_balancing(stage: &Stage) {
    let rig = &stage.rig;
    rig.put("balance", &[ingress("balance").all("load-balancing", "echo-service").into()]);
    rig.wait("load-balancing", "/", 200, "echo-service");
    let mut pods = BTreeSet::new();
    for _ in 0..100 {
        let answer = rig.now("load-balancing", "/");
        assert_eq!(answer.status, 200);
        pods.insert(answer.name().to_owned());
    }
    assert_eq!(pods.len(), 10, "{pods:?}");
}

fn classes_of_others(stage: &Stage) {
    check(
        stage,
        &[
            ("theirs.test", "/", 404, ""),
            ("unknown.test", "/", 404, ""),
            ("classless.test", "/", 404, ""),
            ("legacy.test", "/", 200, "plain"),
        ],
    );
    let problems = stage.rig.problems();
    let theirs = problems.iter().filter(|p| p["name"] == "theirs" || p["name"] == "unknown");
    assert_eq!(theirs.count(), 0, "an Ingress of another class is none of our business");
}

fn default_backend(stage: &Stage) {
    let rig = &stage.rig;
    rig.put(
        "default",
        &[ingress("default-backend").default_backend("echo-service", "8080").into()],
    );
    rig.wait("my-host", "/", 200, "echo-service");
    let address = format!("127.0.0.1:{}", rig.http);
    for (method, host, path) in [
        ("GET", "my-host", "/"),
        ("GET", "my-host", "/sub-path"),
        ("POST", "some-host", "/"),
        ("PUT", &address, "/resource"),
        ("DELETE", "some-host", "/resource"),
        ("PATCH", "my-host", "/resource"),
    ] {
        let answer = rig.ask(&Request::get(host, path).method(method)).unwrap();
        let what = format!("{method} http://{host}{path}: {answer:?}");
        assert_eq!((answer.status, answer.service()), (200, "echo-service"), "{what}");
        assert!(answer.line.starts_with("HTTP/1.1 "), "{what}");
        for name in ["content-length", "content-type", "date", "server"] {
            assert!(answer.header(name).is_some(), "{what}: no {name}");
        }
        assert_eq!(answer.pod["method"], method, "{what}");
        assert_eq!(answer.path(), path, "{what}");
        assert_eq!(answer.seen("user-agent"), Some("tests/1"), "{what}");
    }
    // What belongs to a host stays there, and a host's own gaps are not filled.
    check(stage, &[("foo.bar.com", "/", 200, "foo-bar-com")]);
    rig.remove("default");
    rig.wait("my-host", "/", 404, "");
}
