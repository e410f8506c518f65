//! The HTTPS listener: which certificate, protocols and TLS versions are offered to clients.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::secrets::can_exist;
use super::value::{self, quoted};
use super::{Annotation, Apply, Family, Mechanism, OnError, Refusal, Scopes};
use crate::desired::Skeleton;
use crate::render::crt_list::FILE;
use crate::world::object::Name;

/// Name of the option for ALPN.
pub const ALPN: &str = "tidegate-tls-alpn";
/// Name of the option for names that must be known.
pub const STRICT: &str = "tidegate-strict-sni";
/// Name of the option for the oldest version of TLS.
pub const MIN_VERSION: &str = "tidegate-tls-min";
/// Name of the option that switches the resumption of TLS sessions off.
pub const FULL_HANDSHAKES: &str = "tidegate-full-handshakes";

/// The key of the default certificate.
pub const DEFAULT_CERTIFICATE: &str = "default-certificate";

/// The family.
pub const FAMILY: Family = Family {
    title: "HTTPS listener",
    about: "What is offered to clients on the HTTPS port. These are options of HAProxy's listener, \
            which it sets up once: changing one reloads, but for the default certificate.",
    fields: &[],
    keys: &[
        Annotation {
            key: DEFAULT_CERTIFICATE,
            haproxy: Some("ssl-certificate"),
            scopes: Scopes::C,
            syntax: "Secret, NAMESPACE/NAME",
            default: "that of --default-certificate, else a self-signed one",
            about: "Certificate for connections without a name, and for names that have no other. \
                    Wins over the flag. Its content changes at run time.",
            example: "tidegate/default-tls",
            mechanism: Mechanism::Record,
            on_error: OnError::Default,
            apply: Apply::Judged(secret),
        },
        Annotation {
            key: "client-strict-sni",
            haproxy: Some("client-strict-sni"),
            scopes: Scopes::C,
            syntax: "true or false",
            default: "false",
            about: "Breaks the handshake off for clients that name no host, or one without a \
                    certificate of its own, instead of presenting the default certificate. \
                    HAProxy sets its listeners up once.",
            example: "true",
            mechanism: Mechanism::Skeleton,
            on_error: OnError::Default,
            apply: Apply::Skeleton(strict),
        },
        Annotation {
            key: "tls-alpn",
            haproxy: Some("tls-alpn"),
            scopes: Scopes::C,
            syntax: "comma-separated: h2, http/1.1, http/1.0",
            default: "h2,http/1.1",
            about: "Protocols offered to clients within TLS, the preferred one first. HAProxy sets its \
                    listeners up once.",
            example: "http/1.1",
            mechanism: Mechanism::Skeleton,
            on_error: OnError::Default,
            apply: Apply::Skeleton(alpn),
        },
        Annotation {
            key: "tls-min-version",
            haproxy: None,
            scopes: Scopes::C,
            syntax: "TLSv1.0, TLSv1.1, TLSv1.2 or TLSv1.3",
            default: "TLSv1.2",
            about: "Oldest version of TLS that clients may use. What OpenSSL's own settings forbid \
                    stays forbidden, and HTTP/3 is TLS 1.3. HAProxy sets its listeners up once.",
            example: "TLSv1.3",
            mechanism: Mechanism::Skeleton,
            on_error: OnError::Default,
            apply: Apply::Skeleton(min_version),
        },
    ],
    finish: None,
    finish_route: None,
    rules: &[],
};

/// The options of a listener of TLS that offers these protocols: certificates by name, and no
/// handshake broken off over a client's certificate, as the rules judge it.
#[must_use]
pub fn options(skeleton: &Skeleton, alpn: &str) -> String {
    let strict = if skeleton.options.contains_key(STRICT) { " strict-sni" } else { "" };
    format!("ssl crt-list {FILE} alpn {alpn} ca-ignore-err all crt-ignore-err all{strict}")
}

fn secret(text: &str) -> Result<(), Refusal> {
    if is_secret(text) {
        return Ok(());
    }
    Err(Refusal::new(format!("{} does not name a Secret", quoted(text)), "write NAMESPACE/NAME"))
}

/// Whether a text is NAMESPACE/NAME of a Secret.
#[must_use]
pub fn is_secret(text: &str) -> bool {
    text.trim()
        .split_once('/')
        .is_some_and(|(namespace, name)| can_exist(&Name::new(namespace, name)))
}

fn strict(text: &str) -> Result<(&'static str, String), Refusal> {
    // An option that nobody reads stands for the default.
    let option = if value::boolean(text)? { STRICT } else { "tidegate-any-sni" };
    Ok((option, "1".to_string()))
}

fn alpn(text: &str) -> Result<(&'static str, String), Refusal> {
    let mut protocols: Vec<&str> = Vec::new();
    for protocol in text.split(',').map(str::trim) {
        if !["h2", "http/1.1", "http/1.0"].contains(&protocol) || protocols.contains(&protocol) {
            return Err(Refusal::new(
                format!("{} is no protocol to offer, or is there twice", quoted(protocol)),
                "use h2, http/1.1 and http/1.0, with commas between",
            ));
        }
        protocols.push(protocol);
    }
    Ok((ALPN, protocols.join(",")))
}

fn min_version(text: &str) -> Result<(&'static str, String), Refusal> {
    match text.trim() {
        version @ ("TLSv1.0" | "TLSv1.1" | "TLSv1.2" | "TLSv1.3") => {
            Ok((MIN_VERSION, version.to_string()))
        }
        other => Err(Refusal::new(
            format!("{} is not a version of TLS", quoted(other)),
            "use TLSv1.0, TLSv1.1, TLSv1.2 or TLSv1.3",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_listener_are_those_of_haproxy_and_no_others() {
        assert_eq!(alpn(" http/1.1 , h2"), Ok((ALPN, "http/1.1,h2".into())));
        assert_eq!(strict("on"), Ok((STRICT, "1".into())));
        assert!(strict("false").is_ok_and(|(option, _)| option != STRICT));
        assert_eq!(min_version("TLSv1.3"), Ok((MIN_VERSION, "TLSv1.3".into())));
        assert!(secret("a/b").is_ok());
        for bad in ["", "h2,h2", "h3", "h2 ssl", "spdy/1"] {
            assert!(alpn(bad).is_err(), "{bad}");
        }
        for bad in ["", "b", "a/", "/b", "a/b/c"] {
            assert!(secret(bad).is_err(), "{bad}");
        }
        assert!(min_version("SSLv3").is_err());
    }
}
