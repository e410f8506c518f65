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

/// A Service with a node port that says how its pods are reached.
fn reached(how: &str) -> Object {
    let Object::Service(inner) = node_port(Some(30080), false) else { panic!("not a Service") };
    let mut inner = (*inner).clone();
    inner.meta.annotations = vec![("tidegate.io/reach".into(), how.into())];
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
    started_with(settings, objects)
}

fn started_with(settings: Settings, objects: &[Object]) -> Controller {
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

/// At stake: one Service whose pods cannot be reached is served through its node ports, and the
/// others as before, whatever the setting for all says.
#[test]
fn a_service_says_how_its_pods_are_reached() {
    let mut objects = shop();
    objects.retain(|o| o.kind() != Kind::Service);
    objects.push(node("a", "192.0.2.1", true));
    let pods = ["10.0.0.1:8080", "10.0.0.2:8080"];
    let port = ["192.0.2.1:30080"];
    for (all, how, expected) in [
        (Reach::Pods, "node-ports", &port[..]),
        (Reach::Pods, "pods", &pods[..]),
        (Reach::NodePorts, "pods", &pods[..]),
        (Reach::NodePorts, "node-ports", &port[..]),
    ] {
        let mut settings = Settings::documented("/tmp/state");
        settings.reach = all;
        let controller = started_with(settings, &[&objects[..], &[reached(how)]].concat());
        assert_eq!(servers(&controller), expected, "{all:?} {how}");
        assert_eq!(controller.problems().count(), 0, "{all:?} {how}");
    }
}

/// At stake: without Nodes nothing would be known of their ports; the pods are tried, and it is told.
#[test]
fn node_ports_without_nodes_are_a_problem() {
    let mut objects = shop();
    objects.retain(|o| o.kind() != Kind::Service);
    objects.push(reached("node-ports"));
    let mut settings = Settings::documented("/tmp/state");
    settings.scope.nodes = false;
    let controller = started_with(settings, &objects);
    assert_eq!(servers(&controller).len(), 2);
    let told: Vec<_> = controller.problems().collect();
    assert!(told.iter().any(|p| p.fix.contains("--watch-nodes")), "{told:?}");
}
