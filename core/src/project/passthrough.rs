//! Hosts whose TLS is passed through to the pods by SNI (`tls-passthrough`).
//!
//! Inputs: the claims on a host. Outputs: which of them hold, the record of the SNI, and that of plain
//! HTTP. A host is passed through or not, as the oldest Ingress that names it says; both sides are
//! told. What a policy forbids is enforced where the SNI is looked at (lists), or the host takes no
//! connection. Not here: claims.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Piece;
use super::host::{Claim, PathKey, seniority};
use super::route::{self, Policies};
use super::stream::{self, Stream};
use crate::annotations::resolve::{Source, Target};
use crate::annotations::{Apply, OnError, Registry, passthrough};
use crate::problem::{Problem, Reason, Severity};
use crate::render::stream::REFUSED;
use crate::sabotage::{Mistake, is_planted};
use crate::world::lookup::Lookup;
use crate::world::object::{BackendRef, Ingress, Kind, Name, ObjectRef};

/// Keys that close a route on error and are enforced for TLS that is passed through as well, or are
/// not about who may come in.
const HARMLESS: [&str; 6] = [
    "auth-realm",
    "allow-list",
    "deny-list",
    "tls-passthrough",
    "rate-limit-requests",
    "rate-limit-period",
];

/// Whether the TLS of a host is passed through. Claims that do not hold are taken out.
pub(super) fn settle(
    lookup: &mut Lookup<'_>,
    registry: &Registry,
    policies: &mut Policies,
    host: &Arc<str>,
    claims: &mut Vec<Claim<'_>>,
    piece: &mut Piece,
) -> bool {
    let mut passing: BTreeMap<Name, bool> = BTreeMap::new();
    for claim in claims.iter() {
        let name = &claim.ingress.meta.name;
        if !passing.contains_key(name) {
            let policy = policies.of(lookup, registry, Some(claim.ingress), piece);
            passing.insert(name.clone(), passthrough::is_wanted(&policy.route));
        }
    }
    let passes = |claim: &Claim<'_>| passing.get(&claim.ingress.meta.name).copied() == Some(true);
    if !passing.values().any(|passes| *passes) {
        return false;
    }
    let cannot = match (host.is_empty(), lookup.settings().listen.https_port) {
        (true, _) => Some(("TLS is passed through by host name", "give the rule a host")),
        (false, 0) => Some(("there is no HTTPS port", "start tidegate with an --https-port")),
        (false, _) => None,
    };
    if let Some((what, fix)) = cannot {
        // The default backend of an Ingress with hosts is meant for these.
        let told = |c: &&Claim<'_>| passes(c) && (c.ingress.rules.is_empty() || !c.is_default());
        for claim in claims.iter().filter(told) {
            let what = what.to_string();
            piece.problems.push(of(claim, Reason::NotSupported, what, "it is not served", fix));
        }
        claims.retain(|claim| !passes(claim));
        return false;
    }
    let Some(oldest) = claims.iter().min_by(|a, b| seniority(a).cmp(&seniority(b))) else {
        return false;
    };
    let is_passed = passes(oldest) || is_planted(Mistake::AnyonePasses);
    let owner = oldest.ingress.meta.name.clone();
    let owners = claims.iter().find(|claim| claim.ingress.meta.name == owner).into_iter();
    let mut told: Vec<Problem> = Vec::new();
    for winner in owners {
        for loser in claims.iter().filter(|claim| passes(claim) != is_passed) {
            told.extend(conflict(winner, loser, host, is_passed));
        }
    }
    piece.problems.extend(told);
    claims.retain(|claim| passes(claim) == is_passed);
    if is_passed {
        for claim in claims.iter().filter(|claim| claim.path != PathKey::root()) {
            let what = format!("TLS of {host} is passed through, so that no path can be seen");
            let fix = "use path / with pathType Prefix, or give the path a host of its own";
            piece.problems.push(of(claim, Reason::NotSupported, what, "it is not served", fix));
        }
        claims.retain(|claim| claim.path == PathKey::root());
    }
    is_passed
}

/// The records of a host that is passed through: that of plain HTTP, which serves nothing but answers
/// redirects, and that of the SNI. Without a claim nothing of the host is taken.
pub(super) fn records(
    lookup: &mut Lookup<'_>,
    registry: &Registry,
    policies: &mut Policies,
    claim: Option<&Claim<'_>>,
    piece: &mut Piece,
) -> (String, String) {
    let Some(claim) = claim else { return (route::NOT_FOUND.to_string(), REFUSED.to_string()) };
    let object = ObjectRef { kind: Kind::Ingress, name: claim.ingress.meta.name.clone() };
    if lookup.quarantined(&object).is_some() {
        piece.problems.push(route::withheld(lookup, object));
        return (route::UNAVAILABLE.to_string(), REFUSED.to_string());
    }
    let policy = policies.of(lookup, registry, Some(claim.ingress), piece);
    if policy.closed {
        return (route::UNAVAILABLE.to_string(), REFUSED.to_string());
    }
    let plain = match policy.route.finish() {
        None => route::NOT_FOUND.to_string(),
        Some((id, contributions)) => {
            piece.contributions.extend(contributions);
            format!("|{}|{id}", route::NOT_FOUND)
        }
    };
    let lists = ["deny", "allow"].map(|field| policy.route.get(field).unwrap_or("").to_string());
    let has_lists = lists.iter().any(|list| !list.is_empty());
    let unenforced = unenforced(lookup, registry, claim.ingress, has_lists);
    if let Some(key) = unenforced {
        let what = format!("{key} cannot be enforced on TLS that is passed through");
        let fix = format!("remove {key} for this Ingress, or let TLS end here");
        let instead = "connections to the host are refused";
        piece.problems.push(of(claim, Reason::FailedClosed, what, instead, &fix));
        return (plain, REFUSED.to_string());
    }
    let Some(backend) = backend(lookup, registry, claim, piece) else {
        return (plain, REFUSED.to_string());
    };
    let [deny, allow] = lists;
    let sni = if has_lists { format!("|{backend}|{deny}|{allow}") } else { backend.to_string() };
    (plain, sni)
}

/// A key in force that protects the route and that nobody can enforce without seeing the request.
fn unenforced(
    lookup: &mut Lookup<'_>,
    registry: &Registry,
    ingress: &Ingress,
    has_lists: bool,
) -> Option<&'static str> {
    let mut sources = Vec::with_capacity(2);
    sources.extend(lookup.defaults().map(Source::ConfigMap));
    sources.push(Source::Ingress(&ingress.meta));
    let rows = sources.iter().flat_map(|source| {
        let keys = source.keys(registry).into_iter();
        keys.filter_map(|(row, _, _)| registry.row(row).filter(|row| source.admits(row.scopes)))
    });
    let mut closing = rows.filter(|row| {
        let protects = row.on_error == OnError::Close && matches!(row.apply, Apply::Route(_));
        // Whose address a header tells matters to lists only.
        let matters = has_lists || row.key != "src-ip-header";
        protects && matters && !HARMLESS.contains(&row.key)
    });
    closing.next().map(|row| row.key)
}

fn backend(
    lookup: &mut Lookup<'_>,
    registry: &Registry,
    claim: &Claim<'_>,
    piece: &mut Piece,
) -> Option<Arc<str>> {
    let refused = "connections to the host are refused";
    let (service, port) = match claim.backend {
        BackendRef::Service { name, port } => (name.clone(), port),
        BackendRef::Unusable(what) => {
            let fix = "name a Service with a port";
            let what = what.to_string();
            piece.problems.push(of(claim, Reason::NotSupported, what, refused, fix));
            return None;
        }
    };
    let namespace = claim.ingress.meta.name.namespace.clone();
    let service = Name { namespace, name: service };
    let found = match route::find_port(lookup, &service, port) {
        Ok(found) => found,
        Err((what, fix)) => {
            piece.problems.push(of(claim, Reason::NotFound, what, refused, &fix));
            return None;
        }
    };
    let mut sources = Vec::with_capacity(3);
    sources.extend(lookup.defaults().map(Source::ConfigMap));
    sources.push(Source::Ingress(&claim.ingress.meta));
    sources.push(Source::Service(&found.service.meta));
    let target = Target::Passthrough;
    match stream::backend(lookup, registry, &sources, target, &service, &found, piece) {
        Stream::Backend(name, fits) => {
            if !fits {
                let what = "load-balance needs HTTP".to_string();
                let fix = "use roundrobin, leastconn, random, first or source";
                let reason = Reason::NotSupported;
                let told = of(claim, reason, what, "roundrobin is used", fix);
                piece.problems.push(Problem { severity: Severity::Warning, ..told });
            }
            Some(name)
        }
        Stream::Closed => None,
    }
}

fn of(claim: &Claim<'_>, reason: Reason, what: String, instead: &str, fix: &str) -> Problem {
    Problem {
        object: ObjectRef { kind: Kind::Ingress, name: claim.ingress.meta.name.clone() },
        field: claim.field.as_str().into(),
        reason,
        severity: Severity::Error,
        what,
        instead: instead.to_string(),
        fix: fix.to_string(),
    }
}

/// Tells both sides of a host that is passed through for one and not for the other.
fn conflict(winner: &Claim<'_>, loser: &Claim<'_>, host: &str, is_passed: bool) -> [Problem; 2] {
    let (win, lose) = (&winner.ingress.meta.name, &loser.ingress.meta.name);
    let way = |is_passed| if is_passed { "passes TLS of" } else { "ends TLS of" };
    let fix = "give both Ingresses the same tls-passthrough, or other hosts";
    let what = format!("the older Ingress {win} {} {host}", way(is_passed));
    let lost = of(loser, Reason::Conflict, what, "it is not served", fix);
    let what = format!("the younger Ingress {lose} {} {host}", way(!is_passed));
    let won = of(winner, Reason::Conflict, what, "this Ingress keeps it", fix);
    [lost, Problem { severity: Severity::Warning, ..won }]
}
