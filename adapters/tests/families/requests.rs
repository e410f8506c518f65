//! What is done with a request: redirects, rewriting, headers, lists of addresses.

use super::*;

pub fn redirects(stage: &Stage) {
    let authority = &stage.authority;
    let certificate = authority.issue(&["to-https.test"]);
    stage.rig.put("redirect-secret", &[certificate.secret("to-https")]);
    let https = ingress("to-https")
        .all("to-https.test", "app")
        .tls(&["to-https.test"], "to-https")
        .with("ssl-redirect", "true");
    let code = https.clone().with("ssl-redirect-code", "308").with("ssl-redirect-port", "8443");
    let rename = |route: Ingress, name: &str| -> Value {
        let mut value = Value::from(route);
        value["metadata"]["name"] = json!(name);
        value["spec"]["rules"][0]["host"] = json!(format!("{name}.test"));
        value
    };
    let mut objects = vec![https.into(), rename(code, "to-https-308")];
    for (name, to, code) in [
        ("to-host", "www.example.com", "302"),
        ("to-port", "www.example.com:8443", "301"),
        ("to-scheme", "https://www.example.com", "303"),
        ("to-307", "http://other.example.com:81", "307"),
    ] {
        let route = ingress(name).all(&format!("{name}.test"), "app").with("request-redirect", to);
        objects.push(route.with("request-redirect-code", code).into());
    }
    stage.rig.put("redirects", &objects);
    let rows = [
        ("to-https.test", 302, "https://to-https.test/a/b?c=d"),
        ("to-https-308.test", 308, "https://to-https-308.test:8443/a/b?c=d"),
        ("to-host.test", 302, "http://www.example.com/a/b?c=d"),
        ("to-port.test", 301, "http://www.example.com:8443/a/b?c=d"),
        ("to-scheme.test", 303, "https://www.example.com/a/b?c=d"),
        ("to-307.test", 307, "http://other.example.com:81/a/b?c=d"),
    ];
    for (host, status, location) in rows {
        let answer = stage.rig.wait(host, "/a/b?c=d", status, "");
        assert_eq!(answer.header("location"), Some(location), "{host}");
    }
    let answer = stage.rig.now("to-https.test:8080", "/");
    assert_eq!(answer.header("location"), Some("https://to-https.test/"), "the port goes");
    let config = client::trusting(&authority.roots());
    let mut tls = eventually("the certificate is there", || {
        Connection::tls(stage.rig.https, "to-https.test", &config).map_err(|e| e.to_string())
    });
    let answer = tls.ask(&Request::get("to-https.test", "/")).unwrap();
    assert_eq!((answer.status, answer.service()), (200, "app"), "HTTPS is not redirected");
}

pub fn rewriting(stage: &Stage) {
    routes(
        stage,
        "rewriting",
        &[
            ("rw-groups", "app", &[("path-rewrite", "^/api/(.*) /v2/\\1")]),
            ("rw-whole", "app", &[("path-rewrite", "/one")]),
            (
                "rw-steps",
                "app",
                &[("path-rewrite", "^/a/(.*) /b/\\1\n^/b/(.*) /c/\\1\nnever /never\n/z$ /end")],
            ),
            ("rw-middle", "app", &[("path-rewrite", "/(x|y)+/z /got/\\1")]),
        ],
    );
    for (host, path, seen) in [
        ("rw-groups.test", "/api/a/b?c=d", "/v2/a/b?c=d"),
        ("rw-groups.test", "/other/api/a", "/other/api/a"),
        ("rw-groups.test", "/api/", "/v2/"),
        ("rw-whole.test", "/a/b?c=d", "/one?c=d"),
        ("rw-steps.test", "/a/x", "/c/x"),
        ("rw-steps.test", "/a/z", "/end"),
        ("rw-steps.test", "/q", "/q"),
        ("rw-middle.test", "/a/xy/z/b", "/got/y"),
        ("rw-middle.test", "/a/z", "/a/z"),
    ] {
        assert_eq!(stage.rig.wait(host, path, 200, "app").path(), seen, "http://{host}{path}");
    }
}

pub fn headers(stage: &Stage) {
    routes(
        stage,
        "headers",
        &[(
            "headers",
            "app",
            &[
                (
                    "request-set-header",
                    "X-Tenant blue\nX-Words \"two words; \\\\ | %\"\nHost inner.example.com",
                ),
                ("request-add-header", "X-Seen-By edge-1"),
                ("request-remove-header", "X-Debug\nX-Trace"),
                ("response-set-header", "X-Frame-Options DENY\nX-Pod set"),
                ("response-add-header", "Vary Accept-Language"),
                ("response-remove-header", "Server"),
            ],
        )],
    );
    stage.rig.wait("headers.test", "/", 200, "app");
    let request = Request::get("headers.test", "/")
        .header("X-Tenant", "red")
        .header("X-Seen-By", "client")
        .header("X-Debug", "1")
        .header("x-trace", "2");
    let answer = stage.rig.ask(&request).unwrap();
    assert_eq!(answer.seen("x-tenant"), Some("blue"), "request-set-header replaces");
    assert_eq!(answer.seen("x-words"), Some("two words; \\\\ | %"), "values are literal");
    assert_eq!(answer.pod["host"], "inner.example.com");
    assert_eq!(answer.seen("x-seen-by"), Some("client, edge-1"), "request-add-header adds");
    assert_eq!(answer.seen("x-debug"), None, "request-remove-header");
    assert_eq!(answer.seen("x-trace"), None, "request-remove-header");
    assert_eq!(answer.all("x-frame-options"), ["DENY"]);
    assert_eq!(answer.all("x-pod"), ["set"], "response-set-header replaces");
    assert_eq!(answer.all("vary"), ["Accept-Language"]);
    assert_eq!(answer.header("server"), None, "response-remove-header");
    let long = "v".repeat(300);
    routes(
        stage,
        "headers-long",
        &[("headers-long", "app", &[("request-set-header", &format!("X-Long {long}"))])],
    );
    let answer = stage.rig.wait("headers-long.test", "/", 200, "app");
    assert_eq!(answer.seen("x-long"), Some(&*long));
    let answer = stage.rig.now("plain.test", "/");
    assert_eq!(answer.header("server"), Some("pod"), "others are left alone");
}

pub fn access(stage: &Stage) {
    routes(
        stage,
        "access",
        &[
            ("allow-in", "app", &[("allow-list", "10.0.0.0/8, 127.0.0.0/10")]),
            ("allow-out", "app", &[("allow-list", "10.0.0.0/8,2001:db8::/32")]),
            ("deny-in", "app", &[("deny-list", "127.0.0.1")]),
            ("deny-out", "app", &[("deny-list", "127.0.0.2, ::/0")]),
            ("deny-first", "app", &[("allow-list", "127.0.0.0/8"), ("deny-list", "127.0.0.0/30")]),
            ("allow-all", "app", &[("allow-list", "0.0.0.0/0")]),
        ],
    );
    for (host, status) in [
        ("allow-in.test", 200),
        ("allow-out.test", 403),
        ("deny-in.test", 403),
        ("deny-out.test", 200),
        ("deny-first.test", 403),
        ("allow-all.test", 200),
    ] {
        stage.rig.wait(host, "/", status, if status == 200 { "app" } else { "" });
    }
    // A list is widened, and the change is live.
    routes(stage, "access", &[("allow-out", "app", &[("allow-list", "10.0.0.0/8,127.0.0.1")])]);
    stage.rig.wait("allow-out.test", "/", 200, "app");
}

pub fn broken_access(stage: &Stage) {
    let before: u64 = stage.pods.iter().map(Pod::requests).sum();
    routes(
        stage,
        "broken-access",
        &[
            ("bad-allow", "app", &[("allow-list", "127.0.0.0/8, not-an-address")]),
            ("bad-deny", "app", &[("deny-list", "300.0.0.1")]),
            ("empty-allow", "app", &[("allow-list", "")]),
        ],
    );
    for name in ["bad-allow", "bad-deny", "empty-allow"] {
        stage.rig.wait(&format!("{name}.test"), "/", 503, "");
        stage.rig.wait_problem(&["FailedClosed", &format!("\"name\":\"{name}\""), "-list"]);
    }
    let after: u64 = stage.pods.iter().map(Pod::requests).sum();
    assert_eq!(before, after, "no request reached a pod");
    routes(stage, "broken-access", &[("bad-allow", "app", &[("allow-list", "127.0.0.0/8")])]);
    stage.rig.wait("bad-allow.test", "/", 200, "app");
    stage.rig.wait_no_problem("\"name\":\"bad-allow\"");
}
