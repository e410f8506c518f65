//! Which keys name Secrets, so that these can be asked for before anything is made of the key.

use alloc::vec::Vec;

use super::Registry;
use super::resolve::Source;
use crate::world::object::Name;

/// Keys whose values name a Secret: `NAME`, or `NAMESPACE/NAME` in the ConfigMap. A test reads the
/// Secrets of every key's example and compares.
pub const KEYS: &[&str] = &["server-ca", "server-certificate", "auth-secret"];

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
