//! The small world: two hosts, two Services with two endpoints each, one certificate. Each object
//! is in one of few versions, so what a controller was told is a few small numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use tidegate_core::digest::Digest;
use tidegate_core::event::Event;
use tidegate_core::settings::Settings;
use tidegate_core::world::object::{Kind, Object, ObjectRef};

use crate::build::{self, POD_PORT, Wants};
use crate::model::haproxy::Answer;
use crate::reference::routing::Facts;

/// Number of objects that change.
pub const OBJECTS: usize = 7;

/// Requests that are asked in every state: host and path.
pub const PROBES: [(&str, &str); 3] = [("a.example", "/"), ("b.example", "/"), ("c.example", "/")];

/// A version of each object that changes; 0 is absent.
pub type View = [u8; OBJECTS];

/// Everything as it is at the beginning.
pub const FIRST: View = [1; OBJECTS];

/// Versions of each object, by what they are.
const VERSIONS: [&[&str]; OBJECTS] = [
    &[
        "slice web-1 deleted",
        "web-1 has .1 .2",
        "web-1 has .1",
        "web-1 has .2, and .1 leaves",
        "web-1 is empty",
    ],
    &["slice api-1 deleted", "api-1 has .3 .4", "api-1 has .4", "api-1 is empty"],
    &[
        "Ingress a deleted",
        "Ingress a sends a.example to web, with TLS",
        "Ingress a sends a.example to api, with TLS",
        "Ingress a sends a.example to web, with TLS, for 10.0.0.0/8 only",
    ],
    &[
        "Ingress b deleted",
        "Ingress b sends b.example to api",
        "Ingress b, the older one, sends a.example to api",
        "Ingress b sends b.example to api, for 10.0.0.0/8 only",
    ],
    &["Secret deleted", "Secret has certificate 1", "Secret has certificate 2"],
    &["Service web deleted", "Service web is there"],
    &["Service api deleted", "Service api is there"],
];

/// Versions of an object, by number.
#[must_use]
pub fn versions(object: usize) -> u8 {
    VERSIONS.get(object).map_or(0, |v| v.len() as u8)
}

/// What a change is, in words.
#[must_use]
pub fn describe(object: usize, version: u8) -> &'static str {
    VERSIONS.get(object).and_then(|v| v.get(usize::from(version))).copied().unwrap_or("nothing")
}

fn pod(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

/// The object in a version, if it exists in it.
#[must_use]
pub fn object(object: usize, version: u8) -> Option<Object> {
    let guarded = [("tidegate.io/allow-list", "10.0.0.0/8")];
    let ingress = |name, created, host, service, secret, annotations| {
        let name = ("t", name);
        let path = "/";
        build::ingress(&Wants { name, created, host, path, service, secret, annotations })
    };
    let slice = |service: &str, pods: &[u8]| {
        let pods: Vec<IpAddr> = pods.iter().map(|n| pod(*n)).collect();
        build::slice("t", service, 1, &pods, &[])
    };
    let replaced = || build::slice("t", "web", 1, &[pod(2)], &[pod(1)]);
    Some(match (object, version) {
        (0, 1) => slice("web", &[1, 2]),
        (0, 2) => slice("web", &[1]),
        (0, 3) => replaced(),
        (0, 4) => slice("web", &[]),
        (1, 1) => slice("api", &[3, 4]),
        (1, 2) => slice("api", &[4]),
        (1, 3) => slice("api", &[]),
        (2, 1) => ingress("a", 2, "a.example", "web", Some("tls"), &[]),
        (2, 2) => ingress("a", 2, "a.example", "api", Some("tls"), &[]),
        (2, 3) => ingress("a", 2, "a.example", "web", Some("tls"), &guarded),
        (3, 1) => ingress("b", 1, "b.example", "api", None, &[]),
        (3, 2) => ingress("b", 1, "a.example", "api", None, &[]),
        (3, 3) => ingress("b", 1, "b.example", "api", None, &guarded),
        (4, n @ (1 | 2)) => build::secret("t", "tls", n),
        (5, 1) => build::service("t", "web"),
        (6, 1) => build::service("t", "api"),
        _ => return None,
    })
}

fn reference(number: usize) -> ObjectRef {
    let (kind, name) = match number {
        0 => (Kind::EndpointSlice, "web-1"),
        1 => (Kind::EndpointSlice, "api-1"),
        2 => (Kind::Ingress, "a"),
        3 => (Kind::Ingress, "b"),
        4 => (Kind::Secret, "tls"),
        5 => (Kind::Service, "web"),
        _ => (Kind::Service, "api"),
    };
    ObjectRef::new(kind, "t", name)
}

/// The event that tells a version.
#[must_use]
pub fn event(number: usize, version: u8) -> Event {
    match object(number, version) {
        Some(object) => Event::Upserted(object),
        None => Event::Deleted(reference(number)),
    }
}

/// Every object of a view, those that never change among them.
#[must_use]
pub fn objects(view: &View) -> Vec<Object> {
    let mut all = vec![build::class()];
    all.extend(view.iter().enumerate().filter_map(|(n, version)| object(n, *version)));
    all
}

/// A complete list of every kind.
#[must_use]
pub fn lists(view: &View) -> Vec<Event> {
    lists_of(&objects(view))
}

/// A complete list of every kind, of these objects.
#[must_use]
pub fn lists_of(all: &[Object]) -> Vec<Event> {
    let of = |kind: Kind| all.iter().filter(|o| o.kind() == kind).cloned().collect();
    Kind::ALL.into_iter().map(|kind| Event::Relisted { kind, objects: of(kind) }).collect()
}

/// Settings with delays that are few steps apart, and no audits.
#[must_use]
pub fn settings() -> Settings {
    let mut settings = Settings::documented("/tmp/tidegate-sim");
    settings.delays.save_quiet_ms = 1_000;
    settings.delays.save_max_ms = 2_000;
    settings.delays.drain_ms = 1_000;
    settings.delays.retry_ms = 1_000;
    settings.delays.audit_ms = 0;
    // Time is as long as anybody waits for.
    settings.limits.reloads_per_minute = 0;
    settings
}

/// What is wanted in a view, read from the rules of Ingress and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The answer to each probe.
    pub answers: [Answer; PROBES.len()],
    /// Whether each probe may be answered under its allow list only.
    pub guarded: [bool; PROBES.len()],
    /// The certificate of each probe's host; `None` for the default one.
    pub certificates: [Option<Digest>; PROBES.len()],
    /// Every endpoint that answers, those that leave among them.
    pub ready: BTreeSet<SocketAddr>,
}

/// Which Service each pod belongs to, as a bit; 0 for no pod.
#[must_use]
pub fn service_of(address: &SocketAddr) -> u8 {
    match address.ip() {
        IpAddr::V4(v4) if v4.octets()[3] <= 2 => 1,
        _ => 2,
    }
}

/// Reads what is wanted.
#[must_use]
pub fn wanted(view: &View, settings: &Settings) -> Wanted {
    let objects = objects(view);
    let resolved = BTreeMap::new();
    let facts = Facts::new(&objects, settings, &resolved);
    let answers =
        PROBES.map(|(host, path)| facts.answer(host, path).unwrap_or(Answer::Unavailable));
    // The older Ingress b wins a.example, with its own rules.
    let b_takes_a = view[3] == 2;
    let guarded = [view[2] == 3 && !b_takes_a, view[3] == 3, false];
    let has_tls = view[2] != 0 && view[4] != 0;
    let certificate = has_tls.then(|| Digest([view[4]; 16]));
    let mut ready = BTreeSet::new();
    for (number, version) in view.iter().enumerate().take(2) {
        if let Some(Object::EndpointSlice(slice)) = object(number, *version) {
            ready.extend(slice.endpoints.iter().map(|e| SocketAddr::new(e.address, POD_PORT)));
        }
    }
    Wanted { answers, guarded, certificates: [certificate, None, None], ready }
}
