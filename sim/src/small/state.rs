//! A state of the small world, and how it goes on: a controller, a worker, the files, what is open
//! between them, and what may still happen. States share what did not change between them.

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;

use tidegate_core::action::{ActionBody, Lane, RuntimeCommand};
use tidegate_core::controller::Controller;
use tidegate_core::event::{Ack, Event, Outcome, WorkerId};
use tidegate_core::time::Time;

use super::flight::{Flight, Open};
use super::judge::{self, Broken};
use super::lab::{Files, Lab, Memory};
use super::moves::{Budget, Move};
use super::stepped::{Led, Stepped};
use super::world::{self, FIRST, OBJECTS, View};
use crate::hash::Hash128;

/// Nothing is waited for longer than that, in milliseconds.
const WAIT_MAX_MS: u64 = 600_000;

/// A state.
#[derive(Clone)]
pub struct State {
    stepped: Arc<Stepped>,
    /// The worker, if one runs.
    pub memory: Option<(WorkerId, Memory)>,
    /// What a start loads.
    pub files: Option<Files>,
    /// What the controller was told.
    pub view: View,
    /// Services that each probe may have met since all was quiet, as bits; 4 for none.
    pub allowed: [u8; world::PROBES.len()],
    /// Whether each probe was to be guarded ever since all was quiet.
    pub guarded: [bool; world::PROBES.len()],
    /// What may still happen.
    pub budget: Budget,
    runtime: VecDeque<Arc<Flight>>,
    slow: VecDeque<Arc<Flight>>,
    next_worker: u64,
}

impl State {
    /// A controller that was told everything, and no worker yet.
    ///
    /// # Errors
    /// A broken promise.
    pub fn first(lab: &Lab, budget: Budget) -> Result<State, Broken> {
        let begun = lab.begun(&FIRST, Time(0), None);
        let mut state = State {
            stepped: begun.to.clone(),
            memory: None,
            files: None,
            view: FIRST,
            allowed: [0; world::PROBES.len()],
            guarded: [true; world::PROBES.len()],
            budget,
            runtime: VecDeque::new(),
            slow: VecDeque::new(),
            next_worker: 1,
        };
        state.remember(lab);
        state.follow(lab, &begun)?;
        Ok(state)
    }

    /// The controller.
    #[must_use]
    pub fn controller(&self) -> &Controller {
        &self.stepped.controller
    }

    /// A hash of everything that decides what can happen and how it is judged.
    #[must_use]
    pub fn hash(&self) -> u128 {
        let State {
            stepped,
            memory,
            files,
            view,
            allowed,
            guarded,
            budget,
            runtime,
            slow,
            next_worker: _,
        } = self;
        let mut hasher = Hash128::default();
        stepped.hash.hash(&mut hasher);
        (memory.as_ref().map(|(_, m)| m.hash), files.as_ref().map(|f| f.hash)).hash(&mut hasher);
        (view, allowed, guarded, budget).hash(&mut hasher);
        let current = memory.as_ref().map(|(id, _)| *id);
        for lane in [runtime, slow] {
            lane.len().hash(&mut hasher);
            for flight in lane {
                flight.hash(current, &mut hasher);
            }
        }
        hasher.finish128()
    }

    /// Whether nothing is open and nothing is waited for.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.runtime.is_empty() && self.slow.is_empty() && self.stepped.is_quiet
    }

    /// Whether the controller was told every answer, so that its belief counts.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.runtime.iter().chain(&self.slow).all(|flight| flight.is_sent())
    }

    /// The move by which things go on without anything unforeseen; `None` when all is quiet.
    #[must_use]
    pub fn calm_move(&self) -> Option<Move> {
        for lane in [Lane::Runtime, Lane::Files] {
            match self.lane(lane).front() {
                Some(flight) if flight.is_sent() => return Some(Move::Run(lane)),
                Some(_) => return Some(Move::Answer(lane)),
                None => {}
            }
        }
        self.stepped.wake.map(|_| Move::Wake)
    }

    /// Everything that can happen next.
    #[must_use]
    pub fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        let Budget { changes, losses, crashes } = self.budget;
        for lane in [Lane::Runtime, Lane::Files] {
            match self.lane(lane).front() {
                Some(flight) if flight.is_sent() => {
                    moves.push(Move::Run(lane));
                    if losses > 0 {
                        let most = flight.parts();
                        moves.extend((0..=most).map(|done| Move::Lose(lane, done)));
                    }
                }
                Some(_) => moves.push(Move::Answer(lane)),
                None => {}
            }
        }
        if self.stepped.wake.is_some() {
            moves.push(Move::Wake);
        }
        if self.memory.is_none() && self.files.is_some() {
            moves.push(Move::WorkerStarts);
        }
        if crashes > 0 && self.memory.is_some() {
            moves.push(Move::WorkerDies);
            let commands = self.runtime.front().map_or(0, |flight| flight.parts());
            let writes = self.slow.front().is_some_and(|flight| flight.is_sent());
            for done in 0..=commands {
                moves.push(Move::ControllerDies(done, false));
                if writes {
                    moves.push(Move::ControllerDies(done, true));
                }
            }
        }
        if changes > 0 {
            for object in 0..OBJECTS {
                let others = 0..world::versions(object);
                let others = others.filter(|v| self.view.get(object) != Some(v));
                moves.extend(others.map(|version| Move::Change(object as u8, version)));
            }
        }
        moves
    }

    fn lane(&self, lane: Lane) -> &VecDeque<Arc<Flight>> {
        if lane == Lane::Files { &self.slow } else { &self.runtime }
    }

    fn lane_mut(&mut self, lane: Lane) -> &mut VecDeque<Arc<Flight>> {
        if lane == Lane::Files { &mut self.slow } else { &mut self.runtime }
    }

    /// Makes a move, and judges everything on the way.
    ///
    /// # Errors
    /// A broken promise.
    pub fn make(&mut self, lab: &Lab, next: Move) -> Result<(), Broken> {
        let now = self.stepped.now;
        match next {
            Move::Change(object, version) => {
                let object = usize::from(object);
                if let Some(known) = self.view.get_mut(object) {
                    *known = version;
                }
                self.budget.changes -= 1;
                self.remember(lab);
                self.step(lab, now, vec![world::event(object, version)])
            }
            Move::Run(lane) => self.run(lab, lane, u8::MAX, false),
            Move::Answer(lane) => {
                let events = self.take_answer(lane);
                self.step(lab, now, events)
            }
            Move::Lose(lane, done) => {
                self.budget.losses -= 1;
                self.run(lab, lane, done, true)?;
                self.make(lab, Move::Answer(lane))
            }
            Move::Wake => {
                let at = self.stepped.wake.map_or(now, |wake| wake.at);
                self.step(lab, at, vec![Event::Ticked])
            }
            Move::WorkerDies => {
                self.budget.crashes -= 1;
                let Some((id, _)) = self.memory.take() else { return Ok(()) };
                // The adapter tells that a worker came before it tells that one went, and what was
                // sent to it is answered with `Unknown`.
                let mut events = self.take_answer(Lane::Files);
                events.push(Event::WorkerLost(id));
                self.step(lab, now, events)
            }
            Move::WorkerStarts => {
                let Some(files) = self.files.clone() else { return Ok(()) };
                let memory = lab
                    .start(&files)
                    .map_err(|why| Broken::new("S6", format!("the files do not load: {why}")))?;
                let id = self.new_worker(memory);
                self.step(lab, now, vec![Event::WorkerSeen(id)])
            }
            Move::ControllerDies(done, written) => {
                self.budget.crashes -= 1;
                self.run(lab, Lane::Runtime, done, true)?;
                if written {
                    self.run(lab, Lane::Files, 1, true)?;
                }
                self.runtime.clear();
                self.slow.clear();
                let worker = self.memory.as_ref().map(|(id, _)| *id);
                let led = lab.begun(&self.view, now, worker);
                self.follow(lab, &led)
            }
        }
    }

    /// The events of an answer that is under way; none if there is none.
    fn take_answer(&mut self, lane: Lane) -> Vec<Event> {
        let flights = self.lane_mut(lane);
        let Some(Open::Answered(events, ack)) = flights.front().map(|flight| &flight.open) else {
            return Vec::new();
        };
        let mut events = events.clone();
        events.push(Event::Acked(ack.clone()));
        flights.pop_front();
        events
    }

    fn new_worker(&mut self, memory: Memory) -> WorkerId {
        let id = WorkerId(self.next_worker);
        self.next_worker += 1;
        self.memory = Some((id, memory));
        id
    }

    /// The probes' history: what they may have met since all was quiet.
    fn remember(&mut self, lab: &Lab) {
        let wanted = lab.wanted(&self.view);
        for (at, answer) in wanted.answers.iter().enumerate() {
            self.allowed[at] |= judge::services(answer);
            self.guarded[at] &= wanted.guarded[at];
        }
    }

    fn step(&mut self, lab: &Lab, now: Time, events: Vec<Event>) -> Result<(), Broken> {
        let led = Led::by(self.stepped.controller.clone(), now, events, self.view);
        self.follow(lab, &led)
    }

    fn follow(&mut self, lab: &Lab, led: &Led) -> Result<(), Broken> {
        let Stepped { now, wake, .. } = *led.to;
        if let Some(wake) = wake.filter(|w| w.at <= now) {
            return Err(Broken::new("I11", format!("asks to be woken in the past: {wake:?}")));
        }
        if let Some(wake) = wake.filter(|w| w.at.since_ms(now) > WAIT_MAX_MS) {
            return Err(Broken::new("L1", format!("waits for ever: {wake:?}")));
        }
        self.stepped = led.to.clone();
        for (lane, flight) in &led.sent {
            if let Open::Sent(action, _) = &flight.open {
                judge::action(lab, self, action)?;
            }
            self.lane_mut(*lane).push_back(flight.clone());
        }
        if self.is_quiet() {
            self.allowed = [0; world::PROBES.len()];
            self.guarded = [true; world::PROBES.len()];
            self.remember(lab);
        }
        Ok(())
    }

    /// Carries out the open action of a lane, as far as `done`.
    fn run(&mut self, lab: &Lab, lane: Lane, done: u8, lost: bool) -> Result<(), Broken> {
        let Some(flight) = self.lane(lane).front().cloned() else { return Ok(()) };
        let Open::Sent(action, view) = &flight.open else { return Ok(()) };
        self.lane_mut(lane).pop_front();
        let mut events = Vec::new();
        let (mut worker, mut observed) = (None, None);
        let outcomes = match &action.body {
            ActionBody::Runtime { worker, commands } => {
                self.execute(lab, &flight, *worker, commands, view, done)?
            }
            ActionBody::ReadBack { worker } => match &self.memory {
                Some((id, memory)) if id == worker && !lost => {
                    let saved = self.files.as_ref().map(|f| f.digest);
                    let seen = lab.observed(memory, saved);
                    let state = Box::new(seen.state.clone());
                    events.push(Event::Observed { worker: *id, state });
                    observed = Some(seen.hash);
                    vec![Outcome::Done]
                }
                _ => vec![Outcome::Unknown],
            },
            ActionBody::Save { image } => {
                if done > 0 {
                    self.files = Some(lab.files(image));
                }
                vec![Outcome::Done]
            }
            ActionBody::Reload { image, .. } => {
                if done > 0 {
                    let files = lab.files(image);
                    match lab.start(&files) {
                        Ok(memory) => {
                            self.files = Some(files);
                            let before = self.memory.take();
                            let id = self.new_worker(memory);
                            worker = Some(id);
                            judge::reload(lab, self, before.map(|(_, m)| m), view)?;
                            vec![Outcome::Done]
                        }
                        Err(why) => return Err(Broken::new("S10", format!("refused: {why}"))),
                    }
                } else {
                    vec![Outcome::Done]
                }
            }
            ActionBody::Check { .. } | ActionBody::CheckSnippet { .. } => vec![Outcome::Done],
            ActionBody::ResolveNames { .. }
            | ActionBody::FollowSecrets { .. }
            | ActionBody::Relist { .. }
            | ActionBody::Tell(_) => vec![],
        };
        let mut ack = Ack { id: action.id, outcomes, worker };
        if lost {
            ack.outcomes.fill(Outcome::Unknown);
            // The adapter finds the worker by itself.
            events.extend(ack.worker.take().map(Event::WorkerSeen));
        }
        self.lane_mut(lane).push_front(Arc::new(Flight::answered(events, ack, observed)));
        Ok(())
    }

    fn execute(
        &mut self,
        lab: &Lab,
        flight: &Flight,
        to: WorkerId,
        commands: &[RuntimeCommand],
        then: &View,
        done: u8,
    ) -> Result<Vec<Outcome>, Broken> {
        let mut outcomes = vec![Outcome::Unknown; commands.len()];
        let Some((_, memory)) = self.memory.as_ref().filter(|(id, _)| *id == to) else {
            return Ok(outcomes);
        };
        let mut haproxy = memory.haproxy.clone();
        let awaits_reload = judge::awaits_reload(lab, self, &haproxy);
        // All that decides what becomes of them, and how that is judged.
        let mut hasher = Hash128::default();
        let done = usize::from(done).min(commands.len());
        (memory.hash, flight.content, done, self.view).hash(&mut hasher);
        (self.allowed, self.guarded, awaits_reload).hash(&mut hasher);
        let key = hasher.finish128();
        if let Some((memory, outcomes)) = lab.executed(key) {
            self.memory = Some((to, memory));
            return Ok(outcomes);
        }
        let mut judge = judge::Prefix::new(lab, self, &haproxy, then, awaits_reload);
        for (command, outcome) in commands.iter().zip(&mut outcomes).take(done) {
            *outcome = match Arc::make_mut(&mut haproxy).execute(command) {
                Ok(()) => Outcome::Done,
                Err(why) => Outcome::Refused(why.into()),
            };
            judge.after(command, outcome, &haproxy)?;
        }
        let memory = lab.memory(haproxy);
        lab.keep_executed(key, (memory.clone(), outcomes.clone()));
        self.memory = Some((to, memory));
        Ok(outcomes)
    }

    /// Tells everything once more; gives how many actions follow.
    #[must_use]
    pub fn actions_of_a_relist(&self) -> usize {
        let mut controller = self.stepped.controller.clone();
        let step = controller.step(self.stepped.now, world::lists(&self.view));
        step.actions.len() + usize::from(step.wake_at.is_some())
    }
}
