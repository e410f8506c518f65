//! Nothing is lost: reloads under load, rolling replacement of pods, a pod that dies unannounced.

mod common;

use std::time::Duration;

use common::client::Request;
use common::manifest::{app, classes, config_map, ingress, service, slice};
use common::pods::{Manner, Pod};
use common::rig::Rig;
use common::traffic::Traffic;
use common::{Scenarios, ensure, eventually};
use serde_json::Value;

on_each_haproxy!(load);

/// Pause between two requests of one connection: enough load to hit every moment, and the machine
/// stays usable.
const PAUSE: Duration = Duration::from_micros(500);

fn load(version: &'static str) {
    let pods = Pod::several("shop", 3);
    let mut rig = Rig::new(version).arguments(&["--drain", "300ms"]);
    let mut objects = classes();
    objects.push(service("shop"));
    objects.push(ingress("shop").all("shop.test", "shop").into());
    rig.put("base", &objects);
    rig.put("slice", &[slice("shop", &pods.iter().collect::<Vec<_>>())]);
    rig.start();
    rig.wait("shop.test", "/", 200, "shop");
    let mut scenarios = Scenarios::new(version);
    scenarios.run("reload under load", || reload(&rig));
    scenarios.run("new backends under load", || new_backends(&rig));
    scenarios.run("rolling replacement", || rolling(&rig, &pods));
    scenarios.run("a pod dies unannounced", || dies(&rig));
    scenarios.run("a pod hangs up without an answer", || hangs_up(&rig));
    scenarios.finish();
}

fn traffic(rig: &Rig, host: &str, service: &str) -> Traffic {
    Traffic::start(rig.http, 4, 3, PAUSE, &[(host, "/", service), (host, "/x?y=z", service)])
}

/// The static part changes: every HAProxy reloads.
fn reload(rig: &Rig) {
    let traffic = traffic(rig, "shop.test", "shop");
    traffic.pass(200);
    for turn in 1..=4 {
        let before = rig.reload_count();
        let timeout = format!("{}s", 10 + turn);
        rig.put("config", &[config_map(&[("timeout-http-request", &timeout)])]);
        eventually("the reload", || {
            let now = rig.reload_count();
            ensure(now == before + 1, || format!("{now} reloads, {:?}", rig.reload_reasons()))
        });
        traffic.pass(300);
    }
    let mut reloads = rig.reloads();
    reloads.retain(|_, count| *count > 0.0);
    assert!(reloads.keys().any(|labels| labels.contains("static-part")), "{reloads:?}");
    assert!(reloads.keys().all(|labels| labels.contains("done")), "{reloads:?}");
    traffic.finish(&format!("HAProxy {}: 4 reloads", rig.version));
}

/// New Services: reloads on 2.6, run time or spare backends elsewhere.
fn new_backends(rig: &Rig) {
    let traffic = traffic(rig, "shop.test", "shop");
    let fresh = Pod::several("fresh", 1);
    let before = asked(rig);
    for number in 0..4 {
        let name = format!("fresh{number}");
        let host = format!("{name}.test");
        let mut objects: Vec<Value> = app(&name, &[&fresh[0]]);
        objects.push(ingress(&name).all(&host, &name).into());
        rig.put(&name, &objects);
        rig.wait(&host, "/", 200, "fresh");
        traffic.pass(50);
    }
    let reloads = asked(rig) - before;
    println!("HAProxy {}: {reloads} reloads for 4 new Services", rig.version);
    match rig.version {
        "2.6" => assert!(reloads > 0, "no way to add backends at run time"),
        "3.4" => assert_eq!(reloads, 0, "{:?}", rig.reload_reasons()),
        _ => {}
    }
    traffic.finish(&format!("HAProxy {}: 4 new Services", rig.version));
}

/// Reloads asked for so far. What a reload brings is served before its end is counted.
fn asked(rig: &Rig) -> usize {
    rig.reload_reasons().len()
}

/// Each pod is replaced by a new one: it leaves the slice, and a second later it stops.
fn rolling(rig: &Rig, pods: &[Pod]) {
    let traffic = traffic(rig, "shop.test", "shop");
    let before = asked(rig);
    let mut current: Vec<&Pod> = pods.iter().collect();
    let next = Pod::several("shop", pods.len());
    for pod in &next {
        let gone = current.remove(0);
        current.push(pod);
        rig.put("slice", &[slice("shop", &current)]);
        wait_answers(rig, "shop.test", &pod.name);
        // As a container that gets SIGTERM after the endpoint was taken away.
        std::thread::sleep(Duration::from_secs(1));
        gone.finish();
        traffic.pass(200);
    }
    assert_eq!(asked(rig), before, "{:?}", rig.reload_reasons());
    traffic.pass(100);
    traffic.finish(&format!("HAProxy {}: rolling replacement", rig.version));
    // For what comes next the pods of the slice must live.
    let pods: Vec<Pod> = Pod::several("shop", 2);
    rig.put("slice", &[slice("shop", &pods.iter().collect::<Vec<_>>())]);
    wait_answers(rig, "shop.test", &pods[1].name);
}

/// A pod is gone at once: listener closed, connections cut. Nobody told tidegate.
fn dies(rig: &Rig) {
    let mut pods = Pod::several("mortal", 3);
    let mut objects = app("mortal", &pods.iter().collect::<Vec<_>>());
    objects.push(ingress("mortal").all("mortal.test", "mortal").into());
    rig.put("mortal", &objects);
    rig.wait("mortal.test", "/", 200, "mortal");
    let traffic = traffic(rig, "mortal.test", "mortal");
    traffic.pass(300);
    let dead = pods.remove(0);
    dead.die();
    traffic.pass(800);
    traffic.assert_nothing_lost("a pod died");
    // Kubernetes notices.
    objects[1] = slice("mortal", &pods.iter().collect::<Vec<_>>());
    rig.put("mortal", &objects);
    traffic.pass(300);
    traffic.finish(&format!("HAProxy {}: a pod died", rig.version));
}

/// A pod takes a request and closes the connection. What may be sent twice goes to the other pod, whole,
/// whether it fits into a small buffer or not; what may not is answered with 502.
fn hangs_up(rig: &Rig) {
    let pods = Pod::several("curt", 2);
    let mut objects = app("curt", &pods.iter().collect::<Vec<_>>());
    objects.push(ingress("curt").all("curt.test", "curt").into());
    rig.put("curt", &objects);
    for pod in &pods {
        wait_answers(rig, "curt.test", &pod.name);
    }
    pods[0].behave(Manner::HangsUp);
    for bytes in [10, 1_000, 3_500, 4_000, 4_500, 8_000, 12_000] {
        let before = pods[0].requests();
        let header = "x".repeat(bytes);
        for _ in 0..4 {
            let request = Request::get("curt.test", "/").header("x-much", &header);
            let answer = rig.ask(&request).unwrap();
            assert_eq!((answer.status, answer.name()), (200, &*pods[1].name), "{bytes} bytes");
            assert_eq!(answer.seen("x-much"), Some(&*header), "{bytes} bytes");
        }
        assert!(pods[0].requests() > before, "{bytes} bytes were never sent twice");
    }
    let post = || rig.ask(&Request::get("curt.test", "/").method("POST")).unwrap().status;
    let statuses: Vec<u16> = (0..4).map(|_| post()).collect();
    assert!(statuses.contains(&502) && statuses.contains(&200), "{statuses:?}");
}

fn wait_answers(rig: &Rig, host: &str, pod: &str) {
    eventually(&format!("pod {pod} answers"), || {
        let answer = rig.get(host, "/")?;
        ensure(answer.name() == pod, || format!("{} does", answer.name()))
    });
}
