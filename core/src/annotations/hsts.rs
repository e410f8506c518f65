//! HTTP Strict Transport Security (RFC 6797).

use alloc::format;
use alloc::string::ToString;

use super::value;
use super::{
    Annotation, Apply, Context, Family, Mechanism, OnError, Refusal, RouteDraft, Rule, RuleText,
    Scopes, Section, always,
};
use crate::capability::Capabilities;

/// The family.
pub const FAMILY: Family = Family {
    title: "HSTS",
    about: "Tells browsers to use HTTPS only. The header is set on responses over TLS, in place of \
            the pod's own. Without `hsts` the other keys do nothing.",
    fields: &["hsts"],
    keys: &[
        row("hsts", "true or false", "false", "Sets `Strict-Transport-Security`.", "true", hsts),
        row(
            "hsts-max-age",
            "whole number of seconds",
            "31536000, a year",
            "How long browsers remember it; 0 makes them forget.",
            "15768000",
            max_age,
        ),
        row(
            "hsts-include-subdomains",
            "true or false",
            "false",
            "Whether it holds for all hosts below this one.",
            "true",
            subdomains,
        ),
        row(
            "hsts-preload",
            "true or false",
            "false",
            "Whether browsers may ship with the host in their list.",
            "false",
            preload,
        ),
    ],
    finish: None,
    finish_route: Some(finish),
    rules: &[Rule {
        at: Section::Response,
        when: always,
        text: RuleText::Line(
            "http-response set-header strict-transport-security %[{f:hsts}] if {on:hsts} { ssl_fc }",
        ),
    }],
};

type ApplyRoute = fn(&str, &mut RouteDraft, &mut Context<'_, '_>) -> Result<(), Refusal>;

const fn row(
    key: &'static str,
    syntax: &'static str,
    default: &'static str,
    about: &'static str,
    example: &'static str,
    apply: ApplyRoute,
) -> Annotation {
    Annotation {
        key,
        haproxy: None,
        scopes: Scopes::CI,
        syntax,
        default,
        about,
        example,
        mechanism: Mechanism::Record,
        on_error: OnError::Default,
        apply: Apply::Route(apply),
    }
}

fn hsts(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    draft.values.insert("hsts", value::boolean(text)?.to_string());
    Ok(())
}

fn max_age(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    draft.values.insert("hsts-age", value::integer(text, 0, 3_153_600_000)?.to_string());
    Ok(())
}

fn subdomains(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    draft.values.insert("hsts-subdomains", value::boolean(text)?.to_string());
    Ok(())
}

fn preload(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    draft.values.insert("hsts-preload", value::boolean(text)?.to_string());
    Ok(())
}

fn finish(draft: &mut RouteDraft, _: &Capabilities) {
    let is = |key: &str| draft.values.get(key).is_some_and(|value| value == "true");
    if !is("hsts") {
        return;
    }
    let age = draft.values.get("hsts-age").map_or("31536000", |age| age);
    let subdomains = if is("hsts-subdomains") { "; includeSubDomains" } else { "" };
    let preload = if is("hsts-preload") { "; preload" } else { "" };
    let header = format!("max-age={age}{subdomains}{preload}");
    draft.set("hsts", header);
}
