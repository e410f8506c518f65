//! Which routes must answer 503 because the certificates of their clients cannot be judged: a second,
//! naive reading of `client-ca`.

use tidegate_core::digest::Digest;
use tidegate_core::world::object::{Ingress, Name, Secret};

use super::annotations::{found_for, secret_of};
use super::routing::Facts;
use crate::model::haproxy::REFUSED_DIGEST;

const CA: (&str, &str) = ("client-ca", "client-ca");
const DEPTH: (&str, &str) = ("client-verify-depth", "");

/// What clients are held to: the Secret, its authorities, revocations, depth 1.
type Check = (Name, Digest, bool, bool);

/// Whether a route for this host is closed.
pub(super) fn closes(facts: &Facts<'_>, host: &str, ingress: Option<&Ingress>) -> bool {
    if found_for(facts, ingress, &CA).is_none() {
        return false;
    }
    let Some(wanted) = check_of(facts, ingress) else { return true };
    if host.is_empty() || !has_certificate(facts, host) {
        return true;
    }
    // The oldest with something usable speaks for the host.
    let held = facts.with_rule_for(host).into_iter().find_map(|i| check_of(facts, Some(i)));
    held != Some(wanted)
}

fn check_of<'a>(facts: &Facts<'a>, ingress: Option<&'a Ingress>) -> Option<Check> {
    let found = found_for(facts, ingress, &CA)?;
    let secret = secret_of(facts, &found)?;
    match &secret.authority {
        Some(Ok(a)) => {
            Some((secret.meta.name.clone(), a.digest, a.revokes, is_direct(facts, ingress)))
        }
        _ => None,
    }
}

fn is_direct(facts: &Facts<'_>, ingress: Option<&Ingress>) -> bool {
    found_for(facts, ingress, &DEPTH).is_some_and(|found| found.value.trim() == "1")
}

/// Whether something is presented under the name: its own, its wildcard's or the default
/// certificate.
fn has_certificate(facts: &Facts<'_>, host: &str) -> bool {
    let good = |secret: Option<&&Secret>| {
        let certificate = secret.and_then(|s| s.certificate.as_ref());
        // HAProxy refuses that one.
        matches!(certificate, Some(Ok(c)) if c.digest != Digest([REFUSED_DIGEST; 16]))
    };
    let parent = host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
    let parent = parent.filter(|_| !host.starts_with('*'));
    let named = [Some(host.to_owned()), parent]
        .into_iter()
        .flatten()
        .any(|name| facts.tls_secrets(&name).iter().any(|secret| good(facts.secrets.get(secret))));
    let mut default = facts.default_certificates().into_iter();
    named || default.any(|name| good(facts.secrets.get(&name)))
}
