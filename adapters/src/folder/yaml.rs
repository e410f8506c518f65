//! The text of a file, YAML or JSON, to decoded objects with the place of each mistake.
//!
//! YAML is cut into its documents first, so that after an edit only the documents whose text
//! changed are decoded again, and a mistake is known by its line in the file.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher as _};

use serde::de::DeserializeSeed as _;
use tidegate_core::world::object::{Kind, Name, Object, ObjectRef};

use super::block;
use crate::decode::{Decoded, Refusal, Slim, SlimSeed};
use crate::vault::Vault;

/// Most nodes of one YAML document: enough for a list of 100,000 objects. The limits of
/// serde-saphyr on depth and aliases stay as they are.
const YAML_NODES_MAX: usize = 20_000_000;

/// What is needed to decode a file.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub vault: &'a Vault,
    /// The only ConfigMaps that are kept.
    pub config_maps: &'a BTreeSet<Name>,
}

/// One document of a file, decoded.
#[derive(Clone)]
pub(super) struct Document {
    /// Of its text, to recognise it when the file changes. Fixed within one run of the program.
    hash: u64,
    /// Its objects.
    pub objects: Vec<Object>,
    /// What is wrong with it.
    pub faults: Vec<Fault>,
}

/// Something in a file that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Line in the file, from 1.
    pub line: usize,
    /// Column, from 1; 0 when only the line is known.
    pub column: usize,
    /// The object it belongs to, as far as it can be told.
    pub object: Option<ObjectRef>,
    /// What is wrong.
    pub what: String,
    /// How to fix it.
    pub fix: String,
    /// Whether the text itself is broken, so that nothing is known about what it holds.
    pub broken: bool,
    /// Whether it is about something that is none of ours, so that nothing of ours is lost.
    pub foreign: bool,
}

/// A piece of a file that is decoded on its own.
#[derive(Clone, Copy)]
pub(super) struct Piece<'t> {
    text: &'t str,
    /// Number of lines before it.
    lines_before: usize,
    hash: u64,
}

/// Cuts a file into the pieces that are decoded on their own: YAML documents, or all of a JSON
/// file. Documents without content are left out.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    if is_json(text) {
        return vec![Piece { text, lines_before: 0, hash: hash_of(text) }];
    }
    let (mut pieces, mut start, mut lines_before) = (Vec::new(), 0, 0);
    let mut cut = |start: usize, end: usize, lines_before: &mut usize| {
        let piece = text.get(start..end).unwrap_or_default();
        if has_content(piece) {
            pieces.push(Piece { text: piece, lines_before: *lines_before, hash: hash_of(piece) });
        }
        *lines_before += piece.bytes().filter(|byte| *byte == b'\n').count();
    };
    for (at, _) in text.match_indices("\n---") {
        let ends = matches!(text.as_bytes().get(at + 4), None | Some(b'\n' | b' ' | b'\t' | b'\r'));
        let before = text.get(start..at).unwrap_or_default();
        // Directives (`%YAML 1.2`) belong to the document after the marker.
        if ends && !(before.starts_with('%') || before.contains("\n%")) {
            cut(start, at + 1, &mut lines_before);
            start = at + 1;
        }
    }
    cut(start, text.len(), &mut lines_before);
    pieces
}

fn is_json(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

fn has_content(piece: &str) -> bool {
    piece.lines().any(|line| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#') && line != "---" && line != "..."
    })
}

fn hash_of(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// Decodes the pieces of a file; those found in the former version are taken from there.
pub(super) fn documents(
    pieces: &[Piece<'_>],
    former: &[Document],
    by: Reader<'_>,
) -> Vec<Document> {
    let former: BTreeMap<u64, &Document> = former.iter().map(|d| (d.hash, d)).collect();
    pieces
        .iter()
        .map(|piece| match former.get(&piece.hash) {
            // Faults name lines, which may have moved.
            Some(known) if known.faults.is_empty() => (*known).clone(),
            Some(_) | None => document(*piece, by),
        })
        .collect()
}

/// Decodes one piece of a file.
pub(super) fn document(piece: Piece<'_>, by: Reader<'_>) -> Document {
    let mut document = Document { hash: piece.hash, objects: Vec::new(), faults: Vec::new() };
    let slims = match decode(piece.text) {
        Ok(slims) => slims,
        Err(Mistake { slims, line, column, what }) => {
            document.faults.push(Fault {
                line: piece.lines_before + line,
                column,
                object: guess_object(piece.text),
                what,
                fix: "correct the text; the file is read again when it changes".to_owned(),
                broken: true,
                foreign: false,
            });
            slims
        }
    };
    for slim in slims {
        if slim.is_empty() {
            document.faults.push(fault_at(piece, None, "not an object", "write an object"));
            continue;
        }
        for item in slim.into_items() {
            let haproxytech = item.haproxytech();
            match item.finish(None, by.vault) {
                Decoded::Object(Object::ConfigMap(map))
                    if !by.config_maps.contains(&map.meta.name) => {}
                Decoded::Object(object) => document.objects.push(object),
                Decoded::Foreign => {
                    document.faults.extend(haproxytech.map(|what| custom_at(piece, &what)));
                }
                Decoded::Refused(Refusal { object, what, fix }) => {
                    document.faults.push(fault_at(piece, Some(object), &what, &fix));
                }
            }
        }
    }
    document.objects.shrink_to_fit();
    document
}

/// A custom resource of haproxytech's, which somebody may count on.
fn custom_at(piece: Piece<'_>, what: &str) -> Fault {
    let what = format!("a {what} is not read");
    let fix = "`tidegate migrate` names what says the same, field by field";
    Fault { foreign: true, ..fault_at(piece, None, &what, fix) }
}

fn fault_at(piece: Piece<'_>, object: Option<ObjectRef>, what: &str, fix: &str) -> Fault {
    let object = object.map(with_namespace);
    let blank = piece.text.lines().take_while(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---"
    });
    let line = piece.lines_before + blank.count() + 1;
    let (what, fix) = (what.to_owned(), fix.to_owned());
    Fault { line, column: 0, object, what, fix, broken: false, foreign: false }
}

/// Fills in the default namespace, as the decoder does for objects that are used.
fn with_namespace(mut object: ObjectRef) -> ObjectRef {
    let cluster_scoped = matches!(object.kind, Kind::Namespace | Kind::IngressClass);
    if object.name.namespace.is_empty() && !cluster_scoped {
        object.name.namespace = "default".into();
    }
    object
}

/// A mistake in the text, and what was decoded before it.
struct Mistake {
    slims: Vec<Slim>,
    /// From 1, within the piece.
    line: usize,
    column: usize,
    what: String,
}

fn decode(text: &str) -> Result<Vec<Slim>, Mistake> {
    if is_json(text) {
        match decode_json(text) {
            Ok(slims) => return Ok(slims),
            // It may be YAML that starts with a flow mapping, or a JSON file with a mistake.
            Err(mistake) => {
                return serde_saphyr::from_str::<Slim>(text)
                    .map(|slim| vec![slim])
                    .map_err(|_| mistake);
            }
        }
    }
    if let Ok(slim) = block::from_str(text, SlimSeed(None)) {
        return Ok(vec![slim]);
    }
    decode_yaml(text)
}

fn decode_json(text: &str) -> Result<Vec<Slim>, Mistake> {
    let mut slims = Vec::new();
    for slim in serde_json::Deserializer::from_str(text).into_iter::<Slim>() {
        match slim {
            Ok(slim) => slims.push(slim),
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                let what = error.to_string();
                let what = what.split(" at line ").next().unwrap_or_default().to_owned();
                return Err(Mistake { slims, line, column, what });
            }
        }
    }
    Ok(slims)
}

fn decode_yaml(text: &str) -> Result<Vec<Slim>, Mistake> {
    // Words such as `on` and `n` are text, as in YAML 1.2: they occur as names and in annotations.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: YAML_NODES_MAX * 3,
            max_nodes: YAML_NODES_MAX,
            max_total_scalar_bytes: 1 << 30,
        },
        with_snippet: false,
        strict_booleans: true,
    };
    let decode =
        |deserializer: serde_saphyr::Deserializer<'_, '_>| SlimSeed(None).deserialize(deserializer);
    match serde_saphyr::with_deserializer_from_str_with_options(text, options, decode) {
        Ok(slim) => Ok(vec![slim]),
        Err(error) => {
            let at = error.location();
            let number = |n: u64| usize::try_from(n).unwrap_or(0);
            let line = at.map_or(1, |at| number(at.line()));
            let column = at.map_or(0, |at| number(at.column()));
            let what = one_line(&error.without_snippet().to_string());
            Err(Mistake { slims: Vec::new(), line, column, what })
        }
    }
}

/// The first line of a message, without the place, which is told apart.
fn one_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = line.split(" at line ").next().unwrap_or_default();
    line.trim_end_matches([' ', ':']).to_owned()
}

/// Which object a document that cannot be parsed seems to hold: by its lines `kind:` and, below
/// `metadata:`, `name:` and `namespace:`.
fn guess_object(text: &str) -> Option<ObjectRef> {
    let (mut kind, mut name, mut namespace, mut in_metadata) = (None, "", "default", false);
    for line in text.lines() {
        let value = |key: &str| {
            let value = line.trim().strip_prefix(key)?.strip_prefix(':')?.trim();
            Some(value.trim_matches(['"', '\'']))
        };
        if !line.starts_with([' ', '#']) && !line.is_empty() {
            in_metadata = value("metadata").is_some();
            if let Some(value) = value("kind") {
                kind = Kind::ALL.into_iter().find(|kind| kind.name() == value);
            }
        } else if in_metadata && name.is_empty() {
            name = value("name").unwrap_or(name);
        }
        if in_metadata {
            namespace = value("namespace").unwrap_or(namespace);
        }
    }
    let object = ObjectRef::new(kind?, namespace, name);
    let cluster_scoped = matches!(object.kind, Kind::Namespace | Kind::IngressClass);
    match (name, cluster_scoped) {
        ("", _) => None,
        (_, true) => Some(ObjectRef::new(object.kind, "", name)),
        (_, false) => Some(object),
    }
}
