//! What is between browsers and pods: CORS, HSTS, session affinity.

use super::*;

/// A request with an origin.
fn from(host: &str, method: &str, origin: &str) -> Request {
    let request = Request::get(host, "/").method(method).header("origin", origin);
    if method == "OPTIONS" {
        return request.header("access-control-request-method", "PUT");
    }
    request
}

pub fn cors(stage: &Stage) {
    let rig = &stage.rig;
    let on = ("cors-enable", "true");
    let listed = "https://app.test, https://*.wild.test:8443";
    routes(
        stage,
        "cors",
        &[
            ("cors-any", "app", &[on]),
            (
                "cors-list",
                "app",
                &[
                    on,
                    ("cors-allow-origin", listed),
                    ("cors-allow-methods", "get, put"),
                    ("cors-allow-headers", "X-Tenant, Authorization"),
                    ("cors-max-age", "10m"),
                    ("cors-allow-credentials", "true"),
                    ("cors-expose-headers", "X-Pod"),
                ],
            ),
            ("cors-regex", "app", &[on, ("cors-allow-origin", "^https://(a|b)\\.test$")]),
            (
                "cors-answered",
                "app",
                &[on, ("cors-allow-origin", listed), ("cors-respond-to-options", "true")],
            ),
            ("cors-off", "app", &[("cors-allow-origin", "*")]),
            ("cors-bad", "app", &[on, ("cors-allow-origin", "not an origin")]),
        ],
    );
    let allowed = |host: &str, origin: &str| {
        let answer = rig.ask(&from(host, "GET", origin)).unwrap();
        assert_eq!(answer.status, 200, "{host}");
        let all = answer.all("access-control-allow-origin");
        assert!(all.len() <= 1, "{all:?}");
        all.first().map(|text| (*text).to_owned())
    };
    for host in ["cors-any", "cors-list", "cors-regex", "cors-answered", "cors-off", "cors-bad"] {
        rig.wait(&format!("{host}.test"), "/", 200, "app");
    }
    for (host, origin, expected) in [
        ("cors-any.test", "https://x.test", Some("*")),
        ("cors-list.test", "https://app.test", Some("https://app.test")),
        ("cors-list.test", "https://a.b.wild.test:8443", Some("https://a.b.wild.test:8443")),
        ("cors-list.test", "https://app.test.evil.test", None),
        ("cors-list.test", "https://app.tes", None),
        ("cors-list.test", "http://app.test", None),
        ("cors-list.test", "https://evilwild.test:8443", None),
        ("cors-list.test", "null", None),
        ("cors-regex.test", "https://b.test", Some("https://b.test")),
        ("cors-regex.test", "https://c.test", None),
        ("cors-regex.test", "https://b.test.evil.test", None),
        ("cors-regex.test", "https://evil.test/https://b.test", None),
        ("cors-off.test", "https://app.test", None),
        ("cors-bad.test", "https://app.test", None),
    ] {
        assert_eq!(allowed(host, origin).as_deref(), expected, "{host} for {origin}");
    }
    rig.wait_problem(&["BadValue", "\"name\":\"cors-bad\"", "cors-allow-origin"]);
    let answer = rig.ask(&from("cors-list.test", "OPTIONS", "https://app.test")).unwrap();
    assert_eq!((answer.status, answer.service()), (200, "app"), "asked of the pod");
    for (name, value) in [
        ("access-control-allow-methods", "GET, PUT"),
        ("access-control-allow-headers", "X-Tenant, Authorization"),
        ("access-control-max-age", "600"),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "X-Pod"),
        ("vary", "Origin"),
    ] {
        assert_eq!(answer.all(name), [value], "{name}");
    }
    let answer = rig.ask(&from("cors-any.test", "GET", "https://x.test")).unwrap();
    assert_eq!(answer.header("access-control-allow-methods"), Some("*"));
    assert_eq!(answer.header("access-control-max-age"), Some("5"));
    assert_eq!(answer.header("vary"), None, "the answer is the same for all");
    let answer = rig.now("cors-list.test", "/");
    assert_eq!(answer.header("access-control-allow-methods"), None, "not asked by a script");
    // Answered at once, also for an origin that gets nothing.
    let before: u64 = stage.pods.iter().map(Pod::requests).sum();
    let answer = rig.ask(&from("cors-answered.test", "OPTIONS", "https://app.test")).unwrap();
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.test"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("*"));
    let answer = rig.ask(&from("cors-answered.test", "OPTIONS", "https://evil.test")).unwrap();
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let after: u64 = stage.pods.iter().map(Pod::requests).sum();
    assert_eq!(before, after, "no pod was asked");
    let plain = Request::get("cors-answered.test", "/").method("OPTIONS");
    assert_eq!(rig.ask(&plain).unwrap().service(), "app", "no preflight");
}

pub fn hsts(stage: &Stage) {
    let rig = &stage.rig;
    let certificate = stage.authority.issue(&["hsts.test"]);
    rig.put("hsts-secret", &[certificate.secret("hsts")]);
    let route = ingress("hsts").all("hsts.test", "app").tls(&["hsts.test"], "hsts");
    let route = route.with("hsts", "true").with("hsts-max-age", "600");
    rig.put("hsts", &[route.with("hsts-include-subdomains", "true").into()]);
    let answer = rig.wait("hsts.test", "/", 200, "app");
    assert_eq!(answer.header("strict-transport-security"), None, "not without TLS");
    let config = client::trusting(&stage.authority.roots());
    let mut tls = eventually("the certificate is there", || {
        Connection::tls(rig.https, "hsts.test", &config).map_err(|e| e.to_string())
    });
    let answer = tls.ask(&Request::get("hsts.test", "/")).unwrap();
    let all = answer.all("strict-transport-security");
    assert_eq!(all, ["max-age=600; includeSubDomains"]);
}

pub fn affinity(stage: &Stage) {
    let rig = &stage.rig;
    let keys: &[(&str, &str)] = &[("cookie-persistence", "SERVERID")];
    routes(stage, "affinity", &[("affinity", "app", keys)]);
    rig.wait("affinity.test", "/", 200, "app");
    let first = rig.now("affinity.test", "/");
    let cookie = first.all("set-cookie");
    assert_eq!(cookie.len(), 1, "{cookie:?}");
    let pair = cookie[0].split(';').next().unwrap().to_owned();
    assert!(pair.starts_with("SERVERID=") && pair.len() > 12, "{pair}");
    assert!(cookie[0].contains("HttpOnly"), "{cookie:?}");
    for before in ["", "a=b; ", "SERVERIDX=1; "] {
        for _ in 0..6 {
            let request = Request::get("affinity.test", "/");
            let request = request.header("cookie", &format!("{before}{pair}; z=1"));
            let answer = rig.ask(&request).unwrap();
            assert_eq!(answer.name(), first.name(), "after {before:?}");
            assert_eq!(answer.all("set-cookie"), [""; 0], "it has one");
            let seen = answer.seen("cookie").unwrap_or_default().to_owned();
            assert!(!seen.contains("tidegate-server"), "{seen}");
            assert!(seen.contains("z=1"), "{seen}");
        }
    }
    let mut others = BTreeSet::new();
    for _ in 0..12 {
        others.insert(rig.now("affinity.test", "/").name().to_owned());
    }
    assert_eq!(others.len(), 3, "without a cookie any pod: {others:?}");
    let strange = Request::get("affinity.test", "/").header("cookie", "SERVERID=nobody");
    let answer = rig.ask(&strange).unwrap();
    assert_eq!((answer.status, answer.all("set-cookie").len()), (200, 1), "a new cookie");
}
