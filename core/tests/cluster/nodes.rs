//! Pods reached through node ports.

use std::sync::Arc;

use tidegate_core::capability::Capabilities;
use tidegate_core::controller::Controller;
use tidegate_core::event::Event;
use tidegate_core::problem::Reason;
use tidegate_core::settings::{Reach, Settings};
use tidegate_core::time::Time;
use tidegate_core::world::object::*;

use super::lists::shop;
use crate::common::*;

fn node(name: &str, internal: &str, ready: bool) -> Object {
    let meta = Meta { name: Name::new("", name), ..meta("", name) };
    let internal = vec![internal.parse().unwrap()];
    Object::Node(Arc::new(Node { meta, internal, external: Vec::new(), ready }))
}

fn node_port(port: Option<u16>, local_traffic: bool) -> Object {
    let Object::Service(inner) = service("shop") else { panic!("not a Service") };
    let mut inner = (*inner).clone();
    inner.ports[0].node_port = port;
    inner.local_traffic = local_traffic;
    Object::Service(Arc::new(inner))
}

fn pods_on(nodes: &[&str]) -> Object {
    let Object::EndpointSlice(inner) = slice("shop", &["10.0.0.1"]) else { panic!("not a slice") };
    let mut inner = (*inner).clone();
    inner.nodes = nodes.iter().map(|n| (*n).into()).collect();
    Object::EndpointSlice(Arc::new(inner))
}

fn started(objects: &[Object]) -> Controller {
    let mut settings = Settings::documented("/tmp/state");
    settings.reach = Reach::NodePorts;
    let mut controller = Controller::new(settings, Time(0));
    let mut events = vec![Event::ProxyFound(Capabilities::tier_a())];
    for kind in Kind::ALL {
        let objects = objects.iter().filter(|o| o.kind() == kind).cloned().collect();
        events.push(Event::Relisted { kind, objects });
    }
    let _ = controller.step(Time(0), events);
    controller
}

fn servers(controller: &Controller) -> Vec<String> {
    let backends = controller.desired().image().backends.sorted();
    backends.iter().flat_map(|(_, b)| b.servers.iter().map(ToString::to_string)).collect()
}

/// At stake: outside the cluster, without a route to pods, every ready Node is a way in, and a
/// Node that comes or goes is a change of servers like any other.
#[test]
fn every_ready_node_is_a_server() {
    let mut objects = shop();
    objects.retain(|o| o.kind() != Kind::Service);
    objects.push(node_port(Some(30080), false));
    objects.push(node("a", "192.0.2.1", true));
    objects.push(node("b", "192.0.2.2", false));
    let mut controller = started(&objects);
    assert_eq!(servers(&controller), ["192.0.2.1:30080"]);
    let _ = controller.step(Time(1), vec![Event::Upserted(node("b", "192.0.2.2", true))]);
    assert_eq!(servers(&controller), ["192.0.2.1:30080", "192.0.2.2:30080"]);
    let gone = ObjectRef::new(Kind::Node, "", "a");
    let _ = controller.step(Time(2), vec![Event::Deleted(gone)]);
    assert_eq!(servers(&controller), ["192.0.2.2:30080"]);
}

/// At stake: `externalTrafficPolicy: Local` drops what arrives at a Node without a ready pod.
#[test]
fn local_traffic_goes_to_nodes_with_pods() {
    let mut objects = shop();
    objects.retain(|o| !matches!(o.kind(), Kind::Service | Kind::EndpointSlice));
    objects.extend([node_port(Some(30080), true), pods_on(&["b"])]);
    objects.push(node("a", "192.0.2.1", true));
    objects.push(node("b", "192.0.2.2", true));
    let mut controller = started(&objects);
    assert_eq!(servers(&controller), ["192.0.2.2:30080"]);
    let _ = controller.step(Time(1), vec![Event::Upserted(pods_on(&["a", "b"]))]);
    assert_eq!(servers(&controller), ["192.0.2.1:30080", "192.0.2.2:30080"]);
}

/// At stake: a Service without node ports is told, and gets no traffic that nobody answers.
#[test]
fn a_service_without_a_node_port_is_a_problem() {
    let mut objects = shop();
    objects.push(node("a", "192.0.2.1", true));
    let controller = started(&objects);
    assert_eq!(servers(&controller), Vec::<String>::new());
    let told: Vec<_> = controller.problems().collect();
    assert!(
        told.iter().any(|p| p.reason == Reason::Unusable && p.object.kind == Kind::Service),
        "{told:?}"
    );
}
