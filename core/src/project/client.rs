//! What the handshake of a host asks of clients, and the lines of the crt-list for it.
//!
//! The handshake goes by name, so there is one answer for a host: that of the oldest Ingress with a
//! rule for it whose `client-ca` can be used. Routes of others that ask for something else are
//! closed. A line needs a certificate to present: the host's own, else its wildcard's, else the
//! default one.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{class, global, tls};
use crate::action::MapId;
use crate::annotations::{Registry, canary, client_certificates};
use crate::applied::LEDGER_CLIENTS;
use crate::desired::{Contribution, HostClients, ServerFile};
use crate::digest::Digest;
use crate::problem::{Problem, Reason, Severity};
use crate::sabotage::{Mistake, is_planted};
use crate::world::lookup::Lookup;
use crate::world::object::{Ingress, Kind, Name, ObjectRef};

/// What is known of clients once the handshake of a host is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// Nothing: no certificate is asked for.
    Open,
    /// Nothing: requests come under any name.
    Unnamed,
    /// Nothing: there is no certificate to present under the name.
    Uncertified,
    /// What the Ingress named asks for.
    Checks(Name, HostClients),
}

/// The handshake of a host.
pub fn handshake(lookup: &mut Lookup<'_>, registry: &Registry, host: &Arc<str>) -> Handshake {
    if host.is_empty() {
        return Handshake::Unnamed;
    }
    let mut ingresses: Vec<&Ingress> = Vec::new();
    for name in lookup.ingresses_of_host(host) {
        let Some(ingress) = lookup.ingress(&name) else { continue };
        // A canary joins routes and asks for nothing itself.
        let asks = !canary::is_marked(&ingress.meta);
        if asks && class::is_ours(lookup, ingress) && class::quarantined(lookup, ingress).is_none()
        {
            ingresses.push(ingress);
        }
    }
    ingresses.sort_by(|a, b| a.meta.seniority().cmp(&b.meta.seniority()));
    for ingress in ingresses {
        if let Some(clients) = client_certificates::wanted(lookup, registry, ingress) {
            if certificates(lookup, registry, host).is_empty() {
                return Handshake::Uncertified;
            }
            return Handshake::Checks(ingress.meta.name.clone(), clients);
        }
    }
    Handshake::Open
}

/// The lines of a host whose clients are checked, the file they name, and on whose word.
pub fn lines(
    lookup: &mut Lookup<'_>,
    registry: &Registry,
    host: &Arc<str>,
    clients: HostClients,
) -> Vec<Contribution> {
    let HostClients { check, owner } = clients;
    let certificates = certificates(lookup, registry, host).into_iter();
    let lines =
        certificates.map(|digest| Contribution::CheckedCertificate(digest, check, host.clone()));
    let mut all: Vec<Contribution> = lines.collect();
    all.push(Contribution::File(ServerFile::Authority(check.authority)));
    let key = format!("{LEDGER_CLIENTS}{host}").into();
    let value = format!("0|{}", owner.short()).into();
    all.push(Contribution::Map(MapId::Ledger, key, value));
    all
}

/// What is presented under the name of a host.
fn certificates(lookup: &mut Lookup<'_>, registry: &Registry, host: &Arc<str>) -> Vec<Digest> {
    let own = tls::chosen(lookup, host);
    if !own.is_empty() {
        return own;
    }
    let parent = host.split_once('.').filter(|(label, _)| *label != "*");
    if let Some((_, domain)) = parent {
        let wildcard = tls::chosen(lookup, &format!("*.{domain}").into());
        if !wildcard.is_empty() {
            return wildcard;
        }
    }
    global::default_digest(lookup, registry).into_iter().collect()
}

impl Handshake {
    /// The Problem of a route that holds clients to something, if this handshake does not.
    #[must_use]
    pub fn objection(
        &self,
        wanted: &HostClients,
        host: &str,
        ingress: Option<&Ingress>,
        config_map: Option<&Name>,
    ) -> Option<Problem> {
        let (field, what, fix) = match self {
            Handshake::Checks(_, held) if held == wanted => return None,
            _ if is_planted(Mistake::AnyHandshake) => return None,
            Handshake::Checks(by, _) => (
                client_field(ingress),
                format!("the older Ingress {by} holds the clients of {host} to something else"),
                "name the same Secret and depth in both, or use another host".to_string(),
            ),
            Handshake::Unnamed => (
                "spec.rules".to_string(),
                "certificates of clients are asked for by host, and this route has none"
                    .to_string(),
                "give the rule a host".to_string(),
            ),
            Handshake::Open | Handshake::Uncertified => (
                "spec.tls".to_string(),
                format!("no certificate can be presented for {host}, so clients show none either"),
                "name a Secret with a certificate in spec.tls, or set a default certificate"
                    .to_string(),
            ),
        };
        let name = ingress.map(|ingress| &ingress.meta.name).or(config_map);
        let kind = if ingress.is_some() { Kind::Ingress } else { Kind::ConfigMap };
        Some(Problem {
            object: ObjectRef {
                kind,
                name: name.cloned().unwrap_or_else(|| Name::new("", "tidegate")),
            },
            field: field.as_str().into(),
            reason: Reason::FailedClosed,
            severity: Severity::Error,
            what,
            instead: "the routes it protects answer 503".to_string(),
            fix,
        })
    }
}

fn client_field(ingress: Option<&Ingress>) -> String {
    let key = client_certificates::KEY;
    if ingress.is_some() {
        format!("metadata.annotations[tidegate.io/{key}]")
    } else {
        format!("data.{key}")
    }
}
