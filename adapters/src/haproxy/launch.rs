//! Starts and reloads, on behalf of the supervisor.
//!
//! Job: start the master, have it reload, and find the worker that comes of it. Inputs: what the
//! link in the state folder points to. Outputs: the worker, or HAProxy's words. Not here: noticing
//! that a start is due (`supervisor`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::Mode;
use super::files::{Generation, Generations};
use super::readback::Identity;
use super::reload::{self, Verdict};
use super::supervisor::{Ended, LOOK_SPAWN, Reloaded, Supervisor};
use super::worker::Presence;
use crate::ports::{Endpoint, Start};
use crate::sabotage::{Mistake, is_planted};

/// Time between looks for the worker that a start or reload brings.
const LOOK_NEW: Duration = Duration::from_millis(4);
/// Pause before a second start, doubling with each further one.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The log file is emptied when it is longer than this, in bytes.
const LOG_MAX: u64 = 16 * 1024 * 1024;
/// How much of the log's end is searched for HAProxy's words, in bytes.
const LOG_TAIL: usize = 64 * 1024;

/// How a start ended.
enum Started {
    Serving(Identity),
    Failed(String),
    Unknown,
}

impl Supervisor {
    /// Starts HAProxy from the files on disk; falls back to the last generation it has loaded when
    /// the present one is refused.
    pub(super) async fn restart(&mut self) -> Result<(), Ended> {
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
        self.point(good).await.ok()?;
        Some(good)
    }

    async fn point(&self, generation: Generation) -> Result<(), String> {
        let point = move |generations: &Generations| {
            generations.point(generation).map_err(|error| error.to_string())
        };
        self.generations.off(point).await
    }

    /// Starts the master and waits until a worker serves.
    async fn start(&mut self) -> Started {
        let pause = self.state.pause.map_or(PAUSE_MIN, |pause| (pause * 2).min(PAUSE_MAX));
        self.state.pause = Some(pause);
        let log = self.options.log_file();
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

    /// HAProxy appends, so its log can be emptied under it.
    pub(super) fn trim_log(&self) {
        let log = self.options.log_file();
        if self.ports.files.length(&log).is_ok_and(|length| length > LOG_MAX) {
            let _ = self.ports.files.truncate(&log, 0);
        }
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

    pub(super) async fn reload(
        &mut self,
        generation: Generation,
        reply: oneshot::Sender<Reloaded>,
    ) -> Result<(), Ended> {
        match self.point_for_what_runs(generation).await {
            Ok(true) => {}
            Ok(false) => {
                // What runs comes first; then there are files for it.
                let _ = reply.send(Reloaded::Unknown);
                return self.check().await;
            }
            Err(text) => {
                let _ = reply.send(Reloaded::NotPointed(text));
                return Ok(());
            }
        }
        match self.look().await {
            Presence::Serving(previous) => self.reload_running(Some(previous), reply).await,
            Presence::Mute => {
                let previous = self.state.worker.as_ref().map(|worker| worker.identity.clone());
                self.reload_running(previous, reply).await
            }
            Presence::Waiting(previous) => self.reload_running(Some(previous), reply).await,
            Presence::Absent => {
                let started = match &self.options.mode {
                    Mode::Spawn if self.master_alive() => {
                        return self.reload_running(None, reply).await;
                    }
                    Mode::Spawn => self.start().await,
                    // Somebody else starts HAProxy, now that there are files to start from. Which
                    // ones it loads nobody knows, as it may be reading them just now: the worker
                    // is found like any other, and read back.
                    Mode::Attach { .. } => Started::Unknown,
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

    /// Points to files that were made for the HAProxy that was announced; `false` if another one
    /// may read them. An attached HAProxy may have been exchanged since. Or it is away, and who
    /// starts it went back to the bootstrap, since it refuses what there was: such files must not
    /// come between its look at them and its start.
    async fn point_for_what_runs(&self, generation: Generation) -> Result<bool, String> {
        let Mode::Attach { master, worker: _ } = &self.options.mode else {
            return self.point(generation).await.map(|()| true);
        };
        let starts = match self.look().await {
            Presence::Serving(now) | Presence::Waiting(now) => {
                if self.state.announced.as_ref().is_some_and(|known| *known.version != *now.version)
                {
                    return Ok(false);
                }
                false
            }
            Presence::Absent => master.is_some(),
            Presence::Mute => false,
        };
        let point = move |generations: &Generations| {
            if starts && generations.current().is_none() {
                return Ok(false);
            }
            generations.point(generation).map(|()| true).map_err(|error| error.to_string())
        };
        self.generations.off(point).await
    }

    /// A worker that our reload brought: its ack announces it.
    async fn reloaded(&mut self, identity: Identity) -> Result<Reloaded, Ended> {
        if self.state.master.is_none() {
            self.learn_master().await;
        }
        self.announce_version(&identity.version).await?;
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
        let before = match self.family_in_time(&master).await {
            Ok(family) => family,
            Err(error) => {
                let words = format!("the master socket cannot be used: {error}");
                let _ = reply.send(Reloaded::Refused(words));
                return Ok(());
            }
        };
        if before.failed > 0 && is_planted(Mistake::FailedStaysFailed) {
            let _ = reply.send(Reloaded::Refused("the reload before failed".to_owned()));
            return Ok(());
        }
        let net = Arc::clone(&self.ports.net);
        let patience = self.options.reload_patience;
        let mut asked = Box::pin(reload::reload(&*net, &master, patience));
        if is_planted(Mistake::AskedIsDone) {
            let _ = timeout(LOOK_NEW, &mut asked).await;
            if let Presence::Serving(identity) = self.look().await {
                let _ = reply.send(self.reloaded(identity).await?);
                return Ok(());
            }
        }
        let mut verdict = None;
        let (mut refused, mut dead) = (false, false);
        let deadline = Instant::now() + patience;
        let outcome = loop {
            tokio::select! {
                biased;
                said = &mut asked, if verdict.is_none() => match said {
                    Verdict::Refused(words) => {
                        refused = true;
                        break Reloaded::Refused(words);
                    }
                    Verdict::Accepted | Verdict::Silent => verdict = Some(said),
                },
                () = sleep(LOOK_NEW) => {}
            }
            match self.look().await {
                Presence::Serving(identity) if Some(&identity) != previous.as_ref() => {
                    break self.reloaded(identity).await?;
                }
                Presence::Absent if self.master_died() => {
                    dead = true;
                    break Reloaded::Unknown;
                }
                Presence::Serving(_) | Presence::Waiting(_) | Presence::Absent | Presence::Mute => {
                }
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
        // What changed meanwhile waits for this answer, so the rest comes after it.
        let _ = reply.send(outcome);
        if dead {
            return self.check().await;
        }
        if verdict.is_none() && !refused {
            // The worker serves before the master says so. The next reload waits for that.
            let _ = timeout(Duration::from_secs(2), asked).await;
        }
        self.learn_master().await;
        Ok(())
    }

    /// The master's counts. A master that has just loaded files re-executes itself and listens
    /// again some milliseconds later.
    pub(super) async fn family_in_time(
        &self,
        master: &Endpoint,
    ) -> std::io::Result<reload::Family> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match reload::family(&*self.ports.net, master).await {
                Err(_) if Instant::now() < deadline && !self.master_died() => {
                    sleep(LOOK_SPAWN).await;
                }
                result => return result,
            }
        }
    }

    /// Whether the master, which is ours to start, is gone: nothing comes of waiting for it.
    fn master_died(&self) -> bool {
        let is_ours = self.options.mode == Mode::Spawn && !is_planted(Mistake::WaitsForTheDead);
        is_ours && self.state.master.is_some() && !self.master_alive()
    }
}
