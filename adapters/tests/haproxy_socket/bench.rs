//! A controller that is only a test: it sends actions to the adapter, gathers events, and has an
//! HAProxy of its own.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate::haproxy::{Proxy, ProxyHandle, ProxyOptions, StopMode, reload, worker};
use tidegate::ports::{Endpoint, Ports, Signal};
use tidegate::vault::Vault;
use tidegate_core::action::{Action, ActionBody, ActionId, MapId, RuntimeCommand, ServerState};
use tidegate_core::capability::Capabilities;
use tidegate_core::desired::{Contribution, Desired, Image, Skeleton};
use tidegate_core::digest::Digest;
use tidegate_core::event::{Ack, Event, Observed, Outcome, WorkerId};
use tidegate_core::settings::Settings;
use tokio::sync::mpsc;

pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

pub const VERSIONS: [&str; 4] = ["2.6", "3.0", "3.2", "3.4"];
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn binary(version: &str) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let dir = std::env::var_os("TIDEGATE_HAPROXY_DIR")
        .map_or_else(|| home.join(".cache/tidegate/haproxy"), PathBuf::from);
    let path = dir.join(version).join("haproxy");
    if path.exists() {
        return Some(path);
    }
    println!("skipped: no HAProxy {version} at {}", path.display());
    None
}

/// Runs a story on each version that is installed.
pub fn on_each<F: Future<Output = Result>>(story: impl Fn(&'static str, PathBuf) -> F) -> Result {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build()?;
    for version in VERSIONS {
        if let Some(binary) = binary(version) {
            runtime.block_on(story(version, binary)).map_err(|e| format!("{version}: {e}"))?;
        }
    }
    Ok(())
}

/// A controller of these tests: sends actions, gathers events.
pub struct Bench {
    pub ports: Ports,
    pub options: ProxyOptions,
    pub vault: Arc<Vault>,
    pub handle: Option<ProxyHandle>,
    pub events: mpsc::Receiver<Event>,
    pub seen: Vec<Event>,
    pub next_id: u64,
    pub port: u16,
    pub folder: Option<tempfile::TempDir>,
}

impl Bench {
    pub async fn start(binary: PathBuf) -> Result<Bench> {
        let folder = tempfile::tempdir()?;
        let options = ProxyOptions::spawn(folder.path().to_owned(), binary);
        let vault = Arc::new(Vault::new([7; 32]));
        let mut bench = Bench::over(options, vault).await?;
        bench.folder = Some(folder);
        Ok(bench)
    }

    pub async fn over(options: ProxyOptions, vault: Arc<Vault>) -> Result<Bench> {
        let ports = tidegate::os::ports()?;
        let (sender, events) = mpsc::channel(1024);
        let handle =
            Proxy::start(ports.clone(), options.clone(), Arc::clone(&vault), sender).await?;
        Ok(Bench {
            ports,
            options,
            vault,
            handle: Some(handle),
            events,
            seen: Vec::new(),
            next_id: 0,
            port: free_port()?,
            folder: None,
        })
    }

    pub async fn event<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> Result<T> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let event = tokio::time::timeout_at(deadline, self.events.recv())
                .await
                .map_err(|_| format!("nothing came; seen: {:?}", self.seen))?
                .ok_or("the adapter ended")?;
            let found = wanted(&event);
            self.seen.push(event);
            if let Some(found) = found {
                return Ok(found);
            }
        }
    }

    pub async fn capabilities(&mut self) -> Result<Capabilities> {
        self.event(|e| if let Event::ProxyFound(c) = e { Some(c.clone()) } else { None }).await
    }

    pub async fn worker_seen(&mut self) -> Result<WorkerId> {
        self.event(|e| if let Event::WorkerSeen(id) = e { Some(*id) } else { None }).await
    }

    pub fn send(&mut self, body: ActionBody) -> ActionId {
        self.next_id += 1;
        let id = ActionId(self.next_id);
        if let Some(handle) = &self.handle {
            handle.send(Action { id, body });
        }
        id
    }

    pub async fn ack(&mut self, id: ActionId) -> Result<Ack> {
        self.event(|e| match e {
            Event::Acked(ack) if ack.id == id => Some(ack.clone()),
            _ => None,
        })
        .await
    }

    pub async fn act(&mut self, body: ActionBody) -> Result<Ack> {
        let id = self.send(body);
        self.ack(id).await
    }

    pub async fn run(
        &mut self,
        worker: WorkerId,
        commands: Vec<RuntimeCommand>,
    ) -> Result<Vec<Outcome>> {
        Ok(self.act(ActionBody::Runtime { worker, commands }).await?.outcomes)
    }

    pub async fn reload(&mut self, image: Image) -> Result<Ack> {
        self.act(ActionBody::Reload { image: Arc::new(image), reasons: Vec::new() }).await
    }

    pub async fn read_back(&mut self, worker: WorkerId) -> Result<Observed> {
        let id = self.send(ActionBody::ReadBack { worker });
        let state = self
            .event(|e| match e {
                Event::Observed { worker: from, state } if *from == worker => Some(state.clone()),
                _ => None,
            })
            .await?;
        assert_eq!(self.ack(id).await?.outcomes, [Outcome::Done]);
        Ok(*state)
    }

    pub fn skeleton(&self, capabilities: &Capabilities, options: &[(&str, &str)]) -> Skeleton {
        let mut listen = Settings::documented(&self.options.state_dir.display().to_string()).listen;
        listen.addresses = vec![[127, 0, 0, 1].into()];
        listen.http_port = self.port;
        listen.https_port = self.port + 1;
        listen.stats_port = 0;
        listen.threads = 2;
        listen.hard_stop_after_s = 5;
        Skeleton {
            checks: true,
            listen,
            capabilities: Arc::new(capabilities.clone()),
            header_names: Vec::new(),
            tcp_ports: Vec::new(),
            passthrough: false,
            options: options.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            errors: Arc::default(),
            peers: Vec::new(),
            snippets: Default::default(),
        }
    }

    pub fn image(&self, capabilities: &Capabilities, contributions: &[Contribution]) -> Image {
        let mut desired = Desired::new(Arc::new(self.skeleton(capabilities, &[])));
        desired.replace(&[], contributions);
        desired.image().clone()
    }

    pub fn broken_image(&self, capabilities: &Capabilities) -> Image {
        let skeleton = self.skeleton(capabilities, &[("no-such-directive", "x")]);
        Desired::new(Arc::new(skeleton)).image().clone()
    }

    pub fn socket(&self, name: &str) -> Endpoint {
        Endpoint::Unix(self.options.state_dir.join("run").join(name))
    }

    pub async fn pid(&self) -> Option<u32> {
        match worker::look(&*self.ports.net, &self.socket("worker.sock")).await {
            worker::Presence::Serving(identity) => Some(identity.pid),
            worker::Presence::Waiting(_) | worker::Presence::Absent | worker::Presence::Mute => {
                None
            }
        }
    }

    /// The master's process id; it listens again some milliseconds after a start.
    pub async fn master(&self) -> Result<u32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match reload::family(&*self.ports.net, &self.socket("master.sock")).await {
                Ok(family) => return Ok(family.master),
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// First start with an empty image.
    pub async fn serve(&mut self) -> Result<(Capabilities, WorkerId)> {
        let capabilities = self.capabilities().await?;
        let image = self.image(&capabilities, &[]);
        let ack = self.reload(image).await?;
        assert_eq!(ack.outcomes, [Outcome::Done]);
        Ok((capabilities, ack.worker.ok_or("no worker in the ack")?))
    }

    pub async fn end(mut self) -> Result {
        if let Some(handle) = self.handle.take() {
            handle.stop(StopMode::Soft { within: Duration::from_secs(1) }).await?;
        }
        assert_eq!(self.pid().await, None, "HAProxy was to stop");
        Ok(())
    }
}

impl Drop for Bench {
    /// No HAProxy is left behind by a test that failed.
    fn drop(&mut self) {
        if self.folder.is_none() {
            return;
        }
        let path = self.options.state_dir.join("run/master.sock");
        let connect = |_| {
            std::thread::sleep(Duration::from_millis(20));
            std::os::unix::net::UnixStream::connect(&path).ok()
        };
        let Some(mut stream) = (0..5).find_map(connect) else { return };
        let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
        let _ = io::Write::write_all(&mut stream, b"show proc\n");
        let mut answer = [0; 1024];
        let length = io::Read::read(&mut stream, &mut answer).unwrap_or(0);
        let text = String::from_utf8_lossy(&answer[..length]).into_owned();
        let line = text.lines().find(|line| line.split_whitespace().nth(1) == Some("master"));
        let pid = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        if let Some(pid) = pid {
            let _ = self.ports.processes.signal(pid, Signal::Kill);
        }
    }
}

pub fn free_port() -> io::Result<u16> {
    // Two neighbouring ports below the ephemeral range, different for each test.
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    let base = 20_000 + (std::process::id() % 400) as u16 * 20;
    loop {
        let next = NEXT.fetch_add(2, std::sync::atomic::Ordering::Relaxed);
        let port = base + next;
        let free = |p| std::net::TcpListener::bind(("127.0.0.1", p)).is_ok();
        if free(port) && free(port + 1) {
            return Ok(port);
        }
        if next > 2_000 {
            return Err(io::ErrorKind::AddrInUse.into());
        }
    }
}

pub fn certificate(vault: &Vault, name: &str) -> Result<Digest> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()])?;
    let pem = format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem());
    Ok(vault.admit(pem.into_bytes()))
}

pub fn authority(vault: &Vault) -> Result<Digest> {
    let made = rcgen::generate_simple_self_signed(["ca.example".to_owned()])?;
    Ok(vault.admit(made.cert.pem().into_bytes()))
}

pub fn add(map: MapId, key: &str, value: &str) -> RuntimeCommand {
    RuntimeCommand::AddMapEntry { map, key: key.into(), value: value.into() }
}

pub fn state(backend: &str, server: &str, state: ServerState) -> RuntimeCommand {
    RuntimeCommand::SetServerState { backend: backend.into(), server: server.into(), state }
}

pub fn add_server(backend: &str, address: &str) -> Result<RuntimeCommand> {
    let address: SocketAddr = address.parse()?;
    Ok(RuntimeCommand::AddServer {
        backend: backend.into(),
        server: tidegate_core::desired::backend::server_name(&address),
        address,
        keywords: "".into(),
    })
}

pub fn map_of(observed: &Observed, id: MapId) -> BTreeMap<&str, &str> {
    let entries = observed.maps.iter().find(|(map, _)| *map == id).map(|(_, e)| e.as_slice());
    entries.unwrap_or_default().iter().map(|(k, v)| (&**k, &**v)).collect()
}

pub fn all_done(outcomes: &[Outcome]) {
    assert!(outcomes.iter().all(|o| *o == Outcome::Done), "{outcomes:?}");
}
