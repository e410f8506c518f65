//! Unix and TCP sockets through tokio.

use std::io;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::ports::{BoxFuture, BoxIo, Endpoint, Listener, Net};

/// The machine's network.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsNet;

impl Net for OsNet {
    fn dial<'a>(&'a self, endpoint: &'a Endpoint) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move {
            match endpoint {
                Endpoint::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?) as BoxIo),
                Endpoint::Tcp(host, port) => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    stream.set_nodelay(true)?;
                    Ok(Box::new(stream) as BoxIo)
                }
            }
        })
    }

    fn listen<'a>(
        &'a self,
        endpoint: &'a Endpoint,
    ) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            match endpoint {
                Endpoint::Unix(path) => {
                    // A socket file left by a dead process would make `bind` fail.
                    if UnixStream::connect(path).await.is_err() {
                        let _ = std::fs::remove_file(path);
                    }
                    Ok(Box::new(UnixListener::bind(path)?) as Box<dyn Listener>)
                }
                Endpoint::Tcp(host, port) => {
                    let listener = TcpListener::bind((host.as_str(), *port)).await?;
                    Ok(Box::new(listener) as Box<dyn Listener>)
                }
            }
        })
    }
}

impl Listener for UnixListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<BoxIo>> {
        Box::pin(async move {
            let (stream, _) = UnixListener::accept(self).await?;
            Ok(Box::new(stream) as BoxIo)
        })
    }

    fn port(&self) -> Option<u16> {
        None
    }
}

impl Listener for TcpListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<BoxIo>> {
        Box::pin(async move {
            let (stream, _) = TcpListener::accept(self).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxIo)
        })
    }

    fn port(&self) -> Option<u16> {
        self.local_addr().ok().map(|address| address.port())
    }
}
