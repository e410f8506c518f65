//! Certificates of clients: nobody comes round them over HTTP/3.

use super::*;
use std::time::{Duration, Instant};

use crate::common::eventually_within;
use crate::common::h3::Relay;

pub fn asked_for(stage: &Stage) {
    // From the start, and by a change at run time.
    let keys = [("client-ca", "clients-ca")];
    stage.rig.put("second", &stage.route("second", "app", &keys));
    settled(stage, "second.test", &stage.good);
    for host in ["first.test", "second.test"] {
        assert_eq!(stage.now(host, None), 496, "{host}");
        assert_eq!(stage.now(host, Some(&stage.stranger)), 495, "{host}");
        let answer = stage.get(host, Some(&stage.good)).unwrap();
        assert_eq!((answer.status, answer.service()), (200, "app"), "{host}");
        assert_eq!(answer.seen("ssl-client-verify"), Some("SUCCESS"));
        assert!(answer.seen("ssl-client-subject-dn").is_some_and(|dn| dn.contains("CN=good")));
    }
    let forged = Request::get("first.test", "/").header("ssl-client-verify", "SUCCESS");
    assert_eq!(stage.ask("first.test", None, &forged).unwrap().status, 496);
    let other = [("client-ca", "clients-ca"), ("client-certificate-optional", "true")];
    stage.rig.put("second", &stage.route("second", "app", &other));
    stage.wait("second.test", None, 200, "app");
    assert_eq!(stage.now("second.test", Some(&stage.stranger)), 495);
    let missing = [("client-ca", "nowhere")];
    stage.rig.put("second", &stage.route("second", "app", &missing));
    stage.wait("second.test", Some(&stage.good), 503, "");
    stage.rig.remove("second");
}

/// Waits until a host's authorities count over HTTP/3: for so long after a change no handshake is
/// known to have begun under them.
fn settled(stage: &Stage, host: &str, shown: &Issued) -> Duration {
    let begin = Instant::now();
    eventually_within(Duration::from_secs(40), "the authorities count", || {
        let answer = stage.get(host, Some(shown))?;
        if answer.status != 200 {
            assert!([421, 404].contains(&answer.status), "{host}: {}", answer.status);
            std::thread::sleep(Duration::from_millis(100));
        }
        ensure(answer.status == 200, || answer.status.to_string())
    });
    begin.elapsed()
}

pub fn fronting(stage: &Stage) {
    let ask = |name: &str, host: &str, shown: Option<&Issued>| {
        stage.ask(name, shown, &Request::get(host, "/")).unwrap().status
    };
    for shown in [None, Some(&stage.good), Some(&stage.stranger)] {
        assert_eq!(ask("plain.test", "first.test", shown), 421);
        assert_eq!(ask("nobody.test", "first.test", shown), 421);
    }
    assert_eq!(ask("first.test", "plain.test", Some(&stage.good)), 200);
    assert_eq!(ask("first.test", "first.test:8443", Some(&stage.good)), 200);
    // One connection, request by request, and a Host beside the authority that says something else.
    let config = showing(Some(&stage.good), false, false);
    let mut session = stage.dial("first.test", &config).unwrap();
    for (host, status) in [("first.test", 200), ("plain.test", 200), ("first.test", 200)] {
        assert_eq!(session.ask(&Request::get(host, "/")).unwrap().status, status, "{host}");
    }
    let mut session = stage.dial("plain.test", &nobody()).unwrap();
    let two = Request::get("plain.test", "/").header("host", "first.test");
    match session.ask(&two) {
        Ok(answer) => assert!(answer.status == 400 || answer.status == 421, "{}", answer.status),
        Err(error) => println!("HAProxy {}: two names: {error}", stage.rig.version),
    }
}

/// A session that was good enough for one host is not taken for another's.
pub fn resumption(stage: &Stage) {
    let other = Authority::new();
    let keys = [("client-ca", "others-ca")];
    let mut objects = stage.route("second", "app", &keys);
    objects.push(secret("others-ca", &[("ca.crt", &other.pem)]));
    stage.rig.put("second", &objects);
    settled(stage, "second.test", &other.client("other"));
    let config = showing(Some(&stage.good), false, true);
    let mut seen = Vec::new();
    for host in
        ["first.test", "second.test", "first.test", "second.test", "plain.test", "second.test"]
    {
        let ask = || {
            let mut session = stage.dial(host, &config)?;
            let answer = session.ask(&Request::get(host, "/"))?;
            // The tickets come after the first answer, if not with it.
            session.ask(&Request::get("plain.test", "/"))?;
            Ok::<_, io::Error>(answer.status)
        };
        // A handshake may be refused too.
        let status = ask().unwrap_or(0);
        seen.push(format!("{host} {status}"));
        match host {
            "second.test" => assert!([0, 421, 495].contains(&status), "{seen:?}"),
            "first.test" => assert!([200, 421].contains(&status), "{seen:?}"),
            _ => assert_eq!(status, 200, "{seen:?}"),
        }
    }
    println!("HAProxy {}: sessions over QUIC: {seen:?}", stage.rig.version);
    stage.rig.remove("second");
}

/// A host changes hands while a client of the former owner keeps a handshake waiting, whose
/// authorities are the former ones: it must be worth nothing to the new owner.
pub fn handover(stage: &Stage) {
    let wild = stage.servers.issue(&["*.hand.test"]);
    let broad = ingress("broad").all("*.hand.test", "app").tls(&["*.hand.test"], "broad-tls");
    let narrow = ingress("narrow").all("x.hand.test", "app").tls(&["x.hand.test"], "broad-tls");
    let theirs = Authority::new();
    let thief = theirs.client("good");
    let base = vec![
        secret("thieves-ca", &[("ca.crt", &theirs.pem)]),
        wild.secret("broad-tls"),
        broad.with("client-ca", "clients-ca").into(),
    ];
    let mut both = base.clone();
    both.push(narrow.with("client-ca", "thieves-ca").into());
    stage.rig.put("handover", &both);
    settled(stage, "x.hand.test", &thief);
    settled(stage, "y.hand.test", &stage.good);
    assert_eq!(stage.now("x.hand.test", Some(&stage.good)), 495);
    // An open connection, and a handshake that waits.
    let config = showing(Some(&thief), false, false);
    let mut open = stage.dial("x.hand.test", &config).unwrap();
    assert_eq!(open.ask(&Request::get("x.hand.test", "/")).unwrap().status, 200);
    // And a session to resume.
    let resuming = showing(Some(&thief), false, true);
    let resumed = || -> io::Result<u16> {
        let mut session = stage.dial("x.hand.test", &resuming)?;
        let first = session.ask(&Request::get("x.hand.test", "/"))?.status;
        session.ask(&Request::get("plain.test", "/"))?;
        Ok(first)
    };
    assert_eq!(resumed().unwrap(), 200);
    // For the client the handshake is over when HAProxy has said all it has to say; for HAProxy it
    // is not, as what the client says last is kept waiting.
    let relay = Relay::before(stage.rig.https);
    let mut late = Session::open(relay.port, "x.hand.test", &config).unwrap();
    stage.rig.put("handover", &base);
    let over_tcp = |shown: &Issued| {
        let request = Request::get("x.hand.test", "/");
        stage.over_tcp("x.hand.test", Some(shown), &request).map(|answer| answer.status)
    };
    eventually("the wildcard has the host", || {
        let status = over_tcp(&stage.good)?;
        ensure(status == 200, || status.to_string())
    });
    relay.release();
    let ask =
        |session: &mut Session| session.ask(&Request::get("x.hand.test", "/")).unwrap().status;
    assert_eq!(ask(&mut late), 421, "a handshake under the former authorities");
    assert_eq!(ask(&mut open), 421, "a connection of the former owner's client");
    assert_eq!(over_tcp(&thief), Ok(495));
    let took = settled(stage, "x.hand.test", &stage.good);
    println!("HAProxy {}: HTTP/3 after {took:?} for the new owner's clients", stage.rig.version);
    assert_eq!((ask(&mut late), ask(&mut open)), (421, 421), "for good");
    let resumed = resumed().unwrap_or(0);
    assert!([0, 421, 495].contains(&resumed), "a resumed session: {resumed}");
    assert_eq!(stage.now("x.hand.test", Some(&thief)), 495);
    stage.rig.remove("handover");
}
