//! What the benchmarks with a real HAProxy share: processes and what they have used, a small HTTP
//! client, percentiles, the report as a table or as JSON.
//!
//! Not here: what is measured. Nothing here passes or fails on time. Panics are fine in a
//! benchmark: they say that it could not be carried out.

#![allow(dead_code, reason = "each benchmark uses its own part")]

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};

/// The flags after `cargo bench ... --`, as `--name value`.
pub struct Arguments(Vec<String>);

impl Arguments {
    /// Those of this process.
    pub fn read() -> Arguments {
        Arguments(std::env::args().skip(1).filter(|argument| argument != "--bench").collect())
    }

    /// The value of a flag.
    pub fn text(&self, name: &str) -> Option<&str> {
        let at = self.0.iter().position(|argument| argument == name)?;
        self.0.get(at + 1).map(String::as_str)
    }

    /// A number, or what it is when nothing is said.
    pub fn number(&self, name: &str, otherwise: usize) -> usize {
        self.text(name).map_or(otherwise, |text| text.parse().expect("a number"))
    }

    /// Whether a flag is there.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|argument| argument == name)
    }
}

/// HAProxy 3.4, where `deploy/haproxy/install.sh` puts it.
pub fn haproxy() -> PathBuf {
    let dir = std::env::var_os("TIDEGATE_HAPROXY_DIR").map(PathBuf::from).unwrap_or_else(|| {
        let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        cache.unwrap_or_else(|| home.join(".cache")).join("tidegate/haproxy")
    });
    let binary = dir.join("3.4/haproxy");
    assert!(binary.is_file(), "no {}: run deploy/haproxy/install.sh", binary.display());
    binary
}

/// A folder that goes away at the end.
pub fn temporary() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Free ports below the range that the system gives to outgoing connections.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let start = 13_000 + (std::process::id() % 100) as u16 * 100;
    let free = |port: &u16| TcpListener::bind(("0.0.0.0", *port)).is_ok();
    let ports: Vec<u16> = (start..start + 2_000).filter(free).take(N).collect();
    ports.try_into().expect("free ports")
}

/// A child that is told to end when this is dropped.
pub struct Process(pub Child);

impl Process {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(15) {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU time of the live threads of a process so far, by the scheduler's own clock.
pub fn cpu_of(pid: u32) -> Duration {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let spent = threads.flatten().filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}

/// A field of `/proc/PID/status` in MiB, such as `VmRSS` or `VmHWM`.
pub fn memory_mib(pid: u32, field: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// The three load averages of the machine, as text.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// A command to a worker's socket.
pub fn ask_worker(socket: &Path, command: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(format!("{command}\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The process id of the worker that answers on a socket.
pub fn worker_pid(socket: &Path) -> u32 {
    let info = ask_worker(socket, "show info").expect("the worker answers");
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid: "));
    pid.and_then(|pid| pid.trim().parse().ok()).expect("a process id")
}

/// A connection that is kept.
pub struct Client {
    reader: BufReader<TcpStream>,
    request: Vec<u8>,
}

/// Status and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Body, without blanks around it.
    pub body: String,
}

impl Answer {
    /// Whether it has this status, for waiting.
    pub fn is(&self, status: u16) -> Option<()> {
        (self.status == status).then_some(())
    }
}

impl Client {
    /// Connects to a port of this machine.
    pub fn connect(port: u16) -> io::Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Client { reader: BufReader::new(stream), request: Vec::new() })
    }

    /// A GET.
    pub fn get(&mut self, host: &str, path: &str) -> io::Result<Answer> {
        self.get_with(host, path, "")
    }

    /// A GET with more headers, each ended by CR and LF.
    pub fn get_with(&mut self, host: &str, path: &str, headers: &str) -> io::Result<Answer> {
        self.request.clear();
        write!(self.request, "GET {path} HTTP/1.1\r\nhost: {host}\r\n{headers}\r\n")?;
        self.reader.get_mut().write_all(&self.request)?;
        let (mut status, mut length, mut chunked) = (0, 0, false);
        let mut line = String::new();
        loop {
            line.clear();
            if self.reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            match text.split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().map_err(io::Error::other)?;
                }
                Some((name, _)) if name.eq_ignore_ascii_case("transfer-encoding") => chunked = true,
                Some(_) => {}
                None => {
                    let code = text.split(' ').nth(1).and_then(|code| code.parse().ok());
                    status = code.ok_or(io::ErrorKind::InvalidData)?;
                }
            }
        }
        assert!(!chunked, "nothing here answers in chunks");
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body)?;
        Ok(Answer { status, body: String::from_utf8_lossy(&body).trim().to_owned() })
    }
}

/// A GET on a connection of its own.
pub fn get(port: u16, host: &str, path: &str) -> io::Result<Answer> {
    Client::connect(port)?.get(host, path)
}

/// The value at a share of sorted values, 0 when there are none.
pub fn at(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(0.0)
}

/// Median, 99th percentile, largest and number of values.
pub fn spread(mut values: Vec<f64>) -> Value {
    values.sort_by(f64::total_cmp);
    json!({"p50": rounded(at(&values, 0.5)), "p99": rounded(at(&values, 0.99)),
        "max": rounded(at(&values, 1.0)), "count": values.len()})
}

/// Three decimals.
pub fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Milliseconds.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// What was measured, in order.
#[derive(Default)]
pub struct Report {
    rows: Vec<(String, Value)>,
    json: bool,
}

impl Report {
    /// Nothing yet.
    pub fn new(arguments: &Arguments) -> Report {
        Report { rows: Vec::new(), json: arguments.text("--output") == Some("json") }
    }

    /// Adds a figure, with the load of the machine at this moment. Shows it at once on standard
    /// error.
    pub fn add(&mut self, name: &str, mut figures: Value) {
        if let Some(figures) = figures.as_object_mut() {
            figures.insert("load".to_owned(), json!(load()));
        }
        eprintln!("{name}: {figures}");
        self.rows.push((name.to_owned(), figures));
    }

    /// Prints everything on standard output.
    pub fn print(&self) {
        if self.json {
            let all: Map<String, Value> = self.rows.iter().cloned().collect();
            println!("{:#}", Value::Object(all));
            return;
        }
        let width = self.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, figures) in &self.rows {
            let figures = figures.as_object().cloned().unwrap_or_default();
            let figures: Vec<String> = figures
                .iter()
                .map(|(key, value)| match value.as_str() {
                    Some(text) => format!("{key} {text}"),
                    None => format!("{key} {value}"),
                })
                .collect();
            println!("{name:<width$} | {}", figures.join(" | "));
        }
    }
}
