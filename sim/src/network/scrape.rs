//! S27: what tidegate's metrics say is what happened. Compared with what HAProxy was asked for and
//! carried out, with its memory and with the cluster, never with what tidegate counted elsewhere.
//!
//! Inputs: what a scrape of `/metrics` answered, and when. Outputs: a broken promise. Not here: the
//! request itself (`hosts`).

use std::collections::BTreeMap;

use tidegate::metrics::command_label;
use tidegate_core::action::{MapId, RuntimeCommand};
use tidegate_core::world::object::Kind;

use super::forever::Forever;
use super::hosts::TERM_MS;
use super::replica::{Replica, ReplicaId};
use super::world::World;
use crate::swarm::judge::Broken;

/// From the last change to a scrape that must know of it, in milliseconds.
const SETTLES_MS: u64 = 5_000;
/// From one scrape to the next while nothing changes, in milliseconds.
const EVERY_MS: u64 = 60_000;
/// Faults that keep tidegate from knowing what became of what it asked for.
const UNKNOWN: &[&str] = &[
    "lose-commands",
    "cut-answer",
    "hang",
    "lose-reload",
    "slow-reload",
    "mute-master",
    "foreign-reload",
    "worker-dies",
    "crash-loop",
    "power-cut",
];
/// Objects that are counted, by the kinds of the simulated cluster.
const COUNTED: [Kind; 3] = [Kind::Service, Kind::EndpointSlice, Kind::Ingress];

/// What happened in this life of tidegate.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Commands that HAProxy carried out and did not refuse, by their names in metrics.
    done: BTreeMap<&'static str, u64>,
    /// Reloads that tidegate asked for and that had effect.
    loaded: u64,
    /// Starts that had effect: with the first files, which counts as a reload, or with those of before,
    /// which does not.
    started: u64,
    /// When anything changed last.
    changed_ms: u64,
    /// Whether tidegate may not know of all of it.
    is_unsure: bool,
    /// The last scrape.
    last: Option<(u64, Scrape)>,
}

/// What was scraped: each sample by its name with labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    /// Reads the text format, whatever stands before it.
    #[must_use]
    pub fn read(text: &str) -> Scrape {
        let samples = text.lines().filter(|line| line.starts_with("tidegate_"));
        let samples = samples.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        });
        Scrape(samples.collect())
    }

    /// A sample; 0 if there is none.
    fn of(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// The sum of all samples of a name that have a label.
    fn sum(&self, name: &str, label: &str) -> f64 {
        let begins = format!("{name}{{");
        let samples = self.0.iter().filter(|(key, _)| key.starts_with(&begins));
        samples.filter(|(key, _)| key.contains(label)).map(|(_, value)| value).sum()
    }
}

fn lies(what: &str, said: f64, is: f64) -> Broken {
    Broken::new("S27", format!("{what} says {said}, and it is {is}"))
}

impl Replica {
    /// A life of tidegate begins.
    pub fn lives_again(&mut self, now: u64) {
        let is_unsure = self.is_shaken(now, UNKNOWN);
        self.tally = Tally { is_unsure, changed_ms: now, ..Tally::default() };
    }

    /// Whether nothing has changed for a while and nobody has asked for metrics since, or lately.
    #[must_use]
    pub fn may_be_scraped(&self, now: u64) -> bool {
        let asked_ms = self.tally.last.as_ref().map_or(0, |(at, _)| *at);
        let settled_ms = self.tally.changed_ms + SETTLES_MS;
        now > settled_ms && (asked_ms <= settled_ms || now > asked_ms + EVERY_MS)
    }

    /// Something changed of which metrics tell.
    pub(super) fn changes(&mut self, now: u64) {
        self.tally.changed_ms = now;
        self.tally.is_unsure |= self.is_shaken(now, UNKNOWN);
    }

    /// HAProxy carried out a command, and did not refuse it.
    pub(super) fn did(&mut self, now: u64, command: &RuntimeCommand) {
        *self.tally.done.entry(command_label(command)).or_insert(0) += 1;
        self.changes(now);
    }

    /// A reload that was asked for is over.
    pub(super) fn loaded(&mut self, now: u64, works: bool) {
        self.tally.loaded += u64::from(works);
        self.changes(now);
    }

    /// A start is over.
    pub(super) fn started(&mut self, now: u64, works: bool) {
        self.tally.started += u64::from(works);
        self.changes(now);
    }

    /// What was done is counted, once; what is counted was done.
    fn counts(&self, scrape: &Scrape, all_said: bool) -> Result<(), Broken> {
        let Tally { done, loaded, started, .. } = &self.tally;
        let said = scrape.sum("tidegate_reloads_total", "outcome=\"done\"");
        // A start counts or not.
        let is = said.clamp(*loaded as f64, (loaded + started) as f64);
        let mut counted = vec![("reloads that were done".to_owned(), said, is)];
        for (key, said) in &scrape.0 {
            let Some(labels) = key.strip_prefix("tidegate_actions_total{") else { continue };
            let action = labels.split('"').nth(1).unwrap_or_default();
            // Asked for again where notices cut the answer off.
            let is_command = !is_action(action) && action != "delete-backend";
            if is_command && labels.contains("outcome=\"done\"") {
                let is = done.get(action).copied().unwrap_or(0);
                counted.push((format!("`{action}` that were done"), *said, is as f64));
            }
        }
        let wrong = counted.iter().find(|(_, said, is)| said > is || (all_said && said < is));
        wrong.map_or(Ok(()), |(what, said, is)| Err(lies(what, *said, *is)))
    }
}

/// Whether it is the name of an action that is no command.
fn is_action(name: &str) -> bool {
    const ACTIONS: &[&str] = &[
        "reload",
        "read-back",
        "save",
        "check",
        "check-snippet",
        "resolve-names",
        "follow-secrets",
        "relist",
        "write-status",
        "write-event",
        "read-lease",
        "write-lease",
    ];
    ACTIONS.contains(&name)
}

impl World {
    /// Somebody asked for metrics. No counter is ahead of what happened.
    pub fn scraped(&mut self, id: ReplicaId, text: &str) {
        let (now, scrape) = (self.now_ms(), Scrape::read(text));
        let replica = self.at(id);
        let counted = replica.counts(&scrape, false);
        replica.tally.last = Some((now, scrape));
        self.sometimes("metrics were read");
        if let Err(broken) = counted {
            self.broke_at(id, broken);
        }
    }

    /// At rest metrics say what there is. Whether they were asked for since it is so.
    pub(super) fn truthful(&self, id: ReplicaId, now: u64) -> Result<bool, Broken> {
        let replica = self.of(id);
        let tally = &replica.tally;
        let fresh = tally.last.as_ref().filter(|(at, _)| *at > tally.changed_ms + SETTLES_MS);
        let (Some((_, scrape)), Some(worker)) = (fresh, replica.site.serving()) else {
            return Ok(false);
        };
        replica.counts(scrape, !tally.is_unsure)?;
        let routes = worker.memory.maps.get(&MapId::Route).map_or(0, Vec::len);
        let mut gauges = vec![("tidegate_ready".to_owned(), 1), ("tidegate_synced".to_owned(), 1)];
        if replica.forever.is_empty() {
            gauges.push(("tidegate_routes".to_owned(), routes));
        }
        for kind in COUNTED {
            let objects = self.known_to(id).objects().filter(|object| object.kind() == kind);
            let name = format!("tidegate_objects{{kind=\"{}\"}}", kind.name());
            gauges.push((name, objects.count()));
        }
        let leads = self.writers.is_led_by(id, now.saturating_sub(TERM_MS));
        gauges.push(("tidegate_leader".to_owned(), usize::from(leads)));
        for (name, is) in gauges {
            let said = scrape.of(&name);
            if said != is as f64 {
                return Err(lies(&name, said, is as f64));
            }
        }
        let unsaved = scrape.of("tidegate_unsaved_seconds");
        let is_full = replica.forever.contains(&Forever::DiskFull);
        if (unsaved > 0.0) != is_full {
            let are = if is_full { "cannot be written" } else { "are written" };
            let why = format!("tidegate_unsaved_seconds says {unsaved}, and the files {are}");
            return Err(Broken::new("S27", why));
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_by_name_and_labels() {
        let text = "HTTP/1.1 200 OK\r\n\r\n# HELP tidegate_x words\n\
            tidegate_reloads_total{reason=\"a\",outcome=\"done\"} 2\n\
            tidegate_reloads_total{reason=\"b\",outcome=\"done\"} 3\n\
            tidegate_reloads_total{reason=\"b\",outcome=\"refused\"} 7\ntidegate_ready 1\n";
        let scrape = Scrape::read(text);
        assert_eq!(scrape.sum("tidegate_reloads_total", "outcome=\"done\"") as u64, 5);
        assert_eq!((scrape.of("tidegate_ready") as u64, scrape.of("tidegate_no") as u64), (1, 0));
    }
}
