//! Occasions: for each fault a short schedule in which HAProxy reloads again and again while the fault
//! may show. tidegate avoids reloads, so that seeds seldom bring the two together.
//!
//! Inputs: the faults there are. Outputs: a schedule for each. Not here: all other phases, which seeds
//! reach ([`super::cells`]).

use super::fault::Fault;
use super::generate::{ACCEPT_MS, CALM_MS, REST_MS, fault};
use super::proxy::Version;
use super::replica::ReplicaId;
use super::schedule::{Entry, Happens, Schedule};
use crate::dice::Dice;
use crate::swarm::schedule::What;

/// Of these versions HAProxy reloads for every new backend.
const VERSION: Version = Version::V26;
/// From one new backend to the next: longer than a reload counts as recent, in milliseconds.
const EVERY_MS: u64 = 3_400;
/// From when its Service is there to when it is needed, in milliseconds.
const KNOWN_MS: u64 = 1_000;
/// How many come.
const BACKENDS: u64 = 24;
/// How long the first reload takes, in milliseconds: the fault begins in the middle of it.
const SLOW_MS: u32 = 3_000;
/// From the first fault to the second, when a slow reload no longer shows, in milliseconds.
const AGAIN_MS: u64 = 32_000;

/// A schedule for each fault, with its name.
#[must_use]
pub fn all() -> Vec<(&'static str, Schedule)> {
    let all = Fault::ALL.into_iter().zip(1..);
    all.map(|(kind, number)| (kind.name(), schedule(kind, number))).collect()
}

fn schedule(kind: Fault, number: u64) -> Schedule {
    let mut schedule = Schedule::new(VERSION, number);
    schedule.tick_ms = 5;
    let mut dice = Dice::new(number, "occasions");
    let change = |what| Happens::Change(what);
    let begins = |fault| Happens::Fault(fault, ReplicaId::default());
    let mut put = |at_ms, what| schedule.entries.push(Entry { at_ms, what });
    for service in ["t1/web", "t2/web"] {
        put(0, change(What::Service(service.to_owned(), true)));
    }
    put(0, change(pods("t1/web", vec![1, 2])));
    put(0, change(pods("t2/web", vec![3])));
    put(0, change(What::Secret("t1/tls".to_owned(), 1)));
    put(0, change(ingress("t1/a", "a.example", "web", Some("tls"))));
    put(0, change(ingress("t2/b", "b.example", "web", None)));
    put(CALM_MS, Happens::Quiet);
    let begin = CALM_MS + 1_000;
    put(begin, begins(Fault::SlowReload(SLOW_MS)));
    put(begin + KNOWN_MS + u64::from(SLOW_MS) / 2, begins(fault(&mut dice, kind)));
    put(begin + AGAIN_MS, begins(fault(&mut dice, kind)));
    for backend in 0..BACKENDS {
        let (at_ms, name) = (begin + backend * EVERY_MS, format!("n{backend}"));
        let service = format!("t1/{name}");
        let ready = vec![10 + backend as u8];
        put(at_ms, change(What::Service(service.clone(), true)));
        put(at_ms, change(pods(&service, ready)));
        let host = format!("{name}.example");
        put(at_ms + KNOWN_MS, change(ingress(&service, &host, &name, None)));
    }
    let end = begin + BACKENDS * EVERY_MS;
    if matches!(kind, Fault::Emptied(_) | Fault::Stale(_)) {
        put(end + ACCEPT_MS, Happens::Accept);
    }
    put(end + REST_MS, Happens::Quiet);
    schedule.entries.sort_by_key(|entry| entry.at_ms);
    schedule
}

fn pods(service: &str, ready: Vec<u8>) -> What {
    What::Pods { service: service.to_owned(), ready, leaving: Vec::new() }
}

fn ingress(name: &str, host: &str, service: &str, secret: Option<&str>) -> What {
    What::Ingress {
        name: name.to_owned(),
        host: host.to_owned(),
        service: service.to_owned(),
        secret: secret.map(str::to_owned),
        guarded: secret.is_some(),
        canary: false,
    }
}
