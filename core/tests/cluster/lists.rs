//! The first lists, and which Ingresses are ours.

use std::sync::Arc;

use tidegate_core::action::{ActionBody, MapId};
use tidegate_core::capability::Capabilities;
use tidegate_core::controller::Controller;
use tidegate_core::event::{Event, Listing};
use tidegate_core::settings::Settings;
use tidegate_core::time::Time;
use tidegate_core::world::object::*;

use crate::common::*;

/// A complete list of a kind, of one namespace or of all.
pub fn listed(kind: Kind, namespace: Option<&str>, objects: &[Object]) -> Event {
    let inside = |o: &&Object| {
        let name = &o.meta().name;
        o.kind() == kind && namespace.is_none_or(|n| *n == *name.namespace)
    };
    Event::Listed(Listing {
        kind,
        namespace: namespace.map(Into::into),
        name: None,
        cluster: "store".into(),
        revision: 100,
        watched: 0,
        objects: objects.iter().filter(inside).cloned().collect(),
    })
}

pub fn shop() -> Vec<Object> {
    vec![
        class(),
        ingress("shop", &[], &[("shop.example.com", "/", PathType::Prefix, "shop")]),
        service("shop"),
        slice("shop", &["10.0.0.1", "10.0.0.2"]),
    ]
}

fn renders(controller: &mut Controller, event: Event) -> bool {
    let step = controller.step(Time(0), vec![event]);
    step.actions.iter().any(|a| matches!(a.body, ActionBody::Reload { .. }))
}

fn hosts(controller: &Controller) -> Vec<String> {
    let routes = controller.desired().image().map(MapId::Route);
    routes.sorted().iter().map(|(key, _)| key.to_string()).collect()
}

/// At stake: S25, never a partial table. In namespaced mode each kind is listed once for each
/// namespace, and cluster-wide kinds are not listed at all.
#[test]
fn nothing_is_rendered_before_every_namespace_of_every_kind_was_listed() {
    let mut settings = Settings::documented("/tmp/state");
    settings.scope.namespaces = vec!["default".into(), "other".into()];
    settings.scope.ingress_classes = false;
    settings.scope.nodes = false;
    settings.scope.custom_resources = false;
    let mut controller = Controller::new(settings, Time(0));
    assert!(!renders(&mut controller, Event::ProxyFound(Capabilities::tier_a())));
    let kinds = [Kind::Ingress, Kind::Secret, Kind::Service, Kind::EndpointSlice];
    let mut left = kinds.len() * 2;
    for namespace in ["default", "other"] {
        for kind in kinds {
            left -= 1;
            let event = listed(kind, Some(namespace), &shop());
            assert_eq!(renders(&mut controller, event), left == 0, "{kind:?} of {namespace}");
        }
    }
    // Without IngressClasses ours is what has the name.
    assert_eq!(hosts(&controller), ["shop.example.com/"]);
}

/// At stake: the list of one namespace says nothing about another.
#[test]
fn a_list_of_a_namespace_removes_nothing_from_another() {
    let mut driven = Driven::new(Capabilities::tier_a(), shop());
    driven.step(vec![listed(Kind::Ingress, Some("other"), &[])]);
    assert_eq!(hosts(&driven.controller), ["shop.example.com/"]);
    driven.step(vec![listed(Kind::Ingress, Some("default"), &[])]);
    assert_eq!(hosts(&driven.controller), Vec::<String>::new());
}

fn namespace(labels: &[(&str, &str)]) -> Object {
    let labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    Object::Namespace(Arc::new(Namespace { meta: meta("", "default"), labels }))
}

/// At stake: an operator shares a cluster; the Ingresses of Namespaces without the labels are not
/// ours, and become ours with them.
#[test]
fn labels_of_the_namespace_decide_what_is_ours() {
    let mut settings = Settings::documented("/tmp/state");
    settings.scope.namespace_labels = vec![("ingress".into(), "public".into())];
    let mut driven = Driven::with(settings, Capabilities::tier_a(), shop());
    assert_eq!(hosts(&driven.controller), Vec::<String>::new());
    driven.upsert(namespace(&[("ingress", "public"), ("team", "blue")]));
    assert_eq!(hosts(&driven.controller), ["shop.example.com/"]);
    driven.upsert(namespace(&[("ingress", "internal")]));
    assert_eq!(hosts(&driven.controller), Vec::<String>::new());
    driven.upsert(namespace(&[("ingress", "public")]));
    driven.step(vec![Event::Deleted(ObjectRef::new(Kind::Namespace, "", "default"))]);
    assert_eq!(hosts(&driven.controller), Vec::<String>::new());
    assert_eq!(driven.reloads.len(), 1);
}
