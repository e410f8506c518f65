//! A quick reader for the YAML that manifests are mostly written in: block mappings and lists,
//! scalars on one line, flow collections on one line, literal blocks. It reads what it is sure
//! about exactly as serde-saphyr does, some twenty times faster, and gives up ([`GiveUp`]) on all
//! the rest: anchors, tags, folded text, scalars over several lines, unusual keys and numbers,
//! duplicate keys, anything wrong. The caller then asks serde-saphyr, whose answer and error
//! messages count.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::scalar::{Flow, Scalar, flow, plain, quoted};

/// Deepest nesting that is read here.
const DEPTH_MAX: usize = 48;
/// Most keys of one mapping that are checked for duplicates here.
const KEYS_MAX: usize = 256;

/// The document needs the full reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GiveUp;

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not simple YAML")
    }
}

impl std::error::Error for GiveUp {}

impl de::Error for GiveUp {
    fn custom<T: fmt::Display>(_: T) -> GiveUp {
        GiveUp
    }
}

/// Reads one document.
///
/// # Errors
/// [`GiveUp`], which says nothing about the document.
pub(super) fn from_str<'de, S: DeserializeSeed<'de>>(
    text: &'de str,
    seed: S,
) -> Result<S::Value, GiveUp> {
    let unusual = |byte: &u8| (*byte < 0x20 && *byte != b'\n') || *byte == 0x7f;
    if text.as_bytes().iter().any(unusual) || text.starts_with('\u{feff}') {
        return Err(GiveUp);
    }
    let mut cursor = Cursor::new(text);
    cursor.skip_start_marker()?;
    if cursor.line.is_none() {
        return Err(GiveUp);
    }
    let value = seed.deserialize(Block { cursor: &mut cursor, parent: -1, depth: 0 })?;
    if cursor.line.is_some() {
        return Err(GiveUp);
    }
    Ok(value)
}

/// Where we are: at some content of a line, whose column counts as its indentation.
struct Cursor<'t> {
    text: &'t str,
    /// Offset of the first line that has not been looked at.
    next: usize,
    line: Option<Content<'t>>,
}

/// The rest of a line that has some content.
#[derive(Clone, Copy)]
struct Content<'t> {
    /// Column of the first byte.
    indent: i32,
    /// Up to the end of the line, without trailing spaces; never empty.
    text: &'t str,
}

impl<'t> Cursor<'t> {
    fn new(text: &'t str) -> Cursor<'t> {
        let mut cursor = Cursor { text, next: 0, line: None };
        cursor.advance();
        cursor
    }

    fn raw_line(&mut self) -> Option<&'t str> {
        let rest = self.text.get(self.next..).filter(|rest| !rest.is_empty())?;
        let line = rest.split_once('\n').map_or(rest, |(line, _)| line);
        self.next += line.len() + 1;
        Some(line)
    }

    /// Goes to the next line with content.
    fn advance(&mut self) {
        while let Some(line) = self.raw_line() {
            let text = line.trim_start_matches(' ');
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let indent = i32::try_from(line.len() - text.len()).unwrap_or(i32::MAX);
            self.line = Some(Content { indent, text: text.trim_end_matches(' ') });
            return;
        }
        self.line = None;
    }

    fn skip_start_marker(&mut self) -> Result<(), GiveUp> {
        let Some(Content { indent: 0, text }) = self.line else { return Ok(()) };
        if let Some(rest) = text.strip_prefix("---") {
            if !is_comment_or_empty(rest) {
                return Err(GiveUp);
            }
            self.advance();
        }
        match self.line {
            Some(Content { text, .. }) if text.starts_with(['%', '.']) => Err(GiveUp),
            Some(_) | None => Ok(()),
        }
    }

    /// Goes on within the line, after `skip` bytes and the spaces that follow.
    fn advance_in_line(&mut self, content: Content<'t>, skip: usize) {
        let rest = content.text.get(skip..).unwrap_or_default();
        let text = rest.trim_start_matches(' ');
        let used = i32::try_from(content.text.len() - text.len()).unwrap_or(i32::MAX);
        if text.is_empty() || text.starts_with('#') {
            self.advance();
        } else {
            self.line = Some(Content { indent: content.indent.saturating_add(used), text });
        }
    }

    /// A value that was on one line has ended: what follows must not be a continuation of it.
    fn end_value(&mut self, parent: i32) -> Result<(), GiveUp> {
        self.advance();
        match self.line {
            Some(Content { indent, .. }) if indent > parent => Err(GiveUp),
            Some(_) | None => Ok(()),
        }
    }

    /// The text of a literal block whose header has been found on the present line.
    fn literal(&mut self, header: &str, parent: i32) -> Result<String, GiveUp> {
        let strip = match header.split(" #").next().map(|h| h.trim_end_matches(' ')) {
            Some("|") => false,
            Some("|-") => true,
            Some(_) | None => return Err(GiveUp),
        };
        let mut out = String::new();
        let mut indent = None;
        loop {
            let before = self.next;
            let Some(line) = self.raw_line() else { break };
            let spaces = line.len() - line.trim_start_matches(' ').len();
            if spaces == line.len() {
                // Spaces beyond the indentation would be content.
                if spaces > indent.unwrap_or(0) {
                    return Err(GiveUp);
                }
                out.push('\n');
                continue;
            }
            let block = *indent.get_or_insert(spaces);
            if i32::try_from(spaces).unwrap_or(i32::MAX) <= parent || spaces < block {
                self.next = before;
                break;
            }
            out.push_str(line.get(block..).ok_or(GiveUp)?);
            out.push('\n');
        }
        out.truncate(out.trim_end_matches('\n').len());
        if out.is_empty() {
            return Err(GiveUp);
        }
        if !strip {
            out.push('\n');
        }
        Ok(out)
    }
}

pub(super) fn is_comment_or_empty(rest: &str) -> bool {
    let text = rest.trim_start_matches(' ');
    text.is_empty() || (text.starts_with('#') && text.len() < rest.len())
}

/// Whether a list item starts here.
fn is_item(text: &str) -> bool {
    text == "-" || text.starts_with("- ")
}

/// The key that starts here, and the offset after its colon. `None`: no key.
fn key_of(text: &str) -> Option<(&str, usize)> {
    let bytes = text.as_bytes();
    let (key, colon) = match bytes.first()? {
        quote @ (b'"' | b'\'') => {
            let inner = text.get(1..)?;
            let end = inner.find(*quote as char)?;
            let key = inner.get(..end)?;
            if key.contains('\\') {
                return None;
            }
            (key, end + 2)
        }
        _ => {
            let is_plain =
                |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'/' | b'-');
            let end = bytes.iter().position(|b| !is_plain(b))?;
            (text.get(..end)?, end)
        }
    };
    let ends = matches!(bytes.get(colon + 1), None | Some(b' '));
    (bytes.get(colon) == Some(&b':') && ends && !key.is_empty()).then_some((key, colon + 1))
}

/// A node in block context.
struct Block<'a, 't> {
    cursor: &'a mut Cursor<'t>,
    /// Indentation of the collection it is in.
    parent: i32,
    depth: usize,
}

impl<'de> Deserializer<'de> for Block<'_, 'de> {
    type Error = GiveUp;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GiveUp> {
        let content = self.cursor.line.ok_or(GiveUp)?;
        let Content { indent, text } = content;
        if self.depth > DEPTH_MAX {
            return Err(GiveUp);
        }
        let Block { cursor, parent, depth } = self;
        if is_item(text) {
            return visitor.visit_seq(Sequence { cursor, indent, depth });
        }
        if key_of(text).is_some() {
            let (keys, value) = (Vec::new(), None);
            return visitor.visit_map(Mapping { cursor, indent, depth, keys, value });
        }
        if text.starts_with('|') {
            let literal = cursor.literal(text, parent)?;
            cursor.advance();
            return visitor.visit_string(literal);
        }
        if text.starts_with(['[', '{']) {
            let (value, rest) = flow(text, depth)?;
            if !is_comment_or_empty(rest) {
                return Err(GiveUp);
            }
            cursor.end_value(parent)?;
            return FlowNode(value).deserialize_any(visitor);
        }
        let scalar = if text.starts_with(['"', '\'']) {
            let (value, rest) = quoted(text)?;
            if !is_comment_or_empty(rest) {
                return Err(GiveUp);
            }
            Scalar::Text(value)
        } else {
            let text = text.split_once(" #").map_or(text, |(text, _)| text);
            plain(text.trim_end_matches(' '))?
        };
        cursor.end_value(parent)?;
        scalar.visit(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct newtype_struct seq tuple tuple_struct map struct enum
        identifier ignored_any
    }
}

struct Sequence<'a, 't> {
    cursor: &'a mut Cursor<'t>,
    indent: i32,
    depth: usize,
}

impl<'t> SeqAccess<'t> for Sequence<'_, 't> {
    type Error = GiveUp;

    fn next_element_seed<T: DeserializeSeed<'t>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, GiveUp> {
        let Some(content) = self.cursor.line else { return Ok(None) };
        if content.indent < self.indent || (content.indent == self.indent && !is_item(content.text))
        {
            return Ok(None);
        }
        if content.indent > self.indent {
            return Err(GiveUp);
        }
        self.cursor.advance_in_line(content, 1);
        match self.cursor.line {
            Some(Content { indent, .. }) if indent > self.indent => {
                let (parent, depth) = (self.indent, self.depth + 1);
                seed.deserialize(Block { cursor: self.cursor, parent, depth }).map(Some)
            }
            Some(_) | None => seed.deserialize(FlowNode(Flow::Scalar(Scalar::Null))).map(Some),
        }
    }
}

struct Mapping<'a, 't> {
    cursor: &'a mut Cursor<'t>,
    indent: i32,
    depth: usize,
    keys: Vec<&'t str>,
    /// The line of the present key and the offset after its colon.
    value: Option<(Content<'t>, usize)>,
}

impl<'t> MapAccess<'t> for Mapping<'_, 't> {
    type Error = GiveUp;

    fn next_key_seed<K: DeserializeSeed<'t>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, GiveUp> {
        let Some(content) = self.cursor.line else { return Ok(None) };
        if content.indent < self.indent {
            return Ok(None);
        }
        let (key, after) = key_of(content.text).ok_or(GiveUp)?;
        if content.indent > self.indent || self.keys.len() >= KEYS_MAX || self.keys.contains(&key) {
            return Err(GiveUp);
        }
        self.keys.push(key);
        self.value = Some((content, after));
        seed.deserialize(de::value::BorrowedStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'t>>(&mut self, seed: V) -> Result<V::Value, GiveUp> {
        let (content, after) = self.value.take().ok_or(GiveUp)?;
        let rest = content.text.get(after..).unwrap_or_default();
        let inline = !is_comment_or_empty(rest);
        self.cursor.advance_in_line(content, after);
        let (parent, depth) = (self.indent, self.depth + 1);
        let Some(next) = self.cursor.line else {
            return seed.deserialize(FlowNode(Flow::Scalar(Scalar::Null)));
        };
        if inline {
            // A mapping or a list may not start on the line of its key.
            if is_item(next.text) || key_of(next.text).is_some() {
                return Err(GiveUp);
            }
            return seed.deserialize(Block { cursor: self.cursor, parent, depth });
        }
        let nested = next.indent > self.indent;
        let list_below = next.indent == self.indent && is_item(next.text);
        if nested || list_below {
            let parent = if nested { parent } else { parent - 1 };
            return seed.deserialize(Block { cursor: self.cursor, parent, depth });
        }
        seed.deserialize(FlowNode(Flow::Scalar(Scalar::Null)))
    }
}

/// A value that was on one line.
struct FlowNode<'t>(Flow<'t>);

impl<'de> Deserializer<'de> for FlowNode<'de> {
    type Error = GiveUp;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GiveUp> {
        match self.0 {
            Flow::Scalar(scalar) => scalar.visit(visitor),
            Flow::List(list) => visitor.visit_seq(FlowList(list.into_iter())),
            Flow::Map(map) => visitor.visit_map(FlowMap { entries: map.into_iter(), value: None }),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct newtype_struct seq tuple tuple_struct map struct enum
        identifier ignored_any
    }
}

struct FlowList<'t>(std::vec::IntoIter<Flow<'t>>);

impl<'t> SeqAccess<'t> for FlowList<'t> {
    type Error = GiveUp;
    fn next_element_seed<T: DeserializeSeed<'t>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, GiveUp> {
        self.0.next().map(|entry| seed.deserialize(FlowNode(entry))).transpose()
    }
}

struct FlowMap<'t> {
    entries: std::vec::IntoIter<(&'t str, Flow<'t>)>,
    value: Option<Flow<'t>>,
}

impl<'t> MapAccess<'t> for FlowMap<'t> {
    type Error = GiveUp;
    fn next_key_seed<K: DeserializeSeed<'t>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, GiveUp> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(de::value::BorrowedStrDeserializer::new(key)).map(Some)
    }
    fn next_value_seed<V: DeserializeSeed<'t>>(&mut self, seed: V) -> Result<V::Value, GiveUp> {
        seed.deserialize(FlowNode(self.value.take().ok_or(GiveUp)?))
    }
}

impl<'t> Scalar<'t> {
    fn visit<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, GiveUp> {
        match self {
            Scalar::Null => visitor.visit_unit(),
            Scalar::Boolean(value) => visitor.visit_bool(value),
            Scalar::Natural(value) => visitor.visit_u64(value),
            Scalar::Negative(value) => visitor.visit_i64(value),
            Scalar::Fraction(value) => visitor.visit_f64(value),
            Scalar::Text(Cow::Borrowed(text)) => visitor.visit_borrowed_str(text),
            Scalar::Text(Cow::Owned(text)) => visitor.visit_string(text),
        }
    }
}

#[cfg(test)]
#[path = "block_tests.rs"]
mod tests;
