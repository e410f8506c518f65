//! What HAProxy logs of requests, where to and in which form, and what of a request is captured
//! for it.
//!
//! Captures are data: the request's head is matched with one regular expression for each thing to
//! capture, and what comes out goes into a capture slot of the frontend.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::value::{self, quoted};
use super::{
    Annotation, Apply, Context, Family, Mechanism, OnError, Refusal, RouteDraft, Rule, RuleText,
    Scopes, Section, always, option,
};
use crate::action::MapId;
use crate::capability::Capabilities;
use crate::desired::Skeleton;
use crate::digest::Digest;

/// Option with the targets of logs, one `log` directive's arguments a line.
pub const TARGET_OPTION: &str = "tidegate-log-target";

/// Option with the format of the lines on HTTP requests, encoded.
pub const FORMAT_OPTION: &str = "tidegate-log-format";

/// Option with the format of the lines on TCP connections, encoded.
pub const FORMAT_TCP_OPTION: &str = "tidegate-log-format-tcp";

/// Option: whether connections without a request are left out.
pub const NULL_OPTION: &str = "tidegate-log-null";

/// Option: whether a line is written as soon as the answer begins.
pub const ASAP_OPTION: &str = "tidegate-log-asap";

/// Most things that one route captures: the capture slots of the frontend.
const CAPTURES: usize = 4;

/// Bytes that a capture slot holds.
const SLOT_BYTES: u16 = 1024;

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "auth2",
    "ftp", "ntp", "audit", "alert", "cron2", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

const FORMATS: [&str; 8] =
    ["local", "rfc3164", "rfc5424", "priority", "short", "timed", "iso", "raw"];

/// The family.
pub const FAMILY: Family = Family {
    title: "Logs of requests",
    about: "HAProxy writes a line for each request, if there is a target. What is captured from a \
            request stands in it between braces, four places with `|` between them (`%hr` of a log \
            format). Logs are read by many: capture no credentials.",
    fields: &["capture"],
    keys: &[
        Annotation {
            key: "log-capture",
            haproxy: Some("request-capture"),
            scopes: Scopes::CI,
            syntax: "up to four lines: hdr(NAME), req.hdr(NAME), req.fhdr(NAME), cook(NAME), \
                     req.cook(NAME), method, path, query, url or src",
            default: "none",
            about: "Parts of requests that are logged. `hdr` is what stands after the last comma \
                    of the last header of the name, `req.fhdr` the last header whole. Other \
                    expressions are a Problem, since a tenant's may read what is not theirs.",
            example: "req.fhdr(User-Agent)",
            mechanism: Mechanism::Map,
            on_error: OnError::Default,
            apply: Apply::Route(capture),
        },
        Annotation {
            key: "log-capture-length",
            haproxy: Some("request-capture-len"),
            scopes: Scopes::CI,
            syntax: "whole number from 1 to 1024",
            default: "128",
            about: "Most characters that are kept of each captured part.",
            example: "64",
            mechanism: Mechanism::Map,
            on_error: OnError::Default,
            apply: Apply::Route(length),
        },
        option(
            "log-target",
            "syslog-server",
            "one target a line: address:IP, NAME, stdout or stderr, with port, facility, level, \
             minlevel, format and length, all separated by commas",
            "`--access-log`, else none",
            "Where HAProxy writes its log; comes before the flag. `stdout` is that of tidegate. A \
             name is resolved when HAProxy starts. HAProxy opens its targets at its start.",
            "address:127.0.0.1, port:514, facility:local0, level:info",
            target,
        ),
        option(
            "log-format",
            "log-format",
            "text with HAProxy's variables, on one line",
            "HAProxy's `option httplog`",
            "Form of the lines on HTTP requests (HAProxy's configuration manual, section 8.2.6). A \
             format that HAProxy refuses is left out and told. HAProxy reads it at its start.",
            "%ci %ft %b/%s %ST %B %hr %{+Q}r",
            format_http,
        ),
        option(
            "log-format-tcp",
            "log-format-tcp",
            "text with HAProxy's variables, on one line",
            "HAProxy's `option tcplog`",
            "Form of the lines on TCP connections. A format that HAProxy refuses is left out and \
             told. HAProxy reads it at its start.",
            "%ci %ft %b/%s %B %ts",
            format_tcp,
        ),
        option(
            "dontlognull",
            "dontlognull",
            "true or false",
            "true",
            "Whether connections that end without a request leave no line. HAProxy has it as an \
             option of the frontend, which is static.",
            "false",
            dontlognull,
        ),
        option(
            "logasap",
            "logasap",
            "true or false",
            "false",
            "Whether a line is written as soon as the answer begins, with a size and a time that \
             are not final. HAProxy has it as an option of the frontend, which is static.",
            "true",
            logasap,
        ),
    ],
    finish: None,
    finish_route: Some(finish),
    rules: &[Rule { at: Section::Request, when: always, text: RuleText::Lines(rules) }],
};

/// The options whose text only HAProxy can judge, with the key they come from. What it refuses is
/// found by a search among them.
pub const RISKY: [(&str, &str); 3] = [
    (TARGET_OPTION, "log-target"),
    (FORMAT_OPTION, "log-format"),
    (FORMAT_TCP_OPTION, "log-format-tcp"),
];

/// The arguments of the `log` directives.
#[must_use]
pub fn targets(skeleton: &Skeleton) -> Vec<String> {
    if let Some(lines) = skeleton.options.get(TARGET_OPTION) {
        return lines.lines().map(String::from).collect();
    }
    let target = &*skeleton.listen.log_target;
    let format = if target == "stdout" { " format raw" } else { "" };
    let some = (!target.is_empty()).then(|| format!("{target}{format} local0"));
    some.into_iter().collect()
}

/// Whether an option with a boolean has this value.
fn is(skeleton: &Skeleton, option: &str, value: &str) -> bool {
    skeleton.options.get(option).is_some_and(|v| **v == *value)
}

/// The lines of the frontends' defaults about logs.
#[must_use]
pub fn directives(skeleton: &Skeleton) -> Vec<String> {
    let mut lines = Vec::new();
    if !targets(skeleton).is_empty() {
        lines.push("log global".to_string());
        lines.push(match skeleton.options.get(FORMAT_OPTION) {
            Some(format) => format!("log-format {format}"),
            None => "option httplog".to_string(),
        });
    }
    if !is(skeleton, NULL_OPTION, "false") {
        lines.push("option dontlognull".to_string());
    }
    if is(skeleton, ASAP_OPTION, "true") {
        lines.push("option logasap".to_string());
    }
    lines
}

/// The directives of frontends of TCP.
#[must_use]
pub fn stream_directives(skeleton: &Skeleton) -> Vec<String> {
    let mut lines = Vec::new();
    if !targets(skeleton).is_empty() {
        lines.push("log global".to_string());
        lines.push(match skeleton.options.get(FORMAT_TCP_OPTION) {
            Some(format) => format!("log-format {format}"),
            None => "option tcplog".to_string(),
        });
    }
    if !is(skeleton, NULL_OPTION, "false") {
        lines.push("option dontlognull".to_string());
    }
    lines
}

/// The capture slots at the head of the frontend; none where nothing is logged.
#[must_use]
pub fn slots(skeleton: &Skeleton) -> Vec<String> {
    let count = if targets(skeleton).is_empty() { 0 } else { CAPTURES };
    (0..count).map(|_| format!("declare capture request len {SLOT_BYTES}")).collect()
}

/// The rules that fill the capture slots.
fn rules(skeleton: &Skeleton) -> Vec<String> {
    if targets(skeleton).is_empty() {
        return Vec::new();
    }
    let mut lines =
        Vec::from(["http-request set-var-fmt(txn.ct) \"%[method] %[src] %[url]\\n%[req.hdrs]\" \
         if {on:capture}"
            .to_string()]);
    for at in 1..=CAPTURES {
        let there = format!("{{ {{f:capture}},field({at},.) -m len 1: }}");
        lines.push(format!(
            "http-request set-var-fmt(txn.c1) \"%[{{f:capture}},field({at},.)]:%[var(txn.ct)]\" \
             if {{on:capture}} {there}"
        ));
        let slot = at - 1;
        lines.push(format!(
            "http-request capture var(txn.c1),map_regm(maps/hash-key.map) id {slot} \
             if {{on:capture}} {there}"
        ));
    }
    lines
}

fn capture(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() || lines.len() > CAPTURES {
        return Err(Refusal::new(
            format!("it names {} things to capture", lines.len()),
            format!("name between 1 and {CAPTURES}, one a line"),
        ));
    }
    for line in &lines {
        pattern(line, "0")?;
    }
    draft.values.insert("capture", lines.join("\n"));
    Ok(())
}

fn length(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    let length = value::integer(text, 1, u64::from(SLOT_BYTES))?;
    draft.values.insert("capture-length", length.to_string());
    Ok(())
}

fn finish(draft: &mut RouteDraft, _: &Capabilities) {
    let Some(lines) = draft.values.get("capture").cloned() else { return };
    let length = draft.values.get("capture-length").map_or("128", |n| n).to_string();
    let mut ids = Vec::new();
    for pattern in lines.lines().filter_map(|line| pattern(line, &length).ok()) {
        let id = Digest::of_parts([b"capture", pattern.as_bytes()]).short();
        draft.entry(MapId::HashKey, format!("^{id}:{pattern}"), "\\1");
        ids.push(id);
    }
    draft.set("capture", ids.join("."));
}

/// The regular expression that takes one thing out of `METHOD ADDRESS URL`, a line feed, and the
/// headers. In it stands neither a space nor a tab, as it is the key of a map.
fn pattern(expression: &str, length: &str) -> Result<String, Refusal> {
    let bad = || {
        Refusal::new(
            format!("{} is not among what can be captured", quoted(expression)),
            "use hdr(NAME), req.fhdr(NAME), cook(NAME), method, path, query, url or src",
        )
    };
    let (function, argument) = match expression.split_once('(') {
        Some((function, rest)) => (function, rest.strip_suffix(')').ok_or_else(bad)?.trim()),
        None => (expression, ""),
    };
    let end = format!("{{0,{length}}})");
    let header = |name: &str, inner: &str, class: &str| {
        format!("(?s:.*\\n)(?i:{name}):{inner}[\\x20\\t]*({class}{end}")
    };
    let name = || value::header_name(argument).map(|name| name.replace('.', "\\."));
    Ok(match (function, argument.is_empty()) {
        ("hdr" | "req.hdr", false) => header(&name()?, "(?:[^\\r\\n]*,)?", "[^\\r\\n,]"),
        ("fhdr" | "req.fhdr", false) => header(&name()?, "", "[^\\r\\n]"),
        ("cook" | "req.cook", false) => {
            let inner = format!("(?:[^\\r\\n]*;)?[\\x20\\t]*{}=", name()?);
            header("cookie", &inner, "[^;\\r\\n]")
        }
        ("method", true) => format!("([^\\x20\\n]{end}"),
        ("src", true) => format!("[^\\x20\\n]*\\x20([^\\x20\\n]{end}"),
        ("url" | "pathq", true) => format!("[^\\x20\\n]*\\x20[^\\x20\\n]*\\x20([^\\n]{end}"),
        ("path", true) => format!("[^\\x20\\n]*\\x20[^\\x20\\n]*\\x20([^?\\n]{end}"),
        ("query", true) => {
            format!("[^\\x20\\n]*\\x20[^\\x20\\n]*\\x20[^?\\n]*\\?([^\\n]{end}")
        }
        _ => return Err(bad()),
    })
}

fn target(text: &str) -> Result<(&'static str, String), Refusal> {
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        lines.push(one_target(line)?);
    }
    if lines.is_empty() || lines.len() > 8 {
        return Err(Refusal::new(
            format!("it names {} targets", lines.len()),
            "name between 1 and 8 targets, one a line",
        ));
    }
    Ok((TARGET_OPTION, lines.join("\n")))
}

/// One line of `log-target` as the arguments of HAProxy's `log`.
fn one_target(line: &str) -> Result<String, Refusal> {
    let bad = |what: &str, fix: &str| Refusal::new(format!("{} {what}", quoted(line)), fix);
    let (mut address, mut port, mut facility) = ("", None, "local0");
    let (mut format, mut length, mut level, mut least) = ("", None, "", "");
    for part in line.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (key, value) = part
            .split_once(':')
            .map(|(key, value)| (key.trim(), value.trim()))
            .ok_or_else(|| bad("is not a list of KEY:VALUE", "write address:IP, port:514"))?;
        let one_of = |known: &[&str]| {
            let found = known.contains(&value);
            found.then_some(value).ok_or_else(|| bad("has an unknown word", "see HAProxy's log"))
        };
        match key {
            "address" => address = value,
            "port" => port = Some(value::integer(value, 1, 65_535)?),
            "facility" => facility = one_of(&FACILITIES)?,
            "format" => format = one_of(&FORMATS)?,
            "length" => length = Some(value::integer(value, 80, 65_535)?),
            "level" => level = one_of(&LEVELS)?,
            "minlevel" => least = one_of(&LEVELS)?,
            _ => return Err(bad("has an unknown key", "use address, port, facility, level")),
        }
    }
    let is_stream = matches!(address, "stdout" | "stderr");
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-.".contains(&b);
    let is_path = |b: u8| is_name(b) || b"/_".contains(&b);
    let ip: Option<core::net::IpAddr> = address.parse().ok();
    let mut out = match ip {
        Some(ip) if ip.is_ipv6() => format!("ipv6@[{ip}]"),
        Some(ip) => format!("{ip}"),
        None if address.starts_with('/') && address.bytes().all(is_path) => address.into(),
        None if !address.is_empty() && address.bytes().all(is_name) => address.into(),
        None => return Err(bad("has no address", "write address:IP, a name, stdout or stderr")),
    };
    if !is_stream && !address.starts_with('/') {
        out.push_str(&format!(":{}", port.unwrap_or(514)));
    }
    if let Some(length) = length {
        out.push_str(&format!(" len {length}"));
    }
    match (format, is_stream) {
        ("", true) => out.push_str(" format raw"),
        ("", false) => {}
        (format, _) => out.push_str(&format!(" format {format}")),
    }
    out.push_str(&format!(" {facility}"));
    // A lowest level needs a highest one before it.
    let level = if level.is_empty() && !least.is_empty() { "debug" } else { level };
    for word in [level, least].into_iter().filter(|word| !word.is_empty()) {
        out.push_str(&format!(" {word}"));
    }
    Ok(out)
}

fn format_http(text: &str) -> Result<(&'static str, String), Refusal> {
    Ok((FORMAT_OPTION, encoded(text)?))
}

fn format_tcp(text: &str) -> Result<(&'static str, String), Refusal> {
    Ok((FORMAT_TCP_OPTION, encoded(text)?))
}

/// A format as one word of HAProxy's configuration: between single quotes nothing has a meaning
/// but they themselves (configuration manual, section 2.2).
fn encoded(text: &str) -> Result<String, Refusal> {
    let text = text.trim();
    let encoded = format!("'{}'", text.replace('\'', "'\\''"));
    if text.is_empty() || encoded.len() > 1_900 || text.chars().any(char::is_control) {
        return Err(Refusal::new(
            "the format is empty, longer than 1900 bytes, or has more than one line",
            "write the format on one line",
        ));
    }
    Ok(encoded)
}

fn dontlognull(text: &str) -> Result<(&'static str, String), Refusal> {
    Ok((NULL_OPTION, value::boolean(text)?.to_string()))
}

fn logasap(text: &str) -> Result<(&'static str, String), Refusal> {
    Ok((ASAP_OPTION, value::boolean(text)?.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_arguments_of_log() {
        for (text, wanted) in [
            ("address:127.0.0.1, port:514, facility:local0", "127.0.0.1:514 local0"),
            ("address:::1, port:5, level:info", "ipv6@[::1]:5 local0 info"),
            ("address:stdout, format:raw, facility:daemon", "stdout format raw daemon"),
            ("address:stdout", "stdout format raw local0"),
            ("address:/dev/log,minlevel:err", "/dev/log local0 debug err"),
            (
                "address:syslog.logging.svc, length:2048, format:rfc5424",
                "syslog.logging.svc:514 len 2048 format rfc5424 local0",
            ),
        ] {
            assert_eq!(one_target(text).unwrap(), wanted, "{text}");
        }
        for bad in [
            "",
            "127.0.0.1",
            "address:a b",
            "address:1.2.3.4, port:0",
            "address:x,to:y",
            "address:x, facility:local9",
            "port:514",
            "address:x\"",
            "address:$HOME",
        ] {
            assert!(one_target(bad).is_err(), "{bad}");
        }
        assert!(target("\n").is_err());
    }

    #[test]
    fn formats_are_one_word() {
        assert_eq!(encoded("%ci it's \"$HOME\" \\n\n").unwrap(), "'%ci it'\\''s \"$HOME\" \\n'");
        assert!(encoded("a\nb").is_err() && encoded(" ").is_err());
    }

    #[test]
    fn only_parts_of_the_request_are_captured() {
        for good in ["hdr(X-A)", "req.fhdr(user-agent)", "cook(a.b)", "path", "src"] {
            let pattern = pattern(good, "8").unwrap();
            assert!(!pattern.contains([' ', '\t', '\n']), "{pattern}");
        }
        for bad in ["env(SECRET)", "hdr()", "hdr(x", "path(1)", "hdr(a),lower", "var(txn.pol)"] {
            assert!(pattern(bad, "8").is_err(), "{bad}");
        }
    }
}
