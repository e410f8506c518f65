//! Faults: what each does, and until when it may show.

use std::sync::Arc;

use tidegate_core::action::MapId;
use tidegate_core::controller::Controller;
use tidegate_core::event::Event;
use tidegate_core::time::Time;

use super::{Due, RETURN_MS, Run};
use crate::swarm::judge::Broken;
use crate::swarm::schedule::Fault;

/// A fault may show for so long after it was there last.
const AFTER_MS: u64 = 15_000;
/// The longest pause between tries.
const PAUSE_MAX_MS: u64 = 60_000;

impl Run<'_> {
    pub(super) fn take_armed<T>(&mut self, fits: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        let at = self.armed.iter().position(|fault| fits(fault).is_some())?;
        let fault = self.armed.remove(at);
        self.shake(fault);
        fits(&fault)
    }

    /// From now on a fault may show, for a while.
    fn shake(&mut self, fault: Fault) {
        let lasts = match fault {
            Fault::Gap(ms) | Fault::Outage(ms) | Fault::SlowCommands(ms) | Fault::SlowFiles(ms) => {
                u64::from(ms) + AFTER_MS
            }
            Fault::Tamper => 80_000,
            _ => AFTER_MS,
        };
        let until = self.now + lasts;
        let known = self.shaken.entry(fault.name()).or_insert(0);
        *known = until.max(*known);
        self.shown.insert(fault.name());
    }

    pub(super) fn fault(&mut self, fault: Fault) -> Result<(), Broken> {
        self.shake(fault);
        match fault {
            Fault::WorkerDies => {
                let Some(worker) = self.worker.take() else { return Ok(()) };
                if self.controller.unsaved_ms(self.now) > 0 {
                    self.sometimes("the worker died before the files were written");
                }
                self.sometimes("the worker died");
                self.push(self.now + RETURN_MS, Due::WorkerReturns);
                self.step(vec![Event::WorkerLost(worker.id)])
            }
            Fault::ControllerDies => {
                let busy = self.lanes.values().any(|flights| !flights.is_empty());
                self.sometimes(if busy { "tidegate died at work" } else { "tidegate died idle" });
                self.life += 1;
                // What it has sent is carried out; nobody hears the answers.
                self.controller = Controller::new(self.settings.clone(), Time(self.now));
                let mut events = vec![Event::ProxyFound(self.capabilities.clone())];
                events.extend(self.worker.as_ref().map(|worker| Event::WorkerSeen(worker.id)));
                if self.blind {
                    let first = self.bereft.filter(|(_, told)| told.is_none());
                    self.bereft = Some(first.unwrap_or((self.now, None)));
                    self.sometimes("tidegate started while the API server was away");
                } else {
                    events.extend(self.cluster.lists(self.now));
                }
                self.step(events)
            }
            Fault::Gap(ms) | Fault::Outage(ms) => {
                if !self.blind {
                    self.blind = true;
                    let lists = matches!(fault, Fault::Outage(_));
                    self.push(self.now + u64::from(ms), Due::Back(lists));
                }
                Ok(())
            }
            Fault::Relist if self.blind => Ok(()),
            Fault::Relist => {
                let events = self.cluster.lists(self.now);
                self.step(events)
            }
            Fault::Tamper => {
                if let Some(worker) = &mut self.worker {
                    let memory = Arc::make_mut(&mut worker.memory);
                    let routes = memory.maps.entry(MapId::Route).or_default();
                    if routes.pop().is_some() {
                        self.sometimes("somebody deleted a route");
                    }
                }
                Ok(())
            }
            armed => {
                self.armed.push(armed);
                Ok(())
            }
        }
    }

    /// A reload is held up by a fault, from then to then.
    pub(super) fn hold_up(&mut self, from: u64, until: u64) {
        let row = self.held_up.filter(|row| from < over(*row));
        self.held_up =
            Some(row.map_or((from, until), |(since, last)| (since.min(from), last.max(until))));
    }

    /// How long what only a reload can bring may take now, while faults held up a row of them: as
    /// pauses between tries double, what took so long may take as long again.
    #[must_use]
    pub fn held_up_ms(&self) -> Option<u64> {
        let row = self.held_up.filter(|row| self.now < over(*row))?;
        Some(over(row) - row.0)
    }
}

/// When a row of reloads that were held up may show no more.
fn over((since, until): (u64, u64)) -> u64 {
    until + (until - since).min(PAUSE_MAX_MS) + AFTER_MS
}
