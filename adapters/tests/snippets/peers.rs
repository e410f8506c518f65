//! Rate limits by header, and shared by replicas.

use super::*;

fn statuses(rig: &Rig, host: &str, key: Option<&str>, count: usize) -> Vec<u16> {
    let request = Request::get(host, "/");
    let request = key.iter().fold(request, |request, key| request.header("x-api-key", key));
    (0..count).map(|_| rig.ask(&request).unwrap().status).collect()
}

pub fn by_header(stage: &Stage) {
    let rig = &stage.rig;
    let limit = [
        ("rate-limit-requests", "2"),
        ("rate-limit-period", "1h"),
        ("rate-limit-status-code", "429"),
    ];
    let key = ("rate-limit-key", "header X-Api-Key");
    rig.put(
        "keys",
        &[
            route("keyed", &[limit[0], limit[1], limit[2], key]),
            route("keyed-bad", &[limit[0], limit[1], limit[2], ("rate-limit-key", "cookie x")]),
        ],
    );
    rig.wait("keyed.test", "/", 200, "app");
    assert_eq!(statuses(rig, "keyed.test", Some("one"), 3), [200, 200, 429]);
    assert_eq!(statuses(rig, "keyed.test", Some("two"), 3), [200, 200, 429], "each value");
    let long = "x".repeat(500);
    assert_eq!(statuses(rig, "keyed.test", Some(&long), 3), [200, 200, 429], "a long one");
    assert_eq!(statuses(rig, "keyed.test", Some(&format!("{long}y")), 1), [200], "beyond 64 bytes");
    // Whoever waited above had none, and is counted by address.
    assert_eq!(statuses(rig, "keyed.test", None, 2).last(), Some(&429), "without header");
    rig.wait_problem(&["BadValue", "\"name\":\"keyed-bad\""]);
    rig.remove("keys");
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Two replicas with one table; a third comes, and costs a reload that says so.
pub fn shared(version: &'static str, pod: &Pod) {
    let (one, two) = (free_port(), free_port());
    let replica = |own: u16, other: u16| {
        let own = format!("--peer-address=127.0.0.1:{own}");
        let other = format!("--peers=127.0.0.1:{other}");
        let service = "--peers-service=test/replicas";
        let mut rig = Rig::new(version).arguments(&[&own, &other, service]);
        let mut objects = classes();
        objects.extend(app("app", &[pod]));
        let limit = [("rate-limit-requests", "5"), ("rate-limit-period", "1h")];
        objects.push(route("shared", &limit));
        objects.push(ingress("plain").all("plain.test", "app").into());
        rig.put("base", &objects);
        rig.start();
        rig.wait("plain.test", "/", 200, "app");
        rig
    };
    let (a, b) = (replica(one, two), replica(two, one));
    eventually("the replicas are connected", || {
        let peers = a.worker("show peers").map_err(|error| error.to_string())?;
        ensure(peers.matches("ESTA").count() > 0, || peers)
    });
    // The first five go through one of them; the other one knows of it.
    assert_eq!(statuses(&a, "shared.test", None, 5), [200; 5]);
    eventually("the other replica has counted too", || {
        let table = b.worker("show table tidegate-rate-1h").map_err(|error| error.to_string())?;
        ensure(table.contains("http_req_rate(3600000)=5"), || table)
    });
    assert_eq!(statuses(&b, "shared.test", None, 1), [403]);
    let slice = common::manifest::slice_of(
        "replicas-1",
        "replicas",
        json!([{"name": "http", "port": 80, "protocol": "TCP"}]),
        vec![common::manifest::endpoint([127, 0, 0, 3].into(), json!({"ready": true}))],
    );
    a.put("replicas", &[common::manifest::service("replicas"), slice]);
    eventually("a reload for the third", || {
        let reasons = a.reload_reasons().join("\n");
        ensure(reasons.contains(&format!("peer 127.0.0.3:{one} is new")), || reasons)
    });
    eventually("what was counted is there after it", || {
        let table = a.worker("show table tidegate-rate-1h").map_err(|error| error.to_string())?;
        ensure(table.contains("http_req_rate(3600000)="), || table)
    });
    a.wait("shared.test", "/", 403, "");
}
