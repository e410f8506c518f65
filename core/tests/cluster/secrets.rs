//! Secrets on demand: asked for when they are referred to, and waited for.

use tidegate_core::action::{Action, ActionBody};
use tidegate_core::capability::Capabilities;
use tidegate_core::controller::{Controller, Step};
use tidegate_core::event::Event;
use tidegate_core::settings::Settings;
use tidegate_core::time::Time;
use tidegate_core::world::object::*;

use super::lists::{listed, shop};
use crate::common::*;

const LISTED: [Kind; 4] = [Kind::IngressClass, Kind::Service, Kind::EndpointSlice, Kind::Ingress];

fn settings() -> Settings {
    let mut settings = Settings::documented("/tmp/state");
    settings.scope.secrets_on_demand = true;
    settings.scope.custom_resources = false;
    settings.scope.nodes = false;
    settings
}

fn asked(step: &Step) -> (Vec<String>, Vec<String>) {
    let names = |names: &[Name]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut all = (Vec::new(), Vec::new());
    for Action { body, .. } in &step.actions {
        if let ActionBody::FollowSecrets { add, drop } = body {
            all.0.extend(names(add));
            all.1.extend(names(drop));
        }
    }
    all
}

fn begin(objects: &[Object]) -> (Controller, Step) {
    let mut controller = Controller::new(settings(), Time(0));
    let _ = controller.step(Time(0), vec![Event::ProxyFound(Capabilities::tier_a())]);
    let mut events: Vec<Event> = LISTED.iter().map(|k| listed(*k, None, objects)).collect();
    events.push(listed(Kind::Namespace, None, objects));
    let step = controller.step(Time(1), events);
    (controller, step)
}

fn tls(name: &str, host: &str, secret: &str) -> Object {
    with_tls(ingress(name, &[], &[(host, "/", PathType::Prefix, "shop")]), host, secret)
}

fn certificates(controller: &Controller) -> usize {
    controller.desired().image().certificates.len()
}

fn shown(controller: &Controller) -> String {
    format!("{:?}", controller.desired().image().certificates.sorted())
}

fn answer(controller: &mut Controller, at: u64, secret: Object) -> Step {
    controller.step(Time(at), vec![Event::Upserted(secret)])
}

/// At stake: S19 and S25 at a start: HAProxy that serves already must not lose certificates to a
/// controller that has not read them.
#[test]
fn the_first_rendering_waits_for_the_first_answers() {
    let mut objects = shop();
    objects.push(tls("one", "one.example.com", "one"));
    objects.push(tls("two", "two.example.com", "two"));
    let (mut controller, step) = begin(&objects);
    assert_eq!(asked(&step), (vec!["default/one".into(), "default/two".into()], vec![]));
    assert!(!controller.world().is_synced());
    let _ = answer(&mut controller, 1_500, secret("one", "one"));
    // The second is late, but answers still come.
    let _ = controller.step(Time(2_005), vec![Event::Ticked]);
    assert!(!controller.world().is_synced());
    let gone = Event::Deleted(ObjectRef::new(Kind::Secret, "default", "two"));
    let step = controller.step(Time(2_010), vec![gone]);
    assert!(controller.world().is_synced());
    assert_eq!(certificates(&controller), 1);
    assert!(step.actions.iter().any(|a| matches!(a.body, ActionBody::Reload { .. })));
}

/// At stake: one Secret that cannot be read (403) holds up nobody for ever.
#[test]
fn what_is_not_answered_is_waited_for_two_seconds() {
    let mut objects = shop();
    objects.push(tls("one", "one.example.com", "one"));
    let (mut controller, step) = begin(&objects);
    let wake = step.wake_at.unwrap();
    assert_eq!(wake.at, Time(2_001));
    let _ = controller.step(wake.at, vec![Event::Ticked]);
    assert!(controller.world().is_synced());
    assert_eq!(certificates(&controller), 0);
    let _ = answer(&mut controller, 9_000, secret("one", "one"));
    assert_eq!(certificates(&controller), 1);
}

/// At stake: no flicker of the default certificate when an Ingress names another Secret.
#[test]
fn the_old_version_stays_in_force_until_the_new_secret_is_there() {
    let mut objects = shop();
    objects.push(tls("one", "one.example.com", "old"));
    let (mut controller, _) = begin(&objects);
    let _ = answer(&mut controller, 2, secret("old", "old"));
    let before = shown(&controller);
    let new = Event::Upserted(tls("one", "one.example.com", "new"));
    let step = controller.step(Time(10), vec![new]);
    assert_eq!(asked(&step), (vec!["default/new".into()], vec![]));
    assert_eq!(shown(&controller), before);
    // A checkpoint does not lose what waits.
    let mut restored = controller.checkpoint().map(|c| c.restore());
    let step = answer(&mut controller, 20, secret("new", "new"));
    assert_eq!(asked(&step), (vec![], vec!["default/old".into()]));
    assert_ne!(shown(&controller), before);
    assert_eq!(certificates(&controller), 1);
    assert!(controller.problems().next().is_none());
    if let Some(restored) = &mut restored {
        let again = answer(restored, 20, secret("new", "new"));
        assert_eq!(asked(&again), asked(&step));
        assert_eq!(certificates(restored), 1);
    }
    // What arrives late for a Secret nobody follows any more is not kept.
    let _ = answer(&mut controller, 30, secret("old", "old"));
    assert_eq!(controller.world().counts()[3], (Kind::Secret, 1));
}

/// At stake: an annotation that names a Secret; what is deleted while it waits; references that go
/// with the class.
#[test]
fn references_come_and_go_with_objects_and_classes() {
    let (mut controller, _) = begin(&shop());
    let keys = [("tidegate.io/server-ca", "pods-ca")];
    let waits = ingress("b", &keys, &[("b.example.com", "/", PathType::Prefix, "shop")]);
    let step = controller.step(Time(10), vec![Event::Upserted(waits.clone())]);
    assert_eq!(asked(&step).0, ["default/pods-ca"]);
    let gone = Event::Deleted(ObjectRef::new(Kind::Ingress, "default", "b"));
    let step = controller.step(Time(11), vec![gone]);
    assert_eq!(asked(&step).1, ["default/pods-ca"]);
    assert_eq!(controller.world().counts()[6], (Kind::Ingress, 1));
    // Not ours: it refers to nothing. With the class it waits, and the class with it.
    let class_gone = Event::Deleted(ObjectRef::new(Kind::IngressClass, "", "tidegate"));
    let step = controller.step(Time(20), vec![class_gone, Event::Upserted(waits)]);
    assert_eq!(asked(&step), (vec![], vec![]));
    let step = controller.step(Time(30), vec![Event::Upserted(class())]);
    assert_eq!(asked(&step).0, ["default/pods-ca"]);
    assert_eq!(controller.world().counts()[2], (Kind::IngressClass, 0));
    let absent = Event::Deleted(ObjectRef::new(Kind::Secret, "default", "pods-ca"));
    let _ = controller.step(Time(40), vec![absent]);
    assert_eq!(controller.world().counts()[2], (Kind::IngressClass, 1));
    let class_gone = Event::Deleted(ObjectRef::new(Kind::IngressClass, "", "tidegate"));
    let step = controller.step(Time(50), vec![class_gone]);
    assert_eq!(asked(&step).1, ["default/pods-ca"]);
}
