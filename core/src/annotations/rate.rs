//! Rate limits by client address. Periods are those of static tables; limits are data.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::value::{self, quoted};
use super::{
    Annotation, Apply, Context, Family, Mechanism, OnError, Refusal, RouteDraft, Rule, RuleText,
    Scopes, Section, access, always,
};
use crate::capability::Capabilities;
use crate::desired::Skeleton;
use crate::digest::Digest;

/// Names of the tables' periods, and these in milliseconds. Each is a static backend.
pub const PERIODS: [(&str, u64); 5] =
    [("1s", 1_000), ("10s", 10_000), ("1m", 60_000), ("10m", 600_000), ("1h", 3_600_000)];

/// Status codes that HAProxy can deny with; each is a static backend.
pub const CODES: [u16; 14] = [400, 401, 403, 404, 405, 407, 408, 410, 413, 425, 429, 500, 502, 503];

/// Name of the option with the size of the tables.
pub const SIZE_OPTION: &str = "tidegate-rate-size";

/// The family.
pub const FAMILY: Family = Family {
    title: "Rate limits",
    about: "How many requests a client address may make in a period. Counted per object that sets \
            `rate-limit-requests`, for all its routes together, and per tidegate replica. Counters \
            survive a reload on HAProxy 3.0 and later.",
    fields: &["rate", "rate-free", "rate-limit", "rate-period", "rate-code"],
    keys: &[
        Annotation {
            key: "rate-limit-requests",
            haproxy: Some("rate-limit-requests"),
            scopes: Scopes::CI,
            syntax: "whole number from 1 to 1000000000",
            default: "no limit",
            about: "Requests that a client address may make in a period; further ones are denied, \
                    and count as well. A value that cannot be used closes the route, as it would be without limit.",
            example: "100",
            mechanism: Mechanism::Record,
            on_error: OnError::Close,
            apply: Apply::Route(requests),
        },
        Annotation {
            key: "rate-limit-period",
            haproxy: Some("rate-limit-period"),
            scopes: Scopes::CI,
            syntax: "duration",
            default: "1s",
            about: "The period. 1s, 10s, 1m, 10m and 1h are counted as they are; others over the \
                    next longer one of these (1h at most) at the same rate.",
            example: "10s",
            mechanism: Mechanism::Record,
            on_error: OnError::Close,
            apply: Apply::Route(period),
        },
        Annotation {
            key: "rate-limit-status-code",
            haproxy: Some("rate-limit-status-code"),
            scopes: Scopes::CI,
            syntax: "400, 401, 403, 404, 405, 407, 408, 410, 413, 425, 429, 500, 502 or 503",
            default: "403",
            about: "Status code of denied requests.",
            example: "429",
            mechanism: Mechanism::Record,
            on_error: OnError::Default,
            apply: Apply::Route(code),
        },
        Annotation {
            key: "rate-limit-allow-list",
            haproxy: Some("rate-limit-whitelist"),
            scopes: Scopes::CI,
            syntax: "comma-separated IP addresses and CIDR networks",
            default: "nobody",
            about: "Clients that are neither counted nor denied.",
            example: "10.0.0.0/8",
            mechanism: Mechanism::List,
            on_error: OnError::Default,
            apply: Apply::Route(free),
        },
        Annotation {
            key: "rate-limit-size",
            haproxy: Some("rate-limit-size"),
            scopes: Scopes::C,
            syntax: "number of entries, with k or m for thousands and millions",
            default: "100k",
            about: "Client addresses that each period's table remembers; when it is full, the \
                    oldest go. HAProxy makes its tables at its start.",
            example: "200k",
            mechanism: Mechanism::Skeleton,
            on_error: OnError::Default,
            apply: Apply::Skeleton(size),
        },
    ],
    finish: None,
    finish_route: Some(finish),
    rules: &[
        rule("http-request set-var-fmt(txn.rk) \"%[{f:rate}]:%[src]\" if {on:rate}"),
        rule("http-request set-var-fmt(txn.ak) \"%[{f:rate-free}]:4%[src,hex]\" if {on:rate-free}"),
        rule(
            "http-request set-var-fmt(txn.ak) \"%[{f:rate-free}]:6%[src,hex]\" if {on:rate-free} \
             { src,hex -m len 32 }",
        ),
        rule(
            "http-request unset-var(txn.rk) if {on:rate-free} \
             { var(txn.ak),map_beg(maps/access.map) -m found }",
        ),
        Rule { at: Section::Request, when: always, text: RuleText::Lines(track) },
        rule("http-request set-var(txn.rl) {f:rate-limit} if {on:rate}"),
        rule(
            "http-request set-var-fmt(txn.be) \"tidegate-deny-%[{f:rate-code}]\" if {on:rate} \
             { sc0_http_req_rate,sub(txn.rl) gt 0 }",
        ),
        rule("http-request allow if {on:rate} { var(txn.be) -m beg tidegate-deny- }"),
    ],
};

const fn rule(text: &'static str) -> Rule {
    Rule { at: Section::Request, when: always, text: RuleText::Line(text) }
}

fn track(_: &Skeleton) -> Vec<String> {
    let line = |(name, _): &(&str, u64)| {
        format!(
            "http-request track-sc0 var(txn.rk) table tidegate-rate-{name} if {{on:rate}} \
             {{ {{f:rate-period}} -m str {name} }}"
        )
    };
    PERIODS.iter().map(line).collect()
}

fn requests(
    text: &str,
    draft: &mut RouteDraft,
    context: &mut Context<'_, '_>,
) -> Result<(), Refusal> {
    let limit = value::integer(text, 1, 1_000_000_000)?;
    let owner = &context.owner.name;
    let id = Digest::of_parts([owner.namespace.as_bytes(), owner.name.as_bytes()]).short();
    draft.values.insert("rate", id);
    draft.values.insert("rate-limit", limit.to_string());
    Ok(())
}

fn period(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    draft.values.insert("rate-period", value::duration_ms(text)?.to_string());
    Ok(())
}

fn code(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    match text.trim().parse::<u16>() {
        Ok(code) if CODES.contains(&code) => {
            draft.values.insert("rate-code", code.to_string());
            Ok(())
        }
        _ => Err(Refusal::new(
            format!("{} is no status code that HAProxy can deny with", quoted(text)),
            "use 429, 403 or 503",
        )),
    }
}

fn free(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    access::list("rate-free", text, draft)
}

fn size(text: &str) -> Result<(&'static str, String), Refusal> {
    let text = text.trim();
    let (number, unit) = match text.strip_suffix(['k', 'm']) {
        Some(number) => (number, text.get(number.len()..).unwrap_or_default()),
        None => (text, ""),
    };
    let factor = match unit {
        "k" => 1_024,
        "m" => 1_048_576,
        _ => 1,
    };
    let entries = value::integer(number, 1, 100_000_000 / factor)? * factor;
    Ok((SIZE_OPTION, entries.to_string()))
}

fn finish(draft: &mut RouteDraft, _: &Capabilities) {
    let number = |key: &str| draft.values.get(key).and_then(|n| n.parse::<u64>().ok());
    let (Some(id), Some(limit)) = (draft.values.get("rate").cloned(), number("rate-limit")) else {
        draft.unset("rate-free");
        return;
    };
    let (table, limit) = table_for(limit, number("rate-period").unwrap_or(1_000));
    let code = draft.values.get("rate-code").map_or("403", |code| code).to_string();
    draft.set("rate", id);
    draft.set("rate-limit", limit.to_string());
    draft.set("rate-period", table);
    draft.set("rate-code", code);
}

/// The table that counts a period, and the limit in that table's period: the same rate, rounded
/// up.
fn table_for(limit: u64, period_ms: u64) -> (&'static str, u64) {
    let fitting = PERIODS.iter().find(|(_, ms)| *ms >= period_ms);
    let (name, ms) = fitting.or(PERIODS.last()).copied().unwrap_or(("1s", 1_000));
    let scaled = u128::from(limit) * u128::from(ms);
    let limit = scaled.div_ceil(u128::from(period_ms.max(1)));
    (name, u64::try_from(limit).unwrap_or(u64::MAX).min(4_000_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_keep_their_rate() {
        assert_eq!(table_for(5, 1_000), ("1s", 5));
        assert_eq!(table_for(5, 10_000), ("10s", 5));
        assert_eq!(table_for(5, 5_000), ("10s", 10));
        assert_eq!(table_for(10, 7_200_000), ("1h", 5));
        assert_eq!(table_for(1, 86_400_000), ("1h", 1));
        assert_eq!(size("100k").unwrap().1, "102400");
        assert!(size("").is_err());
        assert!(size("5g").is_err());
    }
}
