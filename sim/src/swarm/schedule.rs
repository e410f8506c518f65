//! Schedules: everything that happens around a controller, as a list of lines. A run is a function
//! of its schedule and nothing else, so a schedule is a journal, a bug report and a test.

use std::fmt::{self, Write as _};
use std::str::FromStr;

/// One thing that happens, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Milliseconds since the beginning.
    pub at_ms: u64,
    /// What.
    pub what: What,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The slice of a Service has these pods, by the last number of their address.
    Pods {
        /// `namespace/service`, with `:2` for its second slice.
        service: String,
        /// Ready pods.
        ready: Vec<u8>,
        /// Pods that finish what they have.
        leaving: Vec<u8>,
    },
    /// The slice of a Service is deleted.
    NoPods(String),
    /// A Service is created or deleted.
    Service(String, bool),
    /// An Ingress is created or changed.
    Ingress {
        /// `namespace/name`.
        name: String,
        /// Its host.
        host: String,
        /// Service, in the same namespace.
        service: String,
        /// Secret of the certificate, in the same namespace.
        secret: Option<String>,
        /// Whether it has an allow list.
        guarded: bool,
        /// Whether it is a canary.
        canary: bool,
    },
    /// An Ingress is deleted.
    NoIngress(String),
    /// A Secret holds the certificate of this number; 0 deletes it. HAProxy refuses 7.
    Secret(String, u8),
    /// A fault.
    Fault(Fault),
    /// By now all must be quiet and as wanted.
    Quiet,
    /// From now on a promise that cannot be kept is judged with the others: the alarm must go off.
    Canary,
}

/// A fault. The letters are those of the fault model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// F22, F23: of the next runtime commands so many are carried out, and the answer is lost.
    LoseCommands(u8),
    /// F25: the answer to the next save or reload is lost; the flag tells whether it was done.
    LoseFiles(bool),
    /// F24: the next runtime command is refused without reason.
    RefuseCommand,
    /// F27: the next save or reload finds the disk full.
    DiskFull,
    /// F5: the next runtime action takes so many milliseconds.
    SlowCommands(u32),
    /// F25: the next save or reload takes so many milliseconds.
    SlowFiles(u32),
    /// F20: the worker dies; a new one starts from the files.
    WorkerDies,
    /// F29: the controller dies and starts again.
    ControllerDies,
    /// F2, F3: nothing is told for so many milliseconds; then the missed changes are.
    Gap(u32),
    /// F4, F6: nothing is told for so many milliseconds; then everything is listed again.
    Outage(u32),
    /// F7: everything is listed again.
    Relist,
    /// F9: the next change is told twice.
    Twice,
    /// F10: the next change is not told.
    Drop,
    /// L6: somebody deletes a route from HAProxy's memory.
    Tamper,
}

impl Fault {
    /// Its name in schedules and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Fault::LoseCommands(_) => "lose-commands",
            Fault::LoseFiles(_) => "lose-files",
            Fault::RefuseCommand => "refuse-command",
            Fault::DiskFull => "disk-full",
            Fault::SlowCommands(_) => "slow-commands",
            Fault::SlowFiles(_) => "slow-files",
            Fault::WorkerDies => "worker-dies",
            Fault::ControllerDies => "controller-dies",
            Fault::Gap(_) => "gap",
            Fault::Outage(_) => "outage",
            Fault::Relist => "relist",
            Fault::Twice => "twice",
            Fault::Drop => "drop",
            Fault::Tamper => "tamper",
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.at_ms)?;
        let list = |pods: &[u8]| {
            let words: Vec<String> = pods.iter().map(u8::to_string).collect();
            if words.is_empty() { "-".to_owned() } else { words.join(",") }
        };
        match &self.what {
            What::Pods { service, ready, leaving } => {
                write!(f, "pods {service} {} {}", list(ready), list(leaving))
            }
            What::NoPods(service) => write!(f, "no-pods {service}"),
            What::Service(name, true) => write!(f, "service {name}"),
            What::Service(name, false) => write!(f, "no-service {name}"),
            What::Ingress { name, host, service, secret, guarded, canary } => {
                write!(f, "ingress {name} {host} {service}")?;
                if let Some(secret) = secret {
                    write!(f, " tls={secret}")?;
                }
                f.write_str(if *guarded { " guarded" } else { "" })?;
                f.write_str(if *canary { " canary" } else { "" })
            }
            What::NoIngress(name) => write!(f, "no-ingress {name}"),
            What::Secret(name, number) => write!(f, "secret {name} {number}"),
            What::Quiet => f.write_str("quiet"),
            What::Canary => f.write_str("canary"),
            What::Fault(fault) => {
                write!(f, "fault {}", fault.name())?;
                match fault {
                    Fault::LoseCommands(n) => write!(f, " {n}"),
                    Fault::LoseFiles(done) => write!(f, " {}", u8::from(*done)),
                    Fault::SlowCommands(ms)
                    | Fault::SlowFiles(ms)
                    | Fault::Gap(ms)
                    | Fault::Outage(ms) => write!(f, " {ms}"),
                    Fault::RefuseCommand
                    | Fault::DiskFull
                    | Fault::WorkerDies
                    | Fault::ControllerDies
                    | Fault::Relist
                    | Fault::Twice
                    | Fault::Drop
                    | Fault::Tamper => Ok(()),
                }
            }
        }
    }
}

impl FromStr for Entry {
    type Err = String;

    fn from_str(line: &str) -> Result<Entry, String> {
        let bad = || format!("cannot be read: {line}");
        let mut words = line.split_whitespace();
        let at_ms = words.next().and_then(|w| w.parse().ok()).ok_or_else(bad)?;
        let kind = words.next().ok_or_else(bad)?;
        let mut next = || words.next().map(str::to_owned).ok_or_else(bad);
        let pods = |text: String| -> Result<Vec<u8>, String> {
            if text == "-" {
                return Ok(Vec::new());
            }
            text.split(',').map(|n| n.parse().map_err(|_| bad())).collect()
        };
        let what = match kind {
            "pods" => {
                What::Pods { service: next()?, ready: pods(next()?)?, leaving: pods(next()?)? }
            }
            "no-pods" => What::NoPods(next()?),
            "service" => What::Service(next()?, true),
            "no-service" => What::Service(next()?, false),
            "ingress" => {
                let (name, host, service) = (next()?, next()?, next()?);
                let rest: Vec<&str> = words.collect();
                let secret = rest.iter().find_map(|w| w.strip_prefix("tls=")).map(str::to_owned);
                let (guarded, canary) = (rest.contains(&"guarded"), rest.contains(&"canary"));
                What::Ingress { name, host, service, secret, guarded, canary }
            }
            "no-ingress" => What::NoIngress(next()?),
            "secret" => What::Secret(next()?, next()?.parse().map_err(|_| bad())?),
            "quiet" => What::Quiet,
            "canary" => What::Canary,
            "fault" => {
                let name = next()?;
                let number = words.next().map_or(Ok(0), str::parse::<u32>).map_err(|_| bad())?;
                What::Fault(fault(&name, number).ok_or_else(bad)?)
            }
            _ => return Err(bad()),
        };
        Ok(Entry { at_ms, what })
    }
}

fn fault(name: &str, number: u32) -> Option<Fault> {
    Some(match name {
        "lose-commands" => Fault::LoseCommands(number.min(255) as u8),
        "lose-files" => Fault::LoseFiles(number > 0),
        "refuse-command" => Fault::RefuseCommand,
        "disk-full" => Fault::DiskFull,
        "slow-commands" => Fault::SlowCommands(number),
        "slow-files" => Fault::SlowFiles(number),
        "worker-dies" => Fault::WorkerDies,
        "controller-dies" => Fault::ControllerDies,
        "gap" => Fault::Gap(number),
        "outage" => Fault::Outage(number),
        "relist" => Fault::Relist,
        "twice" => Fault::Twice,
        "drop" => Fault::Drop,
        "tamper" => Fault::Tamper,
        _ => return None,
    })
}

/// A schedule as text, one entry per line, with words about it as comments before.
#[must_use]
pub fn to_text(tier: &str, about: &str, entries: &[Entry]) -> String {
    let mut text = String::new();
    for line in about.lines() {
        let _ = writeln!(text, "# {line}");
    }
    let _ = writeln!(text, "tier {tier}");
    for entry in entries {
        let _ = writeln!(text, "{entry}");
    }
    text
}

/// Reads a schedule: its tier and entries, sorted by time.
///
/// # Errors
/// The line that cannot be read.
pub fn from_text(text: &str) -> Result<(String, Vec<Entry>), String> {
    let mut tier = "A".to_owned();
    let mut entries = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.strip_prefix("tier ") {
            Some(name) => name.trim().clone_into(&mut tier),
            None => entries.push(line.parse::<Entry>()?),
        }
    }
    entries.sort_by_key(|entry| entry.at_ms);
    Ok((tier, entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_schedule_are_the_same_thing() {
        let text = "tier B\n0 service t1/web\n5 pods t1/web 1,2 -\n7 pods t1/web - 3\n\
                    8 no-pods t1/web\n9 no-service t1/web\n10 ingress t1/a a.example web tls=tls \
                    guarded\n11 ingress t1/b b.example web canary\n12 no-ingress t1/a\n13 secret t1/tls 2\n\
                    14 fault lose-commands 3\n15 fault gap 500\n16 fault tamper\n17 quiet\n";
        let (tier, entries) = from_text(text).unwrap();
        assert_eq!(to_text(&tier, "", &entries), text);
        assert!(from_text("5 nonsense").is_err());
    }
}
