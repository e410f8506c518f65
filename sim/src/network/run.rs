//! A run: tidegate, an API server and HAProxy on a network, through a schedule.
//!
//! Inputs: a schedule. Outputs: what it amounts to, and whether the journals that tidegate wrote on
//! the way replay to the same actions. The same schedule gives the same run, in any process: time is
//! the network's, chance is the schedule's seed, and tokio's numbers of tasks are lined up, as they
//! decide in which order a runtime that is shut down drops its tasks.

use std::hash::Hasher as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use tidegate::haproxy::{Mode, StopMode};
use tidegate::journal::Writing;
use tidegate::journal::replay::{ReplayOptions, replay};
use tidegate::kube::server::Server;
use tidegate::options::{JournalOptions, RunOptions, Source};
use tidegate::ports::{Endpoint, Files as _};
use tidegate::run::order::ACCEPT_DELETIONS;
use tidegate_core::settings::{Absence, Election, Publish, Scope, Settings, Telling};
use tidegate_core::world::object::{Address, Name};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};

use super::files::Disk;
use super::proxy::serve;
use super::schedule::{DENIED, Entry, Fault, Happens, Schedule};
use super::world::{EPOCH_S, Outcomes, Shared, VAULT_KEY, World, lock};
use super::{PUBLISHED, STATE_DIR, api, manifest, ports};
use crate::dice::Dice;
use crate::hash::Hash128;
use crate::swarm::judge::Broken;
use crate::swarm::schedule::What;

const JOURNAL_DIR: &str = "/journal";
const ADMIN_PORT: u16 = 8405;
/// Time from the death of tidegate in a write to its next start, in milliseconds.
const AGAIN_MS: u64 = 500;
/// Time between copies of the API server's store.
const COPY_MS: u64 = 3_000;
/// Time between two looks at what requests meet while nothing happens.
const LOOK_MS: u64 = 100;

/// Settings of tidegate in every run.
#[must_use]
pub fn settings() -> Settings {
    let mut settings = Settings::documented(STATE_DIR);
    settings.limits.backends_per_plan_max = 100;
    settings.scope = Scope {
        nodes: false,
        // The simulated server has no definitions of custom resources.
        custom_resources: false,
        secrets_on_demand: true,
        absence: Absence { hold_ms: 60_000, ..Absence::documented() },
        ..Scope::folder()
    };
    settings.telling = Some(Telling {
        publish: Publish::Addresses(vec![Address::Ip(IpAddr::from([192, 0, 2, 1]))]),
        events: true,
        election: Some(Election {
            identity: "tidegate-0".into(),
            lease: Name::new("tidegate", "tidegate"),
            duration_ms: 15_000,
            renew_ms: 10_000,
            retry_ms: 2_000,
        }),
    });
    debug_assert_eq!(PUBLISHED, "192.0.2.1");
    settings
}

fn options() -> RunOptions {
    let mut config = kube::Config::new(http::Uri::from_static("http://api:6443"));
    // No certificates are read from the machine.
    config.accept_invalid_certs = true;
    RunOptions {
        settings: settings(),
        source: Source::Cluster(Server::Given(Box::new(config))),
        haproxy: PathBuf::from("/usr/sbin/haproxy"),
        mode: Mode::Spawn,
        inherit_stdout: false,
        journal: Some(JournalOptions {
            dir: JOURNAL_DIR.into(),
            bytes_max: 512 << 20,
            writing: Writing::Inline,
        }),
        admin: Some(Endpoint::Tcp("0.0.0.0".to_owned(), ADMIN_PORT)),
        drain_delay: Duration::ZERO,
        stop: StopMode::Leave,
        notes: Vec::new(),
    }
}

/// Something that ends, or begins again, at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Repair,
    Release,
    ApiReturns,
    ComeBack,
    DiskIsFree,
    ControllerReturns,
}

/// Runs a schedule to its end, or to the first broken promise.
#[must_use]
pub fn run(schedule: &Schedule, traces: bool) -> Outcomes {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    line_up();
    let disk = Disk::default();
    let settings = settings();
    let world: Shared = Arc::new(Mutex::new(World::new(schedule, &settings, disk.clone(), traces)));
    let folder = Path::new(STATE_DIR);
    let files = disk.mount();
    // Memory has no errors.
    let _ = files.create_dir(folder, 0o700);
    disk.settle();
    disk.put(&folder.join("vault.key"), &VAULT_KEY);
    disk.put(&folder.join("self-signed.pem"), manifest::SELF_SIGNED.as_bytes());
    let mut run = Run {
        sim: network(schedule, &world, &disk),
        world,
        disk,
        due: Vec::new(),
        tick_ms: schedule.tick_ms,
        power: Dice::new(schedule.seed, "power"),
    };
    run.go(schedule);
    let Run { sim, world, disk, .. } = run;
    drop(sim);
    let mut world = lock(&world);
    let ended = world.out.simulated_ms;
    world.set_now(ended);
    replayed(&mut world, &disk);
    world.kept_secret(&disk);
    std::mem::take(&mut world.out)
}

/// Whether the alarm goes off, as in tier 0 ([`crate::swarm::run::try_alarm`]).
///
/// # Errors
/// What came instead.
pub fn try_alarm(schedule: &Schedule) -> Result<(), String> {
    let mut schedule = schedule.clone();
    let quiet = schedule.entries.iter().position(|entry| entry.what == Happens::Quiet);
    let after = quiet.map_or(schedule.entries.len(), |at| at + 1);
    schedule.entries.truncate(after);
    let at_ms = schedule.entries.last().map_or(0, |entry| entry.at_ms);
    schedule.entries.push(Entry { at_ms: at_ms + 1, what: Happens::Change(What::Canary) });
    schedule.entries.push(Entry { at_ms: at_ms + 1_000, what: Happens::Still });
    match run(&schedule, false).broken {
        Some(broken) if broken.property == "canary" => Ok(()),
        other => Err(format!("a promise that nobody can keep was judged, and it came {other:?}")),
    }
}

/// The hosts and the links between them.
fn network(schedule: &Schedule, world: &Shared, disk: &Disk) -> turmoil::Sim<'static> {
    let mut builder = turmoil::Builder::new();
    let mut sim = builder
        .epoch(UNIX_EPOCH + Duration::from_secs(EPOCH_S))
        .simulation_duration(Duration::MAX)
        .tick_duration(Duration::from_millis(schedule.tick_ms))
        .min_message_latency(Duration::ZERO)
        .max_message_latency(Duration::from_millis(3))
        .tcp_capacity(4096)
        .rng_seed(schedule.seed)
        .build();
    let shared = world.clone();
    sim.host("api", move || api::serve::run(shared.clone()));
    let (starts, started) = mpsc::unbounded_channel();
    let started = Arc::new(Mutex::new(Some(started)));
    let shared = world.clone();
    sim.host("haproxy", move || {
        let taken = started.lock().ok().and_then(|mut started| started.take());
        let shared = shared.clone();
        async move {
            match taken {
                Some(started) => serve::run(shared, started).await,
                None => Ok(()),
            }
        }
    });
    let (shared, disk, seed) = (world.clone(), disk.clone(), schedule.seed);
    sim.host("tidegate", move || {
        {
            let mut world = lock(&shared);
            world.out.lives += 1;
            world.listed.clear();
        }
        let ports = ports::ports(&shared, disk.mount(), starts.clone(), seed);
        let shared = shared.clone();
        async move {
            // Nobody asks it to stop.
            let (_stop, stopped) = watch::channel(false);
            tokio::task::spawn_local(ask_readiness(shared.clone()));
            let ended = tidegate::run::run(options(), ports, stopped).await;
            let why = ended.err().map_or_else(|| "without a word".into(), |e| format!("{e:#}"));
            let mut world = lock(&shared);
            world.note("faults", || format!("tidegate ended: {why}"));
            if !world.is_shaken(&["disk-full", "dies-writing"]) {
                world.broke(Broken::new("L3", format!("tidegate ended by itself: {why}")));
            }
            world.sometimes("tidegate ended by itself");
            Ok(())
        }
    });
    sim
}

/// Asks for readiness, as a kubelet does.
async fn ask_readiness(world: Shared) {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let asked = async {
            let mut stream = turmoil::net::TcpStream::connect(("127.0.0.1", ADMIN_PORT)).await?;
            let request = "GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        if asked.await.is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200")) {
            lock(&world).ready();
        }
    }
}

struct Run {
    sim: turmoil::Sim<'static>,
    world: Shared,
    disk: Disk,
    due: Vec<(u64, Due)>,
    tick_ms: u64,
    /// What a power loss leaves.
    power: Dice,
}

impl Run {
    fn go(&mut self, schedule: &Schedule) {
        let mut entries = schedule.entries.iter().peekable();
        let (mut now, mut look_at, mut copy_at) = (0, 0, 0);
        while let Some(entry) = entries.peek() {
            if entry.at_ms <= now {
                let happens = entry.what.clone();
                lock(&self.world).note("objects", || entry.to_string());
                entries.next();
                self.happens(&happens, now);
                look_at = now;
            } else {
                self.step(now);
                now += self.tick_ms;
                lock(&self.world).set_now(now);
            }
            self.ends(now);
            let mut world = lock(&self.world);
            if now >= look_at {
                world.look();
                world.pass(LOOK_MS);
                look_at = now + LOOK_MS;
            }
            if now >= copy_at {
                world.api.copy();
                copy_at = now + COPY_MS;
            }
            if world.out.broken.is_some() {
                break;
            }
        }
        lock(&self.world).out.simulated_ms = now;
    }

    fn step(&mut self, now: u64) {
        if let Err(error) = self.sim.step() {
            let why = format!("a host of the network failed: {error}");
            lock(&self.world).broke(Broken::new("simulator", why));
        }
        if self.disk.has_killed() {
            lock(&self.world).sometimes("tidegate died in the middle of a write");
            self.kill(now, AGAIN_MS);
        } else if !self.sim.is_host_running("tidegate")
            && !self.due.iter().any(|(_, due)| *due == Due::ControllerReturns)
        {
            // It ended by itself: a kubelet starts it again.
            self.kill(now, AGAIN_MS);
        }
    }

    /// tidegate dies, and comes back.
    fn kill(&mut self, now: u64, after_ms: u64) {
        // What it still holds of the disk is of no effect.
        drop(self.disk.mount());
        self.sim.crash("tidegate");
        let mut world = lock(&self.world);
        world.listed.clear();
        world.hide(now + after_ms + 20_000);
        world.shake("controller-dies", now + after_ms + 25_000);
        drop(world);
        self.due.retain(|(_, due)| *due != Due::ControllerReturns);
        self.due.push((now + after_ms, Due::ControllerReturns));
    }

    fn ends(&mut self, now: u64) {
        while let Some(at) = self.due.iter().position(|(at, _)| *at <= now) {
            let (_, due) = self.due.remove(at);
            match due {
                Due::Repair => {
                    lock(&self.world).partitioned = false;
                    self.sim.repair("api", "tidegate");
                }
                Due::Release => self.sim.release("api", "tidegate"),
                Due::ApiReturns => self.sim.bounce("api"),
                Due::ComeBack => lock(&self.world).api.come_back(),
                Due::DiskIsFree => self.disk.set_full(false),
                Due::ControllerReturns => self.sim.bounce("tidegate"),
            }
        }
    }

    fn happens(&mut self, happens: &Happens, now: u64) {
        match happens {
            Happens::Change(What::Canary) => lock(&self.world).canary = true,
            Happens::Change(what) => lock(&self.world).change(what),
            Happens::Quiet => lock(&self.world).quiet(),
            Happens::Still => lock(&self.world).still = true,
            Happens::Clock(s) => lock(&self.world).clock_s += u64::from(*s),
            Happens::Accept => {
                self.disk.put(&Path::new(STATE_DIR).join(ACCEPT_DELETIONS), b"");
            }
            Happens::Fault(fault) => {
                if !self.on_network(*fault, now) {
                    self.in_world(*fault, now);
                }
            }
        }
    }

    /// Faults of hosts and links. Whether it was one.
    fn on_network(&mut self, fault: Fault, now: u64) -> bool {
        let after = |ms: u32| now + u64::from(ms);
        let blind = match fault {
            Fault::Partition(ms) => {
                if self.due.iter().any(|(_, due)| matches!(due, Due::Repair | Due::Release)) {
                    return true;
                }
                lock(&self.world).partitioned = true;
                self.sim.partition("api", "tidegate");
                self.due.push((after(ms), Due::Repair));
                // What was lost is noticed when nothing has come for long.
                after(ms) + 100_000
            }
            Fault::Delay(ms) => {
                if self.due.iter().any(|(_, due)| matches!(due, Due::Repair | Due::Release)) {
                    return true;
                }
                self.sim.hold("api", "tidegate");
                self.due.push((after(ms), Due::Release));
                after(ms) + 40_000
            }
            Fault::ApiDies(ms) => {
                if self.sim.is_host_running("api") {
                    self.sim.crash("api");
                    self.due.push((after(ms), Due::ApiReturns));
                }
                after(ms) + 15_000
            }
            Fault::ControllerDies(ms) => {
                if self.sim.is_host_running("tidegate") {
                    lock(&self.world).sometimes("tidegate died");
                    self.kill(now, u64::from(ms));
                }
                return true;
            }
            Fault::PowerCut(ms) => {
                let mut world = lock(&self.world);
                world.sometimes(fault.name());
                world.shake(fault.name(), after(ms) + 25_000);
                world.site.die();
                drop(world);
                self.kill(now, u64::from(ms));
                let before = self.disk.all();
                self.disk.cut_power(&mut self.power);
                lock(&self.world).survived(&before);
                return true;
            }
            Fault::DiskFull(ms) => {
                self.disk.set_full(true);
                self.due.push((after(ms), Due::DiskIsFree));
                lock(&self.world).shake(fault.name(), after(ms) + 30_000);
                return true;
            }
            _ => return false,
        };
        let mut world = lock(&self.world);
        world.sometimes(fault.name());
        world.shake(fault.name(), blind);
        world.hide(blind);
        true
    }

    /// Faults of what is simulated.
    fn in_world(&mut self, fault: Fault, now: u64) {
        let after = |ms: u32| now + u64::from(ms);
        let mut guard = lock(&self.world);
        let world = &mut *guard;
        world.sometimes(fault.name());
        let mut blind = 0;
        let mut shaken = now + 20_000;
        match fault {
            Fault::Cut => {
                world.api.cut();
                blind = now + 10_000;
            }
            Fault::CutLists(count) => {
                world.api.cut_lists += count;
                world.api.compact();
                world.api.cut();
                blind = now + 30_000;
            }
            Fault::Expire => {
                world.api.compact();
                world.api.cut();
                blind = now + 15_000;
            }
            Fault::Silent(ms) => {
                world.api.silent_until_ms = after(ms);
                blind = after(ms) + 100_000;
            }
            Fault::Throttle(ms) => {
                world.api.throttled_until_ms = after(ms);
                world.api.cut();
                blind = after(ms) + 20_000;
            }
            Fault::Unwell(ms) => {
                world.api.unwell_until_ms = after(ms);
                world.api.cut();
                blind = after(ms) + 20_000;
            }
            Fault::Deny(kind, ms) => {
                world.api.denied = DENIED.get(usize::from(kind)).copied();
                world.api.denied_until_ms = after(ms);
                world.api.cut();
                blind = after(ms) + 20_000;
            }
            Fault::LoseWrites(count) => world.api.lose_writes += count,
            Fault::Emptied(ms) | Fault::Stale(ms) => {
                if matches!(fault, Fault::Emptied(_)) {
                    world.api.empty();
                } else {
                    world.api.go_back();
                    // As if nothing had been told for that long.
                    world.hide(now);
                    world.blind.0 = world.blind.0.min(now.saturating_sub(4 * COPY_MS));
                }
                self.due.retain(|(_, due)| *due != Due::ComeBack);
                self.due.push((after(ms), Due::ComeBack));
                // What was deleted meanwhile is held until an operator says that it is gone.
                blind = after(ms) + 180_000;
            }
            Fault::LoseCommands(count) => world.armed.lose_commands = Some(count),
            Fault::CutAnswer => world.armed.cut_answer = true,
            Fault::Hang(ms) => {
                world.armed.hang_until_ms = after(ms);
                shaken += u64::from(ms);
            }
            Fault::RefuseCommand => world.armed.refuse_command = true,
            Fault::Busy(count) => world.armed.busy = count,
            Fault::LoseReload => {
                world.armed.lose_reload = true;
                shaken += 60_000;
            }
            Fault::SlowReload(ms) => {
                world.armed.slow_files_ms = u64::from(ms);
                shaken += u64::from(ms);
            }
            Fault::RefuseLoad => world.armed.refuse_load = true,
            Fault::WorkerDies => {
                world.site.die();
                world.note("workers", || "HAProxy died".to_owned());
            }
            Fault::Tamper => {
                let worker = world.site.workers.iter_mut().rev().find(|worker| !worker.stopping);
                let routes = worker.and_then(|worker| {
                    worker.memory.maps.get_mut(&tidegate_core::action::MapId::Route)
                });
                routes.and_then(Vec::pop);
                shaken = now + 80_000;
            }
            Fault::SlowDisk(ms) => {
                self.disk.slow(u64::from(ms));
                shaken += u64::from(ms);
            }
            Fault::DiesWriting(count) => self.disk.die_after(u64::from(count)),
            Fault::Partition(_)
            | Fault::Delay(_)
            | Fault::ApiDies(_)
            | Fault::ControllerDies(_)
            | Fault::PowerCut(_)
            | Fault::DiskFull(_) => {}
        }
        world.shake(fault.name(), shaken.max(blind));
        if blind > 0 {
            world.hide(blind);
        }
    }
}

/// Every journal replays to the actions that were taken.
fn replayed(world: &mut World, disk: &Disk) {
    let files = disk.mount();
    let mut hasher = Hash128::default();
    let told = replay(&files, Path::new(JOURNAL_DIR), &ReplayOptions::default(), &mut |step| {
        let text = format!("{:?} {:?}", step.input, step.computed);
        hasher.write(text.as_bytes());
        Ok(())
    });
    match told {
        Ok(report) => {
            world.out.steps = report.steps;
            if let Some(difference) = report.difference {
                world.broke(Broken::new(
                    "S21",
                    format!("a journal replays otherwise: {difference:?}"),
                ));
            }
        }
        Err(error) => {
            world.broke(Broken::new("S21", format!("a journal does not replay: {error}")));
        }
    }
    world.out.chain = hasher.finish128();
}

/// Gives tokio's next task a number that is a multiple of 64: when a runtime is shut down, the order
/// in which it drops its tasks follows from their numbers, which count through a whole process.
fn line_up() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
    runtime.block_on(async {
        for _ in 0..128 {
            let task = tokio::spawn(async {});
            let number: u64 = task.id().to_string().parse().unwrap_or(0);
            let _ = task.await;
            if number % 64 == 63 {
                return;
            }
        }
    });
}
