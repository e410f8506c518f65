//! Custom resources of HAProxy Technologies' controller by real requests on each HAProxy: a folder as
//! that controller's users have it, at each scope, in both versions of the API; changed, broken and
//! deleted.

mod common;

use std::time::Duration;

use common::client::{Connection, Request};
use common::manifest::{app, classes, config_map, ingress, service};
use common::pods::Pod;
use common::rig::{Rig, free_port};
use common::{Scenarios, ensure, eventually};
use serde_json::{Value, json};

on_each_haproxy!(custom);

const HOST: &str = "shop.test";

struct Stage {
    rig: Rig,
    pod: Pod,
}

fn custom(version: &'static str) {
    let rig = Rig::new(version).arguments(&["--drain", "300ms", "--ingress-class", "tidegate"]);
    let pod = Pod::start("shop");
    let mut objects = classes();
    objects.extend(app("shop", &[&pod]));
    rig.put("base", &objects);
    let mut stage = Stage { rig, pod };
    stage.rig.put("shop", &[ingress("shop").all(HOST, "shop").into()]);
    // Of the ConfigMap, so that the static part is there from the beginning.
    let all = resource("v3", "Defaults", "all", json!({"http_keep_alive_timeout": 30000}));
    stage.rig.put("all", &[all, config_map(&[("cr-defaults", "test/all")])]);
    stage.rig.start();
    stage.rig.wait(HOST, "/", 200, "shop");
    let stage = &stage;
    let mut scenarios = Scenarios::new(version);
    scenarios.run("the static part", || static_part(stage));
    scenarios.run("each scope", || scopes(stage));
    scenarios.run("headers and balancing", || headers(stage));
    scenarios.run("the first version", || first_version(stage));
    scenarios.run("deleted", || deleted(stage));
    scenarios.run("what protects", || protects(stage));
    scenarios.run("a mistake", || mistake(stage));
    scenarios.run("no reloads", || stage.rig.assert_no_reloads_on_3_4("custom resources"));
    // A port of its own takes a reload, which is told.
    scenarios.run("TCP", || tcp(stage));
    scenarios.finish();
}

fn resource(api: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("ingress.{api}.haproxy.org/{api}"), "kind": kind,
        "metadata": {"name": name, "namespace": "test"}, "spec": spec})
}

fn backend(spec: Value) -> Value {
    resource("v3", "Backend", "tuned", spec)
}

fn static_part(stage: &Stage) {
    let line = "timeout http-keep-alive 30000ms";
    assert!(stage.rig.config().contains(line), "{}", stage.rig.config());
}

/// The route to a pod that takes its time gives up after about so many milliseconds.
fn gives_up(stage: &Stage, ms: u64, what: &str) {
    eventually(&format!("HAProxy {}: {what}: gives up after {ms} ms", stage.rig.version), || {
        let began = std::time::Instant::now();
        let answer = stage.rig.get(HOST, "/?delay=2500")?;
        let took = began.elapsed();
        ensure(answer.status == 504, || format!("{}", answer.status))?;
        let range = Duration::from_millis(ms)..Duration::from_millis(ms + 350);
        ensure(range.contains(&took), || format!("{took:?}"))
    });
}

/// One more scope at a time, each with a timeout of its own.
fn scopes(stage: &Stage) {
    let rig = &stage.rig;
    let timeout =
        |name: &str, ms: u64| resource("v3", "Backend", name, json!({"server_timeout": ms}));
    rig.put("tuned", &[timeout("wide", 1300), timeout("tuned", 900), timeout("narrow", 150)]);
    let all = resource(
        "v3",
        "Defaults",
        "all",
        json!({"http_keep_alive_timeout": 30000, "server_timeout": 1700}),
    );
    rig.put("all", &[all.clone(), config_map(&[("cr-defaults", "test/all")])]);
    gives_up(stage, 1700, "Defaults");
    let keys = [("cr-defaults", "test/all"), ("cr-backend", "test/wide")];
    rig.put("all", &[all.clone(), config_map(&keys)]);
    gives_up(stage, 1300, "the ConfigMap's Backend");
    let shop = ingress("shop").all(HOST, "shop").annotation("haproxy.org/cr-backend", "tuned");
    rig.put("shop", &[shop.clone().into()]);
    gives_up(stage, 900, "the Ingress's Backend");
    let mut narrow = service("shop");
    narrow["metadata"]["annotations"] = json!({"haproxy.org/cr-backend": "test/narrow"});
    let mut objects = app("shop", &[&stage.pod]);
    objects.retain(|object| object["kind"] != "Service");
    objects.push(narrow.clone());
    objects.extend(classes());
    rig.put("base", &objects);
    gives_up(stage, 150, "the Service's Backend");
    // A key of the Ingress comes before the resource that it names, and behind the Service's.
    rig.put("shop", &[shop.with("timeout-server", "550ms").into()]);
    gives_up(stage, 150, "the Service's Backend still");
    rig.put("base", &[classes(), app("shop", &[&stage.pod])].concat());
    gives_up(stage, 550, "the Ingress's own key");
    rig.put(
        "shop",
        &[ingress("shop").all(HOST, "shop").annotation("haproxy.org/cr-backend", "tuned").into()],
    );
    // A change of the resource alone.
    rig.put("tuned", &[timeout("wide", 1300), timeout("tuned", 150)]);
    gives_up(stage, 150, "the changed Backend");
    rig.put("all", &[all, config_map(&[("cr-defaults", "test/all")])]);
    rig.wait(HOST, "/", 200, "shop");
}

fn headers(stage: &Stage) {
    let rig = &stage.rig;
    let rules = |value: &str| {
        json!({
            "name": "tuned", "mode": "http",
            "balance": {"algorithm": "leastconn"},
            "forwardfor": {"enabled": "enabled"},
            "http_request_rule_list": [
                {"type": "set-header", "hdr_name": "X-Tenant", "hdr_format": value},
                {"type": "del-header", "hdr_name": "X-Debug"},
            ],
            "http_response_rule_list": [
                {"type": "set-header", "hdr_name": "X-Served", "hdr_format": "\"by us\""},
            ],
        })
    };
    rig.put("tuned", &[backend(rules("blue"))]);
    let asked = |wanted: &'static str| {
        eventually(&format!("HAProxy {}: X-Tenant {wanted}", rig.version), || {
            let request = Request::get(HOST, "/").header("X-Debug", "1").header("X-Tenant", "mine");
            let answer = rig.ask(&request)?;
            let seen = (answer.seen("x-tenant"), answer.seen("x-debug"), answer.header("x-served"));
            ensure(seen == (Some(wanted), None, Some("by us")), || format!("{seen:?}"))
        });
    };
    asked("blue");
    rig.put("tuned", &[backend(rules("green"))]);
    asked("green");
    let problems = rig.problems();
    assert!(problems.is_empty(), "{problems:?}");
}

fn first_version(stage: &Stage) {
    let rig = &stage.rig;
    let spec = json!({
        "config": {"server_timeout": 400},
        "http-requests": [{"index": 0, "type": "set-header", "hdr_name": "X-Tenant",
            "hdr_format": "old"}],
    });
    rig.put("tuned", &[resource("v1", "Backend", "tuned", spec)]);
    eventually(&format!("HAProxy {}: the first version", rig.version), || {
        let answer = rig.get(HOST, "/")?;
        ensure(answer.seen("x-tenant") == Some("old"), || format!("{:?}", answer.seen("x-tenant")))
    });
    gives_up(stage, 400, "the first version");
}

fn deleted(stage: &Stage) {
    let rig = &stage.rig;
    rig.remove("tuned");
    let told = rig.wait_problem(&["cr-backend", "Backend test/tuned does not exist"]);
    assert_eq!(told["reason"], "NotFound", "{told}");
    eventually(&format!("HAProxy {}: what it said is gone", rig.version), || {
        let answer = rig.get(HOST, "/")?;
        ensure(answer.status == 200 && answer.seen("x-tenant").is_none(), || {
            format!("{} {:?}", answer.status, answer.seen("x-tenant"))
        })
    });
}

fn protects(stage: &Stage) {
    let rig = &stage.rig;
    let deny = json!([{"type": "deny", "cond": "if", "cond_test": "{ src 192.0.2.0/24 }"}]);
    rig.put("tuned", &[backend(json!({"server_timeout": 5000, "http_request_rule_list": deny}))]);
    let told = rig.wait_problem(&["FailedClosed", "http_request_rule_list[0]"]);
    assert!(told["fix"].as_str().unwrap().contains("deny-list"), "{told}");
    rig.wait(HOST, "/", 503, "");
    rig.put("tuned", &[backend(json!({"server_timeout": 5000}))]);
    rig.wait(HOST, "/", 200, "shop");
    rig.wait_no_problem("FailedClosed");
}

fn mistake(stage: &Stage) {
    let rig = &stage.rig;
    rig.put(
        "tuned",
        &[backend(json!({"balance": {"algorithm": "static-rr"}, "http_reuse": "never"}))],
    );
    rig.wait_problem(&["BadValue", "spec.balance", "Backend"]);
    rig.wait_problem(&["NotSupported", "spec.http_reuse"]);
    rig.wait(HOST, "/", 200, "shop");
    rig.put("tuned", &[backend(json!({"server_timeout": 5000}))]);
    rig.wait_no_problem("spec.balance");
}

fn tcp(stage: &Stage) {
    let rig = &stage.rig;
    let port = free_port();
    let item = json!([{
        "name": "shop", "service": {"name": "shop", "port": 8080},
        "frontend": {"name": "fe-shop", "tcplog": true,
            "binds": {"v4": {"name": "v4", "port": port}}},
    }]);
    let mut object = resource("v3", "TCP", "shop", item);
    object["metadata"]["annotations"] = json!({"ingress.class": "tidegate"});
    rig.put("tcp", &[object.clone()]);
    eventually(&format!("HAProxy {}: the port of a TCP resource", rig.version), || {
        let mut connection = Connection::plain(port).map_err(|error| error.to_string())?;
        let answer = connection.ask(&Request::get("any.test", "/")).map_err(|e| e.to_string())?;
        ensure(answer.service() == "shop", || answer.service().to_owned())
    });
    object["spec"][0]["frontend"]["tcp_request_rule_list"] = json!([{"type": "connection"}]);
    rig.put("tcp", &[object]);
    rig.wait_problem(&["tcp_request_rule_list", "FailedClosed"]);
    eventually(&format!("HAProxy {}: a narrowed port is not open", rig.version), || {
        match Connection::plain(port).and_then(|mut c| c.ask(&Request::get("any.test", "/"))) {
            Err(_) => Ok(()),
            Ok(answer) => Err(format!("{}", answer.status)),
        }
    });
}
