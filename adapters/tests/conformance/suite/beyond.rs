//! What the conformance suite leaves out.

use super::*;

pub fn precise_beats_wildcard(stage: &Stage) {
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

pub fn implementation_specific(stage: &Stage) {
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

pub fn oldest_wins(stage: &Stage) {
    check(stage, &[("contended.test", "/", 200, "old"), ("same-age.test", "/", 200, "old")]);
    stage.rig.wait_problem(&["Conflict", "\"name\":\"a-young\"", "\"error\""]);
    stage.rig.wait_problem(&["Conflict", "\"name\":\"z-old\"", "\"warning\""]);
}

pub fn missing_service(stage: &Stage) {
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

pub fn no_endpoints(stage: &Stage) {
    check(stage, &[("gaps.test", "/empty", 503, ""), ("gaps.test", "/bare", 503, "")]);
    stage.rig.put("late", &[ingress("late").all("late.test", "empty").into()]);
    stage.rig.wait("late.test", "/", 503, "");
}

pub fn named_ports(stage: &Stage) {
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

pub fn several_slices(stage: &Stage) {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..20 {
        *counts.entry(stage.rig.now("slices.test", "/").name().to_owned()).or_default() += 1;
    }
    assert_eq!(counts.len(), 2, "{counts:?}");
    // An endpoint in two slices counts once.
    assert!(counts.values().all(|count| (8..=12).contains(count)), "{counts:?}");
}

pub fn conditions(stage: &Stage) {
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

pub fn dual_stack(stage: &Stage) {
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

pub fn two_algorithms(stage: &Stage) {
    assert!(
        presented(stage, "two.test", &client::ECDSA) == stage.certificates["ecdsa"].der,
        "ECDSA"
    );
    assert!(presented(stage, "two.test", &client::RSA) == stage.certificates["rsa"].der, "RSA");
}

pub fn default_certificate(stage: &Stage) {
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

pub fn wildcard_certificate(stage: &Stage) {
    let wild = &stage.certificates["wild"].der;
    assert!(presented(stage, "a.wild.test", &any_scheme()) == *wild, "one label");
    assert!(presented(stage, "wild.test", &any_scheme()) != *wild, "no label");
    let config = client::trusting(&stage.authority.roots());
    let mut connection = Connection::tls(stage.rig.https, "b.wild.test", &config).unwrap();
    let answer = connection.ask(&Request::get("b.wild.test", "/")).unwrap();
    assert_eq!((answer.status, answer.service()), (200, "plain"));
}

pub fn external_name(stage: &Stage) {
    let answer = stage.rig.wait("external.test", "/", 200, "external");
    assert_eq!(answer.pod["host"], "external.test", "port {}", stage.external);
}

pub fn host_spelling(stage: &Stage) {
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

pub fn refused_paths(stage: &Stage) {
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

pub fn path_spelling(stage: &Stage) {
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

pub fn default_class(stage: &Stage) {
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

pub fn host_without_paths(stage: &Stage) {
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
