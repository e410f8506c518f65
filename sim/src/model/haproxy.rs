//! A tiny HAProxy: what a worker has in memory, how each runtime command changes it or is refused,
//! and where a request goes. Semantics are those measured on HAProxy 2.6 to 3.4.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_core::action::{MapId, RuntimeCommand, ServerState};
use tidegate_core::capability::Capabilities;
use tidegate_core::digest::Digest;

/// Number of the digests whose content OpenSSL cannot load; for generators.
pub const REFUSED_DIGEST: u8 = 7;

/// Administrative state of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin {
    /// Takes traffic.
    Ready,
    /// Takes no new balanced traffic.
    Drain,
    /// Takes none.
    Maint,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Name.
    pub name: String,
    /// Address; `None` for a slot that was never given one.
    pub address: Option<SocketAddr>,
    /// State.
    pub admin: Admin,
    /// Its keywords.
    pub keywords: Vec<String>,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Named defaults section.
    pub profile: String,
    /// Whether rules may select it.
    pub published: bool,
    /// Servers in order.
    pub servers: Vec<Server>,
}

/// What a request meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// One of these servers.
    Servers(BTreeSet<SocketAddr>),
    /// 404.
    NotFound,
    /// 503.
    Unavailable,
}

/// The memory of a worker.
#[derive(Clone, Debug)]
pub struct Haproxy {
    pub(super) capabilities: Arc<Capabilities>,
    /// Digest of the skeleton.
    pub skeleton: String,
    /// Names of defaults sections.
    pub profiles: Arc<BTreeSet<String>>,
    /// Maps, in HAProxy's order; a key may occur twice.
    pub maps: BTreeMap<MapId, Vec<(String, String)>>,
    /// Backends, static ones too.
    pub backends: BTreeMap<String, Backend>,
    /// Certificate and CA files in memory.
    pub files: BTreeSet<String>,
    /// Lines of the crt-list after the default certificate's.
    pub crt_list: Vec<(String, Vec<String>)>,
    /// Content of the default certificate; the outer `None` when nobody told.
    pub default_certificate: Option<Option<Digest>>,
}

/// HAProxy's answer to a command, by class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done.
    Done,
    /// Nothing was to be done: what was to go is not there, or what was to come is there already
    /// and was made again. Done for whoever wanted the outcome; its words.
    Needless(String),
    /// Refused, and nothing has changed; its words.
    Refused(String),
}

/// Inside the model: needless and refused both leave the normal way.
enum Why {
    Needless(String),
    Refused(String),
}

impl From<String> for Why {
    fn from(words: String) -> Why {
        Why::Refused(words)
    }
}

type Answered = Result<(), Why>;

fn refuse(words: impl Into<String>) -> Answered {
    Err(Why::Refused(words.into()))
}

fn needless(words: impl Into<String>) -> Answered {
    Err(Why::Needless(words.into()))
}

impl Haproxy {
    /// The file of the default certificate.
    pub const DEFAULT_CERTIFICATE: &'static str = "certs/default.pem";

    /// A worker without anything.
    #[must_use]
    pub fn empty(capabilities: Capabilities) -> Haproxy {
        Haproxy {
            capabilities: Arc::new(capabilities),
            skeleton: String::new(),
            profiles: Arc::default(),
            maps: BTreeMap::new(),
            backends: BTreeMap::new(),
            files: BTreeSet::new(),
            crt_list: Vec::new(),
            default_certificate: None,
        }
    }

    /// Whether this map entry is a regular expression that PCRE2 cannot compile.
    #[must_use]
    pub fn refuses_key(map: MapId, key: &str) -> bool {
        map == MapId::Rewrite && key.contains("[z-a]")
    }

    /// Whether the file's content is one that OpenSSL cannot load.
    #[must_use]
    pub fn refuses_file(file: &str) -> bool {
        file.contains(&Digest([REFUSED_DIGEST; 16]).hex())
    }

    /// Files that server keywords name.
    #[must_use]
    pub fn files_of(keywords: &[String]) -> Vec<String> {
        let pairs = keywords.windows(2);
        pairs.filter(|w| w[0] == "ca-file" || w[0] == "crt").map(|w| w[1].clone()).collect()
    }

    /// The file of the authorities that clients are held to by a line, which its name says.
    #[must_use]
    pub fn authority_of(line: &str) -> Option<String> {
        let key = line.strip_prefix("certs/")?.split('-').next()?;
        let (_, check) = key.split_once('.')?;
        Some(format!("ca/{}.pem", check.get(..32)?))
    }

    /// Whether a backend is part of the skeleton.
    #[must_use]
    pub fn is_static(backend: &str) -> bool {
        backend.starts_with("tidegate-")
    }

    /// Executes a command for a caller that knows the state and asks for nothing needless.
    ///
    /// # Errors
    /// HAProxy's words, also when nothing was to be done.
    pub fn execute(&mut self, command: &RuntimeCommand) -> Result<(), String> {
        match self.answer(command) {
            Reply::Done => Ok(()),
            Reply::Needless(words) | Reply::Refused(words) => Err(words),
        }
    }

    /// Everything that HAProxy may answer to a command, each with what it then has in memory.
    #[must_use]
    pub fn allowed(&self, command: &RuntimeCommand) -> Vec<(Reply, Haproxy)> {
        let mut next = self.clone();
        let usual = next.answer(command);
        let mut all = vec![(usual, next)];
        if matches!(command, RuntimeCommand::DeleteServer { .. }) && all[0].0 == Reply::Done {
            // Connections of earlier requests may still be there, idle ones too.
            let busy = "Server still has connections attached to it, cannot remove it.";
            all.push((Reply::Refused(busy.to_owned()), self.clone()));
        }
        if let (RuntimeCommand::DeleteAuthority { file }, Reply::Refused(_)) = (command, &all[0].0)
        {
            // A server without a certificate of its own does not hold its authorities' file.
            let mut gone = self.clone();
            gone.files.remove(&**file);
            all.push((Reply::Done, gone));
        }
        all
    }

    /// Everything that a worker may have in memory when commands were sent and the connection was
    /// lost before any answer: each prefix (2.6 and 3.0 drop what they have not begun, 3.2 and 3.4
    /// go on to the end).
    #[must_use]
    pub fn after_loss(&self, commands: &[RuntimeCommand]) -> Vec<Haproxy> {
        let mut all = vec![self.clone()];
        let mut memory = self.clone();
        for command in commands {
            let _ = memory.answer(command);
            all.push(memory.clone());
        }
        all
    }

    /// Executes a command.
    pub fn answer(&mut self, command: &RuntimeCommand) -> Reply {
        let answered = match command {
            RuntimeCommand::AddBackend { backend, profile } => self.add_backend(backend, profile),
            RuntimeCommand::PublishBackend { backend } => self.publish(backend),
            RuntimeCommand::UnpublishBackend { backend } => self.unpublish(backend),
            RuntimeCommand::DeleteBackend { backend } => self.delete_backend(backend),
            RuntimeCommand::AddServer { backend, server, address, keywords } => {
                self.add_server(backend, server, *address, keywords)
            }
            RuntimeCommand::SetServerAddress { backend, server, address } => {
                self.server(backend, server).map(|s| s.address = Some(*address)).map_err(Why::from)
            }
            RuntimeCommand::SetServerState { backend, server, state } => {
                let admin = match state {
                    ServerState::Ready => Admin::Ready,
                    ServerState::Drain => Admin::Drain,
                    ServerState::Maint => Admin::Maint,
                };
                self.server(backend, server).map(|s| s.admin = admin).map_err(Why::from)
            }
            RuntimeCommand::EnableHealth { backend, server } => self.enable_health(backend, server),
            RuntimeCommand::ShutdownSessions { backend, server } => {
                self.server(backend, server).map(|_| ()).map_err(Why::Needless)
            }
            RuntimeCommand::DeleteServer { backend, server } => self.delete_server(backend, server),
            RuntimeCommand::AddMapEntry { map, key, value } => self.add_entry(*map, key, value),
            RuntimeCommand::SetMapEntry { map, key, value } => self.set_entry(*map, key, value),
            RuntimeCommand::DeleteMapEntry { map, key } => self.delete_entry(*map, key),
            RuntimeCommand::InstallCertificate { file, digest: _ }
            | RuntimeCommand::InstallAuthority { file, digest: _ } => self.install(file),
            RuntimeCommand::DeleteCertificate { file }
            | RuntimeCommand::DeleteAuthority { file } => self.delete_file(file),
            RuntimeCommand::ReplaceDefaultCertificate { digest } => self.replace_default(*digest),
            RuntimeCommand::AddCrtListLine { file, hosts } => self.add_line(file, hosts),
            RuntimeCommand::DeleteCrtListLine { file } => self.delete_line(file),
        };
        match answered {
            Ok(()) => Reply::Done,
            Err(Why::Needless(words)) => Reply::Needless(words),
            Err(Why::Refused(words)) => Reply::Refused(words),
        }
    }

    fn needs(&self, ability: bool) -> Answered {
        if ability { Ok(()) } else { refuse("Unknown command") }
    }

    fn backend(&mut self, name: &str) -> Result<&mut Backend, String> {
        self.backends.get_mut(name).ok_or_else(|| format!("No such backend {name}."))
    }

    fn server(&mut self, backend: &str, name: &str) -> Result<&mut Server, String> {
        let servers = &mut self.backend(backend)?.servers;
        servers.iter_mut().find(|s| s.name == name).ok_or_else(|| format!("No such server {name}."))
    }

    fn publish(&mut self, name: &str) -> Answered {
        self.needs(self.capabilities.dynamic_backends)?;
        self.backend(name)?.published = true;
        Ok(())
    }

    fn unpublish(&mut self, name: &str) -> Answered {
        self.needs(self.capabilities.dynamic_backends)?;
        self.backend(name).map_err(Why::Needless)?.published = false;
        Ok(())
    }

    fn add_backend(&mut self, name: &str, profile: &str) -> Answered {
        self.needs(self.capabilities.dynamic_backends)?;
        if !self.profiles.contains(profile) {
            return refuse(format!("No such defaults section {profile}."));
        }
        if self.backends.contains_key(name) {
            return refuse(format!("Backend {name} already exists."));
        }
        let fresh = Backend { profile: profile.to_owned(), published: false, servers: vec![] };
        self.backends.insert(name.to_owned(), fresh);
        Ok(())
    }

    fn delete_backend(&mut self, name: &str) -> Answered {
        self.needs(self.capabilities.dynamic_backends)?;
        let backend = self.backend(name).map_err(Why::Needless)?;
        if backend.published {
            return refuse("Backend is published.");
        }
        if !backend.servers.is_empty() {
            return refuse("Backend still has servers.");
        }
        if Self::is_static(name) {
            return refuse("Backend is referenced by a rule.");
        }
        self.backends.remove(name);
        Ok(())
    }

    fn add_server(
        &mut self,
        backend: &str,
        name: &str,
        address: SocketAddr,
        keywords: &str,
    ) -> Answered {
        self.needs(self.capabilities.dynamic_servers)?;
        let keywords: Vec<String> =
            keywords.split(' ').filter(|w| !w.is_empty()).map(String::from).collect();
        for file in Self::files_of(&keywords) {
            if !self.files.contains(&file) {
                return refuse(format!("unable to load {file}"));
            }
        }
        let servers = &mut self.backend(backend)?.servers;
        if servers.iter().any(|s| s.name == name) {
            return refuse("Already exists a server with the same name in backend.");
        }
        let (name, address) = (name.to_owned(), Some(address));
        servers.push(Server { name, address, admin: Admin::Maint, keywords });
        Ok(())
    }

    fn enable_health(&mut self, backend: &str, server: &str) -> Answered {
        if self.server(backend, server)?.keywords.iter().any(|w| w == "check") {
            Ok(())
        } else {
            refuse("Health checks are not configured on this server.")
        }
    }

    fn delete_server(&mut self, backend: &str, name: &str) -> Answered {
        self.needs(self.capabilities.dynamic_servers)?;
        if self.server(backend, name).map_err(Why::Needless)?.admin != Admin::Maint {
            return refuse("Only servers in maintenance mode can be deleted.");
        }
        self.backend(backend)?.servers.retain(|s| s.name != name);
        Ok(())
    }

    fn entries(&mut self, map: MapId) -> &mut Vec<(String, String)> {
        self.maps.entry(map).or_default()
    }

    /// A key that is there gets a second entry; look-ups find the first.
    fn add_entry(&mut self, map: MapId, key: &str, value: &str) -> Answered {
        if Self::refuses_key(map, key) {
            return refuse("regex is invalid");
        }
        self.entries(map).push((key.to_owned(), value.to_owned()));
        Ok(())
    }

    fn set_entry(&mut self, map: MapId, key: &str, value: &str) -> Answered {
        let mut found = false;
        for (k, v) in self.entries(map) {
            if k == key {
                value.clone_into(v);
                found = true;
            }
        }
        if found { Ok(()) } else { refuse("entry not found.") }
    }

    /// Of several entries for a key 3.4 deletes the first, and older ones delete all.
    fn delete_entry(&mut self, map: MapId, key: &str) -> Answered {
        let one = self.capabilities.dynamic_backends;
        let entries = self.entries(map);
        let Some(first) = entries.iter().position(|(k, _)| k == key) else {
            return needless("Key not found.");
        };
        if one {
            entries.remove(first);
        } else {
            entries.retain(|(k, _)| k != key);
        }
        Ok(())
    }

    fn install(&mut self, file: &str) -> Answered {
        if self.files.contains(file) {
            return needless(format!("{file} already exists!"));
        }
        if Self::refuses_file(file) {
            return refuse(format!("unable to load {file}"));
        }
        self.files.insert(file.to_owned());
        Ok(())
    }

    fn delete_file(&mut self, file: &str) -> Answered {
        if !self.files.contains(file) {
            return needless(format!("{file} doesn't exist!"));
        }
        let names = |line: &str| {
            line == file || Self::authority_of(line).is_some_and(|authority| authority == file)
        };
        let listed = self.crt_list.iter().any(|(f, _)| names(f));
        let named = |s: &Server| Self::files_of(&s.keywords).iter().any(|f| f == file);
        let used = self.backends.values().flat_map(|b| &b.servers).any(named);
        if listed || used || file == Self::DEFAULT_CERTIFICATE {
            return refuse(format!("{file} in use, can't be deleted!"));
        }
        self.files.remove(file);
        Ok(())
    }

    fn replace_default(&mut self, digest: Option<Digest>) -> Answered {
        if digest == Some(Digest([REFUSED_DIGEST; 16])) {
            return refuse("unable to load the certificate");
        }
        self.default_certificate = Some(digest);
        Ok(())
    }

    /// The same line twice is two lines.
    fn add_line(&mut self, file: &str, hosts: &[Arc<str>]) -> Answered {
        if !self.files.contains(file) {
            return refuse(format!("certificate '{file}' does not exist!"));
        }
        if Self::authority_of(file).is_some_and(|authority| !self.files.contains(&authority)) {
            return refuse("unable to load the authorities".to_owned());
        }
        let again = self.crt_list.iter().any(|(f, _)| f == file);
        let hosts = hosts.iter().map(|h| h.to_string()).collect();
        self.crt_list.push((file.to_owned(), hosts));
        if again { needless(format!("'{file}' is in the crt-list already")) } else { Ok(()) }
    }

    fn delete_line(&mut self, file: &str) -> Answered {
        let before = self.crt_list.len();
        self.crt_list.retain(|(f, _)| f != file);
        if self.crt_list.len() < before {
            return Ok(());
        }
        needless(format!("the line '{file}' doesn't exist in the crt-list"))
    }
}
