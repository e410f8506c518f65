//! Objects out of a stream of bytes, one by one: the lines of a watch and the items of a list.
//!
//! Inputs: pieces of a body, cut anywhere. Outputs: the JSON of each object as soon as it is whole,
//! and what a watch or a list says about itself. At most one object is kept, never a page. Not
//! here: what is in the objects.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::failure::{Failure, StatusBody};

/// Longest object or event, in bytes. The API server stores 1.5 MiB at most; escapes make it more.
pub const OBJECT_MAX: usize = 16 << 20;

/// Longest list without its items, in bytes.
const ENVELOPE_MAX: usize = 1 << 20;

/// Room that is kept between objects.
const KEPT: usize = 64 << 10;

/// Gathers the lines of a watch.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes a piece; calls `each` with every line that is now whole. Empty lines are left out.
    ///
    /// # Errors
    /// When a line is too long, or the first error of `each`.
    pub fn push(
        &mut self,
        mut piece: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = piece.split_at(end);
            piece = rest.get(1..).unwrap_or_default();
            let line = if self.partial.is_empty() {
                line
            } else {
                self.partial.extend_from_slice(line);
                &self.partial
            };
            if !line.trim_ascii().is_empty() {
                each(line)?;
            }
            self.partial.clear();
            self.partial.shrink_to(KEPT);
        }
        if self.partial.len() + piece.len() > OBJECT_MAX {
            return Err(Failure::Garbled(format!("an event is longer than {OBJECT_MAX} bytes")));
        }
        self.partial.extend_from_slice(piece);
        Ok(())
    }
}

/// One line of a watch.
#[derive(Debug)]
pub enum Frame<'a> {
    /// ADDED or MODIFIED.
    Changed(&'a [u8]),
    /// DELETED, with the last version.
    Deleted(&'a [u8]),
    /// BOOKMARK: nothing is missing up to this version.
    Bookmark {
        /// The version.
        version: Box<str>,
        /// Whether what came so far is a complete list.
        complete: bool,
    },
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// `metadata` of a bookmark or a list, as far as it is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    resource_version: Box<str>,
    #[serde(rename = "continue")]
    next: Option<Box<str>>,
    annotations: Option<std::collections::BTreeMap<Box<str>, Box<str>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope {
    metadata: Metadata,
}

/// The annotation on the bookmark that ends a streaming list.
const COMPLETE: &str = "k8s.io/initial-events-end";

impl<'a> Frame<'a> {
    /// Reads a line.
    ///
    /// # Errors
    /// When it cannot be read, or is an ERROR.
    pub fn read(line: &'a [u8]) -> Result<Frame<'a>, Failure> {
        let garbled = |error: serde_json::Error| Failure::Garbled(position_of(&error));
        let Event { kind, object } = serde_json::from_slice(line).map_err(garbled)?;
        let object = object.get();
        match &*kind {
            "ADDED" | "MODIFIED" => Ok(Frame::Changed(object.as_bytes())),
            "DELETED" => Ok(Frame::Deleted(object.as_bytes())),
            "BOOKMARK" => {
                let Envelope { metadata } = serde_json::from_str(object).map_err(garbled)?;
                let complete = metadata.annotations.is_some_and(|annotations| {
                    annotations.get(COMPLETE).is_some_and(|value| &**value == "true")
                });
                Ok(Frame::Bookmark { version: metadata.resource_version, complete })
            }
            "ERROR" => {
                let status: StatusBody = serde_json::from_str(object).unwrap_or_default();
                Err(Failure::of_body(200, None, status))
            }
            _ => Err(Failure::Garbled("an event of an unknown type".to_owned())),
        }
    }
}

/// Where an error is, without the text around it: it may be a secret.
#[must_use]
pub fn position_of(error: &serde_json::Error) -> String {
    format!("no JSON at line {} column {}", error.line(), error.column())
}

/// What a page of a list says about itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// Version of the list.
    pub version: Box<str>,
    /// Token of the next page.
    pub next: Option<Box<str>>,
}

/// Takes the items out of the body of a list.
#[derive(Debug, Default)]
pub struct Items {
    /// The list without its items.
    envelope: Vec<u8>,
    /// The item under way.
    item: Vec<u8>,
    depth: u32,
    in_text: bool,
    escaped: bool,
    /// The last text at depth 1, as it is written: perhaps the key of what follows.
    key: Vec<u8>,
    /// Within the value of `items`.
    in_items: bool,
}

impl Items {
    /// Takes a piece; calls `each` with every item that is now whole.
    ///
    /// # Errors
    /// When something is too long or is no list.
    pub fn push(&mut self, piece: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), Failure> {
        for &byte in piece {
            self.byte(byte, &mut each)?;
        }
        Ok(())
    }

    fn byte(&mut self, byte: u8, each: &mut impl FnMut(&[u8])) -> Result<(), Failure> {
        let item_under_way = self.in_items && self.depth > 2;
        if item_under_way {
            self.item.push(byte);
            if self.item.len() > OBJECT_MAX {
                return Err(Failure::Garbled(format!("an item is longer than {OBJECT_MAX} bytes")));
            }
        } else if !self.in_items {
            self.envelope.push(byte);
            if self.envelope.len() > ENVELOPE_MAX {
                return Err(Failure::Garbled("no list of objects".to_owned()));
            }
        }
        if self.in_text {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_text = false,
                _ if self.depth == 1 => self.key.push(byte),
                _ => {}
            }
            return Ok(());
        }
        match byte {
            b'"' => {
                self.in_text = true;
                if self.depth == 1 {
                    self.key.clear();
                }
            }
            b'[' if self.depth == 1 && self.key == b"items" => {
                self.depth = 2;
                self.in_items = true;
            }
            b'{' | b'[' => {
                self.depth += 1;
                if self.in_items && self.depth == 3 {
                    self.item.push(byte);
                }
            }
            b'}' | b']' => self.close(byte, each)?,
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, byte: u8, each: &mut impl FnMut(&[u8])) -> Result<(), Failure> {
        let wrong = || Failure::Garbled("brackets do not match".to_owned());
        self.depth = self.depth.checked_sub(1).ok_or_else(wrong)?;
        if self.in_items && self.depth == 2 {
            each(&self.item);
            self.item.clear();
            self.item.shrink_to(KEPT);
        } else if self.in_items && self.depth == 1 {
            self.in_items = false;
            self.key.clear();
            self.envelope.push(byte);
        }
        Ok(())
    }

    /// The body ended.
    ///
    /// # Errors
    /// When it is not a whole list.
    pub fn finish(self) -> Result<Page, Failure> {
        let read = serde_json::from_slice(&self.envelope);
        let Envelope { metadata } = read.map_err(|error| Failure::Garbled(position_of(&error)))?;
        if metadata.resource_version.is_empty() {
            return Err(Failure::Garbled("a list without a version".to_owned()));
        }
        let next = metadata.next.filter(|next| !next.is_empty());
        Ok(Page { version: metadata.resource_version, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"{"kind":"IngressList","metadata":{"resourceVersion":"7","continue":"a\"]"},
        "items":[ {"a":"]}\"","items":[{}]} , {"b":{"c":[1,2,"x\\"]}}],"more":{"items":[{"z":1}]}}"#;

    #[test]
    fn items_come_one_by_one_wherever_the_body_is_cut() {
        for size in 1..LIST.len() {
            let mut items = Items::default();
            let mut found = Vec::new();
            for piece in LIST.as_bytes().chunks(size) {
                items
                    .push(piece, |item| found.push(String::from_utf8(item.to_vec()).unwrap()))
                    .unwrap();
            }
            assert_eq!(found, [r#"{"a":"]}\"","items":[{}]}"#, r#"{"b":{"c":[1,2,"x\\"]}}"#]);
            let page = items.finish().unwrap();
            assert_eq!(page, Page { version: "7".into(), next: Some("a\"]".into()) });
        }
    }

    #[test]
    fn a_cut_list_is_no_list() {
        for end in 0..LIST.len() {
            let mut items = Items::default();
            items.push(&LIST.as_bytes()[..end], |_| {}).unwrap();
            assert!(items.finish().is_err(), "{end}");
        }
        let mut items = Items::default();
        items.push(br#"{"metadata":{"resourceVersion":"1"},"items":null}"#, |_| {}).unwrap();
        assert_eq!(items.finish().unwrap().next, None);
    }

    #[test]
    fn lines_are_whole_wherever_they_are_cut() {
        let text = "{\"a\":1}\n\n{\"b\":\"\u{e4}\"}\n{\"c\"";
        for size in 1..text.len() {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                lines
                    .push(piece, |line| {
                        found.push(String::from_utf8(line.to_vec()).unwrap());
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(found, ["{\"a\":1}", "{\"b\":\"\u{e4}\"}"]);
        }
    }

    #[test]
    fn frames_are_told_apart() {
        let bookmark =
            br#"{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"9",
            "annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
        let Frame::Bookmark { version, complete } = Frame::read(bookmark).unwrap() else {
            panic!()
        };
        assert_eq!((&*version, complete), ("9", true));
        let gone = br#"{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}"#;
        assert!(Frame::read(gone).unwrap_err().is_gone());
        let changed = Frame::read(br#"{"object":{"a":[1]},"type":"ADDED"}"#).unwrap();
        assert!(matches!(changed, Frame::Changed(br#"{"a":[1]}"#)));
        assert!(Frame::read(b"{\"type\":\"ADDED\",\"obj").is_err());
    }
}
