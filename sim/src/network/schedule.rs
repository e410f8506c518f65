//! Schedules of tier 1: the changes of tier 0, and the faults that real sockets, files and processes
//! have. A run is a function of its schedule and of nothing else.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use super::fault::Fault;
use super::forever::Forever;
use super::proxy::Version;
use super::replica::{REPLICAS_MAX, ReplicaId};
use crate::swarm::schedule::{self as tier0, What};

/// An old worker ends at the latest after so many seconds, where a schedule says nothing.
const HARD_STOP_S: u32 = 1_800;

/// Reloads in a minute, where a schedule says nothing.
const RELOADS: u32 = 60;

/// Everything that a run depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// HAProxy's version.
    pub version: Version,
    /// Replicas of tidegate, each with a HAProxy of its own.
    pub replicas: usize,
    /// Seed of latencies and of tidegate's jitter.
    pub seed: u64,
    /// Step of simulated time, in milliseconds: it decides what happens at once.
    pub tick_ms: u64,
    /// Objects of a page of a list at most.
    pub page_max: usize,
    /// Whether the API server knows streaming lists.
    pub streaming: bool,
    /// An old worker ends at the latest after so many seconds (`--hard-stop-after`).
    pub hard_stop_s: u32,
    /// Reloads that changes may cause in a minute (`--reloads-per-minute`).
    pub reloads_per_minute: u32,
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
    /// A fault, and at which replica, where it is of one.
    Fault(Fault, ReplicaId),
    /// Something breaks for good, and at which replica, where it is of one.
    Forever(Forever, ReplicaId),
    /// By now all must be quiet and as wanted.
    Quiet,
    /// From now to the next `quiet` nothing may be changed in HAProxy.
    Still,
    /// An operator says that what is no longer listed is gone.
    Accept,
    /// Clients begin a request to a host that lasts for so many milliseconds, one at each replica.
    Stream(String, u32),
    /// F18: the wall clock of a replica is set forward, by so many seconds, or back.
    Clock(i32, ReplicaId),
}

/// ` at 1`; nothing for the first replica.
struct Suffix(ReplicaId);

impl fmt::Display for Suffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ReplicaId(0) => Ok(()),
            ReplicaId(number) => write!(f, " at {number}"),
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
            Happens::Forever(what, id) => write!(f, "{at_ms} forever {what}{}", Suffix(*id)),
            Happens::Quiet => write!(f, "{at_ms} quiet"),
            Happens::Still => write!(f, "{at_ms} still"),
            Happens::Accept => write!(f, "{at_ms} accept"),
            Happens::Stream(host, ms) => write!(f, "{at_ms} stream {host} {ms}"),
            Happens::Clock(s, id) => write!(f, "{at_ms} clock {s}{}", Suffix(*id)),
            Happens::Fault(fault, id) => {
                write!(f, "{at_ms} fault {}", fault.name())?;
                fault.numbers().iter().try_for_each(|number| write!(f, " {number}"))?;
                write!(f, "{}", Suffix(*id))
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
        let (words, id) = match words.get(1..).unwrap_or_default() {
            [words @ .., "at", number] => {
                let number = number.parse().ok().filter(|number| *number < REPLICAS_MAX);
                (words, ReplicaId(number.ok_or_else(bad)?))
            }
            words => (words, ReplicaId::default()),
        };
        let (at_ms, what) = match (at, words) {
            (Some(at_ms), ["clock", seconds]) => {
                (at_ms, Happens::Clock(seconds.parse().map_err(|_| bad())?, id))
            }
            (Some(at_ms), ["fault", name, numbers @ ..]) => {
                let fault = Fault::ALL.into_iter().find(|fault| fault.name() == *name);
                let fault = fault.filter(|fault| fault.is_of_one() || id == ReplicaId(0));
                let fault = fault.ok_or_else(bad)?;
                let numbers: Result<Vec<u32>, _> = numbers.iter().map(|n| n.parse()).collect();
                let numbers = numbers.map_err(|_| bad())?;
                let number = |at: usize| numbers.get(at).copied().unwrap_or(0);
                (at_ms, Happens::Fault(fault.with(number(0), number(1)), id))
            }
            (Some(at_ms), ["forever", words @ ..]) => {
                let known = |what: &Forever| what.is_of_one() || id == ReplicaId(0);
                (at_ms, Happens::Forever(Forever::read(words).filter(known).ok_or_else(bad)?, id))
            }
            _ if id != ReplicaId(0) => return Err(bad()),
            (Some(at_ms), ["stream", host, ms]) => {
                (at_ms, Happens::Stream((*host).to_owned(), ms.parse().map_err(|_| bad())?))
            }
            (Some(at_ms), ["quiet"]) => (at_ms, Happens::Quiet),
            (Some(at_ms), ["still"]) => (at_ms, Happens::Still),
            (Some(at_ms), ["accept"]) => (at_ms, Happens::Accept),
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
        Schedule {
            version,
            replicas: 1,
            seed,
            tick_ms: 2,
            page_max: 500,
            streaming: true,
            hard_stop_s: HARD_STOP_S,
            reloads_per_minute: RELOADS,
            entries: Vec::new(),
        }
    }

    /// Its text, with words about it as comments before.
    #[must_use]
    pub fn to_text(&self, about: &str) -> String {
        let Schedule {
            version,
            replicas,
            seed,
            tick_ms,
            page_max,
            streaming,
            hard_stop_s,
            reloads_per_minute,
            entries,
        } = self;
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
        if *replicas > 1 {
            let _ = writeln!(text, "replicas {replicas}");
        }
        if *hard_stop_s != HARD_STOP_S {
            let _ = writeln!(text, "hard-stop {hard_stop_s}");
        }
        if *reloads_per_minute != RELOADS {
            let _ = writeln!(text, "reloads {reloads_per_minute}");
        }
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
                Some(("replicas", text)) => {
                    let known = |count: &u64| (1..=REPLICAS_MAX as u64).contains(count);
                    let count = Some(number(text)?).filter(known).ok_or_else(bad)?;
                    schedule.replicas = count as usize;
                }
                Some(("seed", text)) => schedule.seed = number(text)?,
                Some(("tick", text)) => schedule.tick_ms = number(text)?.max(1),
                Some(("pages", text)) => {
                    schedule.page_max = usize::try_from(number(text)?).unwrap_or(1);
                }
                Some(("hard-stop", text)) => {
                    schedule.hard_stop_s = text.parse().map_err(|_| bad())?;
                }
                Some(("reloads", text)) => {
                    schedule.reloads_per_minute = text.parse().map_err(|_| bad())?;
                }
                Some(("streaming", text)) => schedule.streaming = number(text)? > 0,
                _ => schedule.entries.push(line.parse()?),
            }
        }
        schedule.entries.sort_by_key(|entry| entry.at_ms);
        let absent = schedule.entries.iter().find(|entry| match &entry.what {
            Happens::Fault(_, id) | Happens::Forever(_, id) | Happens::Clock(_, id) => {
                id.0 >= schedule.replicas
            }
            _ => false,
        });
        match absent {
            Some(entry) => Err(format!("there is no such replica: {entry}")),
            None => Ok(schedule),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_schedule_are_the_same_thing() {
        let mut schedule = Schedule {
            page_max: 2,
            replicas: 2,
            hard_stop_s: 30,
            reloads_per_minute: 9,
            ..Schedule::new(Version::V26, 9)
        };
        let faults = Fault::ALL.into_iter().map(|fault| {
            let id = ReplicaId(usize::from(fault.is_of_one()));
            Happens::Fault(fault.with(3, 40), id)
        });
        let lasting = Forever::all().into_iter().map(|what| {
            let id = ReplicaId(usize::from(what.is_of_one()));
            Happens::Forever(what, id)
        });
        let others = [
            Happens::Clock(60, ReplicaId(1)),
            Happens::Clock(-60, ReplicaId(1)),
            Happens::Change(What::Service("t1/web".to_owned(), true)),
            Happens::Stream("a.example".to_owned(), 30_000),
            Happens::Still,
            Happens::Accept,
            Happens::Quiet,
        ];
        schedule.entries =
            faults.chain(lasting).chain(others).map(|what| Entry { at_ms: 5, what }).collect();
        let text = schedule.to_text("words");
        assert!(Schedule::is_one(&text));
        assert_eq!(Schedule::from_text(&text).unwrap(), schedule);
        for bad in [
            "5 nonsense",
            "replicas 3",
            "5 fault tamper at 1",
            "replicas 2\n5 fault cut at 1",
            "replicas 2\n5 fault tamper at 2",
            "replicas 2\n5 quiet at 1",
            "replicas 2\n5 forever deny 1 at 1",
            "5 forever rain",
        ] {
            assert!(Schedule::from_text(bad).is_err(), "{bad}");
        }
    }
}
