//! Map files, and the form of the records in them.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use crate::action::MapId;
use crate::applied::{LEDGER_DEFAULT_CERTIFICATE, LEDGER_EPOCH, LEDGER_PROFILE, Running};
use crate::desired::{Image, Owned};
use crate::render::kept::{Kept, Layout, Out};
use crate::sabotage::{Mistake, is_planted};

/// Writes a map file, sorted by key. A key has no blanks and no leading `#`; a value has no line
/// breaks: that is the lexical context of a map file, and the parsers of the parts guarantee it.
/// An entry that broke it all the same is left out rather than written.
///
/// # Errors
/// Those of `out`.
pub(super) fn write(
    layout: &mut Layout,
    image: &Image,
    id: MapId,
    out: &mut dyn Out,
) -> fmt::Result {
    let mut line = String::new();
    let before = layout.maps.remove(&id);
    let same = |a: &Owned<Arc<str>>, b: &Owned<Arc<str>>| a.value == b.value;
    let kept = Kept::write(before, image.map(id), same, out, |key, entry, out| {
        if !is_writable(key, &entry.value) {
            return Ok(());
        }
        line.clear();
        for piece in [key, " ", &*entry.value, "\n"] {
            line.push_str(piece);
        }
        out.write_str(&line)
    })?;
    layout.maps.insert(id, kept);
    if id == MapId::Ledger { write_rest_of_ledger(image, out) } else { Ok(()) }
}

/// Writes the entries of the ledger that are not data of the image, but follow from it.
pub(super) fn write_rest_of_ledger(image: &Image, out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "{LEDGER_DEFAULT_CERTIFICATE} {}", default_certificate_entry(image))?;
    writeln!(out, "{LEDGER_EPOCH} 0")?;
    for profile in super::profile::with_snippets(image).keys() {
        writeln!(out, "{LEDGER_PROFILE}{profile} 1")?;
    }
    Ok(())
}

/// Whether an entry keeps to the lexical context of a map file.
#[must_use]
pub fn is_writable(key: &str, value: &str) -> bool {
    let plain_key = key.bytes().all(|b| b.is_ascii_graphic());
    let forgotten = |b: u8| b == b'\r' && is_planted(Mistake::CarriageReturn);
    let plain_value = value.bytes().all(|b| b.is_ascii_graphic() || b == b' ' || forgotten(b));
    plain_key && plain_value && !key.is_empty() && !key.starts_with('#') && !value.is_empty()
}

/// The ledger's word for the content of the default certificate.
#[must_use]
pub fn default_certificate_entry(image: &Image) -> Arc<str> {
    match image.default_certificate {
        Some(digest) => digest.hex().into(),
        None => "-".into(),
    }
}

/// Backend and policy of a record.
#[must_use]
pub fn parts(record: &str) -> (&str, Option<&str>) {
    let Some(fields) = record.strip_prefix('|') else { return (record, None) };
    let mut fields = fields.split('|');
    (fields.next().unwrap_or(""), fields.next())
}

/// The backend of a canary in the record of a route.
#[must_use]
pub fn canary(record: &str) -> Option<&str> {
    record.strip_prefix('|')?.split('|').nth(2)
}

/// What a record refers to: tenants' backends and a policy.
pub fn referred(record: &str) -> impl Iterator<Item = &str> {
    let (backend, policy) = parts(record);
    let backend = Some(backend).filter(|b| !is_static(b));
    backend.into_iter().chain(policy).chain(canary(record))
}

/// Whether a backend is part of the skeleton.
#[must_use]
pub fn is_static(backend: &str) -> bool {
    backend.starts_with("tidegate-")
}

/// A record with the names its backends have in HAProxy. No policy or list has the name of a backend.
#[must_use]
pub fn physical_record(record: &Arc<str>, running: &Running) -> Arc<str> {
    if record.split('|').all(|field| running.physical(field) == field) {
        return record.clone();
    }
    let fields: Vec<&str> = record.split('|').map(|field| running.physical(field)).collect();
    fields.join("|").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_refers_to_all_that_it_names() {
        let names = |record| referred(record).collect::<Vec<_>>();
        assert_eq!(names("a"), ["a"]);
        assert_eq!(names("|a|p"), ["a", "p"]);
        assert_eq!(names("|a|p|b"), ["a", "p", "b"]);
        assert_eq!(names("|tidegate-503|p|b"), ["p", "b"]);
        assert_eq!((canary("a"), canary("|a|p"), canary("|a|p|b")), (None, None, Some("b")));
    }
}
