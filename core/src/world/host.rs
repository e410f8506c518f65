//! Host names as Ingress writes them (RFC 1123, wildcard in the first label only).

use alloc::string::String;
use alloc::sync::Arc;

/// Parses a host of an Ingress rule or TLS entry: lower case, without a trailing dot. The empty
/// host means "every host nobody claims". The error says what is wrong.
///
/// # Errors
/// When the text is no DNS name, nor one with `*` as its whole first label.
pub fn parse(text: &str) -> Result<Arc<str>, &'static str> {
    if text.is_empty() {
        return Ok("".into());
    }
    let host = text.strip_suffix('.').unwrap_or(text);
    if host.len() > 253 {
        return Err("is longer than 253 characters");
    }
    if host.contains(':') {
        return Err("must not contain a port");
    }
    let labels = host.strip_prefix("*.").unwrap_or(host);
    if labels.is_empty() || host == "*" {
        return Err("needs a domain after `*.`");
    }
    if labels.parse::<core::net::Ipv4Addr>().is_ok() {
        return Err("must be a name, not an IP address");
    }
    for label in labels.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err("has an empty label or one longer than 63 characters");
        }
        if label.contains('*') {
            return Err("may have `*` only as its whole first label");
        }
        let inside = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !inside || label.starts_with('-') || label.ends_with('-') {
            return Err("has characters that a DNS name cannot have");
        }
    }
    let lower: String = host.to_ascii_lowercase();
    Ok(lower.into())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn names_are_normalised_and_bad_ones_refused() {
        assert_eq!(parse("Foo.Example.COM.").as_deref(), Ok("foo.example.com"));
        assert_eq!(parse("*.foo.com").as_deref(), Ok("*.foo.com"));
        assert_eq!(parse("").as_deref(), Ok(""));
        for bad in [
            "*",
            "*.",
            "a.*.com",
            "a*.com",
            "10.0.0.1",
            "a..b",
            "-a.com",
            "a-.com",
            "a b",
            "a/b",
            "a:80",
            "a|b",
            "münchen.de",
            "a\nb",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
