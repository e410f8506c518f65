//! Backends and servers in the configuration file; slots and spare backends where HAProxy makes
//! none at run time.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::net::SocketAddr;

use crate::capability::Capabilities;
use crate::desired::backend::{push_address, server_name, slot_name};
use crate::desired::{Backend, BackendSpec, Image, Skeleton};
use crate::render::kept::{Fresh, Kept, Layout, Out};
use crate::world::object::Name;

/// Prefix of the names of spare backends.
const SPARE: &str = "spare:";

/// Writes every backend, sorted by name, then the spare ones.
///
/// # Errors
/// Those of `out`.
pub fn write_all(image: &Image, dir: &str, out: &mut dyn Write) -> fmt::Result {
    write_after(&mut Layout::default(), image, dir, &mut Fresh::new(out))
}

/// The same, copying what stands in the file before.
pub(super) fn write_after(
    layout: &mut Layout,
    image: &Image,
    dir: &str,
    out: &mut dyn Out,
) -> fmt::Result {
    super::profile::write_snippets(image, out)?;
    let skeleton = &image.skeleton;
    // Without them, servers name files by the folder.
    let anywhere = skeleton.capabilities.dynamic_servers;
    let before = layout.backends.take().filter(|(before, _)| {
        anywhere && before.capabilities == skeleton.capabilities && before.checks == skeleton.checks
    });
    let same = |a: &Arc<Backend>, b: &Arc<Backend>| Arc::ptr_eq(a, b) || a == b;
    let before = before.map(|(_, kept)| kept);
    let kept = Kept::write(before, &image.backends, same, out, |_, backend, out| {
        write(backend, skeleton, dir, out)
    })?;
    layout.backends = Some((skeleton.clone(), kept));
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
    let before = if keywords.is_empty() { "" } else { " " };
    // A line in one piece, and an address made into text once: there may be 100,000 of them.
    let mut line = String::new();
    let mut slot = 0;
    for address in servers {
        slot += 1;
        line.clear();
        line.push_str("  server ");
        match address {
            SocketAddr::V4(four) if capabilities.dynamic_servers => {
                // Its name is its address.
                let begin = line.len();
                push_address(four, &mut line);
                let end = line.len();
                line.push(' ');
                line.extend_from_within(begin..end);
            }
            _ if capabilities.dynamic_servers => {
                write!(line, "{} {address}", server_name(address))?;
            }
            _ => write!(line, "{} {address}", slot_name(slot))?,
        }
        for piece in [before, &*keywords, "\n"] {
            line.push_str(piece);
        }
        out.write_str(&line)?;
    }
    for slot in slot + 1..=slots(capabilities, servers.len()) {
        writeln!(out, "  server {} 127.0.0.1:1{before}{keywords} disabled", slot_name(slot))?;
    }
    out.write_char('\n')
}

/// Writes a backend that stands for how all are written.
///
/// # Errors
/// Those of `out`.
pub(super) fn write_specimen(skeleton: &Skeleton, out: &mut dyn Write) -> fmt::Result {
    let spec = BackendSpec {
        service: Name::new("a", "b"),
        port_name: "c".into(),
        port: 80,
        profile: super::profile::DEFAULT.into(),
        keywords: "check inter 1000 check-ssl crt certs/x".into(),
        files: Vec::new(),
        check: None,
        snippet: None,
        reach: None,
    };
    let servers = Vec::from([
        SocketAddr::from(([192, 0, 2, 10], 80)),
        SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 8080)),
    ]);
    let backend = Backend { name: "specimen".into(), spec: Arc::new(spec), servers };
    write(&backend, skeleton, "", out)
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
