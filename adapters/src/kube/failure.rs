//! Why a request to the API server did not give what was asked for, as far as it changes what is
//! done next.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// Longest text of the API server that is passed on, in bytes.
const TEXT_MAX: usize = 300;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There was no connection: the request was not sent.
    Unreachable(String),
    /// Sent, and the answer did not come or was cut.
    Broken(String),
    /// Nothing came for too long.
    Silent,
    /// The API server's refusal.
    Status {
        /// HTTP status.
        code: u16,
        /// What it says.
        text: String,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The answer is not what the API describes.
    Garbled(String),
}

/// `v1/Status`, as far as it is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct StatusBody {
    /// HTTP status; 0 when absent.
    pub code: u16,
    /// For machines.
    pub reason: String,
    /// For people.
    pub message: String,
    details: Details,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    retry_after_seconds: u64,
}

impl Failure {
    /// The refusal in an answer with this status. `header` is `Retry-After` in seconds.
    #[must_use]
    pub fn of_status(code: u16, header: Option<u64>, body: &[u8]) -> Failure {
        let status: StatusBody = serde_json::from_slice(body).unwrap_or_default();
        Failure::of_body(code, header, status)
    }

    /// The refusal in a `Status`; its code counts when `code` is 200, as in a watch.
    #[must_use]
    pub fn of_body(code: u16, header: Option<u64>, status: StatusBody) -> Failure {
        let StatusBody { code: own, reason, message, details } = status;
        let code = if code == 200 { own } else { code };
        let seconds = header.or(Some(details.retry_after_seconds).filter(|s| *s > 0));
        let text = if message.is_empty() { reason } else { message };
        Failure::Status { code, text: cut(&text), retry_after: seconds.map(Duration::from_secs) }
    }

    /// The HTTP status, if the API server answered.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Failure::Status { code, .. } => Some(*code),
            Failure::Unreachable(_)
            | Failure::Broken(_)
            | Failure::Silent
            | Failure::Garbled(_) => None,
        }
    }

    /// Whether the version asked for is no longer known (410): only a new list helps.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.code() == Some(410)
    }

    /// Whether we are not known or not allowed.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self.code(), Some(401 | 403))
    }

    /// Whether it may be that the request had its effect.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match self {
            Failure::Broken(_) | Failure::Silent | Failure::Garbled(_) => true,
            Failure::Status { code, .. } => *code >= 500 && *code != 503,
            Failure::Unreachable(_) => false,
        }
    }

    /// How long the API server wants to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Failure::Status { retry_after, .. } => *retry_after,
            Failure::Unreachable(_)
            | Failure::Broken(_)
            | Failure::Silent
            | Failure::Garbled(_) => None,
        }
    }

    /// The name of the failure in metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Failure::Unreachable(_) => "unreachable",
            Failure::Broken(_) => "broken",
            Failure::Silent => "silent",
            Failure::Garbled(_) => "garbled",
            Failure::Status { code, .. } => match code {
                400 => "400",
                401 => "401",
                403 => "403",
                404 => "404",
                409 => "409",
                410 => "410",
                422 => "422",
                429 => "429",
                500 => "500",
                503 => "503",
                504 => "504",
                _ => "other",
            },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unreachable(why) => write!(f, "cannot be reached: {why}"),
            Failure::Broken(why) => write!(f, "the answer was cut: {why}"),
            Failure::Silent => f.write_str("no answer in time"),
            Failure::Garbled(why) => write!(f, "the answer cannot be read: {why}"),
            Failure::Status { code, text, .. } => write!(f, "status {code}: {text}"),
        }
    }
}

/// The beginning of a text.
fn cut(text: &str) -> String {
    let end = (0..=TEXT_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}
