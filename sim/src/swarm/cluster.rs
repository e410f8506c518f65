//! The cluster: what is true, what the controller was told, and what is wanted according to that,
//! now and in the last seconds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use tidegate_core::digest::Digest;
use tidegate_core::event::Event;
use tidegate_core::settings::Settings;
use tidegate_core::world::object::{Kind, Object, ObjectRef, PathType, Rule};

use super::schedule::What;
use crate::build::{self, POD_PORT, Wants};
use crate::model::haproxy::{Answer, REFUSED_DIGEST};
use crate::reference::routing::Facts;

/// How long what was wanted is remembered unless somebody wants more, in milliseconds.
pub const MEMORY_MS: u64 = 20_000;

/// What is wanted of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The answer to its requests.
    pub answer: Answer,
    /// The Service that they are led to, with endpoints or without.
    pub service: Option<String>,
    /// Whether they may only be answered under an allow list.
    pub guarded: bool,
    /// Its certificate; the outer `None` when several Ingresses say something.
    pub certificate: Option<Option<Digest>>,
}

/// The objects, and what is wanted.
#[derive(Clone)]
pub struct Cluster {
    settings: Settings,
    truth: BTreeMap<ObjectRef, Object>,
    view: BTreeMap<ObjectRef, Object>,
    /// Changes that were not told yet.
    untold: Vec<ObjectRef>,
    /// What was wanted of each host, since when; newest last.
    pub wanted: BTreeMap<String, VecDeque<(u64, Wanted)>>,
    /// Whose pod answers at an address, by the last Service that had one there.
    owners: BTreeMap<SocketAddr, String>,
    /// Of which Services pods at an address were told.
    told_owners: BTreeMap<SocketAddr, BTreeSet<String>>,
    /// When it was told last that a Service's pod at an address is gone.
    left: BTreeMap<SocketAddr, u64>,
    /// Whether a change was not told: an address may serve another Service by now.
    pub stale: bool,
    /// Whether only those certificates are certain that stay as they were.
    pub doubts_secrets: bool,
    /// How long what was wanted is remembered, in milliseconds.
    pub memory_ms: u64,
    /// The certificate that HAProxy refuses.
    pub refused: Digest,
    age: i64,
}

/// What a rule without a host is asked for.
const ANY_HOST: &str = "any.invalid";

/// A host that a rule is for: of `*.example.com` one below it.
fn asked_for(rule: &str) -> String {
    match rule.strip_prefix("*.") {
        Some(domain) => format!("any.{domain}"),
        None if rule.is_empty() => ANY_HOST.to_owned(),
        None => rule.to_owned(),
    }
}

/// What clients ask for of a rule: its host, and each path that is no pattern.
fn asked_of(rule: &Rule) -> Vec<String> {
    let host = asked_for(&rule.host);
    let plain = rule
        .paths
        .iter()
        .filter(|path| path.path_type != PathType::ImplementationSpecific && *path.path != *"/");
    let paths: Vec<String> = plain.map(|path| format!("{host}{}", path.path)).collect();
    paths.into_iter().chain([host]).collect()
}

/// Host and path of what clients ask for: `a.example`, or `a.example/shop`.
#[must_use]
pub fn asked(name: &str) -> (&str, &str) {
    match name.find('/') {
        Some(at) => name.split_at(at),
        None => (name, "/"),
    }
}

fn parts(name: &str) -> (&str, &str) {
    name.split_once('/').unwrap_or(("t", name))
}

/// A Service and the number of one of its slices: `t1/web` for the first, `t1/web:2` for the second.
fn slice_of(text: &str) -> (&str, u32) {
    let (service, number) = text.split_once(':').unwrap_or((text, "1"));
    (service, number.parse().unwrap_or(1))
}

impl Cluster {
    /// A cluster with the class and nothing else.
    #[must_use]
    pub fn new(settings: Settings) -> Cluster {
        let class = build::class();
        let truth = BTreeMap::from([(class.object_ref(), class)]);
        Cluster {
            settings,
            view: truth.clone(),
            truth,
            untold: Vec::new(),
            wanted: BTreeMap::new(),
            owners: BTreeMap::new(),
            told_owners: BTreeMap::new(),
            left: BTreeMap::new(),
            stale: false,
            doubts_secrets: false,
            memory_ms: MEMORY_MS,
            refused: Digest([REFUSED_DIGEST; 16]),
            age: 0,
        }
    }

    /// Makes a change true; gives which object changed.
    pub fn change(&mut self, what: &What) -> Option<ObjectRef> {
        self.age += 1;
        let pod = |n: &u8| IpAddr::from([10, 0, 0, *n]);
        let (object_ref, object) = match what {
            What::Pods { service, ready, leaving } => {
                let (service, slice) = slice_of(service);
                let (namespace, name) = parts(service);
                for number in ready.iter().chain(leaving) {
                    let address = SocketAddr::new(pod(number), POD_PORT);
                    self.owners.insert(address, service.to_owned());
                }
                let ready: Vec<IpAddr> = ready.iter().map(pod).collect();
                let leaving: Vec<IpAddr> = leaving.iter().map(pod).collect();
                let service = ObjectRef::new(Kind::Service, namespace, name);
                let ports = match self.truth.get(&service) {
                    Some(Object::Service(service)) => {
                        service.ports.iter().map(|p| &*p.name).collect()
                    }
                    _ => vec![build::PORT_NAME],
                };
                let slice = build::slice_of(namespace, name, slice, &ports, &ready, &leaving);
                (slice.object_ref(), Some(slice))
            }
            What::NoPods(service) => {
                let (service, slice) = slice_of(service);
                let (namespace, name) = parts(service);
                let name = format!("{name}-{slice}");
                (ObjectRef::new(Kind::EndpointSlice, namespace, &name), None)
            }
            What::Service(service, there) => {
                let (namespace, name) = parts(service);
                let object = there.then(|| build::service(namespace, name));
                (ObjectRef::new(Kind::Service, namespace, name), object)
            }
            What::Ingress { name, host, service, secret, guarded, canary } => {
                let name = parts(name);
                let object_ref = ObjectRef::new(Kind::Ingress, name.0, name.1);
                // An Ingress keeps its age when it changes.
                let known = self.truth.get(&object_ref).map(|o| o.meta().created);
                let annotations: &[(&str, &str)] = match (canary, guarded) {
                    (true, _) => &[
                        ("tidegate.io/canary", "true"),
                        ("tidegate.io/canary-weight", "30"),
                        ("tidegate.io/canary-by-cookie", "canary"),
                    ],
                    (false, true) => &[("tidegate.io/allow-list", "10.0.0.0/8")],
                    (false, false) => &[],
                };
                let ingress = build::ingress(&Wants {
                    name,
                    created: known.unwrap_or(self.age),
                    host,
                    path: "/",
                    service,
                    secret: secret.as_deref(),
                    annotations,
                });
                (object_ref, Some(ingress))
            }
            What::NoIngress(name) => {
                let (namespace, name) = parts(name);
                (ObjectRef::new(Kind::Ingress, namespace, name), None)
            }
            What::Secret(secret, number) => {
                let (namespace, name) = parts(secret);
                let object = (*number > 0).then(|| build::secret(namespace, name, *number));
                (ObjectRef::new(Kind::Secret, namespace, name), object)
            }
            What::Fault(_) | What::Quiet | What::Canary => return None,
        };
        match object {
            Some(object) => self.truth.insert(object_ref.clone(), object),
            None => self.truth.remove(&object_ref),
        };
        Some(object_ref)
    }

    /// Makes an object true that was made elsewhere.
    pub fn put(&mut self, object: Object) {
        self.truth.insert(object.object_ref(), object);
    }

    /// Hears of an object as it is in another cluster.
    pub fn follow(&mut self, other: &Cluster, object: &ObjectRef, now: u64) {
        match other.truth.get(object) {
            Some(found) => self.truth.insert(object.clone(), found.clone()),
            None => self.truth.remove(object),
        };
        if object.kind == Kind::EndpointSlice {
            self.owners.clone_from(&other.owners);
        }
        self.tell(now, object);
    }

    /// What is true of an object.
    #[must_use]
    pub fn truth(&self, object: &ObjectRef) -> Option<&Object> {
        self.truth.get(object)
    }

    /// Everything that is true.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.truth.values()
    }

    /// The event that tells a change; nothing while it must wait.
    pub fn tell(&mut self, now: u64, object: &ObjectRef) -> Event {
        let event = match self.truth.get(object) {
            Some(found) => {
                self.view.insert(object.clone(), found.clone());
                Event::Upserted(found.clone())
            }
            None => {
                self.view.remove(object);
                Event::Deleted(object.clone())
            }
        };
        self.learn(now);
        event
    }

    /// Remembers a change that cannot be told now.
    pub fn hold(&mut self, object: ObjectRef) {
        self.untold.push(object);
    }

    /// Changes that were held.
    pub fn held(&mut self) -> Vec<ObjectRef> {
        std::mem::take(&mut self.untold)
    }

    /// Lists everything.
    pub fn lists(&mut self, now: u64) -> Vec<Event> {
        self.untold.clear();
        self.stale = false;
        self.view = self.truth.clone();
        self.learn(now);
        let all: Vec<Object> = self.truth.values().cloned().collect();
        crate::small::world::lists_of(&all)
    }

    /// Whether the controller was told everything.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.view == self.truth
    }

    /// What clients ask for: hosts that any Ingress has ever named, and paths of them ([`asked`]).
    pub fn hosts(&self) -> impl Iterator<Item = &String> {
        self.wanted.keys()
    }

    fn learn(&mut self, now: u64) {
        let objects: Vec<Object> = self.view.values().cloned().collect();
        self.learn_owners(now, &objects);
        let resolved = BTreeMap::new();
        let facts = Facts::new(&objects, &self.settings, &resolved);
        let mut hosts: BTreeSet<String> = self.wanted.keys().cloned().collect();
        for object in &objects {
            if let Object::Ingress(ingress) = object {
                hosts.extend(ingress.rules.iter().flat_map(asked_of));
                hosts.extend(ingress.default_backend.is_some().then(|| ANY_HOST.to_owned()));
            }
        }
        for host in hosts {
            let (name, path) = asked(&host);
            let answer = facts.answer(name, path).unwrap_or(Answer::Unavailable);
            let is_for = |rule: &Rule| asked_for(&rule.host) == name;
            let mut claims = objects.iter().filter_map(|object| match object {
                Object::Ingress(ingress) if ingress.rules.iter().any(is_for) => Some(ingress),
                _ => None,
            });
            let first = claims.next();
            // Which block of several is for the host is for others to say.
            let more = claims.next().is_some() || first.is_some_and(|i| i.tls.len() > 1);
            let guarded = first
                .is_some_and(|i| i.meta.annotation("tidegate.io/allow-list").is_some())
                && !more;
            let certificate = (!more).then(|| {
                let tls = first?.tls.first()?.secret.clone()?;
                let namespace = &first?.meta.name.namespace;
                let secret = ObjectRef::new(Kind::Secret, namespace, &tls);
                match self.view.get(&secret) {
                    Some(Object::Secret(secret)) => {
                        secret.certificate.as_ref()?.as_ref().ok().map(|c| c.digest)
                    }
                    _ => None,
                }
            });
            // What HAProxy refuses is withheld, and that is for the guarantee about it to judge.
            let certificate = certificate.filter(|c| *c != Some(self.refused));
            let before = self.wanted.get(&host).and_then(VecDeque::back);
            let certificate = certificate.filter(|c| {
                !self.doubts_secrets || before.is_some_and(|(_, b)| b.certificate == Some(*c))
            });
            let service = facts.leads_to(name, path);
            let fresh = Wanted { answer, service, guarded, certificate };
            let nothing = Wanted {
                answer: Answer::NotFound,
                service: None,
                guarded: false,
                certificate: Some(None),
            };
            let history = self.wanted.entry(host).or_insert_with(|| [(0, nothing)].into());
            if history.back().is_none_or(|(_, last)| *last != fresh) {
                history.push_back((now, fresh));
            }
            // The newest entry before the memory's end is still in force at its end.
            while history.get(1).is_some_and(|(since, _)| since + self.memory_ms < now) {
                history.pop_front();
            }
        }
    }

    /// What was wanted of a host at any time since then.
    pub fn wanted_since(&self, host: &str, since: u64) -> impl Iterator<Item = &Wanted> {
        let history = self.wanted.get(host);
        let all = history.map(|h| h.as_slices()).unwrap_or_default();
        let (a, b) = all;
        let entries: Vec<&(u64, Wanted)> = a.iter().chain(b).collect();
        let count = entries.len();
        let begin = entries.iter().rposition(|(at, _)| *at <= since).unwrap_or(0);
        (begin..count).filter_map(move |at| entries.get(at).map(|(_, wanted)| wanted))
    }

    fn learn_owners(&mut self, now: u64, objects: &[Object]) {
        let mut told: BTreeMap<SocketAddr, BTreeSet<String>> = BTreeMap::new();
        for object in objects {
            let Object::EndpointSlice(slice) = object else { continue };
            let service = format!("{}/{}", slice.meta.name.namespace, slice.service);
            for endpoint in &slice.endpoints {
                let address = SocketAddr::new(endpoint.address, POD_PORT);
                told.entry(address).or_default().insert(service.clone());
            }
        }
        let before = std::mem::replace(&mut self.told_owners, told);
        for (address, owners) in before {
            if self.told_owners.get(&address).is_none_or(|told| !told.is_superset(&owners)) {
                self.left.insert(address, now);
            }
        }
    }

    /// The Service whose pod answers at an address.
    #[must_use]
    pub fn owner(&self, address: &SocketAddr) -> Option<&String> {
        self.owners.get(address)
    }

    /// Whether it was told since then that some Service's pod at an address is gone.
    #[must_use]
    pub fn has_left(&self, address: &SocketAddr, since: u64) -> bool {
        self.left.get(address).is_some_and(|left| *left > since)
    }

    /// Pods that can answer, and may: those that are leaving only where none of their slice is ready.
    #[must_use]
    pub fn alive(&self) -> BTreeSet<SocketAddr> {
        let mut alive = BTreeSet::new();
        for object in self.truth.values() {
            if let Object::EndpointSlice(slice) = object {
                let any_ready = slice.endpoints.iter().any(|e| e.ready);
                let may = slice.endpoints.iter().filter(|e| e.ready || (!any_ready && e.serving));
                alive.extend(may.map(|e| SocketAddr::new(e.address, POD_PORT)));
            }
        }
        alive
    }
}
