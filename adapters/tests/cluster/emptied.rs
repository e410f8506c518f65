//! A store that forgets everything is not believed, and remembers it later: nothing that is served
//! changes.

use std::time::{Duration, Instant};

use crate::bed::Bed;
use crate::common::Scenarios;
use crate::common::traffic::Traffic;
use crate::town::{SOON, Town, length, soon, within};

#[test]
#[ignore = "core believes what is absent from a list yet"]
fn an_emptied_store_is_not_believed() {
    let mut bed = Bed::start();
    let mut rig = bed.rig("3.4");
    let town = Town::new(&bed);
    let apps: Vec<_> = (0..15).map(|number| town.app(&format!("app{number}"), 2)).collect();
    rig.start();
    for app in &apps {
        soon(&rig, Instant::now(), &app.host, "/", 200, &app.name);
        town.ledger.ask(&app.host, "/");
    }
    let pause = Duration::from_millis(2);
    let traffic = Traffic::by_ledger(&[rig.http], 2, 2, pause, &town.ledger);
    let mut scenarios = Scenarios::new("3.4");
    scenarios.run("emptied", || {
        bed.plane.kill();
        bed.plane.save("copy");
        bed.plane.empty();
        bed.plane.start_etcd();
        bed.plane.start_apiserver();
        traffic.pass(2_000);
        std::thread::sleep(length(2 * SOON, 15 * SOON));
        traffic.assert_nothing_lost("the store is empty");
        let problem = rig.wait_problem(&["absent"]);
        println!("told: {problem}");
    });
    scenarios.run("restored", || {
        bed.plane.kill();
        bed.plane.restore("copy");
        bed.plane.start_etcd();
        bed.plane.start_apiserver();
        let begin = Instant::now();
        let _app = town.app("restored", 1);
        let time = Duration::from_secs(10);
        let took = within(&rig, time, begin, "restored.test", "/", 200, "restored");
        println!("a new application answers {took:?} after the API server is back");
        rig.wait_no_problem("absent");
    });
    scenarios.run("nothing lost", || {
        traffic.finish("an emptied store");
    });
    scenarios.finish();
}
