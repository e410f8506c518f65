//! Keys of the ConfigMap about HAProxy as a whole: logs, proxies in front, connections, the
//! process, the default backend. And what each of them costs: a reload if its row says so, and
//! none if it does not.

use super::*;
use common::pods::Manner;
use std::net::UdpSocket;
use tidegate_core::annotations::{
    Apply, Mechanism, affinity, connection, inert, logs, process, rate, timeouts as times,
};

/// Puts the ConfigMap in place and waits until it was taken in with so many reloads more, or none.
fn configure(stage: &Stage, data: &[(&str, &str)], reloads: u64) {
    let before = stage.rig.reload_count();
    stage.rig.put("config", &[config_map(data)]);
    if reloads > 0 {
        eventually(&format!("{data:?} reloads"), || {
            let now = stage.rig.reload_count();
            ensure(now >= before + reloads, || format!("{} reloads", now - before))
        });
    }
}

/// A request on a connection that begins with these bytes.
fn after(stage: &Stage, head: &str, host: &str) -> Result<Answer, String> {
    let ask = || {
        let mut connection = Connection::plain(stage.rig.http)?;
        connection.write(format!("{head}{}", Request::get(host, "/").text()).as_bytes())?;
        connection.answer(false)
    };
    ask().map_err(|error: std::io::Error| error.to_string())
}

/// Proxies in front; no version reloads for them.
pub fn proxies(stage: &Stage) {
    const V1: &str = "PROXY TCP4 203.0.113.9 10.0.0.1 4711 80\r\n";
    let before = stage.rig.reload_count();
    configure(stage, &[("proxy-protocol-from", "192.0.2.0/24, nonsense")], 0);
    stage.rig.wait_problem(&["BadValue", "data.proxy-protocol-from"]);
    let refused = after(stage, V1, "plain.test");
    assert!(refused.as_ref().map_or(true, |a| a.status == 400), "trusted by nobody: {refused:?}");
    configure(stage, &[("proxy-protocol", "127.0.0.0/8, 2001:db8::/32")], 0);
    eventually("the proxy is believed", || {
        let answer = after(stage, V1, "plain.test")?;
        ensure(answer.status == 200, || format!("{}", answer.status))?;
        let seen = answer.seen("x-forwarded-for");
        ensure(seen == Some("203.0.113.9"), || format!("{seen:?}"))
    });
    let without = after(stage, "", "plain.test");
    assert!(without.is_err(), "a proxy that does not say whose connection it is: {without:?}");
    configure(stage, &[], 0);
    stage.rig.wait("plain.test", "/", 200, "app");
    assert_eq!(stage.rig.reload_count(), before, "proxies are data");
}

/// The default backend of the ConfigMap.
pub fn fallback(stage: &Stage) {
    let rig = &stage.rig;
    rig.wait("nobody.test", "/", 404, "");
    for value in ["test/app", "test/app:8080"] {
        configure(stage, &[("default-backend-service", value)], 0);
        rig.wait("nobody.test", "/", 200, "app");
        rig.wait("plain.test", "/", 200, "app");
        configure(stage, &[], 0);
        rig.wait("nobody.test", "/", 404, "");
    }
    configure(stage, &[("default-backend-service", "app")], 0);
    rig.wait_problem(&["BadValue", "data.default-backend-service"]);
    configure(stage, &[("default-backend-service", "test/none")], 0);
    rig.wait_problem(&["NotFound", "test/none does not exist"]);
    configure(stage, &[], 0);
    rig.wait_no_problem("test/none");
}

/// The ConfigMap's own annotations count, after its data.
pub fn annotated(stage: &Stage) {
    let rig = &stage.rig;
    let mut config = config_map(&[("request-set-header", "X-From data")]);
    config["metadata"]["annotations"] = json!({
        "haproxy.org/request-set-header": "X-From annotation",
        "haproxy.org/response-set-header": "X-Also annotation",
    });
    rig.put("config", &[config]);
    eventually("both count", || {
        let answer = rig.get("plain.test", "/")?;
        let found = (answer.seen("x-from"), answer.header("x-also"));
        ensure(found == (Some("data"), Some("annotation")), || format!("{found:?}"))
    });
    rig.put("config", &[config_map(&[])]);
}

/// What arrives at a log target within a second and has this text.
fn logged(log: &UdpSocket, text: &str) -> Option<String> {
    log.set_read_timeout(Some(Duration::from_millis(1000))).unwrap();
    let mut buffer = [0; 9000];
    while let Ok(count) = log.recv(&mut buffer) {
        let line = String::from_utf8_lossy(&buffer[..count]).into_owned();
        if line.contains(text) {
            return Some(line);
        }
    }
    None
}

pub fn logs(stage: &Stage) {
    let rig = &stage.rig;
    let log = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target =
        format!("address:127.0.0.1, port:{}, facility:daemon", log.local_addr().unwrap().port());
    configure(stage, &[("syslog-server", &target)], 1);
    rig.wait("plain.test", "/", 200, "app");
    let line = eventually("a line in HAProxy's form", || {
        rig.get("plain.test", "/first")?;
        logged(&log, "GET /first HTTP/1.1").ok_or("no line".to_owned())
    });
    assert!(line.starts_with("<30>"), "daemon.info: {line}");
    // Captures are data.
    let before = rig.reload_count();
    let parts = "req.fhdr(User-Agent)\ncook(lang)\nhdr(X-List)\npath";
    routes(
        stage,
        "captures",
        &[
            ("captured", "app", &[("log-capture", parts), ("log-capture-length", "12")]),
            ("secrets", "app", &[("log-capture", "env(HOME)")]),
        ],
    );
    rig.wait("captured.test", "/", 200, "app");
    rig.wait("secrets.test", "/", 200, "app");
    rig.wait_problem(&["BadValue", "log-capture", "\"name\":\"secrets\""]);
    let request = Request::get("captured.test", "/second?q=1")
        .header("cookie", "a=b; lang=de; xlang=en")
        .header("x-list", "one, two");
    rig.ask(&request).unwrap();
    let line = logged(&log, "/second").expect("a line");
    assert!(line.contains("{tests/1|de|two|/second}"), "{line}");
    let long =
        Request::get("captured.test", "/third-and-long").header("x-list", "0123456789abcdef");
    rig.ask(&long).unwrap();
    let line = logged(&log, "/third").expect("a line");
    assert!(line.contains("|0123456789ab|/third-and-l}"), "cut at 12: {line}");
    rig.now("plain.test", "/fourth");
    assert!(logged(&log, "/fourth").expect("a line").contains(" {|||} "), "nothing captured");
    assert_eq!(rig.reload_count(), before, "captures are data");
    // Forms of lines.
    let form = "it's \"%HM\" \\n %{+Q}r $HOME %b";
    configure(stage, &[("syslog-server", &target), ("log-format", form)], 1);
    eventually("the form holds", || {
        rig.get("plain.test", "/fifth")?;
        let line = logged(&log, "/fifth").ok_or("no line")?;
        let wanted = "it's \"GET\" \\n \"GET /fifth HTTP/1.1\" $HOME ";
        ensure(line.contains(wanted), || line)
    });
    // One that HAProxy refuses is set aside, and only it.
    let new = ("request-set-header", "X-New yes");
    let bad = ("log-format", "%nonsense");
    let before = rig.reload_count();
    configure(stage, &[("log-target", &target), bad, new, ("logasap", "true")], 0);
    rig.wait_problem(&["Refused", "data.log-format", "nonsense"]);
    eventually("the rest goes on", || {
        let answer = rig.get("plain.test", "/sixth")?;
        ensure(answer.seen("x-new") == Some("yes"), || "no X-New".to_owned())?;
        let now = rig.reload_count();
        ensure(now > before && rig.config().contains("option logasap"), || "no reload".to_owned())
    });
    assert!(logged(&log, "\"GET /sixth HTTP/1.1\"").is_some(), "HAProxy's own form again");
    configure(stage, &[("log-target", &target), ("log-format", "fine %r")], 1);
    rig.wait_no_problem("data.log-format");
    eventually("the mended form holds", || {
        rig.get("plain.test", "/seventh")?;
        logged(&log, "fine GET /seventh").map(|_| ()).ok_or("no line".to_owned())
    });
    configure(stage, &[], 1);
}

pub fn connections(stage: &Stage) {
    let rig = &stage.rig;
    let pod = Pod::start("kept");
    rig.put("kept", &app("kept", &[&pod]));
    routes(stage, "kept-routes", &[("kept", "kept", &[])]);
    rig.wait("kept.test", "/", 200, "kept");
    // Connections to the pod, and whether the client's is closed, after four requests.
    let four = |what: &str| {
        let before = pod.inside.connections.load(Ordering::SeqCst);
        let mut client = Connection::plain(rig.http).unwrap();
        let mut closes = false;
        for _ in 0..4 {
            if closes {
                client = Connection::plain(rig.http).unwrap();
            }
            let answer = client.ask(&Request::get("kept.test", "/")).unwrap();
            assert_eq!(answer.status, 200, "{what}");
            closes = answer.closes();
        }
        (pod.inside.connections.load(Ordering::SeqCst) - before, closes)
    };
    eventually("connections are kept", || {
        let (opened, closes) = four("kept");
        ensure(opened <= 1 && !closes, || format!("{opened} connections, {closes}"))
    });
    for (key, value, client_closes) in [
        ("http-connection-mode", "http-server-close", false),
        ("http-connection-mode", "httpclose", true),
        ("http-server-close", "true", false),
    ] {
        configure(stage, &[(key, value)], 1);
        eventually(&format!("{key} {value}"), || {
            let found = four(value);
            ensure(found == (4, client_closes), || format!("{found:?}"))
        });
    }
    let both = [("http-server-close", "true"), ("http-connection-mode", "http-keep-alive")];
    configure(stage, &both, 1);
    eventually("the present form comes before the deprecated one", || {
        let found = four("both");
        ensure(found.0 <= 1 && !found.1, || format!("{found:?}"))
    });
    configure(stage, &[("http-keep-alive", "false")], 1);
    rig.wait_problem(&["NotSupported", "data.http-keep-alive", "info"]);
    configure(stage, &[], 0);
}

/// A client that leaves the queue.
pub fn abortion(stage: &Stage) {
    let rig = &stage.rig;
    for (value, reaches) in [("true", false), ("false", true)] {
        configure(stage, &[("abortonclose", value)], 1);
        let pod = Pod::start("queue");
        rig.put("queue", &app("queue", &[&pod]));
        routes(stage, "queue-routes", &[("queue", "queue", &[("pod-maxconn", "1")])]);
        rig.wait("queue.test", "/", 200, "queue");
        let before = pod.inside.requests.load(Ordering::SeqCst);
        let http = rig.http;
        let first = std::thread::spawn(move || {
            Connection::plain(http)?.ask(&Request::get("queue.test", "/?delay=1200"))
        });
        eventually("the pod is busy", || {
            ensure(pod.inside.busy.load(Ordering::SeqCst) == 1, || "not busy".to_owned())
        });
        let mut second = Connection::plain(rig.http).unwrap();
        second.write(Request::get("queue.test", "/").text().as_bytes()).unwrap();
        eventually("the second waits in the queue", || {
            let stat = rig.worker("show stat").map_err(|e| e.to_string())?;
            let waits = stat.lines().any(|line| {
                let mut fields = line.split(',').skip(1);
                fields.next() == Some("BACKEND") && fields.next().is_some_and(|n| n == "1")
            });
            ensure(waits, || "nobody waits".to_owned())
        });
        drop(second);
        assert_eq!(first.join().unwrap().unwrap().status, 200);
        let third = rig.now("queue.test", "/").status;
        assert_eq!(third, 200);
        let reached = pod.inside.requests.load(Ordering::SeqCst) - before;
        assert_eq!(reached, if reaches { 3 } else { 2 }, "abortonclose {value}");
        rig.remove("queue-routes");
        rig.remove("queue");
        rig.wait("queue.test", "/", 404, "");
    }
    configure(stage, &[], 1);
}

pub fn process(stage: &Stage) {
    let rig = &stage.rig;
    configure(stage, &[("maxconn", "777"), ("nbthread", "1"), ("hard-stop-after", "90s")], 1);
    eventually("the process is another", || {
        let info = rig.worker("show info").map_err(|error| error.to_string())?;
        let has = |line: &str| info.lines().any(|found| found == line);
        ensure(has("Maxconn: 777") && has("Nbthread: 1"), || info.clone())
    });
    assert!(rig.config().contains("hard-stop-after 90s"));
    // More than the open files allow would be a HAProxy that does not start.
    let before = rig.reload_count();
    configure(stage, &[("maxconn", "9000000"), ("threads", "2")], 1);
    rig.wait_problem(&["LimitExceeded", "data.maxconn"]);
    rig.wait("plain.test", "/", 200, "app");
    assert!(!rig.config().contains("9000000"), "after {before} reloads");
    // What remains is what the flags say, which is the same.
    configure(stage, &[("threads", "65"), ("hard-stop-after", "1ms")], 0);
    rig.wait_problem(&["BadValue", "data.threads"]);
    rig.wait_problem(&["BadValue", "data.hard-stop-after"]);
    configure(stage, &[], 0);
}

/// The timeouts that are the same for all, or were before HAProxy could tell routes apart.
pub fn timeouts(stage: &Stage) {
    let rig = &stage.rig;
    let pod = Pod::start("slow-check");
    pod.behave(Manner::Hangs);
    rig.put("slow-check", &app("slow-check", &[&pod]));
    let checked: &[(&str, &str)] =
        &[("check", "true"), ("check-http", "GET /healthz"), ("check-interval", "100ms")];
    let data = [
        ("timeout-check", "100ms"),
        ("timeout-client-fin", "3s"),
        ("timeout-server-fin", "4s"),
        ("timeout-connect", "1500ms"),
        ("timeout-queue", "7s"),
        ("timeout-client", "50s"),
    ];
    configure(stage, &data, 1);
    let begin = Instant::now();
    routes(stage, "slow-check-routes", &[("slow-check", "slow-check", checked)]);
    eventually("the pod is down", || {
        let stat = rig.worker("show stat").map_err(|error| error.to_string())?;
        ensure(stat.contains(",DOWN,"), || "it is up".to_owned())
    });
    // Three failed checks; with the default of 2s they take 6s.
    assert!(begin.elapsed() < Duration::from_secs(5), "timeout-check: {:?}", begin.elapsed());
    rig.wait("slow-check.test", "/", 503, "");
    let config = rig.config();
    for line in ["timeout client-fin 3000ms", "timeout server-fin 4000ms", "timeout check 100ms"] {
        assert!(config.contains(line), "{line}");
    }
    let is_static = |line: &str| config.contains(&format!("  {line}\n"));
    let by_route = rig.version == "3.4";
    assert_eq!(is_static("timeout connect 1500ms"), !by_route, "timeout-connect");
    assert_eq!(is_static("timeout queue 7000ms"), !by_route, "timeout-queue");
    assert_eq!(is_static("timeout client 50000ms"), rig.version == "2.6", "timeout-client");
    assert!(!rig.problems().iter().any(|p| p.to_string().contains("data.timeout")), "problems");
    rig.remove("slow-check-routes");
    rig.remove("slow-check");
    configure(stage, &[], 1);
}

/// Every key that stands in the ConfigMap alone does what its row says: a reload, or none.
pub fn costs(stage: &Stage) {
    let rig = &stage.rig;
    // Keys that need other objects have scenarios of their own.
    let families = [
        logs::FAMILY,
        connection::FAMILY,
        process::FAMILY,
        times::FAMILY,
        rate::FAMILY,
        affinity::FAMILY,
        inert::FAMILY,
    ];
    let rows = families.iter().flat_map(|family| family.keys);
    for row in rows.filter(|row| row.scopes == Scopes::C) {
        let is_static = row.mechanism == Mechanism::Skeleton;
        let listed = matches!(row.apply, Apply::Skeleton(_) | Apply::Inert(_) | Apply::Judged(_));
        // Lists of proxies shut this test out; their scenario counts.
        if !listed {
            continue;
        }
        let before = rig.reload_count();
        // A form of lines does nothing without lines.
        let is_form = row.key.starts_with("log-format");
        let target = if is_form { "address:127.0.0.1" } else { "" };
        let data: Vec<(&str, &str)> = [(row.key, row.example), ("log-target", target)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        configure(stage, &data, u64::from(is_static));
        // A marker that is data shows that the ConfigMap was taken in.
        let marked: Vec<_> =
            data.into_iter().chain([("response-set-header", "X-Seen yes")]).collect();
        rig.put("config", &[config_map(&marked)]);
        eventually(&format!("{} is in force", row.key), || {
            let answer = rig.get("plain.test", "/")?;
            ensure(answer.header("x-seen") == Some("yes"), || format!("{answer:?}"))
        });
        let count = rig.reload_count() - before;
        if rig.version == "3.4" || is_static {
            assert_eq!(count > 0, is_static, "{}: {count} reloads", row.key);
        }
        let told = rig.problems();
        let about = format!("data.{}", row.key);
        let bad = |p: &&Value| p["reason"] == "BadValue" && p.to_string().contains(&about);
        assert!(!told.iter().any(|p| bad(&p)), "{told:?}");
        configure(stage, &[], u64::from(is_static));
        eventually(&format!("{} is gone", row.key), || {
            let answer = rig.get("plain.test", "/")?;
            ensure(answer.header("x-seen").is_none(), || format!("{answer:?}"))
        });
    }
}
