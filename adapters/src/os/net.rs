//! Unix and TCP sockets through tokio.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::ports::{BoxFuture, BoxIo, Endpoint, Listener, Net};

/// Mode of Unix sockets.
const OWNER_ONLY: u32 = 0o600;

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
                    let listener = UnixListener::bind(path)?;
                    std::fs::set_permissions(path, Permissions::from_mode(OWNER_ONLY))?;
                    Ok(Box::new(listener) as Box<dyn Listener>)
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
