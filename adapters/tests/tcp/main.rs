//! TCP services and TLS passthrough by real connections on each HAProxy: ports taken, moved and left
//! under load, TLS that ends here or at the pods, and what is refused.

#[path = "../common/mod.rs"]
mod common;
mod passthrough;
mod services;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::certs::Authority;
use common::client::{self, Connection, Request};
use common::manifest::{app, classes, config_map, ingress, named_config_map, service, slice};
use common::pods::{Pod, Speech};
use common::rig::{Rig, free_port};
use common::{Scenarios, ensure, eventually};
use serde_json::Value;

on_each_haproxy!(tcp);

/// Ports that are kept.
const KEPT: u16 = 8;

/// What the scenarios share.
struct Stage {
    rig: Rig,
    /// The first port that is kept.
    first: u16,
    _pods: BTreeMap<&'static str, Vec<Pod>>,
    authority: Authority,
}

fn tcp(version: &'static str) {
    // Beyond the ports of other tests, below those of outgoing connections.
    let lane = ["2.6", "3.0", "3.2", "3.4"].iter().position(|v| *v == version).unwrap_or(0) as u16;
    let first = 27_200 + (std::process::id() % 80) as u16 * 64 + lane * 16;
    let range = format!("{first}-{}", first + KEPT - 1);
    let mut rig = Rig::new(version).arguments(&[
        "--configmap-tcp-services",
        "test/tcp",
        "--tcp-ports",
        &range,
        "--drain",
        "300ms",
    ]);
    let names = ["web", "db", "mail"];
    let pods: BTreeMap<_, _> = names.map(|name| (name, Pod::several(name, 2))).into();
    let mut objects = classes();
    for (name, pods) in &pods {
        objects.extend(app(name, &pods.iter().collect::<Vec<_>>()));
    }
    let authority = Authority::new();
    objects.push(authority.issue(&["web.test", "*.w.test", "db.test"]).secret("cert"));
    let web = ingress("web").all("web.test", "web").all("a.w.test", "web");
    objects.push(web.tls(&["web.test", "a.w.test", "db.test"], "cert").into());
    rig.put("base", &objects);
    rig.start();
    rig.wait("web.test", "/", 200, "web");
    let stage = &Stage { rig, first, _pods: pods, authority };
    let mut scenarios = Scenarios::new(version);
    scenarios.run("a ConfigMap that is not there", || services::absent(stage));
    scenarios.run("ports are taken and left", || services::taken_and_left(stage));
    scenarios.run("a port moves under load", || services::moves(stage));
    scenarios.run("pods are replaced under load", || services::rolls(stage));
    scenarios.run("TLS ends here", || services::ends_tls(stage));
    scenarios.run("bad entries", || services::bad_entries(stage));
    scenarios.run("keys of the Service", || services::keys(stage));
    scenarios.run("no reloads", || stage.rig.assert_no_reloads_on_3_4("TCP services"));
    scenarios.run("lines on connections", || services::logs(stage));
    scenarios.run("ports that are not kept", || services::not_kept(stage));
    scenarios.run("the example of the page", || services::documented(stage));
    scenarios.run("a port of somebody else", || services::of_somebody_else(stage));
    scenarios.run("passthrough", || passthrough::first_and_last(stage));
    scenarios.run("the example of passthrough", || passthrough::documented(stage));
    scenarios.run("passthrough and lists", || passthrough::lists(stage));
    scenarios.run("passthrough and conflicts", || passthrough::conflicts(stage));
    scenarios.finish();
}

/// Reloads asked for so far. What a reload brings is served before its end is counted.
fn asked(stage: &Stage) -> usize {
    stage.rig.reload_reasons().len()
}

/// An example of the page, by its number.
fn example(number: usize) -> String {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tcp-services.md");
    let page = std::fs::read_to_string(page).unwrap();
    let block = page.split("```yaml\n").nth(number).and_then(|rest| rest.split("```").next());
    block.expect("the page has the example").to_owned()
}

/// The Service behind a port, by a new connection.
fn knock(port: u16) -> Result<String, String> {
    let ask = || Connection::plain(port)?.ask(&Request::get("any.test", "/"));
    let answer = ask().map_err(|error| error.to_string())?;
    Ok(answer.service().to_owned())
}

/// The same by TLS, with the certificate shown.
fn knock_tls(port: u16, name: &str) -> Result<(String, Vec<u8>), String> {
    let ask = || {
        let mut connection = Connection::tls(port, name, &client::curious(&client::ECDSA))?;
        let answer = connection.ask(&Request::get(name, "/"))?;
        Ok((answer.service().to_owned(), connection.certificate.unwrap_or_default()))
    };
    ask().map_err(|error: std::io::Error| error.to_string())
}

/// Waits until a Service is behind a port.
fn wait_service(stage: &Stage, port: u16, service: &str) {
    eventually(&format!("HAProxy {}: {service} on port {port}", stage.rig.version), || {
        let found = knock(port)?;
        ensure(found == service, || found)
    });
}

/// Waits until a port takes nobody, and says so at once.
fn wait_refused(stage: &Stage, port: u16) {
    eventually(&format!("HAProxy {}: port {port} refuses", stage.rig.version), || {
        let begin = Instant::now();
        match knock(port) {
            Ok(service) => Err(service),
            Err(_) if begin.elapsed() < Duration::from_secs(1) => Ok(()),
            Err(error) => Err(format!("{error} after {:?}", begin.elapsed())),
        }
    });
}

/// Says which port leads where.
fn lead(stage: &Stage, entries: &[(u16, &str)]) {
    let texts: Vec<(String, &str)> =
        entries.iter().map(|(port, value)| (port.to_string(), *value)).collect();
    let entries: Vec<(&str, &str)> = texts.iter().map(|(port, value)| (&**port, *value)).collect();
    stage.rig.put("tcp", &[named_config_map("tcp", &entries)]);
}

/// A loop that connects anew again and again.
struct Knocks {
    stop: Arc<AtomicBool>,
    /// How often what came.
    seen: Arc<Mutex<BTreeMap<Result<String, String>, u64>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Knocks {
    fn start(look: impl Fn() -> Result<String, String> + Send + Sync + 'static) -> Knocks {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let look = Arc::new(look);
        let threads = (0..3).map(|_| {
            let (stop, seen, look) = (Arc::clone(&stop), Arc::clone(&seen), Arc::clone(&look));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let found = look();
                    let seen: &Mutex<BTreeMap<_, _>> = &seen;
                    *seen.lock().unwrap().entry(found).or_insert(0) += 1;
                    std::thread::sleep(Duration::from_millis(1));
                }
            })
        });
        let threads = threads.collect();
        Knocks { stop, seen, threads }
    }

    fn count(&self) -> u64 {
        self.seen.lock().unwrap().values().sum()
    }

    /// Waits for so many more.
    fn pass(&self, count: u64) {
        let until = self.count() + count;
        eventually("the loop goes on", || {
            ensure(self.count() >= until, || self.count().to_string())
        });
    }

    /// Stops. Fails if one was lost, or was answered by a stranger.
    fn finish(mut self, during: &str, services: &[&str]) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        let seen = self.seen.lock().unwrap();
        let right = |found: &Result<String, String>| {
            found.as_ref().is_ok_and(|service| services.contains(&&**service))
        };
        assert!(seen.keys().all(right), "{during}: {seen:?}");
        println!("{during}: {seen:?}");
    }
}

impl Drop for Knocks {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
