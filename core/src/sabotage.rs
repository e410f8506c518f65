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
    /// A snippet joins before HAProxy judged it.
    UnjudgedSnippet = 17,
    /// The deletion of one slice takes all slices of its Service (B3).
    OneSliceIsAll = 20,
    /// A command that HAProxy refused counts as carried out (B4).
    RefusedIsDone = 21,
    /// The order of commands follows from something that differs between two runs (B9).
    HashOrder = 22,
    /// A list from a store that went back is believed like any other (B11).
    OlderIsBelieved = 23,
    /// The files wait for a pause between changes, however long none comes (B13).
    NoSaveMax = 24,
    /// A slot takes requests before it has its new address (B16).
    StateBeforeAddress = 25,
    /// Values of headers may have carriage returns, and so may entries of maps (B18).
    CarriageReturn = 26,
    /// One certificate that HAProxy refuses holds up all others (B20).
    OneBadCertificate = 27,
    /// With more endpoints than slots all servers leave (B21).
    TooManyEmpties = 28,
    /// The first table does not wait for the list of Ingresses (B28).
    FirstTableEarly = 29,
    /// A mistake of the simulator: what happens in the cluster depends on what tidegate did (B29).
    TruthFollowsActions = 30,
    /// The files count as saved from when they are to be written (B7).
    SavedBeforeWrite = 31,
    /// Servers in the order of their slots are compared with endpoints in the order of their
    /// addresses (B10).
    UnsortedSlots = 32,
    /// Names of headers may have a percent sign (B17).
    PercentName = 33,
    /// Of the name of a header only the beginning is looked at (B19).
    UnanchoredName = 34,
    /// The status of an Ingress does not wait for its routes (B23).
    StatusFirst = 35,
    /// An endpoint that goes leaves with the next round of five seconds.
    LeavesInRounds = 36,
    /// A route is added to a worker that is being replaced by one that does not have it. Was in the
    /// product once.
    AddedForMoments = 37,
    /// What a server that is to be deleted still does is cut.
    CutsToDelete = 38,
    /// HAProxy's memory is read back only while nothing is under way. Was in the product once.
    AuditsAtRest = 39,
    /// Old workers may take as long as they want (B38).
    NoHardStop = 41,
    /// Changes may cause as many reloads as they like (B40).
    NoReloadBudget = 42,
    /// Whoever uses up its reloads holds up everybody (B41).
    OneReloadBudget = 43,
    /// Commands wait while the files cannot be written (B45).
    WaitsForFiles = 90,
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
#[must_use]
pub fn is_planted(mistake: Mistake) -> bool {
    PLANTED.load(core::sync::atomic::Ordering::Relaxed) == mistake as u8
}

/// Nothing can be planted.
#[cfg(not(feature = "sabotage"))]
#[must_use]
pub const fn is_planted(_: Mistake) -> bool {
    false
}

/// Something that differs between two runs of the same inputs, like the order of a randomly seeded
/// map: how often it was asked for in this process.
#[cfg(feature = "sabotage")]
pub(crate) fn noise() -> u32 {
    static ASKED: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(0);
    ASKED.fetch_add(1, core::sync::atomic::Ordering::Relaxed)
}

/// Nothing differs.
#[cfg(not(feature = "sabotage"))]
pub(crate) const fn noise() -> u32 {
    0
}
