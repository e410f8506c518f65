//! Pods roll, each leaving pod refuses connections a second after the API said so, and meanwhile
//! the controller is killed again and again, or restarted as an upgrade would.

use std::time::{Duration, Instant};

use crate::bed::Bed;
use crate::common::Scenarios;
use crate::common::rig::Rig;
use crate::common::traffic::Traffic;
use crate::town::{App, Town, length, soon};

const PAUSE: Duration = Duration::from_millis(1);

/// Time between two kills.
const LIFE: Duration = Duration::from_secs(2);

#[test]
fn pods_roll_while_the_controller_dies() {
    let bed = Bed::start();
    let mut rig = bed.rig("3.4").arguments(&["--drain", "300ms", "--keep-haproxy"]);
    let town = Town::new(&bed);
    let mut apps = [town.app("shop", 3), town.app("blog", 4)];
    rig.start();
    for app in &apps {
        soon(&rig, Instant::now(), &app.host, "/", 200, &app.name);
        town.ledger.ask(&app.host, "/");
    }
    let worker = rig.worker_pid();
    let http = [rig.http];
    let traffic = Traffic::by_ledger(&http, 3, 3, PAUSE, &town.ledger);
    let mut scenarios = Scenarios::new("3.4");
    let time = length(Duration::from_secs(12), Duration::from_secs(60));
    scenarios.run("the controller is killed every 2 s", || {
        let kills = roll_while(&mut rig, &town, &mut apps, time, |rig| {
            rig.kill();
            rig.spawn();
        });
        traffic.assert_nothing_lost("the controller is killed every 2 s");
        println!("killed {kills} times in {time:?}, {} requests so far", traffic.sent());
    });
    scenarios.run("rolling restart", || {
        let time = length(Duration::from_secs(6), Duration::from_secs(30));
        roll_while(&mut rig, &town, &mut apps, time, |rig| {
            rig.stop();
            rig.spawn();
        });
        traffic.assert_nothing_lost("rolling restart");
    });
    scenarios.run("no reloads", || {
        rig.wait_ready();
        assert_eq!(rig.worker_pid(), worker, "the worker is the first one");
        let reasons = rig.reload_reasons();
        assert!(reasons.iter().all(|reason| reason.contains("first start")), "{reasons:?}");
    });
    scenarios.run("nothing lost", || {
        traffic.finish("rolling");
    });
    scenarios.finish();
}

/// Rolls pods all the time, and disturbs the controller every [`LIFE`]. Tells how often.
fn roll_while(
    rig: &mut Rig,
    town: &Town,
    apps: &mut [App],
    time: Duration,
    disturb: impl Fn(&mut Rig),
) -> u32 {
    let (begin, mut last, mut times) = (Instant::now(), Instant::now(), 0);
    while begin.elapsed() < time {
        for app in apps.iter_mut() {
            town.roll(app);
        }
        std::thread::sleep(Duration::from_millis(650));
        if last.elapsed() >= LIFE {
            disturb(rig);
            last = Instant::now();
            times += 1;
        }
    }
    rig.wait_ready();
    times
}
