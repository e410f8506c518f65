//! The promises of tier 1, judged of each replica by itself. Those about requests and handshakes are
//! judged as in tier 0, after every command that HAProxy carries out and whenever something changes;
//! those about rest when all must be quiet. What is written to the API server is for `writers`.
//!
//! What tidegate was told, and when, is not looked up in tidegate: while a fault may keep news from
//! it, every state of the truth since the fault's beginning counts as possible.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tidegate_core::action::{RuntimeCommand, ServerState};
use tidegate_core::world::object::Kind;

use super::files::Disk;
use super::forever::Forever;
use super::proxy::{Version, process};
use super::replica::{Replica, ReplicaId, SERVED, SHAKEN_MS};
use super::world::World;
use super::{STATE_DIR, manifest};
use crate::swarm::cluster::asked;
use crate::swarm::judge::{Blame, Broken, Scene, alarm, judge};

/// For how long a server is in maintenance before it is deleted, in milliseconds.
const DRAIN_MS: u64 = 1_000;
/// From a change of the truth to its effect, when nothing is in the way, in milliseconds.
const BOUND_MS: u64 = 600;
/// The same where a change may need a reload, checked ahead.
const BOUND_RELOAD_MS: u64 = 3_000;
/// Faults that delay what is told from having effect.
pub(super) const DELAYING: &[&str] = &[
    "lose-commands",
    "cut-answer",
    "hang",
    "refuse-command",
    "busy",
    "lose-reload",
    "slow-reload",
    "refuse-load",
    "mute-master",
    "foreign-reload",
    "worker-dies",
    "crash-loop",
    "tamper",
    "disk-full",
    "sync-fails",
    "slow-disk",
    "controller-dies",
    "dies-writing",
    "power-cut",
];
/// From when an old worker should have ended to when that is noticed at the latest, in milliseconds.
const ENDS_MS: u64 = 1_000;
/// Without HAProxy for longer, in milliseconds, when nothing keeps it from starting.
const ABSENT_MS: u64 = 10_000;
/// Faults that keep HAProxy from starting, or tidegate from starting it.
const HOLDING: &[&str] = &[
    "slow-reload",
    "refuse-load",
    "hang",
    "slow-disk",
    "controller-dies",
    "dies-writing",
    "crash-loop",
    "power-cut",
];
/// Faults that may take away what a request needs.
pub(super) const DESTROYING: &[&str] = &["worker-dies", "crash-loop", "tamper", "power-cut"];
/// Faults after which a worker has what the files say, which may be some seconds old, or lacks a route,
/// so that the one of a shorter path answers.
pub(super) const RETURNING: &[&str] =
    &["worker-dies", "crash-loop", "power-cut", "foreign-reload", "tamper"];
/// Phase: all must be quiet.
pub(super) const AT_REST: &str = "at rest";
/// Promises that are judged at rest, S13 where nothing was to be changed, S27 where metrics were read.
pub(super) const REST: &[&str] = &["L1", "L5", "L9", "S13", "S18", "S27", "S28"];

impl World {
    /// Judges what requests to a replica meet now.
    pub fn look(&mut self, id: ReplicaId) {
        if let Err(broken) = self.judged(id) {
            self.broke_at(id, broken);
        }
    }

    /// The same after a command.
    pub fn look_after(&mut self, id: ReplicaId, command: &RuntimeCommand) {
        if let Err(broken) = self.judged(id) {
            let why = format!("{} after {command:?}", broken.why);
            self.broke_at(id, Broken { why, ..broken });
        }
    }

    fn judged(&mut self, id: ReplicaId) -> Result<(), Broken> {
        let (now, hard_stop_ms) = (self.now_ms(), self.hard_stop_ms);
        let replica = self.at(id);
        replica.finished(now)?;
        replica.old_workers_end(now, hard_stop_ms)?;
        let is_held = replica.is_shaken(now, HOLDING) || replica.armed.never_loads;
        if replica.site.serving().is_some() || is_held {
            replica.served_ms = now;
        }
        let replica = self.of(id);
        // Before the first quiet moment nothing was promised.
        let Some(frozen) = &replica.frozen else { return Ok(()) };
        let Some(worker) = replica.site.serving() else { return replica.is_back_soon(now) };
        let is_blind = replica.is_blind(now);
        let unknown = if is_blind { now - replica.blind.0 + BOUND_RELOAD_MS } else { 0 };
        let bound_ms = match replica.site.version {
            Version::V34 => BOUND_MS,
            Version::V26 | Version::V30 | Version::V32 => BOUND_RELOAD_MS,
        };
        let waits_ms: u64 = replica.forever.iter().map(Forever::waits_ms).sum();
        let recent = now < replica.reloaded_ms + BOUND_RELOAD_MS;
        let scene = Scene {
            now,
            cluster: self.known_to(id),
            memory: &worker.memory,
            frozen: Some(frozen),
            is_calm: !is_blind && !recent && !replica.is_shaken(now, DELAYING),
            is_blind,
            is_destroyed: replica.is_shaken(now, DESTROYING),
            has_returned: replica.is_shaken(now, RETURNING),
            bound_ms: bound_ms + waits_ms,
            shaken_ms: SHAKEN_MS.max(unknown),
            delayed_ms: SHAKEN_MS.max(unknown),
            bereft_at: None,
            may_wait: self.may_wait(id),
            held: self.held_for_good(id),
        };
        let promises = scene.promises();
        let told = judge(&scene).map_err(|broken| {
            // Whoever else is late is so for others' reloads.
            let property = match (broken.blame, scene.may_wait.is_empty()) {
                (Blame::Delay, false) => "L10",
                _ => broken.property,
            };
            Broken { property, ..broken }
        });
        for what in told? {
            self.sometimes(what);
        }
        alarm(self.canary)?;
        self.cell(id, &promises);
        Ok(())
    }

    /// Notes what was judged of a replica while which faults could show.
    fn cell(&mut self, id: ReplicaId, promises: &[&'static str]) {
        let phase = self.of(id).phase(self.now_ms());
        self.cell_in(id, phase, promises);
    }

    /// The same in a phase of its own.
    pub(super) fn cell_in(
        &mut self,
        id: ReplicaId,
        phase: &'static str,
        promises: &[&'static str],
    ) {
        let now = self.now_ms();
        let replica = &self.replicas[id.0];
        for fault in replica.shaking(now) {
            self.out.cells.extend(promises.iter().map(|promise| (fault, phase, *promise)));
        }
        if phase == SERVED {
            for cell in replica.forever.iter().map(Forever::cell) {
                self.out.cells.extend(promises.iter().map(|promise| (cell, phase, *promise)));
            }
        }
    }

    /// Notes what was judged of a replica at rest, after which faults.
    fn rested(&mut self, id: ReplicaId, was_still: bool, is_told: bool) {
        let replica = self.at(id);
        let mut shown = std::mem::take(&mut replica.shown);
        shown.extend(replica.forever.iter().map(Forever::cell));
        let suspends = |promise: &str| replica.forever.iter().any(|one| one.suspends(promise));
        let is_judged = |promise: &&&str| match **promise {
            "S13" => was_still,
            "S27" => is_told,
            other => !suspends(other),
        };
        let promises: Vec<&str> = REST.iter().filter(is_judged).copied().collect();
        for fault in shown {
            self.out.cells.extend(promises.iter().map(|promise| (fault, AT_REST, *promise)));
        }
    }

    /// Time passes: counts the request-time that is judged.
    pub fn pass(&mut self, span_ms: u64) {
        let now = self.now_ms();
        let hosts = self.cluster.hosts().count() as u64;
        for replica in &self.replicas {
            let judged = replica.frozen.is_some()
                && !replica.is_shaken(now, DESTROYING)
                && replica.site.serving().is_some();
            self.out.judged.0 += if judged { span_ms * hosts } else { 0 };
            self.out.judged.1 += span_ms * hosts;
        }
    }

    /// All must be quiet and as wanted.
    pub fn quiet(&mut self) {
        let was_still = std::mem::replace(&mut self.still, false);
        for id in self.ids() {
            match self.at_rest(id) {
                Ok(is_told) => {
                    let replica = self.at(id);
                    replica.frozen = replica.site.serving().map(|worker| worker.memory.clone());
                    self.rested(id, was_still, is_told);
                }
                Err(broken) => self.broke_at(id, broken),
            }
        }
        match self.told() {
            Ok(()) => self.sometimes("all was quiet"),
            Err(broken) => self.broke(broken),
        }
    }

    /// Whether metrics were asked for since it is so.
    fn at_rest(&self, id: ReplicaId) -> Result<bool, Broken> {
        let now = self.now_ms();
        let replica = self.of(id);
        if replica.is_blind(now) || replica.shaking(now).next().is_some() {
            let why = "quiet is expected while a fault may show".to_owned();
            return Err(Broken::new("schedule", why));
        }
        let Some(worker) = replica.site.serving() else {
            if replica.forever.contains(&Forever::NoHaproxy) {
                return Ok(false);
            }
            return Err(Broken::new("L1", "no worker after all is over".to_owned()));
        };
        let disk = process::read(&replica.site, &Path::new(STATE_DIR).join("haproxy.cfg"))
            .map_err(|words| Broken::new("S6", format!("the files do not load: {words}")))?;
        let held = self.held_for_good(id).map(|(_, held)| held).unwrap_or_default();
        let cluster = self.known_to(id);
        for host in cluster.hosts().filter(|host| !held.contains(*host)) {
            let (name, path) = asked(host);
            let has = worker.memory.route(name, path);
            let Some(wanted) = cluster.wanted_since(host, now).last() else { continue };
            if has != wanted.answer {
                let wanted = &wanted.answer;
                let why = format!("quiet, and {host} meets {has:?}, by the rules {wanted:?}");
                return Err(Broken::new("L1", why));
            }
            let same = disk.route(name, path) == has
                && disk.presented(name) == worker.memory.presented(name)
                && disk.is_guarded(name, path) == worker.memory.is_guarded(name, path);
            if !same && !replica.forever.contains(&Forever::DiskFull) {
                let why = format!("quiet, and a restart would serve {host} otherwise");
                return Err(Broken::new("S28", why));
            }
        }
        if replica.site.workers.iter().filter(|worker| !worker.is_immortal).count() > 1 {
            let why = "old workers stay, and only tidegate is connected to them".to_owned();
            return Err(Broken::new("L5", why));
        }
        self.truthful(id, now)
    }

    /// S20: no line of a private key is anywhere but in files of certificates: not in a journal, not
    /// in what was told to the API server.
    pub fn kept_secret(&mut self, disks: &[Disk]) {
        let is_theirs = |path: &Path| {
            let mut names = path.iter().filter_map(|name| name.to_str());
            names.any(|name| ["certs", "ca", "self-signed.pem"].contains(&name))
        };
        let markers: Vec<&str> = manifest::private_lines().collect();
        let has = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            markers.iter().any(|marker| text.contains(marker))
        };
        let mut written: Vec<_> = disks.iter().flat_map(Disk::all).collect();
        written.retain(|(path, _)| !is_theirs(path));
        let told = self.api.true_store().all_but_secrets();
        written.extend(told.map(|object| ("the API server".into(), object.to_string().into())));
        let found = written.into_iter().find(|(_, bytes)| has(bytes));
        if let Some((path, _)) = found {
            let why = format!("a line of a private key is in {}", path.display());
            self.broke(Broken::new("S20", why));
        }
    }

    /// S6: after a power loss the link leads to one whole generation, each file as it was written.
    pub fn survived(&mut self, id: ReplicaId, before: &[(PathBuf, Vec<u8>)]) {
        let disk = self.of(id).site.disk.clone();
        let config = disk.resolve(&Path::new(STATE_DIR).join("haproxy.cfg"));
        let folder = config.parent().unwrap_or(Path::new("/"));
        if disk.read(&config).is_none() && self.of(id).frozen.is_none() {
            // Nothing was saved yet.
            return;
        }
        // Written later, and read by nobody who serves.
        let is_its = |path: &Path| path.starts_with(folder) && !path.ends_with("loaded");
        let mut its = before.iter().filter(|(path, _)| is_its(path)).peekable();
        if its.peek().is_none() {
            let why = format!("after a power loss the link leads to {}", config.display());
            return self.broke_at(id, Broken::new("S6", why));
        }
        if let Some((path, _)) = its.find(|(path, was)| disk.read(path).as_ref() != Some(was)) {
            let why = format!("{} is torn after a power loss", path.display());
            self.broke_at(id, Broken::new("S6", why));
        }
    }

    /// S25: a replica says that it is ready.
    pub fn ready(&mut self, id: ReplicaId) {
        let kinds = [Kind::Service, Kind::EndpointSlice, Kind::Ingress, Kind::IngressClass];
        let wanted: BTreeSet<&str> = kinds
            .iter()
            .filter_map(|kind| Some(super::api::store::resource_of(kind.name())?.plural))
            .collect();
        let replica = self.at(id);
        let missing: Vec<&str> = wanted.difference(&replica.listed).copied().collect();
        if missing.is_empty() {
            replica.was_ready = true;
        } else if replica.was_ready {
            self.sometimes("tidegate was ready with the files of before");
        } else {
            let why = format!("ready, and {missing:?} were never listed");
            self.broke_at(id, Broken::new("S25", why));
        }
        self.sometimes("tidegate was ready");
    }
}

impl Replica {
    /// L3: HAProxy that died is there again soon, from the files that there are.
    fn is_back_soon(&self, now: u64) -> Result<(), Broken> {
        let absent = now - self.served_ms;
        if absent <= ABSENT_MS {
            return Ok(());
        }
        Err(Broken::new("L3", format!("HAProxy is gone for {absent} ms")))
    }

    /// S3: a request that lasts comes to its end, unless a fault took its worker.
    fn finished(&mut self, now: u64) -> Result<(), Broken> {
        let cut = std::mem::take(&mut self.site.cut);
        match cut.first().filter(|_| !self.is_shaken(now, DESTROYING)) {
            Some(cut) => Err(Broken::new("S3", format!("cut: {cut:?}"))),
            None => Ok(()),
        }
    }

    /// L5: an old worker ends when its time is over, whatever its clients do.
    fn old_workers_end(&self, now: u64, hard_stop_ms: u64) -> Result<(), Broken> {
        let most = hard_stop_ms + ENDS_MS;
        let is_late = |since: u64| now > since + most;
        let mut mortal = self.site.workers.iter().filter(|worker| !worker.is_immortal);
        let stays = mortal.find(|worker| worker.stopping_since_ms.is_some_and(is_late));
        match stays {
            Some(worker) => {
                let why = format!("worker {} was told to finish {most} ms ago", worker.pid);
                Err(Broken::new("L5", why))
            }
            None => Ok(()),
        }
    }

    /// S3: a server is not deleted before it has been in maintenance for long enough for requests
    /// that were on their way to it.
    pub(super) fn drained(
        &mut self,
        now: u64,
        pid: u32,
        command: &RuntimeCommand,
    ) -> Result<(), Broken> {
        match command {
            RuntimeCommand::SetServerState { backend, server, state } => {
                let of = (pid, backend.clone(), server.clone());
                match state {
                    ServerState::Maint => {
                        self.left.entry(of).or_insert(now);
                    }
                    _ => {
                        self.left.remove(&of);
                    }
                }
            }
            RuntimeCommand::DeleteServer { backend, server } => {
                let left = self.left.remove(&(pid, backend.clone(), server.clone()));
                if let Some(ago) = left.map(|at| now - at).filter(|ago| *ago < DRAIN_MS) {
                    let why = format!("{server} of {backend} left {ago} ms before it was deleted");
                    return Err(Broken::new("S3", why));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
