//! Promises about single objects at their extremes: as much in one as fits, and every field absent that
//! may be.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tidegate_core::action::MapId;
use tidegate_core::check;
use tidegate_core::controller::Controller;
use tidegate_core::event::Event;
use tidegate_core::time::Time;
use tidegate_core::world::object::{
    BackendRef, EndpointSlice, Ingress, Object, Secret, Service, ServicePort, SlicePort, Tls,
};

use super::projections;
use crate::arb::{by_hand, objects};
use crate::drive::initial_events;
use crate::run::Verdict;

/// Paths of an Ingress, in [`one_object_is_bounded`].
const PATHS_MAX: u32 = 5;
/// Servers of a backend.
const SERVERS_MAX: u32 = 3;
/// Bytes of a path.
const PATH_BYTES_MAX: u32 = 64;

/// S23: whatever one object has, no more of it is wanted than the limits admit.
///
/// # Errors
/// What there is too much of.
pub fn one_object_is_bounded() -> Verdict {
    let case = by_hand::much_in_one();
    let mut settings = case.setup.settings();
    settings.limits.paths_per_ingress_max = PATHS_MAX;
    settings.limits.servers_per_backend_max = SERVERS_MAX;
    settings.limits.path_bytes_max = PATH_BYTES_MAX;
    let mut controller = Controller::new(settings, Time(0));
    let _ = controller.step(Time(0), initial_events(&case));
    let image = controller.desired().image();
    let of = |host: &str| {
        let routes = image.map(MapId::Route).iter().map(|(key, _)| key.to_string());
        let paths = routes.filter_map(|key| key.strip_prefix(host).map(str::to_owned));
        // What no path of a known host matches is answered too.
        paths.filter(|path| path != "/").collect::<Vec<_>>()
    };
    let (many, long) = (of("many.org"), of("long.org"));
    if many.len() != PATHS_MAX as usize || !long.is_empty() {
        return Err(format!("S23: routes for {many:?} and {long:?}"));
    }
    let servers = image.backends.iter().map(|(_, backend)| backend.servers.len()).max();
    match servers {
        Some(most) if most == SERVERS_MAX as usize => Ok(()),
        other => Err(format!("S23: a backend has {other:?} servers")),
    }
}

/// Every field that may be absent is, one after the other: a step ends, and keeps the invariants.
///
/// # Errors
/// The field.
pub fn absent_fields_are_fine() -> Verdict {
    for (field, object) in without() {
        let told = || {
            let mut controller = projections::told(&by_hand::nothing_else());
            let _ = controller.step(Time(1), vec![Event::Upserted(object)]);
            check::check(&controller)
        };
        match catch_unwind(AssertUnwindSafe(told)) {
            Ok(broken) if broken.is_empty() => {}
            Ok(broken) => return Err(format!("without {field}: {}", broken.join("; "))),
            Err(_) => return Err(format!("without {field}: a panic")),
        }
    }
    Ok(())
}

/// The furniture, with each field left out.
fn without() -> Vec<(&'static str, Object)> {
    let mut all = Vec::new();
    for object in objects::furniture() {
        match object {
            Object::EndpointSlice(slice) => all.extend(slices(&slice)),
            Object::Ingress(ingress) => all.extend(ingresses(&ingress)),
            Object::Service(service) => all.extend(services(&service)),
            Object::Secret(secret) => {
                let bare = Secret { certificate: None, ..Secret::clone(&secret) };
                all.push(("data", Object::Secret(Arc::new(bare))));
            }
            Object::Namespace(_)
            | Object::ConfigMap(_)
            | Object::IngressClass(_)
            | Object::Node(_)
            | Object::Custom(_) => {}
        }
    }
    all
}

fn slices(slice: &EndpointSlice) -> Vec<(&'static str, Object)> {
    let port = |name: &str, port| vec![SlicePort { name: name.into(), port }];
    let of = |change: &dyn Fn(&mut EndpointSlice)| {
        let mut slice = slice.clone();
        change(&mut slice);
        Object::EndpointSlice(Arc::new(slice))
    };
    vec![
        ("ports[0].port", of(&|slice| slice.ports = port("http", None))),
        ("ports[0].name", of(&|slice| slice.ports = port("", Some(8080)))),
        ("ports", of(&|slice| slice.ports.clear())),
        ("endpoints", of(&|slice| slice.endpoints.clear())),
        ("the label of the Service", of(&|slice| slice.service = "".into())),
    ]
}

fn ingresses(ingress: &Ingress) -> Vec<(&'static str, Object)> {
    let of = |change: &dyn Fn(&mut Ingress)| {
        let mut ingress = ingress.clone();
        change(&mut ingress);
        Object::Ingress(Arc::new(ingress))
    };
    let nothing = || BackendRef::Unusable("it names nothing".into());
    vec![
        ("spec.ingressClassName", of(&|ingress| ingress.class = None)),
        ("spec.rules", of(&|ingress| ingress.rules.clear())),
        ("spec.rules[0].http", of(&|ingress| ingress.rules[0].paths.clear())),
        ("spec.rules[0].host", of(&|ingress| ingress.rules[0].host = "".into())),
        ("a backend", of(&|ingress| ingress.rules[0].paths[0].backend = nothing())),
        ("the port of a backend", of(&|ingress| ingress.default_backend = Some(nothing()))),
        ("spec.tls", of(&|ingress| ingress.tls.clear())),
        ("spec.tls[0]", of(&|ingress| ingress.tls = vec![Tls { hosts: vec![], secret: None }])),
    ]
}

fn services(service: &Service) -> Vec<(&'static str, Object)> {
    let unnamed = ServicePort { name: "".into(), port: 80, app_protocol: None, node_port: None };
    let of = |ports: Vec<ServicePort>| {
        Object::Service(Arc::new(Service { ports, ..Service::clone(service) }))
    };
    vec![("spec.ports", of(Vec::new())), ("spec.ports[0].name", of(vec![unnamed]))]
}
