//! Error files and pattern files.

use super::*;

const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\nContent-Type: text/html\n\n<p>nothing here</p>\n";
const UNAVAILABLE: &str = "HTTP/1.1 503 Gone Fishing\nRetry-After: 9\n\nback soon\n";

pub fn errors(stage: &Stage) {
    let rig = &stage.rig;
    rig.wait_problem(&["NotFound", "\"name\":\"errors\"", "--configmap-errorfiles"]);
    let teapot = ("418", "HTTP/1.1 418 Teapot\n\n");
    rig.put("errors", &[map("errors", &[("404", NOT_FOUND), ("503", UNAVAILABLE), teapot])]);
    rig.wait_problem(&["BadValue", "data.418", "\"name\":\"errors\""]);
    rig.wait_no_problem("--configmap-errorfiles");
    let body_of = |host: &str, body: &str| {
        eventually(&format!("the answer of {host}"), || {
            let answer = rig.get(host, "/")?;
            ensure(answer.body == body, || format!("{} {}", answer.status, answer.body))?;
            Ok(answer)
        })
    };
    let answer = body_of("nobody.test", "<p>nothing here</p>\n");
    assert_eq!((answer.status, answer.header("content-type")), (404, Some("text/html")));
    // A backend that comes at run time has them too; HAProxy makes this answer by itself.
    rig.put(
        "empty",
        &[common::manifest::service("empty"), {
            ingress("empty").all("empty.test", "empty").into()
        }],
    );
    let answer = body_of("empty.test", "back soon\n");
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("9")));
    // And the one that tidegate makes.
    rig.put("closed", &[route("closed", &[("allow-list", "nonsense")])]);
    body_of("closed.test", "back soon\n");
    rig.wait("plain.test", "/", 200, "app");
    let reasons = rig.reload_reasons().join("\n");
    assert!(reasons.contains("error file 404, 503"), "{reasons}");
    let before = settled_reloads(rig);
    rig.put("errors", &[map("errors", &[("503", UNAVAILABLE), teapot])]);
    body_of("nobody.test", "no route for this host and path\n");
    reloads_are(rig, before + 1);
    rig.remove("empty");
    rig.remove("closed");
}

/// The status for a client with this address.
fn status(stage: &Stage, host: &str, client: &str) -> Result<u16, String> {
    let request = Request::get(host, "/").header("x-real-ip", client);
    Ok(stage.rig.ask(&request)?.status)
}

fn wait_status(stage: &Stage, host: &str, client: &str, wanted: u16) -> Duration {
    let begin = Instant::now();
    eventually_within(Duration::from_secs(60), &format!("{client} at {host}: {wanted}"), || {
        let status = status(stage, host, client)?;
        ensure(status == wanted, || format!("{status}"))
    });
    begin.elapsed()
}

pub fn patterns(stage: &Stage) {
    let rig = &stage.rig;
    let header = ("src-ip-header", "X-Real-IP");
    let limit = ("rate-limit-requests", "1");
    let period = ("rate-limit-period", "1h");
    rig.put(
        "lists",
        &[
            route("allowed", &[header, ("allow-list", "patterns/office, 192.0.2.7")]),
            route("denied", &[header, ("deny-list", "patterns/office")]),
            route("free", &[header, limit, period, ("rate-limit-allow-list", "patterns/office")]),
            route("unreadable", &[header, ("deny-list", "patterns/words")]),
        ],
    );
    for name in ["allowed", "denied", "unreadable"] {
        wait_status(stage, &format!("{name}.test"), "203.0.113.1", 503);
        rig.wait_problem(&["FailedClosed", &format!("\"name\":\"{name}\"")]);
    }
    let office = "# the office\n203.0.113.0/24\n\n2001:db8::/32 # and over IPv6\n";
    rig.put("patterns", &[map("patterns", &[("office", office), ("words", "not a network\n")])]);
    wait_status(stage, "allowed.test", "203.0.113.1", 200);
    wait_status(stage, "denied.test", "203.0.113.1", 403);
    assert_eq!(status(stage, "allowed.test", "192.0.2.7"), Ok(200));
    assert_eq!(status(stage, "allowed.test", "2001:db8::9"), Ok(200));
    assert_eq!(status(stage, "allowed.test", "192.0.2.8"), Ok(403));
    assert_eq!(status(stage, "denied.test", "192.0.2.8"), Ok(200));
    for (client, last) in [("203.0.113.9", 200), ("192.0.2.8", 403)] {
        assert_eq!(status(stage, "free.test", client), Ok(200));
        assert_eq!(status(stage, "free.test", client), Ok(last), "{client}");
    }
    rig.wait_problem(&["FailedClosed", "\"name\":\"unreadable\"", "not a network"]);
    assert_eq!(status(stage, "unreadable.test", "203.0.113.1"), Ok(503));
    // The file changes, and the routes do not.
    rig.put("patterns", &[map("patterns", &[("office", "198.51.100.0/24\n")])]);
    wait_status(stage, "allowed.test", "203.0.113.1", 403);
    wait_status(stage, "denied.test", "203.0.113.1", 200);
    assert_eq!(status(stage, "allowed.test", "198.51.100.1"), Ok(200));
    // It goes, and nobody gets in.
    rig.put("patterns", &[map("patterns", &[])]);
    wait_status(stage, "allowed.test", "198.51.100.1", 503);
    wait_status(stage, "denied.test", "198.51.100.1", 503);
    rig.remove("lists");
    rig.remove("patterns");
}

/// Longest time a request took while something happens.
fn slowest(stage: &Stage, meanwhile: impl FnOnce()) -> Duration {
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asks = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let begin = Instant::now();
                assert_eq!(stage.rig.now("plain.test", "/").status, 200);
                slowest = slowest.max(begin.elapsed());
            }
            slowest
        });
        meanwhile();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        asks.join().unwrap()
    })
}

pub fn long_lists(stage: &Stage) {
    let rig = &stage.rig;
    let header = ("src-ip-header", "X-Real-IP");
    let addresses = (0..100_000_u32).map(|n| std::net::Ipv4Addr::from(0x0a00_0000 + n * 7));
    let long: String = addresses.map(|address| format!("{address}\n")).collect();
    rig.put("lists", &[route("long", &[header, ("deny-list", "patterns/long")])]);
    wait_status(stage, "long.test", "10.0.0.7", 503);
    rig.put("patterns", &[map("patterns", &[("long", "192.0.2.1\n")])]);
    wait_status(stage, "long.test", "10.0.0.7", 200);
    let reloads = settled_reloads(rig);
    let begin = Instant::now();
    let stall = slowest(stage, || {
        rig.put("patterns", &[map("patterns", &[("long", &long)])]);
        wait_status(stage, "long.test", "10.10.174.89", 403);
    });
    println!(
        "HAProxy {}: 100,000 networks ({} bytes) new in {:?}, slowest request {stall:?}",
        rig.version,
        long.len(),
        begin.elapsed()
    );
    for change in 1..=3_u8 {
        let new = format!("203.0.113.{change}");
        let text = format!("{long}{new}\n");
        let mut took = Duration::ZERO;
        let stall = slowest(stage, || {
            rig.put("patterns", &[map("patterns", &[("long", &text)])]);
            took = wait_status(stage, "long.test", &new, 403);
        });
        println!(
            "HAProxy {}: one network more after {took:?}, slowest request {stall:?}",
            rig.version
        );
        // The one before goes with the same change.
        if change > 1 {
            wait_status(stage, "long.test", &format!("203.0.113.{}", change - 1), 200);
        }
    }
    assert_eq!(rig.reload_count(), reloads, "{:?}", rig.reload_reasons());
    rig.remove("lists");
    rig.remove("patterns");
    eventually_within(Duration::from_secs(60), "the networks are gone from HAProxy", || {
        let map = rig.worker("show map maps/access.map").map_err(|error| error.to_string())?;
        ensure(map.lines().count() < 10, || format!("{} lines", map.lines().count()))
    });
}
