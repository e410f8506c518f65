//! Request and response headers: set, add, remove. On HAProxy 3.4 names and values are data; before
//! that each header name in use has a static rule, and only a new name reloads.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::value::{self, quoted};
use super::{
    Annotation, Apply, Context, Family, Mechanism, OnError, Refusal, RouteDraft, Rule, RuleText,
    Scopes, Section, forward,
};
use crate::action::MapId;
use crate::capability::Capabilities;
use crate::desired::Skeleton;
use crate::digest::Digest;

/// The family.
pub const FAMILY: Family = Family {
    title: "Headers",
    about: "Headers of requests to pods and of responses to clients. Values are literal: HAProxy's \
            `%[…]` expressions are refused.",
    fields: &["rq-del", "rq-set", "rq-add", "rs-del", "rs-set", "rs-add"],
    keys: &[
        row(
            "request-set-header",
            Some("request-set-header"),
            "NAME VALUE per line",
            "Sets headers of requests, replacing what the client sent.",
            "X-Tenant blue",
            rq_set,
        ),
        row(
            "request-add-header",
            None,
            "NAME VALUE per line",
            "Adds headers to requests.",
            "X-Seen-By edge-1",
            rq_add,
        ),
        row(
            "request-remove-header",
            None,
            "NAME per line",
            "Removes headers from requests.",
            "X-Debug",
            rq_del,
        ),
        row(
            "response-set-header",
            Some("response-set-header"),
            "NAME VALUE per line",
            "Sets headers of responses, replacing what the pod sent.",
            "X-Frame-Options DENY",
            rs_set,
        ),
        row(
            "response-add-header",
            None,
            "NAME VALUE per line",
            "Adds headers to responses.",
            "Vary Accept-Language",
            rs_add,
        ),
        row(
            "response-remove-header",
            None,
            "NAME per line",
            "Removes headers from responses.",
            "Server",
            rs_del,
        ),
    ],
    finish: None,
    finish_route: None,
    rules: &[
        bin(Section::Backend, "http-request del-headers-bin {f:rq-del},b64dec if {on:rq-del}"),
        bin(Section::Backend, "http-request set-headers-bin {f:rq-set},b64dec if {on:rq-set}"),
        bin(Section::Backend, "http-request add-headers-bin {f:rq-add},b64dec if {on:rq-add}"),
        bin(Section::Response, "http-response del-headers-bin {f:rs-del},b64dec if {on:rs-del}"),
        bin(Section::Response, "http-response set-headers-bin {f:rs-set},b64dec if {on:rs-set}"),
        bin(Section::Response, "http-response add-headers-bin {f:rs-add},b64dec if {on:rs-add}"),
        Rule { at: Section::Request, when: no_bin, text: RuleText::Lines(static_request) },
        Rule { at: Section::Response, when: no_bin, text: RuleText::Lines(static_response) },
    ],
};

type ApplyRoute = fn(&str, &mut RouteDraft, &mut Context<'_, '_>) -> Result<(), Refusal>;

const fn row(
    key: &'static str,
    haproxy: Option<&'static str>,
    syntax: &'static str,
    about: &'static str,
    example: &'static str,
    apply: ApplyRoute,
) -> Annotation {
    Annotation {
        key,
        haproxy,
        scopes: Scopes::CI,
        syntax,
        default: "none",
        about,
        example,
        mechanism: Mechanism::Record,
        on_error: OnError::Default,
        apply: Apply::Route(apply),
    }
}

const fn bin(at: Section, text: &'static str) -> Rule {
    Rule { at, when: has_bin, text: RuleText::Line(text) }
}

fn has_bin(capabilities: &Capabilities) -> bool {
    capabilities.headers_bin
}

fn no_bin(capabilities: &Capabilities) -> bool {
    !capabilities.headers_bin
}

fn rq_set(text: &str, draft: &mut RouteDraft, c: &mut Context<'_, '_>) -> Result<(), Refusal> {
    apply("rq-set", text, draft, c)
}

fn rq_add(text: &str, draft: &mut RouteDraft, c: &mut Context<'_, '_>) -> Result<(), Refusal> {
    apply("rq-add", text, draft, c)
}

fn rq_del(text: &str, draft: &mut RouteDraft, c: &mut Context<'_, '_>) -> Result<(), Refusal> {
    apply("rq-del", text, draft, c)
}

fn rs_set(text: &str, draft: &mut RouteDraft, c: &mut Context<'_, '_>) -> Result<(), Refusal> {
    apply("rs-set", text, draft, c)
}

fn rs_add(text: &str, draft: &mut RouteDraft, c: &mut Context<'_, '_>) -> Result<(), Refusal> {
    apply("rs-add", text, draft, c)
}

fn rs_del(text: &str, draft: &mut RouteDraft, c: &mut Context<'_, '_>) -> Result<(), Refusal> {
    apply("rs-del", text, draft, c)
}

fn apply(
    field: &'static str,
    text: &str,
    draft: &mut RouteDraft,
    context: &mut Context<'_, '_>,
) -> Result<(), Refusal> {
    let removes = field.ends_with("del");
    let headers = parse(text, removes)?;
    // Who says what the pods see there, means it.
    if matches!(field, "rq-set" | "rq-del") && headers.iter().any(|(n, _)| n == "x-forwarded-for") {
        draft.set(forward::UNTOLD, "1");
    }
    if context.lookup.capabilities().headers_bin {
        draft.set(field, STANDARD.encode(binary(&headers, removes)));
        return Ok(());
    }
    let mut content = Vec::new();
    for (name, value) in &headers {
        content.extend([field.as_bytes(), name.as_bytes(), value.as_bytes()]);
    }
    let id = Digest::of_parts(content).short();
    for (name, value) in headers {
        draft.entry(MapId::Headers, format!("{id}:{name}"), encode_value(&value));
        draft.header_name(name);
    }
    draft.set(field, id);
    Ok(())
}

/// Parses lines of `NAME VALUE`, or of `NAME`. A value may stand in double quotes.
fn parse(text: &str, removes: bool) -> Result<Vec<(String, String)>, Refusal> {
    let mut headers = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let name = value::header_name(name)?;
        let rest = rest.trim();
        if removes != rest.is_empty() {
            let (what, fix) = if removes {
                ("has more than a name", "write one header name per line")
            } else {
                ("has no value", "write the name, a space and the value")
            };
            return Err(Refusal::new(format!("{} {what}", quoted(line)), fix));
        }
        let unquoted = rest.strip_prefix('"').and_then(|r| r.strip_suffix('"')).unwrap_or(rest);
        let value = value::header_value(unquoted)?;
        if value.contains("%[") {
            return Err(Refusal::new(
                format!("{} has an expression, and values are literal", quoted(value)),
                "write the value itself",
            ));
        }
        headers.push((name, value.into()));
    }
    if headers.is_empty() || headers.len() > 50 {
        return Err(Refusal::new(
            format!("it names {} headers", headers.len()),
            "name between 1 and 50 headers",
        ));
    }
    Ok(headers)
}

/// HAProxy's binary header list: names and values, each after its length as a varint, ended by an
/// empty name and value (an empty name in a list of names); configuration manual, `req.hdrs_bin`.
pub(super) fn binary(headers: &[(String, String)], names_only: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in headers {
        text_bytes(&mut out, name);
        if !names_only {
            text_bytes(&mut out, value);
        }
    }
    out.push(0);
    if !names_only {
        out.push(0);
    }
    out
}

fn text_bytes(out: &mut Vec<u8>, text: &str) {
    varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// The varint of HAProxy's peers and SPOE protocols: below 240 one byte, else the low four bits of
/// the first and seven of each following.
fn varint(out: &mut Vec<u8>, value: u64) {
    if value < 240 {
        out.push(value as u8);
        return;
    }
    out.push((value & 0x0f) as u8 | 0xf0);
    let mut rest = (value - 240) >> 4;
    while rest >= 128 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest = (rest - 128) >> 7;
    }
    out.push(rest as u8);
}

/// Values in the map are base64, so that any byte a header may have survives file and socket.
pub(super) fn encode_value(value: &str) -> String {
    if value.is_empty() { "-".into() } else { STANDARD.encode(value) }
}

fn static_request(skeleton: &Skeleton) -> Vec<String> {
    static_rules(skeleton, "http-request", "rq")
}

fn static_response(skeleton: &Skeleton) -> Vec<String> {
    static_rules(skeleton, "http-response", "rs")
}

/// One rule per verb and header name in use.
fn static_rules(skeleton: &Skeleton, side: &str, short: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for (verb, action) in [("del", "del-header"), ("set", "set-header"), ("add", "add-header")] {
        for name in &skeleton.header_names {
            let field = format!("{short}-{verb}");
            let look_up = format!("{{f:{field}}},concat(:{name}),map_str(maps/headers.map)");
            let value = if verb == "del" { String::new() } else { format!(" %[{look_up},b64dec]") };
            lines.push(format!(
                "{side} {action} {name}{value} if {{on:{field}}} {{ {look_up} -m found }}"
            ));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_lists_have_lengths_before_texts() {
        let headers = [("x-a".into(), "b".into())];
        assert_eq!(binary(&headers, false), b"\x03x-a\x01b\0\0");
        assert_eq!(binary(&headers, true), b"\x03x-a\0");
        let mut out = Vec::new();
        varint(&mut out, 240);
        varint(&mut out, 300);
        assert_eq!(out, [0xf0, 0x00, 0xfc, 0x03]);
    }

    #[test]
    fn dangerous_headers_are_refused() {
        assert!(parse("X-A 1\nX-B \"two words\"", false).is_ok());
        for bad in ["Content-Length 0", "X-A", "X A: b\rc", "X:A b", "", "X-A %[src]"] {
            assert!(parse(bad, false).is_err(), "{bad:?}");
        }
    }
}
