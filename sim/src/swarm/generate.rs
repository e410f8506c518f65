//! Schedules from seeds: phases that grow, churn, shrink and rest, with a random part of all
//! faults. Few names and addresses, so that they come back and collide.

use std::collections::BTreeMap;

use super::schedule::{Entry, Fault, What};
use crate::dice::Dice;

const SERVICES: &[&str] = &["t1/web", "t1/api", "t2/web", "t2/api"];
const HOSTS: &[&str] = &["a.example", "b.example", "c.example", "d.example"];
const INGRESSES: &[&str] = &["t1/i1", "t1/i2", "t2/i1", "t2/i2"];
const SECRETS: &[&str] = &["t1/tls", "t2/tls"];
/// Addresses of pods.
const PODS: u8 = 12;
/// An address is not given away again for so long, in milliseconds.
const REUSE_MS: u64 = 1_000;
/// All is quiet after so long without changes or faults: retries come at most a minute apart, and
/// so do audits.
const REST_MS: u64 = 150_000;

/// Every kind of fault, with what it takes.
const FAULTS: usize = 14;

fn fault(dice: &mut Dice, kind: usize) -> Fault {
    match kind {
        0 => Fault::LoseCommands(dice.below(6) as u8),
        1 => Fault::LoseFiles(dice.percent(50)),
        2 => Fault::RefuseCommand,
        3 => Fault::DiskFull,
        4 => Fault::SlowCommands(dice.between(10, 3_000) as u32),
        5 => Fault::SlowFiles(dice.between(10, 10_000) as u32),
        6 => Fault::WorkerDies,
        7 => Fault::ControllerDies,
        8 => Fault::Gap(dice.between(10, 20_000) as u32),
        9 => Fault::Outage(dice.between(10, 20_000) as u32),
        10 => Fault::Relist,
        11 => Fault::Twice,
        12 => Fault::Drop,
        _ => Fault::Tamper,
    }
}

/// What the generator knows of the cluster it describes.
struct Plan {
    dice: Dice,
    now: u64,
    entries: Vec<Entry>,
    /// Pods of each Service.
    pods: BTreeMap<&'static str, Vec<u8>>,
    /// When an address was given back.
    free_since: BTreeMap<u8, u64>,
    guarded: bool,
}

impl Plan {
    fn put(&mut self, what: What) {
        self.entries.push(Entry { at_ms: self.now, what });
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
            self.free_since.insert(*address, self.now);
        }
        if self.dice.percent(60) {
            leaving.clear();
        }
        // Those that leave keep their address until they are gone.
        for address in &leaving {
            self.free_since.insert(*address, self.now + 10_000);
        }
        self.pods.insert(service, ready.clone());
        self.put(What::Pods { service: service.to_owned(), ready, leaving });
    }

    fn change(&mut self, shrink: bool) {
        let service = self.dice.pick(SERVICES).copied().unwrap_or("t1/web");
        let number = self.dice.below(INGRESSES.len() as u64) as usize;
        let ingress = INGRESSES.get(number).copied().unwrap_or("t1/i1");
        let secret = self.dice.pick(SECRETS).copied().unwrap_or("t1/tls");
        let weights = if shrink { [40, 8, 12, 4, 12, 4, 6] } else { [60, 1, 6, 12, 3, 8, 1] };
        match self.dice.weighted(&weights) {
            0 => self.pods(service, if shrink { 1 } else { 4 }),
            1 => {
                let pods = self.pods.remove(service).unwrap_or_default();
                for address in pods {
                    self.free_since.insert(address, self.now);
                }
                self.put(What::NoPods(service.to_owned()));
            }
            2 => self.put(What::Service(service.to_owned(), !shrink)),
            3 => self.ingress(number),
            4 => self.put(What::NoIngress(ingress.to_owned())),
            5 => {
                let number = self.dice.between(1, 4) as u8;
                self.put(What::Secret(secret.to_owned(), number));
            }
            _ => self.put(What::Secret(secret.to_owned(), 0)),
        }
    }

    fn ingress(&mut self, number: usize) {
        let name = INGRESSES.get(number).copied().unwrap_or("t1/i1");
        // Mostly its own host, sometimes another's.
        let own = HOSTS.get(number).copied().unwrap_or("a.example");
        let host = if self.dice.percent(85) { own } else { *self.dice.pick(HOSTS).unwrap_or(&own) };
        let service = if self.dice.percent(60) { "web" } else { "api" };
        let secret = self.dice.percent(50).then(|| "tls".to_owned());
        let guarded = self.guarded && number % 2 == 1;
        self.put(What::Ingress {
            name: name.to_owned(),
            host: host.to_owned(),
            service: service.to_owned(),
            secret,
            guarded,
        });
    }
}

/// A schedule of about half an hour.
#[must_use]
pub fn schedule(seed: u64) -> Vec<Entry> {
    let mut choices = Dice::new(seed, "choices");
    let chosen: Vec<usize> = (0..FAULTS).filter(|_| choices.percent(50)).collect();
    let guarded = choices.percent(60);
    let mut plan = Plan {
        dice: Dice::new(seed, "changes"),
        now: 0,
        entries: Vec::new(),
        pods: BTreeMap::new(),
        free_since: BTreeMap::new(),
        guarded,
    };
    let mut faults = Dice::new(seed, "faults");
    for service in SERVICES {
        plan.put(What::Service((*service).to_owned(), true));
        plan.pods(service, 3);
    }
    for number in 0..INGRESSES.len() {
        plan.ingress(number);
    }
    plan.put(What::Secret("t1/tls".to_owned(), 1));
    plan.put(What::Secret("t2/tls".to_owned(), 2));
    let rest = |plan: &mut Plan| {
        // What was dropped or missed comes with a list.
        plan.now += 25_000;
        plan.put(What::Fault(Fault::Relist));
        plan.now += REST_MS;
        plan.put(What::Quiet);
    };
    rest(&mut plan);
    for phase in 0..8 {
        // Grow, churn, churn hard, shrink.
        let (changes, gap_ms, shrink) = match phase % 4 {
            0 => (12, 2_000, false),
            1 => (25, 1_000, false),
            2 => (60, 60, false),
            _ => (12, 1_500, true),
        };
        for _ in 0..changes {
            plan.now += plan.dice.between(1, gap_ms * 2);
            if let Some(kind) = faults.pick(&chosen).copied()
                && faults.percent(if phase % 4 == 2 { 8 } else { 20 })
            {
                let what = fault(&mut faults, kind);
                plan.put(What::Fault(what));
                plan.now += faults.below(20);
            }
            plan.change(shrink);
        }
        rest(&mut plan);
    }
    plan.entries
}
