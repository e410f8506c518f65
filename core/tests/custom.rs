//! Custom resources of haproxytech's controller: what a resource says counts as values of the scope
//! that names it, and what it cannot say is told and closes when it protects.

mod common;

use std::sync::Arc;

use common::*;
use tidegate_core::action::MapId;
use tidegate_core::annotations::field_position;
use tidegate_core::capability::Capabilities;
use tidegate_core::event::{Event, Listing};
use tidegate_core::problem::{Problem, Reason};
use tidegate_core::settings::Settings;
use tidegate_core::world::custom::{Api, Custom, Part, Said, Unsaid, Weight};
use tidegate_core::world::object::*;

const ROUTE: &str = "shop.test/";

fn custom(part: Part, name: &str, said: &[(&str, &str)]) -> Custom {
    let said = said.iter().map(|(key, value)| Said {
        key: (*key).into(),
        value: (*value).into(),
        field: format!("spec.{key}").into(),
    });
    let meta = meta("default", name);
    Custom { meta, part, api: Api::V3, said: said.collect(), unsaid: Vec::new() }
}

fn object(custom: Custom) -> Object {
    Object::Custom(Arc::new(custom))
}

fn backend(name: &str, said: &[(&str, &str)]) -> Object {
    object(custom(Part::Backend, name, said))
}

fn unsaid(part: Part, name: &str, weight: Weight) -> Object {
    let field = Unsaid {
        field: "spec.x".into(),
        what: "it has no counterpart here".into(),
        fix: "write tidegate.io/y".into(),
        weight,
    };
    object(Custom { unsaid: vec![field], ..custom(part, name, &[]) })
}

fn named(mut of: Object, annotations: &[(&str, &str)]) -> Object {
    let meta = match &mut of {
        Object::Ingress(o) => &mut Arc::make_mut(o).meta,
        Object::Service(o) => &mut Arc::make_mut(o).meta,
        _ => panic!("neither an Ingress nor a Service"),
    };
    meta.annotations = annotations.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    meta.annotations.sort();
    of
}

fn shop(ingress_keys: &[(&str, &str)], service_keys: &[(&str, &str)]) -> Vec<Object> {
    vec![
        class(),
        ingress("shop", ingress_keys, &[("shop.test", "/", PathType::Prefix, "shop")]),
        named(service("shop"), service_keys),
        slice("shop", &["10.0.0.1"]),
    ]
}

fn config(data: &[(&str, &str)]) -> Object {
    let data = data.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    Object::ConfigMap(Arc::new(ConfigMap { meta: meta("default", "tidegate"), data }))
}

fn driven(objects: Vec<Object>) -> Driven {
    Driven::new(Capabilities::tier_a(), objects)
}

/// A field of the policy of the route; empty when it has none.
fn field(driven: &Driven, name: &str) -> String {
    let image = driven.controller.desired().image();
    let route = image
        .map(MapId::Route)
        .get(ROUTE)
        .map(|record| record.value.to_string())
        .unwrap_or_default();
    let Some(policy) = route.strip_prefix('|').and_then(|rest| rest.split('|').nth(1)) else {
        return String::new();
    };
    let record =
        image.map(MapId::Policy).get(policy).map(|r| r.value.to_string()).unwrap_or_default();
    let at = field_position(name).unwrap() - 1;
    record.split('|').nth(at).unwrap_or_default().to_owned()
}

fn route(driven: &Driven) -> String {
    let image = driven.controller.desired().image();
    image.map(MapId::Route).get(ROUTE).map(|record| record.value.to_string()).unwrap_or_default()
}

fn is_closed(driven: &Driven) -> bool {
    route(driven).contains("tidegate-503")
}

fn problems(driven: &Driven) -> Vec<Problem> {
    driven.controller.problems().cloned().collect()
}

const ON_INGRESS: (&str, &str) = ("haproxy.org/cr-backend", "tuned");

#[test]
fn what_a_resource_says_stands_behind_its_scope_and_before_the_wider_one() {
    // From wide to narrow, one more at a time; the timeouts tell who won.
    let mut objects = shop(&[], &[]);
    objects.push(object(custom(Part::Defaults, "all", &[("timeout-server", "1000")])));
    objects.push(backend("of-config", &[("timeout-server", "2000")]));
    objects.push(backend("tuned", &[("timeout-server", "4000")]));
    objects.push(backend("of-service", &[("timeout-server", "6000")]));
    let mut driven = driven(objects);
    assert_eq!(field(&driven, "t-server"), "");
    let config_keys = [
        ("cr-defaults", "default/all"),
        ("cr-backend", "default/of-config"),
        ("timeout-server", "3000"),
    ];
    for (count, wanted) in [(1, "1000"), (2, "2000"), (3, "3000")] {
        driven.upsert(config(config_keys.get(..count).unwrap()));
        assert_eq!(field(&driven, "t-server"), wanted, "{count} of the ConfigMap");
    }
    let ingress_keys = [ON_INGRESS, ("tidegate.io/timeout-server", "5000")];
    for (count, wanted) in [(1, "4000"), (2, "5000")] {
        let of = shop(ingress_keys.get(..count).unwrap(), &[]);
        driven.upsert(of[1].clone());
        assert_eq!(field(&driven, "t-server"), wanted, "{count} of the Ingress");
    }
    let service_keys =
        [("haproxy.org/cr-backend", "default/of-service"), ("tidegate.io/timeout-server", "7000")];
    for (count, wanted) in [(1, "6000"), (2, "7000")] {
        driven.upsert(named(service("shop"), service_keys.get(..count).unwrap()));
        assert_eq!(field(&driven, "t-server"), wanted, "{count} of the Service");
    }
    assert_eq!(problems(&driven), []);
    assert_eq!(driven.reloads.len(), 1, "{:?}", driven.reloads);
}

#[test]
fn a_changed_resource_changes_what_names_it_and_a_deleted_one_is_told() {
    let mut objects = shop(&[ON_INGRESS], &[]);
    objects.push(backend("tuned", &[("timeout-server", "4000")]));
    let mut driven = driven(objects);
    assert_eq!(field(&driven, "t-server"), "4000");
    driven.upsert(backend("tuned", &[("timeout-server", "4500")]));
    assert_eq!(field(&driven, "t-server"), "4500");
    // The older version of the API counts when the newer has no object of the name.
    let old = Custom { api: Api::V1, ..custom(Part::Backend, "tuned", &[("timeout-server", "9")]) };
    driven.upsert(object(old));
    assert_eq!(field(&driven, "t-server"), "4500");
    driven.delete(Kind::Custom(Part::Backend, Api::V3), "tuned");
    assert_eq!(field(&driven, "t-server"), "9");
    assert_eq!(problems(&driven), []);
    driven.delete(Kind::Custom(Part::Backend, Api::V1), "tuned");
    assert_eq!(field(&driven, "t-server"), "");
    let told = problems(&driven);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].reason, Reason::NotFound);
    assert_eq!(&*told[0].field, "metadata.annotations[haproxy.org/cr-backend]");
    assert_eq!(told[0].object, ObjectRef::new(Kind::Ingress, "default", "shop"));
    assert!(!is_closed(&driven));
    assert_eq!(driven.reloads.len(), 1, "{:?}", driven.reloads);
}

#[test]
fn what_cannot_be_said_is_told_and_closes_only_when_it_protects() {
    for (weight, closed) in
        [(Weight::Known, false), (Weight::Lacks, false), (Weight::Protects, true)]
    {
        let mut objects = shop(&[ON_INGRESS], &[]);
        objects.push(unsaid(Part::Backend, "tuned", weight));
        // Another host, which it is nothing to.
        objects.push(ingress("plain", &[], &[("plain.test", "/", PathType::Prefix, "shop")]));
        let mut driven = driven(objects);
        assert_eq!(is_closed(&driven), closed, "{weight:?}: {}", route(&driven));
        let image = driven.controller.desired().image();
        let plain = image.map(MapId::Route).get("plain.test/").unwrap().value.to_string();
        assert!(!plain.contains("tidegate-503"), "{plain}");
        let told = problems(&driven);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(&*told[0].field, "spec.x");
        assert_eq!(told[0].fix, "write tidegate.io/y");
        let is_it = |kind: Kind| kind == Kind::Custom(Part::Backend, Api::V3);
        assert!(is_it(told[0].object.kind), "{told:?}");
        // Mended, it opens.
        driven.upsert(backend("tuned", &[]));
        assert!(!is_closed(&driven));
        assert_eq!(problems(&driven), []);
    }
}

#[test]
fn frontends_and_services_close_what_they_stand_for() {
    let mut objects = shop(&[], &[("haproxy.org/cr-backend", "guarded")]);
    objects.push(unsaid(Part::Backend, "guarded", Weight::Protects));
    let mut of_service = driven(objects);
    assert!(is_closed(&of_service));
    of_service.upsert(service("shop"));
    assert!(!is_closed(&of_service));
    of_service.upsert(unsaid(Part::Frontend, "edge", Weight::Protects));
    of_service.upsert(config(&[("cr-frontend-stats", "edge")]));
    assert!(!is_closed(&of_service), "nobody's route");
    of_service.upsert(config(&[("cr-frontend-http", "edge")]));
    assert!(is_closed(&of_service));
}

#[test]
fn names_that_lead_nowhere_are_told_and_nothing_else_changes() {
    for (value, reason) in [
        ("other/tuned", Reason::Forbidden),
        ("Nobody", Reason::BadValue),
        ("", Reason::BadValue),
        ("nobody", Reason::NotFound),
    ] {
        let keys = [("haproxy.org/cr-backend", value), ("tidegate.io/timeout-server", "5000")];
        let mut objects = shop(&keys, &[]);
        let mut elsewhere = custom(Part::Backend, "tuned", &[("timeout-queue", "1")]);
        elsewhere.meta.name = Name::new("other", "tuned");
        objects.push(object(elsewhere));
        let driven = driven(objects);
        assert_eq!(field(&driven, "t-server"), "5000", "{value}");
        assert_eq!(field(&driven, "t-queue"), "", "{value}");
        let told: Vec<Reason> = problems(&driven).iter().map(|problem| problem.reason).collect();
        assert_eq!(told, [reason], "{value}");
    }
    // The ConfigMap is the operator's, and may name any.
    let mut objects = shop(&[], &[]);
    let mut elsewhere = custom(Part::Backend, "tuned", &[("timeout-server", "1")]);
    elsewhere.meta.name = Name::new("other", "tuned");
    objects.extend([object(elsewhere), config(&[("cr-backend", "other/tuned")])]);
    assert_eq!(field(&driven(objects), "t-server"), "1");
}

#[test]
fn header_rules_hold_also_for_a_service_and_keys_of_all_only_in_the_config_map() {
    let said = [("request-set-header", "X-A 1"), ("timeout-check", "5s")];
    let mut objects = shop(&[], &[("haproxy.org/cr-backend", "tuned")]);
    objects.push(backend("tuned", &said));
    let of_service = driven(objects);
    assert_ne!(field(&of_service, "rq-set"), "");
    let told = problems(&of_service);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].reason, &*told[0].field), (Reason::WrongScope, "spec.timeout-check"));

    let mut objects = shop(&[], &[]);
    objects.extend([backend("tuned", &said), config(&[("cr-backend", "tuned")])]);
    let of_config = driven(objects);
    assert_eq!(problems(&of_config), []);
    let options = &of_config.controller.desired().image().skeleton.options;
    assert_eq!(options.get("tidegate-timeout-check").map(|v| &**v), Some("5000ms"));
}

#[test]
fn a_value_that_cannot_be_used_is_told_with_the_field_of_the_resource() {
    let mut objects = shop(&[], &[]);
    objects.push(object(custom(Part::Global, "edge", &[("maxconn", "5000"), ("threads", "0")])));
    objects.push(config(&[("cr-global", "default/edge")]));
    let driven = driven(objects);
    let options = &driven.controller.desired().image().skeleton.options;
    assert_eq!(options.get("tidegate-maxconn").map(|v| &**v), Some("5000"));
    let told = problems(&driven);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].reason, &*told[0].field), (Reason::BadValue, "spec.threads"));
}

#[test]
fn tcp_resources_of_our_class_open_ports_and_the_config_map_comes_first() {
    let tcp = |name: &str, class: Option<&str>, created, port: &str, to: &str| {
        let mut custom = custom(Part::Tcp, name, &[(port, to)]);
        custom.meta.created = created;
        let class = class.map(|class| ("ingress.class".into(), class.into()));
        custom.meta.annotations = class.into_iter().collect();
        object(custom)
    };
    let mut settings = Settings::documented("/tmp/state");
    settings.config_map = Some(Name::new("default", "tidegate"));
    let mut objects = shop(&[], &[]);
    objects.extend([
        tcp("late", Some("tidegate"), 9, "5432", "default/nobody:80"),
        tcp("early", Some("tidegate"), 1, "5432", "default/shop:80"),
        tcp("theirs", Some("haproxy"), 1, "5433", "default/shop:80"),
        tcp("whose", None, 1, "5434", "default/shop:80"),
    ]);
    let mut driven = Driven::with(settings, Capabilities::tier_a(), objects);
    let ports = |driven: &Driven| -> Vec<String> {
        let image = driven.controller.desired().image();
        image.map(MapId::Tcp).iter().map(|(port, _)| port.to_string()).collect()
    };
    assert_eq!(ports(&driven), ["5432"]);
    let told: Vec<(Reason, String)> =
        problems(&driven).iter().map(|p| (p.reason, p.object.name.name.to_string())).collect();
    assert_eq!(
        told,
        [(Reason::Conflict, "late".to_owned()), (Reason::NotSupported, "whose".to_owned())]
    );
    driven.delete(Kind::Custom(Part::Tcp, Api::V3), "early");
    assert_eq!(ports(&driven), ["5432"], "that of the other one, which leads nowhere");
    driven.delete(Kind::Custom(Part::Tcp, Api::V3), "late");
    assert_eq!(ports(&driven), Vec::<String>::new());
}

#[test]
fn resources_that_a_list_lacks_are_held_and_a_checkpoint_has_them() {
    let mut objects = shop(&[("haproxy.org/cr-backend", "cr-0")], &[]);
    let customs: Vec<Object> =
        (0..20).map(|n| backend(&format!("cr-{n}"), &[("timeout-server", "4000")])).collect();
    objects.extend(customs.iter().cloned());
    let mut driven = driven(objects);
    let kind = Kind::Custom(Part::Backend, Api::V3);
    let list = |revision, objects: Vec<Object>| {
        Event::Listed(Listing {
            kind,
            namespace: None,
            name: None,
            cluster: "store".into(),
            revision,
            watched: 0,
            objects,
        })
    };
    driven.step(vec![list(10, customs)]);
    driven.step(vec![list(11, Vec::new())]);
    assert_eq!(field(&driven, "t-server"), "4000", "absence is not deletion");
    assert!(problems(&driven).iter().any(|p| p.reason == Reason::DeletionsHeld));
    let restored = driven.controller.checkpoint().unwrap().restore();
    assert_eq!(restored.world().objects(), driven.controller.world().objects());
    assert_eq!(restored.desired().image(), driven.controller.desired().image());
    driven.step(vec![Event::Ticked, Event::DeletionsAccepted]);
    assert_eq!(field(&driven, "t-server"), "");
}
