//! Timeouts per route, and those of the frontend.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::value;
use super::{
    Annotation, Apply, BackendDraft, Context, Family, Mechanism, OnError, Refusal, Rule, RuleText,
    Scopes, Section, always, option,
};
use crate::capability::Capabilities;
use crate::desired::Skeleton;

/// Option with the default of `timeout connect`, where it cannot be set per route.
const CONNECT_OPTION: &str = "tidegate-timeout-connect";

/// Option with the default of `timeout queue`, where it cannot be set per route.
const QUEUE_OPTION: &str = "tidegate-timeout-queue";

/// Option with `timeout check`.
const CHECK_OPTION: &str = "tidegate-timeout-check";

/// Option with `timeout server-fin`.
const SERVER_FIN_OPTION: &str = "tidegate-timeout-server-fin";

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
            "Longest silence of a client. HAProxy 3.0 and later; before that in the ConfigMap \
             only, where changing it reloads.",
            "45s",
            client,
        ),
        row(
            "timeout-connect",
            "1s",
            "Longest wait for a pod to accept a connection, before \
             another one is tried. HAProxy 3.4 and later; before that in the ConfigMap only, \
             where changing it reloads.",
            "500ms",
            connect,
        ),
        row(
            "timeout-queue",
            "60s",
            "Longest wait for a free connection slot (`pod-maxconn`). \
             HAProxy 3.4 and later; before that in the ConfigMap only, where changing it reloads.",
            "5s",
            queue,
        ),
        fixed(
            "timeout-http-request",
            "10s",
            "Longest time a client may take to send a complete request head. HAProxy has it in \
             the frontend, which is static.",
            "5s",
            http_request,
        ),
        fixed(
            "timeout-http-keep-alive",
            "60s",
            "How long an idle client connection is kept for the next request. HAProxy has it in \
             the frontend, which is static.",
            "1m",
            keep_alive,
        ),
        fixed(
            "timeout-client-fin",
            "5s",
            "Longest silence of a client that has closed its side. HAProxy has it in the frontend, \
             which is static.",
            "3s",
            client_fin,
        ),
        fixed(
            "timeout-server-fin",
            "`timeout-server`",
            "Longest silence of a pod that has closed its side. HAProxy has it in named defaults, \
             which are static.",
            "3s",
            server_fin,
        ),
        fixed(
            "timeout-check",
            "2s",
            "Longest wait for the answer of a health check. HAProxy has it in named defaults, \
             which are static, so it is one for all: on an Ingress or Service it is a Problem. \
             See `check-interval` for what can differ.",
            "1s",
            check,
        ),
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

const fn fixed(
    key: &'static str,
    default: &'static str,
    about: &'static str,
    example: &'static str,
    apply: fn(&str) -> Result<(&'static str, String), Refusal>,
) -> Annotation {
    option(key, key, "duration", default, about, example, apply)
}

/// The timeouts of every backend, as long as its route says nothing else.
#[must_use]
pub fn of_backends(skeleton: &Skeleton) -> Vec<(&'static str, String)> {
    let mut timeouts = Vec::new();
    for (directive, option, default) in [
        ("timeout connect", CONNECT_OPTION, "1s"),
        ("timeout server", "", "60s"),
        ("timeout queue", QUEUE_OPTION, "60s"),
        ("timeout check", CHECK_OPTION, "2s"),
        ("timeout tunnel", "", "1h"),
        ("timeout http-keep-alive", "", "60s"),
        ("timeout server-fin", SERVER_FIN_OPTION, ""),
    ] {
        let value = skeleton.options.get(option).map_or(default, |value| value);
        if !value.is_empty() {
            timeouts.push((directive, value.to_string()));
        }
    }
    timeouts
}

/// Directive or option of the static part that a timeout of the ConfigMap becomes where this
/// HAProxy cannot set it per route; `None` where it can.
#[must_use]
pub fn static_form(key: &str, capabilities: &Capabilities) -> Option<&'static str> {
    match key {
        "timeout-client" if !capabilities.timeout_client => Some("timeout client"),
        "timeout-connect" if !capabilities.timeout_connect => Some(CONNECT_OPTION),
        "timeout-queue" if !capabilities.timeout_connect => Some(QUEUE_OPTION),
        _ => None,
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
        return only_static(text, context, "3.0");
    }
    set("t-client", text, draft)
}

fn connect(
    text: &str,
    draft: &mut BackendDraft,
    context: &mut Context<'_, '_>,
) -> Result<(), Refusal> {
    if !context.lookup.capabilities().timeout_connect {
        return only_static(text, context, "3.4");
    }
    set("t-connect", text, draft)
}

fn queue(
    text: &str,
    draft: &mut BackendDraft,
    context: &mut Context<'_, '_>,
) -> Result<(), Refusal> {
    if !context.lookup.capabilities().timeout_connect {
        return only_static(text, context, "3.4");
    }
    set("t-queue", text, draft)
}

fn set(field: &'static str, text: &str, draft: &mut BackendDraft) -> Result<(), Refusal> {
    draft.route.set(field, value::duration_ms(text)?.to_string());
    Ok(())
}

/// A timeout this HAProxy cannot set per route: in the ConfigMap it is one of the static part (see
/// [`static_form`]), elsewhere it is refused.
fn only_static(text: &str, context: &mut Context<'_, '_>, version: &str) -> Result<(), Refusal> {
    let config = context.lookup.defaults();
    if config.is_some_and(|config| core::ptr::eq(&config.meta, context.owner)) {
        return value::duration_ms(text).map(|_| ());
    }
    Err(Refusal::new(
        "this HAProxy cannot set this timeout per route",
        format!("use HAProxy {version} or later, set it in the ConfigMap, or remove it"),
    ))
}

fn http_request(text: &str) -> Result<(&'static str, String), Refusal> {
    Ok(("timeout http-request", milliseconds(text)?))
}

fn keep_alive(text: &str) -> Result<(&'static str, String), Refusal> {
    Ok(("timeout http-keep-alive", milliseconds(text)?))
}

fn client_fin(text: &str) -> Result<(&'static str, String), Refusal> {
    Ok(("timeout client-fin", milliseconds(text)?))
}

fn server_fin(text: &str) -> Result<(&'static str, String), Refusal> {
    Ok((SERVER_FIN_OPTION, milliseconds(text)?))
}

fn check(text: &str) -> Result<(&'static str, String), Refusal> {
    Ok((CHECK_OPTION, milliseconds(text)?))
}

/// A duration as HAProxy reads it.
///
/// # Errors
/// Those of [`value::duration_ms`].
pub fn milliseconds(text: &str) -> Result<String, Refusal> {
    Ok(format!("{}ms", value::duration_ms(text)?))
}
