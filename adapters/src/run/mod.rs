//! The loop: one task owns the controller. Others feed it over bounded channels; it gathers what
//! is there, steps once, and hands the actions out.
//!
//! Inputs: options, seams, a stop signal. Outputs: a serving HAProxy. Not here: any decision.

mod drain;
mod feed;
mod memory;
pub mod order;
mod propagation;
mod report;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tidegate_core::action::{Action, ActionBody};
use tidegate_core::controller::{Controller, Step};
use tidegate_core::event::Event;
use tidegate_core::problem::Problem;
use tidegate_core::time::Time;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::admin::{self, Readiness, Status};
use crate::auth::Verifier;
use crate::haproxy::{Proxy, ProxyHandle};
use crate::journal::{self, Journal};
use crate::metrics::Metrics;
use crate::options::{RunOptions, Source};
use crate::ports::{Endpoint, Ports};
use crate::relay::Relay;
use crate::resolve::Resolver;
use crate::sabotage::{Mistake, is_planted};
use crate::vault::Vault;
use drain::Drain;
use feed::Feed;
use memory::Keeper;
use propagation::Propagation;
use report::Report;

/// Batches of the source that wait for the loop at most.
const SOURCE_QUEUE: usize = 64;

/// Answers of HAProxy that wait for the loop at most.
const PROXY_QUEUE: usize = 256;

/// Batches taken into one step at most, so that a flood does not delay the actions for long.
const BATCHES_PER_STEP: usize = 32;

/// Longest time after the drain delay for what is told last.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Time between two looks at what is only for people: sizes, memory, vault.
const TIDY: Duration = Duration::from_secs(2);

/// Milliseconds between two looks at the calendar, for certificates that expire.
const DATE_MS: u64 = 3_600_000;

/// Runs the controller until `stop` turns true or something it cannot do without ends.
///
/// # Errors
/// When it cannot start, or a part of it ended by itself.
pub async fn run(
    options: RunOptions,
    ports: Ports,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let state_dir = PathBuf::from(&*options.settings.listen.state_dir);
    ports.files.create_dir(&state_dir, 0o700).context("cannot make the state folder")?;
    let vault = Arc::new(Vault::open(&*ports.files, &state_dir).context("cannot open the vault")?);
    let (proxy_events, from_proxy) = mpsc::channel(PROXY_QUEUE);
    let proxy = Proxy::start(ports.clone(), options.proxy(), vault.clone(), proxy_events.clone())
        .await
        .context("cannot use HAProxy")?;
    let (source_events, from_source) = mpsc::channel(SOURCE_QUEUE);
    let metrics = Arc::new(Metrics::new());
    // A folder is at hand whenever we are; an API server may come back without what it had.
    let in_cluster = matches!(options.source, Source::Cluster(_));
    let keeper = in_cluster.then(|| Keeper::new(Arc::clone(&ports.files), &state_dir));
    let memory = keeper.as_ref().and_then(|keeper| keeper.recall(&vault));
    let secrets = memory.as_ref().map(memory::secrets).unwrap_or_default();
    let mut servers = JoinSet::new();
    serve_passwords(&ports, &state_dir, &vault, &metrics, &mut servers).await?;
    let source = Feed::start(&options, &ports, &vault, &metrics, secrets, source_events).await?;
    let now = now(&ports);
    let report = Report::new(Arc::new(Status::new()), metrics, vault);
    report.metrics.started_at(ports.clock.unix_s());
    let mut shell = Shell {
        controller: Controller::new(options.settings.clone(), now),
        journal: open_journal(&options, &ports, now)?,
        resolver: Resolver::new(proxy_events),
        propagation: Propagation::default(),
        proxy,
        source,
        ports: ports.clone(),
        state_dir,
        report,
        keeper,
        master: options.proxy().master_endpoint(),
        drain: None,
        notes: options.notes.clone(),
        wake_at: None,
        date_at: now,
    };
    let date = shell.date();
    shell.step(vec![date]);
    if let Some(memory) = memory {
        shell.step(vec![Event::Remembered(Box::new(memory))]);
    }
    if !shell.notes.is_empty() {
        shell.step(vec![Event::SourceProblems(shell.notes.clone())]);
    }
    serve_admin(&options, &ports, &shell.report, &mut servers).await?;
    let delay = options.drain_delay;
    let outcome = shell.serve(from_proxy, from_source, &mut servers, stop, delay).await;
    let Shell { proxy, journal, source, keeper, controller, drain, report: _report, .. } = shell;
    source.finish().await;
    if let Some(keeper) = keeper {
        keeper.finish(&controller).await;
    }
    if let Some(journal) = journal {
        journal.close();
    }
    // Whoever asks how many connections are left is answered to the end.
    let stopped = proxy.stop(options.stop).await;
    let was_cut = stopped.context("a task of the HAProxy adapter panicked")?;
    if let Some(drain) = drain {
        drain.end(was_cut);
    }
    servers.shutdown().await;
    outcome
}

/// Now, for core: since the start of this process, whatever is done to the wall clock.
fn now(ports: &Ports) -> Time {
    if is_planted(Mistake::WallClock) {
        return Time(ports.clock.unix_s() * 1_000);
    }
    Time(ports.clock.now_ms())
}

fn open_journal(options: &RunOptions, ports: &Ports, now: Time) -> anyhow::Result<Option<Journal>> {
    let Some(wanted) = &options.journal else { return Ok(None) };
    let mut documented = journal::Options::documented(wanted.dir.clone());
    documented.total_bytes_max = wanted.bytes_max;
    documented.writing = wanted.writing;
    documented.segment_bytes = documented.segment_bytes.min((wanted.bytes_max / 4).max(1 << 16));
    let mut journal = Journal::open(ports.files.clone(), ports.clock.clone(), documented)
        .context("cannot start the journal")?;
    journal.begin(&options.settings, now, ports.clock.unix_s() * 1000);
    Ok(Some(journal))
}

async fn serve_passwords(
    ports: &Ports,
    state_dir: &Path,
    vault: &Arc<Vault>,
    metrics: &Metrics,
    servers: &mut JoinSet<std::io::Result<()>>,
) -> anyhow::Result<()> {
    let verifier = Verifier::start(Arc::clone(vault), metrics.passwords())
        .context("cannot start the threads for passwords")?;
    let listener = Verifier::listen(&*ports.net, state_dir)
        .await
        .context("cannot listen in the state folder for authentication")?;
    servers.spawn(Arc::new(verifier).serve(listener));
    Ok(())
}

async fn serve_admin(
    options: &RunOptions,
    ports: &Ports,
    report: &Report,
    servers: &mut JoinSet<std::io::Result<()>>,
) -> anyhow::Result<()> {
    let Some(endpoint) = &options.admin else { return Ok(()) };
    let listener = ports
        .net
        .listen(endpoint)
        .await
        .with_context(|| format!("cannot listen on {endpoint} for health and metrics"))?;
    let (status, metrics) = (report.status.clone(), report.metrics.clone());
    let haproxy = Relay::new(ports.net.clone(), &options.proxy().run_dir());
    servers.spawn(admin::serve(listener, status, metrics, ports.files.clone(), haproxy));
    Ok(())
}

/// The controller with everything that feeds on its steps.
struct Shell {
    controller: Controller,
    journal: Option<Journal>,
    resolver: Resolver,
    propagation: Propagation,
    proxy: ProxyHandle,
    source: Feed,
    ports: Ports,
    state_dir: PathBuf,
    report: Report,
    keeper: Option<Keeper>,
    /// HAProxy's master, where there is one to ask.
    master: Option<Endpoint>,
    drain: Option<Drain>,
    /// Problems of the command line, told with those of the source.
    notes: Vec<Problem>,
    wake_at: Option<Time>,
    /// When the calendar was looked at.
    date_at: Time,
}

/// Until it is true, or nobody can make it so any more.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

impl Shell {
    /// Feeds the controller until told to stop.
    async fn serve(
        &mut self,
        mut from_proxy: mpsc::Receiver<Event>,
        mut from_source: mpsc::Receiver<Vec<Event>>,
        servers: &mut JoinSet<std::io::Result<()>>,
        mut stop: watch::Receiver<bool>,
        drain_delay: Duration,
    ) -> anyhow::Result<()> {
        // While draining, what still arrives is served, and endpoints still change.
        let mut drained: Option<tokio::time::Instant> = None;
        let mut tidy = tokio::time::interval(TIDY);
        tidy.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let wake = self.until_wake();
            let far = tokio::time::Instant::now() + Duration::from_secs(60);
            let mut events = Vec::new();
            tokio::select! {
                biased;
                // A dropped sender is a stop too.
                () = told(&mut stop), if drained.is_none() => {
                    self.report.readiness(Readiness::Draining);
                    self.drain = Some(self.watch_drain());
                    tracing::info!(delay_s = drain_delay.as_secs(), "draining");
                    drained = Some(tokio::time::Instant::now() + drain_delay);
                    events.push(Event::Stopping);
                }
                () = tokio::time::sleep_until(drained.unwrap_or(far)), if drained.is_some() => {
                    // What is told last, such as that the Lease is free, gets a moment.
                    let late = drained.is_some_and(|drained| drained.elapsed() > LAST_WORDS);
                    if late || self.controller.is_silent() {
                        return Ok(());
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                ended = self.proxy.ended() => {
                    ended.context("a task of the HAProxy adapter panicked")?;
                    anyhow::bail!("the HAProxy adapter ended");
                }
                Some(ended) = servers.join_next() => {
                    ended.context("the admin server panicked")?.context("the admin server failed")?;
                    anyhow::bail!("the admin server ended");
                }
                event = from_proxy.recv() => {
                    events.push(event.context("the HAProxy adapter ended")?);
                }
                batch = from_source.recv() => {
                    let mut batch = batch.context("the source of objects ended")?;
                    self.seen(&mut batch);
                    events.extend(batch);
                }
                () = tokio::time::sleep(wake) => events.push(Event::Ticked),
                _ = tidy.tick() => {
                    self.report.tidy(&self.controller, &self.ports, self.journal.as_ref());
                    if let Some(keeper) = &mut self.keeper {
                        keeper.tidy(&self.controller, self.report.vault());
                    }
                    if order::take(&*self.ports.files, &self.state_dir) {
                        tracing::warn!("an operator says that what is no longer listed is gone");
                        events.push(Event::DeletionsAccepted);
                    }
                    if Time(self.ports.clock.now_ms()).since_ms(self.date_at) >= DATE_MS {
                        events.push(self.date());
                    }
                    if events.is_empty() {
                        continue;
                    }
                }
            }
            for _ in 0..BATCHES_PER_STEP {
                match from_source.try_recv() {
                    Ok(mut batch) => {
                        self.seen(&mut batch);
                        events.extend(batch);
                    }
                    Err(_) => break,
                }
            }
            while let Ok(event) = from_proxy.try_recv() {
                events.push(event);
            }
            self.step(events);
        }
    }

    fn date(&mut self) -> Event {
        self.date_at = Time(self.ports.clock.now_ms());
        Event::DateRead(i64::try_from(self.ports.clock.unix_s()).unwrap_or(i64::MAX))
    }

    fn watch_drain(&self) -> Drain {
        let (net, metrics) = (Arc::clone(&self.ports.net), Arc::clone(&self.report.metrics));
        Drain::begin(net, self.master.clone(), metrics)
    }

    fn until_wake(&self) -> Duration {
        let now = now(&self.ports).0;
        let ms = self.wake_at.map_or(60_000, |at| at.0.saturating_sub(now));
        Duration::from_millis(ms)
    }

    fn seen(&mut self, batch: &mut [Event]) {
        for event in batch.iter_mut() {
            if let Event::SourceProblems(problems) = event {
                problems.extend(self.notes.iter().cloned());
            }
        }
        self.report.metrics.events_arrived(batch);
        if let Some(keeper) = &mut self.keeper {
            keeper.seen(batch);
        }
        self.propagation.seen(batch);
    }

    fn step(&mut self, events: Vec<Event>) {
        let now = now(&self.ports);
        self.report.acked(&events);
        if let Some(journal) = &mut self.journal {
            journal.before(now, self.ports.clock.unix_s() * 1000, &events);
        }
        let started = Instant::now();
        let step = self.controller.step(now, events);
        self.report.metrics.stepped(started.elapsed().as_secs_f64());
        if let Some(journal) = &mut self.journal {
            journal.after(&step);
        }
        let Step {
            actions,
            wake_at,
            opened,
            closed,
            effective,
            effective_but_static,
            audit,
            trace: _,
        } = step;
        for Action { id, body } in actions {
            self.report.acting(id, &body);
            match body {
                ActionBody::ResolveNames { names } => self.resolver.keep(names),
                body @ (ActionBody::FollowSecrets { .. }
                | ActionBody::Relist { .. }
                | ActionBody::Tell(_)) => {
                    self.source.send(Action { id, body });
                }
                body => self.proxy.send(Action { id, body }),
            }
        }
        if let Some(differences) = audit {
            self.report.audited(differences);
        }
        if effective {
            self.propagation.effective(&self.report.metrics);
        } else if effective_but_static {
            self.propagation.effective_but_static(&self.report.metrics);
        }
        self.report.stepped(&self.controller, &opened, &closed, now.0);
        self.wake_at = wake_at.map(|wake| wake.at);
        if let Some(journal) = &mut self.journal
            && journal.wants_checkpoint()
            && let Some(checkpoint) = self.controller.checkpoint()
        {
            journal.checkpoint(checkpoint);
        }
    }
}
