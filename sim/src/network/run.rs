//! A run: replicas of tidegate, an API server and HAProxy on a network, through a schedule.
//!
//! Inputs: a schedule. Outputs: what it amounts to, and whether the journals that tidegate wrote on
//! the way replay to the same actions. The same schedule gives the same run, in any process: time is
//! the network's, chance is the schedule's seed, and tokio's numbers of tasks are lined up, as they
//! decide in which order a runtime that is shut down drops its tasks.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tidegate::journal::replay::{ReplayOptions, replay};
use tidegate::ports::Files as _;
use tidegate_core::action::{ActionBody, RuntimeCommand};

use super::fault::Fault;
use super::files::Disk;
use super::forever::Forever;
use super::hosts::{JOURNAL_DIR, network, settings};
use super::outcomes::Outcomes;
use super::replica::ReplicaId;
use super::schedule::{Entry, Happens, Schedule};
use super::versions::Versions;
use super::world::{Shared, VAULT_KEY, World, as_heard, lock};
use super::{STATE_DIR, manifest};
use crate::dice::Dice;
use crate::hash::Hash128;
use crate::swarm::judge::Broken;
use crate::swarm::schedule::What;

/// Time from the death of tidegate in a write to its next start, in milliseconds.
const AGAIN_MS: u64 = 500;
/// From when HAProxy's memory is changed behind tidegate to when an audit has put that right.
pub(super) const AUDIT_MS: u64 = 80_000;
/// Time between copies of the API server's store.
pub(super) const COPY_MS: u64 = 3_000;
/// Time between two looks at what requests meet while nothing happens.
const LOOK_MS: u64 = 100;
/// Time between two looks at what the API server was told.
const SETTLE_MS: u64 = 1_000;

/// Something that ends, or begins again, at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    Repair(ReplicaId),
    Hears(ReplicaId),
    Release(ReplicaId),
    ApiReturns,
    ComeBack,
    DiskIsFree(ReplicaId),
    DiskIsWell(ReplicaId),
    ControllerReturns(ReplicaId),
    Crash(ReplicaId, u32),
}

/// Runs a schedule to its end, or to the first broken promise.
#[must_use]
pub fn run(schedule: &Schedule, traces: bool) -> Outcomes {
    run_with(schedule, &[], traces)
}

/// The same in a cluster that has these objects from the beginning.
#[must_use]
pub fn run_with(schedule: &Schedule, objects: &[Value], traces: bool) -> Outcomes {
    run_on_disks(schedule, objects, traces).0
}

/// The same, with what is on the disks of the replicas in the end: their journals.
#[must_use]
pub fn run_on_disks(schedule: &Schedule, objects: &[Value], traces: bool) -> (Outcomes, Vec<Disk>) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    line_up();
    let disks: Vec<Disk> = (0..schedule.replicas).map(|_| disk()).collect();
    let settings = settings(ReplicaId::default(), schedule);
    let world: Shared = Arc::new(Mutex::new(World::new(schedule, &settings, &disks, traces)));
    let mut run = Run {
        sim: network(schedule, &world, &disks),
        world,
        disks,
        due: Vec::new(),
        tick_ms: schedule.tick_ms,
        power: Dice::new(schedule.seed, "power"),
    };
    for object in objects {
        lock(&run.world).apply(object.clone());
    }
    run.go(schedule);
    let Run { sim, world, disks, .. } = run;
    drop(sim);
    let mut world = lock(&world);
    let ended = world.out.simulated_ms;
    world.set_now(ended);
    replayed(&mut world, &disks, schedule);
    world.kept_secret(&disks);
    (std::mem::take(&mut world.out), disks)
}

/// A disk as a replica finds it the first time.
fn disk() -> Disk {
    let disk = Disk::default();
    let folder = Path::new(STATE_DIR);
    // Memory has no errors.
    let _ = disk.mount().create_dir(folder, 0o700);
    disk.settle();
    disk.put(&folder.join("vault.key"), &VAULT_KEY);
    disk.put(&folder.join("self-signed.pem"), manifest::SELF_SIGNED.as_bytes());
    disk
}

/// Whether the alarm goes off, as in tier 0 ([`crate::swarm::run::try_alarm`]).
///
/// # Errors
/// What came instead.
pub fn try_alarm(schedule: &Schedule) -> Result<(), String> {
    let mut schedule = schedule.clone();
    let quiet = schedule.entries.iter().position(|entry| entry.what == Happens::Quiet);
    let after = quiet.map_or(schedule.entries.len(), |at| at + 1);
    schedule.entries.truncate(after);
    let at_ms = schedule.entries.last().map_or(0, |entry| entry.at_ms);
    schedule.entries.push(Entry { at_ms: at_ms + 1, what: Happens::Change(What::Canary) });
    schedule.entries.push(Entry { at_ms: at_ms + 1_000, what: Happens::Still });
    match run(&schedule, false).broken {
        Some(broken) if broken.property == "canary" => Ok(()),
        other => Err(format!("a promise that nobody can keep was judged, and it came {other:?}")),
    }
}

/// A run under way.
pub(super) struct Run {
    pub(super) sim: turmoil::Sim<'static>,
    pub(super) world: Shared,
    /// The disk of each replica.
    pub(super) disks: Vec<Disk>,
    pub(super) due: Vec<(u64, Due)>,
    tick_ms: u64,
    /// What a power loss leaves.
    pub(super) power: Dice,
}

impl Run {
    fn go(&mut self, schedule: &Schedule) {
        let mut entries = schedule.entries.iter().peekable();
        let (mut now, mut look_at, mut copy_at, mut settle_at) = (0, 0, 0, 0);
        while let Some(entry) = entries.peek() {
            if entry.at_ms <= now {
                let happens = entry.what.clone();
                lock(&self.world).note("objects", || entry.to_string());
                entries.next();
                self.happens(&happens, now);
                look_at = now;
            } else {
                self.step(now);
                now += self.tick_ms;
                lock(&self.world).set_now(now);
            }
            self.ends(now);
            let mut world = lock(&self.world);
            if now >= look_at {
                world.end_streams();
                world.ids().for_each(|id| world.look(id));
                world.pass(LOOK_MS);
                look_at = now + LOOK_MS;
            }
            if now >= settle_at {
                world.settles();
                settle_at = now + SETTLE_MS;
            }
            if now >= copy_at {
                world.api.copy();
                copy_at = now + COPY_MS;
            }
            if world.out.broken.is_some() {
                break;
            }
        }
        lock(&self.world).out.simulated_ms = now;
    }

    fn step(&mut self, now: u64) {
        if let Err(error) = self.sim.step() {
            let why = format!("a host of the network failed: {error}");
            lock(&self.world).broke(Broken::new("simulator", why));
        }
        for number in 0..self.disks.len() {
            let id = ReplicaId(number);
            if self.disk(id).has_killed() {
                lock(&self.world).sometimes("tidegate died in the middle of a write");
                self.kill(id, now, AGAIN_MS);
            } else if !self.sim.is_host_running(id.host())
                && !self.due.iter().any(|(_, due)| *due == Due::ControllerReturns(id))
            {
                // It ended by itself: a kubelet starts it again.
                self.kill(id, now, AGAIN_MS);
            }
        }
    }

    /// The disk of a replica.
    pub(super) fn disk(&self, id: ReplicaId) -> &Disk {
        &self.disks[id.0]
    }

    /// tidegate dies, and comes back.
    pub(super) fn kill(&mut self, id: ReplicaId, now: u64, after_ms: u64) {
        // What it still holds of the disk is of no effect.
        drop(self.disk(id).mount());
        self.sim.crash(id.host());
        let mut world = lock(&self.world);
        let replica = world.at(id);
        replica.listed.clear();
        replica.reloads.clear();
        replica.hide(now, now + after_ms + 20_000);
        replica.shake("controller-dies", now + after_ms + 25_000);
        if now < replica.armed.hang_until_ms {
            // HAProxy may yet run what it was sent, after the next life has read it back.
            replica.shake("hang", replica.armed.hang_until_ms + AUDIT_MS);
        }
        drop(world);
        self.due.retain(|(_, due)| *due != Due::ControllerReturns(id));
        self.due.push((now + after_ms, Due::ControllerReturns(id)));
    }

    fn ends(&mut self, now: u64) {
        while let Some(at) = self.due.iter().position(|(at, _)| *at <= now) {
            let (_, due) = self.due.remove(at);
            match due {
                Due::Repair(id) => {
                    lock(&self.world).at(id).partitioned = false;
                    self.sim.repair("api", id.host());
                }
                Due::Hears(id) => self.sim.repair_oneway("api", id.host()),
                Due::Crash(id, left) => self.crash(id, left, now),
                Due::Release(id) => self.sim.release("api", id.host()),
                Due::ApiReturns => self.sim.bounce("api"),
                Due::ComeBack => {
                    let mut world = lock(&self.world);
                    world.api.come_back();
                    world.store_replaced();
                }
                Due::DiskIsFree(id) => self.disk(id).set_full(false),
                Due::DiskIsWell(id) => self.disk(id).set_unsafe(false),
                Due::ControllerReturns(id) => self.sim.bounce(id.host()),
            }
        }
    }
}

/// Whether steps may be lost of the journal that had effect: the disk did not take them.
fn loses_steps(schedule: &Schedule) -> bool {
    let of_disk = |fault: Fault| matches!(fault.name(), "disk-full" | "sync-fails" | "power-cut");
    schedule.entries.iter().any(|entry| match entry.what {
        Happens::Fault(fault, _) => of_disk(fault),
        Happens::Forever(Forever::DiskFull, _) => true,
        _ => false,
    })
}

/// Whether another store answers for a time, whose objects may be older.
fn replaces_store(schedule: &Schedule) -> bool {
    let replaces =
        |entry: &Entry| matches!(entry.what, Happens::Fault(fault, _) if fault.replaces_store());
    schedule.entries.iter().any(replaces)
}

/// What a command may take back when HAProxy refuses its content: the file that has a name by then.
fn takes_back(command: &RuntimeCommand) -> Option<String> {
    let removal = match command {
        RuntimeCommand::InstallCertificate { file, .. } => {
            RuntimeCommand::DeleteCertificate { file: file.clone() }
        }
        RuntimeCommand::InstallAuthority { file, .. } => {
            RuntimeCommand::DeleteAuthority { file: file.clone() }
        }
        _ => return None,
    };
    Some(as_heard(&removal))
}

/// S21: the journals of every replica replay to the actions that were taken. S9: what they took in is
/// never older than before. L8: HAProxy was told
/// nothing but what follows from them, unless steps may be lost.
fn replayed(world: &mut World, disks: &[Disk], schedule: &Schedule) {
    let (loses_steps, goes_back) = (loses_steps(schedule), replaces_store(schedule));
    let mut hasher = Hash128::default();
    for (number, disk) in disks.iter().enumerate() {
        let files = disk.mount();
        let mut decided: BTreeMap<String, u64> = BTreeMap::new();
        let mut versions = Versions::default();
        let told = replay(&files, Path::new(JOURNAL_DIR), &ReplayOptions::default(), &mut |step| {
            let text = format!("{:?} {:?}", step.input, step.computed);
            hasher.write(text.as_bytes());
            versions.take_in(&step.input.events);
            for action in &step.step.actions {
                if let ActionBody::Runtime { commands, .. } = &action.body {
                    let also = commands.iter().filter_map(takes_back);
                    for command in commands.iter().map(as_heard).chain(also) {
                        *decided.entry(command).or_insert(0) += 1;
                    }
                }
            }
            Ok(())
        });
        let id = ReplicaId(number);
        match told {
            Ok(report) => {
                world.out.steps += report.steps;
                if let Some(other) = report.difference {
                    let why = format!("a journal replays otherwise: {other:?}");
                    world.broke_at(id, Broken::new("S21", why));
                }
            }
            Err(error) => {
                let why = format!("a journal does not replay: {error}");
                world.broke_at(id, Broken::new("S21", why));
            }
        }
        if let Some(why) = versions.older.filter(|_| !goes_back) {
            world.broke_at(id, Broken::new("S9", why));
        }
        let carried_out = std::mem::take(&mut world.at(id).carried_out);
        let more = carried_out.iter().find(|(what, count)| decided.get(*what) < Some(*count));
        if let Some((what, count)) = more.filter(|_| !loses_steps) {
            let known = decided.get(what).copied().unwrap_or(0);
            let why = format!("HAProxy was told {count} times, by the journal {known}: {what}");
            world.broke_at(id, Broken::new("L8", why));
        }
    }
    world.out.chain = hasher.finish128();
}

/// Gives tokio's next task a number that is a multiple of 64: when a runtime is shut down, the order
/// in which it drops its tasks follows from their numbers, which count through a whole process.
fn line_up() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
    runtime.block_on(async {
        for _ in 0..128 {
            let task = tokio::spawn(async {});
            let number: u64 = task.id().to_string().parse().unwrap_or(0);
            let _ = task.await;
            if number % 64 == 63 {
                return;
            }
        }
    });
}
