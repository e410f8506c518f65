//! Replicas and one API server: a model of what telling meets. Requests and answers take time and
//! get lost, watches lag, replicas are cut off, frozen, killed and started again, and none of
//! their clocks agree.
//!
//! What is assumed of the adapter: a request is given up, and has no effect any more, before the
//! time between `renew_ms` and `duration_ms` has passed. What is assumed of the API server: a
//! Lease is replaced only at the version that was read.

mod case;
mod server;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tidegate_core::action::{Action, ActionBody, ActionId};
use tidegate_core::capability::Capabilities;
use tidegate_core::check;
use tidegate_core::controller::{Controller, Step};
use tidegate_core::event::{Ack, Event, Outcome, WorkerId};
use tidegate_core::settings::{Election, Publish, Settings, Telling};
use tidegate_core::tell::{LeaseRecord, Tell};
use tidegate_core::time::Time;
use tidegate_core::world::object::{Ingress, Name, Object, Service, ServiceSource};

use crate::run::Verdict;
pub use case::{Case, Happening, Way, case};
use server::{address, is_foreign, meta, name_of};

/// Replicas there can be.
pub const REPLICAS: usize = 3;

/// When the adapter gives a request up, in milliseconds.
const GIVE_UP_MS: u64 = 4_999;

/// The Ingress whose status the API server never takes.
const REFUSED: &str = "ours-0";

/// What is on its way.
#[derive(Clone, Debug)]
enum Parcel {
    /// A request, to the API server; the answer takes so long.
    Request { from: usize, life: u64, id: ActionId, tell: Tell, back: u64 },
    /// Events, to a replica.
    Events { to: usize, life: u64, events: Vec<Event> },
}

/// A replica.
struct Replica {
    controller: Controller,
    life: u64,
    wake_at: Option<Time>,
    cut: bool,
    frozen: bool,
    /// What waits until it is scheduled again.
    waiting: Vec<Event>,
    answered: BTreeSet<ActionId>,
    worker: u64,
    /// Every step of this life, to be replayed.
    log: Vec<(Time, Vec<Event>, String)>,
    /// Whether it went on from a checkpoint, so that the log has a gap in what it stands on.
    restored: bool,
}

/// Replicas, an API server, and what is on its way between them.
pub struct Cluster {
    now: u64,
    replicas: [Option<Replica>; REPLICAS],
    lives: u64,
    skews: [u32; REPLICAS],
    lags: [u16; REPLICAS],
    ways: VecDeque<Way>,
    parcels: BTreeMap<(u64, u64), Parcel>,
    posted: u64,
    ingresses: BTreeMap<Name, Arc<Ingress>>,
    publisher: Option<Arc<Service>>,
    lease: Option<LeaseRecord>,
    version: u64,
    /// Changes that a status may have to follow.
    pub changes: u64,
    /// Writes that changed a status.
    pub effective_writes: u64,
    /// Every status that was asked for, but for the one that is always refused.
    pub asked: u64,
}

fn identity(replica: usize) -> String {
    format!("replica-{replica}")
}

fn settings(replica: usize) -> Settings {
    let mut settings = Settings::documented("/tmp/state");
    settings.delays.audit_ms = 0;
    settings.telling = Some(Telling {
        publish: Publish::Service(Name::new("tidegate", "tidegate")),
        events: true,
        election: Some(Election {
            identity: identity(replica).into(),
            lease: Name::new("tidegate", "tidegate"),
            duration_ms: 15_000,
            renew_ms: 10_000,
            retry_ms: 2_000,
        }),
    });
    settings
}

impl Cluster {
    /// The API server of a case, with no replica running.
    #[must_use]
    pub fn new(case: &Case) -> Cluster {
        let Case { skews, lags, ways, happenings: _ } = case.clone();
        Cluster {
            now: 0,
            replicas: [const { None }; REPLICAS],
            lives: 0,
            skews,
            lags,
            ways: ways.into(),
            parcels: BTreeMap::new(),
            posted: 0,
            ingresses: BTreeMap::new(),
            publisher: None,
            lease: None,
            version: 0,
            changes: 0,
            effective_writes: 0,
            asked: 0,
        }
    }

    /// Lets something happen.
    ///
    /// # Errors
    /// A promise that was broken.
    pub fn happen(&mut self, happening: &Happening) -> Verdict {
        match happening {
            Happening::Pass(ms) => return self.pass(u64::from(*ms)),
            Happening::Start(r) => return self.start(*r),
            Happening::Kill(r) => return self.kill(*r),
            Happening::Stop(r) => return self.deliver(*r, vec![Event::Stopping]),
            Happening::Cut(r, on) => {
                if let Some(replica) = self.replicas.get_mut(*r).and_then(Option::as_mut) {
                    replica.cut = *on;
                }
                if !on {
                    self.post_relist(*r);
                }
            }
            Happening::Freeze(r, on) => return self.freeze(*r, *on),
            Happening::Restore(r) => {
                if let Some(replica) = self.replicas.get_mut(*r).and_then(Option::as_mut)
                    && let Some(checkpoint) = replica.controller.checkpoint()
                {
                    replica.controller = checkpoint.restore();
                    replica.restored = true;
                }
            }
            Happening::Put(n) => self.put(*n),
            Happening::Delete(n) => {
                if let Some(old) = self.ingresses.remove(&name_of(*n)) {
                    let object = Object::Ingress(old).object_ref();
                    self.post_watch(&Event::Deleted(object));
                }
            }
            Happening::Overwrite(n, a) => {
                if let Some(ingress) = self.ingresses.get_mut(&name_of(*n)) {
                    Arc::make_mut(ingress).status = vec![address(100 + a)];
                    self.changes += 1;
                    let event = Event::Upserted(Object::Ingress(ingress.clone()));
                    self.post_watch(&event);
                }
            }
            Happening::Publish(a) => {
                self.changes += self.ingresses.len() as u64;
                let service = Arc::new(Service {
                    meta: meta("tidegate", "tidegate", 0),
                    source: ServiceSource::Slices,
                    ports: Vec::new(),
                    local_traffic: false,
                    addresses: a.iter().map(|a| address(*a)).collect(),
                });
                self.publisher = Some(service.clone());
                self.post_watch(&Event::Upserted(Object::Service(service)));
            }
        }
        Ok(())
    }

    fn post(&mut self, at: u64, parcel: Parcel) {
        self.posted += 1;
        self.parcels.insert((at, self.posted), parcel);
    }

    fn start(&mut self, r: usize) -> Verdict {
        if self.replicas[r].is_some() {
            return Ok(());
        }
        self.lives += 1;
        let now = self.clock(r);
        self.replicas[r] = Some(Replica {
            controller: Controller::new(settings(r), now),
            life: self.lives,
            wake_at: None,
            cut: false,
            frozen: false,
            waiting: Vec::new(),
            answered: BTreeSet::new(),
            worker: 0,
            log: Vec::new(),
            restored: false,
        });
        let mut events = vec![Event::ProxyFound(Capabilities::tier_a())];
        events.extend(self.lists());
        self.deliver(r, events)
    }

    fn kill(&mut self, r: usize) -> Verdict {
        let Some(replica) = self.replicas[r].take().filter(|replica| !replica.restored) else {
            return Ok(());
        };
        let mut again = match replica.log.first() {
            Some((now, ..)) => Controller::new(settings(r), *now),
            None => return Ok(()),
        };
        for (now, events, given) in replica.log {
            let step = again.step(now, events);
            if format!("{:?} {:?}", step.actions, step.wake_at) != given {
                return Err(format!("S21: replayed at {now:?}: {step:?} instead of {given}"));
            }
        }
        Ok(())
    }

    fn freeze(&mut self, r: usize, on: bool) -> Verdict {
        let Some(replica) = &mut self.replicas[r] else { return Ok(()) };
        replica.frozen = on;
        let waiting = std::mem::take(&mut replica.waiting);
        if on { Ok(()) } else { self.deliver(r, waiting) }
    }

    fn clock(&self, r: usize) -> Time {
        Time(self.now + u64::from(self.skews[r]))
    }

    /// Lets time pass, and everything arrive that does.
    ///
    /// # Errors
    /// A promise that was broken.
    pub fn pass(&mut self, ms: u64) -> Verdict {
        let end = self.now + ms;
        loop {
            let parcel = self.parcels.first_key_value().map(|(key, _)| key.0);
            let wakes = self.replicas.iter().zip(self.skews).enumerate();
            let wake = wakes
                .filter_map(|(r, (replica, skew))| {
                    let replica = replica.as_ref().filter(|replica| !replica.frozen)?;
                    Some((replica.wake_at?.0.saturating_sub(u64::from(skew)), r))
                })
                .min();
            match (parcel, wake) {
                (Some(at), _) if at <= end && wake.is_none_or(|(wake, _)| at <= wake) => {
                    self.now = self.now.max(at);
                    if let Some((_, parcel)) = self.parcels.pop_first() {
                        self.arrive(parcel)?;
                    }
                }
                (_, Some((at, r))) if at <= end => {
                    self.now = self.now.max(at);
                    self.deliver(r, vec![Event::Ticked])?;
                }
                _ => break,
            }
        }
        self.now = end;
        Ok(())
    }

    fn arrive(&mut self, parcel: Parcel) -> Verdict {
        match parcel {
            Parcel::Events { to, life, events } => match &self.replicas[to] {
                Some(replica) if replica.life == life => self.deliver(to, events),
                _ => Ok(()),
            },
            Parcel::Request { from, life, id, tell, back } => {
                let (outcome, mut events) = self.serve(from, &tell)?;
                events.push(Event::Acked(Ack { id, outcomes: vec![outcome], worker: None }));
                self.post(self.now + back, Parcel::Events { to: from, life, events });
                Ok(())
            }
        }
    }

    /// Steps a replica.
    fn deliver(&mut self, r: usize, events: Vec<Event>) -> Verdict {
        let now = self.clock(r);
        let Some(replica) = &mut self.replicas[r] else { return Ok(()) };
        if replica.frozen {
            replica.waiting.extend(events);
            return Ok(());
        }
        let mut events: Vec<Event> = events
            .into_iter()
            .filter(|event| match event {
                // Given up before it came.
                Event::Acked(ack) => replica.answered.insert(ack.id),
                _ => true,
            })
            .collect();
        let mut requests = Vec::new();
        loop {
            let step = replica.controller.step(now, events.clone());
            let given = format!("{:?} {:?}", step.actions, step.wake_at);
            replica.log.push((now, events, given));
            let broken = check::check(&replica.controller);
            if !broken.is_empty() {
                return Err(broken.join("; "));
            }
            if step.wake_at.is_some_and(|wake| wake.at <= now) {
                return Err(format!("I11: wants to be woken at {:?} at {now:?}", step.wake_at));
            }
            replica.wake_at = step.wake_at.map(|wake| wake.at);
            events = replica.perform(step, &mut requests);
            if events.is_empty() {
                break;
            }
        }
        for (id, tell) in requests {
            self.send(r, id, tell);
        }
        Ok(())
    }

    fn send(&mut self, from: usize, id: ActionId, tell: Tell) {
        let Some(Some(replica)) = self.replicas.get(from) else { return };
        let (life, cut) = (replica.life, replica.cut);
        if matches!(&tell, Tell::Status { ingress, .. } if &*ingress.name != REFUSED) {
            self.asked += 1;
        }
        let way = self.ways.front().copied().unwrap_or(Way { there: 0, back: 0 });
        self.ways.rotate_left(1);
        let (there, back) = (u64::from(way.there), u64::from(way.back));
        let given_up = Ack { id, outcomes: vec![Outcome::Unknown], worker: None };
        let events = vec![Event::Acked(given_up)];
        self.post(self.now + GIVE_UP_MS, Parcel::Events { to: from, life, events });
        if !cut && there <= GIVE_UP_MS {
            self.post(self.now + there, Parcel::Request { from, life, id, tell, back });
        }
    }

    /// Ends all faults; at least one replica runs.
    ///
    /// # Errors
    /// A promise that was broken.
    pub fn heal(&mut self) -> Verdict {
        self.ways = VecDeque::from([Way { there: 1, back: 1 }]);
        for r in 0..REPLICAS {
            self.happen(&Happening::Freeze(r, false))?;
            self.happen(&Happening::Cut(r, false))?;
            // One that was told to stop has ended by now.
            self.kill(r)?;
            self.start(r)?;
        }
        Ok(())
    }

    /// L9: every status says what it should.
    ///
    /// # Errors
    /// The Ingress whose status does not.
    pub fn is_right(&self) -> Verdict {
        let Some(publisher) = self.publisher.as_ref().filter(|p| !p.addresses.is_empty()) else {
            return Ok(());
        };
        for (name, ingress) in &self.ingresses {
            let given_up = is_foreign(name) || &*name.name == REFUSED;
            if !given_up && ingress.status != publisher.addresses {
                let (is, wanted) = (&ingress.status, &publisher.addresses);
                return Err(format!("L9: {name} says {is:?} and should say {wanted:?}"));
            }
        }
        Ok(())
    }

    /// Replicas that write.
    #[must_use]
    pub fn leaders(&self) -> usize {
        let leads = |r: &&Replica| r.controller.is_leader();
        self.replicas.iter().flatten().filter(leads).count()
    }
}

impl Replica {
    /// HAProxy does everything at once; what is for the API server is given back.
    fn perform(&mut self, step: Step, requests: &mut Vec<(ActionId, Tell)>) -> Vec<Event> {
        let mut acks = Vec::new();
        for Action { id, body } in step.actions {
            let (count, worker) = match body {
                ActionBody::Tell(tell) => {
                    requests.push((id, tell));
                    continue;
                }
                ActionBody::ResolveNames { .. }
                | ActionBody::FollowSecrets { .. }
                | ActionBody::Relist { .. } => continue,
                ActionBody::Runtime { commands, .. } => (commands.len(), None),
                ActionBody::Reload { .. } => {
                    self.worker += 1;
                    (1, Some(WorkerId(self.worker)))
                }
                ActionBody::ReadBack { .. }
                | ActionBody::CheckSnippet { .. }
                | ActionBody::Save { .. }
                | ActionBody::Check { .. } => (1, None),
            };
            acks.push(Event::Acked(Ack { id, outcomes: vec![Outcome::Done; count], worker }));
        }
        acks
    }
}
