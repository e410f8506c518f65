//! A Deployment of haproxytech's controller with nothing changed but the program: its arguments,
//! its class, its redirect by tls block.

mod common;

use common::manifest::{app, class, ingress};
use common::pods::Pod;
use common::rig::Rig;
use serde_json::Value;

#[test]
fn nothing_is_changed_but_the_program() {
    let pod = Pod::start("app");
    let mut rig = Rig::new("3.4").arguments(&[
        "--ingress.class=haproxy",
        "--default-backend-service",
        "test/app",
        "--sync-period=1s",
        "--gateway-controller-name",
        "haproxy.org/gateway-controller",
        "--log=warning",
        "--configmap=test/config",
    ]);
    let mut objects: Vec<Value> = vec![
        class("haproxy", "haproxy.org/ingress-controller/haproxy"),
        class("bare", "haproxy.org/ingress-controller"),
    ];
    objects.extend(app("app", &[&pod]));
    let secure = ingress("secure").class("haproxy").all("secure.test", "app");
    objects.push(secure.tls(&["secure.test"], "").into());
    objects.push(ingress("plain").class("haproxy").all("plain.test", "app").into());
    objects.push(
        ingress("other").class("bare").rule("other.test", "Exact", "/x", "app", "8080").into(),
    );
    let mut legacy = ingress("legacy").class("").rule("legacy.test", "Exact", "/x", "app", "8080");
    legacy = legacy.annotation("haproxy.org/ingress.class", "haproxy");
    objects.push(legacy.annotation("haproxy.org/response-set-header", "X-Legacy yes").into());
    rig.put("all", &objects);
    rig.start();
    rig.wait("plain.test", "/", 200, "app");
    let answer = rig.wait("secure.test", "/a", 302, "");
    assert_eq!(answer.header("location"), Some("https://secure.test/a"));
    let answer = rig.wait("legacy.test", "/x", 200, "app");
    assert_eq!(answer.header("x-legacy"), Some("yes"));
    rig.wait("nobody.test", "/", 200, "app");
    let problem = rig.wait_problem(&["--sync-period", "no meaning here"]);
    assert_eq!(problem["severity"], "info");
    let problem = rig.wait_problem(&["--gateway-controller-name", "Gateway API"]);
    assert_eq!(problem["severity"], "warning");
    // A problem of the folder does not push those of the command line out.
    rig.put_text("broken.yaml", "kind: [");
    rig.wait_problem(&["broken.yaml"]);
    rig.wait_problem(&["--sync-period"]);
    rig.stop();
}
