//! Choices from a seed: small, fixed for ever, equal on every machine.

/// SplitMix64. Not for secrets.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice of a seed, for one purpose: streams of different purposes are independent, so that
    /// taking one thing out of a run does not reshuffle the others.
    #[must_use]
    pub fn new(seed: u64, purpose: &str) -> Dice {
        let mut dice = Dice(seed ^ 0x9e37_79b9_7f4a_7c15);
        for byte in purpose.bytes() {
            dice.0 = dice.roll() ^ u64::from(byte);
        }
        dice
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 when there is none.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { ((u128::from(self.roll()) * u128::from(end)) >> 64) as u64 }
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// True so many times in a million.
    pub fn per_million(&mut self, chance: u64) -> bool {
        self.below(1_000_000) < chance
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len() as u64) as usize)
    }

    /// By weight: which of them.
    pub fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut at = self.below(weights.iter().sum());
        for (number, weight) in weights.iter().enumerate() {
            if at < *weight {
                return number;
            }
            at -= weight;
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn the_same_seed_gives_the_same_for_ever() {
        let mut dice = Dice::new(1, "test");
        let first: Vec<u64> = (0..4).map(|_| dice.below(1000)).collect();
        let mut dice = Dice::new(1, "test");
        let again: Vec<u64> = (0..4).map(|_| dice.below(1000)).collect();
        assert_eq!(first, again);
        let mut other = Dice::new(1, "tes");
        assert_ne!(first, (0..4).map(|_| other.below(1000)).collect::<Vec<_>>());
        let mut seen = [0; 3];
        (0..3000).for_each(|_| seen[dice.weighted(&[1, 0, 2])] += 1);
        assert!(seen[1] == 0 && seen[0] > 800 && seen[2] > 1800, "{seen:?}");
    }
}
