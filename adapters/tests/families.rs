//! Every annotation family by real requests on each HAProxy, every key's example, and what
//! happens when a key that protects something cannot be used.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::certs::{Authority, Issued};
use common::client::{self, Answer, Connection, Request};
use common::manifest::{
    Ingress, app, classes, config_map, ingress, secret, service, service_ports, slice,
};
use common::pods::{Pod, Speech};
use common::rig::Rig;
use common::{Scenarios, ensure, eventually};
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, crypto::ring};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tidegate_core::annotations::{Annotation, FAMILIES, HAPROXY_PREFIXES, Scopes};

on_each_haproxy!(families);

/// What the scenarios share. Everything but classes and Services comes while HAProxy runs.
struct Stage {
    rig: Rig,
    pods: Vec<Pod>,
    authority: Authority,
}

fn families(version: &'static str) {
    let mut rig = Rig::new(version);
    let pods = Pod::several("app", 3);
    let mut objects = classes();
    objects.extend(app("app", &pods.iter().collect::<Vec<_>>()));
    objects.push(ingress("plain").all("plain.test", "app").into());
    rig.put("base", &objects);
    rig.start();
    rig.wait("plain.test", "/", 200, "app");
    let stage = &Stage { rig, pods, authority: Authority::new() };
    let mut scenarios = Scenarios::new(version);
    scenarios.run("timeouts", || timeouts(stage));
    scenarios.run("timeouts of 3.0 and 3.4", || newer_timeouts(stage));
    scenarios.run("load balancing", || balance(stage));
    scenarios.run("connection limits", || limits(stage));
    scenarios.run("health checks", || checks(stage));
    scenarios.run("redirects", || redirects(stage));
    scenarios.run("path rewriting", || rewriting(stage));
    scenarios.run("headers", || headers(stage));
    scenarios.run("allow and deny lists", || access(stage));
    scenarios.run("lists that cannot be read", || broken_access(stage));
    scenarios.run("HTTP/2 to pods", || h2(stage));
    scenarios.run("TLS to pods", || tls(stage));
    scenarios.run("mutual TLS to pods", || mutual_tls(stage));
    scenarios.run("authorities that cannot be used", || broken_authority(stage));
    scenarios.run("precedence", || precedence(stage));
    scenarios.run("unknown keys", || unknown_keys(stage));
    scenarios.run("examples", || examples(stage));
    scenarios.run("no reloads", || stage.rig.assert_no_reloads_on_3_4("families"));
    scenarios.run("static timeouts", || static_timeouts(stage));
    scenarios.finish();
}

/// Puts a file of Ingresses, each for everything below `NAME.test`.
fn routes(stage: &Stage, file: &str, routes: &[(&str, &str, &[(&str, &str)])]) {
    let objects = routes.iter().map(|(name, service, annotations)| {
        let route = ingress(name).all(&format!("{name}.test"), service);
        annotations.iter().fold(route, |route, (key, value)| route.with(key, value)).into()
    });
    stage.rig.put(file, &objects.collect::<Vec<Value>>());
}

/// Time of a request with its status.
fn timed(stage: &Stage, request: &Request) -> (u16, Duration) {
    let begin = Instant::now();
    let answer = stage.rig.ask(request).unwrap();
    (answer.status, begin.elapsed())
}

fn timeouts(stage: &Stage) {
    routes(
        stage,
        "timeouts",
        &[
            ("t-server", "app", &[("timeout-server", "300ms")]),
            ("t-tunnel", "app", &[("timeout-tunnel", "400ms")]),
        ],
    );
    stage.rig.wait("t-server.test", "/", 200, "app");
    stage.rig.wait("t-tunnel.test", "/", 200, "app");
    let (status, after) = timed(stage, &Request::get("t-server.test", "/?delay=3000"));
    assert_eq!(status, 504, "timeout-server");
    assert!((250..1500).contains(&after.as_millis()), "timeout-server: {after:?}");
    let (status, _) = timed(stage, &Request::get("plain.test", "/?delay=700"));
    assert_eq!(status, 200, "without it");
    let mut tunnel = Connection::plain(stage.rig.http).unwrap();
    let request = Request::get("t-tunnel.test", "/").header("connection", "upgrade");
    let answer = tunnel.ask(&request.header("upgrade", "echo")).unwrap();
    assert_eq!(answer.status, 101, "{answer:?}");
    tunnel.write(b"there and back").unwrap();
    let mut back = [0; 14];
    let mut filled = 0;
    while filled < back.len() {
        filled += tunnel.read(&mut back[filled..]).unwrap();
    }
    assert_eq!(&back, b"there and back");
    let begin = Instant::now();
    let end = tunnel.read(&mut back);
    assert!(matches!(end, Ok(0) | Err(_)), "the tunnel is closed: {end:?}");
    let after = begin.elapsed();
    assert!((200..3000).contains(&after.as_millis()), "timeout-tunnel: {after:?}");
}

fn newer_timeouts(stage: &Stage) {
    let rig = &stage.rig;
    let full = full_pod();
    let slow = Pod::start("slow");
    let mut objects = app("slow", &[&slow]);
    objects.push(service("full"));
    objects.push(full.slice.clone());
    rig.put("newer-services", &objects);
    routes(
        stage,
        "newer",
        &[
            ("t-client", "app", &[("timeout-client", "300ms")]),
            ("t-connect", "full", &[("timeout-connect", "100ms")]),
            ("t-queue", "slow", &[("timeout-queue", "200ms"), ("pod-maxconn", "1")]),
        ],
    );
    rig.wait("t-client.test", "/", 200, "app");
    rig.wait("t-queue.test", "/", 200, "slow");
    let refused = |key: &str| rig.wait_problem(&[&format!("tidegate.io/{key}"), "HAProxy"]);
    if rig.version == "2.6" {
        refused("timeout-client");
    } else {
        let mut slow = Connection::plain(rig.http).unwrap();
        let begin = Instant::now();
        slow.write(b"POST / HTTP/1.1\r\nhost: t-client.test\r\ncontent-length: 5\r\n\r\nab")
            .unwrap();
        let answer = slow.answer(false);
        let after = begin.elapsed();
        assert!(after < Duration::from_secs(3), "timeout-client: {answer:?} after {after:?}");
        assert!(
            answer.as_ref().map_or(true, |a| matches!(a.status, 400 | 408)),
            "timeout-client: {answer:?}"
        );
    }
    if rig.version == "3.4" {
        let (status, after) = timed(stage, &Request::get("t-connect.test", "/"));
        assert_eq!(status, 503, "timeout-connect");
        // Four tries; with the default of 1 s they take 4 s.
        assert!(after < Duration::from_millis(2_500), "timeout-connect: {after:?}");
        let http = rig.http;
        let first = std::thread::spawn(move || {
            Connection::plain(http)?.ask(&Request::get("t-queue.test", "/?delay=2000"))
        });
        eventually("the pod is busy", || {
            let busy = slow.inside.busy.load(Ordering::SeqCst);
            ensure(busy == 1, || format!("{busy} requests"))
        });
        let (status, after) = timed(stage, &Request::get("t-queue.test", "/"));
        assert_eq!(status, 503, "timeout-queue");
        assert!(after < Duration::from_millis(1_500), "timeout-queue: {after:?}");
        assert_eq!(first.join().unwrap().unwrap().status, 200);
    } else {
        refused("timeout-connect");
        refused("timeout-queue");
    }
}

/// A "pod" whose queue of connections is full: the system drops what arrives.
struct Full {
    slice: Value,
    _listener: TcpListenerStd,
    _waiting: Vec<std::thread::JoinHandle<()>>,
}

type TcpListenerStd = tokio::net::TcpListener;

fn full_pod() -> Full {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 63, 0, 1), 0))).unwrap();
        socket.listen(1).unwrap()
    });
    let address = listener.local_addr().unwrap();
    let waiting = (0..4).map(|_| {
        std::thread::spawn(move || {
            let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5));
            if let Ok(mut stream) = stream {
                // Holds its place until the test is over.
                let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
                let _ = stream.read(&mut [0]);
            }
        })
    });
    let waiting = waiting.collect();
    // The listener keeps its registration; nobody polls it.
    std::mem::forget(runtime);
    let endpoint = common::manifest::endpoint(address.ip(), json!({"ready": true}));
    let ports = json!([{"name": "http", "port": address.port()}]);
    let slice = common::manifest::slice_of("full-1", "full", ports, vec![endpoint]);
    Full { slice, _listener: listener, _waiting: waiting }
}

/// How many of `count` requests each pod got.
fn spread(
    stage: &Stage,
    host: &str,
    count: u32,
    request: impl Fn(u32) -> Request,
) -> BTreeMap<String, u32> {
    let mut pods = BTreeMap::new();
    for number in 0..count {
        let answer = stage.rig.ask(&request(number)).unwrap();
        assert_eq!(answer.status, 200, "{host}");
        *pods.entry(answer.name().to_owned()).or_default() += 1;
    }
    pods
}

fn balance(stage: &Stage) {
    let algorithms = [
        ("roundrobin", "lb-roundrobin"),
        ("leastconn", "lb-leastconn"),
        ("random", "lb-random"),
        ("first", "lb-first"),
        ("source", "lb-source"),
        ("uri", "lb-uri"),
        ("hdr(X-User)", "lb-header"),
        ("url_param(uid)", "lb-parameter"),
    ];
    let objects = algorithms.map(|(algorithm, name)| -> Value {
        ingress(name).all(&format!("{name}.test"), "app").with("load-balance", algorithm).into()
    });
    stage.rig.put("balance", &objects);
    for (_, name) in algorithms {
        stage.rig.wait(&format!("{name}.test"), "/", 200, "app");
    }
    let count = |name: &str, request: &dyn Fn(u32) -> Request| {
        spread(stage, name, 30, |number| {
            let mut request = request(number);
            request.host = Some(format!("{name}.test"));
            request
        })
    };
    let same = |_| Request::get("", "/same");
    let pods = count("lb-roundrobin", &same);
    assert!(pods.len() == 3 && pods.values().all(|n| (8..=12).contains(n)), "roundrobin: {pods:?}");
    assert!(count("lb-leastconn", &same).len() > 1, "leastconn");
    assert!(count("lb-random", &same).len() > 1, "random");
    assert_eq!(count("lb-first", &same).len(), 1, "first");
    assert_eq!(count("lb-source", &same).len(), 1, "source");
    assert_eq!(count("lb-uri", &same).len(), 1, "uri, one path");
    assert!(count("lb-uri", &|n| Request::get("", &format!("/{n}"))).len() > 1, "uri, many paths");
    for (name, user) in [("lb-header", "x-user"), ("lb-header", "X-USER")] {
        for value in ["anna", "bert", "carl"] {
            let pods = count(name, &|n| Request::get("", &format!("/{n}")).header(user, value));
            assert_eq!(pods.len(), 1, "hdr: {user} {value}");
        }
    }
    let many =
        count("lb-header", &|n| Request::get("", "/").header("x-user", &format!("user-{n}")));
    assert!(many.len() > 1, "hdr, many users: {many:?}");
    let pods = count("lb-parameter", &|n| Request::get("", &format!("/{n}?a=b&uid=7&x={n}")));
    assert_eq!(pods.len(), 1, "url_param");
    let many = count("lb-parameter", &|n| Request::get("", &format!("/?uid={n}")));
    assert!(many.len() > 1, "url_param, many: {many:?}");
}

fn limits(stage: &Stage) {
    let pod = Pod::start("limited");
    stage.rig.put("limited", &app("limited", &[&pod]));
    routes(
        stage,
        "limits",
        &[
            ("maxconn", "limited", &[("pod-maxconn", "2")]),
            ("maxqueue", "limited", &[("pod-maxconn", "9"), ("pod-maxqueue", "7")]),
        ],
    );
    stage.rig.wait("maxconn.test", "/", 200, "limited");
    stage.rig.wait("maxqueue.test", "/", 200, "limited");
    let port = stage.rig.http;
    let ask = || {
        std::thread::spawn(move || {
            Connection::plain(port)?.ask(&Request::get("maxconn.test", "/?delay=150"))
        })
    };
    let threads: Vec<_> = (0..8).map(|_| ask()).collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap().unwrap().status, 200, "those over the limit wait");
    }
    let most = pod.inside.busiest.load(Ordering::SeqCst);
    assert_eq!(most, 2, "requests at once with pod-maxconn 2");
    eventually("the file has the limit", || {
        let config = stage.rig.config();
        ensure(config.contains("maxqueue 7"), || "no maxqueue 7".to_owned())
    });
}

fn checks(stage: &Stage) {
    let pods = Pod::several("checked", 2);
    pods[0].inside.sick.store(true, Ordering::SeqCst);
    stage.rig.put("checked", &app("checked", &pods.iter().collect::<Vec<_>>()));
    routes(
        stage,
        "checks",
        &[
            (
                "check-http",
                "checked",
                &[("check", "true"), ("check-http", "GET /healthz"), ("check-interval", "100ms")],
            ),
            ("check-tcp", "checked", &[("check", "true"), ("check-interval", "100ms")]),
        ],
    );
    let names = |host: &str| -> Result<BTreeSet<String>, String> {
        let answers: Result<Vec<Answer>, String> =
            (0..8).map(|_| stage.rig.get(host, "/")).collect();
        let answers = answers?;
        ensure(answers.iter().all(|a| a.status == 200), || "not all are 200".to_owned())?;
        Ok(answers.iter().map(|a| a.name().to_owned()).collect())
    };
    eventually("the sick pod gets nothing", || {
        let names = names("check-http.test")?;
        ensure(names == BTreeSet::from([pods[1].name.clone()]), || format!("{names:?}"))
    });
    eventually("a TCP check is content", || {
        let names = names("check-tcp.test")?;
        ensure(names.len() == 2, || format!("{names:?}"))
    });
    pods[0].inside.sick.store(false, Ordering::SeqCst);
    let before = pods[0].inside.checks.load(Ordering::SeqCst);
    let begin = Instant::now();
    eventually("the pod is well again", || {
        let names = names("check-http.test")?;
        ensure(names.len() == 2, || format!("{names:?}"))
    });
    eventually("checks go on", || {
        let now = pods[0].inside.checks.load(Ordering::SeqCst);
        ensure(now >= before + 5, || format!("{} checks", now - before))
    });
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "check-interval 100ms: {:?}",
        begin.elapsed()
    );
    // Checks end with what asked for them.
    stage.rig.remove("checks");
    stage.rig.wait("check-http.test", "/", 404, "");
}

fn redirects(stage: &Stage) {
    let authority = &stage.authority;
    let certificate = authority.issue(&["to-https.test"]);
    stage.rig.put("redirect-secret", &[certificate.secret("to-https")]);
    let https = ingress("to-https")
        .all("to-https.test", "app")
        .tls(&["to-https.test"], "to-https")
        .with("ssl-redirect", "true");
    let code = https.clone().with("ssl-redirect-code", "308").with("ssl-redirect-port", "8443");
    let rename = |route: Ingress, name: &str| -> Value {
        let mut value = Value::from(route);
        value["metadata"]["name"] = json!(name);
        value["spec"]["rules"][0]["host"] = json!(format!("{name}.test"));
        value
    };
    let mut objects = vec![https.into(), rename(code, "to-https-308")];
    for (name, to, code) in [
        ("to-host", "www.example.com", "302"),
        ("to-port", "www.example.com:8443", "301"),
        ("to-scheme", "https://www.example.com", "303"),
        ("to-307", "http://other.example.com:81", "307"),
    ] {
        let route = ingress(name).all(&format!("{name}.test"), "app").with("request-redirect", to);
        objects.push(route.with("request-redirect-code", code).into());
    }
    stage.rig.put("redirects", &objects);
    let rows = [
        ("to-https.test", 302, "https://to-https.test/a/b?c=d"),
        ("to-https-308.test", 308, "https://to-https-308.test:8443/a/b?c=d"),
        ("to-host.test", 302, "http://www.example.com/a/b?c=d"),
        ("to-port.test", 301, "http://www.example.com:8443/a/b?c=d"),
        ("to-scheme.test", 303, "https://www.example.com/a/b?c=d"),
        ("to-307.test", 307, "http://other.example.com:81/a/b?c=d"),
    ];
    for (host, status, location) in rows {
        let answer = stage.rig.wait(host, "/a/b?c=d", status, "");
        assert_eq!(answer.header("location"), Some(location), "{host}");
    }
    let answer = stage.rig.now("to-https.test:8080", "/");
    assert_eq!(answer.header("location"), Some("https://to-https.test/"), "the port goes");
    let config = client::trusting(&authority.roots());
    let mut tls = eventually("the certificate is there", || {
        Connection::tls(stage.rig.https, "to-https.test", &config).map_err(|e| e.to_string())
    });
    let answer = tls.ask(&Request::get("to-https.test", "/")).unwrap();
    assert_eq!((answer.status, answer.service()), (200, "app"), "HTTPS is not redirected");
}

fn rewriting(stage: &Stage) {
    routes(
        stage,
        "rewriting",
        &[
            ("rw-groups", "app", &[("path-rewrite", "^/api/(.*) /v2/\\1")]),
            ("rw-whole", "app", &[("path-rewrite", "/one")]),
            (
                "rw-steps",
                "app",
                &[("path-rewrite", "^/a/(.*) /b/\\1\n^/b/(.*) /c/\\1\nnever /never\n/z$ /end")],
            ),
            ("rw-middle", "app", &[("path-rewrite", "/(x|y)+/z /got/\\1")]),
        ],
    );
    for (host, path, seen) in [
        ("rw-groups.test", "/api/a/b?c=d", "/v2/a/b?c=d"),
        ("rw-groups.test", "/other/api/a", "/other/api/a"),
        ("rw-groups.test", "/api/", "/v2/"),
        ("rw-whole.test", "/a/b?c=d", "/one?c=d"),
        ("rw-steps.test", "/a/x", "/c/x"),
        ("rw-steps.test", "/a/z", "/end"),
        ("rw-steps.test", "/q", "/q"),
        ("rw-middle.test", "/a/xy/z/b", "/got/y"),
        ("rw-middle.test", "/a/z", "/a/z"),
    ] {
        assert_eq!(stage.rig.wait(host, path, 200, "app").path(), seen, "http://{host}{path}");
    }
}

fn headers(stage: &Stage) {
    routes(
        stage,
        "headers",
        &[(
            "headers",
            "app",
            &[
                (
                    "request-set-header",
                    "X-Tenant blue\nX-Words \"two words; \\\\ | %\"\nHost inner.example.com",
                ),
                ("request-add-header", "X-Seen-By edge-1"),
                ("request-remove-header", "X-Debug\nX-Trace"),
                ("response-set-header", "X-Frame-Options DENY\nX-Pod set"),
                ("response-add-header", "Vary Accept-Language"),
                ("response-remove-header", "Server"),
            ],
        )],
    );
    stage.rig.wait("headers.test", "/", 200, "app");
    let request = Request::get("headers.test", "/")
        .header("X-Tenant", "red")
        .header("X-Seen-By", "client")
        .header("X-Debug", "1")
        .header("x-trace", "2");
    let answer = stage.rig.ask(&request).unwrap();
    assert_eq!(answer.seen("x-tenant"), Some("blue"), "request-set-header replaces");
    assert_eq!(answer.seen("x-words"), Some("two words; \\\\ | %"), "values are literal");
    assert_eq!(answer.pod["host"], "inner.example.com");
    assert_eq!(answer.seen("x-seen-by"), Some("client, edge-1"), "request-add-header adds");
    assert_eq!(answer.seen("x-debug"), None, "request-remove-header");
    assert_eq!(answer.seen("x-trace"), None, "request-remove-header");
    assert_eq!(answer.all("x-frame-options"), ["DENY"]);
    assert_eq!(answer.all("x-pod"), ["set"], "response-set-header replaces");
    assert_eq!(answer.all("vary"), ["Accept-Language"]);
    assert_eq!(answer.header("server"), None, "response-remove-header");
    let long = "v".repeat(300);
    routes(
        stage,
        "headers-long",
        &[("headers-long", "app", &[("request-set-header", &format!("X-Long {long}"))])],
    );
    let answer = stage.rig.wait("headers-long.test", "/", 200, "app");
    assert_eq!(answer.seen("x-long"), Some(&*long));
    let answer = stage.rig.now("plain.test", "/");
    assert_eq!(answer.header("server"), Some("pod"), "others are left alone");
}

fn access(stage: &Stage) {
    routes(
        stage,
        "access",
        &[
            ("allow-in", "app", &[("allow-list", "10.0.0.0/8, 127.0.0.0/10")]),
            ("allow-out", "app", &[("allow-list", "10.0.0.0/8,2001:db8::/32")]),
            ("deny-in", "app", &[("deny-list", "127.0.0.1")]),
            ("deny-out", "app", &[("deny-list", "127.0.0.2, ::/0")]),
            ("deny-first", "app", &[("allow-list", "127.0.0.0/8"), ("deny-list", "127.0.0.0/30")]),
            ("allow-all", "app", &[("allow-list", "0.0.0.0/0")]),
        ],
    );
    for (host, status) in [
        ("allow-in.test", 200),
        ("allow-out.test", 403),
        ("deny-in.test", 403),
        ("deny-out.test", 200),
        ("deny-first.test", 403),
        ("allow-all.test", 200),
    ] {
        stage.rig.wait(host, "/", status, if status == 200 { "app" } else { "" });
    }
    // A list is widened, and the change is live.
    routes(stage, "access", &[("allow-out", "app", &[("allow-list", "10.0.0.0/8,127.0.0.1")])]);
    stage.rig.wait("allow-out.test", "/", 200, "app");
}

fn broken_access(stage: &Stage) {
    let before: u64 = stage.pods.iter().map(Pod::requests).sum();
    routes(
        stage,
        "broken-access",
        &[
            ("bad-allow", "app", &[("allow-list", "127.0.0.0/8, not-an-address")]),
            ("bad-deny", "app", &[("deny-list", "300.0.0.1")]),
            ("empty-allow", "app", &[("allow-list", "")]),
        ],
    );
    for name in ["bad-allow", "bad-deny", "empty-allow"] {
        stage.rig.wait(&format!("{name}.test"), "/", 503, "");
        stage.rig.wait_problem(&["FailedClosed", &format!("\"name\":\"{name}\""), "-list"]);
    }
    let after: u64 = stage.pods.iter().map(Pod::requests).sum();
    assert_eq!(before, after, "no request reached a pod");
    routes(stage, "broken-access", &[("bad-allow", "app", &[("allow-list", "127.0.0.0/8")])]);
    stage.rig.wait("bad-allow.test", "/", 200, "app");
    stage.rig.wait_no_problem("\"name\":\"bad-allow\"");
}

fn h2(stage: &Stage) {
    let pod = Pod::speaking("h2c", Speech::H2c);
    let port = pod.address.port();
    let protocol = json!([
        {"name": "http", "port": 8080, "targetPort": port, "appProtocol": "kubernetes.io/h2c"}
    ]);
    let mut objects = app("h2c", &[&pod]);
    objects.push(service_ports("h2c-app", protocol));
    objects.push(slice("h2c-app", &[&pod]));
    objects.push(ingress("h2c-app").all("h2c-app.test", "h2c-app").into());
    objects.push(ingress("h2c").all("h2c.test", "h2c").with("server-protocol", "h2").into());
    objects.push(ingress("h1").all("h1.test", "app").with("server-protocol", "h1").into());
    stage.rig.put("h2", &objects);
    for host in ["h2c.test", "h2c-app.test"] {
        let answer = stage.rig.wait(host, "/a?b=c", 200, "h2c");
        assert_eq!((&answer.pod["version"], answer.path()), (&json!("2"), "/a?b=c"), "{host}");
    }
    assert_eq!(stage.rig.wait("h1.test", "/", 200, "app").pod["version"], "1.1");
}

/// A TLS server for pods; `clients` must have signed the client's certificate.
fn tls_server(issued: &Issued, clients: Option<&Authority>) -> Speech {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let roots = authority.roots();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain = vec![CertificateDer::from(issued.der.clone())];
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Speech::Tls(Arc::new(config))
}

fn tls(stage: &Stage) {
    let inner = Authority::new();
    let pod = Pod::speaking("secure", tls_server(&inner.issue(&["app.internal"]), None));
    let mut objects = app("secure", &[&pod]);
    objects.push(secret("pods-ca", &[("ca.crt", &inner.pem)]));
    stage.rig.put("secure", &objects);
    let verified: &[(&str, &str)] = &[("server-ca", "pods-ca"), ("server-name", "app.internal")];
    routes(
        stage,
        "tls",
        &[
            ("tls-plain", "secure", &[("server-tls", "true")]),
            ("tls-verified", "secure", verified),
            ("tls-any-name", "secure", &[("server-ca", "pods-ca")]),
            ("tls-h2", "secure", &[verified[0], verified[1], ("server-protocol", "h2")]),
            (
                "tls-checked",
                "secure",
                &[
                    verified[0],
                    verified[1],
                    ("check", "true"),
                    ("check-interval", "100ms"),
                    ("check-http", "GET /healthz"),
                ],
            ),
            ("tls-wrong-name", "secure", &[verified[0], ("server-name", "other.internal")]),
        ],
    );
    let answer = stage.rig.wait("tls-plain.test", "/", 200, "secure");
    assert_eq!(
        (&answer.pod["version"], &answer.pod["tls"]["client"]),
        (&json!("1.1"), &json!(false))
    );
    let answer = stage.rig.wait("tls-verified.test", "/", 200, "secure");
    assert_eq!(answer.pod["tls"]["sni"], "app.internal");
    let answer = stage.rig.wait("tls-any-name.test", "/", 200, "secure");
    assert_eq!(answer.pod["tls"]["sni"], Value::Null, "no name is sent unless asked for");
    assert_eq!(stage.rig.wait("tls-h2.test", "/", 200, "secure").pod["version"], "2");
    stage.rig.wait("tls-wrong-name.test", "/", 503, "");
    let checks = pod.inside.checks.load(Ordering::SeqCst);
    eventually("checks pass over TLS", || {
        let now = pod.inside.checks.load(Ordering::SeqCst);
        ensure(now > checks + 3, || {
            let stat = stage.rig.worker("show stat").unwrap_or_default();
            let address = pod.address.to_string();
            let lines = stat.lines().filter(|line| line.contains(&address));
            let map = stage.rig.worker("show map maps/check.map").unwrap_or_default();
            format!("{} checks; {:?}; {map}", now - checks, lines.collect::<Vec<_>>())
        })
    });
    stage.rig.wait("tls-checked.test", "/", 200, "secure");
    // The certificate of the pods' authority changes, live.
    let other = Authority::new();
    objects[2] = secret("pods-ca", &[("ca.crt", &other.pem)]);
    stage.rig.put("secure", &objects);
    stage.rig.wait("tls-verified.test", "/", 503, "");
    objects[2] = secret("pods-ca", &[("ca.crt", &format!("{}{}", other.pem, inner.pem))]);
    stage.rig.put("secure", &objects);
    stage.rig.wait("tls-verified.test", "/", 200, "secure");
}

fn mutual_tls(stage: &Stage) {
    let inner = Authority::new();
    let pod = Pod::speaking("mutual", tls_server(&inner.issue(&["app.internal"]), Some(&inner)));
    let client = inner.issue(&["tidegate.internal"]);
    let mut objects = app("mutual", &[&pod]);
    objects.push(secret("mutual-ca", &[("ca.crt", &inner.pem)]));
    objects.push(client.secret("client-cert"));
    stage.rig.put("mutual", &objects);
    routes(
        stage,
        "mutual-routes",
        &[
            (
                "mutual",
                "mutual",
                &[
                    ("server-ca", "mutual-ca"),
                    ("server-name", "app.internal"),
                    ("server-certificate", "client-cert"),
                ],
            ),
            (
                "mutual-none",
                "mutual",
                &[("server-ca", "mutual-ca"), ("server-name", "app.internal")],
            ),
        ],
    );
    assert_eq!(stage.rig.wait("mutual.test", "/", 200, "mutual").pod["tls"]["client"], true);
    let before = pod.requests();
    eventually("a client without a certificate is refused", || {
        let answer = stage.rig.get("mutual-none.test", "/")?;
        ensure(answer.status >= 500, || format!("{}", answer.status))
    });
    assert_eq!(pod.requests(), before);
}

fn broken_authority(stage: &Stage) {
    let (inner, stranger) = (Authority::new(), Authority::new());
    let pod = Pod::speaking("guarded", tls_server(&inner.issue(&["app.internal"]), None));
    let mut objects = app("guarded", &[&pod]);
    objects.push(secret("wrong-ca", &[("ca.crt", &stranger.pem)]));
    objects.push(secret("bad-ca", &[("ca.crt", "this is no certificate")]));
    stage.rig.put("guarded", &objects);
    let all: [(&str, &[(&str, &str)]); 7] = [
        ("ca-missing", &[("server-ca", "no-such-ca")]),
        ("ca-wrong", &[("server-ca", "wrong-ca"), ("server-name", "app.internal")]),
        ("ca-bad", &[("server-ca", "bad-ca")]),
        ("crt-missing", &[("server-tls", "true"), ("server-certificate", "no-such")]),
        ("tls-unclear", &[("server-tls", "perhaps")]),
        ("name-bad", &[("server-tls", "true"), ("server-name", "not a name")]),
        ("ca-foreign", &[("server-ca", "elsewhere/ca")]),
    ];
    let all = all.map(|(name, keys)| (name, "guarded", keys));
    routes(stage, "guarded-routes", &all);
    for (name, _, _) in &all {
        let host = format!("{name}.test");
        stage.rig.wait(&host, "/", 503, "");
        if *name != "ca-wrong" {
            stage.rig.wait_problem(&["FailedClosed", &format!("\"name\":\"{name}\"")]);
        }
    }
    assert_eq!(pod.requests(), 0, "no request reached the pod");
}

fn precedence(stage: &Stage) {
    let rig = &stage.rig;
    rig.put(
        "config",
        &[config_map(&[("request-set-header", "X-From config"), ("no-such-key", "1")])],
    );
    eventually("the ConfigMap holds", || {
        let answer = rig.get("plain.test", "/")?;
        ensure(answer.seen("x-from") == Some("config"), || format!("{:?}", answer.seen("x-from")))
    });
    rig.wait_problem(&["UnknownKey", "data.no-such-key"]);
    routes(stage, "precedence", &[("from", "app", &[("request-set-header", "X-From ingress")])]);
    assert_eq!(rig.wait("from.test", "/", 200, "app").seen("x-from"), Some("ingress"));
    // A bad value leaves the wider scope's in force.
    routes(stage, "precedence", &[("from", "app", &[("request-set-header", "Content-Length 0")])]);
    rig.wait_problem(&["BadValue", "\"name\":\"from\""]);
    eventually("the ConfigMap holds again", || {
        let answer = rig.get("from.test", "/")?;
        ensure(answer.seen("x-from") == Some("config"), || format!("{:?}", answer.seen("x-from")))
    });
    rig.put("config", &[config_map(&[])]);
    eventually("the ConfigMap says nothing", || {
        let answer = rig.get("plain.test", "/")?;
        ensure(answer.seen("x-from").is_none(), || format!("{:?}", answer.seen("x-from")))
    });
    // Service over Ingress, for keys that may stand on both.
    let slow = Pod::start("narrow");
    let mut objects = app("narrow", &[&slow]);
    objects[0]["metadata"]["annotations"]["tidegate.io/timeout-server"] = json!("300ms");
    objects
        .push(ingress("narrow").all("narrow.test", "narrow").with("timeout-server", "30s").into());
    rig.put("narrow", &objects);
    rig.wait("narrow.test", "/", 200, "narrow");
    assert_eq!(rig.now("narrow.test", "/?delay=2000").status, 504, "the Service wins");
}

fn unknown_keys(stage: &Stage) {
    let route = ingress("typo")
        .all("typo.test", "app")
        .with("alow-list", "10.0.0.0/8")
        .annotation("haproxy.org/path-rewrit", "/x")
        .with("timeout-http-request", "5s")
        .annotation("example.com/anything", "at all");
    stage.rig.put("typo", &[route.into()]);
    stage.rig.wait_problem(&["UnknownKey", "alow-list", "did you mean tidegate.io/allow-list?"]);
    stage.rig.wait_problem(&[
        "UnknownKey",
        "path-rewrit",
        "did you mean haproxy.org/path-rewrite?",
    ]);
    stage.rig.wait_problem(&["WrongScope", "timeout-http-request"]);
    stage.rig.wait("typo.test", "/", 200, "app");
    let strange =
        stage.rig.problems().iter().filter(|p| p.to_string().contains("example.com/any")).count();
    assert_eq!(strange, 0, "other programs' annotations are none of our business");
}

/// Keys that a HAProxy cannot honour.
fn is_unsupported(version: &str, row: &Annotation) -> bool {
    match row.key {
        "timeout-client" => version == "2.6",
        "timeout-connect" | "timeout-queue" => version != "3.4",
        _ => false,
    }
}

/// Each key's documented example applies without a Problem, in every spelling.
fn examples(stage: &Stage) {
    let rig = &stage.rig;
    let inner = Authority::new();
    let mut objects = vec![inner.issue(&["tidegate.internal"]).secret("client-cert")];
    objects.push(secret("pods-ca", &[("ca.crt", &inner.pem)]));
    for file in ["mutual", "mutual-routes", "secure", "tls"] {
        rig.remove(file);
    }
    let mut expected = BTreeSet::new();
    let mut names = Vec::new();
    for row in FAMILIES.iter().flat_map(|family| family.keys).filter(|r| r.scopes != Scopes::C) {
        let ours = [format!("tidegate.io/{}", row.key)];
        let theirs =
            row.haproxy.map(|name| HAPROXY_PREFIXES.map(|prefix| format!("{prefix}{name}")));
        for (number, key) in ours.into_iter().chain(theirs.into_iter().flatten()).enumerate() {
            let name = format!("example-{}-{number}", row.key);
            let route = ingress(&name).all(&format!("{name}.test"), "app");
            objects.push(route.annotation(&key, row.example).into());
            if is_unsupported(rig.version, row) {
                expected.insert(name.clone());
            }
            names.push(name);
        }
    }
    rig.put("examples", &objects);
    for name in &names {
        eventually(&format!("{name} is served"), || {
            let status = rig.get(&format!("{name}.test"), "/")?.status;
            ensure(status != 404, || "404".to_owned())
        });
    }
    let problems = || {
        let mut problems = rig.problems();
        problems.retain(|p| p["name"].as_str().is_some_and(|name| name.starts_with("example-")));
        problems
    };
    let found = || -> BTreeSet<String> {
        let problems = problems();
        let names = problems.iter().filter_map(|p| p["name"].as_str());
        names.map(str::to_owned).collect()
    };
    eventually("problems of the examples", || {
        let found = found();
        ensure(found == expected, || {
            let mut unexpected = problems();
            unexpected.retain(|p| p["name"].as_str().is_some_and(|name| !expected.contains(name)));
            format!("{found:?} instead of {expected:?}; unexpected: {unexpected:?}")
        })
    });
    rig.remove("examples");
    rig.wait(&format!("{}.test", names[0]), "/", 404, "");
}

/// Keys of the static part: they reload everywhere, and work.
fn static_timeouts(stage: &Stage) {
    let rig = &stage.rig;
    let before = rig.reload_count();
    rig.put(
        "config",
        &[config_map(&[("timeout-http-request", "300ms"), ("timeout-http-keep-alive", "400ms")])],
    );
    eventually("the reload", || {
        let now = rig.reload_count();
        ensure(now > before, || format!("{now} reloads"))
    });
    let mut slow = Connection::plain(rig.http).unwrap();
    slow.write(b"GET / HTTP/1.1\r\nhost: plain").unwrap();
    let begin = Instant::now();
    let answer = slow.answer(false);
    assert!(answer.as_ref().is_ok_and(|a| a.status == 408), "{answer:?}");
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "timeout-http-request: {:?}",
        begin.elapsed()
    );
    let mut idle = Connection::plain(rig.http).unwrap();
    assert_eq!(idle.ask(&Request::get("plain.test", "/")).unwrap().status, 200);
    let begin = Instant::now();
    let end = idle.read(&mut [0]);
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "timeout-http-keep-alive: {:?}",
        begin.elapsed()
    );
    let reasons = rig.reload_reasons();
    assert!(reasons.iter().any(|r| r.contains("timeout http-request")), "{reasons:?}");
    // Bad values are Problems, and nothing else.
    let before = rig.reload_count();
    rig.put(
        "config",
        &[config_map(&[("timeout-http-request", "300ms"), ("timeout-http-keep-alive", "soon")])],
    );
    rig.wait_problem(&["BadValue", "data.timeout-http-keep-alive"]);
    rig.wait("plain.test", "/", 200, "app");
    assert!(rig.reload_count() <= before + 1);
}
