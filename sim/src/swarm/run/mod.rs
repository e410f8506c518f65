//! A run: a controller, a worker and a cluster through a schedule, event by event. Nothing here is
//! left to chance: the same schedule gives the same run.

mod faults;
mod haproxy;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher as _;
use std::sync::Arc;

use tidegate_core::action::{Action, ActionBody, Lane};
use tidegate_core::capability::Capabilities;
use tidegate_core::controller::{Controller, Step};
use tidegate_core::desired::Image;
use tidegate_core::event::{Event, WorkerId};
use tidegate_core::sabotage::{Mistake, is_planted};
use tidegate_core::settings::Settings;
use tidegate_core::time::Time;

use crate::hash::Hash128;
use crate::model::haproxy::Haproxy;
use crate::swarm::cluster::Cluster;
use crate::swarm::judge::{self, Broken};
use crate::swarm::schedule::{Entry, Fault, What};

/// How long things take without faults, in milliseconds.
const COMMANDS_MS: u64 = 2;
const READ_BACK_MS: u64 = 4;
const SAVE_MS: u64 = 15;
const RELOAD_MS: u64 = 250;
const RETURN_MS: u64 = 40;
/// How long what was wanted is remembered: longer than anything may be held up.
const MEMORY_MS: u64 = 240_000;

/// Something that will happen at a time.
#[derive(Clone, Debug)]
enum Due {
    Entry(usize),
    Done(Lane, u64),
    Wake(u64),
    WorkerReturns,
    Back(bool),
}

/// An action under way.
#[derive(Clone, Debug)]
struct Flight {
    action: Action,
    /// Instances of a controller that are gone get no answers.
    life: u64,
}

/// A worker.
#[derive(Clone)]
pub struct Worker {
    /// Its number.
    pub id: WorkerId,
    /// Its memory.
    pub memory: Arc<Haproxy>,
}

/// What a run amounts to.
#[derive(Clone, Debug, Default)]
pub struct Outcomes {
    /// The first promise that does not hold.
    pub broken: Option<Broken>,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// Steps of the controller.
    pub steps: u64,
    /// Reloads.
    pub reloads: u64,
    /// Runtime commands carried out.
    pub commands: u64,
    /// Host-milliseconds in which a request's fate was judged, and all.
    pub judged: (u64, u64),
    /// Situations that were reached, and how often.
    pub sometimes: BTreeMap<&'static str, u64>,
    /// (fault, phase, promise judged meanwhile).
    pub cells: BTreeSet<(&'static str, &'static str, &'static str)>,
    /// Hash over every step's actions.
    pub chain: u128,
    /// Hash over everything that became true in the cluster, and when. Whatever tidegate does, it
    /// is the same for a schedule.
    pub truth: u128,
    /// What happened, for people: time, row, words.
    pub trace: Vec<(u64, &'static str, String)>,
}

/// A run in progress.
pub struct Run<'a> {
    entries: &'a [Entry],
    settings: Settings,
    /// What HAProxy can do.
    pub capabilities: Capabilities,
    /// The cluster.
    pub cluster: Cluster,
    /// The controller.
    pub controller: Controller,
    /// The worker, while one runs.
    pub worker: Option<Worker>,
    /// What was saved.
    pub files: Option<Arc<Image>>,
    /// The memory when all was quiet last: what a controller that does nothing would still have.
    pub frozen: Option<Arc<Haproxy>>,
    /// Now.
    pub now: u64,
    /// Until when each kind of fault may show.
    pub shaken: BTreeMap<&'static str, u64>,
    /// Kinds of faults that may have shown since all was quiet last.
    pub shown: BTreeSet<&'static str>,
    /// What is collected.
    pub out: Outcomes,
    /// Whether the promise that cannot be kept is judged.
    pub canary: bool,
    /// Whether words are kept.
    traces: bool,
    life: u64,
    lanes: BTreeMap<Lane, Vec<Flight>>,
    queue: BTreeMap<(u64, u64), Due>,
    next: u64,
    next_worker: u64,
    armed: Vec<Fault>,
    blind: bool,
    /// When the controller died while nothing was told, and when the next one was told something.
    pub bereft: Option<(u64, Option<u64>)>,
    /// Reloads that faults slowed down or made fail, one soon after the other: from when to when.
    held_up: Option<(u64, u64)>,
    next_flight: u64,
}

/// Runs a schedule to its end, or to the first broken promise.
#[must_use]
pub fn run(entries: &[Entry], capabilities: &Capabilities, traces: bool) -> Outcomes {
    let mut settings = Settings::documented("/tmp/tidegate-sim");
    settings.limits.backends_per_plan_max = 100;
    let mut run = Run {
        entries,
        capabilities: capabilities.clone(),
        cluster: Cluster::new(settings.clone()),
        controller: Controller::new(settings.clone(), Time(0)),
        settings,
        worker: None,
        files: None,
        frozen: None,
        now: 0,
        shaken: BTreeMap::new(),
        shown: BTreeSet::new(),
        out: Outcomes::default(),
        canary: false,
        traces,
        life: 0,
        lanes: BTreeMap::new(),
        queue: BTreeMap::new(),
        next: 0,
        next_worker: 1,
        armed: Vec::new(),
        blind: false,
        bereft: None,
        held_up: None,
        next_flight: 0,
    };
    run.cluster.memory_ms = MEMORY_MS;
    for (number, entry) in entries.iter().enumerate() {
        run.push(entry.at_ms + 1, Due::Entry(number));
    }
    let outcome = run.go();
    run.out.broken = outcome.err();
    run.out.simulated_ms = run.now;
    run.out
}

/// Makes the hash over a run's steps one of a named run. These can be added up in any order, so that
/// one number stands for many runs.
#[must_use]
pub fn named_chain(name: &str, chain: u128) -> u128 {
    let mut hasher = Hash128::default();
    hasher.write(name.as_bytes());
    hasher.write(&chain.to_le_bytes());
    hasher.finish128()
}

/// Whether the alarm goes off: of a run in which a promise is judged that nobody can keep, nothing
/// else may come.
///
/// # Errors
/// What came instead.
pub fn try_alarm(entries: &[Entry], capabilities: &Capabilities) -> Result<(), String> {
    let mut entries = entries.to_vec();
    let middle = entries.len() / 2;
    let at_ms = entries.get(middle).map_or(0, |entry| entry.at_ms);
    entries.insert(middle, Entry { at_ms, what: What::Canary });
    match run(&entries, capabilities, false).broken {
        Some(broken) if broken.property == "canary" => Ok(()),
        other => Err(format!("a promise that nobody can keep was judged, and it came {other:?}")),
    }
}

impl Run<'_> {
    fn push(&mut self, at: u64, due: Due) {
        self.queue.insert((at, self.next), due);
        self.next += 1;
    }

    fn note(&mut self, row: &'static str, words: impl FnOnce() -> String) {
        if self.traces {
            self.out.trace.push((self.now, row, words()));
        }
    }

    /// Counts a situation.
    pub fn sometimes(&mut self, what: &'static str) {
        *self.out.sometimes.entry(what).or_insert(0) += 1;
    }

    fn go(&mut self) -> Result<(), Broken> {
        let mut events = vec![Event::ProxyFound(self.capabilities.clone())];
        events.extend(self.cluster.lists(0));
        self.step(events)?;
        while let Some(((at, _), due)) = self.queue.pop_first() {
            let last = matches!(due, Due::Wake(_)) && !self.more_to_come();
            if last {
                break;
            }
            judge::pass(self, at);
            self.now = at;
            match due {
                Due::Entry(number) => self.entry(number)?,
                Due::Done(lane, id) => self.done(lane, id)?,
                Due::Wake(life) => {
                    if life == self.life_of_wake() {
                        self.step(vec![Event::Ticked])?;
                    }
                }
                Due::WorkerReturns => self.worker_returns()?,
                Due::Back(lists) => self.back(lists)?,
            }
            judge::look(self)?;
        }
        Ok(())
    }

    /// Whether the schedule or an action is not over.
    fn more_to_come(&self) -> bool {
        self.queue.values().any(|due| !matches!(due, Due::Wake(_)))
    }

    fn life_of_wake(&self) -> u64 {
        self.out.steps
    }

    fn step(&mut self, events: Vec<Event>) -> Result<(), Broken> {
        let Step { actions, wake_at, .. } = self.controller.step(Time(self.now), events);
        self.out.steps += 1;
        let mut hasher = Hash128::default();
        hasher.write(&self.out.chain.to_le_bytes());
        hasher.write(format!("{} {actions:?} {wake_at:?}", self.now).as_bytes());
        self.out.chain = hasher.finish128();
        if let Some(wake) = wake_at {
            let at = wake.at.0.max(self.now + 1);
            if at > self.now + 600_000 {
                return Err(Broken::new("L1", format!("waits for ever: {wake:?}")));
            }
            let steps = self.out.steps;
            self.push(at, Due::Wake(steps));
        }
        for action in actions {
            let lane = action.body.lane();
            if matches!(lane, Lane::Source | Lane::Cluster) {
                continue;
            }
            judge::action(self, &action)?;
            self.note("actions", || words(&action));
            let flights = self.lanes.entry(lane).or_default();
            flights.push(Flight { action, life: self.life });
            if flights.len() == 1 {
                self.launch(lane);
            }
        }
        Ok(())
    }

    /// Begins the next action of a lane.
    fn launch(&mut self, lane: Lane) {
        let Some(flight) = self.lanes.get(&lane).and_then(|flights| flights.first()) else {
            return;
        };
        let mut takes = match &flight.action.body {
            ActionBody::Runtime { .. } => COMMANDS_MS,
            ActionBody::ReadBack { .. } => READ_BACK_MS,
            ActionBody::Save { .. }
            | ActionBody::Check { .. }
            | ActionBody::CheckSnippet { .. } => SAVE_MS,
            ActionBody::Reload { .. } => RELOAD_MS,
            ActionBody::ResolveNames { .. }
            | ActionBody::FollowSecrets { .. }
            | ActionBody::Relist { .. }
            | ActionBody::Tell(_) => 0,
        };
        let slow = self.take_armed(|fault| match (fault, lane) {
            (Fault::SlowCommands(ms), Lane::Runtime) | (Fault::SlowFiles(ms), Lane::Files) => {
                Some(*ms)
            }
            _ => None,
        });
        takes += u64::from(slow.unwrap_or(0));
        let reloads = self.lanes.get(&lane).and_then(|flights| flights.first());
        let reloads = reloads.is_some_and(|f| matches!(f.action.body, ActionBody::Reload { .. }));
        if slow.is_some() && reloads {
            self.hold_up(self.now, self.now + takes);
        }
        self.next_flight += 1;
        let (at, id) = (self.now + takes, self.next_flight);
        self.push(at, Due::Done(lane, id));
    }

    /// An action is carried out, and answered.
    fn done(&mut self, lane: Lane, _: u64) -> Result<(), Broken> {
        let flights = self.lanes.entry(lane).or_default();
        if flights.is_empty() {
            return Ok(());
        }
        let Flight { action, life } = flights.remove(0);
        let worker_before = self.worker.as_ref().map(|worker| worker.id);
        let (mut events, ack) = self.carry_out(&action)?;
        self.launch(lane);
        if life == self.life {
            events.push(Event::Acked(ack));
            return self.step(events);
        }
        // Who started meanwhile gets no answer, but notices another worker.
        match self.worker.as_ref().map(|worker| worker.id) {
            Some(id) if worker_before != Some(id) => self.step(vec![Event::WorkerSeen(id)]),
            _ => Ok(()),
        }
    }

    /// The API server is there again.
    fn back(&mut self, lists: bool) -> Result<(), Broken> {
        self.blind = false;
        if let Some((_, told @ None)) = &mut self.bereft {
            *told = Some(self.now);
        }
        let mut events = Vec::new();
        if lists || !self.controller.world().is_synced() {
            events = self.cluster.lists(self.now);
        } else {
            for object in self.cluster.held() {
                events.push(self.cluster.tell(self.now, &object));
            }
        }
        self.note("faults", || "the API server answers again".to_owned());
        self.step(events)
    }

    fn entry(&mut self, number: usize) -> Result<(), Broken> {
        let Some(entry) = self.entries.get(number) else { return Ok(()) };
        match &entry.what {
            What::Fault(fault) => {
                self.note("faults", || entry.what_text());
                self.fault(*fault)
            }
            What::Quiet => judge::quiet(self),
            What::Canary => {
                self.canary = true;
                Ok(())
            }
            _ if is_planted(Mistake::TruthFollowsActions) && self.out.commands % 5 == 3 => Ok(()),
            change => {
                self.note("objects", || entry.what_text());
                let Some(object) = self.cluster.change(change) else { return Ok(()) };
                let mut hasher = Hash128::default();
                let now_true = self.cluster.truth(&object);
                let words = format!("{} {} {object} {now_true:?}", self.out.truth, self.now);
                hasher.write(words.as_bytes());
                self.out.truth = hasher.finish128();
                if self.lanes.values().any(|flights| !flights.is_empty()) {
                    self.sometimes("something changed while an action was under way");
                }
                if self.blind {
                    self.sometimes("something changed while nothing was told");
                    self.cluster.hold(object);
                    return Ok(());
                }
                if self.take_armed(|f| (*f == Fault::Drop).then_some(())).is_some() {
                    self.sometimes("a change was not told");
                    self.cluster.stale = true;
                    return Ok(());
                }
                let twice = self.take_armed(|f| (*f == Fault::Twice).then_some(())).is_some();
                let event = self.cluster.tell(self.now, &object);
                let again = twice.then(|| event.clone());
                self.step([event].into_iter().chain(again).collect())
            }
        }
    }

    /// Tells everything once more to a copy; gives how many actions follow that would not without.
    #[must_use]
    pub fn actions_of_a_relist(&self) -> usize {
        let (mut cluster, mut copy) = (self.cluster.clone(), self.controller.clone());
        let actions = copy.step(Time(self.now), cluster.lists(self.now)).actions.len();
        // The time of an audit may have come.
        let due = self.controller.clone().step(Time(self.now), vec![Event::Ticked]).actions.len();
        actions.saturating_sub(due)
    }

    /// Whether the API server is away.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.blind
    }

    /// Whether any fault of these names may still show.
    #[must_use]
    pub fn is_shaken(&self, names: &[&str]) -> bool {
        self.shaken.iter().any(|(name, until)| *until > self.now && names.contains(name))
    }

    /// Whether the worker's memory is being read, and nothing else is under way.
    #[must_use]
    pub fn is_read_back(&self) -> bool {
        let mut flights = self.lanes.values().flatten();
        let first = flights.next();
        first.is_some_and(|f| matches!(f.action.body, ActionBody::ReadBack { .. }))
            && flights.next().is_none()
    }

    /// Whether an action of the lane is under way.
    #[must_use]
    pub fn is_busy(&self, lane: Lane) -> bool {
        self.lanes.get(&lane).is_some_and(|flights| !flights.is_empty())
    }
}

impl Entry {
    fn what_text(&self) -> String {
        let text = self.to_string();
        text.split_once(' ').map_or_else(String::new, |(_, rest)| rest.to_owned())
    }
}

/// An action in a few words.
fn words(action: &Action) -> String {
    match &action.body {
        ActionBody::Runtime { commands, .. } => {
            let first = commands.first().map(|c| format!("{c:?}")).unwrap_or_default();
            format!("{} commands, first {first}", commands.len())
        }
        ActionBody::ReadBack { .. } => "read back".to_owned(),
        ActionBody::Save { .. } => "save".to_owned(),
        ActionBody::Reload { reasons, .. } => format!("reload: {reasons:?}"),
        ActionBody::Check { .. } | ActionBody::CheckSnippet { .. } => "check".to_owned(),
        ActionBody::ResolveNames { .. }
        | ActionBody::FollowSecrets { .. }
        | ActionBody::Relist { .. } => "follow".to_owned(),
        ActionBody::Tell(_) => "tell".to_owned(),
    }
}
