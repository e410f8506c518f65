//! Keys that protect a route and that this version cannot honour: whoever wrote one is not served
//! without it.
//!
//! Inputs: the keys of a source. Outputs: Problems, each of which closes the routes. Not here: the
//! keys that there are.

use alloc::format;
use alloc::vec::Vec;

use super::resolve::Source;
use super::value::quoted;
use super::{HAPROXY_PREFIXES, PREFIX};
use crate::problem::{Problem, Reason, Severity};

/// Keys of basic authentication.
pub const KEYS: [&str; 3] = ["auth-type", "auth-secret", "auth-realm"];

/// Whether a full annotation key, or a key of the ConfigMap, is one of [`KEYS`].
#[must_use]
pub fn is_absent(key: &str) -> bool {
    let prefixed = [PREFIX].into_iter().chain(HAPROXY_PREFIXES);
    let bare = prefixed.filter_map(|prefix| key.strip_prefix(prefix)).next().unwrap_or(key);
    KEYS.contains(&bare)
}

/// One Problem for each such key of a source.
#[must_use]
pub fn problems(source: &Source<'_>) -> Vec<Problem> {
    let keys: Vec<&str> = match source {
        Source::ConfigMap(map) => map.data.keys().map(|key| &**key).collect(),
        Source::Ingress(meta) | Source::Service(meta) => {
            meta.annotations.iter().map(|(key, _)| &**key).filter(|key| key.contains('/')).collect()
        }
    };
    let absent = keys.into_iter().filter(|key| is_absent(key));
    absent
        .map(|key| Problem {
            object: source.object(),
            field: source.field(key).into(),
            reason: Reason::FailedClosed,
            severity: Severity::Error,
            what: format!("{} asks for authentication, which there is not yet", quoted(key)),
            instead: "the routes it protects answer 503".into(),
            fix: "remove the key once something else protects the routes".into(),
        })
        .collect()
}
