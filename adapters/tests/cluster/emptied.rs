//! A store that forgets everything is not believed, whether tidegate was there or not, until the
//! hold ends or an operator says so. An API server that is away at a start does no harm either.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use serde_json::json;

use crate::bed::Bed;
use crate::bed::wire::State;
use crate::common::certs::Authority;
use crate::common::client::{self, Connection, Request};
use crate::common::long::Long;
use crate::common::manifest::config_map;
use crate::common::rig::Rig;
use crate::common::traffic::Traffic;
use crate::common::{Scenarios, ensure, eventually, eventually_within};
use crate::town::{SOON, Town, length, soon, within};

const PAUSE: Duration = Duration::from_millis(2);

/// Time after which a start without an API server is ready with what the files say, and some more.
const FILES_COUNT: Duration = Duration::from_secs(15);

/// The API server starts over what is stored after this.
fn replace_store(bed: &mut Bed, change: impl FnOnce(&Bed)) {
    bed.plane.kill();
    change(bed);
    bed.plane.start_etcd();
    bed.plane.start_apiserver();
}

fn held(rig: &Rig) -> f64 {
    rig.metric("tidegate_held_objects").values().sum()
}

fn presents_its_certificate(rig: &Rig, trust: &Arc<ClientConfig>) {
    let ask =
        || Connection::tls(rig.https, "app0.test", trust)?.ask(&Request::get("app0.test", "/"));
    let answer = ask().unwrap_or_else(|error| panic!("app0.test by TLS: {error}"));
    assert_eq!((answer.status, answer.service()), (200, "app0"));
}

/// tidegate is gone as after a crash, and comes back. HAProxy goes on meanwhile.
fn restart(rig: &mut Rig) {
    rig.kill();
    rig.spawn();
}

#[test]
fn an_emptied_store_is_not_believed() {
    let mut bed = Bed::start();
    let mut rig = bed.rig("3.4").arguments(&["--keep-haproxy"]);
    let town = Town::new(&bed);
    let authority = Authority::new();
    town.apply(&authority.issue(&["app0.test"]).secret("app0"));
    town.apply(&config_map(&[]));
    let apps: Vec<_> = (0..15)
        .map(|number| {
            town.app_with(&format!("app{number}"), 2, |ingress| match number {
                0 => ingress.tls(&["app0.test"], "app0"),
                _ => ingress,
            })
        })
        .collect();
    rig.start();
    for app in &apps {
        soon(&rig, Instant::now(), &app.host, "/", 200, &app.name);
        town.ledger.ask(&app.host, "/");
    }
    let trust = client::trusting(&authority.roots());
    presents_its_certificate(&rig, &trust);
    eventually("what is known was kept", || {
        let kept = rig.path("state/known-objects");
        ensure(kept.exists(), || kept.display().to_string())
    });
    let traffic = Traffic::by_ledger(&[rig.http], 2, 2, PAUSE, &town.ledger);
    // The application that is still there at the end.
    let long = Long::start(rig.http, "app14.test", Duration::from_secs(20));
    let rig = &mut rig;
    let mut scenarios = Scenarios::new("3.4");
    scenarios.run("away at a start", || {
        bed.plane.kill();
        restart(rig);
        eventually_within(FILES_COUNT, "it is ready with the files of before", || {
            let answer = rig.admin("/readyz").map_err(|error| error.to_string())?;
            let right = answer.status == 200 && answer.body.contains("files of before");
            ensure(right, || format!("{} {}", answer.status, answer.body))
        });
        assert_eq!(rig.metric("tidegate_synced")[""], 0.0);
        rig.wait_problem(&["Source", "not watched"]);
        presents_its_certificate(rig, &trust);
        traffic.assert_nothing_lost("the API server is away at a start");
        bed.plane.start_etcd();
        bed.plane.start_apiserver();
        eventually("all lists are there", || {
            let synced = rig.metric("tidegate_synced")[""];
            ensure(synced == 1.0, || synced.to_string())
        });
        rig.wait_no_problem("not watched");
        long.assert_whole("away at a start");
    });
    scenarios.run("emptied", || {
        replace_store(&mut bed, |bed| {
            bed.plane.save("copy");
            bed.plane.empty();
        });
        let problem = rig.wait_problem(&["Ingress", "absent", "replaced"]);
        println!("told: {problem}");
        std::thread::sleep(length(SOON, 15 * SOON));
        traffic.assert_nothing_lost("the store is empty");
        // Routes, Services, endpoints.
        eventually("it is counted", || ensure(held(rig) >= 45.0, || held(rig).to_string()));
        long.assert_whole("emptied");
    });
    scenarios.run("restarted over the emptied store", || {
        restart(rig);
        rig.wait_ready();
        rig.wait_problem(&["Ingress", "absent"]);
        std::thread::sleep(length(SOON, 15 * SOON));
        traffic.assert_nothing_lost("restarted over the emptied store");
        presents_its_certificate(rig, &trust);
        // Routes, Services, endpoints.
        eventually("it is counted", || ensure(held(rig) >= 45.0, || held(rig).to_string()));
        long.assert_whole("restarted over the emptied store");
    });
    scenarios.run("emptied while it was not running", || {
        // Everything is back and believed, then both go at once.
        replace_store(&mut bed, |bed| bed.plane.restore("copy"));
        rig.wait_no_problem("absent");
        rig.kill();
        replace_store(&mut bed, |bed| bed.plane.empty());
        rig.spawn();
        rig.wait_ready();
        rig.wait_problem(&["Ingress", "absent", "replaced"]);
        std::thread::sleep(SOON);
        traffic.assert_nothing_lost("emptied while it was not running");
        presents_its_certificate(rig, &trust);
        long.assert_whole("emptied while it was not running");
    });
    scenarios.run("restored", || {
        replace_store(&mut bed, |bed| bed.plane.restore("copy"));
        let begin = Instant::now();
        let _app = town.app("restored", 1);
        let time = Duration::from_secs(10);
        let took = within(rig, time, begin, "restored.test", "/", 200, "restored");
        println!("a new application answers {took:?} after the API server is back");
        rig.wait_no_problem("absent");
        eventually("nothing is held", || ensure(held(rig) == 0.0, || held(rig).to_string()));
        town.unroute("restored.test", "restored");
        long.assert_whole("restored");
    });
    scenarios.run("no reloads", || rig.assert_no_reloads_on_3_4("an emptied store"));
    scenarios.run("a mass deletion is held, told, and accepted", || {
        traffic.assert_nothing_lost("before the mass deletion");
        for app in &apps {
            town.ledger.forget(&app.host);
        }
        mass_deletion(&mut bed, rig, &town);
        long.assert_whole("a mass deletion is held");
    });
    scenarios.run("nothing lost", || {
        traffic.finish("an emptied store");
        long.assert_whole("all of it");
        let (streams, echoes) = long.finish();
        println!("{streams} streams of 20 s whole, {echoes} echoes in tunnels");
        assert!(streams > 0 && echoes > 0, "{streams} streams, {echoes} echoes");
    });
    scenarios.finish();
}

/// Most Ingresses are deleted while the watch is away and the history is dropped: the next list
/// lacks them, and nobody can know whether it is partial.
fn mass_deletion(bed: &mut Bed, rig: &Rig, town: &Town) {
    bed.wire.set(State::Cut);
    for number in 0..14 {
        town.delete("Ingress", &format!("app{number}"));
    }
    bed.plane.compact();
    bed.plane.kill_apiserver();
    bed.plane.start_apiserver();
    bed.wire.set(State::Open);
    rig.wait_problem(&["DeletionsHeld", "14 of 15 objects of kind Ingress"]);
    assert_eq!(rig.now("app3.test", "/").status, 200);
    eventually("the metric says so", || {
        let metric = rig.metric("tidegate_held_objects");
        let ingresses = metric.iter().find(|(labels, _)| labels.contains("\"Ingress\""));
        ensure(ingresses.is_some_and(|(_, held)| *held == 14.0), || format!("{metric:?}"))
    });
    eventually("an Event about the ConfigMap says so", || {
        let events = bed.api().list("Event", "test");
        let told = events.iter().any(|event| {
            event["reason"] == "DeletionsHeld"
                && event["involvedObject"]["name"] == "tidegate"
                && event["message"].to_string().contains("14 of 15 objects of kind Ingress ")
        });
        ensure(told, || format!("{events:?}"))
    });
    let state: PathBuf = rig.path("state");
    let done = rig.verb(&["accept-deletions", "--state-dir", &state.display().to_string()]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    soon(rig, Instant::now(), "app3.test", "/", 404, "");
    soon(rig, Instant::now(), "app14.test", "/", 200, "app14");
    rig.wait_no_problem("DeletionsHeld");
}

/// The hold ends by itself when the new store goes on saying the same.
#[test]
fn a_replaced_store_is_believed_when_the_hold_ends() {
    const HOLD: Duration = Duration::from_secs(8);
    let mut bed = Bed::start();
    let mut rig = bed.rig("3.4").arguments(&["--absence-hold", "8s"]);
    let town = Town::new(&bed);
    let _old = town.app("old", 1);
    rig.start();
    soon(&rig, Instant::now(), "old.test", "/", 200, "old");
    replace_store(&mut bed, |bed| bed.plane.empty());
    rig.wait_problem(&["Ingress", "absent", "--absence-hold"]);
    let begin = Instant::now();
    // The new store is not empty for long.
    bed.plane.namespace("test");
    let fresh = Town::new(&bed);
    let _new = fresh.app("new", 1);
    within(&rig, HOLD, begin, "new.test", "/", 200, "new");
    assert_eq!(rig.now("old.test", "/").status, 200, "held");
    eventually_within(HOLD + Duration::from_secs(10), "the hold ends", || {
        let answer = rig.get("old.test", "/")?;
        ensure(answer.status == 404, || answer.status.to_string())
    });
    println!("given up {:?} after the store was replaced", begin.elapsed());
    assert!(begin.elapsed() > HOLD / 2, "{:?}", begin.elapsed());
    rig.wait_no_problem("absent");
    assert_eq!(rig.now("new.test", "/").status, 200);
    let names: Vec<_> =
        bed.api().list("Ingress", "").iter().map(|i| i["metadata"]["name"].clone()).collect();
    assert_eq!(names, [json!("new")]);
}
