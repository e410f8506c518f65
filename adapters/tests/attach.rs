//! Attach mode, the whole program: HAProxy is started by somebody else, with the very command of
//! the sidecar in deploy/manifests/sidecar.yaml or of the unit in deploy/systemd, and outlives
//! tidegate.
//!
//! Not here: Kubernetes; spawn mode (`life`).

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::client::{Connection, Request, showing};
use common::h3::Session;
use common::manifest::{app, classes, config_map, ingress, secret, slice};
use common::pods::Pod;
use common::rig::{Rig, haproxy};
use common::traffic::Traffic;
use common::{Scenarios, ensure, eventually};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

on_each_haproxy!(attached);

fn file(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::read_to_string(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Who starts HAProxy.
#[derive(Clone, Copy)]
enum Starter {
    Kubelet,
    Systemd,
}

impl Starter {
    /// What it runs, for this state folder and executable.
    fn script(self, state: &str, binary: &str) -> String {
        let script = match self {
            Starter::Kubelet => container_script(),
            Starter::Systemd => unit_script(),
        };
        let places = match self {
            Starter::Kubelet => [
                ("haproxy=haproxy ", format!("haproxy={binary} ")),
                ("state=/var/lib/tidegate", format!("state={state}")),
            ],
            Starter::Systemd => {
                [("/usr/sbin/haproxy", binary.to_owned()), ("/var/lib/tidegate", state.to_owned())]
            }
        };
        places.iter().fold(script, |script, (from, to)| {
            assert!(script.contains(from), "no '{from}' in: {script}");
            script.replace(from, to)
        })
    }
}

/// The script of the container `haproxy`.
fn container_script() -> String {
    let text = file("deploy/manifests/sidecar.yaml");
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let pod = objects.iter().map(|object| &object["spec"]["template"]["spec"]["containers"]);
    let containers = pod.filter_map(Value::as_array).next().expect("a workload");
    let container = containers.iter().find(|c| c["name"] == "haproxy").expect("the sidecar");
    let command = container["command"].as_array().expect("a command");
    assert_eq!(command[..2], ["/bin/sh", "-c"]);
    command[2].as_str().expect("a script").to_owned()
}

/// What haproxy-tidegate.service runs, one after the other.
fn unit_script() -> String {
    let text = file("deploy/systemd/haproxy-tidegate.service");
    let values = |key: &str| -> Vec<String> {
        let value = |line: &str| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
        text.lines().filter_map(value).collect()
    };
    let (before, start) = (values("ExecStartPre"), values("ExecStart"));
    assert_eq!((before.len(), start.len()), (2, 1));
    format!("set -e\n{}\nexec {}\n", before.join("\n"), start[0])
}

/// HAProxy as the kubelet or systemd runs it.
struct Sidecar {
    child: Child,
}

impl Sidecar {
    fn start(rig: &Rig, version: &str) -> Sidecar {
        Sidecar::start_by(Starter::Kubelet, rig, version)
    }

    fn start_by(starter: Starter, rig: &Rig, version: &str) -> Sidecar {
        let (state, binary) = (rig.path("state"), haproxy(version));
        let script = starter.script(state.to_str().unwrap(), binary.to_str().unwrap());
        let log = File::options().create(true).append(true).open(rig.path("sidecar")).unwrap();
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script).stdin(Stdio::null()).process_group(0);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        Sidecar { child: command.spawn().unwrap() }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    /// Everything in the container dies at once.
    fn kill(&mut self, rig: &Rig) {
        let worker = Pid::from_raw(rig.worker_pid()).unwrap();
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let _ = kill_process(worker, Signal::KILL);
        self.child.wait().unwrap();
        eventually("nobody listens", || {
            ensure(Connection::plain(rig.http).is_err(), || "somebody does".to_owned())
        });
    }

    /// As the container's preStop does, once HAProxy has started: a 2.6 master loses the signal
    /// while it re-executes itself after loading its files, and does not answer then either.
    fn soft_stop(&mut self, rig: &Rig) {
        rig.master_pid();
        kill_process(self.pid(), Signal::USR1).unwrap();
        eventually("HAProxy ends", || match self.child.try_wait() {
            Ok(Some(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let _ = self.child.wait();
    }
}

fn rig(version: &'static str) -> Rig {
    let rig = Rig::new(version);
    let socket = |name: &str| rig.path("state/run").join(name).display().to_string();
    let (worker, master) = (socket("worker.sock"), socket("master.sock"));
    let quic = rig.https.to_string();
    rig.arguments(&["--attach", &worker, "--master", &master, "--quic-port", &quic])
}

/// There is HTTP/3 where this HAProxy speaks it, and a Problem where it does not.
fn http_3(rig: &Rig, version: &str) {
    if version == "2.6" {
        rig.wait_problem(&["NotSupported", "--quic-port"]);
        return;
    }
    eventually(&format!("HAProxy {version}: HTTP/3"), || {
        let ask = || {
            let mut session = Session::open(rig.https, "shop.test", &showing(None, false, false))?;
            session.ask(&Request::get("shop.test", "/"))
        };
        let answer = ask().map_err(|error| error.to_string())?;
        ensure((answer.status, answer.service()) == (200, "shop"), || answer.status.to_string())
    });
    rig.wait_no_problem("--quic-port");
}

fn attached(version: &'static str) {
    let shop = Pod::several("shop", 3);
    let blog = Pod::several("blog", 1);
    let mut rig = rig(version);
    let mut objects = classes();
    objects.extend(app("shop", &[&shop[0]]));
    objects.extend(app("blog", &[&blog[0]]));
    objects.push(ingress("shop").all("shop.test", "shop").into());
    rig.put("base", &objects);

    // The sidecar is there first, and there is nothing at all in the state folder.
    let mut sidecar = Sidecar::start(&rig, version);
    assert!(!rig.path("state/haproxy.cfg").exists());
    rig.start();
    let mut scenarios = Scenarios::new(version);
    scenarios.run("the first start", || {
        let answer = rig.now("shop.test", "/");
        assert_eq!((answer.status, answer.service()), (200, "shop"), "ready means served");
        assert_eq!((rig.reload_count(), starts(&rig)), (0, 1), "{:?}", rig.reloads());
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(rig.path("state/run/master.sock")).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600, "the master socket is for its user alone");
    });
    scenarios.run("HTTP/3", || http_3(&rig, version));
    let traffic =
        Traffic::start(rig.http, 2, 1, Duration::from_millis(3), &[("shop.test", "/", "shop")]);
    scenarios.run("changes", || changes(&rig, &shop, &blog));
    scenarios.run("authentication", || authentication(&rig));
    scenarios.run("a reload through the master socket", || reload(&rig));
    scenarios.run("authentication after a reload", || authentication(&rig));
    scenarios.run("nothing lost by changes and reloads", || {
        traffic.pass(20);
        traffic.assert_nothing_lost("changes and reloads");
    });
    scenarios.run("the controller is killed", || adoption(&mut rig, &traffic));
    scenarios.run("the controller is stopped", || stopped(&mut rig, &traffic));
    scenarios.run("nothing lost without the controller", || {
        traffic.finish("restarts of the controller");
    });
    scenarios.run("HAProxy is killed", || killed(&rig, version, &mut sidecar));
    scenarios.run("HAProxy is away for a while", || away(&rig, version, &mut sidecar));
    scenarios.run("both are away", || both(&mut rig, version, &mut sidecar));
    scenarios.run("replay", || replay(&mut rig));
    scenarios.run("another version", || exchanged(version, &shop));
    scenarios.finish();
}

/// The same by the units of systemd, as far as the starting goes.
fn under_systemd(version: &'static str) {
    let shop = Pod::several("shop", 1);
    let mut rig = rig(version);
    let mut objects = classes();
    objects.extend(app("shop", &[&shop[0]]));
    objects.push(ingress("shop").all("shop.test", "shop").into());
    rig.put("base", &objects);
    let mut haproxy = Sidecar::start_by(Starter::Systemd, &rig, version);
    rig.start();
    rig.wait("shop.test", "/", 200, "shop");
    assert_eq!((rig.reload_count(), starts(&rig)), (0, 1), "{:?}", rig.reloads());
    rig.put("more", &[ingress("more").all("more.test", "shop").into()]);
    rig.wait("more.test", "/", 200, "shop");
    haproxy.kill(&rig);
    haproxy = Sidecar::start_by(Starter::Systemd, &rig, version);
    rig.wait("more.test", "/", 200, "shop");
    rig.stop();
    rig.wait("more.test", "/", 200, "shop");
    haproxy.soft_stop(&rig);
}

#[test]
fn under_systemd_on_2_6() {
    under_systemd("2.6");
}

#[test]
fn under_systemd_on_3_4() {
    under_systemd("3.4");
}

/// Starts so far, adopted ones not counted.
fn starts(rig: &Rig) -> u64 {
    rig.reloads().values().map(|count| *count as u64).sum()
}

fn changes(rig: &Rig, shop: &[Pod], blog: &[Pod]) {
    rig.put("blog", &[ingress("blog").all("blog.test", "blog").into()]);
    rig.wait("blog.test", "/", 200, "blog");
    let fresh = Pod::several("fresh", 1);
    let mut objects = app("fresh", &[&fresh[0]]);
    objects.push(ingress("fresh").all("fresh.test", "fresh").into());
    rig.put("fresh", &objects);
    rig.wait("fresh.test", "/", 200, "fresh");
    rig.remove("fresh");
    rig.wait("fresh.test", "/", 404, "");
    // Another pod joins, the first one goes.
    let mut base = classes();
    base.extend(app("shop", &[&shop[1]]));
    base.extend(app("blog", &[&blog[0]]));
    base.push(ingress("shop").all("shop.test", "shop").into());
    rig.put("base", &base);
    eventually("the other pod answers", || {
        let answer = rig.get("shop.test", "/")?;
        ensure(answer.name() == shop[1].name, || answer.name().to_owned())
    });
    rig.assert_no_reloads_on_3_4("changes");
}

/// HAProxy of another container asks on the socket in the shared folder.
fn authentication(rig: &Rig) {
    let hash = "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/";
    let users = secret("users", &[("auth", &format!("anna:{hash}\n"))]);
    let route = ingress("safe").all("safe.test", "blog").with("auth-secret", "users");
    rig.put("safe", &[users, route.into()]);
    rig.wait("safe.test", "/", 401, "");
    for (token, status) in [("YW5uYTpzZWNyZXQ=", 200), ("YW5uYTp3cm9uZw==", 401)] {
        let request = Request::get("safe.test", "/");
        let request = request.header("authorization", &format!("Basic {token}"));
        assert_eq!(rig.ask(&request).unwrap().status, status);
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(rig.path("state/run/auth.sock")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

/// Something that only a reload can do.
fn reload(rig: &Rig) {
    let (worker, before) = (rig.worker_pid(), rig.reload_count());
    rig.put("config", &[config_map(&[("timeout-http-request", "7s")])]);
    eventually("another worker serves", || {
        let now = rig.worker_pid();
        ensure(now != worker, || format!("still {now}"))
    });
    eventually("the reload is done", || {
        let count = rig.reload_count();
        ensure(count == before + 1, || format!("{count} reloads: {:?}", rig.reloads()))
    });
    rig.wait("blog.test", "/", 200, "blog");
}

/// Actions answered so far, by name.
fn actions(rig: &Rig) -> BTreeMap<String, u64> {
    let mut actions = BTreeMap::new();
    for (labels, count) in rig.metric("tidegate_actions_total") {
        let name = labels.split('"').nth(1).unwrap_or("").to_owned();
        *actions.entry(name).or_default() += count as u64;
    }
    actions
}

/// Waits until nothing is under way and the files are current.
fn wait_settled(rig: &Rig) {
    let mut last = actions(rig);
    let mut since = Instant::now();
    eventually("nothing is left to do", || {
        let now = actions(rig);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        let state: Value = serde_json::from_str(&rig.admin("/debug/state").unwrap().body).unwrap();
        let quiet = state["counts"]["quiet"] == true && state["counts"]["unsettled"] == 0;
        // Longer than the time for removed servers and the quiet time before a save.
        ensure(quiet && since.elapsed() > Duration::from_millis(2_200), || format!("{state}"))
    });
}

/// What runs is adopted by looking at it, and by nothing else.
fn adoption(rig: &mut Rig, traffic: &Traffic) {
    wait_settled(rig);
    let worker = rig.worker_pid();
    rig.kill();
    traffic.pass(30);
    rig.start();
    wait_settled(rig);
    let done = actions(rig);
    let others = done.iter().filter(|(name, count)| *name != "read-back" && **count > 0);
    let others: Vec<_> = others.collect();
    assert!(others.is_empty(), "adoption needs nothing but a read-back: {done:?}\n{}", rig.tail());
    assert_eq!(starts(rig), 0, "{:?}", rig.reloads());
    assert_eq!(rig.worker_pid(), worker, "the worker is the same");
}

/// A clean stop leaves an HAProxy alone that somebody else started.
fn stopped(rig: &mut Rig, traffic: &Traffic) {
    let worker = rig.worker_pid();
    let begin = Instant::now();
    rig.stop();
    assert!(begin.elapsed() < Duration::from_secs(4), "stopping took {:?}", begin.elapsed());
    traffic.pass(30);
    assert_eq!(rig.worker_pid(), worker);
    rig.put("meanwhile", &[ingress("meanwhile").all("meanwhile.test", "blog").into()]);
    rig.start();
    rig.wait("meanwhile.test", "/", 200, "blog");
    assert_eq!((starts(rig), rig.worker_pid()), (0, worker));
}

/// Right again within a second of its return, also what the files did not have yet.
fn killed(rig: &Rig, version: &str, sidecar: &mut Sidecar) {
    wait_settled(rig);
    rig.put("late", &[ingress("late").all("late.test", "blog").into()]);
    rig.wait("late.test", "/", 200, "blog");
    sidecar.kill(rig);
    *sidecar = Sidecar::start(rig, version);
    let back = eventually("HAProxy is back", || {
        let answer = rig.get("shop.test", "/")?;
        ensure(answer.status == 200, || format!("{}", answer.status))?;
        Ok(Instant::now())
    });
    rig.wait("late.test", "/", 200, "blog");
    let right = back.elapsed();
    println!("HAProxy {version}: right {right:?} after its return");
    assert!(right < Duration::from_secs(1), "right only {right:?} after the return");
    wait_settled(rig);
}

/// What changes while HAProxy is away is there when it is back.
fn away(rig: &Rig, version: &str, sidecar: &mut Sidecar) {
    sidecar.soft_stop(rig);
    eventually("readiness says that nobody serves", || {
        let answer = rig.admin("/readyz").map_err(|error| error.to_string())?;
        ensure(answer.status == 503, || answer.line.clone())
    });
    rig.put("back", &[ingress("back").all("back.test", "blog").into()]);
    rig.remove("late");
    std::thread::sleep(Duration::from_millis(1500));
    *sidecar = Sidecar::start(rig, version);
    rig.wait("back.test", "/", 200, "blog");
    rig.wait("late.test", "/", 404, "");
    rig.wait("shop.test", "/", 200, "shop");
    wait_settled(rig);
}

/// HAProxy starts from the last good files when there is no controller.
fn both(rig: &mut Rig, version: &str, sidecar: &mut Sidecar) {
    wait_settled(rig);
    rig.kill();
    sidecar.kill(rig);
    *sidecar = Sidecar::start(rig, version);
    rig.wait("back.test", "/", 200, "blog");
    rig.start();
    rig.wait("back.test", "/", 200, "blog");
    assert_eq!(starts(rig), 0, "adopted: {:?}", rig.reloads());
}

fn replay(rig: &mut Rig) {
    rig.stop();
    let journal = rig.path("journal");
    let output = rig.verb(&["replay", journal.to_str().unwrap()]);
    let (text, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {text}{errors}", output.status);
}

/// The sidecar's image is exchanged for another version and back, with a tidegate that has no
/// HAProxy of its own to ask.
fn exchanged(version: &'static str, shop: &[Pod]) {
    let other = if version == "3.4" { "2.6" } else { "3.4" };
    let mut rig = rig(version).binary("/nonexistent");
    let mut objects = classes();
    objects.extend(app("shop", &[&shop[0]]));
    objects.push(ingress("shop").all("shop.test", "shop").into());
    rig.put("base", &objects);
    rig.spawn();
    let mut sidecar = Sidecar::start(&rig, version);
    rig.wait_ready();
    rig.wait("shop.test", "/", 200, "shop");
    for (turn, next) in [other, version].into_iter().enumerate() {
        wait_settled(&rig);
        sidecar.soft_stop(&rig);
        sidecar = Sidecar::start(&rig, next);
        rig.wait("shop.test", "/", 200, "shop");
        let pod = &shop[turn + 1];
        rig.put("slice", &[slice("shop", &[pod])]);
        objects.retain(|object| object["kind"] != "EndpointSlice");
        rig.put("base", &objects);
        eventually(&format!("a change on {next} that was {version}"), || {
            let answer = rig.get("shop.test", "/")?;
            ensure(answer.name() == pod.name, || answer.name().to_owned())
        });
        eventually("the version is known", || {
            let body = rig.admin("/debug/state").unwrap().body;
            let state: Value = serde_json::from_str(&body).unwrap();
            let known = state["counts"]["haproxy"].as_str().unwrap_or("");
            ensure(known.starts_with(next), || format!("{known} is not {next}"))
        });
        // Without a binary, by asking the worker.
        http_3(&rig, next);
    }
    drop(sidecar);
}
