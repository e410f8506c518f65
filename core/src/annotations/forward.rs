//! Under which host, and with which word about the client, a request reaches the pods.

use alloc::format;

use super::value;
use super::{
    Annotation, Apply, BackendDraft, Context, Family, Mechanism, OnError, Refusal, RouteDraft,
    Rule, RuleText, Scopes, Section, always,
};

/// The field that keeps the client's address from the pods.
pub const UNTOLD: &str = "untold";

/// The rule by which the pods learn the client's address. It is not among the family's, since it
/// is for routes without any policy too.
pub const TELL: &str =
    "http-request add-header x-forwarded-for %[src] unless {on:untold} || { src -m len 0 }";

/// The family.
pub const FAMILY: Family = Family {
    title: "Host and client as the pods see them",
    about: "Which Host the pods see, and whether they learn the client's address. \
            `X-Forwarded-Proto` is always set.",
    fields: &[UNTOLD, "host"],
    keys: &[
        Annotation {
            key: "forwarded-for",
            haproxy: Some("forwarded-for"),
            scopes: Scopes::CIS,
            syntax: "true or false",
            default: "true",
            about: "Adds the client's address in `X-Forwarded-For`, after what the client sent \
                    there. With `false`, or where `request-set-header` or `request-remove-header` \
                    name that header, nothing is added.",
            example: "false",
            mechanism: Mechanism::Record,
            on_error: OnError::Default,
            apply: Apply::Backend(forwarded),
        },
        Annotation {
            key: "set-host",
            haproxy: Some("set-host"),
            scopes: Scopes::CI,
            syntax: "HOST or HOST:PORT",
            default: "the Host that the client sent",
            about: "Host that the pods see. Routing, redirects and lists always look at the one \
                    that the client sent. `request-set-header` may set it too, and loses.",
            example: "app.internal",
            mechanism: Mechanism::Record,
            on_error: OnError::Default,
            apply: Apply::Route(host),
        },
    ],
    finish: None,
    finish_route: None,
    rules: &[Rule {
        at: Section::Backend,
        when: always,
        text: RuleText::Line("http-request set-header host %[{f:host}] if {on:host}"),
    }],
};

fn forwarded(text: &str, draft: &mut BackendDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    if !value::boolean(text)? {
        draft.route.set(UNTOLD, "1");
    }
    Ok(())
}

fn host(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    let (host, port) = value::host_and_port(text)?;
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    draft.set("host", format!("{host}{port}"));
    Ok(())
}
