//! What tidegate must be allowed to do, in one table.
//!
//! Inputs: settings. Outputs: rules, as text, YAML (Role, ClusterRole) or JSON. The chart is tested
//! against it, and it follows [`super::targets`], which says what is watched. Not here: requests.

use std::fmt::Write as _;

use serde::Serialize;
use tidegate_core::settings::Settings;
use tidegate_core::world::object::Kind;

use super::resource::{self, EVENTS, LEASES, Resource};
use super::{identity, targets};

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Rule {
    /// Namespace it is for; `None` for the whole cluster.
    pub namespace: Option<String>,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Resource, with a subresource after a slash.
    pub resource: String,
    /// The only names; empty for all.
    pub names: Vec<String>,
    /// Verbs.
    pub verbs: Vec<&'static str>,
    /// What it is needed for.
    pub why: &'static str,
}

/// All rules under these settings, sorted by namespace and resource.
#[must_use]
pub fn rules(settings: &Settings) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut add = |namespace: Option<&str>,
                   resource: &Resource,
                   sub: &str,
                   names: &[&str],
                   verbs: &[&'static str],
                   why| {
        rules.push(Rule {
            namespace: namespace.map(str::to_owned),
            group: resource.group,
            resource: format!("{}{sub}", resource.plural),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            verbs: verbs.to_vec(),
            why,
        });
    };
    for target in targets(settings) {
        let (verbs, why): (&[&'static str], _) = match target.kind {
            Kind::Secret => {
                let why = "certificates: metadata is watched, only what is referred to is read";
                (&["get", "list", "watch"], why)
            }
            Kind::Namespace => (&["list", "watch"], "labels of namespaces"),
            Kind::ConfigMap => (&["list", "watch"], "configuration, files and TCP services"),
            Kind::IngressClass => (&["list", "watch"], "which Ingresses are ours"),
            Kind::Service => (&["list", "watch"], "ports of backends, addresses to publish"),
            Kind::EndpointSlice => (&["list", "watch"], "addresses of pods"),
            Kind::Ingress => (&["list", "watch"], "routes"),
            Kind::Node => (&["list", "watch"], "addresses of nodes"),
            Kind::Custom(..) => (&["list", "watch"], "custom resources that keys name"),
        };
        let names: Vec<&str> = target.name.as_deref().into_iter().collect();
        let resource = resource::of(target.kind);
        add(target.namespace.as_deref(), resource, "", &names, verbs, why);
    }
    let why = "tells a store that was replaced from one that goes on; may be refused";
    add(None, resource::of(Kind::Namespace), "", &[identity::NAMESPACE], &["list"], why);
    if let Some(telling) = &settings.telling {
        let namespaces: Vec<Option<&str>> = match &*settings.scope.namespaces {
            [] => vec![None],
            some => some.iter().map(|namespace| Some(&**namespace)).collect(),
        };
        for namespace in namespaces {
            let why = "addresses in the status of Ingresses";
            add(namespace, resource::of(Kind::Ingress), "/status", &[], &["patch"], why);
            if telling.events {
                let why = "problems of objects as Events of Kubernetes";
                add(namespace, &EVENTS, "", &[], &["create", "patch"], why);
            }
        }
        let own = settings.config_map.as_ref().map(|name| &*name.namespace);
        let is_watched = |own: &&str| settings.scope.namespaces.iter().any(|n| **n == **own);
        let beside = !settings.scope.namespaces.is_empty();
        if let Some(own) = own.filter(|own| telling.events && beside && !is_watched(own)) {
            let why = "problems of a kind as a whole, as Events about the ConfigMap";
            add(Some(own), &EVENTS, "", &[], &["create", "patch"], why);
        }
        if let Some(election) = &telling.election {
            let (namespace, name) = (Some(&*election.lease.namespace), &*election.lease.name);
            let why = "which replica writes";
            add(namespace, &LEASES, "", &[name], &["get", "update"], why);
            add(namespace, &LEASES, "", &[], &["create"], why);
        }
    }
    rules.sort();
    rules
}

/// The rules for people.
#[must_use]
pub fn text(rules: &[Rule]) -> String {
    let mut out = String::new();
    for Rule { namespace, group, resource, names, verbs, why } in rules {
        let group = if group.is_empty() { String::new() } else { format!(".{group}") };
        let names =
            if names.is_empty() { String::new() } else { format!(" named {}", names.join(", ")) };
        let place = namespace.as_deref().map_or("cluster".to_owned(), |n| format!("namespace {n}"));
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{place}: {} {resource}{group}{names}: {why}", verbs.join(","));
    }
    out
}

/// The rules as a ClusterRole and Roles, all of the same name.
#[must_use]
pub fn yaml(rules: &[Rule], name: &str) -> String {
    let mut out = String::new();
    let mut last: Option<&Option<String>> = None;
    for rule in rules {
        let Rule { namespace, group, resource, names, verbs, why } = rule;
        if last != Some(namespace) {
            last = Some(namespace);
            let kind = if namespace.is_some() { "Role" } else { "ClusterRole" };
            let _ = write!(
                out,
                "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\n"
            );
            if let Some(namespace) = namespace {
                let _ = writeln!(out, "  namespace: {namespace}");
            }
            out.push_str("rules:\n");
        }
        let _ = writeln!(
            out,
            "  # {why}\n  - apiGroups: [\"{group}\"]\n    resources: [\"{resource}\"]"
        );
        let quoted = |texts: &mut dyn Iterator<Item = &str>| {
            texts.map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(", ")
        };
        if !names.is_empty() {
            let names = quoted(&mut names.iter().map(String::as_str));
            let _ = writeln!(out, "    resourceNames: [{names}]");
        }
        let _ = writeln!(out, "    verbs: [{}]", quoted(&mut verbs.iter().copied()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaced_mode_asks_for_nothing_in_the_cluster_but_classes_and_the_identity() {
        let mut settings = Settings::documented("/s");
        settings.scope.namespaces = vec!["a".into(), "b".into()];
        settings.scope.nodes = false;
        let rules = rules(&settings);
        let cluster = rules.iter().filter(|rule| rule.namespace.is_none());
        let cluster: Vec<_> = cluster.map(|rule| rule.resource.as_str()).collect();
        assert_eq!(cluster, ["namespaces", "ingressclasses"]);
        let secrets = rules.iter().filter(|rule| rule.resource == "secrets").count();
        assert_eq!(secrets, 2);
        assert!(
            text(&rules).contains("namespace a: list,watch ingresses.networking.k8s.io: routes")
        );
        assert_eq!(yaml(&rules, "tidegate").matches("kind: Role\n").count(), 2);
    }
}
