//! Planted mistakes, to prove that the properties catch them (`proptests/tests/sabotage.rs`). Only
//! one is planted at a time. Without the feature `sabotage` nothing can be planted: [`is_planted`]
//! is the constant `false`, and the compiler drops what depends on it.

/// A mistake that somebody could make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mistake {
    /// A look-up that finds no Service is not recorded.
    UnrecordedMiss = 1,
    /// What may have happened is taken for done.
    UnknownIsDone = 2,
    /// Servers leave before their replacement is there.
    BreakBeforeMake = 3,
    /// A contended path goes to the smaller name, whoever is older.
    NameBeforeAge = 4,
    /// Header names may have characters that mean something to HAProxy's configuration.
    AnyHeaderName = 5,
    /// What changes while the files are written counts as saved with them.
    SavedAtWrite = 6,
    /// Whoever held the Lease once goes on writing until it hears of another holder.
    EndlessTerm = 7,
    /// A status whose write was not answered is taken for written.
    LostStatusIsWritten = 8,
    /// A route moves to a backend before it has a server (B5).
    RouteBeforeServer = 9,
    /// The servers of a backend leave before the routes to it (B6).
    ServersBeforeRoutes = 10,
    /// What a refusal or a lost answer delays is never tried again (B15).
    NoRetry = 11,
    /// The old line of a certificate leaves before the new one is there.
    LineGap = 12,
    /// A backend is unpublished while it has ready servers, so that a read-back takes it for
    /// published. Was in the product once.
    UnpublishFirst = 13,
    /// Who adopts a worker and wants nothing never compares the files. Was in the product once.
    AdoptUnsaved = 14,
    /// A list adds what is new and keeps what is gone (B2).
    KeepRemoved = 15,
    /// A route is served though the Secret with its users cannot be used.
    OpenWithoutUsers = 16,
    /// A route that asks for certificates of clients is open whatever the handshake of its host asks
    /// for.
    AnyHandshake = 40,
}

#[cfg(feature = "sabotage")]
static PLANTED: core::sync::atomic::AtomicU8 = core::sync::atomic::AtomicU8::new(0);

/// Plants a mistake in every controller of this process, or none.
#[cfg(feature = "sabotage")]
pub fn plant(mistake: Option<Mistake>) {
    let number = mistake.map_or(0, |m| m as u8);
    PLANTED.store(number, core::sync::atomic::Ordering::SeqCst);
}

/// Whether a mistake is planted.
#[cfg(feature = "sabotage")]
pub(crate) fn is_planted(mistake: Mistake) -> bool {
    PLANTED.load(core::sync::atomic::Ordering::Relaxed) == mistake as u8
}

/// Nothing can be planted.
#[cfg(not(feature = "sabotage"))]
pub(crate) const fn is_planted(_: Mistake) -> bool {
    false
}
