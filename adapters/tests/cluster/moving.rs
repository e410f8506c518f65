//! `tidegate migrate` on a real cluster: with no more rights than its help names it reads what is
//! there, custom resources included, and writes nothing.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::bed::Bed;
use crate::bed::api::Api;
use crate::common::eventually;
use crate::common::manifest::{class, ingress, service};

/// What the help says is needed.
fn role() -> Value {
    let rule = |group: &str, resources: &[&str], verb: &str| json!({"apiGroups": [group], "resources": resources, "verbs": [verb]});
    let custom = ["backends", "defaults", "frontends", "globals", "tcps", "validationrules"];
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
    "metadata": {"name": "mover"}, "rules": [
        rule("networking.k8s.io", &["ingresses", "ingressclasses"], "list"),
        rule("", &["services"], "list"),
        rule("", &["configmaps"], "get"),
        rule("ingress.v3.haproxy.org", &custom, "list"),
        rule("ingress.v1.haproxy.org", &custom, "list"),
    ]})
}

/// Makes haproxytech's kind Backend known to the server, and one of it.
fn backend(api: &mut Api) {
    let group = "ingress.v3.haproxy.org";
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let version = json!({"name": "v3", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": schema}});
    let names = json!({"kind": "Backend", "plural": "backends", "singular": "backend"});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition", "metadata": {"name": format!("backends.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}});
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let (code, reply) = api.ask("POST", path, "application/json", &definition.to_string()).unwrap();
    assert_eq!(code, 201, "{reply}");
    let object = json!({"apiVersion": format!("{group}/v3"), "kind": "Backend",
        "metadata": {"name": "sticky", "namespace": "test"},
        "spec": {"balance": {"algorithm": "leastconn"}, "server_timeout": 45000}});
    let path = format!("/apis/{group}/v3/namespaces/test/backends");
    eventually("the kind Backend is served", || {
        let asked = api.ask("POST", &path, "application/json", &object.to_string());
        asked.is_ok_and(|(code, _)| code == 201).then_some(()).ok_or("not yet".to_owned())
    });
}

fn migrate(kubeconfig: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["--output", "json", "migrate", "--kubeconfig"]).arg(kubeconfig);
    command.args(more).env("HOME", "/nonexistent").output().unwrap()
}

#[test]
fn a_cluster_is_read_with_the_rights_that_are_named() {
    let bed = Bed::start();
    let mut api = bed.api();
    for object in [
        class("haproxy", "haproxy.org/ingress-controller"),
        service("shop"),
        ingress("shop")
            .all("shop.test", "shop")
            .class("haproxy")
            .annotation("haproxy.org/timeout-server", "30s")
            .annotation("haproxy.org/cr-backend", "test/sticky")
            .0,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs",
            "namespace": "test"}, "data": {"maxconn": "1000"}}),
        role(),
        json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "mover", "namespace": "test"}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "mover"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole", "name": "mover"},
            "subjects": [{"kind": "ServiceAccount", "name": "mover", "namespace": "test"}]}),
    ] {
        api.apply(&object);
    }
    backend(&mut api);
    let before = api.find("Ingress", "test", "shop").unwrap();
    let token = api.token("test", "mover");
    let kubeconfig = bed.kubeconfig("mover", bed.wire.port, &token);
    let out = tempfile::tempdir().unwrap();
    let to = out.path().to_str().unwrap();
    let flags = ["--configmap", "test/theirs", "--from", "haproxytech", "--write", to];
    let output = migrate(&kubeconfig, &[&flags[..], &["--class", "tidegate"]].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys: Vec<&str> =
        report["keys"].as_array().unwrap().iter().filter_map(|row| row["key"].as_str()).collect();
    for key in ["haproxy.org/timeout-server", "maxconn", "Backend.balance"] {
        assert!(keys.contains(&key), "{key}: {report:#}");
    }
    let notes = report["notes"].as_array().unwrap();
    assert!(
        notes.iter().all(|note| note.as_str().unwrap().contains("manifests are in")),
        "{notes:?}"
    );
    let written = std::fs::read_to_string(out.path().join("test/ingress-shop.yaml")).unwrap();
    for line in
        ["tidegate.io/timeout-server", "tidegate.io/load-balance", "ingressClassName: tidegate"]
    {
        assert!(written.contains(line), "{line}:\n{written}");
    }
    assert!(!written.contains("uid") && !written.contains("managedFields"), "{written}");
    assert_eq!(api.find("Ingress", "test", "shop").unwrap(), before);

    // Who may not list Ingresses is told so; nothing is taken for empty.
    api.apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "nobody", "namespace": "test"}}));
    let token = api.token("test", "nobody");
    let output = migrate(&bed.kubeconfig("nobody", bed.wire.port, &token), &[]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("cannot list ingresses"),
        "{output:?}"
    );
}
