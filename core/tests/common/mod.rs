//! Small builders of objects and a driver that answers every action, for tests.
#![allow(dead_code)]

use std::sync::Arc;

use tidegate_core::action::{Action, ActionBody, RuntimeCommand};
use tidegate_core::capability::Capabilities;
use tidegate_core::controller::{Controller, Step};
use tidegate_core::digest::Digest;
use tidegate_core::event::{Ack, Event, Outcome, WorkerId};
use tidegate_core::plan::remedy::ReloadReason;
use tidegate_core::settings::Settings;
use tidegate_core::time::Time;
use tidegate_core::world::object::*;

pub fn meta(namespace: &str, name: &str) -> Meta {
    Meta {
        name: Name::new(namespace, name),
        uid: "".into(),
        created: 0,
        generation: 1,
        annotations: Vec::new(),
        notes: Vec::new(),
    }
}

pub fn class() -> Object {
    Object::IngressClass(Arc::new(IngressClass {
        meta: meta("", "tidegate"),
        controller: "tidegate.io/ingress-controller".into(),
        is_default: false,
    }))
}

/// An Ingress of our class; `paths` are host, path, service and port.
pub fn ingress(
    name: &str,
    annotations: &[(&str, &str)],
    paths: &[(&str, &str, PathType, &str)],
) -> Object {
    let mut meta = meta("default", name);
    meta.annotations = annotations.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    meta.annotations.sort();
    let rules = paths
        .iter()
        .map(|(host, path, path_type, service)| Rule {
            host: (*host).into(),
            paths: vec![Path {
                path: (*path).into(),
                path_type: *path_type,
                backend: BackendRef::Service { name: (*service).into(), port: PortRef::Number(80) },
            }],
        })
        .collect();
    Object::Ingress(Arc::new(Ingress {
        meta,
        class: Some("tidegate".into()),
        default_backend: None,
        rules,
        tls: Vec::new(),
        status: Vec::new(),
    }))
}

pub fn with_tls(ingress: Object, host: &str, secret: &str) -> Object {
    let Object::Ingress(inner) = ingress else { panic!("not an Ingress") };
    let mut inner = (*inner).clone();
    inner.tls.push(Tls { hosts: vec![host.into()], secret: Some(secret.into()) });
    Object::Ingress(Arc::new(inner))
}

pub fn service(name: &str) -> Object {
    Object::Service(Arc::new(Service {
        meta: meta("default", name),
        source: ServiceSource::Slices,
        ports: vec![ServicePort {
            name: "http".into(),
            port: 80,
            app_protocol: None,
            node_port: None,
        }],
        local_traffic: false,
        addresses: Vec::new(),
    }))
}

pub fn slice(service: &str, addresses: &[&str]) -> Object {
    let endpoints = addresses
        .iter()
        .map(|a| Endpoint {
            address: a.parse().unwrap(),
            ready: true,
            serving: true,
            terminating: false,
        })
        .collect();
    Object::EndpointSlice(Arc::new(EndpointSlice {
        meta: meta("default", &format!("{service}-1")),
        service: service.into(),
        ports: vec![SlicePort { name: "http".into(), port: Some(8080) }],
        endpoints,
        nodes: Vec::new(),
    }))
}

pub fn secret(name: &str, content: &str) -> Object {
    Object::Secret(Arc::new(Secret {
        meta: meta("default", name),
        certificate: Some(Ok(CertificateFacts {
            digest: Digest::of(content.as_bytes()),
            algorithm: KeyAlgorithm::Ecdsa,
            names: Vec::new(),
            not_before: 0,
            not_after: i64::MAX,
        })),
        authority: None,
        users: None,
    }))
}

/// A controller whose every action is done at once.
pub struct Driven {
    pub controller: Controller,
    pub now: u64,
    pub commands: Vec<RuntimeCommand>,
    pub reloads: Vec<Vec<ReloadReason>>,
    pub last_image: Option<Arc<tidegate_core::desired::Image>>,
    worker: u64,
    begun: Vec<Step>,
}

impl Driven {
    pub fn new(capabilities: Capabilities, objects: Vec<Object>) -> Driven {
        let mut settings = Settings::documented("/tmp/state");
        settings.config_map = Some(Name::new("default", "tidegate"));
        Driven::with(settings, capabilities, objects)
    }

    pub fn with(settings: Settings, capabilities: Capabilities, objects: Vec<Object>) -> Driven {
        let controller = Controller::new(settings, Time(0));
        let mut driven = Driven {
            controller,
            now: 0,
            commands: Vec::new(),
            reloads: Vec::new(),
            last_image: None,
            worker: 0,
            begun: Vec::new(),
        };
        let mut events = vec![Event::ProxyFound(capabilities)];
        for kind in Kind::ALL {
            let of_kind = objects.iter().filter(|o| o.kind() == kind).cloned().collect();
            events.push(Event::Relisted { kind, objects: of_kind });
        }
        driven.step(events);
        driven
    }

    pub fn upsert(&mut self, object: Object) {
        self.step(vec![Event::Upserted(object)]);
    }

    pub fn delete(&mut self, kind: Kind, name: &str) {
        self.step(vec![Event::Deleted(ObjectRef::new(kind, "default", name))]);
    }

    /// Steps, answers `Done` until nothing is left to do, for ten seconds of its time.
    pub fn step(&mut self, events: Vec<Event>) {
        self.step_until(self.now + 10_000, events);
    }

    /// Steps, and answers what comes within so many milliseconds, which then are over.
    pub fn step_for(&mut self, ms: u64, events: Vec<Event>) {
        let end = self.now + ms;
        self.step_until(end, events);
        self.now = end;
    }

    /// Steps, and answers nothing: the runtime commands that are to be carried out.
    pub fn begin(&mut self, events: Vec<Event>) -> Vec<RuntimeCommand> {
        self.now += 1;
        let step = self.controller.step(Time(self.now), events);
        let commands = step.actions.iter().flat_map(|action| match &action.body {
            ActionBody::Runtime { commands, .. } => commands.clone(),
            _ => Vec::new(),
        });
        let commands = commands.collect();
        self.begun.push(step);
        commands
    }

    /// Answers what was begun: the commands that come next.
    pub fn go_on(&mut self) -> Vec<RuntimeCommand> {
        let begun = std::mem::take(&mut self.begun);
        let acks = begun.iter().flat_map(|step| self.answer(step)).collect();
        self.begin(acks)
    }

    fn step_until(&mut self, end: u64, events: Vec<Event>) {
        let mut step = self.controller.step(Time(self.now), events);
        loop {
            let acks = self.answer(&step);
            if acks.is_empty() {
                let Some(wake) = step.wake_at.filter(|w| w.at.0 <= end) else { break };
                self.now = wake.at.0;
                step = self.controller.step(wake.at, vec![Event::Ticked]);
            } else {
                self.now += 1;
                step = self.controller.step(Time(self.now), acks);
            }
            let broken = tidegate_core::check::check(&self.controller);
            assert!(broken.is_empty(), "{broken:?}");
        }
    }

    fn answer(&mut self, step: &Step) -> Vec<Event> {
        let mut acks = Vec::new();
        for Action { id, body } in &step.actions {
            let (count, worker) = match body {
                ActionBody::Runtime { commands, .. } => {
                    self.commands.extend(commands.iter().cloned());
                    (commands.len(), None)
                }
                ActionBody::Reload { image, reasons } => {
                    self.reloads.push(reasons.clone());
                    self.last_image = Some(image.clone());
                    self.worker += 1;
                    (1, Some(WorkerId(self.worker)))
                }
                ActionBody::Save { image } | ActionBody::Check { image } => {
                    self.last_image = Some(image.clone());
                    (1, None)
                }
                ActionBody::ReadBack { .. } | ActionBody::CheckSnippet { .. } => (1, None),
                ActionBody::ResolveNames { .. }
                | ActionBody::FollowSecrets { .. }
                | ActionBody::Relist { .. }
                | ActionBody::Tell(_) => continue,
            };
            let outcomes = vec![Outcome::Done; count];
            acks.push(Event::Acked(Ack { id: *id, outcomes, worker }));
        }
        acks
    }
}
