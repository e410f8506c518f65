//! From one path of an Ingress to its route record: which backend, under which policy, or which
//! answer instead.
//!
//! Forms: `BACKEND` (plain), `|BACKEND|POLICY` (with a policy) and `|BACKEND|POLICY|CANARY` (with
//! another backend, chosen by the policy). Answers are static backends.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::client::Handshake;
use super::host::Claim;
use super::{Piece, canary};
use crate::annotations::resolve::{self, Resolved, Source, Target};
use crate::annotations::{BackendDraft, Registry, RouteDraft, RowId, process, redirect};
use crate::desired::BackendSpec;
use crate::problem::{Problem, Reason, Severity};
use crate::render::profile;
use crate::snippet::{Place, Snippet};
use crate::world::InForce;
use crate::world::lookup::Lookup;
use crate::world::object::{
    BackendRef, Ingress, Kind, Name, ObjectRef, PortRef, Service, ServicePort, ServiceSource,
};

/// The record that answers 404.
pub const NOT_FOUND: &str = "tidegate-404";

/// haproxytech's controller name, with or without a class after it. Who runs under it gets the
/// redirect to HTTPS that its users are used to.
const THEIR_CONTROLLER: &str = "haproxy.org/ingress-controller";

/// The record that answers 503.
pub const UNAVAILABLE: &str = "tidegate-503";

/// Policies of the Ingresses of one host, computed once each.
pub struct Policies {
    host: Arc<str>,
    handshake: Handshake,
    by_ingress: BTreeMap<Option<Name>, Policy>,
}

/// What the route-type keys of an Ingress add up to.
#[derive(Clone)]
pub(super) struct Policy {
    pub(super) route: crate::annotations::RouteDraft,
    /// Whether a key that protects the routes cannot be used.
    pub(super) closed: bool,
}

/// The record of one path. Problems, policies and the backend go into `piece`.
pub(super) fn record(
    lookup: &mut Lookup<'_>,
    registry: &Registry,
    policies: &mut Policies,
    claim: &Claim<'_>,
    canary: Option<&Claim<'_>>,
    piece: &mut Piece,
) -> String {
    let (ingress, field, backend) = (claim.ingress, &claim.field, claim.backend);
    let object = ObjectRef { kind: Kind::Ingress, name: ingress.meta.name.clone() };
    if lookup.quarantined(&object).is_some() {
        piece.problems.push(withheld(lookup, object));
        return UNAVAILABLE.to_string();
    }
    let policy = policies.of(lookup, registry, Some(ingress), piece);
    let (service_name, port) = match backend {
        BackendRef::Service { name, port } => (name, port),
        BackendRef::Unusable(what) => {
            piece.problems.push(Problem {
                object,
                field: field.as_str().into(),
                reason: Reason::NotSupported,
                severity: Severity::Error,
                what: what.to_string(),
                instead: "the path answers 503".to_string(),
                fix: "name a Service with a port".to_string(),
            });
            return UNAVAILABLE.to_string();
        }
    };
    let service_name =
        Name { namespace: ingress.meta.name.namespace.clone(), name: service_name.clone() };
    let missing = |what: String, fix: String| Problem {
        object: object.clone(),
        field: field.as_str().into(),
        reason: Reason::NotFound,
        severity: Severity::Error,
        what,
        instead: "the path answers 503".to_string(),
        fix,
    };
    let found = match find_port(lookup, &service_name, port) {
        Ok(found) => found,
        Err((what, fix)) => {
            piece.problems.push(missing(what, fix));
            return UNAVAILABLE.to_string();
        }
    };
    let built = build(lookup, registry, policy, Some(ingress), &service_name, found, piece);
    let Some(mut built) = built else { return UNAVAILABLE.to_string() };
    let canary =
        canary.and_then(|claim| canary::join(lookup, registry, ingress, claim, &mut built, piece));
    built.record(canary, piece)
}

/// The Problem of an Ingress that is withheld.
pub(super) fn withheld(lookup: &mut Lookup<'_>, object: ObjectRef) -> Problem {
    let why = lookup.quarantined(&object).unwrap_or("");
    Problem {
        what: format!("HAProxy refused what it asks for: {why}"),
        object,
        field: "".into(),
        reason: Reason::Refused,
        severity: Severity::Error,
        instead: "its routes answer 503, everything else goes on".to_string(),
        fix: "change the value HAProxy names".to_string(),
    }
}

/// The Service and port for what no rule matches: the ConfigMap's, else the settings'.
pub fn default_backend(
    lookup: &mut Lookup<'_>,
    registry: &Registry,
) -> Option<(Name, Option<u16>)> {
    let set = lookup.settings().default_backend.clone();
    let set = set.map(|(name, port)| (name, (port != 0).then_some(port)));
    let Some(config) = lookup.defaults() else { return set };
    let keys = Source::ConfigMap(config).keys(registry);
    let is_it = |row: RowId| registry.row(row).is_some_and(|row| row.key == process::FALLBACK);
    let mut values = keys.into_iter().filter(|(row, _, _)| is_it(*row));
    let chosen = values.find_map(|(_, _, value)| process::service_and_port(value).ok());
    chosen.or(set)
}

/// The record for what no rule matches: the controller's default backend, if it has one.
pub fn fallback(
    lookup: &mut Lookup<'_>,
    registry: &Registry,
    policies: &mut Policies,
    piece: &mut Piece,
) -> Option<String> {
    let (name, port) = default_backend(lookup, registry)?;
    let service = ObjectRef { kind: Kind::Service, name: name.clone() };
    let config_map = lookup.settings().config_map.clone();
    let config_map = config_map.map(|name| ObjectRef { kind: Kind::ConfigMap, name });
    for object in core::iter::once(service).chain(config_map) {
        if let Some(why) = lookup.quarantined(&object) {
            piece.problems.push(Problem {
                object,
                field: "".into(),
                reason: Reason::Refused,
                severity: Severity::Error,
                what: format!("HAProxy refused what it asks of the default backend: {why}"),
                instead: "requests that no rule matches get 503".to_string(),
                fix: "change the value HAProxy names".to_string(),
            });
            return Some(UNAVAILABLE.to_string());
        }
    }
    let policy = policies.of(lookup, registry, None, piece);
    let port = match port {
        Some(port) => PortRef::Number(port),
        // As haproxytech's controller does: the first one.
        None => match lookup.service(&name).and_then(|service| service.ports.first()) {
            Some(port) => PortRef::Number(port.port),
            None => PortRef::Name("".into()),
        },
    };
    let found = find_port(lookup, &name, &port);
    Some(match found {
        Ok(found) => match build(lookup, registry, policy, None, &name, found, piece) {
            Some(built) => built.record(None, piece),
            None => UNAVAILABLE.to_string(),
        },
        Err((what, fix)) => {
            piece.problems.push(Problem {
                object: ObjectRef { kind: Kind::Service, name },
                field: "".into(),
                reason: Reason::NotFound,
                severity: Severity::Error,
                what: format!("the controller's default backend: {what}"),
                instead: "requests that no rule matches get 404".to_string(),
                fix,
            });
            NOT_FOUND.to_string()
        }
    })
}

/// What a record is made of.
pub(super) struct Built {
    backend: Arc<str>,
    /// The policy of the path, with what the backend needs the frontend to compute.
    pub(super) policy: RouteDraft,
    /// The latter alone.
    pub(super) of_backend: RouteDraft,
}

impl Built {
    /// The record; the policy goes into `piece`.
    fn record(self, canary: Option<Arc<str>>, piece: &mut Piece) -> String {
        let name = self.backend;
        let Some((id, contributions)) = self.policy.finish() else { return name.to_string() };
        piece.contributions.extend(contributions);
        let lists = self.policy.lists();
        piece.lists.extend(lists.map(|(id, list)| (id.clone(), list.clone())));
        match canary {
            Some(canary) => format!("|{name}|{id}|{canary}"),
            None => format!("|{name}|{id}"),
        }
    }
}

/// The backend of a path; `None` when a key that protects it cannot be used.
fn build(
    lookup: &mut Lookup<'_>,
    registry: &Registry,
    mut policy: Policy,
    ingress: Option<&Ingress>,
    service_name: &Name,
    port: FoundPort<'_>,
    piece: &mut Piece,
) -> Option<Built> {
    let mut sources = Vec::with_capacity(3);
    sources.extend(lookup.defaults().map(Source::ConfigMap));
    sources.extend(ingress.map(|i| Source::Ingress(&i.meta)));
    sources.push(Source::Service(&port.service.meta));
    let Resolved { route: _, mut backend, problems, closed } =
        resolve::apply(lookup, registry, &sources, Target::Backend);
    piece.problems.extend(problems);
    if policy.closed || closed.is_some() {
        return None;
    }
    crate::annotations::protocol::app_protocol(port.app_protocol, &mut backend);
    let snippet = snippet(lookup, ingress, service_name)?;
    policy.route.absorb(&backend.route);
    let spec = Arc::new(spec(lookup, service_name, &port, &backend, snippet));
    let name = spec.name();
    piece.backends.push((name.clone(), spec));
    Some(Built { backend: name, policy: policy.route, of_backend: backend.route })
}

/// What a backend is to be: what the keys add up to, for a port of a Service.
pub(super) fn spec(
    lookup: &mut Lookup<'_>,
    service: &Name,
    port: &FoundPort<'_>,
    draft: &BackendDraft,
    snippet: Option<Arc<Snippet>>,
) -> BackendSpec {
    let base = profile::name(draft.balance, draft.check_profile, draft.affinity);
    BackendSpec {
        service: service.clone(),
        port_name: port.name.into(),
        port: port.number,
        profile: match &snippet {
            Some(snippet) => profile::with_snippet(&base, snippet),
            None => base,
        },
        keywords: draft.keywords.join(" ").into(),
        files: draft.files.iter().copied().collect(),
        check: draft.check.clone(),
        snippet,
        reach: draft.reach.filter(|reach| *reach != lookup.settings().reach),
    }
}

/// The lines of a backend: those of the ConfigMap, the Ingress and the Service, in this order; `None`
/// when one of them must not be served without lines that are not in force.
pub(super) fn snippet(
    lookup: &mut Lookup<'_>,
    ingress: Option<&Ingress>,
    service: &Name,
) -> Option<Option<Arc<Snippet>>> {
    let of = |kind, name: &Name| ObjectRef { kind, name: name.clone() };
    let config_map = lookup.settings().config_map.as_ref();
    let objects = config_map
        .map(|name| of(Kind::ConfigMap, name))
        .into_iter()
        .chain(ingress.map(|ingress| of(Kind::Ingress, &ingress.meta.name)))
        .chain([of(Kind::Service, service)]);
    let mut all: Option<Arc<Snippet>> = None;
    for object in objects {
        let lines = match lookup.snippet(&object, Place::Backend).0 {
            InForce::Nothing => continue,
            InForce::Closed => return None,
            InForce::Lines(lines) => lines.clone(),
        };
        all = Some(match all {
            Some(before) => Arc::new(before.and(&lines)),
            None => lines,
        });
    }
    Some(all)
}

impl Policies {
    /// None yet.
    #[must_use]
    pub fn new(host: &Arc<str>, handshake: Handshake) -> Policies {
        Policies { host: host.clone(), handshake, by_ingress: BTreeMap::new() }
    }

    /// The policy of an Ingress, or of the controller's default backend.
    pub(super) fn of(
        &mut self,
        lookup: &mut Lookup<'_>,
        registry: &Registry,
        ingress: Option<&Ingress>,
        piece: &mut Piece,
    ) -> Policy {
        let key = ingress.map(|i| i.meta.name.clone());
        if let Some(policy) = self.by_ingress.get(&key) {
            return policy.clone();
        }
        let mut sources = Vec::with_capacity(2);
        sources.extend(lookup.defaults().map(Source::ConfigMap));
        sources.extend(ingress.map(|i| Source::Ingress(&i.meta)));
        let mut resolved = resolve::apply(lookup, registry, &sources, Target::Route);
        piece.problems.append(&mut resolved.problems);
        let has_tls = ingress.is_some_and(|ingress| !ingress.tls.is_empty());
        let by_default = lookup.settings().controller_name.starts_with(THEIR_CONTROLLER);
        redirect::to_https(&mut resolved.route, has_tls, by_default);
        let config_map = lookup.settings().config_map.as_ref();
        let objection = resolved.route.clients.and_then(|clients| {
            self.handshake.objection(&clients, &self.host, ingress, config_map)
        });
        let closed = resolved.closed.is_some() || objection.is_some();
        piece.problems.extend(objection);
        let policy = Policy { route: resolved.route, closed };
        self.by_ingress.insert(key, policy.clone());
        policy
    }
}

/// A Service port that a reference names.
pub(super) struct FoundPort<'w> {
    pub(super) service: &'w Service,
    pub(super) name: &'w str,
    pub(super) number: u16,
    pub(super) app_protocol: Option<&'w str>,
}

/// Finds the port, or says what is missing and how to fix it.
pub(super) fn find_port<'w>(
    lookup: &mut Lookup<'w>,
    name: &Name,
    port: &PortRef,
) -> Result<FoundPort<'w>, (String, String)> {
    let Some(service) = lookup.service(name) else {
        return Err((
            format!("Service {name} does not exist"),
            format!("create Service {name} or name another one"),
        ));
    };
    let found = service.ports.iter().find(|candidate| match port {
        PortRef::Name(wanted) => candidate.name == *wanted,
        PortRef::Number(wanted) => candidate.port == *wanted,
    });
    if let ServiceSource::ExternalName(_) = service.source {
        if !lookup.settings().external_names {
            return Err((
                format!("Service {name} is of type ExternalName, which is switched off"),
                "start tidegate with --external-names, knowing CVE-2021-25740".to_string(),
            ));
        }
        if let (None, PortRef::Number(number)) = (found, port) {
            let (name, app_protocol) = ("", None);
            return Ok(FoundPort { service, name, number: *number, app_protocol });
        }
    }
    match found {
        Some(ServicePort { name, port, app_protocol, node_port: _ }) => {
            Ok(FoundPort { service, name, number: *port, app_protocol: app_protocol.as_deref() })
        }
        None => {
            let wanted = match port {
                PortRef::Name(name) => format!("port named {name}"),
                PortRef::Number(number) => format!("port {number}"),
            };
            let ports: Vec<String> = service
                .ports
                .iter()
                .map(|p| {
                    if p.name.is_empty() {
                        format!("{}", p.port)
                    } else {
                        format!("{} ({})", p.port, p.name)
                    }
                })
                .collect();
            Err((
                format!("Service {name} has no {wanted}"),
                format!("use one of its ports: {}", ports.join(", ")),
            ))
        }
    }
}
