//! A fleet of applications behind tidegate and HAProxy 3.4, from a folder of manifests: start,
//! changes, moves, memory, CPU. `cargo bench -p tidegate --bench fleet -- --apps 10000
//! [--output json] [--journal] [--only PART,...]`.
//!
//! What is measured and what bounds it: `docs/benchmarks.md`. Traffic stays on 127.0.0.0/8: one
//! listener of this process is every pod, and says which address it was asked on.

mod common;
mod manifests;
mod neighbours;
mod observe;

use std::collections::BTreeMap;
use std::fs::File;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::{Arguments, Client, Process, Report, cpu_of, get, memory_mib, ms, rounded, spread};
use manifests::{Folder, app, ingress, later_pod, pod};
use observe::{Histogram, Probe, keep_asking, prober, serve_pods};
use serde_json::{Value, json};

/// Endpoints of each application.
const ENDPOINTS: usize = 10;
/// Applications per file, of those that do not change.
const PER_FILE: usize = 100;
/// Applications in files of their own, for endpoint changes.
const SMALL: usize = 180;
/// Applications with one endpoint in files of their own, whose changes are seen by requests.
const PROBES: usize = 20;
/// Hosts asked after the start.
const SAMPLED: usize = 300;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let arguments = Arguments::read();
    let apps = arguments.number("--apps", 10_000).max(SMALL + PROBES + PER_FILE);
    let only = arguments.text("--only").unwrap_or("idle,endpoints,neighbours,reload,apps,moves");
    let mut report = Report::new(&arguments);
    let mut fleet = Fleet::generate(apps);
    if let Some(binary) = arguments.text("--tidegate") {
        binary.clone_into(&mut fleet.binary);
    }
    let pods = fleet.pods;
    thread::spawn(move || serve_pods(pods));
    fleet.cold_start(arguments.has("--journal"), &mut report);
    fleet.memory("after the start", &mut report);
    for part in only.split(',') {
        match part {
            "idle" => fleet.idle(&mut report),
            "endpoints" => fleet.endpoints(arguments.number("--changes", 2_000), &mut report),
            "neighbours" => {
                neighbours::measure(&mut fleet, arguments.number("--beside", 500), &mut report);
            }
            "reload" => fleet.reloads(arguments.number("--reloads", 5), &mut report),
            "apps" => fleet.new_apps(arguments.number("--new-apps", 300), &mut report),
            "moves" => fleet.moves(arguments.number("--moves", 10_000), &mut report),
            _ => {}
        }
    }
    fleet.memory("at the end", &mut report);
    report.add("counters at the end", fleet.counters());
    report.print();
    if arguments.has("--keep") {
        let kept = std::env::temp_dir().join("tidegate-bench-log");
        let _ = std::fs::copy(fleet.root.path().join("log"), &kept);
        eprintln!("log: {}", kept.display());
    }
}

/// The fleet with the tidegate that serves it.
struct Fleet {
    root: tempfile::TempDir,
    folder: Folder,
    apps: usize,
    http: u16,
    admin: u16,
    pods: u16,
    /// Current endpoints of the applications in files of their own; probes come first.
    small: Vec<Vec<Ipv4Addr>>,
    later: usize,
    turn: usize,
    tidegate: Option<Process>,
    binary: String,
}

impl Fleet {
    fn generate(apps: usize) -> Fleet {
        let root = common::temporary();
        let folder = Folder::make(&root.path().join("manifests"));
        let [http, admin, pods] = common::free_ports();
        folder.put("class", manifests::CLASS);
        let config = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: tidegate\n  namespace: \
                      fleet\ndata:\n  timeout-http-request: 10s\n";
        folder.put("config", config);
        let mut small = Vec::new();
        for number in 0..SMALL + PROBES {
            let count = if number < PROBES { 1 } else { ENDPOINTS };
            let own: Vec<_> = (0..count).map(|n| pod(number * ENDPOINTS + n)).collect();
            folder.put(&small_name(number), &app(&small_name(number), &own, pods));
            small.push(own);
        }
        let rest: Vec<usize> = (SMALL + PROBES..apps).collect();
        for (file, numbers) in rest.chunks(PER_FILE).enumerate() {
            let mut text = String::new();
            for number in numbers {
                let own: Vec<_> = (0..ENDPOINTS).map(|n| pod(number * ENDPOINTS + n)).collect();
                text.push_str(&app(&format!("app-{number}"), &own, pods));
            }
            folder.put(&format!("apps-{file}"), &text);
        }
        folder.put("move", &ingress("move", "move.example.com", &small_name(PROBES), &[]));
        Fleet {
            root,
            folder,
            apps,
            http,
            admin,
            pods,
            small,
            later: 0,
            turn: 0,
            tidegate: None,
            binary: env!("CARGO_BIN_EXE_tidegate").to_owned(),
        }
    }

    fn pid(&self) -> u32 {
        self.tidegate.as_ref().expect("tidegate runs").id()
    }

    fn worker_socket(&self) -> PathBuf {
        self.root.path().join("state/run/worker.sock")
    }

    fn cold_start(&mut self, journal: bool, report: &mut Report) {
        let log = File::create(self.root.path().join("log")).unwrap();
        let path = |name: &str| self.root.path().join(name);
        let mut command = Command::new(&self.binary);
        command
            .arg("run")
            .arg("--manifests")
            .arg(&self.folder.0)
            .arg("--state-dir")
            .arg(path("state"))
            .arg("--haproxy")
            .arg(common::haproxy())
            .args(["--bind", "127.0.0.1", "--stats-port", "0", "--https-port", "0"])
            .args(["--stop-within", "500ms", "--configmap", "fleet/tidegate"])
            .args(["--http-port", &self.http.to_string()])
            .args(["--admin-bind", &format!("127.0.0.1:{}", self.admin)])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        if journal {
            command.arg("--journal-dir").arg(path("journal"));
        }
        let begin = Instant::now();
        self.tidegate = Some(Process(command.spawn().unwrap()));
        let mut client = loop {
            match Client::connect(self.http) {
                Ok(client) => break client,
                Err(_) => thread::sleep(Duration::from_millis(2)),
            }
            assert!(begin.elapsed() < PATIENCE, "HAProxy does not listen");
        };
        let listening = begin.elapsed();
        let mut refused: u64 = 0;
        let rest = self.apps - SMALL - PROBES;
        let mut hosts: Vec<String> = (0..SAMPLED)
            .map(|n| SMALL + PROBES + n * (rest - 1) / (SAMPLED - 1))
            .map(|number| format!("app-{number}.example.com"))
            .collect();
        hosts.push(format!("{}.example.com", small_name(0)));
        for host in &hosts {
            while client.get(host, "/").unwrap().status != 200 {
                refused += 1;
                assert!(begin.elapsed() < PATIENCE, "{host} does not answer");
            }
        }
        let all = begin.elapsed();
        let figures = json!({"first connection ms": rounded(ms(listening)),
            "all hosts ms": rounded(ms(all)), "hosts": hosts.len(),
            "answers other than 200": refused, "apps": self.apps,
            "controller cpu ms": rounded(ms(cpu_of(self.pid())))});
        report.add("cold start", figures);
        self.until_quiet();
    }

    /// Waits until the first image is saved and everything calmed down.
    fn until_quiet(&self) {
        let begin = Instant::now();
        let mut before = cpu_of(self.pid());
        while begin.elapsed() < PATIENCE {
            thread::sleep(Duration::from_secs(3));
            let now = cpu_of(self.pid());
            if now.saturating_sub(before) < Duration::from_millis(100) {
                return;
            }
            before = now;
        }
    }

    fn memory(&self, when: &str, report: &mut Report) {
        let worker = common::worker_pid(&self.worker_socket());
        let figures = json!({
            "tidegate MiB": rounded(memory_mib(self.pid(), "VmRSS")),
            "tidegate peak MiB": rounded(memory_mib(self.pid(), "VmHWM")),
            "worker MiB": rounded(memory_mib(worker, "VmRSS")),
        });
        report.add(&format!("memory {when}"), figures);
    }

    /// Twenty endpoint changes and one route change per second.
    fn idle(&mut self, report: &mut Report) {
        let seconds = 30;
        let worker = common::worker_pid(&self.worker_socket());
        let (own, other) = (cpu_of(self.pid()), cpu_of(worker));
        let begin = Instant::now();
        for change in 0..seconds * 20 {
            wait_until(begin + Duration::from_millis(change * 50));
            self.change_small();
            if change % 20 == 0 {
                self.move_route();
            }
        }
        wait_until(begin + Duration::from_secs(seconds));
        let wall = begin.elapsed().as_secs_f64();
        let share = |spent: Duration| rounded(spent.as_secs_f64() / wall * 100.0);
        let figures = json!({
            "tidegate % of a processor": share(cpu_of(self.pid()).saturating_sub(own)),
            "worker %": share(cpu_of(worker).saturating_sub(other)),
        });
        report.add("20 endpoint changes and 1 route change per second", figures);
    }

    /// Swaps one of ten endpoints of the next application.
    fn change_small(&mut self) {
        let number = PROBES + 2 + self.turn % (SMALL - 2);
        self.turn += 1;
        let (fresh, at) = (later_pod(self.later), self.turn % ENDPOINTS);
        self.later += 1;
        self.small[number][at] = fresh;
        self.put_small(number);
    }

    /// Swaps the only endpoint of a probe.
    fn change_probe(&mut self, turn: usize) -> Probe {
        let (number, fresh) = (turn % PROBES, later_pod(self.later));
        self.later += 1;
        self.small[number] = vec![fresh];
        let host = format!("{}.example.com", small_name(number));
        let written = Instant::now();
        self.put_small(number);
        Probe { host, wanted: fresh.to_string(), written }
    }

    fn put_small(&self, number: usize) {
        let text = app(&small_name(number), &self.small[number], self.pods);
        self.folder.put(&small_name(number), &text);
    }

    /// Moves the route of `move.example.com` to the other of two Services; returns it.
    fn move_route(&mut self) -> usize {
        let to = PROBES + self.turn % 2;
        self.turn += 1;
        self.folder.put("move", &ingress("move", "move.example.com", &small_name(to), &[]));
        to
    }

    /// Changes at 100 per second, every tenth of them seen by requests too.
    fn endpoints(&mut self, changes: usize, report: &mut Report) {
        let before = self.propagation();
        let (sender, seen) = prober(self.http);
        self.change_at_rate(changes, &sender, |_| false);
        drop(sender);
        let seen: Vec<f64> = seen.join().unwrap().into_iter().map(|(_, took)| took).collect();
        thread::sleep(Duration::from_millis(200));
        let events = self.propagation().since(&before);
        report.add("endpoint change, event to verified, ms", events.figures());
        report.add("endpoint change, file written to first right answer, ms", spread(seen));
    }

    fn change_at_rate(
        &mut self,
        changes: usize,
        sender: &mpsc::Sender<Probe>,
        mut stop: impl FnMut(&Fleet) -> bool,
    ) {
        let begin = Instant::now();
        for change in 0..changes {
            wait_until(begin + Duration::from_millis(change as u64 * 10));
            if change % 10 == 0 {
                let probe = self.change_probe(change / 10);
                sender.send(probe).unwrap();
            } else {
                self.change_small();
            }
            if change % 5 == 0 && stop(self) {
                return;
            }
        }
    }

    /// The same changes while a reload is under way.
    fn reloads(&mut self, reloads: usize, report: &mut Report) {
        let (mut lasted, mut events, mut probes, mut late) =
            (Vec::new(), Histogram::default(), Vec::new(), Vec::new());
        for reload in 0..reloads {
            thread::sleep(Duration::from_secs(2));
            let config = format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: tidegate\n  namespace: \
                 fleet\ndata:\n  timeout-http-request: {}s\n",
                11 + reload
            );
            let (count, before) = (self.reload_count(), self.propagation());
            let (sender, seen) = prober(self.http);
            let begin = Instant::now();
            self.folder.put("config", &config);
            self.change_at_rate(6_000, &sender, |fleet| fleet.reload_count() > count);
            lasted.push(begin.elapsed().as_secs_f64() * 1000.0);
            drop(sender);
            // What the new worker says of the changes made meanwhile, from the moment that the
            // reload is seen to be done, which is up to 50 ms late.
            let done = Instant::now();
            let mut behind = self.wrong_probes();
            let (stale, example) = (behind.len(), behind.first().cloned());
            while !behind.is_empty() && done.elapsed() < PATIENCE {
                behind = self.wrong_probes();
            }
            if stale > 0 {
                late.push(json!({"probes": stale, "for ms": rounded(ms(done.elapsed())),
                    "such as": example, "still": behind}));
            }
            probes.extend(seen.join().unwrap().into_iter().map(|(_, took)| took));
            events.add(&self.propagation().since(&before));
        }
        report.add("reload, ConfigMap written to done, ms", spread(lasted));
        report.add("endpoint change during a reload, event to verified, ms", events.figures());
        report
            .add("endpoint change during a reload, file to first right answer, ms", spread(probes));
        report.add("probes that answered wrong right after the reload", json!({"reloads": late}));
    }

    fn wrong_probes(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for number in 0..PROBES {
            let host = format!("{}.example.com", small_name(number));
            let answer = get(self.http, &host, "/").unwrap();
            if answer.status != 200 || answer.body != self.small[number][0].to_string() {
                wrong.push(format!(
                    "{host}: {} {} instead of {}",
                    answer.status, answer.body, self.small[number][0]
                ));
            }
        }
        wrong
    }

    /// New applications one by one.
    fn new_apps(&mut self, count: usize, report: &mut Report) {
        let (mut took, mut other) = (Vec::new(), BTreeMap::new());
        let mut client = Client::connect(self.http).unwrap();
        for number in 0..count {
            let name = format!("new-{number}");
            let own: Vec<_> = (0..ENDPOINTS).map(|n| later_pod(self.later + n)).collect();
            self.later += ENDPOINTS;
            let (text, host) = (app(&name, &own, self.pods), format!("{name}.example.com"));
            let begin = Instant::now();
            self.folder.put(&name, &text);
            loop {
                let status = client.get(&host, "/").unwrap().status;
                match status {
                    200 => break,
                    404 => {}
                    _ => *other.entry(status.to_string()).or_insert(0) += 1,
                }
                assert!(begin.elapsed() < PATIENCE, "{host} answers {status}");
            }
            took.push(ms(begin.elapsed()));
            thread::sleep(Duration::from_millis(20));
        }
        let mut figures = spread(took);
        figures["before, other than 404"] = json!(other);
        report.add("new application, file written to first 200, ms", figures);
    }

    /// A route that moves between two Services under load, one move as soon as the last is seen.
    fn moves(&mut self, moves: usize, report: &mut Report) {
        let stop = Arc::new(AtomicBool::new(false));
        let good = Arc::new(AtomicU64::new(0));
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let (stop, good, port) = (stop.clone(), good.clone(), self.http);
                thread::spawn(move || keep_asking(port, &stop, &good))
            })
            .collect();
        let mut client = Client::connect(self.http).unwrap();
        let (mut took, begin) = (Vec::new(), Instant::now());
        while took.len() < moves && begin.elapsed() < Duration::from_secs(60) {
            let written = Instant::now();
            let to = self.move_route();
            let wanted: Vec<String> = self.small[to].iter().map(Ipv4Addr::to_string).collect();
            while !wanted.contains(&client.get("move.example.com", "/").unwrap().body) {
                assert!(written.elapsed() < PATIENCE, "the route does not move");
            }
            took.push(ms(written.elapsed()));
        }
        stop.store(true, Ordering::Relaxed);
        let mut other: BTreeMap<String, u64> = BTreeMap::new();
        for client in clients {
            for (what, count) in client.join().unwrap() {
                *other.entry(what).or_insert(0) += count;
            }
        }
        let mut figures = spread(took);
        figures["answers 200"] = json!(good.load(Ordering::Relaxed));
        figures["other answers"] = json!(other);
        report.add("route moved under load, file written to first right answer, ms", figures);
    }

    fn metrics(&self) -> String {
        get(self.admin, "localhost", "/metrics").expect("metrics").body
    }

    fn reload_count(&self) -> u64 {
        let text = self.metrics();
        let of = |line: &&str| {
            line.starts_with("tidegate_reloads_total") && !line.contains("first-start")
        };
        let value = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
        text.lines().filter(of).filter_map(value).sum()
    }

    /// The propagation of EndpointSlices.
    fn propagation(&self) -> Histogram {
        let mut histogram = Histogram::default();
        for line in self.metrics().lines().filter(|line| line.contains("EndpointSlice")) {
            let Some(rest) = line.strip_prefix("tidegate_propagation_seconds_bucket{") else {
                continue;
            };
            let bound = rest.split_once("le=\"").and_then(|(_, rest)| rest.split_once('"'));
            let count = rest.rsplit(' ').next().and_then(|count| count.parse().ok());
            if let (Some((bound, _)), Some(count)) = (bound, count) {
                histogram.0.insert(bound.to_owned(), count);
            }
        }
        histogram
    }

    /// Reloads, refusals and other things that should not have happened.
    fn counters(&self) -> Value {
        let wanted = |line: &&str| {
            ["tidegate_reloads_total", "tidegate_worker_changes", "tidegate_audit"]
                .iter()
                .any(|name| line.starts_with(name))
                || line.contains("outcome=\"refused\"")
                || line.contains("outcome=\"unknown\"")
                || line.starts_with("tidegate_problems{")
        };
        let text = self.metrics();
        let lines = text.lines().filter(wanted).filter(|line| !line.ends_with(" 0"));
        let all: BTreeMap<&str, &str> = lines.filter_map(|line| line.rsplit_once(' ')).collect();
        json!(all)
    }
}

fn small_name(number: usize) -> String {
    format!("small-{number}")
}

fn wait_until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}
