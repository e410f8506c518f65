//! Precedence: which source's value of a key holds, and what becomes of values that cannot be
//! used.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{
    Annotation, Apply, BackendDraft, Context, FAMILIES, OnError, Refusal, Registry, RouteDraft,
    RowId, Scopes, custom,
};
use crate::problem::{Problem, Reason, Severity};
use crate::world::custom::Custom;
use crate::world::lookup::Lookup;
use crate::world::object::{ConfigMap, Kind, Meta, ObjectRef};

/// An object that may carry keys.
#[derive(Clone, Copy)]
pub enum Source<'w> {
    /// The controller's own ConfigMap.
    ConfigMap(&'w ConfigMap),
    /// An Ingress.
    Ingress(&'w Meta),
    /// A Service.
    Service(&'w Meta),
    /// A custom resource that one of these names, with the kind and the metadata of that one.
    Custom(&'w Custom, Kind, &'w Meta),
}

impl<'w> Source<'w> {
    /// Whose references the values are: of a custom resource, those of the object that names it.
    pub(super) fn meta(&self) -> &'w Meta {
        match self {
            Source::ConfigMap(map) => &map.meta,
            Source::Ingress(meta) | Source::Service(meta) | Source::Custom(_, _, meta) => meta,
        }
    }

    /// The kind of the object whose scope it is.
    pub(super) fn scope(&self) -> Kind {
        match self {
            Source::ConfigMap(_) => Kind::ConfigMap,
            Source::Ingress(_) => Kind::Ingress,
            Source::Service(_) => Kind::Service,
            Source::Custom(_, kind, _) => *kind,
        }
    }

    /// The object that says it.
    #[must_use]
    pub fn object(&self) -> ObjectRef {
        match self {
            Source::Custom(custom, ..) => custom.object_ref(),
            Source::ConfigMap(_) | Source::Ingress(_) | Source::Service(_) => {
                ObjectRef { kind: self.scope(), name: self.meta().name.clone() }
            }
        }
    }

    /// Whether a key with these scopes may stand here.
    #[must_use]
    pub fn admits(&self, scopes: Scopes) -> bool {
        match scopes {
            Scopes::C => self.scope() == Kind::ConfigMap,
            Scopes::CI => self.scope() != Kind::Service,
            Scopes::CIS => true,
            Scopes::I => self.scope() == Kind::Ingress,
            Scopes::S => self.scope() == Kind::Service,
        }
    }

    /// The field as a Problem names it.
    #[must_use]
    pub fn field(&self, key: &str) -> String {
        match self {
            Source::ConfigMap(_) if !key.contains('/') => format!("data.{key}"),
            Source::ConfigMap(_) => format!("metadata.annotations[{key}]"),
            Source::Ingress(_) | Source::Service(_) => format!("metadata.annotations[{key}]"),
            Source::Custom(custom, ..) => custom.field_of(key).to_string(),
        }
    }

    /// The known keys here: row, key as written, value. Of several for one row, the one that wins
    /// comes first. The ConfigMap's own annotations count after its data.
    pub fn keys(&self, registry: &Registry) -> Vec<(RowId, &'w str, &'w str)> {
        let mut keys: Vec<(RowId, usize, &str, &str)> = Vec::new();
        if let Source::Custom(custom, ..) = self {
            return custom::keys(custom, registry);
        }
        if let Source::ConfigMap(map) = self {
            for (key, value) in &map.data {
                if let Some(row) = registry.find_config(key) {
                    keys.push((row, registry.spelling(key, true), key, value));
                }
            }
        }
        for (key, value) in &self.meta().annotations {
            if let Some(Some(row)) = registry.find(key) {
                keys.push((row, registry.spelling(key, false), key, value));
            }
        }
        keys.sort_by_key(|(row, spelling, _, _)| (*row, *spelling));
        keys.into_iter().map(|(row, _, key, value)| (row, key, value)).collect()
    }
}

/// The result of applying the keys of some sources.
#[derive(Default)]
pub struct Resolved {
    /// What the route-type keys add up to.
    pub route: RouteDraft,
    /// What the backend-type keys add up to.
    pub backend: BackendDraft,
    /// What could not be used.
    pub problems: Vec<Problem>,
    /// Why the route must not be served, if so.
    pub closed: Option<String>,
}

/// Which keys to apply.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Those that shape the route.
    Route,
    /// Those that shape the backend.
    Backend,
    /// Those that shape a backend of TCP.
    Stream,
    /// Those that shape a backend to which TLS is passed through: nothing of HAProxy's own TLS.
    Passthrough,
}

/// Applies the keys of `sources`, given from wide to narrow, and of the custom resources that they
/// name. For each key the narrowest source
/// whose value can be used holds; values are never merged. A key that must not be ignored closes
/// the route instead.
pub fn apply<'s, 'w: 's>(
    lookup: &mut Lookup<'w>,
    registry: &Registry,
    sources: &[Source<'s>],
    target: Target,
) -> Resolved {
    let mut resolved = Resolved::default();
    let sources = custom::with_named(lookup, registry, sources, &mut resolved);
    let mut candidates: BTreeMap<RowId, Vec<(Source<'_>, &str, &str)>> = BTreeMap::new();
    for source in sources.iter().rev() {
        for (row, key, value) in source.keys(registry) {
            let Some(annotation) = registry.row(row) else { continue };
            let is_admitted = source.admits(annotation.scopes) && is_for(annotation, target);
            if is_admitted || custom::is_beside(source, annotation, target) {
                candidates.entry(row).or_default().push((*source, key, value));
            }
        }
    }
    for (row, values) in candidates {
        let Some(annotation) = registry.row(row) else { continue };
        for (source, key, value) in values {
            let owner = source.meta();
            match apply_one(annotation, value, target, owner, lookup, &mut resolved) {
                Ok(()) => break,
                Err(refusal) => {
                    let closes = annotation.on_error == OnError::Close;
                    resolved.problems.push(refused(&source, key, annotation, &refusal));
                    if closes {
                        resolved.closed.get_or_insert(refusal.what);
                        break;
                    }
                }
            }
        }
    }
    if target == Target::Route {
        let capabilities = lookup.capabilities();
        for family in FAMILIES {
            if let Some(finish) = family.finish_route {
                finish(&mut resolved.route, &capabilities);
            }
        }
    }
    if target != Target::Route {
        resolved.backend.stream = target != Target::Backend;
        resolved.backend.plain_sni = lookup.capabilities().sni_auto;
        for family in FAMILIES {
            if let Some(finish) = family.finish {
                finish(&mut resolved.backend);
            }
        }
    }
    resolved
}

fn is_for(annotation: &Annotation, target: Target) -> bool {
    match annotation.apply {
        Apply::Route(_) => target == Target::Route,
        Apply::Backend(_) if target == Target::Passthrough => {
            !annotation.key.starts_with("server-")
        }
        Apply::Backend(_) => target != Target::Route,
        Apply::Skeleton(_)
        | Apply::Snippet(_)
        | Apply::Entries(_)
        | Apply::Judged(_)
        | Apply::Inert(_) => false,
    }
}

fn apply_one(
    annotation: &Annotation,
    value: &str,
    target: Target,
    owner: &Meta,
    lookup: &mut Lookup<'_>,
    resolved: &mut Resolved,
) -> Result<(), Refusal> {
    let max = lookup.settings().limits.annotation_bytes_max as usize;
    if value.len() > max {
        return Err(Refusal::new(
            format!("the value has {} bytes, more than the limit of {max}", value.len()),
            "shorten it, or raise --annotation-bytes-max",
        ));
    }
    let Resolved { route, backend, problems, closed: _ } = resolved;
    let mut context = Context { lookup, owner, problems };
    match annotation.apply {
        // Said by the resource of a Service: the route of its backend.
        Apply::Route(apply) if target != Target::Route => {
            apply(value, &mut backend.route, &mut context)
        }
        Apply::Route(apply) => apply(value, route, &mut context),
        Apply::Backend(apply) => apply(value, backend, &mut context),
        Apply::Skeleton(_)
        | Apply::Snippet(_)
        | Apply::Entries(_)
        | Apply::Judged(_)
        | Apply::Inert(_) => Ok(()),
    }
}

/// The Problem for a value that cannot be used.
#[must_use]
pub fn refused(
    source: &Source<'_>,
    key: &str,
    annotation: &Annotation,
    refusal: &Refusal,
) -> Problem {
    let (reason, severity, instead) = match annotation.on_error {
        OnError::Default => (
            Reason::BadValue,
            Severity::Warning,
            format!("the wider scope's value or the default ({}) holds", annotation.default),
        ),
        OnError::Close => {
            (Reason::FailedClosed, Severity::Error, "the routes it protects answer 503".to_string())
        }
    };
    Problem {
        object: source.object(),
        field: source.field(key).into(),
        reason,
        severity,
        what: refusal.what.clone(),
        instead,
        fix: refusal.fix.clone(),
    }
}
