//! The control plane: a real etcd and a real kube-apiserver, as children of the test.
//!
//! Both can be killed, started again, emptied and compacted; certificates and tokens can be
//! replaced. Not here: clients ([`super::api`]), cutting connections ([`super::wire`]).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::api::{Access, Api};
use crate::common::certs::Authority;
use crate::common::client::{self, Connection, Request};
use crate::common::places;

/// Ports in the test's own namespace, where nobody else is.
const ETCD: u16 = 2379;
const ETCD_PEERS: u16 = 2380;
/// Port of the API server.
pub const PORT: u16 = 6443;

/// Token of the user that may do everything.
pub const ADMIN: &str = "admin-token";

/// Longest wait for a start; seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What of every request the audit log keeps.
const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
    "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}"#;

/// A control plane. It ends when dropped.
pub struct Plane {
    root: tempfile::TempDir,
    authority: Authority,
    etcd: Option<Child>,
    apiserver: Option<Child>,
    tokens: Vec<(String, String)>,
    extra: Vec<String>,
    audit: bool,
}

impl Plane {
    /// Starts one, and makes the namespace of the samples.
    pub fn start() -> Plane {
        Plane::with(&[], false)
    }

    /// Starts one whose API server has more arguments, and perhaps an audit log.
    pub fn with(extra: &[&str], audit: bool) -> Plane {
        let root = tempfile::Builder::new()
            .prefix("plane-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap();
        let mut plane = Plane {
            root,
            authority: Authority::new(),
            etcd: None,
            apiserver: None,
            tokens: vec![(ADMIN.to_owned(), "system:masters".to_owned())],
            extra: extra.iter().map(|argument| (*argument).to_owned()).collect(),
            audit,
        };
        let accounts = rcgen::KeyPair::generate().unwrap();
        plane.write("accounts.key", &accounts.serialize_pem());
        plane.write("accounts.pub", &accounts.public_key_pem());
        plane.write("audit-policy.json", AUDIT_POLICY);
        plane.write("ca.crt", &plane.authority.pem);
        plane.write_certificate();
        plane.start_etcd();
        plane.start_apiserver();
        plane.namespace("test");
        plane
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let (hidden, path) = (self.path(&format!(".{name}")), self.path(name));
        fs::write(&hidden, text).unwrap();
        fs::rename(hidden, path).unwrap();
    }

    fn write_certificate(&self) {
        let served = self.authority.issue(&["127.0.0.1", "localhost", "kubernetes.default.svc"]);
        self.write("server.crt", &served.pem);
        self.write("server.key", &served.key);
    }

    /// How to reach the API server as a user with this token, on this port.
    pub fn access(&self, port: u16, token: &str) -> Access {
        Access { port, tls: client::trusting(&self.authority.roots()), token: token.to_owned() }
    }

    /// A client that may do everything.
    pub fn admin(&self) -> Api {
        Api::new(&self.access(PORT, ADMIN))
    }

    /// Makes a namespace.
    pub fn namespace(&self, name: &str) {
        self.admin().apply(&json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name}}));
    }

    /// Writes a kubeconfig: through a port, with a token that is read from a file.
    pub fn kubeconfig(&self, file: &Path, port: u16, token_file: &Path) {
        let authority = STANDARD.encode(&self.authority.pem);
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "tests",
            "clusters": [{"name": "tests", "cluster": {"server": format!("https://127.0.0.1:{port}"),
                "certificate-authority-data": authority}}],
            "users": [{"name": "tests", "user": {"tokenFile": token_file}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}]});
        fs::write(file, config.to_string()).unwrap();
    }

    /// Adds a user to the token file. Takes effect with the API server's next start.
    pub fn add_user(&mut self, token: &str, group: &str) {
        self.tokens.push((token.to_owned(), group.to_owned()));
    }

    /// A new key and certificate for the API server, of the same authority. Takes effect with its
    /// next start, or within a minute.
    pub fn rotate_certificate(&self) {
        self.write_certificate();
    }

    /// Starts etcd on what its folder holds, and waits until it answers.
    pub fn start_etcd(&mut self) {
        let url = format!("http://127.0.0.1:{ETCD}");
        let peers = format!("http://127.0.0.1:{ETCD_PEERS}");
        let mut command = Command::new(places::kube("etcd"));
        command.arg("--data-dir").arg(self.path("etcd")).args(["--unsafe-no-fsync"]);
        command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", &format!("default={peers}")]);
        command.args(["--log-level", "warn"]);
        self.etcd = Some(self.spawn(command, "etcd.log"));
        self.until("etcd", |_| self.etcd_ask("range", &json!({"key": "AA=="})).map(drop));
    }

    /// Starts the API server, and waits until it is ready.
    pub fn start_apiserver(&mut self) {
        let lines = self.tokens.iter().enumerate().map(|(number, (token, group))| {
            format!("{token},user-{number},{number},\"{group}\"\n")
        });
        self.write("tokens.csv", &lines.collect::<String>());
        let mut command = Command::new(places::kube("kube-apiserver"));
        let mut set = |flag: &str, value: &str| {
            command.arg(format!("--{flag}={value}"));
        };
        let file = |name: &str| self.path(name).display().to_string();
        set("etcd-servers", &format!("http://127.0.0.1:{ETCD}"));
        set("bind-address", "127.0.0.1");
        set("advertise-address", &super::namespace::NODE.to_string());
        set("endpoint-reconciler-type", "none");
        set("secure-port", &PORT.to_string());
        set("cert-dir", &file("generated"));
        set("tls-cert-file", &file("server.crt"));
        set("tls-private-key-file", &file("server.key"));
        set("token-auth-file", &file("tokens.csv"));
        set("authorization-mode", "RBAC");
        set("service-account-issuer", "https://kubernetes.default.svc");
        set("service-account-key-file", &file("accounts.pub"));
        set("service-account-signing-key-file", &file("accounts.key"));
        // 10.64.0.0/10 is the pods'.
        set("service-cluster-ip-range", "10.0.0.0/12");
        set("disable-admission-plugins", "ServiceAccount");
        // Tests are no tenants to be kept in bounds.
        set("enable-priority-and-fairness", "false");
        if self.audit {
            set("audit-policy-file", &file("audit-policy.json"));
            set("audit-log-path", &file("audit.log"));
            set("audit-log-mode", "blocking");
        }
        command.args(&self.extra);
        self.apiserver = Some(self.spawn(command, "apiserver.log"));
        self.until("kube-apiserver", |plane| match plane.admin().get("/readyz") {
            Ok((200, _)) => Ok(()),
            Ok((status, body)) => Err(format!("{status} {body}")),
            Err(error) => Err(error.to_string()),
        });
    }

    fn spawn(&self, mut command: Command, log: &str) -> Child {
        let log = File::options().create(true).append(true).open(self.path(log)).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.current_dir(self.root.path()).spawn().unwrap()
    }

    fn until(&self, what: &str, mut ready: impl FnMut(&Plane) -> Result<(), String>) {
        let begin = Instant::now();
        while let Err(why) = ready(self) {
            if begin.elapsed() > PATIENCE {
                panic!(
                    "{what} is not ready: {why}\n{}\n{}",
                    self.tail("etcd.log"),
                    self.tail("apiserver.log")
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills the API server: connections are cut, the port is closed.
    pub fn kill_apiserver(&mut self) {
        end(&mut self.apiserver);
    }

    /// Kills etcd.
    pub fn kill_etcd(&mut self) {
        end(&mut self.etcd);
    }

    /// Stops both.
    pub fn kill(&mut self) {
        self.kill_apiserver();
        self.kill_etcd();
    }

    /// Keeps a copy of everything stored. Both must be stopped.
    pub fn save(&self, copy: &str) {
        assert!(self.etcd.is_none(), "etcd runs");
        copy_folder(&self.path("etcd"), &self.path(copy));
    }

    /// Forgets everything stored. Both must be stopped.
    pub fn empty(&self) {
        assert!(self.etcd.is_none(), "etcd runs");
        fs::remove_dir_all(self.path("etcd")).unwrap();
    }

    /// Puts a copy back. Both must be stopped.
    pub fn restore(&self, copy: &str) {
        self.empty();
        copy_folder(&self.path(copy), &self.path("etcd"));
    }

    /// Drops the history of etcd: older revisions are gone for whoever asks (410).
    pub fn compact(&self) {
        let now = self.etcd_ask("range", &json!({"key": "AA=="})).unwrap();
        let revision = now["header"]["revision"].clone();
        let done = self.etcd_ask("compaction", &json!({"revision": revision, "physical": true}));
        done.unwrap_or_else(|error| panic!("compaction at {revision}: {error}"));
    }

    /// Writes objects past the API server, all at one revision: keys and objects.
    pub fn put(&self, objects: &[(String, Value)]) {
        let put = |(key, object): &(String, Value)| {
            let (key, value) = (STANDARD.encode(key), STANDARD.encode(object.to_string()));
            json!({"requestPut": {"key": key, "value": value}})
        };
        let puts: Vec<Value> = objects.iter().map(put).collect();
        let done = self.etcd_ask("txn", &json!({"success": puts}));
        done.unwrap_or_else(|error| panic!("{} objects into etcd: {error}", objects.len()));
    }

    fn etcd_ask(&self, verb: &str, body: &Value) -> Result<Value, String> {
        let mut request = Request::get("127.0.0.1", &format!("/v3/kv/{verb}")).method("POST");
        request = request.header("content-type", "application/json");
        request.body = body.to_string();
        let ask = || Connection::plain(ETCD)?.ask(&request);
        let answer = ask().map_err(|error: std::io::Error| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("{} {}", answer.status, answer.body));
        }
        serde_json::from_str(&answer.body).map_err(|error| error.to_string())
    }

    /// The requests that the API server has answered, from its audit log.
    pub fn audit(&self) -> Vec<Value> {
        assert!(self.audit, "no audit log");
        let text = fs::read_to_string(self.path("audit.log")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The last lines of a log.
    pub fn tail(&self, log: &str) -> String {
        let text = fs::read_to_string(self.path(log)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() && std::env::var_os("TIDEGATE_TEST_LOGS").is_some() {
            println!("end of kube-apiserver's log:\n{}", self.tail("apiserver.log"));
        }
    }
}

fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
