//! Two replicas: both serve, one writes. The writer is killed, and the next one is cut off.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bed::Bed;
use crate::bed::plane::PORT;
use crate::bed::wire::{State, Wire};
use crate::common::rig::Rig;
use crate::common::traffic::Traffic;
use crate::common::{Scenarios, ensure, eventually, eventually_within};
use crate::town::{SOON, Town, soon};

const PAUSE: Duration = Duration::from_millis(2);

/// An address of no machine (RFC 5737).
const ADDRESS: &str = "203.0.113.9";

/// The term of a Lease, and what comes on top: a try of the other, and a write.
const TERM: Duration = Duration::from_secs(15 + 5);

struct Replica {
    name: &'static str,
    wire: Wire,
    rig: Rig,
}

#[test]
fn one_of_two_replicas_writes() {
    let bed = Bed::with(&[], true);
    let town = Town::new(&bed);
    let app = town.app("shop", 3);
    let mut replicas = ["one", "two"].map(|name| replica(&bed, name));
    for replica in &mut replicas {
        replica.rig.start();
        soon(&replica.rig, Instant::now(), &app.host, "/", 200, "shop");
    }
    town.ledger.ask(&app.host, "/");
    let ports = [replicas[0].rig.http, replicas[1].rig.http];
    let traffic = Traffic::by_ledger(&ports, 2, 2, PAUSE, &town.ledger);
    let mut scenarios = Scenarios::new("3.4");
    scenarios.run("one is elected", || {
        wait_status(&bed, "shop", TERM);
        println!("{} writes", holder(&bed));
        metrics_tell(&bed, &replicas);
    });
    scenarios.run("the leader is killed", || {
        let leader = leader(&bed, &replicas);
        replicas[leader].rig.kill();
        let begin = Instant::now();
        let app = town.app("orphan", 1);
        soon(&replicas[1 - leader].rig, Instant::now(), &app.host, "/", 200, "orphan");
        wait_status(&bed, "orphan", TERM);
        println!("leader killed: status settled after {:?}", begin.elapsed());
        assert_eq!(holder(&bed), replicas[1 - leader].name);
        replicas[leader].rig.start();
        soon(&replicas[leader].rig, Instant::now(), &app.host, "/", 200, "orphan");
    });
    scenarios.run("the leader is cut off", || {
        let leader = leader(&bed, &replicas);
        replicas[leader].wire.set(State::Deaf);
        let begin = Instant::now();
        let app = town.app("second", 1);
        soon(&replicas[1 - leader].rig, Instant::now(), &app.host, "/", 200, "second");
        wait_status(&bed, "second", TERM);
        println!("leader cut off: status settled after {:?}", begin.elapsed());
        assert_eq!(holder(&bed), replicas[1 - leader].name);
        let answer = replicas[leader].rig.now("shop.test", "/");
        assert_eq!((answer.status, answer.service()), (200, "shop"), "it serves on");
        replicas[leader].wire.set(State::Open);
        eventually_within(TERM, "the one that was cut off follows again", || {
            let answer = replicas[leader].rig.get("second.test", "/")?;
            ensure(answer.service() == "second", || answer.status.to_string())
        });
        std::thread::sleep(SOON);
        assert_eq!(holder(&bed), replicas[1 - leader].name, "nobody takes it back");
        metrics_tell(&bed, &replicas);
    });
    scenarios.run("one writer at a time", || one_writer(&bed));
    scenarios.run("nothing lost", || {
        traffic.finish("two replicas");
    });
    scenarios.finish();
}

fn replica(bed: &Bed, name: &'static str) -> Replica {
    let wire = Wire::to(PORT);
    let token = bed.account(name);
    let kubeconfig = bed.kubeconfig(name, wire.port, &token);
    let rig = bed.rig_with("3.4", kubeconfig).arguments(&[
        "--identity",
        name,
        "--lease",
        "test/tidegate",
        "--publish-address",
        ADDRESS,
    ]);
    Replica { name, wire, rig }
}

fn holder(bed: &Bed) -> String {
    let lease = bed.api().find("Lease", "test", "tidegate").unwrap_or_default();
    lease["spec"]["holderIdentity"].as_str().unwrap_or("").to_owned()
}

fn leader(bed: &Bed, replicas: &[Replica; 2]) -> usize {
    let holder = holder(bed);
    let leader = replicas.iter().position(|replica| replica.name == holder);
    leader.unwrap_or_else(|| panic!("'{holder}' leads"))
}

/// Each replica says whether it is the leader, and who is.
fn metrics_tell(bed: &Bed, replicas: &[Replica; 2]) {
    let holder = holder(bed);
    eventually("metrics say who leads", || {
        for Replica { name, rig, .. } in replicas {
            let (leads, holders) =
                (rig.metric("tidegate_leader"), rig.metric("tidegate_lease_holder"));
            let right = leads.get("") == Some(&f64::from(u8::from(holder == *name)))
                && holders.keys().any(|labels| labels.contains(&holder));
            ensure(right, || format!("{name}: {leads:?} {holders:?}, and {holder} leads"))?;
        }
        Ok(())
    });
}

fn wait_status(bed: &Bed, name: &str, time: Duration) {
    eventually_within(time, &format!("status of {name}"), || {
        let ingress = bed.api().find("Ingress", "test", name).unwrap_or_default();
        let status = &ingress["status"]["loadBalancer"]["ingress"];
        ensure(status == &json!([{"ip": ADDRESS}]), || status.to_string())
    });
}

/// Who wrote the status of an Ingress was the last to write the Lease.
fn one_writer(bed: &Bed) {
    let mut leads = String::new();
    let (mut writes, mut changes) = (0, 0);
    let mut audit = bed.plane.audit();
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    audit.sort_by_key(|event| text(&event["requestReceivedTimestamp"]));
    for event in audit {
        let (user, what) = (text(&event["user"]["username"]), &event["objectRef"]);
        let wrote = matches!(event["verb"].as_str(), Some("create" | "update" | "patch"))
            && event["responseStatus"]["code"].as_u64().is_some_and(|code| code < 300);
        if !wrote || !user.starts_with("system:serviceaccount:test:") {
            continue;
        }
        if what["resource"] == "leases" {
            changes += u32::from(leads != user);
            leads = user;
        } else if what["resource"] == "ingresses" {
            assert_eq!(what["subresource"], "status", "{event}");
            assert_eq!(leads, user, "written without the Lease: {event}");
            writes += 1;
        }
    }
    println!("{writes} writes of status, the Lease went to {changes} holders");
    // One for each of three Ingresses and change of what is right; none is repeated.
    assert_eq!((writes, changes), (3, 3));
}
