//! A document of a manifest as a tree that remembers where in the text everything stands, so that
//! an edit leaves every other byte as it was.
//!
//! Inputs: the text of a file, YAML or JSON. Outputs: one [`Node`] per document. Aliases stand for
//! what they name. Not here: what the nodes mean, edits.

use std::collections::BTreeMap;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};

/// Deepest nesting that is followed; Kubernetes' own objects stay far below.
const DEPTH_MAX: usize = 64;

/// A node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Bytes of the file.
    pub span: Range<usize>,
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A text, number, boolean or nothing; as it reads, and whether it is quoted or a block.
    Scalar(String, bool),
    /// A map, in order.
    Map(Map),
    /// A list.
    List(Vec<Node>),
}

/// A map, in the order of the text.
#[derive(Clone, Debug, Default)]
pub(super) struct Map {
    /// Key and value.
    pub entries: Vec<(Node, Node)>,
    /// Whether it is written with braces, as JSON is.
    pub flow: bool,
}

impl Node {
    /// The text of a scalar that is one.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(text, _) => Some(text),
            Kind::Map(_) | Kind::List(_) => None,
        }
    }

    /// The map, if it is one.
    pub fn map(&self) -> Option<&Map> {
        match &self.kind {
            Kind::Map(map) => Some(map),
            Kind::Scalar(..) | Kind::List(_) => None,
        }
    }

    /// The items of a list; none of anything else.
    pub fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::List(items) => items,
            Kind::Scalar(..) | Kind::Map(_) => &[],
        }
    }

    /// The value below a path of keys.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.map()?.value(key))
    }

    /// The text of the scalar below a path of keys.
    pub fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path)?.text()
    }
}

impl Map {
    /// The value of a key; the last of several counts.
    pub fn value(&self, key: &str) -> Option<&Node> {
        self.entries.iter().rev().find(|(k, _)| k.text() == Some(key)).map(|(_, value)| value)
    }
}

/// The documents of a text, and, when it is broken, what is wrong with the rest.
pub(super) fn documents(text: &str) -> (Vec<Node>, Option<String>) {
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    options.simple_key_max_lookahead = 4096;
    let mut reader = Reader {
        text,
        events: Parser::new_from_str_with_options(text, options),
        anchors: BTreeMap::new(),
    };
    let mut documents = Vec::new();
    loop {
        match reader.next() {
            Ok(Some((Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd, _))) => {}
            Ok(None | Some((Event::StreamEnd, _))) => return (documents, None),
            Ok(Some((event, span))) => match reader.node(event, &span, 0) {
                Ok(node) => documents.push(node),
                Err(why) => return (documents, Some(why)),
            },
            Err(why) => return (documents, Some(why)),
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    events: Parser<'t, granit_parser::StrInput<'t>>,
    anchors: BTreeMap<usize, Node>,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, String> {
        self.events.next_event().transpose().map_err(|error| error.to_string())
    }

    fn some(&mut self) -> Result<(Event<'t>, Span), String> {
        self.next()?.ok_or_else(|| "the text ends too early".to_owned())
    }

    /// The node that begins with an event.
    fn node(&mut self, event: Event<'t>, span: &Span, depth: usize) -> Result<Node, String> {
        if depth > DEPTH_MAX {
            return Err("nested too deeply".to_owned());
        }
        let start = span.byte_range().unwrap_or_default();
        let (kind, end, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let nothing = plain && matches!(&*text, "~" | "null" | "Null" | "NULL" | "");
                let text = if nothing { String::new() } else { text.into_owned() };
                // The end of a block includes the blank lines after it, which are no part of it.
                let written = self.text.get(start.clone()).unwrap_or_default();
                let end = start.start + written.trim_end().len();
                (Kind::Scalar(text, !plain), end, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                let end = loop {
                    match self.some()? {
                        (Event::SequenceEnd, span) => break end_of(&span, start.end),
                        (event, span) => items.push(self.node(event, &span, depth + 1)?),
                    }
                };
                (Kind::List(items), end, anchor)
            }
            Event::MappingStart(style, anchor, _) => {
                let mut entries = Vec::new();
                let end = loop {
                    let key = match self.some()? {
                        (Event::MappingEnd, span) => break end_of(&span, start.end),
                        (event, span) => self.node(event, &span, depth + 1)?,
                    };
                    let (event, span) = self.some()?;
                    let value = self.node(event, &span, depth + 1)?;
                    entries.push((key, value));
                };
                let flow = style == StructureStyle::Flow;
                (Kind::Map(Map { entries, flow }), end, anchor)
            }
            Event::Alias(anchor) => {
                let named = self.anchors.get(&anchor).map(|node| node.kind.clone());
                (named.unwrap_or(Kind::Scalar(String::new(), false)), start.end, 0)
            }
            _ => return Err("not a document of a manifest".to_owned()),
        };
        let node = Node { span: start.start..end.max(start.start), kind };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }
}

fn end_of(span: &Span, otherwise: usize) -> usize {
    span.byte_range().map_or(otherwise, |range| range.end)
}
