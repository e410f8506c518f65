//! tidegate itself is replaced, one replica after the other, behind a load balancer that looks at
//! readiness: no request is lost, and what lasts longer than it may is counted before it is cut.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::bed::Bed;
use crate::bed::balancer::Balancer;
use crate::common::client::{Connection, Request};
use crate::common::long::Long;
use crate::common::rig::Rig;
use crate::common::traffic::Traffic;
use crate::common::{Scenarios, ensure, eventually, eventually_within};
use crate::town::{App, Town, length, soon};

const PAUSE: Duration = Duration::from_millis(2);

/// `--drain-delay`: ten probes of the balancer.
const DRAIN: Duration = Duration::from_secs(2);

/// `--stop-within`: longer than any stream.
const WITHIN: Duration = Duration::from_secs(6);

/// What a stop takes beyond both.
const MARGIN: Duration = Duration::from_secs(3);

fn replica(bed: &Bed) -> Rig {
    let (drain, within) = (format!("{}s", DRAIN.as_secs()), format!("{}s", WITHIN.as_secs()));
    bed.rig("3.4").arguments(&["--drain-delay", &drain, "--stop-within", &within])
}

#[test]
fn an_upgrade_loses_nothing() {
    let bed = Bed::start();
    let town = Town::new(&bed);
    let mut app = town.app("shop", 3);
    let mut replicas = [replica(&bed), replica(&bed)];
    for rig in &mut replicas {
        rig.start();
        soon(rig, Instant::now(), &app.host, "/", 200, "shop");
    }
    let ports = [0, 1].map(|number: usize| (replicas[number].http, replicas[number].admin));
    let balancer = Balancer::before(&ports);
    all_ready(&balancer);
    town.ledger.ask(&app.host, "/");
    let traffic = Traffic::by_ledger(&[balancer.port], 3, 3, PAUSE, &town.ledger);
    let streams = Long::streams(balancer.port, "shop.test", Duration::from_secs(3));
    let mut scenarios = Scenarios::new("3.4");
    scenarios.run("one after the other", || {
        let rounds = length(2, 10);
        for round in 0..rounds {
            for rig in &mut replicas {
                replace(rig, &balancer, &town, &mut app);
                traffic.assert_nothing_lost(&format!("round {round}"));
                streams.assert_whole("a replica is replaced");
            }
        }
        println!("{} requests while replicas were replaced {} times", traffic.sent(), 2 * rounds);
    });
    scenarios.run("streams came to their end", || {
        let (ended, _) = streams.finish();
        println!("{ended} streams of 3 s came to their end");
        assert!(ended > 2, "{ended}");
    });
    scenarios.run("what lasts is counted, named, and cut in the end", || {
        lasting(&mut replicas[0], &town);
        traffic.assert_nothing_lost("a replica with a tunnel is stopped");
    });
    scenarios.run("nothing lost", || {
        traffic.finish("upgrades");
    });
    scenarios.finish();
}

fn all_ready(balancer: &Balancer) {
    eventually("both are ready", || ensure(balancer.ready() == 2, || balancer.ready().to_string()));
}

/// As a Deployment does it with `maxUnavailable: 1`: a replica ends by itself, and another comes.
/// Pods roll meanwhile.
fn replace(rig: &mut Rig, balancer: &Balancer, town: &Town, app: &mut App) {
    let begin = Instant::now();
    rig.signal(Signal::TERM);
    eventually("readiness says no at once", || {
        let answer = rig.admin("/readyz").map_err(|error| error.to_string())?;
        ensure(answer.status == 503, || answer.status.to_string())
    });
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    town.roll(app);
    rig.wait_end(DRAIN + WITHIN + MARGIN);
    assert!(begin.elapsed() >= DRAIN, "what still came was served: {:?}", begin.elapsed());
    rig.start();
    all_ready(balancer);
    town.roll(app);
}

/// A tunnel that nobody ends, on a replica that is to end.
fn lasting(rig: &mut Rig, town: &Town) {
    let _app = town.app("tunnel", 1);
    soon(rig, Instant::now(), "tunnel.test", "/", 200, "tunnel");
    let mut tunnel = Connection::plain(rig.http).unwrap();
    let request = Request::get("tunnel.test", "/").header("connection", "upgrade");
    let answer = tunnel.ask(&request.header("upgrade", "echo")).unwrap();
    assert_eq!(answer.status, 101);
    let begin = Instant::now();
    rig.signal(Signal::TERM);
    // Also when HAProxy has closed its listeners and its sockets already.
    eventually_within(DRAIN + WITHIN, "the tunnel is named after the listeners are closed", || {
        let closed = Connection::plain(rig.http).is_err();
        let left = rig.admin("/metrics").map(|answer| answer.body).unwrap_or_default();
        let named = left.lines().any(|line| {
            line.starts_with("tidegate_draining_connections{")
                && line.contains("tunnel")
                && line.ends_with(" 1")
        });
        ensure(closed && named, || format!("closed {closed}, named {named}"))
    });
    tunnel.write(b"word").unwrap();
    let mut word = [0; 4];
    assert_eq!(tunnel.read(&mut word).unwrap(), 4, "it still works");
    rig.wait_end(DRAIN + WITHIN + MARGIN);
    assert!(begin.elapsed() >= DRAIN + WITHIN, "cut before its time: {:?}", begin.elapsed());
    let log = rig.tail();
    assert!(log.contains("cut at the end"), "{log}");
    rig.start();
}
