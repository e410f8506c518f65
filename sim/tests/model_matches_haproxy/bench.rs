//! A real HAProxy behind the adapter, pods on loopback, and a client.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate::haproxy::{Proxy, ProxyHandle, ProxyOptions, StopMode};
use tidegate::vault::Vault;
use tidegate_core::action::{Action, ActionBody, ActionId};
use tidegate_core::capability::Capabilities;
use tidegate_core::desired::{Contribution, Desired, Image, Skeleton};
use tidegate_core::event::{Ack, Event, Observed, WorkerId};
use tidegate_core::settings::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

pub type Failed = Box<dyn std::error::Error>;

/// Pods of the world.
const PODS: usize = 6;

pub struct Bench {
    options: ProxyOptions,
    pub vault: Arc<Vault>,
    pub abilities: Capabilities,
    pub pods: Vec<SocketAddr>,
    handle: Option<ProxyHandle>,
    events: mpsc::Receiver<Event>,
    next_id: u64,
    port: u16,
    _folder: tempfile::TempDir,
}

fn binary(version: &str) -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let dir = std::env::var_os("TIDEGATE_HAPROXY_DIR")
        .map_or_else(|| home.join(".cache/tidegate/haproxy"), PathBuf::from);
    let path = dir.join(version).join("haproxy");
    assert!(path.exists(), "{} is missing: run deploy/haproxy/install.sh", path.display());
    path
}

impl Bench {
    pub async fn start(version: &str) -> Result<Bench, Failed> {
        let folder = tempfile::tempdir()?;
        let options = ProxyOptions::spawn(folder.path().to_owned(), binary(version));
        let vault = Arc::new(Vault::new([7; 32]));
        let (sender, events) = mpsc::channel(1024);
        let ports = tidegate::os::ports()?;
        let handle = Proxy::start(ports, options.clone(), Arc::clone(&vault), sender).await?;
        let mut pods = Vec::new();
        for _ in 0..PODS {
            pods.push(pod().await?);
        }
        Ok(Bench {
            options,
            vault,
            abilities: Capabilities::tier_a(),
            pods,
            handle: Some(handle),
            events,
            next_id: 0,
            port: free_port().await?,
            _folder: folder,
        })
    }

    async fn event<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<T>) -> Result<T, Failed> {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(30), self.events.recv()).await;
            let event = next.map_err(|_| "nothing came")?.ok_or("the adapter ended")?;
            if let Some(found) = wanted(event) {
                return Ok(found);
            }
        }
    }

    pub async fn capabilities(&mut self) -> Result<Capabilities, Failed> {
        let found = self.event(|e| if let Event::ProxyFound(c) = e { Some(c) } else { None });
        self.abilities = found.await?;
        Ok(self.abilities.clone())
    }

    fn send(&mut self, body: ActionBody) -> ActionId {
        self.next_id += 1;
        let id = ActionId(self.next_id);
        if let Some(handle) = &self.handle {
            handle.send(Action { id, body });
        }
        id
    }

    pub async fn act(&mut self, body: ActionBody) -> Result<Ack, Failed> {
        let id = self.send(body);
        self.event(|e| match e {
            Event::Acked(ack) if ack.id == id => Some(ack),
            _ => None,
        })
        .await
    }

    pub async fn read_back(&mut self, worker: WorkerId) -> Result<Observed, Failed> {
        let id = self.send(ActionBody::ReadBack { worker });
        let mut state = None;
        self.event(|e| match e {
            Event::Observed { worker: from, state: seen } if from == worker => {
                state = Some(*seen);
                None
            }
            Event::Acked(ack) if ack.id == id => Some(()),
            _ => None,
        })
        .await?;
        state.ok_or_else(|| "the read-back failed".into())
    }

    fn skeleton(&self, options: &[(&str, &str)]) -> Arc<Skeleton> {
        let mut listen = Settings::documented(&self.options.state_dir.display().to_string()).listen;
        listen.addresses = vec![[127, 0, 0, 1].into()];
        listen.http_port = self.port;
        listen.https_port = self.port + 1;
        listen.stats_port = 0;
        listen.threads = 1;
        listen.hard_stop_after_s = 5;
        Arc::new(Skeleton {
            checks: true,
            listen,
            capabilities: Arc::new(self.abilities.clone()),
            header_names: Vec::new(),
            tcp_ports: Vec::new(),
            passthrough: false,
            options: options.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            errors: Arc::default(),
            peers: Vec::new(),
            snippets: Default::default(),
        })
    }

    pub fn image(&self, contributions: &[Contribution]) -> Image {
        let mut desired = Desired::new(self.skeleton(&[]));
        desired.replace(&[], contributions);
        desired.image().clone()
    }

    pub fn broken_image(&self) -> Image {
        Desired::new(self.skeleton(&[("no-such-directive", "x")])).image().clone()
    }

    /// Status and body.
    pub async fn request(&self, host: &str, path: &str) -> Result<(u16, String), Failed> {
        let exchange = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
            let text = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            stream.write_all(text.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            Ok::<_, Failed>(String::from_utf8_lossy(&answer).into_owned())
        };
        let answer = tokio::time::timeout(Duration::from_secs(10), exchange).await??;
        let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok((status, body.to_owned()))
    }

    pub async fn end(mut self) -> Result<(), Failed> {
        if let Some(handle) = self.handle.take() {
            handle.stop(StopMode::Soft { within: Duration::from_secs(1) }).await?;
        }
        Ok(())
    }
}

/// A pod that answers each request with its address, and closes.
async fn pod() -> Result<SocketAddr, Failed> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = Vec::new();
                while !asked.windows(4).any(|w| w == b"\r\n\r\n") {
                    match stream.read_buf(&mut asked).await {
                        Ok(0) | Err(_) => return,
                        Ok(_) => {}
                    }
                }
                let body = address.to_string();
                let text = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(text.as_bytes()).await;
            });
        }
    });
    Ok(address)
}

/// Two neighbouring free ports, below those that clients get.
async fn free_port() -> Result<u16, Failed> {
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    loop {
        let next = NEXT.fetch_add(2, std::sync::atomic::Ordering::Relaxed);
        let port = 14_000 + (std::process::id() % 400) as u16 * 10 + next;
        let both = (TcpListener::bind(("127.0.0.1", port)).await).is_ok()
            && (TcpListener::bind(("127.0.0.1", port + 1)).await).is_ok();
        if both {
            return Ok(port);
        }
        if next > 4_000 {
            return Err("no free ports".into());
        }
    }
}
