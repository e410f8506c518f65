//! The life of a tidegate: edits under traffic, crashes of either program, input that HAProxy or
//! the decoder refuses, and the journal of it all.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use common::certs::{Authority, Issued};
use common::client::{self, Connection, Request};
use common::h2;
use common::manifest::{app, classes, config_map, ingress, secret, service, slice};
use common::pods::Pod;
use common::rig::Rig;
use common::traffic::Traffic;
use common::{PATIENCE, Scenarios, ensure, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

on_each_haproxy!(life);

/// An RSA certificate of 1,024 bits: it can be read, and OpenSSL refuses it in a chain.
const WEAK_CA: &str = include_str!("data/weak-ca.pem");
/// A regular expression that looks well from outside and that PCRE2 refuses.
const BAD_REGEX: &str = "/[z-a]/(.*) /\\1";

fn life(version: &'static str) {
    let shop = Pod::several("shop", 4);
    let blog = Pod::several("blog", 1);
    let mut rig = Rig::new(version).arguments(&["--stop-within", "10s"]);
    let mut objects = classes();
    objects.extend(app("shop", &[&shop[0], &shop[1]]));
    objects.extend(app("blog", &[&blog[0]]));
    rig.put("base", &objects);
    rig.put("shop", &shop_routes());
    rig.start();
    rig.wait("shop.test", "/", 200, "shop");
    let mut scenarios = Scenarios::new(version);
    let traffic = Traffic::start(
        rig.http,
        2,
        1,
        Duration::from_millis(3),
        &[("shop.test", "/", "shop"), ("shop.test", "/blog", "blog")],
    );
    scenarios.run("edits", || edits(&rig, &traffic, &shop, &blog));
    scenarios.run("routes move between Services", || moves(&rig));
    scenarios.run("certificates", || certificates(&rig));
    scenarios.run("one HTTP/2 connection", || http2(&rig, &shop));
    scenarios.run("no reloads", || rig.assert_no_reloads_on_3_4("edits"));
    scenarios.run("a broken file", || broken_file(&rig, &traffic));
    scenarios.run("HAProxy refuses a regular expression", || refused_regex(&rig, &traffic));
    scenarios.run("HAProxy refuses a certificate", || refused_certificate(&rig));
    scenarios.run("no reloads after refusals", || rig.assert_no_reloads_on_3_4("refusals"));
    scenarios.run("nothing lost", || traffic.assert_nothing_lost("edits"));
    scenarios.run("adoption", || adoption(&mut rig, &traffic));
    scenarios.run("changes while away", || away(&mut rig, &traffic));
    scenarios.run("nothing lost in crashes of the controller", || {
        traffic.finish("crashes of the controller");
    });
    scenarios.run("routes that come during a reload", || added_during_reloads(&rig));
    scenarios.run("the worker is killed", || worker_killed(&rig));
    scenarios.run("a clean stop and a start", || restart(&mut rig));
    scenarios.run("replay", || replay(&mut rig));
    scenarios.run("refused at the first start", || first_start(version, &shop));
    scenarios.finish();
}

fn shop_routes() -> Vec<Value> {
    let shop = ingress("shop").all("shop.test", "shop");
    vec![shop.rule("shop.test", "Prefix", "/blog", "blog", "8080").into()]
}

fn edits(rig: &Rig, traffic: &Traffic, shop: &[Pod], blog: &[Pod]) {
    // A new application, then another host, another path, then it goes.
    let fresh = Pod::several("fresh", 1);
    let mut objects = app("fresh", &[&fresh[0]]);
    let route = |host: &str, path: &str| -> Value {
        ingress("fresh").rule(host, "Prefix", path, "fresh", "8080").into()
    };
    objects.push(route("fresh.test", "/"));
    rig.put("fresh", &objects);
    rig.wait("fresh.test", "/", 200, "fresh");
    objects[2] = route("fresher.test", "/");
    rig.put("fresh", &objects);
    rig.wait("fresher.test", "/", 200, "fresh");
    rig.wait("fresh.test", "/", 404, "");
    objects[2] = route("fresher.test", "/below");
    rig.put("fresh", &objects);
    rig.wait("fresher.test", "/below/x", 200, "fresh");
    rig.wait("fresher.test", "/", 404, "");
    objects[2] = route("shop.test", "/fresh");
    rig.put("fresh", &objects);
    rig.wait("shop.test", "/fresh", 200, "fresh");
    rig.wait("fresher.test", "/below", 404, "");
    // The Service goes, and comes back.
    rig.put("fresh", &objects[1..]);
    rig.wait("shop.test", "/fresh", 503, "");
    rig.wait_problem(&["NotFound", "Service test/fresh does not exist"]);
    rig.put("fresh", &objects);
    rig.wait("shop.test", "/fresh", 200, "fresh");
    // Its only pod goes, and comes back.
    let mut empty = objects.clone();
    empty[1] = slice("fresh", &[]);
    rig.put("fresh", &empty);
    rig.wait("shop.test", "/fresh", 503, "");
    rig.put("fresh", &objects);
    rig.wait("shop.test", "/fresh", 200, "fresh");
    rig.remove("fresh");
    rig.wait("shop.test", "/fresh", 200, "shop");
    traffic.pass(20);
    // Scaling up and down.
    for count in [4, 1, 3, 2] {
        let mut objects = classes();
        objects.extend(app("shop", &shop.iter().take(count).collect::<Vec<_>>()));
        objects.extend(app("blog", &[&blog[0]]));
        rig.put("base", &objects);
        wait_pods(rig, "shop.test", &shop[..count]);
    }
    traffic.assert_nothing_lost("edits");
}

/// Waits until exactly these pods answer.
fn wait_pods(rig: &Rig, host: &str, pods: &[Pod]) {
    let wanted: BTreeSet<String> = pods.iter().map(|pod| pod.name.clone()).collect();
    eventually(&format!("HAProxy {}: the pods of {host}", rig.version), || {
        let mut seen = BTreeSet::new();
        for _ in 0..wanted.len() * 3 {
            seen.insert(rig.get(host, "/")?.name().to_owned());
        }
        ensure(seen == wanted, || format!("{seen:?} instead of {wanted:?}"))
    });
}

/// A route that goes to and fro between two Services is always answered.
fn moves(rig: &Rig) {
    let route = |service: &str| ingress("moved").all("moved.test", service).into();
    rig.put("moved", &[route("shop")]);
    rig.wait("moved.test", "/", 200, "shop");
    for turn in 0..20 {
        let service = if turn % 2 == 0 { "blog" } else { "shop" };
        rig.put("moved", &[route(service)]);
        eventually("the route moves", || {
            let answer = rig.get("moved.test", "/")?;
            assert_eq!(answer.status, 200, "between two Services");
            ensure(answer.service() == service, || format!("from '{}'", answer.service()))
        });
    }
    rig.remove("moved");
    rig.wait("moved.test", "/", 404, "");
}

/// Waits until this certificate is presented for a name.
fn wait_certificate(rig: &Rig, name: &str, der: Option<&[u8]>, not: &[&[u8]]) {
    let schemes: Vec<_> = client::ECDSA.iter().chain(&client::RSA).copied().collect();
    let config = client::curious(&schemes);
    eventually(&format!("HAProxy {}: the certificate of {name}", rig.version), || {
        let connection =
            Connection::tls(rig.https, name, &config).map_err(|error| error.to_string())?;
        let got = connection.certificate.unwrap_or_default();
        let fits = match der {
            Some(der) => got == der,
            None => !not.contains(&&*got),
        };
        ensure(fits, || "another one".to_owned())
    });
}

fn certificates(rig: &Rig) {
    let authority = Authority::new();
    let (one, two) = (authority.issue(&["tls.test"]), authority.issue(&["tls.test"]));
    let route =
        || -> Value { ingress("tls").all("tls.test", "shop").tls(&["tls.test"], "tls").into() };
    rig.put("tls", &[route(), one.secret("tls")]);
    wait_certificate(rig, "tls.test", Some(&one.der), &[]);
    let config = client::trusting(&authority.roots());
    for turn in 0..6 {
        let issued: &Issued = if turn % 2 == 0 { &two } else { &one };
        rig.put("tls", &[route(), issued.secret("tls")]);
        // Every handshake meanwhile is with one of the two; `trusting` would refuse the default.
        eventually("the certificate is rotated", || {
            let mut connection = Connection::tls(rig.https, "tls.test", &config)
                .unwrap_or_else(|error| panic!("a handshake failed: {error}"));
            let answer = connection.ask(&Request::get("tls.test", "/")).unwrap();
            assert_eq!((answer.status, answer.service()), (200, "shop"));
            ensure(connection.certificate.as_ref() == Some(&issued.der), || "the old one".into())
        });
    }
    rig.put("tls", &[ingress("tls").all("tls.test", "shop").into()]);
    wait_certificate(rig, "tls.test", None, &[&one.der, &two.der]);
    rig.remove("tls");
    rig.wait("tls.test", "/", 404, "");
}

/// One HTTP/2 connection goes on, with eight streams at a time, while pods, a route and the
/// certificate that it began with change; a request on it goes where its own host says.
fn http2(rig: &Rig, shop: &[Pod]) {
    let authority = Authority::new();
    let secret = || authority.issue(&["h2.test", "other.test"]).secret("h2");
    let routes = |service: &str, secret: Value| -> [Value; 2] {
        let hosts = ["h2.test", "other.test"];
        let ingress = ingress("h2").all("h2.test", "h2").all("other.test", service);
        [ingress.tls(&hosts, "h2").into(), secret]
    };
    let pods = |pods: &[&Pod]| rig.put("h2-pods", &app("h2", pods));
    pods(&[&shop[0]]);
    rig.put("h2", &routes("h2", secret()));
    rig.wait("h2.test", "/", 200, "shop");
    rig.wait("other.test", "/", 200, "shop");
    let session = eventually("HTTP/2 is agreed on", || {
        h2::Session::open(rig.https, "h2.test", &client::trusting(&authority.roots()))
            .map_err(|error| error.to_string())
    });
    for turn in 0..12 {
        pods(&[&shop[turn % 4], &shop[(turn + 1) % 4]]);
        let service = if turn % 2 == 0 { "blog" } else { "h2" };
        rig.put("h2", &routes(service, secret()));
        let answering = if turn % 2 == 0 { "blog" } else { "shop" };
        eventually("the route of the other host has moved", || {
            let answers = session.ask(&[("h2.test", "/"), ("other.test", "/")].repeat(4));
            let mut moved = true;
            for (nth, answer) in answers.into_iter().enumerate() {
                let (status, service) = answer.unwrap_or_else(|error| panic!("lost: {error}"));
                assert_eq!(status, 200, "turn {turn}");
                match nth % 2 {
                    0 => assert_eq!(service, "shop"),
                    _ => moved &= service == answering,
                }
            }
            ensure(moved, || "not yet".to_owned())
        });
    }
    rig.remove("h2");
    rig.remove("h2-pods");
    rig.wait("h2.test", "/", 404, "");
}

fn broken_file(rig: &Rig, traffic: &Traffic) {
    rig.put_text("shop.json", "{\"kind\": \"List\", \"items\": [}");
    let problem = rig.wait_problem(&["Source", "shop.json"]);
    assert!(
        problem.to_string().contains("line") || problem.to_string().contains(":1"),
        "{problem}"
    );
    traffic.pass(20);
    rig.wait("shop.test", "/", 200, "shop");
    // The rest goes on: other files take effect.
    rig.put("other", &[ingress("other").all("other.test", "blog").into()]);
    rig.wait("other.test", "/", 200, "blog");
    rig.put("shop", &shop_routes());
    rig.wait_no_problem("shop.json");
    rig.remove("other");
    rig.wait("other.test", "/", 404, "");
    traffic.assert_nothing_lost("a broken file");
}

fn refused_regex(rig: &Rig, traffic: &Traffic) {
    let route = |rewrite: &str| -> Value {
        ingress("regex").all("regex.test", "blog").with("path-rewrite", rewrite).into()
    };
    let neighbour: Value =
        ingress("well").all("well.test", "blog").with("path-rewrite", "^/a/(.*) /b/\\1").into();
    rig.put("regex", &[route(BAD_REGEX), neighbour.clone()]);
    rig.wait_problem(&["Refused", "\"name\":\"regex\""]);
    rig.wait("regex.test", "/", 503, "");
    assert_eq!(rig.wait("well.test", "/a/x", 200, "blog").path(), "/b/x");
    traffic.pass(20);
    rig.put("regex", &[route("/[a-z]/(.*) /\\1"), neighbour]);
    assert_eq!(rig.wait("regex.test", "/q/x", 200, "blog").path(), "/x");
    rig.wait_no_problem("\"name\":\"regex\"");
    rig.remove("regex");
    rig.wait("regex.test", "/", 404, "");
    traffic.assert_nothing_lost("a refused regular expression");
}

/// A Secret whose chain HAProxy refuses.
fn weak_secret(issued: &Issued) -> Value {
    let chain = format!("{}{WEAK_CA}", issued.pem);
    secret("weak", &[("tls.crt", &chain), ("tls.key", &issued.key)])
}

fn refused_certificate(rig: &Rig) {
    let authority = Authority::new();
    let (weak, good) = (authority.issue(&["weak.test"]), authority.issue(&["good.test"]));
    let route = |name: &str| -> Value {
        let host = format!("{name}.test");
        ingress(name).all(&host, "blog").tls(&[&host], name).into()
    };
    rig.put("weak", &[route("weak"), weak_secret(&weak), route("good"), good.secret("good")]);
    rig.wait_problem(&["Refused", "\"weak\""]);
    rig.wait("weak.test", "/", 200, "blog");
    wait_certificate(rig, "good.test", Some(&good.der), &[]);
    wait_certificate(rig, "weak.test", None, &[&weak.der]);
    rig.put("weak", &[route("weak"), weak.secret("weak"), route("good"), good.secret("good")]);
    wait_certificate(rig, "weak.test", Some(&weak.der), &[]);
    rig.wait_no_problem("\"weak\"");
    rig.remove("weak");
    rig.wait("weak.test", "/", 404, "");
}

/// Actions answered so far, by name.
fn actions(rig: &Rig) -> BTreeMap<String, u64> {
    let mut actions = BTreeMap::new();
    for (labels, count) in rig.metric("tidegate_actions_total") {
        let name = labels.split('"').nth(1).unwrap_or("").to_owned();
        *actions.entry(name).or_default() += count as u64;
    }
    actions
}

/// Waits until nothing is under way and the files are current.
fn wait_settled(rig: &Rig) {
    let mut last = actions(rig);
    let mut since = Instant::now();
    eventually("nothing is left to do", || {
        let now = actions(rig);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        let state: Value = serde_json::from_str(&rig.admin("/debug/state").unwrap().body).unwrap();
        let quiet = state["counts"]["quiet"] == true && state["counts"]["unsettled"] == 0;
        let saved = rig.metric("tidegate_unsaved_seconds").values().all(|seconds| *seconds == 0.0);
        // Longer than the time for removed servers and the quiet time before a save.
        ensure(quiet && saved && since.elapsed() > Duration::from_millis(2_200), || {
            format!("{state}")
        })
    });
}

/// Reloads and starts since the controller was started.
fn starts(rig: &Rig) -> u64 {
    rig.reloads().values().map(|count| *count as u64).sum()
}

fn adoption(rig: &mut Rig, traffic: &Traffic) {
    wait_settled(rig);
    let worker = rig.worker_pid();
    rig.kill();
    traffic.pass(50);
    rig.start();
    wait_settled(rig);
    let done = actions(rig);
    let others: Vec<_> =
        done.iter().filter(|(name, count)| *name != "read-back" && **count > 0).collect();
    assert!(
        others.is_empty(),
        "adopting what runs needs nothing but a read-back: {done:?}\n{}",
        rig.tail()
    );
    assert_eq!(starts(rig), 0, "{:?}", rig.reloads());
    assert_eq!(rig.worker_pid(), worker, "the worker is the same");
    traffic.assert_nothing_lost("adoption");
}

/// What changed while the controller was away is done when it is back, and no more.
fn away(rig: &mut Rig, traffic: &Traffic) {
    let worker = rig.worker_pid();
    rig.kill();
    rig.put("away", &[ingress("away").all("away.test", "blog").into()]);
    traffic.pass(20);
    rig.start();
    rig.wait("away.test", "/", 200, "blog");
    assert_eq!(starts(rig), 0, "a route to a known Service: {:?}", rig.reloads());
    assert_eq!(rig.worker_pid(), worker, "the worker is the same");
    // Killed again at once, before the files are current.
    rig.put("again", &[ingress("again").all("again.test", "blog").into()]);
    rig.wait("again.test", "/", 200, "blog");
    rig.kill();
    rig.start();
    rig.wait("again.test", "/", 200, "blog");
    traffic.assert_nothing_lost("changes while away");
}

/// Right again within a second of its return, also what the files did not have yet.
/// Whoever was answered by a new route once is not told afterwards that there is none: the worker that
/// a reload brings does not know what was added since its files were written.
fn added_during_reloads(rig: &Rig) {
    let mut before = rig.reload_count();
    for turn in 0..4 {
        let patience = format!("{}s", 5 + turn);
        rig.put("config", &[config_map(&[("timeout-http-request", &patience)])]);
        let asked = Instant::now();
        let mut hosts: Vec<(String, bool)> = Vec::new();
        let mut done = None;
        while done.is_none_or(|done: Instant| done.elapsed() < Duration::from_millis(500)) {
            let due = usize::try_from(asked.elapsed().as_millis() / 15).unwrap();
            if hosts.len() < due.min(20) {
                let name = format!("during-{turn}-{}", hosts.len());
                let host = format!("{name}.test");
                rig.put(&name, &[ingress(&name).all(&host, "blog").into()]);
                hosts.push((host, false));
            }
            for (host, there) in &mut hosts {
                let status = rig.get(host, "/").unwrap().status;
                assert!(status == 200 || (status == 404 && !*there), "{host}: {status} after 200");
                *there = status == 200;
            }
            let all = hosts.len() == 20 && hosts.iter().all(|(_, there)| *there);
            if all && done.is_none() && rig.reload_count() > before {
                done = Some(Instant::now());
            }
            assert!(asked.elapsed() < PATIENCE, "a reload, and then its routes");
        }
        before = rig.reload_count();
        for at in 0..20 {
            rig.remove(&format!("during-{turn}-{at}"));
        }
    }
    rig.remove("config");
    wait_settled(rig);
}

fn worker_killed(rig: &Rig) {
    wait_settled(rig);
    rig.put("late", &[ingress("late").all("late.test", "blog").into()]);
    rig.wait("late.test", "/", 200, "blog");
    let pid = rig.worker_pid();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let killed = Instant::now();
    let back = eventually("HAProxy is back", || {
        let answer = rig.get("shop.test", "/")?;
        ensure(answer.status == 200, || format!("{}", answer.status))?;
        Ok(Instant::now())
    });
    rig.wait("late.test", "/", 200, "blog");
    let right = back.elapsed();
    println!(
        "HAProxy {}: back {:?} after the kill, right {right:?} later",
        rig.version,
        back - killed
    );
    assert!(right < Duration::from_secs(1), "right only {right:?} after the return");
    assert_ne!(rig.worker_pid(), pid);
    rig.wait("again.test", "/", 200, "blog");
    rig.remove("late");
    rig.wait("late.test", "/", 404, "");
}

fn restart(rig: &mut Rig) {
    let begin = Instant::now();
    rig.stop();
    let took = begin.elapsed();
    // HAProxy 3.4 offers its tables to a successor for five seconds.
    assert!(took < Duration::from_secs(8), "nothing was open, and the stop took {took:?}");
    assert!(Connection::plain(rig.http).is_err(), "HAProxy ended with tidegate");
    let begin = Instant::now();
    rig.start();
    println!("HAProxy {}: ready {:?} after a restart", rig.version, begin.elapsed());
    for (host, service) in [("shop.test", "shop"), ("away.test", "blog"), ("again.test", "blog")] {
        let answer = rig.now(host, "/");
        assert_eq!((answer.status, answer.service()), (200, service), "ready means served: {host}");
    }
}

fn replay(rig: &mut Rig) {
    rig.stop();
    let journal = rig.path("journal");
    let output = rig.verb(&["replay", journal.to_str().unwrap()]);
    let (text, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {text}{errors}", output.status);
}

/// A rendering that HAProxy refuses when there is no good one yet: the culprits are found, and
/// everything else is served.
fn first_start(version: &'static str, shop: &[Pod]) {
    let authority = Authority::new();
    let weak = authority.issue(&["weak.test"]);
    let mut rig = Rig::new(version);
    let mut objects = classes();
    objects.extend(app("shop", &[&shop[0]]));
    objects.push(service("nothing"));
    for number in 0..12 {
        let host = format!("host{number}.test");
        let rewrite = format!("^/{number}/(.*) /\\1");
        objects.push(ingress(&host).all(&host, "shop").with("path-rewrite", &rewrite).into());
    }
    objects.push(ingress("regex").all("regex.test", "shop").with("path-rewrite", BAD_REGEX).into());
    objects.push(ingress("weak").all("weak.test", "shop").tls(&["weak.test"], "weak").into());
    objects.push(weak_secret(&weak));
    rig.put("all", &objects);
    let begin = Instant::now();
    rig.start();
    println!("HAProxy {version}: ready {:?} after a start with two culprits", begin.elapsed());
    for number in 0..12 {
        let answer = rig.wait(&format!("host{number}.test"), &format!("/{number}/x"), 200, "shop");
        assert_eq!(answer.path(), "/x");
    }
    rig.wait_problem(&["Refused", "\"name\":\"regex\""]);
    rig.wait_problem(&["Refused", "weak"]);
    rig.wait("regex.test", "/", 503, "");
    rig.wait("weak.test", "/", 200, "shop");
    let blamed: BTreeSet<String> = rig
        .problems()
        .iter()
        .filter(|p| p["reason"] == "Refused")
        .map(|p| p["name"].as_str().unwrap_or("").to_owned())
        .collect();
    assert_eq!(blamed, BTreeSet::from(["regex".to_owned(), "weak".to_owned()]));
    assert!(begin.elapsed() < PATIENCE);
}
