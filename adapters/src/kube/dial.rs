//! Connections to the API server through [`crate::ports::Net`], as hyper wants them.
//!
//! Inputs: the authority of a URI. Outputs: a stream of bytes; TLS goes on top of it elsewhere.
//! Not here: proxies; a `proxy-url` is refused where the configuration is read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower::Service;

use crate::ports::{BoxFuture, BoxIo, Endpoint, Net};

/// Dials the host of a URI.
#[derive(Clone)]
pub struct Dial {
    /// The network.
    pub net: Arc<dyn Net>,
    /// Longest time for the connection.
    pub patience: Duration,
}

/// A dialled connection.
pub struct Wire(BoxIo);

impl Service<http::Uri> for Dial {
    type Response = TokioIo<Wire>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<Wire>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        let Dial { net, patience } = self.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default();
            let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
            let default = if uri.scheme_str() == Some("http") { 80 } else { 443 };
            let endpoint = Endpoint::Tcp(host.to_owned(), uri.port_u16().unwrap_or(default));
            let dialled = tokio::time::timeout(patience, net.dial(&endpoint)).await;
            let late = || io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
            Ok(TokioIo::new(Wire(dialled.map_err(|_| late())??)))
        })
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
