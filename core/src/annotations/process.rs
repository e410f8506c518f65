//! What the controller's ConfigMap says of HAProxy as a whole: its process, and what answers when
//! nothing else does.

use alloc::format;
use alloc::string::{String, ToString};

use super::value::{self, quoted};
use super::{Annotation, Apply, Family, Mechanism, OnError, Refusal, Scopes, option};
use crate::world::object::Name;

/// The key with the default backend.
pub const FALLBACK: &str = "default-backend-service";

/// Option with `global maxconn`.
pub const MAXCONN_OPTION: &str = "tidegate-maxconn";

/// Option with `nbthread`.
pub const THREADS_OPTION: &str = "tidegate-threads";

/// Option with `hard-stop-after`, in seconds.
pub const HARD_STOP_OPTION: &str = "tidegate-hard-stop-after";

/// The family.
pub const FAMILY: Family = Family {
    title: "The process and the default backend",
    about: "HAProxy as a whole. Each key comes before the flag of the same meaning.",
    fields: &[],
    keys: &[
        option(
            "maxconn",
            "maxconn",
            "whole number from 1 to 10000000",
            "`--maxconn`, else computed from the open files HAProxy may have",
            "Connections at once. HAProxy sizes its tables by it at its start. More than its open \
             files allow is a Problem, and the default holds.",
            "5000",
            maxconn,
        ),
        option(
            "threads",
            "nbthread",
            "whole number from 1 to 64",
            "`--threads`, else one per processor",
            "Threads of HAProxy. HAProxy starts them once.",
            "4",
            threads,
        ),
        option(
            "hard-stop-after",
            "hard-stop-after",
            "duration of at least 1s",
            "`--hard-stop-after`, 30m",
            "How long an old worker may finish its connections after a reload. HAProxy reads it \
             at its start.",
            "20m",
            hard_stop,
        ),
        Annotation {
            key: FALLBACK,
            haproxy: Some("default-backend-service"),
            scopes: Scopes::C,
            syntax: "NAMESPACE/NAME or NAMESPACE/NAME:PORT",
            default: "`--default-backend`, else 404",
            about: "Service that answers what no rule matches; without a port its first one.",
            example: "default/app",
            mechanism: Mechanism::Record,
            on_error: OnError::Default,
            apply: Apply::Judged(fallback),
        },
    ],
    finish: None,
    finish_route: None,
    rules: &[],
};

fn maxconn(text: &str) -> Result<(&'static str, String), Refusal> {
    Ok((MAXCONN_OPTION, value::integer(text, 1, 10_000_000)?.to_string()))
}

fn threads(text: &str) -> Result<(&'static str, String), Refusal> {
    Ok((THREADS_OPTION, value::integer(text, 1, 64)?.to_string()))
}

fn hard_stop(text: &str) -> Result<(&'static str, String), Refusal> {
    match value::duration_ms(text)? / 1_000 {
        0 => Err(Refusal::new(
            format!("{} is less than a second", quoted(text)),
            "use a duration of at least 1s",
        )),
        seconds => Ok((HARD_STOP_OPTION, seconds.to_string())),
    }
}

fn fallback(text: &str) -> Result<(), Refusal> {
    service_and_port(text).map(|_| ())
}

/// `NAMESPACE/NAME` with an optional `:PORT`.
///
/// # Errors
/// Anything else.
pub fn service_and_port(text: &str) -> Result<(Name, Option<u16>), Refusal> {
    let bad = || {
        Refusal::new(
            format!("{} names no Service", quoted(text)),
            "write NAMESPACE/NAME or NAMESPACE/NAME:PORT",
        )
    };
    let (namespace, rest) = text.trim().split_once('/').ok_or_else(bad)?;
    let (name, port) = match rest.split_once(':') {
        Some((name, port)) => (name, Some(value::integer(port, 1, 65_535).map_err(|_| bad())?)),
        None => (rest, None),
    };
    let is_name = |text: &str| {
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        !text.is_empty() && text.len() <= 253 && text.bytes().all(is_plain)
    };
    if !is_name(namespace) || !is_name(name) {
        return Err(bad());
    }
    Ok((Name::new(namespace, name), port.and_then(|port| u16::try_from(port).ok())))
}
