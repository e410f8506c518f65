//! The hosts of a run and the links between them: the API server, and for each replica tidegate with
//! the options that it has in every run, and its HAProxy.
//!
//! Inputs: the schedule, the world, a disk for each replica. Outputs: a network that can be stepped.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use tidegate::haproxy::{Mode, StopMode};
use tidegate::journal::Writing;
use tidegate::kube::server::Server;
use tidegate::options::{JournalOptions, RunOptions, Source};
use tidegate::ports::{Endpoint, Ports};
use tidegate_core::settings::{Absence, Election, Publish, Scope, Settings, Telling};
use tidegate_core::world::object::{Address, Name};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};

use super::files::Disk;
use super::proxy::serve;
use super::replica::ReplicaId;
use super::schedule::Schedule;
use super::world::{EPOCH_S, Here, Shared};
use super::{PUBLISHED, STATE_DIR, api, ports};
use crate::swarm::judge::Broken;

/// tidegate's journal.
pub const JOURNAL_DIR: &str = "/journal";
/// The term of the Lease, in milliseconds.
pub const TERM_MS: u64 = 15_000;
const ADMIN_PORT: u16 = 8405;

/// Settings of a replica: those of the schedule, and the rest as in every run.
#[must_use]
pub fn settings(id: ReplicaId, schedule: &Schedule) -> Settings {
    let mut settings = Settings::documented(STATE_DIR);
    settings.listen.hard_stop_after_s = schedule.hard_stop_s;
    settings.limits.reloads_per_minute = schedule.reloads_per_minute;
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
            identity: id.identity().into(),
            lease: Name::new("tidegate", "tidegate"),
            duration_ms: TERM_MS,
            renew_ms: 10_000,
            retry_ms: 2_000,
        }),
    });
    debug_assert_eq!(PUBLISHED, "192.0.2.1");
    settings
}

fn options(settings: Settings) -> RunOptions {
    let mut config = kube::Config::new(http::Uri::from_static("http://api:6443"));
    // No certificates are read from the machine.
    config.accept_invalid_certs = true;
    RunOptions {
        settings,
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

/// The hosts and the links between them.
pub fn network(schedule: &Schedule, world: &Shared, disks: &[Disk]) -> turmoil::Sim<'static> {
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
    for (number, disk) in disks.iter().enumerate() {
        let here = Here { world: world.clone(), id: ReplicaId(number) };
        replica(&mut sim, &here, disk, schedule);
    }
    sim
}

/// A replica's two hosts.
fn replica(sim: &mut turmoil::Sim<'static>, here: &Here, disk: &Disk, schedule: &Schedule) {
    let id = here.id;
    let settings = settings(id, schedule);
    let (starts, started) = mpsc::unbounded_channel();
    let started = Arc::new(Mutex::new(Some(started)));
    let proxy = here.clone();
    sim.host(id.proxy(), move || {
        let taken = started.lock().ok().and_then(|mut started| started.take());
        let proxy = proxy.clone();
        async move {
            match taken {
                Some(started) => serve::run(proxy, started).await,
                None => Ok(()),
            }
        }
    });
    let (tidegate, disk) = (here.clone(), disk.clone());
    // Replicas do not try again in step.
    let seed = schedule.seed.wrapping_add(id.0 as u64 * 1_000_003);
    sim.host(id.host(), move || {
        let here = tidegate.clone();
        here.lock().out.lives += 1;
        let now = here.lock().now_ms();
        here.with(|replica| {
            replica.listed.clear();
            replica.lives_again(now);
        });
        let ports = ports::ports(&here, disk.mount(), starts.clone(), seed);
        live(here, settings.clone(), ports)
    });
    let address = sim.lookup(id.host());
    here.with(|replica| replica.address = Some(address));
}

/// One life of tidegate.
async fn live(here: Here, settings: Settings, ports: Ports) -> turmoil::Result {
    // Nobody asks it to stop.
    let (_stop, stopped) = watch::channel(false);
    tokio::task::spawn_local(ask(here.clone()));
    let ended = tidegate::run::run(options(settings), ports, stopped).await;
    let why = ended.err().map_or_else(|| "without a word".into(), |e| format!("{e:#}"));
    let (mut world, id) = (here.lock(), here.id);
    let now = world.now_ms();
    world.note_at(id, "faults", || format!("tidegate ended: {why}"));
    if !world.of(id).is_shaken(now, &["disk-full", "sync-fails", "dies-writing"]) {
        world.broke_at(id, Broken::new("L3", format!("tidegate ended by itself: {why}")));
    }
    world.sometimes("tidegate ended by itself");
    Ok(())
}

/// Asks for readiness, as a kubelet does, and for metrics, as Prometheus does, when there is news.
async fn ask(here: Here) {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        if get("/readyz").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            here.lock().ready(here.id);
        }
        let now = here.lock().now_ms();
        if here.with(|replica| replica.may_be_scraped(now))
            && let Ok(answer) = get("/metrics").await
        {
            here.lock().scraped(here.id, &answer);
        }
    }
}

/// The answer of the admin address.
async fn get(path: &str) -> std::io::Result<String> {
    let mut stream = turmoil::net::TcpStream::connect(("127.0.0.1", ADMIN_PORT)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
