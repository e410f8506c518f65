//! Who gets in, and what pods are told of them.

use super::*;

pub fn required(stage: &Stage) {
    let keys: &[(&str, &str)] = &[("client-ca", "clients-ca")];
    let redirects: &[(&str, &str)] = &[("client-ca", "clients-ca"), ("ssl-redirect", "true")];
    let theirs: &[(&str, &str)] = &[("haproxy.org/client-ca", "test/clients-ca")];
    let routes = [("needs", keys), ("needs-too", redirects), ("theirs", theirs)];
    stage.put("required", &[stage.authority()], &routes);
    for host in ["needs.test", "needs-too.test", "theirs.test"] {
        stage.wait(host, Some(&stage.good), 200);
        assert_eq!(stage.now(host, None), 496, "{host}");
        assert_eq!(stage.now(host, Some(&stage.stranger)), 495, "{host}");
        let late = stage.clients.client_until("late", 2021);
        assert_eq!(stage.now(host, Some(&late)), 495, "{host}");
    }
    let words = stage.get("needs.test", None).unwrap().body;
    assert!(words.contains("client certificate"), "{words}");
    assert_eq!(stage.rig.now("needs.test", "/").status, 403, "nobody shows one over plain HTTP");
    let moved = stage.rig.now("needs-too.test", "/");
    assert_eq!((moved.status, moved.header("location")), (302, Some("https://needs-too.test/")));
    stage.wait("plain.test", None, 200);
}

pub fn optional(stage: &Stage) {
    let keys: &[(&str, &str)] =
        &[("client-ca", "clients-ca"), ("haproxy.org/client-crt-optional", "true")];
    stage.put("optional", &[stage.authority()], &[("may", keys)]);
    let answer = stage.wait("may.test", Some(&stage.good), 200);
    assert_eq!(answer.seen("ssl-client-verify"), Some("SUCCESS"));
    let answer = stage.wait("may.test", None, 200);
    assert_eq!(answer.seen("ssl-client-verify"), Some("NONE"));
    assert_eq!(answer.seen("ssl-client-subject-dn"), None);
    assert_eq!(stage.now("may.test", Some(&stage.stranger)), 495);
    let answer = stage.rig.now("may.test", "/");
    assert_eq!((answer.status, answer.seen("ssl-client-verify")), (200, Some("NONE")));
}

pub fn headers(stage: &Stage) {
    let keys: &[(&str, &str)] =
        &[("client-ca", "clients-ca"), ("client-certificate-header", "true")];
    stage.put("headers", &[stage.authority()], &[("told", keys)]);
    stage.wait("told.test", Some(&stage.good), 200);
    let forged = ["SSL-Client-Verify", "ssl_client_verify", "SSL-Client_Subject-DN"];
    let forged = forged.iter().chain(&["SSL-Client-Cert", "ssl-client-anything"]);
    let with = |host: &str| {
        forged
            .clone()
            .fold(Request::get(host, "/"), |request, name| request.header(name, "CN=admin"))
    };
    let answer = stage.ask("told.test", Some(&stage.good), &with("told.test")).unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.seen("ssl-client-verify"), Some("SUCCESS"));
    assert_eq!(answer.seen("ssl-client-subject-dn"), Some("CN=good"));
    assert!(answer.seen("ssl-client-issuer-dn").is_some_and(|dn| dn.contains("authority")));
    let serial = answer.seen("ssl-client-serial").unwrap_or_default();
    assert!(u64::from_str_radix(serial, 16).is_ok_and(|serial| serial >= 1000), "{serial:?}");
    let print = answer.seen("ssl-client-fingerprint").unwrap_or_default();
    assert!(print.len() == 64 && print == print.to_ascii_lowercase(), "{print}");
    let pem = answer.seen("ssl-client-cert").unwrap_or_default();
    let pem = pem.replace("%20", " ").replace("%0A", "\n").replace("%2B", "+");
    let pem = pem.replace("%2F", "/").replace("%3D", "=");
    let mine: String = stage.good.pem.lines().filter(|line| !line.starts_with("--")).collect();
    assert_eq!(pem.lines().nth(1), Some(&*mine), "{pem}");
    for name in ["ssl_client_verify", "ssl-client_subject-dn", "ssl-client-anything"] {
        assert_eq!(answer.seen(name), None, "{name}");
    }
    // What a client says of itself reaches no pod, on routes without certificates either.
    for answer in [
        stage.ask("plain.test", None, &with("plain.test")).unwrap(),
        stage.rig.ask(&with("plain.test")).unwrap(),
    ] {
        assert_eq!(answer.status, 200);
        let headers = answer.pod["headers"].as_object().unwrap();
        let seen: Vec<_> = headers.keys().filter(|name| name.starts_with("ssl")).collect();
        assert!(seen.is_empty(), "{seen:?}");
    }
}

pub fn revocation(stage: &Stage) {
    let revoked = stage.clients.client("revoked");
    let keys: &[(&str, &str)] = &[("client-ca", "revoking-ca")];
    let put = |number, all: &[&Issued]| {
        let list = stage.clients.revocations(number, all);
        let content: [(&str, &str); 2] = [("ca.crt", &stage.clients.pem), ("ca.crl", &list)];
        stage.put("revocation", &[secret("revoking-ca", &content)], &[("revoking", keys)]);
    };
    put(1, &[]);
    stage.wait("revoking.test", Some(&revoked), 200);
    put(2, &[&revoked]);
    stage.wait("revoking.test", Some(&revoked), 495);
    assert_eq!(stage.now("revoking.test", Some(&stage.good)), 200);
    let broken = [("ca.crt", &*stage.clients.pem), ("ca.crl", "no list")];
    stage.put("revocation", &[secret("revoking-ca", &broken)], &[("revoking", keys)]);
    stage.wait("revoking.test", Some(&stage.good), 503);
    stage.rig.wait_problem(&["FailedClosed", "\"name\":\"revoking\"", "ca.crl"]);
}

pub fn pages(stage: &Stage) {
    let page = "https://help.test/certificates";
    let keys: &[(&str, &str)] = &[("client-ca", "clients-ca"), ("client-error-redirect", page)];
    let bad: &[(&str, &str)] = &[("client-ca", "clients-ca"), ("client-error-redirect", "x y")];
    stage.put("pages", &[stage.authority()], &[("page", keys), ("no-page", bad)]);
    stage.wait("page.test", Some(&stage.good), 200);
    for shown in [None, Some(&stage.stranger)] {
        let answer = stage.wait("page.test", shown, 302);
        assert_eq!(answer.header("location"), Some(page));
    }
    stage.wait("no-page.test", None, 496);
    stage.rig.wait_problem(&["BadValue", "\"name\":\"no-page\"", "client-error-redirect"]);
}

/// Whether a client sent more than its own certificate shows in whole handshakes only, so sessions
/// are not resumed any more: a reload.
pub fn depth(stage: &Stage) {
    let between = stage.clients.intermediate();
    let far = between.client("far").with_chain(vec![between.der()]);
    let any: &[(&str, &str)] = &[("client-ca", "clients-ca")];
    let one: &[(&str, &str)] = &[("client-ca", "clients-ca"), ("client-verify-depth", "1")];
    let two: &[(&str, &str)] = &[("client-ca", "clients-ca"), ("client-verify-depth", "2")];
    let routes = [("any-depth", any), ("depth-one", one), ("depth-two", two)];
    stage.put("depth", &[stage.authority()], &routes);
    stage.wait("any-depth.test", Some(&far), 200);
    stage.wait("depth-one.test", Some(&stage.good), 200);
    stage.wait("depth-one.test", Some(&far), 495);
    stage.wait("depth-two.test", Some(&stage.good), 503);
    stage.rig.wait_problem(&["FailedClosed", "\"name\":\"depth-two\"", "client-verify-depth"]);
    let static_part = || stage.rig.config().contains("no-tls-tickets");
    eventually("sessions are not resumed", || ensure(static_part(), || "they are".to_owned()));
    let config = showing(Some(&far), false, true);
    let ask = || -> io::Result<(bool, u16)> {
        let mut connection = Connection::tls(stage.rig.https, "depth-one.test", &config)?;
        let answer = connection.ask(&Request::get("depth-one.test", "/"))?;
        Ok((connection.resumed, answer.status))
    };
    eventually("the new worker makes whole handshakes", || {
        // A session of the worker before may be resumed once, and gets 421.
        let _ = ask().map_err(|error| error.to_string())?;
        let again = ask().map_err(|error| error.to_string())?;
        ensure(again == (false, 495), || format!("{again:?}"))
    });
    stage.rig.remove("depth");
}

/// What the page about client certificates shows.
pub fn documented(stage: &Stage) {
    let page = include_str!("../../../docs/client-certificates.md");
    let yaml = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    stage.rig.put_text("documented.yaml", yaml.expect("the page has an example"));
    let mut objects = app("app", &stage.pods.iter().collect::<Vec<_>>());
    objects.push(stage.authority());
    objects.push(stage.servers.issue(&["api.example.com"]).secret("api-tls"));
    for object in &mut objects {
        object["metadata"]["namespace"] = serde_json::json!("default");
    }
    stage.rig.put("documented", &objects);
    stage.wait("api.example.com", Some(&stage.good), 200);
    assert_eq!(stage.now("api.example.com", None), 496);
}
