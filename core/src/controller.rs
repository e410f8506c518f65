//! The controller: the only place that sequences the others, and [`Controller::step`] its only
//! mutation.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::action::{Action, ActionBody, ActionId};
use crate::annotations::Registry;
use crate::applied::Running;
use crate::budget::ReloadBudget;
use crate::capability::Capabilities;
use crate::desired::{Desired, Image, Key, Skeleton};
use crate::digest::Digest;
use crate::event::{Event, WorkerId};
use crate::plan::{Command, Trouble, remedy::ReloadReason};
use crate::problem::Problem;
use crate::project::{self, PieceKey, Projections, Refreshed};
use crate::quarantine::Search;
use crate::sabotage::{Mistake, is_planted};
use crate::settings::{Role, Settings};
use crate::snippet_lane::Judging;
use crate::tell::Teller;
use crate::time::{Time, WakeAt, WakeReason};
use crate::world::{Asked, Fact, World};

/// The outcome of one step.
#[must_use]
#[derive(Debug, Default)]
pub struct Step {
    /// What to do, in order within each lane.
    pub actions: Vec<Action>,
    /// When to step again even if nothing happens.
    pub wake_at: Option<WakeAt>,
    /// Problems that appeared, in order.
    pub opened: Vec<Problem>,
    /// Problems that went away, in order.
    pub closed: Vec<Problem>,
    /// Whether everything told so far has taken effect: what is left is collecting garbage.
    pub effective: bool,
    /// Whether everything has but what is of the static part, which waits for its reload.
    pub effective_but_static: bool,
    /// After an audit: in how many keys HAProxy's memory differed though nothing of ours was open.
    pub audit: Option<u64>,
    /// Facts that changed and pieces that were computed, for traces.
    pub trace: Trace,
}

/// What a step looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Facts that changed.
    pub facts: BTreeSet<Fact>,
    /// Pieces that were computed.
    pub pieces: Vec<PieceKey>,
    /// Commands with the keys they are for.
    pub commands: Vec<Command>,
}

/// A runtime action that is not acked yet.
#[derive(Clone, Debug)]
pub(crate) enum RuntimeFlight {
    Commands { id: ActionId, commands: Vec<Command> },
    ReadBack { id: ActionId, audit: bool },
}

/// A files action that is not acked yet.
#[derive(Clone, Debug)]
pub(crate) enum FilesFlight {
    Save { id: ActionId, version: u64, since: Time },
    Reload { id: ActionId, image: Arc<Image> },
    Check { id: ActionId },
}

/// The state machine.
#[derive(Clone, Debug)]
pub struct Controller {
    pub(crate) registry: Arc<Registry>,
    pub(crate) world: World,
    pub(crate) desired: Desired,
    pub(crate) projections: Projections,
    /// Facts that changed before every kind was listed.
    pub(crate) held: BTreeSet<Fact>,
    pub(crate) now: Time,
    pub(crate) worker: Option<WorkerId>,
    pub(crate) running: Option<Running>,
    /// What a worker is known to have must be read back before anything else is sent to it.
    pub(crate) doubt: bool,
    /// A read-back that failed is not tried again before then.
    pub(crate) doubt_until: Time,
    /// The last worker that was lost: none up to it comes back.
    pub(crate) lost: WorkerId,
    pub(crate) loaded: Option<Arc<Skeleton>>,
    /// The last static part whose digest was asked for, with that.
    pub(crate) digested: Option<(Arc<Skeleton>, Arc<str>)>,
    pub(crate) runtime: Option<RuntimeFlight>,
    pub(crate) files: Option<FilesFlight>,
    pub(crate) next_id: u64,
    pub(crate) trouble: BTreeMap<Key, Trouble>,
    /// New routes that would answer 503, with the time until which they wait for endpoints.
    pub(crate) unserved: BTreeMap<Arc<str>, Time>,
    /// Keys that only a reload can repair, with HAProxy's words.
    pub(crate) repairs: BTreeMap<Key, Box<str>>,
    /// Refusals of reloads in a row, and when the next may be tried.
    pub(crate) reload_trouble: Trouble,
    pub(crate) reload_budget: ReloadBudget,
    /// Why a reload is needed, as of the last plan.
    pub(crate) reasons: BTreeSet<ReloadReason>,
    pub(crate) search: Option<Search>,
    /// Since when the files are behind; `None` when they are not.
    pub(crate) unsaved_since: Option<Time>,
    /// What the files of a controller before this one hold, until that was compared.
    pub(crate) saved: Option<Digest>,
    pub(crate) changed_at: Time,
    /// The files are not written before, unless they are far behind.
    pub(crate) save_pause_until: Time,
    pub(crate) audited_at: Time,
    pub(crate) teller: Teller,
    /// The snippet that HAProxy judges.
    pub(crate) judging: Option<Judging>,
    /// No snippet is judged before then.
    pub(crate) judge_at: Time,
}

impl Controller {
    /// An empty controller.
    #[must_use]
    pub fn new(settings: Settings, now: Time) -> Controller {
        let world = World::new(Arc::new(settings));
        let skeleton = Arc::new(Skeleton::initial(&world));
        let held = BTreeSet::from([
            Fact::Host("".into()),
            Fact::ConfigMap,
            Fact::Source,
            Fact::Capabilities,
            Fact::Role(Role::TcpServices),
        ]);
        Controller {
            registry: Arc::new(Registry::new()),
            world,
            desired: Desired::new(skeleton),
            projections: Projections::default(),
            held,
            now,
            worker: None,
            running: None,
            doubt: false,
            doubt_until: now,
            lost: WorkerId(0),
            loaded: None,
            digested: None,
            runtime: None,
            files: None,
            next_id: 1,
            trouble: BTreeMap::new(),
            unserved: BTreeMap::new(),
            repairs: BTreeMap::new(),
            reload_trouble: Trouble::default(),
            reload_budget: ReloadBudget::default(),
            reasons: BTreeSet::new(),
            search: None,
            unsaved_since: None,
            saved: None,
            changed_at: now,
            save_pause_until: now,
            audited_at: now,
            teller: Teller::default(),
            judging: None,
            judge_at: now,
        }
    }

    /// Folds events in and says what to do. Total: no input makes it panic or fail.
    pub fn step(&mut self, now: Time, events: Vec<Event>) -> Step {
        self.now = self.now.max(now);
        let mut changed = BTreeSet::new();
        let mut step = Step::default();
        for event in events {
            self.observe(event, &mut changed, &mut step);
        }
        let Asked { add, drop } = self.world.settle_secrets(self.now, &mut changed);
        self.act_on_snippets(&mut changed, &mut step);
        self.refresh(changed, &mut step);
        if !add.is_empty() || !drop.is_empty() {
            self.emit(ActionBody::FollowSecrets { add, drop }, &mut step);
        }
        for kind in self.world.relists(self.now) {
            self.emit(ActionBody::Relist { kind }, &mut step);
        }
        self.act_on_runtime(&mut step);
        self.act_on_files(&mut step);
        if let Some(names) = self.desired.take_resolve_names() {
            self.emit(ActionBody::ResolveNames { names }, &mut step);
        }
        self.tell(&mut step);
        self.ask_to_be_woken(&mut step);
        step
    }

    /// What is wanted.
    #[must_use]
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// What runs, if known.
    #[must_use]
    pub fn running(&self) -> Option<&Running> {
        self.running.as_ref()
    }

    /// The objects.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The pieces, for traces and audits.
    #[must_use]
    pub fn projections(&self) -> &Projections {
        &self.projections
    }

    /// The rows of the annotation tables.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The problems there are. Before the first table, those of the source.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        let early: &[Problem] =
            if self.held.is_empty() { &[] } else { &self.world.source_problems };
        early.iter().chain(self.projections.problems())
    }

    /// Whether what runs is what is wanted and no action is open.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.world.is_synced()
            && self.running.is_some()
            && !self.doubt
            && self.runtime.is_none()
            && self.files.is_none()
            && self.judging.is_none()
            && self.desired.is_settled()
    }

    /// Whether a first complete table has been put to work: what readiness means.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.world.is_synced() && self.running.is_some()
    }

    /// Whether a worker serves the files of a process before this one: a complete table, if an
    /// older one, while the first lists are not there yet.
    #[must_use]
    pub fn is_serving_files(&self) -> bool {
        !self.world.is_synced() && self.running.is_some() && self.saved.is_some()
    }

    /// Whether a worker's memory must be read back before anything else is sent to it.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        self.doubt
    }

    /// Why a reload is needed that waits for its turn (`--reloads-per-minute`), and until when.
    #[must_use]
    pub fn held_reload(&self) -> Option<(Vec<ReloadReason>, Time)> {
        let reasons = self.reload_reasons();
        let at = self.reload_at(&reasons);
        let waits = self.files.is_none() && at > self.now && at > self.reload_trouble.retry_at;
        waits.then_some((reasons, at))
    }

    /// Milliseconds for which the files have been behind at a time; 0 when they are not.
    #[must_use]
    pub fn unsaved_ms(&self, now_ms: u64) -> u64 {
        self.unsaved_since.map_or(0, |since| Time(now_ms).since_ms(since))
    }

    fn observe(&mut self, event: Event, changed: &mut BTreeSet<Fact>, step: &mut Step) {
        match event {
            Event::Upserted(object) => self.world.upsert(object, changed),
            Event::Deleted(object) => self.world.delete(&object, changed),
            Event::Relisted { kind: _, objects }
                if is_planted(Mistake::KeepRemoved) && self.world.is_listed() =>
            {
                objects.into_iter().for_each(|object| self.world.upsert(object, changed));
            }
            Event::Relisted { kind, objects } => self.world.relist(kind, objects, changed),
            Event::LeaseSeen(lease) => self.take_lease(lease),
            Event::Stopping => self.stop_telling(),
            Event::Listed(listing) => self.world.list(listing, self.now, changed),
            Event::DeletionsAccepted => self.world.accept_deletions(changed),
            Event::DateRead(unix_s) => self.world.read_date(unix_s, changed),
            Event::Remembered(memory) => self.world.remember(*memory, self.now, changed),
            Event::SourceProblems(problems) => {
                if self.world.source_problems != problems {
                    let before = core::mem::replace(&mut self.world.source_problems, problems);
                    changed.insert(Fact::Source);
                    if !self.held.is_empty() {
                        // Nothing is projected yet, and why is just what people ask then.
                        step.closed.extend(before);
                        step.opened.extend(self.world.source_problems.iter().cloned());
                    }
                }
            }
            Event::Resolved { name, addresses } => self.world.resolve(name, addresses, changed),
            Event::ProxyFound(found) => {
                if self.worker.is_none() {
                    // One that waits for its first files; what failed before was without it.
                    self.reload_trouble = Trouble::default();
                }
                self.world.set_capabilities(found, changed);
            }
            Event::WorkerSeen(worker) => self.meet(worker),
            Event::WorkerLost(worker) => {
                self.lost = self.lost.max(worker);
                if self.worker == Some(worker) {
                    self.worker = None;
                    self.running = None;
                    self.runtime = None;
                    self.doubt = false;
                }
            }
            Event::Observed { worker, state } => {
                let Some(RuntimeFlight::ReadBack { audit, .. }) = self.runtime else { return };
                if self.worker == Some(worker) {
                    if self.loaded.is_none() {
                        self.saved = state.saved;
                        // The files are somebody else's: behind until compared, also when
                        // nothing is wanted.
                        if !is_planted(Mistake::AdoptUnsaved) {
                            self.unsaved_since.get_or_insert(self.now);
                        }
                    }
                    let running = Running::observed(worker, &state, &self.capabilities(), self.now);
                    let known = audit.then(|| self.desired.all_open());
                    self.take_running(running);
                    if let Some(known) = known {
                        self.settle();
                        let found = self.desired.dirty().difference(&known).count();
                        step.audit = Some(found as u64);
                    }
                }
            }
            Event::Acked(ack) => self.acked(ack, changed),
            Event::Ticked => {}
            Event::Restored(checkpoint) => {
                let opened_before: Vec<Problem> = self.problems().cloned().collect();
                *self = checkpoint.restore();
                step.closed.extend(opened_before);
                step.opened.extend(self.problems().cloned().collect::<Vec<_>>());
            }
        }
    }

    fn refresh(&mut self, mut changed: BTreeSet<Fact>, step: &mut Step) {
        if !self.world.is_synced() {
            self.held.extend(changed);
            project::cancel_out(&mut step.opened, &mut step.closed);
            return;
        }
        if !self.held.is_empty() {
            // They are told by the first table from now on.
            step.closed.extend(self.world.source_problems.iter().cloned());
        }
        changed.append(&mut self.held);
        if changed.is_empty() {
            return;
        }
        let version = self.desired.image().version;
        let backends = self.desired.image().backends.len();
        let refreshed =
            self.projections.refresh(&self.world, &self.registry, &changed, &mut self.desired);
        // Whatever is planned next needs it.
        let skeleton = self.desired.image().skeleton.clone();
        self.skeleton_digest(&skeleton);
        self.learn(&changed, &refreshed);
        let Refreshed { pieces, opened, closed } = refreshed;
        step.opened.extend(opened);
        step.closed.extend(closed);
        project::cancel_out(&mut step.opened, &mut step.closed);
        step.trace.pieces = pieces;
        step.trace.facts = changed;
        if self.desired.image().version != version {
            self.changed_at = self.now;
            let is_less = self.desired.image().backends.len() < backends;
            if !(is_planted(Mistake::RemovalsUnsaved) && is_less) {
                self.unsaved_since.get_or_insert(self.now);
            }
        }
    }

    pub(crate) fn emit(&mut self, body: ActionBody, step: &mut Step) -> ActionId {
        let id = ActionId(self.next_id);
        self.next_id += 1;
        step.actions.push(Action { id, body });
        id
    }

    /// What HAProxy can do; before it was found, everything.
    #[must_use]
    pub fn capabilities(&self) -> Arc<Capabilities> {
        match &self.world.capabilities {
            Some(found) => found.clone(),
            None => Arc::new(Capabilities::tier_a()),
        }
    }

    fn ask_to_be_woken(&mut self, step: &mut Step) {
        let mut wake: Option<WakeAt> = None;
        let mut ask = |at: Time, reason: WakeReason| {
            if wake.is_none_or(|w| at < w.at) {
                wake = Some(WakeAt { at, reason });
            }
        };
        if self.runtime.is_none() && self.running.is_some() && self.world.is_synced() {
            if let Some(at) = self.desired.wake(self.now) {
                ask(at, WakeReason::DrainDone);
            }
            if let Some(at) = self.unserved.values().filter(|at| **at > self.now).min() {
                ask(*at, WakeReason::Unserved);
            }
            let reasons = self.reload_reasons();
            if !reasons.is_empty() && self.files.is_none() {
                ask(self.reload_at(&reasons), WakeReason::Retry);
            }
        }
        if self.files.is_none() {
            if let Some(at) = self.save_due() {
                ask(at, WakeReason::SaveDue);
            }
            if self.worker.is_none() && self.reload_trouble.refusals > 0 {
                ask(self.reload_trouble.retry_at, WakeReason::Retry);
            }
        }
        if self.doubt && self.runtime.is_none() {
            ask(self.doubt_until, WakeReason::Retry);
        }
        if let Some(at) = self.audit_at().filter(|at| *at > self.now || self.is_quiet()) {
            ask(at, WakeReason::Audit);
        }
        if let Some(at) = self.judged_at().filter(|at| *at > self.now) {
            ask(at, WakeReason::Retry);
        }
        if let Some(at) = self.world.absences.relist_at() {
            ask(at, WakeReason::Relist);
        }
        if let Some(at) = self.world.patience_ends() {
            ask(at, WakeReason::Secrets);
        }
        if let Some((at, reason)) = self.tell_at(step.effective) {
            ask(at, reason);
        }
        // I11: a deadline in the past would spin.
        step.wake_at = wake.map(|w| WakeAt { at: w.at.max(self.now.plus_ms(1)), ..w });
    }
}

/// The same trouble once more, twice as far away.
pub(crate) fn next_trouble(old: &Trouble, why: Box<str>, now: Time, retry_ms: u64) -> Trouble {
    let refusals = old.refusals.saturating_add(1);
    let delay = retry_ms.saturating_mul(1 << (refusals - 1).min(6)).min(60_000);
    Trouble { refusals, retry_at: now.plus_ms(delay), collects: false, why }
}

/// Desired and problems from nothing, for audits and tests.
#[must_use]
pub fn audit(controller: &Controller) -> (Desired, Projections) {
    project::from_scratch(&controller.world, &controller.registry)
}
