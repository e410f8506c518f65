//! Which replica tells.

use tidegate_core::event::{Ack, Event, Outcome};
use tidegate_core::settings::{Publish, Telling};
use tidegate_core::tell::{LeaseRecord, Tell};
use tidegate_core::world::object::*;

use crate::drive::*;

fn elected() -> Telling {
    Telling {
        publish: Publish::Addresses(addresses(&["192.0.2.1"])),
        events: true,
        election: Some(election("a")),
    }
}

fn lease(version: u64, holder: &str) -> LeaseRecord {
    LeaseRecord {
        version: version.to_string().into(),
        holder: holder.into(),
        duration_ms: TERM_MS,
        transitions: 3,
        renewed: format!("renewed {version}").into(),
    }
}

/// Answers the open request about the Lease; others stay open.
fn answer(drive: &mut Drive, seen: Option<Option<LeaseRecord>>, outcome: Outcome) -> Tell {
    let about = |tell: &Tell| matches!(tell, Tell::ReadLease | Tell::WriteLease { .. });
    let at = drive.open.iter().position(|(_, _, tell)| about(tell)).expect("nothing is asked");
    let (_, id, tell) = drive.open.remove(at).unwrap();
    let mut events: Vec<Event> = seen.map(Event::LeaseSeen).into_iter().collect();
    events.push(Event::Acked(Ack { id, outcomes: vec![outcome], worker: None }));
    drive.step(events);
    tell
}

fn leading() -> Drive {
    let mut drive = Drive::new(elected(), vec![of_ours("a", &[])]);
    assert_eq!(answer(&mut drive, Some(None), Outcome::Done), Tell::ReadLease);
    assert!(!drive.controller.is_leader());
    assert_eq!(drive.statuses(), []);
    answer(&mut drive, Some(Some(lease(1, "a"))), Outcome::Done);
    drive
}

#[test]
fn nobody_tells_before_the_lease_is_held() {
    let drive = leading();
    assert!(drive.controller.is_leader());
    assert_eq!(drive.statuses().len(), 1);
    // Telling keeps nothing else waiting.
    assert!(drive.controller.is_quiet());
}

#[test]
fn a_follower_tells_nothing_and_remembers_what_is_to_be_told() {
    let mut drive = Drive::new(elected(), vec![of_ours("a", &[]), of_ours("b", &[])]);
    // The other one renews for an hour.
    for version in 1..1_500 {
        answer(&mut drive, Some(Some(lease(version, "other"))), Outcome::Done);
        drive.pass(2_400);
    }
    assert_eq!((drive.statuses().len(), drive.notices().len()), (0, 0));
    // It wrote one status before it died.
    drive.upsert(of_ours("a", &["192.0.2.1"]));
    for _ in 0..10 {
        if drive.controller.is_leader() {
            break;
        }
        let is_write = matches!(drive.open.front(), Some((_, _, Tell::WriteLease { .. })));
        let seen = if is_write { lease(2_000, "a") } else { lease(1_499, "other") };
        answer(&mut drive, Some(Some(seen)), Outcome::Done);
        if !drive.controller.is_leader() && drive.open.is_empty() {
            drive.pass(2_400);
        }
    }
    assert!(drive.controller.is_leader());
    let written: Vec<String> = drive.statuses().into_iter().map(|(_, name, _)| name).collect();
    assert_eq!(written, ["b"]);
    // Problems it has known for long, all the same.
    assert_eq!(drive.notices().len(), 2);
}

#[test]
fn a_holder_that_cannot_renew_falls_silent_before_another_can_speak() {
    let mut drive = leading();
    drive.perform();
    let since = drive.now;
    drive.pass(2_000);
    answer(&mut drive, None, Outcome::Unknown);
    drive.pass(6_000);
    assert!(drive.controller.is_leader());
    drive.pass(since + 9_999 - drive.now);
    assert!(drive.controller.is_leader());
    drive.pass(1);
    assert!(!drive.controller.is_leader());
    drive.upsert(of_ours("late", &[]));
    drive.pass(60_000);
    assert_eq!(drive.statuses().len(), 1);
}

#[test]
fn at_the_end_the_lease_is_given_back_when_all_is_answered() {
    let mut drive = leading();
    drive.step(vec![Event::Stopping]);
    assert!(!drive.controller.is_leader() && !drive.controller.is_silent());
    drive.upsert(of_ours("late", &[]));
    assert_eq!(drive.statuses().len(), 1);
    let is_status = |tell: &Tell| matches!(tell, Tell::Status { .. });
    assert_eq!(drive.open.len(), 1);
    assert!(is_status(&drive.perform()));
    let Tell::WriteLease { version, lease: written } =
        answer(&mut drive, Some(Some(lease(2, ""))), Outcome::Done)
    else {
        panic!("not a write of the Lease")
    };
    assert_eq!(version.as_deref(), Some("1"));
    assert_eq!((&*written.holder, written.duration_ms, written.transitions), ("", 1_000, 3));
    assert!(drive.controller.is_silent());
    drive.pass(60_000);
    assert!(drive.open.is_empty());
}

#[test]
fn with_one_replica_there_is_no_election() {
    let alone = Telling { election: None, ..elected() };
    let mut drive = Drive::new(alone, vec![of_ours("a", &[])]);
    assert!(drive.controller.is_leader());
    assert!(is_about_a(&drive.perform()));
    drive.step(vec![Event::Stopping]);
    assert!(drive.controller.is_silent());
}

fn is_about_a(tell: &Tell) -> bool {
    matches!(tell, Tell::Status { ingress, .. } if *ingress == Name::new("default", "a"))
}
