//! The crt-list: which certificate is presented for which host.
//!
//! Each line has a file of its own, named after its certificate and its hosts, so that a line can
//! be added and deleted by name. Hosts of one certificate are spread over lines of about
//! [`HOSTS_PER_LINE`], so that a change touches one of them.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use crate::desired::Image;
use crate::digest::Digest;

/// File of the crt-list, and its identifier on the runtime socket.
pub const FILE: &str = "certs/list.txt";

/// File of the default certificate.
pub const DEFAULT_FILE: &str = "certs/default.pem";

/// Hosts that a line has on average at most.
const HOSTS_PER_LINE: usize = 16;

/// A line of the crt-list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// Certificate file.
    pub file: Arc<str>,
    /// SNI filters, sorted.
    pub hosts: Vec<Arc<str>>,
}

/// The lines that present a certificate (hex of its digest) for some hosts.
#[must_use]
pub fn lines(digest: &str, hosts: &BTreeSet<Arc<str>>) -> Vec<Line> {
    let count = hosts.len().div_ceil(HOSTS_PER_LINE).next_power_of_two() as u64;
    let mut buckets: BTreeMap<u64, Vec<Arc<str>>> = BTreeMap::new();
    for host in hosts {
        let at = Digest::of(host.as_bytes());
        let at = at.0.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        buckets.entry(at % count).or_default().push(host.clone());
    }
    buckets
        .into_values()
        .map(|hosts| {
            let name = Digest::of_parts(hosts.iter().map(|h| h.as_bytes())).short();
            Line { file: format!("certs/{digest}-{name}.pem").into(), hosts }
        })
        .collect()
}

/// The certificate (hex of its digest) of a line's file; `None` for other files.
#[must_use]
pub fn digest_of(file: &str) -> Option<Arc<str>> {
    let (digest, _) = file.strip_prefix("certs/")?.strip_suffix(".pem")?.split_once('-')?;
    Digest::from_hex(digest)?;
    Some(digest.into())
}

/// Every line of an image, sorted.
#[must_use]
pub fn all_lines(image: &Image) -> Vec<Line> {
    let mut all: Vec<Line> =
        image.certificates.iter().flat_map(|(digest, hosts)| lines(digest, hosts)).collect();
    all.sort_unstable();
    all
}

/// Writes the file. The default certificate comes first and without filter.
///
/// # Errors
/// Those of `out`.
pub fn write(image: &Image, out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "{DEFAULT_FILE}")?;
    for Line { file, hosts } in all_lines(image) {
        out.write_str(&file)?;
        for host in hosts {
            write!(out, " {host}")?;
        }
        out.write_char('\n')?;
    }
    Ok(())
}
