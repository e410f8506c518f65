//! The endpoints of a backend, from the EndpointSlices of its Service, from Nodes, or from DNS.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use super::Piece;
use crate::desired::{Backend, BackendSpec, Contribution};
use crate::problem::{Problem, Reason, Severity};
use crate::sabotage::{Mistake, is_planted};
use crate::settings::Reach;
use crate::world::lookup::Lookup;
use crate::world::object::{Endpoint, Kind, ObjectRef, ServiceSource};

/// The backend with its servers.
pub fn project(lookup: &mut Lookup<'_>, name: &Arc<str>, spec: &Arc<BackendSpec>) -> Piece {
    let mut piece = Piece::default();
    let source = lookup.service(&spec.service).map(|service| &service.source);
    let mut servers = match source {
        Some(ServiceSource::ExternalName(host)) => {
            piece.contributions.push(Contribution::ResolveName(host.clone()));
            let addresses = lookup.resolved(host).unwrap_or(&[]);
            let named = addresses.iter().map(|ip| SocketAddr::new(*ip, spec.port)).collect();
            if is_planted(Mistake::OldTargetsStay) {
                from_slices(lookup, spec, &mut piece).union(&named).copied().collect()
            } else {
                named
            }
        }
        Some(ServiceSource::Slices) => {
            let pods = from_slices(lookup, spec, &mut piece);
            match spec.reach.unwrap_or(lookup.settings().reach) {
                Reach::Pods => pods,
                // Without pods a node port refuses: no server at all says so at once.
                Reach::NodePorts if pods.is_empty() => pods,
                Reach::NodePorts => from_nodes(lookup, spec, &mut piece),
            }
        }
        None => BTreeSet::new(),
    };
    let max = lookup.settings().limits.servers_per_backend_max as usize;
    if servers.len() > max {
        piece.problems.push(Problem {
            object: ObjectRef { kind: Kind::Service, name: spec.service.clone() },
            field: "".into(),
            reason: Reason::LimitExceeded,
            severity: Severity::Warning,
            what: format!("it has {} endpoints, more than the limit of {max}", servers.len()),
            instead: format!("the first {max} by address take traffic"),
            fix: "raise --servers-per-backend-max or split the Service".to_string(),
        });
        servers = servers.into_iter().take(max).collect();
    }
    for file in &spec.files {
        piece.contributions.push(Contribution::File(*file));
    }
    if let Some(check) = &spec.check {
        let entry = Contribution::Map(crate::action::MapId::Check, name.clone(), check.clone());
        piece.contributions.push(entry);
    }
    piece.contributions.push(Contribution::Backend(Arc::new(Backend {
        name: name.clone(),
        spec: spec.clone(),
        servers: servers.into_iter().collect(),
    })));
    piece
}

/// Joins the slices of the Service for the backend's port. Ready endpoints take traffic; when
/// there are none, those that still serve while they terminate do, as kube-proxy has it.
fn from_slices(
    lookup: &mut Lookup<'_>,
    spec: &BackendSpec,
    piece: &mut Piece,
) -> BTreeSet<SocketAddr> {
    let mut ready = BTreeSet::new();
    let mut leaving = BTreeSet::new();
    let slices: Vec<_> = lookup.slices(&spec.service).collect();
    for slice in slices {
        for slice_port in slice.ports.iter().filter(|p| p.name == spec.port_name) {
            let is_sure = is_planted(Mistake::PortIsThere);
            assert!(!is_sure || slice_port.port.is_some(), "a port has a number");
            let Some(port) = slice_port.port.filter(|p| *p != 0) else {
                piece.problems.push(port_problem(slice.meta.name.clone()));
                continue;
            };
            for endpoint in &slice.endpoints {
                let Endpoint { address, ready: is_ready, serving, terminating } = *endpoint;
                if !is_usable(&address) {
                    continue;
                }
                let server = SocketAddr::new(address, port);
                if is_ready {
                    ready.insert(server);
                } else if serving && terminating {
                    leaving.insert(server);
                }
            }
        }
    }
    if ready.is_empty() { leaving } else { ready }
}

/// The node port of the backend's Service port on every ready Node, at its internal address, else
/// its external one. With `externalTrafficPolicy: Local` only Nodes with a ready pod answer.
/// Rule: `v1` ServicePort.nodePort, ServiceSpec.externalTrafficPolicy.
fn from_nodes(
    lookup: &mut Lookup<'_>,
    spec: &BackendSpec,
    piece: &mut Piece,
) -> BTreeSet<SocketAddr> {
    let Some(service) = lookup.service(&spec.service) else { return BTreeSet::new() };
    let port = service.ports.iter().find(|port| port.name == spec.port_name);
    let Some(port) = port.and_then(|port| port.node_port) else {
        piece.problems.push(Problem {
            object: ObjectRef { kind: Kind::Service, name: spec.service.clone() },
            field: "spec.ports".into(),
            reason: Reason::Unusable,
            severity: Severity::Error,
            what: format!(
                "port {} has no node port, and pods are reached through those",
                spec.port
            ),
            instead: "requests for it get 503".to_string(),
            fix: "make the Service of type NodePort, or set tidegate.io/reach to pods (or --reach \
                  for all) where pods can be reached"
                .to_string(),
        });
        return BTreeSet::new();
    };
    let with_pods: BTreeSet<&str> = match service.local_traffic {
        true => lookup.slices(&spec.service).flat_map(|s| s.nodes.iter().map(|n| &**n)).collect(),
        false => BTreeSet::new(),
    };
    let ready = lookup.nodes().filter(|node| node.ready);
    ready
        .filter(|node| !service.local_traffic || with_pods.contains(&*node.meta.name.name))
        .filter_map(|node| node.internal.first().or(node.external.first()))
        .map(|address| SocketAddr::new(*address, port))
        .collect()
}

/// Addresses no pod can have. Loopback is left in: the API server refuses it in slices, and a
/// folder of manifests on a laptop needs it.
fn is_usable(address: &IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast()
}

fn port_problem(slice: crate::world::object::Name) -> Problem {
    Problem {
        object: ObjectRef { kind: Kind::EndpointSlice, name: slice },
        field: "ports".into(),
        reason: Reason::Unusable,
        severity: Severity::Warning,
        what: "a port has no number".to_string(),
        instead: "its endpoints take no traffic".to_string(),
        fix: "give the port a number between 1 and 65535".to_string(),
    }
}
