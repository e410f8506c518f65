//! Certificates whose time is nearly over, or over: told as Problems of their Secrets, before
//! clients tell. What is served does not change by it.

use alloc::format;
use alloc::string::{String, ToString};

use super::Piece;
use crate::problem::{Problem, Reason, Severity};
use crate::world::lookup::Lookup;
use crate::world::object::{Kind, Name, ObjectRef, Secret};

/// How long before its end a certificate is told of: two weeks, as renewing is the work of people
/// then, or a sixth of its whole life if that is shorter. What renews by itself does so with a third
/// left.
const NOTICE_S: i64 = 14 * 24 * 3600;

/// Where a certificate is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Its time has not come.
    Early,
    /// There is nothing to say.
    Valid,
    /// Its time ends soon.
    Ending,
    /// Its time is over.
    Over,
}

/// Where what holds between `from` and `to` is at `now`; all in seconds since 1970, `from` is
/// `None` when it does not matter.
fn age(from: Option<i64>, to: i64, now: i64) -> Age {
    let notice = from.map_or(NOTICE_S, |from| NOTICE_S.min(to.saturating_sub(from) / 6));
    if from.is_some_and(|from| now < from) {
        Age::Early
    } else if now >= to {
        Age::Over
    } else if to.saturating_sub(now) < notice {
        Age::Ending
    } else {
        Age::Valid
    }
}

/// The ages of what a Secret holds: its certificate, and its authorities.
#[must_use]
pub fn ages(secret: &Secret, now: i64) -> (Age, Age) {
    let certificate = secret.certificate.iter().flatten().next();
    let authority = secret.authority.iter().flatten().next();
    (
        certificate.map_or(Age::Valid, |facts| age(Some(facts.not_before), facts.not_after, now)),
        authority.map_or(Age::Valid, |facts| age(None, facts.not_after, now)),
    )
}

/// What is to be said of one Secret. Nothing as long as the date is not known.
pub fn project(lookup: &mut Lookup<'_>, name: &Name) -> Piece {
    let mut piece = Piece::default();
    let Some((secret, (certificate, authority))) = lookup.secret_ages(name) else { return piece };
    let mut tell = |field: &str, what: &str, age, from: Option<i64>, to: i64| {
        let (reason, severity, what) = match age {
            Age::Valid => return,
            Age::Early => {
                let what = format!("{what} is not valid before {}", day(from.unwrap_or(to)));
                (Reason::NotYetValid, Severity::Error, what)
            }
            Age::Ending => {
                let what = format!("{what} expires on {}", day(to));
                (Reason::Expiring, Severity::Warning, what)
            }
            Age::Over => {
                let what = format!("{what} expired on {}", day(to));
                (Reason::Expired, Severity::Error, what)
            }
        };
        piece.problems.push(Problem {
            object: ObjectRef { kind: Kind::Secret, name: name.clone() },
            field: field.into(),
            reason,
            severity,
            what,
            instead: "it is used as it is".to_string(),
            fix: "renew it, and see why what renews it has not".to_string(),
        });
    };
    if let Some(Ok(facts)) = &secret.certificate {
        let (from, to) = (facts.not_before, facts.not_after);
        tell("data[tls.crt]", "the certificate", certificate, Some(from), to);
    }
    if let Some(Ok(facts)) = &secret.authority {
        tell("data[ca.crt]", "a certificate of an authority", authority, None, facts.not_after);
    }
    piece
}

/// The day of a moment in seconds since 1970, in UTC: `2026-11-27`.
fn day(unix_s: i64) -> String {
    match time::OffsetDateTime::from_unix_timestamp(unix_s) {
        Ok(moment) => moment.date().to_string(),
        Err(_) => format!("{unix_s} s after 1970"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600;

    #[test]
    fn notice_is_two_weeks_or_a_sixth_of_a_short_life() {
        let of = |now| age(Some(0), 90 * DAY, now);
        assert_eq!(of(-1), Age::Early);
        assert_eq!(of(0), Age::Valid);
        assert_eq!(of(76 * DAY), Age::Valid);
        assert_eq!(of(76 * DAY + 1), Age::Ending);
        assert_eq!(of(90 * DAY - 1), Age::Ending);
        assert_eq!(of(90 * DAY), Age::Over);
        // A day's certificate, renewed every 16 hours, is told of in its last 4 only.
        assert_eq!(age(Some(0), DAY, DAY - 4 * 3600), Age::Valid);
        assert_eq!(age(Some(0), DAY, DAY - 4 * 3600 + 1), Age::Ending);
        // An authority's beginning is not known.
        assert_eq!(age(None, 90 * DAY, 75 * DAY), Age::Valid);
        assert_eq!(age(None, 90 * DAY, 77 * DAY), Age::Ending);
        // The most extreme lives overflow nothing.
        assert_eq!(age(Some(i64::MIN), i64::MAX, 0), Age::Valid);
        assert_eq!(age(Some(i64::MAX), i64::MIN, 0), Age::Early);
    }

    #[test]
    fn days_are_read_by_people() {
        assert_eq!(day(1_795_737_600), "2026-11-27");
        assert_eq!(day(i64::MAX), "9223372036854775807 s after 1970");
    }
}
