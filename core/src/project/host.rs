//! The routes of a host: who claims which path, and who wins.
//!
//! Rules (Ingress v1, reference part 1): host first, then path; Exact before Prefix; the longest
//! path wins (by the maps); the oldest Ingress wins a contended path, then the smaller name. A
//! known host never falls through to the wildcard or to routes without host: what no path matches
//! goes to the host's default backend, else to the controller's, else 404.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::client::{self, Handshake};
use super::route::{self, Policies};
use super::{Piece, canary, class, passthrough};
use crate::action::MapId;
use crate::annotations::{self, Registry};
use crate::desired::Contribution;
use crate::problem::{Problem, Reason, Severity};
use crate::sabotage::{Mistake, is_planted};
use crate::world::host;
use crate::world::lookup::Lookup;
use crate::world::object::{BackendRef, Ingress, Kind, Name, ObjectRef, PathType};

/// One Ingress's wish to own a path of the host.
pub(super) struct Claim<'w> {
    pub(super) ingress: &'w Ingress,
    /// Where it stands in the Ingress.
    pub(super) field: String,
    rank: Rank,
    pub(super) path: PathKey,
    pub(super) backend: &'w BackendRef,
}

impl Claim<'_> {
    /// Whether it is a default backend.
    pub(super) fn is_default(&self) -> bool {
        self.rank == Rank::Default
    }
}

/// What goes first within one Ingress. Default backends come after every rule of every Ingress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Typed,
    ImplementationSpecific,
    Default,
}

/// The map entries of a host with the policies and backends they refer to.
pub fn project(lookup: &mut Lookup<'_>, registry: &Registry, host: &Arc<str>) -> Piece {
    let mut piece = Piece::default();
    let mut claims = Vec::new();
    let mut is_known = false;
    for name in lookup.ingresses_of_host(host) {
        let Some(ingress) = lookup.ingress(&name) else { continue };
        if class::is_ours(lookup, ingress) {
            // Also a host of which no path can be served is known, and shadows the wildcard.
            is_known |= !annotations::canary::is_marked(&ingress.meta);
            collect(ingress, host, lookup, &mut claims);
        }
    }
    claims.sort_by(|a, b| {
        a.is_default()
            .cmp(&b.is_default())
            .then_with(|| seniority(a).cmp(&seniority(b)))
            .then_with(|| a.rank.cmp(&b.rank))
    });
    let canaries = canary::take(lookup, &mut claims);
    let handshake = client::handshake(lookup, registry, host);
    if let Handshake::Checks(_, clients) = &handshake {
        piece.contributions.extend(client::lines(lookup, registry, host, *clients));
    }
    let mut policies = Policies::new(host, handshake);
    let is_passed =
        passthrough::settle(lookup, registry, &mut policies, host, &mut claims, &mut piece);
    let mut winners: BTreeMap<PathKey, Claim<'_>> = BTreeMap::new();
    for claim in claims {
        match winners.get(&claim.path) {
            Some(winner) => conflict(winner, &claim, host, &mut piece.problems),
            None => {
                winners.insert(claim.path.clone(), claim);
            }
        }
    }
    // Nobody sees the requests of a host that is passed through.
    let none = BTreeMap::new();
    let owners = if is_passed { &none } else { &winners };
    let canaries = canary::assign(canaries, owners, host, &mut piece.problems);
    if is_passed {
        let claim = winners.get(&PathKey::root());
        let (plain, sni) = passthrough::records(lookup, registry, &mut policies, claim, &mut piece);
        add(&mut piece, host, &PathKey::root(), &plain);
        let sni = Contribution::Map(MapId::Sni, host.clone(), sni.into());
        piece.contributions.push(sni);
        return piece;
    }
    let has_root = winners.contains_key(&PathKey::root());
    for (path, claim) in winners {
        let record =
            route::record(lookup, registry, &mut policies, &claim, canaries.get(&path), &mut piece);
        add(&mut piece, host, &path, &record);
    }
    if !has_root && (is_known || host.is_empty()) {
        let fallback = route::fallback(lookup, registry, &mut policies, &mut piece);
        match fallback {
            Some(record) => add(&mut piece, host, &PathKey::root(), &record),
            // Without a host there is nothing to shadow: the skeleton answers 404 by itself.
            None if host.is_empty() => {}
            None => add(&mut piece, host, &PathKey::root(), route::NOT_FOUND),
        }
    }
    piece
}

/// What makes the older of two claims.
pub(super) fn seniority<'w>(claim: &Claim<'w>) -> (i64, &'w Name) {
    let (created, name) = claim.ingress.meta.seniority();
    (if is_planted(Mistake::NameBeforeAge) { 0 } else { created }, name)
}

fn add(piece: &mut Piece, host: &str, path: &PathKey, record: &str) {
    let key = path.map_key(host);
    piece.contributions.push(Contribution::Map(MapId::Route, key.into(), record.into()));
}

fn collect<'w>(
    ingress: &'w Ingress,
    host: &Arc<str>,
    lookup: &Lookup<'_>,
    claims: &mut Vec<Claim<'w>>,
) {
    let limits = &lookup.settings().limits;
    let (max, bytes_max) = (limits.paths_per_ingress_max as usize, limits.path_bytes_max as usize);
    let mut total = 0;
    let mut named = false;
    for (r, rule) in ingress.rules.iter().enumerate() {
        let ours = host::parse(&rule.host).as_ref() == Ok(host);
        named |= ours;
        for (p, path) in rule.paths.iter().enumerate() {
            total += 1;
            let is_beyond = total > max && !is_planted(Mistake::NoLimit);
            if !ours || is_beyond || path.path.len() > bytes_max {
                continue;
            }
            let Ok(key) = PathKey::parse(&path.path, path.path_type) else { continue };
            claims.push(Claim {
                ingress,
                field: format!("spec.rules[{r}].http.paths[{p}]"),
                rank: match path.path_type {
                    PathType::Exact | PathType::Prefix => Rank::Typed,
                    PathType::ImplementationSpecific => Rank::ImplementationSpecific,
                },
                path: key,
                backend: &path.backend,
            });
        }
    }
    if let Some(backend) = ingress.default_backend.as_ref().filter(|_| named || host.is_empty()) {
        claims.push(Claim {
            ingress,
            field: "spec.defaultBackend".to_string(),
            rank: Rank::Default,
            path: PathKey::root(),
            backend,
        });
    }
}

/// A path of a rule in its normal form: no doubled slashes, no slash at the end of a prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathKey {
    /// The whole path.
    Exact(String),
    /// By path element; the root is `/`.
    Prefix(String),
}

impl PathKey {
    /// The prefix that every path has.
    #[must_use]
    pub fn root() -> PathKey {
        PathKey::Prefix("/".to_string())
    }

    /// Parses a path of a rule.
    ///
    /// # Errors
    /// What is wrong with a path that no request can have.
    pub fn parse(path: &str, path_type: PathType) -> Result<PathKey, &'static str> {
        let path = if path.is_empty() && path_type != PathType::Exact { "/" } else { path };
        if !path.starts_with('/') {
            return Err("must begin with /");
        }
        if !path.bytes().all(|b| b.is_ascii_graphic() && b != b'>') {
            return Err("has spaces, > or other characters that must be percent-encoded");
        }
        if path.contains(['?', '#']) {
            return Err("has ? or #, which are never part of a request's path");
        }
        let mut normal = String::with_capacity(path.len());
        for c in path.chars() {
            if !(c == '/' && normal.ends_with('/')) || is_planted(Mistake::PathAsWritten) {
                normal.push(c);
            }
        }
        let dots = normal.split('/').any(|element| {
            let element = element.to_ascii_lowercase().replace("%2e", ".");
            element == "." || element == ".."
        });
        if dots {
            return Err("has . or .. elements, and requests with them are refused");
        }
        match path_type {
            PathType::Exact => Ok(PathKey::Exact(normal)),
            PathType::Prefix | PathType::ImplementationSpecific => {
                let trimmed = normal.trim_end_matches('/');
                let normal = if trimmed.is_empty() { "/" } else { trimmed };
                Ok(PathKey::Prefix(normal.to_string()))
            }
        }
    }

    /// The key in the route map. A request is looked up as `host`, path and `/>`, which begins
    /// with the prefix keys of all its leading elements and, if exact, is the whole key; the
    /// longest key wins, so Exact beats Prefix.
    #[must_use]
    pub fn map_key(&self, host: &str) -> String {
        match self {
            PathKey::Exact(path) => format!("{host}{path}/>"),
            PathKey::Prefix(path) if path == "/" => format!("{host}/"),
            PathKey::Prefix(path) => format!("{host}{path}/"),
        }
    }

    fn text(&self) -> &str {
        match self {
            PathKey::Exact(path) | PathKey::Prefix(path) => path,
        }
    }
}

/// Tells both sides of a contended path. Two default backends without host contend silently only
/// within one Ingress.
fn conflict(winner: &Claim<'_>, loser: &Claim<'_>, host: &str, problems: &mut Vec<Problem>) {
    let shadowed_default = loser.rank == Rank::Default && winner.rank != Rank::Default;
    let implicit =
        loser.rank == Rank::Default && host.is_empty() && !loser.ingress.rules.is_empty();
    if shadowed_default || implicit {
        return;
    }
    let place = if host.is_empty() { "without a host".to_string() } else { format!("of {host}") };
    let kind = match loser.path {
        PathKey::Exact(_) => "exact path",
        PathKey::Prefix(_) => "path",
    };
    let path = format!("{kind} {}", loser.path.text());
    let (win, lose) = (&winner.ingress.meta.name, &loser.ingress.meta.name);
    if win == lose {
        problems.push(Problem {
            object: ingress_ref(lose),
            field: loser.field.as_str().into(),
            reason: Reason::Conflict,
            severity: Severity::Warning,
            what: format!("{path} {place} is given twice"),
            instead: format!("{} holds", winner.field),
            fix: "remove one of the two".to_string(),
        });
        return;
    }
    problems.push(Problem {
        object: ingress_ref(lose),
        field: loser.field.as_str().into(),
        reason: Reason::Conflict,
        severity: Severity::Error,
        what: format!("{path} {place} belongs to the older Ingress {win}"),
        instead: format!("requests go where Ingress {win} says"),
        fix: "choose another host or path, or remove it from one of the two".to_string(),
    });
    problems.push(Problem {
        object: ingress_ref(win),
        field: winner.field.as_str().into(),
        reason: Reason::Conflict,
        severity: Severity::Warning,
        what: format!("the younger Ingress {lose} claims {path} {place} too"),
        instead: "this Ingress keeps it".to_string(),
        fix: "nothing, unless the other one should have it".to_string(),
    });
}

fn ingress_ref(name: &Name) -> ObjectRef {
    ObjectRef { kind: Kind::Ingress, name: name.clone() }
}
