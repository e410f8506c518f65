//! What users of haproxytech's controller are used to: its names without a prefix, its old names,
//! its redirect by tls block, keys that have no meaning here; and what pods learn of a client.

use super::*;

pub fn forwarding(stage: &Stage) {
    let rig = &stage.rig;
    routes(
        stage,
        "forwarding",
        &[
            ("xff-off", "app", &[("forwarded-for", "false")]),
            ("xff-on", "app", &[("forwarded-for", "true")]),
            ("xff-set", "app", &[("request-set-header", "X-Forwarded-For 192.0.2.9")]),
            ("xff-gone", "app", &[("request-remove-header", "X-Forwarded-For")]),
            ("host", "app", &[("set-host", "app.internal:81"), ("timeout-server", "20s")]),
        ],
    );
    for (host, seen) in [
        ("plain.test", Some("10.9.9.9, 127.0.0.1")),
        ("xff-on.test", Some("10.9.9.9, 127.0.0.1")),
        ("xff-off.test", Some("10.9.9.9")),
        ("xff-set.test", Some("192.0.2.9")),
        ("xff-gone.test", None),
    ] {
        rig.wait(host, "/", 200, "app");
        let request = Request::get(host, "/").header("x-forwarded-for", "10.9.9.9");
        let answer = rig.ask(&request).unwrap();
        assert_eq!(answer.seen("x-forwarded-for"), seen, "{host}");
        assert_eq!(answer.seen("x-forwarded-proto"), Some("http"), "{host}");
    }
    let answer = rig.wait("host.test", "/", 200, "app");
    assert_eq!(answer.seen("host"), Some("app.internal:81"), "set-host");
}

pub fn redirects_by_tls(stage: &Stage) {
    let rig = &stage.rig;
    let auto = |name: &str, value: &str, tls: bool| -> Value {
        let host = format!("{name}.test");
        let route = ingress(name).all(&host, "app").with("ssl-redirect", value);
        if tls { route.tls(&[&host], "").into() } else { route.into() }
    };
    rig.put(
        "by-tls",
        &[
            auto("auto-tls", "auto", true),
            auto("auto-plain", "auto", false),
            auto("off-tls", "false", true),
            ingress("unsaid").all("unsaid.test", "app").tls(&["unsaid.test"], "").into(),
        ],
    );
    let answer = rig.wait("auto-tls.test", "/x", 302, "");
    assert_eq!(answer.header("location"), Some("https://auto-tls.test/x"));
    for host in ["auto-plain.test", "off-tls.test", "unsaid.test"] {
        rig.wait(host, "/", 200, "app");
    }
}

pub fn names(stage: &Stage) {
    let rig = &stage.rig;
    let named = |name: &str, annotations: &[(&str, &str)]| -> Value {
        let route = ingress(name).all(&format!("{name}.test"), "app");
        annotations.iter().fold(route, |route, (key, value)| route.annotation(key, value)).into()
    };
    rig.put(
        "names",
        &[
            named("bare", &[("deny-list", "127.0.0.0/8")]),
            named("old", &[("haproxy.org/blacklist", "127.0.0.0/8")]),
            named("old-bare", &[("whitelist", "192.0.2.0/24")]),
            // Their present name comes before their old one, a prefix before none, and ours first.
            named(
                "new",
                &[
                    ("haproxy.org/whitelist", "192.0.2.0/24"),
                    ("haproxy.org/allow-list", "127.0.0.0/8"),
                ],
            ),
            named(
                "both",
                &[("allow-list", "192.0.2.0/24"), ("haproxy.com/allow-list", "127.0.0.0/8")],
            ),
            named(
                "ours",
                &[
                    ("tidegate.io/allow-list", "127.0.0.0/8"),
                    ("haproxy.org/allow-list", "192.0.2.0/24"),
                ],
            ),
            named("strange", &[("some-other-program", "1"), ("checks", "1")]),
            named(
                "slots",
                &[
                    ("haproxy.org/scale-server-slots", "42"),
                    ("haproxy.org/standalone-backend", "true"),
                ],
            ),
            named("cookie", &[("haproxy.org/cookie-persistence-no-dynamic", "SRV")]),
            named("scope", &[("haproxy.org/abortonclose", "true")]),
        ],
    );
    for host in ["bare.test", "old.test", "old-bare.test"] {
        rig.wait(host, "/", 403, "");
    }
    for host in ["new.test", "both.test", "ours.test", "strange.test", "slots.test", "scope.test"] {
        rig.wait(host, "/", 200, "app");
    }
    let answer = rig.wait("cookie.test", "/", 200, "app");
    assert!(answer.header("set-cookie").is_some_and(|c| c.starts_with("SRV=")), "{answer:?}");
    let problem = rig.wait_problem(&["scale-server-slots", "\"name\":\"slots\""]);
    assert_eq!(
        (&problem["severity"], &problem["reason"]),
        (&json!("info"), &json!("NotSupported"))
    );
    rig.wait_problem(&["WrongScope", "abortonclose"]);
    let told = rig.problems();
    for silent in ["some-other-program", "standalone-backend", "\"name\":\"strange\""] {
        assert!(!told.iter().any(|p| p.to_string().contains(silent)), "{silent}: {told:?}");
    }
    rig.remove("names");
}
