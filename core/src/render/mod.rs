//! Rendering: an image as the files HAProxy loads. Typed data in, text out; nothing is decided
//! here. What tenants wrote has been through the parser of its type, and goes through the encoder
//! of its place.

pub mod answer;
pub mod auth;
pub mod backend;
pub mod crt_list;
pub mod kept;
pub mod maps;
pub mod profile;
pub mod quic;
pub mod skeleton;
pub mod stream;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::net::IpAddr;

use crate::action::MapId;
use crate::desired::{Backend, Image, Owned, ServerFile, Skeleton};
use crate::digest::{Digest, DigestWriter};
use kept::{Fresh, Layout, Out};

/// What a file of a generation holds; the adapter has the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileContent {
    /// Chain and private key from the vault.
    Certificate(Digest),
    /// The same for the default certificate; `None` for the self-signed one.
    DefaultCertificate(Option<Digest>),
    /// CA certificates from the vault.
    Authority(Digest),
}

/// Writes `haproxy.cfg` of a generation whose files are in `dir` (an absolute path).
///
/// # Errors
/// Those of `out`.
pub fn config(image: &Image, dir: &str, out: &mut dyn Write) -> fmt::Result {
    config_after(&mut Layout::default(), image, dir, &mut Fresh::new(out))
}

/// The same, after the generation that `layout` is about; it is about this one then. After an error
/// it is about none.
///
/// # Errors
/// Those of `out`.
pub fn config_after(
    layout: &mut Layout,
    image: &Image,
    dir: &str,
    out: &mut dyn Out,
) -> fmt::Result {
    skeleton::write(&image.skeleton, dir, &skeleton_digest(&image.skeleton), out)?;
    backend::write_after(layout, image, dir, out)
}

/// Writes a map file.
///
/// # Errors
/// Those of `out`.
pub fn map(image: &Image, id: MapId, out: &mut dyn Write) -> fmt::Result {
    map_after(&mut Layout::default(), image, id, &mut Fresh::new(out))
}

/// The same, after the generation that `layout` is about, as [`config_after`].
///
/// # Errors
/// Those of `out`.
pub fn map_after(layout: &mut Layout, image: &Image, id: MapId, out: &mut dyn Out) -> fmt::Result {
    maps::write(layout, image, id, out)
}

/// Writes the crt-list, [`crt_list::FILE`].
///
/// # Errors
/// Those of `out`.
pub fn crt_list(image: &Image, out: &mut dyn Write) -> fmt::Result {
    crt_list::write(image, out)
}

/// The files with text, error and pattern files: name within the generation, and content.
#[must_use]
pub fn texts(image: &Image) -> Vec<(Arc<str>, Arc<str>)> {
    let errors = image.skeleton.errors.iter();
    let mut texts: BTreeMap<Arc<str>, Arc<str>> =
        errors.map(|(code, text)| (answer::file(*code).into(), text.clone())).collect();
    let of_backends = profile::with_snippets(image).into_values();
    for snippet in image.skeleton.snippets.values().cloned().chain(of_backends) {
        texts.extend(snippet.files.iter().map(|(name, text)| (name.clone(), text.clone())));
    }
    texts.into_iter().collect()
}

/// The files with secret or binary content: name within the generation, and what it holds.
#[must_use]
pub fn files(image: &Image) -> Vec<(Arc<str>, FileContent)> {
    let default = FileContent::DefaultCertificate(image.default_certificate);
    let mut files = Vec::from([(Arc::from(crt_list::DEFAULT_FILE), default)]);
    for (key, hosts) in image.certificates.iter() {
        let Some((digest, _)) = crt_list::parts(key) else { continue };
        let lines = crt_list::lines(key, hosts).into_iter();
        files.extend(lines.map(|line| (line.file, FileContent::Certificate(digest))));
    }
    for (name, file) in &image.files {
        let content = match file.value {
            ServerFile::Authority(digest) => FileContent::Authority(digest),
            ServerFile::ClientCertificate(digest) => FileContent::Certificate(digest),
        };
        files.push((name.clone(), content));
    }
    files.sort_unstable();
    files
}

/// Those of the image's files for servers and clients that HAProxy reads at its start: what no line
/// names it does not look for.
#[must_use]
pub(crate) fn loaded_files(image: &Image) -> BTreeSet<Arc<str>> {
    let capabilities = &image.skeleton.capabilities;
    let has_line = |backend: &Backend| {
        !backend.servers.is_empty() || backend::slots(capabilities, backend.servers.len()) > 0
    };
    let backends = image.backends.iter().filter(|(_, backend)| has_line(backend));
    let of_servers =
        backends.flat_map(|(_, backend)| backend.spec.files.iter().map(ServerFile::file));
    let of_clients = image.certificates.iter().filter_map(|(key, _)| crt_list::authority_file(key));
    of_servers.chain(of_clients).filter(|file| image.files.contains_key(file)).collect()
}

/// What names an image: images of the same digest have the same text, wherever it is written to.
/// Text that is long because there is much of it counts by what it is written from, and by a specimen
/// of how, so that no address is made into text.
#[must_use]
pub fn image_digest(image: &Image) -> Digest {
    image_digest_after(&mut Layout::default(), image)
}

/// The same, with what `layout` remembers of an image before; it remembers this one then.
pub fn image_digest_after(layout: &mut Layout, image: &Image) -> Digest {
    let mut out = DigestWriter::default();
    // Writing to a digest cannot fail.
    let _ = skeleton::write_once(&image.skeleton, &mut out);
    let _ = profile::write_snippets(image, &mut out);
    let _ = backend::write_specimen(&image.skeleton, &mut out);
    let digests = &mut layout.digests;
    for digest in digests.backends.update(&image.backends, backends_digest) {
        out.part(&digest.0);
    }
    for id in MapId::ALL {
        out.part(id.file().as_bytes());
        for digest in digests.maps.entry(id).or_default().update(image.map(id), entries_digest) {
            out.part(&digest.0);
        }
    }
    let _ = maps::write_rest_of_ledger(image, &mut out);
    let _ = crt_list(image, &mut out);
    for (name, text) in texts(image) {
        let _ = out.write_str(&name);
        let _ = out.write_str(&text);
    }
    out.finish()
}

fn backends_digest(backends: &BTreeMap<Arc<str>, Arc<Backend>>) -> Digest {
    let mut out = DigestWriter::default();
    for (name, backend) in backends {
        out.part(name.as_bytes());
        out.part(&(backend.servers.len() as u64).to_le_bytes());
        for address in &backend.servers {
            match address.ip() {
                IpAddr::V4(four) => out.part(&four.octets()),
                IpAddr::V6(six) => out.part(&six.octets()),
            }
            out.part(&address.port().to_le_bytes());
        }
    }
    out.finish()
}

fn entries_digest(entries: &BTreeMap<Arc<str>, Owned<Arc<str>>>) -> Digest {
    let mut out = DigestWriter::default();
    for (key, entry) in entries {
        out.part(key.as_bytes());
        out.part(entry.value.as_bytes());
    }
    out.finish()
}

/// What names a static part: the digest of its text, in hex.
#[must_use]
pub fn skeleton_digest(skeleton: &Skeleton) -> Arc<str> {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = skeleton::write_once(skeleton, &mut text);
    for (code, answer) in &*skeleton.errors {
        text.push_str(&alloc::format!("{code} {}\n", Digest::of(answer.as_bytes()).hex()));
    }
    Digest::of(text.as_bytes()).hex().into()
}
