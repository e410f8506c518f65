//! What is wrong with one object by itself: fields the decoder left out, unknown keys, keys in
//! places where they have no meaning, hosts and paths that no request can have.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::host::PathKey;
use super::{Piece, class};
use crate::annotations::dialect::{Dialect, Entry, Target, Verdict};
use crate::annotations::resolve::Source;
use crate::annotations::value::quoted;
use crate::annotations::{Annotation, Apply, Inertness, Refusal, Registry, canary};
use crate::problem::{Problem, Reason, Severity};
use crate::snippet::Place;
use crate::world::host;
use crate::world::lookup::Lookup;
use crate::world::object::{Ingress, Kind, Meta, ObjectRef};
use crate::world::{InForce, Why};

/// The problems of an object that is ours to judge.
pub fn project(lookup: &mut Lookup<'_>, registry: &Registry, object: &ObjectRef) -> Piece {
    let mut piece = Piece::default();
    match object.kind {
        Kind::Ingress => {
            let Some(ingress) = lookup.ingress(&object.name) else { return piece };
            if class::is_ours(lookup, ingress) {
                notes(object, &ingress.meta, &mut piece.problems);
                let source = Source::Ingress(&ingress.meta);
                keys(lookup, object, &ingress.meta, source, registry, &mut piece.problems);
                hosts_and_paths(lookup, object, ingress, &mut piece.problems);
            }
        }
        Kind::Service => {
            let Some(service) = lookup.service(&object.name) else { return piece };
            notes(object, &service.meta, &mut piece.problems);
            let source = Source::Service(&service.meta);
            keys(lookup, object, &service.meta, source, registry, &mut piece.problems);
        }
        Kind::Namespace
        | Kind::ConfigMap
        | Kind::IngressClass
        | Kind::Secret
        | Kind::EndpointSlice
        | Kind::Node
        | Kind::Custom(..) => {}
    }
    piece
}

fn notes(object: &ObjectRef, meta: &Meta, problems: &mut Vec<Problem>) {
    for note in &meta.notes {
        problems.push(Problem {
            object: object.clone(),
            field: note.field.clone(),
            reason: Reason::BadField,
            severity: Severity::Warning,
            what: note.message.to_string(),
            instead: "the field was left out".to_string(),
            fix: "see the Kubernetes API reference for the field".to_string(),
        });
    }
}

fn keys(
    lookup: &mut Lookup<'_>,
    object: &ObjectRef,
    meta: &Meta,
    source: Source<'_>,
    registry: &Registry,
    problems: &mut Vec<Problem>,
) {
    let is_canary = object.kind == Kind::Ingress && canary::is_marked(meta);
    for (key, value) in &meta.annotations {
        let Some(found) = registry.find(key) else { continue };
        let problem = match found.and_then(|row| registry.row(row)) {
            None => unknown(object, source.field(key), key, registry),
            Some(row) if !source.admits(row.scopes) => misplaced(object, source.field(key), key),
            Some(row) if is_canary && !canary::is_own(row) => of_the_path(object, &source, key),
            Some(Annotation { apply: Apply::Inert(why), .. }) => match why(value) {
                Some(why) => inert(object, &source, key, why),
                None => continue,
            },
            Some(Annotation { apply: Apply::Snippet(place), .. }) => {
                match snippet(lookup, object, &source.field(key), *place) {
                    Some(problem) => problem,
                    None => continue,
                }
            }
            Some(_) => continue,
        };
        problems.push(problem);
    }
}

/// The Problem of a key that has no meaning here.
#[must_use]
pub fn inert(object: &ObjectRef, source: &Source<'_>, key: &str, told: Inertness) -> Problem {
    Problem {
        object: object.clone(),
        field: source.field(key).into(),
        reason: Reason::NotSupported,
        severity: if told.lacks { Severity::Warning } else { Severity::Info },
        what: format!("{} has no meaning here: {}", quoted(key), told.why),
        instead: "it is ignored".to_string(),
        fix: "remove it, if only tidegate reads it".to_string(),
    }
}

/// The Problem of a snippet that is not in force as written.
#[must_use]
pub fn snippet(
    lookup: &mut Lookup<'_>,
    object: &ObjectRef,
    field: &str,
    place: Place,
) -> Option<Problem> {
    let problem = |reason, what: &str, instead: &str, fix: &str| Problem {
        object: object.clone(),
        field: field.into(),
        reason,
        severity: Severity::Error,
        what: what.to_string(),
        instead: instead.to_string(),
        fix: fix.to_string(),
    };
    if let Some(Refusal { what, fix }) = lookup.settings().snippets.refuses(object, place) {
        return Some(problem(Reason::Forbidden, &what, "the snippet is ignored", &fix));
    }
    let (lines, why) = lookup.snippet(object, place);
    let instead = match lines {
        InForce::Lines(_) => "the last good snippet of this object stays",
        InForce::Nothing => "it goes without the snippet",
        InForce::Closed => "its routes answer 503, as no snippet of it was good before",
    };
    why.map(|why| match why {
        Why::Allowed(Refusal { what, fix }) => problem(Reason::BadValue, what, instead, fix),
        Why::Haproxy(words) => {
            problem(Reason::Refused, words, instead, "mend the line that HAProxy names")
        }
    })
}

/// The Problem for a key on a canary that is not about who goes to it.
fn of_the_path(object: &ObjectRef, source: &Source<'_>, key: &str) -> Problem {
    Problem {
        object: object.clone(),
        field: source.field(key).into(),
        reason: Reason::WrongScope,
        severity: Severity::Warning,
        what: format!("{} has no meaning on a canary", quoted(key)),
        instead: "what the Ingress that it joins says holds for both".to_string(),
        fix: "remove it here, or write it on the Ingress that the canary joins".to_string(),
    }
}

/// The Problem for a key in a place where it has no meaning.
#[must_use]
pub fn misplaced(object: &ObjectRef, field: String, key: &str) -> Problem {
    Problem {
        object: object.clone(),
        field: field.into(),
        reason: Reason::WrongScope,
        severity: Severity::Warning,
        what: format!("{} has no meaning on a {}", quoted(key), object.kind.name()),
        instead: "it is ignored".to_string(),
        fix: "put it where the annotation reference says".to_string(),
    }
}

/// The Problem for an unknown key: what says the same here, for a key of haproxytech's, or the
/// nearest known key.
#[must_use]
pub fn unknown(object: &ObjectRef, field: String, key: &str, registry: &Registry) -> Problem {
    let name = match key.split_once('/') {
        Some(("tidegate.io", _)) => "",
        Some((_, name)) => name,
        None => key,
    };
    let (what, fix) = match Dialect::Haproxytech.entry(name) {
        Some(entry) => elsewhere(key, &entry),
        None => {
            let fix = match registry.nearest(key) {
                Some(nearest) => format!("did you mean {nearest}?"),
                None => "see the annotation reference for the keys there are".to_string(),
            };
            (format!("{} is not a known key", quoted(key)), fix)
        }
    };
    Problem {
        object: object.clone(),
        field: field.into(),
        reason: Reason::UnknownKey,
        severity: Severity::Warning,
        what,
        instead: "it is ignored".to_string(),
        fix,
    }
}

/// What is wrong with a key that means something to haproxytech's controller only, and what says
/// the same here.
fn elsewhere(key: &str, entry: &Entry) -> (String, String) {
    let key = quoted(key);
    let what = match entry.verdict {
        Verdict::Never => format!("{key} has no meaning here"),
        Verdict::NotYet => format!("{key} is not in this version"),
        Verdict::Same | Verdict::Better | Verdict::OtherKey => format!("{key} is not read"),
    };
    let fix = match (entry.verdict, entry.target) {
        (_, Target::Key(target)) => format!("write tidegate.io/{target}"),
        (_, Target::Flag(flag)) => format!("use the flag {flag} of `tidegate run`"),
        (Verdict::NotYet, Target::Nothing) => "`tidegate migrate` tells of all keys".to_string(),
        (_, Target::Nothing) => "remove it".to_string(),
    };
    match entry.remark {
        "" => (what, fix),
        remark => (what, format!("{fix}; {remark}")),
    }
}

fn hosts_and_paths(
    lookup: &mut Lookup<'_>,
    object: &ObjectRef,
    ingress: &Ingress,
    problems: &mut Vec<Problem>,
) {
    let bad = |field: String, what: String| Problem {
        object: object.clone(),
        field: field.into(),
        reason: Reason::BadField,
        severity: Severity::Error,
        what,
        instead: "it is not served".to_string(),
        fix: "see spec.rules in the Ingress reference".to_string(),
    };
    let bytes_max = lookup.settings().limits.path_bytes_max as usize;
    let mut total = 0;
    for (r, rule) in ingress.rules.iter().enumerate() {
        if let Err(why) = host::parse(&rule.host) {
            let what = format!("host {} {why}", quoted(&rule.host));
            problems.push(bad(format!("spec.rules[{r}].host"), what));
        }
        for (p, path) in rule.paths.iter().enumerate() {
            total += 1;
            if path.path.len() > bytes_max {
                let what = format!("a path has more than {bytes_max} bytes");
                problems.push(bad(format!("spec.rules[{r}].http.paths[{p}].path"), what));
            } else if let Err(why) = PathKey::parse(&path.path, path.path_type) {
                let what = format!("path {} {why}", quoted(&path.path));
                problems.push(bad(format!("spec.rules[{r}].http.paths[{p}].path"), what));
            }
        }
    }
    for (t, tls) in ingress.tls.iter().enumerate() {
        for (h, name) in tls.hosts.iter().enumerate() {
            if let Err(why) = host::parse(name) {
                let what = format!("host {} {why}", quoted(name));
                problems.push(bad(format!("spec.tls[{t}].hosts[{h}]"), what));
            }
        }
    }
    let max = lookup.settings().limits.paths_per_ingress_max as usize;
    if total > max {
        problems.push(Problem {
            object: object.clone(),
            field: "spec.rules".into(),
            reason: Reason::LimitExceeded,
            severity: Severity::Error,
            what: format!("it has {total} paths, more than the limit of {max}"),
            instead: format!("the first {max} are served"),
            fix: "split the Ingress, or raise --paths-per-ingress-max".to_string(),
        });
    }
}
