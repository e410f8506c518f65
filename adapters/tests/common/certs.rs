//! Certificates that only the tests trust.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use serde_json::Value;

use super::manifest;

/// An RSA key for tests; making one takes seconds in a debug build, and rcgen cannot.
const RSA_KEY: &str = include_str!("../data/rsa.key");

/// An authority.
pub struct Authority {
    /// Its certificate.
    pub pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Issued {
    /// The leaf.
    pub der: Vec<u8>,
    /// Leaf as PEM.
    pub pem: String,
    /// Its key as PEM.
    pub key: String,
}

impl Default for Authority {
    fn default() -> Self {
        Authority::new()
    }
}

impl Authority {
    /// A new one.
    pub fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Neither the name of what it signs, or OpenSSL takes that for self-signed, nor that of
        // another authority, or OpenSSL may take one for the other.
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("authority {} of the tests", MADE.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key).unwrap();
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Authority { pem, der, issuer: Issuer::new(params, key) }
    }

    /// An ECDSA certificate.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.sign(names, &KeyPair::generate().unwrap())
    }

    /// An RSA certificate.
    pub fn issue_rsa(&self, names: &[&str]) -> Issued {
        self.sign(names, &KeyPair::from_pem(RSA_KEY).unwrap())
    }

    fn sign(&self, names: &[&str], key: &KeyPair) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        Issued { der: certificate.der().to_vec(), pem: certificate.pem(), key: key.serialize_pem() }
    }

    /// A store with this authority alone.
    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        Arc::new(roots)
    }
}

impl Issued {
    /// The Secret with it.
    pub fn secret(&self, name: &str) -> Value {
        manifest::secret(name, &[("tls.crt", &self.pem), ("tls.key", &self.key)])
    }
}
