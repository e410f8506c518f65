//! Which routes must answer 503 because a policy of theirs cannot be enforced: a second, naive
//! reading of the keys that close a route when their value cannot be used.

use std::net::IpAddr;

use tidegate_core::digest::Digest;
use tidegate_core::world::object::{Ingress, Meta, Name, Secret, Service};

use super::routing::Facts;
use super::{clients, customs};

/// Keys that close a route, and their spelling in haproxytech's dialect.
const ROUTE_KEYS: [(&str, &str); 8] = [
    ("tls-passthrough", "ssl-passthrough"),
    ("allow-list", "allow-list"),
    ("client-certificate-optional", "client-crt-optional"),
    ("client-verify-depth", ""),
    ("deny-list", "deny-list"),
    ("src-ip-header", "src-ip-header"),
    ("rate-limit-requests", "rate-limit-requests"),
    ("rate-limit-period", "rate-limit-period"),
];
const BACKEND_KEYS: [(&str, &str); 4] = [
    ("server-tls", "server-ssl"),
    ("server-ca", "server-ca"),
    ("server-certificate", "server-crt"),
    ("server-name", ""),
];

/// Where a value stands.
pub(super) struct Found<'a> {
    pub(super) value: &'a str,
    pub(super) namespace: &'a str,
    pub(super) operator: bool,
}

/// Whether the route of this Ingress (`None` for the controller's own default) for this host (empty
/// for none) to this Service is closed.
#[must_use]
pub fn closes(facts: &Facts<'_>, host: &str, ingress: Option<&Ingress>, service: &Service) -> bool {
    closes_route(facts, host, ingress) || closes_backend(facts, ingress, service)
}

/// The value of a key that shapes the route, from the narrowest place that has one.
fn first<'a>(
    facts: &Facts<'a>,
    ingress: Option<&'a Ingress>,
    keys: &(&str, &str),
) -> Option<&'a str> {
    let mut found = ingress.map(|i| written(facts, &i.meta, keys)).unwrap_or_default();
    found.extend(configured(facts, keys));
    found.first().map(|f| f.value)
}

/// Whether TLS of the hosts of this Ingress is passed through.
#[must_use]
pub fn passes(facts: &Facts<'_>, ingress: &Ingress) -> bool {
    let value = first(facts, Some(ingress), &("tls-passthrough", "ssl-passthrough"));
    value.is_some_and(|value| ["true", "on", "enabled"].contains(&value.trim()))
}

/// Whether an Ingress is marked as a canary; any value but a plain no marks it.
#[must_use]
pub fn is_canary(ingress: &Ingress) -> bool {
    let value = ingress.meta.annotation("tidegate.io/canary");
    value.is_some_and(|value| !["false", "off", "disabled"].contains(&value.trim()))
}

/// Whether a Service is a canary by haproxytech's condition.
#[must_use]
pub fn has_condition(service: &Service) -> bool {
    !on(&service.meta, &("route-acl", "route-acl")).is_empty()
}

/// Whether a policy of this Ingress takes requests to enforce, which nobody sees when TLS is passed
/// through: lists of addresses that a header tells, passwords, certificates of clients.
#[must_use]
pub fn needs_requests(facts: &Facts<'_>, ingress: &Ingress) -> bool {
    let has = |key: &str| first(facts, Some(ingress), &(key, key)).is_some();
    let lists = (has("allow-list") || has("deny-list")) && has("src-ip-header");
    let clients = [
        ("client-ca", "client-ca"),
        ("client-certificate-optional", "client-crt-optional"),
        ("client-verify-depth", ""),
    ];
    let checks = clients.iter().any(|keys| first(facts, Some(ingress), keys).is_some());
    lists || checks || has("auth-type") || has("auth-secret")
}

/// Whether a key of the route closes it.
#[must_use]
pub fn closes_route(facts: &Facts<'_>, host: &str, ingress: Option<&Ingress>) -> bool {
    let broken = ROUTE_KEYS.iter().any(|keys| {
        // A value that cannot be read is never skipped for that of a wider scope.
        first(facts, ingress, keys).is_some_and(|value| !fits(keys.0, value))
    });
    let named: Vec<&Meta> = ingress.iter().map(|ingress| &ingress.meta).collect();
    broken
        || customs::closes(facts, &named)
        || lacks_authentication(facts, ingress)
        || clients::closes(facts, host, ingress)
}

/// Whether a key of the backend closes it.
#[must_use]
pub fn closes_backend(facts: &Facts<'_>, ingress: Option<&Ingress>, service: &Service) -> bool {
    let on_ingress =
        |keys: &(&str, &str)| ingress.map(|i| written(facts, &i.meta, keys)).unwrap_or_default();
    let named = ingress.map(|ingress| &ingress.meta).into_iter().chain([&service.meta]);
    if customs::closes(facts, &named.collect::<Vec<_>>()) {
        return true;
    }
    BACKEND_KEYS.iter().any(|keys| {
        let mut found = written(facts, &service.meta, keys);
        found.extend(on_ingress(keys));
        found.extend(configured(facts, keys));
        found.first().is_some_and(|f| !is_usable(facts, keys.0, f))
    })
}

/// What the users of this Ingress must be in, if it asks for authentication: the digest of a list,
/// or `Err` where there is none that can be used.
#[must_use]
pub fn guard(facts: &Facts<'_>, ingress: Option<&Ingress>) -> Option<Result<Digest, ()>> {
    let own = |key| ingress.map(|i| written(facts, &i.meta, &(key, key))).unwrap_or_default();
    let global = |key| configured(facts, &(key, key));
    let first = |key| own(key).into_iter().chain(global(key)).next();
    let (secret, kind, realm) = (first("auth-secret"), first("auth-type"), first("auth-realm"));
    let asks = secret.is_some() || kind.is_some() || !own("auth-realm").is_empty();
    let clean = |realm: &Found<'_>| {
        let realm = realm.value.trim();
        realm.len() <= 256 && !realm.chars().any(char::is_control)
    };
    let is_broken = kind.is_some_and(|kind| !["basic-auth", "basic"].contains(&kind.value.trim()))
        || realm.is_some_and(|realm| !realm.operator && !clean(&realm));
    if !asks && !is_broken {
        return None;
    }
    let Some(secret) = secret.filter(|_| !is_broken) else { return Some(Err(())) };
    let value = secret.value.trim();
    let (namespace, name) = value.split_once('/').unwrap_or((secret.namespace, value));
    if !secret.operator && namespace != secret.namespace {
        return Some(Err(()));
    }
    let found = facts.secrets.get(&Name::new(namespace, name));
    Some(match found.and_then(|secret| secret.users.as_ref()) {
        Some(Ok(users)) => Ok(users.digest),
        Some(Err(_)) | None => Err(()),
    })
}

fn lacks_authentication(facts: &Facts<'_>, ingress: Option<&Ingress>) -> bool {
    matches!(guard(facts, ingress), Some(Err(())))
}

/// Whether a key that shapes the route can be used.
fn fits(key: &str, value: &str) -> bool {
    let value = value.trim();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match key {
        "src-ip-header" => is_header(value),
        "client-certificate-optional" | "tls-passthrough" => is_boolean(value),
        "client-verify-depth" => value == "1" || value == "any",
        "rate-limit-requests" => {
            // The language's own reader of numbers takes a plus sign.
            let number = value.strip_prefix('+').unwrap_or(value);
            digits(number) && number.parse::<u64>().is_ok_and(|n| (1..=1_000_000_000).contains(&n))
        }
        "rate-limit-period" => {
            let end = value.bytes().take_while(u8::is_ascii_digit).count();
            let (number, unit) = value.split_at(end);
            let Ok(number) = number.parse::<u128>() else { return false };
            let units = [("", 1_000), ("us", 1), ("ms", 1_000), ("s", 1_000_000)];
            let longer = [("m", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000)];
            let all = units.iter().chain(&longer);
            let us = all.into_iter().find(|(name, _)| *name == unit).map(|(_, us)| number * us);
            us.is_some_and(|us: u128| (1_000..=2_073_600_000_000).contains(&us))
        }
        _ => is_list(value),
    }
}

fn is_boolean(text: &str) -> bool {
    ["true", "false", "on", "off", "enabled", "disabled"].contains(&text)
}

fn is_header(text: &str) -> bool {
    let framing = ["content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"];
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=256).contains(&text.len())
        && text.chars().all(plain)
        && !framing.contains(&&*text.to_ascii_lowercase())
}

/// What an object says, and behind it the resource that it names.
fn written<'a>(facts: &Facts<'a>, meta: &'a Meta, keys: &(&str, &str)) -> Vec<Found<'a>> {
    let mut found = on(meta, keys);
    found.extend(customs::written(facts, meta, keys));
    found
}

/// What an object says itself.
fn on<'a>(meta: &'a Meta, keys: &(&str, &str)) -> Vec<Found<'a>> {
    let mut spellings = vec![format!("tidegate.io/{}", keys.0)];
    if !keys.1.is_empty() {
        for prefix in ["haproxy.org/", "haproxy.com/", "ingress.kubernetes.io/"] {
            spellings.push(format!("{prefix}{}", keys.1));
        }
    }
    let values = spellings.iter().filter_map(|key| meta.annotation(key));
    let namespace = &*meta.name.namespace;
    values.map(|value| Found { value, namespace, operator: false }).collect()
}

fn configured<'a>(facts: &Facts<'a>, keys: &(&str, &str)) -> Vec<Found<'a>> {
    let Some(config) = facts.config_map else { return Vec::new() };
    let namespace = &*config.meta.name.namespace;
    let all = config.data.iter().filter(|(key, _)| ***key == *keys.0 || ***key == *keys.1);
    let mut found: Vec<_> =
        all.map(|(_, value)| Found { value, namespace, operator: true }).collect();
    found.extend(customs::configured(facts, keys));
    found
}

fn is_usable(facts: &Facts<'_>, key: &str, found: &Found<'_>) -> bool {
    let value = found.value.trim();
    match key {
        "server-tls" => is_boolean(value),
        "server-name" => is_plain_host(value),
        _ => {
            let Some(secret) = secret_of(facts, found) else { return false };
            if key == "server-ca" {
                matches!(secret.authority, Some(Ok(_)))
            } else {
                matches!(secret.certificate, Some(Ok(_)))
            }
        }
    }
}

/// The Secret that a value names, where it may.
pub(super) fn secret_of<'a>(facts: &Facts<'a>, found: &Found<'_>) -> Option<&'a Secret> {
    let value = found.value.trim();
    let (namespace, name) = value.split_once('/').unwrap_or((found.namespace, value));
    if !found.operator && namespace != found.namespace {
        return None;
    }
    facts.secrets.get(&Name::new(namespace, name)).copied()
}

/// The value of a key for an Ingress, that of the ConfigMap where it has none.
pub(super) fn found_for<'a>(
    facts: &Facts<'a>,
    ingress: Option<&'a Ingress>,
    keys: &(&str, &str),
) -> Option<Found<'a>> {
    let mut found = ingress.map(|i| written(facts, &i.meta, keys)).unwrap_or_default();
    found.extend(configured(facts, keys));
    found.into_iter().next()
}

fn is_plain_host(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |l: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !l.is_empty()
            && l.len() <= 63
            && l.chars().all(plain)
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    text.len() <= 253 && text.parse::<std::net::Ipv4Addr>().is_err() && text.split('.').all(label)
}

fn is_list(text: &str) -> bool {
    let entries = text.split([',', '\n']).map(str::trim).filter(|e| !e.is_empty());
    let mut count = 0;
    for entry in entries {
        count += 1;
        let (address, length) = match entry.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (entry, None),
        };
        let Ok(address) = address.parse::<IpAddr>() else { return false };
        let (bits, least) = match address {
            IpAddr::V4(_) => (32, 0),
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => (128, 96),
            IpAddr::V6(_) => (128, 0),
        };
        let fits = |l: &str| {
            let digits = !l.is_empty() && l.bytes().all(|b| b.is_ascii_digit());
            digits && l.parse::<u8>().is_ok_and(|n| (least..=bits).contains(&n))
        };
        if !length.is_none_or(fits) {
            return false;
        }
    }
    count > 0
}
