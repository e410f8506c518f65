//! Planted mistakes, to prove that the properties catch them (`proptests/tests/sabotage.rs`). Only
//! one is planted at a time. Without the feature `sabotage` nothing can be planted: [`is_planted`]
//! is the constant `false`, and the compiler drops what depends on it.

/// A mistake that somebody could make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mistake {
    /// After an outage the additions of a slice count, and what went from it stays (M1 of
    /// `docs/known-failures.md`, as those that follow are).
    AdditionsOnly = 101,
    /// A controller acts before every kind was listed (M5).
    ActsUnlisted = 105,
    /// Lines of snippets may have words that read, run or reach (M15).
    AnyWords = 115,
    /// What one object has is taken, however much it is (M19).
    NoLimit = 119,
    /// The path of a rule is looked up as it is written, and that of a request in its normal form
    /// (M21).
    PathAsWritten = 121,
    /// What was sent to the worker before, during a reload, counts for the new one too (M27).
    SentToOld = 127,
    /// An entry that changes is deleted and added again (M31).
    ClearedThenFilled = 131,
    /// Two Services may have one name in HAProxy (M33).
    NamesCollide = 133,
    /// A Service that is only a name now keeps the endpoints that it had (M39).
    OldTargetsStay = 139,
    /// Whoever asks for it has the TLS of a host passed through, whatever older ones say (M47).
    AnyonePasses = 147,
    /// What is only removed is no reason to write the files (M49).
    RemovalsUnsaved = 149,
    /// All hosts of a certificate stand in one line (M51).
    OneLongLine = 151,
    /// While anything is withheld, no status is written (M55).
    StatusesWait = 155,
    /// Where several backends go at once, what comes after them is not computed (M57).
    SeveralEndAll = 157,
    /// The deletion of one Ingress takes all others of its hosts (M59).
    OneIngressIsAll = 159,
    /// TLS sessions are resumed though this HAProxy does not keep those of two hosts apart (M65).
    SessionsShared = 165,
    /// A port of a slice has a number (M71).
    PortIsThere = 171,
    /// A key may name a Secret of another namespace (M73).
    AnyNamespace = 173,
    /// Servers that are made at run time have no keywords (M75).
    PlainAtRunTime = 175,
    /// A reload must go on from what the worker before had, also where that died (M77).
    NeedsTheDead = 177,
    /// Of several backends of a Service one hears of its endpoints (M79).
    OneHears = 179,
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
