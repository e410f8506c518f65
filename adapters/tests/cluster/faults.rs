//! Faults under load, one after the other on one tidegate, each answer held against the ledger.
//!
//! Bad neighbours stay for the whole time, and so do streams and tunnels.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::bed::Bed;
use crate::bed::disk::Disk;
use crate::common::certs::Authority;
use crate::common::long::Long;
use crate::common::manifest::{ingress, secret, service};
use crate::common::pods::{Manner, Pod, Speech};
use crate::common::rig::Rig;
use crate::common::traffic::Traffic;
use crate::common::{Scenarios, ensure, eventually};
use crate::town::{App, SOON, Town, length, soon, within};

const PAUSE: Duration = Duration::from_millis(2);

/// A regular expression that looks well from outside and that PCRE2 refuses.
const BAD_REGEX: &str = "/[z-a]/(.*) /\\1";

/// What is told of each bad neighbour. Of a Service without pods there is nothing to tell.
const NEIGHBOURS: [(&str, &str); 8] = [
    ("bad-regex", "Refused"),
    ("bad-value", "FailedClosed"),
    ("bad-key", "UnknownKey"),
    ("no-service", "NotFound"),
    ("no-port", "NotFound"),
    ("torn-secret", "Unusable"),
    ("no-secret", "NotFound"),
    ("z-thief", "Conflict"),
];

struct Stage<'a> {
    rig: &'a mut Rig,
    town: &'a Town,
    traffic: &'a Traffic,
    long: &'a Long,
    shop: App,
    disk: &'a Disk,
}

impl Stage<'_> {
    /// What must hold at the end of each scenario.
    fn settled(&self, during: &str) {
        soon(self.rig, Instant::now(), "shop.test", "/", 200, "shop");
        self.traffic.pass(100);
        self.traffic.assert_nothing_new_lost(during);
        self.long.assert_whole(during);
    }
}

#[test]
fn faults_under_load() {
    let bed = Bed::start();
    // Before the rig, so that it goes after it.
    let disk = Disk::mount("64m");
    let mut rig = bed.rig("3.4").arguments(&["--drain", "300ms"]);
    std::os::unix::fs::symlink(&disk.path, rig.path("state")).unwrap();
    let town = Town::new(&bed);
    let shop = town.app("shop", 3);
    let long = town.app("long", 1);
    neighbours(&town, &long);
    rig.start();
    soon(&rig, Instant::now(), "shop.test", "/", 200, "shop");
    soon(&rig, Instant::now(), "long.test", "/", 200, "long");
    town.ledger.ask("shop.test", "/");
    town.ledger.ask("shop.test", "/x?y=z");
    let http = [rig.http];
    let traffic = Traffic::by_ledger(&http, 3, 2, PAUSE, &town.ledger);
    let lasting = Long::start(rig.http, "long.test", Duration::from_secs(20));
    let mut scenarios = Scenarios::new("3.4");
    let mut stage =
        Stage { rig: &mut rig, town: &town, traffic: &traffic, long: &lasting, shop, disk: &disk };
    let faults: [(&str, fn(&mut Stage<'_>)); 17] = [
        ("addresses change hands", addresses),
        ("pods gone without grace", without_grace),
        ("a pod that refuses", refuses),
        ("a pod that answers 500", fails),
        ("a pod that hangs", hangs),
        ("3 to 0 to 3", to_nothing),
        ("3 to 60 to 3", to_many),
        ("host renamed", renamed),
        ("Service deleted before its Ingress", service_first),
        ("Service deleted after its Ingress", service_last),
        ("Ingress re-created within 100 ms", recreated),
        ("200 Ingresses in a burst", burst),
        ("an Ingress of 500 paths", many_paths),
        ("an annotation of 60 kB", long_annotation),
        ("controller stopped for a while", stopped),
        ("disk full", disk_full),
        ("disk read-only", disk_read_only),
    ];
    for (name, fault) in faults {
        scenarios.run(name, || fault(&mut stage));
        // What a failed one leaves behind is not held against the next.
        town.ledger.ask_only(&["shop.test"]);
        let _ = traffic.words();
    }
    let stage = &mut stage;
    scenarios.run("no reloads", || stage.rig.assert_no_reloads_on_3_4("faults"));
    scenarios.run("neighbours are still told of", || {
        for (name, reason) in NEIGHBOURS {
            stage.rig.wait_problem(&[reason, &format!("\"name\":\"{name}\"")]);
        }
    });
    scenarios.run("streams and tunnels are whole", || stage.long.assert_whole("faults"));
    scenarios.run("HAProxy's worker killed", || worker_killed(stage));
    scenarios.run("HAProxy's master killed", || master_killed(stage));
    scenarios.run("streams and tunnels go on", || {
        let (streams, echoes) = lasting.finish();
        println!("{streams} streams came to their end, {echoes} words came back");
        assert!(streams > 0 && echoes > 100);
    });
    scenarios.run("nothing lost, nothing misrouted", || {
        traffic.finish("faults under load");
    });
    scenarios.finish();
}

/// One of each kind of bad neighbour, for good.
fn neighbours(town: &Town, good: &App) {
    let authority = Authority::new();
    let (one, two) = (authority.issue(&["torn.test"]), authority.issue(&["torn.test"]));
    let good = &*good.name;
    let elsewhere = "203.0.113.1 not-a-network".to_owned();
    let objects: Vec<Value> = vec![
        ingress("bad-regex").all("regex.test", good).with("path-rewrite", BAD_REGEX).into(),
        ingress("bad-value").all("value.test", good).with("allow-list", &elsewhere).into(),
        ingress("bad-key").all("key.test", good).with("no-such-key", "1").into(),
        ingress("no-service").all("gone.test", "no-such-service").into(),
        ingress("no-port").rule("port.test", "Prefix", "/", good, "9999").into(),
        ingress("torn-secret").all("torn.test", good).tls(&["torn.test"], "torn").into(),
        secret("torn", &[("tls.crt", &one.pem), ("tls.key", &two.key)]),
        ingress("no-secret").all("secret.test", good).tls(&["secret.test"], "none").into(),
        ingress("z-thief").all("shop.test", good).into(),
        service("nothing"),
        ingress("nothing").all("nothing.test", "nothing").into(),
    ];
    objects.iter().for_each(|object| town.apply(object));
}

/// An address goes from one application to another and back, its slices written in between.
fn addresses(stage: &mut Stage<'_>) {
    let town = stage.town;
    let mut homes = [town.app("red", 2), town.app("blue", 2)];
    for home in &homes {
        soon(stage.rig, Instant::now(), &home.host, "/", 200, &home.name);
        town.ledger.ask(&home.host, "/");
    }
    for turn in 0..8 {
        let (from, to) = (turn % 2, (turn + 1) % 2);
        let moving = homes[from].pods.pop().unwrap();
        let address: SocketAddr = moving.address;
        town.ledger.leaving(&homes[from].name, &moving.name);
        town.announce(&homes[from]);
        // Rapid, but not before the API has said so: then nobody could know.
        std::thread::sleep(Duration::from_millis(100));
        moving.die();
        let moved = eventually("the address is free", || {
            Pod::at(&homes[to].name, Speech::Http1, address).ok_or_else(|| "in use".to_owned())
        });
        homes[to].pods.push(moved);
        town.announce(&homes[to]);
        stage.traffic.pass(150);
    }
    stage.settled("addresses change hands");
    for home in &homes {
        town.ledger.forget(&home.host);
        town.unroute(&home.host, &home.name);
        soon(stage.rig, Instant::now(), &home.host, "/", 404, "");
    }
}

fn without_grace(stage: &mut Stage<'_>) {
    for _ in 0..2 {
        stage.town.kill_pod(&mut stage.shop);
        let fresh = stage.shop.pods.len() + 1;
        stage.town.scale(&mut stage.shop, fresh);
        // The next one goes when the new one is known.
        std::thread::sleep(Duration::from_millis(1_200));
    }
    stage.settled("pods gone without grace");
}

/// An endpoint stays in its slice, and nobody listens there.
fn refuses(stage: &mut Stage<'_>) {
    let pod = stage.shop.first();
    stage.town.ledger.leaving("shop", &pod.name);
    pod.die();
    stage.traffic.pass(1_000);
    stage.town.roll(&mut stage.shop);
    stage.settled("a pod that refuses");
}

fn fails(stage: &mut Stage<'_>) {
    let pod = stage.shop.first();
    stage.town.ledger.leaving("shop", &pod.name);
    pod.behave(Manner::Fails);
    stage.traffic.pass(500);
    stage.town.roll(&mut stage.shop);
    stage.settled("a pod that answers 500");
}

/// A pod accepts and never answers. Checks find it out; what it has taken until then is lost, as
/// nobody can know.
fn hangs(stage: &mut Stage<'_>) {
    let town = stage.town;
    let checked = town.app_with("checked", 3, |ingress| {
        ingress.with("check", "true").with("check-http", "/healthz").with("check-interval", "500ms")
    });
    within(stage.rig, 2 * SOON, Instant::now(), &checked.host, "/", 200, "checked");
    std::thread::sleep(SOON);
    let pod = checked.first();
    town.ledger.leaving("checked", &pod.name);
    pod.behave(Manner::Hangs);
    // Three checks of 2 s each at most.
    std::thread::sleep(Duration::from_secs(9));
    for _ in 0..30 {
        let answer = stage.rig.now(&checked.host, "/");
        assert_eq!((answer.status, answer.service()), (200, "checked"));
        assert_ne!(answer.name(), pod.name);
    }
    town.unroute(&checked.host, "checked");
    soon(stage.rig, Instant::now(), &checked.host, "/", 404, "");
    stage.settled("a pod that hangs");
}

fn to_nothing(stage: &mut Stage<'_>) {
    stage.town.scale(&mut stage.shop, 0);
    let begin = Instant::now();
    soon(stage.rig, begin, "shop.test", "/", 503, "");
    stage.town.scale(&mut stage.shop, 3);
    let took = soon(stage.rig, Instant::now(), "shop.test", "/", 200, "shop");
    println!("3 to 0 to 3: right {took:?} after the API");
    stage.settled("3 to 0 to 3");
}

fn to_many(stage: &mut Stage<'_>) {
    stage.town.scale(&mut stage.shop, 60);
    let (begin, names) = (Instant::now(), stage.shop.pods.iter().map(|pod| &pod.name));
    let mut missing: Vec<&String> = names.collect();
    eventually("60 pods answer", || {
        let answer = stage.rig.get("shop.test", "/")?;
        missing.retain(|name| *name != answer.name());
        ensure(missing.is_empty(), || format!("all but {missing:?}"))
    });
    println!("60 pods answer after {:?}", begin.elapsed());
    assert!(begin.elapsed() < SOON);
    stage.traffic.pass(300);
    stage.town.scale(&mut stage.shop, 3);
    std::thread::sleep(SOON);
    stage.settled("3 to 60 to 3");
}

fn renamed(stage: &mut Stage<'_>) {
    let town = stage.town;
    let app = town.app("before", 2);
    soon(stage.rig, Instant::now(), "before.test", "/", 200, "before");
    town.ledger.ask("before.test", "/");
    stage.traffic.pass(100);
    town.ledger.routing("before.test", None);
    town.lead("after.test", "before", ingress("before").all("after.test", "before").into());
    town.ledger.routed("before.test");
    let begin = Instant::now();
    soon(stage.rig, begin, "after.test", "/", 200, "before");
    soon(stage.rig, begin, "before.test", "/", 404, "");
    town.ledger.ask("after.test", "/");
    std::thread::sleep(SOON);
    stage.settled("host renamed");
    town.ledger.forget("after.test");
    town.ledger.forget("before.test");
    town.unroute("after.test", "before");
    drop(app);
}

fn service_first(stage: &mut Stage<'_>) {
    let town = stage.town;
    let app = town.app("first", 2);
    soon(stage.rig, Instant::now(), "first.test", "/", 200, "first");
    for pod in &app.pods {
        town.ledger.leaving("first", &pod.name);
    }
    town.delete("Service", "first");
    soon(stage.rig, Instant::now(), "first.test", "/", 503, "");
    town.unroute("first.test", "first");
    soon(stage.rig, Instant::now(), "first.test", "/", 404, "");
    town.delete("EndpointSlice", "first-1");
    stage.settled("Service deleted before its Ingress");
}

fn service_last(stage: &mut Stage<'_>) {
    let town = stage.town;
    let app = town.app("last", 2);
    soon(stage.rig, Instant::now(), "last.test", "/", 200, "last");
    town.unroute("last.test", "last");
    soon(stage.rig, Instant::now(), "last.test", "/", 404, "");
    for pod in &app.pods {
        town.ledger.leaving("last", &pod.name);
    }
    town.delete("Service", "last");
    town.delete("EndpointSlice", "last-1");
    stage.settled("Service deleted after its Ingress");
}

fn recreated(stage: &mut Stage<'_>) {
    let town = stage.town;
    let app = town.app("again", 2);
    soon(stage.rig, Instant::now(), "again.test", "/", 200, "again");
    town.ledger.ask("again.test", "/");
    for _ in 0..5 {
        let begin = Instant::now();
        town.unroute("again.test", "again");
        town.route(&app, |ingress| ingress);
        let took = begin.elapsed();
        assert!(took < Duration::from_millis(100), "the API took {took:?}");
        soon(stage.rig, Instant::now(), "again.test", "/", 200, "again");
        stage.traffic.pass(50);
    }
    // From here on every answer counts again.
    std::thread::sleep(SOON);
    stage.settled("Ingress re-created");
    town.ledger.forget("again.test");
    town.unroute("again.test", "again");
}

fn burst(stage: &mut Stage<'_>) {
    let town = stage.town;
    let name = |number: usize| (format!("burst{number}"), format!("burst{number}.test"));
    let begin = Instant::now();
    for number in 0..200 {
        let (name, host) = name(number);
        town.lead(&host, "shop", ingress(&name).all(&host, "shop").into());
    }
    let (written, acked) = (begin.elapsed(), Instant::now());
    for number in [199, 0, 100] {
        soon(stage.rig, acked, &name(number).1, "/", 200, "shop");
    }
    println!("200 Ingresses written in {written:?}, right {:?} later", acked.elapsed());
    for number in 0..200 {
        let answer = stage.rig.now(&name(number).1, "/");
        assert_eq!((answer.status, answer.service()), (200, "shop"), "{number}");
    }
    for number in 0..200 {
        let (name, host) = name(number);
        town.unroute(&host, &name);
    }
    let acked = Instant::now();
    for number in [199, 0, 100] {
        soon(stage.rig, acked, &name(number).1, "/", 404, "");
    }
    stage.settled("200 Ingresses");
}

fn many_paths(stage: &mut Stage<'_>) {
    let town = stage.town;
    let mut many = ingress("many");
    for number in 0..500 {
        many = many.rule("many.test", "Prefix", &format!("/p{number}"), "shop", "8080");
    }
    town.lead("many.test", "shop", many.into());
    let begin = Instant::now();
    let took = soon(stage.rig, begin, "many.test", "/p499/x", 200, "shop");
    println!("500 paths: right after {took:?}");
    for number in (0..500).step_by(7) {
        let answer = stage.rig.now("many.test", &format!("/p{number}"));
        assert_eq!((answer.status, answer.service()), (200, "shop"), "{number}");
    }
    assert_eq!(stage.rig.now("many.test", "/q").status, 404);
    town.unroute("many.test", "many");
    soon(stage.rig, Instant::now(), "many.test", "/p0", 404, "");
    stage.settled("500 paths");
}

fn long_annotation(stage: &mut Stage<'_>) {
    let town = stage.town;
    let networks: Vec<String> =
        (0..3_400).map(|n| format!("198.18.{}.{}/32", n / 250, n % 250)).collect();
    let text = format!("{},127.0.0.0/8", networks.join(","));
    assert!(text.len() > 50_000, "{}", text.len());
    let wide = ingress("wide").all("wide.test", "shop").with("allow-list", &text);
    town.lead("wide.test", "shop", wide.into());
    let took = soon(stage.rig, Instant::now(), "wide.test", "/", 200, "shop");
    println!("an annotation of {} bytes: right after {took:?}", text.len());
    town.unroute("wide.test", "wide");
    soon(stage.rig, Instant::now(), "wide.test", "/", 404, "");
    stage.settled("a long annotation");
}

/// While tidegate stands still, a pod leaves and another dies: the one that is left serves.
fn stopped(stage: &mut Stage<'_>) {
    stage.rig.signal(Signal::STOP);
    let begin = Instant::now();
    stage.town.roll(&mut stage.shop);
    let last = stage.shop.pods.last().unwrap().name.clone();
    std::thread::sleep(length(Duration::from_secs(4), Duration::from_secs(10)));
    stage.rig.signal(Signal::CONT);
    let back = Instant::now();
    eventually("the new pod answers", || {
        let answer = stage.rig.get("shop.test", "/")?;
        ensure(answer.name() == last, || answer.name().to_owned())
    });
    println!("stopped for {:?}, right {:?} later", back - begin, back.elapsed());
    assert!(back.elapsed() < SOON);
    stage.settled("controller stopped");
}

/// Changes go on through a full disk, and are saved when there is room again.
fn disk_full(stage: &mut Stage<'_>) {
    let full = stage.disk.fill();
    changes_go_on(stage, "full");
    drop(full);
    changes_go_on(stage, "room");
    stage.settled("disk full");
}

fn disk_read_only(stage: &mut Stage<'_>) {
    let frozen = stage.disk.freeze();
    let probe = fs::write(stage.rig.path("state/probe"), "");
    assert!(probe.is_err(), "the disk is read-only");
    changes_go_on(stage, "frozen");
    drop(frozen);
    changes_go_on(stage, "thawed");
    stage.settled("disk read-only");
}

fn changes_go_on(stage: &mut Stage<'_>, name: &str) {
    let town = stage.town;
    let app = town.app(name, 1);
    soon(stage.rig, Instant::now(), &app.host, "/", 200, name);
    stage.town.roll(&mut stage.shop);
    std::thread::sleep(SOON);
    town.unroute(&app.host, name);
    soon(stage.rig, Instant::now(), &app.host, "/", 404, "");
    stage.traffic.assert_nothing_new_lost(name);
}

/// HAProxy is killed: what was in its hands is lost, nothing is misrouted, and 2 s after its
/// return all is right.
fn worker_killed(stage: &mut Stage<'_>) {
    let pid = stage.rig.worker_pid();
    haproxy_killed(stage, pid, "worker killed");
}

fn master_killed(stage: &mut Stage<'_>) {
    let pid = stage.rig.master_pid();
    haproxy_killed(stage, pid, "master killed");
}

fn haproxy_killed(stage: &mut Stage<'_>, pid: i32, what: &str) {
    let ledger = &stage.town.ledger;
    ledger.outage();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let begin = Instant::now();
    let gone = length(Duration::from_millis(20), Duration::from_millis(20));
    std::thread::sleep(gone);
    eventually("HAProxy is back", || {
        let answer = stage.rig.get("shop.test", "/")?;
        ensure(answer.status == 200, || answer.status.to_string())
    });
    println!("{what}: back after {:?}", begin.elapsed());
    ledger.recovered(SOON);
    std::thread::sleep(SOON + Duration::from_millis(500));
    let _ = stage.long.broken();
    stage.town.roll(&mut stage.shop);
    std::thread::sleep(SOON);
    stage.settled(what);
}
