//! A state of the small world, and how it goes on: a controller, a worker, the files, what is open
//! between them, and what may still happen.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use tidegate_core::action::{Action, ActionBody, Lane, RuntimeCommand};
use tidegate_core::controller::{Controller, Step};
use tidegate_core::event::{Ack, Event, Outcome, WorkerId};
use tidegate_core::time::{Time, WakeAt};

use super::judge::{self, Broken};
use super::lab::{Files, Lab, Memory};
use super::moves::{Budget, Move};
use super::world::{self, FIRST, OBJECTS, View};
use crate::hash::Hash128;

/// Nothing is waited for longer than that, in milliseconds.
const WAIT_MAX_MS: u64 = 600_000;

/// An action under way.
#[derive(Clone, Debug)]
enum Open {
    /// With what was known when it was sent.
    Sent(Action, View),
    Answered(Vec<Event>, Ack),
}

/// A state.
#[derive(Clone)]
pub struct State {
    /// The controller.
    pub controller: Controller,
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
    now: Time,
    wake: Option<WakeAt>,
    runtime: VecDeque<Open>,
    slow: VecDeque<Open>,
    next_worker: u64,
}

impl State {
    /// A controller that was told everything, and no worker yet.
    ///
    /// # Errors
    /// A broken promise.
    pub fn first(lab: &Lab, budget: Budget) -> Result<State, Broken> {
        let mut state = State {
            controller: Controller::new(lab.settings.clone(), Time(0)),
            memory: None,
            files: None,
            view: FIRST,
            allowed: [0; world::PROBES.len()],
            guarded: [true; world::PROBES.len()],
            budget,
            now: Time(0),
            wake: None,
            runtime: VecDeque::new(),
            slow: VecDeque::new(),
            next_worker: 1,
        };
        state.remember(lab);
        let mut events = vec![Event::ProxyFound(lab.capabilities.clone())];
        events.extend(world::lists(&FIRST));
        state.step(lab, events)?;
        Ok(state)
    }

    /// A hash of everything that decides what can happen and how it is judged.
    #[must_use]
    pub fn hash(&self) -> u128 {
        let State {
            controller,
            memory,
            files,
            view,
            allowed,
            guarded,
            budget,
            now,
            wake,
            runtime,
            slow,
            next_worker: _,
        } = self;
        let mut hasher = Hash128::default();
        controller.fingerprint(&mut hasher);
        (memory.as_ref().map(|(_, m)| m.hash), files.as_ref().map(|f| f.hash)).hash(&mut hasher);
        (view, allowed, guarded, budget).hash(&mut hasher);
        wake.map(|w| (w.at.since_ms(*now), w.reason as u8)).hash(&mut hasher);
        for lane in [runtime, slow] {
            hasher.write_usize(lane.len());
            for open in lane {
                self.hash_open(open, &mut hasher);
            }
        }
        hasher.finish128()
    }

    fn hash_open(&self, open: &Open, hasher: &mut Hash128) {
        let current = |worker: &WorkerId| self.memory.as_ref().is_some_and(|(id, _)| id == worker);
        match open {
            Open::Sent(action, view) => {
                (1_u8, view).hash(hasher);
                match &action.body {
                    ActionBody::Runtime { worker, commands } => {
                        (1_u8, current(worker), commands).hash(hasher);
                    }
                    ActionBody::ReadBack { worker } => (2_u8, current(worker)).hash(hasher),
                    ActionBody::Save { .. } => hasher.write_u8(3),
                    ActionBody::Reload { .. } => hasher.write_u8(4),
                    ActionBody::Check { .. } => hasher.write_u8(5),
                    ActionBody::ResolveNames { .. }
                    | ActionBody::FollowSecrets { .. }
                    | ActionBody::Relist { .. }
                    | ActionBody::CheckSnippet { .. }
                    | ActionBody::Tell(_) => hasher.write_u8(6),
                }
            }
            Open::Answered(events, Ack { id: _, outcomes, worker }) => {
                (2_u8, worker.as_ref().map(current), outcomes.len()).hash(hasher);
                for outcome in outcomes {
                    match outcome {
                        Outcome::Done => hasher.write_u8(1),
                        Outcome::Refused(why) => why.hash(hasher),
                        Outcome::Unknown => hasher.write_u8(3),
                    }
                }
                // What was read back is the memory of some moment: its content counts.
                for event in events {
                    if let Event::Observed { worker, state } = event {
                        current(worker).hash(hasher);
                        hash_debug(state, hasher);
                    }
                }
            }
        }
    }

    /// Whether nothing is open and nothing is waited for.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.runtime.is_empty()
            && self.slow.is_empty()
            && self.wake.is_none()
            && self.controller.is_quiet()
    }

    /// Whether the controller was told every answer, so that its belief counts.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let answered = |o: &Open| matches!(o, Open::Answered(..));
        !self.runtime.iter().chain(&self.slow).any(answered)
    }

    /// The move by which things go on without anything unforeseen; `None` when all is quiet.
    #[must_use]
    pub fn calm_move(&self) -> Option<Move> {
        for lane in [Lane::Runtime, Lane::Files] {
            match self.lane(lane).front() {
                Some(Open::Answered(..)) => return Some(Move::Answer(lane)),
                Some(Open::Sent(..)) => return Some(Move::Run(lane)),
                None => {}
            }
        }
        self.wake.map(|_| Move::Wake)
    }

    /// Everything that can happen next.
    #[must_use]
    pub fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        let Budget { changes, losses, crashes } = self.budget;
        for lane in [Lane::Runtime, Lane::Files] {
            match self.lane(lane).front() {
                Some(Open::Answered(..)) => moves.push(Move::Answer(lane)),
                Some(Open::Sent(action, _)) => {
                    moves.push(Move::Run(lane));
                    if losses > 0 {
                        let most = parts(action);
                        moves.extend((0..=most).map(|done| Move::Lose(lane, done)));
                    }
                }
                None => {}
            }
        }
        if self.wake.is_some() {
            moves.push(Move::Wake);
        }
        if self.memory.is_none() && self.files.is_some() {
            moves.push(Move::WorkerStarts);
        }
        if crashes > 0 && self.memory.is_some() {
            moves.push(Move::WorkerDies);
            let commands = match self.runtime.front() {
                Some(Open::Sent(action, _)) => parts(action),
                _ => 0,
            };
            let writes = matches!(self.slow.front(), Some(Open::Sent(..)));
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

    fn lane(&self, lane: Lane) -> &VecDeque<Open> {
        if lane == Lane::Files { &self.slow } else { &self.runtime }
    }

    fn lane_mut(&mut self, lane: Lane) -> &mut VecDeque<Open> {
        if lane == Lane::Files { &mut self.slow } else { &mut self.runtime }
    }

    /// Makes a move, and judges everything on the way.
    ///
    /// # Errors
    /// A broken promise.
    pub fn make(&mut self, lab: &Lab, next: Move) -> Result<(), Broken> {
        match next {
            Move::Change(object, version) => {
                let object = usize::from(object);
                if let Some(known) = self.view.get_mut(object) {
                    *known = version;
                }
                self.budget.changes -= 1;
                self.remember(lab);
                self.step(lab, vec![world::event(object, version)])
            }
            Move::Run(lane) => self.run(lab, lane, u8::MAX, false),
            Move::Answer(lane) => {
                let Some(Open::Answered(mut events, ack)) = self.lane_mut(lane).pop_front() else {
                    return Ok(());
                };
                events.push(Event::Acked(ack));
                self.step(lab, events)
            }
            Move::Lose(lane, done) => {
                self.budget.losses -= 1;
                self.run(lab, lane, done, true)?;
                self.make(lab, Move::Answer(lane))
            }
            Move::Wake => {
                if let Some(wake) = self.wake {
                    self.now = wake.at;
                }
                self.step(lab, vec![Event::Ticked])
            }
            Move::WorkerDies => {
                self.budget.crashes -= 1;
                let Some((id, _)) = self.memory.take() else { return Ok(()) };
                self.forget_what_was_answered(lab, id)
            }
            Move::WorkerStarts => {
                let Some(files) = self.files.clone() else { return Ok(()) };
                let memory = lab
                    .start(&files)
                    .map_err(|why| Broken::new("S6", format!("the files do not load: {why}")))?;
                let id = self.new_worker(memory);
                self.step(lab, vec![Event::WorkerSeen(id)])
            }
            Move::ControllerDies(done, written) => {
                self.budget.crashes -= 1;
                if matches!(self.runtime.front(), Some(Open::Sent(..))) {
                    self.run(lab, Lane::Runtime, done, true)?;
                }
                if written && matches!(self.slow.front(), Some(Open::Sent(..))) {
                    self.run(lab, Lane::Files, 1, true)?;
                }
                self.runtime.clear();
                self.slow.clear();
                self.controller = Controller::new(lab.settings.clone(), self.now);
                let mut events = vec![Event::ProxyFound(lab.capabilities.clone())];
                events.extend(self.memory.as_ref().map(|(id, _)| Event::WorkerSeen(*id)));
                events.extend(world::lists(&self.view));
                self.step(lab, events)
            }
        }
    }

    /// A worker is gone: the adapter tells that a worker came before it tells that one went, and
    /// what was sent to it is answered with `Unknown`.
    fn forget_what_was_answered(&mut self, lab: &Lab, id: WorkerId) -> Result<(), Broken> {
        let mut events = Vec::new();
        if matches!(self.slow.front(), Some(Open::Answered(..)))
            && let Some(Open::Answered(answered, ack)) = self.slow.pop_front()
        {
            events = answered;
            events.push(Event::Acked(ack));
        }
        events.push(Event::WorkerLost(id));
        self.step(lab, events)
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

    fn step(&mut self, lab: &Lab, events: Vec<Event>) -> Result<(), Broken> {
        let Step { actions, wake_at, .. } = self.controller.step(self.now, events);
        if let Some(wake) = wake_at.filter(|w| w.at <= self.now) {
            return Err(Broken::new("I11", format!("asks to be woken in the past: {wake:?}")));
        }
        if let Some(wake) = wake_at.filter(|w| w.at.since_ms(self.now) > WAIT_MAX_MS) {
            return Err(Broken::new("L1", format!("waits for ever: {wake:?}")));
        }
        self.wake = wake_at;
        for action in actions {
            judge::action(lab, self, &action)?;
            let lane = action.body.lane();
            if matches!(lane, Lane::Runtime | Lane::Files) {
                let open = Open::Sent(action, self.view);
                self.lane_mut(lane).push_back(open);
            }
        }
        if self.is_quiet() {
            let wanted = lab.wanted(&self.view);
            self.allowed = [0; world::PROBES.len()];
            self.guarded = [true; world::PROBES.len()];
            self.remember(lab);
            judge::quiet(lab, self, &wanted)?;
        }
        judge::belief(self)
    }

    /// Carries out the open action of a lane, as far as `done`.
    fn run(&mut self, lab: &Lab, lane: Lane, done: u8, lost: bool) -> Result<(), Broken> {
        let Some(Open::Sent(action, view)) = self.lane_mut(lane).pop_front() else {
            return Ok(());
        };
        let mut events = Vec::new();
        let mut worker = None;
        let outcomes = match &action.body {
            ActionBody::Runtime { worker, commands } => {
                self.execute(lab, *worker, commands, &view, done)?
            }
            ActionBody::ReadBack { worker } => match &self.memory {
                Some((id, memory)) if id == worker && !lost => {
                    let mut state = Box::new(memory.haproxy.observed());
                    state.saved = self.files.as_ref().map(|f| f.digest);
                    events.push(Event::Observed { worker: *id, state });
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
                            judge::reload(lab, self, before.map(|(_, m)| m), &view)?;
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
        self.lane_mut(lane).push_front(Open::Answered(events, ack));
        Ok(())
    }

    fn execute(
        &mut self,
        lab: &Lab,
        to: WorkerId,
        commands: &[RuntimeCommand],
        then: &View,
        done: u8,
    ) -> Result<Vec<Outcome>, Broken> {
        let mut outcomes = vec![Outcome::Unknown; commands.len()];
        if self.memory.as_ref().is_none_or(|(id, _)| *id != to) {
            return Ok(outcomes);
        }
        let mut judge = judge::Prefix::new(lab, self, then);
        let Some((_, memory)) = &mut self.memory else { return Ok(outcomes) };
        for (command, outcome) in commands.iter().zip(&mut outcomes).take(usize::from(done)) {
            *outcome = match Arc::make_mut(&mut memory.haproxy).execute(command) {
                Ok(()) => Outcome::Done,
                Err(why) => Outcome::Refused(why.into()),
            };
            judge.after(command, outcome, &memory.haproxy)?;
        }
        memory.rehash();
        Ok(outcomes)
    }

    /// Tells everything once more; gives how many actions follow.
    #[must_use]
    pub fn actions_of_a_relist(&self) -> usize {
        let mut controller = self.controller.clone();
        let step = controller.step(self.now, world::lists(&self.view));
        step.actions.len() + usize::from(step.wake_at.is_some())
    }
}

/// In how many parts an action can be carried out.
fn parts(action: &Action) -> u8 {
    match &action.body {
        ActionBody::Runtime { commands, .. } => commands.len().min(250) as u8,
        ActionBody::ReadBack { .. } => 0,
        ActionBody::Save { .. } | ActionBody::Reload { .. } => 1,
        ActionBody::Check { .. }
        | ActionBody::CheckSnippet { .. }
        | ActionBody::ResolveNames { .. }
        | ActionBody::FollowSecrets { .. }
        | ActionBody::Relist { .. }
        | ActionBody::Tell(_) => 0,
    }
}

/// Feeds what has no `Hash`.
fn hash_debug(thing: &impl std::fmt::Debug, hasher: &mut Hash128) {
    struct Feed<'a>(&'a mut Hash128);
    impl std::fmt::Write for Feed<'_> {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    // Feeding cannot fail.
    let _ = std::fmt::write(&mut Feed(hasher), format_args!("{thing:?}"));
}
