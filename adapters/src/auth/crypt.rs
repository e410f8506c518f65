//! Hashes of passwords in the forms of crypt(3): which can be used, and whether a password fits.
//!
//! Inputs: hashes from Secrets, passwords from requests. Outputs: verdicts. What a hash may cost
//! is bounded, as it stands in a tenant's Secret and is computed for whoever asks. Neither hash
//! nor password is ever in a message.

use sha_crypt::{ROUNDS_DEFAULT, Sha256Params, Sha512Params};
use subtle::ConstantTimeEq as _;

use super::md5;

/// Largest cost of bcrypt: a second of one core, or somewhat more.
const BCRYPT_COST_MAX: u32 = 14;
/// Most rounds of sha256-crypt and sha512-crypt: about as much as bcrypt with cost 12.
const SHA_ROUNDS_MAX: usize = 200_000;
/// Longest salt of sha256-crypt and sha512-crypt, and of md5-crypt.
const SHA_SALT_MAX: usize = 16;
const MD5_SALT_MAX: usize = 8;

/// The kind of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `$2a$`, `$2b$`, `$2y$`
    Bcrypt,
    /// `$6$`
    Sha512,
    /// `$5$`
    Sha256,
    /// `$1$`
    Md5,
    /// `$apr1$`
    Apr1,
}

impl Kind {
    /// Its name, for metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Bcrypt => "bcrypt",
            Kind::Sha512 => "sha512-crypt",
            Kind::Sha256 => "sha256-crypt",
            Kind::Md5 => "md5-crypt",
            Kind::Apr1 => "apr1",
        }
    }
}

/// The kind of a hash that can be used.
///
/// # Errors
/// Why it cannot.
pub(crate) fn kind_of(hash: &str) -> Result<Kind, &'static str> {
    match Parsed::of(hash)? {
        Parsed::Bcrypt => Ok(Kind::Bcrypt),
        Parsed::Sha { wide, .. } => Ok(if wide { Kind::Sha512 } else { Kind::Sha256 }),
        Parsed::Md5 { prefix, .. } => Ok(if prefix == "$1$" { Kind::Md5 } else { Kind::Apr1 }),
    }
}

/// Whether a password fits a hash. Takes as long for a wrong one as for the right one.
pub(crate) fn fits(password: &[u8], hash: &str) -> bool {
    // crypt(3) ends at a NUL, so that what follows would not count.
    if password.contains(&0) {
        return false;
    }
    let (computed, wanted) = match Parsed::of(hash) {
        // Compares in constant time itself.
        Ok(Parsed::Bcrypt) => return bcrypt::verify(password, hash).unwrap_or(false),
        Ok(Parsed::Sha { wide, rounds, salt, hash }) => {
            let computed = if wide {
                Sha512Params::new(rounds)
                    .and_then(|p| sha_crypt::sha512_crypt_b64(password, salt.as_bytes(), &p))
            } else {
                Sha256Params::new(rounds)
                    .and_then(|p| sha_crypt::sha256_crypt_b64(password, salt.as_bytes(), &p))
            };
            (computed.unwrap_or_default(), hash)
        }
        Ok(Parsed::Md5 { prefix, salt, hash }) => {
            (md5::crypt(password, salt.as_bytes(), prefix.as_bytes()), hash)
        }
        Err(_) => return false,
    };
    !computed.is_empty() && bool::from(computed.as_bytes().ct_eq(wanted.as_bytes()))
}

/// The parts of a hash.
enum Parsed<'a> {
    Bcrypt,
    Sha { wide: bool, rounds: usize, salt: &'a str, hash: &'a str },
    Md5 { prefix: &'static str, salt: &'a str, hash: &'a str },
}

impl<'a> Parsed<'a> {
    fn of(text: &'a str) -> Result<Parsed<'a>, &'static str> {
        for prefix in ["$2a$", "$2b$", "$2y$"] {
            if let Some(rest) = text.strip_prefix(prefix) {
                return bcrypt_parts(rest);
            }
        }
        for (prefix, wide) in [("$6$", true), ("$5$", false)] {
            if let Some(rest) = text.strip_prefix(prefix) {
                return sha_parts(rest, wide);
            }
        }
        for prefix in ["$1$", "$apr1$"] {
            if let Some(rest) = text.strip_prefix(prefix) {
                let (salt, hash) = salted(rest, MD5_SALT_MAX, 22)?;
                return Ok(Parsed::Md5 { prefix, salt, hash });
            }
        }
        Err("its hash is none of bcrypt, sha512-crypt, sha256-crypt, md5-crypt and apr1")
    }
}

fn bcrypt_parts(rest: &str) -> Result<Parsed<'_>, &'static str> {
    let damaged = "its bcrypt hash is damaged";
    let (cost, hash) = rest.split_once('$').ok_or(damaged)?;
    if cost.len() != 2 || !cost.bytes().all(|b| b.is_ascii_digit()) || !is_encoded(hash, 53) {
        return Err(damaged);
    }
    match cost.parse::<u32>() {
        Ok(4..=BCRYPT_COST_MAX) => Ok(Parsed::Bcrypt),
        Ok(_) | Err(_) => Err("the cost of its bcrypt hash is not between 4 and 14"),
    }
}

fn sha_parts(rest: &str, wide: bool) -> Result<Parsed<'_>, &'static str> {
    let (rounds, rest) = match rest.strip_prefix("rounds=") {
        None => (ROUNDS_DEFAULT, rest),
        Some(rest) => {
            let out = "the rounds of its hash are not between 1,000 and 200,000";
            let (rounds, rest) = rest.split_once('$').ok_or(out)?;
            let digits = !rounds.is_empty() && rounds.bytes().all(|b| b.is_ascii_digit());
            match rounds.parse::<usize>() {
                Ok(rounds @ 1_000..=SHA_ROUNDS_MAX) if digits => (rounds, rest),
                Ok(_) | Err(_) => return Err(out),
            }
        }
    };
    let (salt, hash) = salted(rest, SHA_SALT_MAX, if wide { 86 } else { 43 })?;
    Ok(Parsed::Sha { wide, rounds, salt, hash })
}

fn salted(rest: &str, longest: usize, hash: usize) -> Result<(&str, &str), &'static str> {
    match rest.split_once('$') {
        Some((salt, text))
            if salt.len() <= longest
                && salt.bytes().all(|b| b.is_ascii_graphic())
                && is_encoded(text, hash) =>
        {
            Ok((salt, text))
        }
        Some(_) | None => Err("its hash is damaged"),
    }
}

fn is_encoded(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"./".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `openssl passwd` and the crypt(3) of glibc, password `secret`.
    const SECRET: [(&str, Kind); 8] = [
        ("$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a", Kind::Bcrypt),
        ("$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", Kind::Bcrypt),
        ("$2a$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", Kind::Bcrypt),
        (
            "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.",
            Kind::Sha512,
        ),
        ("$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.", Kind::Sha256),
        ("$5$rounds=1234$saltstring$ZOULjQTUHEKr0TZy95SRZhJXrYe.bGKvS3zomKKsX./", Kind::Sha256),
        ("$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1", Kind::Md5),
        ("$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/", Kind::Apr1),
    ];

    #[test]
    fn every_kind_takes_its_password_and_no_other() {
        for (hash, kind) in SECRET {
            assert_eq!(kind_of(hash), Ok(kind));
            assert!(fits(b"secret", hash), "{}", kind.name());
            for wrong in [&b"Secret"[..], b"secre", b"secret ", b"", b"secret\0"] {
                assert!(!fits(wrong, hash), "{} takes {wrong:?}", kind.name());
            }
        }
    }

    #[test]
    fn long_passwords_and_none_are_hashed_as_openssl_does() {
        for (password, hash) in [
            (
                "a long password with more than sixteen bytes, and ü",
                "$1$abcdefgh$7vcj6fJLQNM6TqfAECP/J0",
            ),
            (
                "a long password with more than sixteen bytes, and ü",
                "$apr1$ab$YKGuvrCJmC8k9yGHYBhf/1",
            ),
            (
                "a long password with more than sixteen bytes, and ü",
                "$6$x$JQqXie.dXDhlhPUemyEviodQgiDs39lKMaAmt3wgvZLTiDObvSoVClK7QFbXHvzp8kYrpMKk2g97AJFnV62km.",
            ),
            ("", "$1$abcdefgh$M55TzYaaccxVGbptZWaxX/"),
            ("x", "$apr1$abcdefgh$82JubPF2dQkt1tVfvLnXS."),
        ] {
            assert!(fits(password.as_bytes(), hash), "{password:?} {hash}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for hash in [
            "",
            "secret",
            "zzzzzzzzzzzzz",
            "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
            "$2x$05$abcdefghijklmnopqrstuuGm9i6yEN8qV2mWNMtiYuwPGWBtBIqsu",
            "$2b$15$abcdefghijklmnopqrstuuGm9i6yEN8qV2mWNMtiYuwPGWBtBIqsu",
            "$2b$05$tooshort",
            "$6$rounds=999$salt$hash",
            "$6$rounds=999999999$salt$hash",
            "$6$salt$hash",
            "$1$salt$",
            "$y$j9T$abc$def",
        ] {
            assert!(kind_of(hash).is_err(), "{hash}");
            assert!(!fits(b"secret", hash), "{hash}");
        }
    }
}
