//! The certificates presented for a host.
//!
//! The oldest Ingress with a TLS entry for the host decides; others of its namespace may add a
//! certificate of another key algorithm, so that RSA and ECDSA are served side by side. A Secret
//! that cannot be used leaves the host with the default certificate (Ingress v1, `spec.tls`).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::client::{self, Handshake};
use super::{Piece, class};
use crate::annotations::Registry;
use crate::desired::Contribution;
use crate::digest::Digest;
use crate::problem::{Problem, Reason, Severity};
use crate::world::host;
use crate::world::lookup::Lookup;
use crate::world::object::{Ingress, KeyAlgorithm, Kind, Name, ObjectRef, Tls};

/// The crt-list entries of a host, but for those that come with its routes because clients are asked
/// for certificates.
pub fn project(lookup: &mut Lookup<'_>, registry: &Registry, host: &Arc<str>) -> Piece {
    let mut piece = Piece::default();
    let digests = choose(lookup, host, &mut piece);
    if !matches!(client::handshake(lookup, registry, host), Handshake::Checks(..)) {
        let entry = |digest| Contribution::Certificate(digest, host.clone());
        piece.contributions.extend(digests.into_iter().map(entry));
    }
    piece
}

/// The certificates of a host that has a TLS entry.
pub fn chosen(lookup: &mut Lookup<'_>, host: &Arc<str>) -> Vec<Digest> {
    choose(lookup, host, &mut Piece::default())
}

fn choose(lookup: &mut Lookup<'_>, host: &Arc<str>, piece: &mut Piece) -> Vec<Digest> {
    let mut ingresses = Vec::new();
    for name in lookup.ingresses_of_tls_host(host) {
        let Some(ingress) = lookup.ingress(&name) else { continue };
        if class::is_ours(lookup, ingress) && class::quarantined(lookup, ingress).is_none() {
            ingresses.push(ingress);
        }
    }
    ingresses.sort_by(|a, b| a.meta.seniority().cmp(&b.meta.seniority()));
    let mut chosen: BTreeMap<KeyAlgorithm, (Name, Name)> = BTreeMap::new();
    let mut digests = Vec::new();
    for ingress in &ingresses {
        for (index, tls) in ingress.tls.iter().enumerate() {
            if let Some(secret) = secret_for(ingress, tls, host) {
                let claim = Claim { ingress, index, secret, host };
                digests.extend(claim.settle(lookup, &mut chosen, piece));
            }
        }
    }
    digests
}

/// One Ingress's wish to present one Secret for the host.
struct Claim<'a> {
    ingress: &'a Ingress,
    index: usize,
    secret: Name,
    host: &'a Arc<str>,
}

impl Claim<'_> {
    fn settle(
        self,
        lookup: &mut Lookup<'_>,
        chosen: &mut BTreeMap<KeyAlgorithm, (Name, Name)>,
        piece: &mut Piece,
    ) -> Option<Digest> {
        let reference = ObjectRef { kind: Kind::Secret, name: self.secret.clone() };
        let withheld = lookup.quarantined(&reference);
        let facts = lookup.secret(&self.secret).map(|secret| &secret.certificate);
        let facts = match (withheld, facts) {
            (Some(why), _) => {
                let what = format!("HAProxy refused Secret {}: {why}", self.secret);
                piece.problems.push(self.problem(Reason::Refused, what));
                return None;
            }
            (None, _) if lookup.is_spoiled() => return None,
            (None, None) => {
                let what = format!("Secret {} does not exist", self.secret);
                piece.problems.push(self.problem(Reason::NotFound, what));
                return None;
            }
            (None, Some(None)) => {
                let what = format!("Secret {} has neither tls.crt nor tls.key", self.secret);
                piece.problems.push(self.problem(Reason::Unusable, what));
                return None;
            }
            (None, Some(Some(Err(why)))) => {
                let what = format!("Secret {} cannot be used: {why}", self.secret);
                piece.problems.push(self.problem(Reason::Unusable, what));
                return None;
            }
            (None, Some(Some(Ok(facts)))) => facts,
        };
        let owner_namespace = chosen.values().next().map(|(owner, _)| &owner.namespace);
        let foreign = owner_namespace.is_some_and(|ns| *ns != self.ingress.meta.name.namespace);
        match chosen.get(&facts.algorithm) {
            Some((_, secret)) if *secret == self.secret => {}
            Some((owner, _)) => piece.problems.push(self.conflict(owner)),
            None if foreign => {
                let owner = chosen.values().next().map(|(owner, _)| owner.clone());
                piece.problems.extend(owner.map(|owner| self.conflict(&owner)));
            }
            None => {
                let owner = (self.ingress.meta.name.clone(), self.secret.clone());
                chosen.insert(facts.algorithm, owner);
                return Some(facts.digest);
            }
        }
        None
    }

    fn problem(&self, reason: Reason, what: String) -> Problem {
        Problem {
            object: ObjectRef { kind: Kind::Ingress, name: self.ingress.meta.name.clone() },
            field: format!("spec.tls[{}].secretName", self.index).into(),
            reason,
            severity: Severity::Error,
            what,
            instead: format!("{} is served with the default certificate", self.host),
            fix: "put a certificate chain into tls.crt and its private key into tls.key"
                .to_string(),
        }
    }

    fn conflict(&self, owner: &Name) -> Problem {
        Problem {
            object: ObjectRef { kind: Kind::Ingress, name: self.ingress.meta.name.clone() },
            field: format!("spec.tls[{}]", self.index).into(),
            reason: Reason::Conflict,
            severity: Severity::Warning,
            what: format!("Ingress {owner} is older and gives another Secret for {}", self.host),
            instead: format!("the Secret of Ingress {owner} is presented"),
            fix: format!("name the same Secret in both, or remove {} from one", self.host),
        }
    }
}

fn secret_for(ingress: &Ingress, tls: &Tls, wanted: &Arc<str>) -> Option<Name> {
    let secret = tls.secret.as_ref().filter(|s| !s.is_empty())?;
    let named = tls.hosts.iter().any(|h| host::parse(h).as_ref() == Ok(wanted));
    let implied = tls.hosts.is_empty()
        && ingress.rules.iter().any(|r| host::parse(&r.host).as_ref() == Ok(wanted));
    (named || implied)
        .then(|| Name { namespace: ingress.meta.name.namespace.clone(), name: secret.clone() })
}
