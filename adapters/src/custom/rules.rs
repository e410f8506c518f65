//! Fields that are said as a whole: lists of rules, algorithms, requests of checks.
//!
//! Rules about headers with a literal value and without a condition have keys; any other is left. A
//! rule that is not known to let everything through counts as one that protects.

use std::collections::BTreeMap;

use tidegate_core::annotations::dialect::{Carry, Entry, Target};

use super::{Field, Outcome, Tree};

/// Rules that keep no request from a pod, and no answer from a client.
const HARMLESS: [&str; 25] = [
    "add-header",
    "cache-store",
    "cache-use",
    "capture",
    "del-header",
    "do-resolve",
    "early-hint",
    "replace-header",
    "replace-path",
    "replace-pathq",
    "replace-uri",
    "replace-value",
    "redirect",
    "set-header",
    "set-log-level",
    "set-nice",
    "set-path",
    "set-pathq",
    "set-query",
    "set-timeout",
    "set-tos",
    "set-uri",
    "set-var",
    "set-var-fmt",
    "unset-var",
];

/// The fields of a value with a line about all of it.
pub(super) fn fields(
    entry: &Entry,
    path: &str,
    place: &str,
    value: &Tree,
    fields: &mut Vec<Field>,
) {
    let one = |path: String, place: String, protects: bool, outcome: Outcome| Field {
        path,
        place,
        entry: Some(*entry),
        protects,
        outcome,
    };
    let side = match entry.carry {
        Carry::RequestRules => "request",
        Carry::ResponseRules => "response",
        Carry::CheckRequest => {
            let method = value.text("method");
            let method = if method.is_empty() { "OPTIONS" } else { method };
            let uri = Some(value.text("uri")).filter(|uri| !uri.is_empty()).unwrap_or("/");
            let request = format!("{method} {uri}");
            fields.push(one(path.into(), place.into(), entry.protects, key(entry, request)));
            return;
        }
        _ => {
            let algorithm = key(entry, algorithm(value));
            fields.push(one(path.into(), place.into(), entry.protects, algorithm));
            return;
        }
    };
    let Tree::List(rules) = value else {
        let left = Outcome::Left(String::new());
        fields.push(one(path.into(), place.into(), entry.protects, left));
        return;
    };
    let mut keys: BTreeMap<String, String> = BTreeMap::new();
    let mut left = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        match header(side, rule) {
            Ok((key, line)) => {
                let lines = keys.entry(key).or_default();
                if !lines.is_empty() {
                    lines.push('\n');
                }
                lines.push_str(&line);
            }
            Err(why) => {
                let protects = entry.protects && !HARMLESS.contains(&rule.text("type"));
                let (path, place) = (format!("{path}[{at}]"), format!("{place}[{at}]"));
                left.push(one(path, place, protects, Outcome::Left(why)));
            }
        }
    }
    if !keys.is_empty() {
        let said = Outcome::Keys(keys.into_iter().collect());
        fields.push(one(path.into(), place.into(), entry.protects, said));
    }
    fields.extend(left);
}

fn key(entry: &Entry, value: String) -> Outcome {
    match entry.target {
        Target::Key(key) => Outcome::Keys(vec![(key.to_owned(), value)]),
        Target::Nothing | Target::Flag(_) => Outcome::Left(String::new()),
    }
}

/// `balance` as the key writes it.
fn algorithm(balance: &Tree) -> String {
    let name = balance.text("algorithm");
    let argument = match name {
        "hdr" => balance.text("hdr_name"),
        "url_param" => balance.text("url_param"),
        "hash" => balance.text("hash_expression"),
        "rdp-cookie" => balance.text("rdp_cookie_name"),
        _ => "",
    };
    if argument.is_empty() { name.to_owned() } else { format!("{name}({argument})") }
}

/// The key and the line that say the same as a rule, or why none does.
fn header(side: &str, rule: &Tree) -> Result<(String, String), String> {
    let kind = rule.text("type");
    let verb = match kind {
        "set-header" => "set",
        "add-header" => "add",
        "del-header" => "remove",
        _ => return Err(format!("a rule of type `{kind}`")),
    };
    if !rule.text("cond").is_empty() || !rule.text("cond_test").is_empty() {
        return Err(format!("`{kind}` with a condition"));
    }
    if !matches!(rule.text("hdr_method"), "" | "str") {
        return Err(format!("`{kind}` of names that match"));
    }
    let key = format!("{side}-{verb}-header");
    let name = rule.text("hdr_name");
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(format!("`{kind}` without the name of a header"));
    }
    if verb == "remove" {
        return Ok((key, name.to_owned()));
    }
    let value = literal(rule.text("hdr_format"))
        .ok_or_else(|| format!("`{kind}` with a value that is no literal"))?;
    Ok((key, format!("{name} {value}")))
}

/// The text that a format of HAProxy's stands for, if it is always the same: quotes and backslashes
/// as its configuration reads them.
fn literal(format: &str) -> Option<String> {
    let (mut text, mut characters, mut quote) = (String::new(), format.trim().chars(), None);
    while let Some(c) = characters.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => text.push(characters.next()?),
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('%', _) if characters.next() == Some('%') => text.push('%'),
            ('%' | '\n' | '\r', _) => return None,
            // An argument of its own, which HAProxy does not take.
            (' ' | '\t', None) => return None,
            ('$', Some('"')) => return None,
            (c, _) => text.push(c),
        }
    }
    (quote.is_none() && !text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn literals_are_what_haproxy_would_send() {
        for (format, text) in [
            ("nosniff", "nosniff"),
            ("\"max-age=1; x\"", "max-age=1; x"),
            ("no\\ store", "no store"),
            ("'a b'", "a b"),
            ("100%%", "100%"),
            ("\"a \\\"b\\\"\"", "a \"b\""),
        ] {
            assert_eq!(literal(format).as_deref(), Some(text), "{format}");
        }
        for format in ["%[src]", "%ci", "a b", "", "\"open", "a\nb", "\"$HOME\""] {
            assert_eq!(literal(format), None, "{format}");
        }
    }
}
