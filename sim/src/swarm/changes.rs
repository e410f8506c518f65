//! Changes of a small cluster from dice, for the schedules of both tiers. Few names and addresses,
//! so that they come back and collide.
//!
//! Inputs: the dice, the time. Outputs: one change at a time, in the words of [`What`]. Not here: when
//! they happen, and faults.

use std::collections::BTreeMap;

use super::schedule::What;
use crate::dice::Dice;

const SERVICES: &[&str] = &["t1/web", "t1/api", "t2/web", "t2/api"];
/// Hosts of Ingresses.
pub const HOSTS: &[&str] = &["a.example", "b.example", "c.example", "d.example"];
const INGRESSES: &[&str] = &["t1/i1", "t1/i2", "t2/i1", "t2/i2"];
const SECRETS: &[&str] = &["t1/tls", "t2/tls"];
/// Addresses of pods.
const PODS: u8 = 12;

/// What is known of the cluster that is described.
pub struct Changes {
    /// Decides.
    pub dice: Dice,
    /// Pods of each Service.
    pods: BTreeMap<&'static str, Vec<u8>>,
    /// When an address was given back.
    free_since: BTreeMap<u8, u64>,
    guarded: bool,
    reuse_ms: u64,
}

impl Changes {
    /// Of no cluster yet; with or without allow lists on every other Ingress. An address is not given
    /// away again for `reuse_ms`.
    #[must_use]
    pub fn new(seed: u64, guarded: bool, reuse_ms: u64) -> Changes {
        Changes {
            dice: Dice::new(seed, "changes"),
            pods: BTreeMap::new(),
            free_since: BTreeMap::new(),
            guarded,
            reuse_ms,
        }
    }

    /// Everything as it is at the beginning.
    pub fn first(&mut self, now: u64) -> Vec<What> {
        let mut all = Vec::new();
        for service in SERVICES {
            all.push(What::Service((*service).to_owned(), true));
            all.push(self.pods(now, service, 3));
        }
        all.extend((0..INGRESSES.len()).map(|number| self.ingress(number)));
        let secrets = SECRETS.iter().zip(1..);
        all.extend(secrets.map(|(name, number)| What::Secret((*name).to_owned(), number)));
        all
    }

    /// Any change; one that takes away rather than adds when all is to shrink.
    pub fn any(&mut self, now: u64, shrink: bool) -> What {
        let service = self.dice.pick(SERVICES).copied().unwrap_or("t1/web");
        let number = self.dice.below(INGRESSES.len() as u64) as usize;
        let ingress = INGRESSES.get(number).copied().unwrap_or("t1/i1");
        let secret = self.dice.pick(SECRETS).copied().unwrap_or("t1/tls");
        let weights = if shrink { [40, 8, 12, 4, 12, 4, 6] } else { [60, 1, 6, 12, 3, 8, 1] };
        match self.dice.weighted(&weights) {
            0 => self.pods(now, service, if shrink { 1 } else { 4 }),
            1 => {
                for address in self.pods.remove(service).unwrap_or_default() {
                    self.free_since.insert(address, now);
                }
                What::NoPods(service.to_owned())
            }
            2 => What::Service(service.to_owned(), !shrink),
            3 => self.ingress(number),
            4 => What::NoIngress(ingress.to_owned()),
            5 => What::Secret(secret.to_owned(), self.dice.between(1, 4) as u8),
            _ => What::Secret(secret.to_owned(), 0),
        }
    }

    /// Pods come and go: sizes 0, 1, 2, and whatever there is.
    fn pods(&mut self, now: u64, service: &'static str, most: u64) -> What {
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
            if (ready.len() as u64) < size && !used && free + self.reuse_ms <= now {
                ready.push(address);
            }
        }
        for address in &leaving {
            self.free_since.insert(*address, now);
        }
        if self.dice.percent(60) {
            leaving.clear();
        }
        // Those that leave keep their address until they are gone.
        for address in &leaving {
            self.free_since.insert(*address, now + 10_000);
        }
        self.pods.insert(service, ready.clone());
        What::Pods { service: service.to_owned(), ready, leaving }
    }

    fn ingress(&mut self, number: usize) -> What {
        let name = INGRESSES.get(number).copied().unwrap_or("t1/i1");
        // Mostly its own host, sometimes another's.
        let own = HOSTS.get(number).copied().unwrap_or("a.example");
        let host = if self.dice.percent(85) { own } else { *self.dice.pick(HOSTS).unwrap_or(&own) };
        // Sometimes it joins the path of the other one of its namespace.
        let canary = self.dice.percent(15);
        let host = if canary { HOSTS.get(number ^ 1).copied().unwrap_or(host) } else { host };
        let service = if self.dice.percent(60) { "web" } else { "api" };
        let secret = self.dice.percent(50).then(|| "tls".to_owned());
        What::Ingress {
            name: name.to_owned(),
            host: host.to_owned(),
            service: service.to_owned(),
            secret,
            guarded: self.guarded && number % 2 == 1 && !canary,
            canary,
        }
    }
}
