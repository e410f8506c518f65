//! The vault: the only place where secret bytes live, under keyed digests.
//!
//! In: PEM bundles from the decoder. Out: the same bytes by digest, for files and for HAProxy's
//! command line. Core and the journal see digests only; they are keyed with 32 random bytes that
//! stay on the machine, so a journal does not help to guess a secret. The vault does not judge
//! certificates and never shows bytes in `Debug`.
//!
//! An entry stays while an owner holds it ([`Vault::hold`]) or core names it as live
//! ([`Vault::sweep`]); after that it survives [`IDLE_SWEEPS_MAX`] sweeps, as an action may still
//! be on its way to a worker.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use hmac::{Hmac, Mac as _};
use parking_lot::Mutex;
use sha2::Sha256;
use tidegate_core::digest::Digest;

use crate::ports::Files;

/// Sweeps that an entry survives after nobody refers to it any more.
pub const IDLE_SWEEPS_MAX: u32 = 3;

/// File with the key of the digests, in the state folder.
const KEY_FILE: &str = "vault.key";
/// File with the certificate that is used when there is none, in the state folder.
const SELF_SIGNED_FILE: &str = "self-signed.pem";
/// Mode of both files.
const OWNER_ONLY: u32 = 0o600;
/// Name in the self-signed certificate: clients must not take it for a real one.
const SELF_SIGNED_NAME: &str = "tidegate.invalid";

/// Secret bytes by keyed digest. Shared by sources and the HAProxy adapter.
pub struct Vault {
    key: [u8; 32],
    contents: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    entries: BTreeMap<Digest, Entry>,
    owners: BTreeMap<Box<str>, Vec<Digest>>,
    self_signed: Option<Arc<[u8]>>,
}

struct Entry {
    bytes: Arc<[u8]>,
    /// Sweeps since anybody referred to it.
    idle_sweeps: u32,
}

/// Why there is no self-signed certificate.
#[derive(Debug, thiserror::Error)]
#[error("no self-signed certificate can be made")]
pub struct SelfSignedError(#[from] rcgen::Error);

impl Vault {
    /// An empty vault with a given key.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Vault {
        Vault { key, contents: Mutex::default() }
    }

    /// An empty vault whose key and self-signed certificate are kept in a state folder, in files
    /// that only their owner can read. Creates what is missing; the folder must exist.
    ///
    /// # Errors
    /// When a file cannot be read or written, the key file has another length than 32 bytes, or
    /// the system has no randomness.
    pub fn open(files: &dyn Files, state_dir: &Path) -> io::Result<Vault> {
        let key_file = state_dir.join(KEY_FILE);
        let key = match files.read(&key_file) {
            Ok(bytes) => <[u8; 32]>::try_from(bytes).map_err(|_| {
                let text = format!("{} is not 32 bytes long; delete it", key_file.display());
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = random_key()?;
                files.write(&key_file, &key, OWNER_ONLY)?;
                key
            }
            Err(error) => return Err(error),
        };
        let vault = Vault::new(key);
        let pem_file = state_dir.join(SELF_SIGNED_FILE);
        match files.read(&pem_file) {
            Ok(bytes) => vault.contents.lock().self_signed = Some(bytes.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let pem = vault.self_signed().map_err(io::Error::other)?;
                files.write(&pem_file, &pem, OWNER_ONLY)?;
            }
            Err(error) => return Err(error),
        }
        Ok(vault)
    }

    /// The keyed digest of some bytes: HMAC-SHA256, truncated to 128 bits.
    #[must_use]
    pub fn digest(&self, bytes: &[u8]) -> Digest {
        // HMAC takes keys of any length, so the error cannot occur with 32 bytes.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else {
            return Digest::of(&[]);
        };
        mac.update(bytes);
        Digest::truncate(&mac.finalize().into_bytes().into())
    }

    /// Takes bytes in; returns their digest.
    pub fn admit(&self, bytes: Vec<u8>) -> Digest {
        let digest = self.digest(&bytes);
        let mut contents = self.contents.lock();
        let entry = Entry { bytes: bytes.into(), idle_sweeps: 0 };
        contents.entries.entry(digest).or_insert(entry).idle_sweeps = 0;
        digest
    }

    /// The PEM bundle (chain and key) of a certificate.
    #[must_use]
    pub fn certificate(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        self.contents.lock().entries.get(digest).map(|entry| Arc::clone(&entry.bytes))
    }

    /// The PEM bundle of authorities.
    #[must_use]
    pub fn authority(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        self.certificate(digest)
    }

    /// The list of users, as `auth::list` wrote it.
    #[must_use]
    pub fn users(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        self.certificate(digest)
    }

    /// States all that an owner (a file, an object) refers to, in place of what it held before.
    pub fn hold(&self, owner: &str, digests: Vec<Digest>) {
        let mut contents = self.contents.lock();
        if digests.is_empty() {
            contents.owners.remove(owner);
        } else {
            contents.owners.insert(owner.into(), digests);
        }
    }

    /// Drops what neither an owner nor `live` has referred to for [`IDLE_SWEEPS_MAX`] sweeps.
    /// `live` is everything core's images refer to: certificates of deleted Secrets that are
    /// still served. To be called now and then, such as after each save. Returns the number of
    /// entries dropped.
    pub fn sweep(&self, live: &BTreeSet<Digest>) -> usize {
        let mut contents = self.contents.lock();
        let Contents { entries, owners, self_signed: _ } = &mut *contents;
        let held: BTreeSet<Digest> = owners.values().flatten().copied().collect();
        let before = entries.len();
        entries.retain(|digest, entry| {
            if held.contains(digest) || live.contains(digest) {
                entry.idle_sweeps = 0;
            } else {
                entry.idle_sweeps += 1;
            }
            entry.idle_sweeps <= IDLE_SWEEPS_MAX
        });
        before - entries.len()
    }

    /// The self-signed certificate with its key, as PEM: used where there is no other.
    ///
    /// # Errors
    /// When it has to be made and cannot be.
    pub fn self_signed(&self) -> Result<Arc<[u8]>, SelfSignedError> {
        let mut contents = self.contents.lock();
        if let Some(pem) = &contents.self_signed {
            return Ok(Arc::clone(pem));
        }
        let made = rcgen::generate_simple_self_signed([SELF_SIGNED_NAME.to_owned()])?;
        let pem = one_newline(&format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem()));
        let pem: Arc<[u8]> = pem.into_bytes().into();
        contents.self_signed = Some(Arc::clone(&pem));
        Ok(pem)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.contents.lock().entries.len();
        f.debug_struct("Vault").field("entries", &entries).finish_non_exhaustive()
    }
}

/// The same lines, each ended by one `\n`, without blank ones.
fn one_newline(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn random_key() -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    let provider = rustls::crypto::ring::default_provider();
    provider.secure_random.fill(&mut key).map_err(|_| io::Error::other("no randomness"))?;
    Ok(key)
}
