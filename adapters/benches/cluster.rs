//! A fleet of applications in a real cluster: etcd, kube-apiserver, tidegate and HAProxy 3.4 in a
//! network namespace. `cargo bench -p tidegate --bench cluster -- --apps 10000 [--output json]
//! [--only endpoints,busy,apps,routes,rollout,churn] [--churn-minutes 60]`.
//!
//! Time runs from the answer of the API server to a write until the first right answer of
//! HAProxy. What is measured and what bounds it: `docs/benchmarks.md`. Needs root and what
//! `deploy/kube/build.sh` builds.

#[path = "../tests/cluster/bed/mod.rs"]
mod bed;
#[path = "../tests/common/mod.rs"]
mod common;
#[path = "floor.rs"]
mod floor;
#[path = "common.rs"]
mod tools;
#[path = "../tests/cluster/town.rs"]
#[allow(dead_code, reason = "a town has more than this benchmark needs")]
mod town;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bed::api::{self, Api};
use bed::plane::{ADMIN, PORT};
use bed::{Bed, crowd};
use common::manifest::{classes, endpoint, ingress, service, slice_of};
use common::rig::Rig;
use common::traffic::Traffic;
use floor::{Floor, version_of};
use serde_json::{Value, json};
use tools::{Arguments, Client, Report, cpu_of, memory_mib, ms, rounded, spread};
use town::Town;

/// Endpoints of each application.
const ENDPOINTS: usize = 10;
/// Applications with one endpoint, whose changes are seen by requests.
const PROBES: usize = 20;
/// Hosts asked after the start.
const SAMPLED: usize = 500;
/// Pods that are replaced in a rollout.
const ROLLED: usize = 20;
/// Pause between two questions: whoever measures must not take the processor from what is measured.
const PAUSE: Duration = Duration::from_micros(100);
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let arguments = Arguments::read();
    let apps = arguments.number("--apps", 10_000).max(PROBES + SAMPLED);
    let all = "endpoints,busy,apps,routes,rollout,churn";
    let only = arguments.text("--only").unwrap_or(all).to_owned();
    let mut report = Report::new(&arguments);
    let bed = Bed::start();
    crowd::gather();
    let mut fleet = Fleet::seed(&bed, apps, &mut report);
    fleet.cold_start(&mut report);
    for part in only.split(',') {
        match part {
            "endpoints" => fleet.endpoints(&bed, arguments.number("--changes", 600), &mut report),
            "busy" => fleet.busy(&mut report),
            "apps" => fleet.new_apps(arguments.number("--new-apps", 300), &mut report),
            "routes" => fleet.routes(arguments.number("--routes", 3_000), &mut report),
            "rollout" => fleet.rollout(&bed, &mut report),
            "churn" => fleet.churn(arguments.number("--churn-minutes", 1), &mut report),
            _ => {}
        }
        fleet.memory(&format!("after {part}"), &mut report);
    }
    report.add("reloads", json!({"count": fleet.rig.reload_count()}));
    report.print();
}

struct Fleet {
    api: Api,
    rig: Rig,
    apps: usize,
    /// Addresses given out so far.
    given: usize,
}

fn host(name: &str) -> String {
    format!("{name}.example.com")
}

fn slice(name: &str, addresses: &[Ipv4Addr]) -> Value {
    let endpoints = addresses.iter().map(|a| endpoint((*a).into(), json!({"ready": true})));
    let ports = json!([{"name": "http", "port": crowd::PORT}]);
    slice_of(&format!("{name}-1"), name, ports, endpoints.collect())
}

impl Fleet {
    fn seed(bed: &Bed, apps: usize, report: &mut Report) -> Fleet {
        let mut api = bed.api();
        for class in classes() {
            api.apply(&class);
        }
        // As people run it, without every command in the log.
        let rig = bed.rig("3.4").arguments(&["--log", "info"]);
        let mut fleet = Fleet { api, rig, apps, given: 0 };
        let mut objects = Vec::new();
        for number in 0..apps {
            let name = format!("app-{number}");
            let count = if number < PROBES { 1 } else { ENDPOINTS };
            let addresses = fleet.addresses(count);
            objects.extend([service(&name), slice(&name, &addresses)]);
            objects.push(ingress(&name).all(&host(&name), &name).into());
        }
        let begin = Instant::now();
        api::seed(&bed.plane.access(PORT, ADMIN), &objects, 16);
        let figures = json!({"apps": apps, "endpoints": fleet.given, "ms": ms(begin.elapsed())});
        report.add("seeded", figures);
        fleet
    }

    fn addresses(&mut self, count: usize) -> Vec<Ipv4Addr> {
        self.given += count;
        (self.given - count..self.given).map(crowd::address).collect()
    }

    fn cold_start(&mut self, report: &mut Report) {
        let begin = Instant::now();
        self.rig.spawn();
        let mut client = loop {
            match Client::connect(self.rig.http) {
                Ok(client) => break client,
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
            assert!(begin.elapsed() < PATIENCE, "HAProxy does not listen: {}", self.rig.tail());
        };
        let listening = begin.elapsed();
        let mut refused: u64 = 0;
        let step = (self.apps - 1) / (SAMPLED - 1);
        for number in (0..SAMPLED).map(|sample| sample * step) {
            let host = host(&format!("app-{number}"));
            while client.get(&host, "/").unwrap().status != 200 {
                refused += 1;
                assert!(begin.elapsed() < PATIENCE, "{host} does not answer");
            }
        }
        let all = begin.elapsed();
        let figures = json!({"first connection ms": rounded(ms(listening)),
            "all hosts ms": rounded(ms(all)), "hosts": SAMPLED,
            "answers other than 200": refused,
            "controller cpu ms": rounded(ms(cpu_of(self.rig.pid())))});
        report.add("cold start", figures);
        std::thread::sleep(Duration::from_secs(10));
        self.memory("after the start", report);
    }

    fn memory(&self, when: &str, report: &mut Report) {
        let worker = u32::try_from(self.rig.worker_pid()).unwrap();
        let figures = json!({
            "tidegate MiB": rounded(memory_mib(self.rig.pid(), "VmRSS")),
            "tidegate peak MiB": rounded(memory_mib(self.rig.pid(), "VmHWM")),
            "worker MiB": rounded(memory_mib(worker, "VmRSS")),
        });
        report.add(&format!("memory {when}"), figures);
    }

    /// Swaps the only endpoint of a probe. Returns its version, when the API server had answered,
    /// and the time from then to the first right answer.
    fn change_probe(&mut self, turn: usize, client: &mut Client) -> (String, Instant, f64) {
        let name = format!("app-{}", turn % PROBES);
        let fresh = self.addresses(1);
        let (wanted, host) = (fresh[0].to_string(), host(&name));
        let changed = self.api.apply(&slice(&name, &fresh));
        let acked = Instant::now();
        while client.get(&host, "/").unwrap().body != wanted {
            assert!(acked.elapsed() < PATIENCE, "{host} does not answer as {wanted}");
            std::thread::sleep(PAUSE);
        }
        (version_of(&changed), acked, ms(acked.elapsed()))
    }

    fn endpoints(&mut self, bed: &Bed, changes: usize, report: &mut Report) {
        let mut client = Client::connect(self.rig.http).unwrap();
        let (version, ..) = self.change_probe(0, &mut client);
        let floor = Floor::watch(&bed.plane.access(PORT, ADMIN), &version);
        for with_routes in [false, true] {
            let (mut took, mut told, begin) = (Vec::new(), Vec::new(), Instant::now());
            for turn in 0..changes {
                wait_until(begin + Duration::from_millis(turn as u64 * 50));
                if with_routes && turn % 20 == 0 {
                    self.change_route(turn / 20);
                }
                let (version, acked, all) = self.change_probe(turn, &mut client);
                took.push(all);
                told.extend(floor.delay(&version, acked));
            }
            let what = if with_routes { ", and 1 route a second" } else { "" };
            report.add(&format!("endpoint change{what}, ms"), spread(took));
            report.add("… until another watch of it tells, ms", spread(told));
        }
    }

    /// Moves a route between two applications.
    fn change_route(&mut self, turn: usize) {
        let to = format!("app-{}", PROBES + turn % 2);
        self.api.apply(&ingress("move").all("move.example.com", &to).into());
    }

    /// Twenty endpoint changes and one route change a second.
    fn busy(&mut self, report: &mut Report) {
        let seconds = 30;
        let (own, begin) = (cpu_of(self.rig.pid()), Instant::now());
        for change in 0..seconds * 20 {
            wait_until(begin + Duration::from_millis(change as u64 * 50));
            self.disturb(change);
        }
        wait_until(begin + Duration::from_secs(seconds as u64));
        let spent = cpu_of(self.rig.pid()).saturating_sub(own).as_secs_f64();
        let share = rounded(spent / begin.elapsed().as_secs_f64() * 100.0);
        report.add(
            "20 endpoint changes and 1 route change a second",
            json!({"tidegate % of a processor": share}),
        );
    }

    /// One of the changes that go on all the time.
    fn disturb(&mut self, turn: usize) {
        let name = format!("app-{}", PROBES + 2 + turn % 200);
        let addresses = self.addresses(ENDPOINTS);
        self.api.apply(&slice(&name, &addresses));
        if turn.is_multiple_of(20) {
            self.change_route(turn / 20);
        }
    }

    /// Twenty pods are replaced one by one, each refusing connections a second after the API said
    /// that it leaves, while other applications change.
    fn rollout(&mut self, bed: &Bed, report: &mut Report) {
        let town = Town::new(bed);
        let mut app = town.app("rollout", 20);
        let rig = &self.rig;
        rig.wait(&app.host, "/", 200, &app.name);
        std::thread::sleep(Duration::from_secs(2));
        town.ledger.ask(&app.host, "/");
        let pause = Duration::from_millis(1);
        let traffic = Traffic::by_ledger(&[rig.http], 3, 3, pause, &town.ledger);
        let begin = Instant::now();
        for turn in 0..ROLLED * 10 {
            if turn.is_multiple_of(10) {
                town.roll(&mut app);
            }
            self.disturb(turn);
            wait_until(begin + Duration::from_millis(turn as u64 * 50));
        }
        std::thread::sleep(Duration::from_secs(2));
        let figures = json!({"pods": ROLLED, "requests": traffic.sent(), "lost": traffic.failed(),
            "seconds": rounded(begin.elapsed().as_secs_f64()), "words": traffic.words()});
        report.add("rollout of 20 pods under churn", figures);
    }

    /// Everything that changes in a cluster, for a while: endpoints, routes, applications that come
    /// and go, certificates of hosts. On 3.4 nothing of it reloads.
    fn churn(&mut self, minutes: usize, report: &mut Report) {
        let (before, begin) = (self.rig.reload_count(), Instant::now());
        let mut turn = 0;
        while begin.elapsed() < Duration::from_secs(60) * minutes as u32 {
            self.disturb(turn);
            if turn.is_multiple_of(40) {
                let name = format!("churn-{}", turn / 40);
                let fresh = self.addresses(1);
                self.api.create(&service(&name));
                self.api.create(&slice(&name, &fresh));
                self.api.create(&ingress(&name).all(&host(&name), &name).into());
            }
            if turn % 40 == 20 && turn > 400 {
                let name = format!("churn-{}", turn / 40 - 10);
                for (kind, name) in [
                    ("Ingress", name.clone()),
                    ("Service", name.clone()),
                    ("EndpointSlice", format!("{name}-1")),
                ] {
                    self.api.delete(kind, "test", &name);
                }
            }
            turn += 1;
            wait_until(begin + Duration::from_millis(turn as u64 * 50));
        }
        let figures = json!({"minutes": minutes, "changes": turn,
            "reloads": self.rig.reload_count() - before});
        report.add("churn", figures);
    }

    fn new_apps(&mut self, count: usize, report: &mut Report) {
        self.one_by_one("new", count, Duration::from_millis(50), "new application, ms", report);
    }

    fn routes(&mut self, count: usize, report: &mut Report) {
        let what = format!("{count} routes one by one, ms");
        self.one_by_one("route", count, Duration::ZERO, &what, report);
    }

    fn one_by_one(
        &mut self,
        prefix: &str,
        count: usize,
        pause: Duration,
        what: &str,
        report: &mut Report,
    ) {
        let mut client = Client::connect(self.rig.http).unwrap();
        let (mut took, mut other) = (Vec::new(), BTreeMap::new());
        for number in 0..count {
            let name = format!("{prefix}-{number}");
            let addresses = self.addresses(1);
            self.api.create(&service(&name));
            self.api.create(&slice(&name, &addresses));
            self.api.create(&ingress(&name).all(&host(&name), &name).into());
            let acked = Instant::now();
            loop {
                match client.get(&host(&name), "/").unwrap().status {
                    200 => break,
                    404 => {}
                    status => *other.entry(status.to_string()).or_insert(0_u64) += 1,
                }
                std::thread::sleep(PAUSE);
                assert!(acked.elapsed() < PATIENCE, "{name} does not answer");
            }
            took.push(ms(acked.elapsed()));
            std::thread::sleep(pause);
        }
        let mut figures = spread(took);
        figures["before, other than 404"] = json!(other);
        report.add(what, figures);
    }
}

fn wait_until(moment: Instant) {
    std::thread::sleep(moment.saturating_duration_since(Instant::now()));
}
