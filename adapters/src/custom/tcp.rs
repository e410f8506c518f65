//! haproxytech's TCP resources as entries of the ConfigMap of TCP services.
//!
//! Inputs: the `spec` of a TCP resource, a list of frontends, each with binds and a Service of the
//! resource's own namespace. Outputs: a port and `NAMESPACE/SERVICE:PORT[:ssl]` for each bind, and
//! the fields that have no counterpart. A frontend with something that narrows who gets where has no
//! entry at all.

use tidegate_core::annotations::dialect::{Entry, Target, Verdict};

use super::{Field, Outcome, Table, Tree, leaf, walk};

/// A port that leads to a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The port, as the key of the ConfigMap.
    pub port: String,
    /// The value beside it.
    pub value: String,
    /// The field that says it.
    pub place: String,
}

/// The ports of a TCP resource of a namespace, and what its fields amount to.
#[must_use]
pub fn ports(table: &Table, namespace: &str, spec: &Tree) -> (Vec<Port>, Vec<Field>) {
    let (mut ports, mut fields) = (Vec::new(), Vec::new());
    let Tree::List(items) = spec else {
        if !matches!(spec, Tree::Nothing) {
            fields.push(leaf(table.get("TCP").copied(), "TCP", "spec", spec));
        }
        return (ports, fields);
    };
    for (at, item) in items.iter().enumerate() {
        let place = format!("spec[{at}]");
        let before = fields.len();
        if let Tree::Map(entries) = item {
            for (key, value) in entries {
                let (path, place) = (format!("TCP.{key}"), format!("{place}.{key}"));
                if key == "frontend" {
                    frontend(table, &place, value, &mut fields);
                } else {
                    walk(table, &path, &place, value, &mut fields);
                }
            }
        }
        let narrows = |field: &Field| field.protects && matches!(field.outcome, Outcome::Left(_));
        if !fields.iter().skip(before).any(narrows) {
            binds(namespace, &place, item, &mut ports);
        }
    }
    ports.sort_by(|a, b| (&a.port, &a.place).cmp(&(&b.port, &b.place)));
    // A port bound for both families is one port.
    ports.dedup_by(|later, first| later.port == first.port && later.value == first.value);
    (ports, fields)
}

fn frontend(table: &Table, place: &str, frontend: &Tree, fields: &mut Vec<Field>) {
    let Tree::Map(entries) = frontend else { return };
    for (key, value) in entries {
        let (path, place) = (format!("TCP.frontend.{key}"), format!("{place}.{key}"));
        let (Tree::Map(binds), "binds") = (value, &**key) else {
            walk(table, &path, &place, value, fields);
            continue;
        };
        for (name, bind) in binds {
            walk(table, &path, &format!("{place}.{name}"), bind, fields);
        }
    }
}

fn binds(namespace: &str, place: &str, item: &Tree, ports: &mut Vec<Port>) {
    let Some(service) = item.get("service") else { return };
    let (name, port) = (service.text("name"), service.text("port"));
    let binds = item.get("frontend").and_then(|frontend| frontend.get("binds"));
    let Some(Tree::Map(binds)) = binds else { return };
    for (bind, options) in binds {
        let tls = if options.text("ssl") == "true" { ":ssl" } else { "" };
        ports.push(Port {
            port: options.text("port").to_owned(),
            value: format!("{namespace}/{name}:{port}{tls}"),
            place: format!("{place}.frontend.binds.{bind}"),
        });
    }
}

/// The field that stands for a port in a report: its entry has to be written by hand.
#[must_use]
pub fn by_hand(port: &Port) -> Field {
    let Port { port, value, place } = port;
    let entry = Entry {
        key: "TCP.frontend.binds",
        protects: false,
        verdict: Verdict::OtherKey,
        target: Target::Flag("--configmap-tcp-services"),
        carry: tidegate_core::annotations::dialect::Carry::ByHand,
        remark: "",
    };
    let why = format!("write `{port}: {value}` into the ConfigMap of TCP services");
    Field {
        path: "TCP.frontend.binds".to_owned(),
        place: place.clone(),
        entry: Some(entry),
        protects: false,
        outcome: Outcome::Left(why),
    }
}
