//! The HAProxy adapter: carries out core's actions on a real HAProxy, and tells what happens to it.
//!
//! Job: start or attach to HAProxy, adopt what runs, run each lane's actions in order, ack each
//! exactly once. Inputs: actions, secret bytes from the vault. Outputs: events. Not here: any
//! decision about configuration; an action says everything.
//!
//! Four tasks. The runtime lane (`runtime`) owns the connection to the worker. The files lane
//! (`lane`) writes generations. The trial lane (`trial`) has snippets judged. The supervisor (`supervisor`) owns the processes and tells the
//! runtime lane whom to talk to; reloads go through it.

pub mod capabilities;
pub mod command;
pub mod files;
mod lane;
mod launch;
pub mod leftover;
pub mod readback;
pub mod reload;
pub mod reply;
mod runtime;
pub mod socket;
mod supervisor;
mod text;
mod trial;
pub mod worker;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::action::{Action, Lane};
use tidegate_core::event::Event;
use tidegate_core::render::FileContent;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};

use crate::ports::{Endpoint, Lock, Ports};
use crate::vault::Vault;
use capabilities::Discovery;
use supervisor::Order;

/// Who starts HAProxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// We do, and again whenever it ends. Sockets are in the state folder.
    Spawn,
    /// Somebody else does, from the state folder's `haproxy.cfg`.
    Attach {
        /// The master socket; without it nothing can be reloaded.
        master: Option<Endpoint>,
        /// The worker's runtime socket.
        worker: Endpoint,
    },
}

/// Options of the adapter.
#[derive(Clone, Debug)]
pub struct ProxyOptions {
    /// Folder for generations, sockets and the lock.
    pub state_dir: PathBuf,
    /// HAProxy's executable. In attach mode it may be missing: then nothing is checked ahead, and
    /// abilities follow from the version.
    pub binary: PathBuf,
    /// Who starts HAProxy.
    pub mode: Mode,
    /// Whether HAProxy shares our standard output, for logs in a container.
    pub inherit_stdout: bool,
    /// Longest silence of the runtime socket before an outcome counts as unknown.
    pub answer_patience: Duration,
    /// Longest wait for a start or reload before its outcome counts as unknown.
    pub reload_patience: Duration,
}

impl ProxyOptions {
    /// Spawn mode with the documented defaults.
    #[must_use]
    pub fn spawn(state_dir: PathBuf, binary: PathBuf) -> ProxyOptions {
        ProxyOptions {
            state_dir,
            binary,
            mode: Mode::Spawn,
            inherit_stdout: false,
            answer_patience: Duration::from_secs(5),
            reload_patience: Duration::from_secs(60),
        }
    }

    /// Folder for sockets and HAProxy's log.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.state_dir.join("run")
    }
}

/// What becomes of HAProxy when the adapter stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// It goes on serving; the next controller adopts it.
    Leave,
    /// It finishes its connections for so long, then ends. In attach mode it is left alone.
    Soft {
        /// Time for connections to end.
        within: Duration,
    },
}

/// Entry point of the adapter.
pub struct Proxy;

/// A running adapter. Dropping it ends its tasks and leaves HAProxy serving.
pub struct ProxyHandle {
    runtime: mpsc::UnboundedSender<Action>,
    files: mpsc::UnboundedSender<Action>,
    trials: mpsc::UnboundedSender<Action>,
    orders: mpsc::Sender<Order>,
    tasks: JoinSet<()>,
    discovery: Option<Discovery>,
    _lock: Box<dyn Lock>,
}

impl Proxy {
    /// Locks the state folder, finds out what HAProxy can do, and starts the tasks. The first
    /// events are `WorkerSeen`, if a worker runs or could be started from the files on disk, and
    /// `ProxyFound` right after it.
    ///
    /// # Errors
    /// When another controller holds the state folder ([`io::ErrorKind::WouldBlock`]), the folder
    /// cannot be used, or in spawn mode the executable cannot be run.
    pub async fn start(
        ports: Ports,
        options: ProxyOptions,
        vault: Arc<Vault>,
        events: mpsc::Sender<Event>,
    ) -> io::Result<ProxyHandle> {
        ports.files.create_dir(&options.run_dir(), 0o755)?;
        let lock = lock_state(&ports, &options).await?;
        let found = capabilities::of_binary(&ports, &options.binary, &options.run_dir()).await;
        let discovery = match (found, &options.mode) {
            (Ok(discovery), _) => Some(discovery),
            (Err(error), Mode::Spawn) => {
                let text = format!("{}: {error}", options.binary.display());
                return Err(io::Error::new(error.kind(), text));
            }
            (Err(_), Mode::Attach { .. }) => None,
        };
        let generations = files::Generations::new(Arc::clone(&ports.files), &options.state_dir);
        // Actions are bounded by core: one plan per lane is under way at a time.
        let (runtime, runtime_actions) = mpsc::unbounded_channel();
        let (files, files_actions) = mpsc::unbounded_channel();
        let (trials, trial_actions) = mpsc::unbounded_channel();
        let (control, control_orders) = mpsc::unbounded_channel();
        let (orders, supervisor_orders) = mpsc::channel(4);
        let (suspect, suspicions) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        let runtime_lane = runtime::RuntimeLane {
            net: Arc::clone(&ports.net),
            endpoint: options.worker_endpoint(),
            vault: Arc::clone(&vault),
            patience: options.answer_patience,
            generations: generations.clone(),
            events: events.clone(),
            suspect,
            worker: None,
            connection: None,
            left: None,
        };
        tasks.spawn(runtime_lane.run(control_orders, runtime_actions));
        let files_lane = lane::FilesLane {
            ports: ports.clone(),
            options: options.clone(),
            generations: generations.clone(),
            vault,
            events: events.clone(),
            orders: orders.clone(),
        };
        tasks.spawn(files_lane.run(files_actions));
        let trial_lane = trial::TrialLane {
            ports: ports.clone(),
            options: options.clone(),
            events: events.clone(),
        };
        tasks.spawn(trial_lane.run(trial_actions));
        let supervisor = supervisor::Supervisor {
            ports,
            options,
            generations,
            events,
            control,
            discovery: discovery.clone(),
            state: supervisor::State::default(),
        };
        tasks.spawn(supervisor.run(supervisor_orders, suspicions));
        Ok(ProxyHandle { runtime, files, trials, orders, tasks, discovery, _lock: lock })
    }
}

impl ProxyHandle {
    /// Hands an action to its lane. Those of other lanes than ours are not for this adapter and
    /// are dropped.
    pub fn send(&self, action: Action) {
        // A lane that ended shows in `ended`, which ends the program.
        let _ = match action.body.lane() {
            Lane::Runtime => self.runtime.send(action),
            Lane::Files => self.files.send(action),
            Lane::Trial => self.trials.send(action),
            Lane::Source | Lane::Cluster => Ok(()),
        };
    }

    /// How the binary's abilities were found; `None` in attach mode without a binary.
    #[must_use]
    pub fn discovery(&self) -> Option<&Discovery> {
        self.discovery.as_ref()
    }

    /// Resolves when one of the tasks ends: nothing is carried out any more.
    ///
    /// # Errors
    /// When the task panicked.
    pub async fn ended(&mut self) -> Result<(), JoinError> {
        self.tasks.join_next().await.unwrap_or(Ok(()))
    }

    /// Ends the adapter, and HAProxy if asked for. Whether connections had to be cut.
    ///
    /// # Errors
    /// When a task panicked.
    pub async fn stop(self, mode: StopMode) -> Result<bool, JoinError> {
        let ProxyHandle { runtime, files, trials, orders, mut tasks, discovery: _, _lock } = self;
        let (reply, stopped) = oneshot::channel();
        let was_cut = match orders.send(Order::Stop(mode, reply)).await {
            Ok(()) => stopped.await.unwrap_or(false),
            Err(_) => false,
        };
        drop((runtime, files, trials, orders));
        while let Some(joined) = tasks.join_next().await {
            joined?;
        }
        Ok(was_cut)
    }
}

/// Locks the state folder. A controller that was just killed holds it until the system has taken
/// it down, so one that is held is asked for again for a while.
async fn lock_state(ports: &Ports, options: &ProxyOptions) -> io::Result<Box<dyn Lock>> {
    let path = options.state_dir.join("lock");
    let mut tries = 0;
    loop {
        match ports.files.lock(&path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < LOCK_TRIES => {
                tries += 1;
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let text = format!("another tidegate uses {}", options.state_dir.display());
                return Err(io::Error::new(error.kind(), text));
            }
            outcome => return outcome,
        }
    }
}

/// Tries to lock the state folder before another controller is taken to own it.
const LOCK_TRIES: u32 = 60;

/// Time between two of them.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// The bytes of a file with certificates.
fn bytes_of(vault: &Vault, content: &FileContent) -> Option<Arc<[u8]>> {
    match content {
        FileContent::Certificate(digest) | FileContent::DefaultCertificate(Some(digest)) => {
            vault.certificate(digest)
        }
        FileContent::Authority(digest) => vault.authority(digest),
        FileContent::DefaultCertificate(None) => vault.self_signed().ok(),
    }
}
