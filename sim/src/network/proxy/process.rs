//! HAProxy's processes: a master, the worker that takes new connections, and old ones on their way
//! out.
//!
//! Inputs: starts, reloads, deaths; the files on the disk. Outputs: which worker a connection meets.
//! A reload loads the files as they are at that moment; what fails leaves the old worker. A
//! connection stays with the worker that accepted it. Not here: sockets, time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_core::action::{MapId, RuntimeCommand};
use tokio::sync::Notify;

use super::streams::Stream;
use super::{Version, unknown_keyword};
use crate::model::haproxy::{Haproxy, Reply};
use crate::model::load::{self, FOLDER, Generation};
use crate::network::files::Disk;
use crate::network::world::REFUSED_BIND;

/// A worker.
pub struct Worker {
    /// Its process.
    pub pid: u32,
    /// When it began, in seconds since 1970.
    pub start_s: u64,
    /// What it has in memory.
    pub memory: Haproxy,
    /// Whether it only finishes its connections.
    pub stopping: bool,
    /// Whether it stays when it is old, whatever anybody does.
    pub is_immortal: bool,
    /// When it was told to finish, in milliseconds since the beginning, once that was seen.
    pub stopping_since_ms: Option<u64>,
    /// How long it may take to finish, in milliseconds, if its files say so.
    pub hard_stop_ms: Option<u64>,
    /// Files of certificates that are named and have no content.
    pub empty: BTreeSet<String>,
    /// The open transaction on a certificate, and on authorities: file and content.
    pub transactions: BTreeMap<&'static str, (String, Vec<u8>)>,
    /// Line numbers of the crt-list's lines after the first.
    pub lines: Vec<u64>,
    /// Told when it dies.
    pub gone: Arc<Notify>,
    /// Connections to its socket.
    pub connections: usize,
    /// Requests under way that last.
    pub streams: Vec<Stream>,
    /// What changes of servers had to say and no answer has told yet.
    pub notices: String,
}

impl Worker {
    /// Carries out a command. Lines of the crt-list keep their numbers; new ones come after the last.
    pub fn carry_out(&mut self, command: &RuntimeCommand) -> Reply {
        if let RuntimeCommand::DeleteCrtListLine { file } = command {
            let kept = self.memory.crt_list.iter().zip(&self.lines);
            let kept = kept.filter(|((listed, _), _)| **listed != **file).map(|(_, line)| *line);
            self.lines = kept.collect();
        }
        let reply = self.memory.answer(command);
        if self.lines.len() < self.memory.crt_list.len() {
            self.lines.push(self.lines.last().map_or(2, |last| last + 1));
        }
        reply
    }
}

/// The master.
#[derive(Clone, Debug)]
pub struct Master {
    /// Its process.
    pub pid: u32,
    /// What it was started with.
    pub config: PathBuf,
    /// Where its words go.
    pub log: PathBuf,
    /// Reloads so far.
    pub reloads: u64,
    /// Reloads that failed since the last that did not.
    pub failed: u64,
    /// Whether it re-executes itself just now.
    pub busy: bool,
}

/// Everything of HAProxy on a machine.
pub struct Site {
    /// Its version.
    pub version: Version,
    /// The disk.
    pub disk: Disk,
    /// The master, while there is one.
    pub master: Option<Master>,
    /// Workers, the newest last.
    pub workers: Vec<Worker>,
    /// Content that OpenSSL refuses.
    pub refused_content: Vec<u8>,
    /// Whether workers stay from now on when they are old.
    pub keeps_old: bool,
    /// Streams that ended before their clients had enough.
    pub cut: Vec<Stream>,
    next_pid: u32,
}

impl Site {
    /// A machine without HAProxy running.
    #[must_use]
    pub fn new(version: Version, disk: Disk) -> Site {
        Site {
            version,
            disk,
            master: None,
            workers: Vec::new(),
            refused_content: Vec::new(),
            keeps_old: false,
            cut: Vec::new(),
            next_pid: 100,
        }
    }

    fn pid(&mut self) -> u32 {
        self.next_pid += 1;
        self.next_pid
    }

    /// A master begins. It loads its files soon.
    pub fn begin(&mut self, config: &Path, log: &Path) -> u32 {
        let pid = self.pid();
        self.master = Some(Master {
            pid,
            config: config.to_owned(),
            log: log.to_owned(),
            reloads: 0,
            failed: 0,
            busy: true,
        });
        pid
    }

    /// The worker that takes new connections.
    #[must_use]
    pub fn serving(&self) -> Option<&Worker> {
        self.workers.iter().rev().find(|worker| !worker.stopping)
    }

    /// A worker by its process.
    pub fn worker(&mut self, pid: u32) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|worker| worker.pid == pid)
    }

    /// A new worker loads the files; the ones before stop when that works.
    ///
    /// # Errors
    /// HAProxy's words.
    pub fn load(&mut self, now_s: u64, refused: bool) -> Result<u32, String> {
        if refused {
            return Err(format!("Starting frontend http: {REFUSED_BIND} [0.0.0.0:8080]"));
        }
        let config = self.master.as_ref().map(|master| master.config.clone()).unwrap_or_default();
        let memory = read(self, &config)?;
        let hard_stop_ms = hard_stop_ms(self, &config);
        let pid = self.serve(memory);
        if let Some(worker) = self.worker(pid) {
            worker.start_s = now_s;
            worker.hard_stop_ms = hard_stop_ms;
        }
        Ok(pid)
    }

    /// A new worker with this memory takes the connections from now on.
    pub(super) fn serve(&mut self, memory: Haproxy) -> u32 {
        let pid = self.pid();
        for worker in &mut self.workers {
            worker.is_immortal |= self.keeps_old && !worker.stopping;
            worker.stopping = true;
        }
        self.workers.retain(Worker::is_needed);
        let lines = (2..).take(memory.crt_list.len()).collect();
        self.workers.push(Worker {
            pid,
            start_s: 0,
            memory,
            stopping: false,
            is_immortal: false,
            stopping_since_ms: None,
            hard_stop_ms: None,
            empty: BTreeSet::new(),
            transactions: BTreeMap::new(),
            lines,
            gone: Arc::new(Notify::new()),
            connections: 0,
            streams: Vec::new(),
            notices: String::new(),
        });
        pid
    }

    /// A connection ended: an old worker without any ends too.
    pub fn disconnected(&mut self, pid: u32) {
        if let Some(worker) = self.worker(pid) {
            worker.connections = worker.connections.saturating_sub(1);
        }
        self.workers.retain(|worker| !worker.stopping || worker.is_needed());
    }

    /// A worker dies, and the master with it and all others (as of 2.6, unless told otherwise).
    pub fn die(&mut self) {
        self.master = None;
        for mut worker in self.workers.drain(..) {
            self.cut.append(&mut worker.streams);
            worker.gone.notify_waiters();
        }
    }

    /// HAProxy writes words where its standard error goes.
    pub fn say(&self, level: &str, words: &str) -> String {
        let pid = self.master.as_ref().map_or(0, |master| master.pid);
        let line = format!("[{level}]    ({pid}) : config : {words}\n");
        if let Some(master) = &self.master {
            self.disk.log(&master.log, &line);
        }
        line
    }
}

/// How long a worker with this configuration may take to finish (manual 3.1 "hard-stop-after").
fn hard_stop_ms(site: &Site, config: &Path) -> Option<u64> {
    let bytes = site.disk.read(&site.disk.resolve(config))?;
    let text = String::from_utf8(bytes).ok()?;
    let word = text.lines().find_map(|line| line.trim().strip_prefix("hard-stop-after "))?;
    let seconds: u64 = word.strip_suffix('s')?.parse().ok()?;
    Some(seconds * 1000)
}

/// What a worker has in memory that has loaded a configuration.
///
/// # Errors
/// HAProxy's words.
pub fn read(site: &Site, config: &Path) -> Result<Haproxy, String> {
    let path = site.disk.resolve(config);
    let text = |path: &Path| -> Result<String, String> {
        let bytes = site.disk.read(path);
        let bytes = bytes.ok_or_else(|| format!("Could not open file {}", path.display()))?;
        String::from_utf8(bytes).map_err(|_| format!("{} is no text", path.display()))
    };
    let config = text(&path)?;
    if let Some(words) = unknown_keyword(&config, site.version) {
        return Err(words);
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    if config.is_empty() {
        return Err("configuration file is empty".to_owned());
    }
    // Written without a word about itself: a few lines to try.
    if !config.contains("description") {
        return Ok(Haproxy::empty(site.version.capabilities()));
    }
    let mut maps = BTreeMap::new();
    for id in MapId::ALL {
        maps.insert(id.file(), text(&folder.join(id.file()))?);
    }
    let crt_list = text(&folder.join(tidegate_core::render::crt_list::FILE))?;
    let mut files = BTreeSet::new();
    for inside in ["certs", "ca"] {
        for name in site.disk.names(&folder.join(inside)) {
            let content = site.disk.read(&folder.join(inside).join(&name)).unwrap_or_default();
            if whole(&content) && content != site.refused_content {
                files.insert(format!("{inside}/{name}"));
            }
        }
    }
    let config = config.replace(folder.to_str().unwrap_or("/"), FOLDER);
    let mut texts = BTreeMap::new();
    for name in site.disk.names(folder).into_iter().filter(|name| name.ends_with(".lua")) {
        texts.insert(name.clone(), text(&folder.join(&name))?);
    }
    let generation = Generation { config, maps, crt_list, files, texts };
    load::load(&generation, &site.version.capabilities())
}

/// Whether a file of certificates is not cut.
#[must_use]
pub fn whole(content: &[u8]) -> bool {
    let text = String::from_utf8_lossy(content);
    let (begins, ends) = (text.matches("-----BEGIN ").count(), text.matches("-----END ").count());
    begins > 0 && begins == ends && text.trim_end().ends_with("-----")
}
