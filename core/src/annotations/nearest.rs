//! The known key nearest to an unknown one.

use alloc::vec;

/// The candidate with the smallest edit distance, if it is close enough to be a likely typo; the
/// first in order among equals.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.len() / 3).clamp(1, 4);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let distance = distance(word.as_bytes(), candidate.as_bytes());
        if distance <= limit && best.is_none_or(|(d, _)| distance < d) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Levenshtein distance. Keys are short; long inputs are cut, as they are no typo of a key.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let (a, b) = (a.get(..64).unwrap_or(a), b.get(..64).unwrap_or(b));
    let mut row: vec::Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let replace = diagonal + usize::from(x != y);
            diagonal = *cell;
            *cell = replace.min(diagonal + 1).min(left + 1);
            left = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn typos_are_recognised_and_strangers_are_not() {
        let keys = ["timeout-server", "timeout-client", "load-balance", "allow-list"];
        assert_eq!(nearest("timeout-serve", keys.into_iter()), Some("timeout-server"));
        assert_eq!(nearest("alow-list", keys.into_iter()), Some("allow-list"));
        assert_eq!(nearest("snippet", keys.into_iter()), None);
    }
}
