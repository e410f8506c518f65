//! The objects of the scenarios, and the pods behind them.

use super::*;

pub fn stage(rig: Rig) -> Stage {
    let rig = rig.arguments(&["--default-certificate", "test/default", "--external-names"]);
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
        // An Ingress without any rule is none for the API server.
        ingress("two-ecdsa").all("second.test", "plain").tls(&["two.test"], "ecdsa").into(),
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
    let six = Pod::at("dual", Speech::Http1, SocketAddr::from((pods::six(), 0)));
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
