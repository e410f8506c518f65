//! What a request costs HAProxy with tidegate's configuration, over a bare one with one backend:
//! `cargo bench -p tidegate --bench request_cost [-- --hosts 1000,50000] [--output json]`.
//!
//! The configurations are those of `tidegate render`. Every HAProxy has one thread; all run from
//! beginning to end and are loaded in turn, so that a busy machine disturbs all alike. Compared
//! are medians of the CPU time of the process (the scheduler's clock) by request.

mod common;
mod manifests;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Arguments, Process, Report, at, cpu_of, get, haproxy, rounded};
use manifests::{Folder, ingress, pod, service, slice};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Backends that the hosts share.
const BACKENDS: usize = 100;
/// Connections of the client, each asking for a host of its own.
const CONNECTIONS: usize = 20;
/// Path of each request.
const PATH: &str = "/old/a/b?x=1";

/// Annotations of the Ingresses with ten families, but those about the server.
const FAMILIES: [(&str, &str); 11] = [
    ("timeout-server", "30s"),
    ("timeout-client", "45s"),
    ("timeout-connect", "500ms"),
    ("timeout-queue", "5s"),
    ("timeout-tunnel", "2h"),
    ("allow-list", "127.0.0.0/8, 10.0.0.0/8, 2001:db8::/32"),
    ("deny-list", "203.0.113.0/24"),
    ("path-rewrite", "^/old/(.*) /new/\\1"),
    ("request-set-header", "X-Tenant blue"),
    ("response-set-header", "X-Frame-Options DENY"),
    ("response-remove-header", "X-Origin"),
];

/// Annotations about the server: balancing, connection limit, check.
const SERVER: [(&str, &str); 4] = [
    ("load-balance", "leastconn"),
    ("pod-maxconn", "500"),
    ("check", "true"),
    ("check-interval", "10s"),
];

/// What the routes use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Features {
    /// Nothing.
    None,
    /// [`FAMILIES`] and [`SERVER`].
    Ten,
}

/// What HAProxy tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    /// What tidegate asks for: also requests without an answer, for which HAProxy copies each.
    AsRendered,
    /// Only failed connections, which needs no copy: what the copy costs is the difference.
    OnlyConnecting,
}

/// One HAProxy under measurement.
struct Subject {
    name: String,
    port: u16,
    process: Process,
    micros: Vec<f64>,
}

fn main() {
    let arguments = Arguments::read();
    let rounds = arguments.number("--rounds", 11);
    let lasting = Duration::from_millis(arguments.number("--round-ms", 1_000) as u64);
    let hosts = arguments.text("--hosts").unwrap_or("1000,50000");
    let hosts: Vec<usize> = hosts.split(',').map(|count| count.parse().unwrap()).collect();
    let root = common::temporary();
    let ports: [u16; 16] = common::free_ports();
    let mut ports = ports.into_iter();
    let origin_port = ports.next().expect("a port");
    let origin = origin(root.path(), origin_port);
    let mut subjects = vec![bare(root.path(), ports.next().expect("a port"), origin_port)];
    for count in hosts {
        for features in [Features::None, Features::Ten] {
            for retry in [Retry::AsRendered, Retry::OnlyConnecting] {
                let port = ports.next().expect("a port");
                subjects.push(rendered(root.path(), count, (features, retry), port, origin_port));
            }
        }
    }
    for subject in &subjects {
        verify(subject);
    }
    for _ in 0..rounds {
        for subject in &mut subjects {
            let (requests, spent) = load(subject, lasting);
            subject.micros.push(spent.as_secs_f64() * 1e6 / requests as f64);
        }
    }
    let mut report = Report::new(&arguments);
    let mut bare = None;
    for Subject { name, micros, .. } in &mut subjects {
        micros.sort_by(f64::total_cmp);
        let median = at(micros, 0.5);
        let bare = *bare.get_or_insert(median);
        let figures = json!({"us per request": rounded(median), "lowest": rounded(at(micros, 0.0)),
            "highest": rounded(at(micros, 1.0)), "over bare us": rounded(median - bare),
            "ratio": rounded(median / bare)});
        report.add(name, figures);
    }
    report.print();
    drop(origin);
}

fn start(config: &Path) -> Process {
    let mut command = Command::new(haproxy());
    command.arg("-db").arg("-f").arg(config).stdin(Stdio::null()).stdout(Stdio::null());
    if std::env::var_os("BENCH_VERBOSE").is_none() {
        command.stderr(Stdio::null());
    }
    Process(command.spawn().expect("HAProxy starts"))
}

/// What every pod is: an HAProxy that answers by itself.
fn origin(root: &Path, port: u16) -> Process {
    let config = root.join("origin.cfg");
    let text = format!(
        "global\n  nbthread 1\n  maxconn 4000\ndefaults\n  mode http\n  timeout client 1h\n  \
         timeout http-keep-alive 1h\n  timeout server 1m\n  timeout connect 1s\nfrontend origin\n  \
         bind 0.0.0.0:{port}\n  http-request return status 200 content-type text/plain string ok \
         hdr x-origin one\n"
    );
    fs::write(&config, text).unwrap();
    start(&config)
}

/// One frontend, one backend, one server.
fn bare(root: &Path, port: u16, origin: u16) -> Subject {
    let config = root.join("bare.cfg");
    let text = format!(
        "global\n  nbthread 1\ndefaults\n  mode http\n  timeout client 60s\n  \
         timeout server 60s\n  timeout connect 1s\n  timeout http-keep-alive 60s\n\
         frontend web\n  bind 127.0.0.1:{port}\n  default_backend app\n\
         backend app\n  server pod {}:{origin}\n",
        pod(0)
    );
    fs::write(&config, text).unwrap();
    Subject { name: "bare".to_owned(), port, process: start(&config), micros: Vec::new() }
}

/// tidegate's own rendering of so many hosts.
fn rendered(
    root: &Path,
    hosts: usize,
    (features, retry): (Features, Retry),
    port: u16,
    origin: u16,
) -> Subject {
    let dir = root.join(format!("{hosts}-{features:?}-{retry:?}"));
    let manifests = Folder::make(&dir.join("manifests"));
    manifests.put("class", manifests::CLASS);
    let (what, on_route, on_server): (_, &[_], &[_]) = match features {
        Features::None => ("no feature", &[], &[]),
        Features::Ten => ("ten families", &FAMILIES, &SERVER),
    };
    let mut text = String::new();
    for number in 0..BACKENDS {
        let name = format!("app-{number}");
        text.push_str(&service(&name, on_server));
        text.push_str(&slice(&name, &[pod(number)], origin));
    }
    for number in 0..hosts {
        let (name, app) = (format!("i-{number}"), format!("app-{}", number % BACKENDS));
        text.push_str(&ingress(&name, &host(number), &app, on_route));
    }
    manifests.put("all", &text);
    let (state, generation) = (dir.join("state"), dir.join("generation"));
    fs::create_dir_all(state.join("run")).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("render")
        .arg("-f")
        .arg(&manifests.0)
        .arg("--to")
        .arg(&generation)
        .arg("--state-dir")
        .arg(&state)
        .args(["--with-secrets", "--threads", "1", "--bind", "127.0.0.1", "--https-port", "0"])
        .args(["--stats-port", "0", "--http-port", &port.to_string()])
        .stdout(Stdio::null())
        .status()
        .expect("tidegate renders");
    assert!(done.success(), "tidegate render failed");
    let config = generation.join("haproxy.cfg");
    let mut name = format!("{hosts} hosts, {what}");
    if retry == Retry::OnlyConnecting {
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, text.replace(" empty-response", "")).unwrap();
        name.push_str(", without retry of empty responses");
    }
    let process = start(&config);
    Subject { name, port, process, micros: Vec::new() }
}

fn host(number: usize) -> String {
    format!("host-{number}.example.com")
}

/// Waits until it answers as it should.
fn verify(subject: &Subject) {
    let begin = Instant::now();
    let last = loop {
        let answer = get(subject.port, &host(0), PATH);
        match answer {
            Ok(answer) if answer.status == 200 => return,
            other if begin.elapsed() > Duration::from_secs(30) => break other,
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    panic!("{} does not serve: {last:?}", subject.name);
}

/// Requests answered, and CPU time spent for them by HAProxy.
fn load(subject: &Subject, lasting: Duration) -> (u64, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut streams = Vec::new();
        for number in 0..CONNECTIONS {
            let address = ("127.0.0.1", subject.port);
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            // The first request opens the connection to the pod: it does not count.
            ask(&mut stream, &request(number), &mut vec![0; 4096]).await;
            streams.push(stream);
        }
        let before = cpu_of(subject.process.id());
        let until = Instant::now() + lasting;
        let clients: Vec<_> = streams
            .into_iter()
            .enumerate()
            .map(|(number, mut stream)| {
                tokio::spawn(async move {
                    let (request, mut piece, mut count) = (request(number), vec![0; 4096], 0_u64);
                    while Instant::now() < until {
                        ask(&mut stream, &request, &mut piece).await;
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let mut requests = 0;
        for client in clients {
            requests += client.await.unwrap();
        }
        (requests, cpu_of(subject.process.id()).saturating_sub(before))
    })
}

fn request(number: usize) -> String {
    format!(
        "GET {PATH} HTTP/1.1\r\nhost: {}\r\nuser-agent: bench\r\naccept: */*\r\n\r\n",
        host(number)
    )
}

/// One request, one answer of status 200 with the body `ok`.
async fn ask(stream: &mut tokio::net::TcpStream, request: &str, piece: &mut [u8]) {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut held = 0;
    loop {
        let count = stream.read(&mut piece[held..]).await.unwrap();
        assert!(count > 0, "HAProxy closed the connection");
        held += count;
        if piece[..held].ends_with(b"\r\n\r\nok") {
            break;
        }
    }
    assert!(piece.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(piece));
}
