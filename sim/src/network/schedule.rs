//! Schedules of tier 1: the changes of tier 0, and the faults that real sockets, files and processes
//! have. A run is a function of its schedule and of nothing else.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use super::proxy::Version;
use crate::swarm::schedule::{self as tier0, What};

/// Everything that a run depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// HAProxy's version.
    pub version: Version,
    /// Seed of latencies and of tidegate's jitter.
    pub seed: u64,
    /// Step of simulated time, in milliseconds: it decides what happens at once.
    pub tick_ms: u64,
    /// Objects of a page of a list at most.
    pub page_max: usize,
    /// Whether the API server knows streaming lists.
    pub streaming: bool,
    /// What happens.
    pub entries: Vec<Entry>,
}

/// One thing that happens, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Milliseconds since the beginning.
    pub at_ms: u64,
    /// What.
    pub what: Happens,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happens {
    /// The cluster changes.
    Change(What),
    /// A fault.
    Fault(Fault),
    /// By now all must be quiet and as wanted.
    Quiet,
    /// From now to the next `quiet` nothing may be changed in HAProxy.
    Still,
    /// An operator says that what is no longer listed is gone.
    Accept,
    /// F18: the wall clock is set forward, by so many seconds.
    Clock(u32),
}

/// A fault. The letters are those of the fault model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// F4: nothing passes between tidegate and the API server, and nobody is told.
    Partition(u32),
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
    /// F17: the next writes are done and their answers lost.
    LoseWrites(u32),
    /// F12: another store answers, with nothing in it.
    Emptied(u32),
    /// F8: a copy of the store answers that is some seconds old.
    Stale(u32),
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
    /// F20, F21: HAProxy dies.
    WorkerDies,
    /// L6: somebody deletes a route from HAProxy's memory.
    Tamper,
    /// F27: the disk is full.
    DiskFull(u32),
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

/// Kinds that can be denied.
pub const DENIED: [&str; 4] = ["services", "endpointslices", "ingresses", "secrets"];

impl Fault {
    /// One of each, for those who choose.
    pub const ALL: [Fault; 28] = [
        Fault::Partition(0),
        Fault::Delay(0),
        Fault::Cut,
        Fault::CutLists(0),
        Fault::ApiDies(0),
        Fault::Expire,
        Fault::Silent(0),
        Fault::Throttle(0),
        Fault::Unwell(0),
        Fault::Deny(0, 0),
        Fault::LoseWrites(0),
        Fault::Emptied(0),
        Fault::Stale(0),
        Fault::LoseCommands(0),
        Fault::CutAnswer,
        Fault::Hang(0),
        Fault::RefuseCommand,
        Fault::Busy(0),
        Fault::LoseReload,
        Fault::SlowReload(0),
        Fault::RefuseLoad,
        Fault::WorkerDies,
        Fault::Tamper,
        Fault::DiskFull(0),
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
            Fault::Delay(_) => "delay",
            Fault::Cut => "cut",
            Fault::CutLists(_) => "cut-lists",
            Fault::ApiDies(_) => "api-dies",
            Fault::Expire => "expire",
            Fault::Silent(_) => "silent",
            Fault::Throttle(_) => "throttle",
            Fault::Unwell(_) => "unwell",
            Fault::Deny(..) => "deny",
            Fault::LoseWrites(_) => "lose-writes",
            Fault::Emptied(_) => "emptied",
            Fault::Stale(_) => "stale",
            Fault::LoseCommands(_) => "lose-commands",
            Fault::CutAnswer => "cut-answer",
            Fault::Hang(_) => "hang",
            Fault::RefuseCommand => "refuse-command",
            Fault::Busy(_) => "busy",
            Fault::LoseReload => "lose-reload",
            Fault::SlowReload(_) => "slow-reload",
            Fault::RefuseLoad => "refuse-load",
            Fault::WorkerDies => "worker-dies",
            Fault::Tamper => "tamper",
            Fault::DiskFull(_) => "disk-full",
            Fault::SlowDisk(_) => "slow-disk",
            Fault::ControllerDies(_) => "controller-dies",
            Fault::DiesWriting(_) => "dies-writing",
            Fault::PowerCut(_) => "power-cut",
        }
    }

    fn numbers(self) -> Vec<u32> {
        match self {
            Fault::Partition(n)
            | Fault::Delay(n)
            | Fault::CutLists(n)
            | Fault::ApiDies(n)
            | Fault::Silent(n)
            | Fault::Throttle(n)
            | Fault::Unwell(n)
            | Fault::LoseWrites(n)
            | Fault::Emptied(n)
            | Fault::Stale(n)
            | Fault::LoseCommands(n)
            | Fault::Hang(n)
            | Fault::Busy(n)
            | Fault::SlowReload(n)
            | Fault::DiskFull(n)
            | Fault::SlowDisk(n)
            | Fault::ControllerDies(n)
            | Fault::DiesWriting(n)
            | Fault::PowerCut(n) => vec![n],
            Fault::Deny(kind, n) => vec![u32::from(kind), n],
            Fault::Cut
            | Fault::Expire
            | Fault::CutAnswer
            | Fault::RefuseCommand
            | Fault::LoseReload
            | Fault::RefuseLoad
            | Fault::WorkerDies
            | Fault::Tamper => Vec::new(),
        }
    }

    /// The same fault with other numbers.
    #[must_use]
    pub fn with(self, first: u32, second: u32) -> Fault {
        match self {
            Fault::Partition(_) => Fault::Partition(first),
            Fault::Delay(_) => Fault::Delay(first),
            Fault::CutLists(_) => Fault::CutLists(first),
            Fault::ApiDies(_) => Fault::ApiDies(first),
            Fault::Silent(_) => Fault::Silent(first),
            Fault::Throttle(_) => Fault::Throttle(first),
            Fault::Unwell(_) => Fault::Unwell(first),
            Fault::Deny(..) => Fault::Deny((first % 4) as u8, second),
            Fault::LoseWrites(_) => Fault::LoseWrites(first),
            Fault::Emptied(_) => Fault::Emptied(first),
            Fault::Stale(_) => Fault::Stale(first),
            Fault::LoseCommands(_) => Fault::LoseCommands(first),
            Fault::Hang(_) => Fault::Hang(first),
            Fault::Busy(_) => Fault::Busy(first),
            Fault::SlowReload(_) => Fault::SlowReload(first),
            Fault::DiskFull(_) => Fault::DiskFull(first),
            Fault::SlowDisk(_) => Fault::SlowDisk(first),
            Fault::ControllerDies(_) => Fault::ControllerDies(first),
            Fault::DiesWriting(_) => Fault::DiesWriting(first),
            Fault::PowerCut(_) => Fault::PowerCut(first),
            Fault::Cut
            | Fault::Expire
            | Fault::CutAnswer
            | Fault::RefuseCommand
            | Fault::LoseReload
            | Fault::RefuseLoad
            | Fault::WorkerDies
            | Fault::Tamper => self,
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { at_ms, what } = self;
        match what {
            Happens::Change(what) => {
                write!(f, "{}", tier0::Entry { at_ms: *at_ms, what: what.clone() })
            }
            Happens::Quiet => write!(f, "{at_ms} quiet"),
            Happens::Still => write!(f, "{at_ms} still"),
            Happens::Accept => write!(f, "{at_ms} accept"),
            Happens::Clock(s) => write!(f, "{at_ms} clock {s}"),
            Happens::Fault(fault) => {
                write!(f, "{at_ms} fault {}", fault.name())?;
                fault.numbers().iter().try_for_each(|number| write!(f, " {number}"))
            }
        }
    }
}

impl FromStr for Entry {
    type Err = String;

    fn from_str(line: &str) -> Result<Entry, String> {
        let bad = || format!("cannot be read: {line}");
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.first().and_then(|word| word.parse().ok());
        let (at_ms, what) = match (at, words.get(1..).unwrap_or_default()) {
            (Some(at_ms), ["quiet"]) => (at_ms, Happens::Quiet),
            (Some(at_ms), ["still"]) => (at_ms, Happens::Still),
            (Some(at_ms), ["accept"]) => (at_ms, Happens::Accept),
            (Some(at_ms), ["clock", seconds]) => {
                (at_ms, Happens::Clock(seconds.parse().map_err(|_| bad())?))
            }
            (Some(at_ms), ["fault", name, numbers @ ..]) => {
                let fault = Fault::ALL.into_iter().find(|fault| fault.name() == *name);
                let fault = fault.ok_or_else(bad)?;
                let numbers: Result<Vec<u32>, _> = numbers.iter().map(|n| n.parse()).collect();
                let numbers = numbers.map_err(|_| bad())?;
                let number = |at: usize| numbers.get(at).copied().unwrap_or(0);
                (at_ms, Happens::Fault(fault.with(number(0), number(1))))
            }
            _ => {
                let tier0::Entry { at_ms, what } = line.parse()?;
                (at_ms, Happens::Change(what))
            }
        };
        Ok(Entry { at_ms, what })
    }
}

impl Schedule {
    /// A schedule without faults for a version.
    #[must_use]
    pub fn new(version: Version, seed: u64) -> Schedule {
        Schedule { version, seed, tick_ms: 2, page_max: 500, streaming: true, entries: Vec::new() }
    }

    /// Its text, with words about it as comments before.
    #[must_use]
    pub fn to_text(&self, about: &str) -> String {
        let Schedule { version, seed, tick_ms, page_max, streaming, entries } = self;
        let mut text = String::new();
        for line in about.lines() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# {line}");
        }
        let _ = writeln!(
            text,
            "haproxy {}\nseed {seed}\ntick {tick_ms}\npages {page_max}\nstreaming {}",
            version.name(),
            u8::from(*streaming)
        );
        for entry in entries {
            let _ = writeln!(text, "{entry}");
        }
        text
    }

    /// Whether a text is a schedule of this tier.
    #[must_use]
    pub fn is_one(text: &str) -> bool {
        text.lines().any(|line| line.trim_start().starts_with("haproxy "))
    }

    /// Reads a schedule.
    ///
    /// # Errors
    /// The line that cannot be read.
    pub fn from_text(text: &str) -> Result<Schedule, String> {
        let mut schedule = Schedule::new(Version::V34, 1);
        for line in text.lines().map(str::trim) {
            let bad = || format!("cannot be read: {line}");
            let number = |text: &str| text.parse::<u64>().map_err(|_| bad());
            match line.split_once(' ') {
                _ if line.is_empty() || line.starts_with('#') => {}
                Some(("haproxy", name)) => {
                    schedule.version = Version::of(name).ok_or_else(bad)?;
                }
                Some(("seed", text)) => schedule.seed = number(text)?,
                Some(("tick", text)) => schedule.tick_ms = number(text)?.max(1),
                Some(("pages", text)) => {
                    schedule.page_max = usize::try_from(number(text)?).unwrap_or(1);
                }
                Some(("streaming", text)) => schedule.streaming = number(text)? > 0,
                _ => schedule.entries.push(line.parse()?),
            }
        }
        schedule.entries.sort_by_key(|entry| entry.at_ms);
        Ok(schedule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_schedule_are_the_same_thing() {
        let mut schedule = Schedule { page_max: 2, ..Schedule::new(Version::V26, 9) };
        let faults = Fault::ALL.into_iter().map(|fault| Happens::Fault(fault.with(3, 40)));
        let others = [
            Happens::Change(What::Service("t1/web".to_owned(), true)),
            Happens::Still,
            Happens::Accept,
            Happens::Quiet,
        ];
        schedule.entries = faults.chain(others).map(|what| Entry { at_ms: 5, what }).collect();
        let text = schedule.to_text("words");
        assert!(Schedule::is_one(&text));
        assert_eq!(Schedule::from_text(&text).unwrap(), schedule);
        assert!(Schedule::from_text("5 nonsense").is_err());
    }
}
