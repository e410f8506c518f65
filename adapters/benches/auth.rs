//! Basic authentication at scale, behind tidegate and HAProxy 3.4: 1,000 users and 1,000 Ingresses
//! each with a policy of its own, against the same Ingresses without: `cargo bench -p tidegate
//! --bench auth [-- --apps 1000 --users 1000 --rounds 60 --round-ms 250 --changes 200] [--output json]`.
//!
//! Both kinds of routes are in one tidegate and one HAProxy, and are asked in turn by the same
//! client, so that a busy machine disturbs both alike. What is measured and what bounds it:
//! `docs/benchmarks.md`. Hashes are md5-crypt, which the client can make quickly; the cost of a
//! bcrypt hash is measured by itself.

mod common;
mod manifests;

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Arguments, Client, Process, Report, at, cpu_of, get, ms, rounded, spread};
use manifests::{Folder, ingress, pod, service, slice};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Backends that the Ingresses share.
const BACKENDS: usize = 100;
/// Connections of the client, each asking for one host after the other.
const CONNECTIONS: usize = 20;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// Hashes of `secret`: md5-crypt, and bcrypt of growing cost.
const MD5: &str = "$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1";
const BCRYPT: [(u32, &str); 3] = [
    (5, "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"),
    (10, "$2b$10$abcdefghijklmnopqrstuuqflPDzB6gcMhKa1rZqKiun2YGL5sa2u"),
    (12, "$2b$12$abcdefghijklmnopqrstuuT1Iwu6o8Wx7BoOyIMHfgVJq6JO/IJhW"),
];

fn main() {
    let arguments = Arguments::read();
    let apps = arguments.number("--apps", 1_000);
    let users = arguments.number("--users", 1_000);
    let rounds = arguments.number("--rounds", 60);
    let lasting = Duration::from_millis(arguments.number("--round-ms", 250) as u64);
    let changes = arguments.number("--changes", 200);
    let mut report = Report::new(&arguments);
    let town = Town::start(apps, users);
    town.first_requests(&mut report);
    town.throughput(rounds, lasting, &mut report);
    town.changes(changes, &mut report);
    town.bcrypt(&mut report);
    report.add("reloads", json!({"count": town.reloads()}));
    report.print();
}

/// Applications with tidegate and HAProxy before them.
struct Town {
    root: tempfile::TempDir,
    folder: Folder,
    apps: usize,
    users: usize,
    http: u16,
    admin: u16,
    tidegate: Process,
    _origin: Process,
}

/// A list of users, all with the password `secret`.
fn list(users: usize, extra: &str) -> String {
    let lines: String = (0..users).map(|n| format!("user-{n}:{MD5}\n")).collect();
    STANDARD.encode(lines + extra)
}

fn users_secret(name: &str, list: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  namespace: fleet\n\
         type: Opaque\ndata:\n  auth: {list}\n"
    )
}

impl Town {
    fn start(apps: usize, users: usize) -> Town {
        let root = common::temporary();
        let folder = Folder::make(&root.path().join("manifests"));
        let [http, admin, origin_port] = common::free_ports();
        folder.put("class", manifests::CLASS);
        let mut text = String::new();
        for number in 0..BACKENDS {
            let name = format!("app-{number}");
            text.push_str(&service(&name, &[]));
            text.push_str(&slice(&name, &[pod(number)], origin_port));
        }
        text.push_str(&users_secret("staff", &list(users, "")));
        for number in 0..apps {
            let app = format!("app-{}", number % BACKENDS);
            text.push_str(&ingress(&format!("open-{number}"), &host("open", number), &app, &[]));
            // The realm makes each policy another one.
            let realm = format!("Area {number}");
            let keys = [("auth-secret", "staff"), ("auth-realm", &*realm)];
            text.push_str(&ingress(&format!("safe-{number}"), &host("safe", number), &app, &keys));
        }
        folder.put("all", &text);
        let origin = origin(root.path(), origin_port);
        let log = File::create(root.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command
            .arg("run")
            .arg("-f")
            .arg(&folder.0)
            .arg("--state-dir")
            .arg(root.path().join("state"));
        command.arg("--haproxy").arg(common::haproxy()).args(["--bind", "127.0.0.1"]);
        command.args(["--https-port", "0", "--stats-port", "0", "--stop-within", "500ms"]);
        command.args(["--threads", "1", "--http-port", &http.to_string()]);
        command.args(["--admin-bind", &format!("127.0.0.1:{admin}")]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let tidegate = Process(command.spawn().expect("tidegate starts"));
        let town = Town { root, folder, apps, users, http, admin, tidegate, _origin: origin };
        let last = apps - 1;
        town.wait("the last open host", || get(http, &host("open", last), "/").ok()?.is(200));
        town.wait("the last safe host", || get(http, &host("safe", last), "/").ok()?.is(401));
        town
    }

    fn wait(&self, what: &str, mut look: impl FnMut() -> Option<()>) -> Duration {
        let begin = Instant::now();
        while look().is_none() {
            if begin.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(self.root.path().join("log")).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(20).collect();
                panic!("{what} does not come: {tail:#?}");
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        begin.elapsed()
    }

    fn worker(&self) -> u32 {
        common::worker_pid(&self.root.path().join("state/run/worker.sock"))
    }

    fn metrics(&self) -> String {
        get(self.admin, "localhost", "/metrics").expect("metrics").body
    }

    fn reloads(&self) -> f64 {
        let text = self.metrics();
        let reloads = text.lines().filter(|l| l.starts_with("tidegate_reloads_total{"));
        let others = reloads.filter(|line| !line.contains("first-start"));
        others.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// What a request costs that HAProxy has to ask about. All users have the same hash, so that it
    /// is computed once; what a hash costs is measured with bcrypt.
    fn first_requests(&self, report: &mut Report) {
        let mut client = Client::connect(self.http).unwrap();
        let mut asked = Vec::new();
        for number in 0..self.users.min(self.apps) {
            let user = format!("user-{number}");
            let begin = Instant::now();
            self.ask(&mut client, &host("safe", number), &user, 200);
            asked.push(ms(begin.elapsed()));
        }
        report.add("first request of a user, without the hash, ms", spread(asked));
    }

    fn ask(&self, client: &mut Client, host: &str, user: &str, status: u16) {
        let answer = client.get_with(host, "/", &authorization(user)).expect("an answer");
        assert_eq!(answer.status, status, "{host} for {user}");
    }

    /// Requests per second and CPU of HAProxy, without and with policies.
    fn throughput(&self, rounds: usize, lasting: Duration, report: &mut Report) {
        let pid = self.worker();
        let kinds = ["open", "safe"];
        let (mut rates, mut micros) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        let mut ratios = Vec::new();
        for round in 0..rounds {
            let mut both = [0.0; 2];
            for turn in 0..2 {
                let kind = (turn + round) % 2;
                let before = cpu_of(pid);
                let (count, took) = load(self.http, kinds[kind], self.apps, self.users, lasting);
                let spent = cpu_of(pid).saturating_sub(before);
                let rate = count as f64 / took.as_secs_f64();
                both[kind] = rate;
                rates[kind].push(rate);
                micros[kind].push(spent.as_secs_f64() * 1e6 / count as f64);
            }
            ratios.push(both[1] / both[0]);
        }
        for (kind, name) in ["without policies", "with policies"].iter().enumerate() {
            rates[kind].sort_by(f64::total_cmp);
            micros[kind].sort_by(f64::total_cmp);
            let figures = json!({"requests/s": at(&rates[kind], 0.5).round(),
                "us of HAProxy": rounded(at(&micros[kind], 0.5))});
            report.add(name, figures);
        }
        ratios.sort_by(f64::total_cmp);
        let cpu = at(&micros[0], 0.5) / at(&micros[1], 0.5);
        let figures = json!({"requests/s": rounded(at(&ratios, 0.5)), "lowest":
            rounded(at(&ratios, 0.0)), "highest": rounded(at(&ratios, 1.0)), "CPU": rounded(cpu)});
        report.add("ratio with to without", figures);
    }

    /// From a changed Secret, with 1,000 users, to the first request that sees it.
    fn changes(&self, changes: usize, report: &mut Report) {
        let list = |extra: &str| users_secret("staff-2", &list(self.users, extra));
        let route = ingress("moving", "moving.example.com", "app-0", &[("auth-secret", "staff-2")]);
        self.folder.put("moving", &(list("") + &route));
        let mut client = Client::connect(self.http).unwrap();
        self.wait("the route", || get(self.http, "moving.example.com", "/").ok()?.is(401));
        let hash = format!("new:{MD5}\n");
        let mut effects = Vec::new();
        for number in 0..changes {
            let (extra, status) = if number % 2 == 0 { (&*hash, 200) } else { ("", 401) };
            let text = list(extra) + &route;
            let begin = Instant::now();
            self.folder.put("moving", &text);
            self.wait("a change", || {
                let header = authorization("new");
                client.get_with("moving.example.com", "/", &header).ok()?.is(status)
            });
            effects.push(ms(begin.elapsed()));
        }
        report.add("change of a list to effect, ms", spread(effects));
    }

    /// The first request of a user with a bcrypt hash, and the next ones.
    fn bcrypt(&self, report: &mut Report) {
        for (cost, hash) in BCRYPT {
            let name = format!("bcrypt-{cost}");
            let host = format!("{name}.example.com");
            let lines: String = (0..10).map(|n| format!("user-{n}:{hash}\n")).collect();
            let route = ingress(&name, &host, "app-0", &[("auth-secret", &name)]);
            self.folder.put(&name, &(users_secret(&name, &STANDARD.encode(lines)) + &route));
            self.wait("the route", || get(self.http, &host, "/").ok()?.is(401));
            let mut client = Client::connect(self.http).unwrap();
            let (mut first, mut next) = (Vec::new(), Vec::new());
            for guess in 0..5 {
                let token = STANDARD.encode(format!("user-1:guess-{guess}"));
                let begin = Instant::now();
                let header = format!("authorization: Basic {token}\r\n");
                assert_eq!(client.get_with(&host, "/", &header).unwrap().status, 401);
                first.push(ms(begin.elapsed()));
            }
            self.ask(&mut client, &host, "user-1", 200);
            for _ in 0..50 {
                let begin = Instant::now();
                self.ask(&mut client, &host, "user-1", 200);
                next.push(ms(begin.elapsed()));
            }
            report.add(&format!("bcrypt cost {cost}: first, ms"), spread(first));
            report.add(&format!("bcrypt cost {cost}: remembered, ms"), spread(next));
        }
        let cpu = cpu_of(self.tidegate.id());
        report.add("tidegate's CPU in all, s", json!({"seconds": rounded(cpu.as_secs_f64())}));
    }
}

fn host(kind: &str, number: usize) -> String {
    format!("{kind}-{number}.example.com")
}

fn authorization(user: &str) -> String {
    format!("authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:secret")))
}

/// What every pod is: an HAProxy that answers by itself.
fn origin(root: &Path, port: u16) -> Process {
    let config = root.join("origin.cfg");
    let text = format!(
        "global\n  nbthread 1\n  maxconn 4000\ndefaults\n  mode http\n  timeout client 1h\n  \
         timeout http-keep-alive 1h\n  timeout server 1m\n  timeout connect 1s\nfrontend origin\n  \
         bind 0.0.0.0:{port}\n  http-request return status 200 content-type text/plain string ok\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(common::haproxy());
    command.arg("-db").arg("-f").arg(&config);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Process(command.spawn().expect("HAProxy starts"))
}

/// Requests answered with 200 over some connections, each for one host after the other, with the
/// user of that host. Both kinds send the same header.
fn load(port: u16, kind: &str, apps: usize, users: usize, lasting: Duration) -> (u64, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let begin = Instant::now();
        let until = begin + lasting;
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|first| {
                let requests: Vec<Vec<u8>> = (first..apps)
                    .step_by(CONNECTIONS)
                    .map(|number| {
                        let user = authorization(&format!("user-{}", number % users));
                        let host = host(kind, number);
                        format!("GET / HTTP/1.1\r\nhost: {host}\r\n{user}\r\n").into_bytes()
                    })
                    .collect();
                tokio::spawn(async move {
                    let mut stream =
                        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    let (mut piece, mut count) = (vec![0; 4096], 0_u64);
                    for request in requests.iter().cycle() {
                        if Instant::now() >= until {
                            break;
                        }
                        stream.write_all(request).await.unwrap();
                        let mut held = 0;
                        while !piece[..held].ends_with(b"\r\n\r\nok") {
                            let read = stream.read(&mut piece[held..]).await.unwrap();
                            assert!(read > 0, "{}", String::from_utf8_lossy(&piece[..held]));
                            held += read;
                        }
                        assert!(piece.starts_with(b"HTTP/1.1 200"));
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let mut requests = 0;
        for client in clients {
            requests += client.await.unwrap();
        }
        (requests, begin.elapsed())
    })
}
