//! Absence is not deletion: lists that do not have what is served.

use tidegate_core::action::{ActionBody, MapId};
use tidegate_core::capability::Capabilities;
use tidegate_core::controller::{Controller, Step};
use tidegate_core::event::{Event, Listing};
use tidegate_core::problem::Reason;
use tidegate_core::settings::Settings;
use tidegate_core::time::Time;
use tidegate_core::world::object::*;

use crate::common::*;

const MINUTE: u64 = 60_000;

fn at(kind: Kind, cluster: &str, revision: u64, objects: &[Object]) -> Event {
    Event::Listed(Listing {
        kind,
        namespace: None,
        cluster: cluster.into(),
        revision,
        watched: 0,
        objects: objects.iter().filter(|o| o.kind() == kind).cloned().collect(),
        name: None,
    })
}

fn shops(count: usize) -> Vec<Object> {
    let mut all = vec![class()];
    for n in 0..count {
        let (name, host) = (format!("shop-{n}"), format!("{n}.example.com"));
        all.push(ingress(&name, &[], &[(&host, "/", PathType::Prefix, &name)]));
        all.push(service(&name));
        all.push(slice(&name, &[&format!("10.0.{}.{}", n / 250, n % 250 + 1)]));
    }
    all
}

fn settings() -> Settings {
    let mut settings = Settings::documented("/tmp/state");
    settings.scope.nodes = false;
    settings
}

fn begin(objects: &[Object]) -> Controller {
    begin_with(settings(), objects)
}

fn begin_with(settings: Settings, objects: &[Object]) -> Controller {
    let mut controller = Controller::new(settings, Time(0));
    let mut events = vec![Event::ProxyFound(Capabilities::tier_a())];
    events.extend(Kind::ALL.map(|kind| at(kind, "store", 1_000, objects)));
    let _ = controller.step(Time(0), events);
    controller
}

fn routes(controller: &Controller) -> usize {
    controller.desired().image().map(MapId::Route).len()
}

fn told(controller: &Controller) -> Vec<String> {
    let held = controller.problems().filter(|p| p.reason == Reason::DeletionsHeld);
    held.map(|p| p.object.kind.name().to_owned()).collect()
}

fn relists(step: &Step) -> usize {
    step.actions.iter().filter(|a| matches!(a.body, ActionBody::Relist { .. })).count()
}

/// At stake: an object deleted while the watch was away goes, with no operator in the way.
#[test]
fn few_absent_objects_are_believed() {
    let all = shops(5);
    let mut controller = begin(&all);
    let left = shops(2);
    let _ = controller.step(Time(1), vec![at(Kind::Ingress, "store", 2_000, &left)]);
    assert_eq!(routes(&controller), 2);
    assert!(told(&controller).is_empty());
}

/// Everything absent, from a store that replaced the one before.
fn emptied(revision: u64) -> Vec<Event> {
    Kind::ALL.map(|kind| at(kind, "another store", revision, &[])).to_vec()
}

/// At stake: the server restarted over an empty etcd, be the cluster small or large. What is absent
/// is served for as long as absence is held, whatever the new store goes on saying.
#[test]
fn an_emptied_store_empties_nothing_until_the_hold_ends_or_somebody_says_so() {
    for count in [3, 200] {
        let mut controller = begin(&shops(count));
        let _ = controller.step(Time(1), emptied(40));
        assert_eq!(routes(&controller), count);
        assert_eq!(told(&controller), ["IngressClass", "Service", "EndpointSlice", "Ingress"]);
        let what = controller.problems().find(|p| p.reason == Reason::DeletionsHeld).unwrap();
        assert!(what.what.contains("replaced") && what.fix.contains("--absence-hold"), "{what}");
        // Neither time alone nor the same lists again change anything before the hold ends.
        for minute in 2..10 {
            let step = controller.step(Time(minute * MINUTE), vec![Event::Ticked]);
            assert_eq!(relists(&step), 4);
            let _ = controller.step(Time(minute * MINUTE), emptied(40 + minute));
        }
        assert_eq!(routes(&controller), count);
        // What is told as deleted is gone.
        let gone = ObjectRef::new(Kind::Ingress, "default", "shop-0");
        let _ = controller.step(Time(9 * MINUTE), vec![Event::Deleted(gone)]);
        assert_eq!(routes(&controller), count - 1);
        let (mut restored, mut patient) = (controller.clone(), controller.clone());
        let _ = controller.step(Time(9 * MINUTE), vec![Event::DeletionsAccepted]);
        assert_eq!(routes(&controller), 0);
        assert!(told(&controller).is_empty());
        // The store is restored instead.
        let back = Kind::ALL.map(|kind| at(kind, "store", 1_500, &shops(count)));
        let _ = restored.step(Time(9 * MINUTE), back.to_vec());
        assert_eq!(routes(&restored), count);
        assert!(told(&restored).is_empty());
        assert_eq!(restored.world().held().len(), 0);
        // Nobody does anything: the new store is believed in the end.
        let _ = patient.step(Time(10 * MINUTE + 2), emptied(60));
        assert_eq!(routes(&patient), 0);
        assert!(told(&patient).is_empty());
    }
}

/// At stake: `--absence-hold 0s` is for those who would rather serve the past for ever.
#[test]
fn without_an_end_the_hold_waits_for_an_operator() {
    let mut settings = settings();
    settings.scope.absence.hold_ms = 0;
    let mut controller = begin_with(settings, &shops(20));
    let _ = controller.step(Time(1), emptied(40));
    for day in 1..4 {
        let _ = controller.step(Time(day * 24 * 60 * MINUTE), emptied(40 + day));
    }
    assert_eq!(routes(&controller), 20);
    let problem = controller.problems().find(|p| p.reason == Reason::DeletionsHeld).unwrap();
    assert!(!problem.fix.contains("--absence-hold"), "{problem}");
    let _ = controller.step(Time(99 * 24 * 60 * MINUTE), vec![Event::DeletionsAccepted]);
    assert_eq!(routes(&controller), 0);
}

/// At stake: the store goes back a second time within the hold. What was held is held anew: nobody
/// has seen the store that it is now say the same twice.
#[test]
fn a_hold_begins_anew_when_the_store_goes_back_again() {
    let mut controller = begin(&shops(20));
    let _ = controller.step(Time(0), emptied(40));
    let again = Kind::ALL.map(|kind| at(kind, "a third store", 7, &[]));
    let _ = controller.step(Time(9 * MINUTE), again.to_vec());
    let later = Kind::ALL.map(|kind| at(kind, "a third store", 8, &[]));
    let _ = controller.step(Time(11 * MINUTE), later.clone().to_vec());
    assert_eq!(routes(&controller), 20);
    let _ = controller.step(Time(19 * MINUTE + 1), later.to_vec());
    assert_eq!(routes(&controller), 0);
}

/// At stake: 4,000 of 10,000 absent from a list of the same store: a partial answer is repaired by
/// the next list, a deletion is believed when a later list says the same.
#[test]
fn many_absent_objects_are_held_until_a_later_list_says_the_same() {
    let all = shops(100);
    let left = shops(60);
    let list = |revision, objects: &[Object]| vec![at(Kind::Ingress, "store", revision, objects)];
    let mut controller = begin(&all);
    let step = controller.step(Time(1), list(2_000, &left));
    assert_eq!(routes(&controller), 100);
    assert_eq!(told(&controller), ["Ingress"]);
    assert!(step.wake_at.is_some());
    let mut partial = controller.clone();
    let _ = partial.step(Time(MINUTE), list(2_001, &all));
    assert!(told(&partial).is_empty());
    // Not before its time, and not without a list.
    let _ = controller.step(Time(9 * MINUTE), list(2_002, &left));
    let step = controller.step(Time(10 * MINUTE + 1), vec![Event::Ticked]);
    assert_eq!((relists(&step), routes(&controller)), (1, 100));
    // A list of a store that went back counts for nothing.
    let mut back = controller.clone();
    let _ = back.step(Time(10 * MINUTE + 2), list(1_500, &left));
    assert_eq!(routes(&back), 100);
    let restored = controller.checkpoint().map(|c| c.restore());
    for mut controller in restored.into_iter().chain([controller]) {
        let _ = controller.step(Time(10 * MINUTE + 2), list(2_003, &left));
        assert_eq!(routes(&controller), 60);
        assert!(told(&controller).is_empty());
    }
}

/// At stake: S5. What is held may be of the past; an address that another Service has by now is not
/// sent its requests.
#[test]
fn a_held_endpoint_leaves_an_address_that_another_service_has() {
    let all = shops(50);
    let mut controller = begin(&all);
    let mut list = vec![service("new"), slice("new", &["10.0.0.7"])];
    list.push(slice("shop-9", &["10.0.0.10"]));
    let _ = controller.step(Time(1), vec![at(Kind::EndpointSlice, "another", 9, &list)]);
    let servers = |controller: &Controller, name: &str| {
        let image = controller.desired().image();
        image.backends.get(name).map_or(0, |backend| backend.servers.len())
    };
    assert_eq!(servers(&controller, "default_shop-6_http"), 0);
    assert_eq!(servers(&controller, "default_shop-5_http"), 1);
    let later = slice("other", &["10.0.0.6"]);
    let _ = controller.step(Time(2), vec![Event::Upserted(later)]);
    assert_eq!(servers(&controller, "default_shop-5_http"), 0);
    assert_eq!(servers(&controller, "default_shop-4_http"), 1);
}
