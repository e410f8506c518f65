//! What the loop tells people: logs, metrics, readiness. Reads the controller, changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use tidegate_core::action::{ActionBody, ActionId};
use tidegate_core::controller::Controller;
use tidegate_core::digest::Digest;
use tidegate_core::event::{Ack, Event, Outcome};
use tidegate_core::problem::{Problem, Severity};

use crate::admin::{Counts, Readiness, Status};
use crate::journal::{Journal, State};
use crate::metrics::{JournalState, Metrics, Sizes};
use crate::ports::Ports;
use crate::vault::Vault;

/// The telling side of the loop.
pub struct Report {
    /// For the admin address.
    pub status: Arc<Status>,
    /// For Prometheus.
    pub metrics: Arc<Metrics>,
    vault: Arc<Vault>,
    /// Actions that are not acked, for metrics.
    open: BTreeMap<ActionId, ActionBody>,
    serving: bool,
}

impl Report {
    /// A report on nothing yet.
    pub fn new(status: Arc<Status>, metrics: Arc<Metrics>, vault: Arc<Vault>) -> Report {
        Report { status, metrics, vault, open: BTreeMap::new(), serving: false }
    }

    /// Sets readiness.
    pub fn readiness(&self, readiness: Readiness) {
        self.metrics.ready(readiness == Readiness::Serving);
        self.status.set_readiness(readiness);
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
        self.open.insert(id, body.clone());
    }

    /// Answers came in.
    pub fn acked(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::Acked(Ack { id, outcomes, worker: _ }) => {
                    let Some(body) = self.open.remove(id) else { continue };
                    self.metrics.answered(&body, outcomes);
                    for outcome in outcomes {
                        if let Outcome::Refused(why) = outcome {
                            tracing::warn!(id = id.0, %why, "HAProxy refused");
                        }
                    }
                    if let (ActionBody::Reload { .. }, [Outcome::Done]) = (&body, &**outcomes) {
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
    pub fn stepped(&mut self, controller: &Controller, opened: &[Problem], closed: &[Problem]) {
        for problem in opened {
            match problem.severity {
                Severity::Error => tracing::warn!(%problem, "problem"),
                Severity::Warning => tracing::info!(%problem, "problem"),
            }
        }
        for problem in closed {
            tracing::info!(object = %problem.object, field = %problem.field, "problem solved");
        }
        if !opened.is_empty() || !closed.is_empty() {
            self.metrics.problems_changed(opened, closed);
            self.status.problems_changed(opened, closed);
        }
        let draining = self.status.readiness() == Readiness::Draining;
        if !draining && self.serving != controller.is_serving() {
            self.serving = controller.is_serving();
            self.readiness(if self.serving {
                tracing::info!("serving");
                Readiness::Serving
            } else {
                Readiness::Waiting("no HAProxy worker serves a complete table".into())
            });
        }
    }

    /// Sizes, memory and what else is only looked at now and then.
    pub fn tidy(&self, controller: &Controller, ports: &Ports, journal: Option<&Journal>) {
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

fn sizes(controller: &Controller) -> Sizes {
    let image = controller.desired().image();
    let objects = controller.world().counts();
    Sizes {
        objects: objects.into_iter().map(|(kind, count)| (kind.name(), count as u64)).collect(),
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
        image.certificates.iter().filter_map(|(hex, _)| Digest::from_hex(hex)).collect();
    live.extend(image.default_certificate);
    live.extend(image.files.values().map(|file| match file.value {
        tidegate_core::desired::ServerFile::Authority(digest)
        | tidegate_core::desired::ServerFile::ClientCertificate(digest) => digest,
    }));
    live.extend(controller.world().secret_digests());
    live
}
