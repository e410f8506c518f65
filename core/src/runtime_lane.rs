//! The runtime lane of the controller: commands and read-backs for the worker that serves. When each
//! is due, and what its outcome means.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::action::{ActionBody, MapId};
use crate::applied::Running;
use crate::controller::{Controller, FilesFlight, RuntimeFlight, Step};
use crate::desired::{Key, Skeleton};
use crate::event::{Ack, Outcome, WorkerId};
use crate::files_lane::SAVE_PAUSE;
use crate::plan::{self, Command, Inputs, Plan, mark_differences};
use crate::render;
use crate::sabotage::{Mistake, is_planted};
use crate::time::Time;
use crate::world::Fact;

/// While something is under way, HAProxy's memory is read back after so many milliseconds for each
/// backend at the earliest: with 10,000 that takes 50 to 250 ms, in which changes wait, so less than
/// one part in 1,000 of the time.
const AUDIT_EACH_MS: u64 = 30;
/// Pause between a read-back that failed and the next, in milliseconds.
const DOUBT_PAUSE_MS: u64 = 100;

impl Controller {
    pub(crate) fn meet(&mut self, worker: WorkerId) {
        if self.worker == Some(worker) {
            return;
        }
        self.worker = Some(worker);
        self.running = None;
        self.runtime = None;
        self.doubt = true;
        self.doubt_until = self.now;
    }

    pub(crate) fn take_running(&mut self, running: Running) {
        self.desired.wake_all();
        mark_differences(&mut self.desired, &running);
        self.use_running(running);
    }

    /// Plans from this memory on; what differs is marked already.
    pub(crate) fn use_running(&mut self, running: Running) {
        self.reasons.clear();
        self.running = Some(running);
        self.doubt = false;
        self.audited_at = self.now;
    }

    /// The next commands and reload reasons, given what runs. What one key waited for may be
    /// settled by the same plan, so it is made again until it has commands or settles nothing.
    fn plan(&mut self) -> Plan {
        loop {
            let plan = self.plan_once();
            if !plan.commands.is_empty() || plan.settled.is_empty() {
                return plan;
            }
        }
    }

    /// Settles what is settled, and sends nothing.
    pub(crate) fn settle(&mut self) {
        if self.world.is_synced() && self.world.capabilities.is_some() && !self.doubt {
            let _ = self.plan();
        }
    }

    /// The digest of a static part, which is a few hundred lines of text: remembered for the last.
    pub(crate) fn skeleton_digest(&mut self, skeleton: &Arc<Skeleton>) -> Arc<str> {
        match &self.digested {
            Some((last, digest)) if Arc::ptr_eq(last, skeleton) => digest.clone(),
            Some(_) | None => {
                let digest = render::skeleton_digest(skeleton);
                self.digested = Some((skeleton.clone(), digest.clone()));
                digest
            }
        }
    }

    fn plan_once(&mut self) -> Plan {
        let skeleton = self.desired.image().skeleton.clone();
        let skeleton = self.skeleton_digest(&skeleton);
        let capabilities = self.capabilities();
        let Some(running) = &mut self.running else { return Plan::default() };
        let loading = match &self.files {
            Some(FilesFlight::Reload { id: _, image }) => Some(&**image),
            Some(FilesFlight::Save { .. } | FilesFlight::Check { .. }) | None => None,
        };
        let inputs = Inputs {
            desired: &self.desired,
            running,
            skeleton: &skeleton,
            capabilities: &capabilities,
            settings: &self.world.settings,
            trouble: &self.trouble,
            unserved: &self.unserved,
            loading,
            loaded: self.loaded.as_deref(),
            now: self.now,
        };
        let plan = plan::next(&inputs);
        for key in &plan.settled {
            self.desired.settle(key);
            self.trouble.remove(key);
            self.repairs.remove(key);
            if let Key::Map(MapId::Route, route) = key {
                self.unserved.remove(route);
            }
            if let Key::Backend(name) = key
                && let Some(wanted) = self.desired.image().backends.get(name)
            {
                running.share(wanted, &capabilities);
            }
        }
        self.unserved.extend(plan.unserved.iter().cloned());
        for (key, until) in &plan.parked {
            self.desired.park(key.clone(), *until);
        }
        self.reasons.clone_from(&plan.reasons);
        plan
    }

    pub(crate) fn act_on_runtime(&mut self, step: &mut Step) {
        self.desired.wake(self.now);
        let Some(worker) = self.worker.filter(|_| self.runtime.is_none()) else { return };
        if self.doubt {
            if self.now >= self.doubt_until {
                self.read_back(worker, false, step);
            }
            return;
        }
        if !self.world.is_synced() || self.world.capabilities.is_none() {
            return;
        }
        if is_planted(Mistake::WaitsForFiles)
            && self.unsaved_since.is_some_and(|since| self.now.since_ms(since) > 20_000)
        {
            return;
        }
        let plan = self.plan();
        let collects = plan.commands.iter().all(|c| c.phase == plan::Phase::Collect);
        let effective = self.running.is_some() && collects;
        // A route that waits for its endpoints, or for a new worker, is not there yet.
        let is_short = plan.is_short || !plan.unserved.is_empty();
        step.effective = effective && plan.reasons.is_empty() && !is_short;
        step.effective_but_static = effective && !plan.waits;
        if plan.commands.is_empty() {
            let reloads = matches!(self.files, Some(FilesFlight::Reload { .. }));
            let busy = is_planted(Mistake::AuditsAtRest) && !self.is_quiet();
            if !reloads && !busy && self.audit_at().is_some_and(|at| self.now >= at) {
                self.read_back(worker, true, step);
            }
            return;
        }
        let commands = plan.commands.iter().map(|c| c.command.clone()).collect();
        let id = self.emit(ActionBody::Runtime { worker, commands }, step);
        step.trace.commands = plan.commands.clone();
        self.runtime = Some(RuntimeFlight::Commands { id, commands: plan.commands });
    }

    fn read_back(&mut self, worker: WorkerId, audit: bool, step: &mut Step) {
        let id = self.emit(ActionBody::ReadBack { worker }, step);
        self.runtime = Some(RuntimeFlight::ReadBack { id, audit });
    }

    /// When HAProxy's memory is next read back though nothing seems to be wrong with it. Something may
    /// be under way for as long as anybody has a connection to a pod that left.
    pub(crate) fn audit_at(&self) -> Option<Time> {
        let audit = self.world.settings.delays.audit_ms;
        self.running.as_ref().filter(|_| audit > 0)?;
        let backends = self.desired.image().backends.len() as u64;
        let least = if self.is_quiet() { 0 } else { backends * AUDIT_EACH_MS };
        Some(self.audited_at.plus_ms(audit.max(least)))
    }

    pub(crate) fn acked(&mut self, ack: Ack, changed: &mut BTreeSet<Fact>) {
        if self.take_told(&ack) || self.take_judged(&ack, changed) {
            return;
        }
        let Ack { id, outcomes, worker } = ack;
        match self.runtime.take() {
            Some(RuntimeFlight::Commands { id: flight, commands }) if flight == id => {
                self.take_outcomes(commands, outcomes, changed);
                return;
            }
            Some(RuntimeFlight::ReadBack { id: flight, audit: _ }) if flight == id => {
                // A failed read-back leaves the doubt, and is tried again.
                self.doubt |= !matches!(outcomes.as_slice(), [Outcome::Done]);
                if self.doubt {
                    self.doubt_until = self.now.plus_ms(DOUBT_PAUSE_MS);
                }
                return;
            }
            other => self.runtime = other,
        }
        let outcome = outcomes.into_iter().next().unwrap_or(Outcome::Unknown);
        match self.files.take() {
            Some(FilesFlight::Save { id: flight, version, since }) if flight == id => {
                let took = self.now.since_ms(since);
                self.save_pause_until = self.now.plus_ms(took.saturating_mul(SAVE_PAUSE));
                self.saved(version, outcome);
            }
            Some(FilesFlight::Reload { id: flight, image }) if flight == id => {
                self.reloaded(&image, outcome, worker, changed);
            }
            Some(FilesFlight::Check { id: flight }) if flight == id => {
                self.checked(outcome, changed);
            }
            other => self.files = other,
        }
    }

    fn take_outcomes(
        &mut self,
        commands: Vec<Command>,
        outcomes: Vec<Outcome>,
        changed: &mut BTreeSet<Fact>,
    ) {
        let Some(running) = &mut self.running else { return };
        let mut outcomes = outcomes.into_iter();
        let mut refused: BTreeMap<Key, (Command, Box<str>)> = BTreeMap::new();
        for command in commands {
            match outcomes.next().unwrap_or(Outcome::Unknown) {
                Outcome::Done => {
                    running.apply(&command.command, command.backend.as_ref(), self.now);
                }
                Outcome::Refused(_) if is_planted(Mistake::RefusedIsDone) => {
                    running.apply(&command.command, command.backend.as_ref(), self.now);
                }
                Outcome::Refused(why) => {
                    refused.entry(command.key.clone()).or_insert((command, why));
                }
                Outcome::Unknown if is_planted(Mistake::UnknownIsDone) => {
                    running.apply(&command.command, command.backend.as_ref(), self.now);
                }
                Outcome::Unknown => self.doubt = true,
            }
        }
        for (key, (command, why)) in refused {
            self.refused(key, &command, why, changed);
        }
    }
}
