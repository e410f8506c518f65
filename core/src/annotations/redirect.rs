//! Redirects by scheme and host.

use alloc::format;
use alloc::string::ToString;

use super::value::{self, quoted};
use super::{
    Annotation, Apply, Context, Family, Mechanism, OnError, Refusal, RouteDraft, Rule, RuleText,
    Scopes, Section, always,
};

/// Status codes of redirects; each is a static backend of the skeleton.
pub const CODES: [u16; 5] = [301, 302, 303, 307, 308];

/// The family.
pub const FAMILY: Family = Family {
    title: "Redirects",
    about: "Answers with a redirect instead of asking a pod. Path and query are kept.",
    fields: &["https", "https-port", "https-code", "to", "to-code"],
    keys: &[
        Annotation {
            key: "ssl-redirect",
            haproxy: Some("ssl-redirect"),
            scopes: Scopes::CI,
            syntax: "true, false or auto",
            default: "false; auto where tidegate runs under haproxytech's controller name",
            about: "Redirects plain HTTP to HTTPS. `auto` does so for Ingresses that have a tls \
                    block, as haproxytech's controller does by default; tidegate does not, as the \
                    Ingress conformance suite expects plain HTTP to be served.",
            example: "true",
            mechanism: Mechanism::Record,
            on_error: OnError::Default,
            apply: Apply::Route(https),
        },
        Annotation {
            key: "ssl-redirect-code",
            haproxy: Some("ssl-redirect-code"),
            scopes: Scopes::CI,
            syntax: "301, 302, 303, 307 or 308",
            default: "302",
            about: "Status code of the redirect to HTTPS.",
            example: "308",
            mechanism: Mechanism::Record,
            on_error: OnError::Default,
            apply: Apply::Route(https_code),
        },
        Annotation {
            key: "ssl-redirect-port",
            haproxy: Some("ssl-redirect-port"),
            scopes: Scopes::CI,
            syntax: "port number",
            default: "443, left out of the location",
            about: "Port written into the location. haproxytech's controller writes its container \
                    port by default; tidegate does not.",
            example: "8443",
            mechanism: Mechanism::Record,
            on_error: OnError::Default,
            apply: Apply::Route(https_port),
        },
        Annotation {
            key: "request-redirect",
            haproxy: Some("request-redirect"),
            scopes: Scopes::CI,
            syntax: "HOST, HOST:PORT, or either after http:// or https://",
            default: "none",
            about: "Redirects every request to another host. Without a scheme the request's own is \
                    kept.",
            example: "www.example.com",
            mechanism: Mechanism::Record,
            on_error: OnError::Default,
            apply: Apply::Route(to),
        },
        Annotation {
            key: "request-redirect-code",
            haproxy: Some("request-redirect-code"),
            scopes: Scopes::CI,
            syntax: "301, 302, 303, 307 or 308",
            default: "302",
            about: "Status code of `request-redirect`.",
            example: "301",
            mechanism: Mechanism::Record,
            on_error: OnError::Default,
            apply: Apply::Route(to_code),
        },
    ],
    finish: None,
    finish_route: None,
    rules: &[
        rule(
            "http-request set-var-fmt(txn.loc) \"https://%[{host}]%[{f:https-port}]%[pathq]\" \
             if {on:https} !{ ssl_fc }",
        ),
        rule(
            "http-request set-var-fmt(txn.be) \"tidegate-redirect-%[{f:https-code}]\" if {on:https} \
             !{ ssl_fc }",
        ),
        rule("http-request allow if {on:https} !{ ssl_fc }"),
        rule(
            "http-request set-var-fmt(txn.loc) \
             \"%[ssl_fc,iif(https,http)]:%[{f:to}]%[pathq]\" if {on:to} \
             { {f:to} -m beg // }",
        ),
        rule(
            "http-request set-var-fmt(txn.loc) \"%[{f:to}]%[pathq]\" if {on:to} \
             !{ {f:to} -m beg // }",
        ),
        rule("http-request set-var-fmt(txn.be) \"tidegate-redirect-%[{f:to-code}]\" if {on:to}"),
        rule("http-request allow if {on:to}"),
    ],
};

const fn rule(text: &'static str) -> Rule {
    Rule { at: Section::Request, when: always, text: RuleText::Line(text) }
}

fn https(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    let wanted = match text.trim() {
        "auto" => "auto",
        text if value::boolean(text)? => "true",
        _ => "false",
    };
    draft.values.insert("https", wanted.to_string());
    Ok(())
}

fn https_code(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    draft.values.insert("https-code", code(text)?);
    Ok(())
}

fn https_port(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    draft.values.insert("https-port", value::integer(text, 1, 65_535)?.to_string());
    Ok(())
}

/// Whether the routes of an Ingress are redirected to HTTPS, once all its keys were applied.
/// `has_tls` says whether it has a tls block, and `by_default` whether that alone is enough.
pub fn to_https(draft: &mut RouteDraft, has_tls: bool, by_default: bool) {
    let redirects = match draft.values.get("https").map(|wanted| wanted.as_str()) {
        Some("true") => true,
        Some("auto") => has_tls,
        Some(_) => false,
        None => by_default && has_tls,
    };
    if !redirects {
        return;
    }
    let code = draft.values.get("https-code").map_or("302", |code| code).to_string();
    let port = draft.values.get("https-port").filter(|port| *port != "443");
    let port = port.map(|port| format!(":{port}"));
    draft.set("https", "1");
    draft.set("https-code", code);
    if let Some(port) = port {
        draft.set("https-port", port);
    }
}

fn to(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    let text = text.trim();
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (format!("{scheme}:"), rest),
        Some(_) => {
            return Err(Refusal::new(
                format!("{} has an unknown scheme", quoted(text)),
                "use http:// or https://, or no scheme",
            ));
        }
        None => (alloc::string::String::new(), text),
    };
    let (host, port) = value::host_and_port(rest)?;
    let port = port.map(|p| format!(":{p}")).unwrap_or_default();
    draft.set("to", format!("{scheme}//{host}{port}"));
    draft.set("to-code", "302");
    Ok(())
}

fn to_code(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    let code = code(text)?;
    if draft.get("to").is_some() {
        draft.set("to-code", code);
    }
    Ok(())
}

fn code(text: &str) -> Result<alloc::string::String, Refusal> {
    match text.trim().parse::<u16>() {
        Ok(code) if CODES.contains(&code) => Ok(code.to_string()),
        _ => Err(Refusal::new(
            format!("{} is no status code of a redirect", quoted(text)),
            "use 301, 302, 303, 307 or 308",
        )),
    }
}
