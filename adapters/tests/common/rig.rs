//! tidegate as a child process with a HAProxy of a chosen version, on a folder of manifests or
//! another source.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::client::{Answer, Connection, Request};
use super::{ensure, eventually};

/// HAProxy's executable of a branch.
pub fn haproxy(version: &str) -> PathBuf {
    let dir = match std::env::var_os("TIDEGATE_HAPROXY_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => {
            let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
            let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            cache.unwrap_or_else(|| home.join(".cache")).join("tidegate/haproxy")
        }
    };
    let binary = dir.join(version).join("haproxy");
    assert!(
        binary.is_file(),
        "there is no HAProxy {version} at {}: run deploy/haproxy/install.sh, or name its folder in \
         TIDEGATE_HAPROXY_DIR",
        binary.display()
    );
    binary
}

/// Ports below the range that the system gives to outgoing connections.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let start = (std::process::id() % 97) as u16 * 120;
        let port = 15_000 + (start + step) % 12_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Where tidegate has its objects from.
pub trait Source: Send + Sync {
    /// Arguments of `tidegate run` that name it.
    fn arguments(&self) -> Vec<String>;
    /// Makes the objects of a named set these.
    fn put(&self, name: &str, objects: &[Value]);
    /// Removes a set.
    fn remove(&self, name: &str);
}

/// A folder of manifests, one file for each set.
struct Folder(PathBuf);

impl Source for Folder {
    fn arguments(&self) -> Vec<String> {
        vec!["--manifests".into(), self.0.display().to_string()]
    }

    fn put(&self, name: &str, objects: &[Value]) {
        put_text(&self.0, &format!("{name}.json"), &list(objects));
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.0.join(format!("{name}.json"))).unwrap();
    }
}

fn put_text(dir: &Path, name: &str, text: &str) {
    let hidden = dir.join(format!(".{name}.new"));
    fs::write(&hidden, text).unwrap();
    fs::rename(hidden, dir.join(name)).unwrap();
}

/// A tidegate and its HAProxy. Both end when it is dropped.
pub struct Rig {
    /// HAProxy's branch.
    pub version: &'static str,
    /// Port for plain HTTP.
    pub http: u16,
    /// Port for HTTPS.
    pub https: u16,
    /// Port of the admin address.
    pub admin: u16,
    root: tempfile::TempDir,
    source: Arc<dyn Source>,
    arguments: Vec<String>,
    binary: Option<PathBuf>,
    child: Option<Child>,
}

impl Rig {
    /// Folders and ports, among them one for manifests; nothing runs yet.
    pub fn new(version: &'static str) -> Rig {
        let root = root();
        let manifests = root.path().join("manifests");
        fs::create_dir(&manifests).unwrap();
        Rig::in_root(version, root, Arc::new(Folder(manifests)))
    }

    /// The same on another source.
    pub fn on(version: &'static str, source: Arc<dyn Source>) -> Rig {
        Rig::in_root(version, root(), source)
    }

    fn in_root(version: &'static str, root: tempfile::TempDir, source: Arc<dyn Source>) -> Rig {
        let (http, https, admin) = (free_port(), free_port(), free_port());
        Rig {
            version,
            http,
            https,
            admin,
            root,
            source,
            arguments: Vec::new(),
            binary: None,
            child: None,
        }
    }

    /// Adds arguments of `tidegate run`.
    pub fn arguments(mut self, arguments: &[&str]) -> Rig {
        self.arguments.extend(arguments.iter().map(|a| (*a).to_owned()));
        self
    }

    /// Another executable than that of the version, also one that is not there.
    pub fn binary(mut self, path: &str) -> Rig {
        self.binary = Some(path.into());
        self
    }

    /// A folder below the rig's.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Starts tidegate and waits until it is ready.
    pub fn start(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    /// Starts tidegate.
    pub fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command
            .arg("run")
            .args(self.source.arguments())
            .arg("--state-dir")
            .arg(self.path("state"))
            .arg("--journal-dir")
            .arg(self.path("journal"))
            .arg("--haproxy")
            .arg(self.binary.clone().unwrap_or_else(|| haproxy(self.version)))
            .args(["--bind", "127.0.0.1", "--stats-port", "0"])
            .args(["--threads", "2"])
            .args(["--http-port", &self.http.to_string()])
            .args(["--https-port", &self.https.to_string()])
            .args(["--admin-bind", &format!("127.0.0.1:{}", self.admin)])
            .args(&self.arguments);
        let own = |argument: &String| argument.split('=').next() == Some("--configmap");
        if !self.arguments.iter().any(own) {
            command.args(["--configmap", "test/tidegate"]);
        }
        let lacks = |name: &str| !self.arguments.iter().any(|argument| argument == name);
        if lacks("--stop-within") {
            command.args(["--stop-within", "500ms"]);
        }
        if lacks("--log") {
            command.args(["--log", "info,tidegate=debug"]);
        }
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDEGATE_")) {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// Waits until `/readyz` says yes.
    pub fn wait_ready(&mut self) {
        let begin = Instant::now();
        loop {
            let child = self.child.as_mut().expect("tidegate was started");
            if let Some(status) = child.try_wait().unwrap() {
                panic!("tidegate ended with {status}\n{}", self.tail());
            }
            let last = match self.admin("/readyz") {
                Ok(answer) if answer.status == 200 => return,
                Ok(answer) => answer.body,
                Err(error) => error.to_string(),
            };
            if begin.elapsed() > Duration::from_secs(20) {
                panic!("tidegate is not ready: {last}\n{}", self.tail());
            }
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// Kills tidegate as a crash would. HAProxy goes on.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends tidegate a signal.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("tidegate runs");
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Stops tidegate with SIGTERM, and HAProxy with it.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        let begin = Instant::now();
        // A soft stop, a stop and a kill of HAProxy take so long together.
        while begin.elapsed() < Duration::from_secs(15) {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Waits until tidegate, which was told to, has ended well.
    pub fn wait_end(&mut self, patience: Duration) {
        let mut child = self.child.take().expect("tidegate runs");
        let begin = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "tidegate ended with {status}\n{}", self.tail());
                return;
            }
            if begin.elapsed() > patience {
                let _ = (child.kill(), child.wait());
                panic!("tidegate has not ended after {patience:?}\n{}", self.tail());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Puts a set of objects in place; a file of manifests is replaced at once.
    pub fn put(&self, name: &str, objects: &[Value]) {
        self.source.put(name, objects);
    }

    /// Puts a text in place at once. Only for a folder of manifests.
    pub fn put_text(&self, name: &str, text: &str) {
        put_text(&self.path("manifests"), name, text);
    }

    /// Removes a set of objects.
    pub fn remove(&self, name: &str) {
        self.source.remove(name);
    }

    /// Asks the admin address.
    pub fn admin(&self, path: &str) -> std::io::Result<Answer> {
        Connection::plain(self.admin)?.ask(&Request::get("localhost", path))
    }

    /// Sends a request on a new connection.
    pub fn ask(&self, request: &Request) -> Result<Answer, String> {
        let ask = || Connection::plain(self.http)?.ask(request);
        ask().map_err(|error| format!("{} {:?}: {error}", request.target, request.host))
    }

    /// A GET on a new connection.
    pub fn get(&self, host: &str, path: &str) -> Result<Answer, String> {
        self.ask(&Request::get(host, path))
    }

    /// A GET whose answer must be given at once; fails the test otherwise.
    pub fn now(&self, host: &str, path: &str) -> Answer {
        self.get(host, path).unwrap()
    }

    /// Waits until a GET is answered with this status by this Service (empty for HAProxy itself).
    pub fn wait(&self, host: &str, path: &str, status: u16, service: &str) -> Answer {
        eventually(&format!("HAProxy {}: http://{host}{path}", self.version), || {
            let answer = self.get(host, path)?;
            ensure(answer.status == status && answer.service() == service, || {
                format!(
                    "{} from '{}' instead of {status} from '{service}'",
                    answer.status,
                    answer.service()
                )
            })?;
            Ok(answer)
        })
    }

    /// The problems there are.
    pub fn problems(&self) -> Vec<Value> {
        let body = self.admin("/problems").unwrap().body;
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    /// Waits for a problem with all these words in its JSON.
    pub fn wait_problem(&self, words: &[&str]) -> Value {
        eventually(&format!("HAProxy {}: a problem with {words:?}", self.version), || {
            let problems = self.problems();
            let found = problems.iter().find(|p| {
                let text = p.to_string();
                words.iter().all(|word| text.contains(word))
            });
            found.cloned().ok_or_else(|| format!("only {problems:?}"))
        })
    }

    /// Waits until no problem has these words.
    pub fn wait_no_problem(&self, word: &str) {
        eventually(&format!("HAProxy {}: no problem with {word}", self.version), || {
            match self.problems().into_iter().find(|p| p.to_string().contains(word)) {
                None => Ok(()),
                Some(problem) => Err(problem.to_string()),
            }
        });
    }

    /// The samples of one metric: labels and value.
    pub fn metric(&self, name: &str) -> BTreeMap<String, f64> {
        let text = self.admin("/metrics").unwrap().body;
        let sample = |line: &str| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            if !labels.is_empty() && !labels.starts_with('{') {
                return None;
            }
            Some((labels.trim_matches(['{', '}']).to_owned(), value.parse().ok()?))
        };
        text.lines().filter_map(sample).collect()
    }

    /// Reloads and starts so far, by reason and outcome.
    pub fn reloads(&self) -> BTreeMap<String, f64> {
        self.metric("tidegate_reloads_total")
    }

    /// Reloads other than the first start.
    pub fn reload_count(&self) -> u64 {
        let reloads = self.reloads();
        let others = reloads.iter().filter(|(labels, _)| !labels.contains("first-start"));
        others.map(|(_, count)| *count as u64).sum()
    }

    /// The reasons of every reload, from the log.
    pub fn reload_reasons(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        let reason = |line: &str| Some(line.split_once("reasons=")?.1.to_owned());
        log.lines().filter_map(reason).collect()
    }

    /// Fails if an allowance of reloads was passed: none on 3.4; elsewhere the reasons are shown.
    pub fn assert_no_reloads_on_3_4(&self, during: &str) {
        let count = self.reload_count();
        let reasons = self.reload_reasons();
        if self.version == "3.4" {
            assert_eq!(count, 0, "{during}: reloads on 3.4: {reasons:?}");
        } else {
            println!("HAProxy {}: {during}: {count} reloads: {reasons:?}", self.version);
        }
    }

    /// Commands to the worker's socket.
    pub fn worker(&self, command: &str) -> std::io::Result<String> {
        converse(&self.path("state/run/worker.sock"), command)
    }

    /// The process id of the worker that serves.
    pub fn worker_pid(&self) -> i32 {
        eventually("the worker tells its pid", || {
            let info = self.worker("show info").map_err(|error| error.to_string())?;
            let pid = info.lines().find_map(|line| line.strip_prefix("Pid: "));
            pid.and_then(|pid| pid.trim().parse().ok()).ok_or(info)
        })
    }

    /// The process id of tidegate.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("tidegate runs").id()
    }

    /// The memory that tidegate has, in MiB.
    pub fn memory_mib(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        kib.expect("tidegate runs") / 1024.0
    }

    /// The process id of HAProxy's master.
    pub fn master_pid(&self) -> i32 {
        eventually("the master tells its pid", || {
            let text = converse(&self.path("state/run/master.sock"), "show proc");
            let text = text.map_err(|error| error.to_string())?;
            let master = text.lines().find(|line| line.split_whitespace().nth(1) == Some("master"));
            let pid = master.and_then(|line| line.split_whitespace().next()?.parse().ok());
            pid.ok_or_else(|| format!("no master in {text}"))
        })
    }

    /// Runs another verb of tidegate on this rig's folders.
    pub fn verb(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(arguments).current_dir(self.root.path()).output().unwrap()
    }

    /// The configuration that HAProxy would load now.
    pub fn config(&self) -> String {
        fs::read_to_string(self.path("state/haproxy.cfg")).unwrap_or_default()
    }

    /// The last lines of tidegate's log.
    pub fn tail(&self) -> String {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        self.stop();
        for turn in 0..25 {
            // None when tidegate stopped it. A 2.6 master loses signals while it re-executes itself.
            let left = haproxies_of(&self.path("state"));
            if left.is_empty() {
                break;
            }
            let signal = if turn < 20 { Signal::TERM } else { Signal::KILL };
            for pid in left {
                let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, signal));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        if failed || std::env::var_os("TIDEGATE_TEST_LOGS").is_some() {
            println!("HAProxy {}, end of the log:\n{}", self.version, self.tail());
            // Where the test runs HAProxy, as a sidecar or a service.
            if let Ok(words) = fs::read_to_string(self.path("sidecar")) {
                println!("HAProxy's own words:\n{words}");
            }
            if std::env::var_os("TIDEGATE_TEST_KEEP").is_some() {
                self.root.disable_cleanup(true);
                println!("kept {}", self.root.path().display());
            }
        }
    }
}

fn root() -> tempfile::TempDir {
    let builder = &mut tempfile::Builder::new();
    builder.prefix("rig-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// The text of a `List`.
pub fn list(objects: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

fn converse(socket: &Path, command: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(format!("{command}\n").as_bytes())?;
    // The master closes only when nothing more can come.
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// The processes of HAProxy that were started with the files of a state folder.
fn haproxies_of(state: &Path) -> Vec<i32> {
    let folder = state.to_string_lossy();
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_ours = |pid: &i32| {
        // Empty for one that ended and that nobody took notice of.
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.split('\0').next().is_some_and(|program| program.ends_with("haproxy"))
            && line.contains(&*folder)
    };
    pids.filter(is_ours).collect()
}
