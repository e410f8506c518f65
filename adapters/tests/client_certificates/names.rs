//! The name of the handshake and the Host of the request; sessions; who decides for a host.

use super::*;

pub fn fronting(stage: &Stage) {
    let other = Authority::new();
    let shown = other.client("other");
    let secrets = [stage.authority(), secret("others-ca", &[("ca.crt", &other.pem)])];
    let one: &[(&str, &str)] = &[("client-ca", "clients-ca")];
    let two: &[(&str, &str)] = &[("client-ca", "others-ca")];
    let may: &[(&str, &str)] =
        &[("client-ca", "others-ca"), ("client-certificate-optional", "true")];
    let open: &[(&str, &str)] = &[];
    let routes = [("one", one), ("two", two), ("may-two", may), ("open", open)];
    stage.put("fronting", &secrets, &routes);
    stage.wait("one.test", Some(&stage.good), 200);
    stage.wait("two.test", Some(&shown), 200);
    stage.wait("may-two.test", Some(&shown), 200);
    let ask = |name: &str, host: &str, shown: Option<&Issued>| {
        stage.ask(name, shown, &Request::get(host, "/")).unwrap().status
    };
    // In words of HTTP: this connection is for another name.
    for (name, host, shown) in [
        ("one.test", "two.test", Some(&stage.good)),
        ("one.test", "may-two.test", Some(&stage.good)),
        ("one.test", "may-two.test", None),
        ("two.test", "one.test", Some(&shown)),
        ("open.test", "one.test", Some(&stage.good)),
        ("plain.test", "one.test", None),
        // No name at all: an address is none.
        ("127.0.0.1", "one.test", Some(&stage.good)),
    ] {
        assert_eq!(ask(name, host, shown), 421, "handshake with {name}, request for {host}");
    }
    assert_eq!(ask("one.test", "open.test", Some(&stage.good)), 200);
    for host in ["ONE.test", "one.test:8443", "one.test."] {
        assert_eq!(ask("one.test", host, Some(&stage.good)), 200, "{host} is the same name");
    }
    // One connection, request by request.
    let config = showing(Some(&stage.good), false, false);
    let mut connection = Connection::tls(stage.rig.https, "one.test", &config).unwrap();
    for (host, status) in
        [("one.test", 200), ("two.test", 421), ("open.test", 200), ("one.test", 200)]
    {
        assert_eq!(connection.ask(&Request::get(host, "/")).unwrap().status, status, "{host}");
    }
    stage.rig.remove("fronting");
}

pub fn presented(stage: &Stage) {
    let keys = ("tidegate.io/client-ca", "clients-ca");
    let wild = stage.servers.issue(&["*.wild.test"]);
    let mut objects = vec![stage.authority(), wild.secret("wild-tls")];
    let names = ingress("wild").all("*.wild.test", "app").tls(&["*.wild.test"], "wild-tls");
    objects.push(names.into());
    objects.push(ingress("a-wild").all("a.wild.test", "app").annotation(keys.0, keys.1).into());
    objects.push(ingress("bare").all("bare.test", "app").annotation(keys.0, keys.1).into());
    objects.push(ingress("nobody").all("", "app").annotation(keys.0, keys.1).into());
    stage.rig.put("presented", &objects);
    stage.wait("a.wild.test", Some(&stage.good), 200);
    assert_eq!(stage.now("a.wild.test", None), 496);
    assert_eq!(stage.now("b.wild.test", None), 200, "its neighbour asks for nothing");
    let config = showing(Some(&stage.good), false, false);
    let connection = Connection::tls(stage.rig.https, "a.wild.test", &config).unwrap();
    assert_eq!(connection.certificate, Some(wild.der.clone()), "that of the wildcard");
    // Nothing to present, and no name to ask by.
    stage.wait("bare.test", Some(&stage.good), 503);
    stage.rig.wait_problem(&["FailedClosed", "\"name\":\"bare\"", "spec.tls"]);
    stage.wait("unknown.test", Some(&stage.good), 503);
    stage.rig.wait_problem(&["FailedClosed", "\"name\":\"nobody\"", "spec.rules"]);
    // With a default certificate there is something.
    let default = stage.servers.issue(&["default.test"]);
    stage.rig.put("default", &[default.secret("default-tls")]);
    stage.rig.put("config", &[config_map(&[("ssl-certificate", "test/default-tls")])]);
    stage.wait("bare.test", Some(&stage.good), 200);
    assert_eq!(stage.now("bare.test", None), 496);
    eventually("the default certificate is the ConfigMap's", || {
        let connection = Connection::tls(stage.rig.https, "who.test", &config);
        let presented = connection.map_err(|error| error.to_string())?.certificate;
        ensure(presented.as_ref() == Some(&default.der), || "another".to_owned())
    });
    stage.rig.put("config", &[config_map(&[])]);
    stage.wait("bare.test", Some(&stage.good), 503);
    stage.rig.remove("presented");
    stage.rig.remove("default");
}

/// A client resumes its last session under whatever name: neither another host's authorities nor
/// new ones of the same host may be passed by that.
pub fn resumption(stage: &Stage) {
    let other = Authority::new();
    let secrets = [
        secret("resumed-ca", &[("ca.crt", &stage.clients.pem)]),
        secret("others-ca", &[("ca.crt", &other.pem)]),
    ];
    let one: &[(&str, &str)] = &[("client-ca", "resumed-ca")];
    let two: &[(&str, &str)] = &[("client-ca", "others-ca")];
    let routes = [("first", one), ("second", two)];
    let shown = other.client("other");
    for tls12 in [true, false] {
        stage.put("resumption", &secrets, &routes);
        stage.wait("first.test", Some(&stage.good), 200);
        stage.wait("second.test", Some(&shown), 200);
        let config = showing(Some(&stage.good), tls12, true);
        let ask = |host: &str| {
            // A client that offers a session of another name may fail by itself: status 0.
            let connection = Connection::tls(stage.rig.https, host, &config);
            let answer = connection.and_then(|mut connection| {
                let answer = connection.ask(&Request::get(host, "/"))?;
                Ok((connection.resumed, answer.status))
            });
            answer.unwrap_or((false, 0))
        };
        let mut seen = Vec::new();
        for host in ["first.test", "first.test", "second.test", "first.test", "second.test"] {
            let (resumed, status) = ask(host);
            seen.push(format!("{host} resumed={resumed} {status}"));
            let may = host == "first.test";
            assert!(status == 200 && may || [0, 495, 421].contains(&status), "{seen:?}");
        }
        assert!(seen[0].ends_with("200"), "{seen:?}");
        // The authorities of the same host become others.
        let changed = [secret("resumed-ca", &[("ca.crt", &other.pem)]), secrets[1].clone()];
        let (resumed, status) = ask("first.test");
        seen.push(format!("before: resumed={resumed} {status}"));
        stage.put("resumption", &changed, &routes);
        stage.wait("first.test", Some(&shown), 200);
        for _ in 0..3 {
            let (resumed, status) = ask("first.test");
            seen.push(format!("after: resumed={resumed} {status}"));
            assert!([0, 495, 421].contains(&status), "{seen:?}");
        }
        println!("HAProxy {}: TLS 1.{}: {seen:?}", stage.rig.version, if tls12 { 2 } else { 3 });
    }
    stage.rig.remove("resumption");
}

pub fn conflict(stage: &Stage) {
    let other = Authority::new();
    let shown = other.client("other");
    let old = ingress("older").rule("shared.test", "Prefix", "/old", "app", "8080");
    let old = old.tls(&["shared.test"], "shared-tls").with("client-ca", "clients-ca");
    let young = ingress("younger").rule("shared.test", "Prefix", "/young", "app", "8080");
    let young = young.with("client-ca", "others-ca").created("2024-06-01T00:00:00Z");
    let open = ingress("beside").rule("shared.test", "Prefix", "/open", "app", "8080");
    let base = vec![
        stage.authority(),
        secret("others-ca", &[("ca.crt", &other.pem)]),
        stage.servers.issue(&["shared.test"]).secret("shared-tls"),
        young.into(),
        open.into(),
    ];
    let mut both = base.clone();
    both.push(old.into());
    stage.rig.put("conflict", &both);
    let ask = |path: &str, shown: Option<&Issued>| {
        stage.ask("shared.test", shown, &Request::get("shared.test", path))
    };
    let wait = |path: &str, shown: Option<&Issued>, status: u16| {
        eventually(&format!("{path} answers {status}"), || {
            let answer = ask(path, shown)?;
            ensure(answer.status == status, || answer.status.to_string())
        });
    };
    wait("/old", Some(&stage.good), 200);
    wait("/young", Some(&shown), 503);
    wait("/young", Some(&stage.good), 503);
    wait("/open", None, 200);
    stage.rig.wait_problem(&["FailedClosed", "\"name\":\"younger\"", "older Ingress test/older"]);
    let alone: Vec<Value> = base
        .into_iter()
        .map(|mut object| {
            if object["metadata"]["name"] == "younger" {
                object["spec"]["tls"] =
                    serde_json::json!([{"hosts": ["shared.test"], "secretName": "shared-tls"}]);
            }
            object
        })
        .collect();
    stage.rig.put("conflict", &alone);
    wait("/young", Some(&shown), 200);
    wait("/young", Some(&stage.good), 495);
    stage.rig.remove("conflict");
}

/// A host changes hands while a client of the former owner stays connected: his connection is worth
/// nothing to the new owner, whoever made up the name on the certificate.
pub fn handover(stage: &Stage) {
    let other = Authority::new();
    let shown = other.client("other");
    let wild = stage.servers.issue(&["*.hand.test"]);
    let broad = ingress("broad").all("*.hand.test", "app").tls(&["*.hand.test"], "broad-tls");
    let narrow = ingress("narrow").all("x.hand.test", "app").tls(&["x.hand.test"], "broad-tls");
    let base = vec![
        stage.authority(),
        secret("others-ca", &[("ca.crt", &other.pem)]),
        wild.secret("broad-tls"),
        broad.with("client-ca", "others-ca").into(),
    ];
    let mut both = base.clone();
    both.push(narrow.with("client-ca", "clients-ca").into());
    for round in 0..3 {
        stage.rig.put("handover", &both);
        stage.wait("x.hand.test", Some(&stage.good), 200);
        stage.wait("y.hand.test", Some(&shown), 200);
        let dial = |host: &str, shown: &Issued| {
            Connection::tls(stage.rig.https, host, &showing(Some(shown), false, false)).unwrap()
        };
        let mut theirs = dial("x.hand.test", &stage.good);
        let mut stays = dial("y.hand.test", &shown);
        let ask = |connection: &mut Connection, host: &str| {
            connection.ask(&Request::get(host, "/")).unwrap().status
        };
        assert_eq!(ask(&mut theirs, "x.hand.test"), 200);
        assert_eq!(ask(&mut stays, "y.hand.test"), 200);
        stage.rig.put("handover", &base);
        let mut seen = Vec::new();
        eventually("the wildcard has the host", || {
            // The former client never gets through to the new owner.
            seen.push(ask(&mut theirs, "x.hand.test"));
            let answer = stage.get("x.hand.test", Some(&shown))?;
            ensure(answer.status == 200, || format!("{}", answer.status))
        });
        let first = seen.iter().position(|status| *status != 200).unwrap_or(seen.len());
        assert!(seen[first..].iter().all(|status| *status == 421), "round {round}: {seen:?}");
        assert_eq!(ask(&mut theirs, "x.hand.test"), 421, "round {round}");
        assert_eq!(stage.now("x.hand.test", Some(&stage.good)), 495, "round {round}");
        assert_eq!(ask(&mut stays, "y.hand.test"), 200, "the wildcard's own clients stay");
    }
    stage.rig.remove("handover");
}
