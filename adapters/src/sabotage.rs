//! Planted mistakes of adapters, to prove that the simulator catches them
//! (`sim/tests/planted_network.rs`). As in `tidegate_core::sabotage`: only one at a time, and
//! without the feature `sabotage` none at all.

/// A mistake that somebody could make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mistake {
    /// After a reload that failed no other is asked for (M23 of `docs/known-failures.md`, as those
    /// that follow are).
    FailedStaysFailed = 123,
    /// All lines are sent without a prompt, and one answer counts for all (M25).
    OneAnswerForAll = 125,
    /// A reload counts as done in metrics, whatever became of it (M69, B42).
    CountedAsDone = 169,
    /// A list that fails is taken for an empty one (B1).
    FailureIsEmpty = 1,
    /// The second page of a list is not asked for (B12).
    FirstPageOnly = 2,
    /// Commands whose answers were lost count as carried out (B4).
    UnansweredIsDone = 3,
    /// The link is switched to a generation that is not written yet (B8).
    PointsFirst = 10,
    /// A reload counts as done when it was asked for (B14).
    AskedIsDone = 11,
    /// What HAProxy says about a certificate is told together with the certificate (B22).
    SecretInWords = 12,
    /// A generation keeps the routes of the one before (B26).
    OldRoutesStay = 13,
    /// What is due follows the wall clock (B24).
    WallClock = 14,
    /// A reload is waited for though the master has died.
    WaitsForTheDead = 15,
    /// The link is switched to a generation that a power loss may take (B31).
    PointsUnsynced = 16,
    /// A sync that fails counts as done (B35).
    FailedSyncIsDone = 17,
    /// The journal is written when there is enough of it (B39).
    JournalWaits = 18,
    /// A watch is resumed at its list, whatever came since (B43).
    ResumesAtList = 91,
    /// What changed is held while any kind is denied (B44).
    HoldsWhileDenied = 92,
    /// While the store is in doubt no watch follows a list, only the next list. Was in the product
    /// once (B46).
    DoubtsItsList = 93,
}

#[cfg(feature = "sabotage")]
static PLANTED: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// Plants a mistake in every adapter of this process, or none.
#[cfg(feature = "sabotage")]
pub fn plant(mistake: Option<Mistake>) {
    let number = mistake.map_or(0, |m| m as u8);
    PLANTED.store(number, std::sync::atomic::Ordering::SeqCst);
}

/// Whether a mistake is planted.
#[cfg(feature = "sabotage")]
pub(crate) fn is_planted(mistake: Mistake) -> bool {
    PLANTED.load(std::sync::atomic::Ordering::Relaxed) == mistake as u8
}

/// Nothing can be planted.
#[cfg(not(feature = "sabotage"))]
pub(crate) const fn is_planted(_: Mistake) -> bool {
    false
}
