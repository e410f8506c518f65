//! Timeouts per route, and those of the frontend.

use alloc::format;
use alloc::string::{String, ToString};

use super::value;
use super::{
    Annotation, Apply, BackendDraft, Context, Family, Mechanism, OnError, Refusal, Rule, RuleText,
    Scopes, Section, always,
};
use crate::capability::Capabilities;

/// The family.
pub const FAMILY: Family = Family {
    title: "Timeouts",
    about: "How long each party may take. A duration is a whole number with `ms`, `s`, `m`, `h` or \
            `d`; without a unit it is milliseconds.",
    fields: &["t-server", "t-tunnel", "t-client", "t-connect", "t-queue"],
    keys: &[
        row("timeout-server", "60s", "Longest silence of a pod.", "30s", server),
        row(
            "timeout-tunnel",
            "1h",
            "Longest silence of a WebSocket or other tunnel.",
            "2h",
            tunnel,
        ),
        row(
            "timeout-client",
            "60s",
            "Longest silence of a client. HAProxy 3.0 and later.",
            "45s",
            client,
        ),
        row(
            "timeout-connect",
            "1s",
            "Longest wait for a pod to accept a connection, before \
             another one is tried. HAProxy 3.4 and later.",
            "500ms",
            connect,
        ),
        row(
            "timeout-queue",
            "60s",
            "Longest wait for a free connection slot (`pod-maxconn`). \
             HAProxy 3.4 and later.",
            "5s",
            queue,
        ),
        Annotation {
            key: "timeout-http-request",
            haproxy: Some("timeout-http-request"),
            scopes: Scopes::C,
            syntax: "duration",
            default: "10s",
            about: "Longest time a client may take to send a complete request head.",
            example: "5s",
            mechanism: Mechanism::Skeleton,
            on_error: OnError::Default,
            apply: Apply::Skeleton(http_request),
        },
        Annotation {
            key: "timeout-http-keep-alive",
            haproxy: Some("timeout-http-keep-alive"),
            scopes: Scopes::C,
            syntax: "duration",
            default: "60s",
            about: "How long an idle client connection is kept for the next request.",
            example: "1m",
            mechanism: Mechanism::Skeleton,
            on_error: OnError::Default,
            apply: Apply::Skeleton(keep_alive),
        },
    ],
    finish: None,
    finish_route: None,
    rules: &[
        rule(always, "http-request set-timeout server {f:t-server} if {on:t-server}"),
        rule(always, "http-request set-timeout tunnel {f:t-tunnel} if {on:t-tunnel}"),
        rule(has_client, "http-request set-timeout client {f:t-client} if {on:t-client}"),
        rule(has_connect, "http-request set-timeout connect {f:t-connect} if {on:t-connect}"),
        rule(has_connect, "http-request set-timeout queue {f:t-queue} if {on:t-queue}"),
    ],
};

type ApplyBackend = fn(&str, &mut BackendDraft, &mut Context<'_, '_>) -> Result<(), Refusal>;

const fn row(
    key: &'static str,
    default: &'static str,
    about: &'static str,
    example: &'static str,
    apply: ApplyBackend,
) -> Annotation {
    Annotation {
        key,
        haproxy: Some(key),
        scopes: Scopes::CIS,
        syntax: "duration",
        default,
        about,
        example,
        mechanism: Mechanism::Record,
        on_error: OnError::Default,
        apply: Apply::Backend(apply),
    }
}

const fn rule(when: fn(&Capabilities) -> bool, text: &'static str) -> Rule {
    Rule { at: Section::Backend, when, text: RuleText::Line(text) }
}

fn has_client(capabilities: &Capabilities) -> bool {
    capabilities.timeout_client
}

fn has_connect(capabilities: &Capabilities) -> bool {
    capabilities.timeout_connect
}

fn server(text: &str, draft: &mut BackendDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    set("t-server", text, draft)
}

fn tunnel(text: &str, draft: &mut BackendDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    set("t-tunnel", text, draft)
}

fn client(
    text: &str,
    draft: &mut BackendDraft,
    context: &mut Context<'_, '_>,
) -> Result<(), Refusal> {
    if !context.lookup.capabilities().timeout_client {
        return Err(unsupported("3.0"));
    }
    set("t-client", text, draft)
}

fn connect(
    text: &str,
    draft: &mut BackendDraft,
    context: &mut Context<'_, '_>,
) -> Result<(), Refusal> {
    if !context.lookup.capabilities().timeout_connect {
        return Err(unsupported("3.4"));
    }
    set("t-connect", text, draft)
}

fn queue(
    text: &str,
    draft: &mut BackendDraft,
    context: &mut Context<'_, '_>,
) -> Result<(), Refusal> {
    if !context.lookup.capabilities().timeout_connect {
        return Err(unsupported("3.4"));
    }
    set("t-queue", text, draft)
}

fn set(field: &'static str, text: &str, draft: &mut BackendDraft) -> Result<(), Refusal> {
    draft.route.set(field, value::duration_ms(text)?.to_string());
    Ok(())
}

fn unsupported(version: &str) -> Refusal {
    Refusal::new(
        "this HAProxy cannot set this timeout per route",
        format!("use HAProxy {version} or later, or remove it"),
    )
}

fn http_request(text: &str) -> Result<(&'static str, String), Refusal> {
    Ok(("timeout http-request", format!("{}ms", value::duration_ms(text)?)))
}

fn keep_alive(text: &str) -> Result<(&'static str, String), Refusal> {
    Ok(("timeout http-keep-alive", format!("{}ms", value::duration_ms(text)?)))
}
