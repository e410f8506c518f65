//! Values of flags: names, durations, sizes, addresses. Text in, typed value or a sentence out.

use std::path::PathBuf;
use std::time::Duration;

use tidegate_core::world::object::{Address, Name};

use crate::ports::Endpoint;

/// A Service and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend(pub Name, pub u16);

/// `namespace/name`.
///
/// # Errors
/// A sentence for the user.
pub fn name(text: &str) -> Result<Name, String> {
    match text.split_once('/') {
        Some((namespace, name))
            if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
        {
            Ok(Name::new(namespace, name))
        }
        Some(_) | None => Err("write NAMESPACE/NAME".to_owned()),
    }
}

/// `namespace/name:port`, or without a port for the Service's first one, which is port 0 here.
///
/// # Errors
/// A sentence for the user.
pub fn backend(text: &str) -> Result<Backend, String> {
    let wrong = || "write NAMESPACE/NAME:PORT".to_owned();
    let (object, port) = match text.rsplit_once(':') {
        Some((object, port)) => (object, port.parse().map_err(|_| wrong())?),
        None => (text, 0),
    };
    Ok(Backend(name(object).map_err(|_| wrong())?, port))
}

/// Most ports that are reserved: each takes a descriptor of HAProxy per address.
const PORTS_MAX: u16 = 10_000;

/// `first-last`, ports.
///
/// # Errors
/// A sentence for the user.
pub fn ports(text: &str) -> Result<(u16, u16), String> {
    let wrong = || "write FIRST-LAST, such as 20000-20099".to_owned();
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let port = |text: &str| text.parse().ok().filter(|port| *port > 0).ok_or_else(wrong);
    let (first, last) = (port(first)?, port(last)?);
    if last < first {
        return Err(wrong());
    }
    if last - first >= PORTS_MAX {
        return Err(format!("at most {PORTS_MAX} ports can be kept"));
    }
    Ok((first, last))
}

/// `key=value`, a label.
///
/// # Errors
/// A sentence for the user.
pub fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("write KEY=VALUE".to_owned()),
    }
}

/// An IP address or a DNS name.
///
/// # Errors
/// A sentence for the user.
pub fn published(text: &str) -> Result<Address, String> {
    if let Ok(address) = text.parse() {
        return Ok(Address::Ip(address));
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    if !text.is_empty() && text.bytes().all(is_name) {
        return Ok(Address::Host(text.to_ascii_lowercase().into()));
    }
    Err("write an IP address or a DNS name".to_owned())
}

/// `500ms`, `5s`, `10m`, `1h`.
///
/// # Errors
/// A sentence for the user.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number with a unit: 500ms, 5s, 10m or 1h".to_owned();
    let (number, unit) = split_unit(text).ok_or_else(wrong)?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(ms).map(Duration::from_millis).ok_or_else(|| "too long".to_owned())
}

/// `64KiB`, `256MiB`, `1GiB`, or bytes.
///
/// # Errors
/// A sentence for the user.
pub fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || "write a number with a unit: 64KiB, 256MiB or 1GiB".to_owned();
    let (number, unit) = split_unit(text).ok_or_else(wrong)?;
    let shift = match unit {
        "" | "B" => 0,
        "KiB" | "Ki" => 10,
        "MiB" | "Mi" => 20,
        "GiB" | "Gi" => 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(1 << shift).ok_or_else(|| "too large".to_owned())
}

/// A path with a `/` in front, or `host:port`.
///
/// # Errors
/// A sentence for the user.
pub fn endpoint(text: &str) -> Result<Endpoint, String> {
    if text.starts_with(['/', '.']) {
        return Ok(Endpoint::Unix(PathBuf::from(text)));
    }
    let wrong = || "write a path that begins with / or ., or ADDRESS:PORT".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return Err(wrong());
    }
    Ok(Endpoint::Tcp(host.to_owned(), port.parse().map_err(|_| wrong())?))
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_needed_and_understood() {
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert!(duration("5").is_err() && duration("s").is_err() && duration("1d").is_err());
        assert_eq!(bytes("2MiB"), Ok(2 << 20));
        assert!(bytes("99999999999999GiB").is_err() && bytes("1MB").is_err());
    }

    #[test]
    fn names_and_addresses_are_understood() {
        assert_eq!(backend("a/b:80"), Ok(Backend(Name::new("a", "b"), 80)));
        assert_eq!(ports("20000-20099"), Ok((20_000, 20_099)));
        assert!(ports("2-1").is_err() && ports("0-9").is_err() && ports("1-60000").is_err());
        assert_eq!(backend("a/b"), Ok(Backend(Name::new("a", "b"), 0)), "the first port");
        assert!(backend("a/b:x").is_err() && backend("b:80").is_err() && name("a/b/c").is_err());
        assert_eq!(endpoint("[::1]:80"), Ok(Endpoint::Tcp("::1".into(), 80)));
        assert_eq!(endpoint("/run/x"), Ok(Endpoint::Unix("/run/x".into())));
        assert!(endpoint("x").is_err() && endpoint(":80").is_err());
    }
}
