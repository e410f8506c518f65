//! A client with one HTTP/2 connection over TLS, and many streams at a time on it.

use std::io;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

/// A connection.
pub struct Session {
    runtime: Runtime,
    sender: SendRequest<Empty<Bytes>>,
}

impl Session {
    /// Connects to 127.0.0.1 and agrees on HTTP/2, and on nothing else.
    pub fn open(port: u16, name: &str, config: &ClientConfig) -> io::Result<Session> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut config = config.clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let sender = runtime.block_on(async {
            let socket = TcpStream::connect(("127.0.0.1", port)).await?;
            let tls = connector.connect(name, socket).await?;
            if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
                return Err(io::Error::other("HTTP/2 was not agreed on"));
            }
            let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(tls))
                .await
                .map_err(io::Error::other)?;
            tokio::spawn(connection);
            Ok(sender)
        })?;
        Ok(Session { runtime, sender })
    }

    /// As many GETs at a time as there are targets (host and path); status and Service of each.
    pub fn ask(&self, targets: &[(&str, &str)]) -> Vec<io::Result<(u16, String)>> {
        let asked = targets.iter().map(|(host, path)| {
            let request = Request::get(format!("https://{host}{path}")).body(Empty::new());
            let mut sender = self.sender.clone();
            self.runtime.spawn(async move {
                let request = request.map_err(io::Error::other)?;
                let answer = sender.send_request(request).await.map_err(io::Error::other)?;
                let status = answer.status().as_u16();
                let body = answer.into_body().collect().await.map_err(io::Error::other)?;
                let pod: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null);
                Ok((status, pod["service"].as_str().unwrap_or("").to_owned()))
            })
        });
        let asked: Vec<_> = asked.collect();
        let joined = asked.into_iter().map(|task| self.runtime.block_on(task));
        joined.map(|answer| answer.unwrap_or_else(|error| Err(io::Error::other(error)))).collect()
    }
}
