//! The faults of tier 1: those that real sockets, files and processes have. What each does is in
//! `faults`.

/// A fault. The letters are those of the fault model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// F4: nothing passes between tidegate and the API server, and nobody is told.
    Partition(u32),
    /// F4: what tidegate sends arrives at the API server, and nothing comes back.
    Deaf(u32),
    /// F5: what is sent between them arrives that much later.
    Delay(u32),
    /// F1: all connections to the API server end, watches in the middle of an event.
    Cut,
    /// F11: the next lists are cut.
    CutLists(u32),
    /// F1: the API server dies and comes back.
    ApiDies(u32),
    /// F6: the API server forgets its history, and cuts everybody.
    Expire,
    /// F3: the API server says nothing; connections stay.
    Silent(u32),
    /// F13: 429.
    Throttle(u32),
    /// F5: 500.
    Unwell(u32),
    /// F14: 403 for one kind.
    Deny(u8, u32),
    /// F4, F5: of one kind nothing is said.
    Lag(u8, u32),
    /// F9: so many lines of watches come twice.
    Twice(u32),
    /// F6, F11: the server forgets the next lists between two of their pages.
    ExpirePages(u32),
    /// F15: watches get no bookmarks.
    NoMarks(u32),
    /// F16: all watches end with an error of the server.
    WatchErrors,
    /// F17: the next writes are refused, as somebody else wrote meanwhile.
    Conflicts(u32),
    /// F17: the next writes are done and their answers lost.
    LoseWrites(u32),
    /// F12: another store answers, with nothing in it.
    Emptied(u32),
    /// F8: a copy of the store answers that is some seconds old.
    Stale(u32),
    /// F8: a copy of the store answers that lacks the last so many changes.
    Back(u32, u32),
    /// F22, F23: of the next commands so many are carried out, and no answer comes.
    LoseCommands(u32),
    /// F23: half of the next answer comes.
    CutAnswer,
    /// F22: the runtime socket takes connections and says nothing.
    Hang(u32),
    /// F24: the next command is refused without reason.
    RefuseCommand,
    /// F24: the next deletions of servers are refused, as connections are attached.
    Busy(u32),
    /// F25: the master does not say what became of the next reload.
    LoseReload,
    /// F25: the next start or reload takes that much longer.
    SlowReload(u32),
    /// F25: the next start or reload fails.
    RefuseLoad,
    /// F22: the master's socket takes connections and says nothing.
    MuteMaster(u32),
    /// F25: somebody else makes HAProxy reload.
    ForeignReload,
    /// F20, F21: HAProxy dies.
    WorkerDies,
    /// F20: HAProxy dies so many times, again and again soon after it came back.
    CrashLoop(u32),
    /// L6: somebody deletes a route from HAProxy's memory.
    Tamper,
    /// F27: the disk is full.
    DiskFull(u32),
    /// F27: what was written does not reach the disk (EIO), and counts as written all the same.
    SyncFails(u32),
    /// F27: the next work on files takes that much longer.
    SlowDisk(u32),
    /// F29: tidegate is killed, and started again later.
    ControllerDies(u32),
    /// F28, F29: tidegate is killed in the middle of a write, after so many others.
    DiesWriting(u32),
    /// F27, F28: the power fails, and is back later: tidegate and HAProxy are gone at once, and what was
    /// not synced is lost or not.
    PowerCut(u32),
}

/// Kinds that can be denied, or lag.
pub const KINDS: [&str; 4] = ["services", "endpointslices", "ingresses", "secrets"];

impl Fault {
    /// One of each, for those who choose.
    pub const ALL: [Fault; 40] = [
        Fault::Partition(0),
        Fault::Deaf(0),
        Fault::Delay(0),
        Fault::Cut,
        Fault::CutLists(0),
        Fault::ApiDies(0),
        Fault::Expire,
        Fault::Silent(0),
        Fault::Throttle(0),
        Fault::Unwell(0),
        Fault::Deny(0, 0),
        Fault::Lag(0, 0),
        Fault::Twice(0),
        Fault::ExpirePages(0),
        Fault::NoMarks(0),
        Fault::WatchErrors,
        Fault::Conflicts(0),
        Fault::LoseWrites(0),
        Fault::Emptied(0),
        Fault::Stale(0),
        Fault::Back(0, 0),
        Fault::LoseCommands(0),
        Fault::CutAnswer,
        Fault::Hang(0),
        Fault::RefuseCommand,
        Fault::Busy(0),
        Fault::LoseReload,
        Fault::SlowReload(0),
        Fault::RefuseLoad,
        Fault::MuteMaster(0),
        Fault::ForeignReload,
        Fault::WorkerDies,
        Fault::CrashLoop(0),
        Fault::Tamper,
        Fault::DiskFull(0),
        Fault::SyncFails(0),
        Fault::SlowDisk(0),
        Fault::ControllerDies(0),
        Fault::DiesWriting(0),
        Fault::PowerCut(0),
    ];

    /// Its name in schedules and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Fault::Partition(_) => "partition",
            Fault::Deaf(_) => "deaf",
            Fault::Delay(_) => "delay",
            Fault::Cut => "cut",
            Fault::CutLists(_) => "cut-lists",
            Fault::ApiDies(_) => "api-dies",
            Fault::Expire => "expire",
            Fault::Silent(_) => "silent",
            Fault::Throttle(_) => "throttle",
            Fault::Unwell(_) => "unwell",
            Fault::Deny(..) => "deny",
            Fault::Lag(..) => "lag",
            Fault::Twice(_) => "twice",
            Fault::ExpirePages(_) => "expire-pages",
            Fault::NoMarks(_) => "no-marks",
            Fault::WatchErrors => "watch-errors",
            Fault::Conflicts(_) => "conflicts",
            Fault::LoseWrites(_) => "lose-writes",
            Fault::Emptied(_) => "emptied",
            Fault::Stale(_) => "stale",
            Fault::Back(..) => "back",
            Fault::LoseCommands(_) => "lose-commands",
            Fault::CutAnswer => "cut-answer",
            Fault::Hang(_) => "hang",
            Fault::RefuseCommand => "refuse-command",
            Fault::Busy(_) => "busy",
            Fault::LoseReload => "lose-reload",
            Fault::SlowReload(_) => "slow-reload",
            Fault::RefuseLoad => "refuse-load",
            Fault::MuteMaster(_) => "mute-master",
            Fault::ForeignReload => "foreign-reload",
            Fault::WorkerDies => "worker-dies",
            Fault::CrashLoop(_) => "crash-loop",
            Fault::Tamper => "tamper",
            Fault::DiskFull(_) => "disk-full",
            Fault::SyncFails(_) => "sync-fails",
            Fault::SlowDisk(_) => "slow-disk",
            Fault::ControllerDies(_) => "controller-dies",
            Fault::DiesWriting(_) => "dies-writing",
            Fault::PowerCut(_) => "power-cut",
        }
    }

    /// Whether it happens to one replica, and not to the API server that all of them share.
    #[must_use]
    pub fn is_of_one(self) -> bool {
        match self {
            Fault::Partition(_)
            | Fault::Deaf(_)
            | Fault::Delay(_)
            | Fault::LoseCommands(_)
            | Fault::CutAnswer
            | Fault::Hang(_)
            | Fault::RefuseCommand
            | Fault::Busy(_)
            | Fault::LoseReload
            | Fault::SlowReload(_)
            | Fault::RefuseLoad
            | Fault::MuteMaster(_)
            | Fault::ForeignReload
            | Fault::WorkerDies
            | Fault::CrashLoop(_)
            | Fault::Tamper
            | Fault::DiskFull(_)
            | Fault::SyncFails(_)
            | Fault::SlowDisk(_)
            | Fault::ControllerDies(_)
            | Fault::DiesWriting(_)
            | Fault::PowerCut(_) => true,
            Fault::Cut
            | Fault::CutLists(_)
            | Fault::ApiDies(_)
            | Fault::Expire
            | Fault::Silent(_)
            | Fault::Throttle(_)
            | Fault::Unwell(_)
            | Fault::Deny(..)
            | Fault::Lag(..)
            | Fault::Twice(_)
            | Fault::ExpirePages(_)
            | Fault::NoMarks(_)
            | Fault::WatchErrors
            | Fault::Conflicts(_)
            | Fault::LoseWrites(_)
            | Fault::Emptied(_)
            | Fault::Stale(_)
            | Fault::Back(..) => false,
        }
    }

    /// Whether it is of a host, its disk or its link, and not of HAProxy.
    #[must_use]
    pub fn is_of_host(self) -> bool {
        matches!(
            self,
            Fault::Partition(_)
                | Fault::Deaf(_)
                | Fault::Delay(_)
                | Fault::DiskFull(_)
                | Fault::SyncFails(_)
                | Fault::SlowDisk(_)
                | Fault::ControllerDies(_)
                | Fault::DiesWriting(_)
                | Fault::PowerCut(_)
        )
    }

    /// Whether another store answers, whose objects may be older or missing.
    #[must_use]
    pub fn replaces_store(self) -> bool {
        matches!(self, Fault::Emptied(_) | Fault::Stale(_) | Fault::Back(..))
    }

    /// Its numbers, in their order.
    pub(super) fn numbers(self) -> Vec<u32> {
        match self {
            Fault::Partition(n)
            | Fault::Deaf(n)
            | Fault::Delay(n)
            | Fault::CutLists(n)
            | Fault::ApiDies(n)
            | Fault::Silent(n)
            | Fault::Throttle(n)
            | Fault::Unwell(n)
            | Fault::Twice(n)
            | Fault::ExpirePages(n)
            | Fault::NoMarks(n)
            | Fault::Conflicts(n)
            | Fault::LoseWrites(n)
            | Fault::Emptied(n)
            | Fault::Stale(n)
            | Fault::LoseCommands(n)
            | Fault::Hang(n)
            | Fault::Busy(n)
            | Fault::SlowReload(n)
            | Fault::MuteMaster(n)
            | Fault::CrashLoop(n)
            | Fault::DiskFull(n)
            | Fault::SyncFails(n)
            | Fault::SlowDisk(n)
            | Fault::ControllerDies(n)
            | Fault::DiesWriting(n)
            | Fault::PowerCut(n) => vec![n],
            Fault::Deny(kind, n) | Fault::Lag(kind, n) => vec![u32::from(kind), n],
            Fault::Back(changes, n) => vec![changes, n],
            Fault::Cut
            | Fault::Expire
            | Fault::WatchErrors
            | Fault::CutAnswer
            | Fault::RefuseCommand
            | Fault::LoseReload
            | Fault::RefuseLoad
            | Fault::ForeignReload
            | Fault::WorkerDies
            | Fault::Tamper => Vec::new(),
        }
    }

    /// The same fault with other numbers.
    #[must_use]
    pub fn with(self, first: u32, second: u32) -> Fault {
        match self {
            Fault::Partition(_) => Fault::Partition(first),
            Fault::Deaf(_) => Fault::Deaf(first),
            Fault::Delay(_) => Fault::Delay(first),
            Fault::CutLists(_) => Fault::CutLists(first),
            Fault::ApiDies(_) => Fault::ApiDies(first),
            Fault::Silent(_) => Fault::Silent(first),
            Fault::Throttle(_) => Fault::Throttle(first),
            Fault::Unwell(_) => Fault::Unwell(first),
            Fault::Deny(..) => Fault::Deny((first % 4) as u8, second),
            Fault::Lag(..) => Fault::Lag((first % 4) as u8, second),
            Fault::Twice(_) => Fault::Twice(first),
            Fault::ExpirePages(_) => Fault::ExpirePages(first),
            Fault::NoMarks(_) => Fault::NoMarks(first),
            Fault::Conflicts(_) => Fault::Conflicts(first),
            Fault::LoseWrites(_) => Fault::LoseWrites(first),
            Fault::Emptied(_) => Fault::Emptied(first),
            Fault::Stale(_) => Fault::Stale(first),
            Fault::Back(..) => Fault::Back(first, second),
            Fault::LoseCommands(_) => Fault::LoseCommands(first),
            Fault::Hang(_) => Fault::Hang(first),
            Fault::Busy(_) => Fault::Busy(first),
            Fault::SlowReload(_) => Fault::SlowReload(first),
            Fault::MuteMaster(_) => Fault::MuteMaster(first),
            Fault::CrashLoop(_) => Fault::CrashLoop(first),
            Fault::DiskFull(_) => Fault::DiskFull(first),
            Fault::SyncFails(_) => Fault::SyncFails(first),
            Fault::SlowDisk(_) => Fault::SlowDisk(first),
            Fault::ControllerDies(_) => Fault::ControllerDies(first),
            Fault::DiesWriting(_) => Fault::DiesWriting(first),
            Fault::PowerCut(_) => Fault::PowerCut(first),
            Fault::Cut
            | Fault::Expire
            | Fault::WatchErrors
            | Fault::CutAnswer
            | Fault::RefuseCommand
            | Fault::LoseReload
            | Fault::RefuseLoad
            | Fault::ForeignReload
            | Fault::WorkerDies
            | Fault::Tamper => self,
        }
    }
}
