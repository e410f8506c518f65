//! Scalars and one-line flow collections for the quick YAML reader: see [`super::block`].

use std::borrow::Cow;

use super::block::GiveUp;

/// Deepest nesting of flow collections that is read here.
const DEPTH_MAX: usize = 48;
/// Words in lower case that some YAML version takes for something else than text.
const SPECIAL: [&str; 12] =
    ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "inf", "nan", "infinity"];

/// A scalar by its YAML type.
#[derive(Debug, PartialEq)]
pub(super) enum Scalar<'t> {
    Null,
    Boolean(bool),
    Natural(u64),
    Negative(i64),
    Fraction(f64),
    Text(Cow<'t, str>),
}

/// A value written on one line.
#[derive(Debug, PartialEq)]
pub(super) enum Flow<'t> {
    Scalar(Scalar<'t>),
    List(Vec<Flow<'t>>),
    Map(Vec<(&'t str, Flow<'t>)>),
}

/// A plain scalar, without comment and surrounding spaces.
pub(super) fn plain(text: &str) -> Result<Scalar<'_>, GiveUp> {
    let first = *text.as_bytes().first().ok_or(GiveUp)?;
    if text.contains(": ") || text.ends_with(':') {
        return Err(GiveUp);
    }
    match first {
        b'a'..=b'z' | b'A'..=b'Z' | b'/' | b'_' | b'$' | b'(' => {}
        b'0'..=b'9' | b'-' => return number_like(text),
        b'~' if text.len() == 1 => return Ok(Scalar::Null),
        _ => return Err(GiveUp),
    }
    match text {
        "true" => return Ok(Scalar::Boolean(true)),
        "false" => return Ok(Scalar::Boolean(false)),
        "null" => return Ok(Scalar::Null),
        _ => {}
    }
    if text.len() <= 8 && SPECIAL.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return Err(GiveUp);
    }
    Ok(Scalar::Text(Cow::Borrowed(text)))
}

/// A plain scalar that starts with a digit or a dash: a number, or surely not one, or unclear.
fn number_like(text: &str) -> Result<Scalar<'_>, GiveUp> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let bare = |t: &str| is_digits(t) && t.len() <= 15 && (t.len() == 1 || !t.starts_with('0'));
    if !digits.as_bytes().first().is_some_and(u8::is_ascii_digit) {
        return Err(GiveUp);
    }
    if bare(digits) {
        return if digits.len() == text.len() {
            text.parse().map(Scalar::Natural).map_err(|_| GiveUp)
        } else {
            text.parse().map(Scalar::Negative).map_err(|_| GiveUp)
        };
    }
    if let Some((whole, fraction)) = digits.split_once('.')
        && bare(whole)
        && is_digits(fraction)
    {
        return text.parse().map(Scalar::Fraction).map_err(|_| GiveUp);
    }
    let prefixed = matches!(digits.as_bytes(), [b'0', b'x' | b'X' | b'o' | b'O' | b'b' | b'B', ..]);
    let no_number = |b: u8| !b.is_ascii_digit() && !b"eE+-._".contains(&b);
    let dots = digits.bytes().filter(|b| *b == b'.').count();
    if !prefixed && (digits.bytes().any(no_number) || dots > 1) {
        return Ok(Scalar::Text(Cow::Borrowed(text)));
    }
    Err(GiveUp)
}

/// The quoted scalar that starts here, and what follows on the line.
pub(super) fn quoted(text: &str) -> Result<(Cow<'_, str>, &str), GiveUp> {
    let inner = text.get(1..).ok_or(GiveUp)?;
    if text.starts_with('\'') {
        let (value, rest) = inner.split_once('\'').ok_or(GiveUp)?;
        if rest.starts_with('\'') {
            return Err(GiveUp);
        }
        return Ok((Cow::Borrowed(value), rest));
    }
    let end = inner.find(['"', '\\']).ok_or(GiveUp)?;
    if inner.as_bytes().get(end) == Some(&b'"') {
        let rest = inner.get(end + 1..).ok_or(GiveUp)?;
        return Ok((Cow::Borrowed(inner.get(..end).ok_or(GiveUp)?), rest));
    }
    let mut value = String::with_capacity(inner.len());
    let mut chars = inner.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok((Cow::Owned(value), inner.get(at + 1..).ok_or(GiveUp)?)),
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, 't')) => '\t',
                Some((_, same @ ('"' | '\\' | '/'))) => same,
                Some(_) | None => return Err(GiveUp),
            }),
            _ => value.push(char),
        }
    }
    Err(GiveUp)
}

/// The flow collection or scalar that starts here, and what follows on the line.
pub(super) fn flow(text: &str, depth: usize) -> Result<(Flow<'_>, &str), GiveUp> {
    if depth > DEPTH_MAX {
        return Err(GiveUp);
    }
    match text.as_bytes().first().ok_or(GiveUp)? {
        b'[' => flow_list(text.get(1..).ok_or(GiveUp)?, depth),
        b'{' => flow_map(text.get(1..).ok_or(GiveUp)?, depth),
        b'"' | b'\'' => {
            let (value, rest) = quoted(text)?;
            Ok((Flow::Scalar(Scalar::Text(value)), rest))
        }
        _ => {
            let end = text.find([',', '[', ']', '{', '}']).ok_or(GiveUp)?;
            let (value, rest) = text.split_at(end);
            let value = value.trim_end_matches(' ');
            if value.contains(" #") || value.contains(':') {
                return Err(GiveUp);
            }
            Ok((Flow::Scalar(plain(value)?), rest))
        }
    }
}

fn flow_list(mut text: &str, depth: usize) -> Result<(Flow<'_>, &str), GiveUp> {
    let mut list = Vec::new();
    loop {
        text = text.trim_start_matches(' ');
        if let Some(rest) = text.strip_prefix(']') {
            return Ok((Flow::List(list), rest));
        }
        let (value, rest) = flow(text, depth + 1)?;
        list.push(value);
        text = after_entry(rest, ']')?;
    }
}

fn flow_map(mut text: &str, depth: usize) -> Result<(Flow<'_>, &str), GiveUp> {
    let mut map: Vec<(&str, Flow<'_>)> = Vec::new();
    loop {
        text = text.trim_start_matches(' ');
        if let Some(rest) = text.strip_prefix('}') {
            return Ok((Flow::Map(map), rest));
        }
        let end = text.find(':').ok_or(GiveUp)?;
        let (key, rest) = text.split_at(end);
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_./-".contains(&b);
        let duplicate = map.iter().any(|(other, _)| *other == key);
        let starts_plain = key.as_bytes().first().is_some_and(u8::is_ascii_alphabetic);
        if !starts_plain || !key.bytes().all(is_plain) || duplicate {
            return Err(GiveUp);
        }
        let rest = rest.strip_prefix(": ").ok_or(GiveUp)?.trim_start_matches(' ');
        let (value, rest) = flow(rest, depth + 1)?;
        map.push((key, value));
        text = after_entry(rest, '}')?;
    }
}

/// What follows an entry: a comma is skipped, the closing bracket is left to be seen.
fn after_entry(rest: &str, close: char) -> Result<&str, GiveUp> {
    let rest = rest.trim_start_matches(' ');
    match rest.strip_prefix(',') {
        Some(next) => Ok(next),
        None if rest.starts_with(close) => Ok(rest),
        None => Err(GiveUp),
    }
}
