//! Who answers, what is announced, what changes.

use super::*;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::common::client;

/// A bcrypt hash of `secret-canary-bcrypt`.
const HASH: &str = "$2y$05$CanarySaltForBcryptQQuwThXJ/korzCdKfEgXXrZFOPfSN92rv6";

pub fn answered(stage: &Stage) {
    let answer = stage.wait("plain.test", None, 200, "app");
    assert_eq!(answer.seen("x-forwarded-proto"), Some("https"));
    assert_eq!(answer.seen("x-forwarded-for"), Some("127.0.0.1"));
    // The certificate of the name, by the client's own judgement.
    let config = client::trusting(&stage.servers.roots());
    let mut session = stage.dial("plain.test", &config).unwrap();
    for turn in 0..20 {
        let answer = session.ask(&Request::get("plain.test", &format!("/{turn}?a=b"))).unwrap();
        assert_eq!((answer.status, answer.path()), (200, &*format!("/{turn}?a=b")));
    }
    // What no route has, and what no request may be.
    let ask = |session: &mut Session, request: &Request| session.ask(request).unwrap().status;
    assert_eq!(ask(&mut session, &Request::get("nobody.test", "/")), 404);
    assert_eq!(ask(&mut session, &Request::get("plain.test", "/a/../b")), 400);
    assert_eq!(ask(&mut session, &Request::get("plain.test:8443", "/")), 200);
    assert_eq!(ask(&mut session, &Request::get("plain.test", "/").method("POST")), 200);
}

pub fn announced(stage: &Stage) {
    let wanted = format!("h3=\":{ANNOUNCED}\"; ma=60");
    let told = |answer: &Answer| answer.all("alt-svc").join(" and ");
    let here = Request::get("plain.test", "/");
    let nowhere = Request::get("nobody.test", "/");
    for request in [&here, &nowhere] {
        let over_tcp = stage.over_tcp("plain.test", None, request).unwrap();
        assert_eq!(told(&over_tcp), wanted, "{} {request:?}", over_tcp.status);
        assert_eq!(told(&stage.ask("plain.test", None, request).unwrap()), wanted);
        assert_eq!(told(&stage.rig.ask(request).unwrap()), "", "plain HTTP announces nothing");
    }
    // Answers of HAProxy itself, before any route.
    let bad = Request::get("plain.test", "/a/../b");
    assert_eq!(told(&stage.over_tcp("plain.test", None, &bad).unwrap()), wanted);
    // A pod's own does not count.
    let own = stage.route("own", "app", &[("response-set-header", "Alt-Svc clear")]);
    stage.rig.put("own", &own);
    let answer = stage.wait("own.test", None, 200, "app");
    assert_eq!(told(&answer), wanted);
    stage.rig.remove("own");
    // Where names of headers are static a reload forgets this one; what is added while it is under way
    // has to be added to its worker again.
    let rig = &stage.rig;
    let forgets = |reason: &String| reason.contains("no longer used");
    if rig.reload_reasons().iter().any(|reason| reason.contains("alt-svc is new")) {
        eventually("the name is forgotten", || {
            let reasons = rig.reload_reasons();
            let done = rig.reload_count();
            // The first start is a reason, and not counted.
            let all = reasons.iter().any(forgets) && done + 1 >= reasons.len() as u64;
            ensure(all, || format!("{done} of {reasons:?}"))
        });
    }
}

pub fn changes(stage: &Stage) {
    let rig = &stage.rig;
    let mut session = stage.dial("plain.test", &nobody()).unwrap();
    // A new application: Service, route and certificate.
    let pod = Pod::start("late");
    let mut objects = app("late", &[&pod]);
    objects.extend(stage.route("late", "late", &[]));
    rig.put("late", &objects);
    stage.wait("late.test", None, 200, "late");
    let trusting = client::trusting(&stage.servers.roots());
    stage.dial("late.test", &trusting).expect("its certificate is presented");
    assert_eq!(session.ask(&Request::get("late.test", "/")).unwrap().service(), "late");
    // Another pod in the place of the first.
    let other = Pod::start("late");
    let mut objects = app("late", &[&other]);
    objects.extend(stage.route("late", "late", &[("request-set-header", "X-Mark yes")]));
    rig.put("late", &objects);
    eventually("the other pod answers", || {
        // Where a change reloads, the old process closes its connections.
        if session.is_closed() && rig.reload_count() > 0 {
            session = stage.dial("plain.test", &nobody()).map_err(|error| error.to_string())?;
        }
        let answer = session.ask(&Request::get("late.test", "/")).map_err(|e| e.to_string())?;
        assert_eq!(answer.status, 200, "nobody is asked in vain");
        ensure(answer.name() == other.name && answer.seen("x-mark") == Some("yes"), || {
            answer.name().to_owned()
        })
    });
    // The host moves, and goes.
    let mut moved = app("late", &[&other]);
    moved.extend(stage.route("late", "app", &[]));
    rig.put("late", &moved);
    stage.wait("late.test", None, 200, "app");
    rig.remove("late");
    stage.wait("late.test", None, 404, "");
    assert!(!session.is_closed() || rig.reload_count() > 0, "one connection saw all of it");
}

pub fn large(stage: &Stage) {
    let body = "x".repeat(300_000);
    let request = Request { body, ..Request::get("plain.test", "/").method("POST") };
    let answer = stage.ask("plain.test", None, &request).unwrap();
    assert_eq!((answer.status, answer.service()), (200, "app"));
    let slow = Request::get("plain.test", "/?stream=300");
    assert_eq!(stage.ask("plain.test", None, &slow).unwrap().status, 200);
}

pub fn passwords(stage: &Stage) {
    let users = format!("canary-bcrypt:{HASH}\n");
    let keys = [("auth-type", "basic-auth"), ("auth-secret", "staff")];
    let mut objects = stage.route("staff", "app", &keys);
    objects.push(secret("staff", &[("auth", &users)]));
    stage.rig.put("staff", &objects);
    stage.wait("staff.test", None, 401, "");
    let with = |password: &str| {
        let token = STANDARD.encode(format!("canary-bcrypt:{password}"));
        let request =
            Request::get("staff.test", "/").header("authorization", &format!("Basic {token}"));
        stage.ask("staff.test", None, &request).unwrap()
    };
    assert_eq!(with("guess").status, 401);
    let answer = with("secret-canary-bcrypt");
    assert_eq!((answer.status, answer.service()), (200, "app"));
    // On a connection of another name as well.
    let request = Request::get("staff.test", "/");
    assert_eq!(stage.ask("plain.test", None, &request).unwrap().status, 401);
    stage.rig.remove("staff");
    let denied = stage.route("denied", "app", &[("deny-list", "127.0.0.0/8")]);
    stage.rig.put("denied", &denied);
    stage.wait("denied.test", None, 403, "");
    stage.rig.remove("denied");
}

/// Requests over HTTP/3 on kept and on new connections.
struct Loop {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    again: Arc<AtomicU64>,
    lost: Arc<Mutex<Vec<String>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Loop {
    fn start(port: u16, kept: usize, fresh: usize) -> Loop {
        let mut all = Loop {
            stop: Arc::default(),
            sent: Arc::default(),
            again: Arc::default(),
            lost: Arc::default(),
            threads: Vec::new(),
        };
        for number in 0..kept + fresh {
            let (stop, sent, again, lost) =
                (all.stop.clone(), all.sent.clone(), all.again.clone(), all.lost.clone());
            all.threads.push(std::thread::spawn(move || {
                let config = nobody();
                let request = Request::get("plain.test", "/");
                let mut session: Option<Session> = None;
                while !stop.load(Ordering::SeqCst) {
                    let mut ask = || -> io::Result<Answer> {
                        let session = match &mut session {
                            Some(open) => open,
                            none => none.insert(Session::open(port, "plain.test", &config)?),
                        };
                        session.ask(&request)
                    };
                    let mut answer = ask();
                    if answer.is_err() {
                        // As any client: what a connection that ends left open is asked again.
                        again.fetch_add(1, Ordering::SeqCst);
                        session = None;
                        answer = Session::open(port, "plain.test", &config)
                            .and_then(|new| session.insert(new).ask(&request));
                    }
                    match answer {
                        Ok(answer) if answer.status == 200 && answer.service() == "app" => {}
                        Ok(answer) => lost.lock().unwrap().push(format!("{}", answer.status)),
                        Err(error) => lost.lock().unwrap().push(error.to_string()),
                    }
                    sent.fetch_add(1, Ordering::SeqCst);
                    if number >= kept {
                        session = None;
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
            }));
        }
        all
    }

    fn pass(&self, count: u64) {
        let until = self.sent.load(Ordering::SeqCst) + count;
        eventually("the loop goes on", || {
            let sent = self.sent.load(Ordering::SeqCst);
            ensure(sent >= until, || format!("{sent} of {until}"))
        });
    }

    /// Stops. None may be lost, and few asked again for each reload: what is kept, and what begins in
    /// that moment.
    fn finish(self, during: &str, reloads: u64) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
        let (sent, again) = (self.sent.load(Ordering::SeqCst), self.again.load(Ordering::SeqCst));
        let lost = self.lost.lock().unwrap();
        println!("{during}: {sent} requests, {} lost, {again} asked again", lost.len());
        assert!(lost.is_empty(), "{during}: of {sent}: {lost:?}");
        assert!(again <= 8 * reloads, "{during}: {again} asked again for {reloads} reloads");
    }
}

pub fn reloads(stage: &Stage) {
    let rig = &stage.rig;
    let requests = Loop::start(rig.https, 3, 2);
    requests.pass(100);
    let before = rig.reload_count();
    for age in ["86400", "0", "3600"] {
        rig.put("config", &[config_map(&[("quic-alt-svc-max-age", age)])]);
        let wanted = format!("h3=\":{ANNOUNCED}\"; ma={age}");
        eventually("the age is told", || {
            let answer = stage.over_tcp("plain.test", None, &Request::get("plain.test", "/"))?;
            let told = answer.header("alt-svc").unwrap_or("").to_owned();
            ensure(told == wanted, || told)
        });
        requests.pass(100);
    }
    assert!(rig.reload_count() >= before + 3, "{:?}", rig.reload_reasons());
    let reasons = rig.reload_reasons().join(" ");
    assert!(reasons.contains("quic-max-age"), "{reasons}");
    rig.put("config", &[config_map(&[("quic-alt-svc-max-age", "1d")])]);
    rig.wait_problem(&["BadValue", "data.quic-alt-svc-max-age", "whole number"]);
    eventually("the default holds", || {
        let answer = stage.over_tcp("plain.test", None, &Request::get("plain.test", "/"))?;
        let told = answer.header("alt-svc").unwrap_or("").to_owned();
        ensure(told.ends_with("ma=60"), || told)
    });
    rig.put("config", &[config_map(&[])]);
    rig.wait_no_problem("quic-alt-svc-max-age");
    requests.pass(100);
    let reloads = rig.reload_count() - before;
    requests.finish(&format!("HAProxy {}: {reloads} reloads under HTTP/3", rig.version), reloads);
}

/// A new tidegate with the same flags finds what it wants, and does nothing.
pub fn adoption(stage: &mut Stage) {
    let settled = |rig: &Rig| {
        let mut last = (rig.metric("tidegate_actions_total"), Instant::now());
        eventually("nothing is left to do", || {
            let now = rig.metric("tidegate_actions_total");
            if now != last.0 {
                last = (now, Instant::now());
            }
            let state = rig.admin("/debug/state").map_err(|error| error.to_string())?.body;
            let state: Value = serde_json::from_str(&state).map_err(|error| error.to_string())?;
            let quiet = state["counts"]["quiet"] == true && state["counts"]["unsettled"] == 0;
            // Longer than the time for removed servers and the quiet time before a save.
            ensure(quiet && last.1.elapsed() > Duration::from_millis(2_200), || state.to_string())
        });
    };
    settled(&stage.rig);
    let worker = stage.rig.worker_pid();
    let mut session = stage.dial("plain.test", &nobody()).unwrap();
    stage.rig.kill();
    stage.rig.start();
    settled(&stage.rig);
    let done: BTreeMap<String, f64> = stage.rig.reloads();
    assert_eq!(done.values().sum::<f64>(), 0.0, "{done:?}");
    let actions = stage.rig.metric("tidegate_actions_total");
    let others =
        actions.iter().filter(|(name, count)| !name.contains("read-back") && **count > 0.0);
    assert_eq!(others.count(), 0, "{actions:?}");
    assert_eq!(stage.rig.worker_pid(), worker);
    assert_eq!(session.ask(&Request::get("plain.test", "/")).unwrap().status, 200);
}

/// Everything but HTTP/3, and a Problem that names the flag.
pub fn without(stage: &Stage) {
    stage.rig.wait_problem(&["NotSupported", "--quic-port", "without QUIC"]);
    let answer = stage.over_tcp("plain.test", None, &Request::get("plain.test", "/")).unwrap();
    assert_eq!((answer.status, answer.header("alt-svc")), (200, None));
    assert!(stage.dial("plain.test", &nobody()).is_err());
    assert!(!stage.rig.config().contains("quic"));
    let pod = Pod::start("late");
    let mut objects = app("late", &[&pod]);
    objects.push(ingress("late").all("late.test", "late").into());
    stage.rig.put("late", &objects);
    stage.rig.wait("late.test", "/", 200, "late");
}
