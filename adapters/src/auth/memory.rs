//! What was verified before: a password that fits a hash fits it for ever.
//!
//! Inputs: keyed digests of hash and password together, verdicts. Outputs: the same verdicts. A
//! changed password has another hash and so another digest: nothing here can be out of date. Right
//! and wrong ones have room of their own, so that guesses drive out nobody.

use std::collections::{BTreeMap, VecDeque};

use tidegate_core::digest::Digest;

/// Right ones that are remembered.
const RIGHT_MAX: usize = 200_000;
/// Wrong ones: programs that go on with an old password.
const WRONG_MAX: usize = 20_000;

/// Verdicts by digest. The oldest goes first.
#[derive(Default)]
pub(super) struct Memory {
    verdicts: BTreeMap<Digest, bool>,
    right: VecDeque<Digest>,
    wrong: VecDeque<Digest>,
}

impl Memory {
    /// The verdict, if there was one.
    pub(super) fn get(&self, key: &Digest) -> Option<bool> {
        self.verdicts.get(key).copied()
    }

    /// Remembers a verdict.
    pub(super) fn put(&mut self, key: Digest, right: bool) {
        if self.verdicts.insert(key, right).is_some() {
            return;
        }
        let (order, max) =
            if right { (&mut self.right, RIGHT_MAX) } else { (&mut self.wrong, WRONG_MAX) };
        order.push_back(key);
        if order.len() > max
            && let Some(oldest) = order.pop_front()
        {
            self.verdicts.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_drive_out_nobody() {
        let mut memory = Memory::default();
        let digest = |number: u32| Digest::of(&number.to_le_bytes());
        memory.put(digest(0), true);
        for number in 1..=WRONG_MAX as u32 + 5 {
            memory.put(digest(number), false);
        }
        assert_eq!(memory.get(&digest(0)), Some(true));
        assert_eq!(memory.get(&digest(5)), None, "the oldest guesses are gone");
        assert_eq!(memory.get(&digest(6)), Some(false));
        assert_eq!(memory.verdicts.len(), WRONG_MAX + 1);
    }
}
