//! Time as an argument: milliseconds on the caller's clock. Core never reads a clock.

use serde::{Deserialize, Serialize};

/// Milliseconds since an origin the caller chose once (for `tidegate run`: its own start).
/// Never goes backwards within one controller: [`crate::Controller::step`] clamps it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Time(pub u64);

impl Time {
    /// The time `ms` milliseconds later, saturating.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Time {
        Time(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub fn since_ms(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A request to be stepped again at `at`, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeAt {
    /// When.
    pub at: Time,
    /// Why, for traces.
    pub reason: WakeReason,
}

/// Why the controller wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum WakeReason {
    /// Running state must be written to files before the bound on their age passes.
    SaveDue,
    /// A drained server may be deleted now.
    DrainDone,
    /// A new route has waited long enough for its endpoints.
    Unserved,
    /// A refused or unknown action is tried again.
    Retry,
    /// The running proxy is compared with what is wanted.
    Audit,
    /// A status or a Kubernetes Event is due.
    Tell,
    /// The Lease is to be renewed or looked at, or its term ends.
    Election,
    /// A Secret that was asked for is not waited for any longer.
    Secrets,
    /// Objects are held that a list did not have: it is listed again.
    Relist,
}
