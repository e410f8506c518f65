//! Decoding of `v1/Secret`: checks certificates, keys and lists of users, hands their bytes to the
//! vault and keeps only public facts.
//!
//! A bundle for HAProxy is re-encoded from what was parsed: leaf first, then the rest of the
//! chain, then the key; lines end in `\n`, and there are no blank lines, as a payload on HAProxy's
//! command line ends at the first one. Messages never repeat content.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::SignatureAlgorithm;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::SigningKey;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::{self, PemObject, SectionKind};
use std::collections::BTreeSet;
use std::sync::Arc;
use tidegate_core::world::object::{
    AuthorityFacts, CertificateFacts, KeyAlgorithm, Meta, Secret, UserFacts,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::auth::list::{self, List};
use crate::vault::Vault;

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const AUTHORITY: &str = "ca.crt";
const REVOCATION: &str = "ca.crl";

/// Longest PEM text that is looked at, in bytes; a Secret holds at most 1 MiB.
const PEM_BYTES_MAX: usize = 1 << 20;

/// A certificate chain and its key, as HAProxy loads them, and the facts about them.
pub struct CertificateBundle {
    /// PEM: leaf, rest of the chain, key.
    pub pem: Vec<u8>,
    /// Algorithm of the key.
    pub algorithm: KeyAlgorithm,
    /// DNS names of the leaf, lower case.
    pub names: Vec<Box<str>>,
    /// Validity of the leaf, seconds since 1970.
    pub not_before: i64,
    /// Validity of the leaf, seconds since 1970.
    pub not_after: i64,
}

/// Certificates of authorities, as HAProxy loads them.
pub struct AuthorityBundle {
    /// PEM.
    pub pem: Vec<u8>,
    /// Earliest end of validity, seconds since 1970.
    pub not_after: i64,
    /// Whether there are lists of revoked certificates in it.
    pub revokes: bool,
}

/// The Secret of its parts. `stringData` wins over `data`, as in the API.
pub(super) fn secret(
    meta: Meta,
    data: &[(Box<str>, Box<str>)],
    string_data: &[(Box<str>, Box<str>)],
    vault: &Vault,
) -> Secret {
    let certificate = value(data, string_data, CERTIFICATE);
    let key = value(data, string_data, KEY);
    let authority = value(data, string_data, AUTHORITY);
    let revocation = value(data, string_data, REVOCATION);
    Secret {
        meta,
        authority: authority_of(authority, certificate.as_ref(), revocation, vault),
        certificate: certificate_of(certificate, key, vault),
        users: users_of(data, string_data, vault),
    }
}

/// The users of a Secret without certificates: any key may be one.
fn users_of(
    data: &[(Box<str>, Box<str>)],
    string_data: &[(Box<str>, Box<str>)],
    vault: &Vault,
) -> Option<Result<UserFacts, Box<str>>> {
    let keys: BTreeSet<&str> = data.iter().chain(string_data).map(|(key, _)| &**key).collect();
    if keys.iter().any(|key| matches!(*key, CERTIFICATE | KEY | AUTHORITY)) {
        return None;
    }
    let values = keys.into_iter().filter_map(|key| Some((key, value(data, string_data, key)?)));
    Some(
        list::read(&values.collect::<Vec<_>>())
            .map(|List { text, refused }| UserFacts { digest: vault.admit(text), refused }),
    )
}

/// The value of a key; `Err` when it is not base64.
fn value(
    data: &[(Box<str>, Box<str>)],
    string_data: &[(Box<str>, Box<str>)],
    key: &str,
) -> Option<Result<Vec<u8>, Box<str>>> {
    let find = |pairs: &[(Box<str>, Box<str>)]| {
        pairs.iter().find(|(k, _)| &**k == key).map(|(_, v)| v.clone())
    };
    if let Some(plain) = find(string_data) {
        return Some(Ok(plain.into_boxed_bytes().into_vec()));
    }
    let mut encoded = find(data)?.into_boxed_bytes().into_vec();
    encoded.retain(|byte| !byte.is_ascii_whitespace());
    Some(STANDARD.decode(&encoded).map_err(|_| format!("{key} is not valid base64").into()))
}

fn certificate_of(
    certificate: Option<Result<Vec<u8>, Box<str>>>,
    key: Option<Result<Vec<u8>, Box<str>>>,
    vault: &Vault,
) -> Option<Result<CertificateFacts, Box<str>>> {
    let (certificate, key) = match (certificate, key) {
        (None, None) => return None,
        (Some(_), None) => return Some(Err("tls.key is missing".into())),
        (None, Some(_)) => return Some(Err("tls.crt is missing".into())),
        (Some(Err(what)), Some(_)) | (Some(_), Some(Err(what))) => return Some(Err(what)),
        (Some(Ok(certificate)), Some(Ok(key))) => (certificate, key),
    };
    Some(certificate_bundle(&certificate, &key).map(|bundle| {
        let CertificateBundle { pem, algorithm, names, not_before, not_after } = bundle;
        let digest = vault.admit(pem);
        CertificateFacts { digest, algorithm, names, not_before, not_after }
    }))
}

/// Authorities are in `ca.crt`, or, as haproxytech has it, in `tls.crt`.
fn authority_of(
    authority: Option<Result<Vec<u8>, Box<str>>>,
    certificate: Option<&Result<Vec<u8>, Box<str>>>,
    revocation: Option<Result<Vec<u8>, Box<str>>>,
    vault: &Vault,
) -> Option<Result<AuthorityFacts, Box<str>>> {
    let (key, text) = match (authority, certificate) {
        (Some(Ok(text)), _) => (AUTHORITY, text),
        (Some(Err(what)), _) => return Some(Err(what)),
        (None, Some(Ok(text))) if holds_authorities_only(text) => (CERTIFICATE, text.clone()),
        (None, _) => return None,
    };
    let revocation = match revocation {
        Some(Err(what)) => return Some(Err(what)),
        Some(Ok(text)) => Some(text),
        None => None,
    };
    let bundle = authority_bundle(key, &text, revocation.as_deref());
    Some(bundle.map(|AuthorityBundle { pem, not_after, revokes }| AuthorityFacts {
        digest: vault.admit(pem),
        not_after,
        revokes,
    }))
}

/// Checks a chain and its key. The chain may be in any order: the certificate of the key comes
/// first in the bundle, the others stay in the order of issuers as far as they form one.
///
/// # Errors
/// What is wrong with the texts, in words without any of their content.
pub fn certificate_bundle(certificate: &[u8], key: &[u8]) -> Result<CertificateBundle, Box<str>> {
    let chain = certificates(CERTIFICATE, certificate)?;
    let (label, key_der) = private_key(key)?;
    let parsed = parse_all(CERTIFICATE, &chain)?;
    let private = PrivateKeyDer::try_from(key_der.as_slice())
        .ok()
        .and_then(|der| any_supported_type(&der).ok())
        .ok_or(
            "the key in tls.key is not one tidegate can check (RSA of 2048 to 8192 bits, ECDSA \
                P-256 or P-384, Ed25519)",
        )?;
    let leaf = parsed
        .iter()
        .position(|certificate| is_key_of(private.as_ref(), certificate))
        .ok_or("the key in tls.key does not belong to any certificate in tls.crt")?;
    let order = chain_order(&parsed, leaf);
    let mut pem = Vec::with_capacity(certificate.len() + key.len());
    for at in order {
        if let Some(der) = chain.get(at) {
            encode(&mut pem, "CERTIFICATE", der);
        }
    }
    encode(&mut pem, label, &key_der);
    let leaf = parsed.get(leaf).ok_or("tls.crt holds no certificate")?;
    Ok(CertificateBundle {
        pem,
        algorithm: algorithm_of(&private),
        names: dns_names(leaf),
        not_before: leaf.validity().not_before.timestamp(),
        not_after: leaf.validity().not_after.timestamp(),
    })
}

/// Checks certificates of authorities, and lists of what they revoked; `key` names the text of the
/// certificates in messages.
///
/// # Errors
/// What is wrong with the texts, in words without any of their content.
pub fn authority_bundle(
    key: &str,
    text: &[u8],
    revocation: Option<&[u8]>,
) -> Result<AuthorityBundle, Box<str>> {
    let chain = certificates(key, text)?;
    let parsed = parse_all(key, &chain)?;
    let not_after = parsed.iter().map(|c| c.validity().not_after.timestamp()).min();
    let mut pem = Vec::with_capacity(text.len());
    for der in &chain {
        encode(&mut pem, "CERTIFICATE", der);
    }
    for der in revocation.map(revocations).transpose()?.unwrap_or_default() {
        encode(&mut pem, "X509 CRL", &der);
    }
    let revokes = revocation.is_some();
    Ok(AuthorityBundle { pem, not_after: not_after.unwrap_or(0), revokes })
}

/// Lists of revoked certificates. HAProxy tells two lists of an authority apart by their numbers
/// only, so a list without number could leave sessions of revoked certificates resumable.
fn revocations(text: &[u8]) -> Result<Vec<Vec<u8>>, Box<str>> {
    let mut lists = Vec::new();
    for (kind, der) in sections(REVOCATION, text)? {
        if kind != SectionKind::Crl {
            continue;
        }
        let number = match CertificateRevocationList::from_der(&der) {
            Ok(([], list)) => list.crl_number().is_some(),
            Ok(_) | Err(_) => {
                return Err("ca.crl holds something that is no X.509 revocation list".into());
            }
        };
        if !number {
            return Err("ca.crl has a list without a CRL number".into());
        }
        lists.push(der);
    }
    if lists.is_empty() {
        return Err("ca.crl holds no PEM revocation list".into());
    }
    Ok(lists)
}

fn sections(key: &str, text: &[u8]) -> Result<Vec<(SectionKind, Vec<u8>)>, Box<str>> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(format!("{key} is empty").into());
    }
    if text.len() > PEM_BYTES_MAX {
        return Err(format!("{key} is longer than {PEM_BYTES_MAX} bytes").into());
    }
    let found: Result<Vec<_>, pem::Error> =
        <(SectionKind, Vec<u8>)>::pem_slice_iter(text).collect();
    found.map_err(|_| format!("{key} is damaged: a PEM section has no end or is not base64").into())
}

fn certificates(key: &str, text: &[u8]) -> Result<Vec<Vec<u8>>, Box<str>> {
    let mut chain: Vec<Vec<u8>> = Vec::new();
    for (kind, der) in sections(key, text)? {
        if kind == SectionKind::Certificate && !chain.contains(&der) {
            chain.push(der);
        }
    }
    if chain.is_empty() {
        return Err(format!("{key} holds no PEM certificate").into());
    }
    Ok(chain)
}

/// The first private key and its PEM label.
fn private_key(text: &[u8]) -> Result<(&'static str, Vec<u8>), Box<str>> {
    let contains = |needle: &[u8]| text.windows(needle.len()).any(|window| window == needle);
    if contains(b"BEGIN ENCRYPTED PRIVATE KEY") || contains(b"Proc-Type: 4,ENCRYPTED") {
        return Err("the key in tls.key is encrypted; store it without a passphrase".into());
    }
    for (kind, der) in sections(KEY, text)? {
        match kind {
            SectionKind::PrivateKey => return Ok(("PRIVATE KEY", der)),
            SectionKind::RsaPrivateKey => return Ok(("RSA PRIVATE KEY", der)),
            SectionKind::EcPrivateKey => return Ok(("EC PRIVATE KEY", der)),
            _ => {}
        }
    }
    Err("tls.key holds no PEM private key".into())
}

fn parse_all<'a>(key: &str, chain: &'a [Vec<u8>]) -> Result<Vec<X509Certificate<'a>>, Box<str>> {
    let parse = |der: &'a Vec<u8>| match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(format!("{key} holds something that is no X.509 certificate").into()),
    };
    chain.iter().map(parse).collect()
}

fn is_key_of(private: &dyn SigningKey, certificate: &X509Certificate<'_>) -> bool {
    private.public_key().is_some_and(|public| *public == *certificate.public_key().raw)
}

/// Indices: the leaf, then each time the issuer of the last one, then what is left over.
fn chain_order(chain: &[X509Certificate<'_>], leaf: usize) -> Vec<usize> {
    let mut left: Vec<usize> = (0..chain.len()).filter(|at| *at != leaf).collect();
    let mut order = vec![leaf];
    let mut last = leaf;
    let issues = |issuer: usize, of: usize| match (chain.get(issuer), chain.get(of)) {
        (Some(issuer), Some(of)) => issuer.subject().as_raw() == of.issuer().as_raw(),
        (None, _) | (_, None) => false,
    };
    while let Some(at) = left.iter().position(|candidate| issues(*candidate, last)) {
        last = left.remove(at);
        order.push(last);
    }
    order.extend(left);
    order
}

fn algorithm_of(private: &Arc<dyn SigningKey>) -> KeyAlgorithm {
    match private.algorithm() {
        SignatureAlgorithm::RSA => KeyAlgorithm::Rsa,
        SignatureAlgorithm::ECDSA => KeyAlgorithm::Ecdsa,
        _ => KeyAlgorithm::Other,
    }
}

fn dns_names(certificate: &X509Certificate<'_>) -> Vec<Box<str>> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = extension.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into()),
            _ => None,
        })
        .collect()
}

fn holds_authorities_only(text: &[u8]) -> bool {
    let Ok(chain) = certificates(CERTIFICATE, text) else { return false };
    parse_all(CERTIFICATE, &chain).is_ok_and(|parsed| parsed.iter().all(|c| c.is_ca()))
}

fn encode(out: &mut Vec<u8>, label: &str, der: &[u8]) {
    out.extend_from_slice(format!("-----BEGIN {label}-----\n").as_bytes());
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
}
