//! Drives a controller against the model of HAProxy: turns acts into events, executes actions as
//! the adapters would (in `proxy`), and checks after every step what must always hold.

mod proxy;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use tidegate_core::action::{Action, ActionBody, Lane};
use tidegate_core::check;
use tidegate_core::controller::{Controller, Step};
use tidegate_core::desired::Image;
use tidegate_core::event::{Ack, Event, Outcome, WorkerId};
use tidegate_core::plan::remedy::ReloadReason;
use tidegate_core::time::{Time, WakeAt, WakeReason};

use crate::arb::{Act, Case, Fate, Setup};
use crate::judge;
pub use crate::judge::{answers, answers_of_image, event_of, initial_events};
use crate::oracle::haproxy::{Answer, Haproxy};
use crate::run::Verdict;

/// Rounds of answering within which everything must be settled.
const ROUNDS_MAX: usize = 400;

/// Audits to wait for after refusals without reason.
const AUDITS_MAX: usize = 3;

/// What a property wants to be watched besides the invariants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// S7: on every prefix of every action, a request that met a ready server, and is to meet
    /// one, meets one.
    pub gaps: bool,
    /// HAProxy refuses nothing but what is planted to be refused.
    pub refusals: bool,
    /// Each reload tells true reasons.
    pub reasons: bool,
}

/// An action that the proxy has not been asked yet, or has answered without the ack delivered.
#[derive(Clone, Debug)]
enum Open {
    /// With where each probe was wanted to go when it was asked for.
    Waiting(Action, Vec<Answer>),
    Answered(Vec<Event>, Ack),
}

/// A worker that runs.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its number.
    pub id: WorkerId,
    /// Its memory.
    pub memory: Haproxy,
}

/// A controller, a proxy and what lies between them.
#[derive(Clone, Debug)]
pub struct Drive {
    /// The controller.
    pub controller: Controller,
    /// The worker, if one runs.
    pub worker: Option<Worker>,
    /// What a start would load.
    pub saved: Option<Arc<Image>>,
    /// Resolved names, as told.
    pub resolved: BTreeMap<String, Vec<IpAddr>>,
    /// Every step so far: when and what came in.
    pub log: Vec<(Time, Vec<Event>)>,
    /// What the steps gave.
    pub steps: Vec<Given>,
    /// Reasons of every reload that was asked for.
    pub reloads: Vec<Vec<ReloadReason>>,
    /// Words of every refusal.
    pub refusals: Vec<String>,
    /// Now.
    pub now: Time,
    /// What is fixed.
    pub setup: Setup,
    watch: Watch,
    runtime: VecDeque<Open>,
    files: VecDeque<Open>,
    trials: VecDeque<Open>,
    wake_at: Option<WakeAt>,
    next_worker: u64,
    was_rough: bool,
    last_action: u64,
}

/// What is kept of a step, to be compared with another run.
#[derive(Clone, Debug)]
pub struct Given {
    /// The actions.
    pub actions: Vec<Action>,
    /// Everything else, in words.
    pub rest: String,
}

impl Drive {
    /// A controller that has told nothing and been told nothing.
    #[must_use]
    pub fn new(setup: &Setup, watch: Watch) -> Drive {
        Drive {
            controller: Controller::new(setup.settings(), Time(0)),
            worker: None,
            saved: None,
            resolved: BTreeMap::new(),
            log: Vec::new(),
            steps: Vec::new(),
            reloads: Vec::new(),
            refusals: Vec::new(),
            now: Time(0),
            setup: setup.clone(),
            watch,
            runtime: VecDeque::new(),
            files: VecDeque::new(),
            trials: VecDeque::new(),
            wake_at: None,
            next_worker: 1,
            was_rough: false,
            last_action: 0,
        }
    }

    /// A controller that has been told everything of a case's beginning.
    ///
    /// # Errors
    /// A broken invariant.
    pub fn start(case: &Case, watch: Watch) -> Result<Drive, String> {
        let mut drive = Drive::new(&case.setup, watch);
        drive.step(initial_events(case))?;
        Ok(drive)
    }

    /// One step of the controller, with every invariant checked after it.
    ///
    /// # Errors
    /// A broken invariant.
    pub fn step(&mut self, events: Vec<Event>) -> Verdict {
        for event in &events {
            if let Event::Resolved { name, addresses } = event {
                self.resolved.insert(name.to_string(), addresses.clone());
            }
        }
        self.log.push((self.now, events.clone()));
        let step = self.controller.step(self.now, events);
        self.take(step)?;
        let broken = check::check(&self.controller);
        if broken.is_empty() { Ok(()) } else { Err(broken.join("; ")) }
    }

    fn take(&mut self, step: Step) -> Verdict {
        let Step { actions, wake_at, opened, closed, effective, trace, .. } = step;
        let rest = format!("{wake_at:?} {opened:?} {closed:?} {effective} {trace:?}");
        self.steps.push(Given { actions: actions.clone(), rest });
        if let Some(wake) = wake_at.filter(|w| w.at <= self.now) {
            return Err(format!("I11: asks to be woken at {wake:?}, and it is {:?}", self.now));
        }
        self.wake_at = wake_at;
        for action in actions {
            if action.id.0 <= self.last_action {
                return Err(format!("I4: action {:?} after {}", action.id, self.last_action));
            }
            self.last_action = action.id.0;
            if let ActionBody::Reload { image, reasons } = &action.body {
                if self.watch.reasons {
                    judge::reasons_are_true(self, image, reasons)?;
                }
                self.reloads.push(reasons.clone());
            }
            let lane = action.body.lane();
            if lane != Lane::Source {
                let open = Open::Waiting(action, self.wanted());
                self.queue(lane).push_back(open);
            }
        }
        // Actions to a worker that is gone may wait beside one to the next.
        let live = |open: &&Open| match open {
            Open::Waiting(action, _) => self.is_for_living(action),
            Open::Answered(..) => false,
        };
        let trials = self.trials.len();
        if self.runtime.iter().filter(live).count() > 1 || self.files.len() > 1 || trials > 1 {
            return Err("I4: more than one action in flight in a lane".to_owned());
        }
        Ok(())
    }

    fn is_for_living(&self, action: &Action) -> bool {
        match &action.body {
            ActionBody::Runtime { worker, .. } | ActionBody::ReadBack { worker } => {
                self.worker.as_ref().is_some_and(|w| w.id == *worker)
            }
            _ => true,
        }
    }

    /// Whether nothing is open and nothing is due but the next audit.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let only_audit = self.wake_at.is_none_or(|w| w.reason == WakeReason::Audit);
        self.runtime.is_empty()
            && self.files.is_empty()
            && self.trials.is_empty()
            && self.controller.is_quiet()
            && only_audit
    }

    /// Does an act.
    ///
    /// # Errors
    /// A broken invariant.
    pub fn act(&mut self, act: &Act) -> Verdict {
        match act {
            Act::Put(_) | Act::Remove(_) | Act::Relist(..) | Act::Resolve(..) | Act::Date(_) => {
                self.step(event_of(act).into_iter().collect())
            }
            Act::Run(lane) => self.run(*lane, Fate::Done),
            Act::Answer(lane, fate) => self.answer(*lane, *fate),
            Act::Pass(ms) => self.pass(*ms),
            Act::Settle => self.settle(),
            Act::Die => self.die(),
            Act::Return => self.come_back(),
        }
    }

    /// Lets time pass, stepping whenever the controller asked for it.
    ///
    /// # Errors
    /// A broken invariant.
    pub fn pass(&mut self, ms: u64) -> Verdict {
        let end = self.now.plus_ms(ms);
        for _ in 0..ROUNDS_MAX {
            let Some(wake) = self.wake_at.filter(|w| w.at <= end) else { break };
            self.now = self.now.max(wake.at);
            self.step(vec![Event::Ticked])?;
        }
        self.now = end;
        self.step(vec![Event::Ticked])
    }

    /// Answers everything truthfully and lets time pass until nothing is left to do.
    ///
    /// # Errors
    /// A broken invariant, or that it never ends.
    pub fn settle(&mut self) -> Verdict {
        let mut audits = 0;
        for _ in 0..ROUNDS_MAX {
            self.answer_all()?;
            if self.is_settled() {
                return Ok(());
            }
            let Some(wake) = self.wake_at else {
                return Err(format!("stuck for ever: {}", self.condition()));
            };
            let overdue = wake.at <= self.now.plus_ms(1);
            let far = wake.reason == WakeReason::Audit && self.worker.is_some() && !overdue;
            // Retries after refusals come later and later.
            let troubled = self.was_rough && audits < AUDITS_MAX;
            audits += usize::from(far);
            if far && !troubled {
                return Err(format!("stuck until the next audit: {}", self.condition()));
            }
            if overdue {
                self.now = self.now.plus_ms(20);
            }
            self.now = self.now.max(wake.at);
            self.step(vec![Event::Ticked])?;
        }
        Err(format!("not settled after {ROUNDS_MAX} rounds: {}", self.condition()))
    }

    /// What keeps it from being settled, in words.
    fn condition(&self) -> String {
        let (now, wake, dirty) = (self.now, self.wake_at, self.controller.desired().dirty());
        let trouble = self.controller.checkpoint().map(|c| format!("{c:?}")).unwrap_or_default();
        let trouble = trouble.rsplit_once("doubt: ").map_or("", |(_, rest)| rest);
        format!("{now:?}, {wake:?}, dirty {dirty:?}, doubt {trouble}")
    }

    /// Answers open actions truthfully until there are none, without letting time pass.
    ///
    /// # Errors
    /// A broken invariant, or that it never ends.
    pub fn answer_all(&mut self) -> Verdict {
        for _ in 0..ROUNDS_MAX {
            if self.runtime.is_empty() && self.files.is_empty() && self.trials.is_empty() {
                return Ok(());
            }
            self.answer(Lane::Trial, Fate::Done)?;
            self.answer(Lane::Runtime, Fate::Done)?;
            self.answer(Lane::Files, Fate::Done)?;
        }
        Err("every answer leads to another action".to_owned())
    }

    /// Where each probe is wanted to go now; nothing when nobody asks.
    fn wanted(&self) -> Vec<Answer> {
        if self.watch.gaps {
            answers_of_image(self.controller.desired().image())
        } else {
            Vec::new()
        }
    }

    fn queue(&mut self, lane: Lane) -> &mut VecDeque<Open> {
        match lane {
            Lane::Files => &mut self.files,
            Lane::Trial => &mut self.trials,
            Lane::Runtime | Lane::Source | Lane::Cluster => &mut self.runtime,
        }
    }

    fn run(&mut self, lane: Lane, fate: Fate) -> Verdict {
        let Some(Open::Waiting(action, then)) = self.queue(lane).front().cloned() else {
            return Ok(());
        };
        let (events, ack) = self.perform(&action, &then, fate)?;
        if let Some(front) = self.queue(lane).front_mut() {
            *front = Open::Answered(events, ack);
        }
        Ok(())
    }

    fn answer(&mut self, lane: Lane, fate: Fate) -> Verdict {
        self.was_rough |= !matches!(fate, Fate::Done | Fate::Twice);
        self.run(lane, fate)?;
        let Some(Open::Answered(mut events, mut ack)) = self.queue(lane).pop_front() else {
            return Ok(());
        };
        if matches!(fate, Fate::Unknown(_)) {
            // A reload whose outcome is unknown may have happened: its worker is seen, not acked.
            ack.outcomes.fill(Outcome::Unknown);
            events.retain(|e| !matches!(e, Event::Observed { .. }));
            if let Some(worker) = ack.worker.take() {
                events.push(Event::WorkerSeen(worker));
            }
        }
        if fate == Fate::Twice {
            events.push(Event::Acked(ack.clone()));
        }
        events.push(Event::Acked(ack));
        self.step(events)
    }
}
