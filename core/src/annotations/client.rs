//! Who the client is, when a proxy in front says so in a header.

use alloc::format;

use super::value;
use super::{
    Annotation, Apply, Context, Family, Mechanism, OnError, Refusal, RouteDraft, Rule, RuleText,
    Scopes, Section, always,
};
use crate::action::MapId;
use crate::digest::Digest;

/// The family.
pub const FAMILY: Family = Family {
    title: "Client address",
    about: "Lists, rate limits, `balance source` and `X-Forwarded-For` use the address of whoever \
            connects, unless a header names another one. Only name a header that the proxy in \
            front always sets: whatever a client can write there, it can claim to be.",
    fields: &["src-header"],
    keys: &[Annotation {
        key: "src-ip-header",
        haproxy: Some("src-ip-header"),
        scopes: Scopes::CI,
        syntax: "header name",
        default: "none: the address of the connection",
        about: "Header with the client's address; of several values the last one counts. Without \
                the header, or without an address in it, the connection's address holds. A name \
                that cannot be used closes the route, as its lists would judge the wrong address.",
        example: "X-Real-IP",
        mechanism: Mechanism::Map,
        on_error: OnError::Close,
        apply: Apply::Route(header),
    }],
    finish: None,
    finish_route: None,
    rules: &[
        rule(
            "http-request set-var-fmt(txn.sh) \"%[{f:src-header}]:%[req.hdrs]\" if {on:src-header}",
        ),
        rule("http-request set-src var(txn.sh),map_regm(maps/hash-key.map) if {on:src-header}"),
    ],
};

const fn rule(text: &'static str) -> Rule {
    Rule { at: Section::Request, when: always, text: RuleText::Line(text) }
}

fn header(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    let name = value::header_name(text.trim())?;
    let id = Digest::of_parts([b"src", name.as_bytes()]).short();
    let name = name.replace('.', "\\.");
    // The last header of the name, and in it what stands after the last comma.
    let regex = format!(
        "^{id}:(?s:.*\\n)?(?i:{name}):(?:[^\\r\\n]*,)?[\\x20\\t]*([0-9A-Fa-f.:]+)[\\x20\\t]*\\r?\\n"
    );
    draft.entry(MapId::HashKey, regex, "\\1");
    draft.set("src-header", id);
    Ok(())
}
