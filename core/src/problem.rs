//! Problems: what is wrong with an input, what was done instead, and how to fix it. Data, not
//! errors: a Problem never stops anything else.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use serde::{Deserialize, Serialize};

use crate::world::object::ObjectRef;

/// How bad it is for the users of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// Served, but not as written.
    Warning,
    /// Part of the object is not served.
    Error,
    /// Served as it should be; there is only something to know.
    Info,
}

/// Why, in the CamelCase form of a Kubernetes Event's `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// The decoder left a field out.
    BadField,
    /// An annotation or ConfigMap key nobody knows, under a prefix that is ours.
    UnknownKey,
    /// A known key with a value that cannot be used.
    BadValue,
    /// A known key in a place where it has no meaning.
    WrongScope,
    /// A key this HAProxy cannot honour.
    NotSupported,
    /// A referenced object does not exist.
    NotFound,
    /// A referenced object exists but cannot be used.
    Unusable,
    /// An older object holds the same host and path, or the same TLS host.
    Conflict,
    /// A limit from the settings was passed.
    LimitExceeded,
    /// HAProxy refused what was rendered from the object.
    Refused,
    /// The route answers 503 because a policy of it cannot be enforced.
    FailedClosed,
    /// Not allowed by the operator's settings.
    Forbidden,
    /// The source (a file, the API) cannot be read in part.
    Source,
    /// Objects are absent from a list, and still served.
    DeletionsHeld,
    /// A certificate that is used expires soon.
    Expiring,
    /// A certificate that is used has expired.
    Expired,
    /// A certificate that is used is not valid yet.
    NotYetValid,
}

impl Reason {
    /// The text used in metrics and Kubernetes Events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::BadField => "BadField",
            Reason::UnknownKey => "UnknownKey",
            Reason::BadValue => "BadValue",
            Reason::WrongScope => "WrongScope",
            Reason::NotSupported => "NotSupported",
            Reason::NotFound => "NotFound",
            Reason::Unusable => "Unusable",
            Reason::Conflict => "Conflict",
            Reason::LimitExceeded => "LimitExceeded",
            Reason::Refused => "Refused",
            Reason::FailedClosed => "FailedClosed",
            Reason::Forbidden => "Forbidden",
            Reason::Source => "Source",
            Reason::DeletionsHeld => "DeletionsHeld",
            Reason::Expiring => "Expiring",
            Reason::Expired => "Expired",
            Reason::NotYetValid => "NotYetValid",
        }
    }
}

/// One thing that is wrong with one field of one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// The object to be fixed.
    pub object: ObjectRef,
    /// The field, such as `metadata.annotations[tidegate.io/timeout-server]`.
    pub field: Box<str>,
    /// Why.
    pub reason: Reason,
    /// How bad.
    pub severity: Severity,
    /// What is wrong, in words.
    pub what: String,
    /// What was done instead.
    pub instead: String,
    /// How to fix it.
    pub fix: String,
}

impl Problem {
    /// What comes before every problem of an object, in the order of problems.
    pub(crate) fn first_of(object: ObjectRef) -> Problem {
        Problem {
            object,
            field: "".into(),
            reason: Reason::BadField,
            severity: Severity::Warning,
            what: String::new(),
            instead: String::new(),
            fix: String::new(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.object)?;
        if !self.field.is_empty() {
            write!(f, ", {}", self.field)?;
        }
        write!(f, ": {}; {}; {}", self.what, self.instead, self.fix)
    }
}
