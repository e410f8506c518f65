//! Timeouts, load balancing, connection limits, health checks.

use super::*;

/// Time of a request with its status.
fn timed(stage: &Stage, request: &Request) -> (u16, Duration) {
    let begin = Instant::now();
    let answer = stage.rig.ask(request).unwrap();
    (answer.status, begin.elapsed())
}

pub fn timeouts(stage: &Stage) {
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

pub fn newer_timeouts(stage: &Stage) {
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

pub fn balance(stage: &Stage) {
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

pub fn limits(stage: &Stage) {
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

pub fn checks(stage: &Stage) {
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

/// Keys of the static part: they reload everywhere, and work.
pub fn static_timeouts(stage: &Stage) {
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
    // The former worker may still take a connection, and times it out after its own 10 s.
    let is_in_force = (0..3).any(|_| {
        let mut slow = Connection::plain(rig.http).unwrap();
        slow.write(b"GET / HTTP/1.1\r\nhost: plain").unwrap();
        let begin = Instant::now();
        let answer = slow.answer(false);
        let is_soon = begin.elapsed() < Duration::from_secs(2);
        assert!(!is_soon || answer.as_ref().is_ok_and(|a| a.status == 408), "{answer:?}");
        is_soon
    });
    assert!(is_in_force, "timeout-http-request");
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
