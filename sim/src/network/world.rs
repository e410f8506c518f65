//! Everything that is simulated around tidegate, in one place: the API server, HAProxy, what is
//! true, what goes wrong, what was seen.
//!
//! Inputs: entries of a schedule, commands that HAProxy carries out. Outputs: [`Outcomes`]. The
//! hosts of a run share it; each looks at it between two waits only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeSeed as _;
use serde_json::Value;
use tidegate::decode::{Decoded, SlimSeed};
use tidegate::vault::Vault;
use tidegate_core::action::RuntimeCommand;
use tidegate_core::digest::Digest;
use tidegate_core::settings::Settings;
use tidegate_core::world::object::{Kind, Object, ObjectRef};
use tokio::sync::Notify;

use super::api::store::{Store, resource_of};
use super::api::verbs::Place;
use super::files::Disk;
use super::manifest;
use super::proxy::answers::DENIED;
use super::proxy::process::Site;
use super::proxy::serve::{MASTER_PORT, WORKER_PORT};
use super::schedule::Schedule;
use crate::model::haproxy::{Haproxy, Reply};
use crate::swarm::cluster::Cluster;
use crate::swarm::judge::Broken;
use crate::swarm::schedule::What;

/// When simulated time begins, in seconds since 1970.
pub const EPOCH_S: u64 = 1_800_000_000;

/// The key of the vault's digests, the same in every run.
pub const VAULT_KEY: [u8; 32] = [7; 32];

/// What all hosts share.
pub type Shared = Arc<Mutex<World>>;

/// The world, for a moment.
pub fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The API server and what is wrong with it.
pub struct Api {
    store: Store,
    /// Another store that answers meanwhile.
    other: Option<Store>,
    /// Told of every change.
    pub changed: Arc<Notify>,
    /// Counts cuts of all connections.
    pub epoch: u64,
    /// Objects of a page at most.
    pub page_max: usize,
    /// Whether streaming lists are known.
    pub streaming: bool,
    /// Until when nothing is said.
    pub silent_until_ms: u64,
    /// Until when everything is 429.
    pub throttled_until_ms: u64,
    /// Until when everything is 500.
    pub unwell_until_ms: u64,
    /// The kind that is denied.
    pub denied: Option<&'static str>,
    /// Until when it is.
    pub denied_until_ms: u64,
    /// Writes whose answers are lost.
    pub lose_writes: u32,
    /// Lists that are cut.
    pub cut_lists: u32,
    /// Copies from some seconds ago, oldest first.
    copies: Vec<Store>,
}

impl Api {
    fn new(seed: u64, page_max: usize, streaming: bool) -> Api {
        Api {
            store: Store::new(seed & 0xfff, 100_000),
            other: None,
            changed: Arc::new(Notify::new()),
            epoch: 0,
            page_max,
            streaming,
            silent_until_ms: 0,
            throttled_until_ms: 0,
            unwell_until_ms: 0,
            denied: None,
            denied_until_ms: 0,
            lose_writes: 0,
            cut_lists: 0,
            copies: Vec::new(),
        }
    }

    /// The store that answers.
    #[must_use]
    pub fn store(&self) -> &Store {
        self.other.as_ref().unwrap_or(&self.store)
    }

    /// The store that answers, for a change.
    pub fn store_mut(&mut self) -> &mut Store {
        self.other.as_mut().unwrap_or(&mut self.store)
    }

    /// The store that the truth is in.
    #[must_use]
    pub fn true_store(&self) -> &Store {
        &self.store
    }

    /// Ends all connections.
    pub fn cut(&mut self) {
        self.epoch += 1;
        self.changed.notify_waiters();
    }

    /// Forgets all changes.
    pub fn compact(&mut self) {
        self.store_mut().compact();
    }

    /// An empty store answers from now on.
    pub fn empty(&mut self) {
        self.other = Some(Store::new(0xeee, 500));
        self.cut();
    }

    /// A copy from some seconds ago answers from now on.
    pub fn go_back(&mut self) {
        self.other = self.copies.first().cloned();
        self.cut();
    }

    /// The true store answers again.
    pub fn come_back(&mut self) {
        self.other = None;
        self.cut();
    }

    /// Copies the store now and then.
    pub fn copy(&mut self) {
        self.copies.push(self.store.clone());
        if self.copies.len() > 3 {
            self.copies.remove(0);
        }
    }
}

/// What goes wrong with HAProxy next.
#[derive(Clone, Debug, Default)]
pub struct Armed {
    /// Commands that are carried out before answers are lost.
    pub lose_commands: Option<u32>,
    /// Half of the next answer comes.
    pub cut_answer: bool,
    /// Until when the runtime socket says nothing.
    pub hang_until_ms: u64,
    /// The next command is refused.
    pub refuse_command: bool,
    /// Deletions of servers that are refused.
    pub busy: u32,
    /// The next reload is not answered.
    pub lose_reload: bool,
    /// The next start or reload takes that much longer.
    pub slow_files_ms: u64,
    /// The next start or reload fails.
    pub refuse_load: bool,
}

impl Armed {
    /// Takes the loss of answers.
    pub fn take_lose_commands(&mut self) -> Option<u32> {
        self.lose_commands.take()
    }
}

/// What a run amounts to.
#[derive(Clone, Debug, Default)]
pub struct Outcomes {
    /// The first promise that does not hold.
    pub broken: Option<Broken>,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// Runtime commands carried out.
    pub commands: u64,
    /// Reloads.
    pub reloads: u64,
    /// Writes to the API server: status, Events, Leases.
    pub writes: BTreeMap<&'static str, u64>,
    /// Lives of tidegate.
    pub lives: u64,
    /// Steps of the controller, as replayed from its journals.
    pub steps: u64,
    /// Hash over every step of every life: what went in and what came out.
    pub chain: u128,
    /// Host-milliseconds in which a request's fate was judged, and all.
    pub judged: (u64, u64),
    /// Situations that were reached, and how often.
    pub sometimes: BTreeMap<&'static str, u64>,
    /// (fault, phase, promise judged meanwhile).
    pub cells: BTreeSet<(&'static str, &'static str, &'static str)>,
    /// What happened, for people: time, row, words.
    pub trace: Vec<(u64, &'static str, String)>,
}

/// The world.
pub struct World {
    /// HAProxy.
    pub site: Site,
    /// The API server.
    pub api: Api,
    /// What is true and wanted.
    pub cluster: Cluster,
    /// What goes wrong with HAProxy next.
    pub armed: Armed,
    /// Whether nothing passes to the API server.
    pub partitioned: bool,
    /// What is collected.
    pub out: Outcomes,
    /// The memory when all was quiet last.
    pub frozen: Option<Haproxy>,
    /// Until when each kind of fault may show.
    pub shaken: BTreeMap<&'static str, u64>,
    /// Since when and until when it is not certain what tidegate was told.
    pub blind: (u64, u64),
    /// When HAProxy was reloaded last.
    pub reloaded_ms: u64,
    /// When a worker served last.
    pub served_ms: u64,
    /// Whether nothing may be changed.
    pub still: bool,
    /// Whether the promise that cannot be kept is judged.
    pub canary: bool,
    /// By how much the wall clock was set forward, in seconds.
    pub clock_s: u64,
    /// Kinds of which the present life of tidegate got a whole list.
    pub listed: BTreeSet<&'static str>,
    /// Whether tidegate was ready with everything listed, in this life or before: what HAProxy then
    /// serves from its files counts as well.
    pub was_ready: bool,
    /// Since when servers are in maintenance, by worker, backend and name.
    pub(super) left: BTreeMap<(u32, Arc<str>, Arc<str>), u64>,
    /// When Ingresses were created.
    pub(super) asked: BTreeMap<(String, String), u64>,
    traces: bool,
    stored_ms: u64,
    vault: Vault,
}

impl World {
    /// A world before anything has happened.
    #[must_use]
    pub fn new(schedule: &Schedule, settings: &Settings, disk: Disk, traces: bool) -> World {
        let mut site = Site::new(schedule.version, disk);
        site.refused_content = manifest::certificate(manifest::REFUSED).as_bytes().to_vec();
        let mut cluster = Cluster::new(settings.clone());
        // As long as tidegate may not know.
        cluster.memory_ms = 600_000;
        let vault = Vault::new(VAULT_KEY);
        if let Some(refused) = refused(&vault) {
            cluster.refused = refused;
        }
        let mut api = Api::new(schedule.seed, schedule.page_max, schedule.streaming);
        for object in cluster.objects() {
            manifest::of(object).and_then(|json| api.store.put(json));
        }
        World {
            site,
            api,
            cluster,
            armed: Armed::default(),
            partitioned: false,
            out: Outcomes::default(),
            frozen: None,
            shaken: BTreeMap::new(),
            blind: (0, 0),
            reloaded_ms: 0,
            served_ms: 0,
            still: false,
            canary: false,
            clock_s: 0,
            left: BTreeMap::new(),
            asked: BTreeMap::new(),
            listed: BTreeSet::new(),
            was_ready: false,
            traces,
            stored_ms: 0,
            vault,
        }
    }

    /// Now, in milliseconds since the beginning.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        let elapsed = turmoil::sim_elapsed().map(|elapsed| elapsed.as_millis());
        elapsed.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(self.stored_ms)
    }

    /// Now, in seconds since 1970.
    #[must_use]
    pub fn unix_s(&self) -> u64 {
        EPOCH_S + self.clock_s + self.now_ms() / 1000
    }

    /// Between two steps of the network it is this late.
    pub fn set_now(&mut self, now_ms: u64) {
        self.stored_ms = now_ms;
    }

    /// Notes something for people.
    pub fn note(&mut self, row: &'static str, words: impl FnOnce() -> String) {
        if self.traces {
            let now = self.now_ms();
            self.out.trace.push((now, row, words()));
        }
    }

    /// Counts a situation.
    pub fn sometimes(&mut self, what: &'static str) {
        *self.out.sometimes.entry(what).or_insert(0) += 1;
    }

    /// A promise does not hold. The first counts.
    pub fn broke(&mut self, broken: Broken) {
        if self.out.broken.is_none() {
            self.note("faults", || broken.to_string());
            self.out.broken = Some(broken);
        }
    }

    /// Whether something listens behind a socket of HAProxy's.
    #[must_use]
    pub fn listens(&self, port: u16) -> bool {
        match port {
            WORKER_PORT => self.site.serving().is_some(),
            MASTER_PORT => self.site.master.as_ref().is_some_and(|master| !master.busy),
            _ => false,
        }
    }

    /// HAProxy was reloaded, or refused to be.
    pub fn reloaded(&mut self) {
        self.reloaded_ms = self.now_ms();
        if self.still {
            self.broke(Broken::new("S13", "a reload, and nothing had changed".to_owned()));
        }
    }

    /// HAProxy refuses files that it was to load.
    pub fn refused_files(&mut self, words: &str) {
        let expected = words.contains(REFUSED_BIND) || words.contains("unable to load");
        self.sometimes("HAProxy refused files");
        if !expected {
            let why = format!("the files cannot be loaded: {words}");
            self.broke(Broken::new("S6", why));
        }
    }

    /// A whole list was given, or begun as a stream.
    pub fn listed(&mut self, place: &Place) {
        self.listed.insert(place.resource.plural);
    }

    /// tidegate wrote.
    pub fn wrote(&mut self, place: &Place) {
        let what = if place.status { "status" } else { place.resource.plural };
        *self.out.writes.entry(what).or_insert(0) += 1;
        if self.still && place.status {
            let why = "a status was written, and nothing had changed".to_owned();
            self.broke(Broken::new("S18", why));
        }
        if let Err(broken) = self.said_too_early(place) {
            self.broke(broken);
        }
    }

    /// A command is carried out on a worker.
    pub fn carry_out(&mut self, pid: u32, command: &RuntimeCommand) -> Reply {
        self.out.commands += 1;
        if self.still {
            self.broke(Broken::new("S13", format!("nothing had changed, and {command:?}")));
        }
        self.note("actions", || format!("{command:?}"));
        if self.armed.refuse_command && may_be_refused(command) {
            self.armed.refuse_command = false;
            self.sometimes("a command was refused without reason");
            self.strikes("refuse-command");
            return Reply::Refused(DENIED.to_owned());
        }
        if matches!(command, RuntimeCommand::DeleteServer { .. }) && self.armed.busy > 0 {
            self.armed.busy -= 1;
            self.sometimes("a server still had connections");
            self.strikes("busy");
            let busy = "Server still has connections attached to it, cannot remove it.";
            return Reply::Refused(busy.to_owned());
        }
        let Some(worker) = self.site.worker(pid) else {
            return Reply::Refused("no worker".to_owned());
        };
        let old = worker.stopping;
        if let RuntimeCommand::DeleteCrtListLine { file } = command {
            let kept = worker.memory.crt_list.iter().zip(&worker.lines);
            let kept = kept.filter(|((listed, _), _)| **listed != **file).map(|(_, line)| *line);
            worker.lines = kept.collect();
        }
        let reply = worker.memory.answer(command);
        let done = !matches!(reply, Reply::Refused(_));
        if worker.lines.len() < worker.memory.crt_list.len() {
            worker.lines.push(worker.lines.last().map_or(2, |last| last + 1));
        }
        if old {
            self.sometimes("an old worker was given commands");
        }
        if done && let Err(broken) = self.drained(pid, command) {
            self.broke(broken);
        }
        self.look_after(command);
        reply
    }

    /// The cluster changes, and everybody who watches is told.
    pub fn change(&mut self, what: &What) {
        let now = self.now_ms();
        let Some(object) = self.cluster.change(what) else { return };
        let Some(resource) = resource_of(object.kind.name()) else { return };
        let json = match what {
            What::Secret(_, 0) => None,
            What::Secret(_, number) => {
                let json = manifest::secret(&object.name.namespace, &object.name.name, *number);
                self.decode(&json);
                Some(json)
            }
            _ => self.cluster.truth(&object).and_then(manifest::of),
        };
        self.asks(&object, json.is_some(), now);
        match json {
            Some(json) => self.store(&object, json),
            None => {
                let name = (object.name.namespace.to_string(), object.name.name.to_string());
                self.api.store.delete(resource.plural, &name);
            }
        }
        self.cluster.tell(now, &object);
        if self.api.other.is_none() {
            self.api.changed.notify_waiters();
        }
        if now < self.blind.1 {
            self.sometimes("something changed while nothing was told");
        }
    }

    /// Stores what somebody wants; what others wrote into the object stays.
    fn store(&mut self, object: &ObjectRef, mut json: Value) {
        let name = (object.name.namespace.to_string(), object.name.name.to_string());
        let known = resource_of(object.kind.name())
            .and_then(|resource| self.api.store.get(resource.plural, &name));
        if let (Some(status), Some(fields)) =
            (known.and_then(|known| known.get("status")).cloned(), json.as_object_mut())
        {
            fields.insert("status".to_owned(), status);
        }
        self.api.store.put(json);
    }

    /// The truth about a Secret is what its bytes are.
    fn decode(&mut self, json: &Value) {
        if let Some(object) = decoded(json, &self.vault) {
            self.cluster.put(object);
        }
    }
}

/// A Secret as tidegate decodes it.
fn decoded(json: &Value, vault: &Vault) -> Option<Object> {
    let slim = SlimSeed(Some(Kind::Secret)).deserialize(json).ok()?;
    match slim.finish(Some(Kind::Secret), vault) {
        Decoded::Object(object) => Some(object),
        _ => None,
    }
}

/// The digest of the certificate that HAProxy refuses.
fn refused(vault: &Vault) -> Option<Digest> {
    match decoded(&manifest::secret("refused", "refused", manifest::REFUSED), vault)? {
        Object::Secret(secret) => Some(secret.certificate.as_ref()?.as_ref().ok()?.digest),
        _ => None,
    }
}

/// HAProxy's words when a port is taken.
pub const REFUSED_BIND: &str = "cannot bind socket";

/// What HAProxy judges by its bytes makes its owner withheld when it is refused; that is right,
/// and not what an unfounded refusal is to show.
fn may_be_refused(command: &RuntimeCommand) -> bool {
    !matches!(
        command,
        RuntimeCommand::InstallCertificate { .. }
            | RuntimeCommand::InstallAuthority { .. }
            | RuntimeCommand::ReplaceDefaultCertificate { .. }
            | RuntimeCommand::AddCrtListLine { .. }
    )
}
