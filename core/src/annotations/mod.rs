//! The annotation machinery. One table per family says everything about its keys: scopes, value,
//! default, what it does, an example; the parser, the reference page, the Problems for unknown
//! keys and the tests come from the rows.
//!
//! Adding a family: one file with a [`Family`], and its line in [`FAMILIES`].

pub mod access;
pub mod affinity;
pub mod auth;
pub mod balance;
pub mod canary;
pub mod check;
pub mod client;
pub mod client_certificates;
pub mod connection;
pub mod cors;
pub mod custom;
pub mod dialect;
pub mod draft;
pub mod forward;
pub mod headers;
pub mod hsts;
pub mod inert;
pub mod limits;
pub mod listener;
pub mod logs;
pub mod names;
pub mod nearest;
pub mod passthrough;
pub mod process;
pub mod protocol;
pub mod quic;
pub mod rate;
pub mod reach;
pub mod redirect;
pub mod reference;
pub mod resolve;
pub mod rewrite;
pub mod secrets;
pub mod snippets;
pub mod timeouts;
pub mod value;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::action::MapId;
use crate::capability::Capabilities;
use crate::desired::Skeleton;
use crate::problem::Problem;
use crate::snippet::Place;
use crate::world::lookup::Lookup;
use crate::world::object::Meta;
pub use draft::{BackendDraft, RouteDraft};

/// Every family, in the order in which their rules run within each section: a route pays for the
/// rules up to the last family it uses. In the frontend stand those that may answer instead of a
/// pod, in the backends those that shape what the pod sees, so that neither pays for the other.
pub const FAMILIES: &[&Family] = &[
    &logs::FAMILY,
    &client::FAMILY,
    &access::FAMILY,
    &client_certificates::FAMILY,
    &redirect::FAMILY,
    &cors::FAMILY,
    &rate::FAMILY,
    &auth::FAMILY,
    &canary::FAMILY,
    &timeouts::FAMILY,
    &headers::FAMILY,
    &hsts::FAMILY,
    &rewrite::FAMILY,
    &balance::FAMILY,
    &limits::FAMILY,
    &check::FAMILY,
    &protocol::FAMILY,
    &affinity::FAMILY,
    &forward::FAMILY,
    &connection::FAMILY,
    &process::FAMILY,
    &inert::FAMILY,
    &listener::FAMILY,
    &quic::FAMILY,
    &snippets::FAMILY,
    &passthrough::FAMILY,
    &reach::FAMILY,
    &custom::FAMILY,
];

/// The rules of the static part, group by group. A route evaluates all groups up to the last one that
/// it uses, so what few routes use comes last.
pub fn rule_groups() -> impl Iterator<Item = &'static [Rule]> {
    FAMILIES.iter().map(|family| family.rules).chain([rewrite::FURTHER])
}

/// A group of keys that belong together.
pub struct Family {
    /// Title in the reference.
    pub title: &'static str,
    /// A paragraph for the reference.
    pub about: &'static str,
    /// Fields of the policy record that the family's keys fill.
    pub fields: &'static [&'static str],
    /// The keys.
    pub keys: &'static [Annotation],
    /// Composes backend values into profile and keywords, once all keys were applied.
    pub finish: Option<fn(&mut BackendDraft)>,
    /// Composes route values into fields of the policy record, once all keys were applied.
    pub finish_route: Option<fn(&mut RouteDraft, &Capabilities)>,
    /// Skeleton rules that read the fields.
    pub rules: &'static [Rule],
}

/// One key.
pub struct Annotation {
    /// Name under `tidegate.io/`, and in the ConfigMap.
    pub key: &'static str,
    /// Name under `haproxy.org/` with the same meaning; `None` when there is none.
    pub haproxy: Option<&'static str>,
    /// Where it may stand.
    pub scopes: Scopes,
    /// What the value looks like.
    pub syntax: &'static str,
    /// What holds without it.
    pub default: &'static str,
    /// What it does, in a sentence or two.
    pub about: &'static str,
    /// A value for documentation and tests.
    pub example: &'static str,
    /// The mechanism that carries it.
    pub mechanism: Mechanism,
    /// What a value that cannot be used means.
    pub on_error: OnError,
    /// Takes the value in.
    pub apply: Apply,
}

/// The row of a key of the ConfigMap that is an option of the static part.
const fn option(
    key: &'static str,
    haproxy: &'static str,
    syntax: &'static str,
    default: &'static str,
    about: &'static str,
    example: &'static str,
    apply: fn(&str) -> Result<(&'static str, String), Refusal>,
) -> Annotation {
    Annotation {
        key,
        haproxy: Some(haproxy),
        scopes: Scopes::C,
        syntax,
        default,
        about,
        example,
        mechanism: Mechanism::Skeleton,
        on_error: OnError::Default,
        apply: Apply::Skeleton(apply),
    }
}

/// Takes a value in, or refuses it.
#[derive(Clone, Copy)]
pub enum Apply {
    /// Shapes the route.
    Route(fn(&str, &mut RouteDraft, &mut Context<'_, '_>) -> Result<(), Refusal>),
    /// Shapes the backend.
    Backend(fn(&str, &mut BackendDraft, &mut Context<'_, '_>) -> Result<(), Refusal>),
    /// An option of the static part: directive and encoded value.
    Skeleton(fn(&str) -> Result<(&'static str, String), Refusal>),
    /// Entries of maps that belong to no route.
    Entries(fn(&str) -> Result<Vec<(MapId, String, String)>, Refusal>),
    /// Read by whoever needs it; this only judges the value.
    Judged(fn(&str) -> Result<(), Refusal>),
    /// Has no meaning here: why, unless the value asks for what is so anyway.
    Inert(fn(&str) -> Option<Inertness>),
    /// Lines of configuration, which `world::snippets` takes in.
    Snippet(Place),
}

/// Why a key has no meaning here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inertness {
    /// Whether something that it asks for is not there.
    pub lacks: bool,
    /// Why, in words.
    pub why: &'static str,
}

/// Where a key may stand. The narrower scope wins: Service, then Ingress, then ConfigMap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scopes {
    /// ConfigMap only.
    C,
    /// ConfigMap and Ingress.
    CI,
    /// ConfigMap, Ingress and Service.
    CIS,
    /// Ingress only.
    I,
    /// Service only.
    S,
}

/// How a key reaches HAProxy; decides whether a change can ever reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// A field of the route's policy record.
    Record,
    /// An entry of a map of its own.
    Map,
    /// A list of networks.
    List,
    /// A named defaults section.
    Profile,
    /// A server keyword.
    ServerKeyword,
    /// The static part: changing it reloads.
    Skeleton,
    /// None: the key is known and has no meaning here.
    Nothing,
    /// A named defaults section of its own.
    Snippet,
    /// That of the keys which a resource says.
    Resource,
}

/// What a value that cannot be used means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// The wider scope's value or the default holds.
    Default,
    /// The route answers 503: it must not be served without the policy.
    Close,
}

/// Why a value cannot be used. Never contains the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong.
    pub what: String,
    /// How to fix it.
    pub fix: String,
}

impl Refusal {
    /// A refusal from its parts.
    pub fn new(what: impl Into<String>, fix: impl Into<String>) -> Refusal {
        Refusal { what: what.into(), fix: fix.into() }
    }
}

/// What `apply` may look at besides the value.
pub struct Context<'l, 'w> {
    /// Recorded reads.
    pub lookup: &'l mut Lookup<'w>,
    /// The object that carries the annotation; for the ConfigMap its own metadata.
    pub owner: &'l Meta,
    /// What is wrong though the value can be used, such as a part of what it names.
    pub problems: &'l mut Vec<Problem>,
}

/// A rule of the skeleton. In `text`, `{f:NAME}` stands for the sample expression of a policy
/// field and `{on:NAME}` for the condition that the route sets it. The renderer adds nothing but
/// an indent.
pub struct Rule {
    /// Where it stands.
    pub at: Section,
    /// Whether this HAProxy gets it.
    pub when: fn(&Capabilities) -> bool,
    /// The line, or lines made from the skeleton.
    pub text: RuleText,
}

/// The text of a rule.
#[derive(Clone, Copy)]
pub enum RuleText {
    /// A line.
    Line(&'static str),
    /// Lines that depend on the skeleton (a header name each).
    Lines(fn(&Skeleton) -> Vec<String>),
}

/// A place for rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Requests, in the frontend, for routes that use any family.
    Request,
    /// Responses, in the frontend, for routes that use any family.
    Response,
    /// Requests, in the named defaults of backends, for routes that use any family.
    Backend,
    /// The last rules for responses, in the named defaults of backends with session affinity.
    Affinity,
    /// Responses of the static backend that answers CORS preflights.
    Preflight,
}

/// For rules that every HAProxy gets.
#[must_use]
pub fn always(_: &Capabilities) -> bool {
    true
}

/// The rows by key, for every spelling.
#[derive(Debug, Default)]
pub struct Registry {
    tidegate: BTreeMap<&'static str, (usize, usize)>,
    haproxy: BTreeMap<&'static str, (usize, usize)>,
    /// Old names of theirs.
    old: BTreeMap<&'static str, (usize, usize)>,
}

/// Prefixes of annotations in haproxytech's dialect.
pub const HAPROXY_PREFIXES: [&str; 3] = ["haproxy.org/", "haproxy.com/", "ingress.kubernetes.io/"];

/// Prefix of our own annotations.
pub const PREFIX: &str = "tidegate.io/";

/// A row's place: family and key within it. Orders rows as documented and applied.
pub type RowId = (usize, usize);

impl Registry {
    /// The rows of [`FAMILIES`].
    #[must_use]
    pub fn new() -> Registry {
        let mut registry = Registry::default();
        for (f, family) in FAMILIES.iter().enumerate() {
            for (k, row) in family.keys.iter().enumerate() {
                registry.tidegate.insert(row.key, (f, k));
                if let Some(name) = row.haproxy {
                    registry.haproxy.insert(name, (f, k));
                }
            }
        }
        for (old, name) in names::OLD {
            if let Some(row) = registry.haproxy.get(name).copied() {
                registry.old.insert(old, row);
            }
        }
        registry
    }

    /// A row.
    #[must_use]
    pub fn row(&self, id: RowId) -> Option<&'static Annotation> {
        FAMILIES.get(id.0)?.keys.get(id.1)
    }

    /// The row of a full annotation key. `None` when the prefix is not ours; the inner `None`
    /// when the prefix is and the key is unknown. A key without any prefix is haproxytech's if
    /// that controller knows it, and else nobody's.
    #[must_use]
    pub fn find(&self, full_key: &str) -> Option<Option<RowId>> {
        if let Some(key) = full_key.strip_prefix(PREFIX) {
            return Some(self.tidegate.get(key).copied());
        }
        if !full_key.contains('/') {
            return self.theirs(full_key).map(Some);
        }
        let key = HAPROXY_PREFIXES.iter().find_map(|p| full_key.strip_prefix(p))?;
        Some(self.theirs(key))
    }

    fn theirs(&self, key: &str) -> Option<RowId> {
        self.haproxy.get(key).or_else(|| self.old.get(key)).copied()
    }

    /// How near a spelling is to our own; of several for one row on one object the lowest wins:
    /// ours, theirs by prefix, their old names, theirs without a prefix. In the ConfigMap, where
    /// nothing has a prefix, its data come before its annotations.
    #[must_use]
    pub fn spelling(&self, key: &str, in_data: bool) -> usize {
        let bare = key.rsplit('/').next().unwrap_or(key);
        let old = self.old.contains_key(bare) && !self.haproxy.contains_key(bare);
        if in_data {
            return if self.tidegate.contains_key(bare) { 0 } else { 1 + usize::from(old) };
        }
        if key.starts_with(PREFIX) {
            return 3;
        }
        let prefix = HAPROXY_PREFIXES.iter().position(|p| key.starts_with(p));
        4 + prefix.unwrap_or(HAPROXY_PREFIXES.len()) + if old { 10 } else { 0 }
    }

    /// The row of a ConfigMap key, in either spelling.
    #[must_use]
    pub fn find_config(&self, key: &str) -> Option<RowId> {
        self.tidegate.get(key).copied().or_else(|| self.theirs(key))
    }

    /// The known key nearest to an unknown one, spelled with the same prefix.
    #[must_use]
    pub fn nearest(&self, full_key: &str) -> Option<String> {
        let (prefix, key, rows) = match full_key.split_once('/') {
            Some(("tidegate.io", key)) => ("tidegate.io/", key, &self.tidegate),
            Some((_, key)) => ("haproxy.org/", key, &self.haproxy),
            None => ("", full_key, &self.tidegate),
        };
        let name = nearest::nearest(key, rows.keys().copied())?;
        Some(alloc::format!("{prefix}{name}"))
    }
}

/// Whether a text is the whole name of a key of haproxytech's controller, which takes keys without
/// any prefix too.
#[must_use]
pub fn is_theirs(key: &str) -> bool {
    let mut rows = FAMILIES.iter().flat_map(|family| family.keys);
    !key.contains('/')
        && (rows.any(|row| row.haproxy == Some(key))
            || names::OLD.iter().any(|(old, _)| *old == key))
}

/// Whether a key of the ConfigMap, in any spelling, says nothing about routes and backends.
#[must_use]
pub fn is_static(key: &str) -> bool {
    let key = key.rsplit('/').next().unwrap_or(key);
    let key = names::OLD.iter().find(|(old, _)| *old == key).map_or(key, |(_, name)| *name);
    let mut rows = FAMILIES.iter().flat_map(|family| family.keys.iter());
    let row = rows.find(|row| row.key == key || row.haproxy == Some(key));
    row.is_some_and(|row| match row.apply {
        Apply::Skeleton(_) | Apply::Snippet(_) | Apply::Entries(_) | Apply::Inert(_) => true,
        Apply::Route(_) | Apply::Backend(_) | Apply::Judged(_) => false,
    })
}

/// The position (from 1) of a policy field in the record; position 1 is the flags.
#[must_use]
pub fn field_position(name: &str) -> Option<usize> {
    let fields = FAMILIES.iter().flat_map(|family| family.fields);
    fields.into_iter().position(|field| *field == name).map(|at| at + 2)
}

/// The letter that marks a field in the flags of a policy record.
#[must_use]
pub fn flag_of(field: &str) -> char {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let at = field_position(field).unwrap_or(2) - 2;
    // There are as many letters as there may be fields; a test counts them.
    LETTERS.get(at).copied().map_or('?', char::from)
}
