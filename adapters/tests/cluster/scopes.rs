//! What is watched, and how pods are reached: a list of namespaces with rights in those alone, a
//! selector of namespaces by label, node ports. Each with the rights that `tidegate rbac` prints.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bed::Bed;
use crate::common::manifest::{
    NAMESPACE, classes, ingress, service, service_ports, slice, slice_of,
};
use crate::common::pods::{PORT, Pod, Speech};
use crate::common::rig::Rig;
use crate::common::{Scenarios, ensure, eventually};
use crate::town::{SOON, soon};

const PUBLISHED: &str = "203.0.113.11";

/// The port of the nodes, in the range of the API server.
const NODE_PORT: u16 = 30_080;

/// The same objects in another namespace.
fn within(namespace: &str, mut object: Value) -> Value {
    object["metadata"]["namespace"] = json!(namespace);
    object
}

/// A tidegate with these flags, and with the rights that it says it needs, and no others.
fn with_its_rights(bed: &Bed, name: &str, flags: &[&str]) -> Rig {
    let mut api = bed.api();
    api.apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": NAMESPACE}}));
    let token = api.token(NAMESPACE, name);
    let kubeconfig = bed.kubeconfig(name, bed.wire.port, &token);
    let fixed = ["--configmap", "test/tidegate", "--publish-address", PUBLISHED];
    let flags: Vec<&str> = fixed.iter().chain(flags).copied().collect();
    let rig = bed.rig_with("3.4", kubeconfig).arguments(&flags);
    let verb = ["rbac", "--form", "yaml", "--name", name];
    let printed = rig.verb(&[&verb[..], &flags[..]].concat());
    let words = String::from_utf8_lossy(&printed.stderr).into_owned();
    assert!(printed.status.success(), "{words}");
    let text = String::from_utf8(printed.stdout).unwrap();
    let rules: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    for rule in rules.iter().filter(|rule| !rule.is_null()) {
        api.apply(rule);
        let mut binding = rule.clone();
        let kind = rule["kind"].as_str().unwrap().to_owned();
        binding["kind"] = json!(format!("{kind}Binding"));
        binding.as_object_mut().unwrap().remove("rules");
        binding["roleRef"] =
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
        binding["subjects"] =
            json!([{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}]);
        api.apply(&binding);
    }
    rig
}

fn status_of(bed: &Bed, namespace: &str, name: &str) -> Value {
    let ingress = bed.api().find("Ingress", namespace, name).unwrap_or_default();
    ingress["status"]["loadBalancer"]["ingress"].clone()
}

fn is_told(bed: &Bed, namespace: &str, name: &str) {
    eventually("its status says where we are", || {
        let status = status_of(bed, namespace, name);
        ensure(status == json!([{"ip": PUBLISHED}]), || status.to_string())
    });
}

#[test]
fn what_is_watched_and_how_pods_are_reached() {
    let bed = Bed::start();
    let mut api = bed.api();
    for class in classes() {
        api.apply(&class);
    }
    let spaces = ["one", "two", "three"];
    let pods = spaces.map(Pod::start);
    for (space, pod) in spaces.into_iter().zip(&pods) {
        bed.plane.namespace(space);
        let host = format!("{space}.test");
        for object in [service(space), slice(space, &[pod])] {
            api.apply(&within(space, object));
        }
        api.apply(&within(space, ingress(space).all(&host, space).into()));
    }
    let mut scenarios = Scenarios::new("3.4");
    scenarios.run("a list of namespaces", || listed(&bed));
    scenarios.run("a selector of namespaces", || selected(&bed));
    scenarios.run("node ports", || node_ports(&bed));
    scenarios.finish();
}

/// Rights in two namespaces are enough for all that there is to do in these two.
fn listed(bed: &Bed) {
    let mut rig = with_its_rights(bed, "lister", &["--namespace", "one,two"]);
    rig.start();
    soon(&rig, Instant::now(), "one.test", "/", 200, "one");
    soon(&rig, Instant::now(), "two.test", "/", 200, "two");
    assert_eq!(rig.now("three.test", "/").status, 404);
    is_told(bed, "one", "one");
    is_told(bed, "two", "two");
    assert!(status_of(bed, "three", "three").is_null());
    // Problems are Events there too.
    let mut api = bed.api();
    api.apply(&within("two", ingress("wrong").all("wrong.test", "none").into()));
    eventually("an Event tells of it", || {
        let events = bed.api().list("Event", "two");
        let told = events.iter().any(|event| event["involvedObject"]["name"] == "wrong");
        ensure(told, || format!("{events:?}"))
    });
    api.delete("Ingress", "two", "wrong");
    let begin = Instant::now();
    let fresh = Pod::start("one");
    api.apply(&within("one", slice("one", &[&fresh])));
    eventually("the new pod answers", || {
        let answer = rig.get("one.test", "/")?;
        ensure(answer.name() == fresh.name, || answer.name().to_owned())
    });
    assert!(begin.elapsed() < SOON);
    let refused = rig.metric("tidegate_api_requests_total");
    let refused: Vec<_> = refused.iter().filter(|(labels, _)| labels.contains("403")).collect();
    assert!(refused.is_empty(), "{refused:?}");
    drop(rig);
    // The pod goes with this function.
    api.apply(&within("one", slice("one", &[])));
}

/// Namespaces come into the selection and leave it while tidegate runs.
fn selected(bed: &Bed) {
    let mut api = bed.api();
    let label = |api: &mut crate::bed::api::Api, space: &str, tier: Value| {
        let patch = json!({"metadata": {"labels": {"tier": tier}}});
        api.merge("Namespace", "", space, &patch);
    };
    label(&mut api, "two", json!("public"));
    let mut rig = with_its_rights(bed, "selector", &["--namespace-selector", "tier=public"]);
    rig.start();
    soon(&rig, Instant::now(), "two.test", "/", 200, "two");
    assert_eq!(rig.now("three.test", "/").status, 404);
    label(&mut api, "three", json!("public"));
    soon(&rig, Instant::now(), "three.test", "/", 200, "three");
    is_told(bed, "three", "three");
    label(&mut api, "two", json!("internal"));
    soon(&rig, Instant::now(), "two.test", "/", 404, "");
    label(&mut api, "three", Value::Null);
    soon(&rig, Instant::now(), "three.test", "/", 404, "");
}

/// Nodes are played by pods that listen at the node port.
fn node_ports(bed: &Bed) {
    let mut api = bed.api();
    let nodes = [(); 2].map(|()| Pod::on_port("web", Speech::Http1, NODE_PORT));
    for (number, node) in nodes.iter().enumerate() {
        api.create(&json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": format!("node-{number}")},
            "status": {"addresses": [{"type": "InternalIP", "address": node.ip().to_string()}],
                "conditions": [{"type": "Ready", "status": "True"}]}}));
    }
    let ports = json!([{"name": "http", "port": 8080, "nodePort": NODE_PORT}]);
    let mut web = service_ports("web", ports);
    web["spec"]["type"] = json!("NodePort");
    api.apply(&web);
    // A pod on the second node. Nobody could reach it: there is no such address.
    let pods = |node: &str| {
        let endpoint = json!({"addresses": ["10.64.255.254"], "conditions": {"ready": true},
            "nodeName": node});
        slice_of("web-1", "web", json!([{"name": "http", "port": PORT}]), vec![endpoint])
    };
    api.apply(&pods("node-1"));
    api.apply(&ingress("web").all("web.test", "web").into());
    // Pods are reached at their addresses, unless the Service says otherwise.
    let mut rig = with_its_rights(bed, "outsider", &["--watch-nodes"]);
    rig.start();
    rig.wait_ready();
    assert_eq!(rig.now("web.test", "/").status, 503, "nobody is at the pod's address");
    let says = |how: Value| json!({"metadata": {"annotations": {"tidegate.io/reach": how}}});
    api.merge("Service", NAMESPACE, "web", &says(json!("node-ports")));
    soon(&rig, Instant::now(), "web.test", "/", 200, "web");
    answered_by(&rig, &[&nodes[0], &nodes[1]]);
    rig.assert_no_reloads_on_3_4("a Service that says how its pods are reached");
    api.merge("Service", NAMESPACE, "web", &says(Value::Null));
    // HAProxy tries an address where nobody is for three seconds before it gives up.
    eventually("the pod's address is tried again", || {
        let status = rig.get("web.test", "/")?.status;
        ensure(status == 503, || status.to_string())
    });
    drop(rig);
    let mut rig = with_its_rights(bed, "outsider", &["--reach", "node-ports"]);
    rig.start();
    soon(&rig, Instant::now(), "web.test", "/", 200, "web");
    answered_by(&rig, &[&nodes[0], &nodes[1]]);
    // Only nodes with a pod answer from here on.
    api.merge("Service", NAMESPACE, "web", &json!({"spec": {"externalTrafficPolicy": "Local"}}));
    answered_by(&rig, &[&nodes[1]]);
    api.apply(&pods("node-0"));
    answered_by(&rig, &[&nodes[0]]);
    // A node that is not ready is none.
    let patch = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let path = "/api/v1/nodes/node-0/status";
    let (status, body) =
        api.ask("PATCH", path, "application/merge-patch+json", &patch.to_string()).unwrap();
    assert_eq!(status, 200, "{body}");
    soon(&rig, Instant::now(), "web.test", "/", 503, "");
}

/// All of these answer, and nobody else.
fn answered_by(rig: &Rig, nodes: &[&Pod]) {
    eventually("the right nodes answer", || {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..12 {
            let answer = rig.get("web.test", "/")?;
            ensure(answer.status == 200, || answer.status.to_string())?;
            seen.insert(answer.name().to_owned());
        }
        let wanted = nodes.iter().map(|node| node.name.clone()).collect();
        if seen != wanted {
            std::thread::sleep(Duration::from_millis(20));
        }
        ensure(seen == wanted, || format!("{seen:?} and not {wanted:?}"))
    });
}
