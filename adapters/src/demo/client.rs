//! The client of the demo: single requests, waiting for a right answer, and a loop that never
//! stops asking and checks every answer.
//!
//! Plain blocking sockets on threads of their own, so that what is measured is HAProxy and not a
//! scheduler.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause between two requests of one connection of the loop.
const PAUSE: Duration = Duration::from_millis(2);
/// Requests on one TLS connection before a new one is made.
const TLS_REQUESTS: u32 = 50;
/// Failures that are kept in words.
const WORDS_MAX: usize = 10;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Which application answered; empty when HAProxy itself did.
    pub app: String,
    /// Which pod.
    pub pod: String,
    /// The body.
    pub body: String,
    closes: bool,
}

/// A byte stream both ways.
pub trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// A connection that requests are sent on.
pub struct Connection {
    stream: Box<dyn Stream>,
    rest: Vec<u8>,
    /// The certificate that was presented, if it is a TLS connection.
    pub certificate: Option<Vec<u8>>,
}

impl Connection {
    /// Connects to a port of 127.0.0.1.
    ///
    /// # Errors
    /// Those of the network.
    pub fn plain(port: u16) -> io::Result<Connection> {
        let stream = Box::new(dial(port)?);
        Ok(Connection { stream, rest: Vec::new(), certificate: None })
    }

    /// Connects with TLS and checks the certificate against `config`'s authorities.
    ///
    /// # Errors
    /// Those of the network and of the handshake.
    pub fn tls(port: u16, host: &str, config: &Arc<ClientConfig>) -> io::Result<Connection> {
        let mut socket = dial(port)?;
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let mut session =
            ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        let certificate = session.peer_certificates().and_then(|all| all.first());
        let certificate = certificate.map(|der| der.to_vec());
        let stream = Box::new(StreamOwned::new(session, socket));
        Ok(Connection { stream, rest: Vec::new(), certificate })
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// Those of the network; `InvalidData` for what is not HTTP; `UnexpectedEof` when the
    /// connection was closed.
    pub fn ask(&mut self, host: &str, path: &str) -> io::Result<Answer> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: demo\r\n\r\n");
        self.stream.write_all(request.as_bytes())?;
        self.stream.flush()?;
        let head_end = loop {
            if let Some(end) = self.rest.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.read_more()?;
        };
        let head: Vec<u8> = self.rest.drain(..head_end).collect();
        let (mut answer, length) = parse(&String::from_utf8_lossy(&head))?;
        while self.rest.len() < length {
            self.read_more()?;
        }
        let body: Vec<u8> = self.rest.drain(..length).collect();
        answer.body = String::from_utf8_lossy(&body).into_owned();
        Ok(answer)
    }

    fn read_more(&mut self) -> io::Result<()> {
        let mut piece = [0; 8192];
        match self.stream.read(&mut piece)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.rest.extend_from_slice(piece.get(..count).unwrap_or_default());
                Ok(())
            }
        }
    }
}

fn dial(port: u16) -> io::Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads the head of an answer: what it says, and the length of the body.
fn parse(head: &str) -> io::Result<(Answer, usize)> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {head:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let mut answer = Answer {
        status: status.ok_or_else(wrong)?,
        app: String::new(),
        pod: String::new(),
        body: String::new(),
        closes: false,
    };
    let mut length = 0;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().map_err(|_| wrong())?,
            "x-app" => answer.app = value.to_owned(),
            "x-pod" => answer.pod = value.to_owned(),
            "connection" => answer.closes = value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    Ok((answer, length))
}

/// What the loop asks for, and who may answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host.
    pub host: String,
    /// Path.
    pub path: String,
    /// Application that must answer.
    pub app: String,
}

/// The request loop: several connections, every answer checked.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    targets: Mutex<Vec<Target>>,
    sent: AtomicU64,
    failed: AtomicU64,
    reconnected: AtomicU64,
    words: Mutex<Vec<String>>,
    /// When each pod answered last.
    pods: Mutex<BTreeMap<String, Instant>>,
}

/// What the loop counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Requests sent.
    pub sent: u64,
    /// Requests without the right answer.
    pub failed: u64,
    /// Idle connections that were found closed, so that the request was sent on a new one.
    pub reconnected: u64,
    /// The first failures, in words.
    pub words: Vec<String>,
}

impl Load {
    /// Starts `connections` threads on the plain port and one on the TLS port.
    #[must_use]
    pub fn start(
        connections: usize,
        http: u16,
        https: u16,
        tls: &Arc<ClientConfig>,
        targets: Vec<Target>,
    ) -> Load {
        let shared = Arc::new(Shared { targets: Mutex::new(targets), ..Shared::default() });
        let mut threads = Vec::new();
        for number in 0..connections {
            let shared = Arc::clone(&shared);
            let open = move |_: &Target| Connection::plain(http);
            threads.push(std::thread::spawn(move || shared.repeat(number, u32::MAX, &open)));
        }
        let secure = Arc::clone(&shared);
        let tls = Arc::clone(tls);
        let open = move |target: &Target| Connection::tls(https, &target.host, &tls);
        threads.push(std::thread::spawn(move || secure.repeat(0, TLS_REQUESTS, &open)));
        Load { shared, threads }
    }

    /// Also asks for this from now on; only the plain connections do.
    pub fn add(&self, target: Target) {
        self.shared.targets.lock().push(target);
    }

    /// When a pod answered the loop for the last time.
    #[must_use]
    pub fn last_seen(&self, pod: &str) -> Option<Instant> {
        self.shared.pods.lock().get(pod).copied()
    }

    /// What was counted so far.
    #[must_use]
    pub fn counted(&self) -> Counted {
        Counted {
            sent: self.shared.sent.load(Ordering::Relaxed),
            failed: self.shared.failed.load(Ordering::Relaxed),
            reconnected: self.shared.reconnected.load(Ordering::Relaxed),
            words: self.shared.words.lock().clone(),
        }
    }

    /// Stops and counts.
    #[must_use]
    pub fn stop(mut self) -> Counted {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        self.counted()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn repeat(
        &self,
        first: usize,
        requests_max: u32,
        open: &dyn Fn(&Target) -> io::Result<Connection>,
    ) {
        let secure = requests_max != u32::MAX;
        let mut connection: Option<(Connection, u32)> = None;
        let mut turn = first;
        while !self.stop.load(Ordering::Relaxed) {
            let target = {
                let targets = self.targets.lock();
                // One TLS connection is for one host: the first target's.
                let at = if secure { 0 } else { turn % targets.len().max(1) };
                targets.get(at).cloned()
            };
            turn += 1;
            let Some(target) = target else { return };
            self.sent.fetch_add(1, Ordering::Relaxed);
            match self.ask(&mut connection, &target, open) {
                Ok(answer) => {
                    if answer.status != 200 || answer.app != target.app {
                        let Answer { status, app, .. } = &answer;
                        self.fail(&target, &format!("status {status} from '{app}'"));
                    }
                    self.pods.lock().insert(answer.pod, Instant::now());
                    let used = connection.as_ref().map_or(0, |(_, used)| *used);
                    if answer.closes || used >= requests_max {
                        connection = None;
                    }
                }
                Err(error) => {
                    connection = None;
                    self.fail(&target, &error.to_string());
                }
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn ask(
        &self,
        connection: &mut Option<(Connection, u32)>,
        target: &Target,
        open: &dyn Fn(&Target) -> io::Result<Connection>,
    ) -> io::Result<Answer> {
        if let Some((open, used)) = connection {
            *used += 1;
            match open.ask(&target.host, &target.path) {
                // An idle connection may be closed at any time (RFC 9112, 9.3.1): nothing was
                // answered, and every client asks again on a new one.
                Err(error) if is_closed(&error) && open.rest.is_empty() => {
                    self.reconnected.fetch_add(1, Ordering::Relaxed);
                }
                answered => return answered,
            }
        }
        let (fresh, _) = connection.insert((open(target)?, 1));
        fresh.ask(&target.host, &target.path)
    }

    fn fail(&self, target: &Target, why: &str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut words = self.words.lock();
        if words.len() < WORDS_MAX {
            words.push(format!("http://{}{}: {why}", target.host, target.path));
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe | ConnectionAborted)
}

/// Asks again and again until an answer is right. Returns the time since `begin`.
///
/// # Errors
/// When no answer is right within `patience`; the last answer in words.
pub fn wait_for(
    port: u16,
    (host, path): (&str, &str),
    begin: Instant,
    patience: Duration,
    mut is_right: impl FnMut(&Answer) -> bool,
) -> anyhow::Result<Duration> {
    let mut connection: Option<Connection> = None;
    let mut last = String::from("no answer");
    while begin.elapsed() < patience {
        let open = match connection.take() {
            Some(open) => Ok(open),
            None => Connection::plain(port),
        };
        match open.and_then(|mut open| Ok((open.ask(host, path)?, open))) {
            Ok((answer, _)) if is_right(&answer) => return Ok(begin.elapsed()),
            Ok((answer, open)) => {
                last = format!("status {} from '{}'", answer.status, answer.app);
                connection = (!answer.closes).then_some(open);
            }
            Err(error) => {
                last = error.to_string();
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    anyhow::bail!("no right answer from http://{host}{path} within {patience:?}: {last}")
}

/// Makes TLS connections until one presents this certificate. Returns the time since `begin`.
///
/// # Errors
/// When none does within `patience`.
pub fn wait_for_certificate(
    port: u16,
    host: &str,
    config: &Arc<ClientConfig>,
    (begin, patience): (Instant, Duration),
    certificate: &[u8],
) -> anyhow::Result<Duration> {
    let mut last = String::from("another certificate");
    while begin.elapsed() < patience {
        match Connection::tls(port, host, config) {
            Ok(open) if open.certificate.as_deref() == Some(certificate) => {
                return Ok(begin.elapsed());
            }
            Ok(_) => {}
            Err(error) => last = error.to_string(),
        }
    }
    anyhow::bail!("the new certificate of {host} was not presented within {patience:?}: {last}")
}
