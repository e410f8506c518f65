//! Manifests with other keys: every byte that need not change stays.
//!
//! Inputs: the text of a file, its objects, what is to be done about each key. Outputs: the new
//! text. Lines of YAML keep their comments, order and quotes; a map with braces (JSON) that changes
//! keeps its order. Not here: decisions.

use std::ops::Range;

use super::object::{CLASS, Found};
use super::row::{Deed, Place, Row};
use super::tree::{Kind, Map, Node};

/// One change of a text.
type Edit = (Range<usize>, String);

/// The text of a file after the deeds of the rows of its objects, and with the class that an
/// object is to have.
pub(super) fn rewrite(text: &str, objects: &[(&Found, Vec<&Row>, Option<&str>)]) -> String {
    let mut edits: Vec<Edit> = Vec::new();
    for (object, rows, class) in objects {
        let of = |place: Place| rows.iter().filter(move |row| row.place == place).copied();
        let added: Vec<(String, String)> = of(Place::Implied)
            .filter_map(|row| match &row.deed {
                Deed::Write(pairs) => Some(pairs.clone()),
                Deed::Keep | Deed::Comment => None,
            })
            .flatten()
            .collect();
        match object.annotations().filter(|map| !map.entries.is_empty()) {
            Some(map) => {
                let rows: Vec<&Row> = of(Place::Annotation).collect();
                edit_map(text, map, &rows, added, *class, &mut edits);
            }
            None if added.is_empty() => {}
            None => edits.extend(new_annotations(text, object, &added)),
        }
        if let Some(map) = object.data() {
            let rows: Vec<&Row> = of(Place::Data).collect();
            edit_map(text, map, &rows, Vec::new(), None, &mut edits);
        }
        if let Some(class) = class {
            edits.extend(name_class(text, object, class));
        }
    }
    apply(text, edits)
}

/// Applies changes that do not overlap; of those that do, the first in the text counts.
fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    let mut out = String::with_capacity(text.len() + 256);
    let mut done = 0;
    for (range, new) in edits {
        if range.start < done {
            continue;
        }
        out.push_str(text.get(done..range.start).unwrap_or_default());
        out.push_str(&new);
        done = range.end.max(range.start);
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

fn edit_map(
    text: &str,
    map: &Map,
    rows: &[&Row],
    added: Vec<(String, String)>,
    class: Option<&str>,
    edits: &mut Vec<Edit>,
) {
    let row_of = |key: &Node| rows.iter().find(|row| key.text() == Some(&*row.key)).copied();
    if map.flow {
        if !added.is_empty() || rows.iter().any(|row| row.deed != Deed::Keep) {
            edits.extend(flow_map(text, map, &row_of, &added, class));
        }
        return;
    }
    let Some((first, _)) = map.entries.first() else { return };
    let indent = indent_of(text, first.span.start);
    if !added.is_empty() {
        let lines: String =
            added.iter().map(|(k, v)| format!("{k}: {}\n{indent}", quoted(v))).collect();
        edits.push((first.span.start..first.span.start, lines));
    }
    for (key, value) in &map.entries {
        let Some(row) = row_of(key) else { continue };
        match &row.deed {
            Deed::Keep => {}
            Deed::Write(pairs) => edits.extend(block_entry(text, key, value, pairs, &indent)),
            Deed::Comment => edits.extend(comment(text, key, value, row)),
        }
    }
}

/// A key and its value in lines of YAML become other keys and values.
fn block_entry(
    text: &str,
    key: &Node,
    value: &Node,
    pairs: &[(String, String)],
    indent: &str,
) -> Vec<Edit> {
    let Some(((name, new), rest)) = pairs.split_first() else { return Vec::new() };
    let mut edits = vec![(key.span.clone(), like(text, key, name))];
    if value.text() != Some(new.as_str()) {
        // From the colon on, as a block starts after its indicator.
        let colon = text.get(key.span.end..).and_then(|rest| rest.find(':'));
        let from = colon.map_or(value.span.start, |colon| key.span.end + colon + 1);
        edits.push((from..value.span.end.max(from), format!(" {}", block(new, indent))));
    }
    let rest: String = rest.iter().map(|(k, v)| format!("\n{indent}{k}: {}", quoted(v))).collect();
    if !rest.is_empty() {
        let end = line_end(text, value.span.end.max(key.span.end));
        edits.push((end..end, rest));
    }
    edits
}

/// Every line of an entry becomes a comment, with the reason before it.
fn comment(text: &str, key: &Node, value: &Node, row: &Row) -> Vec<Edit> {
    let start = line_start(text, key.span.start);
    let end = line_end(text, value.span.end.max(key.span.end));
    let indent = indent_of(text, key.span.start);
    let reasons = [row.flag.unwrap_or_default(), &*row.remark];
    let reasons = reasons.into_iter().filter(|reason| !reason.is_empty());
    let why: String = reasons.map(|reason| format!(": {reason}")).collect();
    let mut new = format!("{indent}# {}{why}\n", row.verdict);
    for (n, line) in text.get(start..end).unwrap_or_default().lines().enumerate() {
        let rest = line.strip_prefix(&indent).unwrap_or(line);
        new.push_str(if n == 0 { "" } else { "\n" });
        new.push_str(&format!("{indent}# {rest}"));
    }
    vec![(start..end, new)]
}

/// A map with braces, written anew between its first key and its last value.
fn flow_map<'r>(
    text: &str,
    map: &Map,
    row_of: &dyn Fn(&Node) -> Option<&'r Row>,
    added: &[(String, String)],
    class: Option<&str>,
) -> Option<Edit> {
    let (first, last) = (map.entries.first()?, map.entries.last()?);
    // What stands between two entries, so that lines stay lines.
    let between = map.entries.get(1).and_then(|(key, _)| {
        text.get(first.1.span.end..key.span.start).filter(|text| text.trim() == ",")
    });
    let mut parts: Vec<String> = Vec::new();
    let pair = |(key, value): &(String, String)| format!("{}: {}", quoted(key), quoted(value));
    parts.extend(added.iter().map(pair));
    for (key, value) in &map.entries {
        let old = || text.get(key.span.start..value.span.end).unwrap_or_default().to_owned();
        match (row_of(key).map(|row| &row.deed), class) {
            (None, Some(class)) if key.text() == Some(CLASS) => {
                parts.push(pair(&(CLASS.to_owned(), class.to_owned())));
            }
            (None | Some(Deed::Keep), _) => parts.push(old()),
            (Some(Deed::Write(pairs)), _) => parts.extend(pairs.iter().map(pair)),
            (Some(Deed::Comment), _) => {}
        }
    }
    Some((first.0.span.start..last.1.span.end, parts.join(between.unwrap_or(", "))))
}

/// Annotations for an object that has none.
fn new_annotations(text: &str, object: &Found, added: &[(String, String)]) -> Option<Edit> {
    let metadata = object.node.at(&["metadata"])?.map()?;
    let (first, _) = metadata.entries.iter().find(|(key, _)| key.text() != Some("annotations"))?;
    if object.node.at(&["metadata", "annotations"]).is_some() {
        return None;
    }
    let at = first.span.start;
    let new = if metadata.flow {
        let pairs = added.iter().map(|(k, v)| format!("{}: {}", quoted(k), quoted(v)));
        format!("\"annotations\": {{{}}}, ", pairs.collect::<Vec<_>>().join(", "))
    } else {
        let indent = indent_of(text, at);
        let pairs = added.iter().map(|(k, v)| format!("\n{indent}  {k}: {}", quoted(v)));
        format!("annotations:{}\n{indent}", pairs.collect::<String>())
    };
    Some((at..at, new))
}

/// The class, where one is written, or as a first field of `spec`.
fn name_class(text: &str, object: &Found, class: &str) -> Vec<Edit> {
    let places = object.class_places();
    if !places.is_empty() {
        // JSON knows no text without quotes.
        let is_quoted = |place: &Range<usize>| {
            text.get(place.clone()).is_some_and(|written| written.starts_with('"'))
        };
        let new = |place| if is_quoted(&place) { quoted(class) } else { quoted_if_needed(class) };
        return places.into_iter().map(|place| (place.clone(), new(place))).collect();
    }
    let spec = object.node.at(&["spec"]).and_then(Node::map);
    let Some((first, _)) = spec.and_then(|spec| spec.entries.first()) else { return Vec::new() };
    let at = first.span.start;
    let new = if spec.is_some_and(|spec| spec.flow) {
        format!("\"ingressClassName\": {}, ", quoted(class))
    } else {
        format!("ingressClassName: {}\n{}", quoted_if_needed(class), indent_of(text, at))
    };
    vec![(at..at, new)]
}

/// A key in the style of the one it replaces.
fn like(text: &str, key: &Node, name: &str) -> String {
    match (&key.kind, text.get(key.span.start..).and_then(|text| text.chars().next())) {
        (Kind::Scalar(_, true), Some('\'')) => format!("'{name}'"),
        (Kind::Scalar(_, true), _) => quoted(name),
        _ => name.to_owned(),
    }
}

fn quoted_if_needed(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(plain);
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    if word && !reserved.contains(&&*text.to_ascii_lowercase()) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// Text in double quotes, which JSON and YAML read alike.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A value in lines of YAML: several lines as a block, if they can be one.
fn block(value: &str, indent: &str) -> String {
    let plain = |line: &str| !line.is_empty() && !line.starts_with([' ', '\t']);
    let printable = !value.chars().any(|c| c.is_control() && c != '\n');
    let body = value.strip_suffix('\n').unwrap_or(value);
    if !body.contains('\n') || !printable || !body.lines().all(plain) {
        return quoted(value);
    }
    let keep = if body.len() == value.len() { "|-" } else { "|" };
    let lines: String = body.lines().map(|line| format!("\n{indent}  {line}")).collect();
    format!("{keep}{lines}")
}

fn line_start(text: &str, at: usize) -> usize {
    text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1)
}

fn line_end(text: &str, at: usize) -> usize {
    let end = text.get(at..).and_then(|after| after.find('\n')).map_or(text.len(), |n| at + n);
    // A carriage return belongs to the end of the line.
    if end > at && text.as_bytes().get(end - 1) == Some(&b'\r') { end - 1 } else { end }
}

/// Blanks before a key, as many columns as it is in: also where a list's dash stands before it.
fn indent_of(text: &str, at: usize) -> String {
    let before = text.get(line_start(text, at)..at).unwrap_or_default();
    before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect()
}
