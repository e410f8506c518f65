//! Keys that name Secrets: which they are, so that these can be asked for before anything is made of
//! the key, and what a Secret holds for them.

use alloc::format;
use alloc::vec::Vec;

use super::resolve::Source;
use super::value::quoted;
use super::{Context, Refusal, Registry};
use crate::sabotage::{Mistake, is_planted};
use crate::world::object::{AuthorityFacts, CertificateFacts, Kind, Name, ObjectRef, Secret};

/// Keys whose values name a Secret: `NAME`, or `NAMESPACE/NAME` in the ConfigMap. A test reads the
/// Secrets of every key's example and compares.
pub const KEYS: &[&str] =
    &["auth-secret", "client-ca", "default-certificate", "server-ca", "server-certificate"];

/// The Secrets that the keys of an object name; `operator` for the controller's own ConfigMap.
/// More than are used is fine (a narrower scope may win), fewer is not.
pub fn named(registry: &Registry, source: &Source<'_>, own: &Name, operator: bool) -> Vec<Name> {
    let mut names = Vec::new();
    for (row, _, value) in source.keys(registry) {
        if !registry.row(row).is_some_and(|row| KEYS.contains(&row.key)) {
            continue;
        }
        let (namespace, name) = match value.trim().split_once('/') {
            Some((namespace, name)) => (namespace, name),
            None => (&*own.namespace, value.trim()),
        };
        if operator || *namespace == *own.namespace {
            names.push(Name::new(namespace, name));
        }
    }
    names
}

/// Whether a Secret of this name can exist (RFC 1123 names): no other is asked for.
#[must_use]
pub fn can_exist(name: &Name) -> bool {
    let is_plain = |text: &str, longest: usize| {
        let admitted =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        !text.is_empty()
            && text.len() <= longest
            && text.bytes().all(admitted)
            && !text.starts_with(['-', '.'])
            && !text.ends_with(['-', '.'])
    };
    is_plain(&name.namespace, 63) && is_plain(&name.name, 253)
}

/// The Secret that a value names. References stay in the namespace of the object that makes them;
/// the operator's ConfigMap may name any.
///
/// # Errors
/// What is no name, and other namespaces.
pub fn name(text: &str, context: &Context<'_, '_>) -> Result<Name, Refusal> {
    let own = &context.owner.name.namespace;
    let operator = context.lookup.settings().config_map.as_ref() == Some(&context.owner.name);
    let (namespace, name) = match text.trim().split_once('/') {
        Some((namespace, name)) => (namespace, name),
        None => (&**own, text.trim()),
    };
    if name.is_empty() || namespace.is_empty() {
        return Err(Refusal::new(
            format!("{} is not the name of a Secret", quoted(text)),
            "write the name of a Secret in the same namespace",
        ));
    }
    if !operator && *namespace != **own && !is_planted(Mistake::AnyNamespace) {
        return Err(Refusal::new(
            format!("Secret {} is in another namespace", quoted(text)),
            format!("copy the Secret into namespace {own}"),
        ));
    }
    Ok(Name::new(namespace, name))
}

/// The authorities in the Secret that a value names.
///
/// # Errors
/// A Secret that is not there, is withheld, or has none that can be used.
pub fn authority<'w>(
    text: &str,
    context: &mut Context<'_, 'w>,
) -> Result<&'w AuthorityFacts, Refusal> {
    let name = name(text, context)?;
    match &usable(context, &name)?.authority {
        Some(Ok(facts)) => Ok(facts),
        Some(Err(why)) => Err(bad(&name, why, "ca.crt")),
        None => Err(bad(&name, "it has no ca.crt", "ca.crt")),
    }
}

/// The certificate with its key in the Secret that a value names.
///
/// # Errors
/// As for [`authority`].
pub fn certificate<'w>(
    text: &str,
    context: &mut Context<'_, 'w>,
) -> Result<&'w CertificateFacts, Refusal> {
    let name = name(text, context)?;
    match &usable(context, &name)?.certificate {
        Some(Ok(facts)) => Ok(facts),
        Some(Err(why)) => Err(bad(&name, why, "tls.crt and tls.key")),
        None => Err(bad(&name, "it has no tls.crt", "tls.crt and tls.key")),
    }
}

/// A Secret that there is and that HAProxy has not refused.
///
/// # Errors
/// Any other.
pub fn usable<'w>(context: &mut Context<'_, 'w>, name: &Name) -> Result<&'w Secret, Refusal> {
    let object = ObjectRef { kind: Kind::Secret, name: name.clone() };
    if let Some(why) = context.lookup.quarantined(&object) {
        return Err(Refusal::new(
            format!("HAProxy refused Secret {name}: {why}"),
            "replace its content",
        ));
    }
    context.lookup.secret(name).ok_or_else(|| {
        Refusal::new(format!("Secret {name} does not exist"), "create it or name another one")
    })
}

fn bad(name: &Name, why: &str, keys: &str) -> Refusal {
    Refusal::new(
        format!("Secret {name} cannot be used: {why}"),
        format!("put PEM text into {keys}"),
    )
}
