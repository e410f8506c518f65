//! Session affinity by cookie. HAProxy's own cookie has one name in all profiles; on the way to
//! the client it gets the name that was asked for, and on the way back its own.

use alloc::format;
use alloc::string::String;

use super::value::quoted;
use super::{
    Annotation, Apply, BackendDraft, Context, Family, Mechanism, OnError, Refusal, Rule, RuleText,
    Scopes, Section, always,
};
use crate::action::MapId;
use crate::digest::Digest;

/// HAProxy's own name of the cookie.
pub const COOKIE: &str = "tidegate-server";

/// Name of the option with the key of the cookies' values.
pub const KEY_OPTION: &str = "tidegate-cookie-key";

/// The family.
pub const FAMILY: Family = Family {
    title: "Session affinity",
    about: "A cookie keeps a client on its pod. Its value is made of the pod's address and a key, \
            so all replicas of tidegate agree on it, also after a reload or a restart. A pod that \
            ends finishes with its clients; then they get another one, and a new cookie.",
    fields: &["affinity", "affinity-name"],
    keys: &[
        Annotation {
            key: "cookie-persistence",
            haproxy: Some("cookie-persistence"),
            scopes: Scopes::CIS,
            syntax: "name of a cookie: letters, digits, -, _ and .",
            default: "none: no affinity",
            about: "Name of the cookie. It is HttpOnly and lasts as long as the browser's session.",
            example: "SERVERID",
            mechanism: Mechanism::Profile,
            on_error: OnError::Default,
            apply: Apply::Backend(cookie),
        },
        Annotation {
            key: "cookie-persistence-key",
            haproxy: None,
            scopes: Scopes::C,
            syntax: "8 to 64 letters and digits",
            default: "the same in every installation",
            about: "Key of the cookies' values. With one of your own, a value does not tell which \
                    address a pod has. HAProxy has it in named defaults, which are static.",
            example: "k3y0fTh1sInstallation",
            mechanism: Mechanism::Skeleton,
            on_error: OnError::Default,
            apply: Apply::Skeleton(key),
        },
    ],
    finish: None,
    finish_route: None,
    rules: &[
        rule(
            "http-request set-var-fmt(txn.st) \"%[{f:affinity}]:%[req.fhdr(cookie)]\" \
             if {on:affinity}",
        ),
        rule(
            "http-request set-var(txn.sv) var(txn.st),map_regm(maps/hash-key.map) if {on:affinity}",
        ),
        rule(
            "http-request add-header cookie tidegate-server=%[var(txn.sv)] if {on:affinity} \
             { var(txn.sv) -m found }",
        ),
        Rule {
            at: Section::Affinity,
            when: always,
            text: RuleText::Line(
                "http-after-response replace-header set-cookie ^tidegate-server=(.*)$ \
                 %[{f:affinity-name}]=\\1 if {on:affinity}",
            ),
        },
    ],
};

const fn rule(text: &'static str) -> Rule {
    Rule { at: Section::Backend, when: always, text: RuleText::Line(text) }
}

fn cookie(text: &str, draft: &mut BackendDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    let name = text.trim();
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(is_plain) {
        return Err(Refusal::new(
            format!("{} is not the name of a cookie", quoted(name)),
            "use up to 64 letters, digits, -, _ and .",
        ));
    }
    let id = Digest::of_parts([b"cookie", name.as_bytes()]).short();
    let regex = format!("^{id}:(?:.*;[\\x20\\t]*)?{}=([^;\\r\\n]*)", name.replace('.', "\\."));
    draft.affinity = true;
    draft.route.entry(MapId::HashKey, regex, "\\1");
    draft.route.set("affinity", id);
    draft.route.set("affinity-name", name);
    Ok(())
}

fn key(text: &str) -> Result<(&'static str, String), Refusal> {
    let key = text.trim();
    if !(8..=64).contains(&key.len()) || !key.bytes().all(|b| b.is_ascii_alphanumeric()) {
        // The value is not repeated: it is a secret of a kind.
        return Err(Refusal::new(
            "the key is not 8 to 64 letters and digits",
            "use 8 to 64 letters and digits",
        ));
    }
    Ok((KEY_OPTION, key.into()))
}
