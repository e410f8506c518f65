//! The crt-list: which certificate is presented for which host.
//!
//! Each line has a file of its own, named after its certificate and its hosts, so that a line can
//! be added and deleted by name. Hosts of one certificate are spread over lines of about
//! [`HOSTS_PER_LINE`], so that a change touches one of them.
//!
//! The name of the file also says what clients are held to, so that a line's options follow from it
//! and other authorities are another line: it comes before the old one goes.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use crate::desired::{ClientCheck, Image, ServerFile};
use crate::digest::Digest;
use crate::sabotage::{Mistake, is_planted};

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

/// What an image has lines by: the certificate (hex of its digest) and, after a dot, what clients
/// are held to: the authorities, `R` with revocations, `D` if signed directly.
#[must_use]
pub fn key(certificate: &Digest, check: Option<&ClientCheck>) -> Arc<str> {
    let mut key = certificate.hex();
    if let Some(ClientCheck { authority, revokes, direct }) = check {
        key.push('.');
        key.push_str(&authority.hex());
        key.push_str(if *revokes { "R" } else { "" });
        key.push_str(if *direct { "D" } else { "" });
    }
    key.into()
}

/// The certificate of a [`key`], and what clients are held to.
#[must_use]
pub fn parts(key: &str) -> Option<(Digest, Option<ClientCheck>)> {
    let Some((certificate, check)) = key.split_once('.') else {
        return Digest::from_hex(key).map(|certificate| (certificate, None));
    };
    let authority = Digest::from_hex(check.get(..32)?)?;
    let (revokes, direct) = match check.get(32..)? {
        "" => (false, false),
        "R" => (true, false),
        "D" => (false, true),
        "RD" => (true, true),
        _ => return None,
    };
    Some((Digest::from_hex(certificate)?, Some(ClientCheck { authority, revokes, direct })))
}

/// The file of the authorities that a line names, by its key.
#[must_use]
pub fn authority_file(key: &str) -> Option<Arc<str>> {
    let (_, check) = parts(key)?;
    Some(ServerFile::Authority(check?.authority).file())
}

/// The options of a line, by its file: empty, or `[…]`. Whether a client's certificate is good
/// enough is for the rules to say, which see what was wrong with it; so it is optional here.
#[must_use]
pub fn options(file: &str) -> String {
    let Some(key) = key_of(file) else { return String::new() };
    let (Some((_, Some(check))), Some(authority)) = (parts(&key), authority_file(&key)) else {
        return String::new();
    };
    let revoked = if check.revokes { format!("crl-file {authority} ") } else { String::new() };
    format!("[ca-file {authority} {revoked}verify optional]")
}

/// The lines that present a certificate (its [`key`]) for some hosts.
#[must_use]
pub fn lines(digest: &str, hosts: &BTreeSet<Arc<str>>) -> Vec<Line> {
    let most = if is_planted(Mistake::OneLongLine) { usize::MAX } else { HOSTS_PER_LINE };
    let count = hosts.len().div_ceil(most).next_power_of_two() as u64;
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

/// The [`key`] of a line's file; `None` for other files.
#[must_use]
pub fn key_of(file: &str) -> Option<Arc<str>> {
    let (key, _) = file.strip_prefix("certs/")?.strip_suffix(".pem")?.split_once('-')?;
    parts(key)?;
    Some(key.into())
}

/// The certificate (hex of its digest) of a line's file; `None` for other files.
#[must_use]
pub fn digest_of(file: &str) -> Option<Arc<str>> {
    let (certificate, _) = parts(&key_of(file)?)?;
    Some(certificate.hex().into())
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
        let options = options(&file);
        if !options.is_empty() {
            write!(out, " {options}")?;
        }
        for host in hosts {
            write!(out, " {host}")?;
        }
        out.write_char('\n')?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_line_says_its_options() {
        let (certificate, authority) = (Digest([1; 16]), Digest([0xdd; 16]));
        for (revokes, direct) in [(false, false), (true, false), (false, true), (true, true)] {
            let check = ClientCheck { authority, revokes, direct };
            let key = key(&certificate, Some(&check));
            assert_eq!(parts(&key), Some((certificate, Some(check))));
            let hosts = BTreeSet::from(["a.example".into()]);
            let line = lines(&key, &hosts).remove(0);
            assert_eq!(key_of(&line.file), Some(key));
            assert_eq!(digest_of(&line.file).as_deref(), Some(&*certificate.hex()));
            let ca = format!("ca/{}.pem", authority.hex());
            let crl = if revokes { format!("crl-file {ca} ") } else { String::new() };
            assert_eq!(options(&line.file), format!("[ca-file {ca} {crl}verify optional]"));
        }
        let plain = lines(&key(&certificate, None), &BTreeSet::from(["a.example".into()]));
        assert_eq!(plain.first().map(|line| options(&line.file)).as_deref(), Some(""));
        for other in ["certs/default.pem", "certs/client-01.pem", "ca/01.pem", "certs/x.y-z.pem"] {
            assert_eq!((key_of(other), options(other)), (None, String::new()), "{other}");
        }
    }
}
