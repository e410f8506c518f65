//! Kubernetes Events.

use std::sync::Arc;

use tidegate_core::event::{Event, Outcome};
use tidegate_core::problem::{Reason, Severity};
use tidegate_core::tell::Notice;
use tidegate_core::world::object::*;

use crate::common::{service, slice};
use crate::drive::*;

/// An Ingress of ours with annotations.
fn annotated(name: &str, annotations: &[(&str, &str)]) -> Object {
    let Object::Ingress(one) = of_ours(name, &[]) else { unreachable!() };
    let mut one = (*one).clone();
    one.meta.annotations = annotations.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    one.meta.annotations.sort();
    Object::Ingress(Arc::new(one))
}

fn healthy() -> Vec<Object> {
    vec![service("shop"), slice("shop", &["10.0.0.1"])]
}

fn notes(drive: &Drive) -> Vec<Notice> {
    drive.notices().into_iter().map(|(_, notice)| notice).collect()
}

#[test]
fn a_problem_that_stands_for_a_second_is_told_once_in_half_an_hour() {
    let mut drive = Drive::new(events(), healthy());
    drive
        .upsert(annotated("a", &[("tidegate.io/time-server", "5s"), ("tidegate.io/nonsense", "")]));
    let since = drive.now;
    drive.pass(999);
    assert_eq!(notes(&drive), []);
    drive.pass(1);
    let [notice] = notes(&drive).try_into().unwrap();
    assert_eq!(notice.about, ObjectRef::new(Kind::Ingress, "default", "a"));
    assert_eq!(&*notice.uid, "uid-a");
    assert_eq!((notice.reason, notice.severity), (Reason::UnknownKey, Severity::Warning));
    // Both problems in one note, with what to do.
    assert!(notice.note.contains("did you mean tidegate.io/timeout-server?"), "{}", notice.note);
    assert!(notice.note.contains("tidegate.io/nonsense"), "{}", notice.note);
    drive.ack(Outcome::Done);
    drive.pass(1_799_999);
    assert_eq!(notes(&drive).len(), 1);
    drive.pass(1);
    assert_eq!(notes(&drive).len(), 2);
    assert_eq!(drive.notices()[1].0 - since, 1_801_000);
    drive.ack(Outcome::Done);
    // Mended: nothing more.
    drive.upsert(of_ours("a", &[]));
    drive.pass(7_200_000);
    assert_eq!(notes(&drive).len(), 2);
    assert_eq!(drive.controller.telling().unwrap().0.topics(), 0);
}

#[test]
fn what_flickers_is_never_told() {
    let mut objects = healthy();
    objects.push(annotated("a", &[("tidegate.io/nonsense", "")]));
    let mut drive = Drive::new(events(), objects);
    drive.pass(1_000);
    drive.ack(Outcome::Done);
    let standing = notes(&drive);
    for _ in 0..5_000 {
        drive.upsert(annotated("b", &[("tidegate.io/nonsense", "")]));
        // Beside one that stands, too.
        let both = [("tidegate.io/flicker", ""), ("tidegate.io/nonsense", "")];
        drive.upsert(annotated("a", &both));
        drive.pass(900);
        drive.upsert(annotated("b", &[]));
        drive.upsert(annotated("a", &[("tidegate.io/nonsense", "")]));
        drive.pass(37);
        if !drive.open.is_empty() {
            drive.ack(Outcome::Done);
        }
    }
    // 5,000 times 0.937 s: two refreshes of what stands, and nothing else.
    assert_eq!(notes(&drive).len(), 3);
    assert!(notes(&drive).iter().all(|notice| *notice == standing[0]), "{:?}", notes(&drive));
}

#[test]
fn another_note_is_told_soon_and_ever_more_slowly() {
    let mut drive = Drive::new(events(), healthy());
    let mut times = Vec::new();
    let begin = drive.now;
    for n in 0..600 {
        let key = format!("tidegate.io/nonsense-{n}");
        drive.upsert(annotated("a", &[(&key, "")]));
        drive.pass(3_000);
        while !drive.open.is_empty() {
            drive.ack(Outcome::Done);
        }
    }
    times.extend(drive.notices().iter().map(|(at, _)| at - begin));
    assert_eq!(times[0], 1_000);
    assert!(times[1] - times[0] < 14_000, "{times:?}");
    // Thirty minutes of changes every three seconds.
    assert!((8..=16).contains(&times.len()), "{times:?}");
    let last = notes(&drive).pop().unwrap();
    drive.pass(600_000);
    let settled = notes(&drive).pop().unwrap();
    assert!(settled.note.contains("tidegate.io/nonsense-599"), "{} {}", last.note, settled.note);
}

#[test]
fn errors_are_told_first_and_a_crowd_is_told_slowly() {
    let mut objects = Vec::new();
    for n in 0..500 {
        // Its Service does not exist: an error. Beside it a warning.
        objects.push(annotated(&format!("i{n}"), &[("tidegate.io/nonsense", "")]));
    }
    let mut drive = Drive::new(events(), objects);
    let end = 200_000;
    let mut most = 0;
    while drive.now < end {
        most = most.max(drive.open.len());
        match drive.open.is_empty() {
            true => drive.pass(50),
            false => drop(drive.ack(Outcome::Done)),
        }
    }
    assert!(most <= 8, "{most} open");
    let told = drive.notices();
    assert_eq!(told.len(), 1_000);
    let first_warning = told.iter().position(|(_, n)| n.severity == Severity::Warning).unwrap();
    assert!(first_warning >= 500, "{first_warning}");
    let second = |at: u64| told.iter().filter(|(t, _)| (at..at + 1_000).contains(t)).count();
    let busiest = told.iter().map(|(at, _)| second(*at)).max().unwrap();
    assert!(busiest <= 60, "{busiest} in a second");
    let (first, last) = (told[0].0, told[999].0);
    assert!(last - first >= 90_000, "{}", last - first);
}

#[test]
fn a_refused_event_comes_back_ever_later_and_holds_up_nobody() {
    let mut objects = healthy();
    objects.push(annotated("bad", &[("tidegate.io/nonsense", "")]));
    let mut drive = Drive::new(events(), objects);
    let end = 1_200_000;
    let mut others = 0;
    while drive.now < end {
        drive.pass(1_000);
        if drive.now % 60_000 < 1_000 {
            others += 1;
            drive.upsert(annotated(&format!("o{others}"), &[("tidegate.io/nonsense", "")]));
        }
        while let Some((_, _, tidegate_core::tell::Tell::Event(notice))) = drive.open.front() {
            let bad = &*notice.about.name.name == "bad";
            drive.ack(if bad { Outcome::Refused("no".into()) } else { Outcome::Done });
        }
    }
    drive.pass(5_000);
    let told = notes(&drive);
    let bad = told.iter().filter(|n| &*n.about.name.name == "bad").count();
    assert!((8..=14).contains(&bad), "{bad}");
    assert_eq!(told.len() - bad, others);
}

#[test]
fn what_is_no_object_is_not_told() {
    let mut objects = healthy();
    objects.push(of_ours("a", &[]));
    let mut drive = Drive::new(events(), objects);
    drive.step(vec![Event::SourceProblems(vec![tidegate_core::problem::Problem {
        object: ObjectRef::new(Kind::ConfigMap, "", "manifests/broken.yaml"),
        field: "".into(),
        reason: Reason::Source,
        severity: Severity::Error,
        what: "it cannot be read".into(),
        instead: "its last good version is in force".into(),
        fix: "mend it".into(),
    }])]);
    drive.pass(60_000);
    assert_eq!(notes(&drive), []);
    // Gone before its second is over.
    drive.upsert(annotated("b", &[("tidegate.io/nonsense", "")]));
    drive.step(vec![Event::Deleted(ObjectRef::new(Kind::Ingress, "default", "b"))]);
    drive.pass(60_000);
    assert_eq!(notes(&drive), []);
}

#[test]
fn a_note_fits_and_is_cut_at_a_character() {
    let mut objects = healthy();
    let keys: Vec<String> = (0..200).map(|n| format!("tidegate.io/nonsense-{n}")).collect();
    let keys: Vec<(&str, &str)> = keys.iter().map(|k| (k.as_str(), "")).collect();
    objects.push(annotated("many", &keys));
    let long = format!("tidegate.io/{}", "ü".repeat(2_000));
    objects.push(annotated("long", &[(&long, "")]));
    let mut drive = Drive::new(events(), objects);
    drive.pass(1_000);
    let told = notes(&drive);
    assert_eq!(told.len(), 2);
    for notice in told {
        assert!(notice.note.len() <= 1_024, "{}", notice.note.len());
        assert!(notice.note.len() > 900, "{}", notice.note);
        let cut = if &*notice.about.name.name == "many" { " more)" } else { "..." };
        assert!(notice.note.ends_with(cut), "{}", notice.note);
    }
}
