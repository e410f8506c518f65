//! How many reloads changes may cause: so many at once, and then one after the other, so that what
//! flips once a second does not leave an old worker behind each time.
//!
//! Inputs: whose change needs a reload, and when one began. Outputs: when the next may begin. A
//! reload takes along whatever waits; so a namespace that has used up its share holds up nobody
//! else, and is not held up longer than by its own turn. A start is no reload: it is never held up.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use serde::{Deserialize, Serialize};

use crate::sabotage::{Mistake, is_planted};
use crate::time::Time;

/// The time that a budget is for, in milliseconds.
const SPAN_MS: u64 = 60_000;
/// The part of all reloads that one namespace may cause.
const SHARE: u32 = 3;

/// What was spent, as the times at which all of it is back: a token bucket each (the generic cell
/// rate algorithm of ITU-T I.371, in its virtual scheduling form).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReloadBudget {
    all: Time,
    /// By owner ([`crate::plan::remedy::ReloadReason::owner`]).
    shares: BTreeMap<Box<str>, Time>,
}

impl ReloadBudget {
    /// When a reload may begin that these owners need, with `per_minute` in all (0 for no bound):
    /// as soon as one of them may. For nobody, at once.
    pub(crate) fn free_at(&self, owners: &BTreeSet<&str>, per_minute: u32) -> Time {
        if per_minute == 0 || is_planted(Mistake::NoReloadBudget) {
            return Time(0);
        }
        let first = owners.iter().map(|owner| self.share_free_at(owner, per_minute)).min();
        first.map_or(Time(0), |first| first.max(free_at(self.all, per_minute)))
    }

    fn share_free_at(&self, owner: &str, per_minute: u32) -> Time {
        self.shares.get(known_as(owner)).map_or(Time(0), |full| free_at(*full, share(per_minute)))
    }

    /// A reload begins that these owners need. Whoever only goes along, as it has nothing left,
    /// spends nothing.
    pub(crate) fn spend(&mut self, owners: &BTreeSet<&str>, per_minute: u32, now: Time) {
        self.shares.retain(|_, full| *full > now);
        if per_minute == 0 || owners.is_empty() {
            return;
        }
        self.all = spent(self.all, per_minute, now);
        for owner in owners {
            if self.share_free_at(owner, per_minute) <= now {
                let full = self.shares.entry(known_as(owner).into()).or_default();
                *full = spent(*full, share(per_minute), now);
            }
        }
    }

    /// What is left to wait for, from now on.
    pub(crate) fn fingerprint(&self, now: Time, hasher: &mut impl core::hash::Hasher) {
        use core::hash::Hash as _;
        self.all.since_ms(now).hash(hasher);
        for (owner, full) in self.shares.iter().filter(|(_, full)| **full > now) {
            (owner, full.since_ms(now)).hash(hasher);
        }
    }
}

/// The name that an owner's share has.
fn known_as(owner: &str) -> &str {
    if is_planted(Mistake::OneReloadBudget) { "" } else { owner }
}

fn share(per_minute: u32) -> u32 {
    (per_minute / SHARE).max(1)
}

/// The time that one takes to come back.
fn turn_ms(per_minute: u32) -> u64 {
    SPAN_MS / u64::from(per_minute.max(1))
}

/// When one is there of a budget that is whole at `full`.
fn free_at(full: Time, per_minute: u32) -> Time {
    Time(full.0.saturating_sub(turn_ms(per_minute) * u64::from(per_minute.saturating_sub(1))))
}

/// When a budget is whole again of which one more is spent.
fn spent(full: Time, per_minute: u32, now: Time) -> Time {
    full.max(now).plus_ms(turn_ms(per_minute))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goes on spending as early as possible; when each of `count` reloads begins.
    fn flood(
        budget: &mut ReloadBudget,
        owner: &str,
        from: Time,
        count: usize,
    ) -> std::vec::Vec<u64> {
        let owners = BTreeSet::from([owner]);
        let mut now = from;
        let times = (0..count).map(|_| {
            now = now.max(budget.free_at(&owners, 6));
            budget.spend(&owners, 6, now);
            now.0
        });
        times.collect()
    }

    #[test]
    fn so_many_at_once_and_then_one_after_the_other() {
        let mut budget = ReloadBudget::default();
        // Two are a third of six.
        assert_eq!(flood(&mut budget, "a", Time(1000), 4), [1000, 1000, 31_000, 61_000]);
        assert_eq!(flood(&mut budget, "a", Time(500_000), 3), [500_000, 500_000, 530_000]);
        assert_eq!(budget.free_at(&BTreeSet::new(), 6), Time(0), "for nobody");
        assert_eq!(budget.free_at(&BTreeSet::from(["a"]), 0), Time(0), "no bound");
    }

    #[test]
    fn whoever_has_nothing_left_holds_up_nobody_and_goes_along_for_nothing() {
        let mut budget = ReloadBudget::default();
        flood(&mut budget, "a", Time(0), 2);
        let both = BTreeSet::from(["a", "b"]);
        assert_eq!(budget.free_at(&both, 6), Time(0), "b is not held up");
        budget.spend(&both, 6, Time(0));
        assert_eq!(budget.free_at(&BTreeSet::from(["a"]), 6), Time(30_000), "a spent nothing");
    }

    #[test]
    fn all_together_are_bounded_too() {
        let mut budget = ReloadBudget::default();
        for owner in ["a", "b", "c"] {
            assert_eq!(flood(&mut budget, owner, Time(0), 2), [0, 0]);
        }
        assert_eq!(flood(&mut budget, "d", Time(0), 2), [10_000, 20_000]);
    }
}
