//! Total parsers for the values of annotations. Each says what is wrong and what would be right.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;

use super::Refusal;
use crate::sabotage::{Mistake, is_planted};

/// `true` or `false`; `on`, `off`, `enabled`, `disabled` are taken too, as haproxytech does.
///
/// # Errors
/// Anything else.
pub fn boolean(text: &str) -> Result<bool, Refusal> {
    match text.trim() {
        "true" | "on" | "enabled" => Ok(true),
        "false" | "off" | "disabled" => Ok(false),
        other => {
            Err(Refusal::new(format!("{} is not a boolean", quoted(other)), "write true or false"))
        }
    }
}

/// A duration in milliseconds: an integer with `us`, `ms`, `s`, `m`, `h` or `d`, or without a
/// unit for milliseconds (HAProxy configuration manual, section 2.5). At most 24 days, HAProxy's
/// limit; at least 1 ms.
///
/// # Errors
/// Anything else.
pub fn duration_ms(text: &str) -> Result<u64, Refusal> {
    let bad = || {
        Refusal::new(
            format!("{} is not a duration", quoted(text)),
            "write a whole number with ms, s, m, h or d, such as 30s",
        )
    };
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = trimmed.split_at(digits);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let (number, factor) = match unit {
        "us" if number < 1_000 => return Err(bad()),
        "us" => (number / 1_000, 1),
        "" | "ms" => (number, 1),
        "s" => (number, 1_000),
        "m" => (number, 60_000),
        "h" => (number, 3_600_000),
        "d" => (number, 86_400_000),
        _ => return Err(bad()),
    };
    match number.checked_mul(factor) {
        Some(ms @ 1..=2_073_600_000) => Ok(ms),
        _ => Err(Refusal::new(
            format!("{} is out of range", quoted(text)),
            "use a duration between 1ms and 24d",
        )),
    }
}

/// A whole number within bounds.
///
/// # Errors
/// Anything else.
pub fn integer(text: &str, min: u64, max: u64) -> Result<u64, Refusal> {
    match text.trim().parse::<u64>() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(Refusal::new(
            format!("{} is not a whole number between {min} and {max}", quoted(text)),
            format!("use a number between {min} and {max}"),
        )),
    }
}

/// A header name: letters, digits, `-`, `_` and `.`, of the tokens of RFC 9110, section 5.6.2. Names that carry framing or routing are
/// refused, since to change them is to smuggle requests.
///
/// # Errors
/// Anything else.
pub fn header_name(text: &str) -> Result<String, Refusal> {
    // Of the token characters only those that mean nothing to HAProxy's configuration: before 3.4
    // names stand in static rules.
    let is_token = |b: u8| {
        b.is_ascii_alphanumeric()
            || b"-_.".contains(&b)
            || is_planted(Mistake::AnyHeaderName) && b.is_ascii_graphic()
            || is_planted(Mistake::PercentName) && b == b'%'
    };
    let looked_at = if is_planted(Mistake::UnanchoredName) { 1 } else { text.len() };
    if text.is_empty() || text.len() > 256 || !text.bytes().take(looked_at).all(is_token) {
        return Err(Refusal::new(
            format!("{} is not a header name", quoted(text)),
            "use letters, digits and -",
        ));
    }
    let framing = ["content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"];
    if framing.iter().any(|name| name.eq_ignore_ascii_case(text)) {
        return Err(Refusal::new(
            format!("the header {text} frames the message and cannot be changed"),
            "remove it",
        ));
    }
    Ok(text.to_ascii_lowercase())
}

/// A header value: visible characters, spaces and tabs (RFC 9110, section 5.5), trimmed.
///
/// # Errors
/// Control characters, or more than 8 KiB.
pub fn header_value(text: &str) -> Result<&str, Refusal> {
    let trimmed = text.trim();
    if trimmed.len() > 8_192 {
        return Err(Refusal::new("the header value is longer than 8 KiB", "shorten it"));
    }
    let is_bad = |c: char| c.is_control() && c != '\t' && !is_forgotten(c);
    if trimmed.chars().any(is_bad) {
        return Err(Refusal::new(
            "the header value has control characters",
            "remove line breaks and other control characters",
        ));
    }
    Ok(trimmed)
}

/// Whether a character is not thought of, which none is.
fn is_forgotten(c: char) -> bool {
    c == '\r' && is_planted(Mistake::CarriageReturn)
}

/// A network: address and prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    /// Address with the host bits cleared.
    pub address: IpAddr,
    /// Bits that count.
    pub length: u8,
}

/// A comma-separated list of addresses and CIDR networks. Spaces around entries are taken; an
/// IPv4-mapped IPv6 address becomes its IPv4 form.
///
/// # Errors
/// An empty list, or any entry that is no network: a list with a hole protects nothing.
pub fn networks(text: &str) -> Result<Vec<Network>, Refusal> {
    let mut networks = Vec::new();
    for entry in text.split([',', '\n']).map(str::trim).filter(|e| !e.is_empty()) {
        let network = network(entry).ok_or_else(|| {
            Refusal::new(
                format!("{} is neither an IP address nor a network", quoted(entry)),
                "write addresses like 192.0.2.7 or networks like 10.0.0.0/8, 2001:db8::/32",
            )
        })?;
        networks.push(network);
    }
    if networks.is_empty() {
        return Err(Refusal::new("the list is empty", "name at least one address or network"));
    }
    networks.sort_unstable();
    networks.dedup();
    Ok(networks)
}

fn network(text: &str) -> Option<Network> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => {
            let plain = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
            (address, Some(length.parse::<u8>().ok().filter(|_| plain)?))
        }
        None => (text, None),
    };
    let written: IpAddr = address.parse().ok()?;
    let (address, bits, mapped) = match written {
        IpAddr::V4(_) => (written, 32, 0),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => (IpAddr::V4(v4), 32, 96),
            None => (written, 128, 0),
        },
    };
    let length = match length {
        None => bits,
        Some(length) => length.checked_sub(mapped).filter(|l| *l <= bits)?,
    };
    let address = match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    };
    Some(Network { address, length })
}

/// A host name with an optional port, lower case.
///
/// # Errors
/// Anything else.
pub fn host_and_port(text: &str) -> Result<(String, Option<u16>), Refusal> {
    let bad = || {
        Refusal::new(
            format!("{} is not a host name with an optional port", quoted(text)),
            "write a host name such as www.example.com or www.example.com:8443",
        )
    };
    let (host, port) = match text.trim().split_once(':') {
        Some((host, port)) => {
            let port = port.parse::<u16>().ok().filter(|p| *p != 0).ok_or_else(bad)?;
            (host, Some(port))
        }
        None => (text.trim(), None),
    };
    let host = crate::world::host::parse(host).map_err(|_| bad())?;
    if host.is_empty() || host.starts_with('*') {
        return Err(bad());
    }
    Ok((host.to_string(), port))
}

/// A value as a message shows it: short, without control characters.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut shown: String =
        text.chars().take(60).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}
