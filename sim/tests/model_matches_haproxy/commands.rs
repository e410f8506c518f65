//! Commands and configurations from small pools, so that they meet each other's leavings.

use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_core::action::{MapId, RuntimeCommand, ServerState};
use tidegate_core::capability::{Capabilities, Tier};
use tidegate_core::desired::backend::server_name;
use tidegate_core::desired::{Backend, BackendSpec, Contribution, Image, ServerFile};
use tidegate_core::digest::Digest;
use tidegate_core::render::{crt_list, profile};
use tidegate_core::world::object::Name;
use tidegate_sim::dice::Dice;
use tidegate_sim::model::haproxy::Haproxy;

use crate::bench::{Bench, Failed};

const HOSTS: &[&str] = &["a.test", "b.test", "*.test", "", "x.b.test"];
const PATHS: &[&str] = &["/>", "/", "/a/>", "/a/", "/a/b/"];
const SERVICES: &[&str] = &["web", "api", "db", "old"];

pub struct Pool {
    tier: Tier,
    pods: Vec<SocketAddr>,
    certificates: Vec<Digest>,
    authorities: Vec<Digest>,
}

impl Pool {
    pub fn new(capabilities: &Capabilities, bench: &Bench) -> Result<Pool, Failed> {
        let mut certificates = Vec::new();
        let mut authorities = Vec::new();
        for name in ["one.test", "two.test"] {
            let made = rcgen::generate_simple_self_signed([name.to_owned()])?;
            let pem = format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem());
            certificates.push(bench.vault.admit(pem.into_bytes()));
            authorities.push(bench.vault.admit(made.cert.pem().into_bytes()));
        }
        let tier = capabilities.tier();
        Ok(Pool { tier, pods: bench.pods.clone(), certificates, authorities })
    }

    /// A configuration with some of everything.
    pub fn image(&self, dice: &mut Dice, bench: &Bench) -> Image {
        let mut all = Vec::new();
        for service in SERVICES {
            if dice.percent(60) {
                let spec = BackendSpec {
                    service: Name::new("t", service),
                    port_name: "http".into(),
                    port: 80,
                    profile: profile::DEFAULT.into(),
                    keywords: "".into(),
                    files: Vec::new(),
                    check: None,
                    snippet: None,
                    reach: None,
                };
                let mut servers: Vec<SocketAddr> =
                    self.pods.iter().filter(|_| dice.percent(40)).copied().collect();
                servers.sort_unstable();
                let name = spec.name();
                let spec = Arc::new(spec);
                all.push(Contribution::Backend(Arc::new(Backend { name, spec, servers })));
            }
        }
        all.push(Contribution::Map(MapId::Policy, "p1".into(), "-".into()));
        for _ in 0..dice.below(5) {
            let (key, value) = (self.route(dice), self.record(dice));
            if !all.iter().any(|c| matches!(c, Contribution::Map(MapId::Route, k, _) if *k == key))
            {
                all.push(Contribution::Map(MapId::Route, key, value));
            }
        }
        if dice.percent(50)
            && let Some(digest) = dice.pick(&self.certificates)
        {
            all.push(Contribution::Certificate(*digest, "a.test".into()));
        }
        all.sort();
        bench.image(&all)
    }

    fn route(&self, dice: &mut Dice) -> Arc<str> {
        let host = dice.pick(HOSTS).copied().unwrap_or_default();
        let path = dice.pick(PATHS).copied().unwrap_or_default();
        format!("{host}{path}").into()
    }

    fn backend(&self, dice: &mut Dice) -> Arc<str> {
        let spare = || -> Arc<str> { format!("spare:0000{}:{}", 0, profile::DEFAULT).into() };
        match (self.tier, dice.below(10)) {
            (Tier::B, 0..4) => spare(),
            (_, 9) => "t_nobody_http".into(),
            _ => format!("t_{}_http", dice.pick(SERVICES).copied().unwrap_or_default()).into(),
        }
    }

    fn record(&self, dice: &mut Dice) -> Arc<str> {
        match dice.below(10) {
            0 => "tidegate-404".into(),
            1 => "tidegate-503".into(),
            2 => format!("|{}|p1", self.backend(dice)).into(),
            3 => format!("|{}|p2", self.backend(dice)).into(),
            _ => self.backend(dice),
        }
    }

    /// A server, more often than not one that is there.
    fn server(&self, dice: &mut Dice, backend: &str, model: &Haproxy) -> Arc<str> {
        let there = model.backends.get(backend).map(|b| b.servers.as_slice()).unwrap_or_default();
        match dice.pick(there) {
            Some(server) if dice.percent(80) => server.name.as_str().into(),
            _ if self.tier == Tier::C => format!("s{}", dice.between(1, 5)).into(),
            _ => server_name(&self.pod(dice)),
        }
    }

    fn pod(&self, dice: &mut Dice) -> SocketAddr {
        dice.pick(&self.pods).copied().unwrap_or_else(|| ([127, 0, 0, 1], 9).into())
    }

    /// What a client asks for.
    pub fn request(&self, dice: &mut Dice) -> (String, String) {
        let host = dice.pick(&["a.test", "B.test", "q.test", "x.b.test", "y.b.test", "other"]);
        let path = dice.pick(&["/", "/a", "/a/", "/a/b", "/a//b/c", "/ab"]);
        (host.copied().unwrap_or_default().into(), path.copied().unwrap_or_default().into())
    }

    /// Any command, mostly one that makes sense.
    pub fn command(&self, dice: &mut Dice, model: &Haproxy) -> RuntimeCommand {
        let backend = self.backend(dice);
        let dynamic = u64::from(self.tier != Tier::C);
        let backends = u64::from(self.tier == Tier::A);
        let weights = [
            6 * backends,
            4 * backends,
            2 * backends,
            4 * backends,
            12 * dynamic,
            if self.tier == Tier::C { 12 } else { 2 },
            16,
            2 * dynamic,
            1,
            10 * dynamic,
            14,
            8,
            8,
            4,
            2,
            3,
            3,
            1,
            2,
        ];
        match dice.weighted(&weights) {
            0 => {
                let profile = if dice.percent(90) { profile::DEFAULT } else { "no-such" };
                RuntimeCommand::AddBackend { backend, profile: profile.into() }
            }
            1 => RuntimeCommand::PublishBackend { backend },
            2 => RuntimeCommand::UnpublishBackend { backend },
            3 => RuntimeCommand::DeleteBackend { backend },
            4 => self.add_server(dice, backend),
            5 => {
                let server = self.server(dice, &backend, model);
                RuntimeCommand::SetServerAddress { backend, server, address: self.pod(dice) }
            }
            6 => {
                let server = self.server(dice, &backend, model);
                let state = match dice.below(10) {
                    0..5 => ServerState::Ready,
                    5 => ServerState::Drain,
                    _ => ServerState::Maint,
                };
                RuntimeCommand::SetServerState { backend, server, state }
            }
            7 => {
                let server = self.server(dice, &backend, model);
                RuntimeCommand::EnableHealth { backend, server }
            }
            8 => {
                let server = self.server(dice, &backend, model);
                RuntimeCommand::ShutdownSessions { backend, server }
            }
            9 => {
                let server = self.server(dice, &backend, model);
                RuntimeCommand::DeleteServer { backend, server }
            }
            10 => {
                let (key, value) = (self.route(dice), self.record(dice));
                RuntimeCommand::AddMapEntry { map: MapId::Route, key, value }
            }
            11 => {
                let (key, value) = (self.route(dice), self.record(dice));
                RuntimeCommand::SetMapEntry { map: MapId::Route, key, value }
            }
            12 => RuntimeCommand::DeleteMapEntry { map: MapId::Route, key: self.route(dice) },
            13 => self.other_map(dice),
            _ => self.file(dice),
        }
    }

    fn add_server(&self, dice: &mut Dice, backend: Arc<str>) -> RuntimeCommand {
        let address = self.pod(dice);
        let keywords: Arc<str> = match dice.below(6) {
            0 => "weight 50".into(),
            1 => "check inter 2s".into(),
            2 => {
                let digest = dice.pick(&self.authorities).copied().unwrap_or(Digest([0; 16]));
                let file = ServerFile::Authority(digest).file();
                format!("ssl verify required ca-file {file}").into()
            }
            _ => "".into(),
        };
        RuntimeCommand::AddServer { backend, server: server_name(&address), address, keywords }
    }

    fn other_map(&self, dice: &mut Dice) -> RuntimeCommand {
        let maps = [MapId::Policy, MapId::Ledger, MapId::Access, MapId::Check];
        let map = dice.pick(&maps).copied().unwrap_or(MapId::Ledger);
        let key: Arc<str> = if dice.percent(50) { "p1".into() } else { "p2".into() };
        match dice.below(3) {
            0 => RuntimeCommand::AddMapEntry { map, key, value: "-".into() },
            1 => RuntimeCommand::SetMapEntry { map, key, value: "-".into() },
            _ => RuntimeCommand::DeleteMapEntry { map, key },
        }
    }

    fn file(&self, dice: &mut Dice) -> RuntimeCommand {
        let digest = dice.pick(&self.certificates).copied().unwrap_or(Digest([0; 16]));
        let hosts: Vec<Arc<str>> = vec!["a.test".into()];
        let lines = crt_list::lines(&digest.hex(), &hosts.iter().cloned().collect());
        let file = lines.first().map_or_else(|| "".into(), |line| line.file.clone());
        let authority = dice.pick(&self.authorities).copied().unwrap_or(Digest([0; 16]));
        let ca = ServerFile::Authority(authority).file();
        match dice.below(12) {
            0..3 => RuntimeCommand::InstallCertificate { file, digest },
            3 | 4 => RuntimeCommand::DeleteCertificate { file },
            5 => RuntimeCommand::ReplaceDefaultCertificate { digest: Some(digest) },
            6 | 7 => RuntimeCommand::AddCrtListLine { file, hosts },
            8 | 9 => RuntimeCommand::DeleteCrtListLine { file },
            10 => RuntimeCommand::InstallAuthority { file: ca, digest: authority },
            _ => RuntimeCommand::DeleteAuthority { file: ca },
        }
    }
}
