//! How HAProxy speaks to pods: HTTP/2, TLS, certificates and authorities.

use super::*;

pub fn h2(stage: &Stage) {
    let pod = Pod::speaking("h2c", Speech::H2c);
    let port = pod.address.port();
    let protocol = json!([
        {"name": "http", "port": 8080, "targetPort": port, "appProtocol": "kubernetes.io/h2c"}
    ]);
    let mut objects = app("h2c", &[&pod]);
    objects.push(service_ports("h2c-app", protocol));
    objects.push(slice("h2c-app", &[&pod]));
    objects.push(ingress("h2c-app").all("h2c-app.test", "h2c-app").into());
    objects.push(ingress("h2c").all("h2c.test", "h2c").with("server-protocol", "h2").into());
    objects.push(ingress("h1").all("h1.test", "app").with("server-protocol", "h1").into());
    stage.rig.put("h2", &objects);
    for host in ["h2c.test", "h2c-app.test"] {
        let answer = stage.rig.wait(host, "/a?b=c", 200, "h2c");
        assert_eq!((&answer.pod["version"], answer.path()), (&json!("2"), "/a?b=c"), "{host}");
    }
    assert_eq!(stage.rig.wait("h1.test", "/", 200, "app").pod["version"], "1.1");
}

/// A TLS server for pods; `clients` must have signed the client's certificate.
fn tls_server(issued: &Issued, clients: Option<&Authority>) -> Speech {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let roots = authority.roots();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain = vec![CertificateDer::from(issued.der.clone())];
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Speech::Tls(Arc::new(config))
}

pub fn tls(stage: &Stage) {
    let inner = Authority::new();
    let pod = Pod::speaking("secure", tls_server(&inner.issue(&["app.internal"]), None));
    let mut objects = app("secure", &[&pod]);
    objects.push(secret("pods-ca", &[("ca.crt", &inner.pem)]));
    stage.rig.put("secure", &objects);
    let verified: &[(&str, &str)] = &[("server-ca", "pods-ca"), ("server-name", "app.internal")];
    routes(
        stage,
        "tls",
        &[
            ("tls-plain", "secure", &[("server-tls", "true")]),
            ("tls-verified", "secure", verified),
            ("tls-any-name", "secure", &[("server-ca", "pods-ca")]),
            ("tls-h2", "secure", &[verified[0], verified[1], ("server-protocol", "h2")]),
            (
                "tls-checked",
                "secure",
                &[
                    verified[0],
                    verified[1],
                    ("check", "true"),
                    ("check-interval", "100ms"),
                    ("check-http", "GET /healthz"),
                ],
            ),
            ("tls-wrong-name", "secure", &[verified[0], ("server-name", "other.internal")]),
        ],
    );
    let answer = stage.rig.wait("tls-plain.test", "/", 200, "secure");
    assert_eq!(
        (&answer.pod["version"], &answer.pod["tls"]["client"]),
        (&json!("1.1"), &json!(false))
    );
    let answer = stage.rig.wait("tls-verified.test", "/", 200, "secure");
    assert_eq!(answer.pod["tls"]["sni"], "app.internal");
    let answer = stage.rig.wait("tls-any-name.test", "/", 200, "secure");
    assert_eq!(answer.pod["tls"]["sni"], Value::Null, "no name is sent unless asked for");
    assert_eq!(stage.rig.wait("tls-h2.test", "/", 200, "secure").pod["version"], "2");
    stage.rig.wait("tls-wrong-name.test", "/", 503, "");
    let checks = pod.inside.checks.load(Ordering::SeqCst);
    eventually("checks pass over TLS", || {
        let now = pod.inside.checks.load(Ordering::SeqCst);
        ensure(now > checks + 3, || {
            let stat = stage.rig.worker("show stat").unwrap_or_default();
            let address = pod.address.to_string();
            let lines = stat.lines().filter(|line| line.contains(&address));
            let map = stage.rig.worker("show map maps/check.map").unwrap_or_default();
            format!("{} checks; {:?}; {map}", now - checks, lines.collect::<Vec<_>>())
        })
    });
    stage.rig.wait("tls-checked.test", "/", 200, "secure");
    // The certificate of the pods' authority changes, live.
    let other = Authority::new();
    objects[2] = secret("pods-ca", &[("ca.crt", &other.pem)]);
    stage.rig.put("secure", &objects);
    stage.rig.wait("tls-verified.test", "/", 503, "");
    objects[2] = secret("pods-ca", &[("ca.crt", &format!("{}{}", other.pem, inner.pem))]);
    stage.rig.put("secure", &objects);
    stage.rig.wait("tls-verified.test", "/", 200, "secure");
}

pub fn mutual_tls(stage: &Stage) {
    let inner = Authority::new();
    let pod = Pod::speaking("mutual", tls_server(&inner.issue(&["app.internal"]), Some(&inner)));
    let client = inner.issue(&["tidegate.internal"]);
    let mut objects = app("mutual", &[&pod]);
    objects.push(secret("mutual-ca", &[("ca.crt", &inner.pem)]));
    objects.push(client.secret("client-cert"));
    stage.rig.put("mutual", &objects);
    routes(
        stage,
        "mutual-routes",
        &[
            (
                "mutual",
                "mutual",
                &[
                    ("server-ca", "mutual-ca"),
                    ("server-name", "app.internal"),
                    ("server-certificate", "client-cert"),
                ],
            ),
            (
                "mutual-none",
                "mutual",
                &[("server-ca", "mutual-ca"), ("server-name", "app.internal")],
            ),
        ],
    );
    assert_eq!(stage.rig.wait("mutual.test", "/", 200, "mutual").pod["tls"]["client"], true);
    let before = pod.requests();
    eventually("a client without a certificate is refused", || {
        let answer = stage.rig.get("mutual-none.test", "/")?;
        ensure(answer.status >= 500, || format!("{}", answer.status))
    });
    assert_eq!(pod.requests(), before);
}

pub fn broken_authority(stage: &Stage) {
    let (inner, stranger) = (Authority::new(), Authority::new());
    let pod = Pod::speaking("guarded", tls_server(&inner.issue(&["app.internal"]), None));
    let mut objects = app("guarded", &[&pod]);
    objects.push(secret("wrong-ca", &[("ca.crt", &stranger.pem)]));
    objects.push(secret("bad-ca", &[("ca.crt", "this is no certificate")]));
    stage.rig.put("guarded", &objects);
    let all: [(&str, &[(&str, &str)]); 7] = [
        ("ca-missing", &[("server-ca", "no-such-ca")]),
        ("ca-wrong", &[("server-ca", "wrong-ca"), ("server-name", "app.internal")]),
        ("ca-bad", &[("server-ca", "bad-ca")]),
        ("crt-missing", &[("server-tls", "true"), ("server-certificate", "no-such")]),
        ("tls-unclear", &[("server-tls", "perhaps")]),
        ("name-bad", &[("server-tls", "true"), ("server-name", "not a name")]),
        ("ca-foreign", &[("server-ca", "elsewhere/ca")]),
    ];
    let all = all.map(|(name, keys)| (name, "guarded", keys));
    routes(stage, "guarded-routes", &all);
    for (name, _, _) in &all {
        let host = format!("{name}.test");
        stage.rig.wait(&host, "/", 503, "");
        if *name != "ca-wrong" {
            stage.rig.wait_problem(&["FailedClosed", &format!("\"name\":\"{name}\"")]);
        }
    }
    assert_eq!(pod.requests(), 0, "no request reached the pod");
}
