//! md5-crypt: `$1$` of BSD and glibc, and Apache's `$apr1$`, which differ in the prefix alone.
//!
//! Inputs: password, salt, prefix. Outputs: the hash as text. There is no well-kept crate for
//! `$apr1$`; MD5 itself is one. Weak by today's measure, and what `htpasswd` wrote for decades.

use md5::{Digest as _, Md5};

/// Rounds, which the format fixes.
const ROUNDS: usize = 1_000;
/// Characters of the encoding, from 0 to 63.
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Bytes of the hash in the order of the encoding, three for four characters.
const ORDER: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];

/// The 22 characters after the salt. `prefix` is `$1$` or `$apr1$`.
pub(super) fn crypt(password: &[u8], salt: &[u8], prefix: &[u8]) -> String {
    let inner = md5(&[password, salt, password]);
    let mut first = Md5::new();
    for part in [password, prefix, salt] {
        first.update(part);
    }
    for piece in password.chunks(inner.len()) {
        first.update(inner.get(..piece.len()).unwrap_or(&inner));
    }
    let mut bits = password.len();
    while bits > 0 {
        let odd = bits & 1 == 1;
        first.update(if odd { &[0][..] } else { password.get(..1).unwrap_or(&[]) });
        bits >>= 1;
    }
    let mut hash: [u8; 16] = first.finalize().into();
    for round in 0..ROUNDS {
        let odd = round % 2 == 1;
        let mut next = Md5::new();
        next.update(if odd { password } else { &hash });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if odd { &hash } else { password });
        hash = next.finalize().into();
    }
    encode(&hash)
}

fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

fn encode(hash: &[u8; 16]) -> String {
    let mut out = String::with_capacity(22);
    let mut push = |mut value: u32, count: usize| {
        for _ in 0..count {
            out.push(char::from(ALPHABET[(value & 63) as usize]));
            value >>= 6;
        }
    };
    for [high, middle, low] in ORDER {
        let byte = |at: usize| u32::from(hash[at]);
        push(byte(high) << 16 | byte(middle) << 8 | byte(low), 4);
    }
    push(u32::from(hash[11]), 2);
    out
}
