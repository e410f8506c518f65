//! A controller that was away: what it knew before is what the first lists are held against.

use tidegate_core::action::{ActionBody, MapId};
use tidegate_core::capability::Capabilities;
use tidegate_core::controller::{Controller, Step};
use tidegate_core::event::{Event, Listing};
use tidegate_core::problem::{Problem, Reason, Severity};
use tidegate_core::settings::Settings;
use tidegate_core::time::Time;
use tidegate_core::world::memory::Memory;
use tidegate_core::world::object::*;

use crate::common::*;

const MINUTE: u64 = 60_000;
const LISTED: [Kind; 5] =
    [Kind::IngressClass, Kind::Service, Kind::EndpointSlice, Kind::Ingress, Kind::Secret];

fn settings() -> Settings {
    let mut settings = Settings::documented("/tmp/state");
    settings.scope.nodes = false;
    settings.scope.custom_resources = false;
    settings.scope.secrets_on_demand = true;
    settings
}

/// The lists of a store. Of Secrets, the adapter tells those that it has told before.
fn lists(cluster: &str, revision: u64, objects: &[Object]) -> Vec<Event> {
    let list = |kind| {
        let objects = objects.iter().filter(|o| o.kind() == kind).cloned().collect();
        let (cluster, namespace) = (cluster.into(), None);
        Event::Listed(Listing {
            kind,
            namespace,
            name: None,
            cluster,
            revision,
            watched: 0,
            objects,
        })
    };
    LISTED.map(list).to_vec()
}

fn shops(count: usize) -> Vec<Object> {
    let mut all = vec![class()];
    for n in 0..count {
        let (name, host) = (format!("shop-{n}"), format!("{n}.example.com"));
        let plain = ingress(&name, &[], &[(&host, "/", PathType::Prefix, &name)]);
        all.push(with_tls(plain, &host, &name));
        all.push(service(&name));
        all.push(slice(&name, &[&format!("10.0.{}.{}", n / 250, n % 250 + 1)]));
        all.push(secret(&name, &name));
    }
    all
}

/// A controller that has served these objects, each Secret answered when it was asked for.
fn served(objects: &[Object]) -> Controller {
    let mut controller = Controller::new(settings(), Time(0));
    let mut events = vec![Event::ProxyFound(Capabilities::tier_a())];
    events.extend(lists("store", 1_000, objects));
    let _ = controller.step(Time(0), events);
    let secrets = objects.iter().filter(|o| o.kind() == Kind::Secret).cloned();
    let _ = controller.step(Time(1), secrets.map(Event::Upserted).collect());
    assert!(controller.world().is_synced());
    controller
}

/// The next process, before its first lists.
fn restarted(memory: Memory) -> Controller {
    let mut controller = Controller::new(settings(), Time(0));
    let remembered = Event::Remembered(Box::new(memory));
    let events = vec![remembered, Event::ProxyFound(Capabilities::tier_a())];
    let step = controller.step(Time(0), events);
    assert!(!controller.world().is_synced() && reloads(&step) == 0, "nothing before the lists");
    controller
}

fn reloads(step: &Step) -> usize {
    step.actions.iter().filter(|a| matches!(a.body, ActionBody::Reload { .. })).count()
}

fn asked(step: &Step) -> usize {
    let follows = step.actions.iter().filter_map(|action| match &action.body {
        ActionBody::FollowSecrets { add, drop: _ } => Some(add.len()),
        _ => None,
    });
    follows.sum()
}

fn table(controller: &Controller) -> (usize, usize) {
    let image = controller.desired().image();
    (image.map(MapId::Route).len(), image.certificates.len())
}

fn held(controller: &Controller) -> usize {
    controller.world().held().values().sum()
}

/// At stake: etcd is emptied and tidegate is restarted, in whatever order. Routes, endpoints and
/// certificates stay what they were, be the cluster small or large.
#[test]
fn a_restart_over_an_emptied_store_believes_nothing() {
    for count in [2, 40] {
        let memory = served(&shops(count)).world().memory().unwrap();
        let mut controller = restarted(memory);
        let step = controller.step(Time(10), lists("another", 40, &[]));
        assert_eq!(asked(&step), count, "certificates are asked for, and nobody answers");
        let _ = controller.step(Time(60_000), vec![Event::Ticked]);
        assert!(controller.world().is_synced());
        assert_eq!(table(&controller), (count, count));
        let told = controller.problems().filter(|p| p.reason == Reason::DeletionsHeld).count();
        assert_eq!(told, LISTED.len());
        let _ = controller.step(Time(61_000), vec![Event::DeletionsAccepted]);
        assert_eq!(table(&controller).0, 0);
    }
}

/// At stake: what was deleted while tidegate was away is gone, and what came is there.
#[test]
fn few_deletions_while_away_are_believed() {
    let mut controller = restarted(served(&shops(20)).world().memory().unwrap());
    let mut now = shops(21);
    now.retain(|o| !matches!(&*o.meta().name.name, "shop-3" | "shop-4"));
    let _ = controller.step(Time(10), lists("store", 2_000, &now));
    let secrets = now.iter().filter(|o| o.kind() == Kind::Secret).cloned();
    let _ = controller.step(Time(11), secrets.map(Event::Upserted).collect());
    assert!(controller.world().is_synced());
    assert_eq!((table(&controller), held(&controller)), ((19, 19), 0));
    let fresh = served(&now);
    assert_eq!(controller.desired().image().map(MapId::Route).len(), table(&fresh).0);
}

/// At stake: a second restart within the hold must not make the emptied store look like the one
/// that has always been.
#[test]
fn what_is_held_stays_held_over_a_restart() {
    let mut controller = served(&shops(3));
    let _ = controller.step(Time(10), lists("another", 40, &[]));
    assert_eq!(table(&controller), (3, 3));
    let mut controller = restarted(controller.world().memory().unwrap());
    let _ = controller.step(Time(10), lists("another", 41, &[]));
    let _ = controller.step(Time(5 * MINUTE), lists("another", 42, &[]));
    assert_eq!(table(&controller), (3, 3));
    assert!(held(&controller) > 0);
    let _ = controller.step(Time(11 * MINUTE), lists("another", 43, &[]));
    assert_eq!((table(&controller).0, held(&controller)), (0, 0));
}

/// At stake: a namespace that is not watched any more is not served from memory for ever.
#[test]
fn what_is_not_watched_any_more_is_forgotten() {
    let memory = served(&shops(3)).world().memory().unwrap();
    let mut settings = settings();
    settings.scope.namespaces = vec!["elsewhere".into()];
    let mut controller = Controller::new(settings, Time(0));
    let _ = controller.step(Time(0), vec![Event::Remembered(Box::new(memory))]);
    assert_eq!(controller.world().counts()[2], (Kind::IngressClass, 1));
    assert_eq!(controller.world().len(), 1, "the class only");
}

/// At stake: a memory that comes late would bring back what lists have settled.
#[test]
fn a_memory_after_lists_counts_for_nothing() {
    let memory = served(&shops(3)).world().memory().unwrap();
    let mut controller = served(&shops(1));
    let _ = controller.step(Time(9), vec![Event::Remembered(Box::new(memory))]);
    assert_eq!(table(&controller), (1, 1));
}

/// At stake: the API server refuses us at a start, and the only place that could say so is empty.
#[test]
fn problems_of_the_source_are_told_before_the_first_table() {
    let mut controller = Controller::new(settings(), Time(0));
    let problem = |why: &str| Problem {
        object: ObjectRef::new(Kind::Ingress, "", ""),
        field: "".into(),
        reason: Reason::Source,
        severity: Severity::Error,
        what: why.to_owned(),
        instead: String::new(),
        fix: String::new(),
    };
    let (one, two) = (problem("403"), problem("503"));
    let step = controller.step(Time(1), vec![Event::SourceProblems(vec![one.clone()])]);
    assert_eq!((&*step.opened, &*step.closed), (&[one.clone()][..], &[][..]));
    let step = controller.step(Time(2), vec![Event::SourceProblems(vec![two.clone()])]);
    assert_eq!((&*step.opened, &*step.closed), (&[two.clone()][..], &[one.clone()][..]));
    assert_eq!(controller.problems().collect::<Vec<_>>(), [&two]);
    // Several words within one step add up.
    let words = [vec![one.clone(), two.clone()], vec![one.clone()], vec![], vec![two.clone()]];
    let step = controller.step(Time(2), words.map(Event::SourceProblems).to_vec());
    assert!(step.opened.is_empty() && step.closed.is_empty(), "{step:?}");
    let words = [vec![one.clone()], vec![one.clone(), two.clone()], vec![]];
    let step = controller.step(Time(2), words.map(Event::SourceProblems).to_vec());
    assert_eq!((&*step.opened, &*step.closed), (&[][..], &[two.clone()][..]));
    let _ = controller.step(Time(2), vec![Event::SourceProblems(vec![two.clone()])]);
    let mut events = vec![Event::ProxyFound(Capabilities::tier_a())];
    events.extend(lists("store", 9, &[class()]));
    let step = controller.step(Time(3), events);
    assert!(step.opened.is_empty() && step.closed.is_empty(), "it is the same problem");
    assert_eq!(controller.problems().collect::<Vec<_>>(), [&two]);
}
