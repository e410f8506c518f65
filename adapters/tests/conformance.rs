//! The Ingress conformance suite, and what it leaves out, by real requests to each HAProxy.
//!
//! Scenarios of `kubernetes-sigs/ingress-controller-conformance` keep their names. All manifests
//! are there at the start; what changes live comes last.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use common::certs::{Authority, Issued};
use common::client::{self, Connection, Request};
use common::manifest::{
    app, class, classes, endpoint, ingress, secret, service, service_ports, slice, slice_of,
};
use common::pods::{Pod, Speech};
use common::rig::Rig;
use common::{Scenarios, eventually};
use serde_json::{Value, json};

on_each_haproxy!(conformance);

/// Pods, certificates and the rig they are served by.
struct Stage {
    rig: Rig,
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

fn conformance(version: &'static str) {
    let mut stage = stage(version);
    stage.rig.start();
    let mut scenarios = Scenarios::new(version);
    let stage = &stage;
    scenarios.run("host rules", || host_rules(stage));
    scenarios.run("host rules over TLS", || host_rules_tls(stage));
    scenarios.run("path rules", || path_rules(stage));
    scenarios.run("prefix truth table", || truth_table(stage));
    scenarios.run("load balancing", || load_balancing(stage));
    scenarios.run("class nobody owns", || classes_of_others(stage));
    scenarios.run("precise beats wildcard", || precise_beats_wildcard(stage));
    scenarios.run("implementation specific", || implementation_specific(stage));
    scenarios.run("the oldest wins", || oldest_wins(stage));
    scenarios.run("missing Service", || missing_service(stage));
    scenarios.run("no endpoints", || no_endpoints(stage));
    scenarios.run("named ports", || named_ports(stage));
    scenarios.run("several slices", || several_slices(stage));
    scenarios.run("endpoint conditions", || conditions(stage));
    scenarios.run("dual stack", || dual_stack(stage));
    scenarios.run("RSA and ECDSA side by side", || two_algorithms(stage));
    scenarios.run("default certificate", || default_certificate(stage));
    scenarios.run("wildcard certificate", || wildcard_certificate(stage));
    scenarios.run("ExternalName", || external_name(stage));
    scenarios.run("spelling of the host", || host_spelling(stage));
    scenarios.run("paths that are refused", || refused_paths(stage));
    scenarios.run("spelling of the path", || path_spelling(stage));
    scenarios.run("default class, live", || default_class(stage));
    scenarios.run("default backend, live", || default_backend(stage));
    scenarios.run("host without paths, live", || host_without_paths(stage));
    scenarios.finish();
}

fn stage(version: &'static str) -> Stage {
    let rig =
        Rig::new(version).arguments(&["--default-certificate", "test/default", "--external-names"]);
    let mut pods = BTreeMap::new();
    for name in APPS {
        let count = if name == "echo-service" { 10 } else { 1 };
        pods.insert(name, Pod::several(name, count));
    }
    let mut objects = classes();
    for (name, pods) in &pods {
        objects.extend(app(name, &pods.iter().collect::<Vec<_>>()));
    }
    let (authority, stranger) = (Authority::new(), Authority::new());
    let mut certificates = BTreeMap::new();
    certificates.insert("foo", authority.issue(&["foo.bar.com"]));
    certificates.insert("rsa", authority.issue_rsa(&["two.test"]));
    certificates.insert("ecdsa", authority.issue(&["two.test"]));
    certificates.insert("default", authority.issue(&["default.test"]));
    certificates.insert("wild", authority.issue(&["*.wild.test"]));
    for (name, issued) in &certificates {
        objects.push(issued.secret(name));
    }
    let (one, two) = (authority.issue(&["a.test"]), stranger.issue(&["a.test"]));
    objects.push(secret("torn", &[("tls.crt", &one.pem), ("tls.key", &two.key)]));
    objects.extend(routes());
    let mut others = Vec::new();
    let (more, six) = odd_services(&mut others);
    objects.extend(more);
    let external = external(&mut others);
    objects.push(json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "external", "namespace": "test"},
        "spec": {"type": "ExternalName", "externalName": "localhost"}}));
    let port = external.to_string();
    objects
        .push(ingress("external").rule("external.test", "Prefix", "/", "external", &port).into());
    rig.put("all", &objects);
    Stage { rig, pods, authority, certificates, external, six, _others: others }
}

fn routes() -> Vec<Value> {
    let exact = |name: &str, host: &str, path: &str, service: &str| {
        ingress(name).rule(host, "Exact", path, service, "8080")
    };
    vec![
        ingress("host-rules")
            .rule("foo.bar.com", "Prefix", "/", "foo-bar-com", "http")
            .rule("*.foo.com", "Prefix", "/", "wildcard-foo-com", "8080")
            .tls(&["foo.bar.com"], "foo")
            .into(),
        exact("exact", "exact-path-rules", "/foo", "foo-exact").into(),
        ingress("prefix")
            .rule("prefix-path-rules", "Prefix", "/foo", "foo-prefix", "8080")
            .rule("prefix-path-rules", "Prefix", "/aaa/bbb", "aaa-slash-bbb-prefix", "8080")
            .rule("prefix-path-rules", "Prefix", "/aaa", "aaa-prefix", "8080")
            .into(),
        exact("mixed", "mixed-path-rules", "/foo", "foo-exact")
            .rule("mixed-path-rules", "Prefix", "/foo", "foo-prefix", "8080")
            .into(),
        exact("trailing", "trailing-slash-path-rules", "/foo/", "foo-slash-exact")
            .rule(
                "trailing-slash-path-rules",
                "Prefix",
                "/aaa/bbb/",
                "aaa-slash-bbb-slash-prefix",
                "8080",
            )
            .into(),
        ingress("nested")
            .rule("nested.test", "Prefix", "/", "root", "8080")
            .rule("nested.test", "Prefix", "/aaa", "aaa-prefix", "8080")
            .rule("nested.test", "Prefix", "/aaa/bbb", "aaa-slash-bbb-prefix", "8080")
            .into(),
        ingress("short").rule("short.test", "Prefix", "/aaa/bb", "aaa-prefix", "8080").into(),
        ingress("slash")
            .rule("slash.test", "Prefix", "/foo/", "foo-prefix", "8080")
            .rule("slash.test", "Exact", "/", "root", "8080")
            .into(),
        ingress("theirs").all("theirs.test", "plain").class("theirs").into(),
        ingress("unknown").all("unknown.test", "plain").class("nobody").into(),
        ingress("legacy")
            .all("legacy.test", "plain")
            .class("")
            .annotation("kubernetes.io/ingress.class", "tidegate")
            .into(),
        ingress("classless").all("classless.test", "plain").class("").into(),
        ingress("both")
            .rule("*.both.test", "Prefix", "/", "wildcard-foo-com", "8080")
            .rule("a.both.test", "Prefix", "/a", "precise", "8080")
            .into(),
        ingress("implementation")
            .rule("impl.test", "ImplementationSpecific", "/foo", "implementation", "8080")
            .rule("impl.test", "Exact", "/foo", "foo-exact", "8080")
            .rule("impl.test", "ImplementationSpecific", "/bar", "implementation", "8080")
            .rule("impl.test", "Prefix", "/bar", "foo-prefix", "8080")
            .into(),
        ingress("impl-empty")
            .rule("empty.test", "ImplementationSpecific", "", "implementation", "8080")
            .into(),
        ingress("a-young").all("contended.test", "young").created("2024-06-01T00:00:00Z").into(),
        ingress("z-old").all("contended.test", "old").created("2024-05-01T00:00:00Z").into(),
        ingress("a-same").all("same-age.test", "old").into(),
        ingress("b-same").all("same-age.test", "young").into(),
        ingress("gaps")
            .all("gaps.test", "plain")
            .rule("gaps.test", "Prefix", "/missing", "no-such-service", "8080")
            .rule("gaps.test", "Prefix", "/port", "plain", "9999")
            .rule("gaps.test", "Prefix", "/name", "plain", "nosuch")
            .rule("gaps.test", "Prefix", "/empty", "empty", "8080")
            .rule("gaps.test", "Prefix", "/bare", "bare", "8080")
            .into(),
        ingress("odd")
            .rule("ports.test", "Prefix", "/", "ports", "web")
            .rule("ports.test", "Prefix", "/number", "ports", "80")
            .rule("ports.test", "Prefix", "/admin", "ports", "admin")
            .all("slices.test", "slices")
            .all("conditions.test", "conditions")
            .all("leaving.test", "leaving")
            .all("unready.test", "unready")
            .all("dual.test", "dual")
            .into(),
        ingress("two-rsa").all("two.test", "plain").tls(&["two.test"], "rsa").into(),
        ingress("two-ecdsa").tls(&["two.test"], "ecdsa").into(),
        ingress("no-secret").all("nosecret.test", "plain").tls(&["nosecret.test"], "").into(),
        ingress("gone-secret")
            .all("gone.test", "plain")
            .tls(&["gone.test"], "no-such-secret")
            .into(),
        ingress("torn-secret").all("torn.test", "plain").tls(&["torn.test"], "torn").into(),
        ingress("wild-tls")
            .rule("*.wild.test", "Prefix", "/", "plain", "8080")
            .tls(&["*.wild.test"], "wild")
            .into(),
    ]
}

/// Services whose slices are out of the ordinary. Whether there is IPv6, too.
fn odd_services(pods: &mut Vec<Pod>) -> (Vec<Value>, bool) {
    let port = |name: &str, pod: &Pod| json!([{"name": name, "port": pod.address.port()}]);
    let one = |pod: &Pod, conditions: Value| endpoint(pod.ip(), conditions);
    let web = [Pod::start("ports"), Pod::on_port("ports", Speech::Http1, 28_081)];
    let admin = Pod::start("ports-admin");
    let slices = Pod::several("slices", 2);
    let states: Vec<Pod> =
        ["ready", "unready", "leaving"].map(|name| Pod::start(&format!("is-{name}"))).into();
    let (ready, unready, leaving) = (&states[0], &states[1], &states[2]);
    let goes = json!({"ready": false, "serving": true, "terminating": true});
    let never = json!({"ready": false, "serving": false});
    let mut objects = vec![
        service("empty"),
        slice("empty", &[]),
        service("bare"),
        service_ports(
            "ports",
            json!([
                {"name": "web", "port": 80, "targetPort": "http"},
                {"name": "admin", "port": 81, "targetPort": 9000}
            ]),
        ),
        slice_of(
            "ports-1",
            "ports",
            port("web", &web[0]),
            vec![one(&web[0], json!({"ready": true}))],
        ),
        slice_of(
            "ports-2",
            "ports",
            port("web", &web[1]),
            vec![one(&web[1], json!({"ready": true}))],
        ),
        slice_of("ports-3", "ports", port("admin", &admin), vec![one(&admin, json!({}))]),
        service("slices"),
        slice_of(
            "slices-1",
            "slices",
            port("http", &slices[0]),
            slices.iter().map(|p| one(p, json!({"ready": true}))).collect(),
        ),
        slice_of(
            "slices-2",
            "slices",
            port("http", &slices[0]),
            vec![one(&slices[1], json!({"ready": true}))],
        ),
        service("conditions"),
        slice_of(
            "conditions-1",
            "conditions",
            port("http", ready),
            vec![one(ready, json!({})), one(unready, never.clone()), one(leaving, goes.clone())],
        ),
        service("leaving"),
        slice_of(
            "leaving-1",
            "leaving",
            port("http", ready),
            vec![one(unready, never.clone()), one(leaving, goes)],
        ),
        service("unready"),
        slice_of("unready-1", "unready", port("http", ready), vec![one(unready, never)]),
        service("dual"),
    ];
    let four = Pod::start("dual");
    let six = Pod::at("dual", Speech::Http1, SocketAddr::from((Ipv6Addr::LOCALHOST, 0)));
    objects.push(slice_of(
        "dual-4",
        "dual",
        port("http", &four),
        vec![one(&four, json!({"ready": true}))],
    ));
    if let Some(six) = &six {
        objects.push(slice_of(
            "dual-6",
            "dual",
            port("http", six),
            vec![one(six, json!({"ready": true}))],
        ));
    }
    let has_six = six.is_some();
    pods.extend(web);
    pods.extend([admin, four]);
    pods.extend(six);
    pods.extend(slices);
    pods.extend(states);
    (objects, has_six)
}

/// A pod on every address of localhost. Returns its port.
fn external(pods: &mut Vec<Pod>) -> u16 {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let four = Pod::at("external", Speech::Http1, any).expect("127.0.0.1 has a free port");
    let port = four.address.port();
    pods.extend(Pod::at("external", Speech::Http1, SocketAddr::from((Ipv6Addr::LOCALHOST, port))));
    pods.push(four);
    port
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

fn precise_beats_wildcard(stage: &Stage) {
    check(
        stage,
        &[
            ("a.both.test", "/a", 200, "precise"),
            ("b.both.test", "/a", 200, "wildcard-foo-com"),
            // As ingress-nginx: a known host does not fall back to the wildcard.
            ("a.both.test", "/b", 404, ""),
            ("x.b.both.test", "/", 404, ""),
        ],
    );
}

fn implementation_specific(stage: &Stage) {
    check(
        stage,
        &[
            ("impl.test", "/foo", 200, "foo-exact"),
            ("impl.test", "/foo/x", 200, "implementation"),
            ("impl.test", "/foox", 404, ""),
            ("impl.test", "/bar", 200, "foo-prefix"),
            ("empty.test", "/anything", 200, "implementation"),
        ],
    );
}

fn oldest_wins(stage: &Stage) {
    check(stage, &[("contended.test", "/", 200, "old"), ("same-age.test", "/", 200, "old")]);
    stage.rig.wait_problem(&["Conflict", "\"name\":\"a-young\"", "\"error\""]);
    stage.rig.wait_problem(&["Conflict", "\"name\":\"z-old\"", "\"warning\""]);
}

fn missing_service(stage: &Stage) {
    check(
        stage,
        &[
            ("gaps.test", "/", 200, "plain"),
            ("gaps.test", "/missing", 503, ""),
            ("gaps.test", "/missing/below", 503, ""),
            ("gaps.test", "/missingx", 200, "plain"),
            ("gaps.test", "/port", 503, ""),
            ("gaps.test", "/name", 503, ""),
        ],
    );
    stage.rig.wait_problem(&["NotFound", "no-such-service", "\"name\":\"gaps\""]);
    stage.rig.wait_problem(&["NotFound", "no port 9999"]);
    stage.rig.wait_problem(&["NotFound", "no port named nosuch"]);
}

fn no_endpoints(stage: &Stage) {
    check(stage, &[("gaps.test", "/empty", 503, ""), ("gaps.test", "/bare", 503, "")]);
    stage.rig.put("late", &[ingress("late").all("late.test", "empty").into()]);
    stage.rig.wait("late.test", "/", 503, "");
}

fn named_ports(stage: &Stage) {
    for path in ["/", "/number"] {
        let pods: BTreeSet<String> =
            (0..10).map(|_| stage.rig.now("ports.test", path).name().to_owned()).collect();
        assert_eq!(pods.len(), 2, "{path}: each pod has its own port: {pods:?}");
    }
    check(
        stage,
        &[("ports.test", "/admin", 200, "ports-admin"), ("ports.test", "/", 200, "ports")],
    );
}

fn several_slices(stage: &Stage) {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..20 {
        *counts.entry(stage.rig.now("slices.test", "/").name().to_owned()).or_default() += 1;
    }
    assert_eq!(counts.len(), 2, "{counts:?}");
    // An endpoint in two slices counts once.
    assert!(counts.values().all(|count| (8..=12).contains(count)), "{counts:?}");
}

fn conditions(stage: &Stage) {
    for _ in 0..6 {
        check(
            stage,
            &[
                ("conditions.test", "/", 200, "is-ready"),
                ("leaving.test", "/", 200, "is-leaving"),
                ("unready.test", "/", 503, ""),
            ],
        );
    }
}

fn dual_stack(stage: &Stage) {
    let pods: BTreeSet<String> =
        (0..10).map(|_| stage.rig.now("dual.test", "/").name().to_owned()).collect();
    let expected = if stage.six { 2 } else { 1 };
    assert_eq!(pods.len(), expected, "{pods:?}");
}

/// The certificate presented to a client for a name.
fn presented(stage: &Stage, name: &str, schemes: &[rustls::SignatureScheme]) -> Vec<u8> {
    let connection = Connection::tls(stage.rig.https, name, &client::curious(schemes));
    connection.unwrap_or_else(|error| panic!("{name}: {error}")).certificate.unwrap()
}

fn any_scheme() -> Vec<rustls::SignatureScheme> {
    client::ECDSA.iter().chain(&client::RSA).copied().collect()
}

fn two_algorithms(stage: &Stage) {
    assert!(
        presented(stage, "two.test", &client::ECDSA) == stage.certificates["ecdsa"].der,
        "ECDSA"
    );
    assert!(presented(stage, "two.test", &client::RSA) == stage.certificates["rsa"].der, "RSA");
}

fn default_certificate(stage: &Stage) {
    let default = &stage.certificates["default"].der;
    for name in ["nosecret.test", "gone.test", "torn.test", "nobody.test", "baz.bar.foo.com"] {
        assert!(presented(stage, name, &any_scheme()) == *default, "{name}: not the default");
    }
    let mut connection =
        Connection::tls(stage.rig.https, "nosecret.test", &client::curious(&any_scheme())).unwrap();
    let answer = connection.ask(&Request::get("nosecret.test", "/")).unwrap();
    assert_eq!((answer.status, answer.service()), (200, "plain"));
    let answer = connection.ask(&Request::get("nobody.test", "/")).unwrap();
    assert_eq!(answer.status, 404);
    check(stage, &[("gone.test", "/", 200, "plain"), ("torn.test", "/", 200, "plain")]);
    stage.rig.wait_problem(&["no-such-secret", "\"name\":\"gone-secret\""]);
    stage.rig.wait_problem(&["torn", "\"name\":\"torn-secret\""]);
}

fn wildcard_certificate(stage: &Stage) {
    let wild = &stage.certificates["wild"].der;
    assert!(presented(stage, "a.wild.test", &any_scheme()) == *wild, "one label");
    assert!(presented(stage, "wild.test", &any_scheme()) != *wild, "no label");
    let config = client::trusting(&stage.authority.roots());
    let mut connection = Connection::tls(stage.rig.https, "b.wild.test", &config).unwrap();
    let answer = connection.ask(&Request::get("b.wild.test", "/")).unwrap();
    assert_eq!((answer.status, answer.service()), (200, "plain"));
}

fn external_name(stage: &Stage) {
    let answer = stage.rig.wait("external.test", "/", 200, "external");
    assert_eq!(answer.pod["host"], "external.test", "port {}", stage.external);
}

fn host_spelling(stage: &Stage) {
    check(
        stage,
        &[
            ("foo.bar.com:80", "/", 200, "foo-bar-com"),
            ("foo.bar.com:12345", "/", 200, "foo-bar-com"),
            ("FOO.Bar.com", "/", 200, "foo-bar-com"),
            ("Any.FOO.com:8080", "/", 200, "wildcard-foo-com"),
            // The dot that says that a name is absolute (RFC 3986, 3.2.2); browsers send it.
            ("foo.bar.com.", "/", 200, "foo-bar-com"),
        ],
    );
}

fn refused_paths(stage: &Stage) {
    for path in [
        "/foo/../bar",
        "/..",
        "/foo/..",
        "/./foo",
        "/foo/.",
        "/foo/%2e%2e/bar",
        "/foo/%2E./bar",
        "/foo/.%2e/bar",
        "/foo%2f../bar",
        "/foo%2F%2e%2e%2Fbar",
        "/foo/%2e%2e",
    ] {
        let answer = stage.rig.now("nested.test", path);
        assert_eq!((answer.status, answer.service()), (400, ""), "{path}");
    }
    let answer = stage.rig.get("nested.test", "/aaa/>");
    assert!(answer.as_ref().is_ok_and(|a| a.status == 400), "{answer:?}");
    check(
        stage,
        &[
            ("nested.test", "/a..b", 200, "root"),
            ("nested.test", "/.well-known/x", 200, "root"),
            ("nested.test", "/x?y=../z", 200, "root"),
            ("nested.test", "/...", 200, "root"),
        ],
    );
}

fn path_spelling(stage: &Stage) {
    check(
        stage,
        &[
            ("exact-path-rules", "//foo", 200, "foo-exact"),
            ("prefix-path-rules", "//aaa///bbb//c", 200, "aaa-slash-bbb-prefix"),
            ("nested.test", "//", 200, "root"),
            // Percent-encoding is not decoded.
            ("exact-path-rules", "/%66oo", 404, ""),
            ("nested.test", "/aaa%2fbbb", 200, "root"),
        ],
    );
    let answer = stage.rig.now("nested.test", "/aaa/bbb/%41?q=%20");
    assert_eq!(answer.path(), "/aaa/bbb/%41?q=%20", "the pod sees what the client sent");
    // The absolute form, as clients of a proxy send it.
    let request = Request::get("nested.test", "http://nested.test/aaa/bbb/x");
    let answer = stage.rig.ask(&request).unwrap();
    assert_eq!((answer.status, answer.service()), (200, "aaa-slash-bbb-prefix"));
}

fn default_class(stage: &Stage) {
    let mut default = class("tidegate", "tidegate.io/ingress-controller");
    default["metadata"]["annotations"] =
        json!({"ingressclass.kubernetes.io/is-default-class": "true"});
    // The same object in another file: the file whose name comes first or last may win, so the
    // class with the annotation has a name of its own.
    default["metadata"]["name"] = json!("standard");
    stage.rig.put("class", &[default]);
    stage.rig.wait("classless.test", "/", 200, "plain");
    check(stage, &[("theirs.test", "/", 404, ""), ("unknown.test", "/", 404, "")]);
    stage.rig.remove("class");
    stage.rig.wait("classless.test", "/", 404, "");
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

fn host_without_paths(stage: &Stage) {
    let rig = &stage.rig;
    let mut object = ingress("bare-host").default_backend("fallback", "8080");
    object.0["spec"]["rules"] = json!([{"host": "bare.test"}]);
    rig.put("bare", &[object.into()]);
    rig.wait("bare.test", "/any/path", 200, "fallback");
    rig.remove("bare");
    rig.wait("bare.test", "/any/path", 404, "");
    eventually("reloads are as expected", || {
        rig.assert_no_reloads_on_3_4("conformance");
        Ok(())
    });
    assert!(!stage.pods.is_empty());
}
