//! A client with one HTTP/3 connection, and requests on it one after the other; and a relay that
//! keeps a handshake waiting.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use h3::client::SendRequest;
use h3_quinn::OpenStreams;
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig};
use rustls::ClientConfig;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::client::{Answer, Request};

/// Longest wait for a handshake or an answer.
const PATIENCE: Duration = Duration::from_secs(5);

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());

/// What is waited for, or why not.
async fn soon<T, E>(what: &str, future: impl IntoFuture<Output = Result<T, E>>) -> io::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    match timeout(PATIENCE, future.into_future()).await {
        Ok(outcome) => outcome.map_err(io::Error::other),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no {what} in time"))),
    }
}

/// A connection.
pub struct Session {
    connection: quinn::Connection,
    sender: SendRequest<OpenStreams, Bytes>,
    _endpoint: quinn::Endpoint,
}

impl Session {
    /// Connects to 127.0.0.1 under a name.
    ///
    /// # Errors
    /// Those of QUIC, as text.
    pub fn open(port: u16, name: &str, config: &ClientConfig) -> io::Result<Session> {
        Session::open_from(
            Ipv4Addr::LOCALHOST.into(),
            (Ipv4Addr::LOCALHOST, port).into(),
            name,
            config,
        )
    }

    /// The same from an address of ours to one of HAProxy's.
    ///
    /// # Errors
    /// Those of QUIC, as text.
    pub fn open_from(
        from: IpAddr,
        to: SocketAddr,
        name: &str,
        config: &ClientConfig,
    ) -> io::Result<Session> {
        let mut config = config.clone();
        config.alpn_protocols = vec![b"h3".to_vec()];
        let config = QuicClientConfig::try_from(config).map_err(io::Error::other)?;
        RUNTIME.block_on(async {
            let endpoint = quinn::Endpoint::client((from, 0).into())?;
            let config = quinn::ClientConfig::new(Arc::new(config));
            let connecting = endpoint.connect_with(config, to, name).map_err(io::Error::other)?;
            let connection = soon("handshake", connecting).await?;
            let data = connection.handshake_data();
            let data = data.and_then(|data| data.downcast::<HandshakeData>().ok());
            if data.and_then(|data| data.protocol).as_deref() != Some(&b"h3"[..]) {
                return Err(io::Error::other("HTTP/3 was not agreed on"));
            }
            let quic = h3_quinn::Connection::new(connection.clone());
            let mut builder = h3::client::builder();
            // Frames without a meaning, to see whether the other side bears them, are not wanted.
            builder.send_grease(false);
            let (mut driver, sender) = soon("first streams", builder.build(quic)).await?;
            tokio::spawn(async move { poll_fn(|cx| driver.poll_close(cx)).await });
            Ok(Session { connection, sender, _endpoint: endpoint })
        })
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// Those of HTTP/3, as text.
    pub fn ask(&mut self, request: &Request) -> io::Result<Answer> {
        let Request { method, target, host, headers, body } = request.clone();
        let uri = format!("https://{}{target}", host.unwrap_or_default());
        let mut builder = http::Request::builder().method(&*method).uri(uri);
        for (name, value) in headers {
            builder = builder.header(name, value);
        }
        let head = builder.body(()).map_err(io::Error::other)?;
        let (head, body) = RUNTIME.block_on(async {
            let mut stream = soon("stream", self.sender.send_request(head)).await?;
            // An answer may come before all was read, and then no more is wanted.
            if !body.is_empty() {
                let _ = soon("room for the body", stream.send_data(body.into())).await;
            }
            let _ = soon("end of the request", stream.finish()).await;
            let head = soon("answer", stream.recv_response()).await?;
            let mut body = Vec::new();
            while let Some(piece) = soon("body of the answer", stream.recv_data()).await? {
                body.extend_from_slice(piece.chunk());
            }
            Ok::<_, io::Error>((head, body))
        })?;
        let text =
            |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = head.headers().iter().map(|(name, value)| (name.to_string(), text(value)));
        Ok(Answer {
            line: format!("HTTP/3 {}", head.status()),
            status: head.status().as_u16(),
            headers: headers.collect(),
            pod: serde_json::from_slice(&body).unwrap_or(Value::Null),
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    /// Whether the connection is closed, by whomever.
    pub fn is_closed(&self) -> bool {
        self.connection.close_reason().is_some()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.close(0u32.into(), b"");
    }
}

/// Between a client and HAProxy: what the client sends after its first flight waits for a word.
pub struct Relay {
    /// Where clients connect to.
    pub port: u16,
    is_open: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
}

impl Relay {
    /// Before a port of 127.0.0.1.
    pub fn before(port: u16) -> Relay {
        let inside = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let outside = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        outside.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let relay = Relay {
            port: inside.local_addr().unwrap().port(),
            is_open: Arc::default(),
            ends: Arc::default(),
        };
        let client = Arc::new(Mutex::new(None));
        let (is_open, ends) = (Arc::clone(&relay.is_open), Arc::clone(&relay.ends));
        let (inside, outside) = (Arc::new(inside), Arc::new(outside));
        for socket in [&inside, &outside] {
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        }
        let answered = Arc::new(AtomicBool::new(false));
        {
            let (inside, outside) = (Arc::clone(&inside), Arc::clone(&outside));
            let (client, ends, answered) =
                (Arc::clone(&client), Arc::clone(&ends), Arc::clone(&answered));
            std::thread::spawn(move || {
                let mut bytes = [0; 65_536];
                let mut held: Vec<Vec<u8>> = Vec::new();
                while !ends.load(Ordering::SeqCst) {
                    if is_open.load(Ordering::SeqCst) {
                        for datagram in held.drain(..) {
                            let _ = outside.send(&datagram);
                        }
                    }
                    let Ok((count, from)) = inside.recv_from(&mut bytes) else { continue };
                    *client.lock().unwrap() = Some(from);
                    if !answered.load(Ordering::SeqCst) || is_open.load(Ordering::SeqCst) {
                        let _ = outside.send(&bytes[..count]);
                    } else {
                        held.push(bytes[..count].to_vec());
                    }
                }
            });
        }
        std::thread::spawn(move || {
            let mut bytes = [0; 65_536];
            while !ends.load(Ordering::SeqCst) {
                let Ok(count) = outside.recv(&mut bytes) else { continue };
                answered.store(true, Ordering::SeqCst);
                if let Some(to) = *client.lock().unwrap() {
                    let _ = inside.send_to(&bytes[..count], to);
                }
            }
        });
        relay
    }

    /// Lets everything through from here on.
    pub fn release(&self) {
        self.is_open.store(true, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
    }
}
