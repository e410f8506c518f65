//! The promises about what is written to the API server, over all replicas: who may write (S17), what
//! (S18), and how soon (L9).
//!
//! Inputs: writes as they arrive, and as they are done; the truth. Who may write follows from the
//! Lease as the API server has it, never from what a replica says of itself.

use std::collections::BTreeMap;

use serde_json::Value;
use tidegate_core::world::object::{Kind, Name, Object, ObjectRef};

use super::PUBLISHED;
use super::api::verbs::Place;
use super::hosts::TERM_MS;
use super::judge::RETURNING;
use super::replica::ReplicaId;
use super::world::World;
use crate::model::haproxy::Answer;
use crate::swarm::judge::Broken;

/// For how long a status waits for its routes, in milliseconds.
const EFFECT_MS: u64 = 1_000;
/// From when a replica could write, or an Ingress was created, to its status: the term of the Lease,
/// in which a leader that is gone may have it, two tries to take it, the wait for routes, and the
/// longest pause after an answer that was lost, in milliseconds.
const SETTLED_MS: u64 = TERM_MS + 2 * 2_400 + EFFECT_MS + 8_000;

/// From when an Ingress is created to when every replica that nothing is in the way of has heard of it,
/// in milliseconds.
const HEARD_MS: u64 = 200;

/// Phase: something is written to the API server, whatever HAProxy does meanwhile.
pub(super) const WRITTEN: &str = "written";

/// Namespace and name of an object.
type Key = (String, String);

/// Who may write, and what was written.
#[derive(Debug, Default)]
pub struct Writers {
    /// Who holds the Lease of the store that answers, by its last write.
    holder: Option<ReplicaId>,
    /// When the Lease was written last.
    renewed_ms: u64,
    /// Until when somebody may hold the Lease of a store that answered before.
    unsure_until_ms: u64,
    /// How often the store that answers got a new status of an object, by UID.
    statuses: BTreeMap<String, u32>,
    /// The Ingresses that there are.
    asked: BTreeMap<Key, Asked>,
}

/// What an Ingress may expect.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// When it was created.
    at_ms: u64,
    /// Since when its status is owed: later, where who leads could not know of it.
    owed_ms: u64,
}

impl Writers {
    /// Whether a replica holds the Lease, renewed since then.
    pub(super) fn is_led_by(&self, id: ReplicaId, since: u64) -> bool {
        self.holder == Some(id) && self.renewed_ms >= since
    }
}

fn key(place: &Place) -> Option<Key> {
    Some((place.namespace.clone()?, place.name.clone()?))
}

impl World {
    /// Another store answers from now on.
    pub fn store_replaced(&mut self) {
        let unsure_until_ms = self.now_ms() + TERM_MS + EFFECT_MS;
        let writers = &mut self.writers;
        writers.holder = None;
        writers.statuses.clear();
        writers.unsure_until_ms = unsure_until_ms;
    }

    /// A replica asks for a write, and the API server has just heard of it.
    pub fn asked_to_write(&mut self, id: ReplicaId, place: &Place) {
        if place.resource.plural == "leases" {
            return;
        }
        let now = self.now_ms();
        let what = if place.status { "a status" } else { place.resource.plural };
        if self.still && place.status {
            let why = "a status was written, and nothing had changed".to_owned();
            self.broke_at(id, Broken::new("S18", why));
        }
        let Writers { holder, renewed_ms, unsure_until_ms, .. } = self.writers;
        // What the network kept for longer than the margin of a term nobody can take back.
        let is_late = now < self.of(id).late_until_ms;
        if holder == Some(id) && now <= renewed_ms + TERM_MS {
            self.cell_in(id, WRITTEN, &["S17"]);
        } else if is_late {
            self.sometimes("the network delivered a write after its term");
        } else if now >= unsure_until_ms {
            let ago = now - renewed_ms;
            let holder = holder.map_or("nobody", ReplicaId::identity);
            let why = format!("{what} is written, and {holder} renewed the Lease {ago} ms ago");
            self.broke_at(id, Broken::new("S17", why));
        }
    }

    /// A write of a replica changed something.
    pub fn wrote(&mut self, id: ReplicaId, place: &Place) {
        let what = if place.status { "status" } else { place.resource.plural };
        *self.out.writes.entry(what).or_insert(0) += 1;
        let judged = match (what, key(place)) {
            ("leases", _) => self.led_by(id),
            ("status", Some(name)) => {
                self.said_once(place, &name).and_then(|()| self.said_too_early(id, &name))
            }
            _ => Ok(()),
        };
        if let Err(broken) = judged {
            self.broke_at(id, broken);
        }
    }

    /// S17: nobody takes the Lease from a holder in its term.
    fn led_by(&mut self, id: ReplicaId) -> Result<(), Broken> {
        let now = self.now_ms();
        let before = self.writers.holder.filter(|before| *before != id);
        let ago = now.saturating_sub(self.writers.renewed_ms);
        let is_sure = now >= self.writers.unsure_until_ms;
        self.writers.holder = Some(id);
        self.writers.renewed_ms = now;
        let Some(before) = before else { return Ok(()) };
        self.replicas.iter_mut().for_each(|replica| replica.changes(now));
        self.note_at(id, "faults", || "leads".to_owned());
        self.sometimes("another replica came to lead");
        self.cell_in(before, WRITTEN, &["S17"]);
        if is_sure && ago < TERM_MS {
            let why = format!("it takes the Lease that {} renewed {ago} ms ago", before.identity());
            return Err(Broken::new("S17", why));
        }
        Ok(())
    }

    /// S18: addresses do not change, so each status is written once.
    fn said_once(&mut self, place: &Place, name: &Key) -> Result<(), Broken> {
        let stored = self.api.store().get(place.resource.plural, name);
        let uid = stored.and_then(|stored| stored.pointer("/metadata/uid")?.as_str());
        let Some(uid) = uid.map(str::to_owned) else { return Ok(()) };
        let count = self.writers.statuses.entry(uid).or_insert(0);
        *count += 1;
        match count {
            1 => Ok(()),
            count => {
                let why = format!("{count} times the status of {}/{} was changed", name.0, name.1);
                Err(Broken::new("S18", why))
            }
        }
    }

    /// An Ingress is created, or anything becomes of another object.
    pub(super) fn asks(&mut self, object: &ObjectRef, exists: bool, now: u64) {
        if object.kind != Kind::Ingress {
            return;
        }
        let name = (object.name.namespace.to_string(), object.name.name.to_string());
        if !exists {
            self.writers.asked.remove(&name);
        } else if self.api.true_store().get("ingresses", &name).is_none()
            && self.replicas.iter().any(|replica| !replica.is_hidden(object.kind))
        {
            self.writers.asked.insert(name, Asked { at_ms: now, owed_ms: now });
        }
    }

    /// S18: for a second the status of a new Ingress waits for its routes, at who writes it.
    fn said_too_early(&self, id: ReplicaId, name: &Key) -> Result<(), Broken> {
        let now = self.now_ms();
        let asked = self.writers.asked.get(name).map(|asked| asked.at_ms);
        let Some(asked) = asked.filter(|at| now < at + EFFECT_MS) else { return Ok(()) };
        let replica = self.of(id);
        // Nobody was told of a worker that others brought about.
        let may_not_know =
            replica.is_blind(now) || replica.frozen.is_none() || replica.is_shaken(now, RETURNING);
        let (Some(worker), false) = (replica.site.serving(), may_not_know) else {
            return Ok(());
        };
        let is_it = |of: &Name| *of.namespace == *name.0 && *of.name == *name.1;
        for object in self.known_to(id).objects() {
            let Object::Ingress(ingress) = object else { continue };
            let mine = ingress.rules.iter().filter(|_| is_it(&ingress.meta.name));
            for host in mine.map(|rule| &*rule.host) {
                let is_served = |answer: &Answer| matches!(answer, Answer::Servers(_));
                let wanted =
                    self.known_to(id).wanted_since(host, asked).all(|w| is_served(&w.answer));
                let has = worker.memory.route(host, "/");
                if wanted && !is_served(&has) {
                    let why = format!("a status says that {host} is served, and it meets {has:?}");
                    return Err(Broken::new("S18", why));
                }
            }
        }
        Ok(())
    }

    /// L9: while a replica can write, each status is right soon, whoever leads and dies. Who leads and
    /// hears nothing, as its watches are half open, goes on leading: it owes what it was told before.
    pub fn settles(&mut self) {
        let now = self.now_ms();
        let holder = self.writers.holder.filter(|_| now <= self.writers.renewed_ms + TERM_MS);
        let deaf = holder.map(|id| self.of(id)).filter(|holder| holder.is_blind(now));
        if let Some(since) = deaf.map(|holder| holder.blind.0.saturating_sub(HEARD_MS)) {
            let unheard = self.writers.asked.values_mut().filter(|asked| asked.at_ms >= since);
            unheard.for_each(|asked| asked.owed_ms = now);
        }
        for replica in &mut self.replicas {
            if !replica.is_able(now) {
                replica.unable_ms = now;
            }
        }
        let able_ms = self.replicas.iter().map(|replica| replica.unable_ms).min().unwrap_or(now);
        if let Some(since) = now.checked_sub(SETTLED_MS).filter(|since| able_ms <= *since)
            && let Err(broken) = self.told_since(since)
        {
            self.broke(broken);
        }
    }

    /// The status of each Ingress says where it is reached.
    pub(super) fn told(&self) -> Result<(), Broken> {
        self.told_since(u64::MAX)
    }

    /// The status of each Ingress that is owed since then, or longer, says where it is reached.
    fn told_since(&self, since: u64) -> Result<(), Broken> {
        let store = self.api.true_store();
        for (name, asked) in &self.writers.asked {
            let is_owed = asked.owed_ms <= since && self.api.refused_status.as_ref() != Some(name);
            let Some(stored) = store.get("ingresses", name).filter(|_| is_owed) else {
                continue;
            };
            let said = stored.pointer("/status/loadBalancer/ingress/0/ip").and_then(Value::as_str);
            if said != Some(PUBLISHED) {
                let (namespace, name) = name;
                let why = format!("the status of {namespace}/{name} says {said:?}");
                return Err(Broken::new("L9", why));
            }
        }
        Ok(())
    }
}
