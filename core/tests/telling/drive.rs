//! A controller whose HAProxy does everything at once, and whose requests to the API server are
//! answered when the test says so.

use std::collections::VecDeque;
use std::sync::Arc;

use tidegate_core::action::{Action, ActionBody, ActionId};
use tidegate_core::capability::Capabilities;
use tidegate_core::controller::{Controller, Step};
use tidegate_core::event::{Ack, Event, Outcome, WorkerId};
use tidegate_core::settings::{Election, Publish, Settings, Telling};
use tidegate_core::tell::Tell;
use tidegate_core::time::Time;
use tidegate_core::world::object::*;

use crate::common::{class, ingress, meta};

pub const TERM_MS: u64 = 15_000;

pub struct Drive {
    pub controller: Controller,
    pub now: u64,
    /// Requests that are not answered yet, with when they were asked for.
    pub open: VecDeque<(u64, ActionId, Tell)>,
    /// Every request so far.
    pub told: Vec<(u64, Tell)>,
    pub wake_at: Option<u64>,
    /// HAProxy answers nothing.
    pub stuck: bool,
    worker: u64,
}

/// Status only.
pub fn telling(publish: Publish) -> Telling {
    Telling { publish, events: false, election: None }
}

/// Kubernetes Events only.
pub fn events() -> Telling {
    Telling { publish: Publish::Nothing, events: true, election: None }
}

pub fn election(identity: &str) -> Election {
    Election {
        identity: identity.into(),
        lease: Name::new("tidegate", "tidegate"),
        duration_ms: TERM_MS,
        renew_ms: 10_000,
        retry_ms: 2_000,
    }
}

pub fn addresses(texts: &[&str]) -> Vec<Address> {
    texts.iter().map(|text| Address::Ip(text.parse().unwrap())).collect()
}

/// An Ingress of ours for a host of its name.
pub fn of_ours(name: &str, status: &[&str]) -> Object {
    of_class(name, "tidegate", status)
}

pub fn of_class(name: &str, class: &str, status: &[&str]) -> Object {
    let host = format!("{name}.example.com");
    let one = ingress(name, &[], &[(&host, "/", PathType::Prefix, "shop")]);
    let Object::Ingress(one) = one else { unreachable!() };
    let mut one = (*one).clone();
    one.class = Some(class.into());
    one.meta.uid = format!("uid-{name}").into();
    one.status = addresses(status);
    Object::Ingress(Arc::new(one))
}

pub fn publisher(texts: &[&str]) -> Object {
    Object::Service(Arc::new(Service {
        meta: meta("tidegate", "tidegate"),
        source: ServiceSource::Slices,
        ports: Vec::new(),
        local_traffic: false,
        addresses: addresses(texts),
    }))
}

pub fn node(name: &str, ready: bool, internal: &[&str], external: &[&str]) -> Object {
    let ips = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect();
    Object::Node(Arc::new(Node {
        meta: meta("", name),
        internal: ips(internal),
        external: ips(external),
        ready,
    }))
}

impl Drive {
    /// One that was told of these objects, and its HAProxy serves them.
    pub fn new(telling: Telling, objects: Vec<Object>) -> Drive {
        let mut settings = Settings::documented("/tmp/state");
        settings.telling = Some(telling);
        settings.delays.audit_ms = 0;
        let mut drive = Drive {
            controller: Controller::new(settings, Time(0)),
            now: 1,
            open: VecDeque::new(),
            told: Vec::new(),
            wake_at: None,
            stuck: false,
            worker: 0,
        };
        let mut events = vec![Event::ProxyFound(Capabilities::tier_a())];
        for kind in Kind::ALL {
            let all = objects.iter().chain([&class()]).cloned().collect::<Vec<_>>();
            let objects = all.into_iter().filter(|o| o.kind() == kind).collect();
            events.push(Event::Relisted { kind, objects });
        }
        drive.step(events);
        drive
    }

    pub fn step(&mut self, events: Vec<Event>) {
        let mut events = events;
        loop {
            let step = self.controller.step(Time(self.now), std::mem::take(&mut events));
            let broken = tidegate_core::check::check(&self.controller);
            assert!(broken.is_empty(), "{broken:?}");
            assert!(step.wake_at.is_none_or(|w| w.at.0 > self.now), "{:?}", step.wake_at);
            self.wake_at = step.wake_at.map(|w| w.at.0);
            events = self.answer(step);
            if events.is_empty() {
                return;
            }
        }
    }

    fn answer(&mut self, step: Step) -> Vec<Event> {
        let mut acks = Vec::new();
        for Action { id, body } in step.actions {
            let (count, worker) = match body {
                ActionBody::Tell(tell) => {
                    self.told.push((self.now, tell.clone()));
                    self.open.push_back((self.now, id, tell));
                    continue;
                }
                ActionBody::ResolveNames { .. }
                | ActionBody::FollowSecrets { .. }
                | ActionBody::Relist { .. } => continue,
                _ if self.stuck => continue,
                ActionBody::Runtime { commands, .. } => (commands.len(), None),
                ActionBody::Reload { .. } => {
                    self.worker += 1;
                    (1, Some(WorkerId(self.worker)))
                }
                ActionBody::Save { .. }
                | ActionBody::Check { .. }
                | ActionBody::CheckSnippet { .. }
                | ActionBody::ReadBack { .. } => (1, None),
            };
            acks.push(Event::Acked(Ack { id, outcomes: vec![Outcome::Done; count], worker }));
        }
        acks
    }

    /// Lets time pass; steps when the controller asked for it and at the end.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(at) = self.wake_at.filter(|at| *at <= end) {
            self.now = at;
            self.step(vec![Event::Ticked]);
        }
        self.now = end;
        self.step(vec![Event::Ticked]);
    }

    pub fn upsert(&mut self, object: Object) {
        self.step(vec![Event::Upserted(object)]);
    }

    /// Answers the request that has been open longest.
    pub fn ack(&mut self, outcome: Outcome) -> Tell {
        let (_, id, tell) = self.open.pop_front().expect("nothing is open");
        self.step(vec![Event::Acked(Ack { id, outcomes: vec![outcome], worker: None })]);
        tell
    }

    /// Does what the request that has been open longest asks for, as far as it is a status: the
    /// watch shows it, and it is acked.
    pub fn perform(&mut self) -> Tell {
        if let Some((_, _, Tell::Status { ingress, addresses, .. })) = self.open.front().cloned() {
            let world = self.controller.world().objects();
            let found = world.into_iter().find_map(|object| match object {
                Object::Ingress(one) if one.meta.name == ingress => Some(one),
                _ => None,
            });
            let mut one = (*found.expect("the Ingress exists")).clone();
            one.status = addresses;
            self.upsert(Object::Ingress(Arc::new(one)));
        }
        self.ack(Outcome::Done)
    }

    /// Statuses asked for so far: when, of which Ingress, and what.
    pub fn statuses(&self) -> Vec<(u64, String, Vec<Address>)> {
        let status = |(at, tell): &(u64, Tell)| match tell {
            Tell::Status { ingress, addresses, .. } => {
                Some((*at, ingress.name.to_string(), addresses.clone()))
            }
            _ => None,
        };
        self.told.iter().filter_map(status).collect()
    }

    /// Kubernetes Events asked for so far: when, and what.
    pub fn notices(&self) -> Vec<(u64, tidegate_core::tell::Notice)> {
        let notice = |(at, tell): &(u64, Tell)| match tell {
            Tell::Event(notice) => Some((*at, notice.clone())),
            _ => None,
        };
        self.told.iter().filter_map(notice).collect()
    }
}
