//! TCP services: ports from a ConfigMap.

use std::net::{Ipv4Addr, UdpSocket};

use super::*;

pub fn absent(stage: &Stage) {
    stage.rig.wait_problem(&["NotFound", "named by --configmap-tcp-services and does not exist"]);
    lead(stage, &[]);
    stage.rig.wait_no_problem("named by --configmap-tcp-services and does not exist");
    wait_refused(stage, stage.first);
}

pub fn taken_and_left(stage: &Stage) {
    let (one, two) = (stage.first, stage.first + 1);
    lead(stage, &[(one, "test/db:8080")]);
    wait_service(stage, one, "db");
    lead(stage, &[(one, "test/db:8080"), (two, "test/mail:http")]);
    wait_service(stage, two, "mail");
    wait_service(stage, one, "db");
    // What is open stays open when the port goes.
    let mut open = Connection::plain(two).unwrap();
    assert_eq!(open.ask(&Request::get("any.test", "/")).unwrap().service(), "mail");
    lead(stage, &[(one, "test/db:8080")]);
    wait_refused(stage, two);
    for _ in 0..3 {
        assert_eq!(open.ask(&Request::get("any.test", "/")).unwrap().service(), "mail");
        std::thread::sleep(Duration::from_millis(400));
    }
    drop(open);
    if stage.rig.version == "3.4" {
        eventually("the backend is gone", || {
            let backends = stage.rig.worker("show backend").map_err(|e| e.to_string())?;
            ensure(!backends.contains("test_mail_http"), || backends)
        });
    }
    wait_service(stage, one, "db");
}

pub fn moves(stage: &Stage) {
    let (port, other) = (stage.first, stage.first + 1);
    lead(stage, &[(port, "test/db:8080")]);
    wait_service(stage, port, "db");
    let knocks = Knocks::start(move || knock(port));
    knocks.pass(100);
    for (value, service) in [("test/mail:8080", "mail"), ("test/db:8080", "db")] {
        lead(stage, &[(port, value), (other, "test/web:8080")]);
        wait_service(stage, port, service);
        knocks.pass(100);
        lead(stage, &[(port, value)]);
        wait_refused(stage, other);
        knocks.pass(100);
    }
    let during = format!("HAProxy {}: a TCP port moves", stage.rig.version);
    knocks.finish(&during, &["db", "mail"]);
}

pub fn rolls(stage: &Stage) {
    let port = stage.first + 2;
    let mut pods = Pod::several("roll", 2);
    let put = |pods: &[Pod]| {
        stage.rig.put("roll", &[service("roll"), slice("roll", &pods.iter().collect::<Vec<_>>())]);
    };
    put(&pods);
    lead(stage, &[(stage.first, "test/db:8080"), (port, "test/roll:8080")]);
    wait_service(stage, port, "roll");
    let knocks = Knocks::start(move || knock(port));
    for _ in 0..3 {
        let new = Pod::start("roll");
        let gone = pods.remove(0);
        pods.push(new);
        put(&pods);
        let newest = &pods[1];
        let before = newest.requests();
        eventually("the new pod is asked", || {
            ensure(newest.requests() > before, || "not yet".to_owned())
        });
        std::thread::sleep(Duration::from_millis(500));
        gone.finish();
        knocks.pass(100);
    }
    let during = format!("HAProxy {}: pods of a TCP service are replaced", stage.rig.version);
    knocks.finish(&during, &["roll"]);
}

pub fn ends_tls(stage: &Stage) {
    let (plain, tls) = (stage.first, stage.first + 3);
    lead(stage, &[(plain, "test/db:8080"), (tls, "test/mail:8080:ssl")]);
    let wanted = eventually("the certificate of the Secret", || {
        let (service, shown) = knock_tls(tls, "db.test")?;
        ensure(service == "mail", || service)?;
        Ok(shown)
    });
    let (_, of_https) = knock_tls(stage.rig.https, "db.test").unwrap();
    assert_eq!(wanted, of_https, "the certificates of HTTPS, by SNI");
    let (_, other) = knock_tls(tls, "unknown.test").unwrap();
    assert_ne!(other, wanted, "the default certificate for names without one");
    // TLS is left and taken up again on the same port.
    lead(stage, &[(plain, "test/db:8080"), (tls, "test/mail:8080")]);
    wait_service(stage, tls, "mail");
    let knocks = Knocks::start(move || knock_tls(plain, "db.test").map(|(service, _)| service));
    lead(stage, &[(plain, "test/db:8080:ssl")]);
    eventually("TLS on the other port", || {
        let (service, _) = knock_tls(plain, "db.test")?;
        ensure(service == "db", || service)
    });
    drop(knocks);
    wait_refused(stage, tls);
}

pub fn bad_entries(stage: &Stage) {
    let rig = &stage.rig;
    let port = |number: u16| (stage.first + number).to_string();
    let (good, nonsense, nowhere, no_port) = (port(0), port(1), port(2), port(3));
    let padded = format!("0{}", port(4));
    let own = rig.http.to_string();
    rig.put(
        "tcp",
        &[named_config_map(
            "tcp",
            &[
                (&good, "test/db:8080"),
                (&nonsense, "db"),
                (&nowhere, "test/nothing:8080"),
                (&no_port, "test/db:9999"),
                (&padded, "test/db:8080"),
                ("http", "test/db:8080"),
                ("443", "test/db:8080"),
                (&own, "test/db:8080"),
                ("log-format-tcp", "%ci"),
            ],
        )],
    );
    rig.wait_problem(&["BadValue", &format!("data.{nonsense}"), "NAMESPACE/SERVICE:PORT"]);
    rig.wait_problem(&["NotFound", &format!("data.{nowhere}"), "test/nothing does not exist"]);
    rig.wait_problem(&["NotFound", &format!("data.{no_port}"), "has no port 9999"]);
    rig.wait_problem(&["BadField", &format!("data.{padded}")]);
    rig.wait_problem(&["BadField", "data.http"]);
    rig.wait_problem(&["Forbidden", "data.443"]);
    rig.wait_problem(&["Forbidden", &format!("data.{own}")]);
    rig.wait_problem(&["NotSupported", "log-format-tcp", "controller's own ConfigMap"]);
    wait_service(stage, stage.first, "db");
    for number in 1..4 {
        wait_refused(stage, stage.first + number);
    }
    rig.wait("web.test", "/", 200, "web");
    // The Service comes, and goes.
    let late = Pod::start("nothing");
    rig.put("late", &app("nothing", &[&late]));
    wait_service(stage, stage.first + 2, "nothing");
    rig.remove("late");
    wait_refused(stage, stage.first + 2);
    lead(stage, &[(stage.first, "test/db:8080")]);
    rig.wait_no_problem("data.");
}

pub fn keys(stage: &Stage) {
    let port = stage.first + 4;
    let pods = Pod::several("keyed", 2);
    let mut objects = app("keyed", &pods.iter().collect::<Vec<_>>());
    let annotations = |pairs: &[(&str, &str)]| -> Value {
        pairs
            .iter()
            .map(|(key, value)| (format!("tidegate.io/{key}"), Value::from(*value)))
            .collect()
    };
    objects[0]["metadata"]["annotations"] = annotations(&[
        ("load-balance", "source"),
        ("check", "true"),
        ("check-interval", "100ms"),
        ("pod-maxconn", "50"),
        ("server-protocol", "h2"),
    ]);
    stage.rig.put("keyed", &objects);
    lead(stage, &[(stage.first, "test/db:8080"), (port, "test/keyed:8080")]);
    wait_service(stage, port, "keyed");
    let first = Connection::plain(port).unwrap().ask(&Request::get("a", "/")).unwrap();
    for _ in 0..8 {
        let next = Connection::plain(port).unwrap().ask(&Request::get("a", "/")).unwrap();
        assert_eq!(next.name(), first.name(), "a client stays on its pod");
    }
    // What needs HTTP is told, and the default holds.
    objects[0]["metadata"]["annotations"] = annotations(&[("load-balance", "uri")]);
    stage.rig.put("keyed", &objects);
    stage.rig.wait_problem(&["NotSupported", "needs HTTP", &format!("data.{port}")]);
    wait_service(stage, port, "keyed");
    // What protects the pods and cannot be used closes the port.
    objects[0]["metadata"]["annotations"] = annotations(&[("server-ca", "no-such-secret")]);
    stage.rig.put("keyed", &objects);
    stage.rig.wait_problem(&["FailedClosed", &format!("data.{port}")]);
    wait_refused(stage, port);
    wait_service(stage, stage.first, "db");
    stage.rig.remove("keyed");
    lead(stage, &[(stage.first, "test/db:8080")]);
}

/// The next line that contains a text.
fn logged(log: &UdpSocket, text: &str) -> Result<String, String> {
    let (mut buffer, mut last) = ([0; 9000], String::new());
    while let Ok(count) = log.recv(&mut buffer) {
        last = String::from_utf8_lossy(&buffer[..count]).into_owned();
        if last.contains(text) {
            return Ok(last);
        }
    }
    Err(format!("no line with {text}, the last is {last}"))
}

/// `log-format-tcp` is for connections only, `log-format` for requests only; one that HAProxy refuses is
/// set aside, and only it.
pub fn logs(stage: &Stage) {
    let (rig, plain, tls) = (&stage.rig, stage.first, stage.first + 3);
    lead(stage, &[(plain, "test/db:8080"), (tls, "test/mail:8080:ssl")]);
    let log = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    log.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let target = format!("address:127.0.0.1, port:{}", log.local_addr().unwrap().port());
    let configure = |more: &[(&str, &str)]| {
        let all: Vec<_> =
            [("log-target", &*target)].into_iter().chain(more.iter().copied()).collect();
        rig.put("config", &[config_map(&all)]);
    };
    let connect = || {
        let (service, _) = knock_tls(tls, "db.test")?;
        ensure(service == "mail" && knock(plain)? == "db", || service)
    };
    configure(&[]);
    eventually("lines in HAProxy's form", || {
        connect()?;
        // Frontend, backend and server; no request is read.
        let line = logged(&log, " tidegate-tcp")?;
        ensure(!line.contains("GET "), || line)
    });
    let form = "it's \"tcp\" \\n %fp $HOME %ts %%";
    configure(&[("log-format-tcp", form)]);
    for port in [plain, tls] {
        let wanted = format!("it's \"tcp\" \\n {port} $HOME ");
        eventually(&format!("HAProxy {}: the form holds on {port}", rig.version), || {
            connect()?;
            let line = logged(&log, &wanted)?;
            ensure(line.trim_end().ends_with(" %"), || line)
        });
    }
    rig.now("web.test", "/first");
    let line = logged(&log, "GET /first HTTP/1.1").expect("requests have HAProxy's own form");
    assert!(!line.contains("it's"), "{line}");
    let before = rig.reload_count();
    configure(&[("log-format-tcp", "%nonsense"), ("log-format", "request %r")]);
    rig.wait_problem(&["Refused", "data.log-format-tcp", "nonsense"]);
    eventually("the other form holds, and connections have HAProxy's own", || {
        rig.get("web.test", "/second")?;
        logged(&log, "request GET /second HTTP/1.1")?;
        connect()?;
        let line = logged(&log, " tidegate-tcp")?;
        ensure(!line.contains("it's") && rig.reload_count() > before, || line)
    });
    configure(&[("log-format-tcp", "fine %fp")]);
    rig.wait_no_problem("data.log-format-tcp");
    eventually("the mended form holds", || {
        connect()?;
        logged(&log, &format!("fine {plain}"))
    });
    rig.remove("config");
}

pub fn not_kept(stage: &Stage) {
    let port = free_port();
    let before = asked(stage);
    let kept = stage.first;
    let knocks = Knocks::start(move || knock(kept));
    lead(stage, &[(kept, "test/db:8080"), (port, "test/mail:8080")]);
    wait_service(stage, port, "mail");
    lead(stage, &[(kept, "test/db:8080"), (port, "test/web:8080:ssl")]);
    eventually("TLS on a port that is not kept", || {
        let (service, _) = knock_tls(port, "web.test")?;
        ensure(service == "web", || service)
    });
    lead(stage, &[(kept, "test/db:8080")]);
    eventually("the port is closed", || match client::dial(port) {
        Ok(_) => Err("it is open".to_owned()),
        Err(_) => Ok(()),
    });
    knocks.finish(&format!("HAProxy {}: ports by reload", stage.rig.version), &["db"]);
    let reasons = stage.rig.reload_reasons();
    let bound = format!("TCP port {port} is bound");
    assert!(reasons.iter().any(|reason| reason.contains(&bound)), "{reasons:?}");
    if stage.rig.version == "3.4" {
        assert_eq!(asked(stage) - before, 2, "taken and left: {reasons:?}");
    }
}

/// A port on which another program listens is refused alone, and everything else goes on.
pub fn of_somebody_else(stage: &Stage) {
    let (port, other) = (free_port(), free_port());
    let theirs = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    lead(stage, &[(stage.first, "test/db:8080"), (port, "test/mail:8080")]);
    stage.rig.wait_problem(&["Refused", &format!("data.{port}"), "cannot bind port"]);
    lead(
        stage,
        &[(stage.first, "test/db:8080"), (port, "test/mail:8080"), (other, "test/web:8080")],
    );
    wait_service(stage, other, "web");
    stage.rig.put("config", &[config_map(&[("timeout-http-request", "9s")])]);
    eventually("the static part follows", || {
        ensure(stage.rig.config().contains("timeout http-request 9"), || "not yet".to_owned())
    });
    wait_service(stage, stage.first, "db");
    drop(theirs);
    lead(stage, &[(stage.first, "test/db:8080"), (port, "test/mail:http")]);
    wait_service(stage, port, "mail");
    stage.rig.wait_no_problem("cannot bind port");
    lead(stage, &[]);
    for port in [port, other] {
        eventually("the port is closed", || match client::dial(port) {
            Ok(_) => Err("it is open".to_owned()),
            Err(_) => Ok(()),
        });
    }
}

pub fn documented(stage: &Stage) {
    let text = example(1)
        .replace("namespace: tidegate", "namespace: test")
        .replace("name: tcp-services", "name: tcp")
        .replace("5432\":", &format!("{}\":", stage.first))
        .replace("5636\":", &format!("{}\":", stage.first + 1))
        .replace("shop/database:5432", "test/db:8080")
        .replace("people/ldap:ldap:ssl", "test/mail:http:ssl");
    stage.rig.remove("tcp");
    stage.rig.put_text("documented.yaml", &text);
    wait_service(stage, stage.first, "db");
    eventually("TLS ends here", || {
        let (service, _) = knock_tls(stage.first + 1, "db.test")?;
        ensure(service == "mail", || service)
    });
    std::fs::remove_file(stage.rig.path("manifests/documented.yaml")).unwrap();
    lead(stage, &[(stage.first, "test/db:8080")]);
    wait_refused(stage, stage.first + 1);
}
