//! What QUIC must not be a way around: the PROXY protocol, names that must be known, TLS that is
//! passed through.

use super::*;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

/// Who must say whose connection it is cannot come over QUIC; all others can.
pub fn proxies(stage: &Stage) {
    let elsewhere = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 77));
    let from = |address: IpAddr| {
        let to = (Ipv4Addr::LOCALHOST, stage.rig.https).into();
        let mut session = Session::open_from(address, to, "plain.test", &nobody())?;
        session.ask(&Request::get("plain.test", "/"))
    };
    assert_eq!(from(elsewhere).unwrap().status, 200);
    stage.rig.put("config", &[config_map(&[("proxy-protocol", "127.0.0.77")])]);
    eventually("the proxy is refused over QUIC", || {
        let begin = Instant::now();
        let refused = from(elsewhere).map(|answer| answer.status);
        // It is told so, and not left waiting for what it cannot say.
        let soon = begin.elapsed() < Duration::from_secs(2);
        ensure(refused.is_err() && soon, || format!("{refused:?} after {:?}", begin.elapsed()))
    });
    let answer = from(Ipv4Addr::LOCALHOST.into()).unwrap();
    assert_eq!((answer.status, answer.seen("x-forwarded-for")), (200, Some("127.0.0.1")));
    stage.rig.put("config", &[config_map(&[])]);
    eventually("everybody is served again", || {
        let answer = from(elsewhere).map_err(|error| error.to_string())?;
        ensure(answer.status == 200, || answer.status.to_string())
    });
}

/// Names without a certificate are refused in the handshake.
pub fn strict(stage: &Stage) {
    assert!(stage.dial("stranger.test", &nobody()).is_ok(), "the default certificate is presented");
    stage.rig.put("config", &[config_map(&[("client-strict-sni", "true")])]);
    eventually("strangers are refused", || {
        ensure(stage.dial("stranger.test", &nobody()).is_err(), || "any name will do".to_owned())
    });
    stage.wait("plain.test", None, 200, "app");
    stage.rig.put("config", &[config_map(&[])]);
    eventually("the default certificate is presented again", || {
        stage.dial("stranger.test", &nobody()).map(drop).map_err(|error| error.to_string())
    });
}

/// HTTP/3 goes on for hosts whose TLS ends here. A host that is passed through is not served over it,
/// by nobody's pods.
pub fn passthrough(stage: &Stage) {
    let wild = stage.servers.issue(&["*.part.test"]);
    let broad = ingress("part").all("*.part.test", "app").tls(&["*.part.test"], "part-tls");
    let passed = |name: &str, host: &str| {
        ingress(name).all(host, "app").annotation("haproxy.org/ssl-passthrough", "true")
    };
    let mut objects = vec![wild.secret("part-tls"), broad.into()];
    stage.rig.put("part", &objects);
    stage.wait("x.part.test", None, 200, "app");
    let mut open = stage.dial("x.part.test", &nobody()).unwrap();
    objects.push(passed("passed", "x.part.test").into());
    objects.push(passed("all", "*.all.test").into());
    stage.rig.put("part", &objects);
    stage.wait("x.part.test", None, 421, "");
    stage.wait("y.all.test", None, 421, "");
    stage.wait("y.part.test", None, 200, "app");
    // By another name in the handshake too.
    let request = Request::get("x.part.test", "/");
    assert_eq!(stage.ask("plain.test", None, &request).unwrap().status, 421);
    // It is another process since; the old connection is served by the old one to its end, or not.
    if let Ok(answer) = open.ask(&request) {
        println!("HAProxy {}: an old connection: {}", stage.rig.version, answer.status);
    }
    // HTTPS announces it as before, through the hop.
    let answer = stage.over_tcp("plain.test", None, &Request::get("plain.test", "/")).unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.header("alt-svc").is_some_and(|told| told.starts_with("h3=")));
    assert_eq!(stage.now("first.test", None), 496);
    assert_eq!(stage.now("first.test", Some(&stage.good)), 200);
    stage.rig.remove("part");
    eventually("the port is HTTPS's again", || {
        ensure(!stage.rig.config().contains("frontend tidegate-sni"), || "not yet".to_owned())
    });
    stage.wait("x.part.test", None, 404, "");
}
