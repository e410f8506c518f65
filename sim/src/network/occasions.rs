//! Occasions: short schedules of what seeds seldom come upon. For each fault one in which HAProxy reloads
//! again and again while the fault may show, as tidegate avoids reloads; for each thing that stays broken
//! for good one on the oldest and one on the newest HAProxy.
//!
//! Inputs: the faults there are. Outputs: schedules with names. Not here: all other phases, which seeds
//! reach ([`super::cells`]).

use super::fault::Fault;
use super::forever::Forever;
use super::generate::{ACCEPT_MS, CALM_MS, REST_MS, SETTLED_MS, fault};
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
/// From one change to the next where something stays broken, in milliseconds.
const CHANGES_MS: u64 = 2_500;
/// How many come.
const BACKENDS: u64 = 24;
/// How long the first reload takes, in milliseconds: the fault begins in the middle of it.
const SLOW_MS: u32 = 3_000;
/// From the first fault to the second, when a slow reload no longer shows, in milliseconds.
const AGAIN_MS: u64 = 32_000;

/// A schedule for each, with its name.
#[must_use]
pub fn all() -> Vec<(String, Schedule)> {
    let faults = Fault::ALL.into_iter().zip(1..);
    let faults = faults.map(|(kind, number)| (kind.name().to_owned(), schedule(kind, number)));
    let versions = [Version::V26, Version::V34];
    let lasting = versions.into_iter().flat_map(|version| {
        let all = Forever::all().into_iter().zip(1..);
        all.map(move |(forever, number)| {
            let name = format!("forever {forever} on {}", version.name());
            (name.replace(['/', ' '], "-"), goes_on(version, forever, number))
        })
    });
    faults.chain(lasting).collect()
}

/// Something breaks for good; then pods, certificates, routes and Services change, and others make
/// HAProxy reload.
fn goes_on(version: Version, forever: Forever, number: u64) -> Schedule {
    let mut schedule = Schedule::new(version, number);
    schedule.tick_ms = 5;
    schedule.replicas = if forever.needs_two() { 2 } else { 1 };
    let id = ReplicaId::default();
    let begin = CALM_MS + 1_000;
    let mut all = world();
    all.push((CALM_MS, Happens::Quiet));
    all.push((begin - 900, Happens::Change(What::NoIngress("t1/i1".to_owned()))));
    all.push((begin, Happens::Forever(forever, id)));
    let changes = [
        pods("t1/web", vec![2, 4]),
        What::Secret("t1/tls".to_owned(), 2),
        pods("t2/web", vec![5]),
        What::Service("t2/api".to_owned(), true),
        pods("t2/api", vec![6, 7]),
        ingress("t2/c", "c.example", "api", None),
        ingress("t1/i1", "i.example", "web", None),
        pods("t1/web", vec![4]),
        What::NoIngress("t2/b".to_owned()),
        ingress("t2/d", "d.example", "web", None),
        pods("t2/api", vec![7, 8]),
        pods("t1/web", vec![4, 9]),
    ];
    for (number, what) in (0..).zip(changes) {
        let at_ms = begin + SETTLED_MS + number * CHANGES_MS;
        all.push((at_ms, Happens::Change(what)));
        if number % 5 == 2 {
            all.push((at_ms + 1, Happens::Fault(Fault::ForeignReload, id)));
        }
    }
    all.push((begin + SETTLED_MS + REST_MS, Happens::Quiet));
    all.sort_by_key(|(at_ms, _)| *at_ms);
    schedule.entries = all.into_iter().map(|(at_ms, what)| Entry { at_ms, what }).collect();
    schedule
}

/// Two tenants with a host each, one with a certificate and an allow list.
fn world() -> Vec<(u64, Happens)> {
    let all = [
        What::Service("t1/web".to_owned(), true),
        What::Service("t2/web".to_owned(), true),
        pods("t1/web", vec![1, 2]),
        pods("t2/web", vec![3]),
        What::Secret("t1/tls".to_owned(), 1),
        ingress("t1/a", "a.example", "web", Some("tls")),
        ingress("t2/b", "b.example", "web", None),
        ingress("t1/i1", "i.example", "web", None),
    ];
    all.into_iter().map(|what| (0, Happens::Change(what))).collect()
}

fn schedule(kind: Fault, number: u64) -> Schedule {
    let mut schedule = Schedule::new(VERSION, number);
    schedule.tick_ms = 5;
    let mut dice = Dice::new(number, "occasions");
    let change = |what| Happens::Change(what);
    let begins = |fault| Happens::Fault(fault, ReplicaId::default());
    let mut put = |at_ms, what| schedule.entries.push(Entry { at_ms, what });
    world().into_iter().for_each(|(at_ms, what)| put(at_ms, what));
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
    if kind.replaces_store() {
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
