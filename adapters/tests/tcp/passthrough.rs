//! TLS passthrough by SNI.

use super::*;
use std::sync::Arc;

use common::certs::Issued;
use common::manifest::Ingress;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

fn speech(issued: &Issued) -> Speech {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let chain = vec![CertificateDer::from(issued.der.clone())];
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    Speech::Tls(Arc::new(builder.with_single_cert(chain, key).unwrap()))
}

/// A Service whose pod ends TLS itself, and the pod's certificate.
fn secure(stage: &Stage, service: &str, names: &[&str]) -> (Pod, Vec<Value>, Vec<u8>) {
    let issued = stage.authority.issue(names);
    let pod = Pod::speaking(service, speech(&issued));
    let objects = app(service, &[&pod]);
    (pod, objects, issued.der)
}

fn passed(name: &str, host: &str, service: &str) -> Ingress {
    ingress(name).all(host, service).annotation("haproxy.org/ssl-passthrough", "true")
}

fn wait_shown(stage: &Stage, host: &str, service: &str, certificate: Option<&[u8]>) -> Vec<u8> {
    eventually(&format!("HAProxy {}: TLS of {host} by {service}", stage.rig.version), || {
        let (found, shown) = knock_tls(stage.rig.https, host)?;
        ensure(found == service, || found)?;
        ensure(certificate.is_none_or(|wanted| *wanted == *shown), || "a stranger".to_owned())?;
        Ok(shown)
    })
}

fn wait_closed(stage: &Stage, host: &str) {
    eventually(&format!("HAProxy {}: {host} takes nobody", stage.rig.version), || match knock_tls(
        stage.rig.https,
        host,
    ) {
        Ok((service, _)) => Err(format!("answered by '{service}'")),
        Err(_) => Ok(()),
    });
}

pub fn first_and_last(stage: &Stage) {
    let rig = &stage.rig;
    let offloaded = wait_shown(stage, "web.test", "web", None);
    let before = asked(stage);
    let https = rig.https;
    let knocks = Knocks::start(move || knock_tls(https, "web.test").map(|(service, _)| service));
    knocks.pass(50);
    let (_pod, mut objects, certificate) = secure(stage, "vault", &["pass.test", "x.w.test"]);
    objects.push(passed("pass", "pass.test", "vault").into());
    rig.put("pass", &objects);
    wait_shown(stage, "pass.test", "vault", Some(&certificate));
    wait_shown(stage, "PASS.test", "vault", Some(&certificate));
    wait_shown(stage, "web.test", "web", Some(&offloaded));
    let first = asked(stage);
    // The client's address comes through the inner hop.
    let mut connection =
        Connection::tls(https, "web.test", &client::curious(&client::ECDSA)).unwrap();
    let answer = connection.ask(&Request::get("web.test", "/")).unwrap();
    assert_eq!(answer.seen("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(answer.seen("x-forwarded-proto"), Some("https"));
    // Plain HTTP serves nothing of it, and redirects when asked to.
    rig.wait("pass.test", "/", 404, "");
    objects[2] = passed("pass", "pass.test", "vault").with("ssl-redirect", "true").into();
    // More hosts, a wildcard among them, which does not cover the host that is offloaded.
    objects.push(passed("wild", "*.w.test", "vault").into());
    rig.put("pass", &objects);
    rig.wait("pass.test", "/a", 302, "");
    wait_shown(stage, "x.w.test", "vault", Some(&certificate));
    wait_shown(stage, "a.w.test", "web", Some(&offloaded));
    wait_shown(stage, "pass.test", "vault", Some(&certificate));
    // Its Service goes: nobody else answers.
    let service_only = objects.remove(0);
    rig.put("pass", &objects);
    rig.wait_problem(&["NotFound", "test/vault does not exist"]);
    wait_closed(stage, "pass.test");
    objects.insert(0, service_only);
    rig.put("pass", &objects);
    wait_shown(stage, "pass.test", "vault", Some(&certificate));
    if rig.version == "3.4" {
        let reasons = rig.reload_reasons();
        assert_eq!(first - before, 1, "the first host: {reasons:?}");
        assert_eq!(asked(stage), first, "no other one: {reasons:?}");
    }
    rig.remove("pass");
    eventually("TLS of the host ends here", || {
        let (service, shown) = knock_tls(https, "pass.test")?;
        ensure(service.is_empty() && shown != certificate, || service)
    });
    eventually("the port is HTTPS's again", || {
        ensure(!rig.config().contains("frontend tidegate-sni"), || "not yet".to_owned())
    });
    wait_shown(stage, "web.test", "web", Some(&offloaded));
    let during = format!("HAProxy {}: the first and the last passthrough", rig.version);
    knocks.finish(&during, &["web"]);
    let reasons = rig.reload_reasons();
    for words in ["the first host whose TLS is passed", "no longer any host whose TLS"] {
        assert!(reasons.iter().any(|reason| reason.contains(words)), "{words}: {reasons:?}");
    }
}

pub fn documented(stage: &Stage) {
    let (_pod, objects, certificate) = secure(stage, "vault", &["vault.example.com"]);
    stage.rig.put("documented", &objects);
    let text = example(2).replace("namespace: shop", "namespace: test").replace("8200", "8080");
    stage.rig.put_text("documented.yaml", &text);
    wait_shown(stage, "vault.example.com", "vault", Some(&certificate));
    std::fs::remove_file(stage.rig.path("manifests/documented.yaml")).unwrap();
    stage.rig.remove("documented");
}

pub fn lists(stage: &Stage) {
    let rig = &stage.rig;
    let (_pod, mut objects, certificate) = secure(stage, "listed", &["listed.test"]);
    let base = passed("listed", "listed.test", "listed");
    let mut put = |ingress: Ingress| {
        objects.truncate(2);
        objects.push(ingress.into());
        rig.put("listed", &objects);
    };
    put(base.clone().with("allow-list", "127.0.0.0/8"));
    wait_shown(stage, "listed.test", "listed", Some(&certificate));
    put(base.clone().with("allow-list", "10.0.0.0/8"));
    wait_closed(stage, "listed.test");
    put(base.clone().with("deny-list", "10.0.0.0/8, fd00::/8"));
    wait_shown(stage, "listed.test", "listed", Some(&certificate));
    put(base.clone().with("deny-list", "127.0.0.1"));
    wait_closed(stage, "listed.test");
    put(base.clone().with("allow-list", "nonsense"));
    rig.wait_problem(&["FailedClosed", "allow-list"]);
    wait_closed(stage, "listed.test");
    put(base.clone().with("allow-list", "127.0.0.0/8").with("src-ip-header", "X-Real-IP"));
    rig.wait_problem(&["FailedClosed", "src-ip-header cannot be enforced"]);
    wait_closed(stage, "listed.test");
    put(base.clone().with("server-ca", "no-such-secret"));
    wait_shown(stage, "listed.test", "listed", Some(&certificate));
    wait_shown(stage, "web.test", "web", None);
    put(ingress("listed").all("listed.test", "listed").with("tls-passthrough", "yes please"));
    rig.wait_problem(&["FailedClosed", "tls-passthrough"]);
    rig.wait("listed.test", "/", 503, "");
    rig.remove("listed");
}

pub fn conflicts(stage: &Stage) {
    let rig = &stage.rig;
    let (_pod, mut objects, certificate) = secure(stage, "old", &["both.test"]);
    let young = ingress("young").all("both.test", "web").created("2025-01-01T00:00:00Z");
    objects.push(passed("older", "both.test", "old").into());
    objects.push(young.clone().into());
    rig.put("both", &objects);
    wait_shown(stage, "both.test", "old", Some(&certificate));
    rig.wait_problem(&["Conflict", "\"name\":\"young\"", "older Ingress test/older passes TLS"]);
    rig.wait_problem(&["Conflict", "\"name\":\"older\"", "younger Ingress test/young ends TLS"]);
    // The other way round.
    objects[3] = young.created("2023-01-01T00:00:00Z").into();
    rig.put("both", &objects);
    wait_shown(stage, "both.test", "web", None);
    rig.wait_problem(&["Conflict", "\"name\":\"older\"", "ends TLS of both.test"]);
    // Paths cannot be seen.
    let paths =
        passed("older", "both.test", "old").rule("both.test", "Prefix", "/a", "web", "http");
    objects.truncate(2);
    objects.push(paths.into());
    rig.put("both", &objects);
    rig.wait_problem(&["NotSupported", "no path can be seen", "paths"]);
    wait_shown(stage, "both.test", "old", Some(&certificate));
    // Nor can requests without a host be known.
    objects[2] = passed("older", "", "old").into();
    rig.put("both", &objects);
    rig.wait_problem(&["NotSupported", "by host name"]);
    rig.remove("both");
}
