//! The supervisor: which process serves, and that one does.
//!
//! Job: own the facts about HAProxy's processes. Adopt what runs, start what does not (spawn mode),
//! notice a worker that comes or goes, carry out reloads. Inputs: orders from the files lane, hints
//! from the runtime lane, a look every second. Outputs: `ProxyFound`, `WorkerSeen`, `WorkerLost`;
//! orders to the runtime lane; the outcome of reloads. Not here: files, commands.
//!
//! A worker that a reload brings is announced by the reload's ack alone, so nothing else looks
//! while one is under way: this task does both.

use std::time::Duration;

use tidegate_core::capability::Capabilities;
use tidegate_core::event::{Event, WorkerId};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::capabilities::{self, Discovery};
use super::files::{Generation, Generations};
use super::readback::Identity;
use super::reload;
use super::runtime::Control;
use super::worker::{self, Presence, Worker};
use super::{Mode, ProxyOptions, StopMode};
use crate::ports::{Endpoint, Ports, Signal};

/// Time between looks while a worker serves.
const LOOK: Duration = Duration::from_secs(1);
/// Time between looks while none does.
pub(super) const LOOK_SPAWN: Duration = Duration::from_millis(20);
const LOOK_ATTACH: Duration = Duration::from_millis(100);
/// A worker that served so long has earned an immediate restart.
const STEADY: Duration = Duration::from_secs(10);

/// Orders from outside.
pub(super) enum Order {
    /// Point the link to a generation and have HAProxy load it. Both are the supervisor's, which
    /// would start an HAProxy by itself as soon as there is something to start from.
    Reload(Generation, oneshot::Sender<Reloaded>),
    /// Clean end. Answered by whether connections had to be cut.
    Stop(StopMode, oneshot::Sender<bool>),
}

/// Outcome of a reload or first start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reloaded {
    /// This worker serves the new files.
    Serving(WorkerId),
    /// HAProxy's words.
    Refused(String),
    /// The link could not be switched for good; the system's words.
    NotPointed(String),
    /// No answer in time.
    Unknown,
}

/// Nobody takes events any more: the controller is gone.
pub(super) struct Ended;

pub(super) struct Supervisor {
    pub ports: Ports,
    pub options: ProxyOptions,
    pub generations: Generations,
    pub events: mpsc::Sender<Event>,
    pub control: mpsc::UnboundedSender<Control>,
    /// What the binary can do; `None` in attach mode without one.
    pub discovery: Option<Discovery>,
    pub state: State,
}

/// What is known about the processes.
#[derive(Default)]
pub(super) struct State {
    pub(super) worker: Option<Worker>,
    serving_since: Option<Instant>,
    workers_seen: u64,
    pub(super) master: Option<u32>,
    pub(super) announced: Option<Capabilities>,
    /// One that waits for its first files, if that was seen last.
    waiting: Option<Identity>,
    pub(super) pause: Option<Duration>,
    pub(super) start_not_before: Option<Instant>,
}

impl Supervisor {
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>, mut suspect: mpsc::Receiver<()>) {
        if self.arrive().await.is_err() {
            return;
        }
        loop {
            let pause = match (&self.state.worker, &self.options.mode) {
                (Some(_), _) => LOOK,
                (None, Mode::Spawn) => LOOK_SPAWN,
                (None, Mode::Attach { .. }) => LOOK_ATTACH,
            };
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Reload(generation, reply)) => {
                        if self.reload(generation, reply).await.is_err() {
                            return;
                        }
                        continue;
                    }
                    Some(Order::Stop(mode, reply)) => {
                        let _ = reply.send(self.stop(mode).await);
                        return;
                    }
                    None => return,
                },
                hint = suspect.recv() => if hint.is_none() {
                    return;
                },
                () = sleep(pause) => {}
            }
            if self.check().await.is_err() {
                return;
            }
        }
    }

    /// Finds out where we stand before anything is announced: core hears of an HAProxy that runs
    /// together with what it can do, and so never asks for one to be started beside it.
    async fn arrive(&mut self) -> Result<(), Ended> {
        // Without a master socket nothing can be reloaded: HAProxy then waits for a generation.
        let reloadable = matches!(self.options.mode, Mode::Attach { master: Some(_), .. });
        let bootstrap =
            |generations: &Generations| generations.bootstrap().map_err(|error| error.to_string());
        let bootstrapping = reloadable
            && self.generations.off(bootstrap).await.unwrap_or_else(|error| {
                tracing::error!(error, "HAProxy has nothing to start from");
                false
            });
        let mut presence = self.look().await;
        self.learn_master().await;
        if self.options.mode == Mode::Spawn {
            let deadline = Instant::now() + Duration::from_secs(5);
            while !matches!(presence, Presence::Serving(_))
                && self.master_alive()
                && Instant::now() < deadline
            {
                sleep(LOOK_SPAWN).await;
                presence = self.look().await;
            }
        }
        match presence {
            Presence::Serving(identity) => {
                tracing::info!(pid = identity.pid, version = identity.version, "adopting HAProxy");
                self.found(identity).await?;
            }
            Presence::Waiting(identity) => self.waits(identity).await?,
            Presence::Absent | Presence::Mute => {
                let startable = self.options.mode == Mode::Spawn
                    && self.generations.current().is_some()
                    && !self.master_alive();
                if startable {
                    self.restart().await?;
                }
            }
        }
        // Which HAProxy the bootstrap brings is not known yet; it need not be ours.
        if self.state.announced.is_none()
            && !bootstrapping
            && let Some(discovery) = &self.discovery
        {
            let capabilities = discovery.capabilities.clone();
            self.announce(capabilities).await?;
        }
        Ok(())
    }

    pub(super) async fn look(&self) -> Presence {
        let presence = worker::look(&*self.ports.net, &self.options.worker_endpoint()).await;
        match (presence, &self.options.mode) {
            // Left by an attached tidegate; ours to reload.
            (Presence::Waiting(identity), Mode::Spawn) => Presence::Serving(identity),
            (presence, _) => presence,
        }
    }

    /// An HAProxy that somebody started waits for its first files. Core hears what it can do, and
    /// asks for a first start.
    async fn waits(&mut self, identity: Identity) -> Result<(), Ended> {
        if self.state.waiting.as_ref() == Some(&identity) {
            return Ok(());
        }
        self.lost().await?;
        self.learn_master().await;
        self.state.announced = None;
        self.announce_version(&identity.version).await?;
        self.state.waiting = Some(identity);
        Ok(())
    }

    /// Compares what runs with what was known.
    pub(super) async fn check(&mut self) -> Result<(), Ended> {
        self.trim_log();
        let presence = self.look().await;
        let known = self.state.worker.as_ref();
        match presence {
            Presence::Serving(identity) => {
                let new = known.is_none_or(|worker| worker.identity != identity);
                if new || self.state.master.is_none() {
                    self.learn_master().await;
                }
                if new {
                    self.found(identity).await?;
                }
            }
            Presence::Waiting(identity) => self.waits(identity).await?,
            Presence::Absent => {
                self.lost().await?;
                let due = self.state.start_not_before.is_none_or(|at| Instant::now() >= at);
                let start = self.options.mode == Mode::Spawn
                    && due
                    && self.generations.current().is_some()
                    && !self.master_alive();
                if start {
                    self.restart().await?;
                }
            }
            Presence::Mute => tracing::warn!("the worker does not answer"),
        }
        Ok(())
    }

    /// A worker that no reload of ours brought.
    pub(super) async fn found(&mut self, identity: Identity) -> Result<(), Ended> {
        self.lost().await?;
        let version = identity.version.clone();
        let id = self.adopt(identity).await?;
        // The worker first: core starts an HAProxy when it knows what one can do and of no worker.
        self.send(Event::WorkerSeen(id)).await?;
        self.announce_version(&version).await
    }

    /// Makes a worker the one in use, for the runtime lane too.
    pub(super) async fn adopt(&mut self, identity: Identity) -> Result<WorkerId, Ended> {
        self.state.waiting = None;
        self.state.workers_seen += 1;
        let worker = Worker { id: WorkerId(self.state.workers_seen), identity };
        let id = worker.id;
        self.state.worker = Some(worker.clone());
        self.state.serving_since = Some(Instant::now());
        // The lane reads orders before actions, so it has this before anything for the worker.
        self.control.send(Control::Use(worker)).map_err(|_| Ended)?;
        Ok(id)
    }

    async fn lost(&mut self) -> Result<(), Ended> {
        let Some(worker) = self.state.worker.take() else { return Ok(()) };
        let steady = self.state.serving_since.is_some_and(|since| since.elapsed() >= STEADY);
        if steady {
            self.state.pause = None;
            self.state.start_not_before = None;
        }
        tracing::warn!(pid = worker.identity.pid, "HAProxy's worker is gone");
        self.control.send(Control::Lost).map_err(|_| Ended)?;
        self.send(Event::WorkerLost(worker.id)).await
    }

    pub(super) async fn announce_version(&mut self, version: &str) -> Result<(), Ended> {
        let known = self.discovery.as_ref().filter(|d| *d.capabilities.version == *version);
        let mut capabilities = match known {
            Some(discovery) => discovery.capabilities.clone(),
            None => {
                let pid = self.state.master;
                let processes = &self.ports.processes;
                let limits = pid.map_or((0, 0), |pid| {
                    (processes.descriptors(Some(pid)), processes.memory(Some(pid)))
                });
                capabilities::of_version(version, limits).capabilities
            }
        };
        if matches!(self.options.mode, Mode::Attach { .. }) {
            // Builds of a version differ. Without an answer what is known of it holds.
            let (net, endpoint) = (&*self.ports.net, self.options.worker_endpoint());
            capabilities.quic &= worker::speaks_quic(net, &endpoint).await.unwrap_or(true);
        }
        self.announce(capabilities).await
    }

    async fn announce(&mut self, capabilities: Capabilities) -> Result<(), Ended> {
        if self.state.announced.as_ref() == Some(&capabilities) {
            return Ok(());
        }
        self.state.announced = Some(capabilities.clone());
        self.send(Event::ProxyFound(capabilities)).await
    }

    async fn send(&self, event: Event) -> Result<(), Ended> {
        self.events.send(event).await.map_err(|_| Ended)
    }

    pub(super) async fn learn_master(&mut self) {
        if let Some(endpoint) = self.options.master_endpoint()
            && let Ok(family) = reload::family(&*self.ports.net, &endpoint).await
        {
            // In attach mode the number may be of another process namespace: for display only.
            self.state.master = Some(family.master);
        }
    }

    pub(super) fn master_alive(&self) -> bool {
        self.state.master.is_some_and(|pid| self.ports.processes.alive(pid))
    }

    /// Whether connections had to be cut.
    async fn stop(&mut self, mode: StopMode) -> bool {
        let StopMode::Soft { within } = mode else { return false };
        if self.options.mode != Mode::Spawn {
            return false;
        }
        // A worker does not end while anybody is connected to its socket: with our own connection each soft
        // stop would take all of the time there is.
        let _ = self.control.send(Control::Lost);
        // A 2.6 master loses a signal while it re-executes itself after loading its files; it does
        // not answer then either.
        if let Some(endpoint) = self.options.master_endpoint()
            && let Ok(family) = self.family_in_time(&endpoint).await
        {
            self.state.master = Some(family.master);
        }
        let Some(pid) = self.state.master else { return false };
        let steps = [
            (Signal::SoftStop, within),
            (Signal::Stop, Duration::from_secs(5)),
            (Signal::Kill, Duration::from_secs(1)),
        ];
        for (signal, patience) in steps {
            let was_cut = signal != Signal::SoftStop;
            if self.ports.processes.signal(pid, signal).is_err() {
                return was_cut;
            }
            let deadline = Instant::now() + patience;
            while Instant::now() < deadline {
                if !self.ports.processes.alive(pid) {
                    return was_cut;
                }
                sleep(LOOK_SPAWN).await;
            }
        }
        true
    }
}

impl ProxyOptions {
    pub(super) fn worker_endpoint(&self) -> Endpoint {
        match &self.mode {
            Mode::Spawn => Endpoint::Unix(self.run_dir().join("worker.sock")),
            Mode::Attach { worker, master: _ } => worker.clone(),
        }
    }

    /// Where the master is asked; `None` in attach mode without one.
    #[must_use]
    pub fn master_endpoint(&self) -> Option<Endpoint> {
        match &self.mode {
            Mode::Spawn => Some(Endpoint::Unix(self.run_dir().join("master.sock"))),
            Mode::Attach { master, worker: _ } => master.clone(),
        }
    }

    pub(super) fn log_file(&self) -> std::path::PathBuf {
        self.run_dir().join("haproxy.log")
    }
}
