//! Custom resources on the real server: a cluster without their definitions, with them, with objects,
//! and without them again.
//!
//! The definitions have the groups, versions, names and kinds of haproxytech's, and no schema: what
//! their schemas refuse never gets to a watch.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bed::Bed;
use crate::common::{ensure, eventually};
use crate::town::{Town, soon};

/// Longest time until a new definition is noticed: two looks, and what is said of the group.
const NOTICED: Duration = Duration::from_secs(75);

const V3: [(&str, &str); 5] = [
    ("Backend", "backends"),
    ("Defaults", "defaults"),
    ("Frontend", "frontends"),
    ("Global", "globals"),
    ("TCP", "tcps"),
];

const V1: [(&str, &str); 4] =
    [("Backend", "backends"), ("Defaults", "defaults"), ("Global", "globals"), ("TCP", "tcps")];

/// The definitions of haproxytech's custom resources, without their schemas.
pub fn definitions() -> Vec<Value> {
    let of = |version: &'static str| {
        move |(kind, plural): &(&str, &str)| definition(version, kind, plural)
    };
    V3.iter().map(of("v3")).chain(V1.iter().map(of("v1"))).collect()
}

fn definition(version: &str, kind: &str, plural: &str) -> Value {
    let group = format!("ingress.{version}.haproxy.org");
    let singular = kind.to_ascii_lowercase();
    // `Defaults` has no other singular.
    let names = json!({"kind": kind, "plural": plural, "singular": singular,
        "listKind": format!("{kind}List")});
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [
            {"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": any}},
        ]},
    })
}

fn backend(value: &str) -> Value {
    json!({"apiVersion": "ingress.v3.haproxy.org/v3", "kind": "Backend",
    "metadata": {"name": "tuned", "namespace": "test"},
    "spec": {"http_request_rule_list": [
        {"type": "set-header", "hdr_name": "X-Tenant", "hdr_format": value},
    ]}})
}

#[test]
fn definitions_come_and_go() {
    let bed = Bed::start();
    let mut rig = bed.rig("3.4").arguments(&["--drain", "300ms"]);
    let town = Town::new(&bed);
    let _shop =
        town.app_with("shop", 1, |ingress| ingress.annotation("haproxy.org/cr-backend", "tuned"));
    rig.start();
    soon(&rig, Instant::now(), "shop.test", "/", 200, "shop");
    rig.wait_problem(&["cr-backend", "does not exist"]);
    let down = |rig: &crate::common::rig::Rig| {
        rig.problems().into_iter().find(|problem| problem.to_string().contains("not watched"))
    };
    assert_eq!(down(&rig), None);

    for definition in definitions() {
        bed.api().apply(&definition);
    }
    eventually("the definition is established", || {
        let reply = bed.api().try_apply(&backend("blue")).map_err(|error| error.to_string())?;
        ensure(matches!(reply.0, 200 | 201), || format!("{reply:?}"))
    });
    let tenant = |wanted: Option<&str>, time: Duration| {
        let end = Instant::now() + time;
        loop {
            let answer = rig.get("shop.test", "/").unwrap();
            if answer.status == 200 && answer.seen("x-tenant") == wanted {
                return;
            }
            assert!(
                Instant::now() < end,
                "{wanted:?}: {} {:?}",
                answer.status,
                answer.seen("x-tenant")
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    tenant(Some("blue"), NOTICED);
    // From then on as every other object.
    bed.api().apply(&backend("green"));
    tenant(Some("green"), Duration::from_secs(2));
    rig.wait_no_problem("does not exist");
    bed.api().delete("Backend", "test", "tuned");
    tenant(None, Duration::from_secs(2));
    rig.wait_problem(&["cr-backend", "does not exist"]);
    bed.api().apply(&backend("red"));
    tenant(Some("red"), Duration::from_secs(2));
    // Its definition takes it along, and is no failure.
    for definition in definitions() {
        let name = definition["metadata"]["name"].as_str().unwrap();
        bed.api().delete("CustomResourceDefinition", "", name);
    }
    tenant(None, NOTICED);
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(down(&rig), None);
    rig.assert_no_reloads_on_3_4("custom resources");
}
