//! Who the client is, and how much it may ask.

use super::*;

pub fn source(stage: &Stage) {
    let rig = &stage.rig;
    let header = ("src-ip-header", "X-Real-IP");
    routes(
        stage,
        "source",
        &[
            ("source", "app", &[header, ("deny-list", "203.0.113.0/24, 2001:db8::/32")]),
            ("source-bad", "app", &[("src-ip-header", "X Real")]),
        ],
    );
    rig.wait("source.test", "/", 200, "app");
    for (values, status) in [
        (&["203.0.113.9"][..], 403),
        (&["2001:db8::7"], 403),
        (&["192.0.2.1"], 200),
        (&["192.0.2.1, 203.0.113.9"], 403),
        (&["203.0.113.9, 192.0.2.1"], 200),
        (&["192.0.2.1", "203.0.113.9"], 403),
        (&["203.0.113.9", "192.0.2.1"], 200),
        (&["nonsense"], 200),
        (&[""], 200),
    ] {
        let request = Request::get("source.test", "/").header("X-Other", "203.0.113.9");
        let request = values.iter().fold(request, |r, value| r.header("x-real-ip", value));
        assert_eq!(rig.ask(&request).unwrap().status, status, "{values:?}");
    }
    let request = Request::get("source.test", "/").header("x-real-ip", "192.0.2.1");
    let answer = rig.ask(&request).unwrap();
    assert_eq!(answer.seen("x-forwarded-for"), Some("192.0.2.1"));
    rig.wait("source-bad.test", "/", 503, "");
    rig.wait_problem(&["FailedClosed", "\"name\":\"source-bad\""]);
}

/// Statuses of some requests in a row.
fn statuses(stage: &Stage, host: &str, client: &str, count: usize) -> Vec<u16> {
    let request = Request::get(host, "/").header("x-real-ip", client);
    (0..count).map(|_| stage.rig.ask(&request).unwrap().status).collect()
}

pub fn rates(stage: &Stage) {
    let rig = &stage.rig;
    let header = ("src-ip-header", "X-Real-IP");
    let limit: &[(&str, &str)] = &[
        header,
        ("rate-limit-requests", "3"),
        ("rate-limit-period", "1h"),
        ("rate-limit-status-code", "429"),
        ("rate-limit-allow-list", "192.0.2.0/24"),
    ];
    routes(
        stage,
        "rates",
        &[
            ("rate", "app", limit),
            ("rate-other", "app", limit),
            ("rate-second", "app", &[header, ("rate-limit-requests", "2")]),
            ("rate-bad", "app", &[("rate-limit-requests", "many")]),
            ("rate-bad-period", "app", &[limit[1], ("rate-limit-period", "soon")]),
        ],
    );
    // Whoever waits is counted as well, so it comes from an address of its own.
    for host in ["rate.test", "rate-other.test", "rate-second.test"] {
        rig.wait(host, "/missing", 200, "app");
    }
    assert_eq!(statuses(stage, "rate.test", "203.0.113.1", 5), [200, 200, 200, 429, 429]);
    assert_eq!(statuses(stage, "rate.test", "203.0.113.2", 4), [200, 200, 200, 429], "each client");
    assert_eq!(statuses(stage, "rate.test", "2001:db8::1", 4), [200, 200, 200, 429], "IPv6");
    assert_eq!(statuses(stage, "rate-other.test", "203.0.113.1", 1), [200], "each Ingress");
    assert_eq!(statuses(stage, "rate.test", "192.0.2.7", 8), [200; 8], "the allow list");
    let before: u64 = stage.pods.iter().map(Pod::requests).sum();
    assert_eq!(statuses(stage, "rate.test", "203.0.113.1", 1), [429]);
    let after: u64 = stage.pods.iter().map(Pod::requests).sum();
    assert_eq!(before, after, "no pod was asked");
    // Within one second; more often than not more than two fit.
    let codes = statuses(stage, "rate-second.test", "203.0.113.3", 40);
    assert!(codes.contains(&403) && codes[..2] == [200, 200], "{codes:?}");
    // The passing of time itself is what is tested: who goes on asking is counted.
    std::thread::sleep(Duration::from_millis(2_200));
    assert_eq!(statuses(stage, "rate-second.test", "203.0.113.3", 1), [200], "the second is over");
    for name in ["rate-bad", "rate-bad-period"] {
        rig.wait(&format!("{name}.test"), "/", 503, "");
        rig.wait_problem(&["FailedClosed", &format!("\"name\":\"{name}\"")]);
    }
    // The limit is raised, and the change is live; what was counted counts on.
    routes(
        stage,
        "rates",
        &[("rate", "app", &[header, ("rate-limit-requests", "100"), ("rate-limit-period", "1h")])],
    );
    eventually("the limit is raised", || {
        let code = statuses(stage, "rate.test", "203.0.113.1", 1);
        ensure(code == [200], || format!("{code:?}"))
    });
}
