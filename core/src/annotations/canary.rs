//! Canaries: a share of a path's requests, or those with a header or cookie, go to another Service.
//!
//! A canary is another Ingress, marked so, for the same host and path; or a Service with haproxytech's
//! `route-acl`. Which path it joins is decided in `crate::project::canary`. The choice is made after
//! all that may refuse a request, so that whatever protects the path protects both, and before headers
//! are changed. What is chosen by is data: a share, and regular expressions that take a value out of
//! the headers or a cookie and judge it.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::rewrite::{check_regex, scoped};
use super::value::{self, quoted};
use super::{
    Annotation, Apply, BackendDraft, Context, Family, Mechanism, OnError, Refusal, RouteDraft,
    Rule, RuleText, Scopes, Section, always,
};
use crate::action::MapId;
use crate::digest::Digest;
use crate::world::object::Meta;

/// The parts that a share is rounded to.
const PARTS: u64 = 1_000_000;

/// The family.
pub const FAMILY: Family = Family {
    title: "Canaries",
    about: "A share of the requests of a path, or those with a certain header or cookie, go to another \
            Service: a second Ingress of the same namespace names the same host and path, is marked \
            with `canary`, and says who goes to its Service. [Canaries](canary.md) has examples, the \
            order of the keys, and what becomes of a canary without pods.",
    fields: &["canary", "canary-header", "canary-cookie"],
    keys: &[
        Annotation {
            key: "canary",
            haproxy: None,
            scopes: Scopes::I,
            syntax: "true or false",
            default: "false",
            about: "Marks the Ingress as a canary. It owns no path; it joins the paths that another \
                    Ingress of its namespace owns. What cannot be read marks it too.",
            example: "true",
            mechanism: Mechanism::Record,
            on_error: OnError::Default,
            apply: Apply::Route(mark),
        },
        Annotation {
            key: "canary-weight",
            haproxy: None,
            scopes: Scopes::I,
            syntax: "whole number from 0 to `canary-weight-total`",
            default: "0",
            about: "Share of the requests that neither header nor cookie decides.",
            example: "10",
            mechanism: Mechanism::Record,
            on_error: OnError::Default,
            apply: Apply::Route(weight),
        },
        Annotation {
            key: "canary-weight-total",
            haproxy: None,
            scopes: Scopes::I,
            syntax: "whole number from 1 to 1000000",
            default: "100",
            about: "What `canary-weight` is a share of.",
            example: "1000",
            mechanism: Mechanism::Record,
            on_error: OnError::Default,
            apply: Apply::Route(total),
        },
        Annotation {
            key: "canary-by-header",
            haproxy: None,
            scopes: Scopes::I,
            syntax: "header name",
            default: "none",
            about: "Requests in which this header is `always` go to the canary, those with `never` do \
                    not. Any other value leaves it to the cookie and the weight.",
            example: "X-Canary",
            mechanism: Mechanism::Map,
            on_error: OnError::Default,
            apply: Apply::Route(header),
        },
        Annotation {
            key: "canary-by-header-value",
            haproxy: None,
            scopes: Scopes::I,
            syntax: "header value",
            default: "none: `always` and `never`",
            about: "Instead of `always`, exactly this value goes to the canary; `never` means nothing.",
            example: "blue",
            mechanism: Mechanism::Map,
            on_error: OnError::Default,
            apply: Apply::Route(header_value),
        },
        Annotation {
            key: "canary-by-header-pattern",
            haproxy: None,
            scopes: Scopes::I,
            syntax: "regular expression (PCRE2)",
            default: "none",
            about: "Instead of `always`, values in which this matches go to the canary. \
                    `canary-by-header-value` goes before it.",
            example: "^(blue|green)$",
            mechanism: Mechanism::Map,
            on_error: OnError::Default,
            apply: Apply::Route(header_pattern),
        },
        Annotation {
            key: "canary-by-cookie",
            haproxy: None,
            scopes: Scopes::I,
            syntax: "name of a cookie",
            default: "none",
            about: "Requests with `always` in this cookie go to the canary, those with `never` do not. \
                    Comes after the header and before the weight.",
            example: "canary",
            mechanism: Mechanism::Map,
            on_error: OnError::Default,
            apply: Apply::Route(cookie),
        },
        Annotation {
            key: "route-acl",
            haproxy: Some("route-acl"),
            scopes: Scopes::S,
            syntax: "`rand(N) lt M`, or `hdr(NAME)` or `cook(NAME)` with `-m found`, or with `-m` (str, \
                     beg, end, sub or reg) and one value; `-i` ignores case",
            default: "none",
            about: "Makes the Service a canary of the paths that lead to it and, in the same namespace, \
                    to another Service too: requests for which this condition of HAProxy holds go to \
                    it. Other conditions are a Problem, and the canary then gets nothing.",
            example: "cook(staging) -m found",
            mechanism: Mechanism::Map,
            on_error: OnError::Default,
            apply: Apply::Backend(route_acl),
        },
    ],
    finish: None,
    finish_route: None,
    rules: &[
        rule(
            "http-request set-var-fmt(txn.ck) \"%[{f:canary-header},field(1,.)]:%[req.hdrs]\" \
             if {on:canary-header}",
        ),
        rule(
            "http-request set-var(txn.cd) var(txn.ck),map_regm(maps/hash-key.map) \
             if {on:canary-header}",
        ),
        rule(
            "http-request set-var-fmt(txn.ck) \"%[{f:canary-header},field(2,.)]:%[var(txn.cd)]\" \
             if {on:canary-header} { var(txn.cd) -m found } \
             { {f:canary-header},field(2,.) -m len 1: }",
        ),
        rule(
            "http-request set-var(txn.cd) var(txn.ck),map_regm(maps/hash-key.map,-) \
             if {on:canary-header} { var(txn.cd) -m found } \
             { {f:canary-header},field(2,.) -m len 1: }",
        ),
        rule(
            "http-request set-var-fmt(txn.ck) \
             \"%[{f:canary-cookie},field(1,.)]:%[req.fhdr(cookie)]\" \
             if {on:canary-cookie} !{ var(txn.cd) -m str always never }",
        ),
        rule(
            "http-request set-var(txn.cc) var(txn.ck),map_regm(maps/hash-key.map) \
             if {on:canary-cookie} !{ var(txn.cd) -m str always never }",
        ),
        rule(
            "http-request set-var-fmt(txn.ck) \"%[{f:canary-cookie},field(2,.)]:%[var(txn.cc)]\" \
             if {on:canary-cookie} { var(txn.cc) -m found } \
             { {f:canary-cookie},field(2,.) -m len 1: }",
        ),
        rule(
            "http-request set-var(txn.cc) var(txn.ck),map_regm(maps/hash-key.map,-) \
             if {on:canary-cookie} { var(txn.cc) -m found } \
             { {f:canary-cookie},field(2,.) -m len 1: }",
        ),
        rule("http-request set-var(txn.cd) var(txn.cc) if { var(txn.cc) -m str always never }"),
        rule("http-request set-var(txn.cs) {f:canary} if {on:canary}"),
        rule(
            "http-request set-var(txn.cd) str(always) if {on:canary} \
             !{ var(txn.cd) -m str always never } { rand(1000000),sub(txn.cs) lt 0 }",
        ),
        rule(
            // Who just left the path may have been emptied since the record was read.
            "http-request set-var(txn.be) var(txn.cb) if {on:canary} { var(txn.cb) -m found } \
             { var(txn.cd) -m str always } { var(txn.cb),nbsrv gt 0 }",
        ),
    ],
};

const fn rule(text: &'static str) -> Rule {
    Rule { at: Section::Request, when: always, text: RuleText::Line(text) }
}

/// Whether an Ingress is marked as a canary. A value that cannot be read marks it: as the owner of
/// its paths it would take all requests.
#[must_use]
pub fn is_marked(meta: &Meta) -> bool {
    let value = meta.annotation("tidegate.io/canary");
    value.is_some_and(|value| !matches!(value::boolean(value), Ok(false)))
}

/// Whether a key on a marked Ingress counts: those about who goes to the canary.
#[must_use]
pub fn is_own(row: &Annotation) -> bool {
    FAMILY.keys.iter().any(|own| own.key == row.key)
}

/// Whether a Service is a canary by its condition.
#[must_use]
pub fn has_acl(meta: &Meta) -> bool {
    let mut keys = super::HAPROXY_PREFIXES.iter().map(|prefix| format!("{prefix}route-acl"));
    meta.annotation("tidegate.io/route-acl").is_some()
        || keys.any(|key| meta.annotation(&key).is_some())
}

fn mark(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    value::boolean(text)?;
    draft.values.insert("canary", "true".to_string());
    Ok(())
}

fn weight(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    draft.values.insert("canary-weight", value::integer(text, 0, PARTS)?.to_string());
    Ok(())
}

fn total(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    draft.values.insert("canary-total", value::integer(text, 1, PARTS)?.to_string());
    Ok(())
}

fn header(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    draft.values.insert("canary-header", value::header_name(text.trim())?);
    Ok(())
}

fn header_value(
    text: &str,
    draft: &mut RouteDraft,
    _: &mut Context<'_, '_>,
) -> Result<(), Refusal> {
    let value = plain_value(text.trim())?;
    draft.values.insert("canary-value", format!("^{}$", literal(value)));
    Ok(())
}

fn header_pattern(
    text: &str,
    draft: &mut RouteDraft,
    _: &mut Context<'_, '_>,
) -> Result<(), Refusal> {
    check_regex(text.trim())?;
    draft.values.insert("canary-pattern", text.trim().to_string());
    Ok(())
}

fn cookie(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    draft.values.insert("canary-cookie", cookie_name(text.trim())?.to_string());
    Ok(())
}

fn cookie_name(name: &str) -> Result<&str, Refusal> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(is_plain) {
        return Err(Refusal::new(
            format!("{} is not the name of a cookie", quoted(name)),
            "use up to 64 letters, digits, -, _ and .",
        ));
    }
    Ok(name)
}

fn plain_value(text: &str) -> Result<&str, Refusal> {
    if text.is_empty() || text.len() > 256 || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Refusal::new(
            format!("{} is no value that can be compared", quoted(text)),
            "use 1 to 256 visible ASCII characters without spaces",
        ));
    }
    Ok(text)
}

/// A text as a regular expression for just it.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if !c.is_ascii_alphanumeric() {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The weight and the total, if the weight is more than that.
#[must_use]
pub fn excess(canary: &RouteDraft) -> Option<(u64, u64)> {
    let (weight, total) = weight_and_total(canary);
    (weight > total).then_some((weight, total))
}

fn weight_and_total(canary: &RouteDraft) -> (u64, u64) {
    let number = |key: &str| canary.values.get(key).and_then(|n| n.parse::<u64>().ok());
    (number("canary-weight").unwrap_or(0), number("canary-total").unwrap_or(100))
}

/// Puts the choice of a marked Ingress into the policy of the path.
pub fn choose(canary: &RouteDraft, policy: &mut RouteDraft) {
    let (weight, total) = weight_and_total(canary);
    share(policy, weight.min(total), total);
    let text = |key: &str| canary.values.get(key).map(String::as_str);
    if let Some(name) = text("canary-header") {
        let wanted = text("canary-value").or(text("canary-pattern"));
        by_header(policy, name, wanted.map(|regex| test(regex, policy_id(regex))));
    }
    if let Some(name) = text("canary-cookie") {
        by_cookie(policy, name, None);
    }
}

/// Puts the choice of a Service with a condition into the policy of the path.
pub fn choose_by_acl(canary: &BackendDraft, policy: &mut RouteDraft) {
    let text = |key: &str| canary.values.get(key).map(String::as_str);
    let number = |key: &str| text(key).and_then(|n| n.parse::<u64>().ok());
    share(policy, number("acl-share").unwrap_or(0), PARTS);
    let wanted = text("acl-test").map(|regex| test(regex, policy_id(regex)));
    if let Some(name) = text("acl-header") {
        by_header(policy, name, wanted);
    } else if let Some(name) = text("acl-cookie") {
        by_cookie(policy, name, wanted);
    }
}

/// A judgement of a value: its id, and the entry of the map.
struct Test {
    id: String,
    regex: String,
}

fn policy_id(regex: &str) -> String {
    Digest::of_parts([b"canary-test", regex.as_bytes()]).short()
}

fn test(regex: &str, id: String) -> Test {
    Test { regex: scoped(regex, &id), id }
}

fn share(policy: &mut RouteDraft, weight: u64, total: u64) {
    policy.set("canary", (weight * PARTS / total.max(1)).to_string());
}

fn by_header(policy: &mut RouteDraft, name: &str, wanted: Option<Test>) {
    let id = Digest::of_parts([b"canary-header", name.as_bytes()]).short();
    let name = literal(name);
    // The first header of the name, without the spaces around its value.
    let regex =
        format!("^{id}:(?:(?s:.*?)\\n)??(?i:{name}):[\\x20\\t]*([^\\r\\n]*?)[\\x20\\t]*\\r?\\n");
    policy.entry(MapId::HashKey, regex, "\\1");
    put(policy, "canary-header", id, wanted);
}

fn by_cookie(policy: &mut RouteDraft, name: &str, wanted: Option<Test>) {
    let id = Digest::of_parts([b"canary-cookie", name.as_bytes()]).short();
    let regex = format!("^{id}:(?:.*;[\\x20\\t]*)?{}=([^;\\r\\n]*)", literal(name));
    policy.entry(MapId::HashKey, regex, "\\1");
    put(policy, "canary-cookie", id, wanted);
}

fn put(policy: &mut RouteDraft, field: &'static str, id: String, wanted: Option<Test>) {
    match wanted {
        None => policy.set(field, id),
        Some(Test { id: of_test, regex }) => {
            policy.set(field, format!("{id}.{of_test}"));
            policy.entry(MapId::HashKey, regex, "always");
        }
    }
}

/// Reads the conditions of HAProxy that can be data.
fn route_acl(text: &str, draft: &mut BackendDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    let wrong = || {
        Refusal::new(
            format!("the condition {} cannot be carried over", quoted(text)),
            "write rand(100) lt 10, hdr(NAME) -m str VALUE, cook(NAME) -m str VALUE, or -m found; or \
             make the Ingress a canary with the keys canary-weight, canary-by-header and \
             canary-by-cookie",
        )
    };
    let mut words: Vec<&str> = text.split_ascii_whitespace().collect();
    if let (Some(&"{"), Some(&"}")) = (words.first(), words.last()) {
        words = words.get(1..words.len() - 1).unwrap_or_default().to_vec();
    }
    let (fetch, words) = words.split_first().ok_or_else(wrong)?;
    let (kind, argument) = fetch.split_once('(').ok_or_else(wrong)?;
    let argument = argument.strip_suffix(')').ok_or_else(wrong)?;
    if kind == "rand" {
        let range = value::integer(argument, 1, 1_000_000_000)?;
        let [operator, number] = words else { return Err(wrong()) };
        let number = value::integer(number, 0, 1_000_000_000)?;
        let hits = match *operator {
            "lt" => number,
            "le" => number + 1,
            "gt" => range.saturating_sub(number + 1),
            "ge" => range.saturating_sub(number),
            _ => return Err(wrong()),
        };
        let share = hits.min(range) * PARTS / range;
        draft.values.insert("acl-share", share.to_string());
        return Ok(());
    }
    let key = match kind {
        "hdr" | "req.hdr" => "acl-header",
        "cook" | "req.cook" | "cookie" => "acl-cookie",
        _ => return Err(wrong()),
    };
    let name = match key {
        "acl-header" => value::header_name(argument)?,
        _ => cookie_name(argument)?.to_string(),
    };
    let regex = acl_test(words, key == "acl-header").ok_or_else(wrong)??;
    draft.values.insert(key, name);
    draft.values.insert("acl-test", regex);
    Ok(())
}

/// The regular expression for `-m METHOD VALUE`; a header may list several values. `None` for other
/// words.
fn acl_test(words: &[&str], lists: bool) -> Option<Result<String, Refusal>> {
    let (mut method, mut fold, mut values) = ("str", false, Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "-m" => method = *words.next()?,
            "-i" => fold = true,
            "--" => {}
            word if word.starts_with('-') => return None,
            value => values.push(value),
        }
    }
    if method == "found" {
        return values.is_empty().then(|| Ok("^".to_string()));
    }
    let [wanted] = values.as_slice() else { return None };
    let (before, after) =
        if lists { ("(?:^|,[\\x20\\t]*)", "(?:[\\x20\\t]*,|$)") } else { ("^", "$") };
    let text = literal(wanted);
    let regex = match method {
        "str" => format!("{before}{text}{after}"),
        "beg" => format!("{before}{text}"),
        "end" => format!("{text}{after}"),
        "sub" => text,
        // Letters in classes cannot be folded here.
        "reg" if fold => return None,
        "reg" => match check_regex(wanted) {
            Ok(()) => (*wanted).to_string(),
            Err(refusal) => return Some(Err(refusal)),
        },
        _ => return None,
    };
    if method != "reg"
        && let Err(refusal) = plain_value(wanted)
    {
        return Some(Err(refusal));
    }
    Some(Ok(if fold { format!("(?:{})", folded(&regex)) } else { regex }))
}

/// Letters in either case.
fn folded(regex: &str) -> String {
    let mut out = String::with_capacity(regex.len() * 4);
    let mut escaped = false;
    for c in regex.chars() {
        if c.is_ascii_alphabetic() && !escaped {
            out.push('[');
            out.push(c.to_ascii_lowercase());
            out.push(c.to_ascii_uppercase());
            out.push(']');
        } else {
            out.push(c);
        }
        escaped = c == '\\' && !escaped;
    }
    out
}
