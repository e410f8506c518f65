//! The supervisor: which process serves, and that one does.
//!
//! Job: own the facts about HAProxy's processes. Adopt what runs, start what does not (spawn mode),
//! notice a worker that comes or goes, carry out reloads. Inputs: orders from the files lane, hints
//! from the runtime lane, a look every second. Outputs: `ProxyFound`, `WorkerSeen`, `WorkerLost`;
//! orders to the runtime lane; the outcome of reloads. Not here: files, commands.
//!
//! A worker that a reload brings is announced by the reload's ack alone, so nothing else looks
//! while one is under way: this task does both.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::capability::Capabilities;
use tidegate_core::event::{Event, WorkerId};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::capabilities::{self, Discovery};
use super::files::{Generation, Generations};
use super::readback::Identity;
use super::reload::{self, Verdict};
use super::runtime::Control;
use super::worker::{self, Presence, Worker};
use super::{Mode, ProxyOptions, StopMode};
use crate::ports::{Endpoint, Ports, Signal, Start};

/// Time between looks while a worker serves.
const LOOK: Duration = Duration::from_secs(1);
/// Time between looks while none does.
const LOOK_SPAWN: Duration = Duration::from_millis(20);
const LOOK_ATTACH: Duration = Duration::from_millis(100);
/// Time between looks for the worker that a start or reload brings.
const LOOK_NEW: Duration = Duration::from_millis(10);
/// Pause before a second start, doubling with each further one.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A worker that served so long has earned an immediate restart.
const STEADY: Duration = Duration::from_secs(10);
/// The log file is emptied before a start when it is longer than this, in bytes.
const LOG_MAX: u64 = 16 * 1024 * 1024;
/// How much of the log's end is searched for HAProxy's words, in bytes.
const LOG_TAIL: usize = 64 * 1024;

/// Orders from outside.
pub(super) enum Order {
    /// Have HAProxy load what the link points to.
    Reload(oneshot::Sender<Reloaded>),
    /// Clean end.
    Stop(StopMode, oneshot::Sender<()>),
}

/// Outcome of a reload or first start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reloaded {
    /// This worker serves the new files.
    Serving(WorkerId),
    /// HAProxy's words.
    Refused(String),
    /// No answer in time.
    Unknown,
}

/// Nobody takes events any more: the controller is gone.
struct Ended;

/// How a start ended.
enum Started {
    Serving(Identity),
    Failed(String),
    Unknown,
}

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
    worker: Option<Worker>,
    serving_since: Option<Instant>,
    workers_seen: u64,
    master: Option<u32>,
    announced: Option<Capabilities>,
    pause: Option<Duration>,
    start_not_before: Option<Instant>,
}

impl Supervisor {
    pub async fn run(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        mut suspect: mpsc::Receiver<()>,
    ) {
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
                    Some(Order::Reload(reply)) => {
                        if self.reload(reply).await.is_err() {
                            return;
                        }
                        continue;
                    }
                    Some(Order::Stop(mode, reply)) => {
                        self.stop(mode).await;
                        let _ = reply.send(());
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
            Presence::Absent | Presence::Mute => {
                let startable = self.options.mode == Mode::Spawn
                    && self.generations.current().is_some()
                    && !self.master_alive();
                if startable {
                    self.restart().await?;
                }
            }
        }
        if self.state.announced.is_none()
            && let Some(discovery) = &self.discovery
        {
            let capabilities = discovery.capabilities.clone();
            self.announce(capabilities).await?;
        }
        Ok(())
    }

    async fn look(&self) -> Presence {
        worker::look(&*self.ports.net, &self.options.worker_endpoint()).await
    }

    /// Compares what runs with what was known.
    async fn check(&mut self) -> Result<(), Ended> {
        let presence = self.look().await;
        let known = self.state.worker.as_ref();
        match presence {
            Presence::Serving(identity) => {
                if known.is_none_or(|worker| worker.identity != identity) {
                    self.learn_master().await;
                    self.found(identity).await?;
                }
            }
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
    async fn found(&mut self, identity: Identity) -> Result<(), Ended> {
        self.lost().await?;
        let id = self.adopt(identity).await?;
        self.send(Event::WorkerSeen(id)).await
    }

    /// Makes a worker the one in use, for the runtime lane too.
    async fn adopt(&mut self, identity: Identity) -> Result<WorkerId, Ended> {
        self.announce_version(&identity.version).await?;
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

    async fn announce_version(&mut self, version: &str) -> Result<(), Ended> {
        let known = self.discovery.as_ref().filter(|d| *d.capabilities.version == *version);
        let capabilities = match known {
            Some(discovery) => discovery.capabilities.clone(),
            None => {
                let pid = self.state.master;
                let descriptors = pid.map_or(0, |pid| self.ports.processes.descriptors(Some(pid)));
                capabilities::of_version(version, descriptors).capabilities
            }
        };
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

    async fn learn_master(&mut self) {
        if let Some(endpoint) = self.options.master_endpoint()
            && let Ok(family) = reload::family(&*self.ports.net, &endpoint).await
        {
            // In attach mode the number may be of another process namespace: for display only.
            self.state.master = Some(family.master);
        }
    }

    fn master_alive(&self) -> bool {
        self.state.master.is_some_and(|pid| self.ports.processes.alive(pid))
    }

    /// Starts HAProxy from the files on disk; falls back to the last generation it has loaded when
    /// the present one is refused.
    async fn restart(&mut self) -> Result<(), Ended> {
        let present = self.generations.current();
        let mut started = self.start().await;
        if let Started::Failed(words) = &started {
            tracing::error!(%words, "HAProxy does not start from the files on disk");
            if let Some(good) = self.better_than(present).await {
                started = self.start().await;
                tracing::warn!(generation = good.0, "went back to the last generation that ran");
            }
        }
        match started {
            Started::Serving(identity) => {
                if let Some(generation) = self.generations.current() {
                    self.generations.mark_loaded(generation);
                }
                self.found(identity).await
            }
            Started::Failed(_) | Started::Unknown => Ok(()),
        }
    }

    /// Points to the last generation that ran, if HAProxy says that the present one is at fault
    /// (and not, for example, a port that is taken).
    async fn better_than(&mut self, present: Option<Generation>) -> Option<Generation> {
        let config = self.generations.config();
        let verdict = self.ports.processes.validate(&self.options.binary, &config).await;
        if !matches!(verdict, Ok(Err(_))) {
            return None;
        }
        let good = self.generations.last_loaded(present)?;
        self.generations.point(good).ok()?;
        Some(good)
    }

    /// Starts the master and waits until a worker serves.
    async fn start(&mut self) -> Started {
        let pause = self.state.pause.map_or(PAUSE_MIN, |pause| (pause * 2).min(PAUSE_MAX));
        self.state.pause = Some(pause);
        let log = self.options.log_file();
        if self.ports.files.length(&log).is_ok_and(|length| length > LOG_MAX) {
            let _ = self.ports.files.truncate(&log, 0);
        }
        let log_start = self.ports.files.length(&log).unwrap_or(0);
        let start = Start {
            binary: self.options.binary.clone(),
            config: self.generations.config(),
            master_socket: self.options.run_dir().join("master.sock"),
            log,
            inherit_stdout: self.options.inherit_stdout,
        };
        let pid = match self.ports.processes.start(&start).await {
            Ok(pid) => pid,
            Err(error) => return Started::Failed(format!("cannot start HAProxy: {error}")),
        };
        tracing::info!(pid, "started HAProxy");
        self.state.master = Some(pid);
        let deadline = Instant::now() + self.options.reload_patience;
        let started = loop {
            if let Presence::Serving(identity) = self.look().await {
                break Started::Serving(identity);
            }
            if !self.ports.processes.alive(pid) {
                break Started::Failed(self.words_since(log_start));
            }
            if Instant::now() >= deadline {
                break Started::Unknown;
            }
            sleep(LOOK_NEW).await;
        };
        self.state.start_not_before = Some(Instant::now() + pause);
        started
    }

    fn words_since(&self, start: u64) -> String {
        let Ok(log) = self.ports.files.read(&self.options.log_file()) else {
            return "HAProxy ended without a word".to_owned();
        };
        let start = usize::try_from(start).unwrap_or(0).min(log.len());
        let start = start.max(log.len().saturating_sub(LOG_TAIL));
        let words = reload::words(&String::from_utf8_lossy(&log[start..]));
        if words.is_empty() { "HAProxy ended without a word".to_owned() } else { words }
    }

    async fn reload(&mut self, reply: oneshot::Sender<Reloaded>) -> Result<(), Ended> {
        match self.look().await {
            Presence::Serving(previous) => self.reload_running(Some(previous), reply).await,
            Presence::Mute => {
                let previous = self.state.worker.as_ref().map(|worker| worker.identity.clone());
                self.reload_running(previous, reply).await
            }
            Presence::Absent => {
                let started = match &self.options.mode {
                    Mode::Spawn if self.master_alive() => {
                        return self.reload_running(None, reply).await;
                    }
                    Mode::Spawn => self.start().await,
                    Mode::Attach { .. } => self.await_worker().await,
                };
                let outcome = match started {
                    Started::Serving(identity) => self.reloaded(identity).await?,
                    Started::Failed(words) => Reloaded::Refused(words),
                    Started::Unknown => Reloaded::Unknown,
                };
                let _ = reply.send(outcome);
                Ok(())
            }
        }
    }

    /// Somebody else starts HAProxy, now that there are files to start from.
    async fn await_worker(&self) -> Started {
        let deadline = Instant::now() + self.options.reload_patience;
        while Instant::now() < deadline {
            if let Presence::Serving(identity) = self.look().await {
                return Started::Serving(identity);
            }
            sleep(LOOK_ATTACH).await;
        }
        Started::Unknown
    }

    /// A worker that our reload brought: its ack announces it.
    async fn reloaded(&mut self, identity: Identity) -> Result<Reloaded, Ended> {
        self.learn_master().await;
        Ok(Reloaded::Serving(self.adopt(identity).await?))
    }

    async fn reload_running(
        &mut self,
        previous: Option<Identity>,
        reply: oneshot::Sender<Reloaded>,
    ) -> Result<(), Ended> {
        let Some(master) = self.options.master_endpoint() else {
            let words = "there is no master socket to reload HAProxy through".to_owned();
            let _ = reply.send(Reloaded::Refused(words));
            return Ok(());
        };
        let log_start = self.ports.files.length(&self.options.log_file()).unwrap_or(0);
        let before = reload::family(&*self.ports.net, &master).await.unwrap_or_default();
        let net = Arc::clone(&self.ports.net);
        let patience = self.options.reload_patience;
        let mut asked = Box::pin(reload::reload(&*net, &master, patience));
        let mut verdict = None;
        let deadline = Instant::now() + patience;
        let outcome = loop {
            tokio::select! {
                biased;
                said = &mut asked, if verdict.is_none() => match said {
                    Verdict::Refused(words) => break Reloaded::Refused(words),
                    Verdict::Accepted | Verdict::Silent => verdict = Some(said),
                },
                () = sleep(LOOK_NEW) => {}
            }
            match self.look().await {
                Presence::Serving(identity) if Some(&identity) != previous.as_ref() => {
                    break self.reloaded(identity).await?;
                }
                Presence::Serving(_) | Presence::Absent | Presence::Mute => {}
            }
            if verdict == Some(Verdict::Silent)
                && let Ok(now) = reload::family(&*self.ports.net, &master).await
                && now.reloads > before.reloads
                && now.failed > 0
            {
                break Reloaded::Refused(self.words_since(log_start));
            }
            if Instant::now() >= deadline {
                break Reloaded::Unknown;
            }
        };
        let _ = reply.send(outcome);
        if verdict.is_none() {
            // The worker serves before the master says so. The next reload waits for that.
            let _ = timeout(Duration::from_secs(2), asked).await;
        }
        Ok(())
    }

    async fn stop(&mut self, mode: StopMode) {
        let StopMode::Soft { within } = mode else { return };
        let Some(pid) = self.state.master else { return };
        if self.options.mode != Mode::Spawn {
            return;
        }
        let steps = [
            (Signal::SoftStop, within),
            (Signal::Stop, Duration::from_secs(5)),
            (Signal::Kill, Duration::from_secs(1)),
        ];
        for (signal, patience) in steps {
            if self.ports.processes.signal(pid, signal).is_err() {
                return;
            }
            let deadline = Instant::now() + patience;
            while Instant::now() < deadline {
                if !self.ports.processes.alive(pid) {
                    return;
                }
                sleep(LOOK_SPAWN).await;
            }
        }
    }
}

impl ProxyOptions {
    pub(super) fn worker_endpoint(&self) -> Endpoint {
        match &self.mode {
            Mode::Spawn => Endpoint::Unix(self.run_dir().join("worker.sock")),
            Mode::Attach { worker, master: _ } => worker.clone(),
        }
    }

    fn master_endpoint(&self) -> Option<Endpoint> {
        match &self.mode {
            Mode::Spawn => Some(Endpoint::Unix(self.run_dir().join("master.sock"))),
            Mode::Attach { master, worker: _ } => master.clone(),
        }
    }

    fn log_file(&self) -> std::path::PathBuf {
        self.run_dir().join("haproxy.log")
    }
}
