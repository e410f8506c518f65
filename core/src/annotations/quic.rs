//! HTTP/3: for how long clients remember it. Where it is served is a flag; the listener and its
//! rules are in [`crate::render::quic`].

use alloc::string::{String, ToString};

use super::{Family, Refusal, option, value};
use crate::desired::Skeleton;

/// Option with the age in seconds.
pub const MAX_AGE_OPTION: &str = "tidegate-quic-max-age";

/// Longest age, a year, in seconds.
const MAX_AGE_MAX: u64 = 31_536_000;

/// The family.
pub const FAMILY: Family = Family {
    title: "HTTP/3",
    about: "With `--quic-port` HAProxy serves HTTP/3 beside HTTPS, and every answer over HTTPS says \
            so in `alt-svc`, in place of the pod's own. What routes ask for holds there too: see \
            [HTTP/3](http3.md).",
    fields: &[],
    keys: &[option(
        "quic-alt-svc-max-age",
        "quic-alt-svc-max-age",
        "whole number of seconds, up to 31536000",
        "60",
        "How long clients remember that there is HTTP/3 (`ma` in `alt-svc`); 0 makes them forget. It \
         has no meaning without `--quic-port`. HAProxy has it in a rule of the frontend, which is \
         static.",
        "86400",
        max_age,
    )],
    finish: None,
    finish_route: None,
    rules: &[],
};

fn max_age(text: &str) -> Result<(&'static str, String), Refusal> {
    Ok((MAX_AGE_OPTION, value::integer(text, 0, MAX_AGE_MAX)?.to_string()))
}

/// For how long clients remember that there is HTTP/3, in seconds.
#[must_use]
pub fn age(skeleton: &Skeleton) -> &str {
    skeleton.options.get(MAX_AGE_OPTION).map_or("60", |age| age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_whole_seconds_up_to_a_year() {
        assert_eq!(max_age(" 86400 "), Ok((MAX_AGE_OPTION, "86400".into())));
        assert!(max_age("0").is_ok() && max_age("31536000").is_ok());
        for bad in ["", "-1", "1h", "31536001", "60; persist=1", "60\"", "1e3"] {
            assert!(max_age(bad).is_err(), "{bad}");
        }
    }
}
