//! Schedules from seeds: phases that grow, churn, churn hard, shrink, each followed by rest; a random
//! part of all faults; few names and addresses, so that they come back and collide. At the end
//! tidegate starts again and everything is listed anew, and nothing may be changed by that.

use std::collections::BTreeMap;

use super::proxy::Version;
use super::schedule::{Entry, Fault, Happens, Schedule};
use crate::dice::Dice;
use crate::swarm::schedule::What;

const SERVICES: &[&str] = &["t1/web", "t1/api", "t2/web", "t2/api"];
const HOSTS: &[&str] = &["a.example", "b.example", "c.example", "d.example"];
const INGRESSES: &[&str] = &["t1/i1", "t1/i2", "t2/i1", "t2/i2"];
/// Addresses of pods.
const PODS: u8 = 12;
/// An address is not given away again for so long, in milliseconds.
const REUSE_MS: u64 = 1_500;
/// All is quiet after so long without changes or faults: retries come at most a minute apart, and a
/// connection on which nothing comes is given up after 75 seconds.
const REST_MS: u64 = 220_000;
/// An operator accepts deletions so long after the last fault, when all lists are made again.
const ACCEPT_MS: u64 = 150_000;
/// The same when no fault was near.
const CALM_MS: u64 = 70_000;

struct Plan {
    dice: Dice,
    now: u64,
    entries: Vec<Entry>,
    pods: BTreeMap<&'static str, Vec<u8>>,
    free_since: BTreeMap<u8, u64>,
    guarded: bool,
}

impl Plan {
    fn put(&mut self, what: Happens) {
        self.entries.push(Entry { at_ms: self.now, what });
    }

    fn change(&mut self, what: What) {
        self.put(Happens::Change(what));
    }

    /// Pods come and go: sizes 0, 1, 2, and whatever there is.
    fn pods(&mut self, service: &'static str, most: u64) {
        let size = match self.dice.below(6) {
            0 => 0,
            1 => 1,
            2 => 2,
            _ => self.dice.below(most + 1),
        };
        let mut ready = self.pods.get(service).cloned().unwrap_or_default();
        let mut leaving = Vec::new();
        // A rollout replaces one of them.
        if !ready.is_empty() && self.dice.percent(40) {
            leaving.push(ready.remove(0));
        }
        while ready.len() as u64 > size {
            leaving.extend(ready.pop());
        }
        for address in 1..=PODS {
            let free = self.free_since.get(&address).copied().unwrap_or(0);
            let used = self.pods.values().any(|pods| pods.contains(&address));
            if (ready.len() as u64) < size && !used && free + REUSE_MS <= self.now {
                ready.push(address);
            }
        }
        for address in &leaving {
            self.free_since.insert(*address, self.now + 10_000);
        }
        self.pods.insert(service, ready.clone());
        self.change(What::Pods { service: service.to_owned(), ready, leaving });
    }

    fn anything(&mut self, shrink: bool) {
        let service = self.dice.pick(SERVICES).copied().unwrap_or("t1/web");
        let number = self.dice.below(INGRESSES.len() as u64) as usize;
        let ingress = INGRESSES.get(number).copied().unwrap_or("t1/i1");
        let secret = if self.dice.percent(50) { "t1/tls" } else { "t2/tls" };
        let weights = if shrink { [40, 8, 12, 4, 12, 4, 6] } else { [60, 1, 6, 12, 3, 8, 1] };
        match self.dice.weighted(&weights) {
            0 => self.pods(service, if shrink { 1 } else { 4 }),
            1 => {
                for address in self.pods.remove(service).unwrap_or_default() {
                    self.free_since.insert(address, self.now);
                }
                self.change(What::NoPods(service.to_owned()));
            }
            2 => self.change(What::Service(service.to_owned(), !shrink)),
            3 => self.ingress(number),
            4 => self.change(What::NoIngress(ingress.to_owned())),
            5 => {
                let number = self.dice.between(1, 4) as u8;
                self.change(What::Secret(secret.to_owned(), number));
            }
            _ => self.change(What::Secret(secret.to_owned(), 0)),
        }
    }

    fn ingress(&mut self, number: usize) {
        let name = INGRESSES.get(number).copied().unwrap_or("t1/i1");
        // Mostly its own host, sometimes another's.
        let own = HOSTS.get(number).copied().unwrap_or("a.example");
        let host = if self.dice.percent(85) { own } else { *self.dice.pick(HOSTS).unwrap_or(&own) };
        let service = if self.dice.percent(60) { "web" } else { "api" };
        let secret = self.dice.percent(50).then(|| "tls".to_owned());
        self.change(What::Ingress {
            name: name.to_owned(),
            host: host.to_owned(),
            service: service.to_owned(),
            secret,
            guarded: self.guarded && number % 2 == 1,
        });
    }

    fn rest(&mut self, ms: u64) {
        self.now += ms;
        self.put(Happens::Quiet);
    }
}

/// A fault with numbers.
fn fault(dice: &mut Dice, kind: Fault) -> Fault {
    let ms = |dice: &mut Dice, low, high| dice.between(low, high) as u32;
    match kind {
        Fault::Partition(_) | Fault::Silent(_) => kind.with(ms(dice, 100, 30_000), 0),
        Fault::Delay(_) | Fault::ApiDies(_) => kind.with(ms(dice, 10, 15_000), 0),
        Fault::Deny(..) => kind.with(dice.below(4) as u32, ms(dice, 100, 20_000)),
        Fault::Throttle(_) | Fault::Unwell(_) | Fault::Emptied(_) | Fault::Stale(_) => {
            kind.with(ms(dice, 100, 20_000), 0)
        }
        Fault::CutLists(_) | Fault::LoseWrites(_) | Fault::Busy(_) => {
            kind.with(dice.between(1, 4) as u32, 0)
        }
        Fault::LoseCommands(_) => kind.with(dice.below(6) as u32, 0),
        Fault::DiesWriting(_) => kind.with(dice.below(30) as u32, 0),
        Fault::Hang(_) | Fault::SlowReload(_) | Fault::SlowDisk(_) => {
            kind.with(ms(dice, 10, 8_000), 0)
        }
        Fault::DiskFull(_) => kind.with(ms(dice, 100, 15_000), 0),
        Fault::ControllerDies(_) => kind.with(ms(dice, 10, 5_000), 0),
        other => other,
    }
}

/// A schedule of about a quarter of an hour.
#[must_use]
pub fn schedule(seed: u64) -> Schedule {
    let mut choices = Dice::new(seed, "network");
    let version = Version::ALL[(seed % 4) as usize];
    let mut chosen: Vec<Fault> = Fault::ALL.into_iter().filter(|_| choices.percent(30)).collect();
    // Who starts while another store answers believes it: what was known of the store before is not
    // kept. Known, and left out until it is.
    let is_replaced = |fault: &Fault| matches!(fault, Fault::Emptied(_) | Fault::Stale(_));
    if chosen.iter().any(is_replaced) {
        chosen.retain(|fault| !matches!(fault, Fault::ControllerDies(_) | Fault::DiesWriting(_)));
    }
    let mut schedule = Schedule::new(version, seed);
    schedule.page_max = *choices.pick(&[1, 2, 3, 500]).unwrap_or(&500);
    schedule.streaming = choices.percent(60);
    schedule.tick_ms = *choices.pick(&[2, 5]).unwrap_or(&2);
    let mut plan = Plan {
        dice: Dice::new(seed, "changes"),
        now: 0,
        entries: Vec::new(),
        pods: BTreeMap::new(),
        free_since: BTreeMap::new(),
        guarded: choices.percent(60),
    };
    let mut faults = Dice::new(seed, "faults");
    for service in SERVICES {
        plan.change(What::Service((*service).to_owned(), true));
        plan.pods(service, 3);
    }
    for number in 0..INGRESSES.len() {
        plan.ingress(number);
    }
    plan.change(What::Secret("t1/tls".to_owned(), 1));
    plan.change(What::Secret("t2/tls".to_owned(), 2));
    plan.rest(CALM_MS);
    for phase in 0..4 {
        // Grow, churn, churn hard, shrink.
        let (changes, gap_ms, shrink) = match phase {
            0 => (12, 1_500, false),
            1 => (25, 800, false),
            2 => (50, 60, false),
            _ => (12, 1_200, true),
        };
        let begin = plan.entries.len();
        for _ in 0..changes {
            plan.now += plan.dice.between(1, gap_ms * 2);
            if let Some(kind) = faults.pick(&chosen).copied()
                && faults.percent(if phase == 2 { 6 } else { 15 })
            {
                let what = fault(&mut faults, kind);
                plan.put(Happens::Fault(what));
                plan.now += faults.below(20);
            }
            plan.anything(shrink);
        }
        // What is deleted while another store answers is held.
        let replaced = |entry: &Entry| {
            matches!(entry.what, Happens::Fault(Fault::Emptied(_) | Fault::Stale(_)))
        };
        let accepted = if plan.entries.iter().skip(begin).any(replaced) {
            plan.now += ACCEPT_MS;
            plan.put(Happens::Accept);
            ACCEPT_MS
        } else {
            0
        };
        plan.rest(REST_MS - accepted);
    }
    for fault in [Fault::Expire, Fault::ControllerDies(200)] {
        plan.put(Happens::Still);
        plan.put(Happens::Fault(fault));
        plan.rest(CALM_MS);
    }
    schedule.entries = plan.entries;
    schedule
}
