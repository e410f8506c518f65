//! Clients: one request on plain blocking sockets, so that every byte is ours; TLS by rustls.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, NamedGroup,
    RootCertStore, SignatureScheme, StreamOwned, SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use serde_json::Value;

use super::certs::Issued;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// First line.
    pub line: String,
    /// Status code.
    pub status: u16,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// What the pod told about itself and the request; `Null` when no pod answered.
    pub pod: Value,
}

impl Answer {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| &**value)
    }

    /// All values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| &**value).collect()
    }

    /// The Service that answered; empty when none did.
    pub fn service(&self) -> &str {
        self.pod["service"].as_str().unwrap_or("")
    }

    /// The pod that answered.
    pub fn name(&self) -> &str {
        self.pod["pod"].as_str().unwrap_or("")
    }

    /// The path as the pod saw it, with the query.
    pub fn path(&self) -> &str {
        self.pod["path"].as_str().unwrap_or("")
    }

    /// A header as the pod saw it; several values joined by `, `.
    pub fn seen(&self, name: &str) -> Option<&str> {
        self.pod["headers"][name].as_str()
    }

    /// Whether the connection is closed after it.
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// A request to be written as given.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Target as it stands in the first line.
    pub target: String,
    /// Host header; none at all for `None`.
    pub host: Option<String>,
    /// Other headers.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

impl Request {
    /// A GET.
    pub fn get(host: &str, target: &str) -> Request {
        Request {
            method: "GET".into(),
            target: target.into(),
            host: Some(host.into()),
            headers: vec![("user-agent".into(), "tests/1".into())],
            body: String::new(),
        }
    }

    /// Another method.
    pub fn method(mut self, method: &str) -> Request {
        self.method = method.into();
        self
    }

    /// One more header.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The bytes.
    pub fn text(&self) -> String {
        let Request { method, target, host, headers, body } = self;
        let mut text = format!("{method} {target} HTTP/1.1\r\n");
        if let Some(host) = host {
            text.push_str(&format!("host: {host}\r\n"));
        }
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            text.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        format!("{text}\r\n{body}")
    }
}

/// A byte stream both ways.
pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A connection to HAProxy.
pub struct Connection {
    stream: Box<dyn Stream>,
    rest: Vec<u8>,
    /// The certificate presented, on TLS.
    pub certificate: Option<Vec<u8>>,
    /// Whether an earlier TLS session was resumed.
    pub resumed: bool,
    /// The protocol agreed on within TLS.
    pub protocol: Option<Vec<u8>>,
}

/// Connects to 127.0.0.1.
pub fn dial(port: u16) -> io::Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Connection {
    /// Plain.
    pub fn plain(port: u16) -> io::Result<Connection> {
        Ok(Connection {
            stream: Box::new(dial(port)?),
            rest: Vec::new(),
            certificate: None,
            resumed: false,
            protocol: None,
        })
    }

    /// TLS with SNI `name`.
    pub fn tls(port: u16, name: &str, config: &Arc<ClientConfig>) -> io::Result<Connection> {
        let mut socket = dial(port)?;
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let mut session =
            ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        let certificate = session.peer_certificates().and_then(|all| all.first());
        let certificate = certificate.map(|der| der.to_vec());
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        let protocol = session.alpn_protocol().map(<[u8]>::to_vec);
        let stream = Box::new(StreamOwned::new(session, socket));
        Ok(Connection { stream, rest: Vec::new(), certificate, resumed, protocol })
    }

    /// Whether nothing was read that does not belong to an answer already given.
    pub fn is_clean(&self) -> bool {
        self.rest.is_empty()
    }

    /// Writes bytes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Sends a request and reads the answer.
    pub fn ask(&mut self, request: &Request) -> io::Result<Answer> {
        self.write(request.text().as_bytes())?;
        self.answer(request.method == "HEAD")
    }

    /// Reads an answer; one without a body after HEAD.
    pub fn answer(&mut self, head: bool) -> io::Result<Answer> {
        let end = loop {
            if let Some(at) = self.rest.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.more()?;
        };
        let text: Vec<u8> = self.rest.drain(..end).collect();
        let mut answer = parse(&String::from_utf8_lossy(&text))?;
        let bodyless = head || answer.status == 204 || answer.status == 304 || answer.status == 101;
        let length = match answer.header("content-length") {
            _ if bodyless => 0,
            Some(text) => text.parse().map_err(io::Error::other)?,
            None if answer.header("transfer-encoding").is_some() => {
                answer.body = String::from_utf8_lossy(&self.chunks()?).into_owned();
                answer.pod = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
                return Ok(answer);
            }
            None => 0,
        };
        while self.rest.len() < length {
            self.more()?;
        }
        let body: Vec<u8> = self.rest.drain(..length).collect();
        answer.body = String::from_utf8_lossy(&body).into_owned();
        answer.pod = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
        Ok(answer)
    }

    /// Reads what comes next into `into`; 0 at the end.
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            return self.stream.read(into);
        }
        let count = into.len().min(self.rest.len());
        for (to, from) in into.iter_mut().zip(self.rest.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }

    /// Reads a body in chunks.
    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                match self.rest.windows(2).position(|window| window == b"\r\n") {
                    Some(at) => break at,
                    None => self.more()?,
                }
            };
            let line: Vec<u8> = self.rest.drain(..end + 2).collect();
            let digits = String::from_utf8_lossy(&line[..end]).into_owned();
            let size = usize::from_str_radix(digits.trim(), 16).map_err(io::Error::other)?;
            while self.rest.len() < size + 2 {
                self.more()?;
            }
            body.extend(self.rest.drain(..size));
            self.rest.drain(..2);
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn more(&mut self) -> io::Result<()> {
        let mut piece = [0; 8192];
        match self.stream.read(&mut piece)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.rest.extend_from_slice(&piece[..count]);
                Ok(())
            }
        }
    }
}

fn parse(head: &str) -> io::Result<Answer> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {head:?}"));
    let mut lines = head.split("\r\n");
    let line = lines.next().ok_or_else(wrong)?.to_owned();
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(wrong)?;
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers =
        headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    Ok(Answer { line, status, headers, body: String::new(), pod: Value::Null })
}

/// A client that trusts only these authorities.
pub fn trusting(roots: &Arc<RootCertStore>) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    sessionless(builder.with_root_certificates(Arc::clone(roots)).with_no_client_auth())
}

/// A client that takes any certificate and offers only these signature schemes.
pub fn curious(schemes: &[SignatureScheme]) -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Curious { provider: Arc::clone(&provider), schemes: schemes.to_vec() };
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    sessionless(builder.with_no_client_auth())
}

/// A client that takes any certificate and shows this one, if any. With `sessions` it resumes
/// whatever session it had last, under any name.
pub fn showing(shown: Option<&Issued>, tls12: bool, sessions: bool) -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let verifier = Curious { provider: Arc::clone(&provider), schemes };
    let versions: &[&SupportedProtocolVersion] =
        if tls12 { &[&rustls::version::TLS12] } else { &[&rustls::version::TLS13] };
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(versions).unwrap();
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some(issued) => {
            let mut chain = vec![CertificateDer::from(issued.der.clone())];
            chain.extend(issued.chain.iter().cloned().map(CertificateDer::from));
            let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    if !sessions {
        return sessionless(config);
    }
    config.resumption = Resumption::store(Arc::new(LastSession::default()));
    Arc::new(config)
}

/// Keeps the last session, whatever it was made for.
#[derive(Debug, Default)]
struct LastSession {
    tls12: Mutex<Option<Tls12ClientSessionValue>>,
    tls13: Mutex<Vec<Tls13ClientSessionValue>>,
    group: Mutex<Option<NamedGroup>>,
}

impl ClientSessionStore for LastSession {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        *self.group.lock().unwrap() = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        *self.group.lock().unwrap()
    }

    fn set_tls12_session(&self, _: ServerName<'static>, session: Tls12ClientSessionValue) {
        *self.tls12.lock().unwrap() = Some(session);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.tls12.lock().unwrap().clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        *self.tls12.lock().unwrap() = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.tls13.lock().unwrap().push(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.tls13.lock().unwrap().pop()
    }
}

/// Makes whole handshakes: a resumed session shows the certificate of the first one.
fn sessionless(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// Schemes of a client that knows ECDSA only.
pub const ECDSA: [SignatureScheme; 1] = [SignatureScheme::ECDSA_NISTP256_SHA256];
/// Schemes of a client that knows RSA only.
pub const RSA: [SignatureScheme; 4] = [
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
];

#[derive(Debug)]
struct Curious {
    provider: Arc<CryptoProvider>,
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Curious {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// Words that threads left behind.
pub type Words = Arc<Mutex<Vec<String>>>;
