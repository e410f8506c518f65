//! Alerts, dashboard and runbooks: each metric they name exists, each alert has its runbook.
//!
//! Names of tidegate are compared with docs/metrics.md, which is made from the code; those of
//! HAProxy with what a real one tells.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::eventually;
use common::manifest::{app, classes, ingress};
use common::pods::Pod;
use common::rig::Rig;
use serde_json::Value;

fn file(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::read_to_string(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every `expr` in a value, with the alert or panel it is of.
fn expressions(value: &Value, of: &str, into: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            let own = map.get("alert").or(map.get("title")).and_then(Value::as_str);
            let of = own.unwrap_or(of);
            if let Some(text) = map.get("expr").and_then(Value::as_str) {
                into.push((of.to_owned(), text.to_owned()));
            }
            map.values().for_each(|inner| expressions(inner, of, into));
        }
        Value::Array(all) => all.iter().for_each(|inner| expressions(inner, of, into)),
        _ => {}
    }
}

fn alerts() -> Vec<Value> {
    let rules: Value = serde_saphyr::from_str(&file("deploy/monitoring/alerts.yaml")).unwrap();
    let groups = rules["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// Metrics named in alerts and dashboard, without the suffixes of histograms.
fn named(prefix: &str) -> BTreeSet<String> {
    let mut found = Vec::new();
    expressions(&Value::Array(alerts()), "", &mut found);
    let dashboard: Value = serde_json::from_str(&file("deploy/monitoring/dashboard.json")).unwrap();
    expressions(&dashboard, "", &mut found);
    assert!(found.len() > 40, "only {} expressions", found.len());
    let mut names = BTreeSet::new();
    for (of, text) in &found {
        assert!(balanced(text), "{of}: brackets do not match in {text}");
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let mut any = false;
        for word in words.filter(|w| w.starts_with("tidegate_") || w.starts_with("haproxy_")) {
            any = true;
            if word.starts_with(prefix) {
                names.insert(word.trim_end_matches("_bucket").to_owned());
            }
        }
        assert!(any, "{of} asks for no metric: {text}");
    }
    names
}

fn balanced(text: &str) -> bool {
    let mut open = Vec::new();
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' if open.pop() != Some(c) => return false,
            _ => {}
        }
    }
    open.is_empty() && !quoted
}

#[test]
fn metrics_of_tidegate_exist() {
    let page = file("docs/metrics.md");
    let names = named("tidegate_");
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(page.contains(&format!("| `{name}` |")), "{name} is not in docs/metrics.md");
    }
}

#[test]
fn every_alert_has_a_runbook() {
    let page = file("docs/runbooks.md");
    let alerts = alerts();
    let mut names = BTreeSet::new();
    for alert in &alerts {
        let name = alert["alert"].as_str().expect("a name");
        assert!(names.insert(name), "{name} is there twice");
        assert!(
            page.contains(&format!("\n## {name}\n")),
            "{name} has no section in docs/runbooks.md"
        );
        let anchor = format!("docs/runbooks.md#{}", name.to_ascii_lowercase());
        assert_eq!(alert["annotations"]["runbook"], anchor.as_str());
        for field in ["summary", "description"] {
            assert!(alert["annotations"][field].is_string(), "{name} has no {field}");
        }
        let severity = alert["labels"]["severity"].as_str().unwrap_or("");
        assert!(["critical", "warning"].contains(&severity), "{name}: severity '{severity}'");
    }
    let told = page.lines().filter_map(|line| line.strip_prefix("## "));
    let idle: Vec<_> = told.filter(|title| !names.contains(title)).collect();
    assert!(idle.is_empty(), "runbooks without alert: {idle:?}");
}

/// HAProxy's own metrics through the admin address, as the chart has them scraped.
fn metrics_of_haproxy_exist(version: &'static str) {
    let pods = Pod::several("shop", 1);
    let mut rig = Rig::new(version);
    let mut objects = classes();
    objects.extend(app("shop", &[&pods[0]]));
    objects.push(ingress("shop").all("shop.test", "shop").into());
    rig.put("all", &objects);
    rig.start();
    rig.wait("shop.test", "/", 200, "shop");
    let names = named("haproxy_");
    assert!(names.len() > 5, "{names:?}");
    eventually("HAProxy's metrics", || {
        let path = "/metrics/haproxy?scope=global&scope=frontend&scope=backend";
        let answer = rig.admin(path).map_err(|error| error.to_string())?;
        let kind = answer.header("content-type").unwrap_or("").to_owned();
        if answer.status != 200 || !kind.starts_with("text/plain") {
            return Err(format!("{} {kind}", answer.line));
        }
        let has = |name: &String| {
            let starts =
                |line: &str| line.strip_prefix(name).is_some_and(|r| r.starts_with(['{', ' ']));
            answer.body.lines().any(starts)
        };
        let missing: Vec<_> = names.iter().filter(|name| !has(name)).collect();
        let requests = answer.body.lines().any(|line| {
            line.starts_with("haproxy_frontend_http_requests_total{proxy=\"tidegate-web\"}")
        });
        common::ensure(missing.is_empty() && requests, || format!("missing: {missing:?}"))
    });
    // Without being asked for, nothing that grows with the cluster.
    let default = rig.admin("/metrics/haproxy").unwrap().body;
    assert!(default.contains("haproxy_process_current_connections"), "{default}");
    assert!(!default.contains("haproxy_backend_") && !default.contains("haproxy_server_"));
}

on_each_haproxy!(metrics_of_haproxy_exist);
