//! Path rewriting by regular expression, as entries of a map that is shared by all routes and
//! scoped by an id.

use alloc::format;
use alloc::string::String;

use super::value::quoted;
use super::{
    Annotation, Apply, Context, Family, Mechanism, OnError, Refusal, RouteDraft, Rule, RuleText,
    Scopes, Section, always,
};
use crate::action::MapId;
use crate::digest::Digest;

/// Policy fields, one per line of the value.
const STEPS: [&str; 4] = ["rewrite", "rewrite-2", "rewrite-3", "rewrite-4"];

/// The family.
pub const FAMILY: Family = Family {
    title: "Path rewriting",
    about: "What path the pods see. The query is kept. Routing and access rules always look at the \
            path the client sent.",
    fields: &STEPS,
    keys: &[Annotation {
        key: "path-rewrite",
        haproxy: Some("path-rewrite"),
        scopes: Scopes::CI,
        syntax: "up to four lines: a PATH, or REGEX REPLACEMENT (\\1 to \\9 for groups)",
        default: "none",
        about: "A line with one word replaces the whole path. A line with two replaces the whole \
                path by the replacement when the regular expression (PCRE2) matches somewhere in \
                it. Lines apply one after another. Each distinct expression costs every rewritten \
                request about 0.3 µs.",
        example: "^/api/(.*) /v2/\\1",
        mechanism: Mechanism::Map,
        on_error: OnError::Default,
        apply: Apply::Route(rewrite),
    }],
    finish: None,
    finish_route: None,
    rules: &[
        compute(
            "http-request set-var-fmt(txn.rw) \"%[{f:rewrite}]:%[var(txn.path)]\" if {on:rewrite}",
        ),
        compute(
            "http-request set-var(txn.np) var(txn.rw),map_regm(maps/rewrite.map) if {on:rewrite}",
        ),
        compute("http-request set-path %[var(txn.np)] if {on:rewrite} { var(txn.np) -m beg / }"),
    ],
};

/// The rules of the second to fourth step, which few routes have.
pub(super) const FURTHER: &[Rule] = &[
    compute("http-request unset-var(txn.np) if {on:rewrite-2}"),
    compute("http-request set-var-fmt(txn.rw) \"%[{f:rewrite-2}]:%[path]\" if {on:rewrite-2}"),
    compute(
        "http-request set-var(txn.np) var(txn.rw),map_regm(maps/rewrite.map) if {on:rewrite-2}",
    ),
    compute("http-request set-path %[var(txn.np)] if {on:rewrite-2} { var(txn.np) -m beg / }"),
    compute("http-request unset-var(txn.np) if {on:rewrite-3}"),
    compute("http-request set-var-fmt(txn.rw) \"%[{f:rewrite-3}]:%[path]\" if {on:rewrite-3}"),
    compute(
        "http-request set-var(txn.np) var(txn.rw),map_regm(maps/rewrite.map) if {on:rewrite-3}",
    ),
    compute("http-request set-path %[var(txn.np)] if {on:rewrite-3} { var(txn.np) -m beg / }"),
    compute("http-request unset-var(txn.np) if {on:rewrite-4}"),
    compute("http-request set-var-fmt(txn.rw) \"%[{f:rewrite-4}]:%[path]\" if {on:rewrite-4}"),
    compute(
        "http-request set-var(txn.np) var(txn.rw),map_regm(maps/rewrite.map) if {on:rewrite-4}",
    ),
    compute("http-request set-path %[var(txn.np)] if {on:rewrite-4} { var(txn.np) -m beg / }"),
];

const fn compute(text: &'static str) -> Rule {
    Rule { at: Section::Backend, when: always, text: RuleText::Line(text) }
}

fn rewrite(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    if lines().count() == 0 || lines().count() > STEPS.len() {
        return Err(Refusal::new(
            format!("it has {} lines", lines().count()),
            format!("write one to {} lines", STEPS.len()),
        ));
    }
    let mut parsed = alloc::vec::Vec::new();
    for line in lines() {
        let mut words = line.split_ascii_whitespace();
        let (regex, replacement) = match (words.next(), words.next(), words.next()) {
            (Some(path), None, _) => (".*", path),
            (Some(regex), Some(replacement), None) => (regex, replacement),
            _ => {
                return Err(Refusal::new(
                    format!("{} has more than two words", quoted(line)),
                    "write a path, or a regular expression and a replacement; \\x20 is a space",
                ));
            }
        };
        check_regex(regex)?;
        check_replacement(replacement)?;
        parsed.push((regex, replacement));
    }
    for (step, (regex, replacement)) in STEPS.iter().zip(parsed) {
        let id = Digest::of_parts([regex.as_bytes(), replacement.as_bytes()]).short();
        draft.entry(MapId::Rewrite, scoped(regex, &id), replacement);
        draft.set(step, id);
    }
    Ok(())
}

/// The expression over `id:path` that matches as the user's does over the path alone.
pub(super) fn scoped(regex: &str, id: &str) -> String {
    let mut out = format!("^{id}:(?s:.*?)(?:");
    let (mut escaped, mut class) = (false, false);
    for c in regex.chars() {
        match c {
            '^' if !escaped && !class => {
                out.push_str(&format!("(?<=^{id}:)"));
                continue;
            }
            '[' if !escaped => class = true,
            ']' if !escaped => class = false,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        out.push(c);
    }
    out.push(')');
    out
}

/// Refuses what HAProxy's engine would refuse or could run away with, as far as that can be seen
/// from outside. HAProxy's own verdict comes last: what it refuses is quarantined.
pub(super) fn check_regex(regex: &str) -> Result<(), Refusal> {
    let refuse = |why: &str| {
        Err(Refusal::new(
            format!("the regular expression {} {why}", quoted(regex)),
            "write a PCRE2 expression of visible ASCII characters, at most 512 of them",
        ))
    };
    if regex.len() > 512 || !regex.bytes().all(|b| b.is_ascii_graphic()) {
        return refuse("is too long or has characters outside visible ASCII");
    }
    let mut depth = 0_u32;
    let mut class = false;
    let mut repeatable = false;
    let mut chars = regex.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                None => return refuse("ends with a backslash"),
                Some('Q' | 'E' | 'K' | 'C' | 'G' | 'g' | 'k') => {
                    return refuse("uses an escape that could leave its scope");
                }
                Some(_) => repeatable = true,
            },
            ']' if class => (class, repeatable) = (false, true),
            _ if class => {}
            '[' => {
                class = true;
                if chars.peek() == Some(&'^') {
                    chars.next();
                }
                if chars.peek() == Some(&']') {
                    chars.next();
                }
            }
            '(' => {
                depth += 1;
                repeatable = false;
                if chars.peek() == Some(&'?') {
                    chars.next();
                    match chars.next() {
                        Some(':' | '=' | '!' | '>') => {}
                        _ => return refuse("uses a group other than (?:, (?=, (?! or (?>"),
                    }
                } else if chars.peek() == Some(&'*') {
                    return refuse("uses a control verb");
                }
            }
            ')' if depth == 0 => return refuse("closes a group that is not open"),
            ')' => (depth, repeatable) = (depth - 1, true),
            '*' | '+' | '?' if !repeatable => return refuse("repeats nothing"),
            '*' | '+' | '?' => {
                repeatable = false;
                if matches!(chars.peek(), Some('?' | '+')) {
                    chars.next();
                }
            }
            '|' | '^' => repeatable = false,
            _ => repeatable = true,
        }
    }
    if class || depth != 0 {
        return refuse("has a group or class that is not closed");
    }
    Ok(())
}

fn check_replacement(text: &str) -> Result<(), Refusal> {
    let mut valid = text.starts_with(['/', '\\'])
        && text.len() <= 1024
        && text.bytes().all(|b| b.is_ascii_graphic());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            valid &= chars.next().is_some_and(|d| d.is_ascii_digit());
        }
    }
    valid &= !text.contains(['#', '?']);
    if valid {
        return Ok(());
    }
    Err(Refusal::new(
        format!("{} cannot be a path", quoted(text)),
        "begin it with /, and use \\1 to \\9 for groups; the query is kept by itself",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_keep_their_meaning() {
        assert_eq!(scoped("^/a|[^/]b", "i"), "^i:(?s:.*?)(?:(?<=^i:)/a|[^/]b)");
        assert_eq!(scoped("\\^x", "i"), "^i:(?s:.*?)(?:\\^x)");
    }

    #[test]
    fn expressions_that_cannot_work_are_refused() {
        for good in ["^/a(.*)$", "/(x|y)+/z", "[]a]", "a{1,3}", "(?:a)b*?", "\\d+"] {
            assert!(check_regex(good).is_ok(), "{good}");
        }
        for bad in ["(", ")", "[a", "*a", "a\\", "(?R)", "(*UTF)", "a)(", "\\Qa", "a b", "(|*)"] {
            assert!(check_regex(bad).is_err(), "{bad}");
        }
        assert!(check_replacement("/a/\\1").is_ok());
        for bad in ["a", "/a b", "/a?b", "/a\\", "/\\x", "/#"] {
            assert!(check_replacement(bad).is_err(), "{bad}");
        }
    }
}
