//! Cross-origin resource sharing: which origins' scripts may read the answers.
//!
//! Origins that are written out are entries of a map that is looked up by prefix; patterns are
//! regular expressions. What goes with an allowed origin is a constant list of headers.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::value::{self, quoted};
use super::{
    Annotation, Apply, Context, Family, Mechanism, OnError, Refusal, RouteDraft, Rule, RuleText,
    Scopes, Section, always, headers, rewrite,
};
use crate::action::MapId;
use crate::capability::Capabilities;
use crate::digest::Digest;

/// Headers that go with an allowed origin, besides the origin itself.
const NAMES: [&str; 5] = [
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-max-age",
    "access-control-allow-credentials",
    "access-control-expose-headers",
];

/// Values of the keys in a draft, in the order of [`NAMES`].
const VALUES: [&str; 5] =
    ["cors-methods", "cors-headers", "cors-age", "cors-credentials", "cors-expose"];

const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"];

/// The family.
pub const FAMILY: Family = Family {
    title: "CORS",
    about: "Lets browsers' scripts of other origins read the answers. Headers are set for requests \
            with an `Origin` that is allowed; other requests are served without them, as CORS \
            protects users of browsers and not the pods. Without `cors-enable` the other keys do \
            nothing.",
    fields: &["cors", "cors-regex", "cors-set", "cors-options"],
    keys: &[
        row("cors-enable", "true or false", "false", "Switches CORS on.", "true", enable),
        row(
            "cors-allow-origin",
            "`*`, or comma-separated origins such as `https://app.example.com` or \
             `https://*.example.com`, or one regular expression",
            "`*`; none at all in place of a value that cannot be used",
            "Origins that are allowed. A regular expression (PCRE2) must match the whole origin.",
            "https://app.example.com, https://*.example.org",
            origin,
        ),
        row(
            "cors-allow-methods",
            "`*`, or comma-separated methods",
            "`*`",
            "Methods that scripts may use.",
            "GET, POST, PUT",
            methods,
        ),
        row(
            "cors-allow-headers",
            "`*`, or comma-separated header names",
            "`*`",
            "Request headers that scripts may set.",
            "Authorization, X-Tenant",
            request_headers,
        ),
        row(
            "cors-max-age",
            "duration of at least 1s",
            "5s",
            "How long a browser may remember what a preflight allowed.",
            "10m",
            max_age,
        ),
        row(
            "cors-allow-credentials",
            "true or false",
            "false",
            "Whether scripts may send cookies and passwords. Never together with the origin `*`, \
             which browsers refuse: then it is left out.",
            "true",
            credentials,
        ),
        Annotation {
            haproxy: None,
            ..row(
                "cors-expose-headers",
                "comma-separated header names",
                "none",
                "Response headers that scripts may read.",
                "X-Request-Id",
                expose,
            )
        },
        row(
            "cors-respond-to-options",
            "true or false",
            "false",
            "Answers preflights (OPTIONS with `Origin` and `Access-Control-Request-Method`) with \
             204 instead of asking a pod.",
            "true",
            respond,
        ),
    ],
    finish: None,
    finish_route: Some(finish),
    rules: &[
        rule(
            Section::Request,
            "http-request set-var-fmt(txn.co) \"%[{f:cors}]:%[req.hdr(origin)]>\" if {on:cors} \
             { req.hdr(origin) -m found }",
        ),
        rule(
            Section::Request,
            "http-request set-var(txn.ca) var(txn.co),map_beg(maps/access.map) if {on:cors}",
        ),
        rule(
            Section::Request,
            "http-request set-var(txn.ca) var(txn.co),map_regm(maps/hash-key.map) \
             if {on:cors-regex} !{ var(txn.ca) -m found }",
        ),
        rule(
            Section::Request,
            "http-request set-var(txn.be) str(tidegate-preflight) if {on:cors-options} \
             METH_OPTIONS { req.hdr(origin) -m found } \
             { req.hdr(access-control-request-method) -m found }",
        ),
        rule(
            Section::Request,
            "http-request allow if {on:cors-options} { var(txn.be) -m str tidegate-preflight }",
        ),
        Rule { at: Section::Response, when: always, text: RuleText::Lines(response) },
        Rule { at: Section::Preflight, when: always, text: RuleText::Lines(preflight) },
    ],
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
        haproxy: Some(key),
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

const fn rule(at: Section, text: &'static str) -> Rule {
    Rule { at, when: always, text: RuleText::Line(text) }
}

fn response(skeleton: &crate::desired::Skeleton) -> Vec<String> {
    answer_rules("http-response", &skeleton.capabilities)
}

fn preflight(skeleton: &crate::desired::Skeleton) -> Vec<String> {
    answer_rules("http-after-response", &skeleton.capabilities)
}

fn answer_rules(side: &str, capabilities: &Capabilities) -> Vec<String> {
    let allowed = "{ var(txn.ca) -m found }";
    let mut lines = Vec::from([
        format!(
            "{side} set-header access-control-allow-origin %[var(txn.ca)] if {{on:cors}} {allowed}"
        ),
        format!("{side} add-header vary Origin if {{on:cors}} !{{ var(txn.ca) -m str * }}"),
    ]);
    if capabilities.headers_bin {
        let set = "set-headers-bin {f:cors-set},b64dec";
        lines.push(format!("{side} {set} if {{on:cors-set}} {allowed}"));
        return lines;
    }
    for name in NAMES {
        let look_up = format!("{{f:cors-set}},concat(:{name}),map_str(maps/headers.map)");
        lines.push(format!(
            "{side} set-header {name} %[{look_up},b64dec] if {{on:cors-set}} {allowed} \
             {{ {look_up} -m found }}"
        ));
    }
    lines
}

fn enable(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    draft.values.insert("cors", value::boolean(text)?.to_string());
    Ok(())
}

fn origin(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    // Until a value is found that can be used, no origin is allowed.
    draft.values.insert("cors-origin", String::new());
    draft.values.insert("cors-origin", origins(text.trim())?);
    Ok(())
}

/// Origins in a form of their own, one per line: `*`, `=ORIGIN` or `~REGEX`.
fn origins(text: &str) -> Result<String, Refusal> {
    if text == "*" {
        return Ok("*".into());
    }
    if text.contains(['\\', '(', '[', '^', '$', '+', '?', '|']) {
        return Ok(format!("~{}", pattern(text)?));
    }
    let mut found = Vec::new();
    for entry in text.split([',', '\n']).map(str::trim).filter(|e| !e.is_empty()) {
        found.push(one_origin(entry)?);
    }
    if found.is_empty() || found.len() > 200 {
        return Err(Refusal::new(
            format!("it names {} origins", found.len()),
            "name between 1 and 200 origins, or write *",
        ));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found.join("\n"))
}

fn one_origin(text: &str) -> Result<String, Refusal> {
    let bad = || {
        Refusal::new(
            format!("{} is not an origin", quoted(text)),
            "write scheme and host, such as https://app.example.com or https://*.example.com",
        )
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    if scheme.is_empty() || scheme.len() > 32 || !scheme.bytes().all(plain) {
        return Err(bad());
    }
    let scheme = scheme.to_ascii_lowercase();
    let (host, any) = match rest.strip_prefix("*.") {
        Some(host) => (host, true),
        None => (rest, false),
    };
    let (host, port) = value::host_and_port(host).map_err(|_| bad())?;
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    if any {
        let escape = |text: &str| text.replace('.', "\\.").replace('+', "\\+");
        let (scheme, host) = (escape(&scheme), escape(&host));
        return Ok(format!("~{scheme}://[a-z0-9_-]+(?:\\.[a-z0-9_-]+)*\\.{host}{port}"));
    }
    Ok(format!("={scheme}://{host}{port}"))
}

/// A regular expression over a whole origin. Anchors at its ends go without saying.
fn pattern(text: &str) -> Result<String, Refusal> {
    let inner = text.strip_prefix('^').unwrap_or(text);
    let inner = match inner.strip_suffix('$') {
        Some(rest) if !rest.ends_with('\\') => rest,
        Some(_) | None => inner,
    };
    rewrite::check_regex(inner)?;
    let mut escaped = false;
    for c in inner.chars() {
        if escaped && c.is_ascii_digit() || !escaped && matches!(c, '^' | '$') {
            // `^` within a class is fine, but no origin needs one.
            return Err(Refusal::new(
                format!("the regular expression {} has {c} inside", quoted(text)),
                "use no group by number, and ^ and $ at the ends only; or write a list of origins",
            ));
        }
        escaped = c == '\\' && !escaped;
    }
    Ok(inner.into())
}

fn methods(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    if text.trim() == "*" {
        draft.values.insert("cors-methods", "*".into());
        return Ok(());
    }
    let mut all = Vec::new();
    for entry in text.split([',', '\n']).map(str::trim).filter(|e| !e.is_empty()) {
        let upper = entry.to_ascii_uppercase();
        if !METHODS.contains(&&*upper) {
            return Err(Refusal::new(
                format!("{} is not a method", quoted(entry)),
                "use GET, HEAD, POST, PUT, DELETE, PATCH or OPTIONS",
            ));
        }
        all.push(upper);
    }
    put_list("cors-methods", all, draft)
}

fn request_headers(
    text: &str,
    draft: &mut RouteDraft,
    _: &mut Context<'_, '_>,
) -> Result<(), Refusal> {
    if text.trim() == "*" {
        draft.values.insert("cors-headers", "*".into());
        return Ok(());
    }
    put_list("cors-headers", names(text)?, draft)
}

fn expose(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    put_list("cors-expose", names(text)?, draft)
}

/// Names of headers as a value: any token, as none of them is changed.
fn names(text: &str) -> Result<Vec<String>, Refusal> {
    let mut all = Vec::new();
    for entry in text.split([',', '\n']).map(str::trim).filter(|e| !e.is_empty()) {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if entry.len() > 256 || !entry.bytes().all(is_token) {
            return Err(Refusal::new(
                format!("{} is not a header name", quoted(entry)),
                "use letters, digits and -",
            ));
        }
        all.push(entry.into());
    }
    Ok(all)
}

fn put_list(key: &'static str, all: Vec<String>, draft: &mut RouteDraft) -> Result<(), Refusal> {
    if all.is_empty() || all.len() > 50 {
        return Err(Refusal::new(
            format!("it names {} of them", all.len()),
            "name between 1 and 50",
        ));
    }
    draft.values.insert(key, all.join(", "));
    Ok(())
}

fn max_age(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    let seconds = value::duration_ms(text)? / 1_000;
    if seconds == 0 {
        return Err(Refusal::new(
            format!("{} is less than a second", quoted(text)),
            "use a duration of at least 1s",
        ));
    }
    draft.values.insert("cors-age", seconds.to_string());
    Ok(())
}

fn credentials(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    if value::boolean(text)? {
        draft.values.insert("cors-credentials", "true".into());
    } else {
        draft.values.remove("cors-credentials");
    }
    Ok(())
}

fn respond(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    draft.values.insert("cors-options", value::boolean(text)?.to_string());
    Ok(())
}

fn finish(draft: &mut RouteDraft, capabilities: &Capabilities) {
    let value = |draft: &RouteDraft, key: &str| draft.values.get(key).cloned();
    if value(draft, "cors").is_none_or(|on| on != "true") {
        return;
    }
    let origins = value(draft, "cors-origin").unwrap_or_else(|| "*".into());
    if origins.is_empty() {
        return;
    }
    let id = Digest::of_parts([b"cors", origins.as_bytes()]).short();
    for origin in origins.lines() {
        match origin.split_at_checked(1) {
            Some(("=", origin)) => {
                draft.entry(MapId::Access, format!("{id}:{origin}>"), origin);
            }
            Some(("~", regex)) => {
                draft.entry(MapId::HashKey, format!("^{id}:((?:{regex}))>$"), "\\1");
                draft.set("cors-regex", "1");
            }
            Some(_) | None => draft.entry(MapId::Access, format!("{id}:"), "*"),
        }
    }
    draft.set("cors", id);
    if value(draft, "cors-options").is_some_and(|on| on == "true") {
        draft.set("cors-options", "1");
    }
    if origins == "*" {
        draft.values.remove("cors-credentials");
    }
    for (key, default) in [("cors-methods", "*"), ("cors-headers", "*"), ("cors-age", "5")] {
        draft.values.entry(key).or_insert_with(|| default.into());
    }
    // With credentials, browsers take `*` for a method of that name.
    if draft.values.contains_key("cors-credentials")
        && value(draft, "cors-methods").is_some_and(|methods| methods == "*")
    {
        draft.values.insert("cors-methods", METHODS.get(..7).unwrap_or_default().join(", "));
    }
    let constant: Vec<(String, String)> = NAMES
        .iter()
        .zip(VALUES)
        .filter_map(|(name, key)| Some(((*name).to_string(), value(draft, key)?)))
        .collect();
    if capabilities.headers_bin {
        draft.set("cors-set", STANDARD.encode(headers::binary(&constant, false)));
        return;
    }
    let content = constant.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    let id = Digest::of_parts(content).short();
    for (name, value) in constant {
        draft.entry(MapId::Headers, format!("{id}:{name}"), headers::encode_value(&value));
    }
    draft.set("cors-set", id);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_exact_wildcards_or_expressions() {
        assert_eq!(origins("*").unwrap(), "*");
        assert_eq!(
            origins("https://A.example.com, http://b.test:8080").unwrap(),
            "=http://b.test:8080\n=https://a.example.com"
        );
        assert_eq!(
            origins("https://*.example.com").unwrap(),
            "~https://[a-z0-9_-]+(?:\\.[a-z0-9_-]+)*\\.example\\.com"
        );
        assert_eq!(origins("^https://(a|b)\\.test$").unwrap(), "~https://(a|b)\\.test");
        for bad in ["", "example.com", "https://", "^a$|^b$", "https://a b", "(", "(a)\\1", "*.x"] {
            assert!(origins(bad).is_err(), "{bad:?}");
        }
    }
}
