//! Certificates that only the tests trust.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
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
    /// Certificates sent after it.
    pub chain: Vec<Vec<u8>>,
    serial: u64,
}

/// A number that no certificate had before.
fn serial() -> u64 {
    static MADE: AtomicU32 = AtomicU32::new(1000);
    u64::from(MADE.fetch_add(1, Ordering::Relaxed))
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
        let params = Authority::params();
        let certificate = params.self_signed(&key).unwrap();
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Authority { pem, der, issuer: Issuer::new(params, key) }
    }

    /// One whose time is over.
    pub fn expired() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = Authority::params();
        params.not_after = date_time_ymd(2020, 1, 1);
        params.not_before = date_time_ymd(2019, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Authority { pem, der, issuer: Issuer::new(params, key) }
    }

    /// One that this one has signed.
    pub fn intermediate(&self) -> Authority {
        let key = KeyPair::generate().unwrap();
        let params = Authority::params();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Authority { pem, der, issuer: Issuer::new(params, key) }
    }

    fn params() -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Neither the name of what it signs, or OpenSSL takes that for self-signed, nor that of
        // another authority, or OpenSSL may take one for the other.
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("authority {} of the tests", MADE.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        params
    }

    /// Its list of revoked certificates, PEM.
    pub fn revocations(&self, number: u64, revoked: &[&Issued]) -> String {
        let revoked_certs = revoked.iter().map(|issued| RevokedCertParams {
            serial_number: SerialNumber::from(issued.serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// A certificate for a client of this common name.
    pub fn client(&self, name: &str) -> Issued {
        self.client_until(name, 2090)
    }

    /// The same, valid until a year.
    pub fn client_until(&self, name: &str, year: i32) -> Issued {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        self.sign(params, &KeyPair::generate().unwrap())
    }

    /// An ECDSA certificate.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.sign(named(names), &KeyPair::generate().unwrap())
    }

    /// An RSA certificate.
    pub fn issue_rsa(&self, names: &[&str]) -> Issued {
        self.sign(named(names), &KeyPair::from_pem(RSA_KEY).unwrap())
    }

    fn sign(&self, mut params: CertificateParams, key: &KeyPair) -> Issued {
        let serial = serial();
        params.serial_number = Some(SerialNumber::from(serial));
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        Issued {
            der: certificate.der().to_vec(),
            pem: certificate.pem(),
            key: key.serialize_pem(),
            chain: Vec::new(),
            serial,
        }
    }

    /// Its own certificate.
    pub fn der(&self) -> Vec<u8> {
        self.der.to_vec()
    }

    /// A store with this authority alone.
    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        Arc::new(roots)
    }
}

fn named(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateParams::new(names).unwrap()
}

impl Issued {
    /// The same, with certificates that a client sends after its own.
    pub fn with_chain(mut self, chain: Vec<Vec<u8>>) -> Issued {
        self.chain = chain;
        self
    }

    /// The Secret with it.
    pub fn secret(&self, name: &str) -> Value {
        manifest::secret(name, &[("tls.crt", &self.pem), ("tls.key", &self.key)])
    }
}
