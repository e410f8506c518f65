//! The promises of tier 1. Those about requests and handshakes are judged as in tier 0, after every
//! command that HAProxy carries out and whenever something changes; those about rest when all must
//! be quiet.
//!
//! What tidegate was told, and when, is not looked up in tidegate: while a fault may keep news from
//! it, every state of the truth since the fault's beginning counts as possible.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegate_core::action::{RuntimeCommand, ServerState};
use tidegate_core::world::object::{Kind, Name, Object, ObjectRef};

use super::api::verbs::Place;
use super::files::Disk;
use super::proxy::{Version, process};
use super::world::World;
use super::{STATE_DIR, manifest};
use crate::model::haproxy::Answer;
use crate::swarm::judge::{Broken, Scene, alarm, judge};

/// For how long a status waits for its routes, in milliseconds.
const EFFECT_MS: u64 = 1_000;
/// For how long a server is in maintenance before it is deleted, in milliseconds.
const DRAIN_MS: u64 = 1_000;
/// From a change of the truth to its effect, when nothing is in the way, in milliseconds.
const BOUND_MS: u64 = 600;
/// The same where a change may need a reload, checked ahead.
const BOUND_RELOAD_MS: u64 = 3_000;
/// The same after a fault, which a delay of retries may follow.
const SHAKEN_MS: u64 = 20_000;
/// Faults that delay what is told from having effect.
const DELAYING: &[&str] = &[
    "lose-commands",
    "cut-answer",
    "hang",
    "refuse-command",
    "busy",
    "lose-reload",
    "slow-reload",
    "refuse-load",
    "worker-dies",
    "tamper",
    "disk-full",
    "slow-disk",
    "controller-dies",
    "dies-writing",
    "power-cut",
];
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
    "power-cut",
];
/// Faults that may take away what a request needs.
const DESTROYING: &[&str] = &["worker-dies", "tamper", "power-cut"];
/// Faults after which a worker has what the files say, which may be some seconds old.
const RETURNING: &[&str] = &["worker-dies", "power-cut"];

impl World {
    /// Whether any fault of these names may still show.
    #[must_use]
    pub fn is_shaken(&self, names: &[&str]) -> bool {
        let now = self.now_ms();
        self.shaken.iter().any(|(name, until)| *until > now && names.contains(name))
    }

    /// From now on a fault may show, until then.
    pub fn shake(&mut self, name: &'static str, until_ms: u64) {
        let known = self.shaken.entry(name).or_insert(0);
        *known = until_ms.max(*known);
    }

    /// A fault that waited for its occasion happens now, and may show from here on.
    pub fn strikes(&mut self, name: &'static str) {
        self.shake(name, self.now_ms() + SHAKEN_MS);
    }

    /// From now on it is not certain what tidegate is told, until then.
    pub fn hide(&mut self, until_ms: u64) {
        let now = self.now_ms();
        if self.blind.1 < now {
            self.blind.0 = now;
        }
        self.blind.1 = self.blind.1.max(until_ms);
    }

    /// Judges what requests meet now.
    pub fn look(&mut self) {
        if let Err(broken) = self.judged() {
            self.broke(broken);
        }
    }

    /// The same after a command.
    pub fn look_after(&mut self, command: &RuntimeCommand) {
        if let Err(broken) = self.judged() {
            let why = format!("{} after {command:?}", broken.why);
            self.broke(Broken { why, ..broken });
        }
    }

    fn judged(&mut self) -> Result<(), Broken> {
        let now = self.now_ms();
        if self.site.serving().is_some() || self.is_shaken(HOLDING) {
            self.served_ms = now;
        }
        // Before the first quiet moment nothing was promised.
        let Some(frozen) = &self.frozen else { return Ok(()) };
        let Some(worker) = self.site.serving() else { return self.is_back_soon() };
        let is_blind = now < self.blind.1;
        let unknown = if is_blind { now - self.blind.0 + BOUND_RELOAD_MS } else { 0 };
        let bound_ms = match self.site.version {
            Version::V34 => BOUND_MS,
            Version::V26 | Version::V30 | Version::V32 => BOUND_RELOAD_MS,
        };
        let recent = now < self.reloaded_ms + BOUND_RELOAD_MS;
        let scene = Scene {
            now,
            cluster: &self.cluster,
            memory: &worker.memory,
            frozen: Some(frozen),
            is_calm: !is_blind && !recent && !self.is_shaken(DELAYING),
            is_blind,
            is_destroyed: self.is_shaken(DESTROYING),
            has_returned: self.is_shaken(RETURNING),
            bound_ms,
            shaken_ms: SHAKEN_MS.max(unknown),
            delayed_ms: SHAKEN_MS.max(unknown),
            bereft_at: None,
        };
        for what in judge(&scene)? {
            self.sometimes(what);
        }
        alarm(self.canary)?;
        self.cell(&["S1", "S2", "S4", "S19", "S29"]);
        Ok(())
    }

    /// L3: HAProxy that died is there again soon, from the files that there are.
    fn is_back_soon(&self) -> Result<(), Broken> {
        let absent = self.now_ms() - self.served_ms;
        if absent <= ABSENT_MS {
            return Ok(());
        }
        Err(Broken::new("L3", format!("HAProxy is gone for {absent} ms")))
    }

    fn cell(&mut self, promises: &[&'static str]) {
        let now = self.now_ms();
        let phase = if self.site.master.as_ref().is_none_or(|master| master.busy) {
            "HAProxy starts or reloads"
        } else if now < self.blind.1 {
            "blind"
        } else {
            "served"
        };
        let active = self.shaken.iter().filter(|(_, until)| **until > now);
        for (fault, _) in active {
            self.out.cells.extend(promises.iter().map(|promise| (*fault, phase, *promise)));
        }
    }

    /// Time passes: counts the request-time that is judged.
    pub fn pass(&mut self, span_ms: u64) {
        let judged =
            self.frozen.is_some() && !self.is_shaken(DESTROYING) && self.site.serving().is_some();
        let hosts = self.cluster.hosts().count() as u64;
        self.out.judged.0 += if judged { span_ms * hosts } else { 0 };
        self.out.judged.1 += span_ms * hosts;
    }

    /// All must be quiet and as wanted.
    pub fn quiet(&mut self) {
        self.still = false;
        match self.at_rest() {
            Ok(()) => {
                self.frozen = self.site.serving().map(|worker| worker.memory.clone());
                self.sometimes("all was quiet");
                self.cell(&["L1", "S13", "S18", "S28"]);
            }
            Err(broken) => self.broke(broken),
        }
    }

    fn at_rest(&self) -> Result<(), Broken> {
        let now = self.now_ms();
        if now < self.blind.1 || self.shaken.values().any(|until| *until > now) {
            let why = "quiet is expected while a fault may show".to_owned();
            return Err(Broken::new("schedule", why));
        }
        let Some(worker) = self.site.serving() else {
            return Err(Broken::new("L1", "no worker after all is over".to_owned()));
        };
        let disk = process::read(&self.site, &Path::new(STATE_DIR).join("haproxy.cfg"))
            .map_err(|words| Broken::new("S6", format!("the files do not load: {words}")))?;
        for host in self.cluster.hosts() {
            let has = worker.memory.route(host, "/");
            let Some(wanted) = self.cluster.wanted_since(host, now).last() else { continue };
            if has != wanted.answer {
                let wanted = &wanted.answer;
                let why = format!("quiet, and {host} meets {has:?}, by the rules {wanted:?}");
                return Err(Broken::new("L1", why));
            }
            let same = disk.route(host, "/") == has
                && disk.presented(host) == worker.memory.presented(host)
                && disk.is_guarded(host, "/") == worker.memory.is_guarded(host, "/");
            if !same {
                let why = format!("quiet, and a restart would serve {host} otherwise");
                return Err(Broken::new("S28", why));
            }
        }
        if self.site.workers.len() > 1 {
            let why = "old workers stay, and only tidegate is connected to them".to_owned();
            return Err(Broken::new("L5", why));
        }
        self.told()
    }

    /// The status of each Ingress says where it is reached; nothing is written twice.
    fn told(&self) -> Result<(), Broken> {
        let store = self.api.true_store();
        for object in self.cluster.objects() {
            let Object::Ingress(ingress) = object else { continue };
            let name =
                (ingress.meta.name.namespace.to_string(), ingress.meta.name.name.to_string());
            let Some(stored) = store.get("ingresses", &name) else { continue };
            let said = stored.pointer("/status/loadBalancer/ingress/0/ip").and_then(Value::as_str);
            if said != Some(super::PUBLISHED) {
                let why = format!("the status of {}/{} says {said:?}", name.0, name.1);
                return Err(Broken::new("L9", why));
            }
        }
        Ok(())
    }

    /// An Ingress is created, or anything becomes of another object.
    pub(super) fn asks(&mut self, object: &ObjectRef, exists: bool, now: u64) {
        if object.kind != Kind::Ingress {
            return;
        }
        let name = (object.name.namespace.to_string(), object.name.name.to_string());
        if !exists {
            self.asked.remove(&name);
        } else if self.api.true_store().get("ingresses", &name).is_none() {
            self.asked.insert(name, now);
        }
    }

    /// S18: for a second the status of a new Ingress waits for its routes.
    pub(super) fn said_too_early(&self, place: &Place) -> Result<(), Broken> {
        let now = self.now_ms();
        let (true, Some(namespace), Some(name)) = (place.status, &place.namespace, &place.name)
        else {
            return Ok(());
        };
        let name = (namespace.clone(), name.clone());
        let Some(asked) = self.asked.get(&name).filter(|at| now < **at + EFFECT_MS) else {
            return Ok(());
        };
        let may_not_know = now < self.blind.1 || self.frozen.is_none();
        let (Some(worker), false) = (self.site.serving(), may_not_know) else {
            return Ok(());
        };
        let is_it = |of: &Name| *of.namespace == *name.0 && *of.name == *name.1;
        for object in self.cluster.objects() {
            let Object::Ingress(ingress) = object else { continue };
            let mine = ingress.rules.iter().filter(|_| is_it(&ingress.meta.name));
            for host in mine.map(|rule| &*rule.host) {
                let is_served = |answer: &Answer| matches!(answer, Answer::Servers(_));
                let wanted = self.cluster.wanted_since(host, *asked).all(|w| is_served(&w.answer));
                let has = worker.memory.route(host, "/");
                if wanted && !is_served(&has) {
                    let why = format!("a status says that {host} is served, and it meets {has:?}");
                    return Err(Broken::new("S18", why));
                }
            }
        }
        Ok(())
    }

    /// S3: a server is not deleted before it has been in maintenance for long enough for requests
    /// that were on their way to it.
    pub(super) fn drained(&mut self, pid: u32, command: &RuntimeCommand) -> Result<(), Broken> {
        let now = self.now_ms();
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

    /// S20: no line of a private key is anywhere but in files of certificates: not in the journal,
    /// not in what was told to the API server.
    pub fn kept_secret(&mut self, disk: &Disk) {
        let is_theirs = |path: &Path| {
            let mut names = path.iter().filter_map(|name| name.to_str());
            names.any(|name| ["certs", "ca", "self-signed.pem"].contains(&name))
        };
        let markers: Vec<&str> = manifest::private_lines().collect();
        let has = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            markers.iter().any(|marker| text.contains(marker))
        };
        let mut written = disk.all();
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
    pub fn survived(&mut self, before: &[(PathBuf, Vec<u8>)]) {
        let disk = self.site.disk.clone();
        let config = disk.resolve(&Path::new(STATE_DIR).join("haproxy.cfg"));
        let folder = config.parent().unwrap_or(Path::new("/"));
        if disk.read(&config).is_none() && self.frozen.is_none() {
            // Nothing was saved yet.
            return;
        }
        // Written later, and read by nobody who serves.
        let is_its = |path: &Path| path.starts_with(folder) && !path.ends_with("loaded");
        let mut its = before.iter().filter(|(path, _)| is_its(path)).peekable();
        if its.peek().is_none() {
            let why = format!("after a power loss the link leads to {}", config.display());
            return self.broke(Broken::new("S6", why));
        }
        if let Some((path, _)) = its.find(|(path, was)| disk.read(path).as_ref() != Some(was)) {
            let why = format!("{} is torn after a power loss", path.display());
            self.broke(Broken::new("S6", why));
        }
    }

    /// tidegate says that it is ready.
    pub fn ready(&mut self) {
        let kinds = [Kind::Service, Kind::EndpointSlice, Kind::Ingress, Kind::IngressClass];
        let wanted: BTreeSet<&str> = kinds
            .iter()
            .filter_map(|kind| Some(super::api::store::resource_of(kind.name())?.plural))
            .collect();
        let missing: Vec<&str> = wanted.difference(&self.listed).copied().collect();
        if missing.is_empty() {
            self.was_ready = true;
        } else if self.was_ready {
            self.sometimes("tidegate was ready with the files of before");
        } else {
            let why = format!("ready, and {missing:?} were never listed");
            self.broke(Broken::new("S25", why));
        }
        self.sometimes("tidegate was ready");
    }
}
