//! Load-balancing algorithms. Each is a named profile; hashing by a header or a URL parameter of
//! any name is one profile, whose key the frontend computes by a map of regular expressions.

use alloc::format;
use alloc::string::String;

use super::value::{self, quoted};
use super::{
    Annotation, Apply, BackendDraft, Context, Family, Mechanism, OnError, Refusal, RouteDraft,
    Rule, RuleText, Scopes, Section, always,
};
use crate::action::MapId;
use crate::capability::Capabilities;
use crate::digest::Digest;

/// The family.
pub const FAMILY: Family = Family {
    title: "Load balancing",
    about: "How a pod is chosen among those that are ready.",
    fields: &["hash"],
    keys: &[Annotation {
        key: "load-balance",
        haproxy: Some("load-balance"),
        scopes: Scopes::CIS,
        syntax: "roundrobin, leastconn, random, first, source, uri, hdr(NAME) or url_param(NAME)",
        default: "roundrobin",
        about: "The algorithm. The hashing ones (source, uri, hdr, url_param) hash consistently, so \
                that a scaled Service moves as few clients as possible.",
        example: "leastconn",
        mechanism: Mechanism::Profile,
        on_error: OnError::Default,
        apply: Apply::Backend(balance),
    }],
    finish: None,
    finish_route: None,
    rules: &[
        Rule {
            at: Section::Backend,
            when: always,
            text: RuleText::Line(
                "http-request set-var-fmt(txn.lbkey) \"%[{f:hash}]:%[query]&%[req.hdrs]\" if {on:hash}",
            ),
        },
        Rule {
            at: Section::Backend,
            when: always,
            text: RuleText::Line(
                "http-request set-var(txn.lbkey) var(txn.lbkey),map_regm(maps/hash-key.map) if {on:hash}",
            ),
        },
        Rule {
            at: Section::Backend,
            when: no_balance_hash,
            text: RuleText::Line(
                "http-request set-header x-tidegate-hash %[var(txn.lbkey)] if {on:hash}",
            ),
        },
    ],
};

fn no_balance_hash(capabilities: &Capabilities) -> bool {
    !capabilities.balance_hash
}

fn balance(text: &str, draft: &mut BackendDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    let text = text.trim();
    draft.balance = match text {
        "roundrobin" => "",
        "leastconn" => "leastconn",
        "random" => "random",
        "first" => "first",
        "source" => "source",
        "uri" => "uri",
        _ => return by_key(text, draft),
    };
    Ok(())
}

fn by_key(text: &str, draft: &mut BackendDraft) -> Result<(), Refusal> {
    let argument = |verb: &str| -> Option<&str> {
        let name = text.strip_prefix(verb)?.trim();
        match name.strip_prefix('(') {
            Some(inside) => inside.strip_suffix(')'),
            None => Some(name),
        }
    };
    let (kind, name) = if let Some(name) = argument("hdr") {
        ("header", value::header_name(name.trim())?)
    } else if let Some(name) = argument("url_param") {
        ("parameter", parameter_name(name.trim())?)
    } else {
        return Err(Refusal::new(
            format!("{} is not an algorithm that works with changing servers", quoted(text)),
            "use roundrobin, leastconn, random, first, source, uri, hdr(NAME) or url_param(NAME)",
        ));
    };
    draft.balance = "hash";
    let id = key_entry(kind, &name, &mut draft.route);
    draft.route.set("hash", id);
    Ok(())
}

/// Adds the map entry that finds the value of a header or URL parameter in `ID:QUERY&HEADERS`; gives
/// the id.
pub(super) fn key_entry(kind: &str, name: &str, draft: &mut RouteDraft) -> String {
    let id = Digest::of_parts([kind.as_bytes(), name.as_bytes()]).short();
    let quoted_name = name.replace('.', "\\.").replace('+', "\\+").replace('*', "\\*");
    let quoted_name = quoted_name.replace('$', "\\$").replace('^', "\\^");
    let regex = match kind {
        "header" => format!("^{id}:(?s:.*?)(?<=[\\n&])(?i:{quoted_name}):[ \\t]*([^\\r\\n]*)"),
        _ => format!("^{id}:(?:[^\\r\\n]*?&)?{quoted_name}=([^&\\r\\n]*)"),
    };
    draft.entry(MapId::HashKey, encode_spaces(&regex), "\\1");
    id
}

fn encode_spaces(regex: &str) -> String {
    regex.replace(' ', "\\x20")
}

fn parameter_name(text: &str) -> Result<String, Refusal> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b'.';
    if text.is_empty() || text.len() > 128 || !text.bytes().all(is_plain) {
        return Err(Refusal::new(
            format!("{} is not the name of a URL parameter", quoted(text)),
            "use letters, digits, -, _ and .",
        ));
    }
    Ok(text.into())
}
