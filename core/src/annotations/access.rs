//! Allow and deny lists by client address.
//!
//! A list is map entries: its id, the address family and the first hexadecimal digits of the
//! address. A look-up by longest prefix finds whether the client is in it.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::draft::ListSpec;
use super::value::{self, Network};
use super::{
    Annotation, Apply, Context, Family, Mechanism, OnError, Refusal, RouteDraft, Rule, RuleText,
    Scopes, Section, always,
};
use crate::action::MapId;
use crate::digest::Digest;

/// What a list looks like.
pub(super) const LIST: &str =
    "comma-separated IP addresses, CIDR networks and `patterns/FILE` of a pattern file";

/// The family.
pub const FAMILY: Family = Family {
    title: "Allow and deny lists",
    about: "Who may use a route, by client address. A list with an entry that cannot be read \
            protects nothing, so its routes answer 503 until it is mended. Long lists go into pattern \
            files, a ConfigMap named by `--configmap-patternfiles`: a change of one costs as many \
            commands as networks that differ.",
    fields: &["allow", "deny"],
    keys: &[
        Annotation {
            key: "allow-list",
            haproxy: Some("allow-list"),
            scopes: Scopes::CI,
            syntax: LIST,
            default: "everybody",
            about: "Only clients in the list may use the routes; others get 403.",
            example: "10.0.0.0/8, 192.0.2.7, 2001:db8::/32",
            mechanism: Mechanism::List,
            on_error: OnError::Close,
            apply: Apply::Route(allow),
        },
        Annotation {
            key: "deny-list",
            haproxy: Some("deny-list"),
            scopes: Scopes::CI,
            syntax: LIST,
            default: "nobody",
            about: "Clients in the list get 403. Comes before the allow list.",
            example: "203.0.113.0/24",
            mechanism: Mechanism::List,
            on_error: OnError::Close,
            apply: Apply::Route(deny),
        },
    ],
    finish: None,
    finish_route: None,
    rules: &[
        rule("http-request set-var-fmt(txn.ip) \"4%[src,hex]\" if {on:deny} || {on:allow}"),
        rule("http-request set-var-fmt(txn.ip) \"6%[src,hex]\" if { var(txn.ip) -m len 33 }"),
        rule(
            "http-request deny deny_status 403 if {on:deny} \
             { {f:deny},concat(:,txn.ip),map_beg(maps/access.map) -m found }",
        ),
        rule(
            "http-request deny deny_status 403 if {on:allow} \
             !{ {f:allow},concat(:,txn.ip),map_beg(maps/access.map) -m found }",
        ),
    ],
};

/// How a list names a pattern file.
const PATTERNS: &str = "patterns/";

const fn rule(text: &'static str) -> Rule {
    Rule { at: Section::Request, when: always, text: RuleText::Line(text) }
}

fn allow(text: &str, draft: &mut RouteDraft, context: &mut Context<'_, '_>) -> Result<(), Refusal> {
    list("allow", text, draft, context)
}

fn deny(text: &str, draft: &mut RouteDraft, context: &mut Context<'_, '_>) -> Result<(), Refusal> {
    list("deny", text, draft, context)
}

/// Puts a list into the map of networks and its id into a field. With pattern files the entries come
/// from a piece of their own, which all routes with the same list share.
pub(super) fn list(
    field: &'static str,
    text: &str,
    draft: &mut RouteDraft,
    context: &mut Context<'_, '_>,
) -> Result<(), Refusal> {
    let entries = text.split([',', '\n']).map(str::trim);
    let (files, inline): (Vec<&str>, Vec<&str>) =
        entries.partition(|entry| entry.starts_with(PATTERNS));
    if !files.is_empty() {
        let files = files.iter().filter_map(|file| file.strip_prefix(PATTERNS)).map(Box::from);
        let files: BTreeSet<Box<str>> = files.collect();
        for file in &files {
            context.lookup.pattern_state(file).map_err(|why| {
                let what = format!("{}: {}", value::quoted(&format!("patterns/{file}")), why.what);
                Refusal::new(what, why.fix.clone())
            })?;
        }
        let has_inline = inline.iter().any(|entry| !entry.is_empty());
        let networks = if has_inline { value::networks(&inline.join(","))? } else { Vec::new() };
        let id = draft.list(ListSpec { files, networks });
        draft.set(field, &*id);
        return Ok(());
    }
    let prefixes = prefixes(&value::networks(text)?);
    let id = Digest::of_parts(prefixes.iter().map(|p| p.as_bytes())).short();
    for prefix in prefixes {
        draft.entry(MapId::Access, format!("{id}:{prefix}"), "1");
    }
    draft.set(field, id);
    Ok(())
}

/// What the keys of the map have in common with the addresses of some networks, sorted.
pub(crate) fn prefixes<'a>(networks: impl IntoIterator<Item = &'a Network>) -> Vec<String> {
    let mut prefixes: Vec<String> = networks.into_iter().flat_map(hex_prefixes).collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    prefixes
}

/// The address family and leading hexadecimal digits that the addresses of a network have in
/// common: one text, or up to eight when the length is no multiple of four.
fn hex_prefixes(network: &Network) -> Vec<String> {
    let (family, digits) = match network.address {
        IpAddr::V4(v4) => ('4', format!("{:08X}", v4.to_bits())),
        IpAddr::V6(v6) => ('6', format!("{:032X}", v6.to_bits())),
    };
    let whole = usize::from(network.length / 4);
    let rest = network.length % 4;
    let (head, tail) = digits.split_at(whole.min(digits.len()));
    if rest == 0 {
        return Vec::from([format!("{family}{head}")]);
    }
    let first = tail.chars().next().and_then(|c| c.to_digit(16)).unwrap_or(0);
    let count = 1_u32 << (4 - rest);
    (first..first + count).map(|digit| format!("{family}{head}{digit:X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_its_leading_digits() {
        let prefixes = |text: &str| -> Vec<String> {
            value::networks(text).unwrap().iter().flat_map(hex_prefixes).collect()
        };
        assert_eq!(prefixes("10.0.0.0/8"), ["40A"]);
        assert_eq!(prefixes("192.0.2.7"), ["4C0000207"]);
        assert_eq!(prefixes("127.0.0.0/10"), ["47F0", "47F1", "47F2", "47F3"]);
        assert_eq!(prefixes("0.0.0.0/0"), ["4"]);
        assert_eq!(prefixes("2001:db8::/32"), ["620010DB8"]);
        assert_eq!(prefixes("::ffff:10.1.2.3"), ["40A010203"]);
    }
}
