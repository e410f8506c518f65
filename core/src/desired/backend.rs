//! Backends: one per Service port and set of backend options.
//!
//! The name says everything but the endpoints: two backends with the same name have the same
//! profile and the same server keywords. So a change of options is a new backend, built beside
//! the old one and switched to by one map write, and what runs can be read back by name.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{SocketAddr, SocketAddrV4};

use super::ServerFile;
use crate::digest::Digest;
use crate::sabotage::{Mistake, is_planted};
use crate::settings::Reach;
use crate::snippet::Snippet;
use crate::world::object::Name;

/// A backend and the endpoints that take its traffic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    /// Name in HAProxy; see [`BackendSpec::name`].
    pub name: Arc<str>,
    /// Everything but the endpoints.
    pub spec: Arc<BackendSpec>,
    /// Ready endpoints, sorted, without duplicates.
    pub servers: Vec<SocketAddr>,
}

/// Everything about a backend but its endpoints.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackendSpec {
    /// The Service.
    pub service: Name,
    /// The Service port's name; empty for an unnamed one.
    pub port_name: Box<str>,
    /// The Service port's number.
    pub port: u16,
    /// Named defaults section of the skeleton that it derives from.
    pub profile: Arc<str>,
    /// Server keywords as in the configuration, encoded; empty for none.
    pub keywords: Arc<str>,
    /// Files that the keywords name, sorted.
    pub files: Vec<ServerFile>,
    /// Value in the map of health check requests; `None` without such checks.
    pub check: Option<Arc<str>>,
    /// Lines of its profile, whose name says which.
    pub snippet: Option<Arc<Snippet>>,
    /// How its pods are reached, where that is not what the settings say.
    pub reach: Option<Reach>,
}

impl BackendSpec {
    /// The backend's name: `namespace_service_port`, the port by its name if it has one, and for
    /// other than default options the digest of them. Injective, as no part contains `_`.
    #[must_use]
    pub fn name(&self) -> Arc<str> {
        let BackendSpec {
            service,
            port_name,
            port,
            profile,
            keywords,
            files: _,
            check,
            snippet: _,
            reach,
        } = self;
        let between = if is_planted(Mistake::NamesCollide) { '-' } else { '_' };
        let mut name = String::with_capacity(64);
        name.push_str(&label(&service.namespace));
        name.push(between);
        name.push_str(&label(&service.name));
        name.push(between);
        if port_name.is_empty() {
            name.push_str(&format!("{port}"));
        } else {
            name.push_str(&label(port_name));
        }
        let plain =
            **profile == *crate::render::profile::DEFAULT && keywords.is_empty() && check.is_none();
        let plain = plain && reach.is_none();
        if !plain {
            let check = check.as_deref().unwrap_or("");
            let parts = [profile.as_bytes(), keywords.as_bytes(), check.as_bytes()];
            let reach = reach.map(|reach| reach.name().as_bytes());
            let digest = Digest::of_parts(parts.into_iter().chain(reach));
            name.push('_');
            name.push_str(&digest.short());
        }
        name.into()
    }
}

impl BackendSpec {
    /// Whether its servers are checked actively.
    #[must_use]
    pub fn is_checked(&self) -> bool {
        self.keywords.split(' ').any(|word| word == "check")
    }

    /// The server keywords, without those of checks unless these are on.
    #[must_use]
    pub fn server_keywords(&self, checks: bool) -> Arc<str> {
        if checks || !self.is_checked() {
            return self.keywords.clone();
        }
        let mut kept = String::new();
        let mut words = self.keywords.split(' ');
        while let Some(word) = words.next() {
            match word {
                "check" | "check-ssl" => {}
                "inter" | "check-alpn" | "check-sni" => {
                    words.next();
                }
                word => {
                    if !kept.is_empty() {
                        kept.push(' ');
                    }
                    kept.push_str(word);
                }
            }
        }
        kept.into()
    }
}

/// A name as part of a backend's name: itself if it is what Kubernetes admits, else its digest. A
/// port's name has a letter (RFC 6335), so it is no number.
fn label(text: &str) -> Cow<'_, str> {
    let admitted = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    if !text.is_empty() && text.len() <= 253 && text.bytes().all(admitted) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("x{}", Digest::of(text.as_bytes()).short()))
    }
}

/// The name of the server for an address where servers are made at run time.
#[must_use]
pub fn server_name(address: &SocketAddr) -> Arc<str> {
    match address {
        SocketAddr::V4(four) => {
            let mut name = String::with_capacity("255.255.255.255:65535".len());
            push_address(four, &mut name);
            name.into()
        }
        SocketAddr::V6(six) => format!("{}:{}", six.ip(), six.port()).into(),
    }
}

/// The address in the name of such a server; `None` for the name of a slot.
pub(crate) fn address_in(name: &str) -> Option<SocketAddr> {
    let (ip, port) = name.rsplit_once(':')?;
    Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
}

/// Writes what `Display` does, without its formatting machinery.
pub(crate) fn push_address(address: &SocketAddrV4, out: &mut String) {
    let mut before = "";
    for octet in address.ip().octets() {
        out.push_str(before);
        push_number(u16::from(octet), out);
        before = ".";
    }
    out.push(':');
    push_number(address.port(), out);
}

fn push_number(number: u16, out: &mut String) {
    if number > 9 {
        push_number(number / 10, out);
    }
    out.push(char::from_digit(u32::from(number % 10), 10).unwrap_or('0'));
}

/// The name of a server slot.
#[must_use]
pub fn slot_name(slot: u16) -> Arc<str> {
    format!("s{slot}").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_server_is_named_by_its_address() {
        let addresses = ["0.0.0.0:0", "1.20.255.100:65535", "10.0.0.9:8080", "100.64.0.1:443"];
        for text in addresses {
            assert_eq!(*server_name(&text.parse().unwrap()), *text);
            assert_eq!(address_in(text).unwrap().to_string(), text);
        }
        assert_eq!(*server_name(&"[2001:db8::1]:80".parse().unwrap()), *"2001:db8::1:80");
        assert_eq!(address_in("2001:db8::1:80"), "[2001:db8::1]:80".parse().ok());
        assert_eq!(address_in(&slot_name(12)), None);
    }
}
