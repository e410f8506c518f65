//! The status of Ingresses.

use tidegate_core::event::{Event, Outcome};
use tidegate_core::settings::Publish;
use tidegate_core::tell::Tell;
use tidegate_core::world::object::*;

use crate::common::{service, slice};
use crate::drive::*;

fn fixed() -> Publish {
    Publish::Addresses(addresses(&["192.0.2.2", "192.0.2.1", "192.0.2.2"]))
}

fn written(drive: &Drive) -> Vec<String> {
    drive.statuses().into_iter().map(|(_, name, _)| name).collect()
}

#[test]
fn ours_get_the_addresses_once_and_foreign_ones_nothing() {
    let objects = vec![
        of_ours("a", &[]),
        of_ours("right", &["192.0.2.2", "192.0.2.1"]),
        of_ours("wrong", &["192.0.2.9"]),
        of_class("foreign", "other", &["192.0.2.9"]),
        of_class("nobodys", "unknown", &[]),
    ];
    let mut drive = Drive::new(telling(fixed()), objects);
    assert_eq!(written(&drive), ["a", "wrong"]);
    let Tell::Status { uid, addresses: told, .. } = drive.perform() else { panic!() };
    assert_eq!(&*uid, "uid-a");
    assert_eq!(told, addresses(&["192.0.2.1", "192.0.2.2"]));
    drive.perform();
    drive.pass(7_200_000);
    assert_eq!(written(&drive), ["a", "wrong"]);
    assert_eq!(drive.controller.telling().unwrap().0.statuses_pending(), 0);
}

#[test]
fn a_status_changed_by_others_computes_no_route() {
    let mut drive = Drive::new(telling(fixed()), vec![of_ours("a", &["192.0.2.1", "192.0.2.2"])]);
    let step = drive.controller.step(
        tidegate_core::time::Time(drive.now),
        vec![Event::Upserted(of_ours("a", &["192.0.2.77"]))],
    );
    assert_eq!(step.trace.pieces, []);
    assert!(matches!(
        step.actions.as_slice(),
        [one] if matches!(one.body, tidegate_core::action::ActionBody::Tell(Tell::Status { .. }))
    ));
}

#[test]
fn a_fight_gets_slower() {
    let mut drive = Drive::new(telling(fixed()), vec![of_ours("a", &[])]);
    let end = 3_600_000;
    while drive.now < end {
        if drive.open.is_empty() {
            let at = drive.wake_at.unwrap_or(end);
            drive.pass(at.saturating_sub(drive.now).max(1));
        } else {
            drive.perform();
            drive.pass(100);
            // Somebody else is sure of another address.
            drive.upsert(of_ours("a", &["192.0.2.9"]));
        }
    }
    let writes = written(&drive).len();
    assert!((8..=24).contains(&writes), "{writes} writes in an hour");
}

#[test]
fn many_are_written_a_few_at_a_time() {
    let objects = (0..1_000).map(|n| of_ours(&format!("i{n}"), &[])).collect();
    let mut drive = Drive::new(telling(fixed()), objects);
    let mut most = 0;
    while !drive.open.is_empty() {
        most = most.max(drive.open.len());
        drive.perform();
    }
    assert_eq!(most, 16);
    assert_eq!(written(&drive).len(), 1_000);
    let distinct: std::collections::BTreeSet<String> = written(&drive).into_iter().collect();
    assert_eq!(distinct.len(), 1_000);
}

#[test]
fn one_that_is_refused_for_good_holds_up_nobody() {
    let mut objects: Vec<Object> = (0..100).map(|n| of_ours(&format!("i{n}"), &[])).collect();
    objects.push(of_ours("bad", &[]));
    let mut drive = Drive::new(telling(fixed()), objects);
    let end = 1_800_000;
    while drive.now < end {
        let bad =
            |tell: &Tell| matches!(tell, Tell::Status { ingress, .. } if &*ingress.name == "bad");
        match drive.open.front() {
            Some((_, _, tell)) if bad(tell) => {
                drive.ack(Outcome::Refused("denied".into()));
            }
            Some(_) => {
                drive.perform();
            }
            None => {
                let next = drive.wake_at.unwrap_or(end);
                drive.pass(next.saturating_sub(drive.now).max(1));
            }
        }
    }
    let tries = written(&drive).into_iter().filter(|name| name == "bad").count();
    assert!((8..=20).contains(&tries), "{tries} tries in half an hour");
    assert_eq!(written(&drive).len() - tries, 100);
    assert_eq!(drive.controller.telling().unwrap().0.statuses_pending(), 1);
}

#[test]
fn a_lost_answer_is_not_taken_for_done() {
    let mut drive = Drive::new(telling(fixed()), vec![of_ours("a", &[])]);
    drive.ack(Outcome::Unknown);
    drive.pass(2_000);
    assert_eq!(written(&drive).len(), 2);
    // The first one had arrived.
    drive.upsert(of_ours("a", &["192.0.2.1", "192.0.2.2"]));
    drive.ack(Outcome::Unknown);
    drive.pass(3_600_000);
    assert_eq!(written(&drive).len(), 2);
}

#[test]
fn nothing_is_written_without_addresses_nor_cleared() {
    let publish = Publish::Service(Name::new("tidegate", "tidegate"));
    let objects = vec![of_ours("a", &["192.0.2.9"])];
    let mut drive = Drive::new(telling(publish), objects);
    drive.pass(10_000);
    assert_eq!(written(&drive), [""; 0]);
    drive.upsert(publisher(&[]));
    drive.pass(10_000);
    assert_eq!(written(&drive), [""; 0]);
    drive.upsert(publisher(&["192.0.2.1"]));
    assert_eq!(written(&drive), ["a"]);
    drive.perform();
    // The load balancer goes away: nobody is told, and what comes waits.
    drive.upsert(publisher(&[]));
    drive.upsert(of_ours("b", &[]));
    drive.pass(60_000);
    drive.step(vec![Event::Deleted(ObjectRef::new(Kind::Service, "tidegate", "tidegate"))]);
    drive.pass(60_000);
    assert_eq!(written(&drive), ["a"]);
    drive.upsert(publisher(&["192.0.2.5"]));
    assert_eq!(written(&drive), ["a", "a", "b"]);
}

#[test]
fn addresses_that_change_during_a_write_are_written_after_it() {
    let publish = Publish::Service(Name::new("tidegate", "tidegate"));
    let mut drive =
        Drive::new(telling(publish), vec![publisher(&["192.0.2.1"]), of_ours("a", &[])]);
    assert_eq!(drive.open.len(), 1);
    drive.upsert(publisher(&["192.0.2.2"]));
    assert_eq!(drive.open.len(), 1);
    drive.perform();
    let last = drive.statuses().pop().unwrap();
    assert_eq!((last.1.as_str(), last.2), ("a", addresses(&["192.0.2.2"])));
    assert_eq!(drive.statuses().len(), 2);
}

#[test]
fn ready_nodes_are_published() {
    let objects = vec![
        node("n1", true, &["10.0.0.1"], &[]),
        node("n2", true, &["10.0.0.2"], &[]),
        node("n3", false, &["10.0.0.3"], &["192.0.2.3"]),
        of_ours("a", &[]),
    ];
    let mut drive = Drive::new(telling(Publish::Nodes), objects);
    drive.perform();
    drive.upsert(node("n3", true, &["10.0.0.3"], &["192.0.2.3"]));
    drive.perform();
    for name in ["n1", "n2", "n3"] {
        drive.upsert(node(name, false, &["10.0.0.1"], &[]));
    }
    drive.pass(60_000);
    let told: Vec<Vec<Address>> = drive.statuses().into_iter().map(|(_, _, told)| told).collect();
    assert_eq!(told[0], addresses(&["10.0.0.1", "10.0.0.2"]));
    assert_eq!(told[1], addresses(&["192.0.2.3"]));
    // n3 went first, then n1 and n2: what is left is told, but never nothing.
    assert!(told.iter().all(|told| !told.is_empty()));
}

#[test]
fn a_class_that_changes_hands_decides() {
    let mut drive = Drive::new(telling(fixed()), vec![of_class("a", "late", &[])]);
    assert_eq!(written(&drive), [""; 0]);
    let Object::IngressClass(class) = crate::common::class() else { unreachable!() };
    let mut late = (*class).clone();
    late.meta.name = Name::new("", "late");
    drive.upsert(Object::IngressClass(late.into()));
    drive.pass(1_000);
    assert_eq!(written(&drive), ["a"]);
    drive.perform();
    // No longer ours: left as it is, whatever becomes of it.
    drive.step(vec![Event::Deleted(ObjectRef::new(Kind::IngressClass, "", "late"))]);
    drive.upsert(of_class("a", "late", &["192.0.2.66"]));
    drive.pass(600_000);
    assert_eq!(written(&drive), ["a"]);
}

#[test]
fn a_status_waits_for_its_routes_but_not_for_long() {
    let mut drive = Drive::new(telling(fixed()), vec![]);
    drive.upsert(service("shop"));
    drive.upsert(slice("shop", &["10.0.0.1"]));
    drive.stuck = true;
    drive.upsert(of_ours("a", &[]));
    assert_eq!(written(&drive), [""; 0]);
    let since = drive.now;
    drive.pass(5_000);
    assert_eq!(written(&drive), ["a"]);
    assert_eq!(drive.statuses()[0].0 - since, 1_000);
}

#[test]
fn a_status_waits_as_long_as_its_route_waits_for_endpoints() {
    let mut drive = Drive::new(telling(fixed()), vec![]);
    drive.upsert(of_ours("a", &[]));
    drive.pass(499);
    assert_eq!(written(&drive), [""; 0]);
    drive.pass(1);
    assert_eq!(written(&drive), ["a"], "it answers 503 from now on");

    let mut drive = Drive::new(telling(fixed()), vec![]);
    drive.upsert(of_ours("a", &[]));
    drive.upsert(service("shop"));
    assert_eq!(written(&drive), [""; 0]);
    drive.upsert(slice("shop", &["10.0.0.1"]));
    drive.pass(10);
    assert_eq!(written(&drive), ["a"], "it is served from now on");
}

#[test]
fn an_ingress_made_anew_is_another_one() {
    let mut drive = Drive::new(telling(fixed()), vec![of_ours("a", &[])]);
    let reference = ObjectRef::new(Kind::Ingress, "default", "a");
    drive.step(vec![Event::Deleted(reference)]);
    let Object::Ingress(one) = of_ours("a", &[]) else { unreachable!() };
    let mut one = (*one).clone();
    one.meta.uid = "uid-second".into();
    drive.upsert(Object::Ingress(one.into()));
    drive.pass(1_000);
    drive.ack(Outcome::Refused("it is another object".into()));
    let Some((_, _, Tell::Status { uid, .. })) = drive.open.pop_front() else { panic!() };
    assert_eq!(&*uid, "uid-second");
}

#[test]
fn a_checkpoint_goes_on_where_it_was() {
    let objects = (0..40).map(|n| of_ours(&format!("i{n}"), &[])).collect();
    let mut drive = Drive::new(telling(fixed()), objects);
    drive.perform();
    drive.ack(Outcome::Refused("no".into()));
    let checkpoint = drive.controller.checkpoint().expect("open requests do not keep it back");
    let mut again = checkpoint.clone().restore();
    assert_eq!(again.checkpoint(), Some(checkpoint));
    for n in 0..30 {
        let Some((_, id, _)) = drive.open.pop_front() else { break };
        let outcome = if n % 3 == 0 { Outcome::Unknown } else { Outcome::Done };
        let ack = tidegate_core::event::Ack { id, outcomes: vec![outcome], worker: None };
        let events = vec![Event::Acked(ack)];
        let now = tidegate_core::time::Time(drive.now + 100 * n);
        let one = drive.controller.step(now, events.clone());
        let two = again.step(now, events);
        assert_eq!(format!("{:?}", one.actions), format!("{:?}", two.actions));
        assert_eq!(one.wake_at, two.wake_at);
    }
}
