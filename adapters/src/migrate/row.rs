//! What is said about one key, and what a rewrite does about it.

use tidegate_core::annotations::dialect::{Dialect, Verdict};
use tidegate_core::problem::Problem;

use super::object::Found;

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `metadata.annotations`.
    Annotation,
    /// `data` of a ConfigMap.
    Data,
    /// Nowhere: something that holds without a key.
    Implied,
    /// A field of a custom resource.
    Custom,
}

/// What a rewrite does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Leaves it as it is.
    Keep,
    /// Writes these keys, in full, instead.
    Write(Vec<(String, String)>),
    /// Makes it a comment.
    Comment,
}

/// Who has something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Nobody, or a rewrite.
    Nothing,
    /// A human: to decide, or to write something by hand.
    Human,
    /// A human, at once: it protects there, and would not protect here.
    Open,
}

impl Need {
    /// Its word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Need::Nothing => "nothing",
            Need::Human => "human",
            Need::Open => "open",
        }
    }
}

/// One key of one object.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which of the objects.
    pub at: usize,
    /// The object, for people.
    pub object: String,
    /// Where the key stands.
    pub place: Place,
    /// The key as written.
    pub key: String,
    /// Whose it is.
    pub dialect: Dialect,
    /// `same`, `better`, `other key`, `not yet`, `never` or `unknown`.
    pub verdict: &'static str,
    /// Whether a route served without it would be open.
    pub protects: bool,
    /// The flag of `tidegate run` that says it.
    pub flag: Option<&'static str>,
    /// The difference, the reason, or what to do.
    pub remark: String,
    /// What a rewrite does.
    pub deed: Deed,
    /// Who has something to do.
    pub need: Need,
    /// What tidegate would say about the value.
    pub problems: Vec<Problem>,
}

impl Row {
    /// A row that says nothing yet.
    pub(super) fn new(at: usize, object: &Found, place: Place, key: &str, dialect: Dialect) -> Row {
        Row {
            at,
            object: object.label(),
            place,
            key: key.to_owned(),
            dialect,
            verdict: Verdict::Same.as_str(),
            protects: false,
            flag: None,
            remark: String::new(),
            deed: Deed::Keep,
            need: Need::Nothing,
            problems: Vec::new(),
        }
    }
}
