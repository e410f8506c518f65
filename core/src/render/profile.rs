//! Profiles: the named defaults sections that backends derive from. All of them are in every
//! skeleton, so that choosing another one never reloads.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::{self, Write};

use crate::annotations::{Section, affinity, connection, forward, timeouts};
use crate::desired::{BackendSpec, Image, Skeleton};
use crate::snippet::Snippet;

/// The profile of a backend without options.
pub const DEFAULT: &str = "tidegate-roundrobin";

/// What comes before the digest of the lines in the name of a profile with a snippet.
const SNIPPET: &str = "-snippet-";

/// Name and `balance` value of every algorithm, and whether it hashes.
const BALANCES: [(&str, &str, bool); 7] = [
    ("roundrobin", "roundrobin", false),
    ("leastconn", "leastconn", false),
    ("random", "random", false),
    ("first", "first", false),
    ("source", "source", true),
    ("uri", "uri", true),
    ("hash", "hash var(txn.lbkey)", true),
];

/// Suffix and method of every kind of health check request; a TCP connection has neither.
const CHECKS: [(&str, &str); 4] =
    [("", ""), ("get", "GET"), ("head", "HEAD"), ("options", "OPTIONS")];

/// The name of a profile; balance and check may be empty for the default.
#[must_use]
pub fn name(balance: &str, check: &str, affinity: bool) -> Arc<str> {
    let balance = if balance.is_empty() { "roundrobin" } else { balance };
    let dash = if check.is_empty() { "" } else { "-" };
    let affinity = if affinity { "-cookie" } else { "" };
    format!("tidegate-{balance}{dash}{check}{affinity}").into()
}

/// The name of a profile with lines of a snippet besides.
#[must_use]
pub fn with_snippet(base: &str, snippet: &Snippet) -> Arc<str> {
    format!("{base}{SNIPPET}{}", snippet.digest().short()).into()
}

/// The profiles with snippets that backends of an image derive from.
#[must_use]
pub fn with_snippets(image: &Image) -> BTreeMap<Arc<str>, Arc<Snippet>> {
    if !image.has_snippets() {
        return BTreeMap::new();
    }
    let specs = image.backends.iter().map(|(_, backend)| &backend.spec);
    let of = |spec: &Arc<BackendSpec>| Some((spec.profile.clone(), spec.snippet.clone()?));
    specs.filter_map(of).collect()
}

/// The names of all profiles.
pub fn names() -> impl Iterator<Item = Arc<str>> {
    let kinds = CHECKS.iter().flat_map(|(check, _)| [(check, false), (check, true)]);
    BALANCES.iter().flat_map(move |(balance, _, _)| {
        kinds.clone().map(move |(check, affinity)| name(balance, check, affinity))
    })
}

/// Balancing algorithms of TCP, with their `balance` lines.
const STREAM_BALANCES: [(&str, &str); 5] = [
    ("roundrobin", "balance roundrobin"),
    ("leastconn", "balance leastconn"),
    ("random", "balance random"),
    ("first", "balance first"),
    ("source", "balance source\n  hash-type consistent"),
];

/// The profile of TCP with a balancing algorithm, empty for the default; `None` when that needs
/// HTTP.
#[must_use]
pub fn stream(balance: &str) -> Option<Arc<str>> {
    let balance = if balance.is_empty() { "roundrobin" } else { balance };
    let known = STREAM_BALANCES.iter().any(|(name, _)| *name == balance);
    known.then(|| format!("tidegate-tcp-{balance}").into())
}

/// The names of the profiles of TCP.
pub fn stream_names() -> impl Iterator<Item = Arc<str>> {
    STREAM_BALANCES.iter().filter_map(|(name, _)| stream(name))
}

/// Writes every profile of TCP. Once both sides have spoken, a connection lives by the time of a
/// tunnel; probes of the kernel find out when the other side is gone.
///
/// # Errors
/// Those of `out`.
pub fn write_streams(out: &mut dyn Write) -> fmt::Result {
    for (name, balance) in STREAM_BALANCES {
        writeln!(out, "defaults tidegate-tcp-{name}\n  mode tcp\n  {balance}")?;
        out.write_str(
            "  timeout connect 1s\n  timeout server 60s\n  timeout server-fin 60s\n\
             \x20 timeout queue 60s\n  timeout check 2s\n  timeout tunnel 1h\n  option srvtcpka\n\
             \x20 retries 3\n  option redispatch 1\n\n",
        )?;
    }
    Ok(())
}

/// How often the rules that many profiles share are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedRules {
    /// In each profile, as HAProxy wants them.
    InEach,
    /// Once: enough to tell two static parts apart, at a twentieth of the text.
    Once,
}

/// Writes every profile.
///
/// # Errors
/// Those of `out`.
pub fn write_all(skeleton: &Skeleton, shared: SharedRules, out: &mut dyn Write) -> fmt::Result {
    // The same in every profile of a kind, and the costliest part of the whole text.
    let mut texts = [String::new(), String::new()];
    for (affinity, text) in [false, true].into_iter().zip(&mut texts) {
        rules(skeleton, affinity, text)?;
        if shared == SharedRules::Once {
            out.write_str(&core::mem::take(text))?;
        }
    }
    let [plain, affine] = &texts;
    for_each(|kind| {
        let rules = if kind.affinity { affine } else { plain };
        write(skeleton, &kind, rules, None, out)
    })
}

/// Writes the profiles with snippets that backends of an image derive from.
///
/// # Errors
/// Those of `out`.
pub fn write_snippets(image: &Image, out: &mut dyn Write) -> fmt::Result {
    for (profile, snippet) in with_snippets(image) {
        for_each(|kind| match profile.rsplit_once(SNIPPET) {
            Some((base, _)) if *base == *kind.name() => {
                let mut text = String::new();
                rules(&image.skeleton, kind.affinity, &mut text)?;
                write(&image.skeleton, &kind, &text, Some((&*profile, &*snippet)), out)
            }
            Some(_) | None => Ok(()),
        })?;
    }
    Ok(())
}

/// One of the cross product.
struct Kind {
    balance: (&'static str, &'static str, bool),
    check: (&'static str, &'static str),
    affinity: bool,
}

impl Kind {
    fn name(&self) -> Arc<str> {
        name(self.balance.0, self.check.0, self.affinity)
    }
}

fn for_each(mut f: impl FnMut(Kind) -> fmt::Result) -> fmt::Result {
    for balance in BALANCES {
        for check in CHECKS {
            for affinity in [false, true] {
                f(Kind { balance, check, affinity })?;
            }
        }
    }
    Ok(())
}

fn write(
    skeleton: &Skeleton,
    kind: &Kind,
    rules: &str,
    snippet: Option<(&str, &Snippet)>,
    out: &mut dyn Write,
) -> fmt::Result {
    let (balance, value, hashes) = kind.balance;
    let value = match (balance, skeleton.capabilities.balance_hash) {
        ("hash", false) => "hdr(x-tidegate-hash)",
        _ => value,
    };
    match snippet {
        Some((name, _)) => writeln!(out, "defaults {name}")?,
        None => writeln!(out, "defaults {}", kind.name())?,
    }
    writeln!(out, "  mode http\n  balance {value}")?;
    if hashes {
        out.write_str("  hash-type consistent\n")?;
    }
    common(skeleton, out)?;
    super::skeleton::error_files(skeleton, out)?;
    checks(kind.check.1, out)?;
    // Before the rules: these end for routes that use none.
    if let Some((_, snippet)) = snippet {
        snippet.write(out)?;
    }
    out.write_str(rules)?;
    out.write_char('\n')
}

fn checks(method: &str, out: &mut dyn Write) -> fmt::Result {
    if method.is_empty() {
        return Ok(());
    }
    writeln!(out, "  option httpchk")?;
    writeln!(
        out,
        "  http-check send meth {method} uri-lf \"%[be_name,map_str(maps/check.map,/)]\" \
         ver HTTP/1.1 hdr Host localhost"
    )?;
    out.write_str("  http-check expect rstatus ^[23]\n")
}

fn rules(skeleton: &Skeleton, affinity: bool, out: &mut dyn Write) -> fmt::Result {
    if affinity {
        let key = skeleton.options.get(affinity::KEY_OPTION).map_or("tidegate", |key| key);
        writeln!(out, "  cookie {} insert indirect nocache httponly dynamic", affinity::COOKIE)?;
        writeln!(out, "  dynamic-cookie-key {key}")?;
    }
    // Only what may be sent twice is.
    out.write_str("  http-request disable-l7-retry unless { method GET HEAD OPTIONS }\n")?;
    writeln!(out, "  {}", super::skeleton::expand(forward::TELL))?;
    super::skeleton::write_rules(skeleton, Section::Backend, "http-request", out)?;
    if affinity {
        super::skeleton::write_rules(skeleton, Section::Affinity, "http-after-response", out)?;
    }
    Ok(())
}

/// What every profile has. A failed connection is tried again on another server; so is an answer
/// that never came, for requests that may be repeated.
fn common(skeleton: &Skeleton, out: &mut dyn Write) -> fmt::Result {
    for (directive, value) in timeouts::of_backends(skeleton) {
        writeln!(out, "  {directive} {value}")?;
    }
    if let Some(option) = connection::abort_option(skeleton) {
        writeln!(out, "  {option}")?;
    }
    out.write_str(
        "  retries 3\n  option redispatch 1\n  http-reuse safe\n\
         \x20 retry-on conn-failure empty-response\n",
    )?;
    if skeleton.capabilities.small_buffers {
        out.write_str("  option use-small-buffers l7-retries\n")?;
    }
    Ok(())
}
