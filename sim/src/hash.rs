//! A hasher of 128 bits with a fixed start: state hashes must be equal in every process, and a
//! million states must not collide.

use std::hash::Hasher;

/// Two multiply-and-rotate lanes over words of eight bytes.
#[derive(Clone, Debug)]
pub struct Hash128 {
    a: u64,
    b: u64,
}

impl Default for Hash128 {
    fn default() -> Self {
        Hash128 { a: 0x243f_6a88_85a3_08d3, b: 0x1319_8a2e_0370_7344 }
    }
}

const M1: u64 = 0x9e37_79b9_7f4a_7c15;
const M2: u64 = 0xc2b2_ae3d_27d4_eb4f;

impl Hash128 {
    fn word(&mut self, word: u64) {
        let product = u128::from(self.a ^ word).wrapping_mul(u128::from(M1) << 1 | 1);
        self.a = (product as u64) ^ ((product >> 64) as u64);
        self.a = self.a.rotate_left(23).wrapping_add(M2);
        self.b = (self.b.rotate_left(29) ^ word).wrapping_mul(M2).wrapping_add(self.a);
    }

    /// All 128 bits.
    #[must_use]
    pub fn finish128(&self) -> u128 {
        let mix = |mut x: u64| {
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^ (x >> 31)
        };
        u128::from(mix(self.a)) << 64 | u128::from(mix(self.b ^ self.a.rotate_left(17)))
    }
}

impl Hasher for Hash128 {
    fn finish(&self) -> u64 {
        self.finish128() as u64
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            if let Ok(chunk) = chunk.try_into() {
                self.word(u64::from_le_bytes(chunk));
            }
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut last = [0; 8];
            for (to, from) in last.iter_mut().zip(rest) {
                *to = *from;
            }
            self.word(u64::from_le_bytes(last) ^ (bytes.len() as u64) << 56);
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.word(u64::from(n) | 0x0100);
    }

    fn write_u32(&mut self, n: u32) {
        self.word(u64::from(n) | 1 << 40);
    }

    fn write_u64(&mut self, n: u64) {
        self.word(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.word(n as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::hash::Hash as _;

    #[test]
    fn small_differences_are_told_apart() {
        let mut seen = BTreeSet::new();
        for n in 0..20_000_u64 {
            for text in ["", "a", "abcdefgh", "abcdefghi"] {
                let mut hasher = Hash128::default();
                (n, text).hash(&mut hasher);
                assert!(seen.insert(hasher.finish128()), "{n} {text}");
            }
        }
    }
}
