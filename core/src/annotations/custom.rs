//! References to haproxytech's custom resources: what a resource says counts as values of the scope
//! that names it, behind what that object says itself and before any wider scope.
//!
//! Inputs: the objects whose keys are applied. Outputs: the same with the resources they name, and
//! Problems: a resource that is not there, and its fields that say nothing here. A field that
//! protects closes what refers to it. Decision 0022.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::resolve::{Resolved, Source, Target};
use super::value::quoted;
use super::{
    Annotation, Apply, Family, Mechanism, OnError, Refusal, Registry, RowId, Scopes, secrets,
};
use crate::problem::{Problem, Reason, Severity};
use crate::world::custom::{Custom, Part, Unsaid, Weight};
use crate::world::lookup::Lookup;
use crate::world::object::{ConfigMap, Kind, Name};

/// The family.
pub const FAMILY: Family = Family {
    title: "Custom resources of HAProxy Technologies' controller",
    about: "Objects of `ingress.v1.haproxy.org/v1` and `ingress.v3.haproxy.org/v3`; of two with one \
            name the newer version counts. Fields with a counterpart count as keys of the object \
            that names the resource: behind its own keys, before those of wider scopes. Any other \
            field is a Problem that says what to write instead; the guide has \
            [all of them](migrating-from-haproxytech.md#fields-of-its-custom-resources). What \
            refers to a resource whose field protects and has no counterpart answers 503. An \
            Ingress or Service may name resources of its own namespace. `--no-custom-resources` \
            reads none.",
    fields: &[],
    keys: &[
        row(
            "cr-backend",
            Scopes::CIS,
            "Settings of backends, from a Backend. Header rules hold too, also on a Service.",
        ),
        row("cr-defaults", Scopes::C, "Settings of all, from a Defaults."),
        row("cr-global", Scopes::C, "Settings of the process, from a Global."),
        row(
            "cr-frontend-http",
            Scopes::C,
            "A Frontend. Nothing of it has a counterpart of its own: each field is a Problem.",
        ),
        row("cr-frontend-https", Scopes::C, "As `cr-frontend-http`."),
        row("cr-frontend-stats", Scopes::C, "As `cr-frontend-http`, and never closes anything."),
    ],
    finish: None,
    finish_route: None,
    rules: &[],
};

const fn row(key: &'static str, scopes: Scopes, about: &'static str) -> Annotation {
    Annotation {
        key,
        haproxy: Some(key),
        scopes,
        syntax: "NAME of the same namespace; in the ConfigMap NAMESPACE/NAME of any",
        default: "none",
        about,
        example: "tuned",
        mechanism: Mechanism::Resource,
        on_error: OnError::Default,
        apply: Apply::Judged(judge),
    }
}

/// Which part a key names.
fn part(key: &str) -> Option<Part> {
    Some(match key {
        "cr-backend" => Part::Backend,
        "cr-defaults" => Part::Defaults,
        "cr-global" => Part::Global,
        "cr-frontend-http" | "cr-frontend-https" | "cr-frontend-stats" => Part::Frontend,
        _ => return None,
    })
}

fn judge(text: &str) -> Result<(), Refusal> {
    name(text, "any").map(|_| ())
}

/// The name in a value; without a namespace it is the given one.
fn name(text: &str, own: &str) -> Result<Name, Refusal> {
    let (namespace, name) = text.trim().split_once('/').unwrap_or((own, text.trim()));
    let name = Name::new(namespace, name);
    if secrets::can_exist(&name) {
        return Ok(name);
    }
    Err(Refusal::new(
        format!("{} is not the name of a custom resource", quoted(text)),
        "write NAME, or NAMESPACE/NAME",
    ))
}

/// The keys of a resource, by row.
pub(super) fn keys<'w>(custom: &'w Custom, registry: &Registry) -> Vec<(RowId, &'w str, &'w str)> {
    let row = |key: &str| registry.find_config(key);
    let keys =
        custom.said.iter().filter_map(|said| Some((row(&said.key)?, &*said.key, &*said.value)));
    let mut keys: Vec<_> = keys.collect();
    keys.sort_by_key(|(row, _, _)| *row);
    keys
}

/// Whether a key of the route holds though it stands on a Service: haproxytech's controller puts the
/// header rules of a Backend into the backend, and so does the route's policy here.
pub(super) fn is_beside(source: &Source<'_>, annotation: &Annotation, target: Target) -> bool {
    matches!(source, Source::Custom(_, Kind::Service, _))
        && matches!(annotation.apply, Apply::Route(_))
        && annotation.key.ends_with("-header")
        && target == Target::Backend
}

/// The sources with the resources that they name, each before the object that names it: from wide
/// to narrow.
pub(super) fn with_named<'s, 'w: 's>(
    lookup: &mut Lookup<'w>,
    registry: &Registry,
    sources: &[Source<'s>],
    resolved: &mut Resolved,
) -> Vec<Source<'s>> {
    let mut all = Vec::with_capacity(sources.len());
    for source in sources {
        let (found, closed) = named(lookup, registry, source, &mut resolved.problems);
        all.extend(found);
        all.push(*source);
        if resolved.closed.is_none() {
            resolved.closed = closed;
        }
    }
    all
}

/// The ConfigMap with the resources that it names, from wide to narrow, and what is wrong with them.
pub fn of_config<'w>(
    lookup: &mut Lookup<'w>,
    registry: &Registry,
    config: &'w ConfigMap,
) -> (Vec<Source<'w>>, Vec<Problem>) {
    let mut problems = Vec::new();
    let source = Source::ConfigMap(config);
    let (mut all, _) = named(lookup, registry, &source, &mut problems);
    all.push(source);
    (all, problems)
}

/// The resources that an object names, from wide to narrow, and why what it shapes must not be
/// served, if so.
fn named<'s, 'w: 's>(
    lookup: &mut Lookup<'w>,
    registry: &Registry,
    source: &Source<'s>,
    problems: &mut Vec<Problem>,
) -> (Vec<Source<'s>>, Option<String>) {
    let mut found: Vec<(Part, Source<'s>)> = Vec::new();
    let mut closed = None;
    let mut last = None;
    if is_plain(source) {
        return (Vec::new(), None);
    }
    for (row, key, value) in source.keys(registry) {
        let Some(annotation) = registry.row(row) else { continue };
        let Some(part) = part(annotation.key) else { continue };
        // Of several spellings the first counts.
        if last.replace(row) == Some(row) || !source.admits(annotation.scopes) {
            continue;
        }
        let custom = match find(lookup, source, part, value) {
            Ok(custom) => custom,
            Err((reason, refusal)) => {
                problems.push(missing(source, key, reason, refusal));
                continue;
            }
        };
        problems.extend(custom.unsaid.iter().map(|unsaid| unsaid_problem(custom, unsaid)));
        let protects = custom.unsaid.iter().find(|unsaid| unsaid.weight == Weight::Protects);
        if annotation.key != "cr-frontend-stats"
            && let (Some(unsaid), None) = (protects, &closed)
        {
            closed =
                Some(format!("{} of {} has no counterpart", unsaid.field, custom.object_ref()));
        }
        let named = Source::Custom(custom, source.scope(), source.meta());
        problems.extend(misplaced(&named, custom, registry));
        found.push((part, named));
    }
    // What is of the process is wider than what is of all, and that wider than what is of backends.
    found.sort_by_key(|(part, _)| *part);
    (found.into_iter().map(|(_, source)| source).collect(), closed)
}

/// Whether an object can name none: most have no keys at all.
fn is_plain(source: &Source<'_>) -> bool {
    match source {
        Source::ConfigMap(map) => {
            let keys = map.data.keys().chain(map.meta.annotations.iter().map(|(key, _)| key));
            !keys.into_iter().any(|key| key.contains("cr-"))
        }
        Source::Ingress(meta) | Source::Service(meta) => {
            !meta.annotations.iter().any(|(key, _)| key.contains("cr-"))
        }
        Source::Custom(..) => true,
    }
}

fn find<'w>(
    lookup: &mut Lookup<'w>,
    source: &Source<'_>,
    part: Part,
    value: &str,
) -> Result<&'w Custom, (Reason, Refusal)> {
    let own = &source.meta().name.namespace;
    let name = name(value, own).map_err(|refusal| (Reason::BadValue, refusal))?;
    if !lookup.settings().scope.custom_resources {
        let what = "custom resources are not read".to_string();
        let refusal = Refusal::new(what, "start tidegate without --no-custom-resources");
        return Err((Reason::NotSupported, refusal));
    }
    if source.scope() != Kind::ConfigMap && name.namespace != *own {
        let what = format!("{} {name} is in another namespace", part.name());
        let fix = format!("copy it into namespace {own}, or name it in the ConfigMap");
        return Err((Reason::Forbidden, Refusal::new(what, fix)));
    }
    lookup.custom(part, &name).ok_or_else(|| {
        let what = format!("{} {name} does not exist", part.name());
        (Reason::NotFound, Refusal::new(what, "create it, or name another one"))
    })
}

fn missing(source: &Source<'_>, key: &str, reason: Reason, refusal: Refusal) -> Problem {
    let Refusal { what, fix } = refusal;
    Problem {
        object: source.object(),
        field: source.field(key).into(),
        reason,
        severity: Severity::Error,
        what,
        instead: "the other keys hold, and the defaults".to_string(),
        fix,
    }
}

/// The Problem of a field that says nothing here.
pub(crate) fn unsaid_problem(custom: &Custom, unsaid: &Unsaid) -> Problem {
    let Unsaid { field, what, fix, weight } = unsaid;
    let (reason, severity, instead) = match weight {
        Weight::Known => (Reason::NotSupported, Severity::Info, "it is ignored"),
        Weight::Lacks => (Reason::NotSupported, Severity::Warning, "it is ignored"),
        Weight::Protects if custom.part == Part::Tcp => {
            (Reason::FailedClosed, Severity::Error, "its ports are not open")
        }
        Weight::Protects => {
            (Reason::FailedClosed, Severity::Error, "what refers to it answers 503")
        }
    };
    Problem {
        object: custom.object_ref(),
        field: field.clone(),
        reason,
        severity,
        what: what.to_string(),
        instead: instead.to_string(),
        fix: fix.to_string(),
    }
}

/// The Problems of keys that have no meaning in the scope that names the resource.
fn misplaced<'a>(
    source: &'a Source<'_>,
    custom: &'a Custom,
    registry: &'a Registry,
) -> impl Iterator<Item = Problem> + 'a {
    custom.said.iter().filter_map(|said| {
        let annotation = registry.find_config(&said.key).and_then(|row| registry.row(row))?;
        let fits =
            source.admits(annotation.scopes) || is_beside(source, annotation, Target::Backend);
        let kind = source.scope().name();
        (!fits).then(|| Problem {
            object: source.object(),
            field: said.field.clone(),
            reason: Reason::WrongScope,
            severity: Severity::Warning,
            what: format!("{} has no meaning for a resource that a {kind} names", said.key),
            instead: "it is ignored there".to_string(),
            fix: format!("write {} into the ConfigMap, once for all", said.key),
        })
    })
}
