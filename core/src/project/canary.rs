//! Canaries: claims that join the path of another Ingress instead of owning one.
//!
//! Inputs: the claims on a host, and who owns its paths. Outputs: which canary joins which path, the
//! canary's backend, and its choice in the policy of the path. The policy is the owner's, so that what
//! protects the path protects both; the canary only says who goes to it. A canary that cannot take
//! requests (no Service, no endpoints, a key that cannot be used) gets none, and the owner keeps them
//! all. Not here: what the keys mean (`annotations::canary`).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::host::{Claim, PathKey, seniority};
use super::route::{self, Built};
use super::{Piece, backend};
use crate::annotations::resolve::{self, Resolved, Source, Target};
use crate::annotations::{Registry, RouteDraft, canary, protocol};
use crate::desired::{BackendSpec, Contribution};
use crate::problem::{Problem, Reason, Severity};
use crate::world::lookup::Lookup;
use crate::world::object::{BackendRef, Ingress, Kind, Name, ObjectRef};

/// What happens instead of a canary that cannot be.
const INSTEAD: &str = "it gets no requests, and the Ingress it joins keeps them all";

/// Takes the canaries out of the claims.
pub(super) fn take<'w>(lookup: &mut Lookup<'_>, claims: &mut Vec<Claim<'w>>) -> Vec<Claim<'w>> {
    let mut canaries = Vec::new();
    for claim in core::mem::take(claims) {
        if canary::is_marked(&claim.ingress.meta) || has_acl(lookup, &claim) {
            canaries.push(claim);
        } else {
            claims.push(claim);
        }
    }
    canaries
}

fn has_acl(lookup: &mut Lookup<'_>, claim: &Claim<'_>) -> bool {
    let service = service(claim).and_then(|name| lookup.service(&name));
    service.is_some_and(|service| canary::has_acl(&service.meta))
}

fn service(claim: &Claim<'_>) -> Option<Name> {
    let namespace = claim.ingress.meta.name.namespace.clone();
    match claim.backend {
        BackendRef::Service { name, port: _ } => Some(Name { namespace, name: name.clone() }),
        BackendRef::Unusable(_) => None,
    }
}

/// Which canary joins which path; the others are Problems.
pub(super) fn assign<'w>(
    mut canaries: Vec<Claim<'w>>,
    owners: &BTreeMap<PathKey, Claim<'_>>,
    host: &str,
    problems: &mut Vec<Problem>,
) -> BTreeMap<PathKey, Claim<'w>> {
    canaries.sort_by(|a, b| seniority(a).cmp(&seniority(b)));
    let mut joined: BTreeMap<PathKey, Claim<'_>> = BTreeMap::new();
    for claim in canaries {
        let owner = owners.get(&claim.path).filter(|_| !claim.is_default());
        let Some(owner) = owner else {
            let what =
                format!("no other Ingress has this path of {host}, so there is nothing to join");
            let fix = "give it the host, path and pathType of an Ingress that is no canary";
            problems.push(of(&claim, Reason::NotFound, what, "it is not served", fix));
            continue;
        };
        let of_owner = &owner.ingress.meta.name;
        if of_owner.namespace != claim.ingress.meta.name.namespace {
            let what = format!("the path belongs to Ingress {of_owner} of another namespace");
            let fix = "put the canary into the namespace of the Ingress it joins";
            problems.push(of(&claim, Reason::Forbidden, what, "it gets no requests", fix));
            continue;
        }
        if let Some(first) = joined.get(&claim.path) {
            let what =
                format!("Ingress {} is an older canary of this path", first.ingress.meta.name);
            let fix = "let one canary join a path";
            let told = of(&claim, Reason::Conflict, what, "it gets no requests", fix);
            let what = format!("Ingress {} is a canary of this path too", claim.ingress.meta.name);
            let first = of(first, Reason::Conflict, what, "this canary keeps its requests", fix);
            problems.extend([told, Problem { severity: Severity::Warning, ..first }]);
            continue;
        }
        joined.insert(claim.path.clone(), claim);
    }
    joined
}

/// The backend of a canary, with its choice put into the policy of the path. `None` when it gets no
/// requests.
pub(super) fn join(
    lookup: &mut Lookup<'_>,
    registry: &Registry,
    owner: &Ingress,
    claim: &Claim<'_>,
    built: &mut Built,
    piece: &mut Piece,
) -> Option<Arc<str>> {
    let object = ObjectRef { kind: Kind::Ingress, name: claim.ingress.meta.name.clone() };
    if lookup.quarantined(&object).is_some() {
        let withheld = route::withheld(lookup, object);
        piece.problems.push(Problem { instead: INSTEAD.to_string(), ..withheld });
        return None;
    }
    let BackendRef::Service { name: _, port } = claim.backend else {
        let what = "it names no Service".to_string();
        let told = of(claim, Reason::NotSupported, what, INSTEAD, "name a Service with a port");
        piece.problems.push(told);
        return None;
    };
    let service = service(claim)?;
    let found = match route::find_port(lookup, &service, port) {
        Ok(found) => found,
        Err((what, fix)) => {
            piece.problems.push(of(claim, Reason::NotFound, what, INSTEAD, &fix));
            return None;
        }
    };
    let mut sources = Vec::with_capacity(3);
    sources.extend(lookup.defaults().map(Source::ConfigMap));
    sources.push(Source::Ingress(&owner.meta));
    sources.push(Source::Service(&found.service.meta));
    let Resolved { route: _, backend: mut draft, problems, closed } =
        resolve::apply(lookup, registry, &sources, Target::Backend);
    piece.problems.extend(problems);
    if let Some(why) = closed {
        let fix = format!("see the Problems of Service {service}");
        piece.problems.push(of(claim, Reason::FailedClosed, why, INSTEAD, &fix));
        return None;
    }
    protocol::app_protocol(found.app_protocol, &mut draft);
    if draft.route != built.of_backend {
        // The keys that these read are those of the path.
        draft.affinity = false;
        draft.balance = if draft.balance == "hash" { "" } else { draft.balance };
    }
    let Some(snippet) = route::snippet(lookup, Some(owner), &service) else {
        let what = "a snippet that it cannot go without is not in force".to_string();
        let fix = format!("see the Problems of Service {service} and Ingress {}", owner.meta.name);
        piece.problems.push(of(claim, Reason::FailedClosed, what, INSTEAD, &fix));
        return None;
    };
    let spec = Arc::new(route::spec(lookup, &service, &found, &draft, snippet));
    let name = spec.name();
    if !has_endpoints(lookup, &name, &spec, piece) {
        return None;
    }
    if canary::is_marked(&claim.ingress.meta) {
        let chosen = choice(lookup, registry, claim.ingress, piece);
        canary::choose(&chosen, &mut built.policy);
    } else {
        canary::choose_by_acl(&draft, &mut built.policy);
    }
    piece.backends.push((name.clone(), spec));
    Some(name)
}

/// Who goes to a marked Ingress. Its other keys have no meaning, which is told for the object.
fn choice(
    lookup: &mut Lookup<'_>,
    registry: &Registry,
    ingress: &Ingress,
    piece: &mut Piece,
) -> RouteDraft {
    let sources = [Source::Ingress(&ingress.meta)];
    let resolved = resolve::apply(lookup, registry, &sources, Target::Route);
    let own = |problem: &Problem| problem.field.contains("tidegate.io/canary");
    piece.problems.extend(resolved.problems.into_iter().filter(own));
    if let Some((weight, total)) = canary::excess(&resolved.route) {
        piece.problems.push(Problem {
            object: ObjectRef { kind: Kind::Ingress, name: ingress.meta.name.clone() },
            field: "metadata.annotations[tidegate.io/canary-weight]".into(),
            reason: Reason::BadValue,
            severity: Severity::Warning,
            what: format!("the weight {weight} is more than the total of {total}"),
            instead: "the canary gets all that neither header nor cookie decides".to_string(),
            fix: format!("use 0 to {total}, or raise canary-weight-total"),
        });
    }
    resolved.route
}

/// Whether anybody is there to take the requests of a canary. A name that is not resolved yet is kept
/// resolved meanwhile.
fn has_endpoints(
    lookup: &mut Lookup<'_>,
    name: &Arc<str>,
    spec: &Arc<BackendSpec>,
    piece: &mut Piece,
) -> bool {
    let mut has = false;
    for contribution in backend::project(lookup, name, spec).contributions {
        match contribution {
            Contribution::Backend(backend) => has |= !backend.servers.is_empty(),
            Contribution::ResolveName(_) => piece.contributions.push(contribution),
            _ => {}
        }
    }
    has
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
