//! What can become of a watch, on the real server, with requests all the while: none is lost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bed::Bed;
use crate::bed::api;
use crate::bed::plane::{ADMIN, PORT};
use crate::bed::wire::State;
use crate::common::manifest::{endpoint, secret, slice_of};
use crate::common::rig::Rig;
use crate::common::traffic::Traffic;
use crate::common::{Scenarios, ensure, eventually};
use crate::town::{App, SOON, Town, length, soon, within};

const PAUSE: Duration = Duration::from_millis(2);

/// Longest time until a watch that was interrupted is under way again, and what changed meanwhile
/// is right.
const RESUMED: Duration = Duration::from_secs(10);

#[test]
fn watches_fail_and_nothing_else() {
    let mut bed = Bed::start();
    let token = bed.account("first");
    let kubeconfig = bed.kubeconfig("robot", bed.wire.port, &token);
    let mut rig = bed.rig_with("3.4", kubeconfig).arguments(&["--drain", "300ms"]);
    let town = Town::new(&bed);
    let mut shop = town.app("shop", 3);
    rig.start();
    soon(&rig, Instant::now(), "shop.test", "/", 200, "shop");
    town.ledger.ask("shop.test", "/");
    let http = [rig.http];
    let traffic = Traffic::by_ledger(&http, 2, 2, PAUSE, &town.ledger);
    let (rig, shop) = (&rig, &mut shop);
    let mut scenarios = Scenarios::new("3.4");
    scenarios.run("watch cut every second", || cut(&bed, rig, &town, shop));
    scenarios.run("watch goes silent", || silent(&bed, rig, &town, shop));
    scenarios.run("unrelated changes", || flood(&bed, rig, &town, shop));
    scenarios.run("large Secrets of others", || large_secrets(&bed, rig, &town));
    scenarios.run("token rotated", || token_rotated(&bed, rig, &town));
    scenarios.run("certificate of the server rotated", || {
        certificate_rotated(&mut bed, rig, &town);
    });
    scenarios.run("server killed and back", || killed(&mut bed, rig, &town));
    scenarios.run("compacted while away", || compacted(&mut bed, rig, &town, shop));
    scenarios.run("restarted over an empty etcd", || emptied(&mut bed, rig, &traffic));
    scenarios.run("no reloads", || rig.assert_no_reloads_on_3_4("watch faults"));
    scenarios.run("nothing lost", || {
        traffic.finish("watch faults");
    });
    scenarios.finish();
}

/// A new application answers within a time. It goes again.
fn new_app(rig: &Rig, town: &Town, name: &str, time: Duration) -> Duration {
    let app = town.app(name, 1);
    let took = within(rig, time, Instant::now(), &app.host, "/", 200, name);
    town.unroute(&app.host, name);
    took
}

/// A pod is replaced, and the new one answers within a time.
fn new_pod(rig: &Rig, town: &Town, shop: &mut App, time: Duration) -> Duration {
    town.roll(shop);
    let (begin, fresh) = (Instant::now(), shop.pods.last().unwrap().name.clone());
    eventually("the new pod answers", || {
        let answer = rig.get(&shop.host, "/")?;
        ensure(answer.name() == fresh, || answer.name().to_owned())
    });
    assert!(begin.elapsed() < time, "the new pod answers only after {:?}", begin.elapsed());
    begin.elapsed()
}

fn cut(bed: &Bed, rig: &Rig, town: &Town, shop: &mut App) {
    let seconds = length(Duration::from_secs(10), Duration::from_secs(60)).as_secs();
    let before = bed.wire.accepted();
    let mut slowest = Duration::ZERO;
    for _ in 0..seconds {
        let begin = Instant::now();
        bed.wire.reset();
        slowest = slowest.max(new_pod(rig, town, shop, RESUMED));
        std::thread::sleep(Duration::from_secs(1).saturating_sub(begin.elapsed()));
    }
    let connections = bed.wire.accepted() - before;
    println!(
        "cut {seconds} times: {connections} connections; a pod is known after {slowest:?} at most"
    );
    assert!(connections >= seconds, "the cuts were noticed");
}

/// No byte comes any more, and no end either.
fn silent(bed: &Bed, rig: &Rig, town: &Town, shop: &mut App) {
    bed.wire.set(State::Deaf);
    std::thread::sleep(Duration::from_secs(3));
    bed.wire.set(State::Open);
    let took = new_pod(rig, town, shop, RESUMED);
    println!("silent for 3 s: right after {took:?}");
}

/// Changes a second in the flood, and how many come at once.
const FLOOD: (u64, u64) = (2_000, 100);

/// Changes of objects that nobody refers to, written past the API server, which could not take so
/// many; every watch has them all the same.
fn flood(bed: &Bed, rig: &Rig, town: &Town, shop: &mut App) {
    let (stop, changes) = (AtomicBool::new(false), AtomicU64::new(0));
    let seen = || rig.metric("tidegate_events_total").values().sum::<f64>();
    let (begin, before) = (Instant::now(), seen());
    let time = length(Duration::from_secs(8), Duration::from_secs(60));
    let mut times = Vec::new();
    std::thread::scope(|scope| {
        let (stop, changes, plane) = (&stop, &changes, &bed.plane);
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let first = changes.load(Ordering::Relaxed);
                let batch: Vec<_> = (first..first + FLOOD.1).map(unrelated).collect();
                plane.put(&batch);
                let sent = changes.fetch_add(FLOOD.1, Ordering::Relaxed) + FLOOD.1;
                let due = Duration::from_secs(sent) / u32::try_from(FLOOD.0).unwrap();
                std::thread::sleep(due.saturating_sub(begin.elapsed()));
            }
        });
        // The thread must end also when this fails.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while begin.elapsed() < time {
                times.push(new_pod(rig, town, shop, SOON));
                std::thread::sleep(Duration::from_millis(300));
            }
        }));
        stop.store(true, Ordering::Relaxed);
        done.unwrap_or_else(|why| std::panic::resume_unwind(why));
    });
    times.sort();
    let rate = |count: f64| count / begin.elapsed().as_secs_f64();
    let (written, arrived) = (rate(changes.load(Ordering::Relaxed) as f64), rate(seen() - before));
    println!(
        "{written:.0} unrelated changes a second, {arrived:.0} arrived as events: a pod answers \
         after {:?} (middle), {:?} (longest)",
        times[times.len() / 2],
        times[times.len() - 1]
    );
    assert!(written > 0.5 * FLOOD.0 as f64, "that was no flood: {written:.0} changes a second");
    assert!(arrived > 0.3 * written, "the flood did not arrive: {arrived:.0} a second");
}

/// Where an object is in etcd, and the object.
fn unrelated(turn: u64) -> (String, Value) {
    let name = format!("noise{}", turn % 250);
    let (plural, mut object) = match turn % 2 {
        0 => (
            "secrets",
            json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata":
                {"name": name, "namespace": "test", "labels": {"turn": turn.to_string()}}}),
        ),
        _ => {
            let address =
                std::net::Ipv4Addr::new(10, 127, (turn / 250 % 250) as u8, (turn % 250) as u8);
            let one = endpoint(address.into(), json!({"ready": true}));
            let ports = json!([{"name": "http", "port": 80}]);
            ("endpointslices", slice_of(&name, &name, ports, vec![one]))
        }
    };
    object["metadata"]["uid"] = json!(format!("00000000-0000-4000-8000-{:012}", turn % 250));
    object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    (format!("/registry/{plural}/test/{name}"), object)
}

/// Secrets that no Ingress refers to are not even fetched.
fn large_secrets(bed: &Bed, rig: &Rig, town: &Town) {
    let count = length(200, 5_000);
    let text = "x".repeat(100_000);
    let secrets: Vec<Value> =
        (0..count).map(|n| secret(&format!("large{n}"), &[("text", &text)])).collect();
    let (before, passed) = (rig.memory_mib(), bed.wire.received());
    api::seed(&bed.plane.access(PORT, ADMIN), &secrets, 4);
    // What watches bring has come when a later change is seen.
    new_app(rig, town, "beside-secrets", SOON);
    // A list brings them all again.
    bed.wire.reset();
    new_app(rig, town, "beside-listed-secrets", RESUMED);
    let grown = rig.memory_mib() - before;
    let megabytes = (bed.wire.received() - passed) as f64 / 1e6;
    println!("{count} Secrets of 133 kB: {grown:.1} MiB of memory, {megabytes:.1} MB received");
    assert!(megabytes < 4.0, "{megabytes:.1} MB received");
    assert!(grown < 8.0, "{grown:.1} MiB more");
}

/// The file gets the token of another account, then the first account is gone.
fn token_rotated(bed: &Bed, rig: &Rig, town: &Town) {
    let token = bed.account("second");
    let file = bed.token_file("robot");
    let hidden = file.with_extension("new");
    std::fs::write(&hidden, token).unwrap();
    std::fs::rename(hidden, file).unwrap();
    town.delete("ServiceAccount", "first");
    bed.wire.reset();
    let took = new_app(rig, town, "second-token", RESUMED);
    println!("token rotated: right after {took:?}");
}

fn certificate_rotated(bed: &mut Bed, rig: &Rig, town: &Town) {
    bed.plane.kill_apiserver();
    bed.plane.rotate_certificate();
    bed.plane.start_apiserver();
    let took = new_app(rig, town, "new-certificate", RESUMED);
    println!("certificate rotated: right after {took:?}");
}

fn killed(bed: &mut Bed, rig: &Rig, town: &Town) {
    bed.plane.kill_apiserver();
    std::thread::sleep(length(Duration::from_secs(6), Duration::from_secs(30)));
    assert_eq!(rig.admin("/readyz").unwrap().status, 200, "it serves on, and says so");
    bed.plane.start_apiserver();
    let took = new_app(rig, town, "after-kill", RESUMED);
    println!("server killed: right {took:?} after it is back");
}

/// While tidegate is cut off, things change and the history is dropped: watches cannot go on.
fn compacted(bed: &mut Bed, rig: &Rig, town: &Town, shop: &mut App) {
    let leaver = town.app("leaver", 1);
    soon(rig, Instant::now(), "leaver.test", "/", 200, "leaver");
    bed.wire.set(State::Cut);
    town.unroute("leaver.test", "leaver");
    let comer = town.app("comer", 1);
    town.roll(shop);
    bed.plane.compact();
    bed.plane.kill_apiserver();
    bed.plane.start_apiserver();
    bed.wire.set(State::Open);
    let begin = Instant::now();
    let took = within(rig, RESUMED, begin, "comer.test", "/", 200, "comer");
    within(rig, RESUMED, begin, "leaver.test", "/", 404, "");
    println!("compacted: right after {took:?}");
    town.unroute("comer.test", "comer");
    drop((comer, leaver));
    new_pod(rig, town, shop, SOON);
}

/// A server that knows nothing any more does not know our account either: everything is served as
/// before, and an operator is told.
fn emptied(bed: &mut Bed, rig: &Rig, traffic: &Traffic) {
    bed.plane.kill();
    bed.plane.empty();
    bed.plane.start_etcd();
    bed.plane.start_apiserver();
    traffic.pass(500);
    std::thread::sleep(length(Duration::from_secs(6), Duration::from_secs(60)));
    traffic.assert_nothing_lost("an empty etcd");
    rig.wait_problem(&["Source", "not watched"]);
}
