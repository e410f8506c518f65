//! Backends and servers in the configuration file; slots and spare backends where HAProxy makes
//! none at run time.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::sync::Arc;
use core::fmt::{self, Write};

use crate::capability::Capabilities;
use crate::desired::backend::{server_name, slot_name};
use crate::desired::{Backend, Image, Skeleton};

/// Prefix of the names of spare backends.
const SPARE: &str = "spare:";

/// Writes every backend, sorted by name, then the spare ones.
///
/// # Errors
/// Those of `out`.
pub fn write_all(image: &Image, dir: &str, out: &mut dyn Write) -> fmt::Result {
    super::profile::write_snippets(image, out)?;
    for (_, backend) in image.backends.sorted() {
        write(backend, &image.skeleton, dir, out)?;
    }
    for (profile, names) in spares(image) {
        for name in names {
            writeln!(out, "backend {name} from {profile}\n")?;
        }
    }
    Ok(())
}

fn write(backend: &Backend, skeleton: &Skeleton, dir: &str, out: &mut dyn Write) -> fmt::Result {
    let Backend { name, spec, servers } = backend;
    let capabilities = &skeleton.capabilities;
    let mut keywords = spec.server_keywords(skeleton.checks);
    if !capabilities.dynamic_servers {
        // 2.6 loads a server's certificate after it has left the folder of the files.
        keywords = keywords.replace(" crt certs/", &format!(" crt {dir}/certs/")).into();
    }
    writeln!(out, "backend {name} from {}", spec.profile)?;
    let mut slot = 0;
    for address in servers {
        slot += 1;
        let server =
            if capabilities.dynamic_servers { server_name(address) } else { slot_name(slot) };
        write!(out, "  server {server} {address}")?;
        end_server(&keywords, "", out)?;
    }
    for slot in slot + 1..=slots(capabilities, servers.len()) {
        write!(out, "  server {} 127.0.0.1:1", slot_name(slot))?;
        end_server(&keywords, " disabled", out)?;
    }
    out.write_char('\n')
}

fn end_server(keywords: &str, rest: &str, out: &mut dyn Write) -> fmt::Result {
    if !keywords.is_empty() {
        write!(out, " {keywords}")?;
    }
    writeln!(out, "{rest}")
}

/// Number of server slots of a backend with this many endpoints; 0 where servers are made at run
/// time. Doubles, so that growth reloads O(log n) times.
#[must_use]
pub fn slots(capabilities: &Capabilities, endpoints: usize) -> u16 {
    if capabilities.dynamic_servers {
        return 0;
    }
    u16::try_from((endpoints + 1).next_power_of_two().max(4)).unwrap_or(u16::MAX)
}

/// The spare backends of an image, by profile; none where backends are made at run time or
/// servers are not. Half as many as are in use, so that growth reloads O(log n) times.
#[must_use]
pub fn spares(image: &Image) -> BTreeMap<Arc<str>, BTreeSet<Arc<str>>> {
    let capabilities = &image.skeleton.capabilities;
    if capabilities.dynamic_backends || !capabilities.dynamic_servers {
        return BTreeMap::new();
    }
    let mut used: BTreeMap<Arc<str>, usize> = super::profile::names().map(|n| (n, 0)).collect();
    if image.skeleton.has_tcp() || image.skeleton.passthrough {
        used.extend(super::profile::stream_names().map(|name| (name, 0)));
    }
    for (_, backend) in image.backends.iter() {
        *used.entry(backend.spec.profile.clone()).or_insert(0) += 1;
    }
    let spares_of = |(profile, used): (Arc<str>, usize)| {
        let least = if *profile == *super::profile::DEFAULT { 32 } else { 8 };
        let count = (used / 2).max(least);
        let names = (0..count).map(|n| format!("{SPARE}{n:05}:{profile}").into()).collect();
        (profile, names)
    };
    used.into_iter().map(spares_of).collect()
}

/// The profile of a spare backend, by its name; `None` for other backends.
#[must_use]
pub fn spare_profile(name: &str) -> Option<Arc<str>> {
    let (_, profile) = name.strip_prefix(SPARE)?.split_once(':')?;
    Some(profile.into())
}
