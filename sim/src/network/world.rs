//! Everything that is simulated around tidegate, in one place: the API server, each replica's
//! HAProxy and disk, what is true, what goes wrong, what was seen.
//!
//! Inputs: entries of a schedule, commands that HAProxy carries out. Outputs: [`Outcomes`]. The
//! hosts of a run share it; each looks at it between two waits only.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeSeed as _;
use serde_json::Value;
use tidegate::decode::{Decoded, SlimSeed};
use tidegate::vault::Vault;
use tidegate_core::action::RuntimeCommand;
use tidegate_core::digest::Digest;
use tidegate_core::settings::Settings;
use tidegate_core::world::object::{Object, ObjectRef};

use super::api::server::Api;
use super::api::store::resource_of;
use super::api::verbs::Place;
use super::files::Disk;
use super::manifest;
use super::outcomes::Outcomes;
use super::proxy::answers::DENIED;
use super::proxy::process::Site;
use super::reloads::Changes;
use super::replica::{Replica, ReplicaId};
use super::schedule::Schedule;
use super::writers::Writers;
use crate::model::haproxy::Reply;
use crate::swarm::cluster::Cluster;
use crate::swarm::judge::Broken;
use crate::swarm::schedule::What;

/// When simulated time begins, in seconds since 1970.
pub const EPOCH_S: u64 = 1_800_000_000;

/// The key of the vault's digests, the same in every run.
pub const VAULT_KEY: [u8; 32] = [7; 32];

/// What all hosts share.
pub type Shared = Arc<Mutex<World>>;

/// The world as one replica's hosts share it.
#[derive(Clone)]
pub struct Here {
    /// The world.
    pub world: Shared,
    /// The replica.
    pub id: ReplicaId,
}

impl Here {
    /// The world, for a moment.
    pub fn lock(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    /// Reads or changes something of the replica.
    pub fn with<T>(&self, what: impl FnOnce(&mut Replica) -> T) -> T {
        what(self.lock().at(self.id))
    }

    /// A fault that waited for its occasion happens now.
    pub fn strikes(&self, name: &'static str) {
        let now = self.lock().now_ms();
        self.with(|replica| replica.strikes(now, name));
    }
}

/// The world, for a moment.
pub fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The world.
pub struct World {
    /// The replicas, each with its HAProxy and disk.
    pub replicas: Vec<Replica>,
    /// The API server.
    pub api: Api,
    /// What is true and wanted.
    pub cluster: Cluster,
    /// What is collected.
    pub out: Outcomes,
    /// Whether nothing may be changed.
    pub still: bool,
    /// Whether the promise that cannot be kept is judged.
    pub canary: bool,
    /// Who may write to the API server, and what was written.
    pub(super) writers: Writers,
    /// How many times clients began requests that last.
    begun: usize,
    traces: bool,
    stored_ms: u64,
    /// An old worker ends at the latest after so long, in milliseconds.
    pub(super) hard_stop_ms: u64,
    /// Reloads in a minute.
    pub(super) reloads_per_minute: u32,
    /// What changed lately.
    pub(super) changes: Changes,
    vault: Vault,
}

impl World {
    /// A world before anything has happened; a disk for each replica.
    #[must_use]
    pub fn new(schedule: &Schedule, settings: &Settings, disks: &[Disk], traces: bool) -> World {
        let replicas = disks.iter().map(|disk| {
            let mut site = Site::new(schedule.version, disk.clone());
            site.refused_content = manifest::certificate(manifest::REFUSED).as_bytes().to_vec();
            Replica::new(site)
        });
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
            replicas: replicas.collect(),
            api,
            cluster,
            out: Outcomes::default(),
            still: false,
            canary: false,
            writers: Writers::default(),
            begun: 0,
            traces,
            stored_ms: 0,
            reloads_per_minute: schedule.reloads_per_minute,
            changes: Changes::default(),
            hard_stop_ms: u64::from(schedule.hard_stop_s) * 1000,
            vault,
        }
    }

    /// A replica. Identities are those of [`World::ids`].
    #[must_use]
    pub fn of(&self, id: ReplicaId) -> &Replica {
        &self.replicas[id.0]
    }

    /// A replica, for a change.
    pub fn at(&mut self, id: ReplicaId) -> &mut Replica {
        &mut self.replicas[id.0]
    }

    /// All replicas.
    pub fn ids(&self) -> impl Iterator<Item = ReplicaId> + use<> {
        (0..self.replicas.len()).map(ReplicaId)
    }

    /// Who asks from an address.
    #[must_use]
    pub fn who(&self, address: IpAddr) -> ReplicaId {
        let found = self.ids().find(|id| self.of(*id).address == Some(address));
        found.unwrap_or_default()
    }

    /// Now, in milliseconds since the beginning.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        let elapsed = turmoil::sim_elapsed().map(|elapsed| elapsed.as_millis());
        elapsed.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(self.stored_ms)
    }

    /// Now by a replica's wall clock, in seconds since 1970.
    #[must_use]
    pub fn unix_s(&self, id: ReplicaId) -> u64 {
        (EPOCH_S + self.now_ms() / 1000).saturating_add_signed(self.of(id).clock_s)
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

    /// The same of a replica.
    pub fn note_at(&mut self, id: ReplicaId, row: &'static str, words: impl FnOnce() -> String) {
        self.note(row, || format!("{}{}", id.before_words(), words()));
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

    /// A promise does not hold at a replica.
    pub fn broke_at(&mut self, id: ReplicaId, broken: Broken) {
        let why = format!("{}{}", id.before_words(), broken.why);
        self.broke(Broken { why, ..broken });
    }

    /// HAProxy was reloaded, or refused to be.
    pub fn reloaded(&mut self, id: ReplicaId) {
        self.at(id).reloaded_ms = self.now_ms();
        if self.still {
            self.broke_at(id, Broken::new("S13", "a reload, and nothing had changed".to_owned()));
        }
    }

    /// HAProxy refuses files that it was to load.
    pub fn refused_files(&mut self, id: ReplicaId, words: &str) {
        let expected = words.contains(REFUSED_BIND) || words.contains("unable to load");
        self.sometimes("HAProxy refused files");
        if !expected {
            let why = format!("the files cannot be loaded: {words}");
            self.broke_at(id, Broken::new("S6", why));
        }
    }

    /// A whole list was given to a replica, or begun as a stream.
    pub fn listed(&mut self, id: ReplicaId, place: &Place) {
        let now = self.now_ms();
        let replica = self.at(id);
        replica.listed.insert(place.resource.plural);
        if let Err(broken) = replica.lists.one_more(place.resource.plural, now) {
            self.broke_at(id, broken);
        }
    }

    /// A command is carried out on a worker.
    pub fn carry_out(&mut self, id: ReplicaId, pid: u32, command: &RuntimeCommand) -> Reply {
        let now = self.now_ms();
        self.out.commands += 1;
        if self.still {
            let why = format!("nothing had changed, and {command:?}");
            self.broke_at(id, Broken::new("S13", why));
        }
        self.note_at(id, "actions", || format!("{command:?}"));
        let replica = self.at(id);
        let times = replica.carried_out.entry(as_heard(command)).or_insert(0);
        // Asked for again where notices cut the answer off.
        let is_asked_again = matches!(command, RuntimeCommand::DeleteBackend { .. });
        *times = if is_asked_again { 1 } else { *times + 1 };
        if replica.armed.refuse_command && may_be_refused(command) {
            replica.armed.refuse_command = false;
            replica.strikes(now, "refuse-command");
            self.sometimes("a command was refused without reason");
            return Reply::Refused(DENIED.to_owned());
        }
        if matches!(command, RuntimeCommand::DeleteServer { .. }) && replica.armed.busy > 0 {
            replica.armed.busy -= 1;
            replica.strikes(now, "busy");
            self.sometimes("a server still had connections");
            return Reply::Refused(BUSY.to_owned());
        }
        let Some(worker) = replica.site.worker(pid) else {
            return Reply::Refused("no worker".to_owned());
        };
        if let RuntimeCommand::DeleteServer { backend, server } = command
            && worker.streams_on(backend, server)
        {
            self.sometimes("a server that is to go had a request that lasts");
            return Reply::Refused(BUSY.to_owned());
        }
        let old = worker.stopping;
        let reply = worker.carry_out(command);
        let done = !matches!(reply, Reply::Refused(_));
        if old {
            self.sometimes("an old worker was given commands");
        }
        if let RuntimeCommand::ShutdownSessions { backend, server } = command {
            self.at(id).site.cut_streams(pid, backend, server);
        }
        if done {
            self.at(id).did(now, command);
            if let Err(broken) = self.at(id).drained(now, pid, command) {
                self.broke_at(id, broken);
            }
        }
        self.look_after(id, command);
        reply
    }

    /// Clients begin a request that lasts, one at each replica.
    pub fn begin_streams(&mut self, host: &str, until_ms: u64) {
        self.begun += 1;
        for id in self.ids() {
            let turn = self.begun;
            if self.at(id).site.begin_stream(host, until_ms, turn) {
                self.sometimes("a request that lasts began");
            }
        }
    }

    /// Those that have enough go, and old workers that take too long.
    pub fn end_streams(&mut self) {
        let now = self.now_ms();
        let mut late = 0;
        for replica in &mut self.replicas {
            replica.site.end_streams(now);
            late += replica.site.end_old_workers(now);
        }
        for _ in 0..late {
            self.sometimes("an old worker took too long, and its connections were cut");
        }
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
        self.api.is_to_change(now);
        match json {
            Some(json) => self.store(&object, json),
            None => {
                let name = (object.name.namespace.to_string(), object.name.name.to_string());
                self.api.store.delete(resource.plural, &name);
            }
        }
        self.tell(&object, now);
        self.changes.note(&object, now);
        if !self.api.is_replaced() {
            self.api.changed.notify_waiters();
        }
        if self.replicas.iter().any(|replica| replica.is_blind(now)) {
            self.sometimes("something changed while nothing was told");
        }
    }

    /// Stores an object that somebody wrote. Whether it is one that tidegate reads.
    pub fn apply(&mut self, json: Value) -> bool {
        let Some(object) = decoded(&json, &self.vault) else { return false };
        let (now, reference) = (self.now_ms(), object.object_ref());
        self.asks(&reference, true, now);
        self.store(&reference, json);
        self.cluster.put(object);
        self.tell(&reference, now);
        true
    }

    /// Whoever can hears of an object.
    fn tell(&mut self, object: &ObjectRef, now: u64) {
        self.cluster.tell(now, object);
        for replica in &mut self.replicas {
            replica.changes(now);
            replica.hears(&self.cluster, object, now);
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
        let before = known.and_then(|known| known.pointer("/metadata/generation")?.as_i64());
        if let (Some(before), Some(now)) = (before, json.pointer_mut("/metadata/generation")) {
            *now = (before + 1).into();
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

/// An object as tidegate decodes it.
fn decoded(json: &Value, vault: &Vault) -> Option<Object> {
    match SlimSeed(None).deserialize(json).ok()?.finish(None, vault) {
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

/// A command in words, as far as they can be heard: of certificates that is the file.
#[must_use]
pub fn as_heard(command: &RuntimeCommand) -> String {
    match command {
        RuntimeCommand::InstallCertificate { file, .. } => format!("install certificate {file}"),
        RuntimeCommand::InstallAuthority { file, .. } => format!("install authority {file}"),
        RuntimeCommand::ReplaceDefaultCertificate { .. } => "replace the default".to_owned(),
        other => format!("{other:?}"),
    }
}

/// HAProxy's words when a server cannot be deleted yet.
const BUSY: &str = "Server still has connections attached to it, cannot remove it.";

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
