//! The HAProxy adapter against every HAProxy that is installed.
//!
//! `deploy/haproxy/install.sh` puts 2.6, 3.0, 3.2 and 3.4 into `~/.cache/tidegate/haproxy` (or
//! `$TIDEGATE_HAPROXY_DIR`). A version that is not there is skipped with a word.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate::haproxy::{Mode, Proxy, ProxyHandle, ProxyOptions, StopMode, reload, worker};
use tidegate::ports::{Endpoint, Ports, Signal};
use tidegate::vault::Vault;
use tidegate_core::action::{Action, ActionBody, ActionId, MapId, RuntimeCommand, ServerState};
use tidegate_core::capability::{Capabilities, Tier};
use tidegate_core::desired::{Contribution, Desired, Image, Skeleton};
use tidegate_core::digest::Digest;
use tidegate_core::event::{Ack, Event, Observed, Outcome, WorkerId};
use tidegate_core::render::{crt_list, profile};
use tidegate_core::settings::Settings;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const VERSIONS: [&str; 4] = ["2.6", "3.0", "3.2", "3.4"];
const PATIENCE: Duration = Duration::from_secs(20);

fn binary(version: &str) -> Option<PathBuf> {
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
fn on_each<F: Future<Output = Result>>(story: impl Fn(&'static str, PathBuf) -> F) -> Result {
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
struct Bench {
    ports: Ports,
    options: ProxyOptions,
    vault: Arc<Vault>,
    handle: Option<ProxyHandle>,
    events: mpsc::Receiver<Event>,
    seen: Vec<Event>,
    next_id: u64,
    port: u16,
    _folder: Option<tempfile::TempDir>,
}

impl Bench {
    async fn start(binary: PathBuf) -> Result<Bench> {
        let folder = tempfile::tempdir()?;
        let options = ProxyOptions::spawn(folder.path().to_owned(), binary);
        let vault = Arc::new(Vault::new([7; 32]));
        let mut bench = Bench::over(options, vault).await?;
        bench._folder = Some(folder);
        Ok(bench)
    }

    async fn over(options: ProxyOptions, vault: Arc<Vault>) -> Result<Bench> {
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
            _folder: None,
        })
    }

    async fn event<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> Result<T> {
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

    async fn capabilities(&mut self) -> Result<Capabilities> {
        self.event(|e| if let Event::ProxyFound(c) = e { Some(c.clone()) } else { None }).await
    }

    async fn worker_seen(&mut self) -> Result<WorkerId> {
        self.event(|e| if let Event::WorkerSeen(id) = e { Some(*id) } else { None }).await
    }

    fn send(&mut self, body: ActionBody) -> ActionId {
        self.next_id += 1;
        let id = ActionId(self.next_id);
        if let Some(handle) = &self.handle {
            handle.send(Action { id, body });
        }
        id
    }

    async fn ack(&mut self, id: ActionId) -> Result<Ack> {
        self.event(|e| match e {
            Event::Acked(ack) if ack.id == id => Some(ack.clone()),
            _ => None,
        })
        .await
    }

    async fn act(&mut self, body: ActionBody) -> Result<Ack> {
        let id = self.send(body);
        self.ack(id).await
    }

    async fn run(
        &mut self,
        worker: WorkerId,
        commands: Vec<RuntimeCommand>,
    ) -> Result<Vec<Outcome>> {
        Ok(self.act(ActionBody::Runtime { worker, commands }).await?.outcomes)
    }

    async fn reload(&mut self, image: Image) -> Result<Ack> {
        self.act(ActionBody::Reload { image: Arc::new(image), reasons: Vec::new() }).await
    }

    async fn read_back(&mut self, worker: WorkerId) -> Result<Observed> {
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

    fn skeleton(&self, capabilities: &Capabilities, options: &[(&str, &str)]) -> Skeleton {
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

    fn image(&self, capabilities: &Capabilities, contributions: &[Contribution]) -> Image {
        let mut desired = Desired::new(Arc::new(self.skeleton(capabilities, &[])));
        desired.replace(&[], contributions);
        desired.image().clone()
    }

    fn broken_image(&self, capabilities: &Capabilities) -> Image {
        let skeleton = self.skeleton(capabilities, &[("no-such-directive", "x")]);
        Desired::new(Arc::new(skeleton)).image().clone()
    }

    fn socket(&self, name: &str) -> Endpoint {
        Endpoint::Unix(self.options.state_dir.join("run").join(name))
    }

    async fn pid(&self) -> Option<u32> {
        match worker::look(&*self.ports.net, &self.socket("worker.sock")).await {
            worker::Presence::Serving(identity) => Some(identity.pid),
            worker::Presence::Waiting(_) | worker::Presence::Absent | worker::Presence::Mute => {
                None
            }
        }
    }

    /// The master's process id; it listens again some milliseconds after a start.
    async fn master(&self) -> Result<u32> {
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
    async fn serve(&mut self) -> Result<(Capabilities, WorkerId)> {
        let capabilities = self.capabilities().await?;
        let image = self.image(&capabilities, &[]);
        let ack = self.reload(image).await?;
        assert_eq!(ack.outcomes, [Outcome::Done]);
        Ok((capabilities, ack.worker.ok_or("no worker in the ack")?))
    }

    async fn end(mut self) -> Result {
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
        if self._folder.is_none() {
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

fn free_port() -> io::Result<u16> {
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

fn certificate(vault: &Vault, name: &str) -> Result<Digest> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()])?;
    let pem = format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem());
    Ok(vault.admit(pem.into_bytes()))
}

fn authority(vault: &Vault) -> Result<Digest> {
    let made = rcgen::generate_simple_self_signed(["ca.example".to_owned()])?;
    Ok(vault.admit(made.cert.pem().into_bytes()))
}

fn add(map: MapId, key: &str, value: &str) -> RuntimeCommand {
    RuntimeCommand::AddMapEntry { map, key: key.into(), value: value.into() }
}

fn state(backend: &str, server: &str, state: ServerState) -> RuntimeCommand {
    RuntimeCommand::SetServerState { backend: backend.into(), server: server.into(), state }
}

fn add_server(backend: &str, address: &str) -> Result<RuntimeCommand> {
    let address: SocketAddr = address.parse()?;
    Ok(RuntimeCommand::AddServer {
        backend: backend.into(),
        server: tidegate_core::desired::backend::server_name(&address),
        address,
        keywords: "".into(),
    })
}

fn map_of(observed: &Observed, id: MapId) -> BTreeMap<&str, &str> {
    let entries = observed.maps.iter().find(|(map, _)| *map == id).map(|(_, e)| e.as_slice());
    entries.unwrap_or_default().iter().map(|(k, v)| (&**k, &**v)).collect()
}

fn all_done(outcomes: &[Outcome]) {
    assert!(outcomes.iter().all(|o| *o == Outcome::Done), "{outcomes:?}");
}

#[test]
fn abilities_are_those_of_the_documented_tiers() -> Result {
    on_each(|version, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let found = bench.capabilities().await?;
        let tier = match version {
            "2.6" => Tier::C,
            "3.0" | "3.2" => Tier::B,
            _ => Tier::A,
        };
        assert_eq!(found.tier(), tier);
        assert_eq!(found.headers_bin, version == "3.4");
        assert_eq!(found.timeout_connect, version == "3.4");
        assert_eq!(found.timeout_client, version != "2.6");
        assert!(found.descriptors > 0);
        Ok(())
    })
}

#[test]
fn map_entries_arrive_as_they_were_sent() -> Result {
    on_each(|_, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let (_, worker) = bench.serve().await?;
        let nasty = r#"a b;c\d\\ "e" 'f' #g <<h $i %[j] ü <<"#;
        let many =
            (0..3000).map(|n| add(MapId::Policy, &format!("many{n}"), &format!("v{n} {nasty}")));
        let mut commands = vec![add(MapId::Access, "one", nasty)];
        commands.extend(many);
        let started = Instant::now();
        all_done(&bench.run(worker, commands).await?);
        println!("3001 additions: {:?}", started.elapsed());
        let set = |key: &str, value: &str| RuntimeCommand::SetMapEntry {
            map: MapId::Policy,
            key: key.into(),
            value: value.into(),
        };
        let delete =
            |key: &str| RuntimeCommand::DeleteMapEntry { map: MapId::Policy, key: key.into() };
        let outcomes = bench
            .run(
                worker,
                vec![set("many7", "x;y"), set("none", "x"), delete("many8"), delete("none")],
            )
            .await?;
        assert_eq!(outcomes[0], Outcome::Done);
        assert!(matches!(outcomes[1], Outcome::Refused(_)));
        assert_eq!(outcomes[2..], [Outcome::Done, Outcome::Done]);
        let observed = bench.read_back(worker).await?;
        assert_eq!(map_of(&observed, MapId::Access).get("one"), Some(&nasty));
        let policy = map_of(&observed, MapId::Policy);
        assert_eq!(policy.get("many7"), Some(&"x;y"));
        assert_eq!(policy.get("many8"), None);
        assert_eq!(policy.get("many9"), Some(&&*format!("v9 {nasty}")));
        assert_eq!(policy.len(), 2999);
        bench.end().await
    })
}

#[test]
fn a_bad_entry_in_a_bulk_addition_is_the_only_one_refused() -> Result {
    on_each(|_, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let (_, worker) = bench.serve().await?;
        let keys = ["^a", "^b", "(broken", "^c", "(again", "^d"];
        let outcomes =
            bench.run(worker, keys.map(|key| add(MapId::Rewrite, key, "x")).into()).await?;
        let refused: Vec<_> = outcomes.iter().map(|o| matches!(o, Outcome::Refused(_))).collect();
        assert_eq!(refused, [false, false, true, false, true, false], "{outcomes:?}");
        let observed = bench.read_back(worker).await?;
        let keys: Vec<_> = map_of(&observed, MapId::Rewrite).into_keys().collect();
        assert_eq!(keys, ["^a", "^b", "^c", "^d"]);
        bench.end().await
    })
}

#[test]
fn servers_come_change_and_go() -> Result {
    on_each(|version, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let capabilities = bench.capabilities().await?;
        let service =
            tidegate_core::world::object::Name { namespace: "d".into(), name: "s".into() };
        let spec = Arc::new(tidegate_core::desired::BackendSpec {
            service,
            port_name: "".into(),
            port: 80,
            profile: profile::DEFAULT.into(),
            keywords: "".into(),
            files: Vec::new(),
            check: None,
            snippet: None,
            reach: None,
        });
        let backend = tidegate_core::desired::Backend {
            name: spec.name(),
            spec,
            servers: vec!["10.0.0.1:8080".parse()?],
        };
        let name = backend.name.clone();
        let image = bench.image(&capabilities, &[Contribution::Backend(Arc::new(backend))]);
        let worker = bench.reload(image).await?.worker.ok_or("no worker")?;
        let find = |observed: &Observed, name: &str| {
            observed.backends.iter().find(|b| *b.name == *name).map(|b| b.servers.clone())
        };
        let observed = bench.read_back(worker).await?;
        assert!(observed.backends.iter().all(|b| !b.name.starts_with("tidegate-")));
        let servers = find(&observed, &name).ok_or("no backend")?;
        assert_eq!(servers[0].address, Some("10.0.0.1:8080".parse()?));
        assert!(servers[0].ready);
        if version == "2.6" {
            assert!(servers[1..].iter().all(|s| s.address.is_none() && !s.ready));
            let address = |address: &str| -> Result<RuntimeCommand> {
                let address = address.parse()?;
                let (backend, server) = (name.clone(), "s2".into());
                Ok(RuntimeCommand::SetServerAddress { backend, server, address })
            };
            let commands = vec![
                address("10.0.0.2:80")?,
                address("10.0.0.2:80")?,
                address("[fd00::2]:81")?,
                state(&name, "s2", ServerState::Ready),
            ];
            all_done(&bench.run(worker, commands).await?);
            let servers = find(&bench.read_back(worker).await?, &name).ok_or("no backend")?;
            assert_eq!(servers[1].address, Some("[fd00::2]:81".parse()?));
            assert!(servers[1].ready);
        } else {
            let other = "[fd00::1]:8080";
            let commands = vec![
                add_server(&name, other)?,
                state(&name, "fd00::1:8080", ServerState::Ready),
                state(&name, "10.0.0.1:8080", ServerState::Maint),
                RuntimeCommand::ShutdownSessions {
                    backend: name.clone(),
                    server: "10.0.0.1:8080".into(),
                },
            ];
            all_done(&bench.run(worker, commands).await?);
            let again = bench.run(worker, vec![add_server(&name, other)?]).await?;
            assert!(matches!(again[0], Outcome::Refused(_)));
            let servers = find(&bench.read_back(worker).await?, &name).ok_or("no backend")?;
            let states: Vec<_> = servers.iter().map(|s| (s.slot, s.address, s.ready)).collect();
            let addresses = ["10.0.0.1:8080", "[fd00::1]:8080"].map(|text| text.parse().ok());
            assert_eq!(states, [(0, addresses[0], false), (0, addresses[1], true)]);
            let delete = |server: &str| RuntimeCommand::DeleteServer {
                backend: name.clone(),
                server: server.into(),
            };
            let outcomes = bench
                .run(worker, vec![delete("10.0.0.1:8080"), delete("none"), delete("fd00::1:8080")])
                .await?;
            assert_eq!(outcomes[..2], [Outcome::Done, Outcome::Done]);
            assert!(matches!(outcomes[2], Outcome::Refused(_)));
        }
        bench.end().await
    })
}

#[test]
fn backends_come_and_go_where_haproxy_can() -> Result {
    on_each(|_, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let (capabilities, worker) = bench.serve().await?;
        let backend: Arc<str> = "d_new_80".into();
        let commands = vec![
            RuntimeCommand::AddBackend {
                backend: backend.clone(),
                profile: profile::DEFAULT.into(),
            },
            RuntimeCommand::PublishBackend { backend: backend.clone() },
            add_server(&backend, "127.0.0.1:9")?,
            state(&backend, "127.0.0.1:9", ServerState::Ready),
        ];
        let started = Instant::now();
        let outcomes = bench.run(worker, commands).await?;
        println!("a backend with a server: {:?}", started.elapsed());
        if !capabilities.dynamic_backends {
            assert!(outcomes.iter().all(|o| matches!(o, Outcome::Refused(_))), "{outcomes:?}");
            return bench.end().await;
        }
        all_done(&outcomes);
        let observed = bench.read_back(worker).await?;
        assert!(observed.backends.iter().any(|b| *b.name == *backend && b.servers.len() == 1));
        let delete = RuntimeCommand::DeleteBackend { backend: backend.clone() };
        let outcomes = bench.run(worker, vec![delete.clone()]).await?;
        assert!(matches!(outcomes[0], Outcome::Refused(_)));
        let commands = vec![
            RuntimeCommand::UnpublishBackend { backend: backend.clone() },
            state(&backend, "127.0.0.1:9", ServerState::Maint),
            RuntimeCommand::DeleteServer { backend: backend.clone(), server: "127.0.0.1:9".into() },
            delete.clone(),
            delete,
        ];
        all_done(&bench.run(worker, commands).await?);
        bench.end().await
    })
}

#[test]
fn certificates_are_installed_listed_and_removed() -> Result {
    on_each(|_, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let (_, worker) = bench.serve().await?;
        let one = certificate(&bench.vault, "a.example")?;
        let two = certificate(&bench.vault, "b.example")?;
        let bad = bench.vault.admit(b"garbage\n".to_vec());
        let ca = authority(&bench.vault)?;
        // Somebody died in the middle of a transaction.
        let mut stream = bench.ports.net.dial(&bench.socket("worker.sock")).await?;
        let pem = bench.vault.certificate(&one).ok_or("no certificate")?;
        let pem = String::from_utf8_lossy(&pem).replace("\n\n", "\n");
        let file = crt_list::DEFAULT_FILE;
        stream.write_all(format!("set ssl cert {file} <<\n{pem}\n").as_bytes()).await?;
        let mut answer = Vec::new();
        tokio::io::AsyncReadExt::read_buf(&mut stream, &mut answer).await?;
        drop(stream);
        let install =
            |file: &str, digest| RuntimeCommand::InstallCertificate { file: file.into(), digest };
        let commands = vec![
            install("certs/one.pem", one),
            install("certs/bad.pem", bad),
            install("certs/two.pem", two),
            install("certs/gone.pem", Digest::of(b"not in the vault")),
            RuntimeCommand::ReplaceDefaultCertificate { digest: Some(two) },
            RuntimeCommand::InstallAuthority { file: "ca/x.pem".into(), digest: ca },
            RuntimeCommand::InstallAuthority { file: "ca/bad.pem".into(), digest: bad },
        ];
        let started = Instant::now();
        let outcomes = bench.run(worker, commands).await?;
        println!("certificates: {:?}", started.elapsed());
        let done: Vec<_> = outcomes.iter().map(|o| *o == Outcome::Done).collect();
        assert_eq!(done, [true, false, true, false, true, true, false], "{outcomes:?}");
        assert!(outcomes.iter().all(|o| *o != Outcome::Unknown), "{outcomes:?}");
        let line = |file: &str, hosts: &[&str]| RuntimeCommand::AddCrtListLine {
            file: file.into(),
            hosts: hosts.iter().map(|h| (*h).into()).collect(),
        };
        let both = line("certs/one.pem", &["a.example", "*.a.example"]);
        all_done(&bench.run(worker, vec![both]).await?);
        let observed = bench.read_back(worker).await?;
        let certificates: Vec<_> = observed.certificates.iter().map(|c| &**c).collect();
        assert_eq!(certificates, [file, "certs/one.pem", "certs/two.pem"]);
        assert_eq!(observed.authorities, ["ca/x.pem".into()]);
        let listed = observed.crt_list.iter().find(|(f, _)| **f == *"certs/one.pem");
        assert_eq!(listed.map(|(_, hosts)| hosts.len()), Some(2));
        // A second line for the same file: deleting removes both.
        all_done(&bench.run(worker, vec![line("certs/one.pem", &["c.example"])]).await?);
        let unlist = |file: &str| RuntimeCommand::DeleteCrtListLine { file: file.into() };
        let forget = |file: &str| RuntimeCommand::DeleteCertificate { file: file.into() };
        let outcomes = bench.run(worker, vec![forget("certs/one.pem")]).await?;
        assert!(matches!(outcomes[0], Outcome::Refused(_)));
        let commands = vec![unlist("certs/one.pem"), unlist("certs/none.pem")];
        all_done(&bench.run(worker, commands).await?);
        let commands = vec![
            forget("certs/one.pem"),
            forget("certs/two.pem"),
            forget("certs/none.pem"),
            RuntimeCommand::DeleteAuthority { file: "ca/x.pem".into() },
            RuntimeCommand::DeleteAuthority { file: "ca/none.pem".into() },
        ];
        all_done(&bench.run(worker, commands).await?);
        let observed = bench.read_back(worker).await?;
        assert_eq!(observed.certificates, [file.into()]);
        assert_eq!(observed.crt_list.len(), 1);
        assert!(observed.authorities.is_empty());
        bench.end().await
    })
}

#[test]
fn a_reload_moves_to_a_new_worker_and_a_refused_one_does_not() -> Result {
    on_each(|_, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let (capabilities, first) = bench.serve().await?;
        let link = bench.options.state_dir.join("haproxy.cfg");
        all_done(&bench.run(first, vec![add(MapId::Policy, "k", "v")]).await?);
        let image = bench.image(
            &capabilities,
            &[Contribution::Map(MapId::Policy, "k".into(), "from-file".into())],
        );
        let started = Instant::now();
        let ack = bench.reload(image.clone()).await?;
        println!("reload: {:?}", started.elapsed());
        assert_eq!(ack.outcomes, [Outcome::Done]);
        let second = ack.worker.ok_or("no worker")?;
        assert!(second > first);
        assert_eq!(bench.run(first, vec![add(MapId::Policy, "x", "v")]).await?, [Outcome::Unknown]);
        let observed = bench.read_back(second).await?;
        assert_eq!(map_of(&observed, MapId::Policy).get("k"), Some(&"from-file"));
        let digest = tidegate_core::render::skeleton_digest(&image.skeleton);
        assert_eq!(*observed.skeleton, *digest);
        let before = bench.ports.files.pointee(&link)?;
        let broken = bench.broken_image(&capabilities);
        let ack = bench.reload(broken.clone()).await?;
        let Outcome::Refused(words) = &ack.outcomes[0] else { panic!("{ack:?}") };
        assert!(words.contains("no-such-directive"), "{words}");
        assert_eq!(bench.ports.files.pointee(&link)?, before);
        all_done(&bench.run(second, vec![add(MapId::Policy, "still", "here")]).await?);
        let check = bench.act(ActionBody::Check { image: Arc::new(broken) }).await?;
        assert!(matches!(check.outcomes[0], Outcome::Refused(_)));
        let check = bench.act(ActionBody::Check { image: Arc::new(image.clone()) }).await?;
        assert_eq!(check.outcomes, [Outcome::Done]);
        for _ in 0..5 {
            let saved = bench.act(ActionBody::Save { image: Arc::new(image.clone()) }).await?;
            assert_eq!(saved.outcomes, [Outcome::Done]);
        }
        let generations = bench.ports.files.list(&bench.options.state_dir)?;
        let generations = generations.iter().filter(|name| name.starts_with("gen-")).count();
        assert!(generations <= 4, "{generations} generations");
        bench.end().await
    })
}

#[test]
fn a_reload_that_only_the_master_refuses_is_refused() -> Result {
    on_each(|_, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let (capabilities, worker) = bench.serve().await?;
        // `haproxy -c` does not bind, so it accepts a port that is taken.
        let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
        let mut skeleton = bench.skeleton(&capabilities, &[]);
        skeleton.listen.http_port = taken.local_addr()?.port();
        let image = Desired::new(Arc::new(skeleton)).image().clone();
        for key in ["still", "again"] {
            let started = Instant::now();
            let ack = bench.reload(image.clone()).await?;
            println!("refused after {:?}: {:?}", started.elapsed(), ack.outcomes);
            assert!(matches!(ack.outcomes[0], Outcome::Refused(_)), "{ack:?}");
            all_done(&bench.run(worker, vec![add(MapId::Policy, key, "here")]).await?);
        }
        // What the master refused costs the next reload nothing.
        let ack = bench.reload(bench.image(&capabilities, &[])).await?;
        assert_eq!(ack.outcomes, [Outcome::Done]);
        let next = ack.worker.ok_or("no worker")?;
        assert!(next > worker);
        all_done(&bench.run(next, vec![add(MapId::Policy, "k", "v")]).await?);
        bench.end().await
    })
}

#[test]
fn a_killed_haproxy_is_back_from_files_within_a_second() -> Result {
    on_each(|_, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let (capabilities, first) = bench.serve().await?;
        let entry = Contribution::Map(MapId::Policy, "k".into(), "saved".into());
        let image = Arc::new(bench.image(&capabilities, &[entry]));
        assert_eq!(bench.act(ActionBody::Save { image }).await?.outcomes, [Outcome::Done]);
        for (victim, previous) in [("worker", first), ("master", WorkerId(2))] {
            let pid = match victim {
                "worker" => bench.pid().await.ok_or("no worker")?,
                _ => bench.master().await?,
            };
            let killed = Instant::now();
            bench.ports.processes.signal(pid, Signal::Kill)?;
            bench.event(|e| (*e == Event::WorkerLost(previous)).then_some(())).await?;
            let lost = killed.elapsed();
            let worker = bench.worker_seen().await?;
            println!("{victim} killed: lost after {lost:?}, back after {:?}", killed.elapsed());
            assert!(killed.elapsed() < Duration::from_secs(2));
            assert!(worker > previous);
            let observed = bench.read_back(worker).await?;
            assert_eq!(map_of(&observed, MapId::Policy).get("k"), Some(&"saved"));
        }
        bench.end().await
    })
}

#[test]
fn a_new_controller_adopts_what_runs_and_a_second_one_is_refused() -> Result {
    on_each(|_, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let (_, worker) = bench.serve().await?;
        all_done(&bench.run(worker, vec![add(MapId::Policy, "k", "v")]).await?);
        let pid = bench.pid().await;
        let second = Bench::over(bench.options.clone(), Arc::clone(&bench.vault)).await;
        let text = second.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(!text.is_empty(), "two controllers in one folder");
        // The first one ends without a word, as when killed.
        drop(bench.handle.take());
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut next = Bench::over(bench.options.clone(), Arc::clone(&bench.vault)).await?;
        let started = Instant::now();
        let worker = next.worker_seen().await?;
        next.capabilities().await?;
        println!("adopted after {:?}", started.elapsed());
        assert_eq!(next.pid().await, pid);
        let observed = next.read_back(worker).await?;
        assert_eq!(map_of(&observed, MapId::Policy).get("k"), Some(&"v"));
        next.end().await
    })
}

#[test]
fn files_on_disk_are_served_before_anything_is_asked_for() -> Result {
    on_each(|_, binary| async move {
        let mut bench = Bench::start(binary).await?;
        bench.serve().await?;
        if let Some(handle) = bench.handle.take() {
            handle.stop(StopMode::Soft { within: Duration::from_secs(1) }).await?;
        }
        assert_eq!(bench.pid().await, None);
        // The newest files are no good: the last ones that ran are used.
        let dir = bench.options.state_dir.join("gen-99");
        bench.ports.files.create_dir(&dir, 0o755)?;
        bench.ports.files.write(&dir.join("haproxy.cfg"), b"nonsense\n", 0o644)?;
        let link = bench.options.state_dir.join("haproxy.cfg");
        bench.ports.files.point(&link, Path::new("gen-99/haproxy.cfg"))?;
        let mut next = Bench::over(bench.options.clone(), Arc::clone(&bench.vault)).await?;
        next.worker_seen().await?;
        // Core starts an HAProxy when it knows what one can do and of no worker.
        assert_eq!(next.seen.len(), 1, "WorkerSeen, then ProxyFound: {:?}", next.seen);
        next.capabilities().await?;
        next.end().await
    })
}

#[test]
fn missing_bytes_are_a_refusal_that_changes_nothing() -> Result {
    on_each(|_, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let (capabilities, worker) = bench.serve().await?;
        let link = bench.options.state_dir.join("haproxy.cfg");
        let before = bench.ports.files.pointee(&link)?;
        let missing = Contribution::Certificate(Digest::of(b"nowhere"), "a.example".into());
        let image = Arc::new(bench.image(&capabilities, &[missing]));
        for body in [
            ActionBody::Save { image: image.clone() },
            ActionBody::Check { image: image.clone() },
            ActionBody::Reload { image, reasons: Vec::new() },
        ] {
            let ack = bench.act(body).await?;
            let Outcome::Refused(words) = &ack.outcomes[0] else { panic!("{ack:?}") };
            assert!(words.starts_with("files: "), "{words}");
        }
        assert_eq!(bench.ports.files.pointee(&link)?, before);
        all_done(&bench.run(worker, vec![add(MapId::Policy, "k", "v")]).await?);
        bench.end().await
    })
}

/// Whether every thread of a process is stopped.
fn is_stopped(pid: &str) -> std::io::Result<bool> {
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = std::fs::read_to_string(thread?.path().join("stat"))?;
        if !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[test]
fn a_worker_that_hangs_leaves_outcomes_unknown_and_recovers() -> Result {
    on_each(|_, binary| async move {
        let folder = tempfile::tempdir()?;
        let mut options = ProxyOptions::spawn(folder.path().to_owned(), binary);
        options.answer_patience = Duration::from_millis(300);
        let mut bench = Bench::over(options, Arc::new(Vault::new([7; 32]))).await?;
        bench._folder = Some(folder);
        let (_, worker) = bench.serve().await?;
        let pid = bench.pid().await.ok_or("no worker")?.to_string();
        let signal = |name: &str| std::process::Command::new("kill").args([name, &pid]).status();
        signal("-STOP")?;
        // The signal is on its way when `kill` returns; a thread may still answer until it arrives.
        while !is_stopped(&pid)? {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let outcomes = bench.run(worker, vec![add(MapId::Policy, "k", "v")]).await;
        signal("-CONT")?;
        assert_eq!(outcomes?, [Outcome::Unknown]);
        let deadline = Instant::now() + PATIENCE;
        let key = |n: u32| add(MapId::Policy, &format!("again{n}"), "v");
        let mut tries = 0;
        while bench.run(worker, vec![key(tries)]).await? != [Outcome::Done] {
            assert!(Instant::now() < deadline, "it did not recover");
            tries += 1;
        }
        bench.read_back(worker).await?;
        assert!(!bench.seen.contains(&Event::WorkerLost(worker)));
        bench.end().await
    })
}

#[test]
fn attached_to_an_haproxy_that_somebody_else_runs() -> Result {
    on_each(|_, binary| async move {
        let mut owner = Bench::start(binary).await?;
        let (capabilities, _) = owner.serve().await?;
        let image = owner.image(&capabilities, &[]);
        // Its owner goes away; from now on nobody restarts it but this test.
        drop(owner.handle.take());
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut options = owner.options.clone();
        options.binary = PathBuf::from("/nonexistent/haproxy");
        options.mode = Mode::Attach {
            master: Some(owner.socket("master.sock")),
            worker: owner.socket("worker.sock"),
        };
        let mut bench = Bench::over(options, Arc::clone(&owner.vault)).await?;
        let first = bench.worker_seen().await?;
        let found = bench.capabilities().await?;
        assert_eq!(found.tier(), capabilities.tier());
        let ack = bench.reload(image).await?;
        assert_eq!(ack.outcomes, [Outcome::Done]);
        let second = ack.worker.ok_or("no worker")?;
        assert!(second > first);
        // Somebody reloads it behind our back.
        bench.master().await?;
        let verdict =
            reload::reload(&*bench.ports.net, &owner.socket("master.sock"), PATIENCE).await;
        assert!(!matches!(verdict, reload::Verdict::Refused(_)), "{verdict:?}");
        let third = bench.worker_seen().await?;
        assert!(bench.seen.contains(&Event::WorkerLost(second)));
        all_done(&bench.run(third, vec![add(MapId::Policy, "k", "v")]).await?);
        Ok(())
    })
}

#[test]
fn a_round_trip_is_short() -> Result {
    on_each(|version, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let (_, worker) = bench.serve().await?;
        all_done(&bench.run(worker, vec![add(MapId::Policy, "k", "v")]).await?);
        for count in [1, 3, 10] {
            let mut times = Vec::new();
            for n in 0..300 {
                let commands = (0..count)
                    .map(|_| RuntimeCommand::SetMapEntry {
                        map: MapId::Policy,
                        key: "k".into(),
                        value: format!("{n}").into(),
                    })
                    .collect();
                let started = Instant::now();
                all_done(&bench.run(worker, commands).await?);
                times.push(started.elapsed());
            }
            times.sort_unstable();
            println!("{version}: {count} commands: median {:?}, p99 {:?}", times[150], times[297]);
        }
        bench.end().await
    })
}
