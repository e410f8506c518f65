//! What the loop tells people: logs, metrics, readiness. Reads the controller, changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use tidegate_core::action::{ActionBody, ActionId};
use tidegate_core::controller::Controller;
use tidegate_core::digest::Digest;
use tidegate_core::event::{Ack, Event, Outcome};
use tidegate_core::problem::{Problem, Severity};
use tidegate_core::render::crt_list;

use crate::admin::{Counts, Readiness, Status};
use crate::journal::{Journal, State};
use crate::kube::Standing;
use crate::metrics::{Asked, JournalState, Metrics, Sizes};
use crate::ports::Ports;
use crate::vault::Vault;

/// Time after which readiness counts what HAProxy serves from the files of before, in milliseconds
/// since the start: lists that come usually come sooner, and a fresh table is better.
const FILES_COUNT_AFTER_MS: u64 = 10_000;

/// The telling side of the loop.
pub struct Report {
    /// For the admin address.
    pub status: Arc<Status>,
    /// For Prometheus.
    pub metrics: Arc<Metrics>,
    vault: Arc<Vault>,
    /// Actions that are not acked, for metrics.
    open: BTreeMap<ActionId, Asked>,
    readiness: Readiness,
    /// Until when a reload waits for its turn, if one does.
    held_until_ms: Option<u64>,
}

impl Report {
    /// A report on nothing yet.
    pub fn new(status: Arc<Status>, metrics: Arc<Metrics>, vault: Arc<Vault>) -> Report {
        let readiness = status.readiness();
        Report { status, metrics, vault, open: BTreeMap::new(), readiness, held_until_ms: None }
    }

    /// Where secret bytes are.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Sets readiness.
    pub fn readiness(&mut self, readiness: Readiness) {
        let yes = matches!(readiness, Readiness::Serving | Readiness::ServingFiles(_));
        self.metrics.ready(yes);
        self.status.set_readiness(readiness.clone());
        self.readiness = readiness;
    }

    /// Sets readiness to what is true, unless we are stopping.
    fn settle_readiness(&mut self, controller: &Controller, now_ms: u64) {
        let now = readiness(controller, now_ms);
        if self.readiness == Readiness::Draining || self.readiness == now {
            return;
        }
        match &now {
            Readiness::Serving => tracing::info!("serving"),
            Readiness::ServingFiles(why) => tracing::warn!(%why, "serving the files of before"),
            Readiness::Waiting(why) => tracing::info!(%why, "not ready"),
            Readiness::Draining => {}
        }
        self.readiness(now);
    }

    /// An action goes out.
    pub fn acting(&mut self, id: ActionId, body: &ActionBody) {
        match body {
            ActionBody::Runtime { worker, commands } => {
                tracing::debug!(id = id.0, worker = worker.0, commands = commands.len(), "runtime");
            }
            ActionBody::Reload { image: _, reasons } => {
                let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
                tracing::info!(id = id.0, reasons = reasons.join("; "), "reload");
            }
            ActionBody::Save { .. } => tracing::debug!(id = id.0, "save"),
            ActionBody::Check { .. } => tracing::info!(id = id.0, "check"),
            ActionBody::CheckSnippet { snippet } => {
                tracing::info!(id = id.0, place = snippet.place.name(), "check snippet");
            }
            ActionBody::ReadBack { .. } => tracing::debug!(id = id.0, "read back"),
            ActionBody::ResolveNames { names } => {
                tracing::debug!(id = id.0, names = names.len(), "resolve names");
                return;
            }
            ActionBody::FollowSecrets { add, drop } => {
                tracing::debug!(id = id.0, add = add.len(), drop = drop.len(), "follow secrets");
                return;
            }
            ActionBody::Relist { kind } => {
                tracing::info!(id = id.0, kind = kind.name(), "list anew");
                return;
            }
            ActionBody::Tell(tell) => {
                tracing::debug!(id = id.0, what = crate::journal::text::tell(tell), "tell");
            }
        }
        self.open.insert(id, Asked::of(body));
    }

    /// Answers came in.
    pub fn acked(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::Acked(Ack { id, outcomes, worker: _ }) => {
                    let Some(asked) = self.open.remove(id) else { continue };
                    self.metrics.answered(&asked, outcomes);
                    for outcome in outcomes {
                        if let Outcome::Refused(why) = outcome {
                            tracing::warn!(id = id.0, %why, "HAProxy refused");
                        }
                    }
                    if let (Asked::Reload(_), [Outcome::Done]) = (&asked, &**outcomes) {
                        tracing::info!(id = id.0, "reload done");
                    }
                }
                Event::WorkerSeen(worker) => {
                    tracing::info!(worker = worker.0, "a HAProxy worker answers");
                    self.metrics.worker_changed();
                }
                Event::WorkerLost(worker) => {
                    tracing::warn!(worker = worker.0, "a HAProxy worker is gone");
                }
                Event::ProxyFound(found) => {
                    tracing::info!(version = %found.version, tier = ?found.tier(), "HAProxy found");
                }
                _ => {}
            }
        }
    }

    /// HAProxy's memory was compared with what is wanted.
    pub fn audited(&self, differences: u64) {
        self.metrics.audited(differences);
        if differences > 0 {
            tracing::warn!(differences, "HAProxy's memory differed; somebody else changed it");
        }
    }

    /// A step was taken.
    pub fn stepped(
        &mut self,
        controller: &Controller,
        opened: &[Problem],
        closed: &[Problem],
        now_ms: u64,
    ) {
        for problem in opened {
            match problem.severity {
                Severity::Error => tracing::warn!(%problem, "problem"),
                Severity::Warning => tracing::info!(%problem, "problem"),
                Severity::Info => tracing::info!(%problem, "problem"),
            }
        }
        for problem in closed {
            tracing::info!(object = %problem.object, field = %problem.field, "problem solved");
        }
        if !opened.is_empty() || !closed.is_empty() {
            self.metrics.problems_changed(opened, closed);
            self.status.problems_changed(opened, closed);
        }
        self.settle_readiness(controller, now_ms);
        self.reload_held(controller, now_ms);
    }

    /// A reload that changes need waits for its turn: told once each time.
    fn reload_held(&mut self, controller: &Controller, now_ms: u64) {
        let held = controller.held_reload();
        let until_ms = held.as_ref().map(|(_, until)| until.0);
        let is_new = self.held_until_ms.is_none_or(|before| now_ms >= before);
        if let Some((reasons, until)) = held.filter(|_| is_new) {
            let wait_ms = until.0.saturating_sub(now_ms);
            let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            let reasons = reasons.join("; ");
            tracing::warn!(%reasons, wait_ms, "too many reloads in a minute: the next one waits");
            self.metrics.reload_held();
        }
        self.held_until_ms = until_ms;
    }

    /// Sizes, memory and what else is only looked at now and then.
    pub fn tidy(&mut self, controller: &Controller, ports: &Ports, journal: Option<&Journal>) {
        self.settle_readiness(controller, ports.clock.now_ms());
        self.metrics.cluster().stands(&standing(controller));
        let sizes = sizes(controller);
        self.metrics.sized(&sizes);
        let version = controller.capabilities().version.to_string();
        self.status.set_counts(Counts {
            sizes,
            haproxy: version,
            worker: controller.running().map(|running| running.worker.0),
            quiet: controller.is_quiet(),
            unsettled: controller.desired().dirty().len() as u64,
            stepped_at_ms: ports.clock.now_ms(),
        });
        if let Ok(text) = ports.files.read(Path::new("/proc/self/status")) {
            self.metrics.resident_from(&String::from_utf8_lossy(&text));
        }
        if let Some(journal) = journal {
            let status = journal.status();
            self.metrics.journaled(JournalState {
                bytes: status.bytes_on_disk,
                segments: status.segments,
                lossy: status.steps_lost > 0,
                stopped: matches!(status.state, State::Failed(_)),
            });
        }
        let unsaved = controller.unsaved_ms(ports.clock.now_ms());
        self.metrics.unsaved_for(unsaved as f64 / 1000.0);
        self.vault.sweep(&live(controller));
    }
}

fn readiness(controller: &Controller, now_ms: u64) -> Readiness {
    if controller.is_serving() {
        return Readiness::Serving;
    }
    let world = controller.world();
    if world.is_synced() {
        return Readiness::Waiting("no HAProxy worker serves a complete table".to_owned());
    }
    let kinds: Vec<&str> = world.awaited().into_iter().map(|kind| kind.name()).collect();
    let waits = match kinds.is_empty() {
        true => "it waits for the first Secrets".to_owned(),
        false => format!("it waits for the first complete lists: {}", kinds.join(", ")),
    };
    if controller.is_serving_files() && now_ms >= FILES_COUNT_AFTER_MS {
        return Readiness::ServingFiles(format!("from the files of before: {waits}"));
    }
    Readiness::Waiting(waits)
}

fn standing(controller: &Controller) -> Standing {
    let world = controller.world();
    let teller = controller.telling().map(|(teller, _)| teller);
    let holder = teller.map(|teller| teller.lease_holder().to_owned());
    Standing {
        synced: world.is_synced(),
        held: world.held(),
        leader: controller.is_leader(),
        holder: holder.filter(|holder| !holder.is_empty()),
        statuses_pending: teller.map_or(0, |teller| teller.statuses_pending()),
    }
}

fn sizes(controller: &Controller) -> Sizes {
    let image = controller.desired().image();
    // Two versions of an API have kinds of one name.
    let mut objects: BTreeMap<&'static str, u64> = BTreeMap::new();
    for (kind, count) in controller.world().counts() {
        *objects.entry(kind.name()).or_default() += count as u64;
    }
    Sizes {
        objects: objects.into_iter().collect(),
        routes: image.map(tidegate_core::action::MapId::Route).len() as u64,
        backends: image.backends.len() as u64,
        servers: image.backends.iter().map(|(_, backend)| backend.servers.len() as u64).sum(),
        certificates: image.certificates.len() as u64,
    }
}

/// Everything that core's images refer to, and what the Secrets hold that may be referred to next.
fn live(controller: &Controller) -> BTreeSet<Digest> {
    let image = controller.desired().image();
    let mut live: BTreeSet<Digest> =
        image.certificates.iter().filter_map(|(key, _)| Some(crt_list::parts(key)?.0)).collect();
    live.extend(image.default_certificate);
    live.extend(image.files.values().map(|file| match file.value {
        tidegate_core::desired::ServerFile::Authority(digest)
        | tidegate_core::desired::ServerFile::ClientCertificate(digest) => digest,
    }));
    live.extend(controller.world().secret_digests());
    live
}
