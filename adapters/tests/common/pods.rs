//! Sample pods: servers in this process that answer with who they are and what they saw, as JSON.
//!
//! Each has an address of its own, in 127.0.0.0/8 unless [`live_in`] says otherwise. `?delay=MS`
//! delays the answer, `?stream=MS` spreads it over that time; `Upgrade: echo` opens a tunnel that
//! echoes. A pod can be told to hang or to fail.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// Port that pods listen on unless told otherwise.
pub const PORT: u16 = 28_080;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
});

/// Addresses given out so far.
static GIVEN: AtomicU16 = AtomicU16::new(1);

/// First two bytes of their addresses, and the address of those with IPv6.
static NETWORK: OnceLock<([u8; 2], IpAddr)> = OnceLock::new();

/// Gives the pods of this test binary addresses that begin like this, and this one with IPv6.
/// All calls must say the same.
pub fn live_in(network: [u8; 2], six: IpAddr) {
    assert_eq!(*NETWORK.get_or_init(|| (network, six)), (network, six));
}

/// The address for a pod with IPv6.
pub fn six() -> IpAddr {
    NETWORK.get().map_or(IpAddr::V6(Ipv6Addr::LOCALHOST), |(_, six)| *six)
}

/// An address that no pod of this test binary has had.
pub fn fresh_address() -> Ipv4Addr {
    let [high, low] = GIVEN.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    // Test binaries may run side by side on the same network: the process id keeps them apart,
    // mostly; an address in use is passed over.
    let second = 64 + (std::process::id() % 128) as u8;
    let [first, second] = NETWORK.get().map_or([127, second], |(network, _)| *network);
    Ipv4Addr::new(first, second, high, low)
}

/// How a pod treats requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It answers.
    Well,
    /// It never answers.
    Hangs,
    /// It answers 500.
    Fails,
    /// It closes the connection in place of an answer.
    HangsUp,
}

/// How a pod speaks.
#[derive(Clone)]
pub enum Speech {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    H2c,
    /// TLS; the version by ALPN.
    Tls(Arc<ServerConfig>),
}

/// What a pod counts, and what it is told.
#[derive(Default)]
pub struct Inside {
    /// Requests begun.
    pub requests: AtomicU64,
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Requests to `/healthz`.
    pub checks: AtomicU64,
    /// Requests under way.
    pub busy: AtomicU64,
    /// Most requests that were under way at once.
    pub busiest: AtomicU64,
    /// Whether `/healthz` answers 503.
    pub sick: AtomicBool,
    /// A [`Manner`].
    manner: AtomicU8,
}

/// A running pod. It dies when dropped.
pub struct Pod {
    /// Its Service.
    pub service: String,
    /// Its own name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it counts.
    pub inside: Arc<Inside>,
    order: watch::Sender<Order>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Serve,
    Finish,
    Die,
}

impl Pod {
    /// A pod that speaks HTTP/1.1.
    pub fn start(service: &str) -> Pod {
        Pod::speaking(service, Speech::Http1)
    }

    /// Several of them.
    pub fn several(service: &str, count: usize) -> Vec<Pod> {
        (0..count).map(|_| Pod::start(service)).collect()
    }

    /// A pod that speaks like this.
    pub fn speaking(service: &str, speech: Speech) -> Pod {
        Pod::on_port(service, speech, PORT)
    }

    /// A pod on a certain port of an address of its own.
    pub fn on_port(service: &str, speech: Speech, port: u16) -> Pod {
        loop {
            let address = SocketAddr::from((fresh_address(), port));
            if let Some(pod) = Pod::at(service, speech.clone(), address) {
                return pod;
            }
        }
    }

    /// A pod at an address; `None` when it is in use.
    pub fn at(service: &str, speech: Speech, address: SocketAddr) -> Option<Pod> {
        let listener = RUNTIME.block_on(TcpListener::bind(address)).ok()?;
        let address = listener.local_addr().ok()?;
        let name = format!("{service}-{}", address.ip());
        let inside = Arc::new(Inside::default());
        let (order, orders) = watch::channel(Order::Serve);
        let me = Me { service: service.to_owned(), name: name.clone(), inside: inside.clone() };
        RUNTIME.spawn(accept(listener, speech, Arc::new(me), orders));
        Some(Pod { service: service.to_owned(), name, address, inside, order })
    }

    /// Stops as a good program does: takes no new connection, finishes the requests it has.
    pub fn finish(&self) {
        self.order.send_replace(Order::Finish);
    }

    /// Ends as a crashed one does: the listener is gone, connections are cut.
    pub fn die(&self) {
        self.order.send_replace(Order::Die);
    }

    /// Treats requests like this from now on.
    pub fn behave(&self, manner: Manner) {
        self.inside.manner.store(manner as u8, Ordering::SeqCst);
    }

    /// Requests it got.
    pub fn requests(&self) -> u64 {
        self.inside.requests.load(Ordering::SeqCst)
    }

    /// Its IP address.
    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.die();
    }
}

struct Me {
    service: String,
    name: String,
    inside: Arc<Inside>,
}

async fn accept(
    listener: TcpListener,
    speech: Speech,
    me: Arc<Me>,
    mut orders: watch::Receiver<Order>,
) {
    let for_connections = orders.clone();
    loop {
        tokio::select! {
            biased;
            _ = orders.wait_for(|order| *order != Order::Serve) => return,
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                me.inside.connections.fetch_add(1, Ordering::SeqCst);
                let (speech, me, orders) = (speech.clone(), me.clone(), for_connections.clone());
                tokio::spawn(async move {
                    match speech {
                        Speech::Http1 => converse(stream, false, None, me, orders).await,
                        Speech::H2c => converse(stream, true, None, me, orders).await,
                        Speech::Tls(config) => {
                            let Ok(tls) = TlsAcceptor::from(config).accept(stream).await else {
                                return;
                            };
                            let session = tls.get_ref().1;
                            let h2 = session.alpn_protocol() == Some(b"h2");
                            let facts = json!({
                                "sni": session.server_name(),
                                "client": session.peer_certificates().is_some(),
                            });
                            converse(tls, h2, Some(facts), me, orders).await;
                        }
                    }
                });
            }
        }
    }
}

async fn converse<T>(
    stream: T,
    h2: bool,
    tls: Option<serde_json::Value>,
    me: Arc<Me>,
    mut orders: watch::Receiver<Order>,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let tls = Arc::new(tls);
    let service = service_fn(move |request| answer(request, me.clone(), tls.clone()));
    let io = TokioIo::new(stream);
    // An error of a connection is the client's to notice.
    if h2 {
        let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(io, service);
        tokio::pin!(serving);
        tokio::select! {
            biased;
            _ = serving.as_mut() => return,
            _ = orders.wait_for(|order| *order != Order::Serve) => {}
        }
        if *orders.borrow() == Order::Finish {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                _ = serving => {}
                _ = orders.wait_for(|order| *order == Order::Die) => {}
            }
        }
    } else {
        let serving = hyper::server::conn::http1::Builder::new()
            .serve_connection(io, service)
            .with_upgrades();
        tokio::pin!(serving);
        tokio::select! {
            biased;
            _ = serving.as_mut() => return,
            _ = orders.wait_for(|order| *order != Order::Serve) => {}
        }
        if *orders.borrow() == Order::Finish {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                _ = serving => {}
                _ = orders.wait_for(|order| *order == Order::Die) => {}
            }
        }
    }
}

/// One more request under way; one less when dropped.
struct Busy(Arc<Inside>);

impl Busy {
    fn begin(inside: &Arc<Inside>) -> Busy {
        let now = inside.busy.fetch_add(1, Ordering::SeqCst) + 1;
        inside.busiest.fetch_max(now, Ordering::SeqCst);
        Busy(Arc::clone(inside))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn answer(
    request: Request<Incoming>,
    me: Arc<Me>,
    tls: Arc<Option<serde_json::Value>>,
) -> Result<Response<Either<Full<Bytes>, Drip>>, std::io::Error> {
    let inside = &me.inside;
    if inside.manner.load(Ordering::SeqCst) == Manner::Hangs as u8 {
        std::future::pending::<()>().await;
    }
    if request.uri().path() == "/healthz" {
        inside.checks.fetch_add(1, Ordering::SeqCst);
        let mut response = Response::new(full("ok\n"));
        if inside.sick.load(Ordering::SeqCst) {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        return Ok(response);
    }
    inside.requests.fetch_add(1, Ordering::SeqCst);
    if inside.manner.load(Ordering::SeqCst) == Manner::HangsUp as u8 {
        return Err(std::io::ErrorKind::ConnectionReset.into());
    }
    let _busy = Busy::begin(inside);
    if inside.manner.load(Ordering::SeqCst) == Manner::Fails as u8 {
        let mut response = Response::new(full(json!({"service": me.service, "pod": me.name})));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return Ok(response);
    }
    if request.headers().get("upgrade").is_some_and(|value| value == "echo") {
        tokio::spawn(echo(hyper::upgrade::on(request)));
        let switching = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        let response = switching.header("connection", "upgrade").header("upgrade", "echo");
        return Ok(response.body(full("")).unwrap_or_else(|_| Response::new(full(""))));
    }
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let query = head.uri.query().unwrap_or("");
    if let Some(delay) = query.split('&').find_map(|pair| pair.strip_prefix("delay=")) {
        tokio::time::sleep(Duration::from_millis(delay.parse().unwrap_or(0))).await;
    }
    if let Some(spread) = query.split('&').find_map(|pair| pair.strip_prefix("stream=")) {
        let response = Response::builder().header("x-pod", &*me.name);
        let drip = Drip::new(&format!("{} ", me.name), spread.parse().unwrap_or(0));
        let response = response.body(Either::Right(drip));
        return Ok(response.unwrap_or_else(|_| Response::new(full(""))));
    }
    let mut headers = serde_json::Map::new();
    for name in head.headers.keys() {
        let values = head.headers.get_all(name).iter();
        let values: Vec<String> =
            values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
        headers.insert(name.to_string(), json!(values.join(", ")));
    }
    let host = headers.get("host").cloned().or(head.uri.host().map(|host| json!(host)));
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    let about = json!({
        "service": me.service, "pod": me.name, "method": head.method.as_str(), "path": path,
        "host": host, "headers": headers, "body": String::from_utf8_lossy(&body),
        "version": if head.version == Version::HTTP_2 { "2" } else { "1.1" }, "tls": *tls,
    });
    let text = format!("{about}\n");
    let response = Response::builder()
        .header("content-type", "application/json")
        .header("content-length", text.len())
        .header("server", "pod")
        .header("x-pod", "one");
    Ok(response.body(full(text)).unwrap_or_else(|_| Response::new(full(""))))
}

fn full(text: impl ToString) -> Either<Full<Bytes>, Drip> {
    Either::Left(Full::from(text.to_string()))
}

/// A body that comes in pieces over some time.
struct Drip {
    piece: Bytes,
    left: u64,
    ticks: tokio::time::Interval,
}

impl Drip {
    const PAUSE: Duration = Duration::from_millis(100);

    fn new(piece: &str, spread_ms: u64) -> Drip {
        let left = spread_ms / Drip::PAUSE.as_millis() as u64;
        let piece = Bytes::copy_from_slice(piece.as_bytes());
        Drip { piece, left, ticks: tokio::time::interval(Drip::PAUSE) }
    }
}

impl Body for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        std::task::ready!(self.ticks.poll_tick(context));
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(self.piece.clone()))))
    }

    // The length is told first, so that a client notices when the end is missing.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left * self.piece.len() as u64)
    }
}

async fn echo(upgrade: hyper::upgrade::OnUpgrade) {
    let Ok(upgraded) = upgrade.await else { return };
    let mut io = TokioIo::new(upgraded);
    let mut piece = [0; 1024];
    while let Ok(count @ 1..) = io.read(&mut piece).await {
        if io.write_all(&piece[..count]).await.is_err() || io.flush().await.is_err() {
            return;
        }
    }
}
