//! Digests: content addresses. Equal content has the equal name, so what runs can be read back
//! by name alone.

use alloc::string::String;
use core::fmt;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// 128 bits that identify some content. For secrets the adapter computes it with a key that
/// never leaves the machine, so a journal does not help to guess a secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// The digest of public content (SHA-256, truncated).
    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        Digest::truncate(&Sha256::digest(bytes).into())
    }

    /// The digest of several parts; the boundaries count.
    #[must_use]
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Digest::truncate(&hasher.finalize().into())
    }

    /// Truncates a 256-bit hash.
    #[must_use]
    pub fn truncate(full: &[u8; 32]) -> Digest {
        let mut out = [0; 16];
        for (to, from) in out.iter_mut().zip(full) {
            *to = *from;
        }
        Digest(out)
    }

    /// The first 16 hexadecimal digits: the form used inside HAProxy names.
    #[must_use]
    pub fn short(&self) -> String {
        let mut out = String::with_capacity(16);
        for byte in self.0.iter().take(8) {
            push_hex(&mut out, *byte);
        }
        out
    }

    /// All 32 hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        let mut out = String::with_capacity(32);
        for byte in &self.0 {
            push_hex(&mut out, *byte);
        }
        out
    }

    /// Parses [`Digest::hex`].
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Digest> {
        let bytes = text.as_bytes();
        if bytes.len() != 32 {
            return None;
        }
        let mut out = [0; 16];
        for (to, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
            let mut value = 0;
            for digit in pair {
                value = value * 16 + (*digit as char).to_digit(16)? as u8;
            }
            *to = value;
        }
        Some(Digest(out))
    }
}

/// Takes text in piece by piece, for the digest of what nobody needs to hold whole.
#[derive(Clone, Debug, Default)]
pub struct DigestWriter(Sha256);

impl DigestWriter {
    /// The digest of what was written.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest::truncate(&self.0.finalize().into())
    }
}

impl DigestWriter {
    /// Takes in what is not text, or text whose end counts.
    pub fn part(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }
}

impl fmt::Write for DigestWriter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

fn push_hex(out: &mut String, byte: u8) {
    for nibble in [byte >> 4, byte & 15] {
        out.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}
